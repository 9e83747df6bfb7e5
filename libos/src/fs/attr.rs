//! Changing mode and owner: `chmod(2)`, `chown(2)`.

use super::walk::{self, Look};
use super::{Inode, Kind, Path, SetAttr, notify, perm};
use crate::process::Creds;
use crate::process::creds::{CAP_CHOWN, CAP_FSETID};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use bastide_abi::raw::general::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW};

/// The mode without the set-id bits that a change of contents by these credentials removes;
/// `None` if it stays.
pub fn stripped_mode(creds: &Creds, mode: u32) -> Option<u32> {
    if creds.capable(CAP_FSETID) {
        return None;
    }
    let mut new = mode & !0o4000;
    if mode & 0o2010 == 0o2010 {
        new &= !0o2000;
    }
    (new != mode).then_some(new & 0o7777)
}

/// The path for calls with `AT_EMPTY_PATH` and `AT_SYMLINK_NOFOLLOW`; EINVAL for other flags.
pub fn target(t: &Task, dirfd: i32, path: UserAddr, flags: u32) -> Result<Path> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = user::read_path(t, path)?;
    walk::lookup(t, dirfd, &path, Look::from_at(flags))
}

/// Where the file behind a descriptor is, for calls that `O_PATH` files do not serve.
pub fn opened(t: &Task, fd: i32) -> Result<Path> {
    Ok(super::path::of_file(&t.file(fd)?))
}

/// Changes the mode. EROFS, EPERM if the caller is not the owner; a set-group-ID bit goes if the
/// caller is not in the group.
fn change_mode(t: &Task, p: &Path, mode: u32) -> SysResult {
    p.mount.want_write()?;
    if p.kind() == Kind::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    let creds = t.creds();
    let (_, uid, gid) = p.inode().perms()?;
    if !perm::is_owner(&creds, uid) {
        return Err(Errno::EPERM);
    }
    let mut mode = mode & 0o7777;
    if !creds.in_group(gid) && !creds.capable(CAP_FSETID) {
        mode &= !0o2000;
    }
    p.inode().set_attr(&SetAttr {
        mode: Some(mode),
        ..Default::default()
    })?;
    notify::attributes(p);
    Ok(0)
}

/// `chmod(2)`.
pub fn sys_chmod(t: &Arc<Task>, path: UserAddr, mode: u32) -> SysResult {
    sys_fchmodat2(t, AT_FDCWD, path, mode, 0)
}

/// `fchmod(2)`.
pub fn sys_fchmod(t: &Arc<Task>, fd: i32, mode: u32) -> SysResult {
    change_mode(t, &opened(t, fd)?, mode)
}

/// `fchmodat(2)` as the kernel has it, without flags.
pub fn sys_fchmodat(t: &Arc<Task>, dirfd: i32, path: UserAddr, mode: u32) -> SysResult {
    sys_fchmodat2(t, dirfd, path, mode, 0)
}

/// `fchmodat(2)`; EOPNOTSUPP for a symbolic link itself.
pub fn sys_fchmodat2(
    t: &Arc<Task>,
    dirfd: i32,
    path: UserAddr,
    mode: u32,
    flags: u32,
) -> SysResult {
    change_mode(t, &target(t, dirfd, path, flags)?, mode)
}

/// Changes owner and group; -1 leaves one alone. EROFS, EPERM. Files lose set-id bits and
/// capabilities.
fn change_owner(t: &Task, p: &Path, uid: u32, gid: u32) -> SysResult {
    p.mount.want_write()?;
    let creds = t.creds();
    let (mode, old_uid, old_gid) = p.inode().perms()?;
    let given = |id: u32| (id != u32::MAX).then_some(id);
    let (uid, gid) = (given(uid), given(gid));
    let owner = creds.fsuid == old_uid;
    let uid_ok = uid.is_none_or(|u| owner && u == old_uid);
    let gid_ok = gid.is_none_or(|g| owner && (g == old_gid || creds.in_group(g)));
    let ids_ok = uid_ok && gid_ok;
    if !ids_ok && !creds.capable(CAP_CHOWN) {
        return Err(Errno::EPERM);
    }
    let mut new_mode = mode;
    if !p.is_dir() {
        new_mode &= !0o4000;
        if mode & 0o2000 != 0
            && (mode & 0o10 != 0 || !creds.in_group(old_gid) && !creds.capable(CAP_FSETID))
        {
            new_mode &= !0o2000;
        }
        let _ = p.inode().remove_xattr(b"security.capability");
    }
    p.inode().set_attr(&SetAttr {
        uid,
        gid,
        mode: (new_mode != mode).then_some(new_mode & 0o7777),
        ..Default::default()
    })?;
    notify::attributes(p);
    Ok(0)
}

/// `chown(2)`.
pub fn sys_chown(t: &Arc<Task>, path: UserAddr, uid: u32, gid: u32) -> SysResult {
    sys_fchownat(t, AT_FDCWD, path, uid, gid, 0)
}

/// `lchown(2)`.
pub fn sys_lchown(t: &Arc<Task>, path: UserAddr, uid: u32, gid: u32) -> SysResult {
    sys_fchownat(t, AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW)
}

/// `fchown(2)`.
pub fn sys_fchown(t: &Arc<Task>, fd: i32, uid: u32, gid: u32) -> SysResult {
    change_owner(t, &opened(t, fd)?, uid, gid)
}

/// `fchownat(2)`.
pub fn sys_fchownat(
    t: &Arc<Task>,
    dirfd: i32,
    path: UserAddr,
    uid: u32,
    gid: u32,
    flags: u32,
) -> SysResult {
    change_owner(t, &target(t, dirfd, path, flags)?, uid, gid)
}

/// Sets a regular file's size; the size limit is checked.
pub fn truncate_inode(creds: &Creds, inode: &Arc<dyn Inode>, size: u64) -> Result<()> {
    let mode = stripped_mode(creds, inode.perms()?.0);
    inode.set_attr(&SetAttr {
        size: Some(size),
        mode,
        ..Default::default()
    })
}
