//! Extended attributes, `xattr(7)`: `setxattr(2)`, `getxattr(2)`, `listxattr(2)`,
//! `removexattr(2)`, with their `l`, `f` and `at` forms.

use super::attr::opened;
use super::walk::{self, Look};
use super::{Kind, Path, Xattr, notify, perm};
use crate::process::creds::{CAP_SETFCAP, CAP_SYS_ADMIN};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_abi::fs::XattrArgs;
use bastide_abi::raw::general::{
    AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, XATTR_CREATE, XATTR_LIST_MAX, XATTR_NAME_MAX,
    XATTR_REPLACE, XATTR_SIZE_MAX,
};

const FOLLOW: u32 = 0;
const NOFOLLOW: u32 = AT_SYMLINK_NOFOLLOW;

fn at(t: &Task, dirfd: i32, path: UserAddr, flags: u32) -> Result<Path> {
    if flags & AT_EMPTY_PATH != 0 && dirfd >= 0 {
        let text = user::read_path(t, path)?;
        if text.is_empty() {
            return opened(t, dirfd);
        }
        return walk::lookup(t, dirfd, &text, Look::from_at(flags));
    }
    let path = user::read_path(t, path)?;
    walk::lookup(t, dirfd, &path, Look::from_at(flags))
}

fn check_at_flags(flags: u32) -> Result<()> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

/// A name: ERANGE if it is empty or too long.
fn read_name(t: &Task, addr: UserAddr) -> Result<Vec<u8>> {
    let name = user::read_cstr(t, addr, XATTR_NAME_MAX as usize + 1, Errno::ERANGE)?;
    if name.is_empty() {
        return Err(Errno::ERANGE);
    }
    Ok(name)
}

/// Whether a file system that keeps attributes for itself keeps one of this name. Those that would
/// have to change who may do what (`system.`: access control lists) none does: as plain text they
/// would make programs believe that they had set a mode.
pub(super) fn kept(name: &[u8]) -> Result<()> {
    let known = [&b"user."[..], b"trusted.", b"security."];
    match known.iter().any(|known| name.starts_with(known)) {
        true => Ok(()),
        false => Err(Errno::EOPNOTSUPP),
    }
}

/// Whether the name may be used on the file, as `xattr(7)` says for each name space.
fn permitted(t: &Task, p: &Path, name: &[u8], write: bool) -> Result<()> {
    let creds = t.creds();
    let refused = if write { Errno::EPERM } else { Errno::ENODATA };
    if name.starts_with(b"security.") || name.starts_with(b"system.") {
        let cap = if name == b"security.capability" {
            CAP_SETFCAP
        } else {
            CAP_SYS_ADMIN
        };
        if write && name.starts_with(b"security.") && !creds.capable(cap) {
            return Err(Errno::EPERM);
        }
        return Ok(());
    }
    if name.starts_with(b"trusted.") {
        return if creds.capable(CAP_SYS_ADMIN) {
            Ok(())
        } else {
            Err(refused)
        };
    }
    if name.starts_with(b"user.") {
        if !matches!(p.kind(), Kind::Regular | Kind::Dir) {
            return Err(refused);
        }
        let (mode, uid, _) = p.inode().perms()?;
        if write && p.is_dir() && mode & 0o1000 != 0 && !perm::is_owner(&creds, uid) {
            return Err(Errno::EPERM);
        }
    }
    let want = if write { perm::WRITE } else { perm::READ };
    perm::may_path(&creds, p, want)
}

/// A name space without a name: EINVAL.
fn check_suffix(name: &[u8]) -> Result<()> {
    if matches!(name, b"user." | b"trusted." | b"security.") {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

/// What `setxattr(2)` is asked to set, copied from the application.
struct Setting {
    name: Vec<u8>,
    value: Vec<u8>,
    how: Xattr,
    /// `XATTR_CREATE | XATTR_REPLACE`: it can only fail.
    both: bool,
}

impl Setting {
    fn read(t: &Task, name: UserAddr, value: UserAddr, size: usize, flags: u32) -> Result<Self> {
        if flags & !(XATTR_CREATE | XATTR_REPLACE) != 0 {
            return Err(Errno::EINVAL);
        }
        let name = read_name(t, name)?;
        if size > XATTR_SIZE_MAX as usize {
            return Err(Errno::E2BIG);
        }
        let value = user::read_array(t, value, size)?;
        let how = match flags {
            XATTR_CREATE => Xattr::Create,
            XATTR_REPLACE => Xattr::Replace,
            _ => Xattr::Any,
        };
        let both = flags == XATTR_CREATE | XATTR_REPLACE;
        Ok(Setting {
            name,
            value,
            how,
            both,
        })
    }

    fn apply(&self, t: &Task, p: &Path) -> SysResult {
        p.mount.want_write()?;
        permitted(t, p, &self.name, true)?;
        check_suffix(&self.name)?;
        if self.both {
            p.inode().get_xattr(&self.name)?;
            return Err(Errno::EEXIST);
        }
        p.inode().set_xattr(&self.name, &self.value, self.how)?;
        notify::attributes(p);
        Ok(0)
    }
}

/// `setxattr(2)`.
pub fn sys_setxattr(
    t: &Arc<Task>,
    path: UserAddr,
    name: UserAddr,
    value: UserAddr,
    size: usize,
    flags: u32,
) -> SysResult {
    let s = Setting::read(t, name, value, size, flags)?;
    s.apply(t, &at(t, AT_FDCWD, path, FOLLOW)?)
}

/// `lsetxattr(2)`.
pub fn sys_lsetxattr(
    t: &Arc<Task>,
    path: UserAddr,
    name: UserAddr,
    value: UserAddr,
    size: usize,
    flags: u32,
) -> SysResult {
    let s = Setting::read(t, name, value, size, flags)?;
    s.apply(t, &at(t, AT_FDCWD, path, NOFOLLOW)?)
}

/// `fsetxattr(2)`.
pub fn sys_fsetxattr(
    t: &Arc<Task>,
    fd: i32,
    name: UserAddr,
    value: UserAddr,
    size: usize,
    flags: u32,
) -> SysResult {
    let p = opened(t, fd)?;
    Setting::read(t, name, value, size, flags)?.apply(t, &p)
}

/// `setxattrat(2)`.
pub fn sys_setxattrat(
    t: &Arc<Task>,
    dirfd: i32,
    path: UserAddr,
    flags: u32,
    name: UserAddr,
    args: UserAddr,
    size: usize,
) -> SysResult {
    let a = at_args(t, args, size, flags)?;
    let s = Setting::read(
        t,
        name,
        UserAddr(a.value as usize),
        a.size as usize,
        a.flags,
    )?;
    s.apply(t, &at(t, dirfd, path, flags)?)
}

/// The arguments structure of the `at` forms, which may grow: E2BIG for what is not known.
fn at_args(t: &Task, args: UserAddr, size: usize, at_flags: u32) -> Result<XattrArgs> {
    const KNOWN: usize = size_of::<XattrArgs>();
    check_at_flags(at_flags)?;
    if size < KNOWN {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let a = user::read(t, args)?;
    let rest: Vec<u8> = user::read_array(t, args.offset(KNOWN)?, size - KNOWN)?;
    if rest.iter().any(|&b| b != 0) {
        return Err(Errno::E2BIG);
    }
    Ok(a)
}

/// Hands bytes out: ERANGE if they do not fit; with size 0 only their number.
fn give(t: &Task, data: &[u8], buf: UserAddr, size: usize, max: u32) -> SysResult {
    if size != 0 {
        if data.len() > size.min(max as usize) {
            return Err(Errno::ERANGE);
        }
        user::write_bytes(t, buf, data)?;
    }
    Ok(data.len())
}

fn get(t: &Task, p: &Path, name: &[u8], buf: UserAddr, size: usize) -> SysResult {
    permitted(t, p, name, false)?;
    check_suffix(name)?;
    let value = p.inode().get_xattr(name)?;
    give(t, &value, buf, size, XATTR_SIZE_MAX)
}

/// `getxattr(2)`.
pub fn sys_getxattr(
    t: &Arc<Task>,
    path: UserAddr,
    name: UserAddr,
    buf: UserAddr,
    size: usize,
) -> SysResult {
    let name = read_name(t, name)?;
    get(t, &at(t, AT_FDCWD, path, FOLLOW)?, &name, buf, size)
}

/// `lgetxattr(2)`.
pub fn sys_lgetxattr(
    t: &Arc<Task>,
    path: UserAddr,
    name: UserAddr,
    buf: UserAddr,
    size: usize,
) -> SysResult {
    let name = read_name(t, name)?;
    get(t, &at(t, AT_FDCWD, path, NOFOLLOW)?, &name, buf, size)
}

/// `fgetxattr(2)`.
pub fn sys_fgetxattr(
    t: &Arc<Task>,
    fd: i32,
    name: UserAddr,
    buf: UserAddr,
    size: usize,
) -> SysResult {
    let p = opened(t, fd)?;
    get(t, &p, &read_name(t, name)?, buf, size)
}

/// `getxattrat(2)`.
pub fn sys_getxattrat(
    t: &Arc<Task>,
    dirfd: i32,
    path: UserAddr,
    flags: u32,
    name: UserAddr,
    args: UserAddr,
    size: usize,
) -> SysResult {
    let a = at_args(t, args, size, flags)?;
    if a.flags != 0 {
        return Err(Errno::EINVAL);
    }
    let name = read_name(t, name)?;
    let p = at(t, dirfd, path, flags)?;
    get(t, &p, &name, UserAddr(a.value as usize), a.size as usize)
}

fn list(t: &Task, p: &Path, buf: UserAddr, size: usize) -> SysResult {
    let names = match p.inode().list_xattr() {
        Ok(names) => names,
        // A file system without attributes has none to list.
        Err(Errno::EOPNOTSUPP) => Vec::new(),
        Err(e) => return Err(e),
    };
    let trusted = t.creds().capable(CAP_SYS_ADMIN);
    let mut out = Vec::new();
    for name in names {
        if trusted || !name.starts_with(b"trusted.") {
            out.extend_from_slice(&name);
            out.push(0);
        }
    }
    if out.len() > XATTR_LIST_MAX as usize {
        return Err(Errno::E2BIG);
    }
    give(t, &out, buf, size, XATTR_LIST_MAX)
}

/// `listxattr(2)`.
pub fn sys_listxattr(t: &Arc<Task>, path: UserAddr, buf: UserAddr, size: usize) -> SysResult {
    list(t, &at(t, AT_FDCWD, path, FOLLOW)?, buf, size)
}

/// `llistxattr(2)`.
pub fn sys_llistxattr(t: &Arc<Task>, path: UserAddr, buf: UserAddr, size: usize) -> SysResult {
    list(t, &at(t, AT_FDCWD, path, NOFOLLOW)?, buf, size)
}

/// `flistxattr(2)`.
pub fn sys_flistxattr(t: &Arc<Task>, fd: i32, buf: UserAddr, size: usize) -> SysResult {
    list(t, &opened(t, fd)?, buf, size)
}

/// `listxattrat(2)`.
pub fn sys_listxattrat(
    t: &Arc<Task>,
    dirfd: i32,
    path: UserAddr,
    flags: u32,
    buf: UserAddr,
    size: usize,
) -> SysResult {
    check_at_flags(flags)?;
    list(t, &at(t, dirfd, path, flags)?, buf, size)
}

fn remove(t: &Task, p: &Path, name: &[u8]) -> SysResult {
    p.mount.want_write()?;
    permitted(t, p, name, true)?;
    check_suffix(name)?;
    p.inode().remove_xattr(name)?;
    notify::attributes(p);
    Ok(0)
}

/// `removexattr(2)`.
pub fn sys_removexattr(t: &Arc<Task>, path: UserAddr, name: UserAddr) -> SysResult {
    let name = read_name(t, name)?;
    remove(t, &at(t, AT_FDCWD, path, FOLLOW)?, &name)
}

/// `lremovexattr(2)`.
pub fn sys_lremovexattr(t: &Arc<Task>, path: UserAddr, name: UserAddr) -> SysResult {
    let name = read_name(t, name)?;
    remove(t, &at(t, AT_FDCWD, path, NOFOLLOW)?, &name)
}

/// `fremovexattr(2)`.
pub fn sys_fremovexattr(t: &Arc<Task>, fd: i32, name: UserAddr) -> SysResult {
    let p = opened(t, fd)?;
    remove(t, &p, &read_name(t, name)?)
}

/// `removexattrat(2)`.
pub fn sys_removexattrat(
    t: &Arc<Task>,
    dirfd: i32,
    path: UserAddr,
    flags: u32,
    name: UserAddr,
) -> SysResult {
    check_at_flags(flags)?;
    let name = read_name(t, name)?;
    remove(t, &at(t, dirfd, path, flags)?, &name)
}
