//! Moving waiters from one word to another.

use super::Word;
use super::pi;
use super::queue::{GRANTED, Kind, Locked, WOKEN, WakeList};
use crate::{Errno, Result, Task};
use core::sync::atomic::Ordering;

/// FUTEX_CMP_REQUEUE and, without `expected`, FUTEX_REQUEUE: wakes `wake` waiters of the first
/// word and moves up to `limit` others to the second; returns how many were woken or moved.
/// EAGAIN if the first word is not `expected`.
pub(super) fn requeue(
    t: &Task,
    first: &Word,
    second: &Word,
    wake: i32,
    limit: i32,
    expected: Option<u32>,
) -> Result<usize> {
    let (Ok(wake), Ok(limit)) = (usize::try_from(wake), usize::try_from(limit)) else {
        return Err(Errno::EINVAL);
    };
    loop {
        let (k1, k2) = (first.key(t)?, second.key(t)?);
        let (mut a, mut b) = Locked::both(&k1, &k2);
        if let Some(expected) = expected {
            match first.load() {
                Ok(v) if v == expected => {}
                Ok(_) => return Err(Errno::EAGAIN),
                Err(fault) => {
                    drop((a, b));
                    fault.repair(t)?;
                    continue;
                }
            }
        }
        let mut list = WakeList::default();
        let mut done = 0;
        let mut i = 0;
        let mut result = Ok(());
        // Entries moved within one bucket go to its end: look only at those that were there.
        let mut unseen = a.entries().len();
        while unseen > 0 && done < wake.saturating_add(limit) {
            unseen -= 1;
            let Some(e) = a.entries().get(i) else { break };
            if e.key != k1 {
                i += 1;
                continue;
            }
            if e.kind != Kind::Plain {
                result = Err(Errno::EINVAL);
                break;
            }
            done += 1;
            let Some(mut e) = a.take(i) else { break };
            if done <= wake {
                list.add(e, WOKEN);
            } else {
                e.key = k2;
                b.as_mut().unwrap_or(&mut a).push(e);
            }
        }
        drop((a, b));
        return result.map(|()| done);
    }
}

/// FUTEX_CMP_REQUEUE_PI: gives the second word, a lock, to the first waiter if it is free, and
/// moves up to `limit` others to wait for it.
pub(super) fn requeue_pi(
    t: &Task,
    first: &Word,
    second: &Word,
    wake: i32,
    limit: i32,
    expected: u32,
) -> Result<usize> {
    let Ok(limit) = usize::try_from(limit) else {
        return Err(Errno::EINVAL);
    };
    if first.addr == second.addr || wake != 1 {
        return Err(Errno::EINVAL);
    }
    loop {
        let (k1, k2) = (first.key(t)?, second.key(t)?);
        if k1 == k2 {
            return Err(Errno::EINVAL);
        }
        let (mut a, mut b) = Locked::both(&k1, &k2);
        let mut attempt = || {
            let mut list = WakeList::default();
            if first.load()? != expected {
                return Ok(Err(Errno::EAGAIN));
            }
            let mut done = 0;
            let mut i = 0;
            let mut owner = 0;
            while done < limit.saturating_add(1) {
                let Some(e) = a.entries().get(i) else { break };
                if e.key != k1 {
                    i += 1;
                    continue;
                }
                if e.kind != Kind::Requeue(k2) {
                    return Ok(Err(Errno::EINVAL));
                }
                let tid = e.waiter.tid;
                if done == 0 {
                    let target = b.as_ref().unwrap_or(&a);
                    match pi::take_or_mark(second, tid, pi::waited_on(target, &k2), true)? {
                        Ok(None) => {
                            if let Some(e) = a.take(i) {
                                list.add(e, GRANTED);
                            }
                            owner = tid;
                            done += 1;
                            continue;
                        }
                        Ok(Some(o)) => owner = o,
                        Err(e) => return Ok(Err(e)),
                    }
                }
                if owner == tid {
                    return Ok(Err(Errno::EDEADLK));
                }
                let Some(mut e) = a.take(i) else { break };
                e.key = k2;
                e.kind = Kind::Lock;
                pi::count(1);
                e.waiter.owner.store(owner, Ordering::Relaxed);
                b.as_mut().unwrap_or(&mut a).push(e);
                done += 1;
            }
            Ok(Ok(done))
        };
        match attempt() {
            Ok(r) => return r,
            Err(fault) => {
                drop((a, b));
                let fault: super::Faulted = fault;
                fault.repair(t)?;
            }
        }
    }
}
