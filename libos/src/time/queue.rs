//! What is due when, and the thread that sees to it.

use super::{monotonic, realtime};
use crate::pal;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use bastide_pal::{Park, Platform};
use core::sync::atomic::{AtomicBool, Ordering};

/// Something to do at a time. Runs on the timer thread, without locks; it must not sleep.
pub trait Fire: Send + Sync {
    fn fire(self: Arc<Self>);
}

/// The clock of a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Base {
    Monotonic,
    /// Moves when the wall clock is set.
    Realtime,
}

/// An entry of the queue, to cancel it by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerId {
    base: Base,
    key: (u64, u64),
}

type Due = BTreeMap<(u64, u64), Weak<dyn Fire>>;

struct Queue {
    monotonic: Due,
    realtime: Due,
    /// Tells entries with the same deadline apart.
    last: u64,
    /// When the timer thread looks next in any case (monotonic). Who has cancelled what it wakes for
    /// leaves it to find out.
    looks: u64,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue {
    monotonic: BTreeMap::new(),
    realtime: BTreeMap::new(),
    last: 0,
    looks: u64::MAX,
});
static SERVICE: Park = Park::new();

impl Queue {
    fn of(&mut self, base: Base) -> &mut Due {
        match base {
            Base::Monotonic => &mut self.monotonic,
            Base::Realtime => &mut self.realtime,
        }
    }
}

/// Calls `who` at or after the deadline, in nanoseconds of its clock, unless it is gone by then.
pub fn add_timer(base: Base, deadline: u64, who: Weak<dyn Fire>) -> TimerId {
    let (key, late) = {
        let mut q = QUEUE.lock();
        q.last = q.last.wrapping_add(1);
        let key = (deadline, q.last);
        let due = q.of(base);
        due.insert(key, who);
        let first = due.first_key_value().is_some_and(|(k, _)| *k == key);
        let late = match base {
            Base::Monotonic => deadline < q.looks,
            Base::Realtime => first,
        };
        (key, late)
    };
    if late {
        wake_service();
    }
    TimerId { base, key }
}

/// Takes an entry out of the queue; it may be firing at this moment.
pub fn cancel(id: TimerId) {
    let gone = QUEUE.lock().of(id.base).remove(&id.key);
    drop(gone);
}

/// Makes the timer thread look at the clocks again.
pub(super) fn wake_service() {
    start_service();
    pal().unpark(&SERVICE);
}

/// Makes the timer thread, if there is none yet: most programs set no timer.
pub fn start_service() {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if !STARTED.swap(true, Ordering::Relaxed) && pal().spawn_service().is_err() {
        pal().log(b"bastide: the host allows the enclave no thread for its timers\n");
        Platform::shutdown(pal(), 125 << 8);
    }
}

fn take_due(due: &mut Due, now: u64, out: &mut Vec<Weak<dyn Fire>>) {
    while let Some(entry) = due.first_entry()
        && entry.key().0 <= now
    {
        out.push(entry.remove());
    }
}

/// Takes what is due; with nothing due, says when to look again (monotonic).
fn due() -> (Vec<Weak<dyn Fire>>, Option<u64>) {
    let (now, wall) = (monotonic(), realtime());
    let mut out = Vec::new();
    let mut q = QUEUE.lock();
    take_due(&mut q.monotonic, now, &mut out);
    take_due(&mut q.realtime, wall, &mut out);
    let next = q.monotonic.keys().next().map(|k| k.0);
    let next_wall = q
        .realtime
        .keys()
        .next()
        .map(|k| now.saturating_add(k.0 - wall));
    let next = [next, next_wall].into_iter().flatten().min();
    // After what fires now, it looks again at once.
    q.looks = if out.is_empty() {
        next.unwrap_or(u64::MAX)
    } else {
        0
    };
    (out, next)
}

/// Fires what is due; returns when to look again (monotonic).
fn run_once() -> Option<u64> {
    let (fired, next) = due();
    for who in &fired {
        if let Some(who) = who.upgrade() {
            who.fire();
        }
    }
    if fired.is_empty() { next } else { Some(0) }
}

/// The timer thread: fires timers as they come due.
pub fn service() -> ! {
    loop {
        let next = run_once();
        if next != Some(0) {
            pal().park(&SERVICE, next, &mut []);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use core::sync::atomic::AtomicU32;

    /// Runs the timer thread in unit tests, once.
    pub fn start() {
        static ONCE: std::sync::Once = std::sync::Once::new();
        crate::testing::boot();
        ONCE.call_once(|| {
            std::thread::spawn(|| service());
        });
    }

    struct Count(AtomicU32);
    impl Fire for Count {
        fn fire(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn timers_fire_in_time_unless_cancelled_or_gone() {
        start();
        let c = Arc::new(Count(AtomicU32::new(0)));
        let weak: Weak<dyn Fire> = Arc::downgrade(&(c.clone() as Arc<dyn Fire>));
        let ms = 1_000_000;
        let far = add_timer(Base::Monotonic, monotonic() + 10_000 * ms, weak.clone());
        add_timer(Base::Monotonic, monotonic() + 5 * ms, weak.clone());
        add_timer(Base::Realtime, realtime() + 5 * ms, weak.clone());
        add_timer(Base::Realtime, 1, weak.clone());
        cancel(add_timer(Base::Monotonic, monotonic() + 8 * ms, weak));
        let until = monotonic() + 2_000 * ms;
        while c.0.load(Ordering::SeqCst) < 3 && monotonic() < until {
            std::thread::yield_now();
        }
        std::thread::sleep(core::time::Duration::from_millis(20));
        assert_eq!(c.0.load(Ordering::SeqCst), 3);
        cancel(far);
    }
}
