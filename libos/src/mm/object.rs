//! Page objects: contents of in-memory files and shared memory, in kernel pages that can be
//! mapped.

use crate::uio::{IoDst, IoSrc};
use crate::{Errno, Result};
use alloc::sync::Arc;

/// A growable run of pages with holes. Contents are shared by all who map it.
pub struct PageObject {}

impl PageObject {
    /// Empty, size 0.
    pub fn new() -> Arc<Self> {
        Arc::new(PageObject {})
    }
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        0
    }
    /// Grows (with a hole) or shrinks.
    pub fn set_size(&self, _size: u64) -> Result<()> {
        Err(Errno::ENOMEM)
    }
    /// Reads at `offset` up to the size; 0 at or beyond it.
    pub fn read(&self, _offset: u64, _dst: &mut IoDst<'_>) -> Result<usize> {
        Err(Errno::EIO)
    }
    /// Writes at `offset`, growing; ENOSPC if memory is out.
    pub fn write(&self, _offset: u64, _src: &mut IoSrc<'_>) -> Result<usize> {
        Err(Errno::ENOSPC)
    }
    /// Gives memory to a range without changing the size.
    pub fn allocate(&self, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::ENOSPC)
    }
    /// Makes a hole.
    pub fn punch(&self, _offset: u64, _len: u64) {}
    /// First data (or hole) at or after `offset`; ENXIO beyond the end.
    pub fn seek_data(&self, _offset: u64, _data: bool) -> Result<u64> {
        Err(Errno::ENXIO)
    }
    /// Bytes of memory behind it.
    pub fn allocated(&self) -> u64 {
        0
    }
}
