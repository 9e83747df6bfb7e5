//! The way back to the application: what is pending is acted on, and interrupted calls start
//! again or fail.

use super::set::{DefaultAction, default_action};
use super::state::ignores;
use super::{SigInfo, SigSet, frame, job, mask, send, state};
use crate::Errno;
use crate::abi::signal::*;
use crate::process::{self, Task, Work};
use alloc::sync::Arc;
use bastide_pal::Context;

/// Number of `restart_syscall(2)`.
const NR_RESTART_SYSCALL: u64 = 219;

/// Acts on what is pending: stops, runs handlers (sets up `ctx`), or kills. Clears
/// [`Work::SIGNAL`] when nothing is left. Also turns a restart code in `ctx.rax` (when
/// `ctx.orig_rax` is a system call) into a restart or EINTR.
pub fn deliver(t: &Arc<Task>, ctx: &mut Context) {
    t.clear_work(Work::SIGNAL | Work::OTHER);
    loop {
        job::sleep_while_stopped(t);
        if t.work().contains(Work::EXIT) {
            return;
        }
        let Some((info, continues)) = take(t) else {
            restart(t, ctx, None);
            break;
        };
        let action = t.process.signals.handlers().consume(info.signo);
        if ignores(&action, info.signo) || send::immune(&t.process, &info, &action) {
            continue;
        }
        crate::syscall::trace::signal(t, &info);
        if action.handler != SIG_DFL {
            restart(t, ctx, Some(&action));
            run_handler(t, ctx, &info, &action);
            break;
        }
        match default_action(info.signo) {
            DefaultAction::Ignore | DefaultAction::Continue => {}
            DefaultAction::Stop => {
                // A group that nobody could continue is not stopped from a terminal.
                let pgid = t.process.rel.lock().pgid;
                if info.signo == SIGSTOP || !job::orphaned(pgid, None) {
                    job::request_stop(t, info.signo, continues);
                }
            }
            DefaultAction::Terminate | DefaultAction::Core => {
                process::kill_process(&t.process, info.signo);
                return;
            }
        }
    }
    // Whatever the frame holds now, it is no interrupted call any more.
    ctx.orig_rax = u64::MAX;
    mask::restore(t);
    state::recalc(t);
}

/// Takes the next signal that is `wanted` of a task with this mask, and how often the process had
/// been continued then.
fn dequeue(t: &Task, wanted: impl Fn(SigSet) -> SigSet) -> Option<(SigInfo, u64)> {
    loop {
        let (queued, continues) = {
            let mut p = t.process.signals.state.lock();
            let mut s = t.signals.state.lock();
            let wanted = wanted(s.blocked);
            let q = s.pending.take(wanted).or_else(|| p.pending.take(wanted))?;
            (q, p.continues)
        };
        if let Some(info) = queued.into_info() {
            return Some((info, continues));
        }
    }
}

/// The next signal to act on, and how often the process had been continued when it was taken.
fn take(t: &Task) -> Option<(SigInfo, u64)> {
    dequeue(t, |blocked| SigSet(u64::MAX) - blocked)
}

/// Takes a pending signal of `wanted` for the calling task, blocked or not (sigtimedwait,
/// signalfd).
pub(super) fn take_wanted(t: &Task, wanted: SigSet) -> Option<SigInfo> {
    dequeue(t, |_| wanted).map(|(info, _)| info)
}

/// Decides what an interrupted call returns, `signal(7)` "Interruption of system calls".
fn restart(t: &Task, ctx: &mut Context, handler: Option<&SigAction>) {
    if ctx.orig_rax == u64::MAX {
        return;
    }
    let Some(code) = i32::try_from(ctx.rax as i64).ok().map(|v| Errno(-v)) else {
        return;
    };
    let again = match (code, handler) {
        (Errno::ERESTARTNOINTR, _) => true,
        (Errno::ERESTARTSYS, Some(a)) => a.flags & SA_RESTART != 0,
        (Errno::ERESTARTNOHAND | Errno::ERESTART_RESTARTBLOCK, Some(_)) => false,
        (Errno::ERESTARTSYS | Errno::ERESTARTNOHAND, None) => true,
        (Errno::ERESTART_RESTARTBLOCK, None) => {
            ctx.orig_rax = NR_RESTART_SYSCALL;
            true
        }
        _ => return,
    };
    if again {
        rewind_syscall(t, ctx);
    } else {
        ctx.rax = (-i64::from(Errno::EINTR.0)) as u64;
    }
}

/// Makes the application execute its system call again, with the number in `ctx.orig_rax`.
fn rewind_syscall(t: &Task, ctx: &mut Context) {
    ctx.rax = ctx.orig_rax;
    // The length of the syscall instruction, after which the frame continues.
    ctx.rip = crate::mm::patch::shown(t, ctx.rip).wrapping_sub(2);
}

/// Makes the application continue in the handler.
fn run_handler(t: &Task, ctx: &mut Context, info: &SigInfo, action: &SigAction) {
    let to_save = {
        let mut s = t.signals.state.lock();
        s.saved.take().unwrap_or(s.blocked)
    };
    if frame::push(t, ctx, info, action, to_save).is_err() {
        // As if the write had faulted: with no stack for SIGSEGV's own handler, that is the end.
        if info.signo == SIGSEGV {
            send::force_fatal(t, SIGSEGV);
        } else {
            send::force(t, SigInfo::kernel(SIGSEGV));
        }
        return;
    }
    let mut s = t.signals.state.lock();
    s.blocked = (s.blocked | SigSet::blockable(action.mask)) - SigSet::UNBLOCKABLE;
    if action.flags & SA_NODEFER == 0 {
        s.blocked.insert(info.signo);
    }
    if s.altstack.flags & SS_AUTODISARM != 0 {
        s.altstack = state::AltStack::NONE;
    }
    let now_blocked = s.blocked;
    drop(s);
    // What the handler blocks may be for another thread.
    send::retarget(t, now_blocked - to_save);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(code: Errno) -> Context {
        Context {
            rax: (-i64::from(code.0)) as u64,
            orig_rax: 35,
            rip: 0x1002,
            ..Context::new()
        }
    }

    fn run(code: Errno, handler: Option<u64>) -> (u64, u64) {
        let mut ctx = frame(code);
        let action = handler.map(|flags| SigAction {
            handler: 0x5000,
            flags,
            ..SigAction::default()
        });
        restart(&crate::testing::task(), &mut ctx, action.as_ref());
        (ctx.rax, ctx.rip)
    }

    #[test]
    fn calls_restart_as_signal_7_says() {
        let eintr = ((-4i64) as u64, 0x1002);
        let again = (35, 0x1000);
        assert_eq!(run(Errno::ERESTARTSYS, None), again);
        assert_eq!(run(Errno::ERESTARTSYS, Some(SA_RESTART)), again);
        assert_eq!(run(Errno::ERESTARTSYS, Some(0)), eintr);
        assert_eq!(run(Errno::ERESTARTNOINTR, Some(0)), again);
        assert_eq!(run(Errno::ERESTARTNOHAND, None), again);
        assert_eq!(run(Errno::ERESTARTNOHAND, Some(SA_RESTART)), eintr);
        assert_eq!(run(Errno::ERESTART_RESTARTBLOCK, None), (219, 0x1000));
        assert_eq!(run(Errno::ERESTART_RESTARTBLOCK, Some(SA_RESTART)), eintr);
        assert_eq!(run(Errno::EAGAIN, None), ((-11i64) as u64, 0x1002));
    }

    #[test]
    fn only_calls_restart() {
        let mut ctx = frame(Errno::ERESTARTSYS);
        ctx.orig_rax = u64::MAX;
        let before = (ctx.rax, ctx.rip);
        restart(&crate::testing::task(), &mut ctx, None);
        assert_eq!((ctx.rax, ctx.rip), before);
    }
}
