//! Job control: which session a terminal belongs to, which process group is in the foreground,
//! and what happens to the others (`credentials(7)`, `tty_ioctl(4)`).

use super::Tty;
use crate::abi::signal::{SIG_IGN, SIGCONT, SIGHUP, SIGTTIN, SIGTTOU};
use crate::process::creds::{CAP_SYS_ADMIN, CAP_SYS_TTY_CONFIG};
use crate::process::{Life, Process};
use crate::signal::{self, SigInfo};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task, abi::raw::ioctl, kernel};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The live processes that `which(pgid, sid)` names.
fn processes(mut which: impl FnMut(i32, i32) -> bool) -> Vec<Arc<Process>> {
    let all: Vec<Arc<Process>> = kernel().processes.lock().values().cloned().collect();
    all.into_iter()
        .filter(|p| {
            let rel = p.rel.lock();
            which(rel.pgid, rel.sid)
        })
        .filter(|p| !matches!(*p.life.lock(), Life::Zombie(_)))
        .collect()
}

/// Sends a kernel signal to a process group; nothing for group 0.
pub(super) fn signal_group(pgid: i32, signo: i32) {
    if pgid > 0 {
        let _ = signal::send_group(pgid, SigInfo::kernel(signo));
    }
}

/// The signal would not be acted on.
fn is_ignored(t: &Task, signo: i32) -> bool {
    t.signals.blocked().contains(signo) || t.process.signals.action(signo).handler == SIG_IGN
}

impl Tty {
    /// It is the caller's controlling terminal.
    pub(super) fn controls(&self, t: &Task) -> bool {
        let rel = t.process.rel.lock();
        let tty = rel.terminal.as_ref();
        tty.and_then(|ops| ops.as_any().downcast_ref::<Tty>())
            .is_some_and(|tty| core::ptr::eq(tty, self))
    }

    /// The caller is in a background group of this, its controlling terminal.
    pub(super) fn in_background(&self, t: &Task) -> bool {
        if !self.controls(t) {
            return false;
        }
        let pgid = t.process.rel.lock().pgid;
        let foreground = self.session.lock().1;
        foreground != 0 && foreground != pgid
    }

    /// Stops a background group that reads (SIGTTIN) or changes the terminal (SIGTTOU): sends the
    /// signal and fails with ERESTARTSYS. A reader that does not react to the signal gets EIO, as
    /// does an orphaned group; who ignores or blocks SIGTTOU may go on.
    pub(super) fn check_background(&self, t: &Task, signo: i32) -> Result<()> {
        if !self.in_background(t) {
            return Ok(());
        }
        let pgid = t.process.rel.lock().pgid;
        if is_ignored(t, signo) {
            return if signo == SIGTTIN {
                Err(Errno::EIO)
            } else {
                Ok(())
            };
        }
        if signal::orphaned(pgid, None) {
            return Err(Errno::EIO);
        }
        signal_group(pgid, signo);
        Err(Errno::ERESTARTSYS)
    }

    /// Makes it the controlling terminal of the caller's session.
    fn take(self: &Arc<Self>, t: &Task) {
        let mut rel = t.process.rel.lock();
        *self.session.lock() = (rel.sid, rel.pgid);
        rel.terminal = Some(self.clone());
    }

    /// An open without `O_NOCTTY` by a session leader without a terminal takes a free one.
    pub(super) fn opened(self: &Arc<Self>, t: &Task) {
        let free = self.session.lock().0 == 0;
        let rel = t.process.rel.lock();
        let wants = rel.sid == t.process.pid && rel.terminal.is_none();
        drop(rel);
        if free && wants {
            self.take(t);
        }
    }

    /// Takes the terminal away from everybody in its session. Returns the foreground group.
    fn release(&self) -> i32 {
        let (sid, foreground) = core::mem::take(&mut *self.session.lock());
        if sid != 0 {
            for p in processes(|_, s| s == sid) {
                let gone = p.rel.lock().terminal.take();
                drop(gone);
            }
        }
        foreground
    }

    /// The line is gone: hangs up on the session leader and the foreground group.
    pub(super) fn hang_up_session(&self) {
        let sid = self.session.lock().0;
        let leader = crate::process::find_process(sid);
        let foreground = self.release();
        if let Some(p) = leader.filter(|_| sid != 0) {
            signal::send_process(&p, SigInfo::kernel(SIGHUP));
            signal::send_process(&p, SigInfo::kernel(SIGCONT));
        }
        signal_group(foreground, SIGHUP);
        signal_group(foreground, SIGCONT);
    }

    /// The job-control requests of `tty_ioctl(4)`; `None` if it is none of them. `master` is the
    /// other side of a pseudoterminal, which may ask about a session that is not its own.
    pub(super) fn job_ioctl(
        self: &Arc<Self>,
        t: &Task,
        request: u32,
        arg: usize,
        readable: bool,
        master: bool,
    ) -> Option<SysResult> {
        let at = UserAddr(arg);
        Some(match request {
            ioctl::TIOCSCTTY => self.set_controlling(t, arg, readable),
            ioctl::TIOCNOTTY => self.give_up(t),
            ioctl::TIOCGPGRP => {
                if !master && !self.controls(t) {
                    return Some(Err(Errno::ENOTTY));
                }
                let foreground = self.session.lock().1;
                user::write(t, at, &foreground).map(|()| 0)
            }
            ioctl::TIOCSPGRP => user::read(t, at).and_then(|pgid| self.set_foreground(t, pgid)),
            ioctl::TIOCGSID => {
                let sid = self.session.lock().0;
                if (!master && !self.controls(t)) || sid == 0 {
                    return Some(Err(Errno::ENOTTY));
                }
                user::write(t, at, &sid).map(|()| 0)
            }
            _ => return None,
        })
    }

    fn set_controlling(self: &Arc<Self>, t: &Task, steal: usize, readable: bool) -> SysResult {
        let (leader, sid, has) = {
            let rel = t.process.rel.lock();
            let leader = rel.sid == t.process.pid;
            (leader, rel.sid, rel.terminal.is_some())
        };
        let owner = self.session.lock().0;
        if leader && owner == sid {
            return Ok(0);
        }
        let admin = t.creds().capable(CAP_SYS_ADMIN);
        if !leader || has || !(readable || admin) {
            return Err(Errno::EPERM);
        }
        if owner != 0 {
            if steal != 1 || !admin {
                return Err(Errno::EPERM);
            }
            self.release();
        }
        self.take(t);
        Ok(0)
    }

    fn give_up(&self, t: &Task) -> SysResult {
        if !self.controls(t) {
            return Err(Errno::ENOTTY);
        }
        if t.process.rel.lock().sid == t.process.pid {
            let foreground = self.release();
            signal_group(foreground, SIGHUP);
            signal_group(foreground, SIGCONT);
        } else {
            let gone = t.process.rel.lock().terminal.take();
            drop(gone);
        }
        Ok(0)
    }

    fn set_foreground(&self, t: &Task, pgid: i32) -> SysResult {
        match self.check_background(t, SIGTTOU) {
            Err(Errno::EIO) => return Err(Errno::ENOTTY),
            r => r?,
        }
        let sid = t.process.rel.lock().sid;
        if !self.controls(t) || self.session.lock().0 != sid {
            return Err(Errno::ENOTTY);
        }
        if pgid < 0 {
            return Err(Errno::EINVAL);
        }
        let member = processes(|g, _| g == pgid).into_iter().next();
        let member = member.ok_or(Errno::ESRCH)?;
        if member.rel.lock().sid != sid {
            return Err(Errno::EPERM);
        }
        self.session.lock().1 = pgid;
        Ok(0)
    }
}

/// A session leader exits: its terminal is free again, and the foreground group is told. A
/// pseudoterminal's line lives on for those who have it open.
pub fn leader_exits(p: &Process) {
    let terminal = {
        let rel = p.rel.lock();
        if rel.sid != p.pid {
            return;
        }
        rel.terminal.clone()
    };
    if let Some(tty) = terminal.as_ref().and_then(super::as_tty) {
        let foreground = tty.release();
        signal_group(foreground, SIGHUP);
    }
}

/// `vhangup(2)`: hangs up the caller's terminal. EPERM without CAP_SYS_TTY_CONFIG.
pub fn sys_vhangup(t: &Arc<Task>) -> SysResult {
    if !t.creds().capable(CAP_SYS_TTY_CONFIG) {
        return Err(Errno::EPERM);
    }
    let terminal = t.process.rel.lock().terminal.clone();
    if let Some(tty) = terminal.as_ref().and_then(super::as_tty) {
        tty.hang_up_session();
        tty.hang_up_line();
    }
    Ok(0)
}
