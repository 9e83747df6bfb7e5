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
        219,
        "restart_syscall",
        "",
        &h(crate::signal::sys_restart_syscall),
        Full,
    ),
    // events
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
