//! CPU time, and the limit on it.

use super::alarm::{Alarm, Source};
use super::monotonic;
use super::queue::Fire;
use crate::abi::time::*;
use crate::pal;
use crate::process::task::RLIMIT_CPU;
use crate::process::{self, Process, Task};
use crate::signal::{self, SigInfo};
use crate::user::{self, UserAddr};
use crate::{SysResult, abi::signal::*};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use bastide_pal::ThreadId;
use core::sync::atomic::Ordering;

/// Nanoseconds of a clock tick, `sysconf(_SC_CLK_TCK)` being 100.
pub const TICK: u64 = 10_000_000;

/// CPU time (user, system) of a task in nanoseconds.
pub fn thread_cpu(t: &Task) -> (u64, u64) {
    match t.thread.load(Ordering::Acquire) {
        0 => (0, 0),
        id => pal().thread_cpu(ThreadId(id)),
    }
}

fn add(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    (a.0.saturating_add(b.0), a.1.saturating_add(b.1))
}

/// User and system time of a task together, in nanoseconds, as exact as the platform knows it.
pub fn thread_time(t: &Task) -> u64 {
    match t.thread.load(Ordering::Acquire) {
        0 => 0,
        id => pal().thread_time(ThreadId(id)),
    }
}

/// Asks for a process's time in the address space it has now. The platform knows an address space's
/// time as a whole; only while the process borrows another's (`vfork(2)`) do its threads count one
/// by one.
fn in_space<T: Copy + Default>(
    p: &Process,
    space: impl Fn(ThreadId) -> T,
    thread: impl Fn(&Task) -> T,
    add: impl Fn(T, T) -> T,
) -> T {
    let threads: Vec<Arc<Task>> = p.tasks.lock().values().cloned().collect();
    if p.shares_memory.load(Ordering::Relaxed) {
        return threads.iter().map(|t| thread(t)).fold(T::default(), add);
    }
    let mut ids = threads.iter().map(|t| t.thread.load(Ordering::Acquire));
    let id = ids.find(|&id| id != 0);
    id.map_or(T::default(), |id| space(ThreadId(id)))
}

fn space_cpu(p: &Process) -> (u64, u64) {
    in_space(p, |id| pal().space_cpu(id), thread_cpu, add)
}

/// User and system time of a process together, threads that are gone included, in nanoseconds.
pub fn process_time(p: &Process) -> u64 {
    let now = in_space(
        p,
        |id| pal().space_time(id),
        thread_time,
        u64::saturating_add,
    );
    let (user, system) = *p.cpu_gone.lock();
    now.saturating_add(user).saturating_add(system)
}

/// CPU time (user, system) of a process in nanoseconds, threads that are gone included.
pub fn process_cpu(p: &Process) -> (u64, u64) {
    let now = space_cpu(p);
    add(now, *p.cpu_gone.lock())
}

/// What is to be added to [`Process::cpu_gone`] if the caller, who is about to exit, turns out to
/// be the last thread.
pub fn final_cpu(t: &Task) -> (u64, u64) {
    space_cpu(&t.process)
}

/// Watches `RLIMIT_CPU`.
pub struct Limit {
    process: Weak<Process>,
    alarm: Mutex<Alarm>,
}

impl Fire for Limit {
    fn fire(self: Arc<Self>) {
        let Some(p) = self.process.upgrade() else {
            return;
        };
        let me = self.weak();
        {
            let mut alarm = self.alarm.lock();
            if !alarm.is_due() {
                alarm.arm(me);
                return;
            }
        }
        let hard = p.rlimits.lock()[RLIMIT_CPU].1;
        if self.alarm.lock().source.now() >= hard.saturating_mul(SECOND) {
            process::kill_process(&p, SIGKILL);
            return;
        }
        signal::send_process(&p, SigInfo::kernel(SIGXCPU));
        // Again every second, until the hard limit.
        let mut alarm = self.alarm.lock();
        alarm.collect();
        alarm.arm(me);
    }
}

impl Limit {
    fn weak(self: &Arc<Self>) -> Weak<dyn Fire> {
        let me: Weak<Self> = Arc::downgrade(self);
        me
    }
}

/// A limit was set, or inherited by a new process. Only `RLIMIT_CPU` needs watching.
pub fn limit_changed(p: &Process, resource: u32) {
    if resource as usize != RLIMIT_CPU {
        return;
    }
    let (soft, hard) = p.rlimits.lock()[RLIMIT_CPU];
    let first = soft.min(hard);
    let watched = (first != u64::MAX).then(|| process::find_process(p.pid));
    let limit = watched.flatten().map(|p| {
        let process = Arc::downgrade(&p);
        let source = Source::Process(process.clone());
        let limit = Arc::new(Limit {
            process,
            alarm: Mutex::new(Alarm::new(source)),
        });
        let me = limit.weak();
        let deadline = Some(first.saturating_mul(SECOND));
        limit.alarm.lock().set(deadline, SECOND, me);
        limit
    });
    let old = core::mem::replace(&mut p.timers.inner.lock().cpu_limit, limit);
    drop(old);
}

/// `times(2)`.
pub fn sys_times(t: &Arc<Task>, buf: UserAddr) -> SysResult {
    let ticks = |ns: u64| (ns / TICK) as i64;
    let (u, s) = process_cpu(&t.process);
    let (cu, cs) = *t.process.cpu_children.lock();
    user::write_opt(
        t,
        buf,
        &Tms {
            utime: ticks(u),
            stime: ticks(s),
            cutime: ticks(cu),
            cstime: ticks(cs),
        },
    )?;
    Ok((monotonic() / TICK) as usize)
}
