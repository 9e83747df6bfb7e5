//! Page objects that stand for a file that is elsewhere: pages come in as they are needed, and those
//! that may have been changed are known.
//!
//! A shared mapping shows a page without the right to write until it is written to. Then the page
//! counts as changing, until its only address space has lost that right again ([`State::hold_still`]).

use super::extents::{Cut, Run};
use super::object::PageObject;
use super::vma::{Memory, VmFlags, Vma};
use super::{Mm, State};
use crate::process::Work;
use crate::uio::{IoDst, IoSrc};
use crate::{Errno, Result, Task, host_error, pal};
use alloc::collections::BTreeSet;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::pages::PAGE;
use bastide_pal::Prot;

const P: u64 = PAGE as u64;
/// Pages that may be written after one was.
const CLUSTER: usize = 16 * PAGE;

/// Where pages of an object come from, and who wants to know that they change. Called with an
/// address space's lock held, and none of the object's.
pub trait Pager: Send + Sync {
    /// Gives the object contents ([`PageObject::install`]): those of the page at `offset` at least.
    fn page_in(&self, object: &PageObject, offset: u64) -> Result<()>;
    /// Takes contents back that nobody maps any more: writes what was changed of them, and has the
    /// object drop them ([`PageObject::forget`]).
    fn page_out(&self, object: &PageObject, offset: u64, len: u64) -> Result<()>;
    /// There are pages that may have been changed, or that nobody maps any more.
    fn changed(&self);
}

/// What of an object may differ from the file, by page.
#[derive(Default)]
pub(super) struct Changed {
    /// A mapping may write to them at any time.
    changing: BTreeSet<u64>,
    /// They were written to, and no mapping may write to them now.
    still: BTreeSet<u64>,
}

impl PageObject {
    /// Pages come in as they are needed.
    pub fn is_paged(&self) -> bool {
        self.pager.is_some()
    }

    fn pager(&self) -> Result<Arc<dyn Pager>> {
        (self.pager.as_ref().and_then(Weak::upgrade)).ok_or(Errno::EIO)
    }

    /// Contents at an offset below the size, brought in if they are not there.
    pub(super) fn bring_in(&self, offset: u64) -> Result<()> {
        if !self.is_paged() || self.extent(offset - offset % P, P).is_some() {
            return Ok(());
        }
        self.pager()?.page_in(self, offset)?;
        match self.extent(offset - offset % P, P) {
            Some(_) => Ok(()),
            None => Err(Errno::EIO),
        }
    }

    /// Gives contents to the pages from `offset` (a page's) on that have none. The last page of the
    /// file is filled up with zeros.
    pub fn install(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut s = self.state.lock();
        let last = self.size().div_ceil(P);
        for (page, piece) in (offset / P..last).zip(data.chunks(PAGE)) {
            if s.extents.run(page, page + 1).is_none() {
                let run = s.extents.fill(page, page + 1, |n| self.charge(n));
                let run = run.ok_or(Errno::ENOMEM)?;
                run.pages.write(run.offset, piece);
            }
        }
        Ok(())
    }

    /// The contents before this offset are there already, so that more is likely to be wanted: how
    /// many bytes of them.
    pub fn read_before(&self, offset: u64) -> u64 {
        self.state.lock().extents.run_before(offset / P) * P
    }

    /// As [`PageObject::read`], up to the first page without contents.
    pub fn read_present(&self, offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        let mut done = 0;
        while dst.left() > 0 {
            let at = offset.saturating_add(done as u64);
            let Some(run) = self.present(at, dst.left()) else {
                break;
            };
            match dst.put_pages(&run.pages, run.offset, run.len) {
                Ok(n) if n < run.len => return Ok(done + n),
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// Contents at an offset below the size, if they are there.
    fn present(&self, at: u64, max: usize) -> Option<Run> {
        let s = self.state.lock();
        let left = self
            .size()
            .checked_sub(at)
            .filter(|&n| n > 0)?
            .min(max as u64);
        let skip = (at % P) as usize;
        let mut run = s.extents.run(at / P, (at + left).div_ceil(P))?;
        run.offset += skip;
        run.len = (run.len - skip).min(left as usize);
        Some(run)
    }

    /// Writes below the size, as a mapping does.
    pub(super) fn write_paged(&self, offset: u64, src: &mut IoSrc<'_>) -> Result<usize> {
        let mut done = 0;
        while src.left() > 0 {
            let at = offset.saturating_add(done as u64);
            let step = self.bring_in(at).and_then(|()| {
                self.may_change(at, 1);
                let run = (self.present(at, src.left().min((P - at % P) as usize)))
                    .ok_or(Errno::ENXIO)?;
                let n = src.take_pages(&run.pages, run.offset, run.len)?;
                match self.present(at, 1) {
                    Some(now) if Arc::ptr_eq(&now.pages, &run.pages) => Ok((n, run.len)),
                    // It was paged out meanwhile: once more.
                    _ => {
                        src.rewind(n);
                        Ok((0, 0))
                    }
                }
            });
            match step {
                Ok((n, room)) => {
                    done += n;
                    if n < room {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// The file was written to: the pages that are there follow.
    pub fn overwrite(&self, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset.saturating_add(data.len() as u64);
        if end > self.size() {
            self.set_size(end)?;
        }
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|r| !r.is_empty()) {
            let at = offset + done as u64;
            if let Some(run) = self.present(at, rest.len()) {
                let part = rest.get(..run.len).unwrap_or(rest);
                run.pages.write(run.offset, part);
                done += part.len();
            } else {
                let next = self.next_extent(at - at % P).unwrap_or(u64::MAX);
                done = usize::try_from(next.saturating_sub(offset)).unwrap_or(usize::MAX);
            }
        }
        Ok(())
    }

    /// Pages of a range are about to be changed.
    pub(super) fn may_change(&self, offset: u64, len: u64) {
        if !self.is_paged() {
            return;
        }
        let pages = offset / P..offset.saturating_add(len).div_ceil(P);
        self.state.lock().changed.changing.extend(pages);
        self.tell_pager();
    }

    pub(super) fn tell_pager(&self) {
        if let Some(pager) = self.pager.as_ref().and_then(Weak::upgrade) {
            pager.changed();
        }
    }

    /// Drops contents that were hidden from the only address space that maps them, if it still is
    /// the only one.
    pub fn forget(&self, offset: u64, len: u64) {
        let gone = {
            let mut s = self.state.lock();
            if s.mapper_count() > 1 {
                return;
            }
            let (first, end) = (offset / P, (offset + len).div_ceil(P));
            // What was written to meanwhile stays.
            let mut at = first;
            let dirty: Vec<u64> = (s.changed.changing.range(first..end))
                .chain(s.changed.still.range(first..end))
                .copied()
                .collect::<BTreeSet<u64>>()
                .into_iter()
                .collect();
            let mut gone = Vec::new();
            for stop in dirty.into_iter().chain([end]) {
                if stop > at {
                    let (freed, blocks) = s.extents.cut(at, stop, Cut::Unmapped);
                    self.refund(freed);
                    gone.extend(blocks);
                }
                at = stop + 1;
            }
            gone
        };
        drop(gone);
    }

    /// As [`PageObject::take_changed`], of a range that nobody maps.
    pub fn take_changed_in(&self, offset: u64, len: u64) -> Vec<u64> {
        let pages = offset / P..(offset + len).div_ceil(P);
        let mut s = self.state.lock();
        let s = &mut *s;
        let last = self.size().div_ceil(P);
        let mut taken = BTreeSet::new();
        for set in [&mut s.changed.changing, &mut s.changed.still] {
            let some: Vec<u64> = set.range(pages.clone()).copied().collect();
            set.retain(|p| !pages.contains(p));
            taken.extend(some);
        }
        (taken.into_iter())
            .filter(|p| *p < last && s.extents.run(*p, p + 1).is_some())
            .collect()
    }

    /// Takes the pages that may differ from the file. Those that may still be changed, because they
    /// are mapped, are shown and stay.
    pub fn take_changed(&self) -> Vec<u64> {
        let mut s = self.state.lock();
        let mut pages = core::mem::take(&mut s.changed.still);
        if s.maps == 0 {
            pages.append(&mut s.changed.changing);
        } else {
            pages.extend(&s.changed.changing);
        }
        let last = self.size().div_ceil(P);
        (pages.into_iter())
            .filter(|p| *p < last && s.extents.run(*p, p + 1).is_some())
            .collect()
    }

    /// The file could not take these pages now.
    pub fn put_back(&self, pages: impl Iterator<Item = u64>) {
        self.state.lock().changed.still.extend(pages);
    }

    /// Asks the object's only address space to let its pages hold still, as soon as it can; then
    /// [`Pager::changed`] is called again.
    pub fn ask_to_hold_still(self: &Arc<Self>) {
        let mapper = {
            let s = self.state.lock();
            match s.changed.changing.is_empty() {
                true => None,
                false => s.only_mapper(),
            }
        };
        if let Some(mm) = mapper {
            mm.hold_still_soon(self);
        }
    }

    /// The pages that `mm` may change, if nobody else may.
    fn changing(&self, mm: &Mm) -> Vec<u64> {
        let s = self.state.lock();
        match s.only_mapper() {
            Some(only) if core::ptr::eq(Arc::as_ptr(&only), mm) => {
                s.changed.changing.iter().copied().collect()
            }
            _ => Vec::new(),
        }
    }

    fn held_still(&self, pages: &[u64]) {
        let mut s = self.state.lock();
        for page in pages {
            s.changed.changing.remove(page);
            s.changed.still.insert(*page);
        }
    }
}

/// The rights with which pages of a mapping are shown: as `prot` says, but that writing to a shared
/// page of a file must be noticed.
pub(super) fn shown(v: &Vma, prot: Prot) -> Prot {
    match v.is_tracked() {
        true => prot - Prot::WRITE,
        false => prot,
    }
}

impl Vma {
    /// Somebody wants to know which of its pages are written to.
    pub(super) fn is_tracked(&self) -> bool {
        self.shared()
            && matches!(&self.memory, Memory::Pages { map, .. } if map.object().is_paged())
    }
}

impl State {
    /// Gives the right to write to a page of a tracked mapping, and to those around it that are
    /// mapped.
    pub(super) fn allow_writing(v: &Vma, page: usize) -> bool {
        let Memory::Pages { map, filled, .. } = &v.memory else {
            return false;
        };
        let low = (page & !(CLUSTER - 1)).max(v.start);
        let high = (page & !(CLUSTER - 1)).saturating_add(CLUSTER).min(v.end);
        let around = filled.within(low, high);
        let Some((a, b)) = around.into_iter().find(|(a, b)| (*a..*b).contains(&page)) else {
            return false;
        };
        map.object().may_change(v.offset_at(a), (b - a) as u64);
        pal().protect(a, b - a, v.prot).is_ok()
    }

    /// Takes the right to write from the pages of an object that were written to, if no other
    /// address space can write to them.
    pub(super) fn hold_still(&mut self, mm: &Mm, object: &PageObject) {
        let pages = object.changing(mm);
        let (Some(&first), Some(&last)) = (pages.first(), pages.last()) else {
            return;
        };
        for v in self.map.iter().filter(|v| v.is_tracked()) {
            let Memory::Pages {
                map,
                offset,
                filled,
            } = &v.memory
            else {
                continue;
            };
            if map.object().id() != object.id() || !v.prot.contains(Prot::WRITE) {
                continue;
            }
            let address = |page: u64| {
                let from = (page * P).saturating_sub(*offset);
                v.start
                    .saturating_add(usize::try_from(from).unwrap_or(usize::MAX))
            };
            let within = filled.within(address(first), address(last + 1).min(v.end));
            for (a, b) in within {
                let (from, to) = (v.offset_at(a) / P, v.offset_at(b) / P);
                let first = pages.partition_point(|p| *p < from);
                let end = pages.partition_point(|p| *p < to);
                let ours = pages.get(first..end).unwrap_or_default();
                for run in ours.chunk_by(|a, b| a + 1 == *b) {
                    let at = address(run.first().copied().unwrap_or(from));
                    if pal()
                        .protect(at, run.len() * PAGE, v.prot - Prot::WRITE)
                        .is_err()
                    {
                        return;
                    }
                }
            }
        }
        object.held_still(&pages);
    }
}

/// Contents that are paged out at once.
const WINDOW: u64 = 2 << 20;
/// Windows that one fault pages out at most.
const WINDOWS: usize = 8;

impl State {
    /// Pages contents of a paged object out if there are too many, but for what is around `keep`.
    /// Only what this address space alone maps, and shares, can be: the others could not be told.
    pub(super) fn make_room(&mut self, mm: &Mm, object: &PageObject, keep: u64) {
        let excess = object.budget.as_ref().map_or(0, |b| b.excess());
        let mut left = excess * P;
        if left == 0 || !object.is_mapped_by(mm) {
            return;
        }
        let ours = |v: &Vma| matches!(&v.memory, Memory::Pages { map, .. } if map.object().id() == object.id());
        let starts: Vec<usize> = self
            .map
            .iter()
            .filter(|v| ours(v))
            .map(|v| v.start)
            .collect();
        let fixed = |v: &Vma| !v.shared() || v.flags.contains(VmFlags::LOCKED);
        if (starts.iter()).any(|s| self.map.find(*s).is_none_or(fixed)) {
            return;
        }
        for _ in 0..WINDOWS {
            let Some(window) = object.next_victim(keep / WINDOW) else {
                return;
            };
            let (from, to) = (window * WINDOW, (window + 1) * WINDOW);
            for start in &starts {
                let Some(v) = self.map.find_mut(*start) else {
                    continue;
                };
                if v.hide(from, to).is_err() {
                    return;
                }
            }
            // What could not be written stays.
            let before = object.allocated();
            let paged_out = object
                .pager()
                .and_then(|p| p.page_out(object, from, WINDOW));
            if paged_out.is_err() {
                return;
            }
            left = left.saturating_sub(before.saturating_sub(object.allocated()));
            if left == 0 {
                return;
            }
        }
    }
}

impl Vma {
    /// Unmaps what it shows of `from..to` of its object; it comes back on access.
    fn hide(&mut self, from: u64, to: u64) -> Result<()> {
        let (start, end) = (self.start, self.end);
        let Memory::Pages { offset, filled, .. } = &mut self.memory else {
            return Ok(());
        };
        let address = |at: u64| {
            let skip = usize::try_from(at.saturating_sub(*offset)).unwrap_or(usize::MAX);
            start.saturating_add(skip).min(end)
        };
        let (a, b) = (address(from), address(to));
        for (a, b) in filled.within(a, b) {
            pal().unmap(a, b - a).map_err(host_error)?;
        }
        filled.remove(a, b);
        Ok(())
    }
}

impl PageObject {
    fn is_mapped_by(&self, mm: &Mm) -> bool {
        let s = self.state.lock();
        (s.only_mapper()).is_some_and(|only| core::ptr::eq(Arc::as_ptr(&only), mm))
    }

    /// The next window with contents after the one that was chosen last, but not `keep`.
    fn next_victim(&self, keep: u64) -> Option<u64> {
        let mut s = self.state.lock();
        let pages = WINDOW / P;
        for _ in 0..3 {
            let next = s.extents.next_present(s.hand * pages);
            let Some(page) = next else {
                s.hand = 0;
                continue;
            };
            let window = page / pages;
            s.hand = window + 1;
            if window != keep {
                return Some(window);
            }
        }
        None
    }
}

impl Mm {
    /// Lets an object's pages hold still, so that what is written back now is all that there is. The
    /// calling thread's own address space.
    pub fn hold_still(&self, object: &PageObject) {
        self.state.lock().hold_still(self, object);
    }

    fn hold_still_soon(&self, object: &Arc<PageObject>) {
        {
            let mut asked = self.asked.lock();
            if !asked.iter().any(|o| Arc::ptr_eq(o, object)) {
                asked.push(object.clone());
            }
        }
        let tasks: Vec<Arc<Task>> = crate::kernel().tasks.lock().values().cloned().collect();
        for t in tasks {
            if core::ptr::eq(Arc::as_ptr(&t.mm()), self) {
                t.add_work(Work::MEMORY);
            }
        }
    }

    /// Does what [`PageObject::ask_to_hold_still`] asked for.
    pub(super) fn hold_still_as_asked(&self, s: &mut State) {
        let asked = core::mem::take(&mut *self.asked.lock());
        for object in asked {
            s.hold_still(self, &object);
            if let Ok(pager) = object.pager() {
                pager.changed();
            }
        }
    }
}
