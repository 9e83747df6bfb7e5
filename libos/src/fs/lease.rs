//! Leases, `fcntl(2)` F_SETLEASE: the holder is told by a signal before somebody else opens the
//! file in a conflicting way, and the opener waits for it to let go.

use super::access::{self, FileId};
use super::sigio::Whose;
use super::{File, fcntl, locks};
use crate::process::creds::CAP_LEASE;
use crate::sysctl::LEASE_BREAK_TIME;
use crate::wait::{POLLALL, POLLIN, WaitQueue, wait_until};
use crate::{Errno, Result, Task};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_abi::raw::general::{F_RDLCK, F_UNLCK, F_WRLCK};
use bastide_base::sync::{Mutex, Once};
use core::sync::atomic::{AtomicUsize, Ordering};

/// `POLL_MSG`, `POLLMSG`.
const POLL_MSG: i32 = 3;
const POLLMSG: u32 = 0x400;

struct Lease {
    /// The description that holds it, and the descriptor it was taken through.
    by: usize,
    file: Weak<File>,
    fd: i32,
    write: bool,
    /// Somebody waits for it to become a read lease (true) or to go, until then.
    breaking: Option<(bool, u64)>,
}

static TABLE: Mutex<BTreeMap<FileId, Vec<Lease>>> = Mutex::new(BTreeMap::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn changed() -> &'static WaitQueue {
    static QUEUE: Once<WaitQueue> = Once::new();
    QUEUE.get_or_init(WaitQueue::new)
}

fn with<R>(id: FileId, f: impl FnOnce(&mut Vec<Lease>) -> R) -> R {
    let mut table = TABLE.lock();
    let list = table.entry(id).or_default();
    let r = f(list);
    if list.is_empty() {
        table.remove(&id);
    }
    COUNT.store(table.len(), Ordering::Release);
    r
}

/// There are leases at all.
pub fn any() -> bool {
    COUNT.load(Ordering::Acquire) != 0
}

/// How many descriptions have the file open.
fn opens(id: FileId) -> usize {
    let all: Vec<_> = crate::kernel().tasks.lock().values().cloned().collect();
    let mut seen = alloc::collections::BTreeSet::new();
    for t in all {
        let files = t.files();
        for f in files.list().into_iter().filter_map(|fd| files.get(fd).ok()) {
            if fcntl::is_leasable(&f) && f.stat().is_ok_and(|s| s.id() == id) {
                seen.insert(locks::description(&f));
            }
        }
    }
    seen.len()
}

/// `F_SETLEASE`: EACCES for another's file without CAP_LEASE, EINVAL for what is no ordinary
/// file, EAGAIN if the file is open in a conflicting way or there is no lease to give up.
pub fn set(t: &Task, f: &Arc<File>, fd: i32, kind: u32) -> Result<()> {
    if !matches!(kind, F_RDLCK | F_WRLCK | F_UNLCK) {
        return Err(Errno::EINVAL);
    }
    let s = f.stat()?;
    let creds = t.creds();
    if creds.fsuid != s.uid && !creds.capable(CAP_LEASE) {
        return Err(Errno::EACCES);
    }
    if !fcntl::is_leasable(f) {
        return Err(Errno::EINVAL);
    }
    let (id, by) = (s.id(), locks::description(f));
    if kind == F_UNLCK {
        let had = with(id, |list| {
            let before = list.len();
            list.retain(|l| l.by != by);
            list.len() != before
        });
        changed().wake_all(POLLALL);
        return if had { Ok(()) } else { Err(Errno::EAGAIN) };
    }
    let write = kind == F_WRLCK;
    let conflict = if write {
        opens(id) > 1
    } else {
        access::is_written(id)
    };
    if conflict {
        return Err(Errno::EAGAIN);
    }
    with(id, |list| {
        if list.iter().any(|l| l.by != by && (l.write || write)) {
            return Err(Errno::EAGAIN);
        }
        list.retain(|l| l.by != by);
        list.push(Lease {
            by,
            file: Arc::downgrade(f),
            fd,
            write,
            breaking: None,
        });
        Ok(())
    })?;
    changed().wake_all(POLLALL);
    if f.owner.lock().id == 0 {
        f.set_owner(t, Whose::Process, t.process.pid)?;
    }
    Ok(())
}

/// `F_GETLEASE`: the lease, or what it is to become.
pub fn get(f: &File) -> Result<u32> {
    let by = locks::description(f);
    let id = f.stat()?.id();
    Ok(with(id, |list| match list.iter().find(|l| l.by == by) {
        None => F_UNLCK,
        Some(l) => match l.breaking {
            Some((true, _)) => F_RDLCK,
            Some((false, _)) => F_UNLCK,
            None if l.write => F_WRLCK,
            None => F_RDLCK,
        },
    }))
}

/// Before the file is opened (for writing, or truncated: `write`): waits until no lease stands
/// against it. EWOULDBLOCK if told not to wait, ERESTARTSYS.
pub fn break_for(t: &Task, id: FileId, write: bool, nonblock: bool) -> Result<()> {
    if !any() {
        return Ok(());
    }
    let seconds = LEASE_BREAK_TIME.get().clamp(0, 1 << 30) as u64;
    let limit = crate::time::monotonic() + seconds * 1_000_000_000;
    let mut tell = Vec::new();
    let mut last = None;
    with(id, |list| {
        for l in list.iter_mut().filter(|l| l.write || write) {
            if l.breaking.is_none() {
                l.breaking = Some((!write, limit));
                tell.push((l.file.clone(), l.fd));
            }
            last = last.max(l.breaking.map(|b| b.1));
        }
    });
    let Some(deadline) = last else {
        return Ok(());
    };
    for (file, fd) in tell {
        if let Some(f) = file.upgrade() {
            f.signal_owner(fd, POLLMSG | POLLIN, POLL_MSG);
        }
    }
    if nonblock {
        return Err(Errno::EAGAIN);
    }
    let clear = || with(id, |list| !list.iter().any(|l| l.write || write)).then_some(());
    match wait_until(t, &[changed()], Some(deadline), clear) {
        // The holder took too long.
        Err(Errno::ETIMEDOUT) => {
            with(id, |list| {
                list.retain(|_| !write);
                for l in list.iter_mut() {
                    l.write = false;
                    l.breaking = None;
                }
            });
            Ok(())
        }
        other => other,
    }
}

/// An open file description is gone, and its lease with it.
pub fn dropped(f: &File) {
    if !any() {
        return;
    }
    let by = locks::description(f);
    {
        let mut table = TABLE.lock();
        for list in table.values_mut() {
            list.retain(|l| l.by != by);
        }
        table.retain(|_, list| !list.is_empty());
        COUNT.store(table.len(), Ordering::Release);
    }
    changed().wake_all(POLLALL);
}
