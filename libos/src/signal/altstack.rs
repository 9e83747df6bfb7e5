//! The alternate signal stack, `sigaltstack(2)`.

use super::state::AltStack;
use crate::abi::signal::*;
use crate::process::Task;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult};
use alloc::sync::Arc;
use bastide_pal::Context;

/// Installs a stack. EPERM while the present one is in use, EINVAL for bad flags, ENOMEM if it
/// is too small.
pub(super) fn set(t: &Task, new: &StackT, rsp: u64) -> Result<()> {
    let mut s = t.signals.state.lock();
    if s.altstack.holds(rsp) {
        return Err(Errno::EPERM);
    }
    let mode = new.flags & !SS_AUTODISARM;
    if !matches!(mode, 0 | SS_DISABLE | SS_ONSTACK) {
        return Err(Errno::EINVAL);
    }
    s.altstack = if mode == SS_DISABLE {
        AltStack {
            flags: new.flags,
            ..AltStack::NONE
        }
    } else if new.size < MINSIGSTKSZ {
        return Err(Errno::ENOMEM);
    } else {
        AltStack {
            sp: new.sp,
            size: new.size,
            flags: new.flags,
        }
    };
    Ok(())
}

/// `sigaltstack(2)`.
pub fn sys_sigaltstack(
    t: &Arc<Task>,
    ctx: &mut Context,
    new: UserAddr,
    old: UserAddr,
) -> SysResult {
    let wanted: Option<StackT> = if new.is_null() {
        None
    } else {
        Some(user::read(t, new)?)
    };
    let now = t.signals.state.lock().altstack;
    if let Some(wanted) = wanted {
        set(t, &wanted, ctx.rsp)?;
    }
    user::write_opt(
        t,
        old,
        &StackT {
            sp: now.sp,
            flags: now.state(ctx.rsp) | now.flags & SS_AUTODISARM,
            pad: 0,
            size: now.size,
        },
    )?;
    Ok(0)
}
