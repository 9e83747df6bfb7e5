//! Signals, `signal(7)`.
//!
//! [`send`] puts a signal into a pending queue and gives a thread [`Work::SIGNAL`]; [`deliver`],
//! on that thread's way to the application, acts on it: a default action, a job-control stop
//! ([`job`]), or a handler's frame ([`frame`]).
//!
//! [`Work::SIGNAL`]: crate::process::Work::SIGNAL

mod altstack;
mod calls;
mod deliver;
mod fault;
pub mod frame;
mod host;
mod info;
pub mod job;
mod kill;
mod mask;
mod pending;
mod restart;
mod send;
mod set;
mod signalfd;
mod state;
#[cfg(test)]
mod tests;

pub use altstack::sys_sigaltstack;
pub use calls::*;
pub use deliver::deliver;
pub use fault::fault;
pub use frame::{max_frame_size, sys_rt_sigreturn};
pub use host::from_host;
pub use info::{Fields, SigInfo};
pub use job::{group_members, hang_up_orphans, orphaned};
pub use kill::*;
pub use mask::{read_mask, set_mask, set_temporary_mask, with_mask};
pub use pending::{Charge, Source};
pub use restart::sys_restart_syscall;
pub use send::{Sent, force, force_fatal, post, send_group, send_process, send_task};
pub use set::{SigSet, valid};
pub use signalfd::{sys_signalfd, sys_signalfd4};
pub use state::{Handlers, ProcessSignals, TaskSignals, on_exit, recalc, reset_on_exec};
