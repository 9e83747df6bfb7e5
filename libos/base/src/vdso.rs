//! What the application may ask without entering the kernel: the time, and which CPU it runs on
//! (`vdso(7)`).
//!
//! Two pages lie next to each other in every program: a [`TimePage`], which the kernel keeps up to
//! date, and [`code`], an ELF shared object whose functions compute the clocks from it and from the
//! processor's time-stamp counter (TSC). Where the page is out of date they make the system call.

use crate::pages::{PAGE, Pages};
use crate::sync::Once;
use alloc::sync::Arc;
use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Clock ids below this have a slot in the page.
pub const CLOCKS: usize = 12;
const SECOND: u64 = 1_000_000_000;

/// The page's contents. The code below knows the offsets.
#[repr(C)]
struct Words {
    /// Odd while the rest is being written.
    sequence: AtomicU32,
    /// 1: `rdpid` tells the CPU's number.
    flags: AtomicU32,
    /// The counter's value at the start of this period.
    start: AtomicU64,
    /// How many ticks after it the period ends; 0 says that there is none.
    ticks: AtomicU64,
    /// Nanoseconds per tick, times 2³².
    rate: AtomicU64,
    /// Each clock at the start of this period: seconds and nanoseconds.
    clocks: [[AtomicU64; 2]; CLOCKS],
}

/// How a stretch of time is computed from the counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Period {
    /// The counter's value at its start.
    pub start: u64,
    /// How many ticks it lasts.
    pub ticks: u64,
    /// Nanoseconds per tick, times 2³².
    pub rate: u64,
    /// Each clock's nanoseconds at its start.
    pub clocks: [u64; CLOCKS],
}

impl Period {
    /// Nanoseconds from its start to a later value of the counter.
    pub fn since(&self, counter: u64) -> u64 {
        let ticks = counter.wrapping_sub(self.start);
        ((u128::from(ticks) * u128::from(self.rate)) >> 32) as u64
    }
}

/// The page that everybody who reads a clock looks at.
pub struct TimePage {
    pages: Arc<Pages>,
    offset: usize,
}

impl TimePage {
    /// Uses the page at `offset` of a block. It must hold zeros, and from now on only this writes
    /// to it. `None` if the page is not inside the block.
    pub fn new(pages: Arc<Pages>, offset: usize) -> Option<Self> {
        let fits = offset % PAGE == 0 && offset.checked_add(PAGE)? <= pages.len();
        fits.then_some(TimePage { pages, offset })
    }

    fn words(&self) -> &Words {
        // SAFETY: the page is inside the block, which lives as long as `self`; `Words` is smaller
        // than a page, has only atomics, and any bytes are valid for it.
        unsafe { &*((self.pages.addr() + self.offset) as *const Words) }
    }

    /// What `read` makes of the words, which do not change meanwhile.
    fn consistent<T>(&self, read: impl Fn(&Words) -> T) -> T {
        let w = self.words();
        loop {
            let before = w.sequence.load(Ordering::Acquire);
            let result = read(w);
            fence(Ordering::Acquire);
            if before & 1 == 0 && w.sequence.load(Ordering::Relaxed) == before {
                return result;
            }
            core::hint::spin_loop();
        }
    }

    /// The period that is in force.
    pub fn period(&self) -> Period {
        self.consistent(|w| Period {
            start: w.start.load(Ordering::Relaxed),
            ticks: w.ticks.load(Ordering::Relaxed),
            rate: w.rate.load(Ordering::Relaxed),
            clocks: core::array::from_fn(|id| nanos(&w.clocks[id])),
        })
    }

    /// A clock's value now in nanoseconds; `None` after the period's end, and for a clock id
    /// without a slot.
    pub fn now(&self, clock: usize) -> Option<u64> {
        self.consistent(|w| {
            let counter = cycles();
            let period = Period {
                start: w.start.load(Ordering::Relaxed),
                rate: w.rate.load(Ordering::Relaxed),
                ..Period::default()
            };
            let lasts = counter.wrapping_sub(period.start) < w.ticks.load(Ordering::Relaxed);
            let at_start = w.clocks.get(clock).filter(|_| lasts)?;
            Some(nanos(at_start).wrapping_add(period.since(counter)))
        })
    }

    /// Puts a new period in force. Callers take turns.
    pub fn set(&self, p: &Period) {
        let w = self.words();
        let sequence = w.sequence.load(Ordering::Relaxed);
        w.sequence
            .store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        w.flags.store(u32::from(tells_cpu()), Ordering::Relaxed);
        w.start.store(p.start, Ordering::Relaxed);
        w.ticks.store(p.ticks, Ordering::Relaxed);
        w.rate.store(p.rate, Ordering::Relaxed);
        for (to, from) in w.clocks.iter().zip(&p.clocks) {
            to[0].store(from / SECOND, Ordering::Relaxed);
            to[1].store(from % SECOND, Ordering::Relaxed);
        }
        w.sequence
            .store(sequence.wrapping_add(2), Ordering::Release);
    }
}

fn nanos(clock: &[AtomicU64; 2]) -> u64 {
    let seconds = clock[0].load(Ordering::Relaxed);
    seconds
        .wrapping_mul(SECOND)
        .wrapping_add(clock[1].load(Ordering::Relaxed))
}

/// The time-stamp counter, read after everything before it.
pub fn cycles() -> u64 {
    // SAFETY: every x86-64 processor has both instructions, and they touch no memory.
    unsafe {
        core::arch::x86_64::_mm_lfence();
        core::arch::x86_64::_rdtsc()
    }
}

/// Whether `rdpid` exists (CPUID leaf 7, `ecx` bit 22), with which Linux tells the CPU's number.
fn tells_cpu() -> bool {
    static KNOWN: Once<bool> = Once::new();
    // A processor without the leaf has no FSGSBASE either, and runs no enclave.
    *KNOWN.get_or_init(|| core::arch::x86_64::__cpuid_count(7, 0).ecx & (1 << 22) != 0)
}

/// The shared object, one page. Its functions expect the [`TimePage`] in the page before it.
pub fn code() -> &'static [u8] {
    unsafe extern "C" {
        static bastide_vdso: [u8; PAGE];
    }
    // SAFETY: the object below is one page of constants.
    unsafe { &bastide_vdso }
}

global_asm!(include_str!("vdso.s"));

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    fn page() -> TimePage {
        crate::pages::init_for_tests();
        TimePage::new(Pages::zeroed(1).unwrap().into(), 0).unwrap()
    }

    #[test]
    fn a_period_counts_from_its_start() {
        let p = Period {
            start: 100,
            rate: 3 << 31,
            ..Period::default()
        };
        assert_eq!((p.since(100), p.since(149)), (0, 73));
    }

    #[test]
    fn clocks_run_for_a_period() {
        let page = page();
        assert_eq!(page.now(0), None);
        let clocks = core::array::from_fn(|id| id as u64 * 5 * SECOND + 999_999_999);
        let (start, ticks) = (cycles(), 1 << 40);
        page.set(&Period {
            start,
            ticks,
            rate: 1 << 32,
            clocks,
        });
        assert_eq!(page.period().clocks, clocks);
        let after = cycles() - start;
        let passed = page.now(2).unwrap() - clocks[2];
        assert!(passed >= after && passed < after + (1 << 32));
        assert_eq!(page.now(CLOCKS), None);
        page.set(&Period {
            start,
            ticks: 1,
            rate: 1 << 32,
            clocks,
        });
        assert_eq!(page.now(2), None);
    }

    #[test]
    fn readers_see_whole_periods() {
        let page = page();
        let steady = |n: u64| Period {
            start: n,
            ticks: n,
            rate: n,
            clocks: [n * 999_999_999; CLOCKS],
        };
        page.set(&steady(1));
        std::thread::scope(|s| {
            s.spawn(|| (2..20_000).for_each(|n| page.set(&steady(n))));
            for _ in 0..20_000 {
                let p = page.period();
                assert_eq!(p, steady(p.start));
            }
        });
    }

    #[test]
    fn the_code_is_a_shared_object() {
        assert_eq!(code()[..4], *b"\x7fELF");
        // A dynamic linker finds the functions through the hash table; the program tests do.
        assert_eq!(code().len(), PAGE);
    }
}
