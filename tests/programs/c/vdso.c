// The clocks that need no system call: found, monotonic across threads, and in step with the calls.
// build: dynamic static musl
#define _GNU_SOURCE
#include <elf.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef int gettime_fn(clockid_t, struct timespec *);

static long long nanos(struct timespec t) { return t.tv_sec * 1000000000LL + t.tv_nsec; }

// The function that a C library would find.
static void *find(const char *name) {
	const char *base = (const char *)getauxval(AT_SYSINFO_EHDR);
	if (!base) return NULL;
	const Elf64_Ehdr *header = (const void *)base;
	const Elf64_Phdr *segments = (const void *)(base + header->e_phoff);
	const Elf64_Dyn *dynamic = NULL;
	for (int i = 0; i < header->e_phnum; i++)
		if (segments[i].p_type == PT_DYNAMIC) dynamic = (const void *)(base + segments[i].p_vaddr);
	const Elf64_Sym *symbols = NULL;
	const char *strings = NULL;
	for (; dynamic && dynamic->d_tag; dynamic++) {
		if (dynamic->d_tag == DT_SYMTAB) symbols = (const void *)(base + dynamic->d_un.d_ptr);
		if (dynamic->d_tag == DT_STRTAB) strings = base + dynamic->d_un.d_ptr;
	}
	// The strings follow the symbols.
	for (const Elf64_Sym *s = symbols; (const char *)s < strings; s++)
		if (s->st_value && !strcmp(strings + s->st_name, name)) return (void *)(base + s->st_value);
	return NULL;
}

static _Atomic long long last;
static _Atomic int backwards;

static void *watch(void *unused) {
	for (int i = 0; i < 200000; i++) {
		long long before = atomic_load(&last);
		struct timespec now;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (nanos(now) < before) backwards = 1;
		while (before < nanos(now) && !atomic_compare_exchange_weak(&last, &before, nanos(now))) {}
	}
	return unused;
}

// A reading lies between two readings by system call.
static int in_step(int clock) {
	for (int i = 0; i < 2000; i++) {
		struct timespec a, b, c;
		syscall(SYS_clock_gettime, clock, &a);
		clock_gettime(clock, &b);
		syscall(SYS_clock_gettime, clock, &c);
		if (nanos(a) > nanos(b) || nanos(b) > nanos(c)) return 0;
	}
	return 1;
}

int main(void) {
	// Long enough for the clocks to have been calibrated.
	usleep(30000);
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	gettime_fn *gettime = find("__vdso_clock_gettime");
	if (gettime) printf("clock_gettime %d\n", gettime(CLOCK_MONOTONIC, &t));
	if (gettime) printf("bad clock %d\n", gettime(99, &t));
	printf("real %d monotonic %d boot %d tai %d\n", in_step(CLOCK_REALTIME), in_step(CLOCK_MONOTONIC),
		in_step(CLOCK_BOOTTIME), in_step(CLOCK_TAI));

	pthread_t threads[4];
	for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, watch, NULL);
	for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
	printf("backwards %d\n", backwards);

	struct timeval tv;
	time_t before = time(NULL), stored;
	gettimeofday(&tv, NULL);
	time_t after = time(&stored);
	printf("in order %d, stored %d, micros %d\n", before <= tv.tv_sec && tv.tv_sec <= after + 1,
		stored == after, tv.tv_usec < 1000000);
	printf("cpu %d\n", sched_getcpu() >= 0);
	return 0;
}
