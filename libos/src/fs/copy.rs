//! Copying between files inside the kernel: `sendfile(2)`, `copy_file_range(2)`.

use super::file::O_APPEND;
use super::{File, rw};
use crate::uio::{IoDst, IoSrc, MAX_RW};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Bytes that are copied at a time.
const CHUNK: usize = 128 << 10;

/// Copies from `from` to a file (at an offset, or its stream). What the target did not take is
/// not counted; an error counts only if nothing was copied.
fn copy(
    t: &Task,
    source: &File,
    from: u64,
    target: &File,
    to: Option<u64>,
    len: usize,
) -> Result<usize> {
    let mut done = 0;
    let mut buf: Vec<u8> = Vec::new();
    while done < len {
        buf.clear();
        let want = (len - done).min(CHUNK);
        let at = from.saturating_add(done as u64);
        let step = source
            .read_at(t, &mut IoDst::kernel(&mut buf, want), at)
            .and_then(|n| {
                if n == 0 {
                    return Ok((0, 0));
                }
                let mut src = IoSrc::kernel(&buf);
                let put = match to {
                    Some(o) => target.write_at(t, &mut src, o.saturating_add(done as u64)),
                    None => target.write(t, &mut src),
                };
                put.map(|w| (n, w))
            });
        match step {
            Ok((n, w)) => {
                done += w;
                if n == 0 || w < n {
                    break;
                }
            }
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Reads a file offset that the application passes by reference.
fn read_offset(t: &Task, addr: UserAddr) -> Result<Option<u64>> {
    if addr.is_null() {
        return Ok(None);
    }
    let v: i64 = user::read(t, addr)?;
    u64::try_from(v).map(Some).map_err(|_| Errno::EINVAL)
}

/// `sendfile(2)`: EBADF, EINVAL (no positions to read from, an appending target, a negative
/// offset), ESPIPE.
pub fn sys_sendfile(
    t: &Arc<Task>,
    out_fd: i32,
    in_fd: i32,
    offset: UserAddr,
    count: usize,
) -> SysResult {
    let given = if offset.is_null() {
        None
    } else {
        Some(user::read::<i64>(t, offset)?)
    };
    let source = t.file(in_fd)?;
    if !source.readable() {
        return Err(Errno::EBADF);
    }
    if !source.ops.seekable() {
        return Err(if given.is_some() {
            Errno::ESPIPE
        } else {
            Errno::EINVAL
        });
    }
    let given = match given {
        Some(o) => Some(u64::try_from(o).map_err(|_| Errno::EINVAL)?),
        None => None,
    };
    let target = t.file(out_fd)?;
    if !target.writable() {
        return Err(Errno::EBADF);
    }
    if target.flags() & O_APPEND != 0 || source.path.as_ref().is_some_and(|p| p.is_dir()) {
        return Err(Errno::EINVAL);
    }
    let count = count.min(MAX_RW);
    match given {
        Some(from) => {
            let n = copy(t, &source, from, &target, None, count)?;
            user::write(t, offset, &(from + n as u64))?;
            Ok(n)
        }
        None => {
            let from = *source.pos.lock();
            let n = copy(t, &source, from, &target, None, count)?;
            *source.pos.lock() = from + n as u64;
            Ok(n)
        }
    }
}

/// `copy_file_range(2)`: EINVAL for flags, overlapping ranges and what is no ordinary file,
/// EISDIR, EBADF, EFBIG.
pub fn sys_copy_file_range(
    t: &Arc<Task>,
    in_fd: i32,
    in_offset: UserAddr,
    out_fd: i32,
    out_offset: UserAddr,
    len: usize,
    flags: u32,
) -> SysResult {
    let source = t.file(in_fd)?;
    let target = t.file(out_fd)?;
    let from = read_offset(t, in_offset)?;
    let to = read_offset(t, out_offset)?;
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    for f in [&source, &target] {
        if f.path.as_ref().is_some_and(|p| p.is_dir()) {
            return Err(Errno::EISDIR);
        }
        if !f.is_regular() {
            return Err(Errno::EINVAL);
        }
    }
    if !source.readable() || !target.writable() || target.flags() & O_APPEND != 0 {
        return Err(Errno::EBADF);
    }
    let (from_start, to_start) = (
        from.unwrap_or_else(|| *source.pos.lock()),
        to.unwrap_or_else(|| *target.pos.lock()),
    );
    let reach = |start: u64| {
        start
            .checked_add(len as u64)
            .filter(|&e| e <= rw::MAX_OFFSET)
    };
    let (Some(from_end), Some(to_end)) = (reach(from_start), reach(to_start)) else {
        return Err(Errno::EOVERFLOW);
    };
    let (s, d) = (source.stat()?, target.stat()?);
    if s.id() == d.id() && from_start < to_end && to_start < from_end {
        return Err(Errno::EINVAL);
    }
    let n = copy(
        t,
        &source,
        from_start,
        &target,
        Some(to_start),
        len.min(MAX_RW),
    )?;
    match from {
        Some(o) => user::write(t, in_offset, &(o + n as u64))?,
        None => *source.pos.lock() = from_start + n as u64,
    }
    match to {
        Some(o) => user::write(t, out_offset, &(o + n as u64))?,
        None => *target.pos.lock() = to_start + n as u64,
    }
    Ok(n)
}
