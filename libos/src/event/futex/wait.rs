//! Waiting on one or several words.

use super::queue::{Entry, Intent, Kind, Locked, Waiter};
use super::{Faulted, Word};
use crate::mm::FutexKey;
use crate::wait::wait_until;
use crate::{Errno, Result, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Compares the word and queues, as one step.
fn queue_if(
    word: &Word,
    key: FutexKey,
    val: u32,
    kind: Kind,
    waiter: &Arc<Waiter>,
) -> core::result::Result<bool, Faulted> {
    let _intent = Intent::new(&key);
    let mut b = Locked::of(&key);
    if word.load()? != val {
        return Ok(false);
    }
    b.push(Entry {
        key,
        kind,
        waiter: waiter.clone(),
    });
    Ok(true)
}

/// Queues a waiter if the word is `val`; EAGAIN if it is not, EFAULT.
pub(super) fn enqueue(
    t: &Task,
    word: &Word,
    val: u32,
    kind: Kind,
    waiter: &Arc<Waiter>,
) -> Result<()> {
    loop {
        let key = word.key(t)?;
        match queue_if(word, key, val, kind, waiter) {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(Errno::EAGAIN),
            Err(fault) => fault.repair(t)?,
        }
    }
}

/// FUTEX_WAIT and its relatives, until woken. EAGAIN if the word is not `val`, ETIMEDOUT,
/// ERESTARTSYS, EINVAL for an empty bit set.
pub(super) fn wait(
    t: &Task,
    word: &Word,
    val: u32,
    bitset: u32,
    deadline: Option<u64>,
) -> Result<()> {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    let waiter = Waiter::new(t, bitset);
    enqueue(t, word, val, Kind::Plain, &waiter)?;
    let r = wait_until(t, &[], deadline, || waiter.outcome());
    match (r, waiter.cancel()) {
        (_, Some(_)) => Ok(()),
        (r, None) => r.map(|_| ()),
    }
}

/// FUTEX_WAIT with a timeout: goes on where it was if a signal has no handler.
pub(super) fn wait_restarting(
    t: &Task,
    word: Word,
    val: u32,
    bitset: u32,
    deadline: Option<u64>,
) -> Result<()> {
    match wait(t, &word, val, bitset, deadline) {
        Err(Errno::ERESTARTSYS) if deadline.is_some() => {
            Err(t
                .restart_with(move |t| wait_restarting(t, word, val, bitset, deadline).map(|()| 0)))
        }
        r => r,
    }
}

/// Waits until one of several words is woken; returns which. Errors as [`wait`].
pub(super) fn wait_any(t: &Task, words: &[(Word, u32)], deadline: Option<u64>) -> Result<usize> {
    let mut waiters: Vec<Arc<Waiter>> = Vec::with_capacity(words.len());
    let mut failed = None;
    for (word, val) in words {
        let w = Waiter::new(t, u32::MAX);
        if let Err(e) = enqueue(t, word, *val, Kind::Plain, &w) {
            failed = Some(e);
            break;
        }
        waiters.push(w);
    }
    let r = match failed {
        Some(e) => Err(e),
        None => wait_until(t, &[], deadline, || {
            waiters.iter().any(|w| w.outcome().is_some()).then_some(())
        }),
    };
    let mut woken = None;
    for (i, w) in waiters.iter().enumerate() {
        if w.cancel().is_some() {
            woken = Some(i);
        }
    }
    match woken {
        Some(i) => Ok(i),
        None => Err(r.err().unwrap_or(Errno::EAGAIN)),
    }
}
