//! From the sender to the handler and back, on the mock platform.

use super::*;
use crate::abi::signal::*;
use crate::process::{Task, Work};
use crate::testing::{addr, task};
use crate::user::UserAddr;
use crate::{Errno, Result};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bastide_pal::Context;
use core::cell::Cell;
use zerocopy::FromBytes;

const HANDLER: u64 = 0x40_1000;
const RESTORER: u64 = 0x40_2000;

fn handle(t: &Task, signo: i32, flags: u64, mask: u64) {
    t.process.signals.handlers().set(
        signo,
        SigAction {
            handler: HANDLER,
            flags: flags | SA_RESTORER,
            restorer: RESTORER,
            mask,
        },
    );
}

fn user(signo: i32) -> SigInfo {
    SigInfo::sender(signo, SI_USER, 77, 1000)
}

/// A stack and a frame of a system call that just returned `result`.
fn stack(result: i64) -> (Vec<u8>, Context) {
    let stack = vec![0u8; 16384];
    let ctx = Context {
        rsp: addr(&stack[..]).0 as u64 + 16000,
        rip: 0x1002,
        rax: result as u64,
        orig_rax: 0,
        rbx: 42,
        rflags: 0x646,
        ..Context::new()
    };
    (stack, ctx)
}

fn frame(t: &Task, ctx: &Context) -> Result<RtSigFrame> {
    let mut raw = [0u8; 440];
    crate::user::read_bytes(t, UserAddr(ctx.rsp as usize), &mut raw)?;
    RtSigFrame::read_from_bytes(&raw).map_err(|_| Errno::EFAULT)
}

fn back(t: &Arc<Task>, ctx: &mut Context) {
    ctx.rsp += 8;
    ctx.orig_rax = 15;
    frame::sys_rt_sigreturn(t, ctx).unwrap();
    assert_eq!(ctx.orig_rax, u64::MAX);
}

#[test]
fn a_handler_runs_and_returns() {
    let t = task();
    handle(
        &t,
        SIGUSR1,
        SA_SIGINFO | SA_RESTART,
        SigSet::of(&[SIGHUP]).0,
    );
    send_process(&t.process, user(SIGUSR1));
    assert!(t.interrupted());
    let (_stack, mut ctx) = stack(-512);
    let before = ctx;
    deliver(&t, &mut ctx);
    assert!(!t.interrupted());
    assert_eq!((ctx.rip, ctx.rdi, ctx.rax), (HANDLER, 10, 0));
    assert_eq!((ctx.rsp % 16, ctx.rflags & (1 << 10)), (8, 0));
    assert_eq!(ctx.orig_rax, u64::MAX);
    let f = frame(&t, &ctx).unwrap();
    assert_eq!(f.pretcode, RESTORER);
    assert_eq!((f.info.signo, f.info.fields[0]), (10, 77 | 1000 << 32));
    assert_eq!((ctx.rsi, ctx.rdx), (ctx.rsp + 312, ctx.rsp + 8));
    // read(2), to be made again.
    assert_eq!((f.uc.mcontext.rax, f.uc.mcontext.rip), (0, 0x1000));
    assert_eq!(f.uc.mcontext.fpstate % 64, 0);
    assert_eq!(t.signals.blocked(), SigSet::of(&[SIGHUP, SIGUSR1]));
    back(&t, &mut ctx);
    assert_eq!((ctx.rbx, ctx.rip, ctx.rsp), (42, 0x1000, before.rsp));
    assert_eq!((ctx.rflags, ctx.rax), (before.rflags, 0));
    assert_eq!(t.signals.blocked(), SigSet::EMPTY);
}

#[test]
fn blocked_signals_do_not_interrupt_and_come_when_unblocked() {
    let t = task();
    handle(&t, SIGUSR2, 0, 0);
    set_mask(&t, SigSet::of(&[SIGUSR2]));
    send_process(&t.process, user(SIGUSR2));
    send_process(&t.process, user(SIGUSR2));
    assert!(!t.interrupted());
    let pending = Cell::new(0u64);
    sys_rt_sigpending(&t, addr(&pending), 8).unwrap();
    assert_eq!(pending.get(), SigSet::of(&[SIGUSR2]).0);
    set_mask(&t, SigSet::EMPTY);
    assert!(t.interrupted());
    let (_stack, mut ctx) = stack(5);
    deliver(&t, &mut ctx);
    assert_eq!((ctx.rip, t.interrupted()), (HANDLER, false));
    let saved = frame(&t, &ctx).unwrap();
    assert_eq!((saved.uc.mcontext.rax, saved.uc.mcontext.rip), (5, 0x1002));
    assert!(t.process.signals.pending().is_empty());
}

#[test]
fn ignored_signals_are_dropped_and_ignoring_forgets() {
    let t = task();
    send_process(&t.process, user(SIGCHLD));
    send_process(&t.process, user(SIGWINCH));
    assert!(t.process.signals.pending().is_empty() && !t.interrupted());
    set_mask(&t, SigSet::of(&[SIGCHLD, SIGTERM]));
    send_process(&t.process, user(SIGCHLD));
    send_task(&t, user(SIGTERM));
    assert!(t.process.signals.pending().contains(SIGCHLD));
    let ign = SigAction {
        handler: SIG_IGN,
        ..SigAction::default()
    };
    sys_rt_sigaction(&t, SIGTERM, addr(&ign), UserAddr(0), 8).unwrap();
    assert!(t.signals.pending().is_empty());
}

#[test]
fn a_temporary_mask_lasts_until_the_handler_has_its_frame() {
    let t = task();
    handle(&t, SIGUSR1, 0, 0);
    set_mask(&t, SigSet::of(&[SIGUSR1]));
    send_process(&t.process, user(SIGUSR1));
    assert!(!t.interrupted());
    let none = 0u64;
    assert_eq!(
        sys_rt_sigsuspend(&t, addr(&none), 8),
        Err(Errno::ERESTARTNOHAND)
    );
    let (_stack, mut ctx) = stack(-514);
    deliver(&t, &mut ctx);
    assert_eq!(ctx.rip, HANDLER);
    let f = frame(&t, &ctx).unwrap();
    assert_eq!(f.uc.sigmask, SigSet::of(&[SIGUSR1]).0);
    assert_eq!(f.uc.mcontext.rax as i64, -4);
    // A call that ends by itself puts the mask back.
    let got = with_mask(&t, Some(SigSet::of(&[SIGHUP])), || {
        assert_eq!(t.signals.blocked(), SigSet::of(&[SIGHUP]));
        Ok(3)
    });
    assert_eq!(got, Ok(3));
    assert_eq!(t.signals.blocked(), SigSet::of(&[SIGUSR1]));
}

#[test]
fn faults_find_their_handler_or_kill() {
    let t = task();
    handle(&t, SIGSEGV, SA_SIGINFO | SA_NODEFER, 0);
    let (_stack, mut ctx) = stack(0);
    let fault = bastide_pal::Fault {
        vector: 13,
        code: 0,
        addr: 0,
        bus: false,
    };
    super::fault(&t, &mut ctx, fault);
    deliver(&t, &mut ctx);
    let f = frame(&t, &ctx).unwrap();
    assert_eq!((f.info.signo, f.info.code), (SIGSEGV, SI_KERNEL));
    assert_eq!(f.uc.mcontext.trapno, 13);
    assert_eq!(t.signals.blocked(), SigSet::EMPTY);
    // While it is blocked there is no handler.
    set_mask(&t, SigSet::of(&[SIGSEGV]));
    super::fault(&t, &mut ctx, fault);
    assert_eq!(t.process.signals.action(SIGSEGV).handler, SIG_DFL);
    assert!(t.interrupted());
}

#[test]
fn frames_that_do_not_fit_become_sigsegv() {
    let t = task();
    handle(&t, SIGUSR1, 0, 0);
    let no_restorer = SigAction {
        handler: HANDLER,
        ..SigAction::default()
    };
    t.process.signals.handlers().set(SIGUSR1, no_restorer);
    send_process(&t.process, user(SIGUSR1));
    let (_stack, mut ctx) = stack(0);
    deliver(&t, &mut ctx);
    assert_eq!(ctx.rip, 0x1002);
    assert!(t.interrupted() && t.signals.pending().contains(SIGSEGV));
}

#[test]
fn the_alternate_stack_can_be_changed_only_from_outside() {
    let t = task();
    let area = vec![0u8; 16384];
    let (_stack, mut ctx) = stack(0);
    let st = StackT {
        sp: addr(&area[..]).0 as u64,
        flags: 0,
        pad: 0,
        size: 16384,
    };
    let set = |ctx: &mut Context, st: &StackT| sys_sigaltstack(&t, ctx, addr(st), UserAddr(0));
    let small = StackT { size: 2047, ..st };
    assert_eq!(set(&mut ctx, &small), Err(Errno::ENOMEM));
    assert_eq!(
        set(&mut ctx, &StackT { flags: 8, ..st }),
        Err(Errno::EINVAL)
    );
    assert_eq!(set(&mut ctx, &st), Ok(0));
    handle(&t, SIGUSR1, SA_ONSTACK, 0);
    send_process(&t.process, user(SIGUSR1));
    deliver(&t, &mut ctx);
    assert!(ctx.rsp > st.sp && ctx.rsp < st.sp + st.size);
    assert_eq!(set(&mut ctx, &st), Err(Errno::EPERM));
    let now = Cell::new(StackT::default());
    sys_sigaltstack(&t, &mut ctx, UserAddr(0), addr(&now)).unwrap();
    assert_eq!(now.get().flags, SS_ONSTACK);
    back(&t, &mut ctx);
    assert_eq!(set(&mut ctx, &st), Ok(0));
}

#[test]
fn stop_and_continue_cancel_each_other() {
    let t = task();
    set_mask(&t, SigSet::of(&[SIGTSTP, SIGCONT]));
    send_process(&t.process, user(SIGTSTP));
    assert!(t.process.signals.pending().contains(SIGTSTP));
    send_process(&t.process, user(SIGCONT));
    assert_eq!(t.process.signals.pending(), SigSet::of(&[SIGCONT]));
    send_process(&t.process, user(SIGTSTP));
    assert_eq!(t.process.signals.pending(), SigSet::of(&[SIGTSTP]));
}

#[test]
fn a_stopped_process_sleeps_until_it_is_continued() {
    let t = task();
    send_process(&t.process, user(SIGSTOP));
    assert!(t.interrupted());
    let sleeper = t.clone();
    let thread = std::thread::spawn(move || {
        let (_stack, mut ctx) = stack(-512);
        deliver(&sleeper, &mut ctx);
        (ctx.rax, ctx.rip)
    });
    while t.process.job.lock().stopped.is_none() {
        std::thread::yield_now();
    }
    assert!(t.process.signals.stopped() && t.process.job.lock().stop_unreported);
    send_process(&t.process, user(SIGCONT));
    assert_eq!(thread.join().unwrap(), (0, 0x1000));
    assert!(t.process.job.lock().continue_unreported);
    assert!(!t.work().contains(Work::SIGNAL));
}

#[test]
fn signals_are_read_from_a_descriptor() {
    let t = task();
    let mask = SigSet::of(&[SIGUSR1, 40]);
    set_mask(&t, mask);
    let fd = sys_signalfd4(&t, -1, addr(&mask.0), 8, SFD_NONBLOCK).unwrap();
    let file = t.file(fd as i32).unwrap();
    let read = || {
        let mut buf = Vec::new();
        file.read(&t, &mut crate::uio::IoDst::kernel(&mut buf, 400))
            .map(|n| (n, buf))
    };
    assert_eq!(read(), Err(Errno::EAGAIN));
    assert_eq!(file.poll(None), 0);
    send_task(&t, user(40));
    send_process(&t.process, user(SIGUSR1));
    assert_eq!(file.poll(None), crate::wait::POLLIN);
    // Whoever asks sees what it could read.
    let poll = |t: &Task| file.poll_for(Some(t), None);
    assert_eq!(poll(&t), crate::wait::POLLIN);
    let heir = task();
    set_mask(&heir, mask);
    assert_eq!(poll(&heir), 0);
    let (n, buf) = read().unwrap();
    assert_eq!((n, buf[0], buf[128]), (256, 40, 10));
    send_task(&heir, user(40));
    assert_eq!((poll(&t), poll(&heir)), (0, crate::wait::POLLIN));
    assert_eq!(u32::from_le_bytes(buf[12..16].try_into().unwrap()), 77);
    assert_eq!(
        sys_signalfd4(&t, -1, addr(&mask.0), 4, 0),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        sys_signalfd4(&t, 99, addr(&mask.0), 8, 0),
        Err(Errno::EBADF)
    );
}

/// Between a signal's arrival and the word about it, somebody may have taken it.
#[test]
fn a_signal_that_was_taken_does_not_kill() {
    let runs = |t: &Task| matches!(*t.process.life.lock(), crate::process::Life::Running);
    let t = task();
    let told = |t: &Arc<Task>| {
        let action = SigAction::default();
        send::notify(&t.process, core::iter::once(&**t), SIGTERM, &action);
    };
    told(&t);
    assert!(runs(&t));
    set_mask(&t, SigSet::of(&[SIGTERM]));
    send_process(&t.process, user(SIGTERM));
    told(&t);
    assert!(runs(&t), "it is blocked");
    assert!(deliver::take_wanted(&t, SigSet::of(&[SIGTERM])).is_some());
    set_mask(&t, SigSet::default());
    told(&t);
    assert!(runs(&t));
    send_process(&t.process, user(SIGTERM));
    assert!(!runs(&t));
}

#[test]
fn kill_checks_who_and_what() {
    let t = task();
    assert_eq!(sys_kill(&t, t.process.pid, 65), Err(Errno::EINVAL));
    assert_eq!(sys_kill(&t, i32::MIN, 1), Err(Errno::ESRCH));
    assert_eq!(sys_kill(&t, 999_999, 0), Err(Errno::ESRCH));
    assert_eq!(sys_kill(&t, t.process.pid, 0), Ok(0));
    assert_eq!(sys_tgkill(&t, 0, t.tid, 0), Err(Errno::EINVAL));
    assert_eq!(sys_tgkill(&t, t.tid + 1, t.tid, 0), Err(Errno::ESRCH));
    let other = task();
    let creds = crate::process::Creds::new(1000, 1000, Vec::new());
    *t.creds.lock() = Arc::new(creds);
    assert_eq!(sys_kill(&t, other.process.pid, 10), Err(Errno::EPERM));
    let mut info = user(SIGUSR1).encode();
    assert_eq!(
        sys_rt_sigqueueinfo(&t, other.process.pid, 10, addr(&info)),
        Err(Errno::EPERM)
    );
    set_mask(&t, SigSet::of(&[34]));
    info.code = SI_QUEUE;
    t.process.rlimits.lock()[11].0 = Charge::taken(1000) + 1;
    let queue = || sys_rt_sigqueueinfo(&t, t.process.pid, 34, addr(&info));
    assert_eq!((queue(), queue()), (Ok(0), Err(Errno::EAGAIN)));
    let set = SigSet::of(&[34]).0;
    let zero = [0u64; 2];
    let wait = || sys_rt_sigtimedwait(&t, addr(&set), UserAddr(0), addr(&zero), 8);
    assert_eq!((wait(), wait()), (Ok(34), Err(Errno::EAGAIN)));
}
