//! Interval timers, `setitimer(2)`, and `alarm(2)`.

use super::alarm::{Alarm, Source};
use super::queue::Fire;
use crate::abi::signal::*;
use crate::abi::time::*;
use crate::process::{Process, Task};
use crate::signal::{self, SigInfo};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult};
use alloc::sync::{Arc, Weak};
use bastide_base::sync::Mutex;

/// One of a process's three interval timers.
pub struct Interval {
    process: Weak<Process>,
    signo: i32,
    alarm: Mutex<Alarm>,
}

impl Interval {
    fn new(p: &Arc<Process>, which: i32) -> Arc<Self> {
        let process = Arc::downgrade(p);
        let cpu = || Source::Process(process.clone());
        let (source, signo) = match which {
            ITIMER_VIRTUAL => (cpu(), SIGVTALRM),
            ITIMER_PROF => (cpu(), SIGPROF),
            _ => (Source::Monotonic, SIGALRM),
        };
        Arc::new(Interval {
            process,
            signo,
            alarm: Mutex::new(Alarm::new(source)),
        })
    }

    fn weak(self: &Arc<Self>) -> Weak<dyn Fire> {
        let me: Weak<Self> = Arc::downgrade(self);
        me
    }
}

impl Fire for Interval {
    fn fire(self: Arc<Self>) {
        {
            let mut alarm = self.alarm.lock();
            let expired = alarm.collect() > 0;
            alarm.arm_again(self.weak());
            if !expired {
                return;
            }
        }
        if let Some(p) = self.process.upgrade() {
            signal::send_process(&p, SigInfo::kernel(self.signo));
        }
    }
}

/// The timer `which`, made if it was never used; EINVAL.
fn timer(t: &Task, which: i32) -> Result<Arc<Interval>> {
    let mut timers = t.process.timers.inner.lock();
    let slot = usize::try_from(which)
        .ok()
        .and_then(|i| timers.intervals.get_mut(i))
        .ok_or(Errno::EINVAL)?;
    Ok(slot
        .get_or_insert_with(|| Interval::new(&t.process, which))
        .clone())
}

/// Time left and interval in nanoseconds.
fn get(t: &Task, which: i32) -> Result<(u64, u64)> {
    Ok(timer(t, which)?.alarm.lock().left())
}

/// Sets a timer to expire after `value` nanoseconds (0: never); returns what it was.
fn set(t: &Task, which: i32, value: u64, interval: u64) -> Result<(u64, u64)> {
    let timer = timer(t, which)?;
    let mut alarm = timer.alarm.lock();
    let old = alarm.left();
    let deadline = (value > 0).then(|| alarm.source.now().saturating_add(value));
    alarm.set(deadline, interval, timer.weak());
    Ok(old)
}

fn itimerval((value, interval): (u64, u64)) -> Itimerval {
    // A running timer never shows zero.
    let micros = |ns: u64| Timeval::from_nanos(if ns > 0 { ns.max(1000) } else { 0 });
    Itimerval {
        interval: micros(interval),
        value: micros(value),
    }
}

/// `getitimer(2)`.
pub fn sys_getitimer(t: &Arc<Task>, which: i32, out: UserAddr) -> SysResult {
    let now = get(t, which)?;
    user::write(t, out, &itimerval(now))?;
    Ok(0)
}

/// `setitimer(2)`. A null `new` disarms.
pub fn sys_setitimer(t: &Arc<Task>, which: i32, new: UserAddr, old: UserAddr) -> SysResult {
    let wanted: Itimerval = if new.is_null() {
        Itimerval::default()
    } else {
        user::read(t, new)?
    };
    let value = wanted.value.nanos().ok_or(Errno::EINVAL)?;
    let interval = wanted.interval.nanos().ok_or(Errno::EINVAL)?;
    let before = set(t, which, value, interval)?;
    user::write_opt(t, old, &itimerval(before))?;
    Ok(0)
}

/// `alarm(2)`: returns the seconds that were left, rounded so that a running timer is not 0.
pub fn sys_alarm(t: &Arc<Task>, seconds: u32) -> SysResult {
    let (left, _) = set(t, ITIMER_REAL, u64::from(seconds) * SECOND, 0)?;
    let (whole, rest) = (left / SECOND, left % SECOND);
    let up = rest >= SECOND / 2 || whole == 0 && rest > 0;
    Ok(whole as usize + usize::from(up))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::SigSet;
    use crate::testing::{addr, task};
    use core::cell::Cell;

    #[test]
    fn the_real_timer_sends_sigalrm() {
        super::super::queue::tests::start();
        let t = task();
        signal::set_mask(&t, SigSet::of(&[SIGALRM]));
        assert_eq!(sys_alarm(&t, 100), Ok(0));
        assert_eq!(sys_alarm(&t, 0), Ok(100));
        let it = Itimerval {
            interval: Timeval { sec: 0, usec: 2000 },
            value: Timeval { sec: 0, usec: 1000 },
        };
        assert_eq!(sys_setitimer(&t, 0, addr(&it), UserAddr(0)), Ok(0));
        let until = super::super::monotonic() + SECOND;
        while !t.process.signals.pending().contains(SIGALRM) && super::super::monotonic() < until {
            std::thread::yield_now();
        }
        assert!(t.process.signals.pending().contains(SIGALRM));
        assert!(!t.interrupted());
        let now = Cell::new(Itimerval::default());
        assert_eq!(sys_getitimer(&t, 0, addr(&now)), Ok(0));
        assert_eq!(now.get().interval.usec, 2000);
        assert!(now.get().value.usec <= 2000);
        assert_eq!(sys_getitimer(&t, 3, addr(&now)), Err(Errno::EINVAL));
        super::super::on_process_exit(&t.process);
    }
}
