//! Inodes of an overlay.

use super::Overlay;
use super::dir::OverlayDir;
use super::layer::{is_opaque, is_private, is_whiteout};
use crate::abi::raw::general::{RENAME_EXCHANGE, RENAME_NOREPLACE};
use crate::fs::file::O_ACCMODE;
use crate::fs::inode::Entry;
use crate::fs::{FileOps, FileSystem, Inode, Kind, SetAttr, Stat, Xattr};
use crate::{Errno, Result, Task};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::sync::{Mutex, Once};
use core::any::Any;

/// Where a file is: the directory (`None`: the root) and the name there. What is still to be
/// copied up does not move.
pub(super) type Place = (Option<Arc<OverlayInode>>, Vec<u8>);

/// A file.
pub struct OverlayInode {
    me: Weak<OverlayInode>,
    pub(super) fs: Arc<Overlay>,
    pub(super) kind: Kind,
    /// The lower file; of a directory all that show, topmost first.
    pub(super) lower: Vec<Arc<dyn Inode>>,
    /// Once there is one, with its inode number.
    upper: Once<(Arc<dyn Inode>, u64)>,
    place: Mutex<Place>,
    /// Held while its contents are copied up.
    pub(super) copying: Mutex<()>,
}

impl Drop for OverlayInode {
    fn drop(&mut self) {
        let Some((upper, ino)) = self.upper.get() else {
            return;
        };
        {
            let mut inodes = self.fs.inodes.lock();
            if inodes.get(ino).is_some_and(|w| w.strong_count() > 0) {
                return;
            }
            inodes.remove(ino);
        }
        // What was noted of a file that is gone for good is not needed.
        if upper.stat().is_ok_and(|s| s.nlink == 0) {
            let gone = self.fs.notes.lock().remove(ino);
            drop(gone);
        }
    }
}

impl OverlayInode {
    /// A file that is in one of the trees or both.
    pub(super) fn new(
        fs: Arc<Overlay>,
        lower: Vec<Arc<dyn Inode>>,
        upper: Option<(Arc<dyn Inode>, u64)>,
        place: Place,
    ) -> Result<Arc<Self>> {
        let one = upper.as_ref().map(|(u, _)| u).or(lower.first());
        let kind = one.ok_or(Errno::ENOENT)?.kind();
        Ok(Arc::new_cyclic(|me| {
            let i = OverlayInode {
                me: me.clone(),
                fs,
                kind,
                lower,
                upper: Once::new(),
                place: Mutex::new(place),
                copying: Mutex::new(()),
            };
            if let Some(u) = upper {
                i.upper.get_or_init(|| u);
            }
            i
        }))
    }

    /// The root, which is in all trees.
    pub(super) fn root(
        fs: Arc<Overlay>,
        lower: Vec<Arc<dyn Inode>>,
        upper: Arc<dyn Inode>,
        ino: u64,
    ) -> Arc<Self> {
        let below = lower.first().and_then(|root| root.stat().ok());
        let note = below.map(|s| fs.lower_ino(s.dev, s.ino));
        fs.note(ino, |n| n.ino = note);
        Arc::new_cyclic(|me| {
            let i = OverlayInode {
                me: me.clone(),
                fs,
                kind: Kind::Dir,
                lower,
                upper: Once::new(),
                place: Mutex::new((None, Vec::new())),
                copying: Mutex::new(()),
            };
            i.upper.get_or_init(|| (upper, ino));
            i
        })
    }

    pub(super) fn arc(&self) -> Arc<Self> {
        self.me.upgrade().expect("a method runs on a live object")
    }

    /// The file in the upper tree.
    pub(super) fn upper(&self) -> Option<&Arc<dyn Inode>> {
        self.upper.get().map(|(u, _)| u)
    }

    /// It was copied up.
    pub(super) fn set_upper(&self, upper: Arc<dyn Inode>, ino: u64) {
        self.upper.get_or_init(|| (upper, ino));
        self.fs.inodes.lock().insert(ino, self.me.clone());
    }

    pub(super) fn place(&self) -> Place {
        self.place.lock().clone()
    }

    /// The file that attributes and contents come from.
    fn top(&self) -> Result<&Arc<dyn Inode>> {
        self.upper().or(self.lower.first()).ok_or(Errno::ESTALE)
    }

    /// A lower name was removed here.
    pub(super) fn has_whiteout(&self, name: &[u8]) -> bool {
        let Some((_, ino)) = self.upper.get() else {
            return false;
        };
        self.fs.noted(*ino, |n| n.whiteouts.contains(name))
    }

    /// The lower files of that name that would show: one, or directories.
    fn lower_child(&self, name: &[u8]) -> Result<Vec<Arc<dyn Inode>>> {
        let mut found = Vec::new();
        if self.lower.is_empty() || self.has_whiteout(name) {
            return Ok(found);
        }
        let mut dirs = self.lower.iter();
        while let Some(dir) = dirs.next() {
            let child = match dir.lookup(name) {
                Err(Errno::ENOENT) => continue,
                child => child?,
            };
            let is_dir = child.kind() == Kind::Dir;
            if is_whiteout(&child)? || !is_dir && !found.is_empty() {
                break;
            }
            let last = !is_dir || dirs.len() > 0 && is_opaque(&child)?;
            found.push(child);
            if last {
                break;
            }
        }
        Ok(found)
    }

    fn upper_child(&self, name: &[u8]) -> Result<Option<Arc<dyn Inode>>> {
        match self.upper().map(|u| u.lookup(name)) {
            Some(Ok(i)) => Ok(Some(i)),
            None | Some(Err(Errno::ENOENT)) => Ok(None),
            Some(Err(e)) => Err(e),
        }
    }

    pub(super) fn child(&self, name: &[u8]) -> Result<Arc<OverlayInode>> {
        let place = || (Some(self.arc()), name.to_vec());
        if let Some(u) = self.upper_child(name)? {
            return self.fs.upper_inode(u, place(), || {
                let mut lower = self.lower_child(name)?;
                lower.retain(|l| l.kind() == Kind::Dir);
                Ok(lower)
            });
        }
        OverlayInode::new(self.fs.clone(), self.lower_child(name)?, None, place())
    }

    /// A new upper file is at `name`, where nothing was to be seen.
    fn appeared(&self, name: &[u8], upper: Arc<dyn Inode>) -> Result<Arc<OverlayInode>> {
        let place = (Some(self.arc()), name.to_vec());
        self.fs.upper_inode(upper, place, || Ok(Vec::new()))
    }

    /// The name goes: if the lower tree has it, it must not show again. As long as the upper tree
    /// has it, nothing changes.
    fn white_out(&self, name: &[u8]) -> Result<()> {
        if !self.lower_child(name)?.is_empty() {
            self.upper_dir()?;
            if let Some((_, ino)) = self.upper.get() {
                self.fs.white_out(*ino, name)?;
            }
        }
        Ok(())
    }

    fn check_removable(&self, child: &OverlayInode) -> Result<()> {
        if child.kind == Kind::Dir && !child.merged()?.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        Ok(())
    }

    /// A directory can be renamed only if nothing of it is in a lower tree.
    fn check_movable(&self) -> Result<()> {
        if self.kind == Kind::Dir && !self.lower.is_empty() {
            return Err(Errno::EXDEV);
        }
        Ok(())
    }

    /// It was renamed.
    fn moved(&self, dir: &OverlayInode, name: &[u8]) {
        let mut place = (Some(dir.arc()), name.to_vec());
        core::mem::swap(&mut *self.place.lock(), &mut place);
    }

    fn ours(&self, i: &Arc<dyn Inode>) -> Result<Arc<OverlayInode>> {
        let i = i.clone().into_any().downcast::<OverlayInode>();
        let i = i.map_err(|_| Errno::EXDEV)?;
        if Arc::ptr_eq(&i.fs, &self.fs) {
            Ok(i)
        } else {
            Err(Errno::EXDEV)
        }
    }

    fn remove(&self, name: &[u8], directory: bool) -> Result<()> {
        let child = self.child(name)?;
        match (child.kind == Kind::Dir, directory) {
            (true, false) => return Err(Errno::EISDIR),
            (false, true) => return Err(Errno::ENOTDIR),
            _ => {}
        }
        let dir = self.upper_dir()?;
        let _turn = self.fs.change.lock();
        self.check_removable(&child)?;
        self.white_out(name)?;
        match self.upper_child(name)? {
            None => {}
            Some(_) if !directory => dir.unlink(name)?,
            Some(upper) => {
                self.fs.forget(upper.stat()?.ino);
                dir.rmdir(name)?;
            }
        }
        Ok(())
    }
}

impl Inode for OverlayInode {
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
        let mut st = self.top()?.stat()?;
        if self.kind == Kind::Dir && self.lower.len() + usize::from(self.upper().is_some()) > 1 {
            // As on Linux: subdirectories are not counted. Programs know that 1 says nothing of
            // them, and would rely on any other number.
            st.nlink = 1;
        }
        Ok(self.fs.shown(st, self.upper().is_some()))
    }

    fn perms(&self) -> Result<(u32, u32, u32)> {
        self.top()?.perms()
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn set_attr(&self, attr: &SetAttr) -> Result<()> {
        self.upper_file(attr.size)?.set_attr(attr)
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
        rdev: u64,
        uid: u32,
        gid: u32,
    ) -> Result<Arc<dyn Inode>> {
        // As on Linux: it would be a whiteout.
        if Kind::of(mode) == Some(Kind::Char) && rdev == 0 {
            return Err(Errno::EPERM);
        }
        if !self.lower_child(name)?.is_empty() {
            return Err(Errno::EEXIST);
        }
        let new = self.upper_dir()?.create(name, mode, rdev, uid, gid)?;
        Ok(self.appeared(name, new)?)
    }

    fn symlink(&self, name: &[u8], target: &[u8], uid: u32, gid: u32) -> Result<Arc<dyn Inode>> {
        if !self.lower_child(name)?.is_empty() {
            return Err(Errno::EEXIST);
        }
        let new = self.upper_dir()?.symlink(name, target, uid, gid)?;
        Ok(self.appeared(name, new)?)
    }

    fn tmpfile(&self, mode: u32, uid: u32, gid: u32) -> Result<Arc<dyn Inode>> {
        let new = self.upper_dir()?.tmpfile(mode, uid, gid)?;
        let place = (Some(self.arc()), Vec::new());
        Ok(self.fs.upper_inode(new, place, || Ok(Vec::new()))?)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let target = self.ours(target)?;
        if target.kind == Kind::Dir {
            return Err(Errno::EPERM);
        }
        if !self.lower_child(name)?.is_empty() {
            return Err(Errno::EEXIST);
        }
        self.upper_dir()?.link(name, &target.upper_file(None)?)
    }

    fn unlink(&self, name: &[u8]) -> Result<()> {
        self.remove(name, false)
    }

    fn rmdir(&self, name: &[u8]) -> Result<()> {
        self.remove(name, true)
    }

    fn rename(
        &self,
        name: &[u8],
        new_dir: &Arc<dyn Inode>,
        new_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        let exchange = flags & RENAME_EXCHANGE != 0;
        if flags & !(RENAME_EXCHANGE | RENAME_NOREPLACE) != 0 {
            return Err(Errno::EINVAL);
        }
        let to = self.ours(new_dir)?;
        let child = self.child(name)?;
        let old = match to.child(new_name) {
            Ok(_) if flags & RENAME_NOREPLACE != 0 => return Err(Errno::EEXIST),
            Ok(old) => Some(old),
            Err(Errno::ENOENT) if !exchange => None,
            Err(e) => return Err(e),
        };
        child.check_movable()?;
        match &old {
            Some(old) if Arc::ptr_eq(old, &child) => return Ok(()),
            Some(old) if exchange => {
                old.check_movable()?;
                old.upper_file(None)?;
            }
            Some(old) => match (child.kind == Kind::Dir, old.kind == Kind::Dir) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                _ => {}
            },
            None => {}
        }
        child.upper_file(None)?;
        // A directory that goes is in the upper tree, so that its whiteout does not show before.
        let replaced = old
            .as_ref()
            .filter(|old| !exchange && old.kind == Kind::Dir);
        if let Some(old) = replaced {
            old.upper_dir()?;
        }
        let (from_upper, to_upper) = (self.upper_dir()?, to.upper_dir()?);
        let _turn = self.fs.change.lock();
        if let Some(old) = &old
            && !exchange
        {
            self.check_removable(old)?;
        }
        if replaced.is_some() {
            // Nothing that the lower tree has there is part of what comes.
            to.white_out(new_name)?;
        }
        if !exchange {
            self.white_out(name)?;
        }
        if let Some((_, ino)) = replaced.and_then(|old| old.upper.get()) {
            self.fs.forget(*ino);
        }
        from_upper.rename(name, &to_upper, new_name, flags)?;
        child.moved(&to, new_name);
        match &old {
            Some(old) if exchange => old.moved(self, name),
            _ => {}
        }
        Ok(())
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        self.top()?.read_link()
    }

    fn open(self: Arc<Self>, t: &Task, flags: u32) -> Result<Arc<dyn FileOps>> {
        match self.kind {
            Kind::Dir => Ok(Arc::new(OverlayDir::new(self))),
            Kind::Regular if flags & O_ACCMODE != 0 => self.upper_file(None)?.open(t, flags),
            _ => self.top()?.clone().open(t, flags),
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.top()?.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.upper_file(None)?.write_at(offset, data)
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        self.merged()
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        if is_private(name) {
            return Err(Errno::EOPNOTSUPP);
        }
        match self.top()?.get_xattr(name) {
            // A lower tree without attributes has none, but here they could be.
            Err(Errno::EOPNOTSUPP) if self.upper().is_none() => Err(Errno::ENODATA),
            r => r,
        }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], how: Xattr) -> Result<()> {
        if is_private(name) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.upper_file(None)?.set_xattr(name, value, how)
    }

    fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        match self.top()?.list_xattr() {
            Err(Errno::EOPNOTSUPP) if self.upper().is_none() => Ok(Vec::new()),
            names => names.map(|mut names| {
                names.retain(|name| !is_private(name));
                names
            }),
        }
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        if is_private(name) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.upper_file(None)?.remove_xattr(name)
    }
}
