//! A file of a volume as an inode.

use super::ahead::Ahead;
use super::{BOUNCE, Core, sync_errno};
use crate::fs::devfs;
use crate::fs::inode::Entry;
use crate::fs::{FileOps, FileSystem, Inode, Kind, SetAttr, Stat, Xattr, xattr};
use crate::ipc::pipe::{self, Fifo, Pipe};
use crate::mm::PageObject;
use crate::mm::pager::Pager;
use crate::uio::IoDst;
use crate::{Errno, Result, Task};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_abi::raw::general::{RENAME_EXCHANGE, RENAME_NOREPLACE};
use bastide_base::sync::{Mutex, Once};
use bastide_volume::{BLOCK, Inode as Attributes, New, Rename, SetXattr, mode};
use core::any::Any;

/// A file.
pub struct Node {
    pub(super) core: Arc<Core>,
    pub(super) ino: u64,
    kind: Kind,
    fifo: Once<Arc<Fifo>>,
    me: Weak<Node>,
    /// The contents where they are mapped. Held while contents change, so that what comes in and
    /// what is written do not cross.
    pub(super) object: Mutex<Option<Arc<PageObject>>>,
    pub(super) ahead: Mutex<Ahead>,
}

/// Bytes that come in for one access, and for one after many.
const AROUND: u64 = 64 << 10;
const AHEAD: u64 = 256 << 10;
const B: u64 = BLOCK as u64;

impl Node {
    pub(super) fn new(core: Arc<Core>, ino: u64, mode: u32) -> Arc<Node> {
        Arc::new_cyclic(|me| Node {
            core,
            ino,
            kind: Kind::of(mode).unwrap_or(Kind::Regular),
            fifo: Once::new(),
            me: me.clone(),
            object: Mutex::new(None),
            ahead: Mutex::default(),
        })
    }

    /// The contents, to be mapped.
    pub(super) fn object(&self) -> Result<Arc<PageObject>> {
        let mut held = self.object.lock();
        if let Some(object) = &*held {
            return Ok(object.clone());
        }
        let size = self.core.with(|v| v.inode(self.ino))?.size;
        let object = PageObject::paged(size, self.me.clone(), self.core.mapped.clone());
        *held = Some(object.clone());
        Ok(object)
    }

    /// Has mappings stop writing, as soon as they can, so that what they wrote can be taken over.
    pub(super) fn ask_to_hold_still(&self) {
        let object = self.object.lock().clone();
        if let Some(object) = object {
            object.ask_to_hold_still();
        }
    }

    /// Takes over what mappings wrote, and gives the memory back if there are none any more. Whether
    /// there was anything, and there may be more at any time.
    pub(super) fn write_back(&self) -> Result<bool> {
        let mut held = self.object.lock();
        let Some(object) = &*held else {
            return Ok(false);
        };
        let wrote = self.take_over(object, &object.take_changed())?;
        let mapped = object.is_mapped();
        if Arc::strong_count(object) == 1 {
            *held = None;
        }
        Ok(wrote && mapped)
    }

    /// Writes pages that differ from the file; whether any did.
    fn take_over(&self, object: &PageObject, pages: &[u64]) -> Result<bool> {
        let (mut wrote, mut done) = (false, 0);
        for run in pages.chunk_by(|a, b| a + 1 == *b) {
            for part in run.chunks(BOUNCE / BLOCK) {
                let taken = self.take_over_run(object, part);
                if taken.is_err() {
                    object.put_back(pages.iter().skip(done).copied());
                }
                wrote |= taken?;
                done += part.len();
            }
        }
        Ok(wrote)
    }

    fn take_over_run(&self, object: &PageObject, run: &[u64]) -> Result<bool> {
        let start = run.first().copied().unwrap_or(0) * B;
        let mut new = Vec::new();
        let n = object.read_present(start, &mut IoDst::kernel(&mut new, run.len() * BLOCK))?;
        let mut old = self.core.buffer(n);
        let old = old.get_mut(..n).unwrap_or_default();
        // What cannot be read any more is written anew.
        let known = self.core.read(self.ino, start, old).is_ok();
        let pairs: Vec<(&[u8], &[u8])> = new.chunks(BLOCK).zip(old.chunks(BLOCK)).collect();
        let differs = |pair: &(&[u8], &[u8])| !known || pair.0 != pair.1;
        let mut at = 0;
        let mut wrote = false;
        for same in pairs.chunk_by(|a, b| differs(a) == differs(b)) {
            let len = same.iter().map(|p| p.0.len()).sum::<usize>();
            if same.iter().any(differs) {
                let data = new.get(at..at + len).unwrap_or_default();
                if self.core.write(self.ino, start + at as u64, data)? < len {
                    return Err(Errno::ENOSPC);
                }
                wrote = true;
            }
            at += len;
        }
        Ok(wrote)
    }

    /// This file's attributes.
    pub(super) fn attributes(&self) -> Result<Attributes> {
        self.core.with(|v| v.stat(self.ino))
    }

    fn same_fs(&self, other: &Arc<dyn Inode>) -> Result<Arc<Node>> {
        let other = (other.clone().into_any().downcast::<Node>()).map_err(|_| Errno::EXDEV)?;
        match Arc::ptr_eq(&self.core, &other.core) {
            true => Ok(other),
            false => Err(Errno::EXDEV),
        }
    }

    /// Cuts or extends the contents, those in memory too.
    fn resize(&self, size: u64) -> Result<()> {
        let held = self.object.lock();
        let attr = bastide_volume::SetAttr {
            size: Some(size),
            ..Default::default()
        };
        self.core.change(|v| v.set_attr(self.ino, &attr))?;
        match &*held {
            Some(object) => object.set_size(size),
            None => Ok(()),
        }
    }

    pub(super) fn regular(&self) -> Result<()> {
        match self.kind {
            Kind::Regular => Ok(()),
            Kind::Dir => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }
}

impl Pager for Node {
    fn page_in(&self, object: &PageObject, offset: u64) -> Result<()> {
        let _unchanged = self.object.lock();
        let before = object.read_before(offset);
        let len = match before {
            ..AROUND => AROUND,
            _ => AHEAD,
        };
        // All around, or from here on.
        let start = match before {
            0 => offset - offset % AROUND,
            _ => offset - offset % B,
        };
        let mut buf = self.core.buffer(len as usize);
        let part = buf.get_mut(..len as usize).unwrap_or_default();
        if let Ok(n) = self.core.read(self.ino, start, part) {
            return object.install(start, part.get(..n).unwrap_or_default());
        }
        // What is wrong with its neighbours is no concern of this page.
        let (start, page) = (
            offset - offset % B,
            part.get_mut(..BLOCK).unwrap_or_default(),
        );
        let n = self.core.read(self.ino, start, page)?;
        object.install(start, page.get(..n).unwrap_or_default())
    }

    fn page_out(&self, object: &PageObject, offset: u64, len: u64) -> Result<()> {
        let _unchanged = self.object.lock();
        self.take_over(object, &object.take_changed_in(offset, len))?;
        object.forget(offset, len);
        Ok(())
    }

    fn changed(&self) {
        self.core.arm();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A mapping keeps its open file, and that keeps the node: nobody maps it now. But those who
        // did may have left something.
        self.core.dropped(self);
    }
}

impl Inode for Node {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn fs(&self) -> Arc<dyn FileSystem> {
        let fs = self.core.fs.get().and_then(|fs| fs.upgrade());
        fs.expect("a mounted file system outlives its files")
    }

    fn stat(&self) -> Result<Stat> {
        let a = self.attributes()?;
        let blocks = match a.inline {
            true => a.size.div_ceil(512),
            false => a.blocks * (BLOCK as u64 / 512),
        };
        Ok(Stat {
            dev: self.core.dev,
            ino: self.ino,
            mode: a.mode,
            nlink: u64::from(a.nlink),
            uid: a.uid,
            gid: a.gid,
            rdev: a.rdev,
            size: a.size,
            blksize: BLOCK as u32,
            blocks,
            atime: a.atime,
            mtime: a.mtime,
            ctime: a.ctime,
            btime: a.btime,
        })
    }

    fn perms(&self) -> Result<(u32, u32, u32)> {
        let a = self.core.with(|v| v.inode(self.ino))?;
        Ok((a.mode, a.uid, a.gid))
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn set_attr(&self, attr: &SetAttr) -> Result<()> {
        if let Some(size) = attr.size {
            self.regular()?;
            self.resize(size)?;
        }
        let attr = bastide_volume::SetAttr {
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            size: None,
            atime: attr.atime,
            mtime: attr.mtime,
            ctime: None,
        };
        self.core.change(|v| v.set_attr(self.ino, &attr))
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let ino = self.core.with(|v| v.lookup(self.ino, name))?;
        self.core.node(ino).map(|n| n as _)
    }

    fn create(
        &self,
        name: &[u8],
        mode: u32,
        rdev: u64,
        uid: u32,
        gid: u32,
    ) -> Result<Arc<dyn Inode>> {
        let kind = Kind::of(mode).ok_or(Errno::EINVAL)?;
        let new = New {
            mode: mode & 0o7777 | kind.bits(),
            rdev,
            uid,
            gid,
        };
        let ino = (self.core).change(|v| v.create_file(self.ino, name, &new))?;
        self.core.node(ino).map(|n| n as _)
    }

    fn symlink(&self, name: &[u8], target: &[u8], uid: u32, gid: u32) -> Result<Arc<dyn Inode>> {
        let new = New {
            mode: 0,
            rdev: 0,
            uid,
            gid,
        };
        let ino = (self.core).change(|v| v.symlink(self.ino, name, target, &new))?;
        self.core.node(ino).map(|n| n as _)
    }

    fn tmpfile(&self, mode: u32, uid: u32, gid: u32) -> Result<Arc<dyn Inode>> {
        let new = New {
            mode: mode & 0o7777 | mode::FILE,
            rdev: 0,
            uid,
            gid,
        };
        let ino = self.core.change(|v| v.tmpfile(&new))?;
        self.core.node(ino).map(|n| n as _)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let target = self.same_fs(target)?.ino;
        self.core.change(|v| v.link(self.ino, name, target))
    }

    fn unlink(&self, name: &[u8]) -> Result<()> {
        self.core.change(|v| v.unlink(self.ino, name))
    }

    fn rmdir(&self, name: &[u8]) -> Result<()> {
        self.core.change(|v| v.rmdir(self.ino, name))
    }

    fn rename(
        &self,
        name: &[u8],
        new_dir: &Arc<dyn Inode>,
        new_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        let to = self.same_fs(new_dir)?.ino;
        let how = match flags {
            0 => Rename::Replace,
            RENAME_NOREPLACE => Rename::NoReplace,
            RENAME_EXCHANGE => Rename::Exchange,
            _ => return Err(Errno::EINVAL),
        };
        (self.core).change(|v| v.rename(self.ino, name, to, new_name, how))
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        self.core.with(|v| v.read_link(self.ino))
    }

    fn open(self: Arc<Self>, t: &Task, flags: u32) -> Result<Arc<dyn FileOps>> {
        match self.kind {
            Kind::Regular | Kind::Dir => Ok(self),
            Kind::Symlink => Err(Errno::ELOOP),
            Kind::Char | Kind::Block => {
                let rdev = self.core.with(|v| v.inode(self.ino))?.rdev;
                devfs::open_device(t, rdev, flags, self.kind)
            }
            Kind::Fifo => pipe::open_fifo(t, self.fifo.get_or_init(Pipe::fifo), flags),
            Kind::Socket => Err(Errno::ENXIO),
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.regular()?;
        let mut out = Vec::new();
        let n = self.read_to(offset, &mut IoDst::kernel(&mut out, buf.len()))?;
        if let (Some(to), Some(from)) = (buf.get_mut(..n), out.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.regular()?;
        match self.write_piece(Some(offset), data)?.1 < data.len() {
            true => Err(Errno::ENOSPC),
            false => Ok(()),
        }
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let mut out = Vec::new();
        self.core.with(|v| {
            v.read_dir(self.ino, 0, &mut |e, _| {
                out.push(Entry {
                    ino: e.ino,
                    kind: e.kind,
                    name: e.name.clone(),
                });
                true
            })
        })?;
        Ok(out)
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        xattr::kept(name)?;
        self.core.with(|v| v.get_xattr(self.ino, name))
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], how: Xattr) -> Result<()> {
        xattr::kept(name)?;
        let how = match how {
            Xattr::Any => SetXattr::Any,
            Xattr::Create => SetXattr::Create,
            Xattr::Replace => SetXattr::Replace,
        };
        (self.core).change(|v| v.set_xattr(self.ino, name, value, how))
    }

    fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = self.core.with(|v| v.list_xattr(self.ino))?;
        names.retain(|name| xattr::kept(name).is_ok());
        Ok(names)
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        xattr::kept(name)?;
        self.core.change(|v| v.remove_xattr(self.ino, name))
    }
}

impl Node {
    /// `fsync(2)` of this file.
    pub(super) fn sync(&self) -> Result<()> {
        self.write_back()?;
        let mut volume = self.core.volume.lock();
        if volume.is_read_only() {
            return Ok(());
        }
        volume.fsync(self.ino).map_err(sync_errno)
    }
}
