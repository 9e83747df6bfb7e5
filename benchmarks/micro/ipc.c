/* Pipes, sockets and futexes: alone, and back and forth with a thread or a process, on the same
   processor or on another. One operation of a ping-pong is the way there and back. */
#include "bench.h"
#include <arpa/inet.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIPE, SOCKETPAIR, TCP, FUTEX };
enum { SAME_CPU = 0, CROSS_CPU = 1, THREADS = 0, PROCESSES = 2 };
enum { NOTHING, PING, PONG, END };

/* What each end reads from and writes to; for futexes, the words. */
static int near[2], far[2];
static uint32_t *words;
static pthread_t thread;
static pid_t process;

static bool open_pipe(void)
{
	must(pipe(near) == 0);
	return true;
}

static void close_near(void)
{
	close(near[0]);
	close(near[1]);
}

static void run_pipe(long times)
{
	char byte = 'x';
	while (times--) {
		must(write(near[1], &byte, 1) == 1);
		must(read(near[0], &byte, 1) == 1);
	}
}

static void open_channel(void)
{
	int there[2], back[2], pair[2];
	switch (current->kind) {
	case PIPE:
		must(pipe(there) == 0);
		must(pipe(back) == 0);
		near[0] = back[0], near[1] = there[1];
		far[0] = there[0], far[1] = back[1];
		return;
	case SOCKETPAIR:
		must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
		break;
	case TCP: {
		struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		socklen_t length = sizeof address;
		int one = 1, listener;
		must((listener = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
		must(bind(listener, (struct sockaddr *)&address, length) == 0);
		must(listen(listener, 1) == 0);
		must(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
		must((pair[0] = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
		must(connect(pair[0], (struct sockaddr *)&address, length) == 0);
		must((pair[1] = accept(listener, NULL, NULL)) >= 0);
		must(setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
		must(setsockopt(pair[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
		close(listener);
		break;
	}
	default:
		words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		must(words != MAP_FAILED);
		return;
	}
	near[0] = near[1] = pair[0];
	far[0] = far[1] = pair[1];
}

static void close_channel(void)
{
	if (current->kind == FUTEX) {
		must(munmap(words, 4096) == 0);
		return;
	}
	close_near();
	if (near[0] != far[0])
		close(far[0]), close(far[1]);
}

/* The two words lie in cache lines of their own. */
static void post(int index, uint32_t value)
{
	uint32_t *word = words + 64 * index;
	int private = current->placement & PROCESSES ? 0 : FUTEX_PRIVATE_FLAG;
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
	must(syscall(SYS_futex, word, FUTEX_WAKE | private, 1, NULL, NULL, 0) >= 0);
}

static uint32_t await(int index)
{
	uint32_t *word = words + 64 * index, value;
	int private = current->placement & PROCESSES ? 0 : FUTEX_PRIVATE_FLAG;
	while ((value = __atomic_load_n(word, __ATOMIC_SEQ_CST)) == NOTHING)
		syscall(SYS_futex, word, FUTEX_WAIT | private, NOTHING, NULL, NULL, 0);
	__atomic_store_n(word, NOTHING, __ATOMIC_SEQ_CST);
	return value;
}

static void *partner(void *unused)
{
	char byte;
	(void)unused;
	pin(current->placement & CROSS_CPU ? 1 : 0);
	if (current->kind == FUTEX) {
		while (await(0) == PING)
			post(1, PONG);
		return NULL;
	}
	do {
		must(read(far[0], &byte, 1) == 1);
		must(write(far[1], &byte, 1) == 1);
	} while (byte != END);
	return NULL;
}

static bool start_partner(void)
{
	if (current->placement & CROSS_CPU && !two_processors())
		return skip("needs two processors");
	open_channel();
	if (current->placement & PROCESSES) {
		must((process = fork()) >= 0);
		if (process == 0) {
			partner(NULL);
			_exit(0);
		}
	} else {
		must(pthread_create(&thread, NULL, partner, NULL) == 0);
	}
	pin(0);
	return true;
}

static void exchange(char byte)
{
	if (current->kind == FUTEX) {
		post(0, byte);
		if (byte == PING)
			must(await(1) == PONG);
		return;
	}
	must(write(near[1], &byte, 1) == 1);
	must(read(near[0], &byte, 1) == 1);
}

static void run_ping_pong(long times)
{
	while (times--)
		exchange(PING);
}

static void end_partner(void)
{
	int status = 0;
	exchange(END);
	if (current->placement & PROCESSES)
		must(waitpid(process, &status, 0) == process && status == 0);
	else
		must(pthread_join(thread, NULL) == 0);
	close_channel();
}

#define PING_PONG(name, kind, who, where) {name, start_partner, run_ping_pong, end_partner, kind, who | where}
#define PING_PONGS(name, kind) \
	PING_PONG(name "-threads-same-cpu", kind, THREADS, SAME_CPU), \
	PING_PONG(name "-threads-cross-cpu", kind, THREADS, CROSS_CPU), \
	PING_PONG(name "-processes-same-cpu", kind, PROCESSES, SAME_CPU), \
	PING_PONG(name "-processes-cross-cpu", kind, PROCESSES, CROSS_CPU)

const struct operation ipc[] = {
	{"pipe-write-read", open_pipe, run_pipe, close_near},
	PING_PONGS("pipe", PIPE),
	PING_PONGS("socketpair", SOCKETPAIR),
	PING_PONGS("tcp", TCP),
	PING_PONGS("futex", FUTEX),
	{0},
};
