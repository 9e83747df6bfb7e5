//! Access to what is not mapped yet: page faults, stacks that grow, and mappings of objects that
//! shrank.

use super::map::STACK_GAP;
use super::vma::{Memory, VmFlags, Vma};
use super::{FaultOutcome, FutexKey, Limits, Mm, State, pager};
use crate::process::Work;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, Task, host_error, pal};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::pages::{LARGE, PAGE};
use bastide_pal::{MapSource, Prot};
use core::sync::atomic::Ordering;

const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
/// A fault brings in what contents there are in this many bytes around it.
const AROUND: usize = LARGE;
/// Most host mappings that one fill makes; the rest comes on access.
const FILL_MAX: usize = 1024;
/// The first program's stack grows by at least this much at a time.
const STACK_STEP: usize = 128 << 10;

/// Maps the contents that a mapping's object has in `from..to` and the platform does not map yet.
pub(super) fn fill(v: &mut Vma, from: usize, to: usize) -> Result<()> {
    let (start, prot, shared) = (v.start, pager::shown(v, v.prot), v.shared());
    let Memory::Pages {
        map,
        offset,
        filled,
    } = &mut v.memory
    else {
        return Ok(());
    };
    let object = map.object().clone();
    // Contents that continue in the kernel are one host mapping: address, kernel address, length.
    let mut run: Option<(usize, usize, usize)> = None;
    let mut made = 0;
    for (a, b) in filled.gaps(from, to) {
        let mut at = a;
        while at < b && made < FILL_MAX {
            let here = *offset + (at - start) as u64;
            let Some(r) = object.extent(here, (b - at) as u64) else {
                let skip = object
                    .next_extent(here)
                    .map_or(u64::MAX, |next| next.saturating_sub(here))
                    .max(PAGE as u64);
                at = at.saturating_add(usize::try_from(skip).unwrap_or(usize::MAX));
                continue;
            };
            let (kernel, len) = (r.pages.addr() + r.offset, r.len.min(b - at));
            run = match run {
                Some((u, k, n)) if u + n == at && k + n == kernel => Some((u, k, n + len)),
                Some(done) => {
                    map_run(done, prot, shared)?;
                    filled.insert(done.0, done.0 + done.2);
                    made += 1;
                    Some((at, kernel, len))
                }
                None => Some((at, kernel, len)),
            };
            at += len;
        }
    }
    if let Some(done) = run {
        map_run(done, prot, shared)?;
        filled.insert(done.0, done.0 + done.2);
    }
    Ok(())
}

fn map_run((at, kernel, len): (usize, usize, usize), prot: Prot, shared: bool) -> Result<()> {
    let source = MapSource::Kernel {
        addr: kernel,
        shared,
    };
    pal().map(at, len, prot, source).map_err(host_error)
}

impl State {
    /// Makes a stack that ends above `page` reach it.
    fn grow_stack(&mut self, limits: &Limits, page: usize) -> Option<()> {
        let above = self.map.at_or_after(page)?;
        if !above.flags.contains(VmFlags::GROWSDOWN) || !above.is_private_anon() {
            return None;
        }
        let (old, end, main) = (above.start, above.end, above.name == "[stack]");
        let floor = self.stack_floor(page, end, limits)?;
        let mut low = page;
        // The limit and the neighbours bind the page that is needed, not the haste.
        let ahead = old.saturating_sub(STACK_STEP).min(page).max(floor);
        if main && self.map.allowed(ahead, old - ahead) {
            low = ahead;
        }
        if !self.map.allowed(low, old - low) {
            return None;
        }
        let v = Vma {
            max: above.max,
            name: above.name,
            policy: above.policy,
            ..Vma::anon(low, old, above.prot, above.flags)
        };
        self.check_room(limits, &v, v.pages()).ok()?;
        if v.flags.contains(VmFlags::LOCKED) {
            self.check_lock(limits, v.pages()).ok()?;
        }
        pal().map(low, v.len(), v.prot, MapSource::Anon).ok()?;
        self.map.put(v);
        self.map.merge(low, end);
        Some(())
    }

    /// How low a stack that ends at `end` may reach; `None` if not to `page`.
    fn stack_floor(&self, page: usize, end: usize, limits: &Limits) -> Option<usize> {
        let limit = usize::try_from(limits.stack).unwrap_or(usize::MAX);
        let mut floor = end.saturating_sub(limit).div_ceil(PAGE) * PAGE;
        if let Some(below) = self.map.before(page) {
            // Another stack or an inaccessible mapping is guard enough.
            let open = below.flags.contains(VmFlags::GROWSDOWN) || below.prot.is_empty();
            floor = floor.max(below.end + if open { 0 } else { STACK_GAP });
        }
        (floor <= page).then_some(floor)
    }

    /// Drops what mappings show of an object from `from` on.
    fn cut(&mut self, object: u64, from: u64) -> Result<()> {
        let starts: Vec<usize> = self
            .map
            .iter()
            .filter(
                |v| matches!(&v.memory, Memory::Pages { map, .. } if map.object().id() == object),
            )
            .map(|v| v.start)
            .collect();
        for start in starts {
            let Some(v) = self.map.find_mut(start) else {
                continue;
            };
            let end = v.end;
            if let Memory::Pages { offset, filled, .. } = &mut v.memory {
                let skip = usize::try_from(from.saturating_sub(*offset)).unwrap_or(usize::MAX);
                let at = start.saturating_add(skip);
                for (a, b) in filled.within(at, end) {
                    pal().unmap(a, b - a).map_err(host_error)?;
                }
                filled.remove(at, end);
            }
        }
        Ok(())
    }

    fn settle(&mut self, mm: &Mm) {
        mm.hold_still_as_asked(self);
        let work = core::mem::take(&mut *mm.shrunk.lock());
        for (object, from) in work {
            // If the host cannot unmap (it is out of memory), the pages read as zero: not a
            // SIGBUS, but nothing stale.
            let _ = self.cut(object, from);
        }
    }
}

impl Mm {
    /// A page fault of the application, in `t`, whose address space this is.
    pub fn fault(&self, t: &Task, addr: usize, write: bool, exec: bool) -> FaultOutcome {
        t.faults.fetch_add(1, Ordering::Relaxed);
        self.fault_with(|| Limits::of(t), addr, write, exec)
    }

    pub(super) fn fault_with(
        &self,
        limits: impl FnOnce() -> Limits,
        addr: usize,
        write: bool,
        exec: bool,
    ) -> FaultOutcome {
        let page = addr & !(PAGE - 1);
        let mut s = self.state.lock();
        s.settle(self);
        if s.map.find(page).is_none() && s.grow_stack(&limits(), page).is_none() {
            return FaultOutcome::Segv(SEGV_MAPERR);
        }
        let Some(v) = s.map.find_mut(page) else {
            return FaultOutcome::Segv(SEGV_MAPERR);
        };
        let needed = match (write, exec) {
            (true, _) => Prot::WRITE,
            (_, true) => Prot::EXEC,
            _ => Prot::all(),
        };
        if !v.prot.intersects(needed) {
            return FaultOutcome::Segv(SEGV_ACCERR);
        }
        if v.guards.contains(page) {
            return FaultOutcome::Segv(SEGV_MAPERR);
        }
        let (start, end) = (v.start, v.end);
        if let Memory::Pages { map, filled, .. } = &v.memory
            && !filled.contains(page)
        {
            let offset = v.offset_at(page);
            // Beyond the end, or nothing left to give it.
            if map
                .object()
                .extent_or_alloc(offset, (end - page) as u64)
                .is_err()
            {
                return FaultOutcome::Bus;
            }
            let low = (page & !(AROUND - 1)).max(start);
            let high = (page & !(AROUND - 1)).saturating_add(AROUND).min(end);
            let filled_all = fill(v, low, high).is_ok();
            let now = matches!(&v.memory, Memory::Pages { filled, .. } if filled.contains(page));
            let paged = match &v.memory {
                Memory::Pages { map, .. } if map.object().is_paged() => Some(map.object().clone()),
                _ => None,
            };
            let outcome = if now || (!filled_all && fill(v, page, page + PAGE).is_ok()) {
                if write && v.is_tracked() {
                    // If that fails, the next access tells.
                    State::allow_writing(v, page);
                }
                FaultOutcome::Repaired
            } else {
                FaultOutcome::Bus
            };
            if let Some(object) = paged {
                s.make_room(self, &object, offset);
            }
            return outcome;
        }
        if v.is_tracked() {
            let rights = pager::shown(v, v.prot);
            let repaired = match write {
                true => State::allow_writing(v, page),
                // It may have been given the right to write meanwhile, and then has it again soon.
                false => pal().protect(page, PAGE, rights).is_ok(),
            };
            return match repaired {
                true => FaultOutcome::Repaired,
                false => FaultOutcome::Segv(SEGV_MAPERR),
            };
        }
        // The platform should have it: another thread has just made the mapping, or changed its
        // rights. Setting them again tells whether it is there at all.
        match pal().protect(page, PAGE, v.prot) {
            Ok(()) => FaultOutcome::Repaired,
            Err(_) => FaultOutcome::Segv(SEGV_MAPERR),
        }
    }

    /// As [`Mm::fault`] for the kernel's own accesses: true if it is worth trying again.
    pub fn repair(&self, t: &Task, addr: usize, write: bool) -> bool {
        self.fault(t, addr, write, false) == FaultOutcome::Repaired
    }

    /// An object shrank to `from` bytes: mappings of what lies beyond must go, before the process
    /// runs application code again.
    pub fn object_shrunk(&self, object: u64, from: u64) {
        self.shrunk.lock().push((object, from));
        let tasks: Vec<Arc<Task>> = crate::kernel().tasks.lock().values().cloned().collect();
        for t in tasks {
            if core::ptr::eq(Arc::as_ptr(&t.mm()), self) {
                t.add_work(Work::MEMORY);
            }
        }
    }

    /// Drops the mappings that [`Mm::object_shrunk`] named; the calling thread's own address space.
    pub fn settle(&self) {
        self.state.lock().settle(self);
    }

    /// Brings the pages of `start..end` in, as far as they are mapped; with `write`, as by a write,
    /// where that is allowed. EFAULT in the end if some could not be had, or are not accessible.
    pub fn populate(&self, t: &Task, start: usize, end: usize, write: bool) -> Result<()> {
        let mut at = start;
        let mut done = Ok(());
        while at < end {
            let Some((from, stop, prot)) = self.next_map(at, end) else {
                break;
            };
            let write = write && prot.contains(Prot::WRITE);
            let touch = |page| {
                if write {
                    // Writes the word's own value: a write access that changes nothing.
                    user::cas_u32(t, UserAddr(page), 0, 0)
                } else {
                    user::load_u32(t, UserAddr(page))
                }
            };
            if prot.is_empty() || (from..stop).step_by(PAGE).any(|page| touch(page).is_err()) {
                done = Err(Errno::EFAULT);
            }
            at = stop;
        }
        done
    }

    /// Start, end and rights of the first mapping in a range, cut to it.
    fn next_map(&self, at: usize, end: usize) -> Option<(usize, usize, Prot)> {
        let s = self.state.lock();
        let v = s.map.at_or_after(at).filter(|v| v.start < end)?;
        Some((v.start.max(at), v.end.min(end), v.prot))
    }

    /// The futex at an address; EFAULT if a shared one is not mapped.
    pub fn futex_key(&self, addr: usize, private: bool) -> Result<FutexKey> {
        if bastide_base::user::accessible(addr, 4) < 4 {
            return Err(Errno::EFAULT);
        }
        let own = FutexKey::Private { mm: self.id, addr };
        if private {
            return Ok(own);
        }
        let (file, offset) = {
            let s = self.state.lock();
            let v = s.map.find(addr).ok_or(Errno::EFAULT)?;
            if v.prot.is_empty() {
                return Err(Errno::EFAULT);
            }
            if !v.shared() {
                return Ok(own);
            }
            let offset = v.offset_at(addr);
            match &v.memory {
                Memory::Pages { map, .. } => {
                    return Ok(FutexKey::Shared {
                        object: map.object().id(),
                        offset,
                    });
                }
                Memory::Anon | Memory::Host { .. } => (v.file.clone(), offset),
            }
        };
        // A host file: the same one however it was opened.
        let stat = match file {
            Some(f) => f.stat()?,
            None => return Ok(own),
        };
        Ok(FutexKey::Shared {
            object: stat.dev.rotate_left(40) ^ stat.ino | 1 << 63,
            offset,
        })
    }
}
