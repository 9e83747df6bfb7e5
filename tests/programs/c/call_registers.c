// A system call leaves every register but rax, rcx and r11 as it was, and the flags too, however
// often its site has been used.
// build: dynamic static
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct registers {
	// rbx, rdx, rsi, rdi, rbp, r8 to r10, r12 to r15
	unsigned long general[12];
	unsigned long flags, r11, result, unused;
	unsigned char xmm[16][16];
};

// Makes a call with the registers of `in`, and tells in `out` what they are afterwards.
void call_with(const struct registers *in, struct registers *out);

__asm__(
	".globl call_with\n"
	"call_with:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rsi\n"
	"	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
	"	movups 128+16*\\n(%rdi), %xmm\\n\n"
	"	.endr\n"
	"	mov (%rdi), %rbx; mov 8(%rdi), %rdx; mov 16(%rdi), %rsi; mov 32(%rdi), %rbp\n"
	"	mov 40(%rdi), %r8; mov 48(%rdi), %r9; mov 56(%rdi), %r10\n"
	"	mov 64(%rdi), %r12; mov 72(%rdi), %r13; mov 80(%rdi), %r14; mov 88(%rdi), %r15\n"
	"	push 96(%rdi); mov 24(%rdi), %rdi; popfq\n"
	"	mov $39, %eax\n"
	"	syscall\n"
	"	pushfq; push %rdi; mov 16(%rsp), %rdi\n"
	"	mov %rbx, (%rdi); mov %rdx, 8(%rdi); mov %rsi, 16(%rdi); mov %rbp, 32(%rdi)\n"
	"	mov %r8, 40(%rdi); mov %r9, 48(%rdi); mov %r10, 56(%rdi)\n"
	"	mov %r12, 64(%rdi); mov %r13, 72(%rdi); mov %r14, 80(%rdi); mov %r15, 88(%rdi)\n"
	"	mov %r11, 104(%rdi); mov %rax, 112(%rdi)\n"
	"	pop %rax; mov %rax, 24(%rdi); pop %rax; mov %rax, 96(%rdi)\n"
	"	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
	"	movups %xmm\\n, 128+16*\\n(%rdi)\n"
	"	.endr\n"
	"	cld\n"
	"	pop %rsi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n");

// Carry, parity, adjust, zero, sign, direction, overflow.
static const unsigned long bits[] = {1, 4, 0x10, 0x40, 0x80, 0x400, 0x800};
enum { BITS = sizeof bits / sizeof bits[0], TIMES = 40 };

int main(void)
{
	static struct registers in, out;
	int general = 0, vectors = 0, flags = 0, r11 = 0, results = 0;
	unsigned long all = 0;
	for (int i = 0; i < BITS; i++) all |= bits[i];
	for (int round = 0; round < TIMES * (1 << BITS); round++) {
		in.flags = 0x202;
		for (int i = 0; i < BITS; i++)
			if (round >> i & 1) in.flags |= bits[i];
		for (int i = 0; i < 12; i++) in.general[i] = 0x0123456789abcdefUL * (i + round + 1);
		for (unsigned i = 0; i < sizeof in.xmm; i++) ((unsigned char *)in.xmm)[i] = i * 7 + round;
		memset(&out, 0x55, sizeof out);
		call_with(&in, &out);
		general += memcmp(in.general, out.general, sizeof in.general) != 0;
		vectors += memcmp(in.xmm, out.xmm, sizeof in.xmm) != 0;
		flags += (in.flags & all) != (out.flags & all);
		r11 += (in.flags & all) != (out.r11 & all);
		results += out.result != (unsigned long)getpid();
	}
	printf("changed: general %d, vectors %d, flags %d, r11 %d, results %d\n", general, vectors, flags, r11, results);
	return 0;
}
