// A thread of the first program, not its first, executes a program: that has the process's id, starts
// and waits for others, and its end is the end. Then a thread of a child of that does so too.
// build: dynamic static
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char *program;

static void *execute(void *next) {
	char id[16];
	snprintf(id, sizeof id, "%d", getpid());
	execl(program, program, next, id, (char *)NULL);
	perror("execl");
	exit(1);
}

static void by_thread(char *next) {
	pthread_t thread;
	pthread_create(&thread, NULL, execute, next);
	pause();
}

int main(int argc, char **argv) {
	program = argv[0];
	if (argc == 1) by_thread("again");
	printf("%s: same process %d, only thread %d\n", argv[1], getpid() == atoi(argv[2]), getpid() == gettid());
	fflush(stdout);
	if (!strcmp(argv[1], "child")) return 3;
	pid_t child = fork();
	if (child == 0) by_thread("child");
	int status;
	waitpid(child, &status, 0);
	printf("child %d\n", WEXITSTATUS(status));
	return 7;
}
