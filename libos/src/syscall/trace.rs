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
