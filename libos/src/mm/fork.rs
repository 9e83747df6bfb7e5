//! Address spaces of forked children.

use super::vma::{Memory, VmFlags};
use super::{Mm, State, runs::Runs};
use crate::{Result, pal};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_pal::{MapSource, Prot};

/// What a child does to memory that the platform copied for it.
#[derive(Clone, Copy)]
pub(super) struct Inherited {
    start: usize,
    end: usize,
    /// It becomes fresh memory with these rights (`MADV_WIPEONFORK`); otherwise it is not the
    /// child's (`MADV_DONTFORK`).
    wipe: Option<Prot>,
}

impl Mm {
    /// The map of a forked child, whose memory the platform has copied. Only for a process whose
    /// other threads cannot change the map meanwhile; see [`Mm::fork_with`].
    pub fn fork(&self) -> Result<Arc<Mm>> {
        self.fork_with(|child| Ok(child.clone()))
    }

    /// Makes a forked child's map and calls `spawn` with it, which has the platform copy the
    /// address space; nothing changes the parent's map in between. `spawn` must not touch user
    /// memory. The child calls [`Mm::after_fork_child`] before it runs application code.
    pub fn fork_with<R>(&self, spawn: impl FnOnce(&Arc<Mm>) -> Result<R>) -> Result<R> {
        let sites = self.sites.lock();
        let s = self.state.lock();
        let mut child = State::none();
        child.brk = s.brk;
        child.stack_top = s.stack_top;
        child.map.copy_layout(&s.map);
        let mut inherited = Vec::new();
        for v in s.map.iter() {
            let mut note = |wipe| {
                inherited.push(Inherited {
                    start: v.start,
                    end: v.end,
                    wipe,
                });
            };
            if v.flags.contains(VmFlags::DONTFORK) {
                note(None);
                continue;
            }
            let mut copy = v.clone();
            if v.flags.contains(VmFlags::WIPEONFORK) {
                note(Some(v.prot));
                copy.guards = Runs::default();
            }
            // Locks are not inherited.
            copy.flags -= VmFlags::LOCKED | VmFlags::LOCKONFAULT;
            copy.flags.set(VmFlags::INHERITED, !v.shared());
            child.map.put(copy);
        }
        child.inherited = inherited;
        let child = Mm::with_state(child);
        for v in child.state.lock().map.iter() {
            if let Memory::Pages { map, .. } = &v.memory {
                map.register(&child);
            }
        }
        // What shrank and was not yet dropped here must be dropped there too.
        *child.shrunk.lock() = self.shrunk.lock().clone();
        *child.sites.lock() = sites.clone();
        spawn(&child)
    }

    /// Finishes the copied address space; runs in the child.
    pub fn after_fork_child(&self) {
        let mut s = self.state.lock();
        for i in core::mem::take(&mut s.inherited) {
            // The child cannot report an error; replacing and unmapping whole mappings does not
            // need memory.
            let _ = match i.wipe {
                Some(prot) => pal().map(i.start, i.end - i.start, prot, MapSource::Anon),
                None => pal().unmap(i.start, i.end - i.start),
            };
        }
        drop(s);
        self.settle();
    }
}
