// Memory at its edges: truncation under mappings, holes, advice, locks, moves, limits, stacks that
// grow, seals, other processes' memory.
// build: dynamic musl
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

// musl comes without the kernel's headers.
#ifndef FUTEX_WAIT
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#endif

#define PAGE 4096UL
#define BOTH (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static const char *result(long r) {
	static char text[8][32];
	static int next;
	char *out = text[next++ % 8];
	if (r >= 0) {
		snprintf(out, 32, "ok");
		return out;
	}
	switch (errno) {
	case EINVAL: return "EINVAL"; case ENOMEM: return "ENOMEM"; case EACCES: return "EACCES";
	case EPERM: return "EPERM"; case EFAULT: return "EFAULT"; case EAGAIN: return "EAGAIN";
	case EEXIST: return "EEXIST"; case EBUSY: return "EBUSY"; case EBADF: return "EBADF";
	case EOVERFLOW: return "EOVERFLOW"; case ENODEV: return "ENODEV"; case ESRCH: return "ESRCH";
	default: return strerror(errno);
	}
}
#define SHOW(call) printf("%-60.60s %s\n", #call, result((long)(call)))

static sigjmp_buf back;
static volatile int signal_code, expected;

static void on_fault(int signo, siginfo_t *info, void *context) {
	if (!expected) _exit(99);
	signal_code = info->si_code;
	siglongjmp(back, signo);
}

// What an access to one byte comes to.
static const char *access_byte(volatile char *at, int write) {
	int signo = sigsetjmp(back, 1);
	if (!signo) {
		expected = 1;
		if (write) *at = 1; else (void)*at;
	}
	expected = 0;
	switch (signo) {
	case 0: return "fine";
	case SIGBUS: return signal_code == BUS_ADRERR ? "SIGBUS" : "SIGBUS, odd code";
	case SIGSEGV: return signal_code == SEGV_MAPERR ? "SIGSEGV unmapped" : "SIGSEGV forbidden";
	default: return "?";
	}
}

static char *map(size_t pages, int prot, int flags, int fd, off_t offset) {
	return mmap(NULL, pages * PAGE, prot, flags, fd, offset);
}

static void truncation(int fd, const char *what) {
	printf("-- truncation of %s\n", what);
	ftruncate(fd, 4 * PAGE);
	char *shared = map(6, BOTH, MAP_SHARED, fd, 0), *own = map(6, BOTH, MAP_PRIVATE, fd, 0);
	printf("hole reads %d, beyond the end %s\n", shared[2 * PAGE], access_byte(shared + 4 * PAGE, 0));
	shared[0] = 's';
	shared[3 * PAGE + 5] = 't';
	own[3 * PAGE] = 'p';
	char c = 0;
	pread(fd, &c, 1, 3 * PAGE + 5);
	printf("file has %c, private has %c and %c\n", c, own[3 * PAGE + 5], own[3 * PAGE]);
	SHOW(ftruncate(fd, PAGE + 100));
	printf("cut off: shared %s, private %s, last page %s\n", access_byte(shared + 2 * PAGE, 0),
	       access_byte(own + 3 * PAGE, 0), access_byte(shared + PAGE + 200, 1));
	SHOW(ftruncate(fd, 4 * PAGE));
	// Whether what was written beyond the end is seen now depends on the file system.
	printf("grown: shared %d %d, private %d\n", shared[PAGE + 100], shared[3 * PAGE + 5], own[3 * PAGE]);
	SHOW(read(fd, shared + 5 * PAGE, 1));
	struct iovec at = {shared, 4 * PAGE};
	SHOW(pwritev(fd, &at, 1, 0));
	memset(shared, 'x', 4 * PAGE);
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE) == 0)
		printf("punched: %c %d %c\n", shared[PAGE - 1], shared[PAGE], shared[2 * PAGE]);
	munmap(shared, 6 * PAGE);
	munmap(own, 6 * PAGE);
}

static void advice(void) {
	printf("-- advice\n");
	char *a = map(8, BOTH, ANON, -1, 0);
	memset(a, 'a', 8 * PAGE);
	munmap(a + 4 * PAGE, PAGE);
	SHOW(madvise(a, 8 * PAGE, MADV_DONTNEED));
	a[0] = 1;
	printf("both sides dropped: %d %d\n", a[PAGE], a[7 * PAGE]);
	SHOW(madvise(a + 1, PAGE, MADV_NORMAL));
	SHOW(madvise(a, PAGE, 999));
	SHOW(madvise(a, 0, MADV_NORMAL));
	SHOW(madvise(a, PAGE, MADV_REMOVE));
	SHOW(madvise(a, 2 * PAGE, MADV_POPULATE_WRITE));
	SHOW(madvise(a, 8 * PAGE, MADV_POPULATE_READ));
	mprotect(a, PAGE, PROT_READ);
	SHOW(madvise(a, PAGE, MADV_POPULATE_WRITE));
	SHOW(mlock(a + PAGE, PAGE));
	SHOW(madvise(a, 4 * PAGE, MADV_DONTNEED));
	SHOW(munlock(a + PAGE, PAGE));
	char *s = map(2, BOTH, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memset(s, 's', 2 * PAGE);
	SHOW(madvise(s, 2 * PAGE, MADV_DONTNEED));
	printf("shared stays: %c\n", s[0]);
	SHOW(madvise(s, PAGE, MADV_FREE));
	SHOW(madvise(s, PAGE, MADV_REMOVE));
	printf("removed: %d %c\n", s[0], s[PAGE]);
	SHOW(madvise(s, PAGE, MADV_WIPEONFORK));
	char *f = map(3, BOTH, ANON, -1, 0);
	memset(f, 'f', 3 * PAGE);
	SHOW(madvise(f, PAGE, MADV_WIPEONFORK));
	SHOW(madvise(f + PAGE, PAGE, MADV_DONTFORK));
	fflush(stdout);
	if (!fork()) {
		printf("child: %d, %s, %c\n", f[0], access_byte(f + PAGE, 0), f[2 * PAGE]);
		exit(0);
	}
	wait(NULL);
	printf("parent: %c %c\n", f[0], f[PAGE]);
	char *g = map(4, BOTH, ANON, -1, 0);
	memset(g, 'g', 4 * PAGE);
	SHOW(madvise(g + PAGE, 2 * PAGE, MADV_GUARD_INSTALL));
	printf("guards: %s, %s, ", access_byte(g + PAGE, 0), access_byte(g + 2 * PAGE, 1));
	mprotect(g, 4 * PAGE, PROT_READ);
	mprotect(g, 4 * PAGE, BOTH);
	madvise(g, 4 * PAGE, MADV_DONTNEED);
	printf("still: %s %d\n", access_byte(g + PAGE, 0), g[0]);
	SHOW(madvise(g, 4 * PAGE, MADV_GUARD_REMOVE));
	printf("gone: %s %d\n", access_byte(g + PAGE, 1), g[2 * PAGE]);
}

static void moves(void) {
	printf("-- moves\n");
	char *a = map(4, BOTH, ANON, -1, 0), *room = map(16, PROT_NONE, ANON, -1, 0);
	memset(a, 'a', 4 * PAGE);
	a[3 * PAGE] = 'z';
	mprotect(a + PAGE, PAGE, PROT_READ);
	SHOW(mremap(a, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room) == MAP_FAILED ? -1 : 0);
	SHOW(mremap(a, PAGE, PAGE, MREMAP_FIXED, room) == MAP_FAILED ? -1 : 0);
	SHOW(mremap(a, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a + PAGE) == MAP_FAILED ? -1 : 0);
	SHOW(mremap(a + 2 * PAGE, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room + PAGE) == MAP_FAILED ? -1 : 0);
	printf("moved: %c %c %d, old %s\n", room[PAGE], room[2 * PAGE], room[3 * PAGE], access_byte(a + 2 * PAGE, 0));
	SHOW(mremap(a, 0, PAGE, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0);
	char *kept = mremap(room + PAGE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	printf("kept: %c %c, empty %d\n", kept[0], kept[PAGE], room[PAGE]);
	char *s = map(2, BOTH, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	s[0] = 'q';
	char *twin = mremap(s, 0, 2 * PAGE, MREMAP_MAYMOVE);
	twin[PAGE] = 'r';
	printf("twin: %c %c\n", twin[0], s[PAGE]);
	SHOW(remap_file_pages(s, PAGE, 0, 1, 0));
	printf("turned: %c %c\n", s[0], twin[PAGE]);
	SHOW(remap_file_pages(a, PAGE, 0, 1, 0));
	char *big = mremap(s + PAGE, PAGE, 3 * PAGE, MREMAP_MAYMOVE);
	printf("beyond shared memory: %s\n", access_byte(big + 2 * PAGE, 1));
}

static void limits(void) {
	printf("-- limits\n");
	fflush(stdout);
	if (!fork()) {
		struct rlimit lock = {8 * PAGE, 8 * PAGE};
		char *a = map(16, BOTH, ANON, -1, 0);
		setrlimit(RLIMIT_MEMLOCK, &lock);
		SHOW(setuid(65534));
		SHOW(mlock(a, 16 * PAGE));
		SHOW(mlock(a, 8 * PAGE));
		SHOW(mlock2(a, PAGE, 77));
		SHOW(mmap(NULL, PAGE, BOTH, ANON | MAP_LOCKED, -1, 0) == MAP_FAILED ? -1 : 0);
		SHOW(munlockall());
		SHOW(mlockall(MCL_CURRENT));
		SHOW(mlockall(0));
		lock.rlim_cur = lock.rlim_max = 0;
		setrlimit(RLIMIT_MEMLOCK, &lock);
		SHOW(mlock(a, PAGE));
		SHOW(mlockall(MCL_FUTURE));
		struct rlimit space = {1 << 20, 1 << 20};
		setrlimit(RLIMIT_AS, &space);
		SHOW(mmap(NULL, 1 << 20, BOTH, ANON, -1, 0) == MAP_FAILED ? -1 : 0);
		exit(0);
	}
	wait(NULL);
}

static void places(int fd) {
	printf("-- places\n");
	char *a = map(4, BOTH, ANON, -1, 0);
	SHOW(mmap(a, PAGE, BOTH, ANON | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED ? -1 : 0);
	SHOW(mmap(a + 1, PAGE, BOTH, ANON | MAP_FIXED, -1, 0) == MAP_FAILED ? -1 : 0);
	SHOW(mmap((void *)-PAGE, PAGE, BOTH, ANON | MAP_FIXED, -1, 0) == MAP_FAILED ? -1 : 0);
	SHOW(mmap(NULL, 0, BOTH, ANON, -1, 0) == MAP_FAILED ? -1 : 0);
	SHOW(mmap(NULL, PAGE, BOTH, MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
	SHOW(mmap(NULL, PAGE, BOTH, MAP_PRIVATE, -1, 0) == MAP_FAILED ? -1 : 0);
	SHOW(mmap(NULL, PAGE, BOTH, MAP_SHARED_VALIDATE | (1 << 25), fd, 0) == MAP_FAILED ? -1 : 0);
	SHOW(munmap(a + 1, PAGE));
	SHOW(munmap(a, 0));
	SHOW(mprotect(a, 5 * PAGE + (1UL << 40), PROT_READ));
	SHOW(mprotect(a + 1, PAGE, PROT_READ));
	SHOW(mprotect(a, PAGE, 0x100));
	SHOW(mprotect(a, PAGE, PROT_GROWSDOWN | PROT_READ));
	SHOW(msync(a, PAGE, MS_SYNC | MS_ASYNC));
	SHOW(msync(a + 1, PAGE, MS_SYNC));
	SHOW(mlock(a, PAGE));
	SHOW(msync(a, PAGE, MS_SYNC | MS_INVALIDATE));
	unsigned char vec[8];
	SHOW(mincore(a + 1, PAGE, vec));
	SHOW(mincore(a, PAGE, (void *)8));
	munmap(a + 2 * PAGE, PAGE);
	SHOW(mincore(a, 4 * PAGE, vec));
	SHOW(msync(a + PAGE, 3 * PAGE, MS_SYNC));
	uintptr_t low = (uintptr_t)mmap(NULL, PAGE, BOTH, ANON | MAP_32BIT, -1, 0);
	printf("below 2 GiB: %d\n", low < 1UL << 31);
	printf("read only: %s, none: %s\n", access_byte(map(1, PROT_READ, ANON, -1, 0), 1),
	       access_byte(map(1, PROT_NONE, ANON, -1, 0), 0));
}

static void stack(void) {
	printf("-- a stack that grows\n");
	char *room = map(600, PROT_NONE, ANON, -1, 0);
	munmap(room, 600 * PAGE);
	char *top = room + 600 * PAGE;
	char *a = mmap(top - PAGE, PAGE, BOTH, ANON | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	mmap(room, PAGE, BOTH, ANON | MAP_FIXED, -1, 0);
	printf("next page %s, further %s\n", access_byte(a - 1, 1), access_byte(a - 100 * PAGE, 1));
	printf("near the neighbour %s\n", access_byte(room + 200 * PAGE, 1));
}

static void seals(void) {
	printf("-- seals\n");
	int fd = memfd_create("sealed", MFD_ALLOW_SEALING | MFD_CLOEXEC), plain = memfd_create("plain", 0);
	printf("%d %d\n", fcntl(fd, F_GET_SEALS), fcntl(plain, F_GET_SEALS));
	SHOW(fcntl(plain, F_ADD_SEALS, F_SEAL_SHRINK));
	SHOW(fcntl(fd, F_ADD_SEALS, 0x1000));
	ftruncate(fd, 2 * PAGE);
	char *s = map(2, BOTH, MAP_SHARED, fd, 0);
	SHOW(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	SHOW(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	s[0] = 'w';
	SHOW(write(fd, "x", 1));
	SHOW(mmap(NULL, PAGE, BOTH, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
	char *r = map(1, PROT_READ, MAP_SHARED, fd, 0);
	SHOW(mprotect(r, PAGE, BOTH));
	munmap(s, 2 * PAGE);
	SHOW(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW));
	SHOW(ftruncate(fd, PAGE));
	SHOW(ftruncate(fd, 3 * PAGE));
	SHOW(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
	char *p = map(1, BOTH, MAP_PRIVATE, fd, 0);
	p[0] = 'p';
	printf("private %c, sealed %c\n", p[0], r[0]);
	SHOW(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
	SHOW(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	char name[300];
	memset(name, 'n', sizeof name);
	name[249] = 0;
	SHOW(memfd_create(name, 0));
	name[249] = 'n', name[250] = 0;
	SHOW(memfd_create(name, 0));
	SHOW(memfd_create("x", 0x100));
}

static void others(void) {
	printf("-- other processes\n");
	int go[2], done[2];
	pipe(go);
	pipe(done);
	char *a = map(4, BOTH, ANON, -1, 0), *s = map(4, BOTH, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fflush(stdout);
	pid_t child = fork();
	char c;
	if (!child) {
		strcpy(a, "child's own");
		write(done[1], "x", 1);
		read(go[0], &c, 1);
		printf("child sees %s, %s\n", a, s + PAGE);
		exit(0);
	}
	read(done[0], &c, 1);
	char text[32] = "", word[] = "from outside";
	struct iovec here = {text, 12}, there = {a, 12};
	printf("read %zd ", process_vm_readv(child, &here, 1, &there, 1, 0));
	printf("%s\n", text);
	struct iovec from = {word, sizeof word}, to[2] = {{a, 5}, {a + 5, sizeof word - 5}};
	printf("written %zd\n", process_vm_writev(child, &from, 1, to, 2, 0));
	struct iovec mine = {"shared", 7}, hole = {s + PAGE, 7};
	printf("hole %zd, here %s\n", process_vm_writev(child, &mine, 1, &hole, 1, 0), s + PAGE);
	struct iovec bad = {(void *)8, 8};
	SHOW(process_vm_readv(child, &here, 1, &bad, 1, 0));
	SHOW(process_vm_readv(child, &here, 1, &there, 1, 1));
	SHOW(process_vm_readv(child, &here, 2000, &there, 1, 0));
	SHOW(process_vm_readv(0x7fffffff, &here, 1, &there, 1, 0));
	struct iovec long_one = {a, 4 * PAGE}, sink = {malloc(8 * PAGE), 8 * PAGE};
	munmap(a + PAGE, PAGE);
	printf("partial %zd\n", process_vm_readv(getpid(), &sink, 1, &long_one, 1, 0));
	write(go[1], "x", 1);
	wait(NULL);

	// A futex in shared memory that two mappings show.
	int fd = memfd_create("futex", 0);
	ftruncate(fd, PAGE);
	int *one = mmap(NULL, PAGE, BOTH, MAP_SHARED, fd, 0), *two = mmap(NULL, PAGE, BOTH, MAP_SHARED, fd, 0);
	child = fork();
	if (!child) {
		while (syscall(SYS_futex, one, FUTEX_WAIT, 0, NULL, NULL, 0) == -1 && errno == EINTR) {}
		exit(one[0]);
	}
	int woken = 0, status;
	two[0] = 7;
	while (!woken && waitpid(child, &status, WNOHANG) == 0) {
		woken = syscall(SYS_futex, two, FUTEX_WAKE, 1, NULL, NULL, 0);
		usleep(1000);
	}
	if (woken) waitpid(child, &status, 0);
	printf("futex: %d\n", WEXITSTATUS(status));
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
	truncation(memfd_create("memory", 0), "a memory file");
	truncation(fd, "a file");
	advice();
	moves();
	limits();
	places(fd);
	stack();
	seals();
	others();
	unlink("file");
	return 0;
}
