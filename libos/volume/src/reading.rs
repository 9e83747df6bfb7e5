//! Reading contents in two parts: where they are is looked up in the volume, and the blocks are read
//! and opened without it, so that others can use the volume meanwhile. Then they may be kept.

use crate::BLOCK;
use crate::contents::Name;
use crate::crypto::{self, AesGcm, Block, Purpose};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::packed::Packed;
use crate::space::Pin;
use crate::volume::Volume;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Neighbouring blocks that are still to be read.
pub(crate) struct Sealed {
    /// Where in the buffer their contents go, and how much of it: all of it but what is skipped in
    /// the first block, and what does not fit of the last.
    pub at: usize,
    pub len: usize,
    pub skip: usize,
    /// The blocks; if they are to be unpacked, `skip` is in what comes out of them.
    pub extent: Extent,
    pub key: Arc<AesGcm>,
}

/// A read that is under way. What it reads stays where it is as long as it exists.
pub struct Reading {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) parts: Vec<Sealed>,
    pub(crate) rest: Rest,
    pub(crate) _pin: Pin,
}

/// What was opened and not asked for.
#[derive(Default)]
pub(crate) struct Rest {
    /// Blocks of which not all was asked for.
    split: Vec<(Name, Box<Block>)>,
    unpacked: Unpacked,
}

/// What was unpacked last, of which not all was asked for: parts of it may be asked for again. Its
/// memory, twice [`crate::packed::CLUSTER`] blocks at most, is used for the next read, as so much is
/// costly to come by.
#[derive(Default)]
pub(crate) struct Unpacked {
    /// All that is packed together, unless this holds nothing.
    of: Option<Extent>,
    stored: Vec<u8>,
    blocks: Vec<u8>,
}

/// What a read opened: it may be kept ([`Volume::keep`]).
pub struct Opened {
    parts: Vec<Sealed>,
    rest: Rest,
}

impl Rest {
    /// Nothing yet, and memory for it.
    pub fn with(unpacked: Unpacked) -> Rest {
        Rest {
            split: Vec::new(),
            unpacked: Unpacked {
                of: None,
                ..unpacked
            },
        }
    }
}

impl Reading {
    /// Reads and opens what was not in memory, into the buffer that the read began with. After an
    /// error nothing sealed is left in it.
    pub fn finish(mut self, buf: &mut [u8]) -> Result<Opened> {
        for part in &self.parts {
            let end = part.at + part.len;
            let out = buf.get_mut(part.at..end).unwrap_or_default();
            if let Err(e) = part.open_into(&*self.device, out, &mut self.rest) {
                buf.fill(0);
                return Err(e);
            }
        }
        let (parts, rest) = (self.parts, self.rest);
        Ok(Opened { parts, rest })
    }
}

impl Volume {
    /// Keeps what a read opened into a buffer, for those who read it again.
    pub fn keep(&mut self, opened: Opened, buf: &[u8]) {
        for part in &opened.parts {
            let skipped = usize::from(part.skip > 0);
            let start = part.at + (skipped * BLOCK).saturating_sub(part.skip);
            let whole = buf.get(start..part.at + part.len).unwrap_or_default();
            let (blocks, _) = whole.as_chunks();
            for (name, data) in part.extent.names_from(skipped as u64).zip(blocks) {
                self.contents.keep(name, data);
            }
        }
        self.keep_rest(opened.rest);
    }

    /// Keeps what was opened with something, for those who want it too.
    pub(crate) fn keep_rest(&mut self, rest: Rest) {
        for (name, data) in &rest.split {
            self.contents.keep(*name, data);
        }
        // Whoever wants one block of what is packed wants the others soon.
        let mut unpacked = rest.unpacked;
        if let Some(all) = unpacked.of.take() {
            let (blocks, _) = unpacked.blocks.as_chunks();
            for (name, data) in all.names_from(0).zip(blocks) {
                if !self.contents.has(&name) {
                    self.contents.keep(name, data);
                }
            }
        }
        self.unpacked = unpacked;
    }
}

impl Sealed {
    /// Whole blocks are opened in place; the first and the last may need a place of their own, and
    /// are handed over in it.
    pub(crate) fn open_into(
        &self,
        device: &dyn Device,
        out: &mut [u8],
        rest: &mut Rest,
    ) -> Result<()> {
        if let Some(packed) = &self.extent.packed {
            return self.unpack_into(device, packed, out, &mut rest.unpacked);
        }
        let split = &mut rest.split;
        let (mut done, mut next) = (0, 0);
        while let Some(rest) = out.get_mut(done..).filter(|r| !r.is_empty()) {
            let skip = if next == 0 { self.skip } else { 0 };
            let whole = rest.len() / BLOCK * BLOCK;
            if skip == 0 && whole > 0 {
                let rest = rest.get_mut(..whole).unwrap_or_default();
                self.open(device, next, rest)?;
                next += whole / BLOCK;
                done += whole;
            } else {
                let mut block = Box::new([0; BLOCK]);
                self.open(device, next, &mut *block)?;
                let from = block.get(skip..).unwrap_or_default();
                let n = from.len().min(rest.len());
                for (to, from) in rest.iter_mut().zip(from) {
                    *to = *from;
                }
                split.extend(
                    self.extent
                        .names_from(next as u64)
                        .next()
                        .map(|name| (name, block)),
                );
                next += 1;
                done += n;
            }
        }
        Ok(())
    }

    /// All blocks are opened, and the part of what comes out of them is taken that was asked for.
    fn unpack_into(
        &self,
        device: &dyn Device,
        packed: &Packed,
        out: &mut [u8],
        unpacked: &mut Unpacked,
    ) -> Result<()> {
        let (from, whole) = (
            usize::from(packed.skip) * BLOCK + self.skip,
            packed.unpacked(),
        );
        let all = self.extent.all();
        if unpacked.of.as_ref() != Some(&all) {
            let stored = room(&mut unpacked.stored, self.extent.tags.len() * BLOCK);
            self.open(device, 0, stored)?;
            if from == 0
                && let Some(out) = out.get_mut(..whole)
            {
                return packed.unpack(self.extent.block, stored, out);
            }
            unpacked.of = None;
            let blocks = room(&mut unpacked.blocks, whole);
            packed.unpack(self.extent.block, stored, blocks)?;
            unpacked.of = Some(all);
        }
        let blocks = unpacked.blocks.get(from..whole).unwrap_or_default();
        for (to, from) in out.iter_mut().zip(blocks) {
            *to = *from;
        }
        Ok(())
    }

    /// Opens blocks from number `first` on, as many as fit.
    fn open(&self, device: &dyn Device, first: usize, out: &mut [u8]) -> Result<()> {
        let start = self.extent.block + first as u64;
        let damaged = |block| Error::Damaged { block };
        let offset = start.checked_mul(BLOCK as u64);
        device.read_at(offset.ok_or(damaged(start))?, out)?;
        for (i, data) in (first..).zip(out.chunks_mut(BLOCK)) {
            let tag = self.extent.tags.get(i).ok_or(damaged(start))?;
            let ptr = self.extent.ptr(i as u64, tag);
            let place = ptr.block.to_le_bytes();
            if !crypto::open(&self.key, Purpose::Data, &place, &ptr.nonce, tag, data) {
                return Err(damaged(ptr.block));
            }
        }
        Ok(())
    }
}

/// So many bytes of a buffer, which grows as needed.
fn room(buf: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buf.len() < len {
        buf.resize(len, 0);
    }
    buf.get_mut(..len).unwrap_or_default()
}
