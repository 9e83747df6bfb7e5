/* What a family of operations gives to main.c, and what main.c gives to it. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct operation {
	const char *name;
	/* Prepares; false where this machine cannot do it, and says why with `skip`. */
	bool (*setup)(void);
	/* Does it this often. */
	void (*run)(long times);
	void (*teardown)(void);
	/* Where several operations share their functions: which of them this is. */
	int kind, placement;
};

/* Ended by an entry without a name. */
extern const struct operation calls[], ipc[], memory[], files[], processes[];

/* The operation at hand. */
extern const struct operation *current;

/* Why `setup` returned false. */
bool skip(const char *why);

/* Ends the program with the call's name and errno if `ok` is false. */
#define must(ok) must_hold((ok), #ok)
void must_hold(bool ok, const char *what);

/* What lies between the two is not counted. */
void stop_clock(void);
void start_clock(void);

/* Runs the calling thread on one of the two processors that the ping-pongs use, 0 or 1. */
void pin(int which);
bool two_processors(void);

/* Keeps the compiler from dropping what computes `value`. */
static inline void keep(uint64_t value) { __asm__ volatile("" : : "r"(value) : "memory"); }
