// Files of a writable host directory: extended attributes, files without a name, FIFOs, sockets.
// build: dynamic musl
// keep
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define TRY(call) do { errno = 0; long r_ = (long)(call); printf("%s = %ld %s\n", #call, r_, r_ < 0 ? strerror(errno) : ""); } while (0)

static int by_name(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

static void list(const char *path) {
	char names[1024], *found[64];
	ssize_t size = llistxattr(path, names, sizeof names);
	int count = 0;
	for (char *name = names; name < names + size; name += strlen(name) + 1) found[count++] = name;
	qsort(found, count, sizeof *found, by_name);
	printf("%s has", path);
	for (int i = 0; i < count; i++) {
		char value[64] = "";
		ssize_t length = lgetxattr(path, found[i], value, sizeof value - 1);
		printf(" %s=%zd:%s", found[i], length, value);
	}
	printf("\n");
}

static void attributes(void) {
	char value[64] = "", big[5000] = "";
	int fd = open("file", O_RDWR | O_CREAT, 0644);
	TRY(getxattr("file", "user.a", value, sizeof value));
	TRY(setxattr("file", "user.a", "first", 5, XATTR_REPLACE));
	TRY(setxattr("file", "user.a", "first", 5, XATTR_CREATE));
	TRY(setxattr("file", "user.a", "second", 6, XATTR_CREATE));
	TRY(fsetxattr(fd, "user.b", "", 0, 0));
	TRY(fgetxattr(fd, "user.a", value, 3));
	TRY(fgetxattr(fd, "user.a", NULL, 0));
	TRY(fgetxattr(fd, "user.a", value, sizeof value));
	TRY(setxattr("file", "user.", "x", 1, 0));
	TRY(setxattr("file", "nothing.x", "x", 1, 0));
	memset(big, 'x', 2000);
	TRY(setxattr("file", "user.big", big, 2000, 0));
	TRY(getxattr("file", "user.big", big, sizeof big));
	TRY(listxattr("file", NULL, 0));
	TRY(removexattr("file", "user.big"));
	TRY(removexattr("file", "user.big"));
	list("file");
	TRY(mkdir("dir", 0755));
	TRY(setxattr("dir", "user.of-directory", "d", 1, 0));
	list("dir");
	TRY(symlink("file", "link"));
	TRY(lsetxattr("link", "user.x", "x", 1, 0));
	TRY(setxattr("link", "user.through", "link", 4, 0));
	list("link");
	list("file");
	TRY(chmod("file", 0200));
	list("file");
	TRY(chmod("file", 0644));
	// The name goes, the attributes stay with the file.
	TRY(rename("file", "renamed"));
	list("renamed");
	TRY(unlink("renamed"));
	TRY(fgetxattr(fd, "user.a", value, sizeof value));
	TRY(fsetxattr(fd, "user.c", "late", 4, 0));
	TRY(flistxattr(fd, NULL, 0));
	close(fd);
	// What another process sees.
	close(open("shared", O_RDWR | O_CREAT, 0644));
	if (fork() == 0) {
		setxattr("shared", "user.child", "yes", 3, 0);
		_exit(0);
	}
	wait(NULL);
	list("shared");
}

static void privileged(void) {
	if (geteuid() != 0) return;
	close(open("root", O_RDWR | O_CREAT, 0644));
	TRY(setxattr("root", "trusted.t", "t", 1, 0));
	TRY(setxattr("root", "security.s", "s", 1, 0));
	list("root");
	if (fork() == 0) {
		TRY(seteuid(65534));
		TRY(setxattr("root", "user.other", "x", 1, 0));
		TRY(setxattr("root", "trusted.t", "x", 1, 0));
		TRY(setxattr("root", "security.s", "x", 1, 0));
		list("root");
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	TRY(removexattr("root", "trusted.t"));
	list("root");
}

static void unnamed(void) {
	struct stat st;
	char path[64], text[16] = "";
	TRY(open(".", O_TMPFILE | O_RDONLY, 0600));
	TRY(open("missing", O_TMPFILE | O_RDWR, 0600));
	TRY(open("shared", O_TMPFILE | O_RDWR, 0600));
	int fd = open("dir", O_TMPFILE | O_RDWR, 0640);
	TRY(fstat(fd, &st));
	printf("mode %o links %lu size %ld\n", st.st_mode, (unsigned long)st.st_nlink, (long)st.st_size);
	TRY(write(fd, "nameless", 8));
	TRY(ftruncate(fd, 4));
	TRY(fsetxattr(fd, "user.name", "none", 4, 0));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int again = open(path, O_RDONLY);
	TRY(read(again, text, sizeof text));
	printf("%s\n", text);
	TRY(rmdir("dir"));
	TRY(mkdir("dir", 0755));
	TRY(linkat(AT_FDCWD, path, AT_FDCWD, "dir/named", AT_SYMLINK_FOLLOW));
	TRY(linkat(AT_FDCWD, path, AT_FDCWD, "dir/named", AT_SYMLINK_FOLLOW));
	TRY(fstat(fd, &st));
	printf("links %lu\n", (unsigned long)st.st_nlink);
	list("dir/named");
	TRY(pwrite(fd, "NAME", 4, 0));
	close(fd);
	close(again);
	fd = open("dir/named", O_RDONLY);
	TRY(read(fd, text, sizeof text));
	printf("%s\n", text);
	close(fd);
	fd = open(".", O_TMPFILE | O_EXCL | O_WRONLY, 0600);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	TRY(write(fd, "x", 1));
	TRY(linkat(AT_FDCWD, path, AT_FDCWD, "never", AT_SYMLINK_FOLLOW));
	close(fd);
	fd = open(".", O_TMPFILE | O_WRONLY, 0);
	TRY(write(fd, "secret", 6));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	TRY(linkat(AT_FDCWD, path, AT_FDCWD, "mode-0", AT_SYMLINK_FOLLOW));
	TRY(stat("mode-0", &st));
	printf("mode %o size %ld\n", st.st_mode, (long)st.st_size);
	TRY(chmod("mode-0", 0600));
	close(fd);
}

static void special(void) {
	struct stat st;
	TRY(mkfifo("fifo", 0640));
	TRY(mkfifo("fifo", 0640));
	TRY(stat("fifo", &st));
	printf("mode %o\n", st.st_mode);
	TRY(open("fifo", O_WRONLY | O_NONBLOCK));
	if (fork() == 0) {
		int fd = open("fifo", O_WRONLY);
		write(fd, "through", 7);
		_exit(0);
	}
	char text[16] = "";
	int fd = open("fifo", O_RDONLY);
	TRY(read(fd, text, sizeof text));
	printf("%s\n", text);
	close(fd);
	wait(NULL);
	TRY(setxattr("fifo", "user.x", "x", 1, 0));
	list("fifo");
	int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "socket"};
	TRY(bind(server, (void *)&name, sizeof name));
	TRY(listen(server, 1));
	TRY(stat("socket", &st));
	printf("mode %o\n", st.st_mode & S_IFMT);
	TRY(open("socket", O_RDONLY));
	TRY(connect(client, (void *)&name, sizeof name));
	close(server);
	close(client);
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	TRY(connect(client, (void *)&name, sizeof name));
	TRY(mknod("plain", S_IFREG | 0600, 0));
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	umask(022);
	attributes();
	privileged();
	unnamed();
	special();
	return 0;
}
