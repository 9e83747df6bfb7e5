//! Waiting for children: `wait4(2)`, `waitid(2)`.

use super::limits::Rusage;
use super::{Life, Process, Task, exit, pidfd};
use crate::signal::{Fields, SigInfo};
use crate::user::{self, UserAddr};
use crate::wait::wait_until;
use crate::{Errno, Result, SysResult};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

const WNOHANG: i32 = 1;
const WUNTRACED: i32 = 2;
const WEXITED: i32 = 4;
const WCONTINUED: i32 = 8;
const WNOWAIT: i32 = 0x0100_0000;
const WNOTHREAD: i32 = 0x2000_0000;
const WALL: i32 = 0x4000_0000;
const WCLONE: i32 = i32::MIN;
const SIGCHLD: i32 = 17;
const SIGCONT: i32 = 18;

/// Which children a call waits for.
enum Who {
    Any,
    Pid(i32),
    Group(i32),
}

/// What happened to a child.
struct Event {
    child: Arc<Process>,
    /// The `wait(2)` status.
    status: i32,
    /// `CLD_*`.
    code: i32,
}

impl Who {
    fn matches(&self, p: &Process, options: i32) -> bool {
        let rel = p.rel.lock();
        let ours = match *self {
            Who::Any => true,
            Who::Pid(pid) => p.pid == pid,
            Who::Group(g) => rel.pgid == g,
        };
        // A "clone" child is one that does not send SIGCHLD.
        ours && (options & WALL != 0 || (rel.exit_signal != SIGCHLD) == (options & WCLONE != 0))
    }
}

/// Looks for an event without sleeping: `Ok(None)` if there are children but no event; ECHILD.
fn look(t: &Task, who: &Who, options: i32) -> Result<Option<Event>> {
    let parent = &t.process;
    let children = parent.rel.lock().children.clone();
    let mut any = false;
    for c in children {
        if !who.matches(&c, options) {
            continue;
        }
        any = true;
        let life = *c.life.lock();
        if let Life::Zombie(status) = life {
            if options & WEXITED == 0 {
                continue;
            }
            let code = match status & 0x7f {
                0 => 1,
                _ if status & 0x80 != 0 => 3,
                _ => 2,
            };
            if options & WNOWAIT == 0 {
                // Of several threads that see it one takes it.
                let mut rel = parent.rel.lock();
                let Some(i) = rel.children.iter().position(|o| Arc::ptr_eq(o, &c)) else {
                    continue;
                };
                rel.children.remove(i);
                drop(rel);
                exit::reap(parent, &c);
            }
            return Ok(Some(Event {
                child: c,
                status,
                code,
            }));
        }
        let mut job = c.job.lock();
        if options & WUNTRACED != 0
            && job.stop_unreported
            && let Some(signal) = job.stopped
        {
            job.stop_unreported = options & WNOWAIT != 0;
            drop(job);
            return Ok(Some(Event {
                child: c,
                status: signal << 8 | 0x7f,
                code: 5,
            }));
        }
        if options & WCONTINUED != 0 && job.continue_unreported {
            job.continue_unreported = options & WNOWAIT != 0;
            drop(job);
            return Ok(Some(Event {
                child: c,
                status: 0xffff,
                code: 6,
            }));
        }
    }
    if any { Ok(None) } else { Err(Errno::ECHILD) }
}

fn wait(t: &Task, who: &Who, options: i32) -> Result<Option<Event>> {
    if options & WNOHANG != 0 {
        return look(t, who, options);
    }
    let queue = t.process.child_events.clone();
    wait_until(t, &[&queue], None, || look(t, who, options).transpose()).and_then(|r| r.map(Some))
}

/// `wait4(2)`.
pub fn sys_wait4(
    t: &Arc<Task>,
    pid: i32,
    status: UserAddr,
    options: i32,
    usage: UserAddr,
) -> SysResult {
    let known = WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE;
    if options & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let who = match pid {
        i32::MIN => return Err(Errno::ESRCH),
        -1 => Who::Any,
        0 => Who::Group(t.process.rel.lock().pgid),
        p if p < 0 => Who::Group(-p),
        p => Who::Pid(p),
    };
    let Some(e) = wait(t, &who, options | WEXITED)? else {
        return Ok(0);
    };
    user::write_opt(t, status, &e.status)?;
    user::write_opt(t, usage, &Rusage::of_gone(&e.child))?;
    Ok(e.child.pid as usize)
}

/// `waitid(2)`. The fifth argument of the raw call is a `struct rusage`.
pub fn sys_waitid(
    t: &Arc<Task>,
    kind: i32,
    id: i32,
    info: UserAddr,
    options: i32,
    usage: UserAddr,
) -> SysResult {
    let known = WNOHANG | WNOWAIT | WEXITED | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE;
    if options & !known != 0 || options & (WEXITED | WUNTRACED | WCONTINUED) == 0 {
        return Err(Errno::EINVAL);
    }
    let mut options = options;
    let mut nonblocking_fd = false;
    let who = match kind {
        0 => Who::Any,
        1 if id > 0 => Who::Pid(id),
        2 if id > 0 => Who::Group(id),
        2 if id == 0 => Who::Group(t.process.rel.lock().pgid),
        3 if id >= 0 => {
            let file = t.file(id)?;
            let p = pidfd::process_of(&file)?;
            if file.nonblocking() && options & WNOHANG == 0 {
                nonblocking_fd = true;
                options |= WNOHANG;
            }
            Who::Pid(p.pid)
        }
        _ => return Err(Errno::EINVAL),
    };
    let event = wait(t, &who, options)?;
    let Some(e) = event else {
        if nonblocking_fd {
            return Err(Errno::EAGAIN);
        }
        if !info.is_null() {
            user::write(t, info, &[0u8; 128])?;
        }
        return Ok(0);
    };
    user::write_opt(t, usage, &Rusage::of_gone(&e.child))?;
    if !info.is_null() {
        let status = match e.code {
            1 => (e.status >> 8) & 0xff,
            5 => (e.status >> 8) & 0xff,
            6 => SIGCONT,
            _ => e.status & 0x7f,
        };
        let fields = Fields::Child {
            pid: e.child.pid,
            uid: e.child.last_uid.load(Ordering::Relaxed),
            status,
            utime: 0,
            stime: 0,
        };
        user::write(
            t,
            info,
            &SigInfo {
                signo: SIGCHLD,
                errno: 0,
                code: e.code,
                fields,
            }
            .encode(),
        )?;
    }
    Ok(0)
}
