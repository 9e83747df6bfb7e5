//! Reading contents in two parts: where they are is looked up in the volume, and the blocks are read
//! and opened without it, so that others can use the volume meanwhile.

use crate::BLOCK;
use crate::crypto::{self, AesGcm, Nonce, Purpose, Tag};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::packed::Packed;
use crate::space::Pin;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

/// Neighbouring blocks that are still to be read.
pub(crate) struct Sealed {
    /// Where in the buffer their contents go, and how much of it: all of it but what is skipped in
    /// the first block, and what does not fit of the last.
    pub at: usize,
    pub len: usize,
    pub skip: usize,
    pub block: u64,
    /// The first block's; the others follow.
    pub nonce: Nonce,
    pub tags: Vec<Tag>,
    /// The blocks are to be unpacked, and `skip` is in what comes out of them.
    pub packed: Option<Packed>,
    pub key: Arc<AesGcm>,
}

/// A read that is under way. What it reads stays where it is as long as it exists.
pub struct Reading {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) parts: Vec<Sealed>,
    pub(crate) _pin: Pin,
}

impl Reading {
    /// Reads and opens what was not in memory, into the buffer that the read began with. After an
    /// error nothing sealed is left in it.
    pub fn finish(self, buf: &mut [u8]) -> Result<()> {
        for part in &self.parts {
            let end = part.at + part.len;
            let out = buf.get_mut(part.at..end).unwrap_or_default();
            if let Err(e) = part.open_into(&*self.device, out) {
                buf.fill(0);
                return Err(e);
            }
        }
        Ok(())
    }
}

impl Sealed {
    /// Whole blocks are opened in place; the first and the last may need a place of their own.
    pub(crate) fn open_into(&self, device: &dyn Device, out: &mut [u8]) -> Result<()> {
        if let Some(packed) = &self.packed {
            return self.unpack_into(device, packed, out);
        }
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
                let mut block = [0; BLOCK];
                self.open(device, next, &mut block)?;
                let from = block.get(skip..).unwrap_or_default();
                let n = from.len().min(rest.len());
                for (to, from) in rest.iter_mut().zip(from) {
                    *to = *from;
                }
                next += 1;
                done += n;
            }
        }
        Ok(())
    }

    /// All blocks are opened, and the part of what comes out of them is taken that was asked for.
    fn unpack_into(&self, device: &dyn Device, packed: &Packed, out: &mut [u8]) -> Result<()> {
        let mut stored = vec![0; self.tags.len() * BLOCK];
        self.open(device, 0, &mut stored)?;
        let whole = packed.unpacked();
        let from = usize::from(packed.skip) * BLOCK + self.skip;
        if from == 0
            && let Some(out) = out.get_mut(..whole)
        {
            return packed.unpack(self.block, &stored, out);
        }
        let mut all = vec![0; whole];
        packed.unpack(self.block, &stored, &mut all)?;
        for (to, from) in out.iter_mut().zip(all.iter().skip(from)) {
            *to = *from;
        }
        Ok(())
    }

    /// Opens blocks from number `first` on, as many as fit.
    fn open(&self, device: &dyn Device, first: usize, out: &mut [u8]) -> Result<()> {
        let start = self.block + first as u64;
        let damaged = |block| Error::Damaged { block };
        let offset = start.checked_mul(BLOCK as u64);
        device.read_at(offset.ok_or(damaged(start))?, out)?;
        for (i, data) in (first..).zip(out.chunks_mut(BLOCK)) {
            let block = self.block + i as u64;
            let tag = self.tags.get(i).ok_or(damaged(block))?;
            let nonce = Nonce {
                counter: self.nonce.counter.wrapping_add(i as u64),
                ..self.nonce
            };
            let place = block.to_le_bytes();
            if !crypto::open(&self.key, Purpose::Data, &place, &nonce, tag, data) {
                return Err(damaged(block));
            }
        }
        Ok(())
    }
}
