//! Attributes of files.

use crate::BLOCKS_MOST;
use crate::codec::{Reader, Short, Writer};
use crate::error::{Error, Result};
use crate::file::SIZE_MAX;
use crate::node::{Key, Kind};
use crate::volume::Volume;

/// The type bits of a mode, as `inode(7)`.
pub mod mode {
    pub const TYPE: u32 = 0o170000;
    pub const FIFO: u32 = 0o010000;
    pub const CHAR: u32 = 0o020000;
    pub const DIR: u32 = 0o040000;
    pub const BLOCK: u32 = 0o060000;
    pub const FILE: u32 = 0o100000;
    pub const LINK: u32 = 0o120000;
    pub const SOCKET: u32 = 0o140000;
}

/// What a name adds to the size that a directory shows.
const ENTRY_SIZE: u64 = 32;
/// The inode number of the root directory.
pub const ROOT: u64 = 1;

/// A file's attributes. Times are nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Inode {
    /// Type and permission bits.
    pub mode: u32,
    /// Names; for a directory, 2 and its subdirectories.
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Bytes of a file or of a link's target.
    pub size: u64,
    /// Blocks that hold contents.
    pub blocks: u64,
    pub atime: i64,
    pub mtime: i64,
    pub ctime: i64,
    pub btime: i64,
    /// A directory's parent.
    pub parent: u64,
    /// Names in a directory.
    pub entries: u64,
    /// The contents are an item of the tree rather than blocks.
    pub inline: bool,
}

impl Inode {
    /// The type bits.
    pub fn kind(&self) -> u32 {
        self.mode & mode::TYPE
    }

    pub fn is_dir(&self) -> bool {
        self.kind() == mode::DIR
    }

    /// It has contents: a regular file or a symbolic link.
    pub fn has_contents(&self) -> bool {
        matches!(self.kind(), mode::FILE | mode::LINK)
    }

    pub(crate) fn encode(&self) -> alloc::vec::Vec<u8> {
        let mut w = Writer::default();
        w.u32(self.mode)
            .u32(self.nlink)
            .u32(self.uid)
            .u32(self.gid)
            .u64(self.rdev)
            .u64(self.size)
            .u64(self.blocks)
            .i64(self.atime)
            .i64(self.mtime)
            .i64(self.ctime)
            .i64(self.btime)
            .u64(self.parent)
            .u64(self.entries)
            .u8(self.inline.into());
        w.0
    }

    pub(crate) fn decode(bytes: &[u8]) -> core::result::Result<Inode, Short> {
        let mut r = Reader(bytes);
        let inode = Inode {
            mode: r.u32()?,
            nlink: r.u32()?,
            uid: r.u32()?,
            gid: r.u32()?,
            rdev: r.u64()?,
            size: r.u64()?,
            blocks: r.u64()?,
            atime: r.i64()?,
            mtime: r.i64()?,
            ctime: r.i64()?,
            btime: r.i64()?,
            parent: r.u64()?,
            entries: r.u64()?,
            inline: r.u8()? != 0,
        };
        let sane = inode.size <= SIZE_MAX
            && inode.blocks <= BLOCKS_MOST
            && inode.entries <= SIZE_MAX / ENTRY_SIZE;
        sane.then_some(inode).ok_or(Short)
    }
}

/// Attribute changes; `None` leaves a field alone. The change time moves to now unless given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<i64>,
    pub mtime: Option<i64>,
    pub ctime: Option<i64>,
}

impl Volume {
    /// A file's attributes.
    pub fn inode(&mut self, ino: u64) -> Result<Inode> {
        if let Some(inode) = self.tree.memo.inode(ino) {
            return Ok(inode);
        }
        let found = self.tree.get(&Key::new(ino, Kind::Inode, 0))?;
        let bytes = found.ok_or(Error::NotFound)?;
        let inode = Inode::decode(&bytes).map_err(|_| Error::Malformed { block: 0 })?;
        self.tree.memo.set_inode(ino, &inode);
        Ok(inode)
    }

    /// A file's attributes as `stat(2)` shows them: with the blocks that are not written yet, and
    /// a size for directories.
    pub fn stat(&mut self, ino: u64) -> Result<Inode> {
        let mut inode = self.inode(ino)?;
        if inode.is_dir() {
            inode.size = inode.entries * ENTRY_SIZE;
        } else if !inode.inline {
            inode.blocks = inode.blocks.max(self.pages.of(ino).count() as u64);
        }
        Ok(inode)
    }

    pub(crate) fn put_inode(&mut self, ino: u64, inode: &Inode) -> Result<()> {
        (self.tree).put(Key::new(ino, Kind::Inode, 0), inode.encode())?;
        self.tree.memo.set_inode(ino, inode);
        Ok(())
    }

    /// Changes attributes. A change of size cuts or extends a regular file.
    pub(crate) fn set_attr_in(&mut self, ino: u64, attr: &SetAttr) -> Result<()> {
        if let Some(size) = attr.size {
            self.set_size(ino, size)?;
        }
        let mut inode = self.inode(ino)?;
        if let Some(m) = attr.mode {
            inode.mode = inode.kind() | m & 0o7777;
        }
        let now = self.now();
        inode.uid = attr.uid.unwrap_or(inode.uid);
        inode.gid = attr.gid.unwrap_or(inode.gid);
        inode.atime = attr.atime.unwrap_or(inode.atime);
        inode.mtime = attr.mtime.unwrap_or(match attr.size {
            Some(_) => now,
            None => inode.mtime,
        });
        inode.ctime = attr.ctime.unwrap_or(now);
        self.put_inode(ino, &inode)?;
        self.delta.attributes(ino);
        Ok(())
    }
}
