//! Waiting for events: futexes, poll and select, epoll, and the objects that only signal.

pub mod futex;

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
