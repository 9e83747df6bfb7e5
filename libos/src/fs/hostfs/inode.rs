//! Inodes of a host tree.

use super::dir::HostDir;
use super::{ATTR_TTL, HostFile, HostFs, LINK_MAX, checked, xattr};
use crate::fs::file::{O_ACCMODE, O_RDWR, O_WRONLY};
use crate::fs::inode::Entry;
use crate::fs::{FileOps, FileSystem, HostHandle, Inode, Kind, SetAttr, Stat, Xattr};
use crate::ipc::pipe;
use crate::{Errno, Result, Task, host_error, pal, time};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::sync::{Mutex, Once};
use bastide_pal::file::HostSetAttr;
use bastide_pal::{HostFd, HostStat, IoVec};
use core::any::Any;
use linux_flags::*;

/// The host's open flags, the same numbers as the application's.
mod linux_flags {
    use crate::abi::raw::general as raw;
    pub const O_CREAT: u32 = raw::O_CREAT;
    pub const O_EXCL: u32 = raw::O_EXCL;
    pub const O_DIRECTORY: u32 = raw::O_DIRECTORY;
    pub const O_SYNC: u32 = raw::O_SYNC;
    pub const O_DSYNC: u32 = raw::O_DSYNC;
    pub const O_PATH: u32 = raw::O_PATH;
    pub const O_TMPFILE: u32 = raw::O_TMPFILE;
    /// With every open: links are not followed.
    pub const SAFELY: u32 = raw::O_NOFOLLOW | raw::O_CLOEXEC;
    pub const RENAME_EXCHANGE: u32 = raw::RENAME_EXCHANGE;
    pub const RENAME_NOREPLACE: u32 = raw::RENAME_NOREPLACE;
}

/// Where an inode was last seen.
pub(super) struct Place {
    /// `None`: the root.
    pub parent: Option<Arc<HostInode>>,
    /// Empty for the root, and for a file that never had a name.
    pub name: Vec<u8>,
}

impl Place {
    pub const ROOT: Place = Place {
        parent: None,
        name: Vec::new(),
    };
}

/// Host descriptors of an inode.
#[derive(Default)]
struct Handles {
    /// Kept for later: a directory's `O_PATH` descriptor, or a file's.
    kept: Option<Arc<HostHandle>>,
    /// `kept` is open for writing.
    kept_writes: bool,
    /// Descriptors in use, open for reading, and for reading and writing. While one lives, the
    /// file can be reached even when its name is gone.
    reads: Weak<HostHandle>,
    writes: Weak<HostHandle>,
    /// For a file that may be written but not read.
    writes_only: Weak<HostHandle>,
    /// The only way to a file that was made without a name.
    unnamed: Option<Arc<HostHandle>>,
}

/// A host file.
pub struct HostInode {
    me: Weak<HostInode>,
    pub(super) fs: Arc<HostFs>,
    /// The host's device and inode number.
    key: (u64, u64),
    pub(super) kind: Kind,
    /// The host's birth time: an inode number used again has another.
    pub(super) born: i64,
    place: Mutex<Place>,
    handles: Mutex<Handles>,
    /// Attributes, and when the host said so.
    attr: Mutex<(HostStat, u64)>,
    /// Appending writers take turns.
    pub(super) append: Mutex<()>,
    /// The pipe behind a FIFO.
    fifo: Once<Arc<pipe::Fifo>>,
    /// A symbolic link's text, which never changes.
    link: Once<Vec<u8>>,
}

impl Drop for HostInode {
    fn drop(&mut self) {
        let mut inodes = self.fs.inodes.lock();
        // Another inode may have taken the place meanwhile.
        if inodes.get(&self.key).is_some_and(|w| w.strong_count() == 0) {
            inodes.remove(&self.key);
        }
    }
}

impl HostInode {
    pub(super) fn new(fs: Arc<HostFs>, st: &HostStat, kind: Kind, place: Place) -> Arc<Self> {
        Arc::new_cyclic(|me| HostInode {
            me: me.clone(),
            fs,
            key: (st.dev, st.ino),
            kind,
            born: st.btime,
            place: Mutex::new(place),
            handles: Mutex::default(),
            attr: Mutex::new((*st, time::monotonic())),
            append: Mutex::new(()),
            fifo: Once::new(),
            link: Once::new(),
        })
    }

    fn arc(&self) -> Arc<Self> {
        self.me.upgrade().expect("a method runs on a live object")
    }

    /// True if an inode with this identity seen at `place` is this one; moves it there. A
    /// directory has one place, and moves only by [`Inode::rename`]: the host could otherwise
    /// make a directory its own ancestor (bind mounts do).
    pub(super) fn seen_at(&self, place: &mut Place) -> bool {
        let mut here = self.place.lock();
        let same = match (&here.parent, &place.parent) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) && here.name == place.name,
            _ => false,
        };
        if !same && self.kind != Kind::Dir && here.parent.is_some() {
            // The old place goes with the caller's variable, without the lock.
            core::mem::swap(&mut *here, place);
            return true;
        }
        same
    }

    fn move_to(&self, mut place: Place) {
        core::mem::swap(&mut *self.place.lock(), &mut place);
    }

    fn place(&self) -> (Option<Arc<HostInode>>, Vec<u8>) {
        let p = self.place.lock();
        (p.parent.clone(), p.name.clone())
    }

    /// Remembers attributes.
    pub(super) fn learn(&self, st: &HostStat) {
        *self.attr.lock() = (*st, time::monotonic());
    }

    /// Attributes must be asked for again.
    pub(super) fn forget(&self) {
        self.attr.lock().1 = 0;
    }

    pub(super) fn drop_kept(&self) {
        let gone = self.handles.lock().kept.take();
        drop(gone);
    }

    fn keep(&self, h: Arc<HostHandle>, writes: bool) {
        let mut handles = self.handles.lock();
        let first = handles.kept.is_none();
        let old = handles.kept.replace(h);
        handles.kept_writes = writes;
        drop(handles);
        drop(old);
        if first {
            self.fs.keep(&self.me);
        }
    }

    /// A descriptor of this directory, `O_PATH`.
    fn directory(&self) -> Result<Arc<HostHandle>> {
        // Up to the nearest directory that has one (without recursion: trees can be deep) ...
        let mut chain: Vec<(Arc<HostInode>, Vec<u8>)> = Vec::new();
        let mut at = self.arc();
        let mut handle = loop {
            if let Some(h) = at.handles.lock().kept.clone() {
                break h;
            }
            match at.place() {
                (Some(parent), name) => {
                    chain.push((at, name));
                    at = parent;
                }
                (None, _) => break self.fs.root.clone(),
            }
        };
        // ... and down again.
        while let Some((i, name)) = chain.pop() {
            let fd = open(handle.0, &name, O_PATH | O_DIRECTORY, 0)?;
            handle = Arc::new(fd);
            i.keep(handle.clone(), false);
        }
        Ok(handle)
    }

    /// Calls `f` with a directory and a name by which the host finds this inode.
    fn at<R>(&self, f: impl FnOnce(HostFd, &[u8]) -> Result<R>) -> Result<R> {
        match self.place() {
            (Some(_), name) if name.is_empty() => Err(Errno::ENOENT),
            (Some(parent), name) => f(parent.directory()?.0, &name),
            (None, _) => f(self.fs.root.0, b""),
        }
    }

    /// A descriptor that is this inode's whatever its names.
    pub(super) fn live(&self) -> Option<Arc<HostHandle>> {
        let h = self.handles.lock();
        h.writes
            .upgrade()
            .or_else(|| h.reads.upgrade())
            .or_else(|| h.writes_only.upgrade())
            .or_else(|| h.unnamed.clone())
            // What a read-only file system keeps may have been replaced on the host.
            .or_else(|| h.kept.clone().filter(|_| !self.fs.read_only))
    }

    /// The host's attributes now, checked.
    pub(super) fn host_stat(&self) -> Result<HostStat> {
        let st = match self.live() {
            Some(h) => pal().stat(h.0, b"").map_err(host_error)?,
            None => self.at(|dir, name| pal().stat(dir, name).map_err(host_error))?,
        };
        let st = checked(st)?;
        if Kind::of(st.mode) != Some(self.kind) {
            return Err(Errno::ESTALE);
        }
        if (st.dev, st.ino) != self.key && self.place.lock().parent.is_some() {
            if !self.fs.read_only {
                return Err(Errno::ESTALE);
            }
            // The host put another file there: what is kept open is the old one.
            self.drop_kept();
        }
        self.learn(&st);
        Ok(st)
    }

    /// The attributes, from memory if they may be believed.
    fn known_stat(&self) -> Result<HostStat> {
        if self.fs.read_only {
            let (st, when) = *self.attr.lock();
            if when != 0 && time::monotonic().saturating_sub(when) < ATTR_TTL {
                return Ok(st);
            }
        }
        self.host_stat()
    }

    /// A descriptor of this regular file, for `flags`.
    pub(super) fn handle(&self, flags: u32) -> Result<Arc<HostHandle>> {
        let write = flags & O_ACCMODE != 0;
        let sync = flags & (O_SYNC | O_DSYNC);
        if write {
            self.fs.may_write()?;
        }
        if sync == 0 {
            let mut h = self.handles.lock();
            let kept = if h.kept_writes {
                h.kept_writes = false;
                h.kept.take()
            } else if write {
                None
            } else {
                h.kept.clone()
            };
            let found = kept.or_else(|| h.writes.upgrade());
            let found = found.or_else(|| h.unnamed.clone());
            let found = found.or_else(|| if write { None } else { h.reads.upgrade() });
            if let Some(found) = found {
                if write {
                    h.writes = Arc::downgrade(&found);
                } else if h.reads.strong_count() == 0 {
                    h.reads = Arc::downgrade(&found);
                }
                return Ok(found);
            }
        }
        let mode = if write { O_RDWR } else { 0 } | sync;
        let opened = self.at(|dir, name| open(dir, name, mode, 0));
        if opened.as_ref().is_err_and(|&e| e == Errno::EACCES) && flags & O_ACCMODE == O_WRONLY {
            let opened = self.at(|dir, name| open(dir, name, O_WRONLY | sync, 0))?;
            let opened = Arc::new(opened);
            self.handles.lock().writes_only = Arc::downgrade(&opened);
            return Ok(opened);
        }
        let opened = Arc::new(opened?);
        let mut h = self.handles.lock();
        if write {
            h.writes = Arc::downgrade(&opened);
        } else {
            h.reads = Arc::downgrade(&opened);
        }
        drop(h);
        if self.fs.read_only {
            self.keep(opened.clone(), false);
        }
        Ok(opened)
    }

    fn child(&self, name: &[u8]) -> Result<Arc<HostInode>> {
        let dir = self.directory()?;
        let st = checked(pal().stat(dir.0, name).map_err(host_error)?)?;
        self.fs.inode(
            &st,
            Place {
                parent: Some(self.arc()),
                name: name.to_vec(),
            },
        )
    }

    /// Gives a new file the mode and owner that it should have and that the host may have decided
    /// otherwise (its umask, its user). The owner stays the host's where only root may change it:
    /// the launcher's user owns what the application makes, and the application sees that.
    fn settle(&self, mode: u32, uid: u32, gid: u32) -> Result<()> {
        let st = self.attr.lock().0;
        let attr = HostSetAttr {
            mode: (st.mode & 0o7777 != mode & 0o7777).then_some(mode & 0o7777),
            ..Default::default()
        };
        if st.uid != uid || st.gid != gid {
            let owner = HostSetAttr {
                uid: (st.uid != uid).then_some(uid),
                gid: (st.gid != gid).then_some(gid),
                ..Default::default()
            };
            let _ = self.set_host_attr(&owner);
        }
        if attr.mode.is_some() {
            self.set_host_attr(&attr)?;
        }
        self.forget();
        Ok(())
    }

    fn set_host_attr(&self, attr: &HostSetAttr) -> Result<()> {
        match self.live() {
            Some(h) if self.kind == Kind::Regular => pal().set_attr(h.0, b"", attr),
            _ => return self.at(|d, n| pal().set_attr(d, n, attr).map_err(host_error)),
        }
        .map_err(host_error)
    }

    /// `self` is `other` or lies below it.
    fn is_below(&self, other: &HostInode) -> bool {
        let mut at = Some(self.arc());
        while let Some(i) = at {
            if core::ptr::eq(&*i, other) {
                return true;
            }
            at = i.place().0;
        }
        false
    }
}

/// Opens on the host, safely.
pub(super) fn open(dir: HostFd, name: &[u8], flags: u32, mode: u32) -> Result<HostHandle> {
    pal()
        .open(dir, name, flags | SAFELY, mode)
        .map(HostHandle)
        .map_err(host_error)
}

/// Opens a directory for reading its entries.
pub(super) fn open_dir(i: &HostInode) -> Result<HostHandle> {
    i.at(|dir, name| open(dir, name, O_DIRECTORY, 0))
}

/// The inode as one of ours; EXDEV.
fn ours(i: &Arc<dyn Inode>, fs: &Arc<HostFs>) -> Result<Arc<HostInode>> {
    let i = Arc::downcast::<HostInode>(i.clone().into_any()).map_err(|_| Errno::EXDEV)?;
    if Arc::ptr_eq(&i.fs, fs) {
        Ok(i)
    } else {
        Err(Errno::EXDEV)
    }
}

impl Inode for HostInode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn fs(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }

    fn stat(&self) -> Result<Stat> {
        Ok(self.fs.stat(&self.known_stat()?))
    }

    fn perms(&self) -> Result<(u32, u32, u32)> {
        // The host checks again, by its own rules, so that being a little late does no harm.
        let (mut st, when) = *self.attr.lock();
        if when == 0 || time::monotonic().saturating_sub(when) >= ATTR_TTL {
            st = self.host_stat()?;
        }
        Ok((st.mode & 0o177777, st.uid, st.gid))
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn set_attr(&self, attr: &SetAttr) -> Result<()> {
        self.fs.may_write()?;
        self.forget();
        if let Some(size) = attr.size {
            let h = self.handle(O_WRONLY)?;
            let change = HostSetAttr {
                size: Some(size),
                ..Default::default()
            };
            pal().set_attr(h.0, b"", &change).map_err(host_error)?;
            // Most often the file is opened for writing next (`O_TRUNC`).
            let shared = self.handles.lock().writes.upgrade();
            if shared.is_some_and(|s| Arc::ptr_eq(&s, &h)) {
                self.keep(h, true);
            }
        }
        let rest = HostSetAttr {
            mode: attr.mode.map(|m| m & 0o7777),
            uid: attr.uid,
            gid: attr.gid,
            size: None,
            atime: attr.atime,
            mtime: attr.mtime,
        };
        if rest != HostSetAttr::default() {
            self.set_host_attr(&rest)?;
        }
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        if self.kind != Kind::Dir {
            return Err(Errno::ENOTDIR);
        }
        Ok(self.child(name)?)
    }

    fn create(
        &self,
        name: &[u8],
        mode: u32,
        _rdev: u64,
        uid: u32,
        gid: u32,
    ) -> Result<Arc<dyn Inode>> {
        self.fs.may_write()?;
        let kind = Kind::of(mode).ok_or(Errno::EINVAL)?;
        let bits = mode & 0o7777;
        let dir = self.directory()?;
        let mut opened = None;
        match kind {
            Kind::Regular => {
                // The mode may forbid what whoever creates the file may do with it, so the
                // descriptor is kept for the open that follows.
                let h = open(dir.0, name, O_CREAT | O_EXCL | O_RDWR, bits)?;
                opened = Some(Arc::new(h));
            }
            Kind::Dir => pal().mkdir(dir.0, name, bits).map_err(host_error)?,
            Kind::Fifo | Kind::Socket => pal()
                .mknod(dir.0, name, kind.bits() | bits, 0)
                .map_err(host_error)?,
            Kind::Char | Kind::Block | Kind::Symlink => return Err(Errno::EPERM),
        }
        let i = self.child(name)?;
        if let Some(h) = opened {
            i.keep(h, true);
        }
        i.settle(bits, uid, gid)?;
        Ok(i)
    }

    fn symlink(&self, name: &[u8], target: &[u8], uid: u32, gid: u32) -> Result<Arc<dyn Inode>> {
        self.fs.may_write()?;
        let dir = self.directory()?;
        pal().symlink(dir.0, name, target).map_err(host_error)?;
        let i = self.child(name)?;
        i.settle(0o777, uid, gid)?;
        Ok(i)
    }

    fn tmpfile(&self, mode: u32, uid: u32, gid: u32) -> Result<Arc<dyn Inode>> {
        self.fs.may_write()?;
        let bits = mode & 0o7777;
        let dir = self.directory()?;
        let h = Arc::new(open(dir.0, b"", O_TMPFILE | O_RDWR, bits)?);
        let st = checked(pal().stat(h.0, b"").map_err(host_error)?)?;
        if Kind::of(st.mode) != Some(Kind::Regular) {
            return Err(Errno::EIO);
        }
        let place = Place {
            parent: Some(self.arc()),
            name: Vec::new(),
        };
        let i = self.fs.inode(&st, place)?;
        i.handles.lock().unnamed = Some(h);
        i.settle(bits, uid, gid)?;
        Ok(i)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        self.fs.may_write()?;
        let target = ours(target, &self.fs)?;
        let dir = self.directory()?;
        let (at, unnamed) = (target.place(), target.handles.lock().unnamed.clone());
        match unnamed {
            Some(h) if at.0.is_some() && at.1.is_empty() => {
                pal().link(h.0, b"", dir.0, name).map_err(host_error)?;
                target.move_to(Place {
                    parent: Some(self.arc()),
                    name: name.to_vec(),
                });
            }
            _ => target.at(|d, n| pal().link(d, n, dir.0, name).map_err(host_error))?,
        }
        target.forget();
        Ok(())
    }

    fn unlink(&self, name: &[u8]) -> Result<()> {
        self.fs.may_write()?;
        let dir = self.directory()?;
        pal().unlink(dir.0, name, false).map_err(host_error)
    }

    fn rmdir(&self, name: &[u8]) -> Result<()> {
        self.fs.may_write()?;
        let dir = self.directory()?;
        pal().unlink(dir.0, name, true).map_err(host_error)
    }

    fn rename(
        &self,
        name: &[u8],
        new_dir: &Arc<dyn Inode>,
        new_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        self.fs.may_write()?;
        if flags & !(RENAME_EXCHANGE | RENAME_NOREPLACE) != 0 {
            return Err(Errno::EINVAL);
        }
        let new_dir = ours(new_dir, &self.fs)?;
        let _turn = self.fs.moving.lock();
        let (from, to) = (self.directory()?, new_dir.directory()?);
        let seen = |dir: &HostHandle, name: &[u8]| {
            let st = pal().stat(dir.0, name).ok()?;
            self.fs.known(&st)
        };
        let moved = seen(&from, name);
        let other = if flags & RENAME_EXCHANGE != 0 {
            seen(&to, new_name)
        } else {
            None
        };
        let inside = |dir: &HostInode, i: &Option<Arc<HostInode>>| {
            i.as_ref()
                .is_some_and(|i| i.kind == Kind::Dir && dir.is_below(i))
        };
        if inside(&new_dir, &moved) || inside(self, &other) {
            return Err(Errno::EINVAL);
        }
        pal()
            .rename(from.0, name, to.0, new_name, flags)
            .map_err(host_error)?;
        for (i, dir, name) in [(moved, &*new_dir, new_name), (other, self, name)] {
            if let Some(i) = i {
                i.move_to(Place {
                    parent: Some(dir.arc()),
                    name: name.to_vec(),
                });
            }
        }
        Ok(())
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        if self.kind != Kind::Symlink {
            return Err(Errno::EINVAL);
        }
        if let Some(text) = self.link.get() {
            return Ok(text.clone());
        }
        let text = self.at(|d, n| pal().read_link(d, n).map_err(host_error))?;
        if text.is_empty() || text.len() > LINK_MAX || text.contains(&0) {
            return Err(Errno::EIO);
        }
        Ok(self.link.get_or_init(|| text).clone())
    }

    fn open(self: Arc<Self>, t: &Task, flags: u32) -> Result<Arc<dyn FileOps>> {
        match self.kind {
            Kind::Regular => {
                let handle = self.handle(flags)?;
                Ok(Arc::new(HostFile::new(self, handle)))
            }
            Kind::Dir => Ok(Arc::new(HostDir::new(self))),
            Kind::Symlink => Err(Errno::ELOOP),
            // As on a file system mounted `nodev`: devices are the kernel's, in /dev.
            Kind::Char | Kind::Block => Err(Errno::EACCES),
            Kind::Socket => Err(Errno::ENXIO),
            // Its readers and writers are in the enclave; the host's FIFO is only the name.
            Kind::Fifo => pipe::open_fifo(t, self.fifo.get_or_init(pipe::Fifo::fifo), flags),
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let h = self.handle(0)?;
        let piece = IoVec {
            addr: buf.as_mut_ptr() as usize,
            len: buf.len(),
        };
        let n = pal()
            .read(h.0, &[piece], Some(offset))
            .map_err(host_error)?;
        Ok(n.min(buf.len()))
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        super::dir::read(self)
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        xattr::get(self, name)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], how: Xattr) -> Result<()> {
        xattr::set(self, name, value, how)
    }

    fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        xattr::list(self)
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        xattr::remove(self, name)
    }
}
