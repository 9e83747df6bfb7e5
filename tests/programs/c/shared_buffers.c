// Reading and writing files straight from and to shared memory of which this process has touched
// only a part: what a database does with its buffers.
// build: dynamic
// keep
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define SIZE (16 << 20)
#define BLOCK 8192

static void check(const char *what, long got, long wanted)
{
	printf("%s: %ld%s\n", what, got, got == wanted ? "" : " (wrong)");
}

static long wrong(const unsigned char *p, long n, int first)
{
	long count = 0;
	for (long i = 0; i < n; i++)
		count += p[i] != (unsigned char)(first + i / 64);
	return count;
}

static void fill(unsigned char *p, long n, int first)
{
	for (long i = 0; i < n; i++)
		p[i] = first + i / 64;
}

int main(void)
{
	int fd = open("data", O_RDWR | O_CREAT | O_TRUNC, 0600);
	unsigned char *block = malloc(1 << 20);
	fill(block, 1 << 20, 7);
	check("written", write(fd, block, 1 << 20), 1 << 20);

	unsigned char *shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	// The first page is there, what follows is not, and the buffer is not aligned to pages.
	unsigned char *p = shared + (2 << 20) - BLOCK + 1024;
	p[0] = 1;
	check("pread", pread(fd, p, BLOCK, 0), BLOCK);
	check("bad bytes", wrong(p, BLOCK, 7), 0);

	// Across the place to which the first access brought memory in.
	p = shared + (4 << 20) - 1024;
	p[0] = 1;
	check("pread of much", pread(fd, p, 1 << 20, 0), 1 << 20);
	check("bad bytes", wrong(p, 1 << 20, 7), 0);

	// Pieces, the second one where nothing is mapped yet.
	unsigned char small[100];
	struct iovec iov[2] = {{small, sizeof small}, {shared + (8 << 20) + 77, BLOCK}};
	check("preadv", preadv(fd, iov, 2, 0), BLOCK + (long)sizeof small);
	check("bad bytes", memcmp(iov[1].iov_base, block + sizeof small, BLOCK), 0);

	// The end of the file is the end, edge or not.
	p = shared + (10 << 20);
	check("pread at the end", pread(fd, p, BLOCK, (1 << 20) - PAGE), PAGE);

	// A child writes what its parent filled, without having touched it.
	fill(shared + (12 << 20) + 512, 1 << 20, 50);
	fflush(stdout);
	if (fork() == 0) {
		volatile unsigned char *first = shared + (12 << 20);
		(void)first[512];
		check("pwrite", pwrite(fd, shared + (12 << 20) + 512, 1 << 20, 0), 1 << 20);
		struct iovec out[2] = {{small, sizeof small}, {shared + (12 << 20) + 512, BLOCK}};
		check("pwritev", pwritev(fd, out, 2, 1 << 20), BLOCK + (long)sizeof small);
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	check("size", lseek(fd, 0, SEEK_END), (1 << 20) + BLOCK + (long)sizeof small);
	check("read back", pread(fd, block, 1 << 20, 0), 1 << 20);
	check("bad bytes", wrong(block, 1 << 20, 50), 0);

	// Memory that ends: what fits is read, and nothing at all is an error.
	munmap(shared + PAGE, PAGE);
	check("pread into a gap", pread(fd, shared, BLOCK, 0), PAGE);
	check("pread into nothing", pread(fd, shared + PAGE, BLOCK, 0), -1);
	perror("pread into nothing");
	return 0;
}
