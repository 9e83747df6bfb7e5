//! One watched descriptor.

use super::{Event, Hosts, Key, Shared};
use crate::Task;
use crate::fs::File;
use crate::wait::{
    Events, POLLALL, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, PollTable, Registration, Wake,
};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use bastide_pal::HostFd;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

pub const EPOLLEXCLUSIVE: u32 = 1 << 28;
pub const EPOLLWAKEUP: u32 = 1 << 29;
pub const EPOLLONESHOT: u32 = 1 << 30;
pub const EPOLLET: u32 = 1 << 31;
/// Bits that are not events.
pub const FLAGS: u32 = EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET;

/// One watched descriptor.
pub struct Item {
    /// Where the set keeps it.
    pub key: Key,
    pub file: Weak<File>,
    /// Events and flags; no events when a one-shot item was reported.
    events: AtomicU32,
    data: AtomicU64,
    set: Arc<Shared>,
    /// On the ready list, or about to be.
    pub queued: AtomicBool,
    /// Not watched any more.
    pub removed: AtomicBool,
    /// The file said that everything may have changed: it must be listened to afresh.
    pub stale: AtomicBool,
    registrations: Mutex<Vec<Registration>>,
    /// Host descriptors behind the file.
    pub hosts: Mutex<Vec<(HostFd, Events)>>,
    /// What the host says of its one descriptor settles what the file is ready for.
    exact: AtomicBool,
    /// The host reports it again and again as long as it is ready.
    pub repeated: AtomicBool,
    /// What the host said last: events, and above them the round in which it said so.
    said: AtomicU64,
}

impl Item {
    pub fn new(key: Key, file: &Arc<File>, events: u32, data: u64, set: Arc<Shared>) -> Item {
        Item {
            key,
            file: Arc::downgrade(file),
            events: AtomicU32::new(events | POLLERR | POLLHUP),
            data: AtomicU64::new(data),
            set,
            queued: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            stale: AtomicBool::new(false),
            registrations: Mutex::default(),
            hosts: Mutex::default(),
            exact: AtomicBool::new(false),
            repeated: AtomicBool::new(false),
            said: AtomicU64::new(0),
        }
    }

    /// It is watched, and its file is open.
    pub fn is_watched(&self) -> bool {
        !self.removed.load(Ordering::SeqCst) && self.file.strong_count() > 0
    }

    /// The event to report now that the host has said `ready` of `fd`, if its word is enough and
    /// nothing about the item changes by that: the host sees to the next one.
    pub fn straight(&self, fd: HostFd, ready: Events) -> Option<Event> {
        let flags = self.flags();
        let next_is_said = flags & EPOLLET != 0 || self.repeated.load(Ordering::SeqCst);
        let settled = self.exact.load(Ordering::SeqCst)
            && !self.queued.load(Ordering::SeqCst)
            && !self.stale.load(Ordering::SeqCst)
            && !self.removed.load(Ordering::SeqCst);
        if !settled || !next_is_said || flags & EPOLLONESHOT != 0 {
            return None;
        }
        let events = self.file.upgrade()?.ops.poll_knowing(fd, ready)? & self.wanted();
        (events != 0 && events & !ready == 0).then(|| Event {
            events,
            data: self.data(),
        })
    }

    /// What the file is ready for if the host has said `ready` of its descriptor; `None` if that
    /// does not settle it.
    pub fn knowing(&self, file: &File, ready: Events) -> Option<Events> {
        match self.hosts.lock()[..] {
            [(fd, _)] => file.ops.poll_knowing(fd, ready),
            _ => None,
        }
    }

    /// The host may be left to repeat its events.
    pub fn may_repeat(&self) -> bool {
        self.exact.load(Ordering::SeqCst) && self.flags() & (EPOLLET | EPOLLONESHOT) == 0
    }

    /// Puts the item on its set's ready list.
    pub fn queue(self: &Arc<Self>) {
        self.set.push(self);
    }

    /// Remembers what the host says in a round.
    pub fn say(&self, round: u64, events: Events) {
        let said = round << 16 | u64::from(events & 0xffff);
        self.said.store(said, Ordering::SeqCst);
    }

    /// What the host said in this round. Later it counts no more: another thread may have taken
    /// what was there.
    pub fn take_said(&self, round: u64) -> Option<Events> {
        let said = self.said.swap(0, Ordering::SeqCst);
        let known = said >> 16 == round && said & 0xffff != 0;
        known.then_some((said & 0xffff) as Events)
    }

    /// Changes what is watched for.
    pub fn set(&self, events: u32, data: u64) {
        self.data.store(data, Ordering::SeqCst);
        self.events
            .store(events | POLLERR | POLLHUP, Ordering::SeqCst);
    }

    /// Reports nothing until it is changed.
    pub fn disarm(&self) {
        self.events.fetch_and(FLAGS, Ordering::SeqCst);
    }

    pub fn flags(&self) -> u32 {
        self.events.load(Ordering::SeqCst) & FLAGS
    }

    pub fn wanted(&self) -> Events {
        self.events.load(Ordering::SeqCst) & !FLAGS
    }

    pub fn data(&self) -> u64 {
        self.data.load(Ordering::SeqCst)
    }

    /// Listens to the file for a task, instead of as before; true if something wanted is there
    /// already.
    pub fn watch(self: &Arc<Self>, t: Option<&Task>, hosts: &Hosts, file: &File) -> bool {
        let waker = Arc::new(Waker(self.clone()));
        let mut table = if self.flags() & EPOLLEXCLUSIVE != 0 {
            PollTable::exclusive(waker)
        } else {
            PollTable::new(waker)
        };
        let ready = file.poll_for(t, Some(&mut table)) & self.wanted() != 0;
        let old = core::mem::replace(&mut *self.registrations.lock(), table.registrations);
        drop(old);
        let exact = match table.hosts[..] {
            [(fd, _)] => file.ops.poll_knowing(fd, 0).is_some(),
            _ => false,
        };
        let was_exact = self.exact.swap(exact, Ordering::SeqCst);
        let old = core::mem::replace(&mut *self.hosts.lock(), table.hosts.clone());
        if old != table.hosts || was_exact != exact {
            hosts.leave(self, &old);
            hosts.update(self);
        }
        if self.removed.load(Ordering::SeqCst) {
            self.retire();
        }
        ready
    }

    /// Stops listening. Not to be called from a wake-up.
    pub fn retire(&self) {
        self.removed.store(true, Ordering::SeqCst);
        let gone = core::mem::take(&mut *self.registrations.lock());
        drop(gone);
    }
}

/// What an item leaves in its file's wait queues.
struct Waker(Arc<Item>);

impl Wake for Waker {
    fn wake(&self, events: Events) -> bool {
        let item = &self.0;
        let wanted = item.wanted();
        if events == POLLALL {
            item.stale.store(true, Ordering::SeqCst);
        }
        if wanted == 0 || events != 0 && events & wanted == 0 {
            return false;
        }
        let queue = &item.set.queue;
        let waited_on = queue.is_waited_on();
        item.set.push(item);
        queue.wake_one(POLLIN | POLLRDNORM);
        // An exclusive event that nobody here waits for goes to another set.
        item.flags() & EPOLLEXCLUSIVE == 0 || waited_on && events & (POLLIN | POLLOUT) & wanted != 0
    }
}
