//! Calls that set actions and masks, and that wait for signals.

use super::mask::{set_mask, set_temporary_mask};
use super::state::{ignores, tasks};
use super::{SigSet, deliver, job, valid};
use crate::abi::signal::*;
use crate::abi::time::Timespec;
use crate::process::{Task, Work};
use crate::user::{self, UserAddr};
use crate::wait::wait_until;
use crate::{Errno, SysResult, time};
use alloc::sync::Arc;

const SIGSET_SIZE: usize = 8;

/// `rt_sigaction(2)`.
pub fn sys_rt_sigaction(
    t: &Arc<Task>,
    signo: i32,
    new: UserAddr,
    old: UserAddr,
    size: usize,
) -> SysResult {
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let wanted: Option<SigAction> = if new.is_null() {
        None
    } else {
        Some(user::read(t, new)?)
    };
    if !valid(signo) || wanted.is_some() && SigSet::UNBLOCKABLE.contains(signo) {
        return Err(Errno::EINVAL);
    }
    let handlers = t.process.signals.handlers();
    let before = match wanted {
        None => handlers.get(signo),
        Some(mut action) => {
            action.flags &= SA_KNOWN;
            action.mask = SigSet::blockable(action.mask).0;
            let before = handlers.set(signo, action);
            // What is ignored now is not pending any more, blocked or not.
            if ignores(&action, signo) {
                job::forget(&t.process, &tasks(&t.process), SigSet::of(&[signo]));
            }
            before
        }
    };
    user::write_opt(t, old, &before)?;
    Ok(0)
}

/// `rt_sigprocmask(2)`.
pub fn sys_rt_sigprocmask(
    t: &Arc<Task>,
    how: i32,
    new: UserAddr,
    old: UserAddr,
    size: usize,
) -> SysResult {
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let before = t.signals.blocked();
    if !new.is_null() {
        let set = SigSet::blockable(user::read(t, new)?);
        set_mask(
            t,
            match how {
                SIG_BLOCK => before | set,
                SIG_UNBLOCK => before - set,
                SIG_SETMASK => set,
                _ => return Err(Errno::EINVAL),
            },
        );
    }
    user::write_opt(t, old, &before.0)?;
    Ok(0)
}

/// `rt_sigpending(2)`.
pub fn sys_rt_sigpending(t: &Arc<Task>, set: UserAddr, size: usize) -> SysResult {
    if size > SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let shared = t.process.signals.pending();
    let pending = (shared | t.signals.pending()) & t.signals.blocked();
    user::write_bytes(t, set, &pending.0.to_le_bytes()[..size])?;
    Ok(0)
}

/// Sleeps until a signal is to be acted on.
fn wait_for_any(t: &Task) -> SysResult {
    let _ = wait_until(t, &[], None, || None::<()>);
    Err(Errno::ERESTARTNOHAND)
}

/// `rt_sigsuspend(2)`.
pub fn sys_rt_sigsuspend(t: &Arc<Task>, set: UserAddr, size: usize) -> SysResult {
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    set_temporary_mask(t, SigSet(user::read(t, set)?));
    let result = wait_for_any(t);
    t.add_own_work(Work::OTHER);
    result
}

/// `pause(2)`.
pub fn sys_pause(t: &Arc<Task>) -> SysResult {
    wait_for_any(t)
}

/// `rt_sigtimedwait(2)`: EAGAIN when the time is over, EINTR for a signal outside the set.
pub fn sys_rt_sigtimedwait(
    t: &Arc<Task>,
    set: UserAddr,
    info: UserAddr,
    timeout: UserAddr,
    size: usize,
) -> SysResult {
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let wanted = SigSet::blockable(user::read(t, set)?);
    let deadline = if timeout.is_null() {
        None
    } else {
        let ts: Timespec = user::read(t, timeout)?;
        let ns = ts.nanos().ok_or(Errno::EINVAL)?;
        Some(time::monotonic().saturating_add(ns))
    };
    let arrivals = &t.process.signals.arrivals;
    let got = wait_until(t, &[arrivals], deadline, || deliver::take_wanted(t, wanted));
    // What was taken may have been the reason for attention.
    super::recalc(t);
    match got {
        Ok(got) => {
            user::write_opt(t, info, &got.encode())?;
            Ok(got.signo as usize)
        }
        Err(Errno::ETIMEDOUT) => Err(Errno::EAGAIN),
        Err(_) => Err(Errno::EINTR),
    }
}
