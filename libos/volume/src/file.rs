//! Contents of files.

use crate::BLOCK;
use crate::contents::Name;
use crate::error::{Error, Result};
use crate::inode::{Inode, mode};
use crate::node::{Key, Kind};
use crate::packed::CLUSTER;
use crate::pages::Page;
use crate::reading::{Reading, Rest, Sealed};
use crate::txn::Need;
use crate::volume::Volume;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The largest file: what `off_t` can say.
pub const SIZE_MAX: u64 = i64::MAX as u64;
/// Contents up to this length are an item of the tree.
pub const INLINE_MAX: u64 = 1024;
/// Bytes that are written between two looks at the space that is left.
const PIECE: usize = 64 * BLOCK;
/// Extents that are freed between two looks at the space that is left.
const STEP: usize = 32;
const B: u64 = BLOCK as u64;

impl Volume {
    fn with_contents(&mut self, ino: u64) -> Result<Inode> {
        let inode = self.inode(ino)?;
        match inode.kind() {
            mode::FILE | mode::LINK => Ok(inode),
            mode::DIR => Err(Error::IsDir),
            _ => Err(Error::Invalid),
        }
    }

    fn inline(&mut self, ino: u64) -> Result<Vec<u8>> {
        let found = self.tree.get(&Key::new(ino, Kind::Inline, 0))?;
        Ok(found.unwrap_or_default())
    }

    /// Reads contents: how much there was, less than asked only at the end.
    pub fn read(&mut self, ino: u64, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let (len, reading) = self.start_read(ino, offset, buf)?;
        if let Some(reading) = reading {
            let opened = reading.finish(buf)?;
            self.keep(opened, buf);
        }
        Ok(len)
    }

    /// As [`Volume::read`], but only what is in memory comes into the buffer at once. The rest comes
    /// with [`Reading::finish`], for which the volume is not needed.
    pub fn start_read(
        &mut self,
        ino: u64,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(usize, Option<Reading>)> {
        let inode = self.with_contents(ino)?;
        let left = inode.size.saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let Some(buf) = buf.get_mut(..len) else {
            return Ok((0, None));
        };
        if inode.inline {
            let data = self.inline(ino)?;
            buf.fill(0);
            copy(buf, 0, data.get(offset as usize..));
            return Ok((len, None));
        }
        let (mut done, mut parts) = (0, Vec::new());
        while done < len {
            let at = offset + done as u64;
            let rest = buf.get_mut(done..).unwrap_or_default();
            let (n, sealed) = self.look_up(ino, at, rest)?;
            parts.extend(sealed.map(|part| Sealed { at: done, ..part }));
            done += n;
        }
        if parts.is_empty() {
            return Ok((len, None));
        }
        let reading = Reading {
            device: self.tree.store.device.clone(),
            parts,
            rest: Rest::with(core::mem::take(&mut self.unpacked)),
            _pin: self.tree.space.pin(),
        };
        Ok((len, Some(reading)))
    }

    /// What is at one place, a changed block, part of an extent, or a hole: at least one byte. What
    /// is sealed is still to be read.
    fn look_up(
        &mut self,
        ino: u64,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(usize, Option<Sealed>)> {
        let (at, skip) = (offset / B, (offset % B) as usize);
        if let Some(page) = self.pages.get(ino, at) {
            let n = buf.len().min(BLOCK - skip);
            copy(buf, 0, page.get(skip..skip + n));
            return Ok((n, None));
        }
        let last = (offset + buf.len() as u64).div_ceil(B);
        // Up to the next block that waits in memory.
        let until = (self.pages.next_from(ino, at)).map_or(last, |p| p.min(last));
        let room = buf.len();
        let bytes = |blocks: u64| room.min((blocks * B) as usize - skip);
        let (start, extent) = match self.extent_from(ino, at)? {
            Some((start, extent)) if start <= at => (start, extent),
            next => {
                let end = next.map_or(until, |(start, _)| start.min(until));
                let n = bytes(end - at);
                buf.iter_mut().take(n).for_each(|b| *b = 0);
                return Ok((n, None));
            }
        };
        let from = at - start;
        let most = (until - at).min(extent.len() - from) as usize;
        let mut done = 0;
        for name in extent.names_from(from).take(most) {
            let Some(data) = self.contents.get(&name) else {
                break;
            };
            let skip = if done == 0 { skip } else { 0 };
            let n = (room - done).min(BLOCK - skip);
            copy(buf, done, data.get(skip..skip + n));
            done += n;
        }
        if done > 0 {
            return Ok((done, None));
        }
        let absent = |name: &Name| !self.contents.has(name);
        let blocks = (extent.names_from(from).take(most)).take_while(absent);
        let blocks = blocks.count() as u64;
        let part = extent.part(from, blocks);
        let len = bytes(blocks);
        let sealed = Sealed {
            at: 0,
            len,
            skip,
            key: self.tree.store.ring.key(&part.nonce.salt),
            extent: part,
        };
        Ok((len, Some(sealed)))
    }

    /// Writes contents: how much. Where room is scarce it is less than asked, and the rest may still
    /// find some.
    pub fn write(&mut self, ino: u64, offset: u64, data: &[u8]) -> Result<usize> {
        let end = offset.checked_add(data.len() as u64);
        let end = end.filter(|end| *end <= SIZE_MAX).ok_or(Error::TooBig)?;
        self.before_growth(ino, end)?;
        let (mut done, mut most) = (0, PIECE);
        while let Some(rest) = data.get(done..).filter(|r| !r.is_empty()) {
            let at = offset + done as u64;
            let room = most - (at % B) as usize;
            let piece = rest.get(..room).unwrap_or(rest);
            let step = self.write_piece(ino, at, piece);
            match self.end_step(step) {
                Ok(()) if most == PIECE => done += piece.len(),
                Ok(()) => return Ok(done + piece.len()),
                Err(_) if done > 0 => break,
                // Less of it may find room.
                Err(Error::NoSpace) if piece.len() > BLOCK => most = (most / 4).max(BLOCK),
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// What is still to be freed beyond the end of a file must not be in it again.
    pub(crate) fn before_growth(&mut self, ino: u64, end: u64) -> Result<()> {
        match self.unfinished.contains_key(&ino) && self.inode(ino)?.size < end {
            true => self.go_on_with(ino),
            false => Ok(()),
        }
    }

    fn write_piece(&mut self, ino: u64, offset: u64, data: &[u8]) -> Result<()> {
        let pages = (offset % B + data.len() as u64).div_ceil(B);
        self.begin(Need::Pages(pages + 1))?;
        let mut inode = self.with_contents(ino)?;
        let end = offset + data.len() as u64;
        if inode.inline && end <= INLINE_MAX {
            let mut bytes = self.inline(ino)?;
            bytes.resize(bytes.len().max(end as usize), 0);
            copy(&mut bytes, offset as usize, Some(data));
            self.tree.put(Key::new(ino, Kind::Inline, 0), bytes)?;
            self.delta.wrote(ino, 0);
        } else {
            if inode.inline {
                self.leave_inline(ino)?;
                inode.inline = false;
                self.put_inode(ino, &inode)?;
            }
            if data.len() == PIECE && offset % B == 0 {
                self.write_through(ino, offset / B, data)?;
                inode = self.inode(ino)?;
            } else {
                self.write_pages(ino, inode.size, offset, data)?;
            }
        }
        inode.size = inode.size.max(end);
        inode.mtime = self.now();
        inode.ctime = inode.mtime;
        self.put_inode(ino, &inode)
    }

    fn write_pages(&mut self, ino: u64, size: u64, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset + data.len() as u64;
        // Of a block that is written from its beginning to the file's end, nothing is left to read.
        let needed = if end < size { size } else { 0 };
        if offset / B < end / B {
            // What has to be read is, before anything is changed.
            if offset % B != 0 {
                self.page(ino, offset / B, size)?;
            }
            if end % B != 0 {
                self.page(ino, end / B, needed)?;
            }
        }
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|r| !r.is_empty()) {
            let at = offset + done as u64;
            let skip = (at % B) as usize;
            let n = rest.len().min(BLOCK - skip);
            match rest.first_chunk() {
                Some(whole) if skip == 0 => self.put_page(ino, at / B, Box::new(*whole))?,
                _ => {
                    let needed = if skip == 0 { needed } else { size };
                    let page = self.page(ino, at / B, needed)?;
                    copy(&mut page[..], skip, rest.get(..n));
                }
            }
            self.delta.wrote(ino, at / B);
            done += n;
        }
        Ok(())
    }

    /// Writes whole blocks, so many that they need not wait for neighbours.
    fn write_through(&mut self, ino: u64, first: u64, data: &[u8]) -> Result<()> {
        let (blocks, _) = data.as_chunks::<BLOCK>();
        let mut done = 0;
        while let Some(rest) = blocks.get(done..).filter(|r| !r.is_empty()) {
            let at = first + done as u64;
            let extent = self.seal_run(ino, at, rest.len() as u64, rest.iter())?;
            done += extent.len() as usize;
        }
        let last = first + blocks.len() as u64;
        self.drop_pages(ino, first, last);
        (first..last).for_each(|at| self.delta.wrote(ino, at));
        Ok(())
    }

    /// Moves inline contents to a block.
    fn leave_inline(&mut self, ino: u64) -> Result<()> {
        let bytes = self.inline(ino)?;
        if !bytes.is_empty() {
            let mut page = Box::new([0; BLOCK]);
            copy(&mut page[..], 0, Some(&bytes));
            self.put_page(ino, 0, page)?;
            self.delta.wrote(ino, 0);
        }
        self.tree.remove(&Key::new(ino, Kind::Inline, 0))?;
        Ok(())
    }

    /// Gives a new link its target.
    pub(crate) fn write_target(&mut self, ino: u64, target: &[u8]) -> Result<()> {
        let mut inode = self.inode(ino)?;
        inode.size = target.len() as u64;
        if inode.size <= INLINE_MAX {
            (self.tree).put(Key::new(ino, Kind::Inline, 0), target.to_vec())?;
        } else {
            inode.inline = false;
            let mut page = Box::new([0; BLOCK]);
            copy(&mut page[..], 0, Some(target));
            self.put_page(ino, 0, page)?;
        }
        self.put_inode(ino, &inode)
    }

    /// Changes a whole block of a file.
    fn put_page(&mut self, ino: u64, at: u64, page: Page) -> Result<()> {
        match self.pages.get_mut(ino, at) {
            Some(was) => {
                let was = core::mem::replace(was, page);
                self.step.changes(ino, at, was);
            }
            None => {
                self.has_place(ino, at)?;
                self.pages.insert(ino, at, page);
                self.step.adds(ino, at);
            }
        }
        Ok(())
    }

    /// What says where a block is, and where those are that may be packed with it, can be read.
    /// Once the block waits in memory, nobody's changes become durable if it does not find its place.
    fn has_place(&mut self, ino: u64, at: u64) -> Result<()> {
        if self.extent_from(ino, at)?.is_some() {
            let around = if self.packs() { CLUSTER } else { 0 };
            self.extent_from(ino, at.saturating_sub(around))?;
            self.extent_from(ino, at + around + 1)?;
        }
        Ok(())
    }

    /// A block of a file, in memory to be changed.
    fn page(&mut self, ino: u64, at: u64, size: u64) -> Result<&mut [u8; BLOCK]> {
        if self.pages.get(ino, at).is_none() {
            let mut page = Box::new([0; BLOCK]);
            if at * B < size {
                let (_, sealed) = self.look_up(ino, at * B, &mut page[..])?;
                if let Some(sealed) = sealed {
                    let mut rest = Rest::with(core::mem::take(&mut self.unpacked));
                    let device = &*self.tree.store.device;
                    let opened = sealed.open_into(device, &mut page[..], &mut rest);
                    self.keep_rest(rest);
                    opened?;
                }
            }
            self.put_page(ino, at, page)?;
        }
        (self.pages.get_mut(ino, at))
            .map(|p| &mut **p)
            .ok_or(Error::Stopped)
    }

    /// Cuts or extends a file.
    pub(crate) fn set_size(&mut self, ino: u64, size: u64) -> Result<()> {
        if size > SIZE_MAX {
            return Err(Error::TooBig);
        }
        let mut inode = self.with_contents(ino)?;
        if inode.kind() != mode::FILE {
            return Err(Error::Invalid);
        }
        let shrinks = size < inode.size;
        if shrinks && !inode.inline {
            // There may be a commit in it: it is not to forget what comes after.
            self.zero(ino, size, size.next_multiple_of(B).min(inode.size))?;
            inode = self.inode(ino)?;
        }
        self.delta.reshaped(ino);
        if !shrinks {
            inode.size = size;
            return self.put_inode(ino, &inode);
        }
        if inode.inline {
            let mut bytes = self.inline(ino)?;
            if bytes.len() as u64 > size {
                bytes.truncate(size as usize);
                self.tree.put(Key::new(ino, Kind::Inline, 0), bytes)?;
            }
            inode.size = size;
            return self.put_inode(ino, &inode);
        }
        inode.size = size;
        self.drop_pages(ino, size.div_ceil(B), u64::MAX);
        self.put_inode(ino, &inode)?;
        match self.cut(ino)? {
            true => Ok(()),
            false => self.leave(ino),
        }
    }

    /// Frees what a file has of the blocks `from..to`, or some of it; whether that is all.
    pub(crate) fn free_some(&mut self, ino: u64, from: u64, to: u64) -> Result<bool> {
        let (freed, done) = self.unmap(ino, from, to, STEP)?;
        // The log cannot say it, and there may have been a commit since the first of many steps.
        self.delta.reshaped(ino);
        let mut inode = self.inode(ino)?;
        inode.blocks = inode.blocks.saturating_sub(freed);
        self.put_inode(ino, &inode)?;
        Ok(done)
    }

    /// Writes zeros within one block, if it holds anything.
    fn zero(&mut self, ino: u64, from: u64, to: u64) -> Result<()> {
        let at = from / B;
        if from >= to {
            return Ok(());
        }
        let mapped = matches!(self.extent_from(ino, at)?, Some((start, _)) if start <= at);
        if !mapped && self.pages.get(ino, at).is_none() {
            return Ok(());
        }
        self.begin(Need::Zero)?;
        if let Some(page) = self.pages.get(ino, at) {
            self.step.changes(ino, at, page.clone());
        }
        let page = self.page(ino, at, u64::MAX)?;
        let (from, to) = ((from % B) as usize, (to - at * B) as usize);
        page.get_mut(from..to).unwrap_or_default().fill(0);
        self.delta.wrote(ino, at);
        Ok(())
    }

    /// Makes a hole: what is there reads as zeros, and its blocks are free. The size stays.
    pub(crate) fn punch_in(&mut self, ino: u64, offset: u64, len: u64) -> Result<()> {
        let mut inode = self.with_contents(ino)?;
        let end = offset.saturating_add(len).min(inode.size);
        if offset >= end {
            return Ok(());
        }
        if inode.inline {
            self.delta.reshaped(ino);
            let mut bytes = self.inline(ino)?;
            let end = (end as usize).min(bytes.len());
            if let Some(part) = bytes.get_mut(offset as usize..end) {
                part.fill(0);
                self.tree.put(Key::new(ino, Kind::Inline, 0), bytes)?;
            }
        } else {
            let (first, last) = (offset.div_ceil(B), end / B);
            if first > last {
                self.zero(ino, offset, end)?;
            } else {
                self.zero(ino, offset, first * B)?;
                self.zero(ino, last * B, end)?;
                // The end of the file need not be the end of a block.
                let last = if end == inode.size {
                    end.div_ceil(B)
                } else {
                    last
                };
                self.drop_pages(ino, first, last);
                while !self.free_some(ino, first, last)? {
                    self.begin(Need::Little)?;
                }
            }
        }
        inode = self.inode(ino)?;
        inode.mtime = self.now();
        inode.ctime = inode.mtime;
        self.delta.attributes(ino);
        self.put_inode(ino, &inode)
    }

    /// The next data (or hole) at or after an offset below the size; holes are whole blocks, and
    /// one is at the end. `None` if there is no more data.
    pub fn seek(&mut self, ino: u64, offset: u64, data: bool) -> Result<Option<u64>> {
        let inode = self.with_contents(ino)?;
        if offset >= inode.size {
            return Ok(None);
        }
        if inode.inline {
            return Ok(Some(if data { offset } else { inode.size }));
        }
        let mut at = offset / B;
        while at * B < inode.size {
            let page = self.pages.next_from(ino, at);
            let extent = self
                .extent_from(ino, at)?
                .map(|(start, e)| (start, start + e.len()));
            let held = page == Some(at) || extent.is_some_and(|(start, _)| start <= at);
            if held == data {
                return Ok(Some(offset.max(at * B)));
            }
            at = match held {
                true => match extent {
                    Some((start, end)) if start <= at => end,
                    _ => at + 1,
                },
                false => {
                    let next = [page, extent.map(|e| e.0)].into_iter().flatten().min();
                    next.unwrap_or(u64::MAX / B)
                }
            };
        }
        Ok(if data { None } else { Some(inode.size) })
    }
}

/// Copies `from` into `to` at an offset, as far as there is room.
fn copy(to: &mut [u8], at: usize, from: Option<&[u8]>) {
    let (to, from) = (
        to.get_mut(at..).unwrap_or_default(),
        from.unwrap_or_default(),
    );
    let n = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..n), from.get(..n)) {
        to.copy_from_slice(from);
    }
}
