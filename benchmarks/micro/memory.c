/* Mappings, protection and page faults. */
#include "bench.h"
#include <sys/mman.h>

enum { PAGE = 4096, PAGES = 4096 };

static char *page;

static char *map(size_t length)
{
	char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED);
	return memory;
}

static void run_map(long times)
{
	while (times--)
		must(munmap(map(PAGE), PAGE) == 0);
}

static void run_map_touch(long times)
{
	while (times--) {
		char *memory = map(PAGE);
		*(volatile char *)memory = 1;
		must(munmap(memory, PAGE) == 0);
	}
}

/* Each page of fresh mappings once; mapping and unmapping are not counted. */
static void run_fault(long times)
{
	while (times > 0) {
		long pages = times < PAGES ? times : PAGES;
		stop_clock();
		char *memory = map((size_t)PAGES * PAGE);
		start_clock();
		for (long i = 0; i < pages; i++)
			*(volatile char *)(memory + i * PAGE) = 1;
		stop_clock();
		must(munmap(memory, (size_t)PAGES * PAGE) == 0);
		start_clock();
		times -= pages;
	}
}

static bool map_page(void)
{
	page = map(PAGE);
	*page = 1;
	return true;
}

static void unmap_page(void) { munmap(page, PAGE); }

/* One operation takes the right to write, or gives it back and touches the page. */
static void run_protect(long times)
{
	for (long i = 0; i < times; i++) {
		must(mprotect(page, PAGE, i % 2 ? PROT_READ | PROT_WRITE : PROT_READ) == 0);
		if (i % 2)
			*(volatile char *)page = 1;
	}
	must(mprotect(page, PAGE, PROT_READ | PROT_WRITE) == 0);
}

const struct operation memory[] = {
	{"mmap-munmap", .run = run_map},
	{"mmap-touch-munmap", .run = run_map_touch},
	{"page-fault", .run = run_fault},
	{"mprotect", map_page, run_protect, unmap_page},
	{0},
};
