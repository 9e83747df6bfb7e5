//! A process's mappings by address, and where new ones go. Pure book-keeping: no host calls.

use super::vma::{VmFlags, Vma};
use crate::sysctl::MAX_MAP_COUNT;
use crate::{Errno, Result};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bastide_base::pages::PAGE;
use bastide_base::user::USER_END;

/// Lowest address that may be mapped, `vm.mmap_min_addr`.
pub const MIN_ADDR: usize = 65536;
/// Bytes kept free below a mapping that grows downwards.
pub const STACK_GAP: usize = 256 * PAGE;

/// The mappings and their sums.
pub struct VmaMap {
    vmas: BTreeMap<usize, Vma>,
    /// New mappings go below it.
    base: usize,
    /// The kernel's region.
    kernel: (usize, usize),
    /// Where the next search starts, and the largest hole above that it would miss.
    cursor: usize,
    hole: usize,
    /// Sums in pages: all, data (`RLIMIT_DATA`), locked.
    pub total: usize,
    pub data: usize,
    pub locked: usize,
    /// The largest `total` so far.
    pub peak: usize,
}

impl VmaMap {
    /// No mappings; new ones go below `base` and outside `kernel`.
    pub fn new(base: usize, kernel: (usize, usize)) -> Self {
        VmaMap {
            vmas: BTreeMap::new(),
            base,
            kernel,
            cursor: base,
            hole: 0,
            total: 0,
            data: 0,
            locked: 0,
            peak: 0,
        }
    }

    /// New mappings go below `base` from now on.
    pub fn set_base(&mut self, base: usize) {
        self.base = base;
        self.cursor = base;
        self.hole = 0;
    }

    /// Takes another map's choice of addresses over (fork).
    pub fn copy_layout(&mut self, other: &VmaMap) {
        self.set_base(other.base);
        self.kernel = other.kernel;
    }

    pub fn len(&self) -> usize {
        self.vmas.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Vma> {
        self.vmas.values()
    }

    /// The mapping that holds `addr`.
    pub fn find(&self, addr: usize) -> Option<&Vma> {
        self.vmas
            .range(..=addr)
            .next_back()
            .map(|(_, v)| v)
            .filter(|v| v.end > addr)
    }

    /// The mapping that holds `addr`, to change what does not count in the sums.
    pub fn find_mut(&mut self, addr: usize) -> Option<&mut Vma> {
        self.vmas
            .range_mut(..=addr)
            .next_back()
            .map(|(_, v)| v)
            .filter(|v| v.end > addr)
    }

    /// The first mapping that ends after `addr`, Linux's `find_vma`.
    pub fn at_or_after(&self, addr: usize) -> Option<&Vma> {
        self.find(addr)
            .or_else(|| self.vmas.range(addr..).next().map(|(_, v)| v))
    }

    /// The last mapping that starts before `addr`.
    pub fn before(&self, addr: usize) -> Option<&Vma> {
        self.vmas.range(..addr).next_back().map(|(_, v)| v)
    }

    /// Starts of the mappings that touch `start..end`.
    pub fn touching(&self, start: usize, end: usize) -> Vec<usize> {
        let first = self.find(start).map(|v| v.start).filter(|&s| s < start);
        let rest = (start < end).then(|| self.vmas.range(start..end));
        first
            .into_iter()
            .chain(rest.into_iter().flatten().map(|(&s, _)| s))
            .collect()
    }

    /// The first mapping of a name that touches the range, as far as it lies within.
    pub fn named(&self, name: &str, start: usize, end: usize) -> Option<(usize, usize)> {
        let first = self.find(start).map_or(start, |v| v.start);
        let mut touching = self.vmas.range(first..end).map(|(_, v)| v);
        let v = touching.find(|v| v.name == name)?;
        Some((v.start.max(start), v.end.min(end)))
    }

    /// Every address of `start..end` is mapped.
    pub fn covers(&self, start: usize, end: usize) -> bool {
        let mut at = start;
        while at < end {
            match self.find(at) {
                Some(v) => at = v.end,
                None => return false,
            }
        }
        true
    }

    /// Pages of `start..end` that are mapped.
    pub fn mapped_pages(&self, start: usize, end: usize) -> usize {
        self.touching(start, end)
            .iter()
            .filter_map(|s| self.vmas.get(s))
            .map(|v| (v.end.min(end) - v.start.max(start)) / PAGE)
            .sum()
    }

    fn count(&mut self, v: &Vma, sign: isize) {
        let n = v.pages() as isize * sign;
        self.total = self.total.wrapping_add_signed(n);
        if v.is_data() {
            self.data = self.data.wrapping_add_signed(n);
        }
        if v.flags.contains(VmFlags::LOCKED) {
            self.locked = self.locked.wrapping_add_signed(n);
        }
        self.peak = self.peak.max(self.total);
    }

    /// Adds a mapping where there is none.
    pub fn put(&mut self, v: Vma) {
        self.count(&v, 1);
        self.vmas.insert(v.start, v);
    }

    /// Takes the mapping that starts at `start` out.
    pub fn take(&mut self, start: usize) -> Option<Vma> {
        let v = self.vmas.remove(&start)?;
        self.count(&v, -1);
        if v.end <= self.base && v.end > self.cursor {
            self.cursor = v.end;
        }
        Some(v)
    }

    /// Changes the mapping that starts at `start`.
    pub fn change(&mut self, start: usize, f: impl FnOnce(&mut Vma)) {
        if let Some(mut v) = self.vmas.remove(&start) {
            self.count(&v, -1);
            f(&mut v);
            self.put(v);
        }
    }

    /// Makes `at` a boundary between mappings.
    pub fn split_at(&mut self, at: usize) {
        if let Some(v) = self.find_mut(at)
            && v.start < at
        {
            let upper = v.split_off(at);
            self.vmas.insert(at, upper);
        }
    }

    /// Makes `start` and `end` boundaries; ENOMEM if that would make too many mappings.
    pub fn isolate(&mut self, start: usize, end: usize) -> Result<()> {
        let inside = |at: usize| usize::from(self.find(at).is_some_and(|v| v.start < at));
        if self.len() + inside(start) + inside(end) > MAX_MAP_COUNT.size() {
            return Err(Errno::ENOMEM);
        }
        self.split_at(start);
        self.split_at(end);
        Ok(())
    }

    /// Joins neighbours that can be one mapping, at the boundaries of `start..end` and inside.
    pub fn merge(&mut self, start: usize, end: usize) {
        let mut at = match self.before(start) {
            Some(v) if v.end == start => v.start,
            _ => start,
        };
        while at <= end {
            let Some(v) = self.vmas.get(&at) else {
                match self.vmas.range(at..=end).next() {
                    Some((&s, _)) if s > at => at = s,
                    _ => break,
                }
                continue;
            };
            let next = v.end;
            match self.vmas.get(&next) {
                Some(n) if next <= end && v.can_merge(n) => {
                    if let Some(mut n) = self.vmas.remove(&next)
                        && let Some(v) = self.vmas.get_mut(&at)
                    {
                        v.absorb(&mut n);
                    }
                }
                _ => at = next,
            }
        }
    }

    /// The range lies in user space, above [`MIN_ADDR`] and outside the kernel's region.
    pub fn allowed(&self, start: usize, len: usize) -> bool {
        let (low, high) = self.kernel;
        start.checked_add(len).is_some_and(|end| {
            start >= MIN_ADDR && end <= USER_END && (end <= low || start >= high)
        })
    }

    /// The range is allowed, free, and keeps the gap below a stack.
    pub fn is_free(&self, start: usize, len: usize) -> bool {
        self.allowed(start, len)
            && self.touching(start, start + len).is_empty()
            && self
                .at_or_after(start + len)
                .is_none_or(|v| guarded_start(v) >= start + len)
    }

    /// A free place for `len` bytes, as high as possible below the base.
    pub fn find_free(&mut self, len: usize) -> Option<usize> {
        if len <= self.hole {
            self.cursor = self.base;
            self.hole = 0;
        }
        let mut skipped = 0;
        if let Some(at) = self.search(MIN_ADDR, self.cursor, len, &mut skipped) {
            self.cursor = at;
            self.hole = self.hole.max(skipped);
            return Some(at);
        }
        self.search(MIN_ADDR, self.base, len, &mut 0)
            .or_else(|| self.search(MIN_ADDR, USER_END, len, &mut 0))
    }

    /// A free place for `len` bytes in a window (`MAP_32BIT`).
    pub fn find_free_in(&self, low: usize, high: usize, len: usize) -> Option<usize> {
        self.search(low, high, len, &mut 0)
    }

    fn search(&self, low: usize, high: usize, len: usize, skipped: &mut usize) -> Option<usize> {
        let (kernel_low, kernel_high) = self.kernel;
        if high > kernel_low && low < kernel_high {
            return self
                .search_span(kernel_high, high, len, skipped)
                .or_else(|| self.search_span(low, kernel_low, len, skipped));
        }
        self.search_span(low, high, len, skipped)
    }

    fn search_span(
        &self,
        low: usize,
        high: usize,
        len: usize,
        skipped: &mut usize,
    ) -> Option<usize> {
        let mut end = match self.at_or_after(high) {
            Some(v) => high.min(guarded_start(v)),
            None => high,
        };
        for v in self.vmas.range(..high).rev().map(|(_, v)| v) {
            if v.end <= low {
                break;
            }
            let room = end.saturating_sub(v.end);
            if room >= len {
                return Some(end - len);
            }
            *skipped = (*skipped).max(room);
            end = end.min(guarded_start(v));
            if end <= low {
                return None;
            }
        }
        (end >= low && end - low >= len).then(|| end - len)
    }
}

/// Where the mapping starts, with the gap below it if it is a stack.
fn guarded_start(v: &Vma) -> usize {
    if v.flags.contains(VmFlags::GROWSDOWN) {
        v.start.saturating_sub(STACK_GAP)
    } else {
        v.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bastide_pal::Prot;

    fn anon(start: usize, end: usize, prot: Prot) -> Vma {
        Vma::anon(start, end, prot, VmFlags::empty())
    }

    #[test]
    fn merges_and_splits_keep_the_sums() {
        let mut m = VmaMap::new(1 << 40, (0, 0));
        let rw = Prot::READ | Prot::WRITE;
        m.put(anon(0x10000, 0x14000, rw));
        m.put(anon(0x14000, 0x18000, rw));
        m.merge(0x14000, 0x18000);
        assert_eq!(m.len(), 1);
        m.isolate(0x12000, 0x13000).unwrap();
        assert_eq!(m.len(), 3);
        m.change(0x12000, |v| v.prot = Prot::READ);
        assert_eq!((m.total, m.data), (8, 7));
        m.change(0x12000, |v| v.prot = rw);
        m.merge(0x12000, 0x13000);
        assert_eq!((m.len(), m.total, m.data), (1, 8, 8));
    }

    #[test]
    fn places_avoid_mappings_the_kernel_and_stacks() {
        let mut m = VmaMap::new(0x100_0000, (0x80_0000, 0x90_0000));
        let mut at = Vec::new();
        for _ in 0..300 {
            let Some(a) = m.find_free(0x8000) else { break };
            assert!(m.is_free(a, 0x8000));
            m.put(anon(a, a + 0x8000, Prot::READ));
            at.push(a);
        }
        assert_eq!(at[0], 0x100_0000 - 0x8000);
        assert!(
            at.iter()
                .all(|a| a + 0x8000 <= 0x80_0000 || *a >= 0x90_0000)
        );
        let freed = at[3];
        m.take(freed);
        assert_eq!(m.find_free(0x8000), Some(freed));

        let mut m = VmaMap::new(0x100_0000, (0, 0));
        let mut stack = anon(0x100_0000, 0x101_0000, Prot::READ);
        stack.flags = VmFlags::GROWSDOWN;
        m.put(stack);
        assert_eq!(m.find_free(PAGE), Some(0x100_0000 - STACK_GAP - PAGE));
        assert!(!m.is_free(0x100_0000 - PAGE, PAGE));
    }
}
