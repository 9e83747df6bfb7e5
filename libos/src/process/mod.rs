//! Tasks (threads) and processes (thread groups), their life and their relations.

pub mod creds;
pub mod task;

pub use creds::Creds;
pub use task::{JobState, Life, Process, Task, Work};

use crate::Result;
use alloc::sync::Arc;
use bastide_pal::Context;

/// The last step before the application runs (again): exits, stops and signals that are due.
pub fn to_user(t: &Arc<Task>, ctx: &mut Context) {
    while !t.work().is_empty() {
        if t.work().contains(Work::EXIT) {
            exit_task(t);
        }
        if t.work().contains(Work::MEMORY) {
            t.clear_work(Work::MEMORY);
            t.mm().settle();
        }
        if t.interrupted() {
            crate::signal::deliver(t, ctx);
        }
    }
}

/// A new thread's first step in the kernel.
pub fn first_step(_t: &Arc<Task>, _ctx: &mut Context) {}

/// Ends the calling task. Never returns.
pub fn exit_task(_t: &Arc<Task>) -> ! {
    crate::pal().exit()
}

/// Ends the task's whole process with a `wait(2)` status: marks every thread for exit, the
/// caller's included. Returns; the exit happens on the way to the application.
pub fn exit_group(_t: &Task, _wait_status: i32) {}

/// As [`exit_group`] for any process (`SIGKILL`, fatal signals).
pub fn kill_process(_p: &Process, _wait_status: i32) {}

/// Tells the parent that the child's state changed: SIGCHLD (unless it does not want it) and a
/// wake-up of its waiters. `code` is `CLD_*`, `status` the exit code or signal.
pub fn notify_parent(_p: &Process, _code: i32, _status: i32) {}

/// The task with a thread id.
pub fn find_task(tid: i32) -> Option<Arc<Task>> {
    crate::kernel().tasks.lock().get(&tid).cloned()
}

/// The process with a process id, zombies included.
pub fn find_process(pid: i32) -> Option<Arc<Process>> {
    crate::kernel().processes.lock().get(&pid).cloned()
}

/// Starts the first program as the configuration says, and a tiny init before it if asked.
pub fn start_first() -> Result<()> {
    Err(crate::Errno::ENOSYS)
}
