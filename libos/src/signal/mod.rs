//! Signals, `signal(7)`.

mod restart;

pub use restart::sys_restart_syscall;

use crate::process::{Process, Task};
use alloc::sync::Arc;
use bastide_pal::{Context, Fault};

/// A task's signal state.
#[derive(Default)]
pub struct TaskSignals {}

/// A process's signal state: handlers and shared pending signals.
#[derive(Default)]
pub struct ProcessSignals {}

/// A signal with its `siginfo_t` (`sigaction(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigInfo {
    pub signo: i32,
    pub errno: i32,
    /// `SI_USER`, `SI_KERNEL`, `SEGV_MAPERR`, `CLD_EXITED`, …
    pub code: i32,
    pub fields: Fields,
}

/// The union of `siginfo_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    None,
    /// kill, tgkill, `sigqueue(3)`.
    Sender {
        pid: i32,
        uid: u32,
        value: u64,
    },
    /// SIGCHLD; times in clock ticks.
    Child {
        pid: i32,
        uid: u32,
        status: i32,
        utime: i64,
        stime: i64,
    },
    /// POSIX timers.
    Timer {
        id: i32,
        overrun: i32,
        value: u64,
    },
    /// SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP.
    Fault {
        addr: u64,
    },
    /// SIGIO.
    Poll {
        band: i64,
        fd: i32,
    },
    /// As given by rt_sigqueueinfo.
    Raw([u64; 14]),
}

impl SigInfo {
    /// Sent by the kernel.
    pub fn kernel(signo: i32) -> Self {
        SigInfo {
            signo,
            errno: 0,
            code: 0x80,
            fields: Fields::None,
        }
    }
}

/// Sends to a process: any thread that does not block it.
pub fn send_process(_p: &Process, _info: SigInfo) {}

/// Sends to one thread.
pub fn send_task(_t: &Task, _info: SigInfo) {}

/// A signal caused by the task's own instruction: cannot be blocked or ignored (then it kills).
pub fn force(_t: &Task, _info: SigInfo) {}

/// The processor refused an instruction of the application.
pub fn fault(_t: &Arc<Task>, _ctx: &mut Context, _fault: Fault) {}

/// The launcher received a signal from its terminal or a person.
pub fn from_host(_signal: i32) {}

/// Acts on what is pending: stops, runs handlers (sets up `ctx`), or kills. Clears
/// [`crate::process::Work::SIGNAL`] when nothing is left. Also turns a restart code in `ctx.rax`
/// (when `ctx.orig_rax` is a system call) into a restart or EINTR.
pub fn deliver(t: &Arc<Task>, _ctx: &mut Context) {
    t.clear_work(crate::process::Work::SIGNAL | crate::process::Work::OTHER);
}
