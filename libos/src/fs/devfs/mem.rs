//! Memory devices, major number 1: `null(4)`, `full(4)`, `random(4)`.

use crate::fs::{File, FileOps, Mappable};
use crate::uio::{IoDst, IoSrc};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task, pal};
use alloc::sync::Arc;
use core::any::Any;

/// What a minor number is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Device {
    Null,
    Zero,
    Full,
    Random,
}

/// An open memory device.
struct MemFile(Device);

/// Bytes between two looks for signals.
const CHUNK: usize = 64 << 10;
/// `RNDGETENTCNT`: bits of entropy; the pool is always full.
const RNDGETENTCNT: u32 = 0x8004_5200;
const ENTROPY_BITS: i32 = 256;

pub(super) fn open(minor: u32) -> Result<Arc<dyn FileOps>> {
    let device = match minor {
        3 => Device::Null,
        5 => Device::Zero,
        7 => Device::Full,
        8 | 9 => Device::Random,
        _ => return Err(Errno::ENXIO),
    };
    Ok(Arc::new(MemFile(device)))
}

/// `/dev/null`.
pub(super) fn null() -> Arc<dyn FileOps> {
    Arc::new(MemFile(Device::Null))
}

impl MemFile {
    fn fill(&self, dst: &mut IoDst<'_>) -> Result<usize> {
        if self.0 != Device::Random {
            return dst.put_zeros(CHUNK);
        }
        let mut buf = [0u8; 512];
        let n = dst.left().min(buf.len());
        pal().random(&mut buf[..n]);
        dst.put(&buf[..n])
    }
}

impl FileOps for MemFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, t: &Task, _f: &File, dst: &mut IoDst<'_>, _o: Option<u64>) -> Result<usize> {
        if self.0 == Device::Null {
            return Ok(0);
        }
        while dst.left() > 0 {
            match self.fill(dst) {
                Ok(_) => {}
                Err(_) if dst.done() > 0 => break,
                Err(e) => return Err(e),
            }
            if dst.done() % CHUNK == 0 && t.interrupted() {
                break;
            }
        }
        Ok(dst.done())
    }

    fn write(&self, _t: &Task, _f: &File, src: &mut IoSrc<'_>, _o: Option<u64>) -> Result<usize> {
        let n = src.left();
        if self.0 == Device::Full && n > 0 {
            return Err(Errno::ENOSPC);
        }
        src.advance(n);
        Ok(n)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Result<u64> {
        Ok(0)
    }

    fn pollable(&self) -> bool {
        self.0 == Device::Random
    }

    fn ioctl(&self, t: &Task, _f: &File, request: u32, arg: usize) -> SysResult {
        match (self.0, request) {
            (Device::Random, RNDGETENTCNT) => {
                user::write(t, UserAddr(arg), &ENTROPY_BITS).map(|()| 0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    fn mmap(&self, _f: &File) -> Result<Mappable> {
        match self.0 {
            Device::Zero => Ok(Mappable::Zero),
            _ => Err(Errno::ENODEV),
        }
    }
}
