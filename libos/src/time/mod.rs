//! Clocks, sleeping and timers, `time(7)`.
//!
//! [`queue`] is the one list of what is due when, served by [`service`]. An [`alarm::Alarm`] is
//! a deadline on some clock with an interval; POSIX timers, interval timers, timerfds and the CPU
//! limit are made of it.

mod adjust;
mod alarm;
mod clock;
mod cpu;
mod itimer;
mod posix;
mod queue;
mod sleep;
mod source;
mod timerfd;

pub use adjust::{sys_adjtimex, sys_clock_adjtime};
pub use clock::{
    clock_changes, realtime_offset, sys_clock_getres, sys_clock_gettime, sys_clock_settime,
    sys_gettimeofday, sys_settimeofday, sys_time,
};
pub use cpu::{final_cpu, limit_changed, process_cpu, sys_times, thread_cpu};
pub use itimer::{sys_alarm, sys_getitimer, sys_setitimer};
pub use posix::{
    PosixTimer, check_thread_timers, sys_timer_create, sys_timer_delete, sys_timer_getoverrun,
    sys_timer_gettime, sys_timer_settime,
};
pub use queue::{Base, Fire, TimerId, add_timer, cancel, service, start_service};
pub use sleep::{sys_clock_nanosleep, sys_nanosleep};
pub use source::vdso_object;
pub use timerfd::{sys_timerfd_create, sys_timerfd_gettime, sys_timerfd_settime};

use crate::process::Process;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use bastide_base::sync::Mutex;
use bastide_pal::Clock;

/// A process's timers.
#[derive(Default)]
pub struct ProcessTimers {
    inner: Mutex<Timers>,
}

#[derive(Default)]
struct Timers {
    /// By `ITIMER_*`.
    intervals: [Option<Arc<itimer::Interval>>; 3],
    posix: BTreeMap<i32, Arc<posix::PosixTimer>>,
    last_id: i32,
    cpu_limit: Option<Arc<cpu::Limit>>,
}

/// Monotonic nanoseconds.
pub fn monotonic() -> u64 {
    source::now(Clock::Monotonic)
}

/// Nanoseconds since the host booted.
pub fn boottime() -> u64 {
    source::now(Clock::Boottime)
}

/// Wall time in nanoseconds since 1970.
pub fn realtime() -> u64 {
    source::now(Clock::Realtime)
}

/// A new program starts: POSIX timers go, interval timers stay (`execve(2)`).
pub fn on_exec(p: &Process) {
    let gone = core::mem::take(&mut p.timers.inner.lock().posix);
    gone.values().for_each(|timer| timer.stop());
}

/// The process is over: so are its timers.
pub fn on_process_exit(p: &Process) {
    let gone = core::mem::take(&mut *p.timers.inner.lock());
    drop(gone);
}
