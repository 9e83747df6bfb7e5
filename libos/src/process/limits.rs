//! Resource limits and usage: `getrlimit(2)`, `prlimit(2)`, `getrusage(2)`.

use super::creds::{CAP_SYS_RESOURCE, Creds};
use super::task::{RLIMIT_NOFILE, Task};
use super::{Process, find_process};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, pal, time};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct rlimit64`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
struct Rlimit {
    soft: u64,
    hard: u64,
}

/// `struct rusage`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
pub struct Rusage {
    utime: [i64; 2],
    stime: [i64; 2],
    maxrss: i64,
    ixrss: i64,
    idrss: i64,
    isrss: i64,
    minflt: i64,
    majflt: i64,
    nswap: i64,
    inblock: i64,
    oublock: i64,
    msgsnd: i64,
    msgrcv: i64,
    nsignals: i64,
    nvcsw: i64,
    nivcsw: i64,
}

fn timeval(ns: u64) -> [i64; 2] {
    [
        (ns / 1_000_000_000) as i64,
        (ns % 1_000_000_000 / 1000) as i64,
    ]
}

impl Process {
    /// Of a process that has ended: the most resident memory that it or a descendant had, bytes.
    pub fn peak(&self) -> u64 {
        let own = self.peak_gone.load(Ordering::Relaxed);
        own.max(self.peak_children.load(Ordering::Relaxed))
    }
}

impl Rusage {
    fn of_times((user, system): (u64, u64)) -> Self {
        Rusage {
            utime: timeval(user),
            stime: timeval(system),
            ..Self::default()
        }
    }

    /// A process that has ended and its descendants that it waited for.
    pub fn of_gone(p: &Process) -> Self {
        let (own, kids) = (*p.cpu_gone.lock(), *p.cpu_children.lock());
        Self {
            maxrss: (p.peak() / 1024) as i64,
            ..Self::of_times((own.0 + kids.0, own.1 + kids.1))
        }
    }
}

/// `getrusage(2)`.
pub fn sys_getrusage(t: &Arc<Task>, who: i32, out: UserAddr) -> SysResult {
    let p = &t.process;
    let mut r = match who {
        0 => Rusage::of_times(time::process_cpu(p)),
        -1 => Rusage::of_times(*p.cpu_children.lock()),
        1 => Rusage::of_times(time::thread_cpu(t)),
        _ => return Err(Errno::EINVAL),
    };
    let children = p.peak_children.load(Ordering::Relaxed);
    r.maxrss = (children / 1024) as i64;
    if who >= 0 {
        let peak = t.mm().resident_bytes(false).0.max(pal().space_peak());
        r.maxrss = (peak / 1024) as i64;
        r.minflt = t.faults.load(Ordering::Relaxed) as i64;
        r.nvcsw = t.switches.load(Ordering::Relaxed) as i64;
    }
    user::write(t, out, &r)?;
    Ok(0)
}

fn get(p: &Process, resource: u32) -> Result<Rlimit> {
    let l = p.rlimits.lock();
    let &(soft, hard) = l.get(resource as usize).ok_or(Errno::EINVAL)?;
    Ok(Rlimit { soft, hard })
}

fn set(p: &Arc<Process>, creds: &Creds, resource: u32, new: Rlimit) -> Result<()> {
    let mut limits = p.rlimits.lock();
    let slot = limits.get_mut(resource as usize).ok_or(Errno::EINVAL)?;
    if new.soft > new.hard {
        return Err(Errno::EINVAL);
    }
    if resource as usize == RLIMIT_NOFILE && new.hard > crate::sysctl::NR_OPEN.get_u64() {
        return Err(Errno::EPERM);
    }
    if new.hard > slot.1 && !creds.capable(CAP_SYS_RESOURCE) {
        return Err(Errno::EPERM);
    }
    *slot = (new.soft, new.hard);
    drop(limits);
    time::limit_changed(p, resource);
    Ok(())
}

/// `getrlimit(2)`.
pub fn sys_getrlimit(t: &Arc<Task>, resource: u32, out: UserAddr) -> SysResult {
    user::write(t, out, &get(&t.process, resource)?)?;
    Ok(0)
}

/// `setrlimit(2)`.
pub fn sys_setrlimit(t: &Arc<Task>, resource: u32, new: UserAddr) -> SysResult {
    let new: Rlimit = user::read(t, new)?;
    set(&t.process, &t.creds(), resource, new)?;
    Ok(0)
}

/// `prlimit(2)`.
pub fn sys_prlimit64(
    t: &Arc<Task>,
    pid: i32,
    resource: u32,
    new: UserAddr,
    old: UserAddr,
) -> SysResult {
    let new = if new.is_null() {
        None
    } else {
        Some(user::read::<Rlimit>(t, new)?)
    };
    let p = if pid == 0 || pid == t.process.pid {
        t.process.clone()
    } else {
        let p = match find_process(pid) {
            Some(p) => p,
            None => super::find_task(pid).ok_or(Errno::ESRCH)?.process.clone(),
        };
        let other = p
            .tasks
            .lock()
            .values()
            .next()
            .map(|o| o.creds())
            .ok_or(Errno::ESRCH)?;
        let c = t.creds();
        let same = [other.uid, other.euid, other.suid]
            .iter()
            .all(|&u| u == c.uid)
            && [other.gid, other.egid, other.sgid]
                .iter()
                .all(|&g| g == c.gid);
        if !same && !c.capable(CAP_SYS_RESOURCE) {
            return Err(Errno::EPERM);
        }
        p
    };
    let before = get(&p, resource)?;
    if let Some(new) = new {
        set(&p, &t.creds(), resource, new)?;
    }
    user::write_opt(t, old, &before)?;
    Ok(0)
}
