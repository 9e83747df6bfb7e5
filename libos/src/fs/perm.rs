//! Permission checks of names and files, `path_resolution(7)`, `inode(7)`.

use super::dentry::Dentry;
use super::{Inode, Kind, Path};
use crate::process::Creds;
use crate::process::creds::{CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER};
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
