//! Contents that were written and are not sealed yet. They wait, so that what is written in
//! small pieces still lies in long extents.

use crate::BLOCK;
use crate::crypto::Purpose;
use crate::error::{Error, Result};
use crate::extent::{Extent, LONGEST};
use crate::node::{Key, Kind};
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

    pub fn insert(&mut self, ino: u64, at: u64, page: Page) {
        self.0.insert((ino, at), page);
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

    /// Forgets a file's changes of the blocks `from..to`.
    pub fn drop_range(&mut self, ino: u64, from: u64, to: u64) {
        let range = self.0.range((ino, from)..(ino, to.max(from)));
        let gone: Vec<u64> = range.map(|(k, _)| k.1).collect();
        for at in gone {
            self.0.remove(&(ino, at));
        }
    }

    /// Takes the first run of neighbours, at most an extent's worth.
    fn take_run(&mut self) -> Option<(u64, u64, Vec<Page>)> {
        let (&(ino, first), _) = self.0.first_key_value()?;
        let mut run = Vec::new();
        while run.len() < LONGEST
            && let Some(page) = self.0.remove(&(ino, first + run.len() as u64))
        {
            run.push(page);
        }
        Some((ino, first, run))
    }
}

impl Volume {
    /// Seals all that waits, into blocks of this transaction.
    pub(crate) fn flush_pages(&mut self) -> Result<()> {
        while let Some((ino, first, run)) = self.pages.take_run() {
            let mut inode = self.inode(ino)?;
            let mut at = first;
            let mut pages = run.into_iter().peekable();
            while pages.peek().is_some() {
                let want = pages.len() as u64;
                let (start, len) = self.tree.space.alloc(want).ok_or(Error::NoSpace)?;
                let mut extent: Option<Extent> = None;
                for block in start..start + len {
                    let Some(page) = pages.next() else { break };
                    let ptr = self.tree.store.write(Purpose::Data, block, page.to_vec())?;
                    let e = extent.get_or_insert_with(|| Extent {
                        block: ptr.block,
                        nonce: ptr.nonce,
                        tags: Vec::new(),
                    });
                    e.tags.push(ptr.tag);
                }
                let Some(extent) = extent else { break };
                let (freed, _) = self.unmap(ino, at, at + extent.len(), usize::MAX)?;
                inode.blocks = inode.blocks.saturating_sub(freed) + extent.len();
                let key = Key::new(ino, Kind::Extent, at);
                at += extent.len();
                self.tree.put(key, extent.encode())?;
            }
            self.put_inode(ino, &inode)?;
        }
        Ok(())
    }
}
