//! Descriptors: `close(2)`, `close_range(2)`, `dup(2)`.

use super::{Fd, FdFlags};
use crate::process::task::RLIMIT_NOFILE;
use crate::{Errno, SysResult, Task};
use alloc::sync::Arc;
use bastide_abi::raw::general::O_CLOEXEC;

const CLOSE_RANGE_UNSHARE: u32 = 2;
const CLOSE_RANGE_CLOEXEC: u32 = 4;

/// `close(2)`.
pub fn sys_close(t: &Arc<Task>, fd: i32) -> SysResult {
    t.files().remove(fd)?.close(t)?;
    Ok(0)
}

/// `close_range(2)`: EINVAL for unknown flags and an empty range.
pub fn sys_close_range(t: &Arc<Task>, first: u32, last: u32, flags: u32) -> SysResult {
    if flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    if flags & CLOSE_RANGE_UNSHARE != 0 {
        t.files().may_copy()?;
        let own = t.files().fork();
        let old = core::mem::replace(&mut *t.files.lock(), own);
        drop(old);
    }
    let within = |fd: Fd| u32::try_from(fd).is_ok_and(|n| (first..=last).contains(&n));
    if flags & CLOSE_RANGE_CLOEXEC != 0 {
        t.files().flag_where(FdFlags::CLOEXEC, within);
        return Ok(0);
    }
    for f in t.files().remove_where(|fd, _| within(fd)) {
        let _ = f.close(t);
    }
    Ok(0)
}

/// `dup(2)`.
pub fn sys_dup(t: &Arc<Task>, fd: i32) -> SysResult {
    let f = t.files().get(fd)?;
    t.install(f, FdFlags::empty()).map(|n| n as usize)
}

/// `dup2(2)`.
pub fn sys_dup2(t: &Arc<Task>, old: i32, new: i32) -> SysResult {
    if old == new {
        t.files().get(old)?;
        return Ok(new as usize);
    }
    replace(t, old, new, FdFlags::empty())
}

/// `dup3(2)`: EINVAL for equal descriptors and unknown flags.
pub fn sys_dup3(t: &Arc<Task>, old: i32, new: i32, flags: u32) -> SysResult {
    if flags & !O_CLOEXEC != 0 || old == new {
        return Err(Errno::EINVAL);
    }
    let mut fl = FdFlags::empty();
    fl.set(FdFlags::CLOEXEC, flags & O_CLOEXEC != 0);
    replace(t, old, new, fl)
}

fn replace(t: &Task, old: i32, new: i32, flags: FdFlags) -> SysResult {
    let limit = t.rlimit(RLIMIT_NOFILE) as usize;
    if usize::try_from(new).map_or(true, |n| n >= limit) {
        return Err(Errno::EBADF);
    }
    let f = t.files().get(old)?;
    if let Some(gone) = t.files().replace(new, f, flags, limit)? {
        let _ = gone.close(t);
    }
    Ok(new as usize)
}
