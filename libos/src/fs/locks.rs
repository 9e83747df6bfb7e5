//! Locks on files: POSIX record locks, open file description locks, `flock(2)`.
//!
//! One table under one lock: blocking is rare, and looking for deadlocks must see all of it. A
//! file is known by device and inode number, so that every way to it meets the same locks.

use super::File;
use super::access::FileId;
use crate::wait::{POLLALL, WaitQueue, wait_until};
use crate::{Errno, Result, Task};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::{Mutex, Once};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Who holds a lock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Owner {
    /// A process (record locks).
    Process(i32),
    /// An open file description, by its address.
    Description(usize),
}

/// A record lock on the bytes `start..=end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lock {
    pub start: u64,
    pub end: u64,
    pub write: bool,
    pub owner: Owner,
}

impl Lock {
    fn conflicts(&self, other: &Lock) -> bool {
        self.owner != other.owner
            && (self.write || other.write)
            && self.start <= other.end
            && other.start <= self.end
    }
}

/// Ends of record locks go here when a lock runs to the end of the file, wherever that is.
pub const TO_END: u64 = i64::MAX as u64;

#[derive(Default)]
struct Entry {
    records: Vec<Lock>,
    /// Whole-file locks: description and exclusiveness.
    whole: Vec<(usize, bool)>,
}

impl Entry {
    fn conflict(&self, l: &Lock) -> Option<Lock> {
        self.records.iter().find(|o| o.conflicts(l)).copied()
    }

    /// Replaces what the owner holds in the range; `None` unlocks.
    fn set(&mut self, range: &Lock, locked: bool) {
        let mut kept: Vec<Lock> = Vec::with_capacity(self.records.len() + 2);
        let mut new = *range;
        for l in self.records.drain(..) {
            if l.owner != range.owner || l.start > range.end || l.end < range.start {
                kept.push(l);
                continue;
            }
            if l.start < range.start {
                kept.push(Lock {
                    end: range.start - 1,
                    ..l
                });
            }
            if l.end > range.end {
                kept.push(Lock {
                    start: range.end + 1,
                    ..l
                });
            }
        }
        if locked {
            // Neighbours of the same kind become one lock.
            kept.retain(|l| {
                let joins = l.owner == new.owner
                    && l.write == new.write
                    && (l.end.checked_add(1) == Some(new.start)
                        || new.end.checked_add(1) == Some(l.start));
                if joins {
                    new.start = new.start.min(l.start);
                    new.end = new.end.max(l.end);
                }
                !joins
            });
            kept.push(new);
        }
        kept.sort_by_key(|l| l.start);
        self.records = kept;
    }
}

#[derive(Default)]
struct Table {
    files: BTreeMap<FileId, Entry>,
    /// What each process that sleeps for a record lock waits for.
    waiting: BTreeMap<i32, Owner>,
}

static TABLE: Mutex<Option<Table>> = Mutex::new(None);
/// Files with locks, to make closing cheap when there are none.
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn changed() -> &'static WaitQueue {
    static QUEUE: Once<WaitQueue> = Once::new();
    QUEUE.get_or_init(WaitQueue::new)
}

/// Changes a file's locks; files without any are forgotten.
fn with<R>(id: FileId, f: impl FnOnce(&mut Entry) -> R) -> R {
    let mut guard = TABLE.lock();
    let table = guard.get_or_insert_default();
    let entry = table.files.entry(id).or_default();
    let r = f(entry);
    if entry.records.is_empty() && entry.whole.is_empty() {
        table.files.remove(&id);
    }
    COUNT.store(table.files.len(), Ordering::Release);
    r
}

/// The first lock that stands against `l`, `F_GETLK`.
pub fn test(id: FileId, l: &Lock) -> Option<Lock> {
    with(id, |e| e.conflict(l))
}

/// Takes away what the owner holds in a range.
pub fn unlock(id: FileId, l: &Lock) {
    with(id, |e| e.set(l, false));
    changed().wake_all(POLLALL);
}

fn try_lock(id: FileId, l: &Lock) -> core::result::Result<(), Owner> {
    let upgraded = with(id, |e| match e.conflict(l) {
        Some(other) => Err(other.owner),
        None => {
            e.set(l, true);
            Ok(())
        }
    });
    // A write lock may have become a read lock.
    if upgraded.is_ok() && !l.write {
        changed().wake_all(POLLALL);
    }
    upgraded
}

/// Takes a record lock. EAGAIN if it is not to be waited for, EDEADLK if waiting would never end,
/// ERESTARTSYS.
pub fn lock(t: &Task, id: FileId, l: &Lock, wait: bool) -> Result<()> {
    if !wait {
        return try_lock(id, l).map_err(|_| Errno::EAGAIN);
    }
    let pid = match l.owner {
        Owner::Process(pid) => Some(pid),
        Owner::Description(_) => None,
    };
    let result = wait_until(t, &[changed()], None, || match try_lock(id, l) {
        Ok(()) => Some(Ok(())),
        Err(holder) => match pid {
            Some(pid) if !may_wait(pid, holder) => Some(Err(Errno::EDEADLK)),
            _ => None,
        },
    });
    if let (Some(pid), Some(table)) = (pid, TABLE.lock().as_mut()) {
        table.waiting.remove(&pid);
    }
    result?
}

/// Notes that a process waits for a holder; false if the holder waits, in the end, for it.
fn may_wait(pid: i32, holder: Owner) -> bool {
    let mut guard = TABLE.lock();
    let table = guard.get_or_insert_default();
    let mut at = holder;
    // Chains longer than the number of sleepers would be circles without us.
    for _ in 0..=table.waiting.len() {
        let Owner::Process(p) = at else { break };
        if p == pid {
            return false;
        }
        match table.waiting.get(&p) {
            Some(next) => at = *next,
            None => break,
        }
    }
    table.waiting.insert(pid, holder);
    true
}

/// `flock(2)`: `None` unlocks, else whether it is exclusive. An earlier lock of the description
/// is given up first. EAGAIN, ERESTARTSYS.
pub fn flock(
    t: &Task,
    id: FileId,
    f: &Arc<File>,
    exclusive: Option<bool>,
    wait: bool,
) -> Result<()> {
    let me = description(f);
    let held = with(id, |e| {
        let held = e.whole.iter().find(|w| w.0 == me).map(|w| w.1);
        if held != exclusive {
            e.whole.retain(|w| w.0 != me);
        }
        held
    });
    if held == exclusive {
        return Ok(());
    }
    if held.is_some() {
        changed().wake_all(POLLALL);
    }
    let Some(exclusive) = exclusive else {
        return Ok(());
    };
    let attempt = || {
        with(id, |e| {
            let stands = e.whole.iter().any(|w| w.0 != me && (w.1 || exclusive));
            (!stands).then(|| e.whole.push((me, exclusive)))
        })
    };
    if !wait {
        return attempt().ok_or(Errno::EAGAIN);
    }
    wait_until(t, &[changed()], None, attempt)
}

/// The owner that an open file description is.
pub fn description(f: &File) -> usize {
    core::ptr::from_ref(f) as usize
}

/// A process closed a descriptor of the file: its record locks go.
pub fn close(pid: i32, f: &File) {
    if COUNT.load(Ordering::Acquire) == 0 {
        return;
    }
    if let Ok(s) = f.stat() {
        release(s.id(), Owner::Process(pid));
    }
}

/// An open file description is gone, and its locks with it.
pub fn dropped(f: &File) {
    if COUNT.load(Ordering::Acquire) == 0 {
        return;
    }
    let me = description(f);
    let mut any = false;
    {
        let mut guard = TABLE.lock();
        let Some(table) = guard.as_mut() else {
            return;
        };
        table.files.retain(|_, e| {
            let before = e.records.len() + e.whole.len();
            e.records.retain(|l| l.owner != Owner::Description(me));
            e.whole.retain(|w| w.0 != me);
            let after = e.records.len() + e.whole.len();
            any |= after != before;
            after > 0
        });
        COUNT.store(table.files.len(), Ordering::Release);
    }
    if any {
        changed().wake_all(POLLALL);
    }
}

fn release(id: FileId, owner: Owner) {
    let mut any = false;
    with(id, |e| {
        let before = e.records.len();
        e.records.retain(|l| l.owner != owner);
        any = e.records.len() != before;
    });
    if any {
        changed().wake_all(POLLALL);
    }
}

/// Every lock, for `/proc/locks`: the file, the record lock if it is one, else the whole-file
/// lock's exclusiveness.
pub fn list() -> Vec<(FileId, core::result::Result<Lock, bool>)> {
    let guard = TABLE.lock();
    let mut out = Vec::new();
    for (id, e) in guard.iter().flat_map(|t| &t.files) {
        out.extend(e.records.iter().map(|l| (*id, Ok(*l))));
        out.extend(e.whole.iter().map(|w| (*id, Err(w.1))));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn l(pid: i32, start: u64, end: u64, write: bool) -> Lock {
        Lock {
            start,
            end,
            write,
            owner: Owner::Process(pid),
        }
    }

    #[test]
    fn ranges_split_and_join() {
        let mut e = Entry::default();
        e.set(&l(1, 0, 99, true), true);
        e.set(&l(1, 40, 59, false), true);
        assert_eq!(
            e.records,
            [l(1, 0, 39, true), l(1, 40, 59, false), l(1, 60, 99, true)]
        );
        e.set(&l(1, 40, 59, true), true);
        assert_eq!(e.records, [l(1, 0, 99, true)]);
        e.set(&l(1, 50, TO_END, true), false);
        assert_eq!(e.records, [l(1, 0, 49, true)]);
        assert_eq!(e.conflict(&l(2, 49, 60, false)), Some(l(1, 0, 49, true)));
        assert_eq!(e.conflict(&l(2, 50, 60, true)), None);
    }

    #[test]
    fn circles_are_refused() {
        assert!(may_wait(901, Owner::Process(902)));
        assert!(may_wait(902, Owner::Process(903)));
        assert!(!may_wait(903, Owner::Process(901)));
        for pid in [901, 902, 903] {
            TABLE.lock().as_mut().unwrap().waiting.remove(&pid);
        }
    }
}
