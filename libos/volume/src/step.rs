//! Steps: what one operation changes between two looks at the space that is left. A step that fails
//! halfway, because a block could not be read, is taken back, so that the volume goes on as it was.

use crate::error::Result;
use crate::pages::Page;
use crate::root::Root;
use crate::volume::Volume;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// What the step under way changed beside items of the tree.
#[derive(Default)]
pub(crate) struct Step {
    /// The counters before.
    root: Option<Root>,
    /// Blocks of contents that are to be freed, and those that were taken.
    freed: Vec<u64>,
    taken: Vec<u64>,
    /// Changed blocks that were not in memory before.
    added: BTreeSet<(u64, u64)>,
    /// What those were that are changed again or no longer there, oldest change first.
    were: Vec<((u64, u64), Page)>,
    /// Files of which more is to be freed when it has ended.
    left: Vec<u64>,
}

impl Step {
    /// A block of contents is not used any more.
    pub fn frees(&mut self, block: u64) {
        self.freed.push(block);
    }

    /// A block was taken for contents.
    pub fn takes(&mut self, block: u64) {
        self.taken.push(block);
    }

    /// More of a file is to be freed.
    pub fn leaves(&mut self, ino: u64) {
        self.left.push(ino);
    }

    /// A changed block came into memory.
    pub fn adds(&mut self, ino: u64, at: u64) {
        self.added.insert((ino, at));
    }

    /// A changed block is to be changed again.
    pub fn changes(&mut self, ino: u64, at: u64, was: Page) {
        self.were.push(((ino, at), was));
    }
}

impl Volume {
    /// What was done so far stays, and a step begins.
    pub(crate) fn begin_step(&mut self) {
        self.tree.settle();
        let step = core::mem::take(&mut self.step);
        for block in step.freed {
            self.tree.space.free(block);
        }
        (self.unfinished).extend(step.left.into_iter().map(|ino| (ino, None)));
        self.step.root = Some(self.root);
    }

    /// Ends the step; with an error, as if it had never begun.
    pub(crate) fn end_step<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            let step = core::mem::take(&mut self.step);
            let undone = self.tree.roll_back();
            debug_assert!(undone.is_ok(), "{undone:?}");
            self.stopped |= undone.is_err();
            self.root = step.root.unwrap_or(self.root);
            for block in step.taken {
                self.tree.space.free(block);
            }
            for (ino, at) in step.added {
                self.pages.remove(ino, at);
            }
            for ((ino, at), page) in step.were.into_iter().rev() {
                self.pages.insert(ino, at, page);
            }
        }
        self.begin_step();
        result
    }

    /// Forgets a file's changed blocks `from..to`.
    pub(crate) fn drop_pages(&mut self, ino: u64, from: u64, to: u64) {
        for (key, page) in self.pages.take_range(ino, from, to) {
            if !self.step.added.remove(&key) {
                self.step.were.push((key, page));
            }
        }
    }
}
