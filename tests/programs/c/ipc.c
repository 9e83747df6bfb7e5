// System V shared memory, semaphores and queues; POSIX queues and shared memory; pipes and FIFOs.
// build: dynamic static
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// Whether a call fails with this error. Calls among printf's arguments have no order of their own.
#define FAILS(call, error) ({ errno = 0; long r_ = (long)(call); r_ == -1 && errno == (error); })

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	int shm = shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600);
	int *memory = shmat(shm, NULL, 0);
	int sem = semget(IPC_PRIVATE, 2, IPC_CREAT | 0600);
	struct sembuf up = {0, 1, 0}, down = {0, -1, 0};
	if (!fork()) {
		memory[0] = 99;
		semop(sem, &up, 1);
		_exit(0);
	}
	printf("semop %d, memory ", semop(sem, &down, 1));
	printf("%d\n", memory[0]);
	wait(NULL);
	struct sembuf now = {0, -1, IPC_NOWAIT};
	printf("would block %d\n", FAILS(semop(sem, &now, 1), EAGAIN));
	struct shmid_ds ds;
	printf("stat %d", shmctl(shm, IPC_STAT, &ds));
	printf(" size %zu attached %lu\n", ds.shm_segsz, (unsigned long)ds.shm_nattch);
	printf("detach %d", shmdt(memory));
	printf(" remove %d", shmctl(shm, IPC_RMID, NULL));
	printf(" %d\n", semctl(sem, 0, IPC_RMID));

	// Another part of a removed segment cannot be shown in the place of its last mapping.
	for (int attached = 2; attached > 0; attached--) {
		shm = shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600);
		char *first = shmat(shm, NULL, 0), *second = attached > 1 ? shmat(shm, NULL, 0) : NULL;
		first[4096] = 'x';
		shmctl(shm, IPC_RMID, NULL);
		printf("remap part %d", remap_file_pages(first, 4096, 0, 1, 0));
		printf(" shows %c", first[0]);
		int failed = FAILS(remap_file_pages(first, 8192, 0, 0, 0), EINVAL);
		printf(" parts %d", failed);
		shmdt(first);
		if (second) printf(" second %c", second[4096]), shmdt(second);
		shm = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
		first = shmat(shm, NULL, 0);
		second = attached > 1 ? shmat(shm, NULL, 0) : NULL;
		shmctl(shm, IPC_RMID, NULL);
		failed = FAILS(remap_file_pages(first, 4096, 0, 0, 0), EINVAL);
		printf(" whole fails %d gone %d\n", failed, FAILS(shmctl(shm, IPC_STAT, &ds), EINVAL));
		if (second) shmdt(first), shmdt(second);
	}

	int queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	struct { long type; char text[16]; } out = {2, "second"}, in;
	printf("msgsnd %d", msgsnd(queue, &out, 7, 0));
	out.type = 1;
	strcpy(out.text, "first");
	printf(" %d\n", msgsnd(queue, &out, 6, 0));
	printf("msgrcv %zd", msgrcv(queue, &in, sizeof in.text, 1, 0));
	printf(" %s", in.text);
	printf(" %zd", msgrcv(queue, &in, sizeof in.text, 0, 0));
	printf(" %s\n", in.text);
	printf("remove %d\n", msgctl(queue, IPC_RMID, NULL));

	char name[32];
	snprintf(name, sizeof name, "/bastide-%d", getpid());
	struct mq_attr attr = {.mq_maxmsg = 4, .mq_msgsize = 32};
	mqd_t mq = mq_open(name, O_RDWR | O_CREAT | O_NONBLOCK, 0600, &attr);
	printf("mq %d", mq_send(mq, "low", 4, 1));
	printf(" %d\n", mq_send(mq, "high", 5, 9));
	char text[32];
	unsigned priority;
	printf("%zd", mq_receive(mq, text, sizeof text, &priority));
	printf(" %s %u\n", text, priority);
	printf("close %d", mq_close(mq));
	printf(" unlink %d\n", mq_unlink(name));

	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	printf("shm_open %d truncate %d", fd >= 0, ftruncate(fd, 4096));
	printf(" unlink %d\n", shm_unlink(name));

	int pipes[2];
	if (pipe2(pipes, O_NONBLOCK)) return 1;
	char block[4096] = {0};
	int filled = 0;
	while (write(pipes[1], block, sizeof block) > 0) filled++;
	printf("pipe holds %d pages, size %d\n", filled, fcntl(pipes[0], F_GETPIPE_SZ));
	close(pipes[0]);
	signal(SIGPIPE, SIG_IGN);
	printf("broken %d\n", FAILS(write(pipes[1], block, 1), EPIPE));
	mkfifo("fifo", 0600);
	if (!fork()) {
		int out = open("fifo", O_WRONLY);
		dprintf(out, "through a fifo\n");
		_exit(0);
	}
	fd = open("fifo", O_RDONLY);
	ssize_t n = read(fd, block, sizeof block);
	printf("%.*s", (int)n, block);
	wait(NULL);
	printf("end %zd\n", read(fd, block, 1));
	unlink("fifo");
	return 0;
}
