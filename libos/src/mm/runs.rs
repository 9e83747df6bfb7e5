//! Sets of addresses as disjoint ranges.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Disjoint, non-adjacent ranges `start..end`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(BTreeMap<usize, usize>);

impl Runs {
    /// Adds a range.
    pub fn insert(&mut self, mut start: usize, mut end: usize) {
        if start >= end {
            return;
        }
        if let Some((&s, &e)) = self.0.range(..start).next_back()
            && e >= start
        {
            start = s;
            end = end.max(e);
        }
        while let Some((&s, &e)) = self.0.range(start..=end).next() {
            end = end.max(e);
            self.0.remove(&s);
        }
        self.0.insert(start, end);
    }

    /// Takes a range out.
    pub fn remove(&mut self, start: usize, end: usize) {
        for (s, e) in self.within(start, end) {
            let (whole_start, whole_end) = match self.0.range(..=s).next_back() {
                Some((&a, &b)) => (a, b),
                None => continue,
            };
            self.0.remove(&whole_start);
            if whole_start < s {
                self.0.insert(whole_start, s);
            }
            if e < whole_end {
                self.0.insert(e, whole_end);
            }
        }
    }

    /// The ranges inside `start..end`, cut to it.
    pub fn within(&self, start: usize, end: usize) -> Vec<(usize, usize)> {
        let first = match self.0.range(..start).next_back() {
            Some((_, &e)) if e > start => Some((start, e.min(end))),
            _ => None,
        };
        let rest = if start < end {
            Some(self.0.range(start..end))
        } else {
            None
        };
        first
            .into_iter()
            .filter(|r| r.0 < r.1)
            .chain(rest.into_iter().flatten().map(|(&s, &e)| (s, e.min(end))))
            .collect()
    }

    /// What of `start..end` is missing.
    pub fn gaps(&self, start: usize, end: usize) -> Vec<(usize, usize)> {
        let mut out = Vec::new();
        let mut at = start;
        for (s, e) in self.within(start, end) {
            if at < s {
                out.push((at, s));
            }
            at = e;
        }
        if at < end {
            out.push((at, end));
        }
        out
    }

    /// The address is in one of the ranges.
    pub fn contains(&self, at: usize) -> bool {
        self.0
            .range(..=at)
            .next_back()
            .is_some_and(|(_, &e)| e > at)
    }

    /// Takes out everything from `at` on.
    pub fn split_off(&mut self, at: usize) -> Runs {
        let mut right = Runs(self.0.split_off(&at));
        if let Some((&s, &e)) = self.0.range(..at).next_back()
            && e > at
        {
            self.0.insert(s, at);
            right.insert(at, e);
        }
        right
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: Runs) {
        for (s, e) in other.0 {
            self.insert(s, e);
        }
    }

    /// The set moved from `from` to `to`.
    pub fn moved(&self, from: usize, to: usize) -> Runs {
        let shift = |a: usize| a.wrapping_sub(from).wrapping_add(to);
        Runs(self.0.iter().map(|(&s, &e)| (shift(s), shift(e))).collect())
    }

    /// Bytes in the set.
    pub fn len(&self) -> usize {
        self.0.iter().map(|(s, e)| e - s).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn agrees_with_a_bitmap() {
        let mut r = Runs::default();
        let mut model = [false; 64];
        let mut x = 7u64;
        for _ in 0..5000 {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1);
            let (a, b) = ((x >> 33) as usize % 64, (x >> 40) as usize % 64);
            let on = x >> 63 == 0;
            if on {
                r.insert(a, b);
            } else {
                r.remove(a, b);
            }
            if a < b {
                model[a..b].fill(on);
            }
            assert!((0..64).all(|i| r.contains(i) == model[i]));
            assert_eq!(r.len(), model.iter().filter(|&&m| m).count());
            let ranges: Vec<_> = r.0.iter().map(|(&s, &e)| (s, e)).collect();
            assert!(ranges.windows(2).all(|w| w[0].1 < w[1].0));
            let gaps: usize = r.gaps(3, 60).iter().map(|(s, e)| e - s).sum();
            assert_eq!(gaps, model[3..60].iter().filter(|&&m| !m).count());
        }
    }

    #[test]
    fn splits_and_moves() {
        let mut r = Runs::default();
        r.insert(0, 10);
        r.insert(20, 30);
        let right = r.split_off(25);
        assert_eq!(r.within(0, 100), vec![(0, 10), (20, 25)]);
        assert_eq!(right.moved(25, 125).within(0, 200), vec![(125, 130)]);
    }
}
