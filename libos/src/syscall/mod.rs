//! From the register frame to the function, and back.
//!
//! A system call is a function `sys_NAME(t: &Arc<Task>, …typed arguments…) -> SysResult` in the
//! folder of its family. One row of [`table::TABLE`] names it; dispatch, the trace and the
//! compatibility page all come from that row.

pub mod arg;
mod numbers;
pub mod page;
pub mod table;
pub mod trace;

use crate::{Errno, SysResult, Task};
use alloc::sync::Arc;
use bastide_pal::Context;

pub use arg::FromArg;

/// How much of a call works, for the compatibility page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Full,
    /// What is missing.
    Partial(&'static str),
    /// How and why it is refused.
    Refused(&'static str),
}

/// A row of the table.
pub struct Entry {
    pub nr: u16,
    pub name: &'static str,
    /// Names and kinds of the arguments for the trace: `fd`, `path`, `buf`, … comma-separated.
    pub args: &'static str,
    pub handler: &'static dyn Handler,
    pub support: Support,
}

/// A system call's implementation with its argument types erased.
pub trait Handler: Sync {
    fn call(&self, t: &Arc<Task>, ctx: &mut Context) -> SysResult;
}

/// Serves the call in the frame.
pub fn enter(t: &Arc<Task>, ctx: &mut Context) {
    let entry = table::lookup(ctx.orig_rax);
    let traced = trace::enabled().then(|| trace::before(t, entry, ctx));
    let result = match entry {
        Some(e) => e.handler.call(t, ctx),
        None => Err(Errno::ENOSYS),
    };
    if matches!(result, Err(e) if e.is_restart()) {
        // Only signal::deliver knows what the application sees instead.
        t.add_own_work(crate::process::Work::SIGNAL);
    }
    // rt_sigreturn and execve put the whole frame in place, rax included.
    if ctx.orig_rax != u64::MAX {
        ctx.rax = match result {
            Ok(v) => v as u64,
            Err(e) => (-i64::from(e.0)) as u64,
        };
    }
    if let Some(started) = traced {
        trace::after(t, entry, started, result);
    }
}
