//! A file of a tmpfs as an inode.

use super::dir::Dir;
use super::{Core, Tmpfs};
use crate::fs::atime::now;
use crate::fs::devfs;
use crate::fs::inode::Entry;
use crate::fs::{FileOps, FileSystem, Inode, Kind, SetAttr, Stat, Xattr, xattr};
use crate::mm::PageObject;
use crate::uio::{IoDst, IoSrc};
use crate::{Errno, Result, Task};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_abi::raw::general::{RENAME_EXCHANGE, RENAME_NOREPLACE};
use bastide_base::pages::PAGE;
use bastide_base::sync::{Mutex, Once};
use core::any::Any;

/// Bytes of extended attributes that one file may have.
const XATTR_MAX: usize = 1 << 20;

pub(super) struct Meta {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub atime: i64,
    pub mtime: i64,
    pub ctime: i64,
    btime: i64,
    /// Made without a name: `linkat(2)` may give it one.
    unnamed: bool,
}

pub(super) enum Body {
    File(Arc<PageObject>),
    Dir(Mutex<Dir>),
    Symlink(Vec<u8>),
    Device(u64),
    Fifo(Once<Arc<crate::ipc::pipe::Fifo>>),
    Socket,
}

/// A file.
pub struct Node {
    core: Arc<Core>,
    pub(super) ino: u64,
    kind: Kind,
    pub(super) meta: Mutex<Meta>,
    pub(super) body: Body,
    xattrs: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Node {
    fn make(core: &Arc<Core>, ino: u64, mode: u32, uid: u32, gid: u32, body: Body) -> Arc<Node> {
        let kind = Kind::of(mode).unwrap_or(Kind::Regular);
        let now = now();
        Arc::new(Node {
            core: core.clone(),
            ino,
            kind,
            meta: Mutex::new(Meta {
                mode: mode & 0o7777 | kind.bits(),
                uid,
                gid,
                nlink: if kind == Kind::Dir { 2 } else { 1 },
                atime: now,
                mtime: now,
                ctime: now,
                btime: now,
                unnamed: false,
            }),
            body,
            xattrs: Mutex::default(),
        })
    }

    pub(super) fn root(core: &Arc<Core>, mode: u32, uid: u32, gid: u32) -> Arc<Node> {
        let mode = mode & 0o7777 | Kind::Dir.bits();
        Self::make(core, 1, mode, uid, gid, Body::Dir(Mutex::default()))
    }

    fn new(&self, mode: u32, uid: u32, gid: u32, body: Body) -> Result<Arc<Node>> {
        let ino = self.core.take_inode()?;
        Ok(Self::make(&self.core, ino, mode, uid, gid, body))
    }

    pub(super) fn dir(&self) -> Result<&Mutex<Dir>> {
        match &self.body {
            Body::Dir(d) => Ok(d),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn data(&self) -> Result<&Arc<PageObject>> {
        match &self.body {
            Body::File(o) => Ok(o),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Its names changed.
    fn touch(&self, links: i32) {
        let mut m = self.meta.lock();
        m.mtime = now();
        m.ctime = m.mtime;
        m.nlink = m.nlink.saturating_add_signed(links);
    }

    fn changed_links(&self, links: i32) {
        let mut m = self.meta.lock();
        m.ctime = now();
        m.nlink = m.nlink.saturating_add_signed(links);
    }

    fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }

    /// A removed directory accepts no names.
    fn alive(&self) -> Result<()> {
        if self.meta.lock().nlink == 0 {
            Err(Errno::ENOENT)
        } else {
            Ok(())
        }
    }

    fn add(&self, name: &[u8], node: Arc<Node>) -> Result<Arc<dyn Inode>> {
        let _tree = self.core.tree.lock();
        self.alive()?;
        let mut dir = self.dir()?.lock();
        if dir.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        dir.insert(name, node.clone());
        drop(dir);
        self.touch(i32::from(node.is_dir()));
        Ok(node)
    }

    fn get(&self, name: &[u8]) -> Result<Arc<Node>> {
        self.dir()?.lock().get(name).cloned().ok_or(Errno::ENOENT)
    }

    /// Takes every name out of a directory, because the file system goes.
    pub(super) fn clear(&self) -> Vec<Arc<Node>> {
        match &self.body {
            Body::Dir(d) => core::mem::take(&mut *d.lock()).nodes().collect(),
            _ => Vec::new(),
        }
    }

    fn same_fs(&self, other: &Arc<dyn Inode>) -> Result<Arc<Node>> {
        let other = (other.clone().into_any().downcast::<Node>()).map_err(|_| Errno::EXDEV)?;
        if Arc::ptr_eq(&self.core, &other.core) {
            Ok(other)
        } else {
            Err(Errno::EXDEV)
        }
    }

    fn exchange(&self, name: &[u8], to: &Node, new_name: &[u8]) -> Result<()> {
        let (a, b) = (self.get(name)?, to.get(new_name)?);
        if Arc::ptr_eq(&a, &b) {
            return Ok(());
        }
        self.dir()?.lock().replace(name, b.clone());
        to.dir()?.lock().replace(new_name, a.clone());
        let moved = i32::from(b.is_dir()) - i32::from(a.is_dir());
        self.touch(moved);
        to.touch(-moved);
        a.changed_links(0);
        b.changed_links(0);
        Ok(())
    }

    fn move_name(&self, name: &[u8], to: &Node, new_name: &[u8], noreplace: bool) -> Result<()> {
        let node = self.get(name)?;
        let old = to.dir()?.lock().get(new_name).cloned();
        if let Some(old) = &old {
            if noreplace {
                return Err(Errno::EEXIST);
            }
            if Arc::ptr_eq(&node, old) {
                return Ok(());
            }
            match (node.is_dir(), &old.body) {
                (true, Body::Dir(d)) => {
                    if !d.lock().is_empty() {
                        return Err(Errno::ENOTEMPTY);
                    }
                }
                (true, _) => return Err(Errno::ENOTDIR),
                (false, Body::Dir(_)) => return Err(Errno::EISDIR),
                _ => {}
            }
        }
        to.alive()?;
        let dir = i32::from(node.is_dir());
        self.dir()?.lock().remove(name);
        {
            let mut d = to.dir()?.lock();
            d.remove(new_name);
            d.insert(new_name, node.clone());
        }
        self.touch(-dir);
        to.touch(dir);
        if let Some(old) = old {
            if old.is_dir() {
                to.touch(-1);
                old.changed_links(-2);
            } else {
                old.changed_links(-1);
            }
        }
        node.changed_links(0);
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.core.give_inode();
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
        match self.core.fs.get().and_then(|w| w.upgrade()) {
            Some(fs) => fs,
            // The last mount went while a file was open.
            None => Tmpfs::new(super::Options::default()),
        }
    }

    fn stat(&self) -> Result<Stat> {
        let (size, bytes, rdev) = match &self.body {
            Body::File(o) => (o.size(), o.allocated(), 0),
            // As Linux shows it: 20 for each name, `.` and `..` included.
            Body::Dir(d) => ((d.lock().len() as u64 + 2) * 20, 0, 0),
            Body::Symlink(t) => (t.len() as u64, 0, 0),
            Body::Device(rdev) => (0, 0, *rdev),
            Body::Fifo(_) | Body::Socket => (0, 0, 0),
        };
        let m = self.meta.lock();
        Ok(Stat {
            dev: self.core.dev,
            ino: self.ino,
            mode: m.mode,
            nlink: u64::from(m.nlink),
            uid: m.uid,
            gid: m.gid,
            rdev,
            size,
            blksize: PAGE as u32,
            blocks: bytes / 512,
            atime: m.atime,
            mtime: m.mtime,
            ctime: m.ctime,
            btime: m.btime,
        })
    }

    fn perms(&self) -> Result<(u32, u32, u32)> {
        let m = self.meta.lock();
        Ok((m.mode, m.uid, m.gid))
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn set_attr(&self, attr: &SetAttr) -> Result<()> {
        if let Some(size) = attr.size {
            self.data()?.set_size(size)?;
        }
        let mut m = self.meta.lock();
        m.ctime = now();
        if attr.size.is_some() {
            m.mtime = m.ctime;
        }
        if let Some(mode) = attr.mode {
            m.mode = mode & 0o7777 | self.kind.bits();
        }
        m.uid = attr.uid.unwrap_or(m.uid);
        m.gid = attr.gid.unwrap_or(m.gid);
        m.atime = attr.atime.unwrap_or(m.atime);
        m.mtime = attr.mtime.unwrap_or(m.mtime);
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.get(name).map(|n| n as _)
    }

    fn create(
        &self,
        name: &[u8],
        mode: u32,
        rdev: u64,
        uid: u32,
        gid: u32,
    ) -> Result<Arc<dyn Inode>> {
        let body = match Kind::of(mode).ok_or(Errno::EINVAL)? {
            Kind::Regular => Body::File(PageObject::with_budget(self.core.budget.clone())),
            Kind::Dir => Body::Dir(Mutex::default()),
            Kind::Char | Kind::Block => Body::Device(rdev),
            Kind::Fifo => Body::Fifo(Once::new()),
            Kind::Socket => Body::Socket,
            Kind::Symlink => return Err(Errno::EINVAL),
        };
        self.add(name, self.new(mode, uid, gid, body)?)
    }

    fn symlink(&self, name: &[u8], target: &[u8], uid: u32, gid: u32) -> Result<Arc<dyn Inode>> {
        let mode = Kind::Symlink.bits() | 0o777;
        self.add(
            name,
            self.new(mode, uid, gid, Body::Symlink(target.to_vec()))?,
        )
    }

    fn tmpfile(&self, mode: u32, uid: u32, gid: u32) -> Result<Arc<dyn Inode>> {
        let data = PageObject::with_budget(self.core.budget.clone());
        let mode = mode & 0o7777 | Kind::Regular.bits();
        let node = self.new(mode, uid, gid, Body::File(data))?;
        {
            let mut m = node.meta.lock();
            m.nlink = 0;
            m.unnamed = true;
        }
        Ok(node)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let node = self.same_fs(target)?;
        if node.is_dir() {
            return Err(Errno::EPERM);
        }
        let _tree = self.core.tree.lock();
        self.alive()?;
        {
            let mut m = node.meta.lock();
            if m.nlink == 0 && !m.unnamed {
                return Err(Errno::ENOENT);
            }
            let mut dir = self.dir()?.lock();
            if dir.get(name).is_some() {
                return Err(Errno::EEXIST);
            }
            m.unnamed = false;
            m.nlink = m.nlink.checked_add(1).ok_or(Errno::EMLINK)?;
            m.ctime = now();
            dir.insert(name, node.clone());
        }
        self.touch(0);
        Ok(())
    }

    fn unlink(&self, name: &[u8]) -> Result<()> {
        let _tree = self.core.tree.lock();
        let node = self.get(name)?;
        if node.is_dir() {
            return Err(Errno::EISDIR);
        }
        self.dir()?.lock().remove(name);
        self.touch(0);
        node.changed_links(-1);
        Ok(())
    }

    fn rmdir(&self, name: &[u8]) -> Result<()> {
        let _tree = self.core.tree.lock();
        let node = self.get(name)?;
        if !node.dir()?.lock().is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.dir()?.lock().remove(name);
        self.touch(-1);
        node.changed_links(-2);
        Ok(())
    }

    fn rename(
        &self,
        name: &[u8],
        new_dir: &Arc<dyn Inode>,
        new_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        let to = self.same_fs(new_dir)?;
        let _tree = self.core.tree.lock();
        match flags {
            RENAME_EXCHANGE => self.exchange(name, &to, new_name),
            0 | RENAME_NOREPLACE => self.move_name(name, &to, new_name, flags != 0),
            _ => Err(Errno::EINVAL),
        }
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        match &self.body {
            Body::Symlink(t) => Ok(t.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(self: Arc<Self>, t: &Task, flags: u32) -> Result<Arc<dyn FileOps>> {
        match &self.body {
            Body::File(_) | Body::Dir(_) => Ok(self),
            Body::Symlink(_) => Err(Errno::ELOOP),
            Body::Device(rdev) => devfs::open_device(t, *rdev, flags, self.kind),
            Body::Fifo(fifo) => {
                let fifo = fifo.get_or_init(crate::ipc::pipe::Pipe::fifo);
                crate::ipc::pipe::open_fifo(t, fifo, flags)
            }
            Body::Socket => Err(Errno::ENXIO),
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut out = Vec::new();
        let n = (self.data()?).read(offset, &mut IoDst::kernel(&mut out, buf.len()))?;
        if let (Some(to), Some(from)) = (buf.get_mut(..n), out.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let n = self.data()?.write(offset, &mut IoSrc::kernel(data))?;
        if n < data.len() {
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let dir = self.dir()?.lock();
        let mut out = Vec::with_capacity(dir.len());
        let mut at = 0;
        while let Some((cookie, name, node)) = dir.from(at) {
            at = cookie + 1;
            out.push(Entry {
                ino: node.ino,
                kind: node.kind.dirent(),
                name: name.to_vec(),
            });
        }
        Ok(out)
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        xattr::kept(name)?;
        (self.xattrs.lock().get(name).cloned()).ok_or(Errno::ENODATA)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], how: Xattr) -> Result<()> {
        xattr::kept(name)?;
        let mut x = self.xattrs.lock();
        match (x.contains_key(name), how) {
            (true, Xattr::Create) => return Err(Errno::EEXIST),
            (false, Xattr::Replace) => return Err(Errno::ENODATA),
            _ => {}
        }
        let others = x.iter().filter(|(n, _)| *n != name);
        let held: usize = others.map(|(n, v)| n.len() + v.len()).sum();
        if held + name.len() + value.len() > XATTR_MAX {
            return Err(Errno::ENOSPC);
        }
        x.insert(name.to_vec(), value.to_vec());
        drop(x);
        self.changed_links(0);
        Ok(())
    }

    fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.xattrs.lock().keys().cloned().collect())
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        xattr::kept(name)?;
        (self.xattrs.lock().remove(name)).ok_or(Errno::ENODATA)?;
        self.changed_links(0);
        Ok(())
    }
}

impl Node {
    /// Contents were written: times move, set-id bits and file capabilities go (unless the writer
    /// may keep them).
    pub(super) fn written(&self, t: &Task) {
        let mut m = self.meta.lock();
        m.mtime = now();
        m.ctime = m.mtime;
        let drops = m.mode & 0o4000 != 0 || m.mode & 0o2010 == 0o2010;
        let mode = m.mode;
        drop(m);
        if drops && !t.creds().capable(crate::process::creds::CAP_FSETID) {
            let keep = if mode & 0o2010 == 0o2010 {
                !0o6000
            } else {
                !0o4000
            };
            self.meta.lock().mode = mode & keep;
        }
        let mut x = self.xattrs.lock();
        if !x.is_empty() {
            x.remove(&b"security.capability"[..]);
        }
    }
}
