# The shared object that every program has (vdso(7)): ELF headers, dynamic symbols with version
# LINUX_2.6, and the code. One page; the clock's page lies before it.

    .pushsection .rodata.bastide_vdso, "a", @progbits
    .balign 4096
    .globl bastide_vdso
bastide_vdso:
    .ascii "\177ELF"
    .byte 2, 1, 1, 0
    .quad 0
    .short 3, 62                        # ET_DYN, EM_X86_64
    .long 1
    .quad 0, 64, 0                      # entry, program headers, no section headers
    .long 0
    .short 64, 56, 2, 64, 0, 0
    # PT_LOAD, readable and executable
    .long 1, 5
    .quad 0, 0, 0, 4096, 4096, 4096
    # PT_DYNAMIC, readable
    .long 2, 4
    .quad .Ldynamic - bastide_vdso, .Ldynamic - bastide_vdso, .Ldynamic - bastide_vdso
    .quad .Ldynamic_end - .Ldynamic, .Ldynamic_end - .Ldynamic, 8

    .balign 8
.Ldynamic:
    .quad 14, .Lname_self - .Lstrings           # DT_SONAME
    .quad 4, .Lhash - bastide_vdso              # DT_HASH
    .quad 5, .Lstrings - bastide_vdso           # DT_STRTAB
    .quad 6, .Lsymbols - bastide_vdso           # DT_SYMTAB
    .quad 10, .Lstrings_end - .Lstrings         # DT_STRSZ
    .quad 11, 24                                # DT_SYMENT
    .quad 0x6ffffff0, .Lversions - bastide_vdso # DT_VERSYM
    .quad 0x6ffffffc, .Lverdef - bastide_vdso   # DT_VERDEF
    .quad 0x6ffffffd, 2                         # DT_VERDEFNUM
    .quad 0, 0
.Ldynamic_end:

    # One bucket, a chain through all symbols.
    .balign 8
.Lhash:
    .long 1, 5
    .long 1
    .long 0, 2, 3, 4, 0

    .balign 8
.Lsymbols:
    .quad 0, 0, 0
    .long .Lname_gettime - .Lstrings
    .byte 0x12, 0
    .short 1
    .quad .Lgettime - bastide_vdso, .Lgettime_end - .Lgettime
    .long .Lname_timeofday - .Lstrings
    .byte 0x12, 0
    .short 1
    .quad .Ltimeofday - bastide_vdso, .Ltimeofday_end - .Ltimeofday
    .long .Lname_time - .Lstrings
    .byte 0x12, 0
    .short 1
    .quad .Ltime - bastide_vdso, .Ltime_end - .Ltime
    .long .Lname_getcpu - .Lstrings
    .byte 0x12, 0
    .short 1
    .quad .Lgetcpu - bastide_vdso, .Lgetcpu_end - .Lgetcpu

.Lversions:
    .short 0, 2, 2, 2, 2
    .balign 4
.Lverdef:
    .short 1, 1, 1, 1                           # the object itself
    .long 0x0deebfa1
    .long 20, 28
    .long .Lname_self - .Lstrings, 0
    .short 1, 0, 2, 1
    .long 0x03ae75f6
    .long 20, 0
    .long .Lname_version - .Lstrings, 0

.Lstrings:
    .byte 0
.Lname_self:
    .asciz "linux-vdso.so.1"
.Lname_version:
    .asciz "LINUX_2.6"
.Lname_gettime:
    .asciz "__vdso_clock_gettime"
.Lname_timeofday:
    .asciz "__vdso_gettimeofday"
.Lname_time:
    .asciz "__vdso_time"
.Lname_getcpu:
    .asciz "__vdso_getcpu"
.Lstrings_end:

    # rax, rcx = the clock edi's nanoseconds and seconds, for rdi below 12. Clobbers rdx, r8, r9d;
    # goes to \slow after the period's end.
    .macro READ slow
    lea r8, [rip + bastide_vdso - 4096]
    shl edi, 4
77: mov r9d, dword ptr [r8]
    test r9d, 1
    jnz 78f
    lfence
    rdtsc
    shl rdx, 32
    or rax, rdx
    sub rax, qword ptr [r8 + 8]
    cmp rax, qword ptr [r8 + 16]
    jae \slow
    mul qword ptr [r8 + 24]
    shrd rax, rdx, 32
    mov rcx, qword ptr [r8 + rdi + 32]
    add rax, qword ptr [r8 + rdi + 40]
    cmp r9d, dword ptr [r8]
    je 79f
78: pause
    jmp 77b
76: sub rax, 1000000000
    inc rcx
79: cmp rax, 1000000000
    jae 76b
    .endm

    # int clock_gettime(clockid_t, struct timespec *)
    .balign 64
.Lgettime:
    cmp edi, 11
    ja 2f
    mov eax, 0x8f3                      # the clocks with a slot: 0, 1, 4, 5, 6, 7, 11
    bt eax, edi
    jnc 2f
    READ 3f
    mov qword ptr [rsi], rcx
    mov qword ptr [rsi + 8], rax
    xor eax, eax
    ret
3:  shr edi, 4
2:  mov eax, 228
    syscall
    ret
.Lgettime_end:

    # int gettimeofday(struct timeval *, struct timezone *)
    .balign 64
.Ltimeofday:
    test rsi, rsi
    jnz 2f
    test rdi, rdi
    jz 2f
    mov r10, rdi
    xor edi, edi
    READ 3f
    mov qword ptr [r10], rcx
    xor edx, edx
    mov ecx, 1000
    div ecx
    mov qword ptr [r10 + 8], rax
    xor eax, eax
    ret
3:  mov rdi, r10
2:  mov eax, 96
    syscall
    ret
.Ltimeofday_end:

    # time_t time(time_t *)
    .balign 64
.Ltime:
    mov r10, rdi
    xor edi, edi
    READ 3f
    mov rax, rcx
    test r10, r10
    jz 4f
    mov qword ptr [r10], rax
4:  ret
3:  mov rdi, r10
    mov eax, 201
    syscall
    ret
.Ltime_end:

    # long getcpu(unsigned *cpu, unsigned *node, void *unused)
    .balign 64
.Lgetcpu:
    test dword ptr [rip + bastide_vdso - 4096 + 4], 1
    jz 3f
    rdpid rcx
    test rdi, rdi
    jz 4f
    mov eax, ecx
    and eax, 0xfff
    mov dword ptr [rdi], eax
4:  test rsi, rsi
    jz 2f
    shr ecx, 12
    mov dword ptr [rsi], ecx
2:  xor eax, eax
    ret
3:  mov eax, 309
    syscall
    ret
.Lgetcpu_end:

    .balign 4096
    .popsection
