/* A file in memory. */
#include "bench.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64], block[4096];
static int fd;

static bool make(void)
{
	snprintf(path, sizeof path, "/dev/shm/bastide-micro-%d", getpid());
	memset(block, 'x', sizeof block);
	must((fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600)) >= 0);
	must(write(fd, block, sizeof block) == sizeof block);
	return true;
}

static void drop(void)
{
	close(fd);
	unlink(path);
}

static void run_open_close(long times)
{
	while (times--) {
		int again = open(path, O_RDONLY);
		must(again >= 0);
		close(again);
	}
}

static void run_stat(long times)
{
	struct stat attributes;
	while (times--)
		must(stat(path, &attributes) == 0);
}

static void run_pread(long times)
{
	while (times--)
		must(pread(fd, block, sizeof block, 0) == sizeof block);
}

const struct operation files[] = {
	{"open-close", make, run_open_close, drop},
	{"stat", make, run_stat, drop},
	{"pread-4k", make, run_pread, drop},
	{0},
};
