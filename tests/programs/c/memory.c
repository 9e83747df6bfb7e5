// Memory: private and shared mappings, files, protection, remapping, break, bad pointers.
// build: dynamic static musl
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

// Whether a call fails with this error. Calls among printf's arguments have no order of their own.
#define FAILS(call, error) ({ errno = 0; long r_ = (long)(call); r_ == -1 && errno == (error); })

static long deep(int n) {
	volatile char frame[8192];
	frame[0] = (char)n;
	return n ? deep(n - 1) + frame[0] : 0;
}

static int maps(uintptr_t addr, char *rights) {
	// Without the library's files, which would map memory of their own.
	static char text[65536];
	int fd = open("/proc/self/maps", O_RDONLY), found = 0;
	size_t used = 0;
	ssize_t n;
	while ((n = read(fd, text + used, sizeof text - 1 - used)) > 0) used += n;
	close(fd);
	text[used] = 0;
	for (char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) == 3 && addr >= from && addr < to) {
			found = 1;
			break;
		}
	}
	return found;
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	int both = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
	char *a = mmap(NULL, 16 * 4096, both, anon, -1, 0);
	memset(a, 'a', 16 * 4096);
	printf("unmap the middle: %d\n", munmap(a + 4096, 4096));
	char rights[8] = "";
	printf("maps: %d", maps((uintptr_t)a, rights));
	printf(" %d", maps((uintptr_t)a + 4096, rights));
	mprotect(a, 4096, PROT_READ);
	maps((uintptr_t)a, rights);
	printf(" %s\n", rights);
	char *b = mmap(a + 4096, 4096, both, anon | MAP_FIXED_NOREPLACE, -1, 0);
	printf("fixed: %d, zero %d\n", b == a + 4096, b[0]);
	printf("no replace: %d\n", FAILS(mmap(a, 4096, both, anon | MAP_FIXED_NOREPLACE, -1, 0), EEXIST));
	b = mremap(a + 8192, 2 * 4096, 64 * 4096, MREMAP_MAYMOVE);
	printf("grown: %c %c %d\n", b[0], b[8191], b[8192]);
	b = mremap(b, 64 * 4096, 4096, 0);
	printf("shrunk: %c\n", b[0]);
	madvise(b, 4096, MADV_DONTNEED);
	printf("dropped: %d\n", b[0]);

	int *shared = mmap(NULL, 4096, both, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int *own = mmap(NULL, 4096, both, anon, -1, 0);
	if (!fork()) {
		shared[0] = own[0] = 5;
		_exit(0);
	}
	wait(NULL);
	printf("fork: shared %d, private %d\n", shared[0], own[0]);

	int fd = open("file", O_RDWR | O_CREAT, 0600);
	char text[8192];
	memset(text, 'f', sizeof text);
	printf("write %zd\n", write(fd, text, sizeof text));
	char *s = mmap(NULL, 8192, both, MAP_SHARED, fd, 0);
	char *p = mmap(NULL, 8192, both, MAP_PRIVATE, fd, 0);
	s[0] = 'S';
	p[1] = 'P';
	printf("pread %zd: ", pread(fd, text, 2, 0));
	printf("%c%c, private %c%c\n", text[0], text[1], p[0], p[1]);
	printf("pwrite %zd: ", pwrite(fd, "W", 1, 4096));
	printf("shared %c, private %c\n", s[4096], p[4096]);
	printf("msync %d\n", msync(s, 8192, MS_SYNC));
	int reader = open("file", O_RDONLY);
	printf("no write: %d\n", FAILS(mmap(NULL, 4096, both, MAP_SHARED, reader, 0), EACCES));
	close(fd);
	unlink("file");
	printf("after unlink: %c\n", s[0]);

	fd = memfd_create("name", MFD_ALLOW_SEALING);
	printf("memfd %d ", ftruncate(fd, 4096));
	printf("%d ", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	printf("%d\n", FAILS(write(fd, "x", 1), EPERM));

	unsigned char vec[4];
	a = mmap(NULL, 4 * 4096, both, anon, -1, 0);
	a[4096] = 1;
	printf("mincore %d:", mincore(a, 4 * 4096, vec));
	printf(" %d%d\n", vec[1] & 1, vec[3] & 1);
	printf("mlock %d\n", mlock(a, 4096));

	// The call itself: the libraries differ in what they make of it.
	char *top = (char *)syscall(SYS_brk, 0);
	printf("brk %d", (char *)syscall(SYS_brk, top + (1 << 20)) == top + (1 << 20));
	top[(1 << 20) - 1] = 1;
	printf(" %d\n", (char *)syscall(SYS_brk, top) == top);
	printf("deep stack %d\n", deep(500) >= 0);

	void *volatile bad = (void *)8;
	struct iovec iov = {.iov_base = bad, .iov_len = 8};
	struct stat st;
	fd = open("/dev/zero", O_RDONLY);
	printf("bad pointers:");
	printf(" %d", FAILS(read(fd, bad, 8), EFAULT));
	printf(" %d", FAILS(readv(fd, &iov, 1), EFAULT));
	printf(" %d", FAILS(open(bad, O_RDONLY), EFAULT));
	printf(" %d", FAILS(pipe(bad), EFAULT));
	printf(" %d", FAILS(syscall(SYS_fstat, fd, mmap(NULL, 4096, PROT_READ, anon, -1, 0)), EFAULT));
	printf(" %d\n", stat("/", &st) == 0);
	printf("too much: %d\n", FAILS(mmap(NULL, 1UL << 47, both, anon, -1, 0), ENOMEM));
	return 0;
}
