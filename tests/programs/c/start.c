// What a program finds at its start: arguments, environment, auxiliary vector, stack, descriptors.
// build: dynamic static static-pie no-pie musl
// args: one two three
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <fcntl.h>

static int constructed;
static int data = 42;
static int zero[4096];
static __thread int local = 7;
__attribute__((constructor)) static void construct(void) { constructed = 1; }
static void bye(void) { puts("atexit"); }

int main(int argc, char **argv, char **envp) {
	for (int i = 1; i < argc; i++) printf("argv[%d] = %s\n", i, argv[i]);
	printf("argv[argc] %s\n", argv[argc] ? "set" : "null");
	printf("HOME %s, TERM %s\n", getenv("HOME") ? "set" : "unset", getenv("TERM"));
	int count = 0;
	while (envp[count]) count++;
	printf("%d variables\n", count);
	printf("constructor %d, data %d, bss %d, tls %d\n", constructed, data, zero[4095], local);
	printf("page size %lu, clock %lu\n", getauxval(AT_PAGESZ), getauxval(AT_CLKTCK));
	printf("uid %d, secure %lu\n", getauxval(AT_UID) == getuid(), getauxval(AT_SECURE));
	printf("entry %d, phdr %d, random %d\n", getauxval(AT_ENTRY) != 0, getauxval(AT_PHDR) != 0,
	       getauxval(AT_RANDOM) != 0);
	const char *execfn = (const char *)getauxval(AT_EXECFN);
	printf("execfn %s\n", execfn && !strcmp(execfn, argv[0]) ? "is argv[0]" : "differs");
	printf("stack aligned %d\n", ((uintptr_t)__builtin_frame_address(0) & 15) == 0);
	struct utsname name;
	uname(&name);
	printf("%s %s\n", name.sysname, name.machine);
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	path[n > 0 ? n : 0] = 0;
	printf("exe %d\n", !strcmp(path, argv[0]));
	for (int fd = 0; fd < 6; fd++) printf("%d%c", fd, fcntl(fd, F_GETFD) < 0 ? '-' : '+');
	puts("");
	atexit(bye);
	return 37;
}
