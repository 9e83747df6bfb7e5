//! The root record, of which there are two: the one of generation `g` is in block `2 + g % 2`, so
//! that writing a new one never touches the present one.

use crate::codec::{Reader, Short, Writer};
use crate::crypto::{KeyRing, Nonce, Ptr, Purpose, Tag};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::{BLOCK, BLOCKS_MOST};
use alloc::vec::Vec;

/// The block of the first slot.
const FIRST: u64 = 2;
/// Bytes of a record before it is sealed; the fields take less.
const RECORD: usize = 256;
/// Bytes of a slot: one sector, so that most disks write it whole. A torn one does not open.
const SLOT: usize = Nonce::LEN + 16 + RECORD;

/// The state of a volume, in one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Root {
    /// Counts commits.
    pub generation: u64,
    /// When the commit was made, nanoseconds since 1970.
    pub time: i64,
    /// The tree's root node.
    pub tree: Ptr,
    /// Blocks that the volume may have.
    pub blocks: u64,
    /// All blocks in use lie below this one, and so the file is at least this long.
    pub high: u64,
    /// The next inode number to give.
    pub next_ino: u64,
    /// Inodes that exist.
    pub inodes: u64,
    /// The intent log's first block, and how many there are.
    pub log: u64,
    pub log_len: u32,
}

impl Root {
    fn encode(&self) -> [u8; RECORD] {
        let mut w = Writer::default();
        w.u64(self.generation).i64(self.time);
        self.tree.write(&mut w);
        w.u64(self.blocks)
            .u64(self.high)
            .u64(self.next_ino)
            .u64(self.inodes)
            .u64(self.log)
            .u32(self.log_len);
        let mut out = [0; RECORD];
        for (to, from) in out.iter_mut().zip(&w.0) {
            *to = *from;
        }
        out
    }

    fn decode(bytes: &[u8]) -> core::result::Result<Root, Short> {
        let mut r = Reader(bytes);
        let root = Root {
            generation: r.u64()?,
            time: r.i64()?,
            tree: Ptr::read(&mut r)?,
            blocks: r.u64()?,
            high: r.u64()?,
            next_ino: r.u64()?,
            inodes: r.u64()?,
            log: r.u64()?,
            log_len: r.u32()?,
        };
        // Numbers that only count up are far from their end, and places are where they can be.
        let log_end = root.log.checked_add(u64::from(root.log_len));
        let sane = (root.generation.max(root.next_ino).max(root.inodes)) < u64::MAX / 2
            && root.blocks <= BLOCKS_MOST
            && root.high <= root.blocks
            && log_end.is_some_and(|end| end <= root.high);
        sane.then_some(root).ok_or(Short)
    }

    fn slot(&self) -> u64 {
        FIRST + self.generation % 2
    }

    /// The slot that the next root will have, where now an older one is.
    pub fn other_slot(&self) -> u64 {
        FIRST + (self.generation + 1) % 2
    }

    /// Writes the record to its slot, without a flush; the tag that now stands for it.
    pub fn write(&self, device: &dyn Device, ring: &mut KeyRing) -> Result<Tag> {
        let mut record = self.encode();
        let slot = self.slot();
        let (nonce, tag) = ring.seal(Purpose::Root, &slot.to_le_bytes(), &mut record)?;
        let mut w = Writer(Vec::with_capacity(SLOT));
        nonce.write(&mut w);
        w.bytes(&tag).bytes(&record);
        device.write_at(slot * BLOCK as u64, &w.0)?;
        Ok(tag)
    }

    fn read(device: &dyn Device, ring: &mut KeyRing, slot: u64) -> Option<(Root, Tag)> {
        let mut bytes = [0; SLOT];
        device.read_at(slot * BLOCK as u64, &mut bytes).ok()?;
        let mut r = Reader(&bytes);
        let (nonce, tag) = (Nonce::read(&mut r).ok()?, r.array().ok()?);
        let mut record: [u8; RECORD] = r.array().ok()?;
        if !ring.open(
            Purpose::Root,
            &slot.to_le_bytes(),
            &nonce,
            &tag,
            &mut record,
        ) {
            return None;
        }
        let root = Root::decode(&record).ok()?;
        (root.slot() == slot).then_some((root, tag))
    }

    /// The newer of the roots that are intact, with its tag.
    pub fn newest(device: &dyn Device, ring: &mut KeyRing) -> Result<(Root, Tag)> {
        let found = [FIRST, FIRST + 1].map(|slot| Root::read(device, ring, slot));
        (found.into_iter().flatten())
            .max_by_key(|(root, _)| root.generation)
            .ok_or(Error::NoRoot)
    }
}

/// The first block that is neither header nor root.
pub const FIRST_FREE: u64 = FIRST + 2;

const _: () = assert!(SLOT <= 512);
