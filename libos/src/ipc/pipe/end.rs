//! The ends of a pipe as open files.

use super::buffer::{Chunk, PAGE, Piece, SMALL, Taken, recycle};
use super::{O_DIRECT, Pipe};
use crate::fs::{File, FileOps, Stat};
use crate::signal::{self, Fields, SigInfo};
use crate::uio::{IoDst, IoSrc};
use crate::user::{self, UserAddr};
use crate::wait::{
    Events, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, PollTable, wait_until,
};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use core::any::Any;

const FIONREAD: u32 = 0x541b;
const SIGPIPE: i32 = 13;

/// An open end (or both, for a FIFO opened `O_RDWR`).
pub struct PipeEnd {
    pub(super) pipe: Arc<Pipe>,
    read: bool,
    write: bool,
    /// Writers opened so far when this reader came without waiting: no hang-up before the next.
    quiet: Option<u64>,
}

impl PipeEnd {
    /// An end that is already counted.
    pub(super) fn new(pipe: Arc<Pipe>, read: bool, write: bool, quiet: Option<u64>) -> Self {
        PipeEnd {
            pipe,
            read,
            write,
            quiet,
        }
    }

    /// Capacity, `F_GETPIPE_SZ`.
    pub fn size(&self) -> usize {
        self.pipe.size()
    }

    /// Changes the capacity, `F_SETPIPE_SZ`; as [`Pipe::set_size`].
    pub fn set_size(&self, t: &Task, size: usize) -> Result<usize> {
        self.pipe.set_size(t, size)
    }

    /// Sends SIGPIPE and says so.
    pub(super) fn broken(t: &Task) -> Errno {
        let info = SigInfo {
            signo: SIGPIPE,
            errno: 0,
            code: 0,
            fields: Fields::Sender {
                pid: t.process.pid,
                uid: t.creds().uid,
                value: 0,
            },
        };
        signal::send_task(t, info);
        Errno::EPIPE
    }

    /// Waits for something to read. `None` at the end of file.
    pub(super) fn take(&self, t: &Task, nonblock: bool, want: usize) -> Result<Option<Taken>> {
        let attempt = || {
            let mut s = self.pipe.state.lock();
            let full = s.full();
            match s.take(want) {
                Some(taken) => {
                    let freed = full && !s.full();
                    drop(s);
                    if freed {
                        self.pipe.writers.wake_all(POLLOUT | POLLWRNORM);
                    }
                    Some(Some(taken))
                }
                None if s.writers == 0 => Some(None),
                None => None,
            }
        };
        match attempt() {
            Some(v) => Ok(v),
            None if nonblock => Err(Errno::EAGAIN),
            None => wait_until(t, &[&self.pipe.readers], None, attempt),
        }
    }

    /// Delivers what was taken; what cannot be delivered goes back.
    pub(super) fn deliver(&self, taken: Taken, dst: &mut IoDst<'_>) -> Result<usize> {
        let mut done = 0;
        match taken {
            Taken::Small(buf, n) => match dst.put(&buf[..n]) {
                Ok(k) if k == n => Ok(n),
                r => {
                    let k = r.as_ref().map_or(0, |&k| k);
                    let mut c = Chunk::new()?;
                    c.fill(n - k).copy_from_slice(&buf[k..n]);
                    self.pipe.state.lock().put_back(alloc::vec![c]);
                    r
                }
            },
            Taken::Chunks(mut chunks) => {
                for i in 0..chunks.len() {
                    let n = chunks[i].len();
                    let r = dst.put(chunks[i].bytes());
                    let k = r.as_ref().map_or(0, |&k| k);
                    done += k;
                    if k < n {
                        chunks[i].consume(k);
                        let rest = chunks.split_off(i);
                        self.pipe.state.lock().put_back(rest);
                        recycle(chunks);
                        return if done > 0 { Ok(done) } else { r };
                    }
                }
                recycle(chunks);
                Ok(done)
            }
        }
    }

    /// Copies the next piece out of user memory.
    fn piece(src: &mut IoSrc<'_>, n: usize) -> Result<Piece> {
        if n <= SMALL {
            let mut buf = [0; SMALL];
            let got = src.take(&mut buf[..n])?;
            Ok(Piece::Small(buf, got))
        } else {
            let mut c = Chunk::new()?;
            let got = src.take(c.fill(n))?;
            c.truncate(got);
            Ok(Piece::Page(c))
        }
    }

    /// Waits for room; returns how many of `left` bytes go in next. EPIPE (with the signal),
    /// EAGAIN, ERESTARTSYS.
    pub(super) fn wait_room(&self, t: &Task, left: usize, packet: bool, nb: bool) -> Result<usize> {
        let attempt = || {
            let s = self.pipe.state.lock();
            if s.readers == 0 {
                return Some(Err(Errno::EPIPE));
            }
            match s.admits(left, packet) {
                0 => None,
                n => Some(Ok(n)),
            }
        };
        let r = match attempt() {
            Some(r) => r,
            None if nb => Err(Errno::EAGAIN),
            None => wait_until(t, &[&self.pipe.writers], None, attempt)?,
        };
        r.map_err(|e| {
            if e == Errno::EPIPE {
                Self::broken(t)
            } else {
                e
            }
        })
    }

    /// Puts a piece in, waiting for room as need be.
    pub(super) fn push(
        &self,
        t: &Task,
        mut piece: Piece,
        packet: bool,
        nonblock: bool,
    ) -> Result<()> {
        loop {
            let mut s = self.pipe.state.lock();
            if s.readers == 0 {
                drop(s);
                return Err(Self::broken(t));
            }
            match s.append(piece, packet)? {
                None => return Ok(()),
                Some(back) => piece = back,
            }
            drop(s);
            self.told_readers();
            self.wait_room(t, piece.bytes().len(), packet, nonblock)?;
        }
    }

    /// Something may be read now.
    pub(super) fn told_readers(&self) {
        self.pipe.readers.wake_all(POLLIN | POLLRDNORM);
    }

    fn write_all(&self, t: &Task, f: &File, src: &mut IoSrc<'_>, done: &mut usize) -> Result<()> {
        let packet = f.flags() & O_DIRECT != 0;
        let nonblock = f.nonblocking();
        while src.left() > 0 {
            let n = match self.wait_room(t, src.left(), packet, true) {
                Err(Errno::EAGAIN) if !nonblock => {
                    if *done > 0 {
                        self.told_readers();
                    }
                    self.wait_room(t, src.left(), packet, false)?
                }
                r => r?,
            };
            let piece = Self::piece(src, n)?;
            let got = piece.bytes().len();
            self.push(t, piece, packet, nonblock)?;
            *done += got;
            if got < n {
                return Err(Errno::EFAULT);
            }
        }
        Ok(())
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.pipe.close(self.read, self.write);
    }
}

impl FileOps for PipeEnd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, t: &Task, f: &File, dst: &mut IoDst<'_>, _at: Option<u64>) -> Result<usize> {
        if dst.left() == 0 {
            return Ok(0);
        }
        match self.take(t, f.nonblocking(), dst.left())? {
            Some(taken) => self.deliver(taken, dst),
            None => Ok(0),
        }
    }

    fn write(&self, t: &Task, f: &File, src: &mut IoSrc<'_>, _at: Option<u64>) -> Result<usize> {
        let mut done = 0;
        let r = self.write_all(t, f, src, &mut done);
        if done == 0 {
            return r.map(|()| 0);
        }
        self.told_readers();
        Ok(done)
    }

    fn poll(&self, _f: &File, table: Option<&mut PollTable>) -> Events {
        if let Some(table) = table {
            if self.read {
                table.listen(&self.pipe.readers);
            }
            if self.write {
                table.listen(&self.pipe.writers);
            }
        }
        let s = self.pipe.state.lock();
        let mut ev = 0;
        if self.read {
            if !s.chunks.is_empty() {
                ev |= POLLIN | POLLRDNORM;
            }
            if s.writers == 0 && self.quiet != Some(s.writes_opened) {
                ev |= POLLHUP;
            }
        }
        if self.write {
            if !s.full() {
                ev |= POLLOUT | POLLWRNORM;
            }
            if s.readers == 0 {
                ev |= POLLERR;
            }
        }
        ev
    }

    fn ioctl(&self, t: &Task, _f: &File, request: u32, arg: usize) -> SysResult {
        match request {
            FIONREAD => {
                let n = self.pipe.state.lock().bytes();
                user::write(t, UserAddr(arg), &i32::try_from(n).unwrap_or(i32::MAX))?;
                Ok(0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    fn describe(&self) -> alloc::string::String {
        alloc::format!("pipe:[{}]", self.pipe.ino)
    }

    fn stat(&self) -> Result<Stat> {
        let p = &self.pipe;
        Ok(Stat {
            dev: 14,
            ino: p.ino,
            mode: 0o010600,
            nlink: 1,
            uid: p.owner.0,
            gid: p.owner.1,
            blksize: PAGE as u32,
            atime: p.made,
            mtime: p.made,
            ctime: p.made,
            btime: p.made,
            ..Stat::default()
        })
    }

    fn reopen(&self, t: &Task, flags: u32) -> Result<Arc<dyn FileOps>> {
        let end = self.pipe.open(t, flags)?;
        Ok(end)
    }
}
