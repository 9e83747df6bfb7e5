//! Which blocks are in use.
//!
//! A block that a transaction frees is still part of the last committed state, so it is given out
//! again only once the transaction is committed. A block that the same transaction allocated never
//! was part of any, and returns at once. Neither is given out while somebody still reads who looked
//! it up before ([`Pin`]).

use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Blocks that one bitmap block covers.
pub const CHUNK: u64 = crate::BLOCK as u64 * 8;

/// Gaps that are tried for a run of blocks that must lie together.
const GAPS: u32 = 16;

/// While it exists, no block is given out again that was in use when it was made.
#[derive(Clone)]
pub struct Pin(#[allow(dead_code)] Arc<()>);

/// Blocks that a commit freed while somebody could still read them.
struct Waiting {
    /// Those who read since before that commit hold it too, and nobody else.
    readers: Arc<()>,
    blocks: BTreeSet<u64>,
}

/// The allocator of a volume.
pub struct Space {
    /// Blocks that the volume may have.
    total: u64,
    /// One bit a block, up to the highest that was ever used.
    used: Vec<u64>,
    count: u64,
    /// One past the highest block in use.
    high: u64,
    /// Freed by this transaction.
    pending: BTreeSet<u64>,
    /// Allocated by this transaction.
    fresh: BTreeSet<u64>,
    /// Who reads since the last commit holds it.
    readers: Arc<()>,
    /// Free in the committed state, oldest first.
    waiting: VecDeque<Waiting>,
    /// Bitmap blocks that no longer say what is the case.
    pub stale: BTreeSet<u64>,
    /// Where the search goes on.
    cursor: u64,
}

impl Space {
    /// All blocks free, but those below `first`.
    pub fn new(total: u64, first: u64) -> Space {
        let mut space = Space {
            total,
            used: Vec::new(),
            count: 0,
            high: 0,
            pending: BTreeSet::new(),
            fresh: BTreeSet::new(),
            readers: Arc::new(()),
            waiting: VecDeque::new(),
            stale: BTreeSet::new(),
            cursor: first,
        };
        for block in 0..first {
            space.set(block);
        }
        space.stale.insert(0);
        space
    }

    /// Takes a bitmap block from disk. False if it speaks of blocks at or beyond `high`.
    pub fn load(&mut self, chunk: u64, bits: &[u8], high: u64) -> bool {
        for (byte, value) in bits.iter().enumerate() {
            for bit in (0..8).filter(|bit| value >> bit & 1 != 0) {
                let block = chunk * CHUNK + byte as u64 * 8 + bit;
                if block >= self.total.min(high) {
                    return false;
                }
                self.set(block);
            }
        }
        self.stale.clear();
        true
    }

    /// A bitmap block as it is after the commit: what is pending is free.
    pub fn chunk(&self, chunk: u64) -> Vec<u8> {
        let first = (chunk * CHUNK / 64) as usize;
        let words = (CHUNK / 64) as usize;
        let mut out = Vec::with_capacity(crate::BLOCK);
        for i in first..first + words {
            let word = self.used.get(i).copied().unwrap_or(0);
            out.extend_from_slice(&word.to_le_bytes());
        }
        let range = chunk * CHUNK..(chunk + 1) * CHUNK;
        let waiting = (self.waiting.iter()).flat_map(|w| w.blocks.range(range.clone()));
        for block in self.pending.range(range.clone()).chain(waiting) {
            let at = block % CHUNK;
            if let Some(byte) = out.get_mut((at / 8) as usize) {
                *byte &= !(1 << (at % 8));
            }
        }
        out
    }

    /// Bitmap blocks that a volume of this size has at most.
    pub fn chunks(&self) -> u64 {
        self.total.div_ceil(CHUNK)
    }

    fn set(&mut self, block: u64) {
        let word = (block / 64) as usize;
        if self.used.len() <= word {
            self.used.resize(word + 1, 0);
        }
        if let Some(w) = self.used.get_mut(word)
            && *w >> (block % 64) & 1 == 0
        {
            *w |= 1 << (block % 64);
            self.count += 1;
        }
        self.high = self.high.max(block + 1);
        self.stale.insert(block / CHUNK);
    }

    fn clear(&mut self, block: u64) {
        if let Some(w) = self.used.get_mut((block / 64) as usize)
            && *w >> (block % 64) & 1 != 0
        {
            *w &= !(1 << (block % 64));
            self.count -= 1;
        }
    }

    /// In use, by the last committed state or by this transaction.
    pub fn is_used(&self, block: u64) -> bool {
        (self.used.get((block / 64) as usize)).is_some_and(|w| w >> (block % 64) & 1 != 0)
    }

    /// In use after the commit.
    pub fn will_be_used(&self, block: u64) -> bool {
        self.is_used(block)
            && !self.pending.contains(&block)
            && !self.waiting.iter().any(|w| w.blocks.contains(&block))
    }

    /// Keeps what is in use from being given out again.
    pub fn pin(&self) -> Pin {
        Pin(self.readers.clone())
    }

    /// Gives back what nobody reads any more.
    pub fn reclaim(&mut self) {
        // Who reads since an earlier commit may read what a later one freed.
        while let Some(first) = self.waiting.front_mut()
            && Arc::get_mut(&mut first.readers).is_some()
        {
            let blocks = self.waiting.pop_front().map(|w| w.blocks);
            for block in blocks.into_iter().flatten() {
                self.clear(block);
            }
        }
        self.lower_high();
    }

    fn lower_high(&mut self) {
        while self.high > 0 && !self.is_used(self.high - 1) {
            self.high -= 1;
        }
    }

    /// The first free block of `from..to`.
    fn find(&self, from: u64, to: u64) -> Option<u64> {
        let mut at = from;
        while at < to {
            let word = self.used.get((at / 64) as usize).copied().unwrap_or(0);
            let free = !word & u64::MAX << (at % 64);
            if free != 0 {
                let block = at / 64 * 64 + u64::from(free.trailing_zeros());
                return (block < to).then_some(block);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    /// Up to `want` free blocks in a row: the first and how many.
    pub fn alloc(&mut self, want: u64) -> Option<(u64, u64)> {
        // The file grows only when there is no room in it.
        let high = self.high;
        let start = (self.count < high)
            .then(|| {
                self.find(self.cursor, high)
                    .or_else(|| self.find(0, self.cursor.min(high)))
            })
            .flatten()
            .or_else(|| self.find(high, self.total))?;
        let mut len = 0;
        while len < want.max(1) && start + len < self.total && !self.is_used(start + len) {
            self.set(start + len);
            self.fresh.insert(start + len);
            len += 1;
        }
        self.cursor = start + len;
        Some((start, len))
    }

    /// So many free blocks in a row, none fewer: the first. Some gaps are tried, and the end, for
    /// which the file may grow.
    pub fn alloc_whole(&mut self, want: u64) -> Option<u64> {
        let (mut at, mut turned) = (self.cursor.min(self.high), false);
        let mut gaps = GAPS;
        loop {
            let start = match self.find(at, self.high) {
                Some(start) if gaps > 0 => start,
                None if gaps > 0 && !turned => {
                    (at, turned) = (0, true);
                    continue;
                }
                _ => self.high,
            };
            let end = start.checked_add(want).filter(|end| *end <= self.total);
            match end.map(|end| (start..end).find(|block| self.is_used(*block))) {
                Some(None) => {
                    for block in start..start + want {
                        self.set(block);
                        self.fresh.insert(block);
                    }
                    self.cursor = start + want;
                    return Some(start);
                }
                Some(Some(used)) => at = used,
                None => return None,
            }
            gaps -= 1;
        }
    }

    /// Gives a block back. One that is not in use stays as it is.
    pub fn free(&mut self, block: u64) {
        if !self.is_used(block) {
            return;
        }
        self.stale.insert(block / CHUNK);
        let unread = Arc::get_mut(&mut self.readers).is_some();
        if self.fresh.remove(&block) && unread {
            self.clear(block);
        } else {
            self.pending.insert(block);
        }
    }

    /// The transaction is durable: what it freed may be given out.
    pub fn committed(&mut self) {
        let blocks = core::mem::take(&mut self.pending);
        let readers = core::mem::take(&mut self.readers);
        self.waiting.push_back(Waiting { readers, blocks });
        self.fresh.clear();
        self.stale.clear();
        self.reclaim();
    }

    /// Blocks of which it is known that this transaction gave them out or frees them.
    pub fn unsettled(&self) -> usize {
        self.fresh.len() + self.pending.len()
    }

    /// Blocks that can be given out now.
    pub fn free_now(&self) -> u64 {
        self.total.saturating_sub(self.count)
    }

    /// Blocks that can be given out once nobody reads them any more.
    pub fn free_unread(&self) -> u64 {
        let waiting: usize = self.waiting.iter().map(|w| w.blocks.len()).sum();
        self.free_now() + waiting as u64
    }

    /// As [`Space::free_unread`], but after a commit.
    pub fn free_later(&self) -> u64 {
        self.free_unread() + self.pending.len() as u64
    }

    /// Blocks that the volume may have.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// One past the highest block that is in use after the commit. All below it that are in use
    /// have been written; others above may have been given back before they were.
    pub fn high_after(&self) -> u64 {
        let used = (0..self.high).rev().find(|b| self.will_be_used(*b));
        used.map_or(0, |b| b + 1)
    }

    /// One past the highest block that is in use, now or after the commit.
    pub fn high(&self) -> u64 {
        self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_blocks_come_back_after_the_commit_only() {
        let mut s = Space::new(100, 4);
        assert_eq!(s.alloc(3), Some((4, 3)));
        s.committed();
        s.free(5);
        assert!(s.is_used(5) && !s.will_be_used(5));
        assert_eq!((s.free_now(), s.free_later()), (93, 94));
        assert_eq!(s.alloc(1), Some((7, 1)));
        s.free(7);
        assert!(!s.is_used(7));
        s.committed();
        assert_eq!(s.alloc(9), Some((5, 1)));
        assert_eq!(s.alloc(200), Some((7, 93)));
        assert_eq!(s.alloc(1), None);
    }

    #[test]
    fn blocks_that_somebody_reads_wait() {
        let mut s = Space::new(100, 4);
        assert_eq!(s.alloc(96), Some((4, 96)));
        s.committed();
        let (first, second) = (s.pin(), s.pin());
        s.free(10);
        s.committed();
        let third = s.pin();
        s.free(11);
        s.committed();
        // Free on disk, and not to be had.
        assert!(s.is_used(10) && !s.will_be_used(10) && s.chunk(0)[1] & 0b1100 == 0);
        assert_eq!((s.free_now(), s.free_later()), (0, 2));
        assert_eq!(s.alloc(1), None);
        drop((first, third));
        // Who has the second pin may have looked up block 11 too.
        s.reclaim();
        assert_eq!((s.alloc(1), s.free_unread()), (None, 2));
        drop(second);
        s.reclaim();
        assert_eq!(s.alloc(9), Some((10, 2)));
        // What this transaction gave out, and somebody reads.
        let pin = s.pin();
        s.free(10);
        assert!(s.is_used(10));
        s.committed();
        assert!(s.is_used(10) && !s.will_be_used(10));
        drop(pin);
        assert_eq!(s.free_later(), 1);
        s.reclaim();
        assert!(!s.is_used(10));
    }

    #[test]
    fn bitmaps_come_back_as_they_were() {
        let mut s = Space::new(CHUNK * 2 + 10, 4);
        assert_eq!(s.alloc(CHUNK + 5), Some((4, CHUNK + 5)));
        s.committed();
        s.free(CHUNK);
        s.free(9);
        let mut t = Space::new(s.total(), 4);
        for chunk in 0..s.chunks() {
            assert!(t.load(chunk, &s.chunk(chunk), s.high()));
        }
        for block in 0..s.total() {
            assert_eq!(s.will_be_used(block), t.is_used(block), "block {block}");
        }
        assert_eq!(t.high(), CHUNK + 9);
        assert!(!t.load(2, &[0, 0xff], u64::MAX));
        assert!(!t.load(0, &[0, 0xff], 15));
    }
}
