//! POSIX timers, `timer_create(2)`.

use super::alarm::{Alarm, Source};
use super::clock::Clock;
use super::queue::Fire;
use crate::abi::signal::*;
use crate::abi::time::*;
use crate::process::task::{RLIMIT_SIGPENDING, Work};
use crate::process::{self, Process, Task};
use crate::signal::{self, Charge, Fields, Sent, SigInfo};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult};
use alloc::sync::{Arc, Weak};
use bastide_base::sync::Mutex;

/// Capability to wake the machine; the alarm clocks ask for it.
pub(super) const CAP_WAKE_ALARM: u32 = 35;
/// `DELAYTIMER_MAX`.
const OVERRUN_MAX: u64 = i32::MAX as u64;

/// Whom to tell of an expiry.
enum Target {
    None,
    Process(Weak<Process>),
    Task(Weak<Task>),
}

struct State {
    alarm: Alarm,
    /// Its signal waits to be delivered: expiries count as overruns until then. One that is still
    /// in the queue when this is not set is of an earlier setting, and void.
    queued: bool,
    /// Overruns of the expiry that was delivered last.
    overrun: i32,
}

/// A timer.
pub struct PosixTimer {
    target: Target,
    signo: i32,
    value: u64,
    id: i32,
    /// Its place in the signal queue, paid for by whoever made it.
    _charge: Charge,
    state: Mutex<State>,
}

impl PosixTimer {
    fn weak(self: &Arc<Self>) -> Weak<dyn Fire> {
        let me: Weak<Self> = Arc::downgrade(self);
        me
    }

    /// It is deleted: it expires no more, and a signal of it that waits is void.
    pub(super) fn stop(&self) {
        let mut s = self.state.lock();
        s.queued = false;
        s.alarm.set_silently(None, 0);
    }

    /// How it stands. One that tells nobody has no other chance to notice that it expired.
    fn spec(&self, s: &mut State) -> Itimerspec {
        if matches!(self.target, Target::None) {
            s.alarm.collect();
        }
        s.alarm.spec()
    }

    fn send(self: &Arc<Self>) -> Sent {
        let info = SigInfo {
            signo: self.signo,
            errno: 0,
            code: SI_TIMER,
            fields: Fields::Timer {
                id: self.id,
                overrun: 0,
                value: self.value,
            },
        };
        let source = Some(self.clone() as Arc<dyn signal::Source>);
        let sent = match &self.target {
            Target::None => None,
            Target::Process(p) => p.upgrade().map(|p| signal::post(&p, None, info, source)),
            Target::Task(t) => t
                .upgrade()
                .map(|t| signal::post(&t.process, Some(&t), info, source)),
        };
        sent.and_then(Result::ok).unwrap_or(Sent::Dropped)
    }
}

/// What [`Work::TIMERS`] asks for: only the task itself knows its CPU time for sure.
pub fn check_thread_timers(t: &Task) {
    let timers = core::mem::take(&mut *t.cpu_timers.lock());
    for timer in timers.iter().filter_map(Weak::upgrade) {
        timer.expire();
    }
}

impl Fire for PosixTimer {
    fn fire(self: Arc<Self>) {
        let Source::Thread(task) = self.state.lock().alarm.source.clone() else {
            return self.expire();
        };
        // It may have used so much by now. If it sleeps it looks when it runs again, as under a
        // clock that ticks for running threads only.
        if let Some(task) = task.upgrade() {
            task.cpu_timers.lock().push(Arc::downgrade(&self));
            task.add_work(Work::TIMERS);
        }
    }
}

impl PosixTimer {
    /// Tells of an expiry, if the time has come.
    fn expire(self: Arc<Self>) {
        {
            let mut s = self.state.lock();
            if s.queued || !s.alarm.is_due() {
                // Too early (a CPU clock, or a clock that was set).
                if !s.queued {
                    s.alarm.arm(self.weak());
                }
                return;
            }
            s.queued = true;
            if !s.alarm.repeats() {
                s.alarm.collect();
            }
        }
        if self.send() != Sent::Queued {
            // Ignored: this expiry is over.
            let mut s = self.state.lock();
            if s.queued {
                s.queued = false;
                s.alarm.collect();
                s.alarm.arm_again(self.weak());
            }
        }
    }
}

impl signal::Source for PosixTimer {
    fn dequeued(self: Arc<Self>) -> Option<i32> {
        let mut s = self.state.lock();
        if !s.queued {
            return None;
        }
        s.queued = false;
        let n = s.alarm.collect();
        s.overrun = n.saturating_sub(1).min(OVERRUN_MAX) as i32;
        s.alarm.arm(self.weak());
        Some(s.overrun)
    }
}

/// The clock of a timer; EINVAL if there is none, EOPNOTSUPP if it has no timers.
fn source(t: &Arc<Task>, id: i32) -> Result<Source> {
    let clock = Clock::of(t, id)?;
    match id {
        CLOCK_MONOTONIC_RAW | CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE => {
            return Err(Errno::EOPNOTSUPP);
        }
        CLOCK_REALTIME_ALARM | CLOCK_BOOTTIME_ALARM if !t.creds().capable(CAP_WAKE_ALARM) => {
            return Err(Errno::EPERM);
        }
        _ => {}
    }
    Ok(match clock {
        Clock::Realtime | Clock::Tai => Source::Realtime,
        Clock::Monotonic => Source::Monotonic,
        Clock::Boottime => Source::Boottime,
        Clock::Process { process, .. } => Source::Process(Arc::downgrade(&process)),
        Clock::Thread { task, .. } => Source::Thread(Arc::downgrade(&task)),
    })
}

/// Who an event is for; EINVAL.
fn target(t: &Arc<Task>, ev: &SigEvent) -> Result<Target> {
    let target = match ev.notify {
        SIGEV_NONE => return Ok(Target::None),
        SIGEV_SIGNAL | SIGEV_THREAD => Target::Process(Arc::downgrade(&t.process)),
        SIGEV_THREAD_ID => {
            let task = process::find_task(ev.tid)
                .filter(|o| o.process.pid == t.process.pid)
                .ok_or(Errno::EINVAL)?;
            Target::Task(Arc::downgrade(&task))
        }
        _ => return Err(Errno::EINVAL),
    };
    if signal::valid(ev.signo) {
        Ok(target)
    } else {
        Err(Errno::EINVAL)
    }
}

/// `timer_create(2)`.
pub fn sys_timer_create(t: &Arc<Task>, clock: i32, event: UserAddr, out: UserAddr) -> SysResult {
    let event: Option<SigEvent> = if event.is_null() {
        None
    } else {
        Some(user::read(t, event)?)
    };
    let source = source(t, clock)?;
    let limit = t.rlimit(RLIMIT_SIGPENDING);
    let charge = Charge::take(t.creds().uid, limit).ok_or(Errno::EAGAIN)?;
    let target = match &event {
        None => Target::Process(Arc::downgrade(&t.process)),
        Some(ev) => target(t, ev)?,
    };
    let id = {
        let mut timers = t.process.timers.inner.lock();
        // Ids grow until they wrap; those in use are passed over.
        let mut id = timers.last_id;
        if timers.posix.is_empty() {
            id = 0;
        }
        while timers.posix.contains_key(&id) {
            id = id.checked_add(1).unwrap_or(0);
        }
        timers.last_id = id.checked_add(1).unwrap_or(0);
        let timer = Arc::new(PosixTimer {
            target,
            signo: event.map_or(SIGALRM, |e| e.signo),
            value: event.map_or(id as u64, |e| e.value),
            id,
            _charge: charge,
            state: Mutex::new(State {
                alarm: Alarm::new(source),
                queued: false,
                overrun: 0,
            }),
        });
        timers.posix.insert(id, timer);
        id
    };
    if let Err(e) = user::write(t, out, &id) {
        let gone = t.process.timers.inner.lock().posix.remove(&id);
        drop(gone);
        return Err(e);
    }
    Ok(0)
}

fn find(t: &Task, id: i32) -> Result<Arc<PosixTimer>> {
    let timers = t.process.timers.inner.lock();
    timers.posix.get(&id).cloned().ok_or(Errno::EINVAL)
}

/// `timer_settime(2)`.
pub fn sys_timer_settime(
    t: &Arc<Task>,
    id: i32,
    flags: i32,
    new: UserAddr,
    old: UserAddr,
) -> SysResult {
    if new.is_null() {
        return Err(Errno::EINVAL);
    }
    let wanted: Itimerspec = user::read(t, new)?;
    let value = wanted.value.nanos().ok_or(Errno::EINVAL)?;
    let interval = wanted.interval.nanos().ok_or(Errno::EINVAL)?;
    let timer = find(t, id)?;
    let before = {
        let mut s = timer.state.lock();
        let before = timer.spec(&mut s);
        // An expiry that waits for its delivery is not of this setting any more.
        s.queued = false;
        s.overrun = 0;
        let absolute = flags & TIMER_ABSTIME != 0;
        if !absolute && matches!(s.alarm.source, Source::Realtime | Source::RealtimeRelative) {
            // Setting the wall clock does not move a relative time.
            s.alarm.source = Source::RealtimeRelative;
        } else if matches!(s.alarm.source, Source::RealtimeRelative) {
            s.alarm.source = Source::Realtime;
        }
        let deadline = match value {
            0 => None,
            v if absolute => Some(v),
            v => Some(s.alarm.source.now().saturating_add(v)),
        };
        if matches!(timer.target, Target::None) {
            // Nobody is told; the clock alone says how it stands.
            s.alarm.set_silently(deadline, interval);
        } else {
            s.alarm.set(deadline, interval, timer.weak());
        }
        before
    };
    user::write_opt(t, old, &before)?;
    Ok(0)
}

/// `timer_gettime(2)`.
pub fn sys_timer_gettime(t: &Arc<Task>, id: i32, out: UserAddr) -> SysResult {
    let timer = find(t, id)?;
    let spec = timer.spec(&mut timer.state.lock());
    user::write(t, out, &spec)?;
    Ok(0)
}

/// `timer_getoverrun(2)`.
pub fn sys_timer_getoverrun(t: &Arc<Task>, id: i32) -> SysResult {
    Ok(find(t, id)?.state.lock().overrun as usize)
}

/// `timer_delete(2)`. As on Linux since 6.13, a signal of it that was not delivered is not any more.
pub fn sys_timer_delete(t: &Arc<Task>, id: i32) -> SysResult {
    let gone = t.process.timers.inner.lock().posix.remove(&id);
    gone.ok_or(Errno::EINVAL)?.stop();
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::SigSet;
    use crate::testing::{addr, task};
    use core::cell::Cell;
    use std::time::Duration;

    #[test]
    fn blocked_expiries_are_counted_as_overruns() {
        super::super::queue::tests::start();
        let t = task();
        signal::set_mask(&t, SigSet::of(&[SIGUSR1]));
        let ev = SigEvent {
            value: 7,
            signo: SIGUSR1,
            notify: SIGEV_SIGNAL,
            ..SigEvent::default()
        };
        let id = Cell::new(-1);
        let made = sys_timer_create(&t, CLOCK_MONOTONIC, addr(&ev), addr(&id));
        assert_eq!((made, id.get()), (Ok(0), 0));
        let ms = |nsec: i64| Timespec {
            sec: 0,
            nsec: nsec * 1_000_000,
        };
        let spec = Itimerspec {
            interval: ms(2),
            value: ms(2),
        };
        assert_eq!(sys_timer_settime(&t, 0, 0, addr(&spec), UserAddr(0)), Ok(0));
        std::thread::sleep(Duration::from_millis(30));
        let info = Cell::new([0u64; 16]);
        let set = SigSet::of(&[SIGUSR1]).0;
        let zero = Timespec::default();
        let got = signal::sys_rt_sigtimedwait(&t, addr(&set), addr(&info), addr(&zero), 8);
        assert_eq!(got, Ok(SIGUSR1 as usize));
        let (info, id) = (info.get(), id.get());
        assert_eq!(info[1] as u32 as i32, SI_TIMER);
        assert!(info[2] >> 32 >= 10);
        assert_eq!(info[3], 7);
        assert_eq!(sys_timer_getoverrun(&t, id), Ok((info[2] >> 32) as usize));
        assert_eq!(sys_timer_delete(&t, id), Ok(0));
        assert_eq!(sys_timer_delete(&t, id), Err(Errno::EINVAL));
    }

    #[test]
    fn signals_of_an_earlier_setting_and_of_a_deleted_timer_are_void() {
        super::super::queue::tests::start();
        let t = task();
        signal::set_mask(&t, SigSet::of(&[SIGUSR1]));
        let ev = SigEvent {
            signo: SIGUSR1,
            notify: SIGEV_SIGNAL,
            ..SigEvent::default()
        };
        let id = Cell::new(-1);
        sys_timer_create(&t, CLOCK_MONOTONIC, addr(&ev), addr(&id)).unwrap();
        let set = SigSet::of(&[SIGUSR1]);
        let expire = || {
            let soon = Timespec { sec: 0, nsec: 1 };
            let spec = Itimerspec {
                value: soon,
                ..Itimerspec::default()
            };
            sys_timer_settime(&t, id.get(), 0, addr(&spec), UserAddr(0)).unwrap();
            while !t.process.signals.pending().contains(SIGUSR1) {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        let delivered = || {
            let zero = Timespec::default();
            signal::sys_rt_sigtimedwait(&t, addr(&set.0), UserAddr(0), addr(&zero), 8)
        };
        expire();
        let never = Itimerspec::default();
        sys_timer_settime(&t, id.get(), 0, addr(&never), UserAddr(0)).unwrap();
        assert_eq!(delivered(), Err(Errno::EAGAIN));
        expire();
        assert_eq!(delivered(), Ok(SIGUSR1 as usize));
        expire();
        sys_timer_delete(&t, id.get()).unwrap();
        assert_eq!(delivered(), Err(Errno::EAGAIN));
    }

    #[test]
    fn bad_events_and_clocks_are_refused() {
        let t = task();
        let id = Cell::new(0);
        let mut ev = SigEvent {
            notify: SIGEV_SIGNAL,
            ..SigEvent::default()
        };
        let create = |clock, ev: &SigEvent| sys_timer_create(&t, clock, addr(ev), addr(&id));
        assert_eq!(create(CLOCK_REALTIME, &ev), Err(Errno::EINVAL));
        ev.notify = SIGEV_NONE;
        assert_eq!(create(CLOCK_REALTIME, &ev), Ok(0));
        assert_eq!(create(CLOCK_MONOTONIC_RAW, &ev), Err(Errno::EOPNOTSUPP));
        assert_eq!(create(12, &ev), Err(Errno::EINVAL));
        ev.notify = 5;
        assert_eq!(create(CLOCK_REALTIME, &ev), Err(Errno::EINVAL));
    }
}
