//! Job control: stopping and continuing whole processes.

use super::pending::discard;
use super::state::{Stop, tasks};
use super::{SigInfo, SigSet};
use crate::abi::signal::*;
use crate::process::{self, JobState, Life, Process, Task, Work};
use crate::wait::POLLALL;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What a signal does before it is even queued: a stop cancels a pending SIGCONT; SIGCONT cancels
/// pending stops and continues the process, blocked or not.
pub(super) fn prepare(p: &Process, members: &[Arc<Task>], signo: i32) {
    if signo == SIGCONT {
        forget(p, members, SigSet::STOPS);
        resume(p);
    } else if SigSet::STOPS.contains(signo) {
        forget(p, members, SigSet::of(&[SIGCONT]));
    }
}

/// Throws away pending signals of a process and of its threads.
pub(super) fn forget(p: &Process, members: &[Arc<Task>], unwanted: SigSet) {
    let gone = p.signals.state.lock().pending.remove(unwanted);
    discard(gone);
    for t in members {
        let gone = t.signals.state.lock().pending.remove(unwanted);
        discard(gone);
    }
}

fn resume(p: &Process) {
    let stop = {
        let mut s = p.signals.state.lock();
        s.continues += 1;
        s.stop.take()
    };
    let Some(stop) = stop else {
        return;
    };
    p.signals.resumed.wake_all(POLLALL);
    *p.job.lock() = JobState {
        stopped: None,
        stop_unreported: false,
        continue_unreported: true,
    };
    if stop.waiting.is_empty() {
        process::notify_parent(p, CLD_CONTINUED, SIGCONT);
    } else {
        process::notify_parent(p, CLD_STOPPED, stop.signal);
    }
}

/// The task took a stop signal: its whole process is to stop, unless it was continued since
/// (`continues` is the count when the signal was taken).
pub(super) fn request_stop(t: &Task, signal: i32, continues: u64) {
    let p = &t.process;
    let members = tasks(p);
    {
        let mut s = p.signals.state.lock();
        if s.continues != continues || s.stop.is_some() {
            return;
        }
        s.stop = Some(Stop {
            signal,
            waiting: members.iter().map(|m| m.tid).collect(),
        });
    }
    for m in &members {
        if m.tid != t.tid {
            m.add_work(Work::SIGNAL);
        }
    }
}

/// Sleeps while the process is stopped. Ends when it is continued or the task must exit.
pub(super) fn sleep_while_stopped(t: &Task) {
    let mut registration = None;
    loop {
        if t.work().contains(Work::EXIT) || !note_stopped(t) {
            return;
        }
        if registration.is_none() {
            let q = &t.process.signals.resumed;
            registration = Some(q.register(t.parker.clone(), false));
            continue;
        }
        crate::pal().park(&t.parker.park, None, &mut []);
    }
}

/// Counts the task as stopped; false if there is no stop.
fn note_stopped(t: &Task) -> bool {
    let p = &t.process;
    let complete = {
        let mut s = p.signals.state.lock();
        let Some(stop) = &mut s.stop else {
            return false;
        };
        (stop.waiting.remove(&t.tid) && stop.waiting.is_empty()).then_some(stop.signal)
    };
    if let Some(signal) = complete {
        report_stop(p, signal);
    }
    true
}

/// The task exits: a stop does not wait for it.
pub(super) fn left(t: &Task) {
    note_stopped(t);
}

fn report_stop(p: &Process, signal: i32) {
    *p.job.lock() = JobState {
        stopped: Some(signal),
        stop_unreported: true,
        continue_unreported: false,
    };
    process::notify_parent(p, CLD_STOPPED, signal);
    if super::host::is_first_program(p) {
        crate::pal().stopped(signal);
    }
}

/// The processes of a group, zombies too.
pub fn group_members(pgid: i32) -> Vec<Arc<Process>> {
    let all: Vec<_> = crate::kernel().processes.lock().values().cloned().collect();
    all.into_iter()
        .filter(|p| p.rel.lock().pgid == pgid)
        .collect()
}

/// No member of the group has a living parent in the same session but another group: nobody could
/// continue it (`setpgid(2)`, POSIX "orphaned process group"). `leaving` does not count as a
/// member or as a parent.
pub fn orphaned(pgid: i32, leaving: Option<&Process>) -> bool {
    let left = |p: &Process| leaving.is_some_and(|l| l.pid == p.pid);
    group_members(pgid).iter().all(|p| {
        if left(p) || matches!(*p.life.lock(), Life::Zombie(_)) {
            return true;
        }
        let (parent, sid) = {
            let rel = p.rel.lock();
            (rel.parent.upgrade(), rel.sid)
        };
        match parent {
            // The launcher's parent stands outside, and job control there is real.
            None => !super::host::is_first_program(p),
            Some(parent) => {
                let rel = parent.rel.lock();
                left(&parent) || rel.pgid == pgid || rel.sid != sid
            }
        }
    })
}

/// For exit: hangs up the groups that the exit of `p` leaves orphaned with stopped members,
/// `exit(3)` "SIGHUP". Call it when `p` no longer counts as running, before its children move.
pub fn hang_up_orphans(p: &Process) {
    let (pgid, parent, children) = {
        let rel = p.rel.lock();
        (rel.pgid, rel.parent.upgrade(), rel.children.clone())
    };
    let mut groups: Vec<i32> = children
        .iter()
        .map(|c| c.rel.lock().pgid)
        .filter(|&g| g != pgid)
        .collect();
    if parent.is_some_and(|q| q.rel.lock().pgid != pgid) {
        groups.push(pgid);
    }
    groups.sort_unstable();
    groups.dedup();
    for g in groups {
        let members = group_members(g);
        let stopped = members
            .iter()
            .any(|m| m.pid != p.pid && m.job.lock().stopped.is_some());
        if stopped && orphaned(g, Some(p)) {
            for m in members.iter().filter(|m| m.pid != p.pid) {
                super::send_process(m, SigInfo::kernel(SIGHUP));
                super::send_process(m, SigInfo::kernel(SIGCONT));
            }
        }
    }
}
