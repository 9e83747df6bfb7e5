//! The tree of mounts, `mount(2)`.
//!
//! There is one mount namespace. The table's lock is never held over calls into a file system.

use super::dentry::{self, Dentry};
use super::{FileSystem, Path};
use crate::{Errno, Result};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::{Mutex, RwLock};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

pub const RDONLY: u32 = 1;
pub const NOSUID: u32 = 2;
pub const NODEV: u32 = 4;
pub const NOEXEC: u32 = 8;
pub const NOSYMFOLLOW: u32 = 256;
pub const NOATIME: u32 = 1024;
pub const NODIRATIME: u32 = 2048;
pub const RELATIME: u32 = 1 << 21;
/// The `MS_*` flags that belong to a mount.
pub const MOUNT_FLAGS: u32 =
    RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW | NOATIME | NODIRATIME | RELATIME;

/// A file system in use, by one mount or several.
pub struct Super {
    pub fs: Arc<dyn FileSystem>,
    pub root: Arc<Dentry>,
    /// No mount of it may write.
    pub read_only: AtomicBool,
}

impl Super {
    /// Brings a file system into use.
    pub fn new(fs: Arc<dyn FileSystem>) -> Arc<Super> {
        Arc::new(Super {
            root: Dentry::root(fs.root(), fs.volatile()),
            fs,
            read_only: AtomicBool::new(false),
        })
    }
}

impl Drop for Super {
    fn drop(&mut self) {
        crate::event::inotify::unmounted(&self.root);
        dentry::purge(&self.root);
        let _ = self.fs.sync();
    }
}

/// A file system (or a part of it) at a place in the tree.
pub struct Mount {
    /// As in `/proc/self/mountinfo`.
    pub id: u32,
    pub sup: Arc<Super>,
    /// The directory or file that appears.
    pub root: Arc<Dentry>,
    /// What was mounted, for `/proc/mounts`.
    pub source: Vec<u8>,
    flags: AtomicU32,
    /// Where: `None` for the root of everything and for mounts that are detached.
    place: Mutex<Option<Path>>,
    /// `MNT_EXPIRE` marked it once.
    expired: AtomicBool,
}

impl Mount {
    /// A mount that is nowhere yet.
    pub fn new(sup: Arc<Super>, root: Arc<Dentry>, source: &[u8], flags: u32) -> Arc<Mount> {
        static LAST_ID: AtomicU32 = AtomicU32::new(20);
        Arc::new(Mount {
            id: LAST_ID.fetch_add(1, Ordering::Relaxed).wrapping_add(1),
            sup,
            root,
            source: source.to_vec(),
            flags: AtomicU32::new(flags & MOUNT_FLAGS),
            place: Mutex::new(None),
            expired: AtomicBool::new(false),
        })
    }

    /// The file system.
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.sup.fs
    }

    /// `MS_*` flags in force.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Changes the flags (`MS_REMOUNT`).
    pub fn set_flags(&self, flags: u32) {
        self.flags.store(flags & MOUNT_FLAGS, Ordering::Relaxed);
    }

    /// Nothing may be written through it.
    pub fn read_only(&self) -> bool {
        self.flags() & RDONLY != 0 || self.sup.read_only.load(Ordering::Relaxed)
    }

    /// EROFS if [`Mount::read_only`].
    pub fn want_write(&self) -> Result<()> {
        if self.read_only() {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }

    /// The mount point; `None` at the root of everything.
    pub fn place(&self) -> Option<Path> {
        self.place.lock().clone()
    }

    /// Its root as a path.
    pub fn path(self: &Arc<Self>) -> Path {
        Path {
            mount: self.clone(),
            dentry: self.root.clone(),
        }
    }

    /// Marks it expired; true if it was already.
    pub fn expire(&self) -> bool {
        self.expired.swap(true, Ordering::Relaxed)
    }
}

struct Table {
    /// In the order of mounting.
    list: Vec<Arc<Mount>>,
    /// By mount and dentry of the mount point.
    at: BTreeMap<(u32, usize), Arc<Mount>>,
}

static TABLE: RwLock<Table> = RwLock::new(Table {
    list: Vec::new(),
    at: BTreeMap::new(),
});

fn key(p: &Path) -> (u32, usize) {
    (p.mount.id, Arc::as_ptr(&p.dentry) as usize)
}

/// What is mounted on a path, however often; the path itself if nothing is.
pub fn top(mut p: Path) -> Path {
    while p.dentry.is(dentry::MOUNTPOINT) {
        let Some(m) = TABLE.read().at.get(&key(&p)).cloned() else {
            break;
        };
        p = m.path();
    }
    p
}

/// All mounts in the order of mounting.
pub fn list() -> Vec<Arc<Mount>> {
    TABLE.read().list.clone()
}

/// The root of the tree, once something is mounted there.
pub fn root() -> Option<Path> {
    let first = TABLE.read().list.first().cloned()?;
    Some(top(first.path()))
}

/// Puts a mount at a place (`None`: the root of everything).
pub fn attach(m: &Arc<Mount>, at: Option<Path>) {
    let mut table = TABLE.write();
    if let Some(p) = &at {
        p.dentry.set(dentry::MOUNTPOINT, true);
        table.at.insert(key(p), m.clone());
    }
    table.list.push(m.clone());
    *m.place.lock() = at;
}

fn unlink(table: &mut Table, m: &Arc<Mount>) -> Option<Path> {
    let place = m.place.lock().take();
    if let Some(p) = &place {
        table.at.remove(&key(p));
        let address = Arc::as_ptr(&p.dentry) as usize;
        if !table.at.keys().any(|k| k.1 == address) {
            p.dentry.set(dentry::MOUNTPOINT, false);
        }
    }
    table.list.retain(|x| !Arc::ptr_eq(x, m));
    place
}

/// The mounts below `m`, and `m` itself first.
pub fn subtree(m: &Arc<Mount>) -> Vec<Arc<Mount>> {
    let table = TABLE.read();
    let mut found = alloc::vec![m.clone()];
    let mut i = 0;
    while let Some(above) = found.get(i).cloned() {
        let below = (table.list.iter())
            .filter(|x| (x.place.lock().as_ref()).is_some_and(|p| Arc::ptr_eq(&p.mount, &above)));
        found.extend(below.cloned());
        i += 1;
    }
    found
}

/// EBUSY if a mount is in use by more than `held` references of the caller's.
pub fn is_busy(m: &Arc<Mount>, held: usize) -> Result<()> {
    // The table refers to it twice.
    if Arc::strong_count(m) > held + 2 {
        Err(Errno::EBUSY)
    } else {
        Ok(())
    }
}

/// Takes a mount (lazily: with all below it) out of the tree. EBUSY if it is in use by more than
/// `held` references of the caller's, EINVAL if it is the root or not in the tree.
pub fn detach(m: &Arc<Mount>, lazy: bool, held: usize) -> Result<()> {
    let all = if lazy { subtree(m) } else { Vec::new() };
    let mut gone = Vec::new();
    {
        let mut table = TABLE.write();
        if m.place.lock().is_none() {
            return Err(Errno::EINVAL);
        }
        if !lazy {
            is_busy(m, held)?;
        }
        gone.extend(unlink(&mut table, m));
        for below in all.iter().skip(1) {
            gone.extend(unlink(&mut table, below));
        }
    }
    // Dropping paths may drop file systems: not under the table's lock.
    drop(gone);
    Ok(())
}

/// Moves a mount to another place (`MS_MOVE`). ELOOP if that lies below it.
pub fn relocate(m: &Arc<Mount>, to: Path) -> Result<()> {
    if subtree(m).iter().any(|x| Arc::ptr_eq(x, &to.mount)) {
        return Err(Errno::ELOOP);
    }
    let old = {
        let mut table = TABLE.write();
        let old = unlink(&mut table, m);
        to.dentry.set(dentry::MOUNTPOINT, true);
        table.at.insert(key(&to), m.clone());
        table.list.push(m.clone());
        *m.place.lock() = Some(to);
        old
    };
    drop(old);
    Ok(())
}

/// Makes a mount the root of everything, and puts the old root at `put_old` (`pivot_root(2)`).
/// Returns the old root. EINVAL if the mount is the root already.
pub fn pivot(new: &Arc<Mount>, put_old: Path) -> Result<Arc<Mount>> {
    let mut table = TABLE.write();
    let Some(old) = table.list.first().cloned() else {
        return Err(Errno::EINVAL);
    };
    if Arc::ptr_eq(&old, new) {
        return Err(Errno::EINVAL);
    }
    let was = unlink(&mut table, new);
    table.list.insert(0, new.clone());
    put_old.dentry.set(dentry::MOUNTPOINT, true);
    table.at.insert(key(&put_old), old.clone());
    *old.place.lock() = Some(put_old);
    drop(table);
    drop(was);
    Ok(old)
}

/// Something is mounted on this dentry: it can be neither removed nor renamed (EBUSY).
pub fn is_mountpoint(d: &Dentry) -> bool {
    d.is(dentry::MOUNTPOINT)
}
