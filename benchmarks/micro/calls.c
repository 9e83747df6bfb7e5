/* Calls that need nobody else. */
#include "bench.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int fd = -1, epoll = -1;
static uint32_t word;

static void close_all(void)
{
	close(fd);
	if (epoll >= 0)
		close(epoll);
	fd = epoll = -1;
}

static void run_getpid(long times)
{
	while (times--)
		keep(getpid());
}

static void run_clock_vdso(long times)
{
	struct timespec t;
	while (times--) {
		clock_gettime(CLOCK_MONOTONIC, &t);
		keep(t.tv_nsec);
	}
}

static void run_clock_call(long times)
{
	struct timespec t;
	while (times--) {
		syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
		keep(t.tv_nsec);
	}
}

static bool open_zero(void)
{
	must((fd = open("/dev/zero", O_RDONLY)) >= 0);
	return true;
}

static void run_read(long times)
{
	char byte;
	while (times--)
		must(read(fd, &byte, 1) == 1);
}

static bool open_null(void)
{
	must((fd = open("/dev/null", O_WRONLY)) >= 0);
	return true;
}

static void run_write(long times)
{
	while (times--)
		must(write(fd, "x", 1) == 1);
}

static bool open_eventfd(void)
{
	must((fd = eventfd(0, 0)) >= 0);
	return true;
}

static void run_eventfd(long times)
{
	uint64_t value = 1;
	while (times--) {
		must(write(fd, &value, sizeof value) == sizeof value);
		must(read(fd, &value, sizeof value) == sizeof value);
	}
}

static void run_futex_wake(long times)
{
	while (times--)
		must(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) == 0);
}

static bool open_epoll(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	must((fd = eventfd(1, 0)) >= 0);
	must((epoll = epoll_create1(0)) >= 0);
	must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
	return true;
}

static void run_epoll(long times)
{
	struct epoll_event event;
	while (times--)
		must(epoll_wait(epoll, &event, 1, -1) == 1);
}

static volatile long handled;

static void count(int signal)
{
	(void)signal;
	handled++;
}

static bool catch_signal(void)
{
	struct sigaction action = {.sa_handler = count};
	must(sigaction(SIGUSR1, &action, NULL) == 0);
	return true;
}

static void run_self_signal(long times)
{
	int process = getpid();
	int thread = syscall(SYS_gettid);
	long before = handled;
	for (long i = 0; i < times; i++)
		must(syscall(SYS_tgkill, process, thread, SIGUSR1) == 0);
	must(handled == before + times);
}

const struct operation calls[] = {
	{"getpid", .run = run_getpid},
	{"clock-gettime-vdso", .run = run_clock_vdso},
	{"clock-gettime-call", .run = run_clock_call},
	{"read-zero", open_zero, run_read, close_all},
	{"write-null", open_null, run_write, close_all},
	{"eventfd", open_eventfd, run_eventfd, close_all},
	{"futex-wake", .run = run_futex_wake},
	{"epoll-wait", open_epoll, run_epoll, close_all},
	{"self-signal", catch_signal, run_self_signal, NULL},
	{0},
};
