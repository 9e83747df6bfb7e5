//! The intent log: makes the contents of one file durable without a commit, with one write and one
//! flush. It is a fixed run of blocks after the root, each sealed by itself and chained to the one
//! before, and the first to the root. A commit makes a new root, to which none of them is chained.

use crate::BLOCK;
use crate::codec::{Reader, Short, Writer};
use crate::crypto::{Nonce, Purpose, Tag};
use crate::device::Mark;
use crate::error::{Error, Result};
use crate::file::SIZE_MAX;
use crate::inode::{Inode, mode};
use crate::store::Store;
use crate::volume::Volume;
use alloc::vec::Vec;

/// Bytes before the sealed part of a block.
const CLEAR: usize = Nonce::LEN + 16;
/// Bytes of the sealed part that say what the rest is: the length, and whether the record ends.
const HEAD: usize = 3;
/// Bytes of a record in one block.
const ROOM: usize = BLOCK - CLEAR - HEAD;

/// Where the log stands.
pub(crate) struct Log {
    first: u64,
    len: u32,
    next: u32,
    /// The tag of the last block, or of the root.
    chain: Tag,
}

impl Log {
    pub fn new(first: u64, len: u32, root: Tag) -> Log {
        Log {
            first,
            len,
            next: 0,
            chain: root,
        }
    }

    /// A new root makes the log empty.
    pub fn restart(&mut self, root: Tag) {
        (self.next, self.chain) = (0, root);
    }

    /// Blocks in use, and the tag of the last.
    pub fn state(&self) -> (u32, Tag) {
        (self.next, self.chain)
    }

    /// The blocks of the log.
    pub fn blocks(&self) -> core::ops::Range<u64> {
        self.first..self.first + u64::from(self.len)
    }

    /// A record of so many bytes finds room.
    fn has_room(&self, bytes: usize) -> bool {
        bytes.div_ceil(ROOM) <= (self.len - self.next) as usize
    }

    fn bound(&self) -> [u8; 24] {
        let mut out = [0; 24];
        let place = self.first + u64::from(self.next);
        out[..8].copy_from_slice(&place.to_le_bytes());
        out[8..].copy_from_slice(&self.chain);
        out
    }

    /// Writes a record.
    fn append(&mut self, store: &mut Store, record: &[u8]) -> Result<()> {
        let start = self.first + u64::from(self.next);
        let before = self.state();
        let mut out = Writer(Vec::with_capacity(record.len().div_ceil(ROOM) * BLOCK));
        let mut pieces = record.chunks(ROOM).peekable();
        while let Some(piece) = pieces.next() {
            let mut body = Writer(Vec::with_capacity(BLOCK - CLEAR));
            body.u16(piece.len() as u16)
                .u8(pieces.peek().is_none().into())
                .bytes(piece);
            body.0.resize(BLOCK - CLEAR, 0);
            let (nonce, tag) = store.ring.seal(Purpose::Log, &self.bound(), &mut body.0)?;
            nonce.write(&mut out);
            out.bytes(&tag).bytes(&body.0);
            self.next += 1;
            self.chain = tag;
        }
        let written = store.device.write_at(start * BLOCK as u64, &out.0);
        // The next record takes the place of what may be there now.
        Ok(written.inspect_err(|_| (self.next, self.chain) = before)?)
    }

    /// The next block, if it is one of this log: its part of a record, and whether that ends.
    fn next_block(&mut self, store: &mut Store) -> Option<(Vec<u8>, bool)> {
        if self.next >= self.len {
            return None;
        }
        let mut block = alloc::vec![0; BLOCK];
        let place = self.first + u64::from(self.next);
        (store.device.read_at(place * BLOCK as u64, &mut block)).ok()?;
        let mut r = Reader(&block);
        let (nonce, tag) = (Nonce::read(&mut r).ok()?, r.array().ok()?);
        let mut body = r.0.to_vec();
        if !(store.ring).open(Purpose::Log, &self.bound(), &nonce, &tag, &mut body) {
            return None;
        }
        let mut r = Reader(&body);
        let (len, last) = (r.u16().ok()?, r.u8().ok()?);
        let part = r.bytes(usize::from(len)).ok()?.to_vec();
        self.next += 1;
        self.chain = tag;
        Some((part, last != 0))
    }
}

/// What a record says of a file: attributes, and pieces of its contents.
fn encode(ino: u64, inode: &Inode, pieces: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut w = Writer::default();
    w.u64(ino)
        .u32(inode.mode)
        .u32(inode.uid)
        .u32(inode.gid)
        .u64(inode.size)
        .i64(inode.atime)
        .i64(inode.mtime)
        .i64(inode.ctime);
    for (offset, data) in pieces {
        w.u64(*offset).u16(data.len() as u16).bytes(data);
    }
    w.0
}

impl Volume {
    /// `fsync(2)`: makes one file durable, with all that it needs.
    pub fn fsync(&mut self, ino: u64) -> Result<()> {
        if self.stopped {
            return Err(Error::Stopped);
        }
        let inode = self.inode(ino)?;
        if inode.kind() == mode::FILE && !self.delta.changed(ino) && !self.mark_due {
            return Ok(());
        }
        match self.record(ino, &inode)? {
            Some(record) if self.log.has_room(record.len()) => {
                self.writable()?;
                self.log.append(&mut self.tree.store, &record)?;
                let flushed = self.tree.store.device.flush();
                flushed.inspect_err(|_| self.stopped = true)?;
                self.delta.logged(ino);
                self.set_mark()
            }
            _ => self.commit(),
        }
    }

    /// The record for a file; `None` if it would say too little, or is no cheaper than a commit.
    fn record(&mut self, ino: u64, inode: &Inode) -> Result<Option<Vec<u8>>> {
        let Some(blocks) = (self.delta.loggable(ino)).filter(|_| inode.kind() == mode::FILE) else {
            return Ok(None);
        };
        if blocks.len() > self.log.blocks().count() / 4 {
            return Ok(None);
        }
        let mut pieces = Vec::new();
        for at in blocks {
            let mut data = alloc::vec![0; BLOCK];
            let offset = at * BLOCK as u64;
            let n = self.read(ino, offset, &mut data)?;
            data.truncate(n);
            pieces.push((offset, data));
        }
        Ok(Some(encode(ino, inode, &pieces)))
    }

    /// Takes over what the log says. With a mark, it must say at least what the mark knows.
    pub(crate) fn replay(&mut self, mark: Option<&Mark>) -> Result<()> {
        let mark = mark.filter(|m| m.generation == self.root.generation);
        let mut seen = mark.is_none();
        let mut good = self.log.state();
        let mut record = Vec::new();
        loop {
            // The mark was set between records.
            if let Some(mark) = mark
                && self.log.next == mark.logged
            {
                if self.log.chain != mark.tag {
                    let generation = self.root.generation;
                    return Err(Error::Forked { generation });
                }
                seen = true;
            }
            let Some((part, last)) = self.log.next_block(&mut self.tree.store) else {
                break;
            };
            record.extend_from_slice(&part);
            if last {
                self.replaying = true;
                let applied = self.apply(&record);
                self.replaying = false;
                applied?;
                self.delta.dirty = true;
                record.clear();
                good = self.log.state();
            }
        }
        (self.log.next, self.log.chain) = good;
        if !seen {
            return Err(Error::Stale {
                generation: self.root.generation,
                anchor: self.root.generation,
            });
        }
        Ok(())
    }

    fn apply(&mut self, record: &[u8]) -> Result<()> {
        let block = self.log.first;
        let short = |_: Short| Error::Malformed { block };
        let mut r = Reader(record);
        let ino = r.u64().map_err(short)?;
        let mode = r.u32().map_err(short)?;
        let (uid, gid) = (r.u32().map_err(short)?, r.u32().map_err(short)?);
        let size = r.u64().map_err(short)?;
        let [atime, mtime, ctime] = [r.i64(), r.i64(), r.i64()];
        // What a log says makes so many blocks of contents in memory at most; a record of
        // [`Volume::record`]'s makes fewer for each block that it takes.
        let most = 64 * self.log.len as usize;
        while !r.is_empty() {
            let (offset, len) = (r.u64().map_err(short)?, r.u16().map_err(short)?);
            let data = r.bytes(usize::from(len)).map_err(short)?;
            self.write(ino, offset, data)?;
            if self.pages.len() > most {
                return Err(Error::Malformed { block });
            }
        }
        let mut inode = self.inode(ino)?;
        if size > SIZE_MAX || mode & mode::TYPE != inode.kind() {
            return Err(Error::Malformed { block });
        }
        inode.mode = mode;
        (inode.uid, inode.gid) = (uid, gid);
        inode.size = size.max(inode.size);
        inode.atime = atime.map_err(short)?;
        inode.mtime = mtime.map_err(short)?;
        inode.ctime = ctime.map_err(short)?;
        self.put_inode(ino, &inode)
    }
}
