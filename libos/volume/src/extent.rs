//! Where a file's blocks are: runs of blocks that were sealed one after the other, with their tags.

use crate::codec::{Reader, Short, Writer};
use crate::crypto::{Nonce, Ptr, Tag};
use crate::error::{Error, Result};
use crate::file::SIZE_MAX;
use crate::node::{Key, Kind};
use crate::volume::Volume;
use crate::{BLOCK, BLOCKS_MOST};
use alloc::vec::Vec;

/// Blocks in an extent at most.
pub const LONGEST: usize = 64;

/// A run of a file's blocks. Block `i` is at `block + i`, was sealed with the counter
/// `nonce.counter + i`, and has the tag `tags[i]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extent {
    pub block: u64,
    pub nonce: Nonce,
    pub tags: Vec<Tag>,
}

impl Extent {
    pub fn len(&self) -> u64 {
        self.tags.len() as u64
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u64(self.block);
        self.nonce.write(&mut w);
        for tag in &self.tags {
            w.bytes(tag);
        }
        w.0
    }

    /// The extent that begins at block `at` of a file: neither its blocks, nor their counters, nor
    /// their places in the file go beyond what there can be.
    pub fn decode(at: u64, bytes: &[u8]) -> core::result::Result<Extent, Short> {
        let mut r = Reader(bytes);
        let (block, nonce) = (r.u64()?, Nonce::read(&mut r)?);
        let mut tags = Vec::new();
        while !r.is_empty() {
            tags.push(r.array()?);
        }
        let len = tags.len() as u64;
        let below = |first: u64, most| first.checked_add(len).is_some_and(|end| end <= most);
        let sane = !tags.is_empty()
            && tags.len() <= LONGEST
            && below(block, BLOCKS_MOST)
            && below(nonce.counter, u64::MAX)
            && below(at, SIZE_MAX.div_ceil(BLOCK as u64));
        sane.then_some(Extent { block, nonce, tags }).ok_or(Short)
    }

    /// The pointer to one block.
    pub fn ptr(&self, at: u64, tag: &Tag) -> Ptr {
        Ptr {
            block: self.block + at,
            nonce: Nonce {
                counter: self.nonce.counter + at,
                ..self.nonce
            },
            tag: *tag,
        }
    }

    /// The part from `from` on, `len` blocks long.
    pub fn part(&self, from: u64, len: u64) -> Extent {
        let tags = self.tags.iter().skip(from as usize).take(len as usize);
        Extent {
            block: self.block + from,
            nonce: Nonce {
                counter: self.nonce.counter + from,
                ..self.nonce
            },
            tags: tags.copied().collect(),
        }
    }
}

impl Volume {
    /// The extent that holds block `at` of a file or, if none does, the first one after it; with
    /// the number of its first block in the file.
    pub(crate) fn extent_from(&mut self, ino: u64, at: u64) -> Result<Option<(u64, Extent)>> {
        let key = Key::new(ino, Kind::Extent, at);
        let (first, last) = (
            Key::new(ino, Kind::Extent, 0),
            Key::new(ino, Kind::Extent, u64::MAX),
        );
        let parse = |(key, value): (Key, Vec<u8>)| match Extent::decode(key.at, &value) {
            Ok(extent) => Ok((key.at, extent)),
            Err(Short) => Err(Error::Malformed { block: 0 }),
        };
        if let Some(item) = self.tree.floor(&key)?
            && item.0 >= first
        {
            let (start, extent) = parse(item)?;
            if at < start + extent.len() {
                return Ok(Some((start, extent)));
            }
        }
        match self.tree.ceiling(&key)? {
            Some(item) if item.0 <= last => parse(item).map(Some),
            _ => Ok(None),
        }
    }

    /// Frees what a file has of the blocks `from..to`, in at most `steps` extents; how many blocks
    /// that were, and whether it is done.
    pub(crate) fn unmap(
        &mut self,
        ino: u64,
        from: u64,
        to: u64,
        steps: usize,
    ) -> Result<(u64, bool)> {
        let mut freed = 0;
        for _ in 0..steps {
            let Some((start, extent)) = self.extent_from(ino, from)? else {
                return Ok((freed, true));
            };
            let end = start + extent.len();
            if start >= to {
                return Ok((freed, true));
            }
            let (cut, cut_end) = (start.max(from), end.min(to));
            if cut_end < end {
                let right = extent.part(cut_end - start, end - cut_end);
                self.tree
                    .put(Key::new(ino, Kind::Extent, cut_end), right.encode())?;
            }
            let key = Key::new(ino, Kind::Extent, start);
            if start < cut {
                let left = extent.part(0, cut - start);
                self.tree.put(key, left.encode())?;
            } else {
                self.tree.remove(&key)?;
            }
            for block in cut - start..cut_end - start {
                self.step.frees(extent.block + block);
            }
            freed += cut_end - cut;
        }
        Ok((freed, false))
    }
}
