//! `mount(2)`, `umount(2)`, `pivot_root(2)`.

use super::mount::{self, MOUNT_FLAGS, Mount, NOATIME, RDONLY, RELATIME, Super};
use super::tmpfs::{Options, Tmpfs};
use super::walk::{self, Look};
use super::{FileSystem, Path, boot};
use crate::process::creds::CAP_SYS_ADMIN;
use crate::user::{self, PATH_MAX, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_abi::raw::general::*;
use bastide_base::pages::PAGE;
use core::sync::atomic::Ordering;

const PROPAGATION: u32 = MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE;

/// An optional string argument: EFAULT, EINVAL if it is too long.
fn read_text(t: &Task, addr: UserAddr) -> Result<Option<Vec<u8>>> {
    if addr.is_null() {
        return Ok(None);
    }
    user::read_cstr(t, addr, PATH_MAX, Errno::EINVAL).map(Some)
}

/// Mount options: what can be read of a page, up to the NUL.
fn read_options(t: &Task, addr: UserAddr) -> Result<Vec<u8>> {
    if addr.is_null() {
        return Ok(Vec::new());
    }
    let mut page = alloc::vec![0u8; PAGE];
    if let Err(0) = user::read_partial(t, addr, &mut page) {
        return Err(Errno::EFAULT);
    }
    let end = page.iter().position(|&b| b == 0).unwrap_or(PAGE - 1);
    page.truncate(end);
    Ok(page)
}

fn may_mount(t: &Task) -> Result<()> {
    if t.creds().capable(CAP_SYS_ADMIN) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// `mount(2)`: tmpfs, proc, sysfs and devtmpfs; `MS_BIND`, `MS_MOVE`, `MS_REMOUNT`. ENODEV for
/// other file systems, EPERM without CAP_SYS_ADMIN, EBUSY, EINVAL, ENOTDIR, ELOOP.
pub fn sys_mount(
    t: &Arc<Task>,
    source: UserAddr,
    target: UserAddr,
    kind: UserAddr,
    flags: u64,
    options: UserAddr,
) -> SysResult {
    let kind = read_text(t, kind)?;
    let source = read_text(t, source)?;
    let options = read_options(t, options)?;
    let target = user::read_path(t, target)?;
    let at = walk::lookup(t, AT_FDCWD, &target, Look::FOLLOW)?;
    let mut flags = flags as u32;
    if flags & MS_MGC_MSK == MS_MGC_VAL {
        flags &= !MS_MGC_MSK;
    }
    may_mount(t)?;
    let mut own = flags & MOUNT_FLAGS;
    if flags & (NOATIME | MS_STRICTATIME) == 0 {
        own |= RELATIME;
    }
    let source = source.as_deref();
    if flags & MS_REMOUNT != 0 {
        return remount(&at, flags, own, &options);
    }
    if flags & MS_BIND != 0 {
        return bind(t, source, at, flags & MS_REC != 0);
    }
    if flags & PROPAGATION != 0 {
        return propagation(&at, flags);
    }
    if flags & MS_MOVE != 0 {
        return relocate(t, source, at);
    }
    let kind = kind.ok_or(Errno::EINVAL)?;
    let fs = make(&kind, &options)?;
    let sup = Super::new(fs);
    sup.read_only.store(flags & RDONLY != 0, Ordering::Relaxed);
    let root = sup.root.clone();
    let m = Mount::new(sup, root, source.unwrap_or(b"none"), own);
    graft(&m, at)
}

fn make(kind: &[u8], options: &[u8]) -> Result<Arc<dyn FileSystem>> {
    if kind == b"tmpfs" || kind == b"ramfs" {
        let mut o = Options::default();
        o.parse(options)?;
        return Ok(Tmpfs::new(o));
    }
    boot::special(kind)
}

/// Puts a mount at a place: ENOTDIR if one is a directory and the other is not, ENOENT if the
/// place was removed.
fn graft(m: &Arc<Mount>, at: Path) -> SysResult {
    if m.root.is_dir() != at.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    if at.dentry.is(super::dentry::DELETED) || !at.inode().can_be_mounted_on() {
        return Err(Errno::ENOENT);
    }
    mount::attach(m, Some(at));
    Ok(0)
}

/// A path that `MS_BIND` and `MS_MOVE` start from.
fn origin(t: &Task, source: Option<&[u8]>) -> Result<Path> {
    let source = source.filter(|s| !s.is_empty()).ok_or(Errno::EINVAL)?;
    walk::lookup(t, AT_FDCWD, source, Look::FOLLOW)
}

fn bind(t: &Task, source: Option<&[u8]>, at: Path, recursive: bool) -> SysResult {
    let from = origin(t, source)?;
    let copy = |m: &Arc<Mount>, root| Mount::new(m.sup.clone(), root, &m.source, m.flags());
    let top = copy(&from.mount, from.dentry.clone());
    if !recursive {
        return graft(&top, at);
    }
    // What is mounted below comes along, each at the same place in its copied parent.
    let below = mount::subtree(&from.mount);
    graft(&top, at)?;
    let mut copies = alloc::vec![(from.mount.clone(), top)];
    for m in below.iter().skip(1) {
        let Some(place) = m.place() else { continue };
        let Some(parent) = copies.iter().find(|c| Arc::ptr_eq(&c.0, &place.mount)) else {
            continue;
        };
        if !place.dentry.is_under(&parent.1.root) {
            continue;
        }
        let at = Path {
            mount: parent.1.clone(),
            dentry: place.dentry,
        };
        let new = copy(m, m.root.clone());
        mount::attach(&new, Some(at));
        copies.push((m.clone(), new));
    }
    Ok(0)
}

/// `MS_SHARED` and its like: with one name space there is nobody to share mounts with, so each
/// setting is in force as soon as it is asked for. EINVAL for none or several.
fn propagation(at: &Path, flags: u32) -> SysResult {
    if (flags & PROPAGATION).count_ones() != 1
        || flags & !(PROPAGATION | MS_REC | MS_SILENT) != 0
        || !at.is_mount_root()
    {
        return Err(Errno::EINVAL);
    }
    Ok(0)
}

fn relocate(t: &Task, source: Option<&[u8]>, at: Path) -> SysResult {
    let from = origin(t, source)?;
    if !from.is_mount_root() || from.mount.place().is_none() {
        return Err(Errno::EINVAL);
    }
    if from.is_dir() != at.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    mount::relocate(&from.mount, at).map(|()| 0)
}

fn remount(at: &Path, flags: u32, own: u32, options: &[u8]) -> SysResult {
    if !at.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    if flags & MS_BIND != 0 {
        at.mount.set_flags(own);
        return Ok(0);
    }
    let sup = &at.mount.sup;
    let read_only = flags & RDONLY != 0;
    if read_only && !sup.read_only.load(Ordering::Relaxed) && is_written(sup) {
        return Err(Errno::EBUSY);
    }
    if let Some(tmpfs) = sup.fs.as_any().downcast_ref::<Tmpfs>() {
        let (size, inodes) = tmpfs.limits();
        let mut o = Options {
            size,
            inodes,
            ..Options::default()
        };
        o.parse(options)?;
        tmpfs.set_limits(o.size, o.inodes)?;
    }
    sup.read_only.store(read_only, Ordering::Relaxed);
    at.mount.set_flags(own);
    Ok(0)
}

/// Somebody has a file of the file system open for writing.
fn is_written(sup: &Arc<Super>) -> bool {
    let tasks: Vec<_> = crate::kernel().tasks.lock().values().cloned().collect();
    tasks.iter().any(|t| {
        let files = t.files();
        let open = files.list().into_iter().filter_map(|fd| files.get(fd).ok());
        open.into_iter().any(|f| {
            let here = f
                .path
                .as_ref()
                .is_some_and(|p| Arc::ptr_eq(&p.mount.sup, sup));
            here && f.writable()
        })
    })
}

/// `umount2(2)`: EINVAL if nothing is mounted there, EBUSY if it is in use, EAGAIN the first time
/// with `MNT_EXPIRE`.
pub fn sys_umount2(t: &Arc<Task>, target: UserAddr, flags: u32) -> SysResult {
    if flags & !(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let target = user::read_path(t, target)?;
    let mut look = Look::empty();
    look.set(Look::FOLLOW, flags & UMOUNT_NOFOLLOW == 0);
    let at = walk::lookup(t, AT_FDCWD, &target, look)?;
    may_mount(t)?;
    if !at.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let m = at.mount;
    drop(at.dentry);
    if flags & MNT_EXPIRE != 0 {
        if flags & (MNT_FORCE | MNT_DETACH) != 0 {
            return Err(Errno::EINVAL);
        }
        mount::is_busy(&m, 1)?;
        if !m.expire() {
            return Err(Errno::EAGAIN);
        }
    }
    if m.place().is_none() {
        // The root of everything stays.
        return Err(Errno::EBUSY);
    }
    mount::detach(&m, flags & MNT_DETACH != 0, 1).map(|()| 0)
}

/// `pivot_root(2)`: EBUSY for the present root, EINVAL unless the new root is a mount point and
/// the place for the old one lies below it, ENOTDIR, EPERM.
pub fn sys_pivot_root(t: &Arc<Task>, new_root: UserAddr, put_old: UserAddr) -> SysResult {
    may_mount(t)?;
    let new_root = user::read_path(t, new_root)?;
    let look = Look::FOLLOW | Look::DIRECTORY;
    let new = walk::lookup(t, AT_FDCWD, &new_root, look)?;
    let put_old = user::read_path(t, put_old)?;
    let place = walk::lookup(t, AT_FDCWD, &put_old, look)?;
    let root = t.fs().root.lock().clone();
    if Arc::ptr_eq(&new.mount, &root.mount) || Arc::ptr_eq(&place.mount, &root.mount) {
        return Err(Errno::EBUSY);
    }
    let below = Arc::ptr_eq(&place.mount, &new.mount) && place.dentry.is_under(&new.dentry);
    if !new.is_mount_root() || !root.is_mount_root() || !below || root.mount.place().is_some() {
        return Err(Errno::EINVAL);
    }
    mount::pivot(&new.mount, place)?;
    let tasks: Vec<_> = crate::kernel().tasks.lock().values().cloned().collect();
    for task in tasks {
        let fs = task.fs();
        for p in [&fs.root, &fs.cwd] {
            let mut p = p.lock();
            if p.same(&root) {
                *p = new.clone();
            }
        }
    }
    Ok(0)
}
