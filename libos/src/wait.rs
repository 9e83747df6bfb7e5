//! Sleeping until something happens: wait queues, poll registrations, and the one blocking loop.

use crate::{Errno, Result, Task, pal};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use bastide_pal::{HostFd, HostPoll, Park};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Poll events, `poll(2)` bits (and epoll's, which are the same numbers).
pub type Events = u32;
pub const POLLIN: Events = 0x1;
pub const POLLPRI: Events = 0x2;
pub const POLLOUT: Events = 0x4;
pub const POLLERR: Events = 0x8;
pub const POLLHUP: Events = 0x10;
pub const POLLNVAL: Events = 0x20;
pub const POLLRDNORM: Events = 0x40;
pub const POLLRDBAND: Events = 0x80;
pub const POLLWRNORM: Events = 0x100;
pub const POLLWRBAND: Events = 0x200;
pub const POLLRDHUP: Events = 0x2000;
/// Wakes every waiter whatever it waits for.
pub const POLLALL: Events = u32::MAX;

/// Something that can be told of an event, by whoever caused it: it must not sleep. It may be told
/// once more after its registration was dropped, by somebody who had found it before.
pub trait Wake: Send + Sync {
    /// `events` happened, a hint. True if somebody was woken (counts for exclusive waits).
    fn wake(&self, events: Events) -> bool;
}

/// A task's sleeping place as a waker.
#[derive(Default)]
pub struct Parker {
    pub park: Park,
}

impl Wake for Parker {
    fn wake(&self, _events: Events) -> bool {
        pal().unpark(&self.park);
        true
    }
}

struct Entry {
    /// Rises from entry to entry.
    key: usize,
    exclusive: bool,
    waker: Arc<dyn Wake>,
}

#[derive(Default)]
struct Inner {
    count: AtomicUsize,
    entries: Mutex<(usize, Vec<Entry>)>,
}

/// A list of those who wait for an object. Cloning makes another handle to the same list.
#[derive(Clone, Default)]
pub struct WaitQueue(Arc<Inner>);

impl WaitQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes all waiters.
    pub fn wake_all(&self, events: Events) {
        self.wake_some(usize::MAX, events);
    }

    /// Wakes every non-exclusive waiter and one exclusive one.
    pub fn wake_one(&self, events: Events) {
        self.wake_some(1, events);
    }

    fn wake_some(&self, exclusive: usize, events: Events) {
        // Pairs with the increment in `register`: whoever registered before we look is seen, and
        // whoever comes later checks its condition after our change.
        core::sync::atomic::fence(Ordering::SeqCst);
        if self.0.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        // Called without the lock: where the woken thread runs at once on this CPU, it would run
        // into it, and two sleeps and wake-ups would come of one.
        let mut left = exclusive;
        let mut next = 0;
        let last = self.0.entries.lock().0;
        while let Some((key, exclusive, waker)) = self.waiter(next, last, left != 0) {
            if waker.wake(events) && exclusive {
                left = left.saturating_sub(1);
            }
            next = key + 1;
        }
    }

    /// The first of the waiters `from..=to` that may be woken: an exclusive one only if `exclusive`.
    fn waiter(
        &self,
        from: usize,
        to: usize,
        exclusive: bool,
    ) -> Option<(usize, bool, Arc<dyn Wake>)> {
        let guard = self.0.entries.lock();
        let start = guard.1.partition_point(|e| e.key < from);
        let mut entries = guard.1[start..].iter().take_while(|e| e.key <= to);
        let found = entries.find(|e| exclusive || !e.exclusive)?;
        Some((found.key, found.exclusive, found.waker.clone()))
    }

    /// Adds a waiter until the registration is dropped.
    pub fn register(&self, waker: Arc<dyn Wake>, exclusive: bool) -> Registration {
        let mut guard = self.0.entries.lock();
        guard.0 += 1;
        let key = guard.0;
        guard.1.push(Entry {
            key,
            exclusive,
            waker,
        });
        self.0.count.fetch_add(1, Ordering::SeqCst);
        Registration {
            queue: Arc::downgrade(&self.0),
            key,
        }
    }

    /// Somebody waits.
    pub fn is_waited_on(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) != 0
    }
}

/// Membership of a wait queue.
pub struct Registration {
    queue: Weak<Inner>,
    key: usize,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(q) = self.queue.upgrade() {
            let mut guard = q.entries.lock();
            if let Some(i) = guard.1.iter().position(|e| e.key == self.key) {
                let gone = guard.1.remove(i);
                q.count.fetch_sub(1, Ordering::Relaxed);
                drop(guard);
                drop(gone);
            }
        }
    }
}

/// Collects what a poller must listen to. Handed to [`crate::fs::FileOps::poll`]; `None` there
/// asks only for the present state.
pub struct PollTable {
    waker: Arc<dyn Wake>,
    exclusive: bool,
    /// Registrations made so far.
    pub registrations: Vec<Registration>,
    /// Host descriptors to listen to beside them.
    pub hosts: Vec<(HostFd, Events)>,
    /// What the poller waits for: a host descriptor that is ready for something else must not end
    /// its sleep again and again.
    pub wanted: Events,
}

impl PollTable {
    /// For a poller that is told through `waker`.
    pub fn new(waker: Arc<dyn Wake>) -> Self {
        PollTable {
            waker,
            exclusive: false,
            registrations: Vec::new(),
            hosts: Vec::new(),
            wanted: POLLALL,
        }
    }

    /// As [`PollTable::new`], waking one of many (`EPOLLEXCLUSIVE`).
    pub fn exclusive(waker: Arc<dyn Wake>) -> Self {
        PollTable {
            exclusive: true,
            ..Self::new(waker)
        }
    }

    /// Listens to a queue.
    pub fn listen(&mut self, q: &WaitQueue) {
        self.registrations
            .push(q.register(self.waker.clone(), self.exclusive));
    }

    /// Listens to a host descriptor, for those of `events` that the poller waits for.
    pub fn listen_host(&mut self, fd: HostFd, events: Events) {
        self.hosts.push((fd, events & self.wanted));
    }
}

/// Sleeps until `cond` gives a value. `queues` are those whose wake-ups may change it.
///
/// ERESTARTSYS if a signal came, ETIMEDOUT at the monotonic `deadline` (nanoseconds).
pub fn wait_until<T>(
    t: &Task,
    queues: &[&WaitQueue],
    deadline: Option<u64>,
    mut cond: impl FnMut() -> Option<T>,
) -> Result<T> {
    if let Some(v) = cond() {
        return Ok(v);
    }
    let _registered: Vec<Registration> = queues
        .iter()
        .map(|q| q.register(t.parker.clone(), false))
        .collect();
    loop {
        if let Some(v) = cond() {
            return Ok(v);
        }
        if t.interrupted() {
            return Err(Errno::ERESTARTSYS);
        }
        if expired(deadline) {
            return Err(Errno::ETIMEDOUT);
        }
        pal().park(&t.parker.park, deadline, &mut []);
    }
}

/// As [`wait_until`], but only the task's end cuts it short (`None`).
pub fn wait_killable<T>(
    t: &Task,
    queues: &[&WaitQueue],
    mut cond: impl FnMut() -> Option<T>,
) -> Option<T> {
    let _registered: Vec<Registration> = queues
        .iter()
        .map(|q| q.register(t.parker.clone(), false))
        .collect();
    loop {
        if let Some(v) = cond() {
            return Some(v);
        }
        if t.work().contains(crate::process::Work::EXIT) {
            return None;
        }
        pal().park(&t.parker.park, None, &mut []);
    }
}

/// As [`wait_until`] for an object that is polled: `poll` registers with the table on the first
/// call and returns `Some` when done. Host descriptors in the table are slept on as well.
pub fn wait_poll<T>(
    t: &Task,
    deadline: Option<u64>,
    mut poll: impl FnMut(Option<&mut PollTable>) -> Option<T>,
) -> Result<T> {
    if let Some(v) = poll(None) {
        return Ok(v);
    }
    let mut table = PollTable::new(t.parker.clone());
    let mut first = true;
    let mut hosts: Vec<HostPoll> = Vec::new();
    loop {
        let done = if first {
            poll(Some(&mut table))
        } else {
            poll(None)
        };
        if let Some(v) = done {
            return Ok(v);
        }
        if first {
            hosts = table
                .hosts
                .iter()
                .map(|&(fd, ev)| HostPoll {
                    fd,
                    events: ev as u16,
                    revents: 0,
                })
                .collect();
            first = false;
        }
        if t.interrupted() {
            return Err(Errno::ERESTARTSYS);
        }
        if expired(deadline) {
            return Err(Errno::ETIMEDOUT);
        }
        pal().park(&t.parker.park, deadline, &mut hosts);
    }
}

fn expired(deadline: Option<u64>) -> bool {
    deadline.is_some_and(|d| crate::time::monotonic() >= d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU32;

    struct Count(AtomicU32);
    impl Wake for Count {
        fn wake(&self, _: Events) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed);
            true
        }
    }

    /// Does what a woken thread does that runs before its waker goes on.
    struct Leave(WaitQueue, Mutex<Option<Registration>>);
    impl Wake for Leave {
        fn wake(&self, _: Events) -> bool {
            drop(self.1.lock().take());
            drop(self.0.register(Arc::new(Count(AtomicU32::new(0))), false));
            true
        }
    }

    #[test]
    fn waiters_come_and_go_while_others_are_woken() {
        let q = WaitQueue::new();
        let c = Arc::new(Count(AtomicU32::new(0)));
        let leavers = [(); 2].map(|()| {
            let leave = Arc::new(Leave(q.clone(), Mutex::new(None)));
            *leave.1.lock() = Some(q.register(leave.clone(), false));
            leave
        });
        let _n = q.register(c.clone(), false);
        q.wake_all(POLLIN);
        assert_eq!(c.0.load(Ordering::Relaxed), 1);
        assert!(leavers.iter().all(|leave| leave.1.lock().is_none()));
        q.wake_all(POLLIN);
        assert_eq!(c.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn exclusive_waiters_are_woken_one_at_a_time() {
        let q = WaitQueue::new();
        let c = Arc::new(Count(AtomicU32::new(0)));
        let _a = q.register(c.clone(), true);
        let b = q.register(c.clone(), true);
        let _n = q.register(c.clone(), false);
        q.wake_one(POLLIN);
        assert_eq!(c.0.load(Ordering::Relaxed), 2);
        q.wake_all(POLLIN);
        assert_eq!(c.0.load(Ordering::Relaxed), 5);
        drop(b);
        q.wake_all(POLLIN);
        assert_eq!(c.0.load(Ordering::Relaxed), 7);
    }
}
