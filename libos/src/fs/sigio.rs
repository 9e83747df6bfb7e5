//! Signals about files: who gets them, `fcntl(2)` F_SETOWN and F_SETSIG.

use super::File;
use crate::process::{self, Task};
use crate::signal::{self, Fields, SigInfo};
use crate::wait::Events;
use crate::{Errno, Result};

const SIGIO: i32 = 29;

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
        let o = *self.owner.lock();
        let info = SigInfo {
            signo: if o.signal == 0 { SIGIO } else { o.signal },
            errno: 0,
            code: if o.signal == 0 { 0x80 } else { code },
            fields: Fields::Poll {
                band: i64::from(events),
                fd,
            },
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
                let all = crate::kernel().processes.lock();
                let members = all.values().filter(|p| p.rel.lock().pgid == o.id);
                let members: alloc::vec::Vec<_> = members.cloned().collect();
                drop(all);
                for p in members {
                    signal::send_process(&p, info);
                }
            }
        }
    }
}
