//! A file of a volume as an inode.

use super::{Core, sync_errno};
use crate::fs::devfs;
use crate::fs::inode::Entry;
use crate::fs::{FileOps, FileSystem, Inode, Kind, SetAttr, Stat, Xattr};
use crate::ipc::pipe::{self, Fifo, Pipe};
use crate::mm::PageObject;
use crate::uio::{IoDst, IoSrc};
use crate::{Errno, Result, Task};
use alloc::sync::Arc;
use alloc::vec;
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
    /// The contents in memory, while they are mapped.
    pub(super) object: Mutex<Option<Mapped>>,
}

/// Contents that are or were mapped.
pub(super) struct Mapped {
    pub object: Arc<PageObject>,
    /// A mapping may have changed them.
    pub writable: bool,
}

impl Node {
    pub(super) fn new(core: Arc<Core>, ino: u64, mode: u32) -> Arc<Node> {
        Arc::new(Node {
            core,
            ino,
            kind: Kind::of(mode).unwrap_or(Kind::Regular),
            fifo: Once::new(),
            object: Mutex::new(None),
        })
    }

    /// Brings the contents into memory, to be mapped.
    pub(super) fn object(&self, writable: bool) -> Result<Arc<PageObject>> {
        let mut held = self.object.lock();
        if let Some(mapped) = &mut *held {
            mapped.writable |= writable;
            return Ok(mapped.object.clone());
        }
        let object = PageObject::new();
        let size = self.core.with(|v| v.inode(self.ino))?.size;
        let mut at = 0;
        // Holes stay holes.
        while let Some(data) = self.core.with(|v| v.seek(self.ino, at, true))? {
            let hole = self.core.with(|v| v.seek(self.ino, data, false))?;
            let end = hole.unwrap_or(size);
            at = data;
            while at < end {
                let mut buf = vec![0; (end - at).min(256 << 10) as usize];
                let n = self.core.with(|v| v.read(self.ino, at, &mut buf))?;
                let part = buf.get(..n).filter(|p| !p.is_empty()).ok_or(Errno::EIO)?;
                object.write(at, &mut IoSrc::kernel(part))?;
                at += n as u64;
            }
        }
        object.set_size(size)?;
        *held = Some(Mapped {
            object: object.clone(),
            writable,
        });
        Ok(object)
    }

    /// Takes over what mappings wrote, and gives the memory back if there are none any more.
    pub(super) fn write_back(&self) -> Result<()> {
        let mut held = self.object.lock();
        let Some(mapped) = &*held else {
            return Ok(());
        };
        if mapped.writable {
            self.take_over(&mapped.object)?;
        }
        if Arc::strong_count(&mapped.object) == 1 {
            *held = None;
        }
        Ok(())
    }

    fn take_over(&self, object: &PageObject) -> Result<()> {
        let size = object.size();
        let mut at = 0;
        while at < size
            && let Ok(data) = object.seek_data(at, true)
        {
            at = data - data % BLOCK as u64;
            let mut new = Vec::new();
            let n = object.read(at, &mut IoDst::kernel(&mut new, BLOCK))?;
            let new = new.get(..n).unwrap_or_default();
            let mut old = vec![0; n];
            self.core.with(|v| v.read(self.ino, at, &mut old))?;
            if new != old {
                self.core.change(|v| v.write(self.ino, at, new))?;
            }
            at += BLOCK as u64;
        }
        Ok(())
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
            Some(mapped) => mapped.object.set_size(size),
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
        self.core.with(|v| v.get_xattr(self.ino, name))
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], how: Xattr) -> Result<()> {
        let how = match how {
            Xattr::Any => SetXattr::Any,
            Xattr::Create => SetXattr::Create,
            Xattr::Replace => SetXattr::Replace,
        };
        (self.core).change(|v| v.set_xattr(self.ino, name, value, how))
    }

    fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        self.core.with(|v| v.list_xattr(self.ino))
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
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
