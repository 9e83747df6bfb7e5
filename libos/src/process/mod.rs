//! Tasks (threads) and processes (thread groups): their life and their relations.

mod account;
pub mod control;
pub mod creds;
pub mod exec;
mod exit;
pub mod ids;
pub mod kcmp;
pub mod life;
pub mod limits;
pub mod pidfd;
pub mod sched;
pub mod session;
pub mod settings;
pub mod sysinfo;
pub mod task;
pub mod wait;

pub use account::{IoCounts, Remains};
pub use control::may_inspect;
pub use creds::Creds;
pub use exit::{exit_group, kill_process, notify_parent, sys_exit, sys_exit_group};
pub use life::{NotStarted, PID_MAX, first_step, start_first};
pub use sysinfo::RELEASE;
pub use task::{JobState, Life, Process, Restart, Task, Work};

use alloc::sync::Arc;
use bastide_pal::Context;
use bastide_pal::context::Entry;

/// The last step before the application runs (again): exits, stops and signals that are due. The
/// thread does not run the application again if the frame says [`Entry::Gone`] afterwards.
#[inline]
pub fn to_user(t: &Arc<Task>, ctx: &mut Context) {
    if !t.work().is_empty() {
        attend(t, ctx);
    }
}

#[cold]
fn attend(t: &Arc<Task>, ctx: &mut Context) {
    while ctx.entry != Entry::Gone as u64 && !t.work().is_empty() {
        if t.work().contains(Work::EXIT) {
            exit::exit_task(t);
            ctx.entry = Entry::Gone as u64;
            return;
        }
        if t.work().contains(Work::MEMORY) {
            t.clear_work(Work::MEMORY);
            t.mm().settle();
        }
        if t.work().contains(Work::TIMERS) {
            t.clear_work(Work::TIMERS);
            crate::time::check_thread_timers(t);
        }
        if t.interrupted() {
            crate::signal::deliver(t, ctx);
        }
    }
}

/// The task with a thread id.
pub fn find_task(tid: i32) -> Option<Arc<Task>> {
    crate::kernel().tasks.lock().get(&tid).cloned()
}

/// The process with a process id, zombies included.
pub fn find_process(pid: i32) -> Option<Arc<Process>> {
    crate::kernel().processes.lock().get(&pid).cloned()
}
