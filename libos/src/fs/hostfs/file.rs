//! Open host files.

use super::inode::HostInode;
use crate::fs::file::O_APPEND;
use crate::fs::{File, FileOps, HostHandle, Mappable};
use crate::uio::{IoDst, IoSrc};
use crate::{Errno, Result, Task, host_error, pal};
use alloc::sync::Arc;
use alloc::vec;
use bastide_pal::file::HostSetAttr;
use bastide_pal::{HostFd, IoVec};
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};

/// Most bytes that pass through kernel memory at once.
const BOUNCE: usize = 64 << 10;

/// Reads from a host descriptor: straight into user memory, or, for kernel memory and from where
/// the host cannot reach user memory yet (a stack that must grow first, a page of a shared object
/// that this process has not touched), through a buffer.
pub(in crate::fs) fn read_host(
    fd: HostFd,
    dst: &mut IoDst<'_>,
    offset: Option<u64>,
) -> Result<usize> {
    let mut total = 0;
    if let Some(pieces) = dst.pieces() {
        match pal().read(fd, &pieces, offset).map_err(host_error) {
            Ok(n) => {
                let n = n.min(dst.left());
                dst.advance(n);
                if n == 0 || offset.is_none() || !dst.at_edge() {
                    return Ok(n);
                }
                total = n;
            }
            Err(Errno::EFAULT) => {}
            Err(e) => return Err(e),
        }
    }
    let mut buf = vec![0u8; dst.left().min(BOUNCE)];
    while dst.left() > 0 {
        let want = dst.left().min(BOUNCE);
        let piece = IoVec {
            addr: buf.as_mut_ptr() as usize,
            len: want,
        };
        let at = offset.map(|o| o.saturating_add(total as u64));
        let got = match pal().read(fd, &[piece], at).map_err(host_error) {
            Ok(n) => n.min(want),
            Err(_) if total > 0 => break,
            Err(e) => return Err(e),
        };
        let put = match dst.put(&buf[..got]) {
            Ok(n) => n,
            Err(_) if total > 0 => break,
            Err(e) => return Err(e),
        };
        total += put;
        // A stream gives what it has; what was read must not be lost.
        if put < want || offset.is_none() {
            break;
        }
    }
    Ok(total)
}

/// Writes to the host by `write`, straight from user memory or through a buffer as [`read_host`].
pub(in crate::fs) fn write_host(
    src: &mut IoSrc<'_>,
    mut write: impl FnMut(&[IoVec]) -> bastide_pal::Result<usize>,
) -> Result<usize> {
    let mut total = 0;
    if let Some(pieces) = src.pieces() {
        match write(&pieces).map_err(host_error) {
            Ok(n) => {
                let n = n.min(src.left());
                src.advance(n);
                if n == 0 || !src.at_edge() {
                    return Ok(n);
                }
                total = n;
            }
            Err(Errno::EFAULT) => {}
            Err(e) => return Err(e),
        }
    }
    let mut buf = vec![0u8; src.left().min(BOUNCE)];
    while src.left() > 0 {
        let got = match src.take(&mut buf) {
            Ok(n) => n,
            Err(_) if total > 0 => break,
            Err(e) => return Err(e),
        };
        let piece = IoVec {
            addr: buf.as_ptr() as usize,
            len: got,
        };
        let put = match write(&[piece]).map_err(host_error) {
            Ok(n) => n.min(got),
            Err(_) if total > 0 => {
                src.rewind(got);
                break;
            }
            Err(e) => return Err(e),
        };
        total += put;
        if put < got {
            src.rewind(got - put);
            break;
        }
    }
    Ok(total)
}

/// An open regular file.
pub struct HostFile {
    inode: Arc<HostInode>,
    handle: Arc<HostHandle>,
    /// Where the last appending write ended.
    end: AtomicU64,
}

impl HostFile {
    pub(super) fn new(inode: Arc<HostInode>, handle: Arc<HostHandle>) -> Self {
        HostFile {
            inode,
            handle,
            end: AtomicU64::new(0),
        }
    }
}

impl FileOps for HostFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(
        &self,
        _t: &Task,
        _f: &File,
        dst: &mut IoDst<'_>,
        offset: Option<u64>,
    ) -> Result<usize> {
        read_host(self.handle.0, dst, Some(offset.unwrap_or(0)))
    }

    fn write(
        &self,
        _t: &Task,
        f: &File,
        src: &mut IoSrc<'_>,
        offset: Option<u64>,
    ) -> Result<usize> {
        self.inode.forget();
        let fd = self.handle.0;
        if f.flags() & O_APPEND != 0 {
            return write_host(src, |pieces| {
                let _turn = self.inode.append.lock();
                let size = self.size().map_err(|e| bastide_pal::Error(e.0))?;
                let n = pal().write(fd, pieces, Some(size))?;
                let end = size.saturating_add(n as u64);
                self.end.store(end, Ordering::Relaxed);
                Ok(n)
            });
        }
        let mut at = offset.unwrap_or(0);
        write_host(src, |pieces| {
            let n = pal().write(fd, pieces, Some(at))?;
            at = at.saturating_add(n as u64);
            Ok(n)
        })
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Result<u64> {
        Ok(self.inode.host_stat()?.size)
    }

    fn append_position(&self) -> Result<u64> {
        Ok(self.end.load(Ordering::Relaxed))
    }

    fn seek_data(&self, offset: u64, data: bool) -> Result<u64> {
        const SEEK_DATA: u32 = 3;
        const SEEK_HOLE: u32 = 4;
        let whence = if data { SEEK_DATA } else { SEEK_HOLE };
        let found = pal()
            .seek(self.handle.0, offset, whence)
            .map_err(host_error)?;
        if found < offset || found > i64::MAX as u64 {
            return Err(Errno::EIO);
        }
        Ok(found)
    }

    fn pollable(&self) -> bool {
        false
    }

    fn mmap(&self, _f: &File) -> Result<Mappable> {
        Ok(Mappable::Host(self.handle.clone()))
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.inode.forget();
        let change = HostSetAttr {
            size: Some(len),
            ..Default::default()
        };
        pal()
            .set_attr(self.handle.0, b"", &change)
            .map_err(host_error)
    }

    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.inode.forget();
        pal()
            .fallocate(self.handle.0, mode, offset, len)
            .map_err(host_error)
    }

    fn fsync(&self, data_only: bool) -> Result<()> {
        pal().fsync(self.handle.0, data_only).map_err(host_error)
    }
}
