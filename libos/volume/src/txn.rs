//! Transactions: everything since the last commit is one. A commit writes what changed to free
//! blocks, makes that durable, and then writes the root that points to it.

use crate::crypto::{Ptr, Purpose, Tag};
use crate::error::{DeviceError, Error, Result};
use crate::node::{Key, Kind};
use crate::root::Root;
use crate::tree::Written;
use crate::volume::Volume;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// How much a volume keeps in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Nodes of the tree that are kept after reading.
    pub nodes: usize,
    /// Changed blocks of files that wait before they are sealed and written.
    pub pages: usize,
    /// Changed nodes that wait before a commit is made unasked.
    pub changed: usize,
    /// Blocks of contents that are kept after reading and writing.
    pub contents: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            nodes: 4096,
            pages: 2048,
            changed: 4096,
            contents: 0,
        }
    }
}

/// What an operation may need of the space that is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// New blocks of contents.
    Pages(u64),
    /// A new item or a few.
    Item,
    /// Nothing for long: it may use the reserve, so that a full volume can be emptied.
    Little,
    /// As `Little`, but it changes one block of contents.
    Zero,
}

/// Blocks that take as much memory as a changed node, until a commit.
const BLOCKS_A_NODE: usize = 128;
/// Nodes that one operation changes at most.
const OPERATION: u64 = 32;

/// What changed since the last commit, as far as the intent log must know.
#[derive(Default)]
pub(crate) struct Delta {
    /// Files of which more changed than their contents and attributes, and new ones.
    reshaped: BTreeSet<u64>,
    /// The blocks of contents of others that changed since they were last logged.
    wrote: BTreeMap<u64, BTreeSet<u64>>,
    /// Something changed, as yet in memory only.
    pub dirty: bool,
}

impl Delta {
    /// Contents of one block changed. Which one need not be known if the log cannot say it all.
    pub fn wrote(&mut self, ino: u64, at: u64) {
        if !self.reshaped.contains(&ino) {
            self.wrote.entry(ino).or_default().insert(at);
        }
    }

    /// Attributes changed.
    pub fn attributes(&mut self, ino: u64) {
        if !self.reshaped.contains(&ino) {
            self.wrote.entry(ino).or_default();
        }
    }

    /// More changed than the log can say.
    pub fn reshaped(&mut self, ino: u64) {
        self.reshaped.insert(ino);
        self.wrote.remove(&ino);
    }

    /// What the log must say of a file; `None` if it cannot.
    pub fn loggable(&self, ino: u64) -> Option<Vec<u64>> {
        if self.reshaped.contains(&ino) {
            return None;
        }
        Some((self.wrote.get(&ino)?).iter().copied().collect())
    }

    /// A file's changes are in the log.
    pub fn logged(&mut self, ino: u64) {
        self.wrote.remove(&ino);
    }

    /// The file changed since it was last made durable.
    pub fn changed(&self, ino: u64) -> bool {
        self.reshaped.contains(&ino) || self.wrote.contains_key(&ino)
    }
}

impl Volume {
    /// The volume takes changes.
    pub(crate) fn writable(&self) -> Result<()> {
        if self.stopped {
            return Err(Error::Stopped);
        }
        if self.read_only && !self.replaying {
            return Err(Error::ReadOnly);
        }
        Ok(())
    }

    /// Blocks that are kept for deleting and for commits.
    pub(crate) fn reserve(&self) -> u64 {
        let total = self.tree.space.total();
        OPERATION + (total / 16).min(64) + total / 256
    }

    /// Blocks that a commit needs, with so many more blocks of contents, at the very most: each
    /// may lie in an extent of its own in a leaf of its own.
    fn cost(&self, more: u64) -> u64 {
        let pages = self.pages.len() as u64 + more;
        let leaves = pages + pages / 16;
        let space = &self.tree.space;
        let chunks = (space.chunks()).min(space.stale.len() as u64 + 64);
        pages + leaves + self.tree.changed() as u64 + chunks + OPERATION
    }

    /// Begins an operation, or goes on with one: makes sure that it and the commit after it will find
    /// the space that they need, and that memory is bounded. What was done so far stays.
    pub(crate) fn begin(&mut self, need: Need) -> Result<()> {
        self.begin_step();
        self.writable()?;
        if !self.replaying {
            self.make_room(need)?;
            self.delta.dirty = true;
        }
        self.begin_step();
        Ok(())
    }

    fn make_room(&mut self, need: Need) -> Result<()> {
        self.bound_memory(need)?;
        let (more, reserve) = match need {
            Need::Pages(n) => (n, self.reserve()),
            Need::Item => (0, self.reserve()),
            Need::Zero => (1, 0),
            Need::Little => (0, 0),
        };
        let wanted = |v: &Volume| v.cost(more) + reserve;
        let fits = |v: &Volume| v.tree.space.free_now() >= wanted(v);
        self.tree.space.reclaim();
        if fits(self) {
            return Ok(());
        }
        // The estimate is exact once contents have their blocks.
        if !self.pages.is_empty() {
            self.flush_pages()?;
            if fits(self) {
                return Ok(());
            }
        }
        // A commit gives back what is pending, and no more.
        if self.tree.space.free_later() < wanted(self) {
            // What is left to be freed helps, unless there is no room even for that.
            let more = self.has_unfinished() && !matches!(need, Need::Little);
            return Err(if more { Error::Busy } else { Error::NoSpace });
        }
        if self.tree.space.free_unread() < wanted(self) {
            self.commit()?;
        }
        match fits(self) {
            true => Ok(()),
            false => Err(Error::Busy),
        }
    }

    /// Writes what waits if there is too much of it.
    fn bound_memory(&mut self, need: Need) -> Result<()> {
        // Freeing a large file changes few nodes, and many blocks.
        let changed = self.tree.changed() + self.tree.space.unsettled() / BLOCKS_A_NODE;
        let pages = self.pages.len();
        let done = if changed >= self.limits.changed {
            self.commit()
        } else if pages >= self.limits.pages {
            self.flush_pages()
        } else {
            return Ok(());
        };
        // Where the host has no room, deleting helps: what waits need not be written then.
        let over = changed >= 2 * self.limits.changed || pages >= 2 * self.limits.pages;
        match (done, need) {
            (Err(Error::Device(DeviceError::Full)), Need::Little | Need::Zero) if !over => Ok(()),
            (done, _) => done,
        }
    }

    /// Something is in memory only.
    pub fn is_dirty(&self) -> bool {
        !self.read_only
            && (self.delta.dirty
                || !self.tree.is_clean()
                || !self.pages.is_empty()
                || self.mark_due)
    }

    /// Makes everything durable: after a power cut the volume opens in this state or a later one.
    /// If contents or nodes cannot be written, all is as before, and it may be tried again.
    pub fn commit(&mut self) -> Result<()> {
        self.begin_step();
        if self.stopped {
            return Err(Error::Stopped);
        }
        if !self.is_dirty() {
            return Ok(());
        }
        if !self.delta.dirty && self.tree.is_clean() && self.pages.is_empty() {
            return self.set_mark();
        }
        let written = self.flush_pages().and_then(|()| self.write_nodes());
        let (root, tree) = written.inspect_err(|_| {
            self.tree.store.discard();
            self.tree.unplace();
            // The items of bitmaps that are to be written again stay as well.
            self.begin_step();
        })?;
        let tag = self.write_root(&root).inspect_err(|_| {
            self.stopped = true;
            self.begin_step();
        })?;
        self.root = root;
        self.root_tag = tag;
        self.tree.committed(tree);
        self.tree.space.committed();
        self.begin_step();
        self.delta = Delta::default();
        self.log.restart(tag);
        self.set_mark()
    }

    /// Writes all but the root, which is returned. Nothing that is in use is touched.
    fn write_nodes(&mut self) -> Result<(Root, Written)> {
        let places = self.place_all()?;
        for (chunk, block) in places {
            let bits = self.tree.space.chunk(chunk);
            let ptr = self.tree.store.write(Purpose::Space, block, bits)?;
            self.put_space(chunk, &ptr)?;
        }
        let tree = self.tree.write()?;
        self.tree.store.write_out()?;
        let root = Root {
            generation: self.root.generation + 1,
            time: self.now(),
            tree: tree.root,
            high: self.tree.space.high_after(),
            ..self.root
        };
        Ok((root, tree))
    }

    /// The point of no return: after a failure here, the old root or the new one may be on disk.
    fn write_root(&mut self, root: &Root) -> Result<Tag> {
        let store = &mut self.tree.store;
        store.device.flush()?;
        let tag = root.write(&*store.device, &mut store.ring)?;
        store.device.flush()?;
        Ok(tag)
    }

    /// Gives every changed node and every stale bitmap block a place. Each place may make another
    /// bitmap stale, and its item may change more nodes; there are finitely many of both.
    fn place_all(&mut self) -> Result<BTreeMap<u64, u64>> {
        let mut places = BTreeMap::new();
        loop {
            let mut any = self.tree.place()?;
            let stale: Vec<u64> = self.tree.space.stale.iter().copied().collect();
            for chunk in stale {
                if places.contains_key(&chunk) {
                    continue;
                }
                any = true;
                let old = self.tree.get(&Key::new(0, Kind::Space, chunk))?;
                if let Some(ptr) = old.and_then(|v| crate::space_ptr(&v)) {
                    self.tree.space.free(ptr.block);
                    self.tree.store.forget(ptr.block);
                }
                let (block, _) = self.tree.space.alloc(1).ok_or(Error::NoSpace)?;
                places.insert(chunk, block);
                // The item has its size from now on, and only its value is still to come.
                let ptr = Ptr {
                    block,
                    ..Ptr::default()
                };
                self.put_space(chunk, &ptr)?;
            }
            if !any {
                return Ok(places);
            }
        }
    }

    fn put_space(&mut self, chunk: u64, ptr: &Ptr) -> Result<()> {
        let mut w = crate::codec::Writer::default();
        ptr.write(&mut w);
        self.tree.put(Key::new(0, Kind::Space, chunk), w.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_log_can_say_is_remembered_by_block() {
        let mut delta = Delta::default();
        for at in 0..3 {
            delta.wrote(1, at);
        }
        delta.attributes(2);
        assert_eq!(delta.loggable(1), Some([0, 1, 2].into()));
        assert_eq!(
            (delta.loggable(2), delta.loggable(3)),
            (Some([].into()), None)
        );
        delta.reshaped(1);
        delta.wrote(1, 9);
        delta.attributes(1);
        assert!(delta.changed(1) && delta.loggable(1).is_none() && !delta.wrote.contains_key(&1));
        // What was reshaped is in no log: a record of it makes nothing of that durable.
        delta.logged(1);
        assert!(delta.changed(1));
    }
}
