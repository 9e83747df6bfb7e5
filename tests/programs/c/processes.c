// fork, vfork, exec, wait: statuses, order, orphans, inherited and close-on-exec descriptors.
// build: dynamic static musl
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

// Whether a call fails with this error. Calls among printf's arguments have no order of their own.
#define FAILS(call, error) ({ errno = 0; long r_ = (long)(call); r_ == -1 && errno == (error); })

extern char **environ;
static int global = 1;

static void report(const char *what, int status) {
	if (WIFEXITED(status)) printf("%s: exited %d\n", what, WEXITSTATUS(status));
	else if (WIFSIGNALED(status)) printf("%s: signal %d\n", what, WTERMSIG(status));
	else if (WIFSTOPPED(status)) printf("%s: stopped %d\n", what, WSTOPSIG(status));
	else if (WIFCONTINUED(status)) printf("%s: continued\n", what);
	fflush(stdout);
}

static void *idle(void *arg) {
	for (;;) pause();
	return arg;
}

int main(int argc, char **argv) {
	if (argc > 1 && !strcmp(argv[1], "child")) {
		printf("child got %s, fd %s\n", argv[2], fcntl(atoi(argv[3]), F_GETFD) < 0 ? "closed" : "open");
		return 5;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	int status;
	pid_t pid = fork();
	if (!pid) {
		global = 2;
		_exit(getppid() == 0 ? 99 : 3);
	}
	printf("waited %d, ", waitpid(pid, &status, 0) == pid);
	report("plain", status);
	printf("global %d\n", global);

	if (!(pid = fork())) abort();
	waitpid(pid, &status, 0);
	report("abort", status);
	if (!(pid = fork())) *(volatile int *)8 = 1;
	waitpid(pid, &status, 0);
	report("fault", status);

	if (!(pid = fork())) {
		raise(SIGSTOP);
		usleep(300000); // the parent must see the continue before the end
		_exit(11);
	}
	waitpid(pid, &status, WUNTRACED);
	report("stop", status);
	kill(pid, SIGCONT);
	waitpid(pid, &status, WCONTINUED);
	report("continue", status);
	waitpid(pid, &status, 0);
	report("end", status);

	siginfo_t info;
	if (!(pid = fork())) _exit(8);
	waitid(P_PID, pid, &info, WEXITED | WNOWAIT);
	printf("policy of a zombie %d\n", sched_getscheduler(pid));
	printf("waitid %d %d %d\n", info.si_code == CLD_EXITED, info.si_status, info.si_pid == pid);
	waitpid(pid, &status, 0);
	printf("no child: %d\n", FAILS(wait(&status), ECHILD));

	int kept = open("/dev/null", O_RDONLY), closed = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < 2; i++) {
		char number[16];
		snprintf(number, sizeof number, "%d", i ? closed : kept);
		char *args[] = {argv[0], "child", i ? "cloexec" : "inherited", number, NULL};
		if (!(pid = i ? vfork() : fork())) {
			execv(argv[0], args);
			_exit(127);
		}
		waitpid(pid, &status, 0);
		report(i ? "vfork" : "exec", status);
	}
	char *missing[] = {"/nonexistent", NULL};
	if (!(pid = vfork())) {
		execv(missing[0], missing);
		_exit(errno == ENOENT ? 44 : 1);
	}
	waitpid(pid, &status, 0);
	report("missing", status);

	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	int pipes[2];
	if (pipe(pipes)) return 1;
	posix_spawn_file_actions_adddup2(&actions, pipes[1], 1);
	char *args[] = {"echo", "spawned", NULL};
	printf("posix_spawnp %d\n", posix_spawnp(&pid, "echo", &actions, NULL, args, environ));
	close(pipes[1]);
	char buffer[32] = "";
	ssize_t n = read(pipes[0], buffer, sizeof buffer);
	printf("%zd %s", n, buffer);
	waitpid(pid, &status, 0);
	report("spawn", status);
	printf("spawn missing %d\n", posix_spawn(&pid, "/nonexistent", NULL, NULL, args, environ) == ENOENT);

	// A child of a process with threads has one.
	pthread_t thread;
	pthread_create(&thread, NULL, idle, NULL);
	if (!(pid = fork())) {
		pthread_t again;
		_exit(pthread_create(&again, NULL, idle, NULL) ? 1 : 21);
	}
	waitpid(pid, &status, 0);
	report("fork with threads", status);

	// An orphan goes to the nearest subreaper.
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (pipe(pipes)) return 1;
	if (!(pid = fork())) {
		if (!fork()) {
			char byte;
			close(pipes[1]);
			if (read(pipes[0], &byte, 1)) _exit(1);
			_exit(9);
		}
		_exit(0);
	}
	waitpid(pid, &status, 0);
	close(pipes[1]);
	pid = wait(&status);
	report(pid > 0 ? "orphan" : "no orphan", status);

	// A new child's memory can be read before it has run.
	int readable = 0, copied = 0;
	for (int i = 0; i < 50; i++) {
		global = i;
		if (pipe(pipes)) return 1;
		if (!(pid = fork())) {
			char byte;
			_exit(read(pipes[0], &byte, 1) != 1);
		}
		struct iovec here = {&copied, sizeof copied}, there = {&global, sizeof global};
		readable += process_vm_readv(pid, &here, 1, &there, 1, 0) == sizeof global && copied == i;
		if (write(pipes[1], "x", 1) != 1) return 1;
		waitpid(pid, &status, 0);
		close(pipes[0]);
		close(pipes[1]);
	}
	printf("readable %d\n", readable);

	struct rusage usage;
	printf("rusage %d", getrusage(RUSAGE_CHILDREN, &usage));
	printf(" %d small %d", usage.ru_utime.tv_sec < 5, usage.ru_maxrss < 40 << 10);
	if (!(pid = fork())) {
		if (fork()) _exit(wait(NULL) < 0);
		// The host counts pages only roughly while a process runs.
		size_t size = 100 << 20;
		volatile char *memory = malloc(size);
		for (size_t i = 0; i < size; i += 4096) memory[i] = 1;
		free((void *)memory);
		getrusage(RUSAGE_SELF, &usage);
		_exit(usage.ru_maxrss < 90 << 10);
	}
	getrusage(RUSAGE_CHILDREN, &usage);
	printf(" unwaited %d", usage.ru_maxrss < 40 << 10);
	waitpid(pid, &status, 0);
	getrusage(RUSAGE_CHILDREN, &usage);
	printf(" waited %d\n", usage.ru_maxrss >= 90 << 10 && usage.ru_maxrss < 140 << 10);
	report("peak", status);

	// Who ignores its children does not get their times.
	if (!(pid = fork())) {
		signal(SIGCHLD, SIG_IGN);
		if (!(pid = fork()))
			for (;;)
				if (getrusage(RUSAGE_SELF, &usage), usage.ru_utime.tv_usec + usage.ru_stime.tv_usec > 50000) _exit(0);
		printf("nobody to wait for %d", FAILS(wait(NULL), ECHILD));
		getrusage(RUSAGE_CHILDREN, &usage);
		printf(" times %ld peak %ld\n", (long)usage.ru_utime.tv_usec + usage.ru_stime.tv_usec, usage.ru_maxrss);
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	fflush(stdout);
	execl(argv[0], argv[0], "child", "exec with threads", "1", NULL);
	return 1;
}
