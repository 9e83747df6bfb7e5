// 10,000 times fork, execute, wait, in a row.
// build: static
// seconds: 300
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int count_fds(void) {
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;
	while (readdir(dir)) n++;
	closedir(dir);
	return n;
}

int main(int argc, char **argv) {
	if (argc > 1) return 3;
	int good = 0, status, before = count_fds();
	for (int i = 0; i < 10000; i++) {
		pid_t pid = i % 2 ? fork() : vfork();
		if (pid < 0) {
			perror("fork");
			return 1;
		}
		if (!pid) {
			execl(argv[0], argv[0], "child", NULL);
			_exit(127);
		}
		if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 3) good++;
	}
	printf("%d good, descriptors %s\n", good, count_fds() == before ? "equal" : "leaked");
	return 0;
}
