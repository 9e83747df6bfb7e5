//! Generated files: what `/proc` and `/sys` are made of.
//!
//! [`text`] is an open file whose contents are made when they are read; [`tree`] is a fixed tree
//! of such files. Directories that change, such as those of processes, are the file system's own.

mod text;
pub mod tree;

pub use text::{Content, Text, TextFile};
pub use tree::{Node, TreeInode};

use super::{FileSystem, SetAttr, Stat};
use crate::{Errno, Result};
use alloc::sync::Arc;

/// What the inodes of one generated file system share.
#[derive(Clone)]
pub struct Home {
    pub fs: Arc<dyn FileSystem>,
    pub dev: u64,
    /// When it was mounted, nanoseconds since 1970: the time of files that have no other.
    pub made: i64,
    /// What `stat(2)` says of the size of text files, and of the block size.
    pub size: u64,
    pub blksize: u32,
    /// Why no file can be made: look-ups in `/proc` fail before anyone asks whether a file may
    /// be made (ENOENT); those in `/sys` do not (EACCES).
    pub refusal: Errno,
}

impl Home {
    /// Attributes of a file of root.
    pub fn stat(&self, ino: u64, mode: u32) -> Stat {
        Stat {
            dev: self.dev,
            ino,
            mode,
            nlink: 1,
            blksize: self.blksize,
            atime: self.made,
            mtime: self.made,
            ctime: self.made,
            btime: self.made,
            ..Default::default()
        }
    }
}

/// A directory entry's inode number, from its directory's: the same each time it is looked up.
pub fn child_ino(dir: u64, name: &[u8]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325 ^ dir.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for &b in name {
        h = (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3);
    }
    // Small enough for those who print it with `%d` of a long, and never 0.
    (h ^ h >> 29) & 0xffff_ffff_ffff | 1 << 32
}

/// Changes that generated files accept: a truncation and times mean nothing; EPERM otherwise.
pub fn set_attr(attr: &SetAttr) -> Result<()> {
    if attr.mode.is_some() || attr.uid.is_some() || attr.gid.is_some() {
        return Err(Errno::EPERM);
    }
    Ok(())
}
