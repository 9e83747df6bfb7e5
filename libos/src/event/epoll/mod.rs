//! `epoll(7)`.
//!
//! An [`Item`] is one watched descriptor. It stands in the wait queues of its file as a waker
//! that puts it on the set's ready list and wakes who waits for the set, so idle items cost
//! nothing. Files with host descriptors behind them are also in a host readiness set, whose
//! results go to the same list.

mod hosts;
mod item;
mod nest;
mod syscalls;
#[cfg(test)]
mod tests;

pub use syscalls::{
    sys_epoll_create, sys_epoll_create1, sys_epoll_ctl, sys_epoll_pwait, sys_epoll_pwait2,
    sys_epoll_wait,
};

use crate::fs::{File, FileOps};
use crate::wait::{Events, POLLALL, POLLIN, POLLRDNORM, PollTable, WaitQueue};
use crate::{Errno, Result, Task};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use core::any::Any;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};
use hosts::{Hosts, Out};
use item::{EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT, Item};
use nest::Nest;
use zerocopy::{Immutable, IntoBytes};

/// `struct epoll_event`, which is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C, packed)]
pub struct Event {
    events: Events,
    data: u64,
}

/// What items need of their set.
struct Shared {
    ready: Mutex<VecDeque<Arc<Item>>>,
    /// Those who wait for the set, and sets that watch it.
    queue: WaitQueue,
    nest: Mutex<Nest>,
}

impl Shared {
    /// Puts an item on the ready list unless it is there.
    fn push(&self, item: &Arc<Item>) {
        if item.queued.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut ready = self.ready.lock();
        if !item.removed.load(Ordering::SeqCst) {
            ready.push_back(item.clone());
        }
    }

    fn pop(&self) -> Option<Arc<Item>> {
        let item = self.ready.lock().pop_front()?;
        // Before the file is polled: what happens after that queues it again.
        item.queued.store(false, Ordering::SeqCst);
        Some(item)
    }
}

/// A descriptor's number and its file: the same file under two numbers is two items. An item keeps
/// its file's address from being used again.
type Key = (i32, usize);
/// Watched descriptors.
type Items = BTreeMap<Key, Arc<Item>>;

/// The object behind the descriptor.
pub struct Epoll {
    shared: Arc<Shared>,
    items: Mutex<Items>,
    hosts: Hosts,
    rounds: AtomicU64,
    /// Items that were reported and are not on the ready list: if their files were closed then,
    /// the next wait forgets them.
    reported: Mutex<Vec<Arc<Item>>>,
}

fn key(fd: i32, file: &Arc<File>) -> Key {
    (fd, Arc::as_ptr(file).addr())
}

impl Epoll {
    fn new() -> Epoll {
        Epoll {
            shared: Arc::new(Shared {
                ready: Mutex::default(),
                queue: WaitQueue::new(),
                nest: Mutex::default(),
            }),
            items: Mutex::default(),
            hosts: Hosts::default(),
            rounds: AtomicU64::new(0),
            reported: Mutex::default(),
        }
    }

    /// A number of its own for each time that the host is asked.
    fn round(&self) -> u64 {
        self.rounds.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Forgets items that were reported and whose files were closed then.
    fn tidy(&self) {
        let mut now = self.reported.lock();
        if now.is_empty() {
            return;
        }
        let mut reported = core::mem::take(&mut *now);
        drop(now);
        for item in reported.drain(..) {
            if item.file.strong_count() == 0 && !item.removed.load(Ordering::SeqCst) {
                self.forget(&item);
            }
        }
        // Its memory serves the next wait, unless another was faster.
        let mut now = self.reported.lock();
        if now.capacity() == 0 {
            *now = reported;
        }
    }

    /// Asks the host what is ready, and returns the round.
    fn ask(&self, out: &mut Out<'_>) -> u64 {
        self.tidy();
        let round = self.round();
        self.hosts.take(&self.shared, round, out);
        round
    }

    /// EPOLL_CTL_ADD. EEXIST, EINVAL or ELOOP (nested sets).
    fn add(&self, t: &Task, fd: i32, file: &Arc<File>, events: u32, data: u64) -> Result<()> {
        let nested = file.downcast::<Epoll>();
        if nested.is_some() && events & EPOLLEXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        let mut items = self.items.lock();
        if items.contains_key(&key(fd, file)) {
            return Err(Errno::EEXIST);
        }
        // What was closed without being removed goes when it might outweigh the rest.
        if items.len() >= 64 && items.len().is_power_of_two() {
            items.retain(|_, i| {
                let lives = i.file.strong_count() > 0;
                if !lives {
                    i.retire();
                    self.hosts.forget(i);
                }
                lives
            });
        }
        if let Some(inner) = nested {
            nest::link(&self.shared, &inner.shared)?;
        }
        let key = key(fd, file);
        let item = Arc::new(Item::new(key, file, events, data, self.shared.clone()));
        items.insert(key, item.clone());
        drop(items);
        let had_hosts = self.hosts.set().is_some();
        let ready = item.watch(Some(t), &self.hosts, file);
        if !had_hosts && self.hosts.set().is_some() {
            // Who sleeps must sleep on the host's set as well from now on.
            self.shared.queue.wake_all(POLLALL);
        }
        if ready {
            self.shared.push(&item);
            self.shared.queue.wake_one(POLLIN | POLLRDNORM);
        }
        Ok(())
    }

    /// EPOLL_CTL_MOD. ENOENT; EINVAL for an exclusive item.
    fn modify(&self, t: &Task, fd: i32, file: &Arc<File>, events: u32, data: u64) -> Result<()> {
        let item = self
            .items
            .lock()
            .get(&key(fd, file))
            .cloned()
            .ok_or(Errno::ENOENT)?;
        if item.flags() & EPOLLEXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        item.set(events, data);
        self.hosts.update(&item);
        // The host looks afresh when it is told what is wanted.
        let ready = item
            .knowing(file, 0)
            .unwrap_or_else(|| file.poll_for(Some(t), None));
        if ready & item.wanted() != 0 {
            self.shared.push(&item);
            self.shared.queue.wake_one(POLLIN | POLLRDNORM);
        }
        Ok(())
    }

    /// EPOLL_CTL_DEL. ENOENT.
    fn remove(&self, fd: i32, file: &Arc<File>) -> Result<()> {
        let item = self
            .items
            .lock()
            .remove(&key(fd, file))
            .ok_or(Errno::ENOENT)?;
        item.retire();
        let hosts = item.hosts.lock().clone();
        self.hosts.leave(&item, &hosts);
        self.shared.ready.lock().retain(|i| !Arc::ptr_eq(i, &item));
        if let Some(inner) = file.downcast::<Epoll>() {
            nest::unlink(&self.shared, &inner.shared);
        }
        Ok(())
    }

    /// An item whose file is gone.
    fn forget(&self, item: &Arc<Item>) {
        self.items.lock().remove(&item.key);
        item.retire();
        self.hosts.forget(item);
    }

    /// The item's events for a task, if it is still watched and anything wanted is there, and
    /// whether the host has just said so.
    fn state(&self, t: Option<&Task>, item: &Arc<Item>, round: u64) -> Option<(Events, bool)> {
        if item.removed.load(Ordering::SeqCst) {
            return None;
        }
        let Some(file) = item.file.upgrade() else {
            self.forget(item);
            return None;
        };
        let mut said = item.take_said(round);
        if item.stale.swap(false, Ordering::SeqCst) {
            item.watch(t, &self.hosts, &file);
            said = None;
        }
        let known = said.and_then(|said| item.knowing(&file, said));
        let events = known.unwrap_or_else(|| file.poll_for(t, None));
        match events & item.wanted() {
            0 => None,
            ev => Some((
                ev,
                known.is_some() && said.is_some_and(|said| ev & !said == 0),
            )),
        }
    }

    /// Takes events that are there for a task, until there are `max` of them, after the host was
    /// asked in `round`.
    fn collect(&self, t: &Task, max: usize, round: u64, out: &mut Vec<Event>) {
        // Level-triggered items go back to the end: see each of them once.
        let mut left = self.shared.ready.lock().len();
        while left > 0 && out.len() < max {
            left -= 1;
            let Some(item) = self.shared.pop() else {
                break;
            };
            let Some((ev, from_host)) = self.state(Some(t), &item, round) else {
                continue;
            };
            let flags = item.flags();
            out.push(Event {
                events: ev,
                data: item.data(),
            });
            if flags & EPOLLONESHOT != 0 {
                item.disarm();
                self.hosts.update(&item);
            } else if flags & EPOLLET == 0 && !(from_host && item.repeated.load(Ordering::SeqCst)) {
                self.shared.push(&item);
                continue;
            }
            self.reported.lock().push(item);
        }
    }

    /// The `nth` watched file with a descriptor number, for `kcmp(2)`.
    pub fn watched(&self, fd: i32, nth: usize) -> Option<Arc<File>> {
        let items = self.items.lock();
        items
            .range((fd, 0)..=(fd, usize::MAX))
            .filter_map(|(_, i)| i.file.upgrade())
            .nth(nth)
    }

    /// Something would be collected by a task.
    fn any_ready(&self, t: Option<&Task>) -> bool {
        let mut none = Vec::new();
        let round = self.ask(&mut Out {
            list: &mut none,
            max: 0,
        });
        let mut left = self.shared.ready.lock().len();
        while left > 0 {
            left -= 1;
            let Some(item) = self.shared.pop() else {
                break;
            };
            if self.state(t, &item, round).is_some() {
                self.shared.push(&item);
                return true;
            }
        }
        false
    }

    fn poll_as(&self, t: Option<&Task>, table: Option<&mut PollTable>) -> Events {
        if let Some(table) = table {
            table.listen(&self.shared.queue);
            if let Some(set) = self.hosts.set() {
                table.listen_host(set, POLLIN);
            }
        }
        if self.any_ready(t) {
            POLLIN | POLLRDNORM
        } else {
            0
        }
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        let items = core::mem::take(&mut *self.items.lock());
        for item in items.values() {
            item.retire();
        }
        let ready = core::mem::take(&mut *self.shared.ready.lock());
        drop((items, ready));
    }
}

impl FileOps for Epoll {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn poll(&self, _f: &File, table: Option<&mut PollTable>) -> Events {
        self.poll_as(None, table)
    }

    fn poll_for(&self, t: &Task, _f: &File, table: Option<&mut PollTable>) -> Events {
        self.poll_as(Some(t), table)
    }

    fn describe(&self) -> String {
        String::from("anon_inode:[eventpoll]")
    }

    fn fdinfo(&self, out: &mut String) {
        for ((fd, _), item) in self.items.lock().iter() {
            if item.file.strong_count() > 0 {
                let events = item.wanted() | item.flags();
                let _ = writeln!(
                    out,
                    "tfd: {fd:8} events: {events:8x} data: {:16x}  pos:0 ino:0 sdev:0",
                    item.data()
                );
            }
        }
    }
}
