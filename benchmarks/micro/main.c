/* Times single operations: `micro [-q] [NAME…]` prints "NAME ns" for each, the median of several
   batches, each long enough for the clock. "NAME - reason" where it cannot be done. */
#include "bench.h"
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const struct operation *current;

static const struct operation *const families[] = {calls, ipc, memory, files, processes};
static int64_t shortest_ns = 5000000;
static int batches = 9;
static int64_t not_counted, stopped_at;
static const char *why_skipped;
static int processors[2];
static int processor_count;
static cpu_set_t all_processors;

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

bool skip(const char *why)
{
	why_skipped = why;
	return false;
}

void must_hold(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "micro: %s: %s: %s\n", current ? current->name : "start", what, strerror(errno));
	_exit(1);
}

void stop_clock(void) { stopped_at = now(); }
void start_clock(void) { not_counted += now() - stopped_at; }

static void find_processors(void)
{
	must(sched_getaffinity(0, sizeof all_processors, &all_processors) == 0);
	for (int i = 0; i < CPU_SETSIZE && processor_count < 2; i++)
		if (CPU_ISSET(i, &all_processors))
			processors[processor_count++] = i;
}

bool two_processors(void) { return processor_count == 2; }

void pin(int which)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(processors[which], &set);
	must(sched_setaffinity(0, sizeof set, &set) == 0);
}

static int64_t batch(long times)
{
	not_counted = 0;
	int64_t start = now();
	current->run(times);
	return now() - start - not_counted;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void measure(void)
{
	if (current->setup && !current->setup()) {
		printf("%s - %s\n", current->name, why_skipped);
		return;
	}
	long times = 1;
	double ns[batches];
	/* The first ones, which also warm up, find out how many times fill a batch; one that comes out
	   too short shows that something else had made them slow. */
	for (int i = 0; i < batches;) {
		int64_t took = batch(times);
		if (took < shortest_ns / 2) {
			double factor = took > 0 ? (double)shortest_ns / took : 4;
			/* At most fourfold, because the first ones are slow. */
			times = times * (factor < 4 ? factor : 4) + 1;
			i = 0;
		} else {
			ns[i++] = (double)took / times;
		}
	}
	qsort(ns, batches, sizeof *ns, ascending);
	if (current->teardown)
		current->teardown();
	must(sched_setaffinity(0, sizeof all_processors, &all_processors) == 0);
	printf("%s %.1f\n", current->name, ns[batches / 2]);
	fflush(stdout);
}

static bool wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	char **names = argv + 1;
	if (argc > 1 && strcmp(argv[1], "-q") == 0) {
		shortest_ns = 200000;
		batches = 3;
		names++;
	}
	find_processors();
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		for (current = families[i]; current->name; current++)
			if (wanted(current->name, names))
				measure();
	return 0;
}
