// Signals: siginfo, masks, alternate stack, faults, restart, timers, queues, descriptors.
// build: dynamic static musl
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/ucontext.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Whether a call fails with this error. Calls among printf's arguments have no order of their own.
#define FAILS(call, error) ({ errno = 0; long r_ = (long)(call); r_ == -1 && errno == (error); })

static volatile sig_atomic_t seen, last_value, depth;
static volatile siginfo_t last;
static sigjmp_buf jump;
static char *altstack;
static volatile int on_altstack;

static void handler(int signal, siginfo_t *info, void *context) {
	(void)context;
	seen = signal;
	last_value = info->si_value.sival_int;
	last = *info;
	on_altstack = (char *)&signal >= altstack && (char *)&signal < altstack + 65536;
}

static void jumper(int signal, siginfo_t *info, void *context) {
	handler(signal, info, context);
	siglongjmp(jump, 1);
}

static void skipper(int signal, siginfo_t *info, void *context) {
	handler(signal, info, context);
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

static void install(int signal, void (*function)(int, siginfo_t *, void *), int flags) {
	struct sigaction action = {.sa_flags = SA_SIGINFO | flags};
	action.sa_sigaction = function;
	sigaction(signal, &action, NULL);
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	install(SIGUSR1, handler, 0);
	raise(SIGUSR1);
	printf("raise: %d code %d pid %d\n", seen, last.si_code == SI_TKILL, last.si_pid == getpid());
	kill(getpid(), SIGUSR1);
	printf("kill: code %d\n", last.si_code == SI_USER);
	union sigval value = {.sival_int = 77};
	sigqueue(getpid(), SIGUSR1, value);
	printf("queue: %d code %d\n", last_value, last.si_code == SI_QUEUE);

	int result;
	sigset_t set, old, pending;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, &old);
	seen = 0;
	raise(SIGUSR1);
	sigpending(&pending);
	printf("blocked: seen %d pending %d\n", seen, sigismember(&pending, SIGUSR1));
	result = FAILS(sigsuspend(&old), EINTR);
	printf("suspend: seen %d error %d\n", seen == SIGUSR1, result);
	for (int i = 1; i <= 3; i++) {
		value.sival_int = i;
		sigqueue(getpid(), SIGRTMIN + 1, value);
	}
	siginfo_t info;
	for (int i = 0; i < 3; i++) {
		int signal = sigwaitinfo(&set, &info);
		printf("wait: %d value %d\n", signal == SIGRTMIN + 1, info.si_value.sival_int);
	}
	struct timespec none = {0, 1000};
	printf("timed: %d\n", FAILS(sigtimedwait(&set, &info, &none), EAGAIN));
	int fd = signalfd(-1, &set, SFD_NONBLOCK);
	raise(SIGUSR1);
	struct signalfd_siginfo record;
	printf("signalfd: %d", read(fd, &record, sizeof record) == sizeof record);
	printf(" %d\n", record.ssi_signo == SIGUSR1);
	sigprocmask(SIG_SETMASK, &old, NULL);

	altstack = malloc(65536);
	stack_t stack = {.ss_sp = altstack, .ss_size = 65536};
	sigaltstack(&stack, NULL);
	install(SIGSEGV, jumper, SA_ONSTACK);
	char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!sigsetjmp(jump, 1)) *(volatile char *)page = 1;
	printf("protection: %d code %d addr %d altstack %d\n", seen == SIGSEGV, last.si_code == SEGV_ACCERR,
	       last.si_addr == page, on_altstack);
	if (!sigsetjmp(jump, 1)) *(volatile char *)16 = 1;
	printf("unmapped: code %d addr %d\n", last.si_code == SEGV_MAPERR, last.si_addr == (void *)16);
	if (!sigsetjmp(jump, 1)) ((void (*)(void))page)();
	printf("execute: %d addr %d\n", seen == SIGSEGV, last.si_addr == page);
	install(SIGFPE, jumper, 0);
	volatile int zero = 0;
	if (!sigsetjmp(jump, 1)) __asm__ volatile("xor %%edx, %%edx\n\tidivl %0" ::"m"(zero) : "eax", "edx");
	printf("divide: %d code %d\n", seen == SIGFPE, last.si_code == FPE_INTDIV);
	install(SIGILL, skipper, 0);
	__asm__ volatile("ud2");
	printf("opcode: %d code %d\n", seen == SIGILL, last.si_code == ILL_ILLOPN);
	install(SIGTRAP, handler, 0);
	__asm__ volatile("int3");
	printf("trap: %d\n", seen == SIGTRAP);
	FILE *file = tmpfile();
	char *beyond = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(file), 0);
	install(SIGBUS, jumper, 0);
	if (!sigsetjmp(jump, 1)) zero = *(volatile char *)beyond;
	printf("bus: %d code %d addr %d\n", seen == SIGBUS, last.si_code == BUS_ADRERR, last.si_addr == beyond);

	// A registers' state survives a handler: vector registers too.
	double x = 1.5, y;
	__asm__ volatile("movsd %1, %%xmm7\n\tint3\n\tmovsd %%xmm7, %0" : "=m"(y) : "m"(x) : "xmm7");
	printf("vector: %g\n", y);

	install(SIGALRM, handler, 0);
	struct itimerval timer = {.it_value = {0, 10000}};
	setitimer(ITIMER_REAL, &timer, NULL);
	int pipes[2];
	char byte;
	if (pipe(pipes)) return 1;
	printf("interrupted: %d\n", FAILS(read(pipes[0], &byte, 1), EINTR));
	install(SIGALRM, handler, SA_RESTART);
	if (!fork()) {
		usleep(50000);
		result = write(pipes[1], "x", 1);
		_exit(0);
	}
	setitimer(ITIMER_REAL, &timer, NULL);
	printf("restarted: %zd\n", read(pipes[0], &byte, 1));
	struct timespec nap = {1, 0}, left;
	setitimer(ITIMER_REAL, &timer, NULL);
	printf("nap: %d", FAILS(nanosleep(&nap, &left), EINTR));
	printf(" %d\n", left.tv_sec == 0 && left.tv_nsec > 0);

	timer_t posix;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	event.sigev_value.sival_int = 5;
	timer_create(CLOCK_MONOTONIC, &event, &posix);
	struct itimerspec spec = {.it_value = {0, 1000000}};
	sigprocmask(SIG_BLOCK, &set, NULL);
	timer_settime(posix, 0, &spec, NULL);
	int signal = sigwaitinfo(&set, &info);
	printf("timer: %d code %d value %d\n", signal == SIGUSR1, info.si_code == SI_TIMER, info.si_value.sival_int);
	timer_delete(posix);
	int ticks = timerfd_create(CLOCK_MONOTONIC, 0);
	timerfd_settime(ticks, 0, &spec, NULL);
	uint64_t expired;
	printf("timerfd: %zd", read(ticks, &expired, sizeof expired));
	printf(" %d\n", (int)expired);

	while (wait(NULL) > 0) {}
	install(SIGCHLD, handler, 0);
	pid_t pid = fork();
	if (!pid) _exit(4);
	while (seen != SIGCHLD) usleep(1000);
	printf("child: code %d status %d pid %d\n", last.si_code == CLD_EXITED, last.si_status, last.si_pid == pid);
	printf("kill is not caught: %d\n", FAILS(sigaction(SIGKILL, &(struct sigaction){}, NULL), EINVAL));
	kill(getpid(), SIGTERM);
	return 0;
}
