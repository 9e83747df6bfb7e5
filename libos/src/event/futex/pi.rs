//! Priority-inheritance futexes. The protocol of ownership is Linux's; priorities themselves are
//! the host scheduler's business and are not passed on.
//!
//! An unlock hands the futex to the first waiter: the kernel writes the new owner into the word
//! under the bucket's lock.

use super::queue::{Entry, GRANTED, INHERITED, Intent, Kind, Locked, WOKEN, Waiter, WakeList};
use super::{Faulted, Word, wait};
use crate::mm::FutexKey;
use crate::wait::wait_until;
use crate::{Errno, Result, Task, process};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

pub(super) const WAITERS: u32 = 0x8000_0000;
pub(super) const OWNER_DIED: u32 = 0x4000_0000;
pub(super) const TID_MASK: u32 = 0x3fff_ffff;

/// Waiters for locks, over all futexes: whether an exiting task must look for its heirs.
static LOCK_WAITERS: AtomicUsize = AtomicUsize::new(0);

/// A waiter for a lock was queued outside this module.
pub(super) fn count(n: usize) {
    LOCK_WAITERS.fetch_add(n, Ordering::SeqCst);
}

fn uncount() {
    LOCK_WAITERS.fetch_sub(1, Ordering::SeqCst);
}

/// Somebody waits for the lock already.
pub(super) fn waited_on(b: &Locked, key: &FutexKey) -> bool {
    b.entries()
        .iter()
        .any(|e| e.key == *key && e.kind == Kind::Lock)
}

/// Makes `tid` the owner if the lock is free (`Ok(None)`), or marks the word as waited for
/// (`Ok(Some(owner))`). EDEADLK if `tid` owns it, ESRCH if the owner does not exist, EINVAL if
/// the word contradicts the queue.
pub(super) fn take_or_mark(
    word: &Word,
    tid: i32,
    waited_on: bool,
    mark: bool,
) -> core::result::Result<Result<Option<i32>>, Faulted> {
    let mut old = word.load()?;
    loop {
        let owner = old & TID_MASK;
        if owner == tid as u32 {
            return Ok(Err(Errno::EDEADLK));
        }
        if waited_on {
            return Ok(if owner == 0 {
                Err(Errno::EINVAL)
            } else {
                Ok(Some(owner as i32))
            });
        }
        let new = if owner == 0 {
            old & OWNER_DIED | tid as u32 | if mark { WAITERS } else { 0 }
        } else {
            old | WAITERS
        };
        let seen = if new == old { old } else { word.cas(old, new)? };
        if seen != old {
            old = seen;
            continue;
        }
        if owner == 0 {
            return Ok(Ok(None));
        }
        if process::find_task(owner as i32).is_none() {
            // It may have released the lock on its way out.
            let now = word.load()?;
            if now != new {
                old = now;
                continue;
            }
            return Ok(Err(Errno::ESRCH));
        }
        return Ok(Ok(Some(owner as i32)));
    }
}

/// Would `waiter` wait for itself, through the locks that others wait for?
fn deadlocks(owner: i32, tid: i32) -> bool {
    let mut waits: BTreeMap<i32, i32> = BTreeMap::new();
    Locked::each(|b| {
        for e in b.entries().iter().filter(|e| e.kind == Kind::Lock) {
            waits.insert(e.waiter.tid, e.waiter.owner.load(Ordering::Relaxed));
        }
    });
    let mut at = owner;
    for _ in 0..=waits.len() {
        match waits.get(&at) {
            Some(&next) if next == tid => return true,
            Some(&next) => at = next,
            None => return false,
        }
    }
    false
}

/// FUTEX_LOCK_PI and FUTEX_TRYLOCK_PI. EDEADLK, ESRCH, EAGAIN (`try_only`), ETIMEDOUT,
/// ERESTARTNOINTR.
pub(super) fn lock(t: &Task, word: &Word, deadline: Option<u64>, try_only: bool) -> Result<()> {
    let waiter = Waiter::new(t, u32::MAX);
    loop {
        let key = word.key(t)?;
        let _intent = Intent::new(&key);
        let mut b = Locked::of(&key);
        let owner = match take_or_mark(word, t.tid, waited_on(&b, &key), false) {
            Ok(Ok(None)) => return Ok(()),
            Ok(Ok(Some(_))) if try_only => return Err(Errno::EAGAIN),
            Ok(Ok(Some(owner))) => owner,
            Ok(Err(e)) => return Err(e),
            Err(fault) => {
                drop(b);
                fault.repair(t)?;
                continue;
            }
        };
        waiter.owner.store(owner, Ordering::Relaxed);
        b.push(Entry {
            key,
            kind: Kind::Lock,
            waiter: waiter.clone(),
        });
        count(1);
        drop(b);
        if deadlocks(owner, t.tid) {
            return match waiter.cancel() {
                Some(outcome) => own(t, word, outcome),
                None => {
                    uncount();
                    Err(Errno::EDEADLK)
                }
            };
        }
        break;
    }
    sleep_for_lock(t, word, &waiter, deadline)
}

fn sleep_for_lock(
    t: &Task,
    word: &Word,
    waiter: &Arc<Waiter>,
    deadline: Option<u64>,
) -> Result<()> {
    let r = wait_until(t, &[], deadline, || waiter.outcome());
    match waiter.cancel() {
        Some(outcome) => own(t, word, outcome),
        None => {
            uncount();
            match r {
                Err(Errno::ERESTARTSYS) => Err(Errno::ERESTARTNOINTR),
                r => r.map(|_| ()),
            }
        }
    }
}

/// The lock was given to the caller: if its owner died, the word must say so.
fn own(t: &Task, word: &Word, outcome: u32) -> Result<()> {
    if outcome != INHERITED {
        return Ok(());
    }
    loop {
        let attempt = || {
            let old = word.load()?;
            let new = old & WAITERS | OWNER_DIED | t.tid as u32;
            Ok(word.cas(old, new)? == old)
        };
        match attempt() {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(fault) => {
                let fault: Faulted = fault;
                fault.repair(t)?;
            }
        }
    }
}

/// Takes the first waiter for a lock out, and tells the others of their new owner.
fn successor(b: &mut Locked, key: &FutexKey) -> Option<(Entry, bool)> {
    let heir = b.remove(|e| e.key == *key && e.kind == Kind::Lock)?;
    uncount();
    let mut more = false;
    for e in b.entries() {
        if e.key == *key && e.kind == Kind::Lock {
            e.waiter.owner.store(heir.waiter.tid, Ordering::Relaxed);
            more = true;
        }
    }
    Some((heir, more))
}

/// FUTEX_UNLOCK_PI. EPERM if the caller is not the owner.
pub(super) fn unlock(t: &Task, word: &Word) -> Result<()> {
    loop {
        let key = word.key(t)?;
        let mut b = Locked::of(&key);
        let attempt = |b: &mut Locked| {
            let old = word.load()?;
            if old & TID_MASK != t.tid as u32 {
                return Ok(Some(Err(Errno::EPERM)));
            }
            let next = b
                .entries()
                .iter()
                .filter(|e| e.key == key && e.kind == Kind::Lock);
            let (heir, more) = {
                let mut tids = next.map(|e| e.waiter.tid);
                (tids.next(), tids.next().is_some())
            };
            let new = match heir {
                Some(tid) => tid as u32 | if more { WAITERS } else { 0 },
                None => 0,
            };
            if word.cas(old, new)? != old {
                return Ok(None);
            }
            let mut list = WakeList::default();
            if let Some((e, _)) = successor(b, &key) {
                list.add(e, GRANTED);
            }
            Ok(Some(Ok(())))
        };
        match attempt(&mut b) {
            Ok(Some(r)) => return r,
            Ok(None) => {}
            Err(fault) => {
                drop(b);
                let fault: Faulted = fault;
                fault.repair(t)?;
            }
        }
    }
}

/// Locks that the exiting task owns, and others wait for, go to the first waiter of each.
pub(super) fn bequeath(tid: i32) {
    if LOCK_WAITERS.load(Ordering::SeqCst) == 0 {
        return;
    }
    Locked::each(|mut b| {
        let mut list = WakeList::default();
        loop {
            let key = b
                .entries()
                .iter()
                .find(|e| e.kind == Kind::Lock && e.waiter.owner.load(Ordering::Relaxed) == tid)
                .map(|e| e.key);
            match key.and_then(|k| successor(&mut b, &k)) {
                Some((heir, _)) => list.add(heir, INHERITED),
                None => break,
            }
        }
    });
}

/// FUTEX_WAIT_REQUEUE_PI: waits on `word` until FUTEX_CMP_REQUEUE_PI moves it to the lock, and
/// then until it owns that. EAGAIN if the word is not `val` or if the wait ended for no reason,
/// ETIMEDOUT.
pub(super) fn wait_requeue(
    t: &Task,
    word: &Word,
    lock: &Word,
    val: u32,
    deadline: Option<u64>,
) -> Result<()> {
    if word.addr == lock.addr {
        return Err(Errno::EINVAL);
    }
    let target = lock.key(t)?;
    if word.key(t)? == target {
        return Err(Errno::EINVAL);
    }
    let waiter = Waiter::new(t, u32::MAX);
    wait::enqueue(t, word, val, Kind::Requeue(target), &waiter)?;
    let moved = || waiter.owner.load(Ordering::Relaxed) != 0;
    let r = wait_until(t, &[], deadline, || waiter.outcome());
    match waiter.cancel() {
        Some(WOKEN) => Err(Errno::EAGAIN),
        Some(outcome) => own(t, lock, outcome),
        None => {
            let was_moved = moved();
            if was_moved {
                uncount();
            }
            match r {
                // A signal before the move looks like a spurious wake-up; the caller tries again.
                Err(Errno::ERESTARTSYS) if was_moved => Err(Errno::EAGAIN),
                Err(Errno::ERESTARTSYS) => Err(Errno::ERESTARTNOINTR),
                r => r.map(|_| ()),
            }
        }
    }
}
