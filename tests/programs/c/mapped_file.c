// A file that is mapped, and changed in every way: through mappings of one process and of two, by
// calls, by its size.
// keep
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEGABYTES 6L
#define SIZE (MEGABYTES << 20)
#define CHECK(what) do { if (!(what)) { printf("line %d: not %s (%s)\n", __LINE__, #what, strerror(errno)); exit(1); } } while (0)

static sigjmp_buf after;

static void caught(int number) { siglongjmp(after, number); }

static unsigned char at(int fd, off_t offset) {
	unsigned char byte = 0xee;
	CHECK(pread(fd, &byte, 1, offset) == 1);
	return byte;
}

static unsigned long next_random(void) {
	static unsigned long x = 1;
	x = x * 6364136223846793005UL + 1442695040888963407UL;
	return x >> 33;
}

int main(void) {
	static unsigned char buffer[1 << 20];
	int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0644);
	for (long i = 0; i < MEGABYTES; i++) {
		memset(buffer, (int)i + 1, sizeof buffer);
		CHECK(write(fd, buffer, sizeof buffer) == sizeof buffer);
	}
	unsigned char *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	for (long i = 0; i < SIZE; i += 4096)
		CHECK(map[i] == (i >> 20) + 1);
	puts("read");

	// Each page is clean again after it was written back, and its next change is noticed.
	for (int i = 0; i < 300; i++) {
		long offset = (long)(next_random() % SIZE);
		map[offset] ^= 0x55;
		CHECK(!msync(map + (offset & ~4095L), 4096, i % 3 ? MS_SYNC : MS_ASYNC));
		CHECK(at(fd, offset) == map[offset]);
	}
	for (int i = 0; i < 50; i++) {
		map[70000] = (unsigned char)i;
		CHECK(!fsync(fd));
		CHECK(at(fd, 70000) == i);
	}
	puts("synced");

	CHECK(pwrite(fd, "hello", 5, 12345) == 5 && !memcmp(map + 12345, "hello", 5));
	memcpy(map + 54321, "world", 5);
	CHECK(pread(fd, buffer, 5, 54321) == 5 && !memcmp(buffer, "world", 5));
	int self = open("/proc/self/exe", O_RDONLY);
	CHECK(read(self, map + (2 << 20) + 100, 8000) == 8000);
	CHECK(pread(fd, buffer, 8000, (2 << 20) + 100) == 8000 && !memcmp(buffer, "\177ELF", 4));
	puts("calls");

	pid_t child = fork();
	if (!child) {
		map[777777] = 'C';
		_exit(0);
	}
	CHECK(waitpid(child, NULL, 0) == child && map[777777] == 'C' && at(fd, 777777) == 'C');
	CHECK(!fsync(fd));
	puts("two processes");

	CHECK(!mprotect(map, SIZE, PROT_READ));
	signal(SIGSEGV, caught);
	signal(SIGBUS, caught);
	int got = sigsetjmp(after, 1);
	if (!got)
		map[99999] = 'x';
	CHECK(got == SIGSEGV);
	CHECK(!mprotect(map, SIZE, PROT_READ | PROT_WRITE));
	map[99999] = 'P';
	CHECK(at(fd, 99999) == 'P');
	puts("rights");

	CHECK(!ftruncate(fd, SIZE / 2 - 5000));
	got = sigsetjmp(after, 1);
	if (!got)
		map[SIZE - 1] = 'x';
	CHECK(got == SIGBUS);
	CHECK(!ftruncate(fd, SIZE));
	CHECK(map[SIZE / 2 - 5001] != 0 && map[SIZE / 2 - 5000] == 0 && map[SIZE - 1] == 0);
	map[SIZE - 10] = 'E';
	CHECK(!madvise(map + 4096, 8192, MADV_REMOVE));
	CHECK(map[4096] == 0 && map[12287] == 0 && at(fd, 5000) == 0);
	puts("sizes");

	CHECK(!munmap(map, SIZE));
	CHECK(at(fd, SIZE - 10) == 'E' && at(fd, 99999) == 'P' && at(fd, 777777) == 'C');
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	map[99999] = 'Z';
	CHECK(at(fd, 99999) == 'P' && map[777777] == 'C');
	puts("private");
	return 0;
}
