// An echo server on one epoll set, for very many connections. `many PORT` listens there. What it
// receives it sends back, but for requests about itself: `connections` and `slab` (in KiB).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int connections;

static long slab(void)
{
	char line[256];
	long value = -1;
	FILE *file = fopen("/proc/meminfo", "r");
	while (file && fgets(line, sizeof line, file))
		sscanf(line, "Slab: %ld", &value);
	if (file)
		fclose(file);
	return value;
}

static void accept_all(int epoll, int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED))
			return;
		if (fd < 0)
			err(1, "accept4");
		struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP, .data.fd = fd };
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
			err(1, "epoll_ctl");
		connections++;
	}
}

static void serve(int fd)
{
	char buffer[1024];
	ssize_t n = recv(fd, buffer, sizeof buffer - 1, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		close(fd);
		connections--;
		return;
	}
	buffer[n] = 0;
	if (!strcmp(buffer, "connections"))
		n = sprintf(buffer, "%d", connections);
	else if (!strcmp(buffer, "slab"))
		n = sprintf(buffer, "%ld", slab());
	if (send(fd, buffer, n, MSG_NOSIGNAL) < 0 && errno != ECONNRESET && errno != EPIPE)
		err(1, "send");
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])) };
	int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096))
		err(1, "listen");
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN, .data.fd = listener };
	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
	for (;;) {
		struct epoll_event events[64];
		int n = epoll_wait(epoll, events, 64, -1);
		if (n < 0 && errno != EINTR)
			err(1, "epoll_wait");
		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == listener)
				accept_all(epoll, listener);
			else
				serve(events[i].data.fd);
		}
	}
}
