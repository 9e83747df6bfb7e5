//! A deadline on a clock, with an interval.

use super::queue::{self, Base, Fire, TimerId};
use super::{cpu, monotonic, realtime};
use crate::abi::time::*;
use crate::process::{Process, Task};
use alloc::sync::Weak;

/// Least time between two looks at a CPU clock.
const CPU_STEP: u64 = 4_000_000;
/// Least time between two expiries of the same timer that are looked at one by one.
const SHORTEST: u64 = 50_000;

/// The clock an alarm goes by.
#[derive(Clone)]
pub enum Source {
    Monotonic,
    /// The wall clock, for absolute times.
    Realtime,
    /// The wall clock's pace, for relative times: they are not moved by setting it.
    RealtimeRelative,
    Boottime,
    /// CPU time of a process. User and system time together: seen from the timer thread, the
    /// platform may know only the sum.
    Process(Weak<Process>),
    Thread(Weak<Task>),
}

impl Source {
    /// The clock now; a clock whose owner is gone stands still.
    pub fn now(&self) -> u64 {
        match self {
            Source::Monotonic | Source::RealtimeRelative => monotonic(),
            Source::Realtime => realtime(),
            Source::Boottime => super::boottime(),
            Source::Process(process) => process.upgrade().map_or(0, |p| cpu::process_time(&p)),
            Source::Thread(task) => task.upgrade().map_or(0, |t| cpu::thread_time(&t)),
        }
    }

    /// Makes the queue call `who` when the clock may have reached `deadline`.
    fn arm(&self, deadline: u64, who: Weak<dyn Fire>) -> TimerId {
        let threads = match self {
            Source::Realtime => return queue::add_timer(Base::Realtime, deadline, who),
            Source::Monotonic | Source::RealtimeRelative => {
                return queue::add_timer(Base::Monotonic, deadline, who);
            }
            Source::Boottime => 1,
            Source::Thread(_) => 1,
            Source::Process(process) => process
                .upgrade()
                .map_or(1, |p| p.tasks.lock().len().max(1) as u64),
        };
        // The clock cannot get there sooner than if every thread ran all the time.
        let left = deadline.saturating_sub(self.now()) / threads;
        let wait = match self {
            Source::Boottime => left,
            _ => left.max(CPU_STEP),
        };
        queue::add_timer(Base::Monotonic, monotonic().saturating_add(wait), who)
    }
}

/// One timer. Its owner keeps it under a lock of its own, and implements [`Fire`] by asking
/// [`Alarm::is_due`] first: the queue may call early, or late after a change.
pub struct Alarm {
    pub source: Source,
    deadline: Option<u64>,
    interval: u64,
    entry: Option<TimerId>,
}

impl Alarm {
    /// Disarmed.
    pub fn new(source: Source) -> Self {
        Alarm {
            source,
            deadline: None,
            interval: 0,
            entry: None,
        }
    }

    /// Sets the first expiry (`None` disarms) and the interval (0: once).
    pub fn set(&mut self, deadline: Option<u64>, interval: u64, who: Weak<dyn Fire>) {
        self.set_silently(deadline, interval);
        self.arm(who);
    }

    /// As [`Alarm::set`] for a timer that calls nobody.
    pub fn set_silently(&mut self, deadline: Option<u64>, interval: u64) {
        self.quiet();
        self.deadline = deadline;
        self.interval = interval;
    }

    /// Enters the deadline in the queue, in place of an older entry.
    pub fn arm(&mut self, who: Weak<dyn Fire>) {
        self.quiet();
        self.entry = self.deadline.map(|d| self.source.arm(d, who));
    }

    /// As [`Alarm::arm`] after an expiry that was just handled, not sooner than is sensible.
    pub fn arm_again(&mut self, who: Weak<dyn Fire>) {
        let soon = self.interval < SHORTEST && matches!(self.source, Source::Monotonic);
        match self.deadline {
            Some(d) if soon => {
                self.quiet();
                let at = d.max(monotonic().saturating_add(SHORTEST));
                self.entry = Some(self.source.arm(at, who));
            }
            _ => self.arm(who),
        }
    }

    /// Takes the deadline out of the queue, without forgetting it.
    fn quiet(&mut self) {
        if let Some(id) = self.entry.take() {
            queue::cancel(id);
        }
    }

    /// It expires more than once.
    pub fn repeats(&self) -> bool {
        self.interval > 0
    }

    /// The deadline has come.
    pub fn is_due(&self) -> bool {
        self.deadline.is_some_and(|d| self.source.now() >= d)
    }

    /// How often it has expired until now; the deadline moves on to the next expiry, or goes if
    /// there is none. Does not touch the queue.
    pub fn collect(&mut self) -> u64 {
        let Some(d) = self.deadline else {
            return 0;
        };
        let now = self.source.now();
        if now < d {
            return 0;
        }
        if self.interval == 0 {
            self.deadline = None;
            return 1;
        }
        let n = (now - d) / self.interval + 1;
        self.deadline = Some(d.saturating_add(n.saturating_mul(self.interval)));
        n
    }

    /// Time until the next expiry, 0 if there is none, and the interval. A timer that is due but
    /// was not handled yet counts as about to expire.
    pub fn left(&self) -> (u64, u64) {
        let left = self.deadline.map_or(0, |d| {
            let now = self.source.now();
            if now >= d && self.interval > 0 {
                self.interval - (now - d) % self.interval
            } else {
                d.saturating_sub(now).max(1)
            }
        });
        (left, self.interval)
    }

    /// As `struct itimerspec`.
    pub fn spec(&self) -> Itimerspec {
        let (value, interval) = self.left();
        Itimerspec {
            interval: Timespec::from_nanos(interval),
            value: Timespec::from_nanos(value),
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.quiet();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(deadline: u64, interval: u64) -> Alarm {
        let mut a = Alarm::new(Source::Monotonic);
        a.deadline = Some(deadline);
        a.interval = interval;
        a
    }

    #[test]
    fn expiries_are_counted_and_the_next_lies_ahead() {
        crate::testing::boot();
        let start = monotonic();
        let mut a = alarm(start.saturating_sub(1), 1000);
        assert!(a.is_due() && a.collect() >= 1 && a.deadline.is_some());
        assert!(a.left().0 <= 1000);
        let mut once = alarm(1, 0);
        assert_eq!((once.collect(), once.collect()), (1, 0));
        assert_eq!(once.left(), (0, 0));
        let mut later = alarm(u64::MAX, 5);
        assert_eq!((later.collect(), later.deadline), (0, Some(u64::MAX)));
    }
}
