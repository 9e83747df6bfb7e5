// Threads, signals and forked children meet system call sites that nobody has executed before: every
// call gives the right answer, whatever becomes of the code around it.
// build: dynamic static
// seconds: 120
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SITES = 300, SLOT = 37, ROUNDS = 12, THREADS = 4, CALLS = 30, SIZE = 4 << 12 };

// Each asks for the process id, in a shape of its own.
static const struct {
	const char *code;
	int len;
} shapes[] = {
	{"\xb8\x27\0\0\0\x0f\x05\xc3", 8},                        // mov $39,%eax; syscall; ret
	{"\x48\xc7\xc0\x27\0\0\0\x0f\x05\xc3", 10},               // mov $39,%rax; syscall; ret
	{"\x6a\x27\x58\x0f\x05\x48\x3d\0\xf0\xff\xff\xc3", 12},   // push; pop; syscall; cmp; ret
	{"\x6a\x27\x58\x0f\x05\x85\xc0\x78\x01\xc3\x0f\x0b", 12}, // ...; test; js to an ud2; ret
	{"\x6a\x27\x58\x0f\x05\xc3\x66\x90", 8},                  // ...; ret, padding
	{"\x6a\x27\x58\x0f\x05\x89\xc2\x89\xd0\xc3", 10},         // ...; mov; mov; ret
	{"\x6a\x27\x58\x0f\x05\xeb\x02\x0f\x0b\xc3", 10},         // ...; jmp over an ud2; ret
	{"\x6a\x27\x58\xeb\x02\x0f\x0b\x0f\x05\xc3\x55", 11},     // ...; syscall; ret, no room
	{"\x6a\x27\x58\x48\x89\xc2\x0f\x05\xc3\x55", 10},         // ...; mov %rax,%rdx; syscall; ret, no room
	{"\x6a\x27\x58\x48\x8d\x50\x08\x0f\x05\xc3\x55", 11},     // ...; lea 8(%rax),%rdx; the same
	{"\x6a\x27\x58\x41\xba\x08\0\0\0\x0f\x05\xc3\x55", 13}, // ...; mov $8,%r10d; the same
	// syscall; mov $39,%eax; syscall; ret: two that would replace the same bytes
	{"\x6a\x27\x58\x0f\x05\xb8\x27\0\0\0\x0f\x05\xc3", 13},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static char *code;
static atomic_int wrong, handled;

static void *call_all(void *seed) {
	unsigned at = (unsigned)(long)seed;
	int self = getpid();
	for (int i = 0; i < SITES * CALLS; i++) {
		at = (at + 7) % SITES;
		int (*site)(void) = (int (*)(void))(code + at * SLOT);
		if (site() != self) atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

static void on_alarm(int signo) {
	(void)signo;
	atomic_fetch_add(&handled, 1);
	int (*site)(void) = (int (*)(void))(code + handled % SITES * SLOT);
	if (site() != getpid()) atomic_fetch_add(&wrong, 1);
}

static void round_of_calls(int round) {
	code = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < SITES; i++) {
		int shape = (i + round) % SHAPES;
		memset(code + i * SLOT, 0xcc, SLOT);
		memcpy(code + i * SLOT, shapes[shape].code, shapes[shape].len);
	}
	mprotect(code, SIZE, PROT_READ | PROT_EXEC);
	struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
	setitimer(ITIMER_REAL, &often, NULL);
	pthread_t threads[THREADS];
	for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, call_all, (void *)(i * 75));
	pid_t child = fork();
	if (child == 0) {
		call_all((void *)11);
		_exit(wrong != 0);
	}
	int status;
	while (waitpid(child, &status, 0) < 0) {}
	if (status) printf("the child ended with %#x\n", status);
	for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
	setitimer(ITIMER_REAL, &never, NULL);
	// A signal may still be on its way: it is handled before this returns.
	getppid();
	// The next round's code may lie at the same address, with other shapes.
	munmap(code, SIZE);
}

int main(void) {
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	sigaction(SIGALRM, &action, NULL);
	for (int round = 0; round < ROUNDS; round++) round_of_calls(round);
	printf("wrong %d, signals %s\n", wrong, handled > 10 ? "came" : "missing");
	return 0;
}
