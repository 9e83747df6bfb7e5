/* The smallest program; with an argument it stays until its input ends. */
#include <stdio.h>

int main(int argc, char **argv)
{
	(void)argv;
	puts("hello");
	if (argc > 1) {
		fflush(stdout);
		getchar();
	}
	return 0;
}
