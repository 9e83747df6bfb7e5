//! Counters to signal with, `eventfd(2)`.

use crate::fs::file::{O_NONBLOCK, O_RDWR};
use crate::fs::{FdFlags, File, FileOps};
use crate::uio::{IoDst, IoSrc};
use crate::wait::{
    Events, POLLERR, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, PollTable, WaitQueue, wait_until,
};
use crate::{Errno, Result, SysResult, Task};
use alloc::string::String;
use alloc::sync::Arc;
use bastide_base::sync::Mutex;
use core::any::Any;
use core::fmt::Write;
use core::sync::atomic::{AtomicU32, Ordering};

const EFD_SEMAPHORE: u32 = 1;
const EFD_CLOEXEC: u32 = 0o2000000;

/// The object behind the descriptor.
pub struct EventFd {
    count: Mutex<u64>,
    semaphore: bool,
    id: u32,
    readers: WaitQueue,
    writers: WaitQueue,
}

impl EventFd {
    /// A counter.
    pub fn new(count: u64, semaphore: bool) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        EventFd {
            count: Mutex::new(count),
            semaphore,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            readers: WaitQueue::new(),
            writers: WaitQueue::new(),
        }
    }

    /// Adds from inside the kernel; stops at the overflow value, which polls as POLLERR.
    pub fn signal(&self, n: u64) {
        let mut c = self.count.lock();
        *c = c.saturating_add(n);
        drop(c);
        self.readers.wake_all(POLLIN | POLLRDNORM);
    }

    fn take(&self) -> Option<u64> {
        let mut c = self.count.lock();
        let n = match *c {
            0 => return None,
            _ if self.semaphore => 1,
            n => n,
        };
        *c -= n;
        Some(n)
    }

    fn add(&self, n: u64) -> Option<()> {
        let mut c = self.count.lock();
        if u64::MAX - *c <= n {
            return None;
        }
        *c += n;
        Some(())
    }
}

impl FileOps for EventFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// The counter (or 1, `EFD_SEMAPHORE`), blocking while it is 0. EINVAL for less than 8 bytes.
    fn read(&self, t: &Task, f: &File, dst: &mut IoDst<'_>, _at: Option<u64>) -> Result<usize> {
        if dst.left() < 8 {
            return Err(Errno::EINVAL);
        }
        let n = match self.take() {
            Some(n) => n,
            None if f.nonblocking() => return Err(Errno::EAGAIN),
            None => wait_until(t, &[&self.readers], None, || self.take())?,
        };
        self.writers.wake_all(POLLOUT | POLLWRNORM);
        match dst.put(&n.to_ne_bytes())? {
            8 => Ok(8),
            _ => Err(Errno::EFAULT),
        }
    }

    /// Adds, blocking while the sum would not fit. EINVAL for less than 8 bytes or `u64::MAX`.
    fn write(&self, t: &Task, f: &File, src: &mut IoSrc<'_>, _at: Option<u64>) -> Result<usize> {
        if src.left() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut b = [0; 8];
        if src.take(&mut b)? < 8 {
            return Err(Errno::EFAULT);
        }
        let n = u64::from_ne_bytes(b);
        if n == u64::MAX {
            return Err(Errno::EINVAL);
        }
        match self.add(n) {
            Some(()) => {}
            None if f.nonblocking() => return Err(Errno::EAGAIN),
            None => wait_until(t, &[&self.writers], None, || self.add(n))?,
        }
        self.readers.wake_all(POLLIN | POLLRDNORM);
        Ok(8)
    }

    fn poll(&self, _f: &File, table: Option<&mut PollTable>) -> Events {
        if let Some(table) = table {
            table.listen(&self.readers);
            table.listen(&self.writers);
        }
        let mut ev = 0;
        let c = *self.count.lock();
        if c > 0 {
            ev |= POLLIN;
        }
        if c == u64::MAX {
            ev |= POLLERR;
        }
        if c < u64::MAX - 1 {
            ev |= POLLOUT;
        }
        ev
    }

    fn describe(&self) -> String {
        String::from("anon_inode:[eventfd]")
    }

    fn fdinfo(&self, out: &mut String) {
        let _ = writeln!(out, "eventfd-count: {:16x}", *self.count.lock());
        let _ = writeln!(out, "eventfd-id: {}", self.id);
        let _ = writeln!(out, "eventfd-semaphore: {}", u32::from(self.semaphore));
    }
}

/// `eventfd2(2)`. EINVAL for unknown flags, EMFILE.
pub fn sys_eventfd2(t: &Arc<Task>, count: u32, flags: u32) -> SysResult {
    if flags & !(EFD_SEMAPHORE | EFD_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let ops = EventFd::new(u64::from(count), flags & EFD_SEMAPHORE != 0);
    let file = File::new(Arc::new(ops), None, O_RDWR | flags & O_NONBLOCK);
    let fd_flags = if flags & EFD_CLOEXEC != 0 {
        FdFlags::CLOEXEC
    } else {
        FdFlags::empty()
    };
    Ok(t.install(file, fd_flags)? as usize)
}

/// `eventfd(2)`.
pub fn sys_eventfd(t: &Arc<Task>, count: u32) -> SysResult {
    sys_eventfd2(t, count, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::task;
    use alloc::vec::Vec;

    #[test]
    fn counts() {
        let t = task();
        let get = |f: &File| {
            let mut v = Vec::new();
            f.read(&t, &mut IoDst::kernel(&mut v, 8)).map(|_| v[0])
        };
        let put = |f: &File, n: u64| f.write(&t, &mut IoSrc::kernel(&n.to_ne_bytes()));
        let f = File::new(Arc::new(EventFd::new(0, false)), None, O_RDWR | O_NONBLOCK);
        assert_eq!(get(&f), Err(Errno::EAGAIN));
        assert_eq!(f.poll(None), POLLOUT);
        assert_eq!((put(&f, 2), put(&f, 3)), (Ok(8), Ok(8)));
        assert_eq!(get(&f), Ok(5));
        assert_eq!(put(&f, u64::MAX - 1), Ok(8));
        assert_eq!(f.poll(None), POLLIN);
        assert_eq!(put(&f, 1), Err(Errno::EAGAIN));
        assert_eq!(put(&f, u64::MAX), Err(Errno::EINVAL));
        let s = File::new(Arc::new(EventFd::new(2, true)), None, O_RDWR | O_NONBLOCK);
        assert_eq!(
            (get(&s), get(&s), get(&s)),
            (Ok(1), Ok(1), Err(Errno::EAGAIN))
        );
    }
}
