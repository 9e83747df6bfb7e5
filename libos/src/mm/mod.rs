//! Memory: each process's map of mappings, and the page objects behind shared ones.

mod extents;
pub mod object;

pub use extents::Run;
pub use object::{Budget, Mapped, PageObject};

use crate::fs::File;
use crate::{Errno, Result, Task};
use alloc::sync::Arc;
use bastide_pal::Prot;

/// What a new mapping is made of.
#[derive(Clone)]
pub enum Backing {
    /// Zero pages; with `shared`, shared with children.
    Anon,
    /// A file from `offset`.
    File { file: Arc<File>, offset: u64 },
}

/// A request for a mapping, `mmap(2)`.
pub struct MapRequest {
    /// Hint, or the place if `fixed`.
    pub addr: usize,
    pub len: usize,
    pub prot: Prot,
    pub shared: bool,
    pub fixed: bool,
    /// With `fixed`: EEXIST instead of replacing (`MAP_FIXED_NOREPLACE`).
    pub noreplace: bool,
    pub growsdown: bool,
    pub backing: Backing,
}

/// What came of a page fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultOutcome {
    /// Repaired: run the instruction again.
    Repaired,
    /// SIGSEGV, with `SEGV_MAPERR` (1) or `SEGV_ACCERR` (2).
    Segv(i32),
    /// SIGBUS (beyond the end of a mapped file).
    Bus,
}

/// A futex's identity: the same word, however it is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum FutexKey {
    /// Address in one address space.
    Private { mm: u64, addr: usize },
    /// Offset in a shared object.
    Shared { object: u64, offset: u64 },
}

/// A process's memory map. All operations act on the calling thread's address space, which must
/// be this one.
pub struct Mm {}

impl Mm {
    /// An empty address space.
    pub fn new() -> Arc<Mm> {
        Arc::new(Mm {})
    }

    /// The map of a forked child, whose memory the platform has copied.
    pub fn fork(&self) -> Result<Arc<Mm>> {
        Err(Errno::ENOSYS)
    }

    /// Makes a mapping; returns its address.
    pub fn map(&self, _r: &MapRequest) -> Result<usize> {
        Err(Errno::ENOSYS)
    }

    /// Removes mappings, `munmap(2)`.
    pub fn unmap(&self, _addr: usize, _len: usize) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// An object shrank to `from` bytes: mappings of what lies beyond must go.
    pub fn object_shrunk(&self, _object: u64, _from: u64) {}

    /// Drops the mappings that [`Mm::object_shrunk`] named; the calling thread's own address space.
    pub fn settle(&self) {}

    /// Where `brk(2)` starts: after the program's bss.
    pub fn set_brk_start(&self, _addr: usize) {}

    /// A page fault of the application, in `t`, whose address space this is.
    pub fn fault(&self, _t: &Task, _addr: usize, _write: bool, _exec: bool) -> FaultOutcome {
        FaultOutcome::Segv(1)
    }

    /// As [`Mm::fault`] for the kernel's own accesses: true if it is worth trying again.
    pub fn repair(&self, t: &Task, addr: usize, write: bool) -> bool {
        self.fault(t, addr, write, false) == FaultOutcome::Repaired
    }

    /// The futex at an address; EFAULT.
    pub fn futex_key(&self, _addr: usize, _private: bool) -> Result<FutexKey> {
        Err(Errno::EFAULT)
    }
}
