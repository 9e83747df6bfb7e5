// Code with system calls is mapped from a file again and again, by this program and by its
// children, while the file changes: what runs is what the file says now.
// build: dynamic static
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOT = 64, SITES = 40, SIZE = 4096, CALLS = 12 };

static const struct {
	const char *code;
	int len, is;
} shapes[] = {
	{"\xb8\x27\0\0\0\x0f\x05\xc3", 8, 'p'},                      // mov $39,%eax; syscall; ret
	{"\x6a\x27\x58\x0f\x05\x48\x3d\0\xf0\xff\xff\xc3", 12, 'p'}, // push $39; pop; syscall; cmp; ret
	{"\xb8\x6e\0\0\0\x0f\x05\xc3", 8, 'P'},                      // mov $110,%eax; syscall; ret
	{"\xb8\x27\0\0\0\x90\x90\xc3", 8, 39},                       // mov $39,%eax; nop; nop; ret
	{"\x6a\x6e\x58\x0f\x05\x48\x3d\0\xf0\xff\xff\xc3", 12, 'P'}, // push $110; pop; syscall; cmp; ret
	{"\x90\x90\x90\x0f\x05\x0f\x0b\xc3", 8, 0},                  // not to be run
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void write_file(int fd, int version) {
	static char page[SIZE];
	memset(page, 0xcc, SIZE);
	for (int i = 0; i < SITES; i++) {
		int shape = (i + version) % SHAPES;
		memcpy(page + i * SLOT + 16, shapes[shape].code, shapes[shape].len);
	}
	if (pwrite(fd, page, SIZE, 0) != SIZE) abort();
}

static int run(int fd, int version) {
	char *code = mmap(NULL, SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	if (code == MAP_FAILED) abort();
	int wrong = 0;
	for (int n = 0; n < CALLS; n++) {
		for (int i = 0; i < SITES; i++) {
			int is = shapes[(i + version) % SHAPES].is;
			if (is == 0) continue;
			int want = is == 'p' ? getpid() : is == 'P' ? getppid() : is;
			int got = ((int (*)(void))(code + i * SLOT + 16))();
			wrong += got != want;
		}
	}
	munmap(code, SIZE);
	return wrong;
}

int main(void) {
	char name[] = "/tmp/mapped_sites.XXXXXX";
	int fd = mkstemp(name), wrong = 0;
	for (int round = 0; round < 30; round++) {
		int version = round / 3;
		write_file(fd, version);
		wrong += run(fd, version);
		pid_t child = fork();
		if (child == 0) _exit(run(fd, version) != 0);
		int status;
		waitpid(child, &status, 0);
		if (status) printf("round %d: the child ended with %#x\n", round, status);
	}
	unlink(name);
	printf("wrong %d\n", wrong);
	return 0;
}
