//! Communication between processes: pipes, System V IPC, POSIX message queues.

pub mod pipe;

use crate::Task;

/// The task's process starts a new program: what it attached is detached.
pub fn on_exec(_t: &Task) {}

/// The task is its process's last: semaphore adjustments are undone, attachments go.
pub fn on_process_exit(_t: &Task) {}
