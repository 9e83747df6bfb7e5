//! Making, linking and removing names: `mkdir(2)`, `mknod(2)`, `symlink(2)`, `link(2)`,
//! `unlink(2)`, `rmdir(2)`, `readlink(2)`.

use super::dentry::{self, Dentry, Names};
use super::inode::Kind;
use super::mount;
use super::open::new_owner;
use super::walk::{self, Look};
use super::{Inode, Path, notify, perm};
use crate::process::Creds;
use crate::process::creds::{CAP_DAC_READ_SEARCH, CAP_MKNOD};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_abi::raw::general::{AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW};

/// Reads a path that must not be empty.
pub fn read_name(t: &Task, addr: UserAddr) -> Result<Vec<u8>> {
    let path = user::read_path(t, addr)?;
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    Ok(path)
}

/// Makes a new name by `make`. EEXIST if it is there; ENOENT for a file's name with a slash
/// behind it; EROFS; then what `make` says, which checks permission.
fn create_name(
    t: &Task,
    dirfd: i32,
    path: &[u8],
    is_dir: bool,
    make: impl FnOnce(&Creds, &Path, &[u8]) -> Result<Arc<dyn Inode>>,
) -> Result<Path> {
    let (dir, last) = walk::parent(t, dirfd, path)?;
    let last = last.filter(|l| l.is_normal()).ok_or(Errno::EEXIST)?;
    let names = dir.dentry.lock_names();
    if names.child(&last.name)?.is_some() {
        return Err(Errno::EEXIST);
    }
    if last.slash && !is_dir {
        return Err(Errno::ENOENT);
    }
    dir.mount.want_write()?;
    let inode = make(&t.creds(), &dir, &last.name)?;
    let dentry = names.add(&last.name, inode);
    drop(names);
    notify::created(&dir, &dentry);
    Ok(Path {
        mount: dir.mount.clone(),
        dentry,
    })
}

/// Makes a device, FIFO, socket or ordinary file, as `mknod(2)` does; for the binding of
/// AF_UNIX sockets too.
pub fn make_node(t: &Task, dirfd: i32, path: &[u8], mode: u32, rdev: u64) -> Result<Path> {
    let kind = Kind::of(mode).ok_or(Errno::EINVAL)?;
    let mode = (mode & 0o7777 & !*t.fs().umask.lock()) | kind.bits();
    create_name(t, dirfd, path, false, |creds, dir, name| {
        perm::may_create(creds, dir)?;
        let device = matches!(kind, Kind::Char | Kind::Block);
        if device && !creds.capable(CAP_MKNOD) {
            return Err(Errno::EPERM);
        }
        let (mode, uid, gid) = new_owner(creds, dir, mode)?;
        let rdev = if device { rdev } else { 0 };
        dir.inode().create(name, mode, rdev, uid, gid)
    })
}

/// `mkdir(2)`.
pub fn sys_mkdir(t: &Arc<Task>, path: UserAddr, mode: u32) -> SysResult {
    sys_mkdirat(t, AT_FDCWD, path, mode)
}

/// `mkdirat(2)`.
pub fn sys_mkdirat(t: &Arc<Task>, dirfd: i32, path: UserAddr, mode: u32) -> SysResult {
    let path = read_name(t, path)?;
    let mode = (mode & 0o1777 & !*t.fs().umask.lock()) | Kind::Dir.bits();
    create_name(t, dirfd, &path, true, |creds, dir, name| {
        perm::may_create(creds, dir)?;
        let (mode, uid, gid) = new_owner(creds, dir, mode)?;
        dir.inode().create(name, mode, 0, uid, gid)
    })?;
    Ok(0)
}

/// `mknod(2)`.
pub fn sys_mknod(t: &Arc<Task>, path: UserAddr, mode: u32, dev: u32) -> SysResult {
    sys_mknodat(t, AT_FDCWD, path, mode, dev)
}

/// `mknodat(2)`: EPERM for a directory and for devices without CAP_MKNOD.
pub fn sys_mknodat(t: &Arc<Task>, dirfd: i32, path: UserAddr, mode: u32, dev: u32) -> SysResult {
    let mode = mode & 0o177777;
    match Kind::of(mode) {
        Some(Kind::Dir) => return Err(Errno::EPERM),
        None | Some(Kind::Symlink) => return Err(Errno::EINVAL),
        _ => {}
    }
    let path = read_name(t, path)?;
    make_node(t, dirfd, &path, mode, u64::from(dev))?;
    Ok(0)
}

/// `symlink(2)`.
pub fn sys_symlink(t: &Arc<Task>, target: UserAddr, path: UserAddr) -> SysResult {
    sys_symlinkat(t, target, AT_FDCWD, path)
}

/// `symlinkat(2)`.
pub fn sys_symlinkat(t: &Arc<Task>, target: UserAddr, dirfd: i32, path: UserAddr) -> SysResult {
    let target = read_name(t, target)?;
    let path = read_name(t, path)?;
    create_name(t, dirfd, &path, false, |creds, dir, name| {
        perm::may_create(creds, dir)?;
        let (_, uid, gid) = new_owner(creds, dir, Kind::Symlink.bits() | 0o777)?;
        dir.inode().symlink(name, &target, uid, gid)
    })?;
    Ok(0)
}

/// `link(2)`.
pub fn sys_link(t: &Arc<Task>, old: UserAddr, new: UserAddr) -> SysResult {
    sys_linkat(t, AT_FDCWD, old, AT_FDCWD, new, 0)
}

/// `linkat(2)`: EINVAL for unknown flags, EXDEV across mounts, EPERM for a directory.
pub fn sys_linkat(
    t: &Arc<Task>,
    old_dirfd: i32,
    old: UserAddr,
    new_dirfd: i32,
    new: UserAddr,
    flags: u32,
) -> SysResult {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let old = user::read_path(t, old)?;
    let mut look = Look::empty();
    look.set(Look::FOLLOW, flags & AT_SYMLINK_FOLLOW != 0);
    if flags & AT_EMPTY_PATH != 0 {
        if old.is_empty() && !t.creds().capable(CAP_DAC_READ_SEARCH) {
            return Err(Errno::ENOENT);
        }
        look |= Look::EMPTY;
    }
    let target = walk::lookup(t, old_dirfd, &old, look)?;
    let new = read_name(t, new)?;
    create_name(t, new_dirfd, &new, false, |creds, dir, name| {
        if !Arc::ptr_eq(&dir.mount, &target.mount) {
            return Err(Errno::EXDEV);
        }
        perm::may_link(creds, target.inode())?;
        perm::may_create(creds, dir)?;
        if target.is_dir() {
            return Err(Errno::EPERM);
        }
        if target.dentry.is(dentry::NO_LINK) {
            return Err(Errno::ENOENT);
        }
        dir.inode().link(name, target.inode())?;
        notify::attributes(&target);
        Ok(target.inode().clone())
    })?;
    Ok(0)
}

/// What is to be removed: its directory and itself, under the directory's lock.
fn victim(names: &Names<'_>, dir: &Path, name: &[u8]) -> Result<Arc<Dentry>> {
    dir.mount.want_write()?;
    names.child(name)?.ok_or(Errno::ENOENT)
}

/// Something is mounted on it: EBUSY.
fn not_mounted(d: &Dentry) -> Result<()> {
    if mount::is_mountpoint(d) {
        Err(Errno::EBUSY)
    } else {
        Ok(())
    }
}

/// `unlink(2)`.
pub fn sys_unlink(t: &Arc<Task>, path: UserAddr) -> SysResult {
    sys_unlinkat(t, AT_FDCWD, path, 0)
}

/// `rmdir(2)`.
pub fn sys_rmdir(t: &Arc<Task>, path: UserAddr) -> SysResult {
    sys_unlinkat(t, AT_FDCWD, path, AT_REMOVEDIR)
}

/// `unlinkat(2)`.
pub fn sys_unlinkat(t: &Arc<Task>, dirfd: i32, path: UserAddr, flags: u32) -> SysResult {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let path = read_name(t, path)?;
    if flags & AT_REMOVEDIR != 0 {
        rmdir(t, dirfd, &path)
    } else {
        unlink(t, dirfd, &path)
    }
}

fn unlink(t: &Task, dirfd: i32, path: &[u8]) -> SysResult {
    let (dir, last) = walk::parent(t, dirfd, path)?;
    let last = last.filter(|l| l.is_normal()).ok_or(Errno::EISDIR)?;
    let names = dir.dentry.lock_names();
    let d = victim(&names, &dir, &last.name)?;
    if last.slash {
        return Err(if d.is_dir() {
            Errno::EISDIR
        } else {
            Errno::ENOTDIR
        });
    }
    perm::may_delete(&t.creds(), &dir, &d, false)?;
    not_mounted(&d)?;
    dir.inode().unlink(&last.name)?;
    names.remove(&d);
    drop(names);
    notify::removed(&dir, &d);
    Ok(0)
}

fn rmdir(t: &Task, dirfd: i32, path: &[u8]) -> SysResult {
    let (dir, last) = walk::parent(t, dirfd, path)?;
    let last = last.ok_or(Errno::EBUSY)?;
    match &*last.name {
        b"." => return Err(Errno::EINVAL),
        b".." => return Err(Errno::ENOTEMPTY),
        _ => {}
    }
    let names = dir.dentry.lock_names();
    let d = victim(&names, &dir, &last.name)?;
    perm::may_delete(&t.creds(), &dir, &d, true)?;
    not_mounted(&d)?;
    {
        let _none = d.lock_names();
        dir.inode().rmdir(&last.name)?;
        names.remove(&d);
    }
    drop(names);
    notify::removed(&dir, &d);
    Ok(0)
}

/// `readlink(2)`.
pub fn sys_readlink(t: &Arc<Task>, path: UserAddr, buf: UserAddr, size: i32) -> SysResult {
    sys_readlinkat(t, AT_FDCWD, path, buf, size)
}

/// `readlinkat(2)`: EINVAL if it is no symbolic link (ENOENT for an empty path that is none).
pub fn sys_readlinkat(
    t: &Arc<Task>,
    dirfd: i32,
    path: UserAddr,
    buf: UserAddr,
    size: i32,
) -> SysResult {
    let size = usize::try_from(size).unwrap_or(0);
    if size == 0 {
        return Err(Errno::EINVAL);
    }
    let path = user::read_path(t, path)?;
    let p = walk::lookup(t, dirfd, &path, Look::EMPTY)?;
    if p.kind() != Kind::Symlink {
        return Err(if path.is_empty() {
            Errno::ENOENT
        } else {
            Errno::EINVAL
        });
    }
    let mut text = p.inode().link_text(t)?;
    text.truncate(size);
    user::write_bytes(t, buf, &text)?;
    Ok(text.len())
}
