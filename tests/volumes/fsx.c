// Random operations on a few files at once, each checked against a copy in memory: reads, writes,
// mappings (short ones, and one per file that stays), holes, changes of size, renames, fsync.
// After fsx, which found many a bug in other file systems.
//
//     fsx DIRECTORY SEED OPERATIONS [SECONDS]
//
// What it does depends on the seed and the number of operations alone; with SECONDS it stops early.
// It leaves DIRECTORY/fN and what they must hold, DIRECTORY/fN.model, and goes on from such files.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FILES = 4, MOST = 6 << 20, PAGE = 4096 };

static struct file {
	int fd;
	size_t size;
	unsigned char *model;
	// A mapping of the whole range that a file may have: what lies beyond the end is not touched.
	unsigned char *map;
} files[FILES];

static uint64_t state, operation;
static const char *doing = "start";
static unsigned char buffer[MOST];

static uint64_t next(void) {
	uint64_t z = state += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static uint64_t below(uint64_t n) { return n ? next() % n : 0; }

static void fail(const char *why, uint64_t at) {
	printf("operation %lu, %s: %s at %lu (%s)\n", operation, doing, why, at, strerror(errno));
	exit(1);
}

static void must(int good, const char *why) {
	if (!good) fail(why, 0);
}

static void name(char *out, int i, const char *suffix) { sprintf(out, "f%d%s", i, suffix); }

static void open_file(int i) {
	char path[32];
	name(path, i, "");
	struct file *f = &files[i];
	must((f->fd = open(path, O_RDWR | O_CREAT, 0644)) >= 0, "open");
	f->map = mmap(0, MOST, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
	must(f->map != MAP_FAILED, "mmap");
}

static void close_file(int i) {
	must(!munmap(files[i].map, MOST), "munmap");
	must(!close(files[i].fd), "close");
}

// Most operations are small, some large, and many begin or end where a block does.
static void range(size_t most, size_t *at, size_t *len) {
	static const size_t longest[] = {64, 3000, 20000, 300000};
	*at = below(most + 1);
	*len = 1 + below(longest[below(4)]);
	if (!below(3)) *at -= *at % PAGE;
	if (!below(3)) *len = (*len + PAGE - 1) / PAGE * PAGE;
	if (*at > most) *at = most;
	if (*len > most - *at) *len = most - *at;
}

static void fill(unsigned char *to, size_t len) {
	// Blocks of one letter are as common as noise: what is equal must not be mixed up either.
	if (!below(4)) {
		memset(to, below(256), len);
		return;
	}
	for (size_t i = 0; i < len; i += 8) {
		uint64_t x = next();
		memcpy(to + i, &x, len - i < 8 ? len - i : 8);
	}
}

static void same(const unsigned char *got, const struct file *f, size_t at, size_t len) {
	if (!memcmp(got, f->model + at, len)) return;
	for (size_t i = 0; i < len; i++)
		if (got[i] != f->model[at + i]) {
			printf("file %ld: byte %zu is %d, not %d\n", f - files, at + i, got[i], f->model[at + i]);
			fail("contents differ", at + i);
		}
}

static void grow(struct file *f, size_t end) {
	if (end > f->size) f->size = end;
}

static void check_size(struct file *f) {
	struct stat st;
	must(!fstat(f->fd, &st), "fstat");
	if ((size_t)st.st_size != f->size) fail("size differs", st.st_size);
}

static void step(void) {
	int i = below(FILES);
	struct file *f = &files[i];
	size_t at, len;
	char a[32], b[32];
	switch (below(100)) {
	case 0 ... 19:
		doing = "pread";
		range(f->size, &at, &len);
		must(pread(f->fd, buffer, len + 10, at) >= (ssize_t)len, "short");
		same(buffer, f, at, len);
		break;
	case 20 ... 44:
		doing = "pwrite";
		range(MOST, &at, &len);
		fill(f->model + at, len);
		must(pwrite(f->fd, f->model + at, len, at) == (ssize_t)len, "short");
		if (len) grow(f, at + len);
		break;
	case 45 ... 54:
		doing = "read of the mapping";
		range(f->size, &at, &len);
		same(f->map + at, f, at, len);
		// What follows the end in its page is zeros.
		if (at + len == f->size)
			for (size_t end = f->size; end % PAGE; end++)
				if (f->map[end]) fail("not zero after the end", end);
		break;
	case 55 ... 66:
		doing = "write to the mapping";
		range(f->size, &at, &len);
		fill(f->model + at, len);
		memcpy(f->map + at, f->model + at, len);
		break;
	case 67 ... 70: {
		doing = "short mapping";
		range(f->size, &at, &len);
		if (!len) break;
		size_t skip = at % PAGE;
		unsigned char *m = mmap(0, len + skip, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, at - skip);
		must(m != MAP_FAILED, "mmap");
		same(m + skip, f, at, len);
		fill(f->model + at, len);
		memcpy(m + skip, f->model + at, len);
		if (below(2)) must(!msync(m, len + skip, below(2) ? MS_SYNC : MS_ASYNC), "msync");
		must(!munmap(m, len + skip), "munmap");
		break;
	}
	case 71 ... 76:
		doing = "ftruncate";
		range(below(3) ? f->size : MOST, &at, &len);
		if (!below(20)) at = 0;
		must(!ftruncate(f->fd, at), "ftruncate");
		if (at < f->size) memset(f->model + at, 0, f->size - at);
		f->size = at;
		break;
	case 77 ... 82:
		doing = "hole";
		range(MOST, &at, &len);
		if (!len) break;
		must(!fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len), "fallocate");
		if (at < f->size) memset(f->model + at, 0, len < f->size - at ? len : f->size - at);
		break;
	case 83 ... 84:
		doing = "fallocate";
		range(MOST, &at, &len);
		if (!len) break;
		must(!fallocate(f->fd, 0, at, len), "fallocate");
		grow(f, at + len);
		break;
	case 85 ... 87: {
		doing = "SEEK_DATA";
		range(f->size, &at, &len);
		off_t data = lseek(f->fd, at, SEEK_DATA);
		must(data >= 0 || errno == ENXIO, "lseek");
		size_t end = data < 0 ? f->size : (size_t)data;
		for (size_t p = at; p < end; p++)
			if (f->model[p]) fail("data in a hole", p);
		break;
	}
	case 88 ... 90:
		doing = "fsync";
		must(!(below(2) ? fsync : fdatasync)(f->fd), "fsync");
		break;
	case 91:
		doing = "sync";
		sync();
		break;
	case 92 ... 93:
		doing = "append";
		range(MOST - f->size, &at, &len);
		fill(f->model + f->size, len);
		must(lseek(f->fd, 0, SEEK_END) == (off_t)f->size, "lseek");
		must(write(f->fd, f->model + f->size, len) == (ssize_t)len, "short");
		f->size += len;
		break;
	case 94 ... 95: {
		doing = "copy_file_range";
		struct file *to = &files[(i + 1) % FILES];
		range(f->size, &at, &len);
		off_t in = at, out = below(MOST - len + 1);
		if (!below(2)) out -= out % PAGE;
		while (len) {
			ssize_t n = copy_file_range(f->fd, &in, to->fd, &out, len, 0);
			must(n > 0, "copy_file_range");
			memcpy(to->model + out - n, f->model + in - n, n);
			grow(to, out);
			len -= n;
		}
		check_size(to);
		break;
	}
	case 96 ... 97:
		doing = "close and open";
		close_file(i);
		open_file(i);
		break;
	case 98: {
		doing = "rename";
		// The file takes its neighbour's place; a new one takes its own.
		int j = (i + 1) % FILES;
		name(a, i, "");
		name(b, j, "");
		close_file(j);
		must(!rename(a, b), "rename");
		memset(files[j].model, 0, MOST);
		struct file old = files[j];
		files[j] = *f;
		*f = old;
		f->size = 0;
		open_file(i);
		break;
	}
	case 99:
		doing = "unlink";
		// It is still there for who has it open.
		name(a, i, "");
		must(!unlink(a), "unlink");
		same(f->map, f, 0, f->size);
		close_file(i);
		memset(f->model, 0, MOST);
		f->size = 0;
		open_file(i);
		break;
	}
	check_size(f);
}

static void whole(struct file *f) {
	check_size(f);
	must(pread(f->fd, buffer, MOST, 0) == (ssize_t)f->size, "short");
	same(buffer, f, 0, f->size);
	same(f->map, f, 0, f->size);
}

int main(int argc, char **argv) {
	if (argc < 4 || chdir(argv[1])) {
		fprintf(stderr, "fsx DIRECTORY SEED OPERATIONS [SECONDS]\n");
		return 2;
	}
	state = strtoull(argv[2], 0, 10);
	uint64_t most = strtoull(argv[3], 0, 10);
	time_t end = argc > 4 ? time(0) + atol(argv[4]) : 0;
	char path[32];
	for (int i = 0; i < FILES; i++) {
		struct file *f = &files[i];
		must((f->model = calloc(1, MOST)) != 0, "calloc");
		name(path, i, ".model");
		int fd = open(path, O_RDONLY);
		if (fd >= 0) {
			must((f->size = read(fd, f->model, MOST)) <= MOST, "read");
			close(fd);
		}
		open_file(i);
		whole(f);
	}
	for (operation = 0; operation < most && (!end || time(0) < end); operation++) {
		step();
		if (operation % 1000 == 999)
			for (int i = 0; i < FILES; i++) whole(&files[i]);
	}
	uint64_t digest = 0xcbf29ce484222325;
	for (int i = 0; i < FILES; i++) {
		struct file *f = &files[i];
		doing = "end";
		whole(f);
		for (size_t p = 0; p < f->size; p++) digest = (digest ^ f->model[p]) * 0x100000001b3;
		name(path, i, ".model");
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
		must(write(fd, f->model, f->size) == (ssize_t)f->size && !close(fd), "write");
	}
	printf("%lu operations, all as expected: %016lx\n", operation, digest);
}
