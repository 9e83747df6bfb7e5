//! Host signals: how the application's system calls, faults and interruptions reach the kernel.

use crate::entry;
use crate::host::{self, host};
use crate::layout::{ALT_SIZE, BASE, Block, END};
use bastide_pal::context::Entry;
use core::sync::atomic::Ordering;

/// The host signal that interrupts a thread.
pub(crate) const KICK: u32 = 10;
const SIGHUP: u32 = 1;
const SIGINT: u32 = 2;
const SIGQUIT: u32 = 3;
const SIGILL: u32 = 4;
const SIGTRAP: u32 = 5;
const SIGBUS: u32 = 7;
const SIGFPE: u32 = 8;
const SIGSEGV: u32 = 11;
const SIGPIPE: u32 = 13;
const SIGTSTP: u32 = 20;
const SIGXFSZ: u32 = 25;
const SIGSYS: u32 = 31;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// The general registers of the host's `ucontext_t` in its order.
#[repr(C)]
struct Mcontext {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    rflags: u64,
    cs_gs_fs_ss: u64,
    err: u64,
    trapno: u64,
    oldmask: u64,
    cr2: u64,
}

#[repr(C)]
struct Ucontext {
    flags: u64,
    link: u64,
    stack: [u64; 3],
    mcontext: Mcontext,
}

#[repr(C)]
struct Siginfo {
    signo: i32,
    errno: i32,
    code: i32,
    _pad: i32,
    addr: u64,
    syscall: i32,
    arch: u32,
}

fn in_kernel(rip: u64) -> bool {
    (BASE as u64..END as u64).contains(&rip)
}

/// Stores the application's registers in the frame and makes the handler's return continue at
/// `entry` on the kernel stack.
fn divert(block: &Block, m: &mut Mcontext, orig_rax: u64, entry: *const u8, how: Entry) {
    // SAFETY: the thread was in the application, so nothing else uses its frame.
    let f = unsafe { entry::frame(block) };
    f.r15 = m.r15;
    f.r14 = m.r14;
    f.r13 = m.r13;
    f.r12 = m.r12;
    f.rbp = m.rbp;
    f.rbx = m.rbx;
    f.r11 = m.r11;
    f.r10 = m.r10;
    f.r9 = m.r9;
    f.r8 = m.r8;
    f.rax = m.rax;
    f.rcx = m.rcx;
    f.rdx = m.rdx;
    f.rsi = m.rsi;
    f.rdi = m.rdi;
    f.orig_rax = orig_rax;
    f.entry = how as u64;
    f.rip = m.rip;
    f.rflags = m.rflags;
    f.rsp = m.rsp;
    f.cs = m.cs_gs_fs_ss & 0xffff;
    f.ss = m.cs_gs_fs_ss >> 48;
    m.rip = entry as u64;
    m.rsp = block.frame as u64;
    // The kernel runs with DF, TF, AC and NT clear.
    m.rflags &= !(0x400 | 0x100 | 0x4_0000 | 0x4000);
}

extern "C" fn on_signal(signo: u32, info: &Siginfo, uc: &mut Ucontext) {
    let block = entry::block();
    let m = &mut uc.mcontext;
    match signo {
        KICK => on_kick(block, m),
        SIGSYS if !in_kernel(m.rip) => {
            let nr = if info.arch == AUDIT_ARCH_X86_64 {
                m.rax
            } else {
                u64::MAX - 1
            };
            divert(
                block,
                m,
                nr,
                &raw const entry::bastide_enter_syscall,
                Entry::Trap,
            );
        }
        // A fault signal sent by a person on the host is not a fault.
        SIGSEGV | SIGBUS | SIGFPE | SIGILL | SIGTRAP if info.code <= 0 => {}
        SIGSEGV | SIGBUS if in_kernel(m.rip) => match bastide_base::user::fixup(m.rip as usize) {
            Some(to) => m.rip = to as u64,
            None => crate::platform::oops(signo, m.rip, m.cr2, m.rsp),
        },
        SIGSEGV | SIGBUS | SIGFPE | SIGILL | SIGTRAP if !in_kernel(m.rip) => {
            let b = block as *const Block as *mut Block;
            // SAFETY: the block is this thread's; the kernel reads these fields only after the
            // diversion below.
            unsafe {
                (*b).fault_vector = m.trapno as u32;
                (*b).fault_code = m.err as u32;
                (*b).fault_addr = if m.trapno == 14 { m.cr2 } else { info.addr };
                (*b).fault_bus = u32::from(signo == SIGBUS && m.trapno == 14);
            }
            divert(
                block,
                m,
                u64::MAX,
                &raw const entry::bastide_enter_fault,
                Entry::Direct,
            );
        }
        _ => crate::platform::oops(signo, m.rip, m.cr2, m.rsp),
    }
}

fn on_kick(block: &Block, m: &mut Mcontext) {
    let rip = m.rip as usize;
    if !in_kernel(m.rip) {
        divert(
            block,
            m,
            u64::MAX,
            &raw const entry::bastide_enter_interrupt,
            Entry::Direct,
        );
    } else if let Some(to) = entry::exit_again(rip) {
        m.rip = to as u64;
        m.rsp = block.frame as u64;
    } else if let Some(to) = host::abort_poll(rip) {
        m.rip = to as u64;
        block.kicked.store(1, Ordering::Relaxed);
    } else {
        block.kicked.store(1, Ordering::Relaxed);
    }
}

#[repr(C)]
struct KernelSigaction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

const SA_SIGINFO: u64 = 4;
const SA_ONSTACK: u64 = 0x0800_0000;
const SA_RESTORER: u64 = 0x0400_0000;

/// Installs the handlers; once, before the first thread of the application.
pub(crate) fn install() {
    for signo in [KICK, SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS] {
        let act = KernelSigaction {
            handler: on_signal as *const () as usize,
            flags: SA_SIGINFO | SA_ONSTACK | SA_RESTORER,
            restorer: &raw const host::bastide_host_sigreturn as usize,
            // Everything waits until the handler is done, but the faults that would kill us.
            mask: !0,
        };
        // SAFETY: the handler follows the C ABI and the restorer calls rt_sigreturn.
        unsafe { host!(__NR_rt_sigaction, signo, &raw const act, 0, 8) };
    }
    // A host pipe or socket without a reader, or a host file that is too large, is an error number,
    // not a death. The terminal may have sent its signals before this process left its session: the
    // launcher has them too.
    let ignore = KernelSigaction {
        handler: 1,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    for signo in [SIGPIPE, SIGXFSZ, SIGHUP, SIGINT, SIGQUIT, SIGTSTP] {
        // SAFETY: SIG_IGN has no handler to get wrong.
        unsafe { host!(__NR_rt_sigaction, signo, &raw const ignore, 0, 8) };
    }
}

/// Gives the calling thread its trap stack.
pub(crate) fn set_stack(block: &Block) {
    let slot = block.frame - crate::layout::FRAME_OFFSET;
    let stack = [slot, 0, ALT_SIZE];
    // SAFETY: the slot's first ALT_SIZE bytes are this thread's trap stack.
    unsafe { host!(__NR_sigaltstack, stack.as_ptr(), 0) };
}

/// Replaces the host signal mask; returns the old one.
pub(crate) fn set_mask(mask: u64) -> u64 {
    let mut old = 0u64;
    // SAFETY: reads and writes the two locals.
    unsafe { host!(__NR_rt_sigprocmask, 2, &raw const mask, &raw mut old, 8) };
    old
}
