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
use bastide_pal::{Bet, Park, ParkState, Platform};
use core::arch::x86_64::{__cpuid, __rdtscp};
use core::sync::atomic::Ordering::{Acquire, Relaxed};

/// Ticks to spin at most: some 8 microseconds. What is older is no reason to yield either.
const PATIENCE: u64 = 25_000;
/// The same for the first try: the other one may have to be woken, but can wait awake from then on.
const FIRST_PATIENCE: u64 = 150_000;
/// Ticks after which a yield has let others run too: some 80 microseconds.
const CROWDED: u64 = 250_000;
/// The most credit of a bet, one for each success.
const TRUST: i32 = 64;
/// What a failure takes of it.
const LOSS: i32 = 16;
/// When the credit is used up, so many sleeps that it would have saved go by before it is tried
/// again; twice as many each time that it is not trusted again in between, up to a limit.
const DEBT: i32 = 8;
/// The same after a yield on a crowded CPU, where it costs a turn: thousands of times what it saves.
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

/// It may pay.
fn promises(bet: &Bet) -> bool {
    bet.credit.load(Relaxed) > 0
}

/// It would have paid.
fn promise(bet: &Bet) {
    let credit = bet.credit.load(Relaxed);
    let more = if credit < 0 {
        credit + 1
    } else {
        credit.max(1)
    };
    bet.credit.store(more, Relaxed);
}

fn won(bet: &Bet) {
    let credit = TRUST.min(bet.credit.load(Relaxed) + 1);
    bet.credit.store(credit, Relaxed);
    if credit == TRUST {
        bet.setbacks.store(0, Relaxed);
    }
}

fn failed(bet: &Bet) {
    match bet.credit.load(Relaxed) - LOSS {
        left if left > 0 => bet.credit.store(left, Relaxed),
        _ => give_up(bet, DEBT),
    }
}

fn give_up(bet: &Bet, debt: i32) {
    let setbacks = bet.setbacks.load(Relaxed);
    bet.setbacks.store(DOUBLINGS.min(setbacks + 1), Relaxed);
    bet.credit.store(-(debt << setbacks), Relaxed);
}

/// Leaves word of who gives a permit, and of the CPU that the woken thread waits for.
pub(crate) fn sign(park: &Park) {
    let Some(now) = here() else { return };
    park.waker.store(now, Relaxed);
    let block = block();
    if cpu(park.seat.load(Relaxed)) == cpu(now) {
        block.handed.store(now, Relaxed);
    } else if ticks(block.woke.load(Relaxed), now) < PATIENCE / 2 {
        // Both awake, the permit would have come so soon.
        promise(&park.spins);
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
        let Some(now) = here().filter(|_| !notified(park)) else {
            return Wait {
                slept: None,
                handed: false,
            };
        };
        park.seat.store(now, Relaxed);
        let handed = block().handed.swap(0, Relaxed);
        let handed = cpu(handed) == cpu(now) && ticks(handed, now) < PATIENCE;
        let waker = park.waker.load(Relaxed);
        let slept = if handed && promises(&park.yields) {
            yielding(park, now)
        } else if waker != 0 && cpu(waker) != cpu(now) && promises(&park.spins) {
            spinning(park, now)
        } else {
            Some(now)
        };
        Wait { slept, handed }
    }

    /// There is a permit, or no need for one any more. After a sleep: would waiting without it have
    /// been enough?
    pub fn end(self, park: &Park) {
        if let Some(now) = here() {
            block().woke.store(now, Relaxed);
        }
        let Some(start) = self.slept else { return };
        let waker = park.waker.load(Relaxed);
        let waited = ticks(start, waker);
        if cpu(start) != cpu(waker) {
            if waited < PATIENCE / 2 {
                promise(&park.spins);
            }
        } else if self.handed && waited < CROWDED {
            promise(&park.yields);
        }
    }
}

/// Has the thread that waits for this CPU run; when it is time to sleep after all.
fn yielding(park: &Park, start: u64) -> Option<u64> {
    LinuxPal.yield_now();
    let after = here();
    let notified = notified(park);
    if after.is_some_and(|now| ticks(start, now) > CROWDED) {
        give_up(&park.yields, CROWD_DEBT);
    } else if notified {
        won(&park.yields);
    } else {
        failed(&park.yields);
    }
    after.filter(|_| !notified)
}

/// Looks again and again; when it is time to sleep after all.
fn spinning(park: &Park, start: u64) -> Option<u64> {
    let patience = match park.spins.credit.load(Relaxed) {
        1 => FIRST_PATIENCE,
        _ => PATIENCE,
    };
    loop {
        for _ in 0..16 {
            if notified(park) {
                won(&park.spins);
                return None;
            }
            core::hint::spin_loop();
        }
        let now = here();
        if now.is_none_or(|now| ticks(start, now) > patience) {
            failed(&park.spins);
            return now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sleeps that would have been saved, until it is tried again.
    fn tried_after(bet: &Bet) -> u32 {
        let mut sleeps = 0;
        while !promises(bet) {
            promise(bet);
            sleeps += 1;
        }
        sleeps
    }

    #[test]
    fn what_does_not_pay_is_tried_ever_more_seldom() {
        let bet = Bet::default();
        assert_eq!(tried_after(&bet), 1);
        let pauses: [u32; 12] = core::array::from_fn(|_| {
            failed(&bet);
            tried_after(&bet)
        });
        assert_eq!(pauses[..4], [9, 17, 33, 65]);
        assert_eq!(pauses[10], pauses[11]);
    }

    #[test]
    fn what_pays_is_forgiven() {
        let bet = Bet::default();
        promise(&bet);
        give_up(&bet, CROWD_DEBT);
        assert_eq!(tried_after(&bet), 65);
        (0..TRUST).for_each(|_| won(&bet));
        for _ in 0..3 {
            failed(&bet);
            assert!(promises(&bet));
        }
        give_up(&bet, CROWD_DEBT);
        assert_eq!(tried_after(&bet), 65);
    }
}
