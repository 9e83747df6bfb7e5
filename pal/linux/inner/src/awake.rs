//! Waiting for a permit without going to sleep, where that has been worth it.
//!
//! A wake-up of another CPU costs the host tens of microseconds, one that is waited for awake less
//! than one; but where the waker needs the CPU that we wait on, waiting only delays it. So a thread
//! **spins** if its last permit came from another CPU. And if the thread that it has just woken
//! waits for this CPU, it **yields** to it: of two threads that take turns on one CPU neither then
//! sleeps, and a turn is one host call in place of two.

use crate::LinuxPal;
use crate::entry::block;
use bastide_base::sync::Once;
use bastide_pal::{Park, ParkState, Platform};
use core::arch::x86_64::{__cpuid, __rdtscp};
use core::sync::atomic::Ordering::{Acquire, Relaxed};

/// Ticks to spin at most: some 8 microseconds. What is older is no reason to yield either.
const PATIENCE: u64 = 25_000;
/// Ticks after which a yield has let others run too: some 80 microseconds.
const CROWDED: u64 = 250_000;
/// Failures in a row after which spinning is given up.
const CREDIT: i32 = 4;
/// The most credit of yielding, one for each success.
const TRUST: i32 = 64;
/// What a yield that was no use takes of it.
const LOSS: i32 = 16;
/// Sleeps that yields would have saved, before one is tried again when the credit is used up.
const DEBT: i32 = 8;
/// The same after a yield on a crowded CPU, where it costs a turn: thousands of times what it saves.
/// Doubled with every further one before trust is restored, so many times at most.
const CROWD_DEBT: i32 = 64;
const DOUBLINGS: u32 = 9;
/// A stamp is the time with the CPU's number in the low bits.
const CPU_BITS: u32 = 12;

/// The time-stamp counter and the CPU's number as a stamp; `None` if the processor does not tell.
fn here() -> Option<u64> {
    static KNOWN: Once<bool> = Once::new();
    let known = KNOWN.get_or_init(|| {
        // Every x86-64 processor has the leaf: it says there that it is one.
        __cpuid(0x8000_0001).edx & (1 << 27) != 0
    });
    known.then(|| {
        let mut cpu = 0;
        // SAFETY: the processor has the instruction; the host puts the CPU's number in it.
        let time = unsafe { __rdtscp(&mut cpu) };
        time << CPU_BITS | u64::from(cpu) & ((1 << CPU_BITS) - 1)
    })
}

fn cpu(stamp: u64) -> u64 {
    stamp & ((1 << CPU_BITS) - 1)
}

fn ticks(from: u64, to: u64) -> u64 {
    (to >> CPU_BITS).wrapping_sub(from >> CPU_BITS)
}

fn notified(park: &Park) -> bool {
    park.state.load(Acquire) == ParkState::Notified as u32
}

/// Leaves word of who gives a permit, and of the CPU that the woken thread waits for.
pub(crate) fn sign(park: &Park) {
    if let Some(now) = here() {
        park.waker.store(now, Relaxed);
        if cpu(park.seat.load(Relaxed)) == cpu(now) {
            block().handed.store(now, Relaxed);
        }
    }
}

/// A thread's wait for a permit.
pub(crate) struct Wait {
    /// When and where sleep began; `None` if none was needed.
    slept: Option<u64>,
    /// The CPU was wanted by a thread that had just been woken.
    handed: bool,
}

impl Wait {
    /// Waits without sleep if that is promising.
    pub fn begin(park: &Park) -> Wait {
        let Some(now) = here() else {
            return Wait {
                slept: None,
                handed: false,
            };
        };
        park.seat.store(now, Relaxed);
        let handed = block().handed.swap(0, Relaxed);
        let handed = cpu(handed) == cpu(now) && ticks(handed, now) < PATIENCE;
        let waker = park.waker.load(Relaxed);
        let slept = if handed && park.yields.load(Relaxed) > 0 {
            yielding(park, now)
        } else if waker != 0 && cpu(waker) != cpu(now) && park.credit.load(Relaxed) > 0 {
            spinning(park, now)
        } else {
            Some(now)
        };
        Wait { slept, handed }
    }

    /// After a sleep: would waiting without it have been enough?
    pub fn end(self, park: &Park) {
        let Some(start) = self.slept else { return };
        let waker = park.waker.load(Relaxed);
        let waited = ticks(start, waker);
        if cpu(start) != cpu(waker) {
            if waited < PATIENCE / 2 {
                park.credit.fetch_max(1, Relaxed);
            }
        } else if self.handed && waited < CROWDED {
            let yields = park.yields.load(Relaxed);
            let more = if yields < 0 {
                yields + 1
            } else {
                yields.max(1)
            };
            park.yields.store(more, Relaxed);
        }
    }
}

/// Has the thread that waits for this CPU run; when it is time to sleep after all.
fn yielding(park: &Park, start: u64) -> Option<u64> {
    LinuxPal.yield_now();
    let after = here();
    let notified = notified(park);
    let yields = park.yields.load(Relaxed);
    let yields = if after.is_some_and(|now| ticks(start, now) > CROWDED) {
        let crowds = park.crowds.load(Relaxed);
        park.crowds.store(DOUBLINGS.min(crowds + 1), Relaxed);
        -(CROWD_DEBT << crowds)
    } else if notified && yields < TRUST {
        yields + 1
    } else if notified {
        park.crowds.store(0, Relaxed);
        TRUST
    } else if yields > LOSS {
        yields - LOSS
    } else {
        -DEBT
    };
    park.yields.store(yields, Relaxed);
    after.filter(|_| !notified)
}

/// Looks again and again; when it is time to sleep after all.
fn spinning(park: &Park, start: u64) -> Option<u64> {
    loop {
        for _ in 0..16 {
            if notified(park) {
                park.credit.store(CREDIT, Relaxed);
                return None;
            }
            core::hint::spin_loop();
        }
        let now = here();
        if now.is_none_or(|now| ticks(start, now) > PATIENCE) {
            let left = park.credit.load(Relaxed).saturating_sub(1);
            park.credit.store(left, Relaxed);
            return now;
        }
    }
}
