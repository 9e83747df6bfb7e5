// What a handler's frame holds and what survives it: vector state, the red zone, nested handlers,
// alternate stacks, contexts that handlers change, signals that strike anywhere.
// build: dynamic static
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/ucontext.h>
#include <ucontext.h>
#include <unistd.h>
#include <xmmintrin.h>

static volatile sig_atomic_t seen, count, depth, deepest;
static sigjmp_buf jump;
static int have_avx;

static void install(int signal, void (*function)(int, siginfo_t *, void *), int flags, int masked) {
	struct sigaction action = {.sa_flags = SA_SIGINFO | flags};
	action.sa_sigaction = function;
	if (masked) sigaddset(&action.sa_mask, masked);
	sigaction(signal, &action, NULL);
}

static void clobber(void) {
	__asm__ volatile("pxor %%xmm0, %%xmm0\n\tpxor %%xmm7, %%xmm7\n\tpxor %%xmm15, %%xmm15\n\tfninit\n\tfld1"
	                 ::: "xmm0", "xmm7", "xmm15", "st");
	if (have_avx) __asm__ volatile("vzeroall" :::);
}

static void tick(int signal, siginfo_t *info, void *context) {
	(void)signal, (void)info, (void)context;
	count++;
	clobber();
}

// The layout that unwinders and debuggers rely on.
static void inspect(int signal, siginfo_t *info, void *context) {
	(void)signal, (void)info;
	ucontext_t *uc = context;
	uint32_t *sw = (uint32_t *)((char *)uc->uc_mcontext.fpregs + 464);
	uint32_t size = sw[4], extended = sw[1], end;
	memcpy(&end, (char *)uc->uc_mcontext.fpregs + size, 4);
	printf("frame: flags %lx magic %x %x sizes %d aligned %d\n", uc->uc_flags, sw[0], end, extended == size + 4,
	       (uintptr_t)uc->uc_mcontext.fpregs % 64 == 0);
	printf("segments: %llx trap %lld\n", (unsigned long long)uc->uc_mcontext.gregs[REG_CSGSFS] & 0xffff,
	       (long long)uc->uc_mcontext.gregs[REG_TRAPNO]);
	printf("xmm7: %x\n", ((struct _libc_fpstate *)uc->uc_mcontext.fpregs)->_xmm[7].element[0]);
	((struct _libc_fpstate *)uc->uc_mcontext.fpregs)->_xmm[7].element[0] = 0x1234;
	uc->uc_mcontext.gregs[REG_RBX] = 0x5678;
	clobber();
}

static void nested(int signal, siginfo_t *info, void *context) {
	(void)info, (void)context;
	if (++depth > deepest) deepest = depth;
	if (signal == SIGUSR1 && depth < 5) raise(SIGUSR1);
	if (signal == SIGUSR2) {
		raise(SIGHUP);
		printf("masked while handling: %d\n", seen == SIGHUP);
	}
	depth--;
}

static void note(int signal) { seen = signal; }

static char alternate[1 << 16] __attribute__((aligned(16)));
static void overflow(int signal, siginfo_t *info, void *context) {
	(void)context;
	seen = signal;
	int here = (char *)&info >= alternate && (char *)&info < alternate + sizeof alternate;
	stack_t now;
	sigaltstack(NULL, &now);
	printf("overflow: on the alternate stack %d flags %d\n", here, now.ss_flags);
	siglongjmp(jump, 1);
}

static int recurse(volatile char *above) {
	volatile char frame[4096];
	memset((void *)frame, 1, sizeof frame);
	return above ? recurse(frame) + frame[0] : 0;
}

static void disarmed(int signal, siginfo_t *info, void *context) {
	(void)signal, (void)info;
	stack_t now, kept = ((ucontext_t *)context)->uc_stack;
	sigaltstack(NULL, &now);
	printf("autodisarm: now %d kept %d\n", now.ss_flags == SS_DISABLE, kept.ss_size == sizeof alternate);
}

static void redirect(int signal, siginfo_t *info, void *context) {
	(void)signal, (void)info;
	ucontext_t *uc = context;
	uc->uc_mcontext.gregs[REG_RAX] = 99;
	uc->uc_mcontext.gregs[REG_RIP] += 2;
	sigaddset(&uc->uc_sigmask, SIGURG);
}

__attribute__((noinline)) static uint64_t work(uint64_t seed, int rounds) {
	__asm__ volatile("" : "+r"(seed));
	double f = 1.25;
	uint64_t x = seed;
	for (int i = 0; i < rounds; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		f = f * 1.0000001 + (double)(x & 3);
	}
	return x ^ (uint64_t)f;
}

__attribute__((target("avx"))) static int ymm_survives(void) {
	uint64_t in[4] = {1, 2, 3, 0x0123456789abcdef}, out[4];
	__asm__ volatile("vmovdqu %1, %%ymm9\n\tint3\n\tvmovdqu %%ymm9, %0" : "=m"(out) : "m"(in) : "xmm9", "memory");
	return !memcmp(in, out, sizeof in);
}

static volatile int stop;
static void *worker(void *expected) {
	while (!stop)
		if (work(7, 10000) != *(uint64_t *)expected) return "wrong";
	return NULL;
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	have_avx = __builtin_cpu_supports("avx") != 0;

	install(SIGTRAP, inspect, 0, 0);
	uint64_t rbx = 1;
	uint32_t x7 = 0xabcd, out7;
	__asm__ volatile("movd %2, %%xmm7\n\tint3\n\tmovd %%xmm7, %1" : "+b"(rbx), "=r"(out7) : "r"(x7) : "xmm7", "memory");
	printf("changed by the handler: %lx %x\n", rbx, out7);
	install(SIGTRAP, tick, 0, 0);
	printf("ymm: %d\n", !have_avx || ymm_survives());
	long double st = 1.0L / 3, after;
	__asm__ volatile("fldt %1\n\tint3\n\tfstpt %0" : "=m"(after) : "m"(st) : "st", "memory");
	printf("x87: %d\n", st == after);
	_MM_SET_ROUNDING_MODE(_MM_ROUND_DOWN);
	__asm__ volatile("int3");
	printf("rounding: %d\n", _MM_GET_ROUNDING_MODE() == _MM_ROUND_DOWN);
	_MM_SET_ROUNDING_MODE(_MM_ROUND_NEAREST);

	install(SIGUSR1, nested, SA_NODEFER, 0);
	raise(SIGUSR1);
	printf("nested: %d\n", deepest);
	signal(SIGHUP, note);
	install(SIGUSR2, nested, 0, SIGHUP);
	raise(SIGUSR2);
	printf("after the handler: %d\n", seen == SIGHUP);
	install(SIGUSR1, tick, SA_RESETHAND, 0);
	raise(SIGUSR1);
	struct sigaction now;
	sigaction(SIGUSR1, NULL, &now);
	printf("once: %d\n", now.sa_handler == SIG_DFL);

	stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate}, old;
	sigaltstack(&stack, NULL);
	install(SIGSEGV, overflow, SA_ONSTACK, 0);
	for (int i = 0; i < 2; i++)
		if (!sigsetjmp(jump, 1)) recurse((char *)1);
	sigaltstack(NULL, &old);
	printf("left: %d\n", old.ss_flags);
	stack.ss_flags = 1 << 31;
	sigaltstack(&stack, NULL);
	install(SIGUSR1, disarmed, SA_ONSTACK, 0);
	raise(SIGUSR1);
	sigaltstack(NULL, &old);
	printf("armed again: %d\n", old.ss_flags == 1 << 31 && old.ss_size == sizeof alternate);

	install(SIGILL, redirect, 0, 0);
	long rax = 1;
	__asm__ volatile("ud2" : "+a"(rax)::"memory");
	sigset_t mask;
	sigprocmask(SIG_BLOCK, NULL, &mask);
	printf("redirected: %ld mask %d\n", rax, sigismember(&mask, SIGURG));

	ucontext_t here;
	volatile int times = 0;
	getcontext(&here);
	if (++times < 3) setcontext(&here);
	printf("contexts: %d\n", times);

	// Signals that come at any instruction change nothing.
	uint64_t expected = work(7, 10000), busy = work(9, 2000000);
	pthread_t threads[3];
	for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, worker, &expected);
	install(SIGALRM, tick, SA_RESTART, 0);
	install(SIGUSR2, tick, SA_RESTART, 0);
	count = 0;
	struct itimerval often = {{0, 500}, {0, 500}}, never = {0};
	setitimer(ITIMER_REAL, &often, NULL);
	int right = 1;
	for (int i = 0; i < 40; i++) {
		for (int k = 0; k < 3; k++) pthread_kill(threads[k], SIGUSR2);
		right &= work(9, 2000000) == busy;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	stop = 1;
	for (int i = 0; i < 3; i++) {
		void *result;
		pthread_join(threads[i], &result);
		right &= result == NULL;
	}
	printf("storm: right %d many %d\n", right, count > 50);
	return 0;
}
