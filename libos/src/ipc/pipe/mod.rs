//! Pipes and FIFOs, `pipe(7)`.
//!
//! [`Pipe`] is the shared object: a queue of page-sized chunks with counts of readers and
//! writers. [`PipeEnd`] is what a descriptor refers to. User memory is copied to and from chunks
//! that are out of the queue, so the pipe's lock is never held over a fault.

mod buffer;
mod end;
pub mod splice;
#[cfg(test)]
mod tests;

pub use end::PipeEnd;

use crate::fs::file::{O_ACCMODE, O_NONBLOCK, O_RDWR, O_WRONLY};
use crate::fs::{FdFlags, File, FileOps};
use crate::process::creds::CAP_SYS_RESOURCE;
use crate::user::{self, UserAddr};
use crate::wait::{self, POLLALL, WaitQueue};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use bastide_base::sync::Mutex;
use buffer::{PAGE, State};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Writes of at most so many bytes are not mixed with others.
pub const PIPE_BUF: usize = PAGE;
/// Slots of a new pipe: 64 KiB.
const DEFAULT_SLOTS: usize = 16;
const O_EXCL: u32 = 0o200;
const O_DIRECT: u32 = 0o40000;
const O_CLOEXEC: u32 = 0o2000000;

/// `/proc/sys/fs/pipe-max-size`.
pub static MAX_SIZE: AtomicUsize = AtomicUsize::new(1 << 20);

/// A pipe or an open FIFO.
pub struct Pipe {
    state: Mutex<State>,
    /// Those who wait for data, and for writers to come.
    readers: WaitQueue,
    /// Those who wait for room, and for readers to come.
    writers: WaitQueue,
    /// Made by `pipe(2)`, not a FIFO.
    anonymous: bool,
    ino: u64,
    /// Owner, and when it was made.
    owner: (u32, u32),
    made: i64,
}

/// The part of a FIFO's inode that is shared by all who open it.
pub type Fifo = Pipe;

impl Pipe {
    fn make(anonymous: bool, owner: (u32, u32)) -> Arc<Pipe> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Pipe {
            state: Mutex::new(State::new(DEFAULT_SLOTS)),
            readers: WaitQueue::new(),
            writers: WaitQueue::new(),
            anonymous,
            ino: NEXT.fetch_add(1, Ordering::Relaxed),
            owner,
            made: crate::time::realtime() as i64,
        })
    }

    /// A FIFO that nobody has open.
    pub fn fifo() -> Arc<Fifo> {
        Self::make(false, (0, 0))
    }

    /// Capacity in bytes, `F_GETPIPE_SZ`.
    pub fn size(&self) -> usize {
        self.state.lock().slots * PAGE
    }

    /// Changes the capacity, `F_SETPIPE_SZ`; returns the new one. EINVAL for absurd sizes, EPERM
    /// above the system's limit without CAP_SYS_RESOURCE, EBUSY if the contents do not fit.
    pub fn set_size(&self, t: &Task, size: usize) -> Result<usize> {
        if size > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let slots = size.max(PAGE).next_power_of_two() / PAGE;
        let mut s = self.state.lock();
        let limit = MAX_SIZE.load(Ordering::Relaxed);
        if slots > s.slots && slots * PAGE > limit && !t.creds().capable(CAP_SYS_RESOURCE) {
            return Err(Errno::EPERM);
        }
        if slots < s.chunks.len() {
            return Err(Errno::EBUSY);
        }
        let grew = slots > s.slots;
        s.slots = slots;
        drop(s);
        if grew {
            self.writers.wake_all(wait::POLLOUT | wait::POLLWRNORM);
        }
        Ok(slots * PAGE)
    }

    /// Opens an end, `fifo(7)`: waits for the other side unless told not to.
    fn open(self: &Arc<Self>, t: &Task, flags: u32) -> Result<Arc<PipeEnd>> {
        let nonblock = flags & O_NONBLOCK != 0;
        let (read, write) = match flags & O_ACCMODE {
            0 => (true, false),
            O_WRONLY => (false, true),
            O_RDWR => (true, true),
            _ => return Err(Errno::EINVAL),
        };
        let mut s = self.state.lock();
        if write && !read && !self.anonymous && nonblock && s.readers == 0 {
            return Err(Errno::ENXIO);
        }
        if read {
            s.readers += 1;
            s.reads_opened += 1;
        }
        if write {
            s.writers += 1;
            s.writes_opened += 1;
        }
        let waits = !self.anonymous
            && (read != write)
            && !nonblock
            && (if read { s.writers } else { s.readers }) == 0;
        // A reader that opens without waiting sees no hang-up until a writer has come and gone.
        let quiet = read && !write && !self.anonymous && nonblock && s.writers == 0;
        let before = (s.reads_opened, s.writes_opened);
        drop(s);
        let end = Arc::new(PipeEnd::new(
            self.clone(),
            read,
            write,
            quiet.then_some(before.1),
        ));
        self.readers.wake_all(0);
        self.writers.wake_all(0);
        if waits {
            let queue = if read { &self.readers } else { &self.writers };
            wait::wait_until(t, &[queue], None, || {
                let s = self.state.lock();
                let came = if read {
                    s.writes_opened != before.1
                } else {
                    s.reads_opened != before.0
                };
                came.then_some(())
            })?;
        }
        Ok(end)
    }

    /// An end goes.
    fn close(&self, read: bool, write: bool) {
        let mut s = self.state.lock();
        s.readers -= usize::from(read);
        s.writers -= usize::from(write);
        let gone = s.readers == 0 && s.writers == 0;
        let contents = gone.then(|| core::mem::take(&mut s.chunks));
        let half = (s.readers == 0) != (s.writers == 0);
        drop(s);
        if let Some(chunks) = contents {
            buffer::recycle(chunks);
        }
        if half {
            self.readers.wake_all(POLLALL);
            self.writers.wake_all(POLLALL);
        }
    }
}

/// Opens a FIFO; the inode keeps the [`Fifo`]. ENXIO for a non-blocking writer without a reader,
/// ERESTARTSYS if a signal ended the wait for the other side.
pub fn open_fifo(t: &Task, fifo: &Arc<Fifo>, flags: u32) -> Result<Arc<dyn FileOps>> {
    let end = fifo.open(t, flags)?;
    Ok(end)
}

/// A new pipe's files: (read end, write end).
pub fn new_pair(t: &Task, flags: u32) -> (Arc<File>, Arc<File>) {
    let creds = t.creds();
    let pipe = Pipe::make(true, (creds.fsuid, creds.fsgid));
    {
        let mut s = pipe.state.lock();
        s.readers = 1;
        s.writers = 1;
        s.reads_opened = 1;
        s.writes_opened = 1;
    }
    let reader = PipeEnd::new(pipe.clone(), true, false, None);
    let writer = PipeEnd::new(pipe, false, true, None);
    (
        File::new(Arc::new(reader), None, flags & O_NONBLOCK),
        File::new(
            Arc::new(writer),
            None,
            O_WRONLY | flags & (O_NONBLOCK | O_DIRECT),
        ),
    )
}

/// `pipe(2)`. EFAULT, EMFILE.
pub fn sys_pipe(t: &Arc<Task>, fds: UserAddr) -> SysResult {
    sys_pipe2(t, fds, 0)
}

/// `pipe2(2)`. EINVAL for unknown flags, ENOPKG for O_NOTIFICATION_PIPE, EFAULT, EMFILE.
pub fn sys_pipe2(t: &Arc<Task>, fds: UserAddr, flags: u32) -> SysResult {
    if flags & !(O_CLOEXEC | O_NONBLOCK | O_DIRECT | O_EXCL) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & O_EXCL != 0 {
        return Err(Errno::ENOPKG);
    }
    let fd_flags = if flags & O_CLOEXEC != 0 {
        FdFlags::CLOEXEC
    } else {
        FdFlags::empty()
    };
    let (reader, writer) = new_pair(t, flags);
    let a = t.install(reader, fd_flags)?;
    let b = match t.install(writer, fd_flags) {
        Ok(b) => b,
        Err(e) => {
            let _ = t.files().remove(a);
            return Err(e);
        }
    };
    if let Err(e) = user::write(t, fds, &[a, b]) {
        let _ = t.files().remove(a);
        let _ = t.files().remove(b);
        return Err(e);
    }
    Ok(0)
}
