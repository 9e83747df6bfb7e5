//! `kcmp(2)`: do two tasks share something?

use super::{Task, find_task};
use crate::event::epoll::Epoll;
use crate::mm::remote::may_access;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult};
use alloc::sync::Arc;

const FILE: i32 = 0;
const VM: i32 = 1;
const FILES: i32 = 2;
const FS: i32 = 3;
const SIGHAND: i32 = 4;
const IO: i32 = 5;
const SYSVSEM: i32 = 6;
const EPOLL_TFD: i32 = 7;

fn address<T: ?Sized>(a: &Arc<T>) -> usize {
    // Addresses of kernel objects stay in the kernel: only their order, after mixing, shows.
    Arc::as_ptr(a)
        .cast::<()>()
        .addr()
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The file that an epoll set of the task watches: `{epoll fd, watched fd, which of several}`.
fn watched(t: &Task, other: &Task, slot: UserAddr) -> Result<usize> {
    let [efd, tfd, nth] = user::read::<[u32; 3]>(t, slot)?;
    let f = other.file(efd as i32)?;
    let set = f.downcast::<Epoll>().ok_or(Errno::EINVAL)?;
    let file = set.watched(tfd as i32, nth as usize);
    file.map(|f| address(&f)).ok_or(Errno::ENOENT)
}

/// `kcmp(2)`: 0 if the same, 1 or 2 by an arbitrary order. ESRCH, EPERM, EBADF, EINVAL, ENOENT.
pub fn sys_kcmp(
    t: &Arc<Task>,
    pid1: i32,
    pid2: i32,
    kind: i32,
    index1: usize,
    index2: usize,
) -> SysResult {
    let a = find_task(pid1).ok_or(Errno::ESRCH)?;
    let b = find_task(pid2).ok_or(Errno::ESRCH)?;
    may_access(t, &a)?;
    may_access(t, &b)?;
    let fd = |i: usize| i32::try_from(i).map_err(|_| Errno::EBADF);
    let (x, y) = match kind {
        FILE => (
            address(&a.files().get(fd(index1)?)?),
            address(&b.files().get(fd(index2)?)?),
        ),
        VM => (address(&a.mm()), address(&b.mm())),
        FILES => (address(&a.files()), address(&b.files())),
        FS => (address(&a.fs()), address(&b.fs())),
        SIGHAND => (
            address(&a.process.signals.handlers()),
            address(&b.process.signals.handlers()),
        ),
        // Nobody has an I/O context.
        IO => (0, 0),
        SYSVSEM => (
            address(&*a.process.sem_undo.lock()),
            address(&*b.process.sem_undo.lock()),
        ),
        EPOLL_TFD => (
            address(&a.files().get(fd(index1)?)?),
            watched(t, &b, UserAddr(index2))?,
        ),
        _ => return Err(Errno::EINVAL),
    };
    Ok(match x.cmp(&y) {
        core::cmp::Ordering::Equal => 0,
        core::cmp::Ordering::Less => 1,
        core::cmp::Ordering::Greater => 2,
    })
}
