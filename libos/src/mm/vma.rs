//! One mapping.

use super::object::Mapped;
use super::runs::Runs;
use crate::fs::{File, HostHandle};
use alloc::sync::Arc;
use bastide_base::pages::PAGE;
use bastide_pal::Prot;

bitflags::bitflags! {
    /// Properties of a mapping beside its access rights.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct VmFlags: u32 {
        /// Writes go to the object.
        const SHARED = 1;
        /// Grows towards lower addresses on access (`MAP_GROWSDOWN`, stacks).
        const GROWSDOWN = 2;
        /// `mlock(2)`.
        const LOCKED = 4;
        /// Locked pages come in on access only (`MLOCK_ONFAULT`).
        const LOCKONFAULT = 8;
        /// `MADV_DONTFORK`.
        const DONTFORK = 0x10;
        /// `MADV_WIPEONFORK`.
        const WIPEONFORK = 0x20;
        /// `MADV_DONTDUMP`.
        const DONTDUMP = 0x40;
        /// `MAP_NORESERVE`.
        const NORESERVE = 0x80;
        /// `MADV_SEQUENTIAL`.
        const SEQ_READ = 0x100;
        /// `MADV_RANDOM`.
        const RAND_READ = 0x200;
        /// `MADV_HUGEPAGE`.
        const HUGEPAGE = 0x400;
        /// `MADV_NOHUGEPAGE`.
        const NOHUGEPAGE = 0x800;
        /// `mseal(2)`: must not be unmapped, moved or change its rights.
        const SEALED = 0x1000;
        /// Private memory copied from a parent by fork. As on Linux, it does not become one
        /// mapping with memory that is younger.
        const INHERITED = 0x2000;
    }
}

/// What a mapping is made of.
#[derive(Clone)]
pub enum Memory {
    /// Private zero pages; the platform has them all.
    Anon,
    /// A page object from `offset`. `filled` is what the platform has mapped; the rest is mapped
    /// on access.
    Pages {
        map: Mapped,
        offset: u64,
        filled: Runs,
    },
    /// A host file from `offset`; the platform has all of it.
    Host {
        handle: Arc<HostHandle>,
        offset: u64,
    },
}

/// A mapping of `start..end`.
#[derive(Clone)]
pub struct Vma {
    pub start: usize,
    pub end: usize,
    pub prot: Prot,
    /// What `mprotect(2)` may set.
    pub max: Prot,
    pub flags: VmFlags,
    pub memory: Memory,
    pub file: Option<Arc<File>>,
    /// Text for `/proc/pid/maps` in place of the file's path.
    pub name: &'static str,
    /// `mbind(2)`.
    pub policy: super::policy::Policy,
    /// Pages of private memory that nobody may touch, whatever `prot` says (`MADV_GUARD_INSTALL`).
    pub guards: Runs,
}

impl Vma {
    /// Private memory without a file.
    pub fn anon(start: usize, end: usize, prot: Prot, flags: VmFlags) -> Self {
        Vma {
            start,
            end,
            prot,
            max: Prot::all(),
            flags,
            memory: Memory::Anon,
            file: None,
            name: "",
            policy: 0,
            guards: Runs::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn pages(&self) -> usize {
        self.len() / PAGE
    }

    pub fn shared(&self) -> bool {
        self.flags.contains(VmFlags::SHARED)
    }

    /// Counts against `RLIMIT_DATA`: private, writable and not a stack.
    pub fn is_data(&self) -> bool {
        self.prot.contains(Prot::WRITE)
            && !self.flags.intersects(VmFlags::SHARED | VmFlags::GROWSDOWN)
    }

    /// Private memory without a file.
    pub fn is_private_anon(&self) -> bool {
        matches!(self.memory, Memory::Anon)
    }

    /// Offset in the file or object at an address of the mapping.
    pub fn offset_at(&self, addr: usize) -> u64 {
        let base = match &self.memory {
            Memory::Anon => return 0,
            Memory::Pages { offset, .. } | Memory::Host { offset, .. } => *offset,
        };
        base + (addr - self.start) as u64
    }

    /// Cuts the mapping in two at `at`, inside it; returns the upper part.
    pub fn split_off(&mut self, at: usize) -> Vma {
        let delta = (at - self.start) as u64;
        let memory = match &mut self.memory {
            Memory::Anon => Memory::Anon,
            Memory::Pages {
                map,
                offset,
                filled,
            } => Memory::Pages {
                map: map.clone(),
                offset: *offset + delta,
                filled: filled.split_off(at),
            },
            Memory::Host { handle, offset } => Memory::Host {
                handle: handle.clone(),
                offset: *offset + delta,
            },
        };
        let upper = Vma {
            start: at,
            end: self.end,
            memory,
            file: self.file.clone(),
            guards: self.guards.split_off(at),
            ..*self
        };
        self.end = at;
        upper
    }

    /// `next` follows and has the same properties, so that the two can be one.
    pub fn can_merge(&self, next: &Vma) -> bool {
        let same_file = match (&self.file, &next.file) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        let delta = self.len() as u64;
        let contiguous = match (&self.memory, &next.memory) {
            (Memory::Anon, Memory::Anon) => self.file.is_none(),
            (
                Memory::Pages { map: a, offset, .. },
                Memory::Pages {
                    map: b, offset: o, ..
                },
            ) => Arc::ptr_eq(a.object(), b.object()) && offset.checked_add(delta) == Some(*o),
            (
                Memory::Host { handle: a, offset },
                Memory::Host {
                    handle: b,
                    offset: o,
                },
            ) => Arc::ptr_eq(a, b) && offset.checked_add(delta) == Some(*o),
            _ => false,
        };
        self.end == next.start
            && self.prot == next.prot
            && self.max == next.max
            && self.flags == next.flags
            && self.name == next.name
            && self.policy == next.policy
            && same_file
            && contiguous
    }

    /// Takes over a mapping that [`Vma::can_merge`].
    pub fn absorb(&mut self, next: &mut Vma) {
        self.end = next.end;
        self.guards.extend(core::mem::take(&mut next.guards));
        if let (Memory::Pages { filled, .. }, Memory::Pages { filled: more, .. }) =
            (&mut self.memory, &mut next.memory)
        {
            filled.extend(core::mem::take(more));
        }
    }
}
