// Threads: mutexes, conditions, barriers, read-write locks, keys, cancellation, a robust mutex.
// build: dynamic static musl
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 20000 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t robust;
static pthread_key_t key;
static atomic_int destroyed, cleaned;
static long counter, shared;
static __thread long own;
static sem_t sem;

static void destroy(void *value) { destroyed += (int)(long)value; }

static void *count(void *arg) {
	pthread_setspecific(key, (void *)1);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
		own++;
		if (i % 100 == 0) {
			pthread_rwlock_wrlock(&rwlock);
			shared++;
			pthread_rwlock_unlock(&rwlock);
		} else if (i % 10 == 0) {
			pthread_rwlock_rdlock(&rwlock);
			pthread_rwlock_unlock(&rwlock);
		}
	}
	return (void *)(own + (long)arg);
}

static int turn;
static void *pingpong(void *arg) {
	int me = (int)(long)arg;
	for (int i = 0; i < 1000; i++) {
		pthread_mutex_lock(&mutex);
		while (turn != me) pthread_cond_wait(&cond, &mutex);
		turn = !me;
		pthread_cond_signal(&cond);
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static void cleanup(void *arg) { cleaned += *(int *)arg; }
static void *sleeper(void *arg) {
	pthread_cleanup_push(cleanup, arg);
	sem_post(&sem);
	for (;;) pause();
	pthread_cleanup_pop(0);
	return NULL;
}

static void *dies_holding(void *arg) {
	(void)arg;
	pthread_mutex_lock(&robust);
	return NULL;
}

int main(void) {
	pthread_t threads[THREADS];
	pthread_barrier_init(&barrier, NULL, THREADS);
	pthread_key_create(&key, destroy);
	for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, count, (void *)i);
	long sum = 0;
	for (int i = 0; i < THREADS; i++) {
		void *result;
		pthread_join(threads[i], &result);
		sum += (long)result;
	}
	printf("counter %ld, shared %ld, sum %ld, destroyed %d\n", counter, shared, sum, destroyed);

	pthread_t a, b;
	pthread_create(&a, NULL, pingpong, (void *)0);
	pthread_create(&b, NULL, pingpong, (void *)1);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	printf("turn %d\n", turn);

	int one = 1;
	void *result;
	sem_init(&sem, 0, 0);
	pthread_create(&a, NULL, sleeper, &one);
	sem_wait(&sem);
	pthread_cancel(a);
	pthread_join(a, &result);
	printf("cancelled %d, cleaned %d\n", result == PTHREAD_CANCELED, cleaned);

	struct timespec when;
	clock_gettime(CLOCK_REALTIME, &when);
	when.tv_nsec += 20000000;
	if (when.tv_nsec >= 1000000000) when.tv_sec++, when.tv_nsec -= 1000000000;
	pthread_mutex_lock(&mutex);
	printf("timed wait %d\n", pthread_cond_timedwait(&cond, &mutex, &when) == ETIMEDOUT);
	printf("timed lock %d\n", sem_timedwait(&sem, &when) == -1 && errno == ETIMEDOUT);

	pthread_mutexattr_t attr;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attr);
	pthread_create(&a, NULL, dies_holding, NULL);
	pthread_join(a, NULL);
	int error = pthread_mutex_lock(&robust);
	printf("owner died %d\n", error == EOWNERDEAD);
	printf("consistent %d\n", pthread_mutex_consistent(&robust));

	pthread_mutex_t pi;
	pthread_mutexattr_init(&attr);
	error = pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(&pi, &attr);
	printf("inherit %d %d", error, pthread_mutex_lock(&pi));
	printf(" %d\n", pthread_mutex_unlock(&pi));
	return 0;
}
