// Signals between processes and threads: stops and continues, groups, threads that block, what exec
// and fork keep, masks of single calls, who may send.
// build: dynamic musl
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FAILS(call, error) ({ errno = 0; long r_ = (long)(call); r_ == -1 && errno == (error); })

static volatile sig_atomic_t seen, count;
static volatile int sender, code, status;

static void handler(int signal, siginfo_t *info, void *context) {
	(void)context;
	seen = signal;
	count++;
	sender = info->si_pid;
	code = info->si_code;
	status = info->si_status;
}

static void install(int signal, int flags) {
	struct sigaction action = {.sa_flags = SA_SIGINFO | flags};
	action.sa_sigaction = handler;
	sigaction(signal, &action, NULL);
}

static void show(const char *what, pid_t pid, int options) {
	int s = 0;
	pid_t got = waitpid(pid, &s, options);
	printf("%s: %d exited %d:%d killed %d:%d stopped %d:%d continued %d\n", what, got == pid, WIFEXITED(s) && got > 0,
	       WIFEXITED(s) ? WEXITSTATUS(s) : 0, WIFSIGNALED(s), WIFSIGNALED(s) ? WTERMSIG(s) : 0, WIFSTOPPED(s),
	       WIFSTOPPED(s) ? WSTOPSIG(s) : 0, WIFCONTINUED(s));
}

static void *spin(void *unused) {
	for (;;) usleep(1000);
	return unused;
}

static void *wait_for_usr1(void *unused) {
	sigset_t set;
	int signal = 0;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigwait(&set, &signal);
	return (void *)(long)signal + (unused != NULL);
}

static void *unblock(void *unused) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	while (seen != SIGUSR2) usleep(1000);
	return unused;
}

static void stops(void) {
	install(SIGCHLD, SA_RESTART);
	seen = 0;
	pid_t pid = fork();
	if (!pid) {
		pthread_t thread;
		pthread_create(&thread, NULL, spin, NULL);
		spin(NULL);
	}
	usleep(20000);
	kill(pid, SIGSTOP);
	show("stop", pid, WUNTRACED);
	for (int i = 0; i < 1000 && !seen; i++) usleep(1000);
	printf("told: %d code %d status %d\n", seen == SIGCHLD, code == CLD_STOPPED, status == SIGSTOP);
	show("once only", pid, WUNTRACED | WNOHANG);
	kill(pid, SIGTERM);
	usleep(20000);
	show("stopped processes do not die", pid, WNOHANG);
	kill(pid, SIGCONT);
	show("until they continue", pid, 0);

	pid = fork();
	if (!pid) spin(NULL);
	kill(pid, SIGTSTP);
	show("terminal stop", pid, WUNTRACED);
	seen = 0;
	kill(pid, SIGCONT);
	show("continue", pid, WCONTINUED);
	for (int i = 0; i < 1000 && !seen; i++) usleep(1000);
	printf("told: code %d status %d\n", code == CLD_CONTINUED, status == SIGCONT);
	siginfo_t info = {0};
	kill(pid, SIGSTOP);
	waitid(P_PID, pid, &info, WSTOPPED | WNOWAIT);
	printf("waitid: %d %d\n", info.si_code == CLD_STOPPED, info.si_status == SIGSTOP);
	kill(pid, SIGKILL);
	show("kill a stopped one", pid, 0);

	install(SIGCHLD, SA_RESTART | SA_NOCLDSTOP);
	seen = 0;
	pid = fork();
	if (!pid) spin(NULL);
	kill(pid, SIGSTOP);
	show("without notice", pid, WUNTRACED);
	printf("seen %d\n", seen);
	kill(pid, SIGKILL);
	show("and gone", pid, 0);
	signal(SIGCHLD, SIG_IGN);
	pid = fork();
	if (!pid) _exit(0);
	printf("ignored children: %d\n", FAILS(waitpid(pid, NULL, 0), ECHILD));
	signal(SIGCHLD, SIG_DFL);
}

static void groups(void) {
	pid_t first = fork();
	if (!first) {
		setpgid(0, 0);
		spin(NULL);
	}
	setpgid(first, first);
	pid_t second = fork();
	if (!second) {
		setpgid(0, first);
		signal(SIGTERM, SIG_IGN);
		spin(NULL);
	}
	setpgid(second, first);
	usleep(50000);
	kill(-first, SIGTERM);
	show("group", first, 0);
	show("who ignores", second, WNOHANG);
	kill(-first, SIGKILL);
	show("the rest", second, 0);
	printf("no group: %d no process: %d bad number: %d\n", FAILS(kill(-first, 0), ESRCH), FAILS(kill(first, 0), ESRCH),
	       FAILS(kill(getpid(), 65), EINVAL));
}

static void threads(void) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pthread_t waiter, taker;
	void *result;
	pthread_create(&waiter, NULL, wait_for_usr1, NULL);
	usleep(10000);
	kill(getpid(), SIGUSR1);
	pthread_join(waiter, &result);
	printf("sigwait: %d\n", (int)(long)result == SIGUSR1);
	install(SIGUSR2, 0);
	seen = 0;
	kill(getpid(), SIGUSR2);
	pthread_create(&taker, NULL, unblock, NULL);
	pthread_join(taker, NULL);
	printf("taken by the thread that does not block: %d\n", seen == SIGUSR2);
	pthread_create(&waiter, NULL, wait_for_usr1, NULL);
	printf("to a thread: %d\n", pthread_kill(waiter, SIGUSR1));
	pthread_join(waiter, &result);
	sigset_t pending;
	sigpending(&pending);
	printf("not to the process: %d\n", !sigismember(&pending, SIGUSR1));
	printf("no such thread: %d\n", FAILS(syscall(SYS_tgkill, getpid(), 1 << 22, 0), ESRCH));
}

static void single_calls(void) {
	sigset_t set, none;
	sigemptyset(&none);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	install(SIGUSR1, SA_RESTART);
	struct timespec second = {1, 0};
	seen = 0;
	raise(SIGUSR1);
	printf("ppoll: %d", FAILS(ppoll(NULL, 0, &second, &none), EINTR));
	printf(" %d\n", seen == SIGUSR1);
	seen = 0;
	raise(SIGUSR1);
	printf("pselect: %d", FAILS(pselect(0, NULL, NULL, NULL, &second, &none), EINTR));
	printf(" %d\n", seen == SIGUSR1);
	int fd = epoll_create1(0);
	struct epoll_event event;
	seen = 0;
	raise(SIGUSR1);
	printf("epoll_pwait: %d", FAILS(epoll_pwait(fd, &event, 1, 1000, &none), EINTR));
	printf(" %d\n", seen == SIGUSR1);
	sigset_t now;
	sigprocmask(SIG_BLOCK, NULL, &now);
	printf("mask is back: %d\n", sigismember(&now, SIGUSR1));
	int sfd = signalfd(-1, &set, 0);
	struct pollfd p = {.fd = sfd, .events = POLLIN};
	printf("signalfd: %d", poll(&p, 1, 0));
	if (!fork()) {
		kill(getppid(), SIGUSR1);
		_exit(0);
	}
	printf(" %d\n", poll(&p, 1, 2000));
	wait(NULL);
	// select does not tell what is left of its timeout to who does not want to know.
	struct timeval left[2] = {{0, 1000}, {0, 1000}};
	select(0, NULL, NULL, NULL, &left[0]);
	personality(STICKY_TIMEOUTS);
	select(0, NULL, NULL, NULL, &left[1]);
	personality(0);
	printf("left: %ld %ld\n", (long)left[0].tv_usec, (long)left[1].tv_usec);
	// Who polls an inherited one looks at signals of its own.
	fflush(stdout);
	if (!fork()) {
		fd_set fds;
		int ep = epoll_create1(0);
		struct epoll_event event = {.events = EPOLLIN};
		epoll_ctl(ep, EPOLL_CTL_ADD, sfd, &event);
		printf("inherited: %d %d", poll(&p, 1, 0), epoll_wait(ep, &event, 1, 0));
		if (!fork()) {
			usleep(50000);
			kill(getppid(), SIGUSR1);
			_exit(0);
		}
		printf(" %d", epoll_wait(ep, &event, 1, 2000));
		FD_ZERO(&fds);
		FD_SET(sfd, &fds);
		printf(" %d %d\n", poll(&p, 1, 0), select(sfd + 1, &fds, NULL, NULL, &(struct timeval){0}));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void across(char *self) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 2);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	install(SIGUSR1, 0);
	signal(SIGHUP, SIG_IGN);
	raise(SIGUSR1);
	sigqueue(getpid(), SIGRTMIN + 2, (union sigval){.sival_int = 12});
	pid_t pid = fork();
	if (!pid) {
		sigset_t pending;
		sigpending(&pending);
		printf("fork: pending %d\n", sigismember(&pending, SIGUSR1));
		fflush(stdout);
		sigqueue(getpid(), SIGRTMIN + 2, (union sigval){.sival_int = 13});
		execl(self, self, "exec", NULL);
		_exit(127);
	}
	show("exec", pid, 0);
}

static int after_exec(void) {
	struct sigaction usr1, hup;
	sigaction(SIGUSR1, NULL, &usr1);
	sigaction(SIGHUP, NULL, &hup);
	sigset_t set;
	sigprocmask(SIG_BLOCK, NULL, &set);
	printf("exec: handler %d ignored %d blocked %d\n", usr1.sa_handler == SIG_DFL, hup.sa_handler == SIG_IGN,
	       sigismember(&set, SIGUSR1));
	siginfo_t info;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 2);
	struct timespec none = {0};
	sigtimedwait(&set, &info, &none);
	printf("queued before: %d\n", info.si_value.sival_int);
	return 3;
}

int main(int argc, char **argv) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1) return after_exec();
	stops();
	groups();
	threads();
	single_calls();
	across(argv[0]);

	// A queue has a limit, for real-time signals sent with sigqueue(3).
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 5);
	sigprocmask(SIG_BLOCK, &set, NULL);
	struct rlimit limit = {0, 0};
	setrlimit(RLIMIT_SIGPENDING, &limit);
	printf("limit: %d\n", FAILS(sigqueue(getpid(), SIGRTMIN + 5, (union sigval){0}), EAGAIN));
	signal(SIGPIPE, SIG_DFL);
	int pipes[2];
	if (pipe(pipes)) return 1;
	close(pipes[0]);
	pid_t pid = fork();
	if (!pid) {
		ssize_t n = write(pipes[1], "x", 1);
		_exit(n > 0);
	}
	show("broken pipe", pid, 0);
	pid = fork();
	if (!pid) abort();
	int s;
	waitpid(pid, &s, 0);
	printf("abort: %d\n", WIFSIGNALED(s) && WTERMSIG(s) == SIGABRT);
	return 0;
}
