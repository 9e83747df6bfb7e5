//! Process groups and sessions: `setpgid(2)`, `setsid(2)`; `credentials(7)`.

use super::{Process, Task, find_process};
use crate::{Errno, Result, SysResult, kernel, pal};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

/// The process named by `pid`, the caller's for 0; ESRCH for those that are gone.
fn target(t: &Task, pid: i32) -> Result<Arc<Process>> {
    if pid == 0 {
        return Ok(t.process.clone());
    }
    find_process(pid).ok_or(Errno::ESRCH)
}

/// `setpgid(2)`.
pub fn sys_setpgid(t: &Arc<Task>, pid: i32, pgid: i32) -> SysResult {
    if pgid < 0 {
        return Err(Errno::EINVAL);
    }
    let p = target(t, pid)?;
    let pgid = if pgid == 0 { p.pid } else { pgid };
    let own_sid = t.process.rel.lock().sid;
    let child = p
        .rel
        .lock()
        .parent
        .upgrade()
        .is_some_and(|parent| Arc::ptr_eq(&parent, &t.process));
    if !Arc::ptr_eq(&p, &t.process) {
        if !child {
            return Err(Errno::ESRCH);
        }
        let rel = p.rel.lock();
        if rel.sid != own_sid {
            return Err(Errno::EPERM);
        }
        if rel.has_execed {
            return Err(Errno::EACCES);
        }
    }
    if p.rel.lock().sid == p.pid {
        return Err(Errno::EPERM);
    }
    if pgid != p.pid {
        let exists = kernel().processes.lock().values().any(|o| {
            let rel = o.rel.lock();
            rel.pgid == pgid && rel.sid == own_sid
        });
        if !exists {
            return Err(Errno::EPERM);
        }
    }
    p.rel.lock().pgid = pgid;
    Ok(0)
}

/// `getpgid(2)`.
pub fn sys_getpgid(t: &Arc<Task>, pid: i32) -> SysResult {
    Ok(target(t, pid)?.rel.lock().pgid as usize)
}

/// `getpgrp(2)`.
pub fn sys_getpgrp(t: &Arc<Task>) -> SysResult {
    sys_getpgid(t, 0)
}

/// `getsid(2)`.
pub fn sys_getsid(t: &Arc<Task>, pid: i32) -> SysResult {
    Ok(target(t, pid)?.rel.lock().sid as usize)
}

/// `setsid(2)`.
pub fn sys_setsid(t: &Arc<Task>) -> SysResult {
    let p = &t.process;
    let leads = kernel()
        .processes
        .lock()
        .values()
        .any(|o| o.rel.lock().pgid == p.pid);
    if leads {
        return Err(Errno::EPERM);
    }
    {
        let mut rel = p.rel.lock();
        rel.sid = p.pid;
        rel.pgid = p.pid;
        rel.terminal = None;
    }
    // Who has borrowed its memory must not take the owner along; it gets its session with memory of
    // its own.
    if !p.shares_memory.load(Ordering::Relaxed) {
        pal().own_session();
    }
    Ok(p.pid as usize)
}

/// A session that the process leads is the platform's too: it has come to an address space of its
/// own, which the platform has made elsewhere.
pub(super) fn settle(p: &Process) {
    if p.rel.lock().sid == p.pid {
        pal().own_session();
    }
}

/// A session leader that ends gives up its terminal, and the foreground group hangs up.
pub(super) fn leave_terminal(t: &Task) {
    crate::fs::tty::job::leader_exits(&t.process);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_session_is_the_platforms_once_its_leader_has_memory_of_its_own() {
        let t = testing::task();
        let p = &t.process;
        let led = |pgid, sid| {
            let mut rel = p.rel.lock();
            (rel.pgid, rel.sid) = (pgid, sid);
        };
        testing::sessions();
        // The leader of a group is refused, in its own session or in another's.
        led(p.pid, p.pid);
        assert_eq!(sys_setsid(&t), Err(Errno::EPERM));
        assert_eq!(testing::sessions(), 0);
        led(1, 1);
        settle(p);
        assert_eq!(testing::sessions(), 0);
        assert_eq!(sys_setsid(&t), Ok(p.pid as usize));
        assert_eq!(testing::sessions(), 1);
        // After vfork.
        led(1, 1);
        p.shares_memory.store(true, Ordering::Relaxed);
        assert_eq!(sys_setsid(&t), Ok(p.pid as usize));
        assert_eq!(testing::sessions(), 0);
        p.shares_memory.store(false, Ordering::Relaxed);
        settle(p);
        assert_eq!(testing::sessions(), 1);
    }
}
