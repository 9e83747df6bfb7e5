//! Where a file's blocks are: runs of blocks that were sealed one after the other, with their tags.
//! In a run that is packed, fewer blocks hold the contents of more, and several items may each show
//! a part of them: overwriting some leaves the run where it is until no part of it shows.

use crate::codec::{Reader, Short, Writer};
use crate::contents::Name;
use crate::crypto::{Nonce, Ptr, Tag};
use crate::error::{Error, Result};
use crate::file::SIZE_MAX;
use crate::node::{Key, Kind};
use crate::packed::Packed;
use crate::volume::Volume;
use crate::{BLOCK, BLOCKS_MOST};
use alloc::sync::Arc;
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
    /// What the blocks hold is compressed.
    pub packed: Option<Packed>,
}

impl Extent {
    /// Blocks of the file that are here.
    pub fn len(&self) -> u64 {
        match &self.packed {
            Some(packed) => packed.len.into(),
            None => self.stored(),
        }
    }

    /// Blocks of the volume that hold them.
    pub fn stored(&self) -> u64 {
        self.tags.len() as u64
    }

    /// Where in the file the contents begin of which this shows all or a part, if it is at `start`.
    pub fn origin(&self, start: u64) -> u64 {
        start - (self.packed).map_or(0, |packed| u64::from(packed.skip).min(start))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u64(self.block);
        self.nonce.write(&mut w);
        for tag in &self.tags {
            w.bytes(tag);
        }
        if let Some(packed) = &self.packed {
            packed.write(&mut w);
        }
        w.0
    }

    /// The extent that begins at block `at` of a file: neither its blocks, nor their counters, nor
    /// their places in the file go beyond what there can be.
    pub fn decode(at: u64, bytes: &[u8]) -> core::result::Result<Extent, Short> {
        let mut r = Reader(bytes);
        let (block, nonce) = (r.u64()?, Nonce::read(&mut r)?);
        let mut tags = Vec::new();
        while r.0.len() >= size_of::<Tag>() {
            tags.push(r.array()?);
        }
        let packed = match r.is_empty() {
            true => None,
            false => Some(Packed::read(&mut r, tags.len())?),
        };
        let extent = Extent {
            block,
            nonce,
            tags,
            packed,
        };
        let below = |first: u64, len, most| first.checked_add(len).is_some_and(|end| end <= most);
        let sane = r.is_empty()
            && (1..=LONGEST as u64).contains(&extent.stored())
            && below(block, extent.stored(), BLOCKS_MOST)
            && below(nonce.counter, extent.stored(), u64::MAX)
            && below(at, extent.len(), SIZE_MAX.div_ceil(BLOCK as u64))
            && packed.is_none_or(|packed| u64::from(packed.skip) <= at);
        sane.then_some(extent).ok_or(Short)
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

    /// As this, but it shows all that is packed here.
    pub fn all(&self) -> Extent {
        let all = |packed: Packed| Packed {
            skip: 0,
            len: packed.total,
            ..packed
        };
        Extent {
            packed: self.packed.map(all),
            ..self.clone()
        }
    }

    /// What the blocks of the file from one on are known by.
    pub fn names_from(&self, from: u64) -> impl Iterator<Item = Name> {
        (from..self.len()).filter_map(|at| match &self.packed {
            None => {
                let ptr = self.ptr(at, self.tags.get(at as usize)?);
                Some(Name { ptr, part: 0 })
            }
            // A block that is packed is known by where in that it is, shown or not.
            Some(packed) => Some(Name {
                ptr: self.ptr(0, self.tags.first()?),
                part: 1 + u64::from(packed.skip) + at,
            }),
        })
    }

    /// The part from `from` on, `len` blocks long.
    pub fn part(&self, from: u64, len: u64) -> Extent {
        if let Some(packed) = &self.packed {
            return Extent {
                packed: Some(packed.part(from, len)),
                ..self.clone()
            };
        }
        let tags = self.tags.iter().skip(from as usize).take(len as usize);
        Extent {
            block: self.block + from,
            nonce: Nonce {
                counter: self.nonce.counter + from,
                ..self.nonce
            },
            tags: tags.copied().collect(),
            packed: None,
        }
    }
}

impl Volume {
    /// The extent that holds block `at` of a file or, if none does, the first one after it; with
    /// the number of its first block in the file.
    pub(crate) fn extent_from(&mut self, ino: u64, at: u64) -> Result<Option<(u64, Arc<Extent>)>> {
        let known = self.tree.memo.extent(ino, at);
        if known.is_some() {
            return Ok(known);
        }
        let key = Key::new(ino, Kind::Extent, at);
        let (first, last) = (
            Key::new(ino, Kind::Extent, 0),
            Key::new(ino, Kind::Extent, u64::MAX),
        );
        let packs = self.packs();
        let parse = |(key, value): (Key, Vec<u8>)| match Extent::decode(key.at, &value) {
            Ok(extent) if packs || extent.packed.is_none() => Ok((key.at, Arc::new(extent))),
            _ => Err(Error::Malformed { block: 0 }),
        };
        if let Some(item) = self.tree.floor(&key)?
            && item.0 >= first
        {
            let (start, extent) = parse(item)?;
            if at < start + extent.len() {
                self.tree.memo.set_extent(ino, at, start, &extent);
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
            let blocks = match &extent.packed {
                None => cut - start..cut_end - start,
                Some(_) if self.shows(ino, start, &extent)? => 0..0,
                Some(_) => 0..extent.stored(),
            };
            freed += blocks.end - blocks.start;
            for block in blocks {
                self.step.frees(extent.block + block);
            }
        }
        Ok((freed, false))
    }

    /// Some part still shows of the packed blocks that an extent, found at `start`, was a part of.
    fn shows(&mut self, ino: u64, start: u64, extent: &Extent) -> Result<bool> {
        let Some(packed) = extent.packed else {
            return Ok(false);
        };
        let mut at = extent.origin(start);
        let end = at + u64::from(packed.total);
        while at < end
            && let Some((start, other)) = self.extent_from(ino, at)?
            && start < end
        {
            if other.block == extent.block {
                return Ok(true);
            }
            at = start + other.len();
        }
        Ok(false)
    }
}
