//! Opened blocks of contents, kept for those who read them again.
//!
//! A block is known by its whole pointer: where it is, its nonce and its tag. What is written later
//! has another one, as no nonce is used twice. So what is kept is never out of date, nobody need be
//! told of a change, and what was not authentic never comes here.

use crate::BLOCK;
use crate::crypto::{Block, Ptr};
use crate::volume::Volume;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Blocks that may take each other's place.
const WAYS: usize = 8;

/// What a block of contents is known by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Name {
    /// The block that holds it or, if it is packed with others, the first one that does.
    pub ptr: Ptr,
    /// 0, or which of those that are packed, counted from 1.
    pub part: u64,
}

struct Kept {
    name: Name,
    /// When it was wanted last.
    used: u64,
    data: Box<Block>,
}

/// The kept blocks: each in the set that its place says, and in each set those that were used last.
pub(crate) struct Contents {
    sets: Vec<Vec<Kept>>,
    /// How many there may be in a set: at first, and now.
    most: usize,
    ways: usize,
    now: u64,
}

impl Contents {
    /// At most so many.
    pub fn new(blocks: usize) -> Contents {
        let sets = (blocks / WAYS).max(1);
        let most = blocks / sets;
        Contents {
            sets: (0..sets).map(|_| Vec::new()).collect(),
            most,
            ways: most,
            now: 0,
        }
    }

    /// At most so many from now on, and never more than at first.
    pub fn bound(&mut self, blocks: usize) {
        let ways = blocks / self.sets.len();
        if ways < self.ways {
            for set in &mut self.sets {
                set.sort_unstable_by_key(|kept| core::cmp::Reverse(kept.used));
                set.truncate(ways);
            }
        }
        self.ways = ways.min(self.most);
    }

    /// Which set a block is in; there is one at least.
    fn place(&self, name: &Name) -> usize {
        ((name.ptr.block + name.part) % self.sets.len() as u64) as usize
    }

    /// The contents of a block, if they are here.
    pub fn get(&mut self, name: &Name) -> Option<&Block> {
        let place = self.place(name);
        let kept = self.sets[place].iter_mut().find(|k| k.name == *name)?;
        self.now += 1;
        kept.used = self.now;
        Some(&kept.data)
    }

    /// They are here; nobody wants them now.
    pub fn has(&self, name: &Name) -> bool {
        let mut set = self.sets[self.place(name)].iter();
        set.any(|k| k.name == *name)
    }

    /// Keeps the contents of a block, which are authentic.
    pub fn keep(&mut self, name: Name, data: &Block) {
        self.now += 1;
        let (used, ways, place) = (self.now, self.ways, self.place(&name));
        let set = &mut self.sets[place];
        if ways == 0 {
            return;
        }
        let same = |k: &Kept| k.name.ptr.block == name.ptr.block && k.name.part == name.part;
        let oldest = || (0..set.len()).min_by_key(|i| set[*i].used);
        let gives_way = (set.iter().position(same))
            .or_else(|| (set.len() >= ways).then(oldest).flatten())
            .and_then(|i| set.get_mut(i));
        match gives_way {
            Some(kept) => {
                (kept.name, kept.used) = (name, used);
                kept.data.copy_from_slice(data);
            }
            None => set.push(Kept {
                name,
                used,
                data: Box::new(*data),
            }),
        }
    }

    /// Keeps nothing of what is here.
    pub fn clear(&mut self) {
        self.sets.iter_mut().for_each(|set| *set = Vec::new());
    }
}

impl Volume {
    /// Keeps at most so many bytes of opened contents, and at most what the volume was opened with.
    pub fn bound_contents(&mut self, bytes: u64) {
        let blocks = usize::try_from(bytes / BLOCK as u64).unwrap_or(usize::MAX);
        self.contents.bound(blocks);
    }
}
