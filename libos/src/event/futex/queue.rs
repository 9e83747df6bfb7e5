//! Who waits on which futex: hashed buckets of waiters.
//!
//! The word is compared under its bucket's lock, and wakers that change the word look at the
//! bucket afterwards; so no wake-up is lost. User memory is only touched there with accesses that
//! report a fault instead of repairing it.

use crate::mm::FutexKey;
use crate::wait::Parker;
use crate::{Task, pal};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::{Mutex, MutexGuard};
use core::hash::{Hash, Hasher};
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering, fence};

/// A power of two.
const BUCKETS: usize = 256;
/// [`Waiter::bucket`] of one that is in no queue (any more).
const NOWHERE: usize = usize::MAX;

/// What became of a waiter; [`Waiter::state`].
pub const WAITING: u32 = 0;
/// Woken by a wake-up.
pub const WOKEN: u32 = 1;
/// It owns the priority-inheritance futex, and the word says so.
pub const GRANTED: u32 = 2;
/// It owns the futex because the owner died; it must write the word itself.
pub const INHERITED: u32 = 3;

/// How a waiter waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Plain,
    /// To own a priority-inheritance futex.
    Lock,
    /// To be moved to that one by FUTEX_CMP_REQUEUE_PI.
    Requeue(FutexKey),
}

/// Somebody who waits on a futex.
pub struct Waiter {
    parker: Arc<Parker>,
    pub tid: i32,
    pub bitset: u32,
    pub state: AtomicU32,
    bucket: AtomicUsize,
    /// For [`Kind::Lock`]: who owns the futex it waits for.
    pub owner: AtomicI32,
}

impl Waiter {
    pub fn new(t: &Task, bitset: u32) -> Arc<Waiter> {
        Arc::new(Waiter {
            parker: t.parker.clone(),
            tid: t.tid,
            bitset,
            state: AtomicU32::new(WAITING),
            bucket: AtomicUsize::new(NOWHERE),
            owner: AtomicI32::new(0),
        })
    }

    /// What became of it, if anything.
    pub fn outcome(&self) -> Option<u32> {
        match self.state.load(Ordering::Acquire) {
            WAITING => None,
            s => Some(s),
        }
    }

    /// Leaves the queue it is in; the outcome if somebody was quicker.
    pub fn cancel(self: &Arc<Self>) -> Option<u32> {
        loop {
            let i = self.bucket.load(Ordering::Acquire);
            let Some(bucket) = TABLE.get(i) else {
                return self.outcome();
            };
            let mut b = Locked::new(i, bucket);
            if self.bucket.load(Ordering::Acquire) == i {
                b.remove(|e| Arc::ptr_eq(&e.waiter, self));
                self.bucket.store(NOWHERE, Ordering::Release);
                return None;
            }
        }
    }
}

/// A place in a queue.
pub struct Entry {
    pub key: FutexKey,
    pub kind: Kind,
    pub waiter: Arc<Waiter>,
}

struct Bucket {
    /// Waiters, and those about to be: what a waker looks at before it takes the lock.
    count: AtomicUsize,
    entries: Mutex<Vec<Entry>>,
}

static TABLE: [Bucket; BUCKETS] = [const {
    Bucket {
        count: AtomicUsize::new(0),
        entries: Mutex::new(Vec::new()),
    }
}; BUCKETS];

/// Multiplies and shifts: keys are addresses and small numbers, and not under an attacker's
/// control beyond his own buckets.
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u64(u64::from(b));
        }
    }
    fn write_u64(&mut self, v: u64) {
        self.0 = (self.0.rotate_left(5) ^ v).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn write_usize(&mut self, v: usize) {
        self.write_u64(v as u64);
    }
    fn write_isize(&mut self, v: isize) {
        self.write_u64(v as u64);
    }
    fn finish(&self) -> u64 {
        self.0 >> 32
    }
}

fn index(key: &FutexKey) -> usize {
    let mut h = Mix(0);
    key.hash(&mut h);
    h.finish() as usize & (BUCKETS - 1)
}

/// Nobody waits in the key's bucket. A caller that changed the word is seen by whoever queues.
pub fn deserted(key: &FutexKey) -> bool {
    fence(Ordering::SeqCst);
    TABLE[index(key)].count.load(Ordering::Relaxed) == 0
}

/// Says for as long as it lives that somebody may queue in a key's bucket, so that wakers take
/// the lock; then the word may be compared.
pub struct Intent(usize);

impl Intent {
    pub fn new(key: &FutexKey) -> Intent {
        let i = index(key);
        TABLE[i].count.fetch_add(1, Ordering::SeqCst);
        Intent(i)
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        TABLE[self.0].count.fetch_sub(1, Ordering::Release);
    }
}

/// A bucket's lock.
pub struct Locked {
    index: usize,
    entries: MutexGuard<'static, Vec<Entry>>,
}

impl Locked {
    fn new(index: usize, bucket: &'static Bucket) -> Locked {
        Locked {
            index,
            entries: bucket.entries.lock(),
        }
    }

    /// Locks the bucket of a key.
    pub fn of(key: &FutexKey) -> Locked {
        let i = index(key);
        Locked::new(i, &TABLE[i])
    }

    /// Locks the buckets of two keys; the second is `None` if they share one.
    pub fn both(a: &FutexKey, b: &FutexKey) -> (Locked, Option<Locked>) {
        let (i, j) = (index(a), index(b));
        match i.cmp(&j) {
            core::cmp::Ordering::Equal => (Locked::of(a), None),
            core::cmp::Ordering::Less => {
                let first = Locked::of(a);
                (first, Some(Locked::of(b)))
            }
            core::cmp::Ordering::Greater => {
                let second = Locked::of(b);
                (Locked::of(a), Some(second))
            }
        }
    }

    /// Every bucket in turn.
    pub fn each(mut f: impl FnMut(Locked)) {
        for (i, b) in TABLE.iter().enumerate() {
            if b.count.load(Ordering::SeqCst) != 0 {
                f(Locked::new(i, b));
            }
        }
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Queues a waiter behind the others.
    pub fn push(&mut self, e: Entry) {
        e.waiter.bucket.store(self.index, Ordering::Release);
        TABLE[self.index].count.fetch_add(1, Ordering::SeqCst);
        self.entries.push(e);
    }

    /// Takes an entry out, to be queued elsewhere or put on a [`WakeList`] before the lock goes.
    pub fn take(&mut self, i: usize) -> Option<Entry> {
        if i >= self.entries.len() {
            return None;
        }
        let e = self.entries.remove(i);
        TABLE[self.index].count.fetch_sub(1, Ordering::Release);
        Some(e)
    }

    /// Takes out the first entry that `which` names.
    pub fn remove(&mut self, which: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let i = self.entries.iter().position(which)?;
        self.take(i)
    }
}

/// Those to be woken once the locks are released.
#[derive(Default)]
pub struct WakeList(Vec<Arc<Waiter>>);

impl WakeList {
    /// Decides the fate of a waiter just taken out of its queue.
    pub fn add(&mut self, e: Entry, outcome: u32) {
        e.waiter.state.store(outcome, Ordering::Release);
        e.waiter.bucket.store(NOWHERE, Ordering::Release);
        self.0.push(e.waiter);
    }
}

impl Drop for WakeList {
    fn drop(&mut self) {
        for w in &self.0 {
            pal().unpark(&w.parker.park);
        }
    }
}
