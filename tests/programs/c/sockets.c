// Sockets: local ones with descriptors and credentials, TCP and UDP on loopback, epoll, eventfd.
// build: dynamic static musl
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// Whether a call fails with this error. Calls among printf's arguments have no order of their own.
#define FAILS(call, error) ({ errno = 0; long r_ = (long)(call); r_ == -1 && errno == (error); })

static void send_fd(int socket, int fd) {
	char byte = 'd', control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	if (sendmsg(socket, &msg, 0) != 1) perror("sendmsg");
}

static int receive(int socket, int *fd, struct ucred *cred) {
	char byte, control[256];
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	int n = recvmsg(socket, &msg, 0);
	*fd = -1;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h; h = CMSG_NXTHDR(&msg, h)) {
		if (h->cmsg_type == SCM_RIGHTS) memcpy(fd, CMSG_DATA(h), sizeof *fd);
		if (h->cmsg_type == SCM_CREDENTIALS) memcpy(cred, CMSG_DATA(h), sizeof *cred);
	}
	return n;
}

static void *echo(void *arg) {
	int listener = *(int *)arg;
	for (int i = 0; i < 4; i++) {
		int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		char buffer[4096];
		ssize_t n;
		while ((n = read(socket, buffer, sizeof buffer)) > 0)
			if (write(socket, buffer, n) != n) break;
		close(socket);
	}
	return NULL;
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	int pair[2], pipes[2], fd, on = 1;
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	if (pipe(pipes)) return 1;
	pid_t pid = fork();
	if (!pid) {
		struct ucred cred = {0};
		receive(pair[1], &fd, &cred);
		dprintf(fd, "through a passed descriptor\n");
		_exit(0);
	}
	send_fd(pair[0], pipes[1]);
	waitpid(pid, NULL, 0);
	char buffer[65536];
	ssize_t n = read(pipes[0], buffer, sizeof buffer);
	printf("%.*s", (int)n, buffer);
	setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
	struct ucred cred = {0};
	n = write(pair[0], "x", 1);
	receive(pair[1], &fd, &cred);
	printf("credentials: %d %d\n", cred.pid == getpid(), cred.uid == getuid());
	socklen_t length = sizeof cred;
	printf("peer: %d\n", getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &cred, &length));
	close(pair[0]);
	printf("end of file: %zd\n", read(pair[1], buffer, 1));

	struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "socket"};
	int server = socket(AF_UNIX, SOCK_SEQPACKET, 0), client = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	printf("connect before bind: %d\n", FAILS(connect(client, (void *)&name, sizeof name), ENOENT));
	printf("bind %d", bind(server, (void *)&name, sizeof name));
	printf(", listen %d", listen(server, 1));
	printf(", connect %d\n", connect(client, (void *)&name, sizeof name));
	int accepted = accept(server, NULL, NULL);
	n = send(client, "first", 5, 0) + send(client, "second", 6, 0);
	n = recv(accepted, buffer, 3, 0);
	printf("packet %zd, ", n);
	printf("next %zd\n", recv(accepted, buffer, sizeof buffer, 0));
	unlink("socket");
	struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0bastide-test"};
	length = offsetof(struct sockaddr_un, sun_path) + 13;
	int d1 = socket(AF_UNIX, SOCK_DGRAM, 0), d2 = socket(AF_UNIX, SOCK_DGRAM, 0);
	printf("abstract %d ", bind(d1, (void *)&abstract, length));
	printf("%zd ", sendto(d2, "dgram", 5, 0, (void *)&abstract, length));
	printf("%zd\n", recv(d1, buffer, sizeof buffer, 0));

	int listener = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	length = sizeof addr;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	printf("tcp bind %d", bind(listener, (void *)&addr, sizeof addr));
	printf(", listen %d\n", listen(listener, 8));
	getsockname(listener, (void *)&addr, &length);
	printf("port %d\n", addr.sin_port != 0);
	pthread_t thread;
	pthread_create(&thread, NULL, echo, &listener);
	int epoll = epoll_create1(0), sockets[4];
	for (int i = 0; i < 4; i++) {
		sockets[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(sockets[i], (void *)&addr, sizeof addr)) perror("connect");
		setsockopt(sockets[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
		epoll_ctl(epoll, EPOLL_CTL_ADD, sockets[i], &event);
		memset(buffer, 'a' + i, 10000);
		n = write(sockets[i], buffer, 10000);
		int got = 0;
		while (got < 10000) {
			if (epoll_wait(epoll, &event, 1, 5000) != 1) break;
			got += read(sockets[event.data.u32], buffer, sizeof buffer);
		}
		printf("echo %d: %d bytes of %c\n", i, got, buffer[0]);
		shutdown(sockets[i], SHUT_WR);
		printf("closed: %zd\n", read(sockets[i], buffer, 1));
		close(sockets[i]);
	}
	pthread_join(thread, NULL);
	close(listener);
	client = socket(AF_INET, SOCK_STREAM, 0);
	printf("refused: %d\n", FAILS(connect(client, (void *)&addr, sizeof addr), ECONNREFUSED));

	int u1 = socket(AF_INET, SOCK_DGRAM, 0), u2 = socket(AF_INET, SOCK_DGRAM, 0);
	addr.sin_port = 0;
	if (bind(u1, (void *)&addr, sizeof addr)) perror("bind");
	getsockname(u1, (void *)&addr, &length);
	printf("udp %zd", sendto(u2, "datagram", 8, 0, (void *)&addr, sizeof addr));
	printf(" %zd\n", recv(u1, buffer, sizeof buffer, 0));

	int event = eventfd(3, EFD_NONBLOCK | EFD_SEMAPHORE);
	uint64_t count = 0;
	n = read(event, &count, sizeof count);
	printf("eventfd %zd %d\n", n, (int)count);
	struct pollfd polls[] = {{event, POLLIN | POLLOUT, 0}, {pipes[0], POLLIN, 0}, {-1, POLLIN, 0}, {99, POLLIN, 0}};
	printf("poll %d:", poll(polls, 4, 0));
	for (int i = 0; i < 4; i++) printf(" %x", polls[i].revents);
	puts("");
	fd_set set;
	FD_ZERO(&set);
	FD_SET(event, &set);
	struct timeval now = {0, 0};
	printf("select %d\n", select(event + 1, &set, NULL, NULL, &now));
	return 0;
}
