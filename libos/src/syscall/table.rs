//! The system call table.

use super::arg::h;
use super::{Entry, Handler, Support};
use crate::{Errno, SysResult, Task};
#[allow(unused_imports)]
use Support::{Full, Partial, Refused};
use alloc::sync::Arc;
use bastide_base::sync::Once;

const fn e(
    nr: u16,
    name: &'static str,
    args: &'static str,
    handler: &'static dyn Handler,
    support: Support,
) -> Entry {
    Entry {
        nr,
        name,
        args,
        handler,
        support,
    }
}

fn refuse(_t: &Arc<Task>) -> SysResult {
    Err(Errno::ENOSYS)
}

/// Every implemented or refused call, by number.
pub static TABLE: &[Entry] = &[
    // files
    // memory
    // processes
    // signals
    e(
        13,
        "rt_sigaction",
        "signal,ptr,ptr,size",
        &h(crate::signal::sys_rt_sigaction),
        Full,
    ),
    e(
        14,
        "rt_sigprocmask",
        "sighow,sigset,ptr,size",
        &h(crate::signal::sys_rt_sigprocmask),
        Full,
    ),
    e(
        15,
        "rt_sigreturn",
        "",
        &h(crate::signal::sys_rt_sigreturn),
        Full,
    ),
    e(34, "pause", "", &h(crate::signal::sys_pause), Full),
    e(62, "kill", "pid,signal", &h(crate::signal::sys_kill), Full),
    e(
        127,
        "rt_sigpending",
        "ptr,size",
        &h(crate::signal::sys_rt_sigpending),
        Full,
    ),
    e(
        128,
        "rt_sigtimedwait",
        "sigset,ptr,timespec,size",
        &h(crate::signal::sys_rt_sigtimedwait),
        Full,
    ),
    e(
        129,
        "rt_sigqueueinfo",
        "pid,signal,ptr",
        &h(crate::signal::sys_rt_sigqueueinfo),
        Full,
    ),
    e(
        130,
        "rt_sigsuspend",
        "sigset,size",
        &h(crate::signal::sys_rt_sigsuspend),
        Full,
    ),
    e(
        131,
        "sigaltstack",
        "ptr,ptr",
        &h(crate::signal::sys_sigaltstack),
        Full,
    ),
    e(
        200,
        "tkill",
        "pid,signal",
        &h(crate::signal::sys_tkill),
        Full,
    ),
    e(
        219,
        "restart_syscall",
        "",
        &h(crate::signal::sys_restart_syscall),
        Full,
    ),
    e(
        234,
        "tgkill",
        "pid,pid,signal",
        &h(crate::signal::sys_tgkill),
        Full,
    ),
    e(
        282,
        "signalfd",
        "fd,sigset,size",
        &h(crate::signal::sys_signalfd),
        Full,
    ),
    e(
        289,
        "signalfd4",
        "fd,sigset,size,hex",
        &h(crate::signal::sys_signalfd4),
        Full,
    ),
    e(
        297,
        "rt_tgsigqueueinfo",
        "pid,pid,signal,ptr",
        &h(crate::signal::sys_rt_tgsigqueueinfo),
        Full,
    ),
    // events
    e(
        202,
        "futex",
        "ptr,futexop,int,timespec,ptr,int",
        &h(crate::event::futex::sys_futex),
        Partial("priorities are not inherited; ownership of PI futexes is right"),
    ),
    e(
        273,
        "set_robust_list",
        "ptr,size",
        &h(crate::event::futex::sys_set_robust_list),
        Full,
    ),
    e(
        274,
        "get_robust_list",
        "pid,ptr,ptr",
        &h(crate::event::futex::sys_get_robust_list),
        Full,
    ),
    e(
        449,
        "futex_waitv",
        "ptr,int,hex,timespec,int",
        &h(crate::event::futex::sys_futex_waitv),
        Full,
    ),
    e(
        454,
        "futex_wake",
        "ptr,hex,int,hex",
        &h(crate::event::futex::sys_futex_wake),
        Full,
    ),
    e(
        455,
        "futex_wait",
        "ptr,hex,hex,hex,timespec,int",
        &h(crate::event::futex::sys_futex_wait),
        Full,
    ),
    e(
        456,
        "futex_requeue",
        "ptr,hex,int,int",
        &h(crate::event::futex::sys_futex_requeue),
        Full,
    ),
    // ipc
    e(22, "pipe", "ptr", &h(crate::ipc::pipe::sys_pipe), Full),
    e(
        293,
        "pipe2",
        "ptr,oflags",
        &h(crate::ipc::pipe::sys_pipe2),
        Full,
    ),
    e(
        275,
        "splice",
        "fd,ptr,fd,ptr,size,hex",
        &h(crate::ipc::pipe::splice::sys_splice),
        Full,
    ),
    e(
        276,
        "tee",
        "fd,fd,size,hex",
        &h(crate::ipc::pipe::splice::sys_tee),
        Full,
    ),
    e(
        278,
        "vmsplice",
        "fd,iovec,size,hex",
        &h(crate::ipc::pipe::splice::sys_vmsplice),
        Full,
    ),
    // sockets
    // time
    // others
    e(
        167,
        "swapon",
        "path,flags",
        &h(refuse),
        Refused("ENOSYS: there is no swap"),
    ),
];

/// Row numbers by call number, made when first asked for.
static INDEX: Once<[u16; 512]> = Once::new();

fn index() -> [u16; 512] {
    let mut out = [u16::MAX; 512];
    for (i, entry) in TABLE.iter().enumerate() {
        out[usize::from(entry.nr)] = i as u16;
    }
    out
}

/// The row of a number.
pub fn lookup(nr: u64) -> Option<&'static Entry> {
    let i = *INDEX.get_or_init(index).get(usize::try_from(nr).ok()?)?;
    TABLE.get(usize::from(i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_stands_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for entry in TABLE {
            assert!(
                seen.insert(entry.nr),
                "{} ({}) stands twice",
                entry.name,
                entry.nr
            );
        }
    }
}
