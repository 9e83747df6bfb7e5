//! Communication between processes: pipes, System V IPC, POSIX message queues.

pub mod pipe;
