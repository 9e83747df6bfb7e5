//! Sockets that only each other's messages hold.
//!
//! A Unix socket whose last descriptor travels in its own queue, or in a circle of queues, can
//! never be received again. As Linux does, we count for every Unix socket how many of its
//! references are in flight. When one that is in flight is closed, those with no other references
//! are candidates; the candidates that no queue outside them leads to are unreachable, and their
//! queues are emptied, which lets them go.

use super::each_queue;
use crate::fs::File;
use crate::net::packet::Packet;
use crate::net::socket::SocketFile;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_abi::raw::net::AF_UNIX;
use bastide_base::sync::Mutex;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Unix sockets in flight, by the address of their open file, and how often.
static FLYING: Mutex<BTreeMap<usize, (Weak<File>, usize)>> = Mutex::new(BTreeMap::new());
/// Entries there.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Sockets in flight that were closed since the last collection.
static SUSPECTS: AtomicUsize = AtomicUsize::new(0);
/// Files to let go, and whether somebody is at it: a queue may hold a socket whose queue holds
/// another, and so on, and closing one inside the other would use up the stack.
static GRAVES: Mutex<(bool, Vec<Arc<File>>)> = Mutex::new((false, Vec::new()));

fn unix(file: &File) -> Option<&SocketFile> {
    file.downcast::<SocketFile>()
        .filter(|s| s.0.common().domain == AF_UNIX)
}

fn key(file: &File) -> usize {
    core::ptr::from_ref(file) as usize
}

/// A file was put into a message.
pub fn departed(file: &Arc<File>) {
    if unix(file).is_none() {
        return;
    }
    let mut map = FLYING.lock();
    map.entry(key(file))
        .or_insert_with(|| (Arc::downgrade(file), 0))
        .1 += 1;
    COUNT.store(map.len(), Ordering::Release);
}

/// A file was taken out of a message.
pub fn arrived(file: &Arc<File>) {
    if unix(file).is_none() {
        return;
    }
    let mut map = FLYING.lock();
    if let Some(entry) = map.get_mut(&key(file)) {
        entry.1 -= 1;
        if entry.1 == 0 {
            map.remove(&key(file));
        }
    }
    COUNT.store(map.len(), Ordering::Release);
}

/// Lets files go, one after the other.
pub fn bury(files: Vec<Arc<File>>) {
    if files.is_empty() {
        return;
    }
    let mut graves = GRAVES.lock();
    graves.1.extend(files);
    if graves.0 {
        return;
    }
    graves.0 = true;
    while !graves.1.is_empty() {
        let now = core::mem::take(&mut graves.1);
        drop(graves);
        for f in now {
            closing(&f);
        }
        graves = GRAVES.lock();
    }
    graves.0 = false;
}

/// A reference to a socket's file is about to go, which may be the last that was not in flight.
///
/// With many sockets in flight not every one of these starts a collection, so that its cost is
/// spread over as many.
pub fn closing(file: &File) {
    let flying = COUNT.load(Ordering::Acquire);
    if flying == 0 || !FLYING.lock().contains_key(&key(file)) {
        return;
    }
    let suspects = SUSPECTS.fetch_add(1, Ordering::Relaxed) + 1;
    if suspects >= flying / 16 {
        SUSPECTS.store(0, Ordering::Relaxed);
        collect(file);
    }
}

/// Empties the queues of unreachable sockets. One of the references of `closing` is already as
/// good as gone.
fn collect(closing: &File) {
    let mut lost: Vec<VecDeque<Packet>> = Vec::new();
    let mut held: Vec<Arc<File>> = Vec::new();
    {
        let map = FLYING.lock();
        // Those with references only in flight. The count is read before `upgrade` adds one.
        let mut candidates: BTreeMap<usize, (Arc<File>, usize)> = BTreeMap::new();
        for (&k, (weak, flying)) in map.iter() {
            let leaving = usize::from(key(closing) == k);
            if weak.strong_count() == flying + leaving
                && let Some(file) = weak.upgrade()
            {
                candidates.insert(k, (file, *flying));
            }
        }
        let inside = |file: &File, f: &mut dyn FnMut(usize)| {
            if let Some(s) = unix(file) {
                each_queue(&*s.0, &mut |q| q.each_file(|x| f(key(x))));
            }
        };
        // References that come from queues of candidates.
        let mut internal: BTreeMap<usize, usize> = BTreeMap::new();
        for (file, _) in candidates.values() {
            inside(file, &mut |k| *internal.entry(k).or_default() += 1);
        }
        // Whoever has one from elsewhere is reachable, and so is all that it leads to.
        let mut reached: Vec<usize> = candidates
            .iter()
            .filter(|(k, (_, flying))| internal.get(k).copied().unwrap_or(0) < *flying)
            .map(|(k, _)| *k)
            .collect();
        while let Some(k) = reached.pop() {
            if let Some((file, _)) = candidates.remove(&k) {
                inside(&file, &mut |k| reached.push(k));
                held.push(file);
            }
        }
        for (_, (file, _)) in candidates {
            if let Some(s) = unix(&file) {
                each_queue(&*s.0, &mut |q| lost.push(q.drain()));
            }
            held.push(file);
        }
    }
    drop(lost);
    drop(held);
}
