//! Directories: listing them, and where the process stands. `getdents(2)`, `getcwd(2)`,
//! `chdir(2)`, `chroot(2)`.

use super::dentry;
use super::walk::{self, Look};
use super::{Dirent, File, Kind, Path, path, perm};
use crate::process::creds::CAP_SYS_CHROOT;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_abi::raw::general::AT_FDCWD;
use bastide_base::sync::Mutex;

/// Positions of a directory: 0 is `.`, 1 is `..`, its own start at 2; the names that exist only
/// to mount something on come last.
const OWN: u64 = 2;
const SYNTHETIC: u64 = 1 << 62;

/// Most bytes that one call lists.
const MAX_LIST: usize = 1 << 20;

/// Emits the entries of an open directory from `position`: `(next position, inode number, kind,
/// name)`; stops when `emit` says false.
fn list(t: &Task, f: &File, position: u64, emit: &mut dyn FnMut(Dirent<'_>) -> bool) -> Result<()> {
    let here = f
        .path
        .as_ref()
        .filter(|p| p.is_dir())
        .ok_or(Errno::ENOTDIR)?;
    let dot = |p: &Path, next, name| {
        Ok(Dirent {
            ino: p.inode().stat()?.ino,
            next,
            kind: Kind::Dir.dirent(),
            name,
        })
    };
    if position == 0 && !emit(dot(here, 1, b".")?) {
        return Ok(());
    }
    if position <= 1 {
        let above = here.parent().unwrap_or_else(|| here.clone());
        if !emit(dot(&above, OWN, b"..")?) {
            return Ok(());
        }
    }
    let mut full = false;
    if position < SYNTHETIC {
        f.ops.read_dir(t, position.saturating_sub(OWN), &mut |e| {
            let more = emit(Dirent {
                next: e.next.saturating_add(OWN),
                ..e
            });
            full |= !more;
            more
        })?;
    }
    if full {
        return Ok(());
    }
    let from = position.saturating_sub(SYNTHETIC);
    for (i, d) in (0u64..).zip(here.dentry.synthetic()) {
        if i < from {
            continue;
        }
        let entry = Dirent {
            ino: d.inode().stat()?.ino,
            next: SYNTHETIC + i + 1,
            kind: d.kind().dirent(),
            name: &d.name(),
        };
        if !emit(entry) {
            break;
        }
    }
    Ok(())
}

/// One entry as `struct linux_dirent64`, or as the older `struct linux_dirent`, whose kind is the
/// last byte.
fn pack(out: &mut Vec<u8>, e: &Dirent<'_>, size: usize, old: bool) {
    let end = out.len() + size;
    out.extend_from_slice(&e.ino.to_le_bytes());
    out.extend_from_slice(&e.next.to_le_bytes());
    out.extend_from_slice(&(size as u16).to_le_bytes());
    if !old {
        out.push(e.kind);
    }
    out.extend_from_slice(e.name);
    out.resize(end, 0);
    if let Some(last) = out.last_mut()
        && old
    {
        *last = e.kind;
    }
}

fn getdents(t: &Task, fd: i32, buf: UserAddr, count: usize, old: bool) -> SysResult {
    let f = t.file(fd)?;
    let here = f.path.as_ref().filter(|p| p.is_dir());
    if here.ok_or(Errno::ENOTDIR)?.dentry.is(dentry::DELETED) {
        return Err(Errno::ENOENT);
    }
    let count = count.min(MAX_LIST);
    let mut out: Vec<u8> = Vec::new();
    let mut pos = f.pos.lock();
    let mut next = *pos;
    let mut too_small = false;
    list(t, &f, *pos, &mut |e| {
        let size = (20 + e.name.len()).next_multiple_of(8);
        if out.len() + size > count {
            too_small = out.is_empty();
            return false;
        }
        pack(&mut out, &e, size, old);
        next = e.next;
        true
    })?;
    if too_small {
        return Err(Errno::EINVAL);
    }
    user::write_bytes(t, buf, &out)?;
    if let Some(p) = &f.path {
        super::notify::accessed(p);
    }
    *pos = next;
    Ok(out.len())
}

/// `getdents64(2)`: EINVAL if the buffer is too small for one entry, ENOENT if the directory was
/// removed.
pub fn sys_getdents64(t: &Arc<Task>, fd: i32, buf: UserAddr, count: u32) -> SysResult {
    getdents(t, fd, buf, count as usize, false)
}

/// `getdents(2)`: as [`sys_getdents64`] in the old format.
pub fn sys_getdents(t: &Arc<Task>, fd: i32, buf: UserAddr, count: u32) -> SysResult {
    getdents(t, fd, buf, count as usize, true)
}

/// `getcwd(2)`: ERANGE, ENOENT if the directory was removed. `(unreachable)` marks a directory
/// outside the root.
pub fn sys_getcwd(t: &Arc<Task>, buf: UserAddr, size: usize) -> SysResult {
    let fs = t.fs();
    let (cwd, root) = (fs.cwd.lock().clone(), fs.root.lock().clone());
    let shown = path::show(&cwd, &root);
    if shown.deleted {
        return Err(Errno::ENOENT);
    }
    let mut text = if shown.reachable {
        Vec::new()
    } else {
        b"(unreachable)".to_vec()
    };
    text.extend_from_slice(&shown.text);
    text.push(0);
    if text.len() > user::PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if text.len() > size {
        return Err(Errno::ERANGE);
    }
    user::write_bytes(t, buf, &text)?;
    Ok(text.len())
}

/// `chdir(2)`.
pub fn sys_chdir(t: &Arc<Task>, path: UserAddr) -> SysResult {
    let path = user::read_path(t, path)?;
    let p = walk::lookup(t, AT_FDCWD, &path, Look::FOLLOW | Look::DIRECTORY)?;
    perm::may(&t.creds(), p.inode(), perm::EXEC)?;
    replace(&t.fs().cwd, p);
    Ok(0)
}

/// `fchdir(2)`.
pub fn sys_fchdir(t: &Arc<Task>, fd: i32) -> SysResult {
    let f = t.files().get(fd)?;
    let p = f.path.clone().filter(Path::is_dir).ok_or(Errno::ENOTDIR)?;
    perm::may(&t.creds(), p.inode(), perm::EXEC)?;
    replace(&t.fs().cwd, p);
    Ok(0)
}

/// `chroot(2)`: EPERM without CAP_SYS_CHROOT.
pub fn sys_chroot(t: &Arc<Task>, path: UserAddr) -> SysResult {
    let path = user::read_path(t, path)?;
    let p = walk::lookup(t, AT_FDCWD, &path, Look::FOLLOW | Look::DIRECTORY)?;
    let creds = t.creds();
    perm::may(&creds, p.inode(), perm::EXEC)?;
    if !creds.capable(CAP_SYS_CHROOT) {
        return Err(Errno::EPERM);
    }
    replace(&t.fs().root, p);
    Ok(0)
}

/// `umask(2)`.
pub fn sys_umask(t: &Arc<Task>, mask: u32) -> SysResult {
    let fs = t.fs();
    let old = core::mem::replace(&mut *fs.umask.lock(), mask & 0o777);
    Ok(old as usize)
}

/// Sets a place, and drops the old one without its lock.
fn replace(place: &Mutex<Path>, new: Path) {
    let old = core::mem::replace(&mut *place.lock(), new);
    drop(old);
}
