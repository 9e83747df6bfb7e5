//! Host files: the explicit hole in the wall.

use crate::Result;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A host descriptor, the same in every address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub struct HostFd(pub i32);

/// A piece of application or kernel memory for scattered I/O.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoVec {
    pub addr: usize,
    pub len: usize,
}

/// What the host says of a file, as `statx(2)`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct HostStat {
    pub dev: u64,
    pub ino: u64,
    pub mode: u32,
    pub nlink: u64,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub blksize: u32,
    pub blocks: u64,
    /// Nanoseconds since 1970, as are the next three.
    pub atime: i64,
    pub mtime: i64,
    pub ctime: i64,
    pub btime: i64,
}

/// A host file system's figures, as `statfs(2)`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct HostStatFs {
    pub kind: u64,
    pub bsize: u64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub namelen: u64,
}

/// Changes to a file's attributes; `None` leaves a field alone.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct HostSetAttr {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<i64>,
    pub mtime: Option<i64>,
}

/// One directory entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostDirent {
    pub ino: u64,
    /// `DT_*` of `getdents(2)`.
    pub kind: u8,
    pub name: Vec<u8>,
}

/// Host file operations. `path` is empty, which means `dir` itself, or one name in the directory
/// `dir`; so there is no link or `..` on the way by which the application could leave the
/// directories it was given. All descriptors that they return are non-blocking and belong to the
/// caller, who closes them.
pub trait HostFiles {
    fn open(&self, dir: HostFd, path: &[u8], flags: u32, mode: u32) -> Result<HostFd>;
    fn close(&self, fd: HostFd);
    /// Reads at an offset, or from the descriptor's own position for pipes and terminals (`None`).
    fn read(&self, fd: HostFd, iov: &[IoVec], offset: Option<u64>) -> Result<usize>;
    fn write(&self, fd: HostFd, iov: &[IoVec], offset: Option<u64>) -> Result<usize>;
    /// `SEEK_DATA`/`SEEK_HOLE` from an offset.
    fn seek(&self, fd: HostFd, offset: u64, whence: u32) -> Result<u64>;
    fn stat(&self, dir: HostFd, path: &[u8]) -> Result<HostStat>;
    fn statfs(&self, fd: HostFd) -> Result<HostStatFs>;
    /// As every operation here, does not follow a symbolic link in the last component.
    fn set_attr(&self, dir: HostFd, path: &[u8], attr: &HostSetAttr) -> Result<()>;
    /// Whole directory, without `.` and `..`.
    fn read_dir(&self, fd: HostFd) -> Result<Vec<HostDirent>>;
    fn read_link(&self, dir: HostFd, path: &[u8]) -> Result<Vec<u8>>;
    fn mkdir(&self, dir: HostFd, path: &[u8], mode: u32) -> Result<()>;
    fn mknod(&self, dir: HostFd, path: &[u8], mode: u32, rdev: u64) -> Result<()>;
    fn symlink(&self, dir: HostFd, path: &[u8], target: &[u8]) -> Result<()>;
    /// With an empty `name`, names the file that `dir` has open.
    fn link(&self, dir: HostFd, name: &[u8], new_dir: HostFd, new_name: &[u8]) -> Result<()>;
    fn unlink(&self, dir: HostFd, path: &[u8], directory: bool) -> Result<()>;
    fn rename(
        &self,
        dir: HostFd,
        name: &[u8],
        new_dir: HostFd,
        new_name: &[u8],
        flags: u32,
    ) -> Result<()>;
    fn fsync(&self, fd: HostFd, data_only: bool) -> Result<()>;
    /// An extended attribute's value, `xattr(7)`; the descriptor is open for reading or writing.
    fn get_xattr(&self, fd: HostFd, name: &[u8]) -> Result<Vec<u8>>;
    /// Sets an extended attribute; `flags` are `setxattr(2)`'s.
    fn set_xattr(&self, fd: HostFd, name: &[u8], value: &[u8], flags: u32) -> Result<()>;
    /// The names of all extended attributes.
    fn list_xattr(&self, fd: HostFd) -> Result<Vec<Vec<u8>>>;
    fn remove_xattr(&self, fd: HostFd, name: &[u8]) -> Result<()>;
    fn fallocate(&self, fd: HostFd, mode: u32, offset: u64, len: u64) -> Result<()>;
    /// A terminal's `ioctl(2)`: `arg` is read and written in place, its length as the request
    /// needs. Only terminal requests, FIONREAD,
    /// TIOCOUTQ and SIOCATMARK pass.
    fn tty_ioctl(&self, fd: HostFd, request: u32, arg: &mut [u8]) -> Result<usize>;
}
