/* Processes and threads from beginning to end. */
#include "bench.h"
#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void await(pid_t process)
{
	int status = 1;
	must(waitpid(process, &status, 0) == process && status == 0);
}

static void run_fork(long times)
{
	while (times--) {
		pid_t process = fork();
		must(process >= 0);
		if (process == 0)
			_exit(0);
		await(process);
	}
}

static void run_spawn(long times)
{
	char *argv[] = {"true", NULL};
	while (times--) {
		pid_t process;
		must(posix_spawn(&process, "/bin/true", NULL, NULL, argv, environ) == 0);
		await(process);
	}
}

static void *nothing(void *unused) { return unused; }

static void run_thread(long times)
{
	while (times--) {
		pthread_t thread;
		must(pthread_create(&thread, NULL, nothing, NULL) == 0);
		must(pthread_join(thread, NULL) == 0);
	}
}

const struct operation processes[] = {
	{"fork-exit-wait", .run = run_fork},
	{"posix-spawn-exec-wait", .run = run_spawn},
	{"pthread-create-join", .run = run_thread},
	{0},
};
