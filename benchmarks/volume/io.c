// Operations on the files of a directory; prints how many a second there were (or MiB).
//
//     io DIRECTORY OPERATION AMOUNT
//
// Amounts are MiB for `write` and `read`, operations or files for the others.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MIB = 1 << 20, BLOCK = 4096, FOLDER = 1000 };

static char buffer[MIB];
static uint64_t state = 1;

static uint64_t next(void) {
	uint64_t z = state += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void must(int good, const char *what) {
	if (good) return;
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static int file(const char *name, int flags) {
	int fd = open(name, flags, 0644);
	must(fd >= 0, name);
	return fd;
}

static const char *name_of(long i) {
	static char name[64];
	sprintf(name, "files/%ld/file-%ld", i / FOLDER, i);
	return name;
}

int main(int argc, char **argv) {
	must(argc == 4 && !chdir(argv[1]), "io DIRECTORY OPERATION AMOUNT");
	const char *what = argv[2];
	long amount = atol(argv[3]);
	for (int i = 0; i < MIB; i += 8) {
		uint64_t x = next();
		memcpy(buffer + i, &x, 8);
	}
	double start = now();
	if (!strcmp(what, "write")) {
		int fd = file("large", O_WRONLY | O_CREAT | O_TRUNC);
		for (long i = 0; i < amount; i++) must(write(fd, buffer, MIB) == MIB, "write");
		must(!fsync(fd), "fsync");
	} else if (!strcmp(what, "read")) {
		int fd = file("large", O_RDONLY);
		for (long i = 0; i < amount; i++) must(read(fd, buffer, MIB) == MIB, "read");
	} else if (!strcmp(what, "random-read") || !strcmp(what, "random-write")) {
		int writes = what[7] == 'w';
		int fd = file("large", O_RDWR);
		struct stat st;
		must(!fstat(fd, &st), "fstat");
		start = now();
		for (long i = 0; i < amount; i++) {
			off_t at = next() % (st.st_size / BLOCK) * BLOCK;
			ssize_t n = writes ? pwrite(fd, buffer + i % 256 * BLOCK, BLOCK, at) : pread(fd, buffer, BLOCK, at);
			must(n == BLOCK, what);
		}
		if (writes) must(!fsync(fd), "fsync");
	} else if (!strcmp(what, "fsync")) {
		int fd = file("synced", O_WRONLY | O_CREAT | O_TRUNC);
		for (long i = 0; i < amount; i++) {
			must(write(fd, buffer, BLOCK) == BLOCK, "write");
			must(!fsync(fd), "fsync");
		}
	} else if (!strcmp(what, "create")) {
		must(!mkdir("files", 0755), "mkdir");
		for (long i = 0; i < amount; i++) {
			char folder[64];
			sprintf(folder, "files/%ld", i / FOLDER);
			if (i % FOLDER == 0) must(!mkdir(folder, 0755), folder);
			close(file(name_of(i), O_WRONLY | O_CREAT | O_EXCL));
		}
		sync();
	} else if (!strcmp(what, "stat")) {
		struct stat st;
		for (long i = 0; i < amount; i++) must(!stat(name_of(next() % amount), &st), "stat");
	} else if (!strcmp(what, "unlink")) {
		for (long i = 0; i < amount; i++) must(!unlink(name_of(i)), "unlink");
		sync();
	} else {
		must(0, "no such operation");
	}
	printf("%f\n", amount / (now() - start));
}
