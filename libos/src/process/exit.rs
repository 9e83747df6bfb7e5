//! How tasks and processes end, `_exit(2)` and `exit_group(2)`.

use super::task::Work;
use super::{Life, Process, Task, find_process, life};
use crate::signal::{self, Fields, SigInfo};
use crate::user::{self, UserAddr};
use crate::wait::POLLALL;
use crate::{SysResult, kernel, mm::Mm, pal};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

const SIGCHLD: i32 = 17;
const SIG_IGN: u64 = 1;
const SA_NOCLDSTOP: u64 = 1;
const SA_NOCLDWAIT: u64 = 2;
/// `CLD_EXITED`, `CLD_KILLED`, `CLD_DUMPED` of `sigaction(2)`.
const CLD_EXITED: i32 = 1;
const CLD_KILLED: i32 = 2;
const CLD_DUMPED: i32 = 3;

/// `_exit(2)`: ends the calling thread.
pub fn sys_exit(t: &Arc<Task>, code: i32) -> SysResult {
    t.exit_code.store((code & 0xff) << 8, Ordering::Relaxed);
    t.add_own_work(Work::EXIT);
    Ok(0)
}

/// `exit_group(2)`: ends all threads of the process.
pub fn sys_exit_group(t: &Arc<Task>, code: i32) -> SysResult {
    exit_group(t, (code & 0xff) << 8);
    Ok(0)
}

/// Ends the task's whole process with a `wait(2)` status: marks every thread for exit, the
/// caller's included. Returns; the exit happens on the way to the application.
pub fn exit_group(t: &Task, wait_status: i32) {
    kill_process(&t.process, wait_status);
    t.add_own_work(Work::EXIT);
}

/// As [`exit_group`] for any process (`SIGKILL`, fatal signals).
pub fn kill_process(p: &Process, wait_status: i32) {
    let tasks: Vec<Arc<Task>> = {
        let tasks = p.tasks.lock();
        let mut life = p.life.lock();
        if *life != Life::Running {
            return;
        }
        *life = Life::Exiting(wait_status);
        tasks.values().cloned().collect()
    };
    for other in tasks {
        other.add_work(Work::EXIT);
    }
}

/// Ends the calling task; its thread is to be given up next.
pub(super) fn exit_task(t: &Arc<Task>) {
    crate::syscall::trace::exited(t, t.exit_code.load(Ordering::Relaxed));
    crate::event::futex::exit_robust(t);
    let clear = t.clear_child_tid.swap(0, Ordering::Relaxed);
    if clear != 0 && user::write(t, UserAddr(clear), &0u32).is_ok() {
        crate::event::futex::wake_address(t, UserAddr(clear));
    }
    signal::on_exit(t);
    let p = t.process.clone();
    let status = t.exit_code.load(Ordering::Relaxed);
    let (user, system) = crate::time::final_cpu(t);
    p.io_gone.add(&t.io);
    if t.tid == p.pid || p.remains.lock().is_none() {
        *p.remains.lock() = Some(super::Remains::of(t));
    }
    let last = {
        let mut tasks = p.tasks.lock();
        tasks.remove(&t.tid);
        let last = tasks.is_empty();
        if last {
            let mut gone = p.cpu_gone.lock();
            gone.0 += user;
            gone.1 += system;
        }
        last
    };
    // A leader's id stays taken while its process exists.
    kernel().tasks.lock().remove(&t.tid);
    close_files(t);
    if last {
        p.peak_gone.fetch_max(pal().space_peak(), Ordering::Relaxed);
        end_process(t, &p, status);
    } else {
        drop(t.set_mm(Mm::none()));
        p.exit_events.wake_all(POLLALL);
    }
    life::release_vfork(t);
    pal().detach(&t.parker.park);
}

/// Gives up the task's share of its descriptors; the last one closes them.
fn close_files(t: &Task) {
    let table = core::mem::replace(&mut *t.files.lock(), crate::fs::FdTable::new());
    if let Some(table) = Arc::into_inner(table) {
        for f in table.remove_where(|_, _| true) {
            let _ = f.close(t);
        }
    }
}

fn end_process(t: &Arc<Task>, p: &Arc<Process>, own_status: i32) {
    let status = match *p.life.lock() {
        Life::Exiting(s) => s,
        _ => own_status,
    };
    crate::ipc::on_process_exit(t);
    crate::time::on_process_exit(p);
    drop(t.set_mm(Mm::none()));
    life::unshare_memory(p);
    *p.exe.lock() = None;
    super::session::leave_terminal(t);
    if life::is_first(p) {
        crate::syscall::trace::finish();
        crate::fs::sync::sync_all();
        bastide_pal::Platform::shutdown(pal(), status);
    }
    signal::hang_up_orphans(p);
    adopt_children(p);
    *p.life.lock() = Life::Zombie(status);
    p.exit_events.wake_all(POLLALL);
    announce(p, status);
}

/// SIGCHLD is ignored, or `SA_NOCLDWAIT` set: children leave no zombies, `wait(2)` "NOTES".
fn ignores_children(parent: &Process) -> bool {
    let a = parent.signals.action(SIGCHLD);
    a.handler == SIG_IGN || a.flags & SA_NOCLDWAIT != 0
}

/// Tells the parent of the exit; if it does not want to know, the process is gone at once.
fn announce(p: &Arc<Process>, status: i32) {
    let (parent, exit_signal) = {
        let rel = p.rel.lock();
        (rel.parent.upgrade(), rel.exit_signal)
    };
    let Some(parent) = parent else {
        forget(p);
        return;
    };
    let kernel_init = kernel().config.init && parent.pid == 1;
    if kernel_init || exit_signal == SIGCHLD && ignores_children(&parent) {
        if kernel_init {
            reap(&parent, p);
        } else {
            // Nobody waited for it: its times are nobody's.
            disown(&parent, p);
        }
        parent.child_events.wake_all(POLLALL);
        if kernel_init {
            return;
        }
        if parent.signals.action(SIGCHLD).handler != SIG_IGN {
            send_exit(p, &parent, exit_signal, status);
        }
        return;
    }
    send_exit(p, &parent, exit_signal, status);
    parent.child_events.wake_all(POLLALL);
}

fn send_exit(p: &Process, parent: &Process, exit_signal: i32, status: i32) {
    let (code, value) = match status & 0x7f {
        0 => (CLD_EXITED, (status >> 8) & 0xff),
        s if status & 0x80 != 0 => (CLD_DUMPED, s),
        s => (CLD_KILLED, s),
    };
    if exit_signal != 0 {
        signal::send_process(parent, child_info(p, exit_signal, code, value));
    }
}

fn child_info(p: &Process, signo: i32, code: i32, status: i32) -> SigInfo {
    let (utime, stime) = *p.cpu_gone.lock();
    let ticks = |ns: u64| (ns / 10_000_000) as i64;
    let fields = Fields::Child {
        pid: p.pid,
        uid: p.last_uid.load(Ordering::Relaxed),
        status,
        utime: ticks(utime),
        stime: ticks(stime),
    };
    SigInfo {
        signo,
        errno: 0,
        code,
        fields,
    }
}

/// Tells the parent that the child's state changed: SIGCHLD (unless it does not want it) and a
/// wake-up of its waiters. `code` is `CLD_STOPPED`, `CLD_CONTINUED` or `CLD_TRAPPED`, `status` the
/// signal.
pub fn notify_parent(p: &Process, code: i32, status: i32) {
    let parent = p.rel.lock().parent.upgrade();
    if let Some(parent) = parent {
        if parent.signals.action(SIGCHLD).flags & SA_NOCLDSTOP == 0 {
            signal::send_process(&parent, child_info(p, SIGCHLD, code, status));
        }
        parent.child_events.wake_all(POLLALL);
    }
}

/// Takes a zombie out of the world: its times go to the parent.
pub(super) fn reap(parent: &Process, p: &Arc<Process>) {
    {
        let (own, kids) = (*p.cpu_gone.lock(), *p.cpu_children.lock());
        let mut sum = parent.cpu_children.lock();
        sum.0 += own.0 + kids.0;
        sum.1 += own.1 + kids.1;
    }
    let peak = p.peak();
    parent.peak_children.fetch_max(peak, Ordering::Relaxed);
    disown(parent, p);
}

fn disown(parent: &Process, p: &Arc<Process>) {
    parent.rel.lock().children.retain(|c| !Arc::ptr_eq(c, p));
    forget(p);
}

fn forget(p: &Arc<Process>) {
    kernel().processes.lock().remove(&p.pid);
}

/// Hands the children to the nearest subreaper, or process 1 (`prctl(2)`
/// PR_SET_CHILD_SUBREAPER); sends them their parent-death signal.
fn adopt_children(p: &Arc<Process>) {
    let children = core::mem::take(&mut p.rel.lock().children);
    if children.is_empty() {
        return;
    }
    let adopter = adopter_of(p);
    for c in children {
        {
            let mut rel = c.rel.lock();
            rel.parent = adopter
                .as_ref()
                .map_or_else(Default::default, Arc::downgrade);
            rel.exit_signal = SIGCHLD;
        }
        let signo = c.death_signal.load(Ordering::Relaxed);
        if signo != 0 {
            signal::send_process(
                &c,
                SigInfo::sender(signo, 0, p.pid, p.last_uid.load(Ordering::Relaxed)),
            );
        }
        let zombie = match *c.life.lock() {
            Life::Zombie(status) => Some(status),
            _ => None,
        };
        if let Some(a) = &adopter {
            a.rel.lock().children.push(c.clone());
        }
        if let Some(status) = zombie {
            announce(&c, status);
        }
    }
}

fn adopter_of(p: &Process) -> Option<Arc<Process>> {
    let mut up = p.rel.lock().parent.upgrade();
    while let Some(a) = up {
        let (next, subreaper) = {
            let rel = a.rel.lock();
            (rel.parent.upgrade(), rel.subreaper)
        };
        if subreaper && matches!(*a.life.lock(), Life::Running) {
            return Some(a);
        }
        up = next;
    }
    find_process(1)
}
