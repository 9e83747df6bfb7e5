//! Sleeping for a while or until a time.

use super::clock::{Clock, clock_changes};
use super::{monotonic, realtime};
use crate::abi::time::*;
use crate::process::Task;
use crate::user::{self, UserAddr};
use crate::wait::wait_until;
use crate::{Errno, Result, SysResult};
use alloc::sync::Arc;

/// Least time between two looks at a CPU clock.
const CPU_STEP: u64 = 1_000_000;

/// Sleeps until a monotonic time; ERESTARTSYS.
fn until_monotonic(t: &Task, deadline: u64) -> Result<()> {
    match wait_until(t, &[], Some(deadline), || None::<()>) {
        Err(Errno::ETIMEDOUT) | Ok(()) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Sleeps until the wall clock shows a time, however it is set meanwhile; ERESTARTSYS.
fn until_realtime(t: &Task, deadline: u64) -> Result<()> {
    loop {
        let now = realtime();
        let Some(left) = deadline.checked_sub(now).filter(|&n| n > 0) else {
            return Ok(());
        };
        let offset = super::realtime_offset();
        let wake = Some(monotonic().saturating_add(left));
        let set = || (super::realtime_offset() != offset).then_some(());
        match wait_until(t, &[clock_changes()], wake, set) {
            Err(Errno::ETIMEDOUT) | Ok(()) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Sleeps until a CPU clock reaches a time, looking now and then; ERESTARTSYS.
fn until_cpu(t: &Task, clock: &Clock, deadline: u64) -> Result<()> {
    loop {
        let Some(left) = deadline.checked_sub(clock.now(t)).filter(|&n| n > 0) else {
            return Ok(());
        };
        let step = (left / 8).max(CPU_STEP);
        until_monotonic(t, monotonic().saturating_add(step))?;
    }
}

fn until(t: &Task, clock: &Clock, deadline: u64) -> Result<()> {
    match clock {
        Clock::Monotonic => until_monotonic(t, deadline),
        Clock::Realtime | Clock::Tai => until_realtime(t, deadline),
        Clock::Boottime => {
            let left = deadline.saturating_sub(clock.now(t));
            until_monotonic(t, monotonic().saturating_add(left))
        }
        Clock::Process { .. } | Clock::Thread { .. } => until_cpu(t, clock, deadline),
    }
}

/// A relative sleep that ends at `deadline` of its clock. When a signal interrupts it, `remain`
/// gets what was left, and the rest is slept if no handler runs.
fn relative(t: &Task, clock: Clock, deadline: u64, remain: UserAddr) -> SysResult {
    if until(t, &clock, deadline).is_ok() {
        return Ok(0);
    }
    let left = deadline.saturating_sub(clock.now(t));
    if left == 0 {
        return Ok(0);
    }
    user::write_opt(t, remain, &Timespec::from_nanos(left))?;
    Err(t.restart_with(move |t| relative(t, clock, deadline, remain)))
}

/// `nanosleep(2)`.
pub fn sys_nanosleep(t: &Arc<Task>, request: UserAddr, remain: UserAddr) -> SysResult {
    let ts: Timespec = user::read(t, request)?;
    let ns = ts.nanos().ok_or(Errno::EINVAL)?;
    let deadline = monotonic().saturating_add(ns);
    relative(t, Clock::Monotonic, deadline, remain)
}

/// `clock_nanosleep(2)`. EOPNOTSUPP for clocks that nobody can sleep by; a thread cannot wait for
/// its own CPU time.
pub fn sys_clock_nanosleep(
    t: &Arc<Task>,
    id: i32,
    flags: i32,
    request: UserAddr,
    remain: UserAddr,
) -> SysResult {
    let clock = Clock::of(t, id)?;
    match id {
        CLOCK_THREAD_CPUTIME_ID
        | CLOCK_MONOTONIC_RAW
        | CLOCK_REALTIME_COARSE
        | CLOCK_MONOTONIC_COARSE => return Err(Errno::EOPNOTSUPP),
        _ => {}
    }
    let ts: Timespec = user::read(t, request)?;
    let ns = ts.nanos().ok_or(Errno::EINVAL)?;
    if matches!(&clock, Clock::Thread { task, .. } if task.tid == t.tid) {
        return Err(Errno::EINVAL);
    }
    if flags & TIMER_ABSTIME != 0 {
        return match until(t, &clock, ns) {
            Ok(()) => Ok(0),
            Err(_) => Err(Errno::ERESTARTNOHAND),
        };
    }
    // Setting the wall clock does not move the end of a relative sleep.
    let clock = match clock {
        Clock::Realtime | Clock::Tai => Clock::Monotonic,
        other => other,
    };
    let deadline = clock.now(t).saturating_add(ns);
    relative(t, clock, deadline, remain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{addr, task};

    #[test]
    fn sleeps_last_as_long_as_asked() {
        let t = task();
        let start = monotonic();
        let ts = Timespec {
            sec: 0,
            nsec: 5_000_000,
        };
        assert_eq!(sys_nanosleep(&t, addr(&ts), UserAddr(0)), Ok(0));
        assert!(monotonic() - start >= 5_000_000);
        let past = Timespec { sec: 1, nsec: 0 };
        let abs = sys_clock_nanosleep(&t, CLOCK_REALTIME, 1, addr(&past), UserAddr(0));
        assert_eq!(abs, Ok(0));
        let bad = Timespec { sec: 0, nsec: -1 };
        assert_eq!(
            sys_nanosleep(&t, addr(&bad), UserAddr(0)),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            sys_clock_nanosleep(&t, CLOCK_THREAD_CPUTIME_ID, 0, addr(&ts), UserAddr(0)),
            Err(Errno::EOPNOTSUPP)
        );
    }
}
