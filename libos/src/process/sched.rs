//! Scheduling: `sched(7)`. The host schedules; policies and priorities are kept and reported, and
//! take effect as far as one class of threads allows.

use super::creds::CAP_SYS_NICE;
use super::task::{RLIMIT_NICE, RLIMIT_RTPRIO};
use super::{Process, Task, find_process, find_task};
use crate::sysctl::SCHED_RR_TIMESLICE_MS;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, kernel, pal};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_pal::ThreadId;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const SCHED_OTHER: u32 = 0;
const SCHED_FIFO: u32 = 1;
const SCHED_RR: u32 = 2;
const SCHED_BATCH: u32 = 3;
const SCHED_IDLE: u32 = 5;
const SCHED_DEADLINE: u32 = 6;
const SCHED_RESET_ON_FORK: u32 = 0x4000_0000;

fn target(t: &Arc<Task>, pid: i32) -> Result<Arc<Task>> {
    match pid {
        i32::MIN..0 => Err(Errno::EINVAL),
        0 => Ok(t.clone()),
        _ => find_task(pid).ok_or(Errno::ESRCH),
    }
}

/// Policy and priority; a zombie has what it had.
fn policy(t: &Arc<Task>, pid: i32) -> Result<(u32, i32)> {
    let (policy, priority, _) = match target(t, pid) {
        Ok(other) => *other.sched.lock(),
        Err(e) => {
            let process = find_process(pid).ok_or(e)?;
            let remains = process.remains.lock();
            remains.as_ref().ok_or(e)?.sched
        }
    };
    Ok((policy, priority))
}

fn may_change(t: &Task, other: &Task) -> Result<()> {
    let (c, o) = (t.creds(), other.creds());
    if c.euid == o.uid || c.euid == o.euid || c.capable(CAP_SYS_NICE) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// `sched_yield(2)`.
pub fn sys_sched_yield(_t: &Arc<Task>) -> SysResult {
    pal().yield_now();
    Ok(0)
}

fn check_priority(policy: u32, priority: i32) -> Result<()> {
    let ok = match policy & !SCHED_RESET_ON_FORK {
        SCHED_FIFO | SCHED_RR => (1..=99).contains(&priority),
        SCHED_OTHER | SCHED_BATCH | SCHED_IDLE => priority == 0,
        _ => false,
    };
    if ok { Ok(()) } else { Err(Errno::EINVAL) }
}

fn set_policy(t: &Arc<Task>, other: &Task, policy: u32, priority: i32) -> Result<()> {
    check_priority(policy, priority)?;
    may_change(t, other)?;
    if priority > 0 && !t.creds().capable(CAP_SYS_NICE) {
        let current = other.sched.lock().1;
        if priority > current && priority as u64 > other.rlimit(RLIMIT_RTPRIO) {
            return Err(Errno::EPERM);
        }
    }
    let mut s = other.sched.lock();
    (s.0, s.1) = (policy, priority);
    Ok(())
}

/// `sched_setscheduler(2)`.
pub fn sys_sched_setscheduler(t: &Arc<Task>, pid: i32, policy: i32, param: UserAddr) -> SysResult {
    if policy < 0 || param.is_null() || pid < 0 {
        return Err(Errno::EINVAL);
    }
    let priority: i32 = user::read(t, param)?;
    let other = target(t, pid)?;
    set_policy(t, &other, policy as u32, priority)?;
    Ok(0)
}

/// `sched_getscheduler(2)`.
pub fn sys_sched_getscheduler(t: &Arc<Task>, pid: i32) -> SysResult {
    Ok(policy(t, pid)?.0 as usize)
}

/// `sched_setparam(2)`.
pub fn sys_sched_setparam(t: &Arc<Task>, pid: i32, param: UserAddr) -> SysResult {
    if param.is_null() || pid < 0 {
        return Err(Errno::EINVAL);
    }
    let priority: i32 = user::read(t, param)?;
    let other = target(t, pid)?;
    let policy = other.sched.lock().0;
    set_policy(t, &other, policy, priority)?;
    Ok(0)
}

/// `sched_getparam(2)`.
pub fn sys_sched_getparam(t: &Arc<Task>, pid: i32, param: UserAddr) -> SysResult {
    if param.is_null() || pid < 0 {
        return Err(Errno::EINVAL);
    }
    let priority = policy(t, pid)?.1;
    user::write(t, param, &priority)?;
    Ok(0)
}

/// `struct sched_attr`, first version.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const ATTR_SIZE: u32 = size_of::<SchedAttr>() as u32;

/// `sched_setattr(2)`.
pub fn sys_sched_setattr(t: &Arc<Task>, pid: i32, attr: UserAddr, flags: u32) -> SysResult {
    if attr.is_null() || pid < 0 || flags != 0 {
        return Err(Errno::EINVAL);
    }
    let size: u32 = user::read(t, attr)?;
    let size = if size == 0 { ATTR_SIZE } else { size };
    if !(ATTR_SIZE..=4096).contains(&size) {
        user::write(t, attr, &ATTR_SIZE)?;
        return Err(Errno::E2BIG);
    }
    let extra: Vec<u8> = user::read_array(
        t,
        attr.offset(ATTR_SIZE as usize)?,
        (size - ATTR_SIZE) as usize,
    )?;
    // The second version's two clamps may be given.
    if extra.iter().skip(8).any(|&b| b != 0) {
        user::write(t, attr, &ATTR_SIZE)?;
        return Err(Errno::E2BIG);
    }
    let a: SchedAttr = user::read(t, attr)?;
    if (a.policy as i32) < 0 || a.flags & !0x7f != 0 {
        return Err(Errno::EINVAL);
    }
    let other = target(t, pid)?;
    if a.policy == SCHED_DEADLINE {
        return set_deadline(t, &other, &a);
    }
    set_policy(t, &other, a.policy, a.priority as i32)?;
    if matches!(a.policy, SCHED_OTHER | SCHED_BATCH) {
        set_nice(t, &other, a.nice.clamp(-20, 19))?;
    }
    Ok(0)
}

/// Deadline scheduling: the reservation is checked and kept; the host gives what it gives.
fn set_deadline(t: &Task, other: &Task, a: &SchedAttr) -> SysResult {
    let period = if a.period == 0 { a.deadline } else { a.period };
    if a.runtime < 1024 || a.runtime > a.deadline || a.deadline > period || period >> 63 != 0 {
        return Err(Errno::EINVAL);
    }
    if !t.creds().capable(CAP_SYS_NICE) {
        return Err(Errno::EPERM);
    }
    let mut s = other.sched.lock();
    (s.0, s.1) = (SCHED_DEADLINE, 0);
    *other.deadline.lock() = [a.runtime, a.deadline, period];
    Ok(0)
}

/// Policy, priority and nice value of a new task (`sched(7)`, "Resetting scheduling policy for
/// child processes").
pub(super) fn inherited(t: &Task) -> (u32, i32, i32) {
    let (policy, priority, nice) = *t.sched.lock();
    if policy & SCHED_RESET_ON_FORK == 0 {
        return (policy, priority, nice);
    }
    let realtime = matches!(policy & !SCHED_RESET_ON_FORK, SCHED_FIFO | SCHED_RR);
    let policy = if realtime {
        SCHED_OTHER
    } else {
        policy & !SCHED_RESET_ON_FORK
    };
    (policy, 0, nice.max(0))
}

/// `sched_getattr(2)`.
pub fn sys_sched_getattr(
    t: &Arc<Task>,
    pid: i32,
    attr: UserAddr,
    size: u32,
    flags: u32,
) -> SysResult {
    if attr.is_null() || pid < 0 || !(ATTR_SIZE..=4096).contains(&size) || flags != 0 {
        return Err(Errno::EINVAL);
    }
    let other = target(t, pid)?;
    let (policy, priority, nice) = *other.sched.lock();
    let realtime = matches!(policy, SCHED_FIFO | SCHED_RR);
    let [runtime, deadline, period] = if policy == SCHED_DEADLINE {
        *other.deadline.lock()
    } else {
        [0; 3]
    };
    let a = SchedAttr {
        runtime,
        deadline,
        period,
        size: ATTR_SIZE,
        policy: policy & !SCHED_RESET_ON_FORK,
        flags: u64::from(policy & SCHED_RESET_ON_FORK != 0),
        nice: if realtime { 0 } else { nice },
        priority: priority as u32,
    };
    user::write(t, attr, &a)?;
    Ok(0)
}

/// `sched_get_priority_max(2)`.
pub fn sys_sched_get_priority_max(_t: &Arc<Task>, policy: i32) -> SysResult {
    priority_bound(policy, 99)
}

/// `sched_get_priority_min(2)`.
pub fn sys_sched_get_priority_min(_t: &Arc<Task>, policy: i32) -> SysResult {
    priority_bound(policy, 1)
}

fn priority_bound(policy: i32, realtime: usize) -> SysResult {
    match policy as u32 {
        SCHED_FIFO | SCHED_RR => Ok(realtime),
        SCHED_OTHER | SCHED_BATCH | SCHED_IDLE | SCHED_DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// `sched_rr_get_interval(2)`.
pub fn sys_sched_rr_get_interval(t: &Arc<Task>, pid: i32, out: UserAddr) -> SysResult {
    let policy = target(t, pid)?.sched.lock().0;
    let ns: i64 = match policy & !SCHED_RESET_ON_FORK {
        SCHED_FIFO => 0,
        SCHED_RR => SCHED_RR_TIMESLICE_MS.get().saturating_mul(1_000_000),
        _ => 4_000_000,
    };
    user::write(t, out, &[0i64, ns])?;
    Ok(0)
}

fn all_cpus() -> Vec<u64> {
    let n = crate::cpus() as usize;
    (0..n.div_ceil(64))
        .map(|w| {
            if n - w * 64 >= 64 {
                u64::MAX
            } else {
                (1 << (n % 64)) - 1
            }
        })
        .collect()
}

/// `sched_setaffinity(2)`.
pub fn sys_sched_setaffinity(t: &Arc<Task>, pid: i32, len: usize, mask: UserAddr) -> SysResult {
    let mut bytes: Vec<u8> = user::read_array(t, mask, len.min(1024))?;
    let other = if pid < 0 {
        return Err(Errno::ESRCH);
    } else {
        target(t, pid)?
    };
    may_change(t, &other)?;
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let wanted = bytes
        .chunks_exact(8)
        .map(|c| u64::from_le_bytes(c.try_into().unwrap_or([0; 8])));
    let allowed: Vec<u64> = all_cpus()
        .iter()
        .zip(wanted.chain(core::iter::repeat(0)))
        .map(|(a, w)| a & w)
        .collect();
    if allowed.iter().all(|&w| w == 0) {
        return Err(Errno::EINVAL);
    }
    let thread = ThreadId(other.thread.load(Ordering::Relaxed));
    // The host's own set may be smaller; then the wish is kept, and the host's set stands.
    let _ = pal().set_affinity(thread, &allowed);
    *other.affinity.lock() = allowed;
    Ok(0)
}

/// `sched_getaffinity(2)`: returns the bytes written.
pub fn sys_sched_getaffinity(t: &Arc<Task>, pid: i32, len: usize, mask: UserAddr) -> SysResult {
    let all = all_cpus();
    if len < all.len() * 8 || len % 8 != 0 {
        return Err(Errno::EINVAL);
    }
    let other = if pid < 0 {
        return Err(Errno::ESRCH);
    } else {
        target(t, pid)?
    };
    let own = other.affinity.lock().clone();
    let words = if own.is_empty() { all } else { own };
    user::write(t, mask, words.as_slice())?;
    Ok(words.len() * 8)
}

/// `getcpu(2)`.
pub fn sys_getcpu(t: &Arc<Task>, cpu: UserAddr, node: UserAddr) -> SysResult {
    user::write_opt(t, cpu, &pal().cpu().min(crate::cpus() - 1))?;
    user::write_opt(t, node, &0u32)?;
    Ok(0)
}

/// Tells the host what a task's fresh thread has not inherited from the one that asked for it.
pub(super) fn pass_on(task: &Task) {
    let thread = ThreadId(task.thread.load(Ordering::Relaxed));
    let (_, _, nice) = *task.sched.lock();
    if nice != 0 {
        let _ = pal().set_nice(thread, nice);
    }
    let allowed = task.affinity.lock().clone();
    if !allowed.is_empty() {
        let _ = pal().set_affinity(thread, &allowed);
    }
}

fn set_nice(t: &Task, other: &Task, nice: i32) -> Result<()> {
    let (c, o) = (t.creds(), other.creds());
    if c.euid != o.uid && c.euid != o.euid && !c.capable(CAP_SYS_NICE) {
        return Err(Errno::EPERM);
    }
    let current = other.sched.lock().2;
    let floor = 20 - other.rlimit(RLIMIT_NICE).min(40) as i32;
    if nice < current && nice < floor && !c.capable(CAP_SYS_NICE) {
        return Err(Errno::EACCES);
    }
    other.sched.lock().2 = nice;
    // The host may refuse to raise a priority; the value is kept and reported all the same.
    let _ = pal().set_nice(ThreadId(other.thread.load(Ordering::Relaxed)), nice);
    Ok(())
}

/// The tasks that `PRIO_PROCESS`, `PRIO_PGRP` or `PRIO_USER` names.
fn priority_targets(t: &Arc<Task>, which: i32, who: i32) -> Result<Vec<Arc<Task>>> {
    let of = |p: Arc<Process>| p.tasks.lock().values().cloned().collect::<Vec<_>>();
    let found: Vec<Arc<Task>> = match which {
        0 if who == 0 => alloc::vec![t.clone()],
        0 => find_task(who).into_iter().collect(),
        1 => {
            let group = if who == 0 {
                t.process.rel.lock().pgid
            } else {
                who
            };
            let all: Vec<_> = kernel().processes.lock().values().cloned().collect();
            all.into_iter()
                .filter(|p| p.rel.lock().pgid == group)
                .flat_map(of)
                .collect()
        }
        2 => {
            let uid = if who == 0 { t.creds().uid } else { who as u32 };
            let all: Vec<_> = kernel().tasks.lock().values().cloned().collect();
            all.into_iter().filter(|o| o.creds().uid == uid).collect()
        }
        _ => return Err(Errno::EINVAL),
    };
    if found.is_empty() {
        Err(Errno::ESRCH)
    } else {
        Ok(found)
    }
}

/// `getpriority(2)`: the raw call returns 20 - nice.
pub fn sys_getpriority(t: &Arc<Task>, which: i32, who: i32) -> SysResult {
    let lowest = priority_targets(t, which, who)?
        .iter()
        .map(|o| o.sched.lock().2)
        .min();
    Ok((20 - lowest.unwrap_or(0)) as usize)
}

/// `setpriority(2)`.
pub fn sys_setpriority(t: &Arc<Task>, which: i32, who: i32, nice: i32) -> SysResult {
    let mut result = Ok(0);
    for o in priority_targets(t, which, who)? {
        if let Err(e) = set_nice(t, &o, nice.clamp(-20, 19)) {
            result = Err(e);
        }
    }
    result
}

const IOPRIO_CLASS_SHIFT: i32 = 13;

/// `ioprio_set(2)`.
pub fn sys_ioprio_set(t: &Arc<Task>, which: i32, who: i32, value: i32) -> SysResult {
    let (class, level) = (value >> IOPRIO_CLASS_SHIFT, value & 0x1fff);
    match class {
        1 if !t.creds().capable(super::creds::CAP_SYS_ADMIN)
            && !t.creds().capable(CAP_SYS_NICE) =>
        {
            return Err(Errno::EPERM);
        }
        1 | 2 if level & 7 == level => {}
        0 if level == 0 => {}
        3 => {}
        _ => return Err(Errno::EINVAL),
    }
    for o in priority_targets(t, which - 1, who)? {
        may_change(t, &o)?;
        o.io_priority.store(value as u32, Ordering::Relaxed);
    }
    Ok(0)
}

/// `ioprio_get(2)`.
pub fn sys_ioprio_get(t: &Arc<Task>, which: i32, who: i32) -> SysResult {
    let all = priority_targets(t, which - 1, who)?;
    let best = all
        .iter()
        .map(|o| o.io_priority.load(Ordering::Relaxed))
        .filter(|&v| v != 0)
        .min();
    Ok(best.unwrap_or(0) as usize)
}
