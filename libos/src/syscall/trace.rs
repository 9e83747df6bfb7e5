//! The strace-style trace.

use super::Entry;
use crate::{SysResult, Task};
use bastide_pal::Context;

/// A trace was asked for.
pub fn enabled() -> bool {
    crate::kernel().config.trace.is_some()
}

/// Before the call.
pub fn before(_t: &Task, _e: Option<&Entry>, _ctx: &Context) {}

/// After the call.
pub fn after(_t: &Task, _e: Option<&Entry>, _ctx: &Context, _r: SysResult) {}

/// The task ends with a `wait(2)` status: the `+++ exited with 0 +++` line.
pub fn exited(_t: &Task, _wait_status: i32) {}

/// The enclave ends: totals, if they were asked for.
pub fn finish() {}
