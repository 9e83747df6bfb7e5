// 500 processes alive at once.
// build: dynamic
// seconds: 120
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COUNT = 500 };

int main(void) {
	int ready[2], go[2], ended = 0, status;
	char byte = 0;
	if (pipe(ready) || pipe(go)) return 1;
	for (int i = 0; i < COUNT; i++) {
		pid_t pid = fork();
		if (pid < 0) {
			perror("fork");
			return 1;
		}
		if (!pid) {
			close(go[1]);
			if (write(ready[1], &byte, 1) != 1) _exit(1);
			_exit(read(go[0], &byte, 1) == 0 ? 7 : 1);
		}
	}
	int alive = 0;
	while (alive < COUNT && read(ready[0], &byte, 1) == 1) alive++;
	printf("%d alive\n", alive);
	close(go[1]);
	while (wait(&status) > 0) ended += WIFEXITED(status) && WEXITSTATUS(status) == 7;
	printf("%d ended well\n", ended);
	return 0;
}
