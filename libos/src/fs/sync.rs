//! Putting files on stable storage, and advice about it: `fsync(2)`, `sync(2)`,
//! `sync_file_range(2)`, `posix_fadvise(2)`, `readahead(2)`, `cachestat(2)`.

use super::{Kind, Mappable, mount};
use crate::user::{self, UserAddr};
use crate::{Errno, SysResult, Task};
use alloc::sync::Arc;
use bastide_abi::fs::{Cachestat, CachestatRange};
use bastide_abi::raw::general::{
    POSIX_FADV_NOREUSE, SYNC_FILE_RANGE_WAIT_AFTER, SYNC_FILE_RANGE_WAIT_BEFORE,
    SYNC_FILE_RANGE_WRITE,
};
use bastide_base::pages::PAGE;

/// `fsync(2)`: EINVAL for objects that cannot be synchronised.
pub fn sys_fsync(t: &Arc<Task>, fd: i32) -> SysResult {
    sync_file(t, fd, false)
}

/// `fdatasync(2)`.
pub fn sys_fdatasync(t: &Arc<Task>, fd: i32) -> SysResult {
    sync_file(t, fd, true)
}

fn sync_file(t: &Task, fd: i32, data_only: bool) -> SysResult {
    let f = t.file(fd)?;
    if let Some(object) = f.ops.mapped() {
        t.mm().hold_still(&object);
    }
    f.ops.fsync(data_only).map(|()| 0)
}

/// `sync(2)`: always succeeds.
pub fn sys_sync(_t: &Arc<Task>) -> SysResult {
    sync_all();
    Ok(0)
}

/// Writes back every file system.
pub fn sync_all() {
    for m in mount::list() {
        let _ = m.fs().sync();
    }
}

/// `syncfs(2)`.
pub fn sys_syncfs(t: &Arc<Task>, fd: i32) -> SysResult {
    match &t.file(fd)?.path {
        Some(p) => p.mount.fs().sync().map(|()| 0),
        None => Ok(0),
    }
}

/// `sync_file_range(2)`: EINVAL for unknown flags and bad ranges, ESPIPE for what has none.
pub fn sys_sync_file_range(t: &Arc<Task>, fd: i32, offset: i64, len: i64, flags: u32) -> SysResult {
    let f = t.file(fd)?;
    let known = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    if flags & !known != 0 || offset < 0 || len < 0 || offset.checked_add(len).is_none() {
        return Err(Errno::EINVAL);
    }
    match f.stat()?.kind() {
        Kind::Regular | Kind::Block | Kind::Dir | Kind::Symlink => {}
        _ => return Err(Errno::ESPIPE),
    }
    if flags != 0 {
        f.ops.fsync(true)?;
    }
    Ok(0)
}

/// `posix_fadvise(2)`: ESPIPE for pipes, EINVAL for unknown advice. Files are where they are
/// read from already.
pub fn sys_fadvise64(t: &Arc<Task>, fd: i32, _offset: i64, len: i64, advice: u32) -> SysResult {
    let f = t.file(fd)?;
    if f.stat()?.kind() == Kind::Fifo {
        return Err(Errno::ESPIPE);
    }
    if len < 0 || advice > POSIX_FADV_NOREUSE {
        return Err(Errno::EINVAL);
    }
    Ok(0)
}

/// `readahead(2)`: EBADF if not open for reading, EINVAL for what is no file.
pub fn sys_readahead(t: &Arc<Task>, fd: i32, _offset: i64, _count: usize) -> SysResult {
    let f = t.file(fd)?;
    if !f.readable() {
        return Err(Errno::EBADF);
    }
    if !f.is_regular() && f.stat()?.kind() != Kind::Block {
        return Err(Errno::EINVAL);
    }
    Ok(0)
}

/// `cachestat(2)`: how many pages of a range are in memory. EOPNOTSUPP for files whose pages are
/// not ours.
pub fn sys_cachestat(
    t: &Arc<Task>,
    fd: i32,
    range: UserAddr,
    out: UserAddr,
    flags: u32,
) -> SysResult {
    let f = t.files().get(fd)?;
    let r: CachestatRange = user::read(t, range)?;
    let Ok(Mappable::Pages(object)) = f.ops.mmap(&f) else {
        return Err(Errno::EOPNOTSUPP);
    };
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let page = PAGE as u64;
    let end = if r.len == 0 {
        u64::MAX
    } else {
        r.off.saturating_add(r.len)
    };
    let end = end.min(object.size()).next_multiple_of(page);
    let mut cached = 0;
    let mut at = r.off - r.off % page;
    while at < end {
        let Ok(data) = object.seek_data(at, true) else {
            break;
        };
        let hole = object.seek_data(data, false).unwrap_or(end).min(end);
        cached += hole.saturating_sub(data).div_ceil(page);
        at = hole.max(data + page);
    }
    // What is only in memory is always dirty.
    let stat = Cachestat {
        cached,
        dirty: cached,
        ..Default::default()
    };
    user::write(t, out, &stat)?;
    Ok(0)
}
