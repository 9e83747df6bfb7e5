// epoll on TCP sockets: level, edge and one-shot, the same socket twice, nested sets, threads.
// build: dynamic
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x) ((x) < 0 ? (perror(#x), exit(1)) : (void)0)

static struct sockaddr_in place;
static int listener;

// A connected pair: here[0] is watched, here[1] is the peer.
static void pair(int here[2])
{
	CHECK(here[1] = socket(AF_INET, SOCK_STREAM, 0));
	CHECK(connect(here[1], (struct sockaddr *)&place, sizeof place));
	CHECK(here[0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK));
}

static int watch(int ep, int op, int fd, unsigned events, int data)
{
	struct epoll_event e = { .events = events, .data.u64 = data };
	return epoll_ctl(ep, op, fd, &e) < 0 ? errno : 0;
}

// What is ready, in the order of the data.
static void show_within(const char *what, int ep, int ms)
{
	struct epoll_event e[8];
	int n = epoll_wait(ep, e, 8, ms);
	printf("%s:", what);
	for (int data = 0; data < 16; data++)
		for (int i = 0; i < n; i++)
			if (e[i].data.u64 == data)
				printf(" %d=%x", data, e[i].events);
	printf(n < 0 ? " %s\n" : "\n", strerror(errno));
}

// Data over loopback needs a moment; "nothing" is asked for at once.
static void show(const char *what, int ep) { show_within(what, ep, 1000); }
static void none(const char *what, int ep) { show_within(what, ep, 20); }

static void put(int fd, const char *text) { CHECK(send(fd, text, strlen(text), 0)); }
static void get(int fd, int n)
{
	char buffer[16];
	CHECK(recv(fd, buffer, n, 0));
}

static void level(void)
{
	int p[2], ep = epoll_create1(0);
	pair(p);
	watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN, 1);
	none("level, no data", ep);
	put(p[1], "abc");
	show("level", ep);
	show("level again", ep);
	get(p[0], 1);
	show("level, part taken", ep);
	get(p[0], 2);
	none("level, all taken", ep);
	watch(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLOUT, 2);
	show("level, in and out", ep);
	watch(ep, EPOLL_CTL_MOD, p[0], 0, 3);
	put(p[1], "x");
	none("level, nothing wanted", ep);
	watch(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLRDHUP, 4);
	show("level, wanted again", ep);
	shutdown(p[1], SHUT_WR);
	usleep(20000);
	show("level, peer has shut down", ep);
	close(p[1]);
	get(p[0], 1);
	show("level, end", ep);
	close(p[0]);
	none("level, closed", ep);
	close(ep);
}

static void edge(void)
{
	int p[2], ep = epoll_create1(0);
	pair(p);
	watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLET, 1);
	put(p[1], "ab");
	show("edge", ep);
	none("edge, once", ep);
	put(p[1], "c");
	show("edge, more", ep);
	watch(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLET, 2);
	show("edge, told again", ep);
	none("edge, once more", ep);
	watch(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT, 3);
	show("one shot", ep);
	put(p[1], "d");
	none("one shot, spent", ep);
	watch(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT, 4);
	show("one shot, armed", ep);
	watch(ep, EPOLL_CTL_MOD, p[0], EPOLLIN, 5);
	show("level after one shot", ep);
	show("level after one shot, again", ep);
	watch(ep, EPOLL_CTL_DEL, p[0], 0, 0);
	none("deleted", ep);
	watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLET, 6);
	show("added with data there", ep);
	close(p[0]), close(p[1]), close(ep);
}

static void twice(void)
{
	int p[2], ep = epoll_create1(0);
	pair(p);
	int other = dup(p[0]);
	watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN, 1);
	put(p[1], "a");
	show("one item", ep);
	watch(ep, EPOLL_CTL_ADD, other, EPOLLIN | EPOLLET, 2);
	show("two items", ep);
	show("only the level one is left", ep);
	watch(ep, EPOLL_CTL_DEL, p[0], 0, 0);
	none("the edge one has told", ep);
	put(p[1], "b");
	show("the edge one", ep);
	// A new socket under the number of a closed one has nothing of it.
	int q[2], number = p[0];
	close(other), close(p[0]);
	pair(q);
	printf("same number: %d\n", q[1] == number || q[0] == number);
	watch(ep, EPOLL_CTL_ADD, q[0], EPOLLIN, 3);
	none("a new socket", ep);
	put(q[1], "c");
	show("data for the new socket", ep);
	close(p[1]), close(q[0]), close(q[1]), close(ep);
}

static void few_at_a_time(void)
{
	int p[4][2], ep = epoll_create1(0), seen = 0;
	for (int i = 0; i < 4; i++) {
		pair(p[i]);
		watch(ep, EPOLL_CTL_ADD, p[i][0], EPOLLIN, i);
		put(p[i][1], "x");
	}
	usleep(20000);
	struct epoll_event e;
	for (int i = 0; i < 4; i++)
		if (epoll_wait(ep, &e, 1, 1000) == 1)
			seen |= 1 << e.data.u64;
	printf("one at a time: %x\n", seen);
	int outer = epoll_create1(0);
	watch(outer, EPOLL_CTL_ADD, ep, EPOLLIN, 9);
	show("nested", outer);
	show("nested, again", outer);
	for (int i = 0; i < 4; i++)
		get(p[i][0], 1);
	none("nested, all taken", outer);
	put(p[2][1], "y");
	show("nested, data", outer);
	show("inner", ep);
	for (int i = 0; i < 4; i++)
		close(p[i][0]), close(p[i][1]);
	close(ep), close(outer);
}

static int shared_set;

static void *waiter(void *arg)
{
	struct epoll_event e;
	int n = epoll_wait(shared_set, &e, 1, 5000);
	if (n == 1)
		get(e.data.fd, 1);
	return (void *)(long)n;
}

// As many threads return as there are events.
static void threads(unsigned flags)
{
	int p[4][2];
	pthread_t thread[4];
	shared_set = epoll_create1(0);
	for (int i = 0; i < 4; i++) {
		pair(p[i]);
		watch(shared_set, EPOLL_CTL_ADD, p[i][0], EPOLLIN | flags, p[i][0]);
		pthread_create(&thread[i], NULL, waiter, NULL);
	}
	usleep(50000);
	for (int i = 0; i < 4; i++)
		put(p[i][1], "x"), usleep(5000);
	long woken = 0;
	for (int i = 0; i < 4; i++) {
		void *n;
		pthread_join(thread[i], &n);
		woken += (long)n;
	}
	printf("threads woken: %ld\n", woken);
	for (int i = 0; i < 4; i++)
		close(p[i][0]), close(p[i][1]);
	close(shared_set);
}

static void on_alarm(int signal) { (void)signal; }

static void endings(void)
{
	int p[2], ep = epoll_create1(0);
	struct timespec from, to;
	struct epoll_event e;
	pair(p);
	watch(ep, EPOLL_CTL_ADD, p[0], EPOLLIN, 1);
	for (int ms = 1; ms <= 61; ms += 30) {
		clock_gettime(CLOCK_MONOTONIC, &from);
		int n = epoll_wait(ep, &e, 1, ms);
		clock_gettime(CLOCK_MONOTONIC, &to);
		long passed = (to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000;
		printf("%d ms: %d, %s\n", ms, n, passed >= ms * 1000 ? "not early" : "early");
	}
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	sigaction(SIGALRM, &action, NULL);
	ualarm(30000, 0);
	show("a signal", ep);
	printf("exclusive: %d\n", watch(ep, EPOLL_CTL_ADD, listener, EPOLLIN | EPOLLEXCLUSIVE, 2));
	printf("changed: %d\n", watch(ep, EPOLL_CTL_MOD, listener, EPOLLIN, 2));
	int q[2];
	CHECK(q[1] = socket(AF_INET, SOCK_STREAM, 0));
	CHECK(connect(q[1], (struct sockaddr *)&place, sizeof place));
	show("a connection", ep);
	show("a connection, still", ep);
	CHECK(q[0] = accept(listener, NULL, NULL));
	none("accepted", ep);
}

int main(void)
{
	socklen_t length = sizeof place;
	place.sin_family = AF_INET;
	place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(listener = socket(AF_INET, SOCK_STREAM, 0));
	CHECK(bind(listener, (struct sockaddr *)&place, sizeof place));
	CHECK(listen(listener, 16));
	CHECK(getsockname(listener, (struct sockaddr *)&place, &length));
	level();
	edge();
	twice();
	few_at_a_time();
	threads(EPOLLET);
	threads(EPOLLONESHOT);
	endings();
	return 0;
}
