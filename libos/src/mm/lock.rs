//! `mlock(2)` and its relatives. The host has no swap for us to care about, so locking brings
//! pages in, counts against the limit, and shows.

use super::calls::{may_lock, page_range};
use super::{Limits, VmFlags};
use crate::abi::raw::general::*;
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use bastide_base::pages::PAGE;
use bastide_base::user::USER_END;

fn lock(t: &Task, start: usize, len: usize, flags: VmFlags) -> SysResult {
    if !may_lock(t) {
        return Err(Errno::EPERM);
    }
    let (start, end) = aligned(start, len)?;
    if start == end {
        return Ok(0);
    }
    let mm = t.mm();
    mm.lock_range(&Limits::of(t), start, end, flags)?;
    if !flags.contains(VmFlags::LOCKONFAULT) {
        // POSIX's error for pages that cannot be had.
        mm.populate(t, start, end, true)
            .map_err(|_| Errno::ENOMEM)?;
    }
    Ok(0)
}

/// Whole pages that touch the range; EINVAL if it wraps around.
fn aligned(start: usize, len: usize) -> Result<(usize, usize)> {
    let low = start & !(PAGE - 1);
    let len = len.checked_add(start - low).ok_or(Errno::EINVAL)?;
    match page_range(low, len, Errno::EINVAL) {
        Err(_) if low.checked_add(len).is_some() => Err(Errno::ENOMEM),
        r => r,
    }
}

/// `mlock(2)`. EPERM, ENOMEM, EINVAL.
pub fn sys_mlock(t: &Arc<Task>, start: usize, len: usize) -> SysResult {
    lock(t, start, len, VmFlags::LOCKED)
}

/// `mlock2(2)`. As `mlock`, and EINVAL for unknown flags.
pub fn sys_mlock2(t: &Arc<Task>, start: usize, len: usize, flags: u32) -> SysResult {
    if flags & !MLOCK_ONFAULT != 0 {
        return Err(Errno::EINVAL);
    }
    let mut what = VmFlags::LOCKED;
    what.set(VmFlags::LOCKONFAULT, flags & MLOCK_ONFAULT != 0);
    lock(t, start, len, what)
}

/// `munlock(2)`. ENOMEM, EINVAL.
pub fn sys_munlock(t: &Arc<Task>, start: usize, len: usize) -> SysResult {
    let (start, end) = aligned(start, len)?;
    t.mm()
        .lock_range(&Limits::of(t), start, end, VmFlags::empty())
        .map(|()| 0)
}

/// `mlockall(2)`. EINVAL, EPERM, ENOMEM.
pub fn sys_mlockall(t: &Arc<Task>, flags: u32) -> SysResult {
    if flags == 0 || flags & !(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0 || flags == MCL_ONFAULT
    {
        return Err(Errno::EINVAL);
    }
    if !may_lock(t) {
        return Err(Errno::EPERM);
    }
    let mut what = VmFlags::LOCKED;
    what.set(VmFlags::LOCKONFAULT, flags & MCL_ONFAULT != 0);
    let now = (flags & MCL_CURRENT != 0).then_some(what);
    let future = if flags & MCL_FUTURE != 0 {
        what
    } else {
        VmFlags::empty()
    };
    let mm = t.mm();
    mm.lock_all(&Limits::of(t), now, future)?;
    if now == Some(VmFlags::LOCKED) {
        let _ = mm.populate(t, 0, USER_END, true);
    }
    Ok(0)
}

/// `munlockall(2)`.
pub fn sys_munlockall(t: &Arc<Task>) -> SysResult {
    let none = VmFlags::empty();
    t.mm()
        .lock_all(&Limits::of(t), Some(none), none)
        .map(|()| 0)
}
