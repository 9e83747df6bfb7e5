//! A pipe's contents: a queue of page-sized chunks, and the pool that their pages come from.

use crate::{Errno, Result};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;

pub const PAGE: usize = 4096;
/// What is copied through the stack instead of a page.
pub const SMALL: usize = 128;
/// Pages kept for the next writer, over all pipes.
const POOL: usize = 256;

static FREE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A page, its old contents in it; ENOMEM.
fn page() -> Result<Box<[u8]>> {
    if let Some(p) = FREE.lock().pop() {
        return Ok(p);
    }
    let mut v = Vec::new();
    v.try_reserve_exact(PAGE).map_err(|_| Errno::ENOMEM)?;
    v.resize(PAGE, 0);
    Ok(v.into_boxed_slice())
}

/// Gives pages back.
pub fn recycle(chunks: impl IntoIterator<Item = Chunk>) {
    let mut free = FREE.lock();
    for c in chunks {
        if free.len() < POOL {
            free.push(c.page);
        }
    }
}

/// A slot of a pipe.
pub struct Chunk {
    page: Box<[u8]>,
    start: usize,
    end: usize,
    /// A packet of `O_DIRECT` mode: read whole or cut off, never appended to.
    pub packet: bool,
}

impl Chunk {
    /// An empty chunk; ENOMEM.
    pub fn new() -> Result<Self> {
        Ok(Chunk {
            page: page()?,
            start: 0,
            end: 0,
            packet: false,
        })
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn bytes(&self) -> &[u8] {
        self.page.get(self.start..self.end).unwrap_or_default()
    }

    /// The first `n` bytes of the page, to be filled; they become the contents.
    pub fn fill(&mut self, n: usize) -> &mut [u8] {
        self.start = 0;
        self.end = n.min(PAGE);
        &mut self.page[..n.min(PAGE)]
    }

    /// Forgets the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
    }

    /// Keeps only the first `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        self.end = self.end.min(self.start + n);
    }

    fn append(&mut self, data: &[u8]) {
        let end = self.end + data.len();
        self.page[self.end..end].copy_from_slice(data);
        self.end = end;
    }

    /// A copy of the first `n` bytes.
    pub fn copy(&self, n: usize) -> Result<Chunk> {
        let mut c = Chunk::new()?;
        let n = n.min(self.len());
        c.fill(n).copy_from_slice(&self.bytes()[..n]);
        c.packet = self.packet;
        Ok(c)
    }
}

/// What a read took out of the queue.
pub enum Taken {
    Small([u8; SMALL], usize),
    Chunks(Vec<Chunk>),
}

/// Bytes on their way into the queue.
pub enum Piece {
    Small([u8; SMALL], usize),
    Page(Chunk),
}

impl Piece {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Piece::Small(b, n) => &b[..*n],
            Piece::Page(c) => c.bytes(),
        }
    }
}

/// What the pipe's lock protects.
pub struct State {
    pub chunks: VecDeque<Chunk>,
    /// Most chunks.
    pub slots: usize,
    pub readers: usize,
    pub writers: usize,
    /// How often an end was opened.
    pub reads_opened: u64,
    pub writes_opened: u64,
    /// A page at hand for the next small write.
    spare: Option<Chunk>,
}

impl State {
    pub fn new(slots: usize) -> Self {
        State {
            chunks: VecDeque::new(),
            slots,
            readers: 0,
            writers: 0,
            reads_opened: 0,
            writes_opened: 0,
            spare: None,
        }
    }

    /// No slot is free.
    pub fn full(&self) -> bool {
        self.chunks.len() >= self.slots
    }

    /// Bytes queued.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(Chunk::len).sum()
    }

    fn fits_last(&self, n: usize) -> bool {
        self.chunks
            .back()
            .is_some_and(|c| !c.packet && c.end + n <= PAGE)
    }

    /// How many of `left` bytes to add next: the odd part first if it fits behind the last bytes,
    /// whole pages otherwise. 0 if the pipe is full.
    pub fn admits(&self, left: usize, packet: bool) -> usize {
        let odd = left % PAGE;
        if !packet && odd != 0 && self.fits_last(odd) {
            odd
        } else if self.full() {
            0
        } else {
            left.min(PAGE)
        }
    }

    /// Appends a piece; gives it back if there is no room. ENOMEM.
    pub fn append(&mut self, piece: Piece, packet: bool) -> Result<Option<Piece>> {
        let n = piece.bytes().len();
        if !packet && self.fits_last(n) {
            if let Some(last) = self.chunks.back_mut() {
                last.append(piece.bytes());
            }
            if let Piece::Page(c) = piece {
                self.keep(c);
            }
            return Ok(None);
        }
        if self.full() {
            return Ok(Some(piece));
        }
        self.chunks.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let mut c = match piece {
            Piece::Page(c) => c,
            Piece::Small(b, n) => {
                let mut c = match self.spare.take() {
                    Some(c) => c,
                    None => Chunk::new()?,
                };
                c.fill(n).copy_from_slice(&b[..n]);
                c
            }
        };
        c.packet = packet;
        self.chunks.push_back(c);
        Ok(None)
    }

    /// Keeps an unused chunk for later.
    fn keep(&mut self, c: Chunk) {
        if self.spare.is_none() {
            self.spare = Some(c);
        } else {
            recycle([c]);
        }
    }

    /// Takes out at most `want` bytes; a packet ends the read and loses its rest. `None` if the
    /// pipe is empty.
    pub fn take(&mut self, want: usize) -> Option<Taken> {
        let front = self.chunks.front()?;
        let n = front.len().min(want);
        if n <= SMALL && (front.len() >= want || front.packet || self.chunks.len() == 1) {
            return self.take_small(n);
        }
        let mut out = Vec::new();
        let mut left = want;
        while left > 0 {
            let Some(front) = self.chunks.front_mut() else {
                break;
            };
            let packet = front.packet;
            if front.len() <= left || packet {
                if out.try_reserve(1).is_err() {
                    break;
                }
                let Some(mut c) = self.chunks.pop_front() else {
                    break;
                };
                c.truncate(left);
                left -= c.len();
                out.push(c);
                if packet {
                    break;
                }
            } else {
                let Ok(c) = front.copy(left) else { break };
                front.consume(left);
                left = 0;
                out.push(c);
            }
        }
        if out.is_empty() {
            // Memory is out: a little goes through the stack.
            return self.take_small(n.min(SMALL));
        }
        Some(Taken::Chunks(out))
    }

    fn take_small(&mut self, n: usize) -> Option<Taken> {
        let front = self.chunks.front_mut()?;
        let mut buf = [0; SMALL];
        let n = n.min(front.len()).min(SMALL);
        buf[..n].copy_from_slice(&front.bytes()[..n]);
        front.consume(n);
        if (front.len() == 0 || front.packet)
            && let Some(c) = self.chunks.pop_front()
        {
            self.keep(c);
        }
        Some(Taken::Small(buf, n))
    }

    /// Puts back what a read could not deliver.
    pub fn put_back(&mut self, mut chunks: Vec<Chunk>) {
        while let Some(c) = chunks.pop() {
            if c.len() > 0 {
                self.chunks.push_front(c);
            }
        }
    }
}
