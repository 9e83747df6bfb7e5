//! Images: volumes that are made once and then only read, in a file that one hash stands for.
//!
//! A volume's tags are worth as much as the secrecy of its key. An image's key may be known to
//! many, or to all, and so a tree of hashes lies over its blocks. [`Image`] is the device that
//! looks at every block through it.

use crate::BLOCK;
use crate::codec::{Reader, Short, Writer};
use crate::device::Device;
use crate::error::{DeviceError, Error, Result};
use crate::volume::{SIZE_MOST, Volume};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use sha2::{Digest, Sha256};

const MAGIC: [u8; 8] = *b"\x89BASTIMG";
/// The format's version.
const VERSION: u32 = 1;
/// Blocks before those of the volume.
const FIRST: u64 = 1;
/// Hashes in a block of the tree.
const HASHES: u64 = BLOCK as u64 / 32;
const B: u64 = BLOCK as u64;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// What the first block says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Head {
    /// Blocks of the volume.
    blocks: u64,
    /// The hash of the tree's one block of the highest level.
    top: Hash,
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(BLOCK));
        w.bytes(&MAGIC)
            .u32(VERSION)
            .u32(BLOCK.ilog2())
            .u64(self.blocks)
            .bytes(&self.top);
        w.0.resize(BLOCK, 0);
        w.0
    }

    fn decode(block: &[u8]) -> Result<Head> {
        let mut r = Reader(block);
        let short = |_: Short| Error::NotAnImage;
        if r.array().map_err(short)? != MAGIC {
            return Err(Error::NotAnImage);
        }
        let found = r.u32().map_err(short)?;
        let shift = r.u32().map_err(short)?;
        if found != VERSION || shift != BLOCK.ilog2() {
            return Err(Error::Version { found });
        }
        let (blocks, top) = (r.u64().map_err(short)?, r.array().map_err(short)?);
        match (1..=SIZE_MOST / B).contains(&blocks) {
            true => Ok(Head { blocks, top }),
            false => Err(Error::NotAnImage),
        }
    }

    /// The levels of the tree, from the lowest up: the first block in the file, and how many.
    fn levels(&self) -> Vec<(u64, u64)> {
        let mut levels = Vec::new();
        let (mut at, mut below) = (FIRST + self.blocks, self.blocks);
        loop {
            let count = below.div_ceil(HASHES);
            levels.push((at, count));
            if count == 1 {
                return levels;
            }
            (at, below) = (at + count, count);
        }
    }

    /// The file's length.
    fn len(&self) -> u64 {
        let blocks: u64 = self.levels().iter().map(|(_, count)| count).sum();
        (FIRST + self.blocks + blocks) * B
    }
}

/// An image's file. As a [`Device`] it is the volume in it, of which every block was found to be
/// the one that the root hash stands for.
pub struct Image {
    device: Box<dyn Device>,
    head: Head,
    root_hash: Hash,
    /// Of the lowest level's blocks. They themselves are read as they are needed.
    lowest: Vec<Hash>,
}

impl Image {
    /// Whether a file says that it is an image.
    pub fn is_one(device: &dyn Device) -> bool {
        let mut magic = [0; MAGIC.len()];
        device.read_at(0, &mut magic).is_ok() && magic == MAGIC
    }

    /// Looks at a file. Without the root hash that it must have, nothing is known but that the
    /// image agrees with itself.
    pub fn open(device: Box<dyn Device>, expected: Option<&Hash>) -> Result<Image> {
        let have = device.len()?;
        if have < B {
            return Err(Error::NotAnImage);
        }
        let mut block = vec![0; BLOCK];
        device.read_at(0, &mut block)?;
        let root_hash = hash(&block);
        // What it is comes first: a file that is no image at all deserves to be told so.
        let head = Head::decode(&block)?;
        if expected.is_some_and(|expected| *expected != root_hash) {
            return Err(Error::RootHash);
        }
        let need = head.len();
        if have < need {
            return Err(Error::Truncated { have, need });
        }
        let mut image = Image {
            device,
            head,
            root_hash,
            lowest: vec![head.top],
        };
        for pair in head.levels().windows(2).rev() {
            let [(_, below), (first, _)] = *pair else {
                continue;
            };
            let mut hashes = Vec::with_capacity(below as usize);
            for (at, expected) in (first..).zip(&image.lowest) {
                hashes.extend(image.node(at, expected)?);
            }
            hashes.truncate(below as usize);
            image.lowest = hashes;
        }
        Ok(image)
    }

    /// What stands for all of the image: the hash of its first block.
    pub fn root_hash(&self) -> Hash {
        self.root_hash
    }

    /// The hashes in a block of the tree.
    fn node(&self, at: u64, expected: &Hash) -> core::result::Result<Vec<Hash>, DeviceError> {
        let mut block = vec![0; BLOCK];
        self.device.read_at(at * B, &mut block)?;
        if hash(&block) != *expected {
            return Err(DeviceError::Altered { block: at });
        }
        let hashes = block.as_chunks::<32>().0;
        Ok(hashes.to_vec())
    }

    /// Checks blocks of the volume, the first of which is `first`.
    fn check(&self, first: u64, data: &[u8]) -> core::result::Result<(), DeviceError> {
        let (level, _) = self.head.levels().first().copied().unwrap_or_default();
        let mut hashes = Vec::new();
        for (block, data) in (first..).zip(data.chunks(BLOCK)) {
            if hashes.is_empty() || block % HASHES == 0 {
                let node = block / HASHES;
                let expected = (self.lowest.get(node as usize)).ok_or(DeviceError::Failed)?;
                hashes = self.node(level + node, expected)?;
            }
            if hashes.get((block % HASHES) as usize) != Some(&hash(data)) {
                return Err(DeviceError::Altered {
                    block: FIRST + block,
                });
            }
        }
        Ok(())
    }

    /// Fills `out` with whole blocks of the volume.
    fn blocks(&self, first: u64, out: &mut [u8]) -> core::result::Result<(), DeviceError> {
        self.device.read_at((FIRST + first) * B, out)?;
        self.check(first, out).inspect_err(|_| out.fill(0))
    }

    /// Reads every block of the file; those that are not what the root hash stands for.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Vec<DeviceError> {
        let mut wrong = Vec::new();
        let mut block = vec![0; BLOCK];
        for at in 0..self.head.blocks {
            progress(at, self.head.blocks);
            if let Err(e) = self.blocks(at, &mut block)
                && wrong.last() != Some(&e)
            {
                wrong.push(e);
            }
        }
        wrong
    }
}

impl Device for Image {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> core::result::Result<(), DeviceError> {
        let end = (offset.checked_add(buf.len() as u64)).ok_or(DeviceError::Failed)?;
        if end > self.head.blocks * B {
            return Err(DeviceError::Failed);
        }
        let first = offset / B;
        let before = (offset % B) as usize;
        if before == 0 && buf.len() % BLOCK == 0 {
            return self.blocks(first, buf);
        }
        let mut whole = vec![0; ((end.div_ceil(B) - first) * B) as usize];
        self.blocks(first, &mut whole)?;
        for (to, from) in buf.iter_mut().zip(whole.iter().skip(before)) {
            *to = *from;
        }
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> core::result::Result<(), DeviceError> {
        Err(DeviceError::Failed)
    }

    fn flush(&self) -> core::result::Result<(), DeviceError> {
        Ok(())
    }

    fn len(&self) -> core::result::Result<u64, DeviceError> {
        Ok(self.head.blocks * B)
    }

    fn is_image(&self) -> bool {
        true
    }
}

/// The file of an image in the making: a volume is made in it, and [`seal`] does the rest.
pub struct Draft<D>(pub D);

impl<D: Device> Device for Draft<D> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> core::result::Result<(), DeviceError> {
        self.0.read_at(offset.saturating_add(FIRST * B), buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> core::result::Result<(), DeviceError> {
        self.0.write_at(offset.saturating_add(FIRST * B), data)
    }

    fn flush(&self) -> core::result::Result<(), DeviceError> {
        self.0.flush()
    }

    fn len(&self) -> core::result::Result<u64, DeviceError> {
        Ok(self.0.len()?.saturating_sub(FIRST * B))
    }

    fn is_image(&self) -> bool {
        true
    }
}

/// Makes an image of a volume that was made in a [`Draft`] of `device`: its root hash, and the
/// length that the file shall have.
pub fn seal(
    mut volume: Volume,
    device: &dyn Device,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Hash, u64)> {
    volume.commit()?;
    let root = volume.root;
    drop(volume);
    // Whoever hides the root must not find an older state in its place.
    device.write_at((FIRST + root.other_slot()) * B, &[0; BLOCK])?;
    let mut head = Head {
        blocks: root.high,
        top: [0; 32],
    };
    let mut block = vec![0; BLOCK];
    let (mut at, mut count) = (FIRST, root.high);
    for (first, _) in head.levels() {
        let mut tree = Writer::default();
        for at in at..at + count {
            progress(at, head.len() / B);
            device.read_at(at * B, &mut block)?;
            tree.bytes(&hash(&block));
        }
        tree.0.resize(tree.0.len().next_multiple_of(BLOCK), 0);
        device.write_at(first * B, &tree.0)?;
        (at, count) = (first, (tree.0.len() / BLOCK) as u64);
        head.top = hash(&tree.0);
    }
    // An image without its first block is none: what is cut short is not taken for one.
    device.flush()?;
    let first = head.encode();
    device.write_at(0, &first)?;
    device.flush()?;
    Ok((hash(&first), head.len()))
}
