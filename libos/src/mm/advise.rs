//! `madvise(2)` and `mincore(2)`.

use super::calls::page_range;
use super::report::MapInfo;
use super::vma::{Memory, VmFlags};
use super::{Mm, State, fault, page_up};
use crate::abi::raw::general::*;
use crate::fs::File;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task, host_error, pal};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bastide_base::pages::PAGE;
use bastide_pal::{MapSource, Prot};

/// Flags of `fallocate(2)`: `FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE`.
const PUNCH: u32 = 3;

/// `madvise(2)`. EINVAL, ENOMEM for what is not mapped, EACCES, EFAULT.
pub fn sys_madvise(t: &Arc<Task>, start: usize, len: usize, advice: u32) -> SysResult {
    let known = matches!(
        advice,
        MADV_NORMAL
            | MADV_RANDOM
            | MADV_SEQUENTIAL
            | MADV_WILLNEED
            | MADV_DONTNEED
            | MADV_FREE..=MADV_DOFORK
            | MADV_HUGEPAGE..=MADV_DONTNEED_LOCKED
            | MADV_GUARD_INSTALL
            | MADV_GUARD_REMOVE
    );
    if !known || start % PAGE != 0 {
        return Err(Errno::EINVAL);
    }
    let end = page_up(len)
        .and_then(|n| start.checked_add(n))
        .ok_or(Errno::EINVAL)?;
    if start == end {
        return Ok(0);
    }
    let mm = t.mm();
    match advice {
        MADV_POPULATE_READ | MADV_POPULATE_WRITE => {
            populate(t, &mm, start, end, advice == MADV_POPULATE_WRITE)?;
        }
        MADV_REMOVE => remove(&mm, start, end)?,
        _ => mm.advise(start, end, advice)?,
    }
    Ok(0)
}

/// `MADV_POPULATE_*`: EINVAL where the access is not allowed, ENOMEM for what is not mapped, EFAULT
/// where it would fault.
fn populate(t: &Task, mm: &Mm, start: usize, end: usize, write: bool) -> Result<()> {
    let mut at = start;
    while at < end {
        let mut stop = None;
        let mut allowed = false;
        mm.walk(at, end, |v, a, b| {
            if a == at {
                stop = Some(b);
                allowed = if write {
                    v.prot.contains(Prot::WRITE)
                } else {
                    !v.prot.is_empty()
                };
            }
            false
        });
        let stop = stop.ok_or(Errno::ENOMEM)?;
        if !allowed {
            return Err(Errno::EINVAL);
        }
        mm.populate(t, at, stop, write)?;
        at = stop;
    }
    Ok(())
}

/// `MADV_REMOVE`: makes a hole in the shared object. EINVAL for locked or private memory, EACCES
/// if it is not writable.
fn remove(mm: &Mm, start: usize, end: usize) -> Result<()> {
    enum Hole {
        Object(Arc<super::PageObject>, u64, u64),
        File(Arc<File>, u64, u64),
    }
    let mut holes = Vec::new();
    let mut bad = None;
    mm.walk(start, end, |v, a, b| {
        let (offset, len) = (v.offset_at(a), (b - a) as u64);
        let hole = match (&v.memory, &v.file) {
            _ if v.flags.contains(VmFlags::LOCKED) => Err(Errno::EINVAL),
            (Memory::Anon, _) => Err(Errno::EINVAL),
            _ if !v.shared() || !v.prot.contains(Prot::WRITE) => Err(Errno::EACCES),
            (Memory::Pages { map, .. }, Some(f)) if map.object().is_paged() => {
                Ok(Hole::File(f.clone(), offset, len))
            }
            (Memory::Pages { map, .. }, _) => Ok(Hole::Object(map.object().clone(), offset, len)),
            (Memory::Host { .. }, Some(f)) => Ok(Hole::File(f.clone(), offset, len)),
            (Memory::Host { .. }, None) => Err(Errno::EINVAL),
        };
        match hole {
            Ok(h) => holes.push(h),
            Err(e) => bad = Some(e),
        }
        bad.is_none()
    });
    for h in holes {
        match h {
            Hole::Object(o, at, len) => o.punch(at, len)?,
            Hole::File(f, at, len) => f.ops.fallocate(PUNCH, at, len)?,
        }
    }
    match bad {
        Some(e) => Err(e),
        None if mm.covers(start, end) => Ok(()),
        None => Err(Errno::ENOMEM),
    }
}

impl Mm {
    /// Advice that needs no user memory.
    fn advise(&self, start: usize, end: usize, advice: u32) -> Result<()> {
        let mut s = self.state.lock();
        let discards = matches!(
            advice,
            MADV_FREE
                | MADV_DONTNEED
                | MADV_DONTNEED_LOCKED
                | MADV_DONTFORK
                | MADV_WIPEONFORK
                | MADV_GUARD_INSTALL
        );
        let done = s.each(start, end, |s, a, b| {
            // Sealed memory that may not be written may not be zeroed this way either.
            let v = s.map.find(a).ok_or(Errno::ENOMEM)?;
            if discards
                && v.flags.contains(VmFlags::SEALED)
                && v.is_private_anon()
                && !v.prot.contains(Prot::WRITE)
            {
                return Err(Errno::EPERM);
            }
            s.advise_one(a, b, advice)
        });
        s.map.merge(start, end);
        done
    }

    /// One byte per page of `start..end`: bit 0 if it has memory. ENOMEM if something is not
    /// mapped.
    fn resident(&self, start: usize, end: usize, out: &mut [u8]) -> Result<()> {
        let mut s = self.state.lock();
        s.each(start, end, |s, a, b| {
            let part = out
                .get_mut((a - start) / PAGE..(b - start) / PAGE)
                .ok_or(Errno::EINVAL)?;
            let v = s.map.find(a).ok_or(Errno::ENOMEM)?;
            match &v.memory {
                Memory::Pages { map, filled, .. } => {
                    map.object().residency(v.offset_at(a), part);
                    // The platform knows better which pages of a large block were touched.
                    for (from, to) in filled.within(a, b) {
                        if let Some(part) = part.get_mut((from - a) / PAGE..(to - a) / PAGE) {
                            pal().resident(from, to - from, part).map_err(host_error)?;
                        }
                    }
                    Ok(())
                }
                _ => pal().resident(a, b - a, part).map_err(host_error),
            }
        })
    }
}

impl State {
    /// Advice for a range inside one mapping.
    fn advise_one(&mut self, a: usize, b: usize, advice: u32) -> Result<()> {
        let none = VmFlags::empty();
        let reading = VmFlags::SEQ_READ | VmFlags::RAND_READ;
        let huge = VmFlags::HUGEPAGE | VmFlags::NOHUGEPAGE;
        let v = self.map.find(a).ok_or(Errno::ENOMEM)?;
        let locked = v.flags.contains(VmFlags::LOCKED);
        let (set, clear) = match advice {
            MADV_NORMAL => (none, reading),
            MADV_RANDOM => (VmFlags::RAND_READ, reading),
            MADV_SEQUENTIAL => (VmFlags::SEQ_READ, reading),
            MADV_DONTFORK => (VmFlags::DONTFORK, none),
            MADV_DOFORK => (none, VmFlags::DONTFORK),
            MADV_DONTDUMP => (VmFlags::DONTDUMP, none),
            MADV_DODUMP => (none, VmFlags::DONTDUMP),
            MADV_WIPEONFORK if v.is_private_anon() && v.file.is_none() => {
                (VmFlags::WIPEONFORK, none)
            }
            MADV_WIPEONFORK => return Err(Errno::EINVAL),
            MADV_KEEPONFORK => (none, VmFlags::WIPEONFORK),
            MADV_HUGEPAGE | MADV_NOHUGEPAGE => {
                let wanted = advice == MADV_HUGEPAGE;
                if v.is_private_anon() {
                    // Small ones do as well.
                    let _ = pal().large_pages(a, b - a, wanted);
                }
                let set = if wanted {
                    VmFlags::HUGEPAGE
                } else {
                    VmFlags::NOHUGEPAGE
                };
                (set, huge)
            }
            MADV_DONTNEED | MADV_COLD | MADV_PAGEOUT if locked => return Err(Errno::EINVAL),
            // Freed at once, as the call allows.
            MADV_FREE if !v.is_private_anon() => return Err(Errno::EINVAL),
            MADV_FREE | MADV_DONTNEED | MADV_DONTNEED_LOCKED => return self.discard(a, b),
            MADV_WILLNEED => {
                if let Some(v) = self.map.find_mut(a) {
                    // What does not get mapped now is mapped on access.
                    let _ = fault::fill(v, a, b);
                }
                return Ok(());
            }
            MADV_GUARD_INSTALL if locked || !v.is_private_anon() => return Err(Errno::EINVAL),
            MADV_GUARD_INSTALL => return self.guard(a, b),
            MADV_GUARD_REMOVE => return self.unguard(a, b),
            _ => return Ok(()),
        };
        self.flag_one(a, b, set, clear)
    }

    /// Private pages lose their contents and may not be touched any more.
    fn guard(&mut self, a: usize, b: usize) -> Result<()> {
        pal()
            .map(a, b - a, Prot::empty(), MapSource::Anon)
            .map_err(host_error)?;
        if let Some(v) = self.map.find_mut(a) {
            v.guards.insert(a, b);
        }
        Ok(())
    }

    /// Guarded pages become fresh memory.
    fn unguard(&mut self, a: usize, b: usize) -> Result<()> {
        if let Some(v) = self.map.find_mut(a) {
            for (a, b) in v.guards.within(a, b) {
                pal()
                    .map(a, b - a, v.prot, MapSource::Anon)
                    .map_err(host_error)?;
            }
            v.guards.remove(a, b);
        }
        Ok(())
    }

    /// Private pages lose their contents: they read as zero, or as their file, again. Shared
    /// pages keep theirs.
    fn discard(&mut self, a: usize, b: usize) -> Result<()> {
        let v = self.map.find(a).ok_or(Errno::ENOMEM)?;
        if v.shared() {
            return Ok(());
        }
        match &v.memory {
            Memory::Pages { filled, .. } => {
                for (a, b) in filled.within(a, b) {
                    pal().discard(a, b - a).map_err(host_error)?;
                }
                Ok(())
            }
            _ => pal().discard(a, b - a).map_err(host_error),
        }
    }
}

/// `mincore(2)`. EINVAL, ENOMEM for what is not mapped, EFAULT.
pub fn sys_mincore(t: &Arc<Task>, start: usize, len: usize, out: UserAddr) -> SysResult {
    if start % PAGE != 0 {
        return Err(Errno::EINVAL);
    }
    let (start, end) = page_range(start, len, Errno::ENOMEM)?;
    let pages = (end - start) / PAGE;
    if bastide_base::user::accessible(out.0, pages) < pages {
        return Err(Errno::EFAULT);
    }
    let mm = t.mm();
    let mut buf = vec![0u8; pages.min(4096)];
    let mut at = start;
    while at < end {
        let stop = (at + buf.len() * PAGE).min(end);
        let n = (stop - at) / PAGE;
        let part = buf.get_mut(..n).ok_or(Errno::EINVAL)?;
        part.fill(0);
        mm.resident(at, stop, part)?;
        part.iter_mut().for_each(|b| *b &= 1);
        user::write_bytes(t, out.offset((at - start) / PAGE)?, part)?;
        at = stop;
    }
    Ok(0)
}

/// The platform knows which pages of a mapping are there.
fn asked_about(m: &MapInfo) -> bool {
    m.filled.is_none() && !m.prot.is_empty()
}

impl Mm {
    /// Bytes of memory behind the mappings: all, and of files and shared objects. Exact for the
    /// calling thread's own address space (`own`); for another, private memory counts as if all
    /// of it that can be written had been touched.
    pub fn resident_bytes(&self, own: bool) -> (u64, u64) {
        let maps = self.describe_maps();
        let (mut all, mut file) = (0, 0);
        let mut add = |m: &MapInfo, bytes: u64| {
            all += bytes;
            if !m.anonymous {
                file += bytes;
            }
        };
        for group in maps.chunk_by(|a, b| asked_about(a) && asked_about(b) && a.end == b.start) {
            match group {
                [m] if m.filled.is_some() => add(m, m.filled.unwrap_or(0) as u64),
                _ if own => self.count_present(group, &mut add),
                _ => {
                    for m in group {
                        add(m, self.resident_span(m.start, m.end, false));
                    }
                }
            }
        }
        (all, file)
    }

    /// Adds up what is there of adjacent mappings, which the platform is asked about together.
    fn count_present(&self, group: &[MapInfo], add: &mut impl FnMut(&MapInfo, u64)) {
        const MOST: usize = 4096 * PAGE;
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return;
        };
        if !asked_about(first) {
            return;
        }
        let mut buf = vec![0u8; (last.end - first.start).min(MOST) / PAGE];
        for at in (first.start..last.end).step_by(MOST) {
            let stop = (at + MOST).min(last.end);
            let part = &mut buf[..(stop - at) / PAGE];
            let known = pal().resident(at, stop - at, part).is_ok();
            for m in group.iter().filter(|m| m.start < stop && m.end > at) {
                let (a, b) = (m.start.max(at), m.end.min(stop));
                let bytes = if known {
                    let pages = &part[(a - at) / PAGE..(b - at) / PAGE];
                    (pages.iter().filter(|&&p| p & 1 != 0).count() * PAGE) as u64
                } else {
                    // One of them has a hole, or has changed meanwhile.
                    self.resident_span(a, b, true)
                };
                add(m, bytes);
            }
        }
    }

    /// Which pages of a range inside one mapping are there, as `mincore(2)` sees it; of another
    /// address space, those that may be.
    pub fn present(&self, start: usize, end: usize, own: bool) -> Vec<bool> {
        let pages = (end - start) / PAGE;
        let mut out = vec![0u8; pages];
        if own && self.resident(start, end, &mut out).is_ok() {
            return out.iter().map(|b| b & 1 != 0).collect();
        }
        vec![self.resident_span(start, end, false) > 0; pages]
    }

    /// As [`Mm::resident_bytes`] for a range inside one mapping that the platform has all of.
    pub(super) fn resident_span(&self, start: usize, end: usize, own: bool) -> u64 {
        let s = self.state.lock();
        let Some(v) = s.map.find(start).filter(|v| v.end >= end) else {
            // It changed meanwhile.
            return 0;
        };
        if v.prot.is_empty() {
            return 0;
        }
        if !own {
            let touched = v.prot.contains(Prot::WRITE) && v.is_private_anon();
            return if touched { (end - start) as u64 } else { 0 };
        }
        let mut buf = vec![0u8; 4096];
        let mut pages = 0;
        for at in (start..end).step_by(buf.len() * PAGE) {
            let stop = (at + buf.len() * PAGE).min(end);
            let part = &mut buf[..(stop - at) / PAGE];
            if pal().resident(at, stop - at, part).is_ok() {
                pages += part.iter().filter(|&&b| b & 1 != 0).count();
            }
        }
        (pages * PAGE) as u64
    }
}
