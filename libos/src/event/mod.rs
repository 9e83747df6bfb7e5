//! Waiting for events: futexes, poll and select, epoll, and the objects that only signal.

pub mod aio;
pub mod epoll;
pub mod eventfd;
pub mod futex;
pub mod inotify;
pub mod poll;
pub mod select;

use crate::abi::time::Timespec;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, Task, time};

/// Reads a `timespec` as nanoseconds, saturating; EFAULT, EINVAL if it is negative or malformed.
pub(crate) fn read_timespec(t: &Task, addr: UserAddr) -> Result<u64> {
    let ts: Timespec = user::read(t, addr)?;
    ts.nanos().ok_or(Errno::EINVAL)
}

/// The monotonic time of an absolute wall-clock time.
pub(crate) fn from_realtime(wall: u64) -> u64 {
    time::monotonic().saturating_add(wall.saturating_sub(time::realtime()))
}

/// When a relative timeout ends; 0 for one that is over at once.
pub(crate) fn deadline_after(ns: u64) -> u64 {
    match ns {
        0 => 0,
        _ => time::monotonic().saturating_add(ns),
    }
}

/// What is left until a deadline.
fn timeout_left(deadline: Option<u64>) -> Option<u64> {
    deadline.map(|d| match d {
        0 => 0,
        _ => d.saturating_sub(time::monotonic()),
    })
}
