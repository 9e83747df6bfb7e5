//! Clocks and timers.

use crate::pal;
use bastide_pal::Clock;

/// A process's interval and POSIX timers.
#[derive(Default)]
pub struct ProcessTimers {}

/// Monotonic nanoseconds.
pub fn monotonic() -> u64 {
    pal().now(Clock::Monotonic)
}

/// Wall time in nanoseconds since 1970.
pub fn realtime() -> u64 {
    pal().now(Clock::Realtime)
}

/// The timer thread: fires timers as they come due.
pub fn service() -> ! {
    let park = bastide_pal::Park::new();
    loop {
        pal().park(&park, None, &mut []);
    }
}
