//! Reading and setting clocks.

use super::{cpu, monotonic, queue, realtime};
use crate::abi::time::*;
use crate::pal;
use crate::process::creds::CAP_SYS_TIME;
use crate::process::{self, Process, Task};
use crate::user::{self, UserAddr};
use crate::wait::{POLLALL, WaitQueue};
use crate::{Errno, Result, SysResult};
use alloc::sync::Arc;
use bastide_base::sync::{Mutex, Once};
use bastide_pal::Clock as Host;
use core::sync::atomic::{AtomicI64, Ordering};

/// What coarse clocks resolve, as with 250 ticks a second.
const COARSE: u64 = 4_000_000;
/// Latest time that can be set: so that 30 years of uptime still fit (`clock_settime(2)`).
const LATEST: i64 = (i64::MAX / SECOND as i64) - 30 * 365 * 24 * 3600;

/// How far the enclave's wall clock was set away from the host's. The host's cannot be set.
static OFFSET: AtomicI64 = AtomicI64::new(0);
static TIMEZONE: Mutex<Timezone> = Mutex::new(Timezone {
    minuteswest: 0,
    dsttime: 0,
});

/// Nanoseconds to add to the host's wall clock.
pub fn realtime_offset() -> i64 {
    OFFSET.load(Ordering::Relaxed)
}

/// Told when the wall clock is set.
pub fn clock_changes() -> &'static WaitQueue {
    static QUEUE: Once<WaitQueue> = Once::new();
    QUEUE.get_or_init(WaitQueue::new)
}

/// A clock that a number names.
#[derive(Clone)]
pub enum Clock {
    Realtime,
    Monotonic,
    Boottime,
    /// International atomic time; without a known difference it is wall time.
    Tai,
    /// CPU time of a process; `user` counts only that.
    Process {
        process: Arc<Process>,
        user: bool,
    },
    Thread {
        task: Arc<Task>,
        user: bool,
    },
}

impl Clock {
    /// The clock of an id; EINVAL. Coarse, raw and alarm clocks read as the plain ones.
    pub fn of(t: &Arc<Task>, id: i32) -> Result<Clock> {
        Ok(match id {
            CLOCK_REALTIME | CLOCK_REALTIME_COARSE | CLOCK_REALTIME_ALARM => Clock::Realtime,
            CLOCK_MONOTONIC | CLOCK_MONOTONIC_RAW | CLOCK_MONOTONIC_COARSE => Clock::Monotonic,
            CLOCK_BOOTTIME | CLOCK_BOOTTIME_ALARM => Clock::Boottime,
            CLOCK_TAI => Clock::Tai,
            CLOCK_PROCESS_CPUTIME_ID => Clock::Process {
                process: t.process.clone(),
                user: false,
            },
            CLOCK_THREAD_CPUTIME_ID => Clock::Thread {
                task: t.clone(),
                user: false,
            },
            ..0 => Self::of_cpu(t, id)?,
            _ => return Err(Errno::EINVAL),
        })
    }

    /// `clock_getcpuclockid(3)`'s encoding: the complement of an id, a thread bit, and which
    /// time (0 all, 1 user, 2 all, 3 a descriptor, of which there are none).
    fn of_cpu(t: &Arc<Task>, id: i32) -> Result<Clock> {
        let (pid, per_thread, which) = (!(id >> 3), id & 4 != 0, id & 3);
        if which == 3 {
            return Err(Errno::EINVAL);
        }
        let user = which == 1;
        if per_thread {
            let task = if pid == 0 {
                t.clone()
            } else {
                process::find_task(pid)
                    .filter(|o| o.process.pid == t.process.pid)
                    .ok_or(Errno::EINVAL)?
            };
            Ok(Clock::Thread { task, user })
        } else {
            let process = if pid == 0 || pid == t.tid {
                t.process.clone()
            } else {
                process::find_process(pid).ok_or(Errno::EINVAL)?
            };
            Ok(Clock::Process { process, user })
        }
    }

    /// Its value in nanoseconds, read by `t`.
    pub fn now(&self, t: &Task) -> u64 {
        match self {
            Clock::Realtime | Clock::Tai => realtime(),
            Clock::Monotonic => monotonic(),
            Clock::Boottime => super::boottime(),
            Clock::Process { process, user } if *user => cpu::process_cpu(process).0,
            Clock::Process { process, .. } => cpu::process_time(process),
            Clock::Thread { task, user } if *user => cpu::thread_cpu(task).0,
            Clock::Thread { task, .. } if task.tid == t.tid => pal().now(Host::ThreadCpu),
            Clock::Thread { task, .. } => cpu::thread_time(task),
        }
    }
}

/// `clock_gettime(2)`.
pub fn sys_clock_gettime(t: &Arc<Task>, id: i32, out: UserAddr) -> SysResult {
    let now = Clock::of(t, id)?.now(t);
    user::write(t, out, &Timespec::from_nanos(now))?;
    Ok(0)
}

/// `clock_getres(2)`.
pub fn sys_clock_getres(t: &Arc<Task>, id: i32, out: UserAddr) -> SysResult {
    Clock::of(t, id)?;
    let coarse =
        matches!(id, CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE) || id < 0 && id & 3 != 2;
    let resolution = if coarse { COARSE } else { 1 };
    user::write_opt(t, out, &Timespec::from_nanos(resolution))?;
    Ok(0)
}

/// Sets the enclave's wall clock; the caller has checked that this is allowed. EINVAL before the
/// monotonic clock's start.
fn set_realtime(ns: u64) -> Result<()> {
    if ns < monotonic() {
        return Err(Errno::EINVAL);
    }
    let offset = ns as i128 - i128::from(pal().now(Host::Realtime));
    shift(i64::try_from(offset).map_err(|_| Errno::EINVAL)?);
    Ok(())
}

/// Replaces the difference to the host's clock and tells who waits for a time of day.
pub(super) fn shift(offset: i64) {
    OFFSET.store(offset, Ordering::Relaxed);
    super::source::wall_clock_changed();
    queue::wake_service();
    clock_changes().wake_all(POLLALL);
}

/// `clock_settime(2)`: only the wall clock, only with `CAP_SYS_TIME`. It is set for the enclave.
pub fn sys_clock_settime(t: &Arc<Task>, id: i32, value: UserAddr) -> SysResult {
    if id != CLOCK_REALTIME && id >= 0 {
        return Err(Errno::EINVAL);
    }
    let ts: Timespec = user::read(t, value)?;
    if id < 0 {
        Clock::of(t, id)?;
        return Err(Errno::EPERM);
    }
    let ns = ts.nanos().filter(|_| ts.sec < LATEST);
    let ns = ns.ok_or(Errno::EINVAL)?;
    if !t.creds().capable(CAP_SYS_TIME) {
        return Err(Errno::EPERM);
    }
    set_realtime(ns)?;
    Ok(0)
}

/// `gettimeofday(2)`.
pub fn sys_gettimeofday(t: &Arc<Task>, tv: UserAddr, tz: UserAddr) -> SysResult {
    user::write_opt(t, tv, &Timeval::from_nanos(realtime()))?;
    let zone = *TIMEZONE.lock();
    user::write_opt(t, tz, &zone)?;
    Ok(0)
}

/// `settimeofday(2)`; as [`sys_clock_settime`].
pub fn sys_settimeofday(t: &Arc<Task>, tv: UserAddr, tz: UserAddr) -> SysResult {
    let mut time = None;
    if !tv.is_null() {
        let v: Timeval = user::read(t, tv)?;
        let ns = v.nanos().filter(|_| v.sec < LATEST);
        time = Some(ns.ok_or(Errno::EINVAL)?);
    }
    let zone: Option<Timezone> = if tz.is_null() {
        None
    } else {
        Some(user::read(t, tz)?)
    };
    if !t.creds().capable(CAP_SYS_TIME) {
        return Err(Errno::EPERM);
    }
    if let Some(zone) = zone {
        if zone.minuteswest.unsigned_abs() > 15 * 60 {
            return Err(Errno::EINVAL);
        }
        *TIMEZONE.lock() = zone;
    }
    if let Some(ns) = time {
        set_realtime(ns)?;
    }
    Ok(0)
}

/// `time(2)`.
pub fn sys_time(t: &Arc<Task>, out: UserAddr) -> SysResult {
    let seconds = realtime() / SECOND;
    user::write_opt(t, out, &seconds)?;
    Ok(seconds as usize)
}
