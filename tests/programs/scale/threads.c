// 2,000 threads alive at once in one process.
// build: dynamic static
// seconds: 120
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { COUNT = 2000 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int alive, go;

static void *work(void *arg) {
	pthread_mutex_lock(&mutex);
	alive++;
	pthread_cond_broadcast(&cond);
	while (!go) pthread_cond_wait(&cond, &mutex);
	pthread_mutex_unlock(&mutex);
	return arg;
}

int main(void) {
	static pthread_t threads[COUNT];
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	for (long i = 0; i < COUNT; i++) {
		int error = pthread_create(&threads[i], &attr, work, (void *)i);
		if (error) {
			fprintf(stderr, "thread %ld: %s\n", i, strerror(error));
			return 1;
		}
	}
	pthread_mutex_lock(&mutex);
	while (alive < COUNT) pthread_cond_wait(&cond, &mutex);
	printf("%d alive\n", alive);
	go = 1;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
	long sum = 0;
	for (int i = 0; i < COUNT; i++) {
		void *result;
		pthread_join(threads[i], &result);
		sum += (long)result;
	}
	printf("sum %ld\n", sum);
	return 0;
}
