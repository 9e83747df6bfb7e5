//! System V IPC, `sysvipc(7)`: what shared memory, semaphores and message queues have in common.

pub mod msg;
pub mod sem;
pub mod shm;
#[cfg(test)]
mod tests;

use crate::abi::ipc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, IpcPerm};
use crate::process::Creds;
use crate::process::creds::{CAP_IPC_OWNER, CAP_SYS_ADMIN};
use crate::sysctl::Param;
use crate::{Errno, Result, Task, time};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;

/// Identifiers are `sequence * SLOTS + index`, so that a number is not soon used again.
const SLOTS: usize = 1 << 15;
const MAX_SEQ: usize = 0xffff;

/// Rights of an object, and who asks for what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Perm {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    /// Permission bits and flags such as `SHM_DEST`.
    pub mode: u32,
    pub id: i32,
}

impl Perm {
    fn new(t: &Task, key: i32, flags: u32) -> Perm {
        let c = t.creds();
        Perm {
            key,
            uid: c.euid,
            gid: c.egid,
            cuid: c.euid,
            cgid: c.egid,
            mode: flags & 0o777,
            id: 0,
        }
    }

    /// EACCES unless all of `want` (permission bits of any class) is granted.
    fn check(&self, t: &Task, want: u32) -> Result<()> {
        let c = t.creds();
        let want = want >> 6 | want >> 3 | want;
        let group = |g: u32| c.in_group(g);
        let granted = if c.euid == self.cuid || c.euid == self.uid {
            self.mode >> 6
        } else if group(self.cgid) || group(self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if want & !granted & 7 != 0 && !c.capable(CAP_IPC_OWNER) {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    /// EPERM unless the caller may change or remove the object.
    fn check_owner(&self, t: &Task) -> Result<()> {
        let c = t.creds();
        if self.owned_by(&c) || c.capable(CAP_SYS_ADMIN) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    fn owned_by(&self, c: &Creds) -> bool {
        c.euid == self.cuid || c.euid == self.uid
    }

    /// `IPC_SET`. EINVAL for an impossible owner.
    fn set(&mut self, to: &IpcPerm) -> Result<()> {
        if to.uid == u32::MAX || to.gid == u32::MAX {
            return Err(Errno::EINVAL);
        }
        self.uid = to.uid;
        self.gid = to.gid;
        self.mode = self.mode & !0o777 | to.mode & 0o777;
        Ok(())
    }

    fn to_user(self) -> IpcPerm {
        IpcPerm {
            key: self.key,
            uid: self.uid,
            gid: self.gid,
            cuid: self.cuid,
            cgid: self.cgid,
            mode: self.mode,
            seq: (self.id as usize / SLOTS) as u16,
            ..IpcPerm::default()
        }
    }
}

/// What a table needs of its objects.
trait Object: Send + Sync {
    fn perm(&self) -> Perm;
    fn set_id(&self, id: i32);
}

struct Slots<T> {
    slots: Vec<Option<Arc<T>>>,
    used: usize,
    seq: usize,
    /// Slots below were given out under this sequence number already.
    fresh: usize,
}

impl<T> Slots<T> {
    /// Makes room for a new object: its slot and identifier. With `wanted` that identifier if its
    /// slot is free, or one with the same sequence number in a later slot.
    fn room(&mut self, wanted: Option<usize>) -> Result<(usize, usize)> {
        let first = wanted.map_or(0, |id| id % SLOTS);
        let after = self.slots.iter().skip(first);
        let free = after.enumerate().find(|(_, o)| o.is_none());
        let index = match free {
            Some((i, _)) => first + i,
            None => self.slots.len().max(first),
        };
        if index >= SLOTS {
            return Err(Errno::ENOSPC);
        }
        if index >= self.slots.len() {
            let more = index + 1 - self.slots.len();
            self.slots.try_reserve(more).map_err(|_| Errno::ENOMEM)?;
            self.slots.resize_with(index + 1, || None);
        }
        if let Some(id) = wanted {
            return Ok((index, id / SLOTS));
        }
        if index < self.fresh {
            self.seq = (self.seq + 1) % MAX_SEQ;
        }
        self.fresh = index + 1;
        Ok((index, self.seq))
    }
}

/// All objects of a kind.
struct Table<T> {
    slots: Mutex<Slots<T>>,
    /// The identifier that the next object shall have; -1: any.
    next: &'static Param,
}

impl<T: Object> Table<T> {
    const fn new(next: &'static Param) -> Self {
        Table {
            slots: Mutex::new(Slots {
                slots: Vec::new(),
                used: 0,
                seq: 0,
                fresh: 0,
            }),
            next,
        }
    }

    /// The object with a key, or a new one, as `shmget(2)` and its kin say: ENOENT, EEXIST,
    /// EACCES; ENOSPC beyond `limit` objects. `fits` checks an existing one.
    fn get(
        &self,
        t: &Task,
        key: i32,
        flags: u32,
        limit: usize,
        fits: impl FnOnce(&T) -> Result<()>,
        make: impl FnOnce() -> Result<Arc<T>>,
    ) -> Result<i32> {
        let mut s = self.slots.lock();
        if key != IPC_PRIVATE {
            let found = s.slots.iter().flatten().find(|o| o.perm().key == key);
            match found {
                Some(_) if flags & (IPC_CREAT | IPC_EXCL) == IPC_CREAT | IPC_EXCL => {
                    return Err(Errno::EEXIST);
                }
                Some(o) => {
                    fits(o)?;
                    o.perm().check(t, flags & 0o777)?;
                    return Ok(o.perm().id);
                }
                None if flags & IPC_CREAT == 0 => return Err(Errno::ENOENT),
                None => {}
            }
        }
        if s.used >= limit.min(SLOTS) {
            return Err(Errno::ENOSPC);
        }
        let object = make()?;
        let wanted = usize::try_from(self.next.get()).ok();
        self.next.reset(-1);
        let (index, seq) = s.room(wanted)?;
        let id = (seq * SLOTS + index) as i32;
        object.set_id(id);
        s.used += 1;
        if let Some(slot) = s.slots.get_mut(index) {
            *slot = Some(object);
        }
        Ok(id)
    }

    /// The object with an identifier; EINVAL.
    fn find(&self, id: i32) -> Result<Arc<T>> {
        let index = usize::try_from(id).map_err(|_| Errno::EINVAL)? % SLOTS;
        let s = self.slots.lock();
        let o = s.slots.get(index).cloned().flatten();
        o.filter(|o| o.perm().id == id).ok_or(Errno::EINVAL)
    }

    /// The object in a slot (`SHM_STAT`); EINVAL.
    fn at(&self, index: i32) -> Result<Arc<T>> {
        let index = usize::try_from(index).map_err(|_| Errno::EINVAL)?;
        let s = self.slots.lock();
        let o = s.slots.get(index % SLOTS).cloned().flatten();
        o.ok_or(Errno::EINVAL)
    }

    /// Takes an object out; false if it was out already.
    fn remove(&self, object: &Arc<T>) -> bool {
        let mut s = self.slots.lock();
        let slot = s
            .slots
            .iter_mut()
            .find(|o| o.as_ref().is_some_and(|o| Arc::ptr_eq(o, object)));
        let Some(slot) = slot else {
            return false;
        };
        *slot = None;
        s.used -= 1;
        true
    }

    /// All objects.
    fn all(&self) -> Vec<Arc<T>> {
        self.slots.lock().slots.iter().flatten().cloned().collect()
    }

    /// How many there are, and the highest used slot.
    fn usage(&self) -> (usize, usize) {
        let s = self.slots.lock();
        let max = s.slots.iter().rposition(Option::is_some).unwrap_or(0);
        (s.used, max)
    }
}

/// Wall time in seconds.
fn now() -> i64 {
    (time::realtime() / 1_000_000_000) as i64
}
