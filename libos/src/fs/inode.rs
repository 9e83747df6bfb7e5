//! What a file system implements.

use super::FileOps;
use crate::{Errno, Result, Task};
use alloc::{sync::Arc, vec::Vec};
use core::any::Any;
use core::sync::atomic::{AtomicU32, Ordering};

/// File types, the `S_IFMT` bits of `inode(7)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Fifo,
    Char,
    Dir,
    Block,
    Regular,
    Symlink,
    Socket,
}

impl Kind {
    /// The type bits of a mode; a mode without type bits is a regular file (`mknod(2)`).
    pub fn of(mode: u32) -> Option<Kind> {
        Some(match mode & 0o170000 {
            0o010000 => Kind::Fifo,
            0o020000 => Kind::Char,
            0o040000 => Kind::Dir,
            0o060000 => Kind::Block,
            0o100000 | 0 => Kind::Regular,
            0o120000 => Kind::Symlink,
            0o140000 => Kind::Socket,
            _ => return None,
        })
    }

    /// The type bits.
    pub fn bits(self) -> u32 {
        match self {
            Kind::Fifo => 0o010000,
            Kind::Char => 0o020000,
            Kind::Dir => 0o040000,
            Kind::Block => 0o060000,
            Kind::Regular => 0o100000,
            Kind::Symlink => 0o120000,
            Kind::Socket => 0o140000,
        }
    }

    /// `DT_*` of `getdents(2)`.
    pub fn dirent(self) -> u8 {
        (self.bits() >> 12) as u8
    }
}

/// A file's attributes. Times are nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    pub nlink: u64,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub blksize: u32,
    /// In units of 512 bytes.
    pub blocks: u64,
    pub atime: i64,
    pub mtime: i64,
    pub ctime: i64,
    pub btime: i64,
}

impl Stat {
    /// The file type.
    pub fn kind(&self) -> Kind {
        Kind::of(self.mode).unwrap_or(Kind::Regular)
    }
}

/// Attribute changes, permission already checked; `None` leaves a field alone. `ctime` moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits (with set-id and sticky), no type bits.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<i64>,
    pub mtime: Option<i64>,
}

/// `statfs(2)`'s figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    pub magic: u64,
    pub bsize: u64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub namelen: u64,
}

static LAST_DEV: AtomicU32 = AtomicU32::new(0);

/// A device number for a file system without a device (`0:N`), never given twice.
pub fn new_dev() -> u64 {
    make_dev(0, LAST_DEV.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
}

/// A device number from its halves, `makedev(3)`.
pub const fn make_dev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
}

/// The halves of a device number.
pub const fn split_dev(dev: u64) -> (u32, u32) {
    let major = (dev >> 8 & 0xfff) | (dev >> 32 & !0xfff);
    let minor = (dev & 0xff) | (dev >> 12 & !0xff);
    (major as u32, minor as u32)
}

/// A mounted file system.
pub trait FileSystem: Send + Sync {
    /// Its name in `/proc/filesystems` and `/proc/mounts`.
    fn name(&self) -> &'static str;
    /// Its root directory.
    fn root(&self) -> Arc<dyn Inode>;
    fn statfs(&self) -> Result<StatFs>;
    /// Writes back everything.
    fn sync(&self) -> Result<()> {
        Ok(())
    }
    /// Itself, for file systems with options of their own.
    fn as_any(&self) -> &dyn Any {
        &()
    }
    /// Names may change behind our back (the host's do): look up again each time.
    fn volatile(&self) -> bool {
        false
    }
}

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub ino: u64,
    /// `DT_*`.
    pub kind: u8,
    pub name: Vec<u8>,
}

/// How `setxattr(2)` treats an existing name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Xattr {
    Any,
    Create,
    Replace,
}

/// A file, whatever its names. Callers have checked permissions, name lengths, read-only mounts
/// and that names are neither `.` nor `..`; directory operations are called on directories.
pub trait Inode: Any + Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
    fn fs(&self) -> Arc<dyn FileSystem>;
    fn stat(&self) -> Result<Stat>;
    fn set_attr(&self, _attr: &SetAttr) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Mode (with type bits), owner and group: what permission checks need, cheaper than `stat`.
    fn perms(&self) -> Result<(u32, u32, u32)> {
        self.stat().map(|s| (s.mode, s.uid, s.gid))
    }
    /// The kind, cheaper than `stat`. It never changes.
    fn kind(&self) -> Kind {
        self.stat().map_or(Kind::Regular, |s| s.kind())
    }

    /// Something may be mounted here (`mount(2)` ENOENT otherwise).
    fn can_be_mounted_on(&self) -> bool {
        true
    }

    /// The named entry; ENOENT.
    fn lookup(&self, _name: &[u8]) -> Result<Arc<dyn Inode>> {
        Err(Errno::ENOTDIR)
    }
    /// Makes a file, directory, device, FIFO or socket by the type bits of `mode`; EEXIST.
    fn create(
        &self,
        _name: &[u8],
        _mode: u32,
        _rdev: u64,
        _uid: u32,
        _gid: u32,
    ) -> Result<Arc<dyn Inode>> {
        Err(Errno::EPERM)
    }
    fn symlink(
        &self,
        _name: &[u8],
        _target: &[u8],
        _uid: u32,
        _gid: u32,
    ) -> Result<Arc<dyn Inode>> {
        Err(Errno::EPERM)
    }
    /// Makes an unnamed file, `O_TMPFILE`.
    fn tmpfile(&self, _mode: u32, _uid: u32, _gid: u32) -> Result<Arc<dyn Inode>> {
        Err(Errno::EOPNOTSUPP)
    }
    fn link(&self, _name: &[u8], _target: &Arc<dyn Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Removes a name that is not a directory's.
    fn unlink(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Removes an empty directory; ENOTEMPTY.
    fn rmdir(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Moves `name` to `new_name` in `new_dir` (same file system), replacing what `rename(2)`
    /// says may be replaced. `flags` are `RENAME_*` of `renameat2(2)`.
    fn rename(
        &self,
        _name: &[u8],
        _new_dir: &Arc<dyn Inode>,
        _new_name: &[u8],
        _flags: u32,
    ) -> Result<()> {
        Err(Errno::EPERM)
    }
    fn read_link(&self) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }
    /// A link's text as the task sees it: `/proc/self` is another for each. What walks and
    /// `readlink(2)` call.
    fn link_text(&self, _t: &Task) -> Result<Vec<u8>> {
        self.read_link()
    }
    /// For magic links (`/proc/self/fd/3`, `/proc/self/exe`): the object itself instead of a text.
    fn follow(&self, _t: &Task) -> Option<Result<super::path::Path>> {
        None
    }
    /// Opens the file. `flags` are `O_*`; truncation and creation are done.
    fn open(self: Arc<Self>, t: &Task, flags: u32) -> Result<Arc<dyn FileOps>>;

    /// Reads contents without opening the file, for a file system that stands on this one.
    fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// Writes contents, all of `data`, likewise.
    fn write_at(&self, _offset: u64, _data: &[u8]) -> Result<()> {
        Err(Errno::EINVAL)
    }
    /// A directory's names, with inode numbers and `DT_*`, likewise.
    fn entries(&self) -> Result<Vec<Entry>> {
        Err(Errno::ENOTDIR)
    }

    fn get_xattr(&self, _name: &[u8]) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }
    fn set_xattr(&self, _name: &[u8], _value: &[u8], _how: Xattr) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        Err(Errno::EOPNOTSUPP)
    }
    fn remove_xattr(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
}
