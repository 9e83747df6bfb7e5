// Signals about descriptors: SIGIO says nothing more, a signal that was chosen tells which and what.
// build: dynamic
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void expect(const char *what, int fd)
{
	sigset_t all;
	siginfo_t info;
	struct timespec limit = { 5, 0 };
	memset(&info, 0, sizeof info);
	sigfillset(&all);
	int n = sigtimedwait(&all, &info, &limit);
	printf("%s: %s, code %d", what, n == SIGRTMIN ? "SIGRTMIN" : n == SIGIO ? "SIGIO" : "other", info.si_code);
	if (info.si_code == SI_KERNEL)
		printf(", pid %d\n", info.si_pid);
	else
		printf(", band %lx, %s descriptor\n", info.si_band, info.si_fd == fd ? "that" : "another");
}

int main(void)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	for (int chosen = 0; chosen < 2; chosen++) {
		int pair[2];
		socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
		fcntl(pair[0], F_SETOWN, getpid());
		if (chosen)
			fcntl(pair[0], F_SETSIG, SIGRTMIN);
		fcntl(pair[0], F_SETFL, O_ASYNC);
		if (write(pair[1], "x", 1) != 1)
			return 1;
		expect("data", pair[0]);
		close(pair[0]);
		close(pair[1]);
	}
	return 0;
}
