//! Host descriptors behind watched files: a host readiness set as companion of the epoll set.
//!
//! Descriptors are in the host's set edge-triggered: an event moves the items to the ready list,
//! where polling the file decides; a descriptor that stays ready does not disturb sleepers.

use super::Shared;
use super::item::{EPOLLET, Item};
use crate::fs::HostHandle;
use crate::pal;
use crate::wait::Events;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use bastide_pal::{HostFd, HostPoll};

/// Events taken from the host at a time.
const BATCH: usize = 64;

#[derive(Default)]
struct Inner {
    set: Option<HostHandle>,
    /// Items by descriptor number, which is also the cookie.
    items: BTreeMap<i32, Vec<Weak<Item>>>,
}

/// The companion set, made when first needed.
#[derive(Default)]
pub struct Hosts(Mutex<Inner>);

fn lives(w: &Weak<Item>) -> Option<Arc<Item>> {
    w.upgrade()
        .filter(|i| !i.removed.load(core::sync::atomic::Ordering::SeqCst))
}

impl Inner {
    /// Tells the host what the items of a descriptor want.
    fn apply(&mut self, fd: i32) {
        let Some(set) = self.set.as_ref().map(|s| s.0) else {
            return;
        };
        let Some(items) = self.items.get_mut(&fd) else {
            return;
        };
        items.retain(|w| lives(w).is_some());
        let mut union: Events = 0;
        for item in items.iter().filter_map(lives) {
            let wanted = item.wanted();
            for (_, ev) in item.hosts.lock().iter().filter(|(h, _)| h.0 == fd) {
                union |= ev & wanted;
            }
        }
        if items.is_empty() {
            self.items.remove(&fd);
            let _ = pal().readiness_set(set, HostFd(fd), None);
        } else {
            let _ = pal().readiness_set(set, HostFd(fd), Some((union | EPOLLET, fd as u64)));
        }
    }
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
            let list = inner.items.entry(fd).or_default();
            if !list.iter().any(|w| w.as_ptr() == Arc::as_ptr(item)) {
                list.push(Arc::downgrade(item));
            }
            inner.apply(fd);
        }
    }

    /// An item has nothing to do with these descriptors any more.
    pub fn leave(&self, item: &Arc<Item>, fds: &[(HostFd, Events)]) {
        if fds.is_empty() {
            return;
        }
        let mut inner = self.0.lock();
        for (fd, _) in fds {
            if let Some(list) = inner.items.get_mut(&fd.0) {
                list.retain(|w| w.as_ptr() != Arc::as_ptr(item));
                inner.apply(fd.0);
            }
        }
    }

    /// Moves the items of ready descriptors to the ready list, and tells what they are ready for.
    pub fn take(&self, shared: &Shared) -> Fresh {
        let mut fresh = Fresh::default();
        let mut inner = self.0.lock();
        let Some(set) = inner.set.as_ref().map(|s| s.0) else {
            return fresh;
        };
        // Enough rounds for every descriptor; a host that never ends would keep the lock.
        for _ in 0..=inner.items.len() / BATCH {
            let mut out = [(0, 0); BATCH];
            let n = pal().readiness_take(set, &mut out).unwrap_or(0).min(BATCH);
            for &(events, cookie) in &out[..n] {
                let fd = cookie as i32;
                fresh.0.push((fd, events));
                let items: Vec<Arc<Item>> = match inner.items.get(&fd) {
                    Some(list) => list.iter().filter_map(lives).collect(),
                    None => continue,
                };
                if items.is_empty() {
                    // All were closed while the descriptor lived on elsewhere.
                    inner.apply(fd);
                }
                for item in &items {
                    shared.push(item);
                }
            }
            if n < BATCH {
                break;
            }
        }
        fresh.0.sort_unstable();
        fresh
    }
}

/// What the host has just said of descriptors, as far as somebody watches for it.
#[derive(Default)]
pub struct Fresh(Vec<(i32, Events)>);

impl Fresh {
    /// What it said of one.
    fn of(&self, fd: HostFd) -> Option<Events> {
        let i = self.0.binary_search_by_key(&fd.0, |(n, _)| *n).ok()?;
        Some(self.0[i].1)
    }

    /// What is known of items that stand for one host descriptor each; the host is asked about
    /// the others together.
    pub fn know(&self, items: &[Arc<Item>]) -> Vec<Option<(HostFd, Events)>> {
        let mut polls: Vec<HostPoll> = Vec::new();
        let single = |item: &Arc<Item>| match item.hosts.lock()[..] {
            [(fd, _)] => Some(fd),
            _ => None,
        };
        let mut known: Vec<Option<(HostFd, Events)>> = items
            .iter()
            .map(|item| {
                let fd = single(item)?;
                let said = self.of(fd);
                if said.is_none() {
                    polls.push(HostPoll {
                        fd,
                        events: item.wanted() as u16,
                        revents: 0,
                    });
                }
                Some((fd, said.unwrap_or(0)))
            })
            .collect();
        if polls.is_empty() {
            return known;
        }
        pal().poll_now(&mut polls);
        let mut answers = polls.iter();
        for (fd, events) in known.iter_mut().flatten() {
            if self.of(*fd).is_none() {
                *events = answers.next().map_or(0, |p| Events::from(p.revents));
            }
        }
        known
    }
}
