//! Sizes and room: `truncate(2)`, `fallocate(2)`.

use super::attr::{stripped_mode, truncate_inode};
use super::walk::{self, Look};
use super::{Kind, SetAttr, access, lease, notify, perm, rw};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use bastide_abi::raw::general::{
    AT_FDCWD, FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE, FALLOC_FL_UNSHARE_RANGE, FALLOC_FL_ZERO_RANGE,
};

fn check_growth(t: &Task, old: u64, new: u64) -> Result<()> {
    if new > old {
        rw::check_new_size(t, new)?;
    }
    Ok(())
}

/// `truncate(2)`.
pub fn sys_truncate(t: &Arc<Task>, path: UserAddr, len: i64) -> SysResult {
    let len = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
    let path = user::read_path(t, path)?;
    let p = walk::lookup(t, AT_FDCWD, &path, Look::FOLLOW)?;
    match p.kind() {
        Kind::Regular => {}
        Kind::Dir => return Err(Errno::EISDIR),
        _ => return Err(Errno::EINVAL),
    }
    p.mount.want_write()?;
    let creds = t.creds();
    perm::may_path(&creds, &p, perm::WRITE)?;
    let s = p.inode().stat()?;
    let _writes = access::writing(s.id())?;
    lease::break_for(t, s.id(), true, false)?;
    check_growth(t, s.size, len)?;
    truncate_inode(&creds, p.inode(), len)?;
    notify::modified(&p);
    Ok(0)
}

/// `ftruncate(2)`: EINVAL if it is not open for writing, or no file.
pub fn sys_ftruncate(t: &Arc<Task>, fd: i32, len: i64) -> SysResult {
    let len = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
    let f = t.file(fd)?;
    if !f.is_regular() || !f.writable() {
        return Err(Errno::EINVAL);
    }
    let s = f.stat()?;
    check_growth(t, s.size, len)?;
    f.ops.truncate(len)?;
    if let Some(p) = &f.path {
        if let Some(mode) = stripped_mode(&t.creds(), s.mode) {
            p.inode().set_attr(&SetAttr {
                mode: Some(mode),
                ..Default::default()
            })?;
        }
        notify::modified(p);
    }
    Ok(0)
}

/// `fallocate(2)`.
pub fn sys_fallocate(t: &Arc<Task>, fd: i32, mode: u32, offset: i64, len: i64) -> SysResult {
    const KNOWN: u32 = FALLOC_FL_KEEP_SIZE
        | FALLOC_FL_PUNCH_HOLE
        | FALLOC_FL_COLLAPSE_RANGE
        | FALLOC_FL_ZERO_RANGE
        | FALLOC_FL_INSERT_RANGE
        | FALLOC_FL_UNSHARE_RANGE;
    let f = t.file(fd)?;
    let (Ok(offset), Ok(len)) = (u64::try_from(offset), u64::try_from(len)) else {
        return Err(Errno::EINVAL);
    };
    if len == 0 {
        return Err(Errno::EINVAL);
    }
    let has = |flag| mode & flag != 0;
    if mode & !KNOWN != 0
        || has(FALLOC_FL_PUNCH_HOLE) && (has(FALLOC_FL_ZERO_RANGE) || !has(FALLOC_FL_KEEP_SIZE))
    {
        return Err(Errno::EOPNOTSUPP);
    }
    if has(FALLOC_FL_COLLAPSE_RANGE) && mode != FALLOC_FL_COLLAPSE_RANGE
        || has(FALLOC_FL_INSERT_RANGE) && mode != FALLOC_FL_INSERT_RANGE
    {
        return Err(Errno::EINVAL);
    }
    if !f.writable() {
        return Err(Errno::EBADF);
    }
    let s = f.stat()?;
    match s.kind() {
        Kind::Regular if f.is_regular() => {}
        Kind::Fifo => return Err(Errno::ESPIPE),
        Kind::Dir => return Err(Errno::EISDIR),
        _ => return Err(Errno::ENODEV),
    }
    let end = offset.checked_add(len).filter(|&e| e <= rw::MAX_OFFSET);
    let end = end.ok_or(Errno::EFBIG)?;
    if !has(FALLOC_FL_KEEP_SIZE) && !has(FALLOC_FL_PUNCH_HOLE) {
        check_growth(t, s.size, end)?;
    }
    f.ops.fallocate(mode, offset, len)?;
    if let Some(p) = &f.path {
        notify::modified(p);
    }
    Ok(0)
}
