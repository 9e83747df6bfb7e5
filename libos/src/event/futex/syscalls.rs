//! The calls: `futex(2)`, and the later ones of one operation each.

use super::{Word, pi, requeue, wait, wake};
use crate::event::{from_realtime, read_timespec};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task, time};
use alloc::sync::Arc;
use alloc::vec::Vec;

const PRIVATE: u32 = 128;
const CLOCK_REALTIME_FLAG: u32 = 256;

const WAIT: u32 = 0;
const WAKE: u32 = 1;
const REQUEUE: u32 = 3;
const CMP_REQUEUE: u32 = 4;
const WAKE_OP: u32 = 5;
const LOCK_PI: u32 = 6;
const UNLOCK_PI: u32 = 7;
const TRYLOCK_PI: u32 = 8;
const WAIT_BITSET: u32 = 9;
const WAKE_BITSET: u32 = 10;
const WAIT_REQUEUE_PI: u32 = 11;
const CMP_REQUEUE_PI: u32 = 12;
const LOCK_PI2: u32 = 13;

/// When a timed operation ends, monotonic: WAIT's timeout is relative, LOCK_PI's always wall time.
fn deadline(t: &Task, cmd: u32, op: u32, timeout: UserAddr) -> Result<Option<u64>> {
    let timed = matches!(
        cmd,
        WAIT | WAIT_BITSET | LOCK_PI | LOCK_PI2 | WAIT_REQUEUE_PI
    );
    if !timed || timeout.is_null() {
        return Ok(None);
    }
    let ns = read_timespec(t, timeout)?;
    Ok(Some(match cmd {
        WAIT => time::monotonic().saturating_add(ns),
        LOCK_PI => from_realtime(ns),
        _ if op & CLOCK_REALTIME_FLAG != 0 => from_realtime(ns),
        _ => ns,
    }))
}

/// `futex(2)`. ENOSYS for unknown operations; the rest as each operation says.
pub fn sys_futex(
    t: &Arc<Task>,
    addr: UserAddr,
    op: u32,
    val: u32,
    timeout: UserAddr,
    addr2: UserAddr,
    val3: u32,
) -> SysResult {
    let cmd = op & !(PRIVATE | CLOCK_REALTIME_FLAG);
    let deadline = deadline(t, cmd, op, timeout)?;
    if op & CLOCK_REALTIME_FLAG != 0 && !matches!(cmd, WAIT_BITSET | WAIT_REQUEUE_PI | LOCK_PI2) {
        return Err(Errno::ENOSYS);
    }
    let private = op & PRIVATE != 0;
    let word = Word { addr, private };
    let second = Word {
        addr: addr2,
        private,
    };
    let count = val as i32;
    let count2 = timeout.0 as i32;
    match cmd {
        WAIT => wait::wait_restarting(t, word, val, u32::MAX, deadline).map(|()| 0),
        WAIT_BITSET => wait::wait_restarting(t, word, val, val3, deadline).map(|()| 0),
        WAKE => wake::wake(t, &word, count, u32::MAX),
        WAKE_BITSET => wake::wake(t, &word, count, val3),
        REQUEUE => requeue::requeue(t, &word, &second, count, count2, None),
        CMP_REQUEUE => requeue::requeue(t, &word, &second, count, count2, Some(val3)),
        WAKE_OP => wake::wake_op(t, &word, &second, count, count2, val3),
        LOCK_PI | LOCK_PI2 => pi::lock(t, &word, deadline, false).map(|()| 0),
        TRYLOCK_PI => pi::lock(t, &word, None, true).map(|()| 0),
        UNLOCK_PI => pi::unlock(t, &word).map(|()| 0),
        WAIT_REQUEUE_PI => pi::wait_requeue(t, &word, &second, val, deadline).map(|()| 0),
        CMP_REQUEUE_PI => requeue::requeue_pi(t, &word, &second, count, count2, val3),
        _ => Err(Errno::ENOSYS),
    }
}

const FUTEX2_SIZE_U32: u32 = 2;
const FUTEX2_PRIVATE: u32 = 128;

/// The privacy that futex2 flags say; EINVAL for what is not a 32-bit futex.
fn futex2_private(flags: u32) -> Result<bool> {
    if flags & !FUTEX2_PRIVATE == FUTEX2_SIZE_U32 {
        Ok(flags & FUTEX2_PRIVATE != 0)
    } else {
        Err(Errno::EINVAL)
    }
}

fn value(v: u64) -> Result<u32> {
    u32::try_from(v).map_err(|_| Errno::EINVAL)
}

/// An absolute timeout on one of two clocks.
fn futex2_deadline(t: &Task, timeout: UserAddr, clock: i32) -> Result<Option<u64>> {
    if timeout.is_null() {
        return Ok(None);
    }
    if !matches!(clock, 0 | 1) {
        return Err(Errno::EINVAL);
    }
    let ns = read_timespec(t, timeout)?;
    Ok(Some(if clock == 0 { from_realtime(ns) } else { ns }))
}

/// Reads `struct futex_waitv` entries.
fn read_waitv(t: &Task, addr: UserAddr, count: usize) -> Result<Vec<(Word, u32)>> {
    let raw: Vec<[u64; 3]> = user::read_array(t, addr, count)?;
    raw.into_iter()
        .map(|[val, addr, flags]| {
            // The upper half of the third word is reserved.
            let private = futex2_private(value(flags)?)?;
            let addr = UserAddr(addr as usize);
            Ok((Word { addr, private }, value(val)?))
        })
        .collect()
}

/// `futex_waitv(2)`: waits until one of several is woken; returns which. EINVAL, EAGAIN,
/// ETIMEDOUT, EFAULT.
pub fn sys_futex_waitv(
    t: &Arc<Task>,
    waiters: UserAddr,
    count: u32,
    flags: u32,
    timeout: UserAddr,
    clock: i32,
) -> SysResult {
    if flags != 0 || !(1..=128).contains(&count) || waiters.is_null() {
        return Err(Errno::EINVAL);
    }
    let deadline = futex2_deadline(t, timeout, clock)?;
    let words = read_waitv(t, waiters, count as usize)?;
    wait::wait_any(t, &words, deadline)
}

/// `futex_wake`: as FUTEX_WAKE_BITSET, but a count of 0 wakes nobody.
pub fn sys_futex_wake(
    t: &Arc<Task>,
    addr: UserAddr,
    mask: u64,
    count: i32,
    flags: u32,
) -> SysResult {
    let word = Word {
        addr,
        private: futex2_private(flags)?,
    };
    let mask = value(mask)?;
    if mask == 0 {
        return Err(Errno::EINVAL);
    }
    if count == 0 {
        word.key(t)?;
        return Ok(0);
    }
    wake::wake(t, &word, count, mask)
}

/// `futex_wait`: as FUTEX_WAIT_BITSET.
pub fn sys_futex_wait(
    t: &Arc<Task>,
    addr: UserAddr,
    val: u64,
    mask: u64,
    flags: u32,
    timeout: UserAddr,
    clock: i32,
) -> SysResult {
    let word = Word {
        addr,
        private: futex2_private(flags)?,
    };
    let (val, mask) = (value(val)?, value(mask)?);
    let deadline = futex2_deadline(t, timeout, clock)?;
    wait::wait(t, &word, val, mask, deadline).map(|()| 0)
}

/// `futex_requeue`: as FUTEX_CMP_REQUEUE, between two futexes of their own kinds.
pub fn sys_futex_requeue(
    t: &Arc<Task>,
    waiters: UserAddr,
    flags: u32,
    wake: i32,
    limit: i32,
) -> SysResult {
    if flags != 0 || waiters.is_null() {
        return Err(Errno::EINVAL);
    }
    let words = read_waitv(t, waiters, 2)?;
    match words.as_slice() {
        [(first, expected), (second, _)] => {
            requeue::requeue(t, first, second, wake, limit, Some(*expected))
        }
        _ => Err(Errno::EINVAL),
    }
}
