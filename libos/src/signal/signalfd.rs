//! Signals as data to read, `signalfd(2)`.

use super::deliver::take_wanted;
use super::{SigSet, state};
use crate::abi::signal::*;
use crate::fs::{FdFlags, File, FileOps};
use crate::process::{Process, Task};
use crate::uio::IoDst;
use crate::user::{self, UserAddr};
use crate::wait::{Events, POLLIN, PollTable, wait_until};
use crate::{Errno, Result, SysResult};
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use bastide_base::sync::Mutex;
use core::any::Any;
use zerocopy::IntoBytes;

const O_RDWR: u32 = 2;

/// The object behind the descriptor.
pub struct SignalFd {
    mask: Mutex<SigSet>,
    /// Who made it: a poll on nobody's behalf looks at its signals. Else they are the poller's, as
    /// the reader's.
    owner: Weak<Process>,
}

impl SignalFd {
    fn wanted(&self) -> SigSet {
        *self.mask.lock()
    }

    fn ready(&self, pending: SigSet) -> Events {
        if (pending & self.wanted()).is_empty() {
            0
        } else {
            POLLIN
        }
    }
}

impl FileOps for SignalFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// As many `signalfd_siginfo` as fit and are there; blocks for the first.
    fn read(&self, t: &Task, f: &File, dst: &mut IoDst<'_>, _offset: Option<u64>) -> Result<usize> {
        if dst.left() < size_of::<SignalfdSiginfo>() {
            return Err(Errno::EINVAL);
        }
        let mut first = match take_wanted(t, self.wanted()) {
            Some(info) => Some(info),
            None if f.nonblocking() => return Err(Errno::EAGAIN),
            None => {
                let arrivals = &t.process.signals.arrivals;
                let info = wait_until(t, &[arrivals], None, || take_wanted(t, self.wanted()))?;
                Some(info)
            }
        };
        while dst.left() >= size_of::<SignalfdSiginfo>() {
            let Some(info) = first.take().or_else(|| take_wanted(t, self.wanted())) else {
                break;
            };
            dst.put(info.signalfd().as_bytes())?;
        }
        super::recalc(t);
        Ok(dst.done())
    }

    fn poll(&self, _f: &File, table: Option<&mut PollTable>) -> Events {
        let Some(p) = self.owner.upgrade() else {
            return 0;
        };
        if let Some(table) = table {
            table.listen(&p.signals.arrivals);
        }
        let own = state::tasks(&p)
            .iter()
            .fold(p.signals.pending(), |set, t| set | t.signals.pending());
        self.ready(own)
    }

    fn poll_for(&self, t: &Task, _f: &File, table: Option<&mut PollTable>) -> Events {
        if let Some(table) = table {
            table.listen(&t.process.signals.arrivals);
        }
        self.ready(t.process.signals.pending() | t.signals.pending())
    }

    fn describe(&self) -> String {
        String::from("anon_inode:[signalfd]")
    }

    fn fdinfo(&self, out: &mut String) {
        use core::fmt::Write;
        let _ = writeln!(out, "sigmask:\t{:016x}", self.wanted().0);
    }
}

/// `signalfd4(2)`.
pub fn sys_signalfd4(t: &Arc<Task>, fd: i32, mask: UserAddr, size: usize, flags: u32) -> SysResult {
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    let mask = SigSet::blockable(user::read(t, mask)?);
    if flags & !(SFD_CLOEXEC | SFD_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    if fd != -1 {
        let file = t.file(fd)?;
        let object: &SignalFd = file.downcast().ok_or(Errno::EINVAL)?;
        *object.mask.lock() = mask;
        // Pollers look again.
        t.process.signals.arrivals.wake_all(POLLIN);
        return Ok(fd as usize);
    }
    let object = Arc::new(SignalFd {
        mask: Mutex::new(mask),
        owner: Arc::downgrade(&t.process),
    });
    let cloexec = if flags & SFD_CLOEXEC != 0 {
        FdFlags::CLOEXEC
    } else {
        FdFlags::empty()
    };
    let file = File::new(object, None, O_RDWR | flags & SFD_NONBLOCK);
    t.install(file, cloexec).map(|fd| fd as usize)
}

/// `signalfd(2)` as it was before flags.
pub fn sys_signalfd(t: &Arc<Task>, fd: i32, mask: UserAddr, size: usize) -> SysResult {
    sys_signalfd4(t, fd, mask, size, 0)
}
