//! Signals about what happens in a directory, `fcntl(2)` F_NOTIFY. [`super::notify`] reports it.

use super::access::FileId;
use super::dentry::Dentry;
use super::sigio::{Owner, Whose, send};
use super::{File, Path, locks};
use crate::wait::POLLIN;
use crate::{Errno, Result, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_abi::raw::general::DN_MULTISHOT;
use bastide_base::sync::Mutex;
use core::sync::atomic::{AtomicUsize, Ordering};

/// `POLL_MSG`.
const POLL_MSG: i32 = 3;
/// `POLLRDNORM | POLLMSG`, with POLLIN the band of these signals.
const BAND: u32 = 0x40 | 0x400;

/// A watched directory.
struct Watch {
    dir: FileId,
    mask: u32,
    /// The description that the watch was set on, and the descriptor.
    by: usize,
    fd: i32,
    owner: Arc<Mutex<Owner>>,
}

static WATCHES: Mutex<Vec<Watch>> = Mutex::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Somebody watches a directory.
pub fn any() -> bool {
    COUNT.load(Ordering::Acquire) != 0
}

/// `F_NOTIFY`: ENOTDIR; a mask of 0 ends it.
pub fn watch(t: &Task, f: &Arc<File>, fd: i32, mask: u32) -> Result<()> {
    if !f.path.as_ref().is_some_and(Path::is_dir) {
        return Err(Errno::ENOTDIR);
    }
    let (dir, by) = (f.stat()?.id(), locks::description(f));
    if mask & !DN_MULTISHOT == 0 {
        forget(by);
        return Ok(());
    }
    f.set_owner(t, Whose::Process, t.process.pid)?;
    let mut all = WATCHES.lock();
    match all.iter_mut().find(|w| w.by == by) {
        Some(w) => w.mask |= mask,
        None => all.push(Watch {
            dir,
            mask,
            by,
            fd,
            owner: f.owner.clone(),
        }),
    }
    COUNT.store(all.len(), Ordering::Release);
    Ok(())
}

/// A descriptor was closed: watches on its description go.
pub fn descriptor_closed(f: &File) {
    if any() {
        forget(locks::description(f));
    }
}

fn forget(by: usize) {
    let mut all = WATCHES.lock();
    all.retain(|w| w.by != by);
    COUNT.store(all.len(), Ordering::Release);
}

/// Something happened in a directory, `DN_*`.
pub fn tell(dir: &Dentry, event: u32) {
    if !any() {
        return;
    }
    let Ok(s) = dir.inode().stat() else { return };
    let id = s.id();
    let mut due = Vec::new();
    {
        let mut all = WATCHES.lock();
        for w in all.iter().filter(|w| w.dir == id && w.mask & event != 0) {
            due.push((w.owner.clone(), w.fd));
        }
        all.retain(|w| w.dir != id || w.mask & event == 0 || w.mask & DN_MULTISHOT != 0);
        COUNT.store(all.len(), Ordering::Release);
    }
    for (owner, fd) in due {
        let owner = *owner.lock();
        send(&owner, fd, BAND | POLLIN, POLL_MSG);
    }
}

/// Something happened to a file: its directory hears of it.
pub fn tell_parent(d: &Dentry, event: u32) {
    if !any() {
        return;
    }
    if let Some(dir) = d.parent() {
        tell(&dir, event);
    }
}
