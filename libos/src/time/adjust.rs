//! Tuning of clocks, `adjtimex(2)`.

use super::clock::Clock;
use super::realtime;
use crate::abi::time::*;
use crate::process::Task;
use crate::process::creds::CAP_SYS_TIME;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult};
use alloc::sync::Arc;

const ADJ_TICK: u32 = 0x4000;
/// Marks the modes of `adjtime(3)`, of which one only asks.
const ADJ_ADJTIME: u32 = 0x8000;
const ADJ_OFFSET_SINGLESHOT: u32 = 0x8001;
const ADJ_OFFSET_SS_READ: u32 = 0xa001;
/// Microseconds of a tick: 10% off at most.
const TICKS: core::ops::RangeInclusive<i64> = 9_000..=11_000;
const STA_UNSYNC: i32 = 0x40;
/// Result: the clock is not known to be synchronised.
const TIME_ERROR: usize = 5;

/// What is known of the clock: nothing that the host does not keep to itself.
fn status() -> Timex {
    Timex {
        maxerror: 16_000_000,
        esterror: 16_000_000,
        status: STA_UNSYNC,
        constant: 2,
        precision: 1,
        tolerance: 32_768_000,
        tick: 10_000,
        time: Timeval::from_nanos(realtime()),
        ..Timex::default()
    }
}

fn adjust(t: &Task, buf: UserAddr) -> Result<usize> {
    let asked: Timex = user::read(t, buf)?;
    let modes = asked.modes;
    if modes & ADJ_ADJTIME != 0 && modes & ADJ_OFFSET_SINGLESHOT != ADJ_OFFSET_SINGLESHOT {
        return Err(Errno::EINVAL);
    }
    if !matches!(modes, 0 | ADJ_OFFSET_SS_READ) {
        let allowed = t.creds().capable(CAP_SYS_TIME);
        if allowed && modes & ADJ_TICK != 0 && !TICKS.contains(&asked.tick) {
            return Err(Errno::EINVAL);
        }
        // The host's clock runs as it does, whoever asks.
        return Err(Errno::EPERM);
    }
    let now = Timex {
        modes: asked.modes,
        ..status()
    };
    user::write(t, buf, &now)?;
    Ok(TIME_ERROR)
}

/// `adjtimex(2)`: tells, does not change (EPERM).
pub fn sys_adjtimex(t: &Arc<Task>, buf: UserAddr) -> SysResult {
    adjust(t, buf)
}

/// `clock_adjtime(2)`, for the wall clock: EOPNOTSUPP for others.
pub fn sys_clock_adjtime(t: &Arc<Task>, id: i32, buf: UserAddr) -> SysResult {
    Clock::of(t, id)?;
    if id != CLOCK_REALTIME {
        return Err(Errno::EOPNOTSUPP);
    }
    adjust(t, buf)
}
