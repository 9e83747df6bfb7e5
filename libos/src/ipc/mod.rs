//! Communication between processes: pipes, System V IPC, POSIX message queues.

pub mod mqueue;
pub mod pipe;
pub mod sysv;

use crate::Task;

/// The task is its process's last: semaphore adjustments are undone. (Shared memory is detached
/// with its mappings.)
pub fn on_process_exit(t: &Task) {
    sysv::sem::exit_undo(&t.process);
}
