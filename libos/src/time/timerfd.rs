//! Timers to read from, `timerfd_create(2)`.

use super::alarm::{Alarm, Source};
use super::clock::clock_changes;
use super::posix::CAP_WAKE_ALARM;
use super::queue::Fire;
use crate::abi::time::*;
use crate::fs::{FdFlags, File, FileOps};
use crate::process::Task;
use crate::uio::IoDst;
use crate::user::{self, UserAddr};
use crate::wait::{Events, POLLIN, PollTable, WaitQueue, wait_until};
use crate::{Errno, Result, SysResult};
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use bastide_base::sync::Mutex;
use core::any::Any;

const O_RDWR: u32 = 2;

struct State {
    alarm: Alarm,
    /// Expiries that were not read yet; those since the first are counted when it is read.
    ticks: u64,
    /// With `TFD_TIMER_CANCEL_ON_SET`: the wall clock's offset when it was armed.
    cancel_offset: Option<i64>,
    flags: u32,
}

impl State {
    /// The wall clock was set and the timer is to end by that.
    fn cancelled(&self) -> bool {
        self.cancel_offset
            .is_some_and(|o| o != super::realtime_offset())
    }
}

/// The object behind the descriptor.
pub struct TimerFd {
    me: Weak<TimerFd>,
    clock: i32,
    state: Mutex<State>,
    readers: WaitQueue,
}

impl Fire for TimerFd {
    fn fire(self: Arc<Self>) {
        let mut s = self.state.lock();
        if s.alarm.is_due() {
            drop(s);
            self.readers.wake_all(POLLIN);
        } else {
            s.alarm.arm(self.me.clone());
        }
    }
}

impl TimerFd {
    /// Counts what has expired and sets the next expiry.
    fn collect(&self, s: &mut State) {
        let n = s.alarm.collect();
        if n > 0 {
            s.ticks = s.ticks.saturating_add(n);
            s.alarm.arm(self.me.clone());
        }
    }

    /// The expiries since the last read; ECANCELED once if the clock was set.
    fn take(&self) -> Option<Result<u64>> {
        let mut s = self.state.lock();
        if s.cancelled() {
            s.cancel_offset = Some(super::realtime_offset());
            s.ticks = 0;
            return Some(Err(Errno::ECANCELED));
        }
        self.collect(&mut s);
        let ticks = core::mem::take(&mut s.ticks);
        (ticks > 0).then_some(Ok(ticks))
    }
}

impl FileOps for TimerFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// Eight bytes: how often it expired since the last read. Blocks until it has.
    fn read(&self, t: &Task, f: &File, dst: &mut IoDst<'_>, _offset: Option<u64>) -> Result<usize> {
        if dst.left() < 8 {
            return Err(Errno::EINVAL);
        }
        let ticks = match self.take() {
            Some(got) => got?,
            None if f.nonblocking() => return Err(Errno::EAGAIN),
            None => {
                let queues = [&self.readers, clock_changes()];
                wait_until(t, &queues, None, || self.take())??
            }
        };
        dst.put(&ticks.to_le_bytes())
    }

    fn poll(&self, _f: &File, table: Option<&mut PollTable>) -> Events {
        let s = self.state.lock();
        if let Some(table) = table {
            table.listen(&self.readers);
            if s.cancel_offset.is_some() {
                table.listen(clock_changes());
            }
        }
        if s.ticks > 0 || s.alarm.is_due() || s.cancelled() {
            POLLIN
        } else {
            0
        }
    }

    fn describe(&self) -> String {
        String::from("anon_inode:[timerfd]")
    }

    fn fdinfo(&self, out: &mut String) {
        use core::fmt::Write;
        let s = self.state.lock();
        let (value, interval) = s.alarm.left();
        let part = |ns: u64| (ns / SECOND, ns % SECOND);
        let ((vs, vn), (is, in_)) = (part(value), part(interval));
        let _ = writeln!(
            out,
            "clockid: {}\nticks: {}\nsettime flags: 0{:o}\nit_value: ({vs}, {vn})\nit_interval: ({is}, {in_})",
            self.clock, s.ticks, s.flags
        );
    }
}

/// `timerfd_create(2)`.
pub fn sys_timerfd_create(t: &Arc<Task>, clock: i32, flags: u32) -> SysResult {
    if flags & !(TFD_CLOEXEC | TFD_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let source = match clock {
        CLOCK_MONOTONIC => Source::Monotonic,
        CLOCK_REALTIME | CLOCK_REALTIME_ALARM => Source::Realtime,
        CLOCK_BOOTTIME | CLOCK_BOOTTIME_ALARM => Source::Boottime,
        _ => return Err(Errno::EINVAL),
    };
    let alarm_clock = matches!(clock, CLOCK_REALTIME_ALARM | CLOCK_BOOTTIME_ALARM);
    if alarm_clock && !t.creds().capable(CAP_WAKE_ALARM) {
        return Err(Errno::EPERM);
    }
    let object = Arc::new_cyclic(|me| TimerFd {
        me: me.clone(),
        clock,
        state: Mutex::new(State {
            alarm: Alarm::new(source),
            ticks: 0,
            cancel_offset: None,
            flags: 0,
        }),
        readers: WaitQueue::new(),
    });
    let cloexec = if flags & TFD_CLOEXEC != 0 {
        FdFlags::CLOEXEC
    } else {
        FdFlags::empty()
    };
    let file = File::new(object, None, O_RDWR | flags & TFD_NONBLOCK);
    t.install(file, cloexec).map(|fd| fd as usize)
}

/// Runs `f` on the timer behind a descriptor; EBADF, or EINVAL for another kind of file.
fn with<R>(t: &Task, fd: i32, f: impl FnOnce(&TimerFd) -> R) -> Result<R> {
    let file = t.file(fd)?;
    let timer: &TimerFd = file.downcast().ok_or(Errno::EINVAL)?;
    Ok(f(timer))
}

/// `timerfd_settime(2)`. ECANCELED if the wall clock was set since it was armed to end by that; it
/// is armed all the same.
pub fn sys_timerfd_settime(
    t: &Arc<Task>,
    fd: i32,
    flags: u32,
    new: UserAddr,
    old: UserAddr,
) -> SysResult {
    let wanted: Itimerspec = user::read(t, new)?;
    let value = wanted.value.nanos();
    let interval = wanted.interval.nanos();
    let bad = flags & !(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0;
    let (Some(value), Some(interval), false) = (value, interval, bad) else {
        return Err(Errno::EINVAL);
    };
    let (before, cancelled) = with(t, fd, |timer| {
        let mut s = timer.state.lock();
        timer.collect(&mut s);
        let before = s.alarm.spec();
        let cancelled = s.cancelled();
        let absolute = flags & TFD_TIMER_ABSTIME != 0;
        if matches!(timer.clock, CLOCK_REALTIME | CLOCK_REALTIME_ALARM) {
            let cancel = absolute && flags & TFD_TIMER_CANCEL_ON_SET != 0;
            s.cancel_offset = cancel.then(super::realtime_offset);
            s.alarm.source = if absolute {
                Source::Realtime
            } else {
                Source::RealtimeRelative
            };
        }
        let deadline = match value {
            0 => None,
            v if absolute => Some(v),
            v => Some(s.alarm.source.now().saturating_add(v)),
        };
        s.ticks = 0;
        s.flags = flags;
        s.alarm.set(deadline, interval, timer.me.clone());
        (before, cancelled && s.cancel_offset.is_some())
    })?;
    user::write_opt(t, old, &before)?;
    if cancelled {
        return Err(Errno::ECANCELED);
    }
    Ok(0)
}

/// `timerfd_gettime(2)`.
pub fn sys_timerfd_gettime(t: &Arc<Task>, fd: i32, out: UserAddr) -> SysResult {
    let spec = with(t, fd, |timer| {
        let mut s = timer.state.lock();
        timer.collect(&mut s);
        s.alarm.spec()
    })?;
    user::write(t, out, &spec)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{addr, task};
    use alloc::vec::Vec;

    fn read(t: &Task, fd: usize) -> Result<u64> {
        let file = t.file(fd as i32)?;
        let mut buf = Vec::new();
        file.read(t, &mut IoDst::kernel(&mut buf, 8))?;
        Ok(u64::from_le_bytes(buf.try_into().unwrap_or([0; 8])))
    }

    #[test]
    fn expiries_are_read_and_polled() {
        super::super::queue::tests::start();
        let t = task();
        let fd = sys_timerfd_create(&t, CLOCK_MONOTONIC, 0).unwrap();
        let ms = |n: i64| Timespec {
            sec: 0,
            nsec: n * 1_000_000,
        };
        let spec = Itimerspec {
            interval: ms(3),
            value: ms(3),
        };
        let set =
            |spec: &Itimerspec| sys_timerfd_settime(&t, fd as i32, 0, addr(spec), UserAddr(0));
        assert_eq!(set(&spec), Ok(0));
        let file = t.file(fd as i32).unwrap();
        assert_eq!(file.poll(None), 0);
        assert!(read(&t, fd).unwrap() >= 1);
        std::thread::sleep(core::time::Duration::from_millis(20));
        assert_eq!(file.poll(None), POLLIN);
        assert!(read(&t, fd).unwrap() >= 4);
        assert_eq!(set(&Itimerspec::default()), Ok(0));
        file.set_flags(crate::fs::file::O_NONBLOCK, crate::fs::file::O_NONBLOCK);
        assert_eq!(read(&t, fd), Err(Errno::EAGAIN));
        assert_eq!(sys_timerfd_create(&t, 3, 0), Err(Errno::EINVAL));
    }
}
