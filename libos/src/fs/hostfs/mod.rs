//! A host directory (or file) shown to the application: the explicit hole in the wall.
//!
//! An inode knows where it was last seen, its parent and its name there, and reaches the host
//! through its parent's directory descriptor and that one name. So no path is ever handed to the
//! host in which the application could have put a symbolic link meanwhile; links are only read as
//! text. Directory descriptors are kept in a bounded list and opened again when needed.
//!
//! What is cached: a writable file system is `volatile`, so names are looked up each time and
//! attributes asked for each time, because host programs change them too. On a read-only one
//! names stay as they were first seen (the caller's dentry cache, which makes walks through
//! `/usr` free of host calls), and attributes are believed for [`ATTR_TTL`], as NFS does: the
//! host may still change the files, and contents are always read from it.
//!
//! The host is not trusted: attributes and names are checked before use, and whatever it says of
//! a file's identity or kind can only make operations fail.

mod dir;
mod file;
mod inode;
#[cfg(test)]
mod tests;
mod xattr;

use super::inode::new_dev;
use super::{FileSystem, HostHandle, Inode, Kind, Stat, StatFs};
use crate::{Errno, Result, host_error, pal};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use bastide_base::sync::Mutex;
use bastide_pal::{HostFd, HostStat};
pub use file::HostFile;
pub(super) use file::{read_host, write_host};
use inode::{HostInode, Place};

/// How long attributes of a read-only file system are believed, nanoseconds.
const ATTR_TTL: u64 = 1_000_000_000;
/// Most descriptors kept open only because they may be needed again.
const KEPT: usize = 256;
/// Longest name, `NAME_MAX`.
pub(super) const NAME_MAX: usize = 255;
/// Longest symbolic link.
const LINK_MAX: usize = 4095;

/// A host tree.
pub struct HostFs {
    me: Weak<HostFs>,
    read_only: bool,
    root: Arc<HostHandle>,
    /// The root as it was at first, and its inode while somebody uses it.
    root_stat: HostStat,
    root_inode: Mutex<Weak<HostInode>>,
    /// Our device numbers for the host's, which would clash with those of other file systems.
    devs: Mutex<BTreeMap<u64, u64>>,
    /// Live inodes by the host's device and inode number, so that hard links share one.
    inodes: Mutex<BTreeMap<(u64, u64), Weak<HostInode>>>,
    /// Inodes with a kept descriptor, oldest first.
    kept: Mutex<VecDeque<Weak<HostInode>>>,
    /// Held while a directory moves or goes, so that the tree of places stays one.
    moving: Mutex<()>,
}

/// Shows the host directory or file behind `root` (opened with `O_PATH`), which from now on
/// belongs to the file system.
pub fn new(root: HostFd, read_only: bool) -> Result<Arc<dyn FileSystem>> {
    let root = HostHandle(root);
    let root_stat = checked(pal().stat(root.0, b"").map_err(host_error)?)?;
    Ok(Arc::new_cyclic(|me| HostFs {
        me: me.clone(),
        read_only,
        root: Arc::new(root),
        root_stat,
        root_inode: Mutex::default(),
        devs: Mutex::default(),
        inodes: Mutex::default(),
        kept: Mutex::default(),
        moving: Mutex::default(),
    }))
}

/// Refuses attributes that cannot be: EIO.
pub(super) fn checked(st: HostStat) -> Result<HostStat> {
    if st.mode & 0o170000 == 0 || Kind::of(st.mode).is_none() || st.size > i64::MAX as u64 {
        return Err(Errno::EIO);
    }
    Ok(st)
}

/// A name that a directory may contain.
pub(super) fn valid_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name != b"."
        && name != b".."
        && !name.iter().any(|&b| b == b'/' || b == 0)
}

impl HostFs {
    /// The inode with these attributes, seen at `place`.
    fn inode(&self, st: &HostStat, mut place: Place) -> Result<Arc<HostInode>> {
        let key = (st.dev, st.ino);
        let kind = Kind::of(st.mode).ok_or(Errno::EIO)?;
        let known = self.inodes.lock().get(&key).and_then(Weak::upgrade);
        if let Some(i) = known
            && i.kind == kind
            && i.born == st.btime
            && i.seen_at(&mut place)
        {
            i.learn(st);
            return Ok(i);
        }
        let fs = self.me.upgrade().ok_or(Errno::EIO)?;
        let new = HostInode::new(fs, st, kind, place);
        self.inodes.lock().insert(key, Arc::downgrade(&new));
        Ok(new)
    }

    /// The inode with this identity, if somebody uses it.
    fn known(&self, st: &HostStat) -> Option<Arc<HostInode>> {
        self.inodes.lock().get(&(st.dev, st.ino))?.upgrade()
    }

    /// Remembers that `i` keeps a descriptor, and makes the longest-remembered one give its up.
    fn keep(&self, i: &Weak<HostInode>) {
        let mut kept = self.kept.lock();
        kept.push_back(i.clone());
        let old = if kept.len() > KEPT {
            kept.pop_front()
        } else {
            None
        };
        drop(kept);
        if let Some(old) = old.and_then(|w| w.upgrade()) {
            old.drop_kept();
        }
    }

    /// Our device number for a host device.
    fn dev(&self, host: u64) -> u64 {
        *self.devs.lock().entry(host).or_insert_with(new_dev)
    }

    /// The application's view of the host's attributes.
    fn stat(&self, st: &HostStat) -> Stat {
        Stat {
            dev: self.dev(st.dev),
            ino: st.ino,
            mode: st.mode & 0o177777,
            nlink: st.nlink,
            uid: st.uid,
            gid: st.gid,
            rdev: match Kind::of(st.mode) {
                Some(Kind::Char | Kind::Block) => st.rdev,
                _ => 0,
            },
            size: st.size,
            blksize: st.blksize.clamp(512, 1 << 20),
            blocks: st.blocks,
            atime: st.atime,
            mtime: st.mtime,
            ctime: st.ctime,
            btime: st.btime,
        }
    }

    fn may_write(&self) -> Result<()> {
        if self.read_only {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }
}

impl FileSystem for HostFs {
    fn name(&self) -> &'static str {
        "hostfs"
    }

    fn root(&self) -> Arc<dyn Inode> {
        let mut seen = self.root_inode.lock();
        if let Some(i) = seen.upgrade() {
            return i;
        }
        let fs = self.me.upgrade().expect("a method runs on a live object");
        let kind = Kind::of(self.root_stat.mode).unwrap_or(Kind::Dir);
        let i = HostInode::new(fs, &self.root_stat, kind, Place::ROOT);
        *seen = Arc::downgrade(&i);
        i
    }

    fn statfs(&self) -> Result<StatFs> {
        let s = pal().statfs(self.root.0).map_err(host_error)?;
        Ok(StatFs {
            magic: s.kind,
            bsize: s.bsize.clamp(512, 1 << 30),
            blocks: s.blocks,
            bfree: s.bfree.min(s.blocks),
            bavail: s.bavail.min(s.blocks),
            files: s.files,
            ffree: s.ffree.min(s.files),
            namelen: s.namelen.min(NAME_MAX as u64),
        })
    }

    fn volatile(&self) -> bool {
        !self.read_only
    }
}
