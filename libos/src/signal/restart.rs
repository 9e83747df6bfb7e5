//! Going on with an interrupted call.

use crate::{Errno, SysResult, Task};
use alloc::sync::Arc;

/// Continues the call that ended with [`Errno::ERESTART_RESTARTBLOCK`], `restart_syscall(2)`.
/// EINTR if there is none.
pub fn sys_restart_syscall(t: &Arc<Task>) -> SysResult {
    let rest = t.restart.lock().take();
    match rest {
        Some(rest) => rest(t),
        None => Err(Errno::EINTR),
    }
}
