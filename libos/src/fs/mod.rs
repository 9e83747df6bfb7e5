//! Files: the virtual file system and the file systems under it.
//!
//! [`Inode`] is what a file system implements, [`FileOps`] what an open object implements (files,
//! pipes, sockets, event objects alike), [`File`] is Linux's open file description, and
//! [`FdTable`] maps descriptors to them. Paths are walked in [`path`].

pub mod access;
pub mod anon;
pub mod atime;
pub mod attr;
pub mod boot;
pub mod copy;
pub mod dentry;
pub mod desc;
pub mod devfs;
pub mod dir;
pub mod dnotify;
pub mod fcntl;
pub mod fd;
pub mod file;
pub mod host;
pub mod hostfs;
pub mod inode;
pub mod ioctl;
pub mod lease;
pub mod locks;
pub mod mount;
pub mod mounting;
pub mod names;
pub mod notify;
pub mod open;
pub mod overlay;
pub mod path;
pub mod perm;
pub mod procfs;
pub mod pseudo;
pub mod rename;
pub mod rw;
pub mod sigio;
pub mod size;
pub mod stat;
pub mod sync;
pub mod sysfs;
#[cfg(test)]
mod tests;
pub mod times;
pub mod tmpfs;
pub mod tty;
pub mod volume;
pub mod walk;
pub mod xattr;

pub use boot::{first_files, first_places, mount_all};
pub use fd::{Fd, FdFlags, FdTable};
pub use file::{Dirent, File, FileOps, Mappable};
pub use host::HostHandle;
pub use inode::{FileSystem, Inode, Kind, SetAttr, Stat, StatFs, Xattr};
pub use path::{FsInfo, Path};
