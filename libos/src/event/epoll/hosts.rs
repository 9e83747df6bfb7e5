//! Host descriptors behind watched files: a host readiness set as companion of the epoll set.
//!
//! Descriptors are in the host's set edge-triggered: an event moves the items to the ready list,
//! where polling the file decides; a descriptor that stays ready does not disturb sleepers. Where
//! what the host has just said settles it, the host is not asked again, and is left to repeat
//! what a level-triggered item wants: if nothing else is ready, its event goes to whoever waits
//! without the detour of the list.

use super::item::{EPOLLET, EPOLLEXCLUSIVE, Item};
use super::{Event, Shared};
use crate::fs::HostHandle;
use crate::pal;
use crate::wait::Events;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use bastide_pal::{HostEvent, HostFd, Park};
use core::sync::atomic::Ordering;
use hashbrown::HashMap;

/// Events taken from the host at a time.
const BATCH: usize = 64;

/// The items of one descriptor.
#[derive(Default)]
struct Watched {
    /// Changes whenever an item comes, so that an event on its way for those before, perhaps of
    /// another file with this number, is not believed of it.
    generation: u32,
    items: Vec<Arc<Item>>,
    /// What the host was told.
    told: Events,
}

impl Watched {
    fn cookie(&self, fd: i32) -> u64 {
        u64::from(self.generation) << 32 | u64::from(fd as u32)
    }
}

#[derive(Default)]
struct Inner {
    set: Option<HostHandle>,
    generation: u32,
    watched: HashMap<i32, Watched>,
}

/// The companion set, made when first needed.
#[derive(Default)]
pub struct Hosts(Mutex<Inner>);

impl Inner {
    /// What is watched of a descriptor, now without this item.
    fn without(&mut self, fd: i32, item: &Arc<Item>) -> Option<&Watched> {
        let watched = self.watched.get_mut(&fd)?;
        watched.items.retain(|i| !Arc::ptr_eq(i, item));
        Some(watched)
    }

    /// Tells the host what the items of a descriptor want. With `afresh` even if that is known: it
    /// then reports again what is ready.
    fn apply(&mut self, fd: i32, afresh: bool) {
        let Some(set) = self.set.as_ref().map(|s| s.0) else {
            return;
        };
        let Some(watched) = self.watched.get_mut(&fd) else {
            return;
        };
        watched.items.retain(|item| item.is_watched());
        let cookie = watched.cookie(fd);
        if watched.items.is_empty() {
            self.watched.remove(&fd);
            let _ = pal().readiness_set(set, HostFd(fd), None);
            return;
        }
        let mut flags: Events = 0;
        let repeat = watched.items.iter().all(|item| item.may_repeat());
        if !repeat {
            flags |= EPOLLET;
        }
        for item in &watched.items {
            let wanted = item.wanted();
            for (_, ev) in item.hosts.lock().iter().filter(|(h, _)| h.0 == fd) {
                flags |= ev & wanted;
            }
            if item.repeated.swap(repeat, Ordering::SeqCst) && !repeat {
                // What the host would have repeated.
                item.queue();
            }
        }
        if watched.told == flags && !afresh {
            return;
        }
        watched.told = flags;
        let set_to = |flags| pal().readiness_set(set, HostFd(fd), Some((flags, cookie)));
        // The host takes the exclusive flag for a descriptor that is new to the set only.
        let exclusive = matches!(&watched.items[..], [item] if item.flags() & EPOLLEXCLUSIVE != 0);
        let done = set_to(flags | if exclusive { EPOLLEXCLUSIVE } else { 0 });
        if done.is_err() {
            let _ = pal().readiness_set(set, HostFd(fd), None);
            let _ = set_to(flags);
        }
    }

    /// Moves the items of ready descriptors to the ready list, or their events straight `out`.
    fn deliver(&mut self, shared: &Shared, round: u64, events: &[HostEvent], out: &mut Out<'_>) {
        if !shared.ready.lock().is_empty() {
            // It may have been there for longer.
            out.max = 0;
        }
        out.list.reserve(out.max.min(events.len()));
        for &HostEvent { events, cookie } in events {
            let fd = cookie as u32 as i32;
            let Some(watched) = self.watched.get(&fd) else {
                // The host shall not repeat it.
                if let Some(set) = &self.set {
                    let _ = pal().readiness_set(set.0, HostFd(fd), None);
                }
                continue;
            };
            let known = watched.cookie(fd) == cookie;
            if let [item] = &watched.items[..]
                && known
                && out.list.len() < out.max
                && let Some(event) = item.straight(HostFd(fd), events)
            {
                out.list.push(event);
                continue;
            }
            let mut closed = true;
            for item in watched.items.iter().filter(|item| item.is_watched()) {
                closed = false;
                if known {
                    item.say(round, events);
                }
                shared.push(item);
            }
            if closed {
                // All of them, while the descriptor lived on elsewhere.
                self.apply(fd, true);
            }
        }
    }
}

/// Where events go for which the host's word is enough: to one who waits, as long as there is room.
pub struct Out<'a> {
    pub list: &'a mut Vec<Event>,
    pub max: usize,
}

impl Hosts {
    /// The host's set, if there is one.
    pub fn set(&self) -> Option<HostFd> {
        self.0.lock().set.as_ref().map(|s| s.0)
    }

    /// An item, or what it wants, is new.
    pub fn update(&self, item: &Arc<Item>) {
        let fds: Vec<i32> = item.hosts.lock().iter().map(|(h, _)| h.0).collect();
        if fds.is_empty() {
            return;
        }
        let mut inner = self.0.lock();
        if inner.set.is_none() {
            inner.set = pal().readiness_new().ok().map(HostHandle);
        }
        for fd in fds {
            let generation = inner.generation.wrapping_add(1);
            let watched = inner.watched.entry(fd).or_default();
            if !watched.items.iter().any(|i| Arc::ptr_eq(i, item)) {
                watched.items.push(item.clone());
                watched.generation = generation;
                inner.generation = generation;
            }
            inner.apply(fd, true);
        }
    }

    /// An item has nothing to do with these descriptors any more.
    pub fn leave(&self, item: &Arc<Item>, fds: &[(HostFd, Events)]) {
        if fds.is_empty() {
            return;
        }
        let mut inner = self.0.lock();
        for (fd, _) in fds {
            if inner.without(fd.0, item).is_some() {
                inner.apply(fd.0, false);
            }
        }
    }

    /// An item's file is gone, and with it the host's descriptors.
    pub fn forget(&self, item: &Arc<Item>) {
        let fds = item.hosts.lock().clone();
        if fds.is_empty() {
            return;
        }
        let mut inner = self.0.lock();
        for (fd, _) in fds {
            if inner
                .without(fd.0, item)
                .is_some_and(|watched| watched.items.is_empty())
            {
                inner.watched.remove(&fd.0);
            }
        }
    }

    /// Takes what is ready now, in this round, to the ready list or `out`.
    pub fn take(&self, shared: &Shared, round: u64, out: &mut Out<'_>) {
        let mut inner = self.0.lock();
        let Some(set) = inner.set.as_ref().map(|s| s.0) else {
            return;
        };
        // Enough for every descriptor; a host that never ends would keep the lock.
        for _ in 0..=inner.watched.len() / BATCH {
            let mut events = [HostEvent::default(); BATCH];
            let n = pal().readiness_take(set, &mut events);
            let n = n.unwrap_or(0).min(BATCH);
            inner.deliver(shared, round, &events[..n], out);
            if n < BATCH {
                return;
            }
        }
    }

    /// Sleeps until a descriptor is ready, too, and does as [`Hosts::take`].
    pub fn sleep(
        &self,
        park: &Park,
        deadline: Option<u64>,
        shared: &Shared,
        round: u64,
        out: &mut Out<'_>,
    ) {
        let Some(set) = self.set() else {
            return pal().park(park, deadline, &mut []);
        };
        let mut events = [HostEvent::default(); BATCH];
        let n = pal().readiness_wait(park, deadline, set, &mut events);
        let n = n.unwrap_or(0).min(BATCH);
        if n > 0 {
            self.0.lock().deliver(shared, round, &events[..n], out);
        }
        if n == BATCH {
            self.take(shared, round, out);
        }
    }
}
