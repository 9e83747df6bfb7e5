//! Address spaces: the application's memory.

use crate::{HostFd, Result};

bitflags::bitflags! {
    /// Access rights, numbered as in `mmap(2)`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Prot: u32 {
        const READ = 1;
        const WRITE = 2;
        const EXEC = 4;
    }
}

/// What a mapping's pages are made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapSource {
    /// Zero pages, private to the address space and copied on fork.
    Anon,
    /// The kernel's own pages at this kernel address (page cache, shared memory). `shared` writes
    /// through; otherwise a write makes a private copy.
    Kernel { addr: usize, shared: bool },
    /// A host file's pages.
    Host {
        fd: HostFd,
        offset: u64,
        shared: bool,
    },
}

/// Operations on the *calling thread's* address space. Addresses and lengths are multiples of the
/// page size and outside the kernel's region; libos decides where things go.
pub trait AddressSpace {
    /// Lowest and highest (exclusive) address of the region that belongs to the kernel and that no
    /// application mapping may touch.
    fn kernel_region(&self) -> (usize, usize);
    /// Makes a mapping, replacing what was there.
    fn map(&self, addr: usize, len: usize, prot: Prot, source: MapSource) -> Result<()>;
    /// Removes mappings.
    fn unmap(&self, addr: usize, len: usize) -> Result<()>;
    /// Changes access rights.
    fn protect(&self, addr: usize, len: usize, prot: Prot) -> Result<()>;
    /// Moves (and resizes) a mapping to `new`, which must be free or is replaced.
    fn remap(&self, old: usize, old_len: usize, new: usize, new_len: usize) -> Result<()>;
    /// Drops the contents of private anonymous pages; they read as zero (or as their file) again.
    fn discard(&self, addr: usize, len: usize) -> Result<()>;
    /// Whether large pages are wanted for private anonymous memory, where the platform has them.
    fn large_pages(&self, _addr: usize, _len: usize, _wanted: bool) -> Result<()> {
        Ok(())
    }
    /// Which pages have memory behind them, one byte each, bit 0.
    fn resident(&self, addr: usize, len: usize, out: &mut [u8]) -> Result<()>;
    /// Removes every application mapping.
    fn clear(&self) -> Result<()>;
    /// Reads memory of the address space that `thread` runs in; returns the bytes read.
    fn peek(&self, thread: crate::ThreadId, addr: usize, buf: &mut [u8]) -> Result<usize>;
    /// Writes memory of the address space that `thread` runs in; returns the bytes written.
    fn poke(&self, thread: crate::ThreadId, addr: usize, buf: &[u8]) -> Result<usize>;
    /// Most of these kernel pages are about to be used: a platform may bring them in together. Their
    /// contents stay.
    fn expect_kernel_pages(&self, _addr: usize, _len: usize) {}
    /// How many of these kernel pages have memory behind them, as far as the platform knows.
    fn used_kernel_pages(&self, _addr: usize, _len: usize) -> usize {
        0
    }
    /// Returns the memory behind kernel pages to the platform; they read as zero afterwards.
    fn release_kernel_pages(&self, addr: usize, len: usize);
}
