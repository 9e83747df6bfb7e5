//! Permission checks of names and files, `path_resolution(7)`, `inode(7)`.

use super::dentry::Dentry;
use super::{Inode, Kind, Path};
use crate::process::Creds;
use crate::process::creds::{CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER};
use crate::sysctl::{PROTECTED_FIFOS, PROTECTED_HARDLINKS, PROTECTED_REGULAR, PROTECTED_SYMLINKS};
use crate::{Errno, Result};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

pub const READ: u32 = 4;
pub const WRITE: u32 = 2;
pub const EXEC: u32 = 1;

/// EACCES unless `want` ([`READ`], [`WRITE`], [`EXEC`]) is allowed.
pub fn may(creds: &Creds, inode: &Arc<dyn Inode>, want: u32) -> Result<()> {
    if want == 0 {
        return Ok(());
    }
    let (mode, uid, gid) = inode.perms()?;
    if creds.may(mode, uid, gid, want) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// EACCES unless names in the directory may be looked up.
pub fn may_search(creds: &Creds, dir: &Arc<dyn Inode>) -> Result<()> {
    if creds.capable(CAP_DAC_OVERRIDE) || creds.capable(CAP_DAC_READ_SEARCH) {
        return Ok(());
    }
    may(creds, dir, EXEC)
}

/// As [`may`], with EROFS first for writing to a file system that is read-only as a whole.
pub fn may_path(creds: &Creds, p: &Path, want: u32) -> Result<()> {
    if want & WRITE != 0
        && p.mount.sup.read_only.load(Ordering::Relaxed)
        && matches!(p.kind(), Kind::Regular | Kind::Dir | Kind::Symlink)
    {
        return Err(Errno::EROFS);
    }
    may(creds, p.inode(), want)
}

/// EACCES unless names may be made in the directory; ENOENT if it was removed.
pub fn may_create(creds: &Creds, dir: &Path) -> Result<()> {
    if dir.dentry.is(super::dentry::DELETED) {
        return Err(Errno::ENOENT);
    }
    may_path(creds, dir, WRITE | EXEC)
}

/// `/proc/sys/fs/protected_symlinks`: EACCES for following another's link in a directory where
/// everybody may make one.
pub fn may_follow(creds: &Creds, dir: &Arc<dyn Inode>, link: &Arc<dyn Inode>) -> Result<()> {
    let link_uid = link.perms()?.1;
    if PROTECTED_SYMLINKS.get() == 0 || creds.fsuid == link_uid {
        return Ok(());
    }
    let (mode, dir_uid, _) = dir.perms()?;
    if mode & 0o1002 == 0o1002 && dir_uid != link_uid {
        return Err(Errno::EACCES);
    }
    Ok(())
}

/// `/proc/sys/fs/protected_hardlinks`: EPERM for linking to a file that the caller could not
/// change anyway.
pub fn may_link(creds: &Creds, file: &Arc<dyn Inode>) -> Result<()> {
    let (mode, uid, gid) = file.perms()?;
    let plain = Kind::of(mode) == Some(Kind::Regular)
        && mode & 0o4000 == 0
        && mode & 0o2010 != 0o2010
        && creds.may(mode, uid, gid, READ | WRITE);
    if PROTECTED_HARDLINKS.get() == 0 || plain || is_owner(creds, uid) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// `/proc/sys/fs/protected_regular` and `protected_fifos`: EACCES for opening with `O_CREAT`
/// another's file that stands in the way in a sticky directory.
pub fn may_create_over(creds: &Creds, dir: &Arc<dyn Inode>, file: &Arc<dyn Inode>) -> Result<()> {
    let (mode, uid, _) = file.perms()?;
    let level = match Kind::of(mode) {
        Some(Kind::Fifo) => PROTECTED_FIFOS.get(),
        Some(Kind::Regular) => PROTECTED_REGULAR.get(),
        _ => 0,
    };
    if level == 0 || creds.fsuid == uid {
        return Ok(());
    }
    let (dir_mode, dir_uid, _) = dir.perms()?;
    let open = dir_mode & 0o002 != 0 || level >= 2 && dir_mode & 0o020 != 0;
    if dir_mode & 0o1000 != 0 && dir_uid != uid && open {
        return Err(Errno::EACCES);
    }
    Ok(())
}

/// The caller owns the file or may act as its owner.
pub fn is_owner(creds: &Creds, uid: u32) -> bool {
    creds.fsuid == uid || creds.capable(CAP_FOWNER)
}

/// Whether `victim` may be removed from (or renamed in) `dir`: EACCES; EPERM in a sticky
/// directory; ENOTDIR and EISDIR when it is not what the call removes.
pub fn may_delete(creds: &Creds, dir: &Path, victim: &Dentry, as_dir: bool) -> Result<()> {
    may_path(creds, dir, WRITE | EXEC)?;
    let (mode, dir_uid, _) = dir.inode().perms()?;
    if mode & 0o1000 != 0 && creds.fsuid != dir_uid && !is_owner(creds, victim.inode().perms()?.1) {
        return Err(Errno::EPERM);
    }
    match (as_dir, victim.is_dir()) {
        (true, false) => Err(Errno::ENOTDIR),
        (false, true) => Err(Errno::EISDIR),
        _ if dir.dentry.is(super::dentry::DELETED) => Err(Errno::ENOENT),
        _ => Ok(()),
    }
}
