//! Where I/O takes bytes from and puts them: user memory in pieces, or kernel memory. Handed down
//! to the file, so that copying happens at the leaf.

use crate::user::{self, UserAddr};
use crate::{Errno, Result, Task};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use bastide_base::pages::{PAGE, Pages};
use bastide_pal::IoVec;

/// Most bytes that one call transfers, Linux's `MAX_RW_COUNT`.
pub const MAX_RW: usize = 0x7fff_f000;
/// Most pieces, `IOV_MAX`.
pub const IOV_MAX: usize = 1024;

/// Reads an `iovec` array: EINVAL for too many pieces or a negative length, EFAULT for memory
/// outside user space; the total is capped at [`MAX_RW`].
pub fn read_iov(t: &Task, addr: UserAddr, count: usize) -> Result<Pieces<'static>> {
    if count > IOV_MAX {
        return Err(Errno::EINVAL);
    }
    let mut left = MAX_RW;
    let mut piece = |[base, len]: [u64; 2]| {
        if len > isize::MAX as u64 {
            return Err(Errno::EINVAL);
        }
        let n = (len as usize).min(left);
        if n > 0 && bastide_base::user::accessible(base as usize, n) < n {
            return Err(Errno::EFAULT);
        }
        left -= n;
        Ok(IoVec {
            addr: base as usize,
            len: n,
        })
    };
    if count == 1 {
        return Ok(Pieces::One([piece(user::read(t, addr)?)?]));
    }
    let raw: Vec<[u64; 2]> = user::read_array(t, addr, count)?;
    let iov: Result<Vec<IoVec>> = raw.into_iter().map(piece).collect();
    Ok(Pieces::Many(Cow::Owned(iov?)))
}

/// Pieces of user memory; most calls have one.
#[derive(Clone)]
pub enum Pieces<'a> {
    One([IoVec; 1]),
    Many(Cow<'a, [IoVec]>),
}

impl core::ops::Deref for Pieces<'_> {
    type Target = [IoVec];
    fn deref(&self) -> &[IoVec] {
        match self {
            Pieces::One(v) => v,
            Pieces::Many(v) => v,
        }
    }
}

impl Pieces<'_> {
    /// One piece: EFAULT for memory outside user space; the length is capped at [`MAX_RW`].
    fn one(addr: UserAddr, len: usize) -> Result<Self> {
        let len = len.min(MAX_RW);
        if bastide_base::user::accessible(addr.0, len) < len {
            return Err(Errno::EFAULT);
        }
        Ok(Pieces::One([IoVec { addr: addr.0, len }]))
    }

    /// How many there are in all pieces together.
    fn bytes(&self) -> usize {
        self.iter().map(|v| v.len).sum()
    }

    /// The parts after `skip` bytes, up to `left` bytes of them.
    #[inline]
    pub fn part(&self, skip: usize, left: usize) -> Pieces<'_> {
        match self {
            Pieces::One([v]) => {
                let skip = skip.min(v.len);
                let len = (v.len - skip).min(left);
                let addr = v.addr + skip;
                Pieces::One([IoVec { addr, len }])
            }
            Pieces::Many(v) => some(v, skip, left),
        }
    }

    /// Keeps the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Pieces::One([v]) => v.len = v.len.min(len),
            Pieces::Many(v) => *v = Cow::Owned(remaining(v, 0, len).collect()),
        }
    }
}

/// Several pieces' parts: apart, so that the way of a single one stays short.
#[inline(never)]
fn some(iov: &[IoVec], skip: usize, left: usize) -> Pieces<'_> {
    Pieces::Many(
        if skip == 0 && iov.iter().map(|v| v.len).sum::<usize>() <= left {
            Cow::Borrowed(iov)
        } else {
            Cow::Owned(remaining(iov, skip, left).collect())
        },
    )
}

/// How far a transfer has come.
struct Progress {
    left: usize,
    done: usize,
}

impl Progress {
    fn new(left: usize) -> Self {
        Progress { left, done: 0 }
    }

    fn advance(&mut self, n: usize) {
        let n = n.min(self.left);
        self.done += n;
        self.left -= n;
    }

    fn rewind(&mut self, n: usize) {
        let n = n.min(self.done);
        self.done -= n;
        self.left += n;
    }

    /// Appends zeros to kernel memory, at most `len`.
    fn room<'b>(&mut self, buf: &'b mut Vec<u8>, len: usize) -> &'b mut [u8] {
        let start = buf.len();
        let n = len.min(self.left);
        buf.resize(start + n, 0);
        self.advance(n);
        &mut buf[start..]
    }

    /// Copies the next `n` bytes by `copy`, which is told where each piece is, how many bytes came
    /// before, and its length; its error is how many bytes it copied. EFAULT if there were none.
    fn copy(
        &mut self,
        iov: &[IoVec],
        n: usize,
        mut copy: impl FnMut(UserAddr, usize, usize) -> core::result::Result<(), usize>,
    ) -> Result<usize> {
        let mut copied = 0;
        for v in remaining(iov, self.done, n) {
            if let Err(part) = copy(UserAddr(v.addr), copied, v.len) {
                copied += part;
                self.advance(copied);
                return if copied > 0 {
                    Ok(copied)
                } else {
                    Err(Errno::EFAULT)
                };
            }
            copied += v.len;
        }
        self.advance(copied);
        Ok(copied)
    }
}

enum Target<'a> {
    User {
        task: &'a Task,
        iov: Pieces<'static>,
    },
    Kernel(&'a mut Vec<u8>),
}

/// A destination for bytes that are read.
pub struct IoDst<'a> {
    target: Target<'a>,
    at: Progress,
}

impl<'a> IoDst<'a> {
    /// One piece of user memory.
    pub fn user(task: &'a Task, addr: UserAddr, len: usize) -> Result<Self> {
        Ok(Self::iov(task, Pieces::one(addr, len)?))
    }

    /// Several pieces, as [`read_iov`] returns them.
    pub fn iov(task: &'a Task, iov: Pieces<'static>) -> Self {
        IoDst {
            at: Progress::new(iov.bytes()),
            target: Target::User { task, iov },
        }
    }

    /// Kernel memory: appends at most `max` bytes to `buf`.
    pub fn kernel(buf: &'a mut Vec<u8>, max: usize) -> Self {
        IoDst {
            target: Target::Kernel(buf),
            at: Progress::new(max),
        }
    }

    /// Bytes that still fit.
    pub fn left(&self) -> usize {
        self.at.left
    }

    /// Bytes put so far.
    pub fn done(&self) -> usize {
        self.at.done
    }

    /// Fewer bytes may be put from now on.
    pub fn limit(&mut self, max: usize) {
        self.at.left = self.at.left.min(max);
    }

    /// User pieces that are still to be filled, for a host call that fills them itself; then
    /// [`IoDst::advance`]. `None` for kernel memory.
    pub fn pieces(&self) -> Option<Pieces<'_>> {
        match &self.target {
            Target::User { iov, .. } => Some(iov.part(self.at.done, self.at.left)),
            Target::Kernel(_) => None,
        }
    }

    /// Says that a host call filled `n` bytes of [`IoDst::pieces`].
    pub fn advance(&mut self, n: usize) {
        self.at.advance(n);
    }

    /// Whether what is left begins where memory may be mapped otherwise than before it: a host
    /// call that filled what comes before may have stopped for that.
    pub fn at_edge(&self) -> bool {
        match &self.target {
            Target::User { iov, .. } => at_edge(iov, self.at.done, self.at.left),
            Target::Kernel(_) => false,
        }
    }

    /// Goes back over `n` bytes that were put, to put them again.
    pub fn rewind(&mut self, n: usize) {
        let n = n.min(self.at.done);
        self.at.rewind(n);
        if let Target::Kernel(buf) = &mut self.target {
            buf.truncate(buf.len().saturating_sub(n));
        }
    }

    /// Puts bytes: as many as fit. EFAULT if none could be put because of a bad address.
    pub fn put(&mut self, data: &[u8]) -> Result<usize> {
        let data = &data[..data.len().min(self.at.left)];
        match &mut self.target {
            Target::Kernel(buf) => {
                buf.extend_from_slice(data);
                self.at.advance(data.len());
                Ok(data.len())
            }
            Target::User { task, iov } => self.at.copy(iov, data.len(), |to, off, len| {
                user::write_partial(task, to, &data[off..off + len])
            }),
        }
    }

    /// Puts `len` bytes of a page block from `off`; as [`IoDst::put`].
    pub fn put_pages(&mut self, p: &Pages, off: usize, len: usize) -> Result<usize> {
        match &mut self.target {
            Target::Kernel(buf) => {
                let room = self.at.room(buf, len);
                p.read(off, room);
                Ok(room.len())
            }
            Target::User { task, iov } => {
                let n = len.min(self.at.left);
                self.at.copy(iov, n, |to, done, len| {
                    user::write_pages(task, to, p, off + done, len)
                })
            }
        }
    }

    /// Puts `len` zeros; as [`IoDst::put`].
    pub fn put_zeros(&mut self, len: usize) -> Result<usize> {
        match &mut self.target {
            Target::Kernel(buf) => Ok(self.at.room(buf, len).len()),
            Target::User { task, iov } => {
                let n = len.min(self.at.left);
                self.at
                    .copy(iov, n, |to, _, len| user::fill(task, to, 0, len))
            }
        }
    }
}

enum Origin<'a> {
    User {
        task: &'a Task,
        iov: Pieces<'static>,
    },
    Kernel(&'a [u8]),
}

/// A source of bytes that are written.
pub struct IoSrc<'a> {
    origin: Origin<'a>,
    at: Progress,
}

impl<'a> IoSrc<'a> {
    /// One piece of user memory.
    pub fn user(task: &'a Task, addr: UserAddr, len: usize) -> Result<Self> {
        Ok(Self::iov(task, Pieces::one(addr, len)?))
    }

    /// Several pieces, as [`read_iov`] returns them.
    pub fn iov(task: &'a Task, iov: Pieces<'static>) -> Self {
        IoSrc {
            at: Progress::new(iov.bytes()),
            origin: Origin::User { task, iov },
        }
    }

    /// Kernel memory.
    pub fn kernel(data: &'a [u8]) -> Self {
        IoSrc {
            origin: Origin::Kernel(data),
            at: Progress::new(data.len()),
        }
    }

    /// Bytes still to be taken.
    pub fn left(&self) -> usize {
        self.at.left
    }

    /// Bytes taken so far.
    pub fn done(&self) -> usize {
        self.at.done
    }

    /// Fewer bytes may be taken from now on.
    pub fn limit(&mut self, max: usize) {
        self.at.left = self.at.left.min(max);
    }

    /// User pieces still to be taken, for a host call that takes them itself; then
    /// [`IoSrc::advance`]. `None` for kernel memory.
    pub fn pieces(&self) -> Option<Pieces<'_>> {
        match &self.origin {
            Origin::User { iov, .. } => Some(iov.part(self.at.done, self.at.left)),
            Origin::Kernel(_) => None,
        }
    }

    /// Says that a host call took `n` bytes of [`IoSrc::pieces`].
    pub fn advance(&mut self, n: usize) {
        self.at.advance(n);
    }

    /// As [`IoDst::at_edge`].
    pub fn at_edge(&self) -> bool {
        match &self.origin {
            Origin::User { iov, .. } => at_edge(iov, self.at.done, self.at.left),
            Origin::Kernel(_) => false,
        }
    }

    /// Goes back `n` bytes that were taken but not used.
    pub fn rewind(&mut self, n: usize) {
        self.at.rewind(n);
    }

    /// Takes bytes: as many as `buf` holds and the source has. EFAULT if none could be taken.
    pub fn take(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = buf.len().min(self.at.left);
        match &self.origin {
            Origin::Kernel(data) => {
                buf[..n].copy_from_slice(&data[self.at.done..][..n]);
                self.at.advance(n);
                Ok(n)
            }
            Origin::User { task, iov } => self.at.copy(iov, n, |from, off, len| {
                user::read_partial(task, from, &mut buf[off..off + len])
            }),
        }
    }

    /// Takes at most `len` bytes into a page block at `off`; as [`IoSrc::take`].
    pub fn take_pages(&mut self, p: &Pages, off: usize, len: usize) -> Result<usize> {
        let n = len.min(self.at.left);
        match &self.origin {
            Origin::Kernel(data) => {
                p.write(off, &data[self.at.done..][..n]);
                self.at.advance(n);
                Ok(n)
            }
            Origin::User { task, iov } => self.at.copy(iov, n, |from, done, len| {
                user::read_pages(task, from, p, off + done, len)
            }),
        }
    }

    /// Takes at most `max` bytes into a new vector.
    pub fn take_vec(&mut self, max: usize) -> Result<Vec<u8>> {
        let mut v = alloc::vec![0; max.min(self.at.left)];
        let n = self.take(&mut v)?;
        v.truncate(n);
        Ok(v)
    }
}

/// Whether the first of `left` bytes after `done` is the first of a page or of a piece.
fn at_edge(iov: &[IoVec], done: usize, left: usize) -> bool {
    remaining(iov, done, left)
        .next()
        .is_some_and(|v| v.addr % PAGE == 0 || iov.iter().any(|whole| whole.addr == v.addr))
}

/// The pieces after `skip` bytes, up to `left` bytes of them.
fn remaining(iov: &[IoVec], mut skip: usize, mut left: usize) -> impl Iterator<Item = IoVec> + '_ {
    iov.iter().filter_map(move |v| {
        if skip >= v.len {
            skip -= v.len;
            return None;
        }
        let len = (v.len - skip).min(left);
        let addr = v.addr + skip;
        skip = 0;
        left -= len;
        (len > 0).then_some(IoVec { addr, len })
    })
}
