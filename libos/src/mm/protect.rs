//! Changes to existing mappings: access rights, properties, locks.

use super::vma::{Memory, VmFlags, Vma};
use super::{Limits, Mm, State};
use crate::{Errno, Result, host_error, pal};
use bastide_base::pages::PAGE;
use bastide_base::user::USER_END;
use bastide_pal::Prot;

impl State {
    /// Gives the mappings of `start..end` other rights on the host.
    fn protect_one(&mut self, limits: &Limits, start: usize, end: usize, prot: Prot) -> Result<()> {
        let Some(v) = self.map.find(start) else {
            return Err(Errno::ENOMEM);
        };
        if !v.max.contains(prot) {
            return Err(Errno::EACCES);
        }
        if v.prot == prot {
            return Ok(());
        }
        let becomes_data = prot.contains(Prot::WRITE)
            && !v.prot.contains(Prot::WRITE)
            && !v.flags.intersects(VmFlags::SHARED | VmFlags::GROWSDOWN);
        let pages = (end - start) / PAGE;
        if becomes_data
            && ((self.map.data + pages) as u64).saturating_mul(PAGE as u64) > limits.data
        {
            return Err(Errno::ENOMEM);
        }
        self.map.isolate(start, end)?;
        let Some(v) = self.map.find(start) else {
            return Err(Errno::ENOMEM);
        };
        let there = match &v.memory {
            Memory::Pages { filled, .. } => filled.within(start, end),
            Memory::Anon | Memory::Host { .. } => v.guards.gaps(start, end),
        };
        let rights = super::pager::shown(v, prot);
        for (a, b) in there {
            pal().protect(a, b - a, rights).map_err(host_error)?;
        }
        self.map.change(start, |v| v.prot = prot);
        Ok(())
    }

    /// Calls `f` for the mapped parts of `start..end` in order, each inside one mapping, until it
    /// fails; ENOMEM in the end if something was not mapped.
    pub(super) fn each(
        &mut self,
        start: usize,
        end: usize,
        mut f: impl FnMut(&mut Self, usize, usize) -> Result<()>,
    ) -> Result<()> {
        let mut at = start;
        let mut hole = false;
        while at < end {
            let Some(v) = self.map.at_or_after(at).filter(|v| v.start < end) else {
                hole = true;
                break;
            };
            hole |= v.start > at;
            let (a, b) = (v.start.max(at), v.end.min(end));
            f(self, a, b)?;
            at = b;
        }
        if hole { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Nothing in `start..end` is sealed; EPERM.
    pub(super) fn check_seals(&self, start: usize, end: usize) -> Result<()> {
        let sealed = |at: &usize| {
            self.map
                .find(*at)
                .is_some_and(|v| v.flags.contains(VmFlags::SEALED))
        };
        if self.map.touching(start, end).iter().any(sealed) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// Changes the flags of `start..end`, which lies in one mapping.
    pub(super) fn flag_one(
        &mut self,
        start: usize,
        end: usize,
        set: VmFlags,
        clear: VmFlags,
    ) -> Result<()> {
        let Some(v) = self.map.find(start) else {
            return Err(Errno::ENOMEM);
        };
        if v.flags == (v.flags - clear) | set {
            return Ok(());
        }
        self.map.isolate(start, end)?;
        self.map
            .change(start, |v| v.flags = (v.flags - clear) | set);
        Ok(())
    }
}

impl Mm {
    /// Changes access rights, `mprotect(2)`; `grows_down` extends the range to the start of a stack
    /// (`PROT_GROWSDOWN`). ENOMEM for what is not mapped, EACCES for what the file does not allow,
    /// EINVAL.
    pub fn protect(
        &self,
        limits: &Limits,
        mut start: usize,
        end: usize,
        prot: Prot,
        grows_down: bool,
    ) -> Result<()> {
        let mut s = self.state.lock();
        let first = s.map.at_or_after(start).ok_or(Errno::ENOMEM)?;
        if grows_down {
            if first.start >= end {
                return Err(Errno::ENOMEM);
            }
            start = first.start;
            if !first.flags.contains(VmFlags::GROWSDOWN) {
                return Err(Errno::EINVAL);
            }
        } else if first.start > start {
            return Err(Errno::ENOMEM);
        }
        s.check_seals(start, end)?;
        let mut at = start;
        let mut done = Ok(());
        while at < end {
            let Some(v) = s.map.find(at) else {
                done = Err(Errno::ENOMEM);
                break;
            };
            let stop = v.end.min(end);
            done = s.protect_one(limits, at, stop, prot);
            if done.is_err() {
                break;
            }
            at = stop;
        }
        s.map.merge(start, end);
        done
    }

    /// Locks (`flags` has `LOCKED`) or unlocks the mappings of a range; ENOMEM for holes and for
    /// too much locked memory. The caller brings the pages in.
    pub fn lock_range(
        &self,
        limits: &Limits,
        start: usize,
        end: usize,
        flags: VmFlags,
    ) -> Result<()> {
        let mut s = self.state.lock();
        if flags.contains(VmFlags::LOCKED) {
            let already: usize = s
                .map
                .touching(start, end)
                .iter()
                .filter_map(|&a| s.map.find(a))
                .filter(|v| v.flags.contains(VmFlags::LOCKED))
                .map(|v| (v.end.min(end) - v.start.max(start)) / PAGE)
                .sum();
            let wanted = s.map.locked - already + (end - start) / PAGE;
            if (wanted as u64).saturating_mul(PAGE as u64) > limits.locked {
                return Err(Errno::ENOMEM);
            }
        }
        let all = VmFlags::LOCKED | VmFlags::LOCKONFAULT;
        // Unlike madvise, stops at the first hole.
        let mut at = start;
        let mut done = Ok(());
        while at < end && done.is_ok() {
            let Some(stop) = s.map.find(at).map(|v| v.end.min(end)) else {
                done = Err(Errno::ENOMEM);
                break;
            };
            done = s.flag_one(at, stop, flags, all);
            at = stop;
        }
        s.map.merge(start, end);
        done
    }

    /// Seals the mappings of a range, `mseal(2)`; ENOMEM if something is not mapped.
    pub fn seal(&self, start: usize, end: usize) -> Result<()> {
        let mut s = self.state.lock();
        if !s.map.covers(start, end) {
            return Err(Errno::ENOMEM);
        }
        let done = s.each(start, end, |s, a, b| {
            s.flag_one(a, b, VmFlags::SEALED, VmFlags::empty())
        });
        s.map.merge(start, end);
        done
    }

    /// `mlockall(2)`: locks what is mapped (`now`) and what will be (`future`); ENOMEM for too much
    /// locked memory.
    pub fn lock_all(&self, limits: &Limits, now: Option<VmFlags>, future: VmFlags) -> Result<()> {
        let mut s = self.state.lock();
        if now.is_some_and(|f| f.contains(VmFlags::LOCKED))
            && (s.map.total as u64).saturating_mul(PAGE as u64) > limits.locked
        {
            return Err(Errno::ENOMEM);
        }
        s.lock_future = future;
        if let Some(flags) = now {
            let all = VmFlags::LOCKED | VmFlags::LOCKONFAULT;
            let spans: alloc::vec::Vec<(usize, usize)> =
                s.map.iter().map(|v| (v.start, v.end)).collect();
            for (a, b) in spans {
                s.flag_one(a, b, flags, all)?;
            }
            s.map.merge(0, USER_END);
        }
        Ok(())
    }

    /// Calls `f` for each mapping in order, cut to `start..end`, under the lock: it must not touch
    /// user memory. False stops.
    pub fn walk(&self, start: usize, end: usize, mut f: impl FnMut(&Vma, usize, usize) -> bool) {
        let s = self.state.lock();
        for at in s.map.touching(start, end) {
            if let Some(v) = s.map.find(at)
                && !f(v, v.start.max(start), v.end.min(end))
            {
                break;
            }
        }
    }

    /// Every address of the range is mapped.
    pub fn covers(&self, start: usize, end: usize) -> bool {
        self.state.lock().map.covers(start, end)
    }
}
