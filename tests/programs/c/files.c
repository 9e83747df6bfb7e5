// Files: modes, links, renames, locks, holes, directories, times, vectors, copies.
// build: dynamic musl
// keep
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRY(call) do { errno = 0; long r_ = (long)(call); printf("%s = %ld %s\n", #call, r_, r_ < 0 ? strerrorname(errno) : ""); } while (0)

static const char *strerrorname(int error) {
	switch (error) {
	case ENOENT: return "ENOENT"; case EEXIST: return "EEXIST"; case ENOTDIR: return "ENOTDIR";
	case EISDIR: return "EISDIR"; case ENOTEMPTY: return "ENOTEMPTY"; case ELOOP: return "ELOOP";
	case EINVAL: return "EINVAL"; case EBADF: return "EBADF"; case EAGAIN: return "EAGAIN";
	case ENAMETOOLONG: return "ENAMETOOLONG"; case ENXIO: return "ENXIO"; case EACCES: return "EACCES";
	case EXDEV: return "EXDEV"; case ESPIPE: return "ESPIPE"; default: return strerror(error);
	}
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	umask(022);
	TRY(mkdir("dir", 0777));
	TRY(mkdir("dir", 0777));
	TRY(open("dir/missing", O_RDONLY));
	TRY(open("dir", O_WRONLY));
	int fd = open("dir/file", O_RDWR | O_CREAT | O_EXCL, 0666);
	TRY(open("dir/file", O_RDWR | O_CREAT | O_EXCL, 0666));
	struct iovec iov[] = {{"one ", 4}, {"two ", 4}, {"three", 5}};
	TRY(writev(fd, iov, 3));
	char buffer[64] = "";
	TRY(pread(fd, buffer, sizeof buffer, 4));
	printf("%s\n", buffer);
	TRY(lseek(fd, 1 << 20, SEEK_SET));
	TRY(write(fd, "end", 3));
	TRY(lseek(fd, 100000, SEEK_DATA) > 900000);
	TRY(lseek(fd, 0, SEEK_HOLE) < 900000);
	TRY(lseek(fd, -1, SEEK_SET));
	struct stat st;
	TRY(fstat(fd, &st));
	printf("size %ld mode %o links %lu\n", (long)st.st_size, st.st_mode, (unsigned long)st.st_nlink);
	TRY(ftruncate(fd, 10));
	TRY(fallocate(fd, 0, 0, 4096));
	TRY(link("dir/file", "dir/hard"));
	TRY(symlink("file", "dir/soft"));
	TRY(symlink("loop", "dir/loop"));
	TRY(open("dir/loop", O_RDONLY));
	TRY(open("dir/soft", O_RDONLY | O_NOFOLLOW));
	TRY(readlink("dir/soft", buffer, sizeof buffer));
	TRY(stat("dir/soft", &st));
	printf("links %lu\n", (unsigned long)st.st_nlink);
	TRY(rename("dir/hard", "dir/renamed"));
	TRY(syscall(SYS_renameat2, AT_FDCWD, "dir/renamed", AT_FDCWD, "dir/file", 1));
	TRY(mkdir("dir/sub", 0700));
	TRY(rename("dir/renamed", "dir/sub"));
	TRY(rename("dir", "dir/sub/x"));
	TRY(rmdir("dir"));
	TRY(unlink("dir/sub"));
	TRY(rmdir("dir/file"));
	TRY(open("dir/file/x", O_RDONLY));
	char longname[300];
	memset(longname, 'n', 299);
	longname[299] = 0;
	TRY(open(longname, O_RDONLY));
	TRY(chmod("dir/renamed", 0640));
	struct timespec times[] = {{1000000000, 5}, {1100000000, 7}};
	TRY(utimensat(AT_FDCWD, "dir/renamed", times, 0));
	TRY(stat("dir/renamed", &st));
	printf("mode %o mtime %ld.%ld\n", st.st_mode, (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	TRY(access("dir/renamed", R_OK));
	TRY(access("dir/renamed", X_OK));
	TRY(mkfifo("dir/fifo", 0600));
	TRY(open("dir/fifo", O_WRONLY | O_NONBLOCK));
	int copy = open("dir/copy", O_RDWR | O_CREAT, 0644);
	lseek(fd, 0, SEEK_SET);
	TRY(sendfile(copy, fd, NULL, 1000));
	TRY(copy_file_range(fd, NULL, copy, NULL, 1000, 0));
	TRY(lseek(copy, 0, SEEK_CUR));
	TRY(flock(copy, LOCK_EX));
	int other = open("dir/copy", O_RDWR);
	TRY(flock(other, LOCK_EX | LOCK_NB));
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10};
	TRY(fcntl(copy, F_SETLK, &lock));
	fflush(stdout);
	if (!fork()) {
		TRY(fcntl(copy, F_SETLK, &lock));
		lock.l_start = 10;
		TRY(fcntl(copy, F_SETLK, &lock));
		TRY(fcntl(copy, F_GETLK, &(struct flock){.l_type = F_RDLCK, .l_len = 1}));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	TRY(dup2(copy, 50));
	TRY(fcntl(50, F_GETFL) & O_ACCMODE);
	TRY(close(50));
	TRY(close(50));
	int append = open("dir/copy", O_WRONLY | O_APPEND | O_TRUNC);
	TRY(write(append, "abc", 3));
	TRY(pwrite(append, "def", 3, 0));
	TRY(lseek(append, 0, SEEK_END));
	int dir = open("dir", O_RDONLY | O_DIRECTORY);
	TRY(unlinkat(dir, "loop", 0));
	TRY(faccessat(dir, "soft", R_OK, 0));
	TRY(read(dir, buffer, 1));
	TRY(fchdir(dir));
	TRY(access("file", F_OK));
	TRY(chdir(".."));
	char cwd[PATH_MAX];
	printf("cwd %d\n", getcwd(cwd, sizeof cwd) && !strcmp(cwd, getenv("HOME")));
	struct dirent **names;
	int n = scandir("dir", &names, NULL, alphasort);
	for (int i = 0; i < n; i++) printf("%s %d\n", names[i]->d_name, names[i]->d_type);
	TRY(unlink("dir/file"));
	TRY(fstat(fd, &st));
	printf("links %lu\n", (unsigned long)st.st_nlink);
	return 0;
}
