//! Moving bytes between pipes and files inside the kernel: `splice(2)`, `tee(2)`, `vmsplice(2)`.

use super::PipeEnd;
use super::buffer::{Chunk, PAGE, Taken};
use crate::fs::File;
use crate::fs::file::O_APPEND;
use crate::uio::{IoDst, IoSrc, read_iov};
use crate::user::{self, UserAddr};
use crate::wait::wait_until;
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;

const SPLICE_F_NONBLOCK: u32 = 2;
const SPLICE_F_ALL: u32 = 0xf;

impl Taken {
    /// As chunks; ENOMEM.
    fn into_chunks(self) -> Result<Vec<Chunk>> {
        match self {
            Taken::Chunks(v) => Ok(v),
            Taken::Small(buf, n) => {
                let mut c = Chunk::new()?;
                c.fill(n).copy_from_slice(&buf[..n]);
                Ok(alloc::vec![c])
            }
        }
    }
}

impl PipeEnd {
    /// Bytes that free slots hold.
    fn room(&self) -> usize {
        let s = self.pipe.state.lock();
        s.slots.saturating_sub(s.chunks.len()) * PAGE
    }

    /// Adds chunks, whether there is room or not: the caller looked, and data must not be lost
    /// because another writer was quicker.
    fn force(&self, chunks: Vec<Chunk>) {
        let mut s = self.pipe.state.lock();
        s.chunks.extend(chunks.into_iter().filter(|c| c.len() > 0));
        drop(s);
        self.told_readers();
    }

    fn put_back(&self, chunks: Vec<Chunk>) {
        self.pipe.state.lock().put_back(chunks);
        self.told_readers();
    }

    /// Waits until there is something to read or no writer is left.
    fn wait_data(&self, t: &Task, nonblock: bool) -> Result<()> {
        let ready = || {
            let s = self.pipe.state.lock();
            (!s.chunks.is_empty() || s.writers == 0).then_some(())
        };
        match ready() {
            Some(()) => Ok(()),
            None if nonblock => Err(Errno::EAGAIN),
            None => wait_until(t, &[&self.pipe.readers], None, ready),
        }
    }
}

/// Cuts data into chunks.
fn chunks_of(data: &[u8]) -> Result<Vec<Chunk>> {
    data.chunks(PAGE)
        .map(|part| {
            let mut c = Chunk::new()?;
            c.fill(part.len()).copy_from_slice(part);
            Ok(c)
        })
        .collect()
}

fn pipe_to_pipe(t: &Task, from: &PipeEnd, to: &PipeEnd, len: usize, nb: bool) -> Result<usize> {
    loop {
        from.wait_data(t, nb)?;
        to.wait_room(t, PAGE, true, nb)?;
        let room = to.room().min(len);
        if room == 0 {
            continue;
        }
        match from.take(t, true, room) {
            Ok(None) => return Ok(0),
            Ok(Some(taken)) => {
                let chunks = taken.into_chunks()?;
                let n = chunks.iter().map(Chunk::len).sum();
                to.force(chunks);
                return Ok(n);
            }
            Err(Errno::EAGAIN) if !nb => {}
            Err(e) => return Err(e),
        }
    }
}

/// Where a file is read or written: at an offset of its own, or where the file stands.
struct Place {
    user: UserAddr,
    offset: Option<u64>,
}

impl Place {
    fn read(t: &Task, user: UserAddr) -> Result<Place> {
        let offset = if user.is_null() {
            None
        } else {
            Some(user::read::<u64>(t, user)?)
        };
        Ok(Place { user, offset })
    }

    /// EINVAL if the file cannot be accessed there.
    fn check(&self, f: &File) -> Result<()> {
        match self.offset {
            Some(_) if !f.ops.seekable() => Err(Errno::EINVAL),
            Some(o) if o > i64::MAX as u64 => Err(Errno::EINVAL),
            _ => Ok(()),
        }
    }

    fn moved(&mut self, n: usize) {
        self.offset = self.offset.map(|o| o.saturating_add(n as u64));
    }

    fn write_back(&self, t: &Task) -> Result<()> {
        match self.offset {
            Some(o) => user::write(t, self.user, &o),
            None => Ok(()),
        }
    }
}

fn file_to_pipe(
    t: &Task,
    from: &File,
    place: &mut Place,
    to: &PipeEnd,
    len: usize,
    nb: bool,
) -> Result<usize> {
    to.wait_room(t, PAGE, true, nb)?;
    let mut data = Vec::new();
    let max = len.min(to.room().max(PAGE));
    data.try_reserve(max).map_err(|_| Errno::ENOMEM)?;
    let mut dst = IoDst::kernel(&mut data, max);
    match place.offset {
        Some(o) => from.ops.read(t, from, &mut dst, Some(o)),
        None => from.read(t, &mut dst),
    }
    .map_err(|e| if e == Errno::EISDIR { Errno::EINVAL } else { e })?;
    place.moved(data.len());
    if !data.is_empty() {
        to.force(chunks_of(&data)?);
    }
    Ok(data.len())
}

/// Writes chunks to a file as far as it takes them; the rest stays in the vector.
fn drain(t: &Task, chunks: &mut Vec<Chunk>, to: &File, place: &mut Place) -> Result<usize> {
    let mut done = 0;
    while let Some(c) = chunks.first_mut() {
        let mut src = IoSrc::kernel(c.bytes());
        let r = match place.offset {
            Some(o) => to.ops.write(t, to, &mut src, Some(o)),
            None => to.write(t, &mut src),
        };
        match r {
            Ok(n) => {
                done += n;
                place.moved(n);
                c.consume(n);
                if c.len() > 0 {
                    return Ok(done);
                }
                chunks.remove(0);
            }
            Err(e) if done == 0 => return Err(e),
            Err(_) => return Ok(done),
        }
    }
    Ok(done)
}

fn pipe_to_file(
    t: &Task,
    from: &PipeEnd,
    to: &File,
    place: &mut Place,
    len: usize,
    nb: bool,
) -> Result<usize> {
    let mut done = 0;
    while done < len {
        let taken = match from.take(t, nb || done > 0, len - done) {
            Ok(Some(taken)) => taken,
            Ok(None) => break,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        let mut chunks = taken.into_chunks()?;
        let r = drain(t, &mut chunks, to, place);
        let stuck = !chunks.is_empty();
        from.put_back(chunks);
        match r {
            Ok(n) => done += n,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
        if stuck {
            break;
        }
    }
    Ok(done)
}

/// `splice(2)`. EBADF, EINVAL (no pipe, the same pipe, an append-only target, an object that
/// cannot), ESPIPE (an offset for a pipe), EAGAIN, EPIPE.
pub fn sys_splice(
    t: &Arc<Task>,
    fd_in: i32,
    off_in: UserAddr,
    fd_out: i32,
    off_out: UserAddr,
    len: usize,
    flags: u32,
) -> SysResult {
    if len == 0 {
        return Ok(0);
    }
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let from = t.file(fd_in)?;
    let to = t.file(fd_out)?;
    let (pipe_in, pipe_out) = (from.downcast::<PipeEnd>(), to.downcast::<PipeEnd>());
    if pipe_in.is_some() && !off_in.is_null() || pipe_out.is_some() && !off_out.is_null() {
        return Err(Errno::ESPIPE);
    }
    let mut place_out = Place::read(t, off_out)?;
    let mut place_in = Place::read(t, off_in)?;
    if !from.readable() || !to.writable() {
        return Err(Errno::EBADF);
    }
    let len = len.min(crate::uio::MAX_RW);
    let nb = flags & SPLICE_F_NONBLOCK != 0;
    match (pipe_in, pipe_out) {
        (Some(a), Some(b)) => {
            if Arc::ptr_eq(&a.pipe, &b.pipe) {
                return Err(Errno::EINVAL);
            }
            let nb = nb || from.nonblocking() || to.nonblocking();
            pipe_to_pipe(t, a, b, len, nb)
        }
        (Some(a), None) => {
            place_out.check(&to)?;
            if to.flags() & O_APPEND != 0 || !to.ops.spliceable() {
                return Err(Errno::EINVAL);
            }
            let nb = nb || from.nonblocking();
            let n = pipe_to_file(t, a, &to, &mut place_out, len, nb)?;
            place_out.write_back(t)?;
            Ok(n)
        }
        (None, Some(b)) => {
            place_in.check(&from)?;
            if !from.ops.spliceable() {
                return Err(Errno::EINVAL);
            }
            let nb = nb || to.nonblocking();
            let n = file_to_pipe(t, &from, &mut place_in, b, len, nb)?;
            place_in.write_back(t)?;
            Ok(n)
        }
        (None, None) => Err(Errno::EINVAL),
    }
}

/// `tee(2)`: copies from pipe to pipe without taking. EBADF, EINVAL, EAGAIN, EPIPE.
pub fn sys_tee(t: &Arc<Task>, fd_in: i32, fd_out: i32, len: usize, flags: u32) -> SysResult {
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let from = t.file(fd_in)?;
    let to = t.file(fd_out)?;
    if !from.readable() || !to.writable() {
        return Err(Errno::EBADF);
    }
    let (Some(a), Some(b)) = (from.downcast::<PipeEnd>(), to.downcast::<PipeEnd>()) else {
        return Err(Errno::EINVAL);
    };
    if Arc::ptr_eq(&a.pipe, &b.pipe) {
        return Err(Errno::EINVAL);
    }
    let nb = flags & SPLICE_F_NONBLOCK != 0 || from.nonblocking() || to.nonblocking();
    a.wait_data(t, nb)?;
    b.wait_room(t, PAGE, true, nb)?;
    let slots = b.room() / PAGE;
    let mut copies = Vec::new();
    let mut left = len;
    for c in a.pipe.state.lock().chunks.iter().take(slots) {
        if left == 0 {
            break;
        }
        let copy = c.copy(left)?;
        left -= copy.len();
        copies.push(copy);
    }
    b.force(copies);
    Ok(len - left)
}

/// `vmsplice(2)`: user memory into a pipe, or out of it. EBADF, EINVAL, EAGAIN, EPIPE, EFAULT.
pub fn sys_vmsplice(t: &Arc<Task>, fd: i32, iov: UserAddr, count: usize, flags: u32) -> SysResult {
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let f = t.file(fd)?;
    let nb = flags & SPLICE_F_NONBLOCK != 0;
    let pieces = read_iov(t, iov, count)?;
    let total: usize = pieces.iter().map(|v| v.len).sum();
    let pipe = f.downcast::<PipeEnd>();
    if total == 0 {
        return Ok(0);
    }
    let pipe = pipe.ok_or(Errno::EBADF)?;
    if !f.writable() {
        return match pipe.take(t, nb, total)? {
            Some(taken) => pipe.deliver(taken, &mut IoDst::iov(t, pieces)),
            None => Ok(0),
        };
    }
    pipe.wait_room(t, PAGE, true, nb)?;
    let mut src = IoSrc::iov(t, pieces);
    let mut chunks = Vec::new();
    for _ in 0..pipe.room() / PAGE {
        if src.left() == 0 {
            break;
        }
        let mut c = Chunk::new()?;
        let n = src.left().min(PAGE);
        match src.take(c.fill(n)) {
            Ok(n) => c.truncate(n),
            Err(_) if !chunks.is_empty() => break,
            Err(e) => return Err(e),
        }
        chunks.push(c);
    }
    let n = chunks.iter().map(Chunk::len).sum();
    pipe.force(chunks);
    Ok(n)
}
