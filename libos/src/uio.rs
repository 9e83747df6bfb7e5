//! Where I/O takes bytes from and puts them: user memory in pieces, or kernel memory. Handed down
//! to the file, so that copying happens at the leaf.

use crate::user::{self, UserAddr};
use crate::{Errno, Result, Task};
use alloc::vec::Vec;
use bastide_base::pages::{PAGE, Pages};
use bastide_pal::IoVec;

/// Most bytes that one call transfers, Linux's `MAX_RW_COUNT`.
pub const MAX_RW: usize = 0x7fff_f000;
/// Most pieces, `IOV_MAX`.
pub const IOV_MAX: usize = 1024;

/// Reads an `iovec` array: EINVAL for too many pieces or a negative length, EFAULT for memory
/// outside user space; the total is capped at [`MAX_RW`].
pub fn read_iov(t: &Task, addr: UserAddr, count: usize) -> Result<Vec<IoVec>> {
    if count > IOV_MAX {
        return Err(Errno::EINVAL);
    }
    let raw: Vec<[u64; 2]> = user::read_array(t, addr, count)?;
    let mut left = MAX_RW;
    let mut out = Vec::with_capacity(count);
    for [base, len] in raw {
        if len > isize::MAX as u64 {
            return Err(Errno::EINVAL);
        }
        let n = (len as usize).min(left);
        if n > 0 && bastide_base::user::accessible(base as usize, n) < n {
            return Err(Errno::EFAULT);
        }
        left -= n;
        out.push(IoVec {
            addr: base as usize,
            len: n,
        });
    }
    Ok(out)
}

/// Pieces of user memory; most calls have one.
enum Pieces {
    One([IoVec; 1]),
    Many(Vec<IoVec>),
}

impl core::ops::Deref for Pieces {
    type Target = [IoVec];
    fn deref(&self) -> &[IoVec] {
        match self {
            Pieces::One(v) => v,
            Pieces::Many(v) => v,
        }
    }
}

enum Target<'a> {
    User { task: &'a Task, iov: Pieces },
    Kernel(&'a mut Vec<u8>),
}

/// A destination for bytes that are read.
pub struct IoDst<'a> {
    target: Target<'a>,
    left: usize,
    done: usize,
}

impl<'a> IoDst<'a> {
    /// One piece of user memory.
    pub fn user(task: &'a Task, addr: UserAddr, len: usize) -> Result<Self> {
        let len = len.min(MAX_RW);
        if bastide_base::user::accessible(addr.0, len) < len {
            return Err(Errno::EFAULT);
        }
        let one = IoVec { addr: addr.0, len };
        Ok(IoDst {
            target: Target::User {
                task,
                iov: Pieces::One([one]),
            },
            left: len,
            done: 0,
        })
    }

    /// Several pieces, as [`read_iov`] returns them.
    pub fn iov(task: &'a Task, iov: Vec<IoVec>) -> Self {
        let left = iov.iter().map(|v| v.len).sum();
        IoDst {
            target: Target::User {
                task,
                iov: Pieces::Many(iov),
            },
            left,
            done: 0,
        }
    }

    /// Kernel memory: appends at most `max` bytes to `buf`.
    pub fn kernel(buf: &'a mut Vec<u8>, max: usize) -> Self {
        IoDst {
            target: Target::Kernel(buf),
            left: max,
            done: 0,
        }
    }

    /// Bytes that still fit.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Bytes put so far.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Fewer bytes may be put from now on.
    pub fn limit(&mut self, max: usize) {
        self.left = self.left.min(max);
    }

    /// User pieces that are still to be filled, for a host call that fills them itself; then
    /// [`IoDst::advance`]. `None` for kernel memory.
    pub fn pieces(&self) -> Option<Vec<IoVec>> {
        match &self.target {
            Target::User { iov, .. } => Some(remaining(iov, self.done, self.left).collect()),
            Target::Kernel(_) => None,
        }
    }

    /// Says that a host call filled `n` bytes of [`IoDst::pieces`].
    pub fn advance(&mut self, n: usize) {
        let n = n.min(self.left);
        self.done += n;
        self.left -= n;
    }

    /// Whether what is left begins where memory may be mapped otherwise than before it: a host
    /// call that filled what comes before may have stopped for that.
    pub fn at_edge(&self) -> bool {
        match &self.target {
            Target::User { iov, .. } => at_edge(iov, self.done, self.left),
            Target::Kernel(_) => false,
        }
    }

    /// Goes back over `n` bytes that were put, to put them again.
    pub fn rewind(&mut self, n: usize) {
        let n = n.min(self.done);
        self.done -= n;
        self.left += n;
        if let Target::Kernel(buf) = &mut self.target {
            buf.truncate(buf.len().saturating_sub(n));
        }
    }

    /// Puts bytes: as many as fit. EFAULT if none could be put because of a bad address.
    pub fn put(&mut self, data: &[u8]) -> Result<usize> {
        let n = data.len().min(self.left);
        match &mut self.target {
            Target::Kernel(buf) => buf.extend_from_slice(&data[..n]),
            Target::User { task, iov } => {
                let mut off = 0;
                for v in remaining(iov, self.done, n) {
                    if let Err(k) =
                        user::write_partial(task, UserAddr(v.addr), &data[off..off + v.len])
                    {
                        self.done += off + k;
                        self.left -= off + k;
                        return if off + k > 0 {
                            Ok(off + k)
                        } else {
                            Err(Errno::EFAULT)
                        };
                    }
                    off += v.len;
                }
            }
        }
        self.done += n;
        self.left -= n;
        Ok(n)
    }

    /// Puts `len` bytes of a page block from `off`; as [`IoDst::put`].
    pub fn put_pages(&mut self, p: &Pages, off: usize, len: usize) -> Result<usize> {
        let n = len.min(self.left);
        match &mut self.target {
            Target::Kernel(buf) => {
                let at = buf.len();
                buf.resize(at + n, 0);
                p.read(off, &mut buf[at..]);
            }
            Target::User { task, iov } => {
                let mut o = 0;
                for v in remaining(iov, self.done, n) {
                    if let Err(k) = user::write_pages(task, UserAddr(v.addr), p, off + o, v.len) {
                        self.done += o + k;
                        self.left -= o + k;
                        return if o + k > 0 {
                            Ok(o + k)
                        } else {
                            Err(Errno::EFAULT)
                        };
                    }
                    o += v.len;
                }
            }
        }
        self.done += n;
        self.left -= n;
        Ok(n)
    }

    /// Puts `len` zeros; as [`IoDst::put`].
    pub fn put_zeros(&mut self, len: usize) -> Result<usize> {
        let n = len.min(self.left);
        match &mut self.target {
            Target::Kernel(buf) => {
                let at = buf.len();
                buf.resize(at + n, 0);
            }
            Target::User { task, iov } => {
                let mut o = 0;
                for v in remaining(iov, self.done, n) {
                    if let Err(k) = user::fill(task, UserAddr(v.addr), 0, v.len) {
                        self.done += o + k;
                        self.left -= o + k;
                        return if o + k > 0 {
                            Ok(o + k)
                        } else {
                            Err(Errno::EFAULT)
                        };
                    }
                    o += v.len;
                }
            }
        }
        self.done += n;
        self.left -= n;
        Ok(n)
    }
}

enum Origin<'a> {
    User { task: &'a Task, iov: Pieces },
    Kernel(&'a [u8]),
}

/// A source of bytes that are written.
pub struct IoSrc<'a> {
    origin: Origin<'a>,
    left: usize,
    done: usize,
}

impl<'a> IoSrc<'a> {
    /// One piece of user memory.
    pub fn user(task: &'a Task, addr: UserAddr, len: usize) -> Result<Self> {
        let len = len.min(MAX_RW);
        if bastide_base::user::accessible(addr.0, len) < len {
            return Err(Errno::EFAULT);
        }
        let one = IoVec { addr: addr.0, len };
        Ok(IoSrc {
            origin: Origin::User {
                task,
                iov: Pieces::One([one]),
            },
            left: len,
            done: 0,
        })
    }

    /// Several pieces, as [`read_iov`] returns them.
    pub fn iov(task: &'a Task, iov: Vec<IoVec>) -> Self {
        let left = iov.iter().map(|v| v.len).sum();
        IoSrc {
            origin: Origin::User {
                task,
                iov: Pieces::Many(iov),
            },
            left,
            done: 0,
        }
    }

    /// Kernel memory.
    pub fn kernel(data: &'a [u8]) -> Self {
        IoSrc {
            origin: Origin::Kernel(data),
            left: data.len(),
            done: 0,
        }
    }

    /// Bytes still to be taken.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Bytes taken so far.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Fewer bytes may be taken from now on.
    pub fn limit(&mut self, max: usize) {
        self.left = self.left.min(max);
    }

    /// User pieces still to be taken, for a host call that takes them itself; then
    /// [`IoSrc::advance`]. `None` for kernel memory.
    pub fn pieces(&self) -> Option<Vec<IoVec>> {
        match &self.origin {
            Origin::User { iov, .. } => Some(remaining(iov, self.done, self.left).collect()),
            Origin::Kernel(_) => None,
        }
    }

    /// Says that a host call took `n` bytes of [`IoSrc::pieces`].
    pub fn advance(&mut self, n: usize) {
        let n = n.min(self.left);
        self.done += n;
        self.left -= n;
    }

    /// As [`IoDst::at_edge`].
    pub fn at_edge(&self) -> bool {
        match &self.origin {
            Origin::User { iov, .. } => at_edge(iov, self.done, self.left),
            Origin::Kernel(_) => false,
        }
    }

    /// Goes back `n` bytes that were taken but not used.
    pub fn rewind(&mut self, n: usize) {
        let n = n.min(self.done);
        self.done -= n;
        self.left += n;
    }

    /// Takes bytes: as many as `buf` holds and the source has. EFAULT if none could be taken.
    pub fn take(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = buf.len().min(self.left);
        match &self.origin {
            Origin::Kernel(data) => buf[..n].copy_from_slice(&data[self.done..self.done + n]),
            Origin::User { task, iov } => {
                let mut off = 0;
                for v in remaining(iov, self.done, n) {
                    if let Err(k) =
                        user::read_partial(task, UserAddr(v.addr), &mut buf[off..off + v.len])
                    {
                        self.done += off + k;
                        self.left -= off + k;
                        return if off + k > 0 {
                            Ok(off + k)
                        } else {
                            Err(Errno::EFAULT)
                        };
                    }
                    off += v.len;
                }
            }
        }
        self.done += n;
        self.left -= n;
        Ok(n)
    }

    /// Takes at most `len` bytes into a page block at `off`; as [`IoSrc::take`].
    pub fn take_pages(&mut self, p: &Pages, off: usize, len: usize) -> Result<usize> {
        let n = len.min(self.left);
        match &self.origin {
            Origin::Kernel(data) => p.write(off, &data[self.done..self.done + n]),
            Origin::User { task, iov } => {
                let mut o = 0;
                for v in remaining(iov, self.done, n) {
                    if let Err(k) = user::read_pages(task, UserAddr(v.addr), p, off + o, v.len) {
                        self.done += o + k;
                        self.left -= o + k;
                        return if o + k > 0 {
                            Ok(o + k)
                        } else {
                            Err(Errno::EFAULT)
                        };
                    }
                    o += v.len;
                }
            }
        }
        self.done += n;
        self.left -= n;
        Ok(n)
    }

    /// Takes at most `max` bytes into a new vector.
    pub fn take_vec(&mut self, max: usize) -> Result<Vec<u8>> {
        let mut v = alloc::vec![0; max.min(self.left)];
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
