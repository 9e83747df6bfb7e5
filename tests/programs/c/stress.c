// Threads that fork, execute, share memory and pass descriptors, again and again, without a leak.
// build: dynamic
// args: 1000
// seconds: 600
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, PAGES = 16 };
static char *self;
static atomic_int failures;

static int count_fds(void) {
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;
	while (readdir(dir)) n++;
	closedir(dir);
	return n;
}

static void fail(const char *what) {
	perror(what);
	failures++;
}

static void pass(int socket, int fd) {
	char byte = 0, control[CMSG_SPACE(sizeof fd)];
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	if (sendmsg(socket, &msg, 0) != 1) fail("sendmsg");
}

static int take(int socket) {
	int fd = -1;
	char byte, control[CMSG_SPACE(sizeof fd)];
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) != 1) fail("recvmsg");
	struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
	if (header) memcpy(&fd, CMSG_DATA(header), sizeof fd);
	return fd;
}

static void *work(void *arg) {
	long me = (long)arg;
	int *shared = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) fail("socketpair");
	pid_t pid = fork();
	if (!pid) {
		// Makes a file in memory, shows it through shared memory and hands it to the parent.
		int fd = memfd_create("stress", 0);
		if (ftruncate(fd, 4096)) _exit(1);
		int *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		for (int i = 0; i < PAGES; i++) shared[i * 1024] = (int)me + i;
		page[0] = (int)me * 7;
		pass(pair[1], fd);
		char number[16];
		snprintf(number, sizeof number, "%ld", me);
		execl(self, self, "child", number, NULL);
		_exit(2);
	}
	int fd = take(pair[0]), status;
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 40 + me) fail("child");
	for (int i = 0; i < PAGES; i++)
		if (shared[i * 1024] != me + i) fail("shared memory");
	int *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED || page[0] != me * 7) fail("passed memory");
	munmap(page, 4096);
	munmap(shared, PAGES * 4096);
	close(fd);
	close(pair[0]);
	close(pair[1]);
	return NULL;
}

int main(int argc, char **argv) {
	if (argc > 2 && !strcmp(argv[1], "child")) return 40 + atoi(argv[2]);
	self = argv[0];
	int rounds = argc > 1 ? atoi(argv[1]) : 10, before = count_fds();
	for (int round = 0; round < rounds && !failures; round++) {
		pthread_t threads[THREADS];
		for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)i);
		for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
	}
	printf("%d failures, descriptors %s, children %s\n", failures, count_fds() == before ? "equal" : "leaked",
	       wait(NULL) == -1 ? "gone" : "left");
	return failures != 0;
}
