//! Signals about files: who gets them, `fcntl(2)` F_SETOWN and F_SETSIG.

use super::File;
use crate::process::{self, Task};
use crate::signal::{self, Fields, SigInfo};
use crate::wait::{Events, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, PollTable, Wake};
use crate::{Errno, Result};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;

const SIGIO: i32 = 29;
const POLL_IN: i32 = 1;
const POLL_OUT: i32 = 2;
/// `FASYNC`.
pub const O_ASYNC: u32 = 0o20000;

/// Whose number an owner's is, as in `F_SETOWN_EX`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Whose {
    Thread,
    #[default]
    Process,
    Group,
}

/// Who gets a file's signals, and which.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Owner {
    pub whose: Whose,
    /// 0: nobody.
    pub id: i32,
    /// `F_SETSIG`; 0: SIGIO.
    pub signal: i32,
    /// Real and effective user who said so.
    pub uid: u32,
    pub euid: u32,
}

impl File {
    /// Names the owner. ESRCH if there is no such process, EINVAL for an absurd number.
    pub fn set_owner(&self, t: &Task, whose: Whose, id: i32) -> Result<()> {
        if id < 0 {
            return Err(Errno::EINVAL);
        }
        let exists = match whose {
            Whose::Thread => process::find_task(id).is_some(),
            Whose::Process => process::find_process(id).is_some(),
            Whose::Group => {
                let all = crate::kernel().processes.lock();
                all.values().any(|p| p.rel.lock().pgid == id)
            }
        };
        if id != 0 && !exists {
            return Err(Errno::ESRCH);
        }
        let creds = t.creds();
        let mut owner = self.owner.lock();
        *owner = Owner {
            whose,
            id,
            signal: owner.signal,
            uid: creds.uid,
            euid: creds.euid,
        };
        Ok(())
    }

    /// Tells the owner of events, as descriptor `fd`.
    pub fn signal_owner(&self, fd: i32, events: Events, code: i32) {
        let owner = *self.owner.lock();
        send(&owner, fd, events, code);
    }

    /// Signals the owner whenever something happens, `O_ASYNC`, or no longer.
    pub fn set_async(&self, fd: i32, on: bool) {
        let was = self.flags() & O_ASYNC != 0;
        if on == was {
            return;
        }
        self.set_flags(O_ASYNC, if on { O_ASYNC } else { 0 });
        let registrations = if on {
            let mut table = PollTable::new(Arc::new(Teller {
                owner: self.owner.clone(),
                fd,
            }));
            self.poll(Some(&mut table));
            table.registrations
        } else {
            Vec::new()
        };
        let old = core::mem::replace(&mut *self.listening.lock(), registrations);
        drop(old);
    }
}

/// What an object with `O_ASYNC` wakes. It refers to the owner only, not to the file, whose object
/// refers to it: neither would ever go.
struct Teller {
    owner: Arc<Mutex<Owner>>,
    fd: i32,
}

impl Wake for Teller {
    fn wake(&self, events: Events) -> bool {
        let owner = *self.owner.lock();
        let (code, band) = match events {
            _ if events & POLLIN != 0 => (POLL_IN, POLLIN | POLLRDNORM),
            _ if events & POLLOUT != 0 => (POLL_OUT, POLLOUT | POLLWRNORM),
            _ => return false,
        };
        send(&owner, self.fd, band, code);
        false
    }
}

/// Sends an owner its signal. Only one that was chosen tells the descriptor and what happened.
pub fn send(o: &Owner, fd: i32, events: Events, code: i32) {
    let info = if o.signal == 0 {
        SigInfo::kernel(SIGIO)
    } else {
        SigInfo {
            signo: o.signal,
            errno: 0,
            code,
            fields: Fields::Poll {
                band: i64::from(events),
                fd,
            },
        }
    };
    match o.whose {
        _ if o.id == 0 => {}
        Whose::Thread => {
            if let Some(t) = process::find_task(o.id) {
                signal::send_task(&t, info);
            }
        }
        Whose::Process => {
            if let Some(p) = process::find_process(o.id) {
                signal::send_process(&p, info);
            }
        }
        Whose::Group => {
            let all: Vec<_> = crate::kernel().processes.lock().values().cloned().collect();
            for p in all {
                if p.rel.lock().pgid == o.id {
                    signal::send_process(&p, info);
                }
            }
        }
    }
}
