//! Signal masks, and calls that change them for their own duration.

use super::{SigSet, send, state};
use crate::process::{Task, Work};
use crate::user::{self, UserAddr};
use crate::{Errno, Result};

/// Replaces the task's mask; returns the old one. Signals that it blocks now and that other
/// threads could take go to them. `t` is the caller.
pub fn set_mask(t: &Task, mask: SigSet) -> SigSet {
    let mask = mask - SigSet::UNBLOCKABLE;
    let old = core::mem::replace(&mut t.signals.state.lock().blocked, mask);
    changed(t, old, mask);
    old
}

fn changed(t: &Task, old: SigSet, new: SigSet) {
    if old == new {
        return;
    }
    let blocked = new - old;
    if !blocked.is_empty() {
        send::retarget(t, blocked);
    }
    state::recalc(t);
}

/// Puts a mask in force until the call ends: for sigsuspend, and through [`with_mask`] for ppoll,
/// pselect and epoll_pwait. The old one comes back after a handler's frame was made with it, or
/// on the way to the application.
pub fn set_temporary_mask(t: &Task, mask: SigSet) {
    let mask = mask - SigSet::UNBLOCKABLE;
    let old = {
        let mut s = t.signals.state.lock();
        let old = core::mem::replace(&mut s.blocked, mask);
        s.saved.get_or_insert(old);
        old
    };
    changed(t, old, mask);
}

/// Puts back the mask that [`set_temporary_mask`] replaced.
pub(super) fn restore(t: &Task) {
    let (old, new) = {
        let mut s = t.signals.state.lock();
        let Some(saved) = s.saved.take() else {
            return;
        };
        (core::mem::replace(&mut s.blocked, saved), saved)
    };
    changed(t, old, new);
}

/// Runs `call` with another mask, if one is given. When a signal interrupts it, the signal is
/// chosen with that mask before the old one comes back.
pub fn with_mask<T>(t: &Task, mask: Option<SigSet>, call: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(mask) = mask else {
        return call();
    };
    set_temporary_mask(t, mask);
    let result = call();
    match &result {
        Err(e) if e.is_restart() || *e == Errno::EINTR => t.add_own_work(Work::OTHER),
        _ => restore(t),
    }
    result
}

/// Reads a mask argument of ppoll, pselect, epoll_pwait and the like: `None` for a null pointer;
/// EINVAL if it has not the kernel's size.
pub fn read_mask(t: &Task, addr: UserAddr, size: usize) -> Result<Option<SigSet>> {
    if addr.is_null() {
        return Ok(None);
    }
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    Ok(Some(SigSet::blockable(user::read(t, addr)?)))
}
