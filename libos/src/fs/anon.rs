//! Inodes for open objects that have no path: pipes, sockets, memory files, event objects.

use super::{FileOps, FileSystem, Inode, SetAttr, Stat, StatFs};
use crate::{Errno, Result, Task};
use alloc::sync::Arc;
use core::any::Any;

/// The hidden file system they live in.
pub struct AnonFs;

impl AnonFs {
    pub fn new() -> Arc<dyn FileSystem> {
        Arc::new(AnonFs)
    }
}

impl FileSystem for AnonFs {
    fn name(&self) -> &'static str {
        "anon_inodefs"
    }
    fn root(&self) -> Arc<dyn Inode> {
        Arc::new(AnonInode { ops: None })
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs {
            magic: 0x0904_1934,
            bsize: 4096,
            namelen: 255,
            ..Default::default()
        })
    }
}

/// An open object as an inode.
pub struct AnonInode {
    ops: Option<Arc<dyn FileOps>>,
}

impl AnonInode {
    /// The inode of `ops`.
    pub fn new(ops: Arc<dyn FileOps>) -> Arc<dyn Inode> {
        Arc::new(AnonInode { ops: Some(ops) })
    }
}

impl Inode for AnonInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
    fn fs(&self) -> Arc<dyn FileSystem> {
        AnonFs::new()
    }
    fn stat(&self) -> Result<Stat> {
        match &self.ops {
            Some(o) => o.stat(),
            None => Ok(Stat {
                mode: 0o040755,
                ino: 1,
                nlink: 2,
                ..Default::default()
            }),
        }
    }
    fn set_attr(&self, attr: &SetAttr) -> Result<()> {
        match &self.ops {
            Some(o) => o.set_attr(attr),
            None => Err(Errno::EPERM),
        }
    }
    fn open(self: Arc<Self>, t: &Task, flags: u32) -> Result<Arc<dyn FileOps>> {
        match &self.ops {
            Some(o) => o.reopen(t, flags),
            None => Err(Errno::ENXIO),
        }
    }
}
