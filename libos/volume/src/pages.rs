//! Contents that were written and are not sealed yet. They wait, so that what is written in
//! small pieces still lies in long extents.

use crate::BLOCK;
use crate::error::{Error, Result};
use crate::extent::{Extent, LONGEST};
use crate::node::{Key, Kind};
use crate::packed::CLUSTER;
use crate::volume::Volume;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// A block of a file's contents.
pub type Page = Box<[u8; BLOCK]>;

/// Changed blocks, by inode and number.
#[derive(Default)]
pub struct Pages(BTreeMap<(u64, u64), Page>);

impl Pages {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, ino: u64, at: u64) -> Option<&Page> {
        self.0.get(&(ino, at))
    }

    pub fn get_mut(&mut self, ino: u64, at: u64) -> Option<&mut Page> {
        self.0.get_mut(&(ino, at))
    }

    pub fn insert(&mut self, ino: u64, at: u64, page: Page) -> Option<Page> {
        self.0.insert((ino, at), page)
    }

    /// The numbers of a file's changed blocks, in order.
    pub fn of(&self, ino: u64) -> impl Iterator<Item = u64> {
        self.0.range((ino, 0)..=(ino, u64::MAX)).map(|(k, _)| k.1)
    }

    /// The first changed block of a file at or after one.
    pub fn next_from(&self, ino: u64, at: u64) -> Option<u64> {
        let mut range = self.0.range((ino, at)..=(ino, u64::MAX));
        range.next().map(|(k, _)| k.1)
    }

    /// Takes a file's changed blocks `from..to` out.
    pub fn take_range(&mut self, ino: u64, from: u64, to: u64) -> Vec<((u64, u64), Page)> {
        let range = self.0.range((ino, from)..(ino, to.max(from)));
        let gone: Vec<(u64, u64)> = range.map(|(k, _)| *k).collect();
        let take = |key| Some((key, self.0.remove(&key)?));
        gone.into_iter().filter_map(take).collect()
    }

    /// Forgets a changed block.
    pub fn remove(&mut self, ino: u64, at: u64) {
        self.0.remove(&(ino, at));
    }

    /// The first run of neighbours, at most an extent's worth: the file, the number of the first,
    /// and how many they are.
    fn first_run(&self) -> Option<(u64, u64, u64)> {
        let (&(ino, first), _) = self.0.first_key_value()?;
        let all = self.0.keys().take(LONGEST).zip(first..);
        let run = all.take_while(|(key, at)| **key == (ino, *at));
        Some((ino, first, run.count() as u64))
    }
}

/// How the beginning of a run is sealed.
enum Sealing {
    Packed(Extent),
    /// As it is, so many blocks.
    Plain(usize),
}

impl Volume {
    /// Seals all that waits, into blocks of this transaction. What could not be written goes on
    /// waiting.
    pub(crate) fn flush_pages(&mut self) -> Result<()> {
        self.begin_step();
        while let Some((ino, first, len)) = self.pages.first_run() {
            let done = self.flush_run(ino, first, len);
            let len = self.end_step(done)?;
            for at in first..first + len {
                self.pages.remove(ino, at);
            }
        }
        Ok(())
    }

    /// Seals a run of a file's changed blocks, or its beginning: how many.
    fn flush_run(&mut self, ino: u64, first: u64, len: u64) -> Result<u64> {
        let pages = core::mem::take(&mut self.pages);
        let run = || {
            let range = pages.0.range((ino, first)..(ino, first + len));
            range.map(|(_, page)| &**page)
        };
        let sealed = self.seal_run(ino, first, len, run());
        if let Ok(extent) = &sealed {
            (extent.names_from(0).zip(run()))
                .for_each(|(name, data)| self.contents.keep(name, data));
        }
        self.pages = pages;
        Ok(sealed?.len())
    }

    /// Seals `len` blocks of a file from `first` on, or the first of them: where they are. Part of a
    /// step.
    pub(crate) fn seal_run<'a>(
        &mut self,
        ino: u64,
        first: u64,
        len: u64,
        blocks: impl Iterator<Item = &'a [u8; BLOCK]>,
    ) -> Result<Extent> {
        if self.packs() {
            let blocks: Vec<_> = blocks.take(len as usize).collect();
            let plain = match self.seal_packed(first, &blocks)? {
                Sealing::Packed(extent) => return self.map(ino, first, extent),
                Sealing::Plain(n) => blocks.into_iter().take(n),
            };
            let extent = self.seal_plain(plain.len() as u64, plain)?;
            return self.map(ino, first, extent);
        }
        let extent = self.seal_plain(len, blocks)?;
        self.map(ino, first, extent)
    }

    /// Seals so many blocks as they are, or the first of them.
    fn seal_plain<'a>(
        &mut self,
        len: u64,
        blocks: impl Iterator<Item = &'a [u8; BLOCK]>,
    ) -> Result<Extent> {
        let (start, len) = self.tree.space.alloc(len).ok_or(Error::NoSpace)?;
        (start..start + len).for_each(|block| self.step.takes(block));
        (self.tree.store).write_run(start, blocks.take(len as usize))
    }

    /// Packs and seals the first cluster of a run, if that saves a block. Else says how many blocks
    /// of the run do not get smaller.
    fn seal_packed(&mut self, first: u64, blocks: &[&[u8; BLOCK]]) -> Result<Sealing> {
        let mut plain = 0;
        while let Some(rest) = blocks.get(plain..).filter(|rest| !rest.is_empty()) {
            let room = CLUSTER - (first + plain as u64) % CLUSTER;
            let cluster = rest.get(..room as usize).unwrap_or(rest);
            let packed = (self.packer.as_mut()).and_then(|packer| packer.pack(cluster));
            let Some((packed, stored)) = packed else {
                plain += cluster.len();
                continue;
            };
            if plain > 0 {
                break;
            }
            let len = stored.len() as u64;
            let Some(start) = self.tree.space.alloc_whole(len) else {
                // There is room for all of the blocks: that was looked for before.
                plain += cluster.len();
                continue;
            };
            (start..start + len).for_each(|block| self.step.takes(block));
            let extent = self.tree.store.write_run(start, stored.iter())?;
            return Ok(Sealing::Packed(Extent {
                packed: Some(packed),
                ..extent
            }));
        }
        Ok(Sealing::Plain(plain))
    }

    /// Puts an extent into a file instead of what is there.
    fn map(&mut self, ino: u64, first: u64, extent: Extent) -> Result<Extent> {
        let mut inode = self.inode(ino)?;
        let len = extent.len();
        let (freed, _) = self.unmap(ino, first, first + len, usize::MAX)?;
        inode.blocks = inode.blocks.saturating_sub(freed) + extent.stored();
        let key = Key::new(ino, Kind::Extent, first);
        self.tree.put(key, extent.encode())?;
        self.put_inode(ino, &inode)?;
        Ok(extent)
    }
}
