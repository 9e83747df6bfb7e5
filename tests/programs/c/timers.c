// Clocks, sleeps and timers: interval, POSIX and descriptor timers, CPU time and its limit.
// build: dynamic static
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FAILS(call, error) ({ errno = 0; long r_ = (long)(call); r_ == -1 && errno == (error); })

static volatile sig_atomic_t seen, count;
static volatile int taken_by;

static void handler(int signal) {
	seen = signal;
	count++;
	taken_by = syscall(SYS_gettid);
}

static double now(clockid_t clock) {
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void burn(double seconds) {
	double end = now(CLOCK_PROCESS_CPUTIME_ID) + seconds;
	while (now(CLOCK_PROCESS_CPUTIME_ID) < end)
		for (volatile int i = 0; i < 1000; i++) {}
}

static void clocks(void) {
	static const clockid_t ids[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID,
	                                CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME,
	                                CLOCK_TAI};
	for (unsigned i = 0; i < sizeof ids / sizeof *ids; i++) {
		struct timespec t, r;
		int got = clock_gettime(ids[i], &t), res = clock_getres(ids[i], &r);
		printf("clock %d: %d %d %ld\n", ids[i], got, res, r.tv_nsec);
	}
	struct timespec t = {0};
	printf("bad clock: %d\n", FAILS(clock_gettime(1234, &t), EINVAL));
	clockid_t other;
	printf("cpu clock: %d", clock_getcpuclockid(getpid(), &other));
	printf(" %d\n", clock_gettime(other, &t));
	double a = now(CLOCK_MONOTONIC);
	t = (struct timespec){0, 20000000};
	nanosleep(&t, NULL);
	printf("slept: %d\n", now(CLOCK_MONOTONIC) - a >= 0.02);
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += 20000000;
	if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
	a = now(CLOCK_MONOTONIC);
	printf("until: %d", clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL));
	printf(" %d\n", now(CLOCK_MONOTONIC) - a >= 0.015);
	t.tv_nsec = 1000000000;
	printf("bad time: %d %d\n", FAILS(nanosleep(&t, NULL), EINVAL),
	       clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &(struct timespec){0, 1}, NULL) == EINVAL);
	burn(0.05);
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	struct tms tms;
	printf("usage: %d times %d\n", (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6 + usage.ru_utime.tv_sec >= 0.02, times(&tms) != -1);
}

static void intervals(void) {
	signal(SIGALRM, handler);
	signal(SIGVTALRM, handler);
	signal(SIGPROF, handler);
	struct itimerval it = {{0, 5000}, {0, 5000}}, got;
	count = 0;
	setitimer(ITIMER_REAL, &it, NULL);
	while (count < 5) pause();
	setitimer(ITIMER_REAL, &(struct itimerval){0}, &got);
	printf("interval: %ld %d\n", (long)got.it_interval.tv_usec, got.it_value.tv_usec <= 5000);
	static const int kinds[] = {ITIMER_VIRTUAL, ITIMER_PROF};
	for (int i = 0; i < 2; i++) {
		count = 0;
		it = (struct itimerval){{0, 20000}, {0, 20000}};
		setitimer(kinds[i], &it, NULL);
		usleep(60000);
		int idle = count;
		while (count < 3) burn(0.001);
		setitimer(kinds[i], &(struct itimerval){0}, NULL);
		printf("cpu interval: signal %d idle %d\n", seen, idle);
	}
	printf("alarm: %d", alarm(5));
	printf(" %d\n", alarm(0));
}

static void notify(union sigval value) { seen = value.sival_int; }

static void posix(void) {
	timer_t timer;
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1};
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	ev.sigev_value.sival_int = 33;
	timer_create(CLOCK_MONOTONIC, &ev, &timer);
	struct itimerspec spec = {{0, 1000000}, {0, 1000000}}, left;
	timer_settime(timer, 0, &spec, NULL);
	usleep(30000);
	siginfo_t info;
	sigwaitinfo(&set, &info);
	printf("posix: value %d overrun %d same %d\n", info.si_value.sival_int, info.si_overrun > 10,
	       info.si_overrun == timer_getoverrun(timer));
	timer_gettime(timer, &left);
	printf("left: %d interval %ld\n", left.it_value.tv_nsec > 0 && left.it_value.tv_nsec <= 1000000,
	       left.it_interval.tv_nsec);
	timer_delete(timer);
	/* It may have expired once more: before Linux 6.13 that signal stays. */
	while (sigtimedwait(&set, NULL, &(struct timespec){0}) > 0);
	sigprocmask(SIG_UNBLOCK, &set, NULL);

	ev = (struct sigevent){.sigev_notify = SIGEV_THREAD};
	ev.sigev_notify_function = notify;
	ev.sigev_value.sival_int = 44;
	seen = 0;
	timer_create(CLOCK_REALTIME, &ev, &timer);
	spec = (struct itimerspec){{0}, {0, 5000000}};
	timer_settime(timer, 0, &spec, NULL);
	for (int i = 0; i < 1000 && seen != 44; i++) usleep(1000);
	printf("in a thread: %d\n", seen);
	timer_delete(timer);

	signal(SIGUSR1, handler);
	ev = (struct sigevent){.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
	ev._sigev_un._tid = syscall(SYS_gettid);
	timer_create(CLOCK_PROCESS_CPUTIME_ID, &ev, &timer);
	spec = (struct itimerspec){{0}, {0, 30000000}};
	seen = 0;
	timer_settime(timer, 0, &spec, NULL);
	burn(0.2);
	printf("cpu timer: %d for this thread %d\n", seen == SIGUSR1, taken_by == (int)syscall(SYS_gettid));
	timer_delete(timer);
	// What is left until a time on a thread's clock is never more than it was when that was read.
	int more = 0;
	for (int i = 0; i < 200; i++) {
		timer_create(CLOCK_THREAD_CPUTIME_ID, &ev, &timer);
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spec.it_value);
		spec.it_value.tv_sec += 5;
		timer_settime(timer, TIMER_ABSTIME, &spec, NULL);
		timer_gettime(timer, &left);
		more += left.it_value.tv_sec >= 5;
		timer_delete(timer);
	}
	printf("more left than there was: %d\n", more);
	spec = (struct itimerspec){{0}, {0, 30000000}};
	timer_create(CLOCK_MONOTONIC, &(struct sigevent){.sigev_notify = SIGEV_NONE}, &timer);
	timer_settime(timer, 0, &spec, NULL);
	usleep(40000);
	timer_gettime(timer, &left);
	printf("silent: %ld\n", left.it_value.tv_nsec);
	printf("bad: %d %d\n", FAILS(timer_create(CLOCK_MONOTONIC, &(struct sigevent){.sigev_notify = 9}, &timer), EINVAL),
	       FAILS(syscall(SYS_timer_delete, 12345), EINVAL));
}

static void *idle(void *started) {
	clockid_t clock;
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
	struct itimerspec spec = {{0}, {0, 50000000}}, left;
	timer_t timer;
	pthread_getcpuclockid(pthread_self(), &clock);
	timer_create(clock, &ev, &timer);
	timer_settime(timer, 0, &spec, NULL);
	pthread_barrier_wait(started);
	pthread_barrier_wait(started);
	timer_gettime(timer, &left);
	printf("idle thread: fired %d left %d\n", seen == SIGUSR2, left.it_value.tv_nsec > 30000000);
	while (seen != SIGUSR2)
		for (volatile int i = 0; i < 1000; i++) {}
	printf("busy thread: used %d\n", now(CLOCK_THREAD_CPUTIME_ID) >= 0.05);
	timer_delete(timer);
	return NULL;
}

// The time of one thread is not that of the others.
static void of_one_thread(void) {
	pthread_t thread;
	pthread_barrier_t started;
	signal(SIGUSR2, handler);
	seen = 0;
	pthread_barrier_init(&started, NULL, 2);
	pthread_create(&thread, NULL, idle, &started);
	pthread_barrier_wait(&started);
	burn(0.2);
	pthread_barrier_wait(&started);
	pthread_join(thread, NULL);
}

static void descriptors(void) {
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	uint64_t n = 0;
	printf("idle: %d\n", FAILS(read(fd, &n, 8), EAGAIN));
	struct itimerspec spec = {{0, 2000000}, {0, 2000000}}, left;
	timerfd_settime(fd, 0, &spec, NULL);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	printf("poll: %d\n", poll(&p, 1, 1000));
	usleep(20000);
	ssize_t size = read(fd, &n, 8);
	printf("ticks: %zd %d\n", size, n >= 8 && n < 1000);
	int ep = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = 7}, out;
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
	printf("epoll: %d", epoll_wait(ep, &out, 1, 1000));
	printf(" %d\n", out.data.u32);
	timerfd_gettime(fd, &left);
	printf("interval: %ld\n", left.it_interval.tv_nsec);
	timerfd_settime(fd, 0, &(struct itimerspec){0}, NULL);
	printf("disarmed: %d\n", poll(&p, 1, 20));
	spec = (struct itimerspec){.it_value = {1, 0}};
	int wall = timerfd_create(CLOCK_REALTIME, 0);
	timerfd_settime(wall, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &spec, NULL);
	size = read(wall, &n, 8);
	printf("past: %zd %d\n", size, (int)n);
	printf("bad: %d %d %d\n", FAILS(timerfd_create(CLOCK_THREAD_CPUTIME_ID, 0), EINVAL),
	       FAILS(timerfd_settime(0, 0, &spec, NULL), EINVAL), FAILS(read(fd, &n, 4), EINVAL));
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	clocks();
	intervals();
	posix();
	of_one_thread();
	descriptors();
	pid_t pid = fork();
	if (!pid) {
		struct rlimit limit = {1, 2};
		setrlimit(RLIMIT_CPU, &limit);
		signal(SIGXCPU, handler);
		seen = 0;
		while (seen != SIGXCPU) {}
		_exit(5);
	}
	int status;
	struct rusage usage;
	wait4(pid, &status, 0, &usage);
	printf("soft limit: %d used %d\n", WIFEXITED(status) && WEXITSTATUS(status) == 5, usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6 > 0.2);
	pid = fork();
	if (!pid) {
		struct rlimit limit = {1, 1};
		setrlimit(RLIMIT_CPU, &limit);
		signal(SIGXCPU, SIG_IGN);
		for (;;) {}
	}
	waitpid(pid, &status, 0);
	printf("hard limit: %d\n", WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	return 0;
}
