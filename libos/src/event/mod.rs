//! Waiting for events: futexes, poll and select, epoll, and the objects that only signal.

pub mod epoll;
pub mod eventfd;
pub mod futex;
pub mod poll;
pub mod select;

use crate::user::{self, UserAddr};
use crate::{Errno, Result, Task, time};

/// Reads a `timespec` as nanoseconds, saturating; EFAULT, EINVAL if it is negative or malformed.
fn read_timespec(t: &Task, addr: UserAddr) -> Result<u64> {
    let [sec, nsec] = user::read::<[i64; 2]>(t, addr)?;
    let (Ok(sec), Ok(nsec @ 0..1_000_000_000)) = (u64::try_from(sec), u64::try_from(nsec)) else {
        return Err(Errno::EINVAL);
    };
    Ok(sec.saturating_mul(1_000_000_000).saturating_add(nsec))
}

/// The monotonic time of an absolute wall-clock time.
fn from_realtime(wall: u64) -> u64 {
    time::monotonic().saturating_add(wall.saturating_sub(time::realtime()))
}

/// When a relative timeout ends; 0 for one that is over at once.
fn deadline_after(ns: u64) -> u64 {
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
