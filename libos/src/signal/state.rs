//! What a task and a process know of signals.
//!
//! Locks, in order: a process's state, then the handler table or one task's state. None is held
//! while waking, sending to another process or touching user memory.

use super::pending::{self, Pending};
use super::{SigSet, set};
use crate::abi::signal::*;
use crate::process::{Process, Task, Work};
use crate::wait::WaitQueue;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;

/// The processor's last complaint, for the frames of handlers.
#[derive(Clone, Copy, Default)]
pub(super) struct LastFault {
    pub trapno: u64,
    pub err: u64,
    pub cr2: u64,
}

/// The alternate stack, `sigaltstack(2)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct AltStack {
    pub sp: u64,
    pub size: u64,
    /// `SS_DISABLE`, or `SS_AUTODISARM`, or 0; perhaps with `SS_ONSTACK` as it was given.
    pub flags: u32,
}

impl AltStack {
    pub const NONE: AltStack = AltStack {
        sp: 0,
        size: 0,
        flags: SS_DISABLE,
    };

    /// A stack pointer lies on it. With `SS_AUTODISARM` it is never in use.
    pub fn holds(&self, sp: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && self.spans(sp)
    }

    /// As [`AltStack::holds`], whatever the flags.
    pub fn spans(&self, sp: u64) -> bool {
        sp > self.sp && sp - self.sp <= self.size
    }

    /// `SS_DISABLE`, `SS_ONSTACK` or 0 for a stack pointer.
    pub fn state(&self, sp: u64) -> u32 {
        if self.size == 0 {
            SS_DISABLE
        } else if self.holds(sp) {
            SS_ONSTACK
        } else {
            0
        }
    }
}

pub(super) struct TaskState {
    pub blocked: SigSet,
    /// The mask to go back to while a temporary one is in force ([`super::with_mask`]).
    pub saved: Option<SigSet>,
    pub pending: Pending,
    pub altstack: AltStack,
    pub fault: LastFault,
    /// The task is on its way out and takes no more signals.
    pub gone: bool,
}

/// A task's signal state.
pub struct TaskSignals {
    pub(super) state: Mutex<TaskState>,
}

impl Default for TaskSignals {
    fn default() -> Self {
        Self::new(SigSet::EMPTY, AltStack::NONE)
    }
}

impl TaskSignals {
    fn new(blocked: SigSet, altstack: AltStack) -> Self {
        TaskSignals {
            state: Mutex::new(TaskState {
                blocked,
                saved: None,
                pending: Pending::default(),
                altstack,
                fault: LastFault::default(),
                gone: false,
            }),
        }
    }

    /// For a task that `parent` makes. The alternate stack is inherited unless the two run at
    /// the same time in the same memory (`CLONE_VM` without `CLONE_VFORK`). Call
    /// [`super::recalc`] for the new task once it stands in its process's table.
    pub fn for_child(parent: &TaskSignals, keep_altstack: bool) -> Self {
        let s = parent.state.lock();
        let altstack = if keep_altstack {
            s.altstack
        } else {
            AltStack::NONE
        };
        Self::new(s.blocked, altstack)
    }

    /// For the task that continues in `old`'s place when a thread that is not the leader execs:
    /// mask and pending signals go on.
    pub fn for_exec(old: &TaskSignals) -> Self {
        let mut s = old.state.lock();
        let new = Self::new(s.blocked, AltStack::NONE);
        new.state.lock().pending = core::mem::take(&mut s.pending);
        new
    }

    /// The blocked signals.
    pub fn blocked(&self) -> SigSet {
        self.state.lock().blocked
    }

    /// The pending signals that were sent to this task alone.
    pub fn pending(&self) -> SigSet {
        self.state.lock().pending.set()
    }
}

/// What signals do: the table that `CLONE_SIGHAND` shares.
pub struct Handlers {
    actions: Mutex<[SigAction; SIGMAX as usize]>,
}

impl Default for Handlers {
    fn default() -> Self {
        Handlers {
            actions: Mutex::new([SigAction::default(); SIGMAX as usize]),
        }
    }
}

impl Handlers {
    /// The action of a signal; the default one for a number that is none.
    pub fn get(&self, signo: i32) -> SigAction {
        let i = usize::try_from(signo).unwrap_or(0).wrapping_sub(1);
        self.actions.lock().get(i).copied().unwrap_or_default()
    }

    /// Replaces the action of a signal; returns what it was.
    pub fn set(&self, signo: i32, action: SigAction) -> SigAction {
        let i = usize::try_from(signo).unwrap_or(0).wrapping_sub(1);
        match self.actions.lock().get_mut(i) {
            Some(a) => core::mem::replace(a, action),
            None => SigAction::default(),
        }
    }

    /// The action to take now. One that is to be used once (`SA_RESETHAND`) goes.
    pub(super) fn consume(&self, signo: i32) -> SigAction {
        let i = usize::try_from(signo).unwrap_or(0).wrapping_sub(1);
        let mut actions = self.actions.lock();
        let Some(a) = actions.get_mut(i) else {
            return SigAction::default();
        };
        let now = *a;
        if now.flags & SA_RESETHAND != 0 && now.handler > SIG_IGN {
            a.handler = SIG_DFL;
        }
        now
    }

    fn copy(&self) -> Self {
        Handlers {
            actions: Mutex::new(*self.actions.lock()),
        }
    }

    /// The table of a new program: what was ignored stays so, the rest is default.
    fn for_exec(&self) -> Self {
        let mut actions = *self.actions.lock();
        for a in &mut actions {
            *a = SigAction {
                handler: if a.handler == SIG_IGN {
                    SIG_IGN
                } else {
                    SIG_DFL
                },
                ..SigAction::default()
            };
        }
        Handlers {
            actions: Mutex::new(actions),
        }
    }
}

/// A stop of a process, requested or complete.
pub(super) struct Stop {
    pub signal: i32,
    /// Threads that still have to notice.
    pub waiting: BTreeSet<i32>,
}

#[derive(Default)]
pub(super) struct ProcessState {
    pub pending: Pending,
    pub stop: Option<Stop>,
    /// How often it was continued: a stop signal taken before a SIGCONT stops nothing.
    pub continues: u64,
}

/// A process's signal state: handlers and shared pending signals.
#[derive(Default)]
pub struct ProcessSignals {
    handlers: Mutex<Arc<Handlers>>,
    pub(super) state: Mutex<ProcessState>,
    /// Told of every signal that becomes pending: signalfd and sigtimedwait.
    pub arrivals: WaitQueue,
    /// Told of the end of a stop.
    pub(super) resumed: WaitQueue,
}

impl ProcessSignals {
    fn with(handlers: Arc<Handlers>) -> Self {
        ProcessSignals {
            handlers: Mutex::new(handlers),
            ..Self::default()
        }
    }

    /// For a forked child: the same actions, nothing pending.
    pub fn fork(&self) -> Self {
        Self::with(Arc::new(self.handlers().copy()))
    }

    /// For a child made with `CLONE_SIGHAND`: one table of actions for both.
    pub fn share(&self) -> Self {
        Self::with(self.handlers())
    }

    /// For a child made with `CLONE_CLEAR_SIGHAND`.
    pub fn fork_cleared(&self) -> Self {
        Self::with(Arc::new(self.handlers().for_exec()))
    }

    /// The table of actions.
    pub fn handlers(&self) -> Arc<Handlers> {
        self.handlers.lock().clone()
    }

    /// The action of a signal.
    pub fn action(&self, signo: i32) -> SigAction {
        self.handlers.lock().get(signo)
    }

    /// Pending signals that any thread may take.
    pub fn pending(&self) -> SigSet {
        self.state.lock().pending.set()
    }

    /// The process is stopped, or about to be.
    pub fn stopped(&self) -> bool {
        self.state.lock().stop.is_some()
    }

    /// The actions and pending counts of `/proc/pid/status`: (ignored, caught).
    pub fn dispositions(&self) -> (SigSet, SigSet) {
        let (mut ignored, mut caught) = (SigSet::EMPTY, SigSet::EMPTY);
        for (i, a) in self.handlers().actions.lock().iter().enumerate() {
            match a.handler {
                SIG_DFL => {}
                SIG_IGN => ignored.insert(i as i32 + 1),
                _ => caught.insert(i as i32 + 1),
            }
        }
        (ignored, caught)
    }
}

/// The task starts a new program: caught signals become default, the alternate stack goes.
/// Pending signals and the mask stay, `execve(2)`.
pub fn reset_on_exec(t: &Task) {
    let mut handlers = t.process.signals.handlers.lock();
    *handlers = Arc::new(handlers.for_exec());
    drop(handlers);
    t.signals.state.lock().altstack = AltStack::NONE;
    let rest = t.restart.lock().take();
    drop(rest);
}

/// The task leaves its process: its own pending signals go, and what it would have taken of the
/// shared ones is for others. Call it before the task's removal or after, without locks.
pub fn on_exit(t: &Task) {
    let (gone, unblocked) = {
        let mut s = t.signals.state.lock();
        s.gone = true;
        let all = SigSet(u64::MAX);
        (s.pending.remove(all), all - s.blocked)
    };
    pending::discard(gone);
    super::send::retarget(t, unblocked);
    super::job::left(t);
}

/// Sets or removes [`Work::SIGNAL`] as the pending signals and the mask demand.
pub fn recalc(t: &Task) {
    // In this order: a signal that arrives in between sets the bit again.
    t.clear_work(Work::SIGNAL);
    if deliverable(t) {
        t.add_own_work(Work::SIGNAL);
    }
}

fn deliverable(t: &Task) -> bool {
    let shared = {
        let p = t.process.signals.state.lock();
        if p.stop.is_some() {
            return true;
        }
        p.pending.set()
    };
    let s = t.signals.state.lock();
    !((shared | s.pending.set()) - s.blocked).is_empty()
}

/// The tasks of a process at this moment.
pub(super) fn tasks(p: &Process) -> Vec<Arc<Task>> {
    p.tasks.lock().values().cloned().collect()
}

/// An action that throws the signal away.
pub(super) fn ignores(action: &SigAction, signo: i32) -> bool {
    action.handler == SIG_IGN || action.handler == SIG_DFL && set::ignored_by_default(signo)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caught() -> SigAction {
        SigAction {
            handler: 0x1000,
            flags: SA_RESETHAND,
            ..SigAction::default()
        }
    }

    #[test]
    fn exec_keeps_only_what_is_ignored() {
        let p = ProcessSignals::default();
        p.handlers().set(SIGUSR1, caught());
        let ign = SigAction {
            handler: SIG_IGN,
            flags: SA_RESTART,
            ..SigAction::default()
        };
        p.handlers().set(SIGHUP, ign);
        let (shared, copy) = (p.share(), p.fork());
        let next = copy.handlers().for_exec();
        assert_eq!(next.get(SIGUSR1), SigAction::default());
        assert_eq!((next.get(SIGHUP).handler, next.get(SIGHUP).flags), (1, 0));
        assert_eq!(p.dispositions(), (SigSet::of(&[1]), SigSet::of(&[10])));
        shared.handlers().set(SIGUSR2, caught());
        assert_eq!(p.action(SIGUSR2), caught());
        assert_eq!(copy.action(SIGUSR2), SigAction::default());
    }

    #[test]
    fn a_handler_may_serve_once() {
        let h = Handlers::default();
        h.set(SIGTERM, caught());
        assert_eq!(h.consume(SIGTERM).handler, 0x1000);
        assert_eq!(h.consume(SIGTERM).handler, SIG_DFL);
        assert_eq!(h.get(0), SigAction::default());
        assert_eq!(h.get(65), SigAction::default());
    }

    #[test]
    fn the_alternate_stack_knows_what_lies_on_it() {
        let a = AltStack {
            sp: 0x1000,
            size: 0x2000,
            flags: 0,
        };
        assert!(!a.holds(0x1000) && a.holds(0x1001) && a.holds(0x3000) && !a.holds(0x3001));
        assert_eq!(AltStack::NONE.state(5), SS_DISABLE);
        let auto = AltStack {
            flags: SS_AUTODISARM,
            ..a
        };
        assert_eq!((a.state(0x2000), auto.state(0x2000)), (SS_ONSTACK, 0));
    }
}
