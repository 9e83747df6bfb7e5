//! Reading and writing: `read(2)`, `pread(2)`, `readv(2)`, `preadv2(2)` and their writing
//! counterparts, `lseek(2)`.

use super::File;
use super::file::{O_APPEND, O_NONBLOCK};
use crate::process::task::RLIMIT_FSIZE;
use crate::signal::{self, SigInfo};
use crate::uio::{self, IoDst, IoSrc};
use crate::user::UserAddr;
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use bastide_abi::raw::general::{
    RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_NOWAIT, RWF_SYNC, SEEK_CUR, SEEK_DATA, SEEK_END,
    SEEK_HOLE, SEEK_SET,
};

/// Largest file offset.
pub const MAX_OFFSET: u64 = i64::MAX as u64;
const SIGXFSZ: i32 = 25;
/// `RWF_NOAPPEND` of newer kernels' `pwritev2(2)`.
const RWF_NOAPPEND: u32 = 0x20;

/// How many of `len` bytes may be written to an ordinary file at `start`: fewer at the file size
/// limit, and at the limit itself SIGXFSZ and EFBIG.
pub fn writable_bytes(t: &Task, start: u64, len: usize) -> Result<usize> {
    let limit = t.rlimit(RLIMIT_FSIZE);
    if start >= limit {
        signal::send_task(t, SigInfo::kernel(SIGXFSZ));
        return Err(Errno::EFBIG);
    }
    if start >= MAX_OFFSET {
        return Err(Errno::EFBIG);
    }
    let room = limit.min(MAX_OFFSET) - start;
    Ok(usize::try_from(room).unwrap_or(usize::MAX).min(len))
}

/// A file's new size is within `RLIMIT_FSIZE`: else SIGXFSZ and EFBIG.
pub fn check_new_size(t: &Task, size: u64) -> Result<()> {
    if size > t.rlimit(RLIMIT_FSIZE) {
        signal::send_task(t, SigInfo::kernel(SIGXFSZ));
        return Err(Errno::EFBIG);
    }
    Ok(())
}

/// An offset and a length as they come from the application: EINVAL when negative.
fn checked_offset(offset: i64, len: usize) -> Result<u64> {
    let end = offset.checked_add_unsigned(len.min(uio::MAX_RW) as u64);
    if offset < 0 || end.is_none() {
        return Err(Errno::EINVAL);
    }
    Ok(offset as u64)
}

/// `read(2)`.
pub fn sys_read(t: &Arc<Task>, fd: i32, buf: UserAddr, count: usize) -> SysResult {
    let f = t.file(fd)?;
    if !f.readable() {
        return Err(Errno::EBADF);
    }
    f.read(t, &mut IoDst::user(t, buf, count)?)
}

/// `write(2)`.
pub fn sys_write(t: &Arc<Task>, fd: i32, buf: UserAddr, count: usize) -> SysResult {
    let f = t.file(fd)?;
    if !f.writable() {
        return Err(Errno::EBADF);
    }
    f.write(t, &mut IoSrc::user(t, buf, count)?)
}

fn positioned(t: &Task, fd: i32, offset: i64, count: usize) -> Result<(Arc<File>, u64)> {
    if offset < 0 {
        return Err(Errno::EINVAL);
    }
    let f = t.file(fd)?;
    if !f.ops.seekable() {
        return Err(Errno::ESPIPE);
    }
    let offset = checked_offset(offset, count)?;
    Ok((f, offset))
}

/// `pread(2)`.
pub fn sys_pread64(t: &Arc<Task>, fd: i32, buf: UserAddr, count: usize, offset: i64) -> SysResult {
    let (f, offset) = positioned(t, fd, offset, count)?;
    if !f.readable() {
        return Err(Errno::EBADF);
    }
    f.read_at(t, &mut IoDst::user(t, buf, count)?, offset)
}

/// `pwrite(2)`.
pub fn sys_pwrite64(t: &Arc<Task>, fd: i32, buf: UserAddr, count: usize, offset: i64) -> SysResult {
    let (f, offset) = positioned(t, fd, offset, count)?;
    if !f.writable() {
        return Err(Errno::EBADF);
    }
    f.write_at(t, &mut IoSrc::user(t, buf, count)?, offset)
}

fn vector(count: i64) -> Result<usize> {
    usize::try_from(count).map_err(|_| Errno::EINVAL)
}

/// `readv(2)`.
pub fn sys_readv(t: &Arc<Task>, fd: i32, iov: UserAddr, count: i64) -> SysResult {
    let f = t.file(fd)?;
    if !f.readable() {
        return Err(Errno::EBADF);
    }
    let iov = uio::read_iov(t, iov, vector(count)?)?;
    f.read(t, &mut IoDst::iov(t, iov))
}

/// `writev(2)`.
pub fn sys_writev(t: &Arc<Task>, fd: i32, iov: UserAddr, count: i64) -> SysResult {
    let f = t.file(fd)?;
    if !f.writable() {
        return Err(Errno::EBADF);
    }
    let iov = uio::read_iov(t, iov, vector(count)?)?;
    f.write(t, &mut IoSrc::iov(t, iov))
}

/// `preadv(2)`.
pub fn sys_preadv(t: &Arc<Task>, fd: i32, iov: UserAddr, count: i64, offset: i64) -> SysResult {
    if offset < 0 {
        return Err(Errno::EINVAL);
    }
    preadv(t, fd, iov, count, Some(offset), 0)
}

/// `pwritev(2)`.
pub fn sys_pwritev(t: &Arc<Task>, fd: i32, iov: UserAddr, count: i64, offset: i64) -> SysResult {
    if offset < 0 {
        return Err(Errno::EINVAL);
    }
    pwritev(t, fd, iov, count, Some(offset), 0)
}

/// `preadv2(2)`: offset -1 is the file position. EOPNOTSUPP for unknown flags.
pub fn sys_preadv2(
    t: &Arc<Task>,
    fd: i32,
    iov: UserAddr,
    count: i64,
    offset: i64,
    _high: u64,
    flags: u32,
) -> SysResult {
    preadv(t, fd, iov, count, stream_or(offset)?, flags)
}

/// `pwritev2(2)`: offset -1 is the file position. EOPNOTSUPP for unknown flags.
pub fn sys_pwritev2(
    t: &Arc<Task>,
    fd: i32,
    iov: UserAddr,
    count: i64,
    offset: i64,
    _high: u64,
    flags: u32,
) -> SysResult {
    pwritev(t, fd, iov, count, stream_or(offset)?, flags)
}

fn stream_or(offset: i64) -> Result<Option<i64>> {
    match offset {
        -1 => Ok(None),
        o if o < 0 => Err(Errno::EINVAL),
        o => Ok(Some(o)),
    }
}

/// The file as one call's `RWF_*` flags make it behave.
pub fn with_flags(f: &Arc<File>, flags: u32) -> Arc<File> {
    let mut status = f.flags();
    if flags & RWF_APPEND != 0 {
        status |= O_APPEND;
    }
    if flags & RWF_NOAPPEND != 0 {
        status &= !O_APPEND;
    }
    if flags & RWF_NOWAIT != 0 {
        status |= O_NONBLOCK;
    }
    if status == f.flags() {
        return f.clone();
    }
    let other = File::new(f.ops.clone(), f.path.clone(), status);
    *other.pos.lock() = *f.pos.lock();
    other
}

fn preadv(
    t: &Arc<Task>,
    fd: i32,
    iov: UserAddr,
    count: i64,
    offset: Option<i64>,
    flags: u32,
) -> SysResult {
    let f = t.file(fd)?;
    if offset.is_some() && !f.ops.seekable() {
        return Err(Errno::ESPIPE);
    }
    if !f.readable() {
        return Err(Errno::EBADF);
    }
    let iov = uio::read_iov(t, iov, vector(count)?)?;
    if flags & !(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut dst = IoDst::iov(t, iov);
    let as_file = with_flags(&f, flags);
    match offset {
        Some(o) => {
            let o = checked_offset(o, dst.left())?;
            as_file.read_at(t, &mut dst, o)
        }
        None => {
            let n = as_file.read(t, &mut dst)?;
            if !Arc::ptr_eq(&as_file, &f) && f.ops.seekable() {
                *f.pos.lock() += n as u64;
            }
            Ok(n)
        }
    }
}

fn pwritev(
    t: &Arc<Task>,
    fd: i32,
    iov: UserAddr,
    count: i64,
    offset: Option<i64>,
    flags: u32,
) -> SysResult {
    let f = t.file(fd)?;
    if offset.is_some() && !f.ops.seekable() {
        return Err(Errno::ESPIPE);
    }
    if !f.writable() {
        return Err(Errno::EBADF);
    }
    let iov = uio::read_iov(t, iov, vector(count)?)?;
    let known = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND;
    if flags & !known != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if flags & RWF_APPEND != 0 && flags & RWF_NOAPPEND != 0 {
        return Err(Errno::EINVAL);
    }
    let mut src = IoSrc::iov(t, iov);
    let as_file = with_flags(&f, flags);
    let n = match offset {
        Some(o) => {
            let o = checked_offset(o, src.left())?;
            as_file.write_at(t, &mut src, o)?
        }
        None => {
            let n = as_file.write(t, &mut src)?;
            if !Arc::ptr_eq(&as_file, &f) && f.ops.seekable() {
                *f.pos.lock() = *as_file.pos.lock();
            }
            n
        }
    };
    if n > 0 && flags & (RWF_DSYNC | RWF_SYNC) != 0 {
        f.ops.fsync(flags & RWF_SYNC == 0)?;
    }
    Ok(n)
}

/// `lseek(2)`: EINVAL, ESPIPE, ENXIO, EOVERFLOW.
pub fn sys_lseek(t: &Arc<Task>, fd: i32, offset: i64, whence: u32) -> SysResult {
    let f = t.file(fd)?;
    if whence > SEEK_HOLE {
        return Err(Errno::EINVAL);
    }
    seek(&f, offset, whence).map(|p| p as usize)
}

/// Moves the file position.
pub fn seek(f: &File, offset: i64, whence: u32) -> Result<u64> {
    if !f.ops.seekable() {
        return Err(Errno::ESPIPE);
    }
    let mut pos = f.pos.lock();
    let base = match whence {
        SEEK_SET => 0,
        SEEK_CUR => *pos,
        SEEK_END => f.ops.size()?,
        SEEK_DATA | SEEK_HOLE => {
            let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            *pos = f.ops.seek_data(from, whence == SEEK_DATA)?;
            return Ok(*pos);
        }
        _ => return Err(Errno::EINVAL),
    };
    let new = base.checked_add_signed(offset).filter(|&p| p <= MAX_OFFSET);
    *pos = new.ok_or(if offset > 0 && whence != SEEK_SET {
        Errno::EOVERFLOW
    } else {
        Errno::EINVAL
    })?;
    Ok(*pos)
}
