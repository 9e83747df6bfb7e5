//! Open directories of an overlay.

use super::inode::OverlayInode;
use super::layer::is_whiteout_in;
use crate::fs::FileOps;
use crate::fs::file::Dirent;
use crate::fs::inode::Entry;
use crate::{Errno, Result, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use core::any::Any;

/// How an open directory is being read.
#[derive(Clone)]
enum Source {
    /// It is in one tree only: that tree's own open directory. True: the upper.
    One(Arc<dyn FileOps>, bool),
    /// Merged when reading began, so that positions stay valid.
    Merged(Arc<Vec<Entry>>),
}

/// An open directory.
pub(super) struct OverlayDir {
    inode: Arc<OverlayInode>,
    source: Mutex<Option<Source>>,
}

impl OverlayDir {
    pub fn new(inode: Arc<OverlayInode>) -> Self {
        OverlayDir {
            inode,
            source: Mutex::new(None),
        }
    }

    fn source(&self, t: &Task, again: bool) -> Result<Source> {
        let held = self.source.lock().clone();
        if let Some(s) = held
            && !again
        {
            return Ok(s);
        }
        let s = match (self.inode.upper(), self.inode.lower.as_slice()) {
            (Some(u), []) => Source::One(u.clone().open(t, 0)?, true),
            (None, [l]) => Source::One(l.clone().open(t, 0)?, false),
            _ => Source::Merged(Arc::new(self.inode.merged()?)),
        };
        *self.source.lock() = Some(s.clone());
        Ok(s)
    }
}

impl FileOps for OverlayDir {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn pollable(&self) -> bool {
        false
    }

    fn fsync(&self, _data_only: bool) -> Result<()> {
        match self.inode.upper() {
            Some(_) => self.inode.fs.upper.sync(),
            None => Ok(()),
        }
    }

    fn read_dir(
        &self,
        t: &Task,
        position: u64,
        emit: &mut dyn FnMut(Dirent<'_>) -> bool,
    ) -> Result<()> {
        let fs = &self.inode.fs;
        match self.source(t, position == 0)? {
            Source::One(ops, true) => ops.read_dir(t, position, &mut |d| {
                emit(Dirent {
                    ino: fs.upper_ino(d.ino),
                    ..d
                })
            }),
            Source::One(ops, false) => {
                let dir = self.inode.lower.first().ok_or(Errno::EIO)?;
                let dev = dir.stat()?.dev;
                ops.read_dir(t, position, &mut |d| {
                    // One that cannot be looked at is shown, and whoever looks is told why.
                    is_whiteout_in(dir, d.name, d.kind).unwrap_or(false)
                        || emit(Dirent {
                            ino: fs.lower_ino(dev, d.ino),
                            ..d
                        })
                })
            }
            Source::Merged(list) => {
                let from = usize::try_from(position).unwrap_or(usize::MAX);
                for (i, e) in list.iter().enumerate().skip(from) {
                    if !emit(Dirent {
                        ino: e.ino,
                        next: i as u64 + 1,
                        kind: e.kind,
                        name: &e.name,
                    }) {
                        break;
                    }
                }
                Ok(())
            }
        }
    }
}

impl OverlayInode {
    /// All names, with the inode numbers shown.
    pub(super) fn merged(&self) -> Result<Vec<Entry>> {
        let mut out = Vec::new();
        let mut seen = hashbrown::HashSet::new();
        if let Some(u) = self.upper() {
            for mut e in u.entries()? {
                e.ino = self.fs.upper_ino(e.ino);
                seen.insert(e.name.clone());
                out.push(e);
            }
        }
        let mut dirs = self.lower.iter();
        while let Some(dir) = dirs.next() {
            let dev = dir.stat()?.dev;
            let last = dirs.len() == 0;
            for mut e in dir.entries()? {
                if seen.contains(&e.name) || self.has_whiteout(&e.name) {
                    continue;
                }
                if !last {
                    seen.insert(e.name.clone());
                }
                if !is_whiteout_in(dir, &e.name, e.kind)? {
                    e.ino = self.fs.lower_ino(dev, e.ino);
                    out.push(e);
                }
            }
        }
        Ok(out)
    }
}
