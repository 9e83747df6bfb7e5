//! Asking for attributes: `stat(2)`, `statx(2)`, `access(2)`, `statfs(2)`.

use super::inode::split_dev;
use super::mount;
use super::perm::{self, WRITE};
use super::walk::{self, Look};
use super::{Kind, Path, Stat, StatFs};
use crate::process::Creds;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use bastide_abi::fs::{StatBuf, StatFsBuf, Statx, StatxTime, Timespec};
use bastide_abi::raw::general as raw;
use bastide_abi::raw::general::{
    AT_EACCESS, AT_EMPTY_PATH, AT_FDCWD, AT_NO_AUTOMOUNT, AT_STATX_SYNC_TYPE, AT_SYMLINK_NOFOLLOW,
};

fn write_stat(t: &Task, to: UserAddr, s: &Stat) -> SysResult {
    let out = StatBuf {
        dev: s.dev,
        ino: s.ino,
        nlink: s.nlink,
        mode: s.mode,
        uid: s.uid,
        gid: s.gid,
        rdev: s.rdev,
        size: s.size as i64,
        blksize: i64::from(s.blksize),
        blocks: s.blocks as i64,
        atime: Timespec::from_nanos(s.atime),
        mtime: Timespec::from_nanos(s.mtime),
        ctime: Timespec::from_nanos(s.ctime),
        ..Default::default()
    };
    user::write(t, to, &out)?;
    Ok(0)
}

/// `stat(2)`.
pub fn sys_stat(t: &Arc<Task>, path: UserAddr, buf: UserAddr) -> SysResult {
    sys_newfstatat(t, AT_FDCWD, path, buf, 0)
}

/// `lstat(2)`.
pub fn sys_lstat(t: &Arc<Task>, path: UserAddr, buf: UserAddr) -> SysResult {
    sys_newfstatat(t, AT_FDCWD, path, buf, AT_SYMLINK_NOFOLLOW)
}

/// `fstat(2)`; works on `O_PATH` files.
pub fn sys_fstat(t: &Arc<Task>, fd: i32, buf: UserAddr) -> SysResult {
    write_stat(t, buf, &t.files().get(fd)?.stat()?)
}

/// `fstatat(2)`: EINVAL for unknown flags.
pub fn sys_newfstatat(
    t: &Arc<Task>,
    dirfd: i32,
    path: UserAddr,
    buf: UserAddr,
    flags: u32,
) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & AT_EMPTY_PATH != 0 && dirfd >= 0 && is_empty(t, path)? {
        return sys_fstat(t, dirfd, buf);
    }
    let path = user::read_path(t, path)?;
    let p = walk::lookup(t, dirfd, &path, Look::from_at(flags))?;
    write_stat(t, buf, &p.inode().stat()?)
}

/// The path is the empty string (or, as newer kernels allow, null).
fn is_empty(t: &Task, path: UserAddr) -> Result<bool> {
    Ok(path.is_null() || user::read::<u8>(t, path)? == 0)
}

/// `statx(2)`: EINVAL for unknown flags and a reserved mask bit.
pub fn sys_statx(
    t: &Arc<Task>,
    dirfd: i32,
    path: UserAddr,
    flags: u32,
    mask: u32,
    buf: UserAddr,
) -> SysResult {
    if mask & raw::STATX__RESERVED != 0
        || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE
        || flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE)
            != 0
    {
        return Err(Errno::EINVAL);
    }
    let path = if flags & AT_EMPTY_PATH != 0 && is_empty(t, path)? {
        alloc::vec::Vec::new()
    } else {
        user::read_path(t, path)?
    };
    let p = walk::lookup(t, dirfd, &path, Look::from_at(flags))?;
    let s = p.inode().stat()?;
    let time = |ns: i64| {
        let ts = Timespec::from_nanos(ns);
        StatxTime {
            sec: ts.sec,
            nsec: ts.nsec as u32,
            reserved: 0,
        }
    };
    let (rdev_major, rdev_minor) = split_dev(s.rdev);
    let (dev_major, dev_minor) = split_dev(s.dev);
    let mut out = Statx {
        mask: raw::STATX_BASIC_STATS | raw::STATX_MNT_ID,
        blksize: s.blksize,
        attributes_mask: u64::from(raw::STATX_ATTR_MOUNT_ROOT | raw::STATX_ATTR_AUTOMOUNT),
        nlink: s.nlink as u32,
        uid: s.uid,
        gid: s.gid,
        mode: s.mode as u16,
        ino: s.ino,
        size: s.size,
        blocks: s.blocks,
        atime: time(s.atime),
        ctime: time(s.ctime),
        mtime: time(s.mtime),
        rdev_major,
        rdev_minor,
        dev_major,
        dev_minor,
        mnt_id: u64::from(p.mount.id),
        ..Default::default()
    };
    if s.btime != 0 {
        out.mask |= raw::STATX_BTIME;
        out.btime = time(s.btime);
    }
    if p.is_mount_root() {
        out.attributes |= u64::from(raw::STATX_ATTR_MOUNT_ROOT);
    }
    user::write(t, buf, &out)?;
    Ok(0)
}

/// `access(2)`.
pub fn sys_access(t: &Arc<Task>, path: UserAddr, mode: u32) -> SysResult {
    sys_faccessat2(t, AT_FDCWD, path, mode, 0)
}

/// `faccessat(2)` as the kernel has it, without flags.
pub fn sys_faccessat(t: &Arc<Task>, dirfd: i32, path: UserAddr, mode: u32) -> SysResult {
    sys_faccessat2(t, dirfd, path, mode, 0)
}

/// Credentials for `access(2)`: the real ids, and capabilities as if they were in force.
fn real(creds: &Creds) -> Creds {
    const NO_SETUID_FIXUP: u32 = 1 << 2;
    let mut c = creds.clone();
    c.fsuid = c.uid;
    c.fsgid = c.gid;
    if c.securebits & NO_SETUID_FIXUP == 0 {
        c.effective = if c.uid == 0 { c.permitted } else { 0 };
    }
    c
}

/// `faccessat2(2)`: EINVAL for unknown modes and flags; EROFS for writing on a read-only mount.
pub fn sys_faccessat2(
    t: &Arc<Task>,
    dirfd: i32,
    path: UserAddr,
    mode: u32,
    flags: u32,
) -> SysResult {
    if mode & !7 != 0 || flags & !(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = user::read_path(t, path)?;
    let now = t.creds();
    let creds = if flags & AT_EACCESS != 0 {
        now
    } else {
        Arc::new(real(&now))
    };
    let p = walk::lookup_as(t, creds.clone(), dirfd, &path, Look::from_at(flags))?;
    if mode & perm::EXEC != 0 && p.kind() == Kind::Regular && p.mount.flags() & mount::NOEXEC != 0 {
        return Err(Errno::EACCES);
    }
    perm::may_path(&creds, &p, mode)?;
    let special = matches!(
        p.kind(),
        Kind::Char | Kind::Block | Kind::Fifo | Kind::Socket
    );
    if mode & WRITE != 0 && !special {
        p.mount.want_write()?;
    }
    Ok(0)
}

fn write_statfs(t: &Task, p: &Path, to: UserAddr) -> SysResult {
    /// `ST_VALID`: the flags are meant.
    const VALID: u64 = 0x20;
    const ST_RELATIME: u64 = 0x1000;
    const ST_NOSYMFOLLOW: u64 = 0x2000;
    let s: StatFs = p.mount.fs().statfs()?;
    let m = p.mount.flags();
    let mut flags = VALID | u64::from(m & (mount::NOSUID | mount::NODEV | mount::NOEXEC));
    flags |= u64::from(m & (mount::NOATIME | mount::NODIRATIME));
    if p.mount.read_only() {
        flags |= u64::from(mount::RDONLY);
    }
    if m & mount::RELATIME != 0 {
        flags |= ST_RELATIME;
    }
    if m & mount::NOSYMFOLLOW != 0 {
        flags |= ST_NOSYMFOLLOW;
    }
    let dev = p.mount.root.inode().stat().map_or(0, |s| s.dev);
    let out = StatFsBuf {
        kind: s.magic,
        bsize: s.bsize,
        blocks: s.blocks,
        bfree: s.bfree,
        bavail: s.bavail,
        files: s.files,
        ffree: s.ffree,
        fsid: [dev as u32, (dev >> 32) as u32],
        namelen: s.namelen,
        frsize: s.bsize,
        flags,
        spare: [0; 4],
    };
    user::write(t, to, &out)?;
    Ok(0)
}

/// `statfs(2)`.
pub fn sys_statfs(t: &Arc<Task>, path: UserAddr, buf: UserAddr) -> SysResult {
    let path = user::read_path(t, path)?;
    let p = walk::lookup(t, AT_FDCWD, &path, Look::FOLLOW)?;
    write_statfs(t, &p, buf)
}

/// `fstatfs(2)`.
pub fn sys_fstatfs(t: &Arc<Task>, fd: i32, buf: UserAddr) -> SysResult {
    let p = walk::at_fd(t, fd).map_err(|_| Errno::EBADF)?;
    if fd < 0 {
        return Err(Errno::EBADF);
    }
    write_statfs(t, &p, buf)
}
