//! Page objects: contents of in-memory files and shared memory, in kernel pages that can be
//! mapped.

use super::Mm;
use super::extents::{Cut, Extents, Run};
use super::pager::{Changed, Pager};
use crate::abi::raw::general::{
    F_SEAL_EXEC, F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE,
};
use crate::uio::{IoDst, IoSrc};
use crate::{Errno, Result};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::pages::{self, PAGE};
use bastide_base::sync::Mutex;
use core::sync::atomic::{AtomicU64, Ordering};

/// Every seal of `fcntl(2)` F_ADD_SEALS.
const F_SEAL_ALL: u32 =
    F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_EXEC;

/// Pages that the objects of one file system may hold together.
#[derive(Debug)]
pub struct Budget {
    limit: AtomicU64,
    used: AtomicU64,
}

impl Budget {
    /// At most `limit` pages.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Budget {
            limit: AtomicU64::new(limit),
            used: AtomicU64::new(0),
        })
    }

    /// Pages that may be used.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the limit (remount); what is used stays.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Pages in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts `n` more pages, even beyond the limit.
    fn add(&self, n: u64) {
        self.used.fetch_add(n, Ordering::Relaxed);
    }

    /// Pages that should be given back.
    pub(super) fn excess(&self) -> u64 {
        self.used().saturating_sub(self.limit())
    }

    /// Takes up to `n` pages; returns how many.
    fn take(&self, n: u64) -> u64 {
        let mut got = 0;
        let _ = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |u| {
                got = self.limit().saturating_sub(u).min(n);
                Some(u + got)
            });
        got
    }

    fn give(&self, n: u64) {
        self.used.fetch_sub(n, Ordering::Relaxed);
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) extents: Extents,
    seals: u32,
    /// Mappings of it, and those of them that are or may become writable and write through.
    pub(super) maps: usize,
    writable_maps: usize,
    /// Address spaces that map it (or did).
    mappers: Vec<Weak<Mm>>,
    /// For [`super::pager`]; and where to look next for what can be paged out.
    pub(super) changed: Changed,
    pub(super) hand: u64,
}

impl State {
    /// Address spaces that may map it.
    pub(super) fn mapper_count(&self) -> usize {
        self.mappers.iter().filter(|m| m.strong_count() > 0).count()
    }

    /// The address space that maps it, if there is one only.
    pub(super) fn only_mapper(&self) -> Option<Arc<Mm>> {
        let mut all = self.mappers.iter().filter_map(Weak::upgrade);
        let only = all.next()?;
        (self.maps > 0 && all.next().is_none()).then_some(only)
    }
}

/// A growable run of pages with holes. Contents are shared by all who map it.
///
/// Two locks: `change` makes writes, size changes and holes happen one after the other and is
/// held while the application's memory is copied; `state` is never held then, so that a fault in
/// a mapping of the same object can be repaired meanwhile.
pub struct PageObject {
    id: u64,
    /// Shared memory of a fixed size: no holes to keep, so an access may bring in a large block.
    fixed: bool,
    pub(super) budget: Option<Arc<Budget>>,
    change: Mutex<()>,
    /// Where the contents come from, if they are elsewhere.
    pub(super) pager: Option<Weak<dyn Pager>>,
    pub(super) state: Mutex<State>,
    /// The size in bytes. It changes with `state` locked; who only asks for it need not lock that.
    size: AtomicU64,
}

enum Segment {
    Data(Run),
    Hole(u64),
}

const P: u64 = PAGE as u64;
/// Shared memory up to this size comes in page by page.
const SMALL: u64 = 16 * P;
/// Pages of the largest block.
const LARGE: u64 = (pages::LARGE / PAGE) as u64;

impl PageObject {
    /// Empty, size 0; cannot be sealed.
    pub fn new() -> Arc<Self> {
        Self::make(None, F_SEAL_SEAL, None)
    }

    /// The contents of a file that is elsewhere. Where they are too many for the budget, those of
    /// before give way.
    pub fn paged(size: u64, pager: Weak<dyn Pager>, budget: Arc<Budget>) -> Arc<Self> {
        let mut object = Self::bare(Some(budget), F_SEAL_SEAL, None);
        object.pager = Some(pager);
        *object.size.get_mut() = size;
        Arc::new(object)
    }

    /// As [`PageObject::new`], with memory that counts against a budget.
    pub fn with_budget(budget: Arc<Budget>) -> Arc<Self> {
        Self::make(Some(budget), F_SEAL_SEAL, None)
    }

    /// As [`PageObject::new`] with these seals (`memfd_create(2)`).
    pub fn with_seals(seals: u32) -> Arc<Self> {
        Self::make(None, seals, None)
    }

    /// Shared memory of a fixed size (`MAP_SHARED | MAP_ANONYMOUS`, System V segments).
    pub fn sized(size: u64) -> Arc<Self> {
        Self::make(None, F_SEAL_SEAL, Some(size))
    }

    fn make(budget: Option<Arc<Budget>>, seals: u32, size: Option<u64>) -> Arc<Self> {
        Arc::new(Self::bare(budget, seals, size))
    }

    fn bare(budget: Option<Arc<Budget>>, seals: u32, size: Option<u64>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        PageObject {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            fixed: size.is_some(),
            budget,
            change: Mutex::new(()),
            pager: None,
            state: Mutex::new(State {
                seals,
                ..State::default()
            }),
            size: AtomicU64::new(size.unwrap_or(0)),
        }
    }

    /// A number that no other object ever has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Bytes of memory behind it.
    pub fn allocated(&self) -> u64 {
        self.state.lock().extents.count() * P
    }

    /// Somebody maps it.
    pub fn is_mapped(&self) -> bool {
        self.state.lock().maps > 0
    }

    pub(super) fn charge(&self, n: u64) -> u64 {
        match &self.budget {
            Some(b) if self.is_paged() => {
                b.add(n);
                n
            }
            Some(b) => b.take(n),
            None => n,
        }
    }

    pub(super) fn refund(&self, n: u64) {
        if let Some(b) = &self.budget {
            b.give(n);
        }
    }

    /// Reads at `offset` up to the size; 0 at or beyond it.
    pub fn read(&self, offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        let mut done = 0;
        while dst.left() > 0 {
            let at = offset.saturating_add(done as u64);
            if at < self.size() {
                match self.bring_in(at) {
                    Err(_) if done > 0 => break,
                    brought => brought?,
                }
            }
            let Some(segment) = self.segment(at, dst.left()) else {
                break;
            };
            let (want, put) = match segment {
                Segment::Data(r) => (r.len, dst.put_pages(&r.pages, r.offset, r.len)),
                Segment::Hole(n) => (n as usize, dst.put_zeros(n as usize)),
            };
            match put {
                Ok(n) => {
                    done += n;
                    if n < want {
                        break;
                    }
                }
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// What lies at `at`, at most `max` bytes; `None` at the end.
    fn segment(&self, at: u64, max: usize) -> Option<Segment> {
        let s = self.state.lock();
        let left = self
            .size()
            .checked_sub(at)
            .filter(|&n| n > 0)?
            .min(max as u64);
        let (page, skip) = (at / P, (at % P) as usize);
        let end = (at + left).div_ceil(P);
        Some(match s.extents.run(page, end) {
            Some(mut r) => {
                r.offset += skip;
                r.len = (r.len - skip).min(left as usize);
                Segment::Data(r)
            }
            None => {
                let next = s.extents.next_present(page).unwrap_or(end).min(end);
                Segment::Hole((next * P - at).min(left))
            }
        })
    }

    /// Writes at `offset`, growing. ENOSPC if memory is out, EPERM if sealed.
    pub fn write(&self, offset: u64, src: &mut IoSrc<'_>) -> Result<usize> {
        if self.is_paged() {
            return self.write_paged(offset, src);
        }
        let _one = self.change.lock();
        self.write_locked(offset, src)
    }

    /// Writes at the end; returns where that was, and the bytes written.
    pub fn append(&self, src: &mut IoSrc<'_>) -> Result<(u64, usize)> {
        let _one = self.change.lock();
        let end = self.size();
        self.write_locked(end, src).map(|n| (end, n))
    }

    fn write_locked(&self, offset: u64, src: &mut IoSrc<'_>) -> Result<usize> {
        let mut done = 0;
        while src.left() > 0 {
            let at = offset.checked_add(done as u64).ok_or(Errno::EFBIG)?;
            let step = self.room(at, src.left()).and_then(|r| {
                src.take_pages(&r.pages, r.offset, r.len)
                    .map(|n| (n, r.len))
            });
            match step {
                Ok((n, room)) => {
                    done += n;
                    let _state = self.state.lock();
                    self.size.fetch_max(at + n as u64, Ordering::AcqRel);
                    if n < room {
                        break;
                    }
                }
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Memory for a write at `at` of at most `max` bytes.
    fn room(&self, at: u64, max: usize) -> Result<Run> {
        let mut s = self.state.lock();
        if s.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        let mut end = at.checked_add(max as u64).ok_or(Errno::EFBIG)?;
        if s.seals & F_SEAL_GROW != 0 {
            // Page by page, as Linux: a page that would cross the end is refused whole.
            end = end.min(self.size());
            if end <= at {
                return Err(Errno::EPERM);
            }
        }
        if at > self.size() && self.size() % P != 0 {
            // What a mapping wrote beyond the end must not appear.
            s.extents
                .zero_tail(self.size() / P, (self.size() % P) as usize);
        }
        let skip = (at % P) as usize;
        let mut r = s
            .extents
            .fill(at / P, end.div_ceil(P), |n| self.charge(n))
            .ok_or(Errno::ENOSPC)?;
        r.offset += skip;
        r.len = (r.len - skip).min((end - at) as usize);
        Ok(r)
    }

    /// Grows (with a hole) or shrinks; what is cut off reads as zero if it comes back, and accesses
    /// through mappings beyond the last page get SIGBUS. EPERM if sealed.
    pub fn set_size(&self, size: u64) -> Result<()> {
        let _one = self.change.lock();
        let mut s = self.state.lock();
        if size < self.size() && s.seals & F_SEAL_SHRINK != 0
            || size > self.size() && s.seals & F_SEAL_GROW != 0
        {
            return Err(Errno::EPERM);
        }
        let tail = size.min(self.size());
        if tail % P != 0 && size != self.size() {
            s.extents.zero_tail(tail / P, (tail % P) as usize);
        }
        let shrinks = size < self.size();
        self.size.store(size, Ordering::Release);
        if !shrinks {
            return Ok(());
        }
        let how = if s.maps > 0 {
            Cut::Truncate
        } else {
            Cut::Unmapped
        };
        let first = size.div_ceil(P);
        let (freed, gone) = s.extents.cut(first, u64::MAX, how);
        let mappers: Vec<Arc<Mm>> = s.mappers.iter().filter_map(Weak::upgrade).collect();
        drop(s);
        self.refund(freed);
        drop(gone);
        for mm in mappers {
            mm.object_shrunk(self.id, first * P);
        }
        Ok(())
    }

    /// Gives memory to a range without changing the size. ENOSPC leaves what there was; EPERM if
    /// sealed against growing and the range ends beyond the size.
    pub fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        let _one = self.change.lock();
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        let mut s = self.state.lock();
        if end > self.size() && s.seals & F_SEAL_GROW != 0 {
            return Err(Errno::EPERM);
        }
        let (mut page, end) = (offset / P, end.div_ceil(P));
        let need = s.extents.absent_in(page, end);
        let got = self.charge(need);
        if got < need {
            self.refund(got);
            return Err(Errno::ENOSPC);
        }
        let mut unused = need;
        while page < end {
            let filled = s.extents.fill(page, end, |n| {
                unused = unused.saturating_sub(n);
                n
            });
            match filled {
                Some(r) => page += (r.len / PAGE) as u64,
                None => break,
            }
        }
        drop(s);
        self.refund(unused);
        if page < end {
            Err(Errno::ENOSPC)
        } else {
            Ok(())
        }
    }

    /// Makes a hole: whole pages lose their memory, the rest is zeroed. EPERM if sealed.
    pub fn punch(&self, offset: u64, len: u64) -> Result<()> {
        let _one = self.change.lock();
        let mut s = self.state.lock();
        if s.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        let end = offset
            .saturating_add(len)
            .min(self.size().next_multiple_of(P));
        if offset >= end {
            return Ok(());
        }
        let (first, last) = (offset.div_ceil(P), end / P);
        let zero = |from: u64, to: u64| {
            if from < to
                && let Some(r) = s.extents.run(from / P, from / P + 1)
            {
                r.pages
                    .zero(r.offset + (from % P) as usize, (to - from) as usize);
            }
        };
        zero(offset, (first * P).min(end));
        if last >= first {
            zero(last * P, end);
        }
        if first >= last {
            return Ok(());
        }
        let how = if s.maps > 0 {
            Cut::Punch
        } else {
            Cut::Unmapped
        };
        let (freed, gone) = s.extents.cut(first, last, how);
        drop(s);
        self.refund(freed);
        drop(gone);
        Ok(())
    }

    /// First data (or hole) at or after `offset`, by whole pages; ENXIO beyond the end.
    pub fn seek_data(&self, offset: u64, data: bool) -> Result<u64> {
        let s = self.state.lock();
        if offset >= self.size() {
            return Err(Errno::ENXIO);
        }
        let page = offset / P;
        let found = if data {
            s.extents.next_present(page).ok_or(Errno::ENXIO)? * P
        } else {
            (s.extents.next_absent(page) * P).min(self.size())
        };
        if found >= self.size() && data {
            return Err(Errno::ENXIO);
        }
        Ok(found.max(offset))
    }

    /// `F_GET_SEALS`.
    pub fn seals(&self) -> u32 {
        self.state.lock().seals
    }

    /// `F_ADD_SEALS`: EINVAL for unknown seals, EPERM if that is sealed, EBUSY if writable
    /// mappings stand against `F_SEAL_WRITE`.
    pub fn add_seals(&self, seals: u32) -> Result<()> {
        if seals & !F_SEAL_ALL != 0 {
            return Err(Errno::EINVAL);
        }
        let _one = self.change.lock();
        let mut s = self.state.lock();
        if s.seals & F_SEAL_SEAL != 0 {
            return Err(Errno::EPERM);
        }
        if seals & F_SEAL_WRITE != 0 && s.seals & F_SEAL_WRITE == 0 && s.writable_maps > 0 {
            return Err(Errno::EBUSY);
        }
        s.seals |= seals;
        Ok(())
    }

    /// Contents at a page-aligned offset for a mapping, at most `max` bytes: `None` for a hole or
    /// beyond the last page. The memory stays where it is while a [`Mapped`] exists.
    pub fn extent(&self, offset: u64, max: u64) -> Option<Run> {
        let s = self.state.lock();
        let end = offset
            .saturating_add(max)
            .div_ceil(P)
            .min(self.size().div_ceil(P));
        (offset / P < end).then(|| s.extents.run(offset / P, end))?
    }

    /// As [`PageObject::extent`], filling a hole with zeros first. A long run of contents before it
    /// suggests that more is coming: then as much again is filled, within `max`. ENOMEM if memory
    /// or the budget is out, ENXIO beyond the last page.
    pub fn extent_or_alloc(&self, offset: u64, max: u64) -> Result<Run> {
        if self.is_paged() {
            if offset >= self.size().next_multiple_of(P) {
                return Err(Errno::ENXIO);
            }
            self.bring_in(offset)?;
        }
        let mut s = self.state.lock();
        let page = offset / P;
        let end = offset
            .saturating_add(max)
            .div_ceil(P)
            .min(self.size().div_ceil(P));
        if page >= end {
            return Err(Errno::ENXIO);
        }
        if let Some(r) = s.extents.run(page, end) {
            return Ok(r);
        }
        if self.is_paged() {
            // It was cut off in between.
            return Err(Errno::ENXIO);
        }
        if self.fixed && self.size() > SMALL {
            // The whole block, if it can be had; it takes memory only as it is touched.
            let first = page & !(LARGE - 1);
            let last = (first + LARGE).min(self.size().div_ceil(P));
            let mut at = first;
            while at < last
                && let Some(r) = s.extents.lay_out(at, last, |n| self.charge(n))
            {
                at += (r.len / PAGE) as u64;
            }
            s.expect_as_before(first);
            return s.extents.run(page, end).ok_or(Errno::ENOMEM);
        }
        let ahead = s.extents.run_before(page).max(1);
        s.extents
            .fill(page, end.min(page + ahead), |n| self.charge(n))
            .ok_or(Errno::ENOMEM)
    }

    /// Sets a byte per page from a page-aligned offset on to whether it holds contents.
    pub fn residency(&self, offset: u64, out: &mut [u8]) {
        if self.fixed {
            // What is in large blocks that nobody touched is not there.
            return;
        }
        let s = self.state.lock();
        let first = offset / P;
        let end = first + out.len() as u64;
        let mut page = first;
        while let Some(p) = s.extents.next_present(page).filter(|&p| p < end) {
            page = s.extents.next_absent(p).min(end);
            out[(p - first) as usize..(page - first) as usize].fill(1);
        }
    }

    /// Where the next contents begin at or after a page-aligned offset.
    pub fn next_extent(&self, offset: u64) -> Option<u64> {
        self.state
            .lock()
            .extents
            .next_present(offset / P)
            .map(|p| p * P)
    }
}

impl State {
    /// If nearly all pages of the block before are in use, those of a new one soon are.
    fn expect_as_before(&self, first: u64) {
        let block = |first: u64| {
            let run = self.extents.run(first, first + LARGE)?;
            (run.len == pages::LARGE).then(|| run.pages.addr() + run.offset)
        };
        let before = first.checked_sub(LARGE).and_then(block);
        let (Some(before), Some(new), Some(pal)) = (before, block(first), bastide_base::platform())
        else {
            return;
        };
        if pal.used_kernel_pages(before, pages::LARGE) as u64 >= LARGE * 7 / 8 {
            pal.expect_kernel_pages(new, pages::LARGE);
        }
    }
}

impl Drop for PageObject {
    fn drop(&mut self) {
        let held = self.state.get_mut().extents.count();
        self.refund(held);
    }
}

/// A mapping's hold on an object: its pages stay where they are while one exists.
pub struct Mapped {
    object: Arc<PageObject>,
    writable: bool,
}

impl Mapped {
    /// `writable`: the mapping writes through, now or after `mprotect(2)`. EPERM if seals forbid
    /// that.
    pub fn new(object: Arc<PageObject>, writable: bool) -> Result<Self> {
        let mut s = object.state.lock();
        if writable && s.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        s.maps += 1;
        s.writable_maps += usize::from(writable);
        drop(s);
        Ok(Mapped { object, writable })
    }

    /// The object.
    pub fn object(&self) -> &Arc<PageObject> {
        &self.object
    }

    /// Tells the object whom to tell when it shrinks.
    pub fn register(&self, mm: &Arc<Mm>) {
        let mut s = self.object.state.lock();
        if !s
            .mappers
            .iter()
            .any(|m| core::ptr::eq(m.as_ptr(), Arc::as_ptr(mm)))
        {
            s.mappers.retain(|m| m.strong_count() > 0);
            s.mappers.push(Arc::downgrade(mm));
        }
    }
}

impl Clone for Mapped {
    fn clone(&self) -> Self {
        let mut s = self.object.state.lock();
        s.maps += 1;
        s.writable_maps += usize::from(self.writable);
        drop(s);
        Mapped {
            object: self.object.clone(),
            writable: self.writable,
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let mut s = self.object.state.lock();
        s.maps -= 1;
        s.writable_maps -= usize::from(self.writable);
        let unmapped = s.maps == 0;
        let gone = if unmapped {
            s.mappers.clear();
            s.extents.sweep()
        } else {
            Vec::new()
        };
        drop(s);
        drop(gone);
        if unmapped {
            self.object.tell_pager();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn object() -> Arc<PageObject> {
        bastide_base::pages::init_for_tests();
        PageObject::new()
    }

    fn put(o: &PageObject, at: u64, data: &[u8]) -> usize {
        o.write(at, &mut IoSrc::kernel(data)).unwrap()
    }

    fn get(o: &PageObject, at: u64, n: usize) -> Vec<u8> {
        let mut v = Vec::new();
        o.read(at, &mut IoDst::kernel(&mut v, n)).unwrap();
        v
    }

    #[test]
    fn holes_read_as_zero() {
        let o = object();
        put(&o, 3 * P + 10, b"hello");
        assert_eq!(o.size(), 3 * P + 15);
        assert_eq!(get(&o, 3 * P + 8, 100), b"\0\0hello");
        assert_eq!(get(&o, 0, 3 * PAGE), vec![0; 3 * PAGE]);
        assert_eq!(o.allocated(), P);
        assert_eq!(o.seek_data(0, true), Ok(3 * P));
        assert_eq!(o.seek_data(0, false), Ok(0));
        assert_eq!(o.seek_data(3 * P + 1, false), Ok(3 * P + 15));
        assert_eq!(o.seek_data(3 * P + 15, false), Err(Errno::ENXIO));
    }

    #[test]
    fn what_is_cut_off_does_not_come_back() {
        let o = object();
        put(&o, 0, &vec![7; 10 * PAGE]);
        o.set_size(P + 5).unwrap();
        assert_eq!(o.allocated(), 2 * P);
        o.set_size(10 * P).unwrap();
        let v = get(&o, 0, 20 * PAGE);
        assert_eq!(v.len(), 10 * PAGE);
        assert!(v[..PAGE + 5].iter().all(|&b| b == 7));
        assert!(v[PAGE + 5..].iter().all(|&b| b == 0));
    }

    #[test]
    fn a_mapped_object_keeps_its_pages_in_place() {
        let o = object();
        put(&o, 0, &vec![7; 8 * PAGE]);
        let m = Mapped::new(o.clone(), true).unwrap();
        let a = o.extent(0, 8 * P).unwrap();
        let at = a.pages.addr() + a.offset;
        o.punch(P / 2, 2 * P).unwrap();
        assert_eq!(get(&o, 0, PAGE)[PAGE / 2 - 1..PAGE / 2 + 1], [7, 0]);
        assert_eq!(get(&o, P, PAGE), vec![0; PAGE]);
        assert_eq!(get(&o, 2 * P, PAGE)[PAGE / 2 - 1..PAGE / 2 + 1], [0, 7]);
        o.set_size(0).unwrap();
        assert!(o.extent(0, P).is_none());
        assert_eq!(o.allocated(), 0);
        a.pages.write(0, b"stray write of a stale mapping");
        o.set_size(P).unwrap();
        let b = o.extent_or_alloc(0, P).unwrap();
        assert_eq!(b.pages.addr() + b.offset, at);
        assert_eq!(get(&o, 0, PAGE), vec![0; PAGE]);
        drop(m);
    }

    #[test]
    fn sequential_growth_makes_large_blocks() {
        let o = object();
        for i in 0..1024 {
            put(&o, i * P, &[i as u8; PAGE]);
        }
        let r = o.extent(512 * P, 1 << 40).unwrap();
        assert_eq!(r.len, 512 * PAGE);
        assert_eq!(get(&o, 700 * P, 1), [700u64 as u8]);
    }

    #[test]
    fn the_budget_is_kept() {
        bastide_base::pages::init_for_tests();
        let b = Budget::new(4);
        let o = PageObject::with_budget(b.clone());
        assert_eq!(put(&o, 0, &vec![1; 6 * PAGE]), 4 * PAGE);
        assert_eq!(o.write(8 * P, &mut IoSrc::kernel(b"x")), Err(Errno::ENOSPC));
        o.punch(P, 2 * P).unwrap();
        assert_eq!(b.used(), 2);
        assert_eq!(o.allocate(0, 5 * P), Err(Errno::ENOSPC));
        assert_eq!(b.used(), 2);
        o.allocate(P, P).unwrap();
        assert_eq!(b.used(), 3);
        drop(o);
        assert_eq!(b.used(), 0);
    }

    #[test]
    fn seals_bind() {
        bastide_base::pages::init_for_tests();
        let o = PageObject::with_seals(0);
        put(&o, 0, b"abc");
        let m = Mapped::new(o.clone(), true).unwrap();
        assert_eq!(o.add_seals(F_SEAL_WRITE), Err(Errno::EBUSY));
        drop(m);
        o.add_seals(F_SEAL_GROW).unwrap();
        assert_eq!(o.set_size(9), Err(Errno::EPERM));
        assert_eq!(put(&o, 1, b"xyz"), 2);
        o.add_seals(F_SEAL_WRITE | F_SEAL_SEAL).unwrap();
        assert_eq!(o.write(0, &mut IoSrc::kernel(b"q")), Err(Errno::EPERM));
        assert!(Mapped::new(o.clone(), true).is_err());
        assert_eq!(o.add_seals(F_SEAL_SHRINK), Err(Errno::EPERM));
    }

    /// Random writes, truncations and holes against a plain byte vector.
    #[test]
    fn agrees_with_a_flat_model() {
        let o = object();
        let mut model: Vec<u8> = Vec::new();
        let mut x = 12345u64;
        let mut next = |n: u64| {
            x = x
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (x >> 33) % n
        };
        for step in 0..3000u64 {
            let at = next(40 * P);
            let len = next(3 * P) + 1;
            match next(4) {
                0 | 1 => {
                    let data = vec![step as u8 | 1; len as usize];
                    put(&o, at, &data);
                    let end = (at + len) as usize;
                    if model.len() < end {
                        model.resize(end, 0);
                    }
                    model[at as usize..end].copy_from_slice(&data);
                }
                2 => {
                    o.punch(at, len).unwrap();
                    let end = ((at + len) as usize).min(model.len());
                    if (at as usize) < end {
                        model[at as usize..end].fill(0);
                    }
                }
                _ => {
                    o.set_size(at).unwrap();
                    model.resize(at as usize, 0);
                }
            }
            let from = next(41 * P) as usize;
            let want = &model
                [from.min(model.len())..(from + 9000).min(model.len()).max(from.min(model.len()))];
            assert!(get(&o, from as u64, 9000) == want, "step {step}");
        }
        assert!(get(&o, 0, 1 << 20) == model);
    }
}
