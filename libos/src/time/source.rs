//! The clocks as computed from the processor's time-stamp counter, for the kernel and for the
//! application's vDSO alike.
//!
//! The host is asked once a period (at most half a second). Each time the counter's rate is
//! measured anew over a longer stretch, and the next period begins where the last one ended: a
//! clock that has run ahead of the host's is slowed down, never set back. Where the counter is
//! not fit for it, and in the first milliseconds, every reading asks the host.

use super::realtime_offset;
use crate::abi::time::{
    CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_REALTIME_COARSE, CLOCK_TAI,
};
use crate::mm::PageObject;
use crate::pal;
use alloc::sync::Arc;
use bastide_base::pages::PAGE;
use bastide_base::sync::{Mutex, Once};
use bastide_base::vdso::{self, Period, TimePage};
use bastide_pal::Clock;

/// Least time over which the rate is measured.
const SHORTEST: u64 = 500_000;
const LONGEST_PERIOD: u64 = 500_000_000;
/// After so long the rate is measured from a new start, as the host's clock may run differently.
const LONGEST_BASE: u64 = 16_000_000_000;
/// Nanoseconds per tick times 2³² that a processor may have: 100 MHz to 40 GHz.
const RATES: core::ops::Range<u64> = 0x0666_6666..0xa_0000_0000;
/// A difference between two clocks of the host counts as changed if it moves by more: less is how
/// exactly it can be measured.
const NOISE: u64 = 10_000;
/// The ids that show wall time: CLOCK_REALTIME, _REALTIME_COARSE and _TAI.
const WALL: [usize; 3] = [
    CLOCK_REALTIME as usize,
    CLOCK_REALTIME_COARSE as usize,
    CLOCK_TAI as usize,
];
const MONOTONIC: usize = CLOCK_MONOTONIC as usize;
const BOOTTIME: usize = CLOCK_BOOTTIME as usize;

/// The counter and the host's monotonic clock at one moment.
#[derive(Clone, Copy)]
struct Sample {
    counter: u64,
    nanos: u64,
}

impl Sample {
    /// Reads a clock between two readings of the counter; the closest of three attempts counts.
    fn take(clock: Clock) -> Sample {
        let attempt = || {
            let before = vdso::cycles();
            let nanos = pal().now(clock);
            let spent = vdso::cycles().wrapping_sub(before);
            let counter = before.wrapping_add(spent / 2);
            (spent, Sample { counter, nanos })
        };
        let best = (0..3).map(|_| attempt()).min_by_key(|(spent, _)| *spent);
        best.map_or(
            Sample {
                counter: 0,
                nanos: 0,
            },
            |(_, sample)| sample,
        )
    }
}

struct State {
    /// Where the measurement of the rate starts.
    base: Sample,
    /// The host's wall clock and its time since boot, less its monotonic clock.
    wall: i64,
    boot: i64,
}

struct Source {
    /// The clock's page, then the code.
    object: Arc<PageObject>,
    page: TimePage,
    state: Mutex<State>,
}

/// `None` if clocks cannot be computed on this machine.
fn source() -> Option<&'static Source> {
    static SOURCE: Once<Option<Source>> = Once::new();
    SOURCE
        .get_or_init(|| {
            if pal().counter_is_steady() {
                Source::new()
            } else {
                None
            }
        })
        .as_ref()
}

/// The two pages of the vDSO, [`vdso`]'s; `None` if this machine's clocks cannot be computed.
pub fn vdso_object() -> Option<&'static Arc<PageObject>> {
    source().map(|s| &s.object)
}

/// A clock's value in nanoseconds.
pub(super) fn now(clock: Clock) -> u64 {
    let id = match clock {
        Clock::Realtime => CLOCK_REALTIME,
        Clock::Monotonic => CLOCK_MONOTONIC,
        Clock::Boottime => CLOCK_BOOTTIME,
        Clock::ThreadCpu | Clock::ProcessCpu => return pal().now(clock),
    };
    let id = id as usize;
    source()
        .and_then(|s| s.page.now(id).or_else(|| s.renew(id)))
        .unwrap_or_else(|| {
            let host = pal().now(clock);
            if clock == Clock::Realtime {
                host.saturating_add_signed(realtime_offset())
            } else {
                host
            }
        })
}

/// The enclave's wall clock was set: readers are told.
pub(super) fn wall_clock_changed() {
    if let Some(s) = source() {
        let state = s.state.lock();
        let mut period = s.page.period();
        let monotonic = period.clocks[MONOTONIC];
        set_clocks(&mut period, monotonic, &state);
        s.page.set(&period);
    }
}

fn set_clocks(p: &mut Period, monotonic: u64, s: &State) {
    p.clocks = [monotonic; vdso::CLOCKS];
    for id in WALL {
        p.clocks[id] = monotonic
            .wrapping_add_signed(s.wall)
            .saturating_add_signed(realtime_offset());
    }
    p.clocks[BOOTTIME] = monotonic.wrapping_add_signed(s.boot);
}

/// The period after `old`, given a measurement `now` and where the rate's measurement began; `None`
/// if they make no sense.
fn next_period(old: &Period, base: Sample, now: Sample) -> Option<Period> {
    let nanos = now.nanos.checked_sub(base.nanos)?;
    let ticks = now.counter.checked_sub(base.counter)?;
    let measured = (u128::from(nanos) << 32).checked_div(u128::from(ticks))?;
    let rate = u64::try_from(measured).ok().filter(|r| RATES.contains(r))?;
    let length = nanos.clamp(SHORTEST, LONGEST_PERIOD);
    let ahead = if old.ticks == 0 {
        0
    } else {
        now.counter.checked_sub(old.start)?;
        let shown = old.clocks[MONOTONIC].saturating_add(old.since(now.counter));
        shown.saturating_sub(now.nanos)
    };
    // At half speed at worst.
    let slowed = u128::from(rate) * u128::from(ahead.min(length / 2)) / u128::from(length);
    Some(Period {
        start: now.counter,
        ticks: ((u128::from(length) << 32) / u128::from(rate)) as u64,
        rate: rate - slowed as u64,
        clocks: [now.nanos.saturating_add(ahead); vdso::CLOCKS],
    })
}

impl Source {
    fn new() -> Option<Source> {
        let object = PageObject::sized(2 * PAGE as u64);
        let code = object.extent_or_alloc(PAGE as u64, PAGE as u64).ok()?;
        code.pages.write(code.offset, vdso::code());
        let clock = object.extent_or_alloc(0, PAGE as u64).ok()?;
        let page = TimePage::new(clock.pages, clock.offset)?;
        let state = State {
            base: Sample::take(Clock::Monotonic),
            wall: 0,
            boot: 0,
        };
        Some(Source {
            object,
            page,
            state: Mutex::new(state),
        })
    }

    /// Begins a new period; returns the clock's value. `None` if the host has to be asked.
    fn renew(&self, id: usize) -> Option<u64> {
        let mut state = self.state.lock();
        if let Some(now) = self.page.now(id) {
            return Some(now);
        }
        let old = self.page.period();
        if old.ticks == 0 && pal().now(Clock::Monotonic).wrapping_sub(state.base.nanos) < SHORTEST {
            return None;
        }
        let now = Sample::take(Clock::Monotonic);
        let Some(mut period) = next_period(&old, state.base, now) else {
            state.base = now;
            self.page.set(&Period::default());
            return None;
        };
        let State { wall, boot, .. } = &mut *state;
        for (clock, known) in [(Clock::Realtime, wall), (Clock::Boottime, boot)] {
            let other = Sample::take(clock);
            let monotonic = now.nanos.saturating_add(period.since(other.counter));
            let difference = other.nanos.wrapping_sub(monotonic) as i64;
            if known.abs_diff(difference) > NOISE {
                *known = difference;
            }
        }
        let monotonic = period.clocks[MONOTONIC];
        set_clocks(&mut period, monotonic, &state);
        if now.nanos.wrapping_sub(state.base.nanos) > LONGEST_BASE {
            state.base = now;
        }
        self.page.set(&period);
        self.page.now(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GHZ: u64 = 1 << 32;

    fn sample(counter: u64, nanos: u64) -> Sample {
        Sample { counter, nanos }
    }

    #[test]
    fn the_first_period_starts_at_the_hosts_time() {
        let p = next_period(
            &Period::default(),
            sample(1000, 5),
            sample(1000 + 20_000_000, 5 + 20_000_000),
        )
        .unwrap();
        assert_eq!((p.rate, p.clocks[MONOTONIC]), (GHZ, 20_000_005));
        assert_eq!(p.ticks, 20_000_000);
    }

    #[test]
    fn a_clock_ahead_is_slowed_and_one_behind_catches_up() {
        let base = sample(0, 0);
        let old = Period {
            start: 1_000_000_000,
            ticks: 500_000_000,
            rate: GHZ,
            clocks: [1_000_050_000; vdso::CLOCKS],
        };
        let now = sample(1_600_000_000, 1_600_000_000);
        let p = next_period(&old, base, now).unwrap();
        assert_eq!(p.clocks[MONOTONIC], 1_600_050_000);
        assert!(p.rate < GHZ && p.rate > GHZ / 2);
        // At its end it agrees with the host.
        let end = p.clocks[MONOTONIC] + p.since(p.start + p.ticks);
        assert!(end.abs_diff(1_600_000_000 + LONGEST_PERIOD) < 10);

        let behind = Period {
            clocks: [999_000_000; vdso::CLOCKS],
            ..old
        };
        let p = next_period(&behind, base, now).unwrap();
        assert_eq!((p.clocks[MONOTONIC], p.rate), (1_600_000_000, GHZ));
    }

    #[test]
    fn nonsense_is_refused() {
        let none = Period::default();
        assert!(next_period(&none, sample(5, 5), sample(4, 50)).is_none());
        assert!(next_period(&none, sample(5, 5), sample(5, 50)).is_none());
        assert!(next_period(&none, sample(5, 5), sample(50, 4)).is_none());
        assert!(next_period(&none, sample(0, 0), sample(1, u64::MAX)).is_none());
    }

    #[test]
    fn the_clocks_agree_with_the_hosts() {
        let _t = crate::testing::task();
        for clock in [Clock::Monotonic, Clock::Realtime, Clock::Boottime] {
            let mut last = 0;
            for _ in 0..50 {
                let before = pal().now(clock);
                let ours = now(clock);
                let after = pal().now(clock);
                assert!(ours >= last);
                assert!(ours + 2_000_000 > before && ours < after + 2_000_000);
                last = ours;
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }
}
