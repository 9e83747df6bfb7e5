//! Copying up.

use super::WORK;
use super::inode::OverlayInode;
use super::layer::is_private;
use crate::fs::{Inode, Kind, SetAttr, Stat, Xattr};
use crate::{Errno, Result};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

/// Bytes copied at once.
const CHUNK: usize = 256 << 10;

/// Gives a file another's mode, owner and times.
pub(super) fn copy_attributes(from: &Stat, to: &Arc<dyn Inode>) -> Result<()> {
    to.set_attr(&SetAttr {
        mode: (from.kind() != Kind::Symlink).then_some(from.mode & 0o7777),
        uid: Some(from.uid),
        gid: Some(from.gid),
        size: None,
        atime: Some(from.atime),
        mtime: Some(from.mtime),
    })
}

/// Gives a file another's extended attributes, those that it may have.
fn copy_xattrs(from: &Arc<dyn Inode>, to: &Arc<dyn Inode>) -> Result<()> {
    let names = match from.list_xattr() {
        Err(Errno::EOPNOTSUPP) => return Ok(()),
        names => names?,
    };
    for name in names.into_iter().filter(|name| !is_private(name)) {
        match to.set_xattr(&name, &from.get_xattr(&name)?, Xattr::Any) {
            Err(Errno::EOPNOTSUPP) => {}
            done => done?,
        }
    }
    Ok(())
}

/// Copies contents up to `size`; runs of zeros become holes.
fn copy_contents(from: &Arc<dyn Inode>, to: &Arc<dyn Inode>, size: u64) -> Result<()> {
    let mut buf = vec![0u8; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
    let mut at = 0;
    while at < size {
        let want = (size - at).min(buf.len() as u64) as usize;
        let n = from.read_at(at, &mut buf[..want])?;
        if n == 0 {
            break;
        }
        if buf[..n].iter().any(|&b| b != 0) {
            to.write_at(at, &buf[..n])?;
        }
        at += n as u64;
    }
    to.set_attr(&SetAttr {
        size: Some(size),
        ..Default::default()
    })
}

/// Makes a copy of what is not a regular file; of a directory without what is in it.
fn make_copy(
    from: &Arc<dyn Inode>,
    st: &Stat,
    dir: &Arc<dyn Inode>,
    name: &[u8],
) -> Result<Arc<dyn Inode>> {
    let new = match from.kind() {
        Kind::Symlink => dir.symlink(name, &from.read_link()?, st.uid, st.gid)?,
        _ => dir.create(name, st.mode, st.rdev, st.uid, st.gid)?,
    };
    copy_xattrs(from, &new)?;
    copy_attributes(st, &new)?;
    Ok(new)
}

impl OverlayInode {
    /// The upper directory, copied up with all those above it if need be.
    pub(super) fn upper_dir(&self) -> Result<Arc<dyn Inode>> {
        if let Some(u) = self.upper() {
            return Ok(u.clone());
        }
        // From the nearest directory that is there, downwards.
        let mut chain: Vec<Arc<OverlayInode>> = Vec::new();
        let mut at = self.arc();
        while at.upper().is_none() {
            let parent = at.place().0.ok_or(Errno::EIO)?;
            chain.push(at);
            at = parent;
        }
        while let Some(dir) = chain.pop() {
            let _turn = self.fs.change.lock();
            if dir.upper().is_none() {
                dir.copy_node(None)?;
            }
        }
        self.upper().cloned().ok_or(Errno::EIO)
    }

    /// The upper file, copied up if need be; of the contents only what lies before `limit`.
    pub(super) fn upper_file(&self, limit: Option<u64>) -> Result<Arc<dyn Inode>> {
        if let Some(u) = self.upper() {
            return Ok(u.clone());
        }
        if self.kind == Kind::Dir {
            return self.upper_dir();
        }
        let above = self.place().0.ok_or(Errno::EIO)?.upper_dir()?;
        let _once = self.copying.lock();
        if let Some(u) = self.upper() {
            return Ok(u.clone());
        }
        // The contents may be long: other changes need not wait for them.
        let contents = match self.lower.first() {
            Some(l) if self.kind == Kind::Regular => {
                let st = l.stat()?;
                let new = above.tmpfile(st.mode & 0o7777, st.uid, st.gid)?;
                copy_contents(l, &new, limit.unwrap_or(u64::MAX).min(st.size))?;
                Some(new)
            }
            _ => None,
        };
        let _turn = self.fs.change.lock();
        self.copy_node(contents)?;
        self.upper().cloned().ok_or(Errno::EIO)
    }

    /// Makes this file in the upper tree, where the directory above is already; `contents` are a
    /// regular file's, still without a name.
    fn copy_node(&self, contents: Option<Arc<dyn Inode>>) -> Result<()> {
        let lower = self.lower.first().ok_or(Errno::EIO)?;
        let (parent, name) = self.place();
        let parent = parent.ok_or(Errno::EIO)?;
        let above = parent.upper().ok_or(Errno::EIO)?;
        let before = above.stat()?;
        let st = lower.stat()?;
        // The file may be open while its name is gone, or another's.
        let named = !parent.has_whiteout(&name) && above.lookup(&name).is_err();
        let upper = match (contents, self.kind) {
            (Some(new), _) => {
                // It takes the name once it is whole.
                copy_xattrs(lower, &new)?;
                copy_attributes(&st, &new)?;
                if named {
                    above.link(&name, &new)?;
                }
                new
            }
            _ if !named => return Err(Errno::ENOENT),
            (None, _) => match &self.fs.work {
                None => make_copy(lower, &st, above, &name)?,
                Some(work) => {
                    // One that could not be finished is still there.
                    super::clear(work)?;
                    let new = make_copy(lower, &st, work, WORK)?;
                    work.rename(WORK, above, &name, 0)?;
                    new
                }
            },
        };
        // Copying up is no change that anybody should see in the directory's times.
        above.set_attr(&SetAttr {
            atime: Some(before.atime),
            mtime: Some(before.mtime),
            ..Default::default()
        })?;
        let shown = self.fs.lower_ino(st.dev, st.ino);
        let ino = upper.stat()?.ino;
        self.fs.note(ino, |n| n.ino = Some(shown));
        self.set_upper(upper, ino);
        Ok(())
    }
}
