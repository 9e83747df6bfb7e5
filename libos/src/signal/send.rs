//! Generation of signals: from whoever causes them to a pending queue, and to a thread that will
//! act on them.

use super::pending::{Charge, Queued, Source};
use super::state::{ignores, tasks};
use super::{SigInfo, SigSet, job, set};
use crate::abi::signal::*;
use crate::process::task::RLIMIT_SIGPENDING;
use crate::process::{self, Life, Process, Task, Work};
use crate::wait::POLLIN;
use crate::{Errno, Result};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What became of a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    Queued,
    /// The same signal was pending already.
    Absorbed,
    /// It is ignored, or there is nobody left to take it.
    Dropped,
}

/// Sends to a process: any thread that does not block it. Callers hold no locks.
pub fn send_process(p: &Process, info: SigInfo) {
    let _ = post(p, None, info, None);
}

/// Sends to one thread. Callers hold no locks.
pub fn send_task(t: &Task, info: SigInfo) {
    let _ = post(&t.process, Some(t), info, None);
}

/// Sends to every process of a group; ESRCH if there is none.
pub fn send_group(pgid: i32, info: SigInfo) -> Result<()> {
    let members = job::group_members(pgid);
    for p in &members {
        send_process(p, info);
    }
    if members.is_empty() {
        Err(Errno::ESRCH)
    } else {
        Ok(())
    }
}

/// Process 1 does not obey other processes of the enclave unless it asked for the signal.
pub(super) fn immune(p: &Process, info: &SigInfo, action: &SigAction) -> bool {
    p.pid == 1 && action.handler == SIG_DFL && info.sender_pid().is_some_and(|pid| pid != 1)
}

/// Sends a signal to a process, or to one of its threads. EAGAIN if a real-time signal finds the
/// queue full.
pub fn post(
    p: &Process,
    target: Option<&Task>,
    info: SigInfo,
    source: Option<Arc<dyn Source>>,
) -> Result<Sent> {
    let signo = info.signo;
    if !set::valid(signo) {
        return Err(Errno::EINVAL);
    }
    if !matches!(*p.life.lock(), Life::Running) {
        return Ok(Sent::Dropped);
    }
    let members = tasks(p);
    // A blocked signal is kept even if it is ignored: that may change before it is unblocked.
    let witness = match target {
        Some(t) => Some(t),
        None => members
            .iter()
            .find(|t| t.tid == p.pid)
            .or(members.first())
            .map(|t| &**t),
    };
    let Some(witness) = witness else {
        return Ok(Sent::Dropped);
    };
    let action = p.signals.action(signo);
    let blocked = witness.signals.blocked().contains(signo);
    if !blocked && immune(p, &info, &action) {
        return Ok(Sent::Dropped);
    }
    job::prepare(p, &members, signo);
    if !blocked && ignores(&action, signo) {
        return Ok(Sent::Dropped);
    }
    if signo == SIGKILL {
        process::kill_process(p, SIGKILL);
        return Ok(Sent::Queued);
    }
    // Each timer has a signal of its own in the queue.
    let own_place = source.is_some();
    let queued = admit(p, witness, info, source)?;
    let absorbed = {
        let mut task_state;
        let mut process_state;
        let pending = match target {
            Some(t) => {
                task_state = t.signals.state.lock();
                &mut task_state.pending
            }
            None => {
                process_state = p.signals.state.lock();
                &mut process_state.pending
            }
        };
        if !own_place && pending.absorbs(signo) {
            true
        } else {
            match queued {
                Some(q) => pending.push(q),
                None => pending.mark(signo),
            }
            false
        }
    };
    if absorbed {
        return Ok(Sent::Absorbed);
    }
    p.signals.arrivals.wake_all(POLLIN);
    match target {
        Some(t) => notify(p, core::iter::once(t), signo, &action),
        None => notify(p, members.iter().map(|t| &**t), signo, &action),
    }
    Ok(Sent::Queued)
}

/// A queue entry within the user's allowance. `None` if only the fact of the signal can be kept.
fn admit(
    p: &Process,
    witness: &Task,
    info: SigInfo,
    source: Option<Arc<dyn Source>>,
) -> Result<Option<Queued>> {
    // A timer's place was paid for when the timer was made.
    if source.is_some() {
        return Ok(Some(Queued {
            info,
            charge: None,
            source,
        }));
    }
    // Standard signals from the kernel or kill(2) always keep their details.
    let always = info.signo < SIGRTMIN && info.code >= 0;
    let limit = if always {
        u64::MAX
    } else {
        p.rlimits.lock()[RLIMIT_SIGPENDING].0
    };
    let uid = witness.creds().uid;
    match Charge::take(uid, limit) {
        Some(charge) => Ok(Some(Queued {
            info,
            charge: Some(charge),
            source: None,
        })),
        None if info.signo >= SIGRTMIN && info.code != SI_USER && info.code != SI_KERNEL => {
            Err(Errno::EAGAIN)
        }
        None => Ok(None),
    }
}

/// The signal is pending and not blocked, at one moment.
fn awaits(p: &Process, t: &Task, signo: i32) -> bool {
    let process = p.signals.state.lock();
    let task = t.signals.state.lock();
    let pending = process.pending.set() | task.pending.set();
    pending.contains(signo) && !task.blocked.contains(signo)
}

/// Makes one of `candidates` act on a signal that has become pending for all of them.
pub(super) fn notify<'a>(
    p: &Process,
    candidates: impl Iterator<Item = &'a Task>,
    signo: i32,
    action: &SigAction,
) {
    if p.signals.stopped() {
        // Whoever is stopped looks again when continued.
        return;
    }
    let mut chosen: Option<&Task> = None;
    for t in candidates {
        let wants = {
            let s = t.signals.state.lock();
            !s.gone && !s.blocked.contains(signo)
        };
        if !wants || t.work().contains(Work::EXIT) {
            continue;
        }
        let idle = !t.work().contains(Work::SIGNAL);
        if idle || chosen.is_none() {
            chosen = Some(t);
        }
        if idle {
            break;
        }
    }
    let Some(t) = chosen else {
        return;
    };
    // What kills without ceremony does so at once, even if the chosen thread is busy elsewhere.
    let fatal = |action: &SigAction| {
        action.handler == SIG_DFL && set::default_action(signo) == set::DefaultAction::Terminate
    };
    if !fatal(action) {
        t.add_work(Work::SIGNAL);
    } else if awaits(p, t, signo) {
        // Nobody took it meanwhile, who could have unblocked it since. Nor installed a handler:
        if fatal(&p.signals.action(signo)) {
            process::kill_process(p, signo);
        } else {
            t.add_work(Work::SIGNAL);
        }
    }
}

/// The task will no longer take these signals (it blocked them, or leaves): those that are
/// pending for the process are for another thread.
pub(super) fn retarget(t: &Task, signals: SigSet) {
    let p = &t.process;
    let mut left = p.signals.pending() & signals;
    if left.is_empty() {
        return;
    }
    let members: Vec<_> = tasks(p).into_iter().filter(|m| m.tid != t.tid).collect();
    while let Some(signo) = left.first() {
        left.remove(signo);
        let action = p.signals.action(signo);
        notify(p, members.iter().map(|m| &**m), signo, &action);
    }
}

/// A signal caused by the task's own instruction: it cannot be blocked or ignored, but kills
/// then. `t` is the caller.
pub fn force(t: &Task, info: SigInfo) {
    let signo = info.signo;
    let handlers = t.process.signals.handlers();
    let mut s = t.signals.state.lock();
    let blocked = s.blocked.contains(signo);
    if blocked || handlers.get(signo).handler == SIG_IGN {
        handlers.set(signo, SigAction::default());
        s.blocked.remove(signo);
    }
    if !s.pending.absorbs(signo) {
        s.pending.push(Queued::plain(info));
    }
    drop(s);
    t.add_own_work(Work::SIGNAL);
}

/// As [`force`], past any handler: the process ends by the signal.
pub fn force_fatal(t: &Task, signo: i32) {
    let handlers = t.process.signals.handlers();
    handlers.set(signo, SigAction::default());
    force(t, SigInfo::kernel(signo));
}
