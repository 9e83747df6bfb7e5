//! `mq_notify(2)`: telling one process that a message came to an empty queue.

use super::{Queue, queue_of};
use crate::abi::signal::SI_MESGQ;
use crate::abi::time::{SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, SigEvent};
use crate::fs::File;
use crate::net::netlink;
use crate::process::Process;
use crate::signal::{self, Fields, SigInfo};
use crate::user::{self, UserAddr};
use crate::{Errno, SysResult, Task};
use alloc::sync::{Arc, Weak};

/// A registration.
pub struct Notification {
    owner: Weak<Process>,
    pid: i32,
    /// `SIGEV_NONE`, `SIGEV_SIGNAL` or `SIGEV_THREAD`.
    kind: i32,
    signo: i32,
    value: u64,
    /// For `SIGEV_THREAD`: the netlink socket that the C library's thread reads, and what to send.
    thread: Option<(Arc<File>, [u8; COOKIE])>,
}

/// Bytes of a `SIGEV_THREAD` message; the last says what happened.
const COOKIE: usize = 32;
const WOKEN_UP: u8 = 1;
const REMOVED: u8 = 2;

impl Notification {
    /// Tells the owner that `t` sent a message.
    pub fn send(self, t: &Task) {
        self.tell_thread(WOKEN_UP);
        if self.kind != SIGEV_SIGNAL {
            return;
        }
        if let Some(p) = self.owner.upgrade() {
            let info = SigInfo {
                signo: self.signo,
                errno: 0,
                code: SI_MESGQ,
                fields: Fields::Sender {
                    pid: t.process.pid,
                    uid: t.creds().uid,
                    value: self.value,
                },
            };
            signal::send_process(&p, info);
        }
    }

    /// Kind, signal and process id as reading the queue shows them.
    pub fn shown(&self) -> (i32, i32, i32) {
        (self.kind, self.signo, self.pid)
    }

    fn tell_thread(&self, what: u8) {
        if let Some((f, cookie)) = &self.thread
            && let Ok(socket) = netlink::of_file(f)
        {
            let mut message = *cookie;
            message[COOKIE - 1] = what;
            socket.deliver(&message);
        }
    }

    fn is_of(&self, t: &Task) -> bool {
        core::ptr::eq(self.owner.as_ptr(), Arc::as_ptr(&t.process))
    }
}

/// The caller's registration goes (`close(2)`).
pub(super) fn forget(q: &Queue, t: &Task) {
    let gone = {
        let mut s = q.state.lock();
        s.notification.take_if(|n| n.is_of(t))
    };
    if let Some(n) = gone {
        n.tell_thread(REMOVED);
    }
}

/// `mq_notify(2)`. EBADF, EBUSY if another is registered, EINVAL, EFAULT, ENOTSOCK.
pub fn sys_mq_notify(t: &Arc<Task>, fd: i32, event: UserAddr) -> SysResult {
    let event = if event.is_null() {
        None
    } else {
        Some(user::read::<SigEvent>(t, event)?)
    };
    let mut thread = None;
    if let Some(e) = &event {
        match e.notify {
            SIGEV_NONE => {}
            SIGEV_SIGNAL if (0..=64).contains(&e.signo) => {}
            SIGEV_THREAD => {
                let cookie = user::read(t, UserAddr(e.value as usize))?;
                let socket = t.file(e.signo)?;
                netlink::of_file(&socket)?;
                thread = Some((socket, cookie));
            }
            _ => return Err(Errno::EINVAL),
        }
    }
    let f = t.file(fd)?;
    let q = queue_of(&f)?;
    let Some(e) = event else {
        forget(q, t);
        return Ok(0);
    };
    let mut s = q.state.lock();
    if s.notification
        .as_ref()
        .is_some_and(|n| n.owner.strong_count() > 0)
    {
        return Err(Errno::EBUSY);
    }
    s.notification = Some(Notification {
        owner: Arc::downgrade(&t.process),
        pid: t.process.pid,
        kind: e.notify,
        signo: e.signo,
        value: e.value,
        thread,
    });
    Ok(0)
}
