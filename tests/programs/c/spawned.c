// Programs that several threads spawn at once: each gets its own arguments, and runs where its parent
// may run.
// build: dynamic
// seconds: 60
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

enum { THREADS = 4, TIMES = 60 };

extern char **environ;
static char *self;

static int run(char *what, char *value) {
	char *args[] = {self, what, value, NULL};
	pid_t pid;
	int status;
	if (posix_spawn(&pid, self, NULL, NULL, args, environ) != 0) return -1;
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return -2;
	return WEXITSTATUS(status);
}

static void *spawn_all(void *thread) {
	long wrong = 0;
	for (int i = 0; i < TIMES; i++) {
		char value[8];
		int wanted = (i + (int)(long)thread * 7) % 50;
		snprintf(value, sizeof value, "%d", wanted);
		if (run("return", value) != wanted) wrong++;
	}
	return (void *)wrong;
}

// Every processor that this program meets within some milliseconds is the named one.
static int only_on(int cpu) {
	struct timespec start, now;
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		if (sched_getcpu() != cpu) return 1;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000000000 + now.tv_nsec - start.tv_nsec < 3000000);
	return 0;
}

int main(int argc, char **argv) {
	self = argv[0];
	if (argc == 3) return strcmp(argv[1], "return") == 0 ? atoi(argv[2]) : only_on(atoi(argv[2]));
	pthread_t threads[THREADS];
	long wrong = 0;
	for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, spawn_all, (void *)i);
	for (int i = 0; i < THREADS; i++) {
		void *part;
		pthread_join(threads[i], &part);
		wrong += (long)part;
	}
	printf("wrong %ld\n", wrong);

	cpu_set_t all, one;
	sched_getaffinity(0, sizeof all, &all);
	int elsewhere = 0;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all)) continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof one, &one);
		char value[8];
		snprintf(value, sizeof value, "%d", cpu);
		for (int i = 0; i < 10; i++) elsewhere += run("only-on", value) != 0;
	}
	printf("elsewhere %d\n", elsewhere);
	return 0;
}
