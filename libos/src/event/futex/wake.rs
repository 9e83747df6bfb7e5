//! Waking.

use super::queue::{Kind, Locked, WOKEN, WakeList, deserted};
use super::{Faulted, Word};
use crate::mm::FutexKey;
use crate::user::UserAddr;
use crate::{Errno, Result, Task};

/// Wakes up to `count` (at least one) plain waiters of a locked bucket.
fn wake_locked(
    b: &mut Locked,
    key: &FutexKey,
    count: i32,
    bitset: u32,
    list: &mut WakeList,
) -> Result<usize> {
    let mut woken = 0;
    let mut i = 0;
    while let Some(e) = b.entries().get(i) {
        if e.key != *key || e.waiter.bitset & bitset == 0 && e.kind == Kind::Plain {
            i += 1;
            continue;
        }
        if e.kind != Kind::Plain {
            return Err(Errno::EINVAL);
        }
        if let Some(e) = b.take(i) {
            list.add(e, WOKEN);
            woken += 1;
        }
        if woken >= count.max(1) as usize {
            break;
        }
    }
    Ok(woken)
}

/// FUTEX_WAKE_BITSET: wakes up to `count` waiters; returns how many. EINVAL for an empty bit set
/// or a priority-inheritance futex, EFAULT.
pub(super) fn wake(t: &Task, word: &Word, count: i32, bitset: u32) -> Result<usize> {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    let key = word.key(t)?;
    if deserted(&key) {
        return Ok(0);
    }
    let mut list = WakeList::default();
    let mut b = Locked::of(&key);
    let r = wake_locked(&mut b, &key, count, bitset, &mut list);
    drop(b);
    r
}

/// Wakes one waiter of the word that `set_tid_address(2)` named, which the caller has zeroed.
pub fn wake_address(t: &Task, addr: UserAddr) {
    let word = Word {
        addr,
        private: false,
    };
    let _ = wake(t, &word, 1, u32::MAX);
}

/// The operation of FUTEX_WAKE_OP.
#[derive(Clone, Copy)]
pub(super) struct WakeOp {
    op: u32,
    arg: i32,
    cmp: u32,
    cmp_arg: i32,
}

impl WakeOp {
    /// Decodes the fourth value; ENOSYS for unknown operations.
    pub(super) fn decode(v: u32) -> Result<WakeOp> {
        let extend = |v: u32| ((v << 20) as i32) >> 20;
        let (op, cmp) = ((v >> 28) & 7, (v >> 24) & 15);
        let mut arg = extend(v >> 12);
        if v >> 31 != 0 {
            arg = 1i32.wrapping_shl(arg as u32 & 31);
        }
        if op > 4 {
            return Err(Errno::ENOSYS);
        }
        Ok(WakeOp {
            op,
            arg,
            cmp,
            cmp_arg: extend(v),
        })
    }

    /// The word's new value.
    pub(super) fn apply(self, old: u32) -> u32 {
        let arg = self.arg as u32;
        match self.op {
            0 => arg,
            1 => old.wrapping_add(arg),
            2 => old | arg,
            3 => old & !arg,
            _ => old ^ arg,
        }
    }

    /// Whether the second word's waiters are woken; ENOSYS for unknown comparisons.
    pub(super) fn compare(self, old: u32) -> Result<bool> {
        let (old, arg) = (old as i32, self.cmp_arg);
        Ok(match self.cmp {
            0 => old == arg,
            1 => old != arg,
            2 => old < arg,
            3 => old <= arg,
            4 => old > arg,
            5 => old >= arg,
            _ => return Err(Errno::ENOSYS),
        })
    }
}

fn modify(word: &Word, op: WakeOp) -> core::result::Result<u32, Faulted> {
    let mut old = word.load()?;
    loop {
        let seen = word.cas(old, op.apply(old))?;
        if seen == old {
            return Ok(old);
        }
        old = seen;
    }
}

/// FUTEX_WAKE_OP: changes the second word, wakes waiters of the first, and of the second if its
/// old value compares.
pub(super) fn wake_op(
    t: &Task,
    first: &Word,
    second: &Word,
    count: i32,
    count2: i32,
    op: u32,
) -> Result<usize> {
    loop {
        let (k1, k2) = (first.key(t)?, second.key(t)?);
        let op = WakeOp::decode(op)?;
        let (mut a, mut b) = Locked::both(&k1, &k2);
        let old = match modify(second, op) {
            Ok(old) => old,
            Err(fault) => {
                drop((a, b));
                fault.repair(t)?;
                continue;
            }
        };
        let mut list = WakeList::default();
        let more = op.compare(old)?;
        let mut r = wake_locked(&mut a, &k1, count, u32::MAX, &mut list);
        if let (Ok(n), true) = (r, more) {
            let b = b.as_mut().unwrap_or(&mut a);
            r = wake_locked(b, &k2, count2, u32::MAX, &mut list).map(|m| n + m);
        }
        drop((a, b));
        return r;
    }
}
