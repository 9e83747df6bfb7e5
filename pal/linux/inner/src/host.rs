//! The stubs through which the kernel calls the host. They are the only `syscall` instructions of
//! the image, and their addresses the only ones from which the filter lets a call pass.

use bastide_pal::{Error, Result};

// Where a host call comes back, the processor no longer knows the way of returns: hosts wipe it
// against speculation. A jump is found by another way.
core::arch::global_asm!(
    ".pushsection .text.bastide_host,\"ax\",@progbits",
    ".balign 64",
    ".globl bastide_host_start",
    "bastide_host_start:",
    // rdi nr, rsi..r9 a..e, [rsp+8] f
    ".globl bastide_host_call",
    "bastide_host_call:",
    "mov rax, rdi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "mov rdx, rcx",
    "mov r10, r8",
    "mov r8, r9",
    "mov r9, [rsp + 8]",
    "syscall",
    "pop rcx",
    "jmp rcx",
    // rdi pollfds, rsi count, rdx timespec, rcx address of the park word, r8d its "notified" value.
    // A kick that arrives between the test and the call is sent to the abort label.
    ".globl bastide_host_poll",
    "bastide_host_poll:",
    "mov r11, rcx",
    "xor r10d, r10d",
    "mov eax, 271", // ppoll
    // Both calls take an empty mask in r8: as ppoll's size of none, as epoll_pwait's none.
    "bastide_poll_window:",
    "cmp dword ptr [r11], r8d",
    "je bastide_poll_abort",
    "xor r8d, r8d",
    "syscall",
    "bastide_poll_window_end:",
    "pop rcx",
    "jmp rcx",
    "bastide_poll_abort:",
    "mov rax, -4", // EINTR
    "ret",
    // edi set, rsi events, edx count, ecx milliseconds, r8 address of the park word, r9d its
    // "notified" value. Else as above.
    ".globl bastide_host_epoll",
    "bastide_host_epoll:",
    "mov r11, r8",
    "mov r10d, ecx",
    "mov r8d, r9d",
    "mov eax, 281", // epoll_pwait
    "jmp bastide_poll_window",
    // rdi flags, rsi stack, rdx where the host stores the child's id before it runs, rcx block: the
    // child starts at bastide_thread_start
    ".globl bastide_host_clone",
    "bastide_host_clone:",
    "push rbx",
    "mov rbx, rcx",
    "xor r8d, r8d",
    "xor r10d, r10d",
    "mov eax, 56", // clone
    "syscall",
    "test rax, rax",
    "jz bastide_thread_start",
    "pop rbx",
    "ret",
    // rdi address of the slot's state: from the store on, the stack is somebody else's
    ".globl bastide_host_exit",
    "bastide_host_exit:",
    "mov dword ptr [rdi], 0",
    "xor edi, edi",
    "mov eax, 60", // exit
    "syscall",
    "ud2",
    ".globl bastide_host_sigreturn",
    "bastide_host_sigreturn:",
    "mov eax, 15",
    "syscall",
    "ud2",
    ".globl bastide_host_end",
    "bastide_host_end:",
    ".popsection",
);

unsafe extern "C" {
    fn bastide_host_call(
        nr: usize,
        a: usize,
        b: usize,
        c: usize,
        d: usize,
        e: usize,
        f: usize,
    ) -> isize;
    pub(crate) fn bastide_host_poll(
        fds: usize,
        count: usize,
        timeout: usize,
        word: usize,
        notified: u32,
    ) -> isize;
    pub(crate) fn bastide_host_epoll(
        set: i32,
        events: usize,
        count: usize,
        milliseconds: i32,
        word: usize,
        notified: u32,
    ) -> isize;
    pub(crate) fn bastide_host_clone(flags: usize, stack: usize, id: usize, block: usize) -> isize;
    pub(crate) fn bastide_host_exit(used: usize) -> !;
    pub(crate) static bastide_host_sigreturn: u8;
    static bastide_host_start: u8;
    static bastide_host_end: u8;
    static bastide_poll_window: u8;
    static bastide_poll_window_end: u8;
    static bastide_poll_abort: u8;
}

/// The stubs' address range.
pub(crate) fn stubs() -> (usize, usize) {
    (
        &raw const bastide_host_start as usize,
        &raw const bastide_host_end as usize,
    )
}

/// If `rip` is where a sleeping thread has tested for a wake-up but not yet entered the host,
/// where it must go instead.
pub(crate) fn abort_poll(rip: usize) -> Option<usize> {
    let window =
        &raw const bastide_poll_window as usize..&raw const bastide_poll_window_end as usize;
    window
        .contains(&rip)
        .then_some(&raw const bastide_poll_abort as usize)
}

/// A raw host result as a `Result`: an error only for -4095..=-1.
pub(crate) fn check(raw: isize) -> Result<usize> {
    if (-4095..0).contains(&raw) {
        Err(Error(-raw as i32))
    } else {
        Ok(raw as usize)
    }
}

/// A length that the host returned: EIO if it is more than was asked for.
pub(crate) fn check_len(raw: isize, max: usize) -> Result<usize> {
    let n = check(raw)?;
    if n > max { Err(Error(5)) } else { Ok(n) }
}

/// Calls the host.
///
/// # Safety
/// The arguments must be right for the call: pointers it writes through cover memory that may be
/// overwritten, and the call does not change memory that Rust relies on.
pub(crate) unsafe fn call(nr: u32, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the stub follows the C ABI; the caller vouches for the call.
    unsafe { bastide_host_call(nr as usize, a, b, c, d, e, f) }
}

/// [`call`] with up to six arguments.
macro_rules! host {
    ($nr:ident $(, $arg:expr)*) => {{
        let mut args = [0usize; 6];
        let list: &[usize] = &[$($arg as usize),*];
        args[..list.len()].copy_from_slice(list);
        $crate::host::call(linux_raw_sys::general::$nr, args)
    }};
}
pub(crate) use host;
