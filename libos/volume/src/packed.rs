//! Compressed contents. Neighbouring blocks of a file are compressed as one, and the blocks that this
//! takes are sealed as any. Only volumes that were made for it have any.

use crate::BLOCK;
use crate::codec::{Reader, Short, Writer};
use crate::crypto::Block;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::node::{Key, Kind};
use crate::volume::Volume;
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into};

/// Blocks that are compressed as one at most. Who reads one of them opens all, and LZ4 finds
/// nothing that is farther back.
pub const CLUSTER: u64 = 16;

/// What is packed into the blocks of an extent, and the part of it that shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packed {
    /// Blocks that come out.
    pub total: u8,
    /// Of these, the first that shows, and how many do.
    pub skip: u8,
    pub len: u8,
    /// Bytes that go in.
    pub bytes: u32,
}

impl Packed {
    /// What an extent of so many blocks says. More come out than there are, and the last of them is
    /// needed.
    pub fn read(r: &mut Reader<'_>, stored: usize) -> core::result::Result<Packed, Short> {
        let packed = Packed {
            total: r.u8()?,
            skip: r.u8()?,
            len: r.u8()?,
            bytes: {
                r.u8()?;
                r.u32()?
            },
        };
        let sane = u64::from(packed.total) <= CLUSTER
            && stored < usize::from(packed.total)
            && packed.len > 0
            && u16::from(packed.skip) + u16::from(packed.len) <= packed.total.into()
            && (packed.bytes as usize).div_ceil(BLOCK) == stored;
        sane.then_some(packed).ok_or(Short)
    }

    pub fn write(&self, w: &mut Writer) {
        (w.u8(self.total).u8(self.skip).u8(self.len).u8(0)).u32(self.bytes);
    }

    /// The part from block `from` of this one on.
    pub fn part(&self, from: u64, len: u64) -> Packed {
        Packed {
            skip: self.skip + from as u8,
            len: len as u8,
            ..*self
        }
    }

    /// Bytes that come out.
    pub fn unpacked(&self) -> usize {
        usize::from(self.total) * BLOCK
    }

    /// Unpacks what was in the extent's blocks. It fills `out`, all of it, or there is an error.
    pub fn unpack(&self, block: u64, stored: &[u8], out: &mut [u8]) -> Result<()> {
        let packed = stored.get(..self.bytes as usize).unwrap_or_default();
        match decompress_into(packed, out) {
            Ok(n) if n == out.len() => Ok(()),
            _ => Err(Error::Malformed { block }),
        }
    }
}

/// Compresses contents, with memory that it keeps.
pub struct Packer {
    table: CompressTable,
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Packer {
    pub fn new() -> Packer {
        Packer {
            table: CompressTable::large(),
            from: Vec::new(),
            to: Vec::new(),
        }
    }

    /// The blocks that these fit in and what is to be said of them, if they are fewer.
    pub fn pack(&mut self, blocks: &[&Block]) -> Option<(Packed, &[Block])> {
        self.from.clear();
        (blocks.iter()).for_each(|block| self.from.extend_from_slice(block.as_slice()));
        let room = lz4_flex::block::get_maximum_output_size(self.from.len());
        if self.to.len() < room {
            self.to = vec![0; room.next_multiple_of(BLOCK)];
        }
        let bytes = compress_into_with_table(&self.from, &mut self.to, &mut self.table).ok()?;
        let stored = bytes.div_ceil(BLOCK);
        if stored >= blocks.len() {
            return None;
        }
        let to = self.to.get_mut(..stored * BLOCK)?;
        to.get_mut(bytes..)?.fill(0);
        let total = blocks.len() as u8;
        let packed = Packed {
            total,
            skip: 0,
            len: total,
            bytes: bytes as u32,
        };
        Some((packed, to.as_chunks().0))
    }
}

/// What compression saves, in blocks of contents.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Packing {
    /// That files have, holes not counted.
    pub contents: u64,
    /// That hold them.
    pub stored: u64,
}

impl Volume {
    /// Contents are compressed.
    pub fn packs(&self) -> bool {
        self.packer.is_some()
    }

    /// Looks at every file for what compression saves. What waits in memory does not count.
    pub fn packing(&mut self) -> Result<Packing> {
        let mut found = Packing::default();
        // What the present file has packed, by its first block.
        let (mut file, mut known) = (0, BTreeSet::new());
        self.tree.scan(&Key::MIN, &mut |key, value| {
            if key.kind == Kind::Extent as u8
                && let Ok(extent) = Extent::decode(key.at, value)
            {
                if key.ino != file {
                    file = key.ino;
                    known.clear();
                }
                found.contents += extent.len();
                if extent.packed.is_none() || known.insert(extent.block) {
                    found.stored += extent.stored();
                }
            }
            true
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Nonce;

    /// Blocks that say the same over and over, and one that is noise.
    fn blocks(n: usize) -> Vec<Block> {
        let text = |i: usize| core::array::from_fn(|at| b"over and over "[(i + at) % 14]);
        let mut out: Vec<Block> = (0..n).map(text).collect();
        let mut x = 7_u32;
        for byte in out[n / 2].iter_mut() {
            x = x.wrapping_mul(0x9e37_79b1) ^ x >> 15;
            *byte = (x >> 9) as u8;
        }
        out
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let mut packer = Packer::new();
        for n in 3..=CLUSTER as usize {
            let blocks = blocks(n);
            let refs: Vec<&Block> = blocks.iter().collect();
            let (packed, stored) = packer.pack(&refs).unwrap();
            assert_eq!((usize::from(packed.total), stored.len()), (n, 2), "{n}");
            let mut out = vec![0; packed.unpacked()];
            packed.unpack(9, stored.as_flattened(), &mut out).unwrap();
            assert_eq!(out, blocks.as_flattened());
        }
        // Nothing is gained by packing noise, nor one block.
        let blocks = blocks(3);
        assert!(packer.pack(&[&blocks[1]]).is_none());
        assert!(packer.pack(&[&blocks[1], &[0; BLOCK]]).is_none());
        assert!(packer.pack(&[&[0; BLOCK]]).is_none());
    }

    #[test]
    fn nonsense_does_not_come_out() {
        let blocks = blocks(6);
        let refs: Vec<&Block> = blocks.iter().collect();
        let mut packer = Packer::new();
        let (packed, stored) = packer.pack(&refs).unwrap();
        let (mut out, stored) = (vec![0; packed.unpacked()], stored.as_flattened());
        // Fewer or more bytes than are there, and more or fewer to come out.
        for bytes in [0, 1, packed.bytes - 1, packed.bytes + 1, 8193, u32::MAX] {
            let wrong = Packed { bytes, ..packed };
            assert!(wrong.unpack(9, stored, &mut out).is_err(), "{bytes}");
        }
        for total in [1, 5, 7, 16, 255] {
            let mut out = vec![0; total * BLOCK];
            assert!(packed.unpack(9, stored, &mut out).is_err(), "{total}");
        }
        // Any byte of it may be another.
        let mut altered = stored.to_vec();
        for at in 0..packed.bytes as usize {
            for value in [0, 0x0f, 0xf0, 0xff] {
                let was = core::mem::replace(&mut altered[at], value);
                let _ = packed.unpack(9, &altered, &mut out);
                altered[at] = was;
            }
        }
    }

    #[test]
    fn an_extent_says_what_is_packed_and_no_more_than_can_be() {
        let extent = |total, skip, len, bytes| Extent {
            block: 7,
            nonce: Nonce::default(),
            tags: vec![[1; 16], [2; 16]],
            packed: Some(Packed {
                total,
                skip,
                len,
                bytes,
            }),
        };
        let good = extent(16, 3, 13, 8192);
        assert_eq!(Extent::decode(3, &good.encode()), Ok(good.clone()));
        assert_eq!((good.len(), good.stored(), good.origin(3)), (13, 2, 0));
        assert_eq!(good.part(2, 4), extent(16, 5, 4, 8192));
        // It would begin before the file does.
        assert_eq!(Extent::decode(2, &good.encode()), Err(Short));
        for (total, skip, len, bytes) in [
            (2, 0, 2, 8192),
            (17, 0, 2, 8192),
            (255, 0, 2, 8192),
            (3, 0, 0, 8192),
            (3, 1, 3, 8192),
            (3, 255, 255, 8192),
            (3, 0, 3, 8193),
            (3, 0, 3, 4096),
            (3, 0, 3, 0),
            (3, 0, 3, u32::MAX),
        ] {
            let bytes = extent(total, skip, len, bytes).encode();
            assert_eq!(Extent::decode(300, &bytes), Err(Short), "{bytes:?}");
        }
        let bytes = good.encode();
        for len in 0..bytes.len() {
            let whole = matches!(len, 48 | 64);
            assert_eq!(Extent::decode(9, &bytes[..len]).is_ok(), whole, "{len}");
        }
    }
}
