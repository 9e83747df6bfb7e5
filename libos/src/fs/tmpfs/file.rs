//! Open files and directories of a tmpfs.

use super::node::{Body, Node};
use crate::fs::atime::{self, now};
use crate::fs::{Dirent, File, FileOps, Inode, Mappable, SetAttr, Stat};
use crate::uio::{IoDst, IoSrc};
use crate::wait::{Events, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, PollTable};
use crate::{Errno, Result, Task};
use bastide_abi::raw::general::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE};
use core::any::Any;

impl Node {
    fn accessed(&self, f: &File) {
        let mut m = self.meta.lock();
        if atime::wanted(f, m.atime, m.mtime, m.ctime) {
            m.atime = now();
        }
    }

    fn grow(&self, end: u64) -> Result<()> {
        let data = self.data()?;
        if end > data.size() {
            data.set_size(end)?;
        }
        Ok(())
    }
}

impl FileOps for Node {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _t: &Task, f: &File, dst: &mut IoDst<'_>, offset: Option<u64>) -> Result<usize> {
        let Body::File(data) = &self.body else {
            return Err(Errno::EISDIR);
        };
        let n = data.read(offset.unwrap_or(0), dst)?;
        self.accessed(f);
        Ok(n)
    }

    fn write(&self, t: &Task, f: &File, src: &mut IoSrc<'_>, offset: Option<u64>) -> Result<usize> {
        let Body::File(data) = &self.body else {
            return Err(Errno::EISDIR);
        };
        if src.left() == 0 {
            return Ok(0);
        }
        let n = match offset {
            Some(at) if f.flags() & crate::fs::file::O_APPEND == 0 => data.write(at, src)?,
            _ => data.append(src)?.1,
        };
        self.written(t);
        Ok(n)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Result<u64> {
        match &self.body {
            Body::File(data) => Ok(data.size()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn seek_data(&self, offset: u64, data: bool) -> Result<u64> {
        self.data()?.seek_data(offset, data)
    }

    fn poll(&self, _f: &File, _table: Option<&mut PollTable>) -> Events {
        POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM
    }

    fn pollable(&self) -> bool {
        false
    }

    fn mmap(&self, f: &File) -> Result<Mappable> {
        let Body::File(data) = &self.body else {
            return Err(Errno::ENODEV);
        };
        self.accessed(f);
        Ok(Mappable::Pages(data.clone()))
    }

    fn truncate(&self, len: u64) -> Result<()> {
        Inode::set_attr(
            self,
            &SetAttr {
                size: Some(len),
                ..Default::default()
            },
        )
    }

    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let data = self.data()?;
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        let keep = mode & FALLOC_FL_KEEP_SIZE != 0;
        match mode & !FALLOC_FL_KEEP_SIZE {
            0 => {
                data.allocate(offset, len)?;
                if !keep {
                    self.grow(end)?;
                }
            }
            FALLOC_FL_PUNCH_HOLE if keep => data.punch(offset, len)?,
            FALLOC_FL_ZERO_RANGE => {
                data.punch(offset, len)?;
                data.allocate(offset, len)?;
                if !keep {
                    self.grow(end)?;
                }
            }
            _ => return Err(Errno::EOPNOTSUPP),
        }
        let mut m = self.meta.lock();
        m.mtime = now();
        m.ctime = m.mtime;
        Ok(())
    }

    fn fsync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }

    fn read_dir(
        &self,
        _t: &Task,
        position: u64,
        emit: &mut dyn FnMut(Dirent<'_>) -> bool,
    ) -> Result<()> {
        let dir = self.dir()?;
        let mut at = position;
        loop {
            // The lock is not held while the entry goes to user memory.
            let Some((cookie, name, node)) = dir.lock().from(at) else {
                break;
            };
            at = cookie + 1;
            let entry = Dirent {
                ino: node.ino,
                next: at,
                kind: Inode::kind(&*node).dirent(),
                name: &name,
            };
            if !emit(entry) {
                break;
            }
        }
        let mut m = self.meta.lock();
        if m.atime <= m.mtime || m.atime <= m.ctime {
            m.atime = now();
        }
        Ok(())
    }

    fn stat(&self) -> Result<Stat> {
        Inode::stat(self)
    }
}
