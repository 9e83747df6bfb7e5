//! Where a page object's contents lie: blocks of kernel pages with a map of which pages hold
//! contents.

use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::pages::{LARGE, PAGE, Pages};

/// Largest block: a large page.
const MAX_ORDER: u32 = (LARGE / PAGE).ilog2();
/// So many pages from the start of a block of that size in use: the others follow.
const DENSE: u64 = 32;
/// From this many pages on, zeroing gives the memory back to the platform instead.
const RELEASE_PAGES: u64 = 16;

/// Contents that are contiguous in the kernel.
pub struct Run {
    pub pages: Arc<Pages>,
    /// Bytes into the block.
    pub offset: usize,
    /// Length in bytes.
    pub len: usize,
}

/// One block. Pages without contents cost nothing in a large block: the platform gives memory to
/// pages on first use.
struct Extent {
    first: u64,
    pages: Arc<Pages>,
    /// Bit per page that holds contents; the others read as zero.
    present: [u64; 8],
    /// Some page without contents may not be zero.
    stale: bool,
}

impl Extent {
    fn end(&self) -> u64 {
        self.first + (self.pages.len() / PAGE) as u64
    }

    fn has(&self, page: u64) -> bool {
        let i = (page - self.first) as usize;
        self.present[i / 64] & (1 << (i % 64)) != 0
    }

    fn set(&mut self, page: u64, on: bool) {
        let i = (page - self.first) as usize;
        let bit = 1 << (i % 64);
        if on {
            self.present[i / 64] |= bit;
        } else {
            self.present[i / 64] &= !bit;
        }
    }

    fn is_empty(&self) -> bool {
        self.present == [0; 8]
    }

    /// First page from `page` up to `end` whose presence is `on`.
    fn next(&self, page: u64, end: u64, on: bool) -> u64 {
        (page..end).find(|&p| self.has(p) == on).unwrap_or(end)
    }

    fn run(&self, page: u64, end: u64) -> Run {
        Run {
            pages: self.pages.clone(),
            offset: (page - self.first) as usize * PAGE,
            len: (end - page) as usize * PAGE,
        }
    }

    fn zero(&self, from: u64, to: u64) {
        let (offset, len) = (
            (from - self.first) as usize * PAGE,
            (to - from) as usize * PAGE,
        );
        match bastide_base::platform() {
            Some(pal) if to - from >= RELEASE_PAGES => {
                pal.release_kernel_pages(self.pages.addr() + offset, len);
            }
            _ => self.pages.zero(offset, len),
        }
    }

    fn zero_present(&self, from: u64, to: u64) {
        let mut p = self.next(from, to, true);
        while p < to {
            let q = self.next(p, to, false);
            self.zero(p, q);
            p = self.next(q, to, true);
        }
    }
}

/// How pages lose their contents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nobody maps the object: blocks without contents are given back.
    Unmapped,
    /// It is mapped: pages are zeroed where they are and stay, so that all who map them go on
    /// sharing them.
    Punch,
    /// It is mapped, and the pages are now beyond the end: as [`Cut::Punch`], but they no longer
    /// count as contents.
    Truncate,
}

/// Blocks by the page they begin at, disjoint and ascending.
#[derive(Default)]
pub struct Extents {
    list: Vec<Extent>,
    /// Pages that hold contents.
    count: u64,
}

impl Extents {
    /// Pages that hold contents.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Index of the extent that holds `page`, or of the first one after it.
    fn find(&self, page: u64) -> Result<usize, usize> {
        let i = self.list.partition_point(|e| e.end() <= page);
        match self.list.get(i) {
            Some(e) if e.first <= page => Ok(i),
            _ => Err(i),
        }
    }

    /// Contents at `page`, at most to `end`.
    pub fn run(&self, page: u64, end: u64) -> Option<Run> {
        let e = &self.list[self.find(page).ok()?];
        let to = e.next(page, end.min(e.end()), false);
        (to > page).then(|| e.run(page, to))
    }

    /// First page at or after `page` that holds contents.
    pub fn next_present(&self, page: u64) -> Option<u64> {
        let i = self.find(page).unwrap_or_else(|i| i);
        self.list[i..].iter().find_map(|e| {
            let p = e.next(page.max(e.first), e.end(), true);
            (p < e.end()).then_some(p)
        })
    }

    /// First page at or after `page` that holds none.
    pub fn next_absent(&self, mut page: u64) -> u64 {
        while let Ok(i) = self.find(page) {
            let e = &self.list[i];
            page = e.next(page, e.end(), false);
            if page < e.end() {
                break;
            }
        }
        page
    }

    /// Pages with contents in a row that end before `page`, counted up to 512.
    pub fn run_before(&self, page: u64) -> u64 {
        let low = page.saturating_sub(1 << MAX_ORDER);
        let mut p = page;
        while p > low {
            match self.find(p - 1) {
                Ok(i) if self.list[i].has(p - 1) => p -= 1,
                _ => break,
            }
        }
        page - p
    }

    /// Pages without contents in a range.
    pub fn absent_in(&self, mut page: u64, end: u64) -> u64 {
        let mut n = 0;
        while page < end {
            let p = self.next_absent(page).min(end);
            let q = self.next_present(p).unwrap_or(end).min(end);
            n += q - p;
            page = q.max(p);
            if p == end {
                break;
            }
        }
        n
    }

    /// Makes contents (zeros) at `page`, at most to `end`, in one block. `charge(n)` says how many
    /// of `n` more pages may be had. `None` if memory is out or `charge` gave nothing.
    pub fn fill(&mut self, page: u64, end: u64, charge: impl FnMut(u64) -> u64) -> Option<Run> {
        let run = self.lay_out(page, end, charge)?;
        let inside = (run.offset / PAGE) as u64;
        let first = page - inside;
        if run.pages.len() == LARGE
            && (inside..inside + (run.len / PAGE) as u64).contains(&(DENSE - 1))
            && self.next_absent(first) >= first + DENSE
            && let Some(pal) = bastide_base::platform()
        {
            pal.expect_kernel_pages(run.pages.addr(), LARGE);
        }
        Some(run)
    }

    /// As [`Extents::fill`], for pages that may never be touched.
    pub fn lay_out(
        &mut self,
        page: u64,
        end: u64,
        mut charge: impl FnMut(u64) -> u64,
    ) -> Option<Run> {
        let i = match self.find(page) {
            Ok(i) => i,
            Err(i) => {
                let e = self.new_extent(i, page, end)?;
                self.list.insert(i, e);
                i
            }
        };
        let e = &mut self.list[i];
        let end = end.min(e.end());
        let wanted = (page..end).filter(|&p| !e.has(p)).count() as u64;
        let mut left = if wanted == 0 { 0 } else { charge(wanted) };
        let mut p = page;
        while p < end {
            if !e.has(p) {
                if left == 0 {
                    break;
                }
                left -= 1;
                if e.stale {
                    e.zero(p, p + 1);
                }
                e.set(p, true);
                self.count += 1;
            }
            p += 1;
        }
        let run = (p > page).then(|| e.run(page, p));
        if e.is_empty() {
            self.list.remove(i);
        }
        run
    }

    /// A block for `page`, in the gap before extent `i`: naturally aligned, and larger the more is
    /// wanted at once or the further into the object it lies.
    fn new_extent(&self, i: usize, page: u64, end: u64) -> Option<Extent> {
        let low = i.checked_sub(1).map_or(0, |j| self.list[j].end());
        let high = self.list.get(i).map_or(u64::MAX, |e| e.first);
        let mut order = (end - page).max(page).max(1).ilog2().min(MAX_ORDER);
        loop {
            let first = page & !((1 << order) - 1);
            if first >= low
                && first + (1 << order) <= high
                && let Some(pages) = Pages::zeroed(1 << order)
            {
                return Some(Extent {
                    first,
                    pages: Arc::new(pages),
                    present: [0; 8],
                    stale: false,
                });
            }
            order = order.checked_sub(1)?;
        }
    }

    /// Takes the contents of a range away. Returns the pages freed and the blocks given up, to be
    /// dropped without the lock.
    pub fn cut(&mut self, from: u64, to: u64, how: Cut) -> (u64, Vec<Arc<Pages>>) {
        let lo = self.list.partition_point(|e| e.end() <= from);
        let hi = self.list.partition_point(|e| e.first < to).max(lo);
        let before = self.count;
        let mut emptied = lo..lo;
        for (i, e) in self.list[lo..hi].iter_mut().enumerate() {
            let (a, b) = (from.max(e.first), to.min(e.end()));
            if how != Cut::Unmapped {
                e.zero_present(a, b);
            }
            if how == Cut::Punch {
                continue;
            }
            let mut p = a;
            while p < b {
                if e.has(p) {
                    e.set(p, false);
                    self.count -= 1;
                }
                p += 1;
            }
            e.stale = true;
            if how == Cut::Unmapped {
                if e.is_empty() {
                    // Only the first and the last can keep something, so these are in a row.
                    if emptied.is_empty() {
                        emptied = lo + i..lo + i;
                    }
                    emptied.end = lo + i + 1;
                } else if b - a >= RELEASE_PAGES {
                    e.zero(a, b);
                }
            }
        }
        let gone = self.list.drain(emptied).map(|e| e.pages).collect();
        (before - self.count, gone)
    }

    /// Gives up blocks without contents: the object is no longer mapped.
    pub fn sweep(&mut self) -> Vec<Arc<Pages>> {
        let mut gone = Vec::new();
        self.list.retain(|e| {
            if e.is_empty() {
                gone.push(e.pages.clone());
            }
            !e.is_empty()
        });
        gone
    }

    /// Zeroes the bytes of a page from `offset` on, if it holds contents.
    pub fn zero_tail(&self, page: u64, offset: usize) {
        if let Ok(i) = self.find(page)
            && self.list[i].has(page)
        {
            let e = &self.list[i];
            e.pages
                .zero((page - e.first) as usize * PAGE + offset, PAGE - offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    const BLOCK: u64 = (LARGE / PAGE) as u64;

    #[test]
    fn blocks_that_fill_up_are_announced_once() {
        testing::boot();
        let mut e = Extents::default();
        let announced = |run: &Run| {
            let block = (run.pages.addr(), LARGE);
            testing::expected_kernel_pages()
                .iter()
                .filter(|&&expected| expected == block)
                .count()
        };
        // Here and there a page.
        for page in [BLOCK, BLOCK + 2, BLOCK + DENSE, BLOCK + 100] {
            let run = e.fill(page, page + 1, |n| n).unwrap();
            assert_eq!(announced(&run), 0);
        }
        // One after another.
        for page in 2 * BLOCK..3 * BLOCK {
            let run = e.fill(page, page + 1, |n| n).unwrap();
            let expected = usize::from(page - 2 * BLOCK == DENSE - 1);
            assert_eq!(announced(&run), expected, "{page}");
        }
        // All at once.
        let run = e.fill(3 * BLOCK, 4 * BLOCK, |n| n).unwrap();
        assert_eq!(announced(&run), 1);
    }
}
