//! The kernel's memory in large pages.
//!
//! A new host process has none of the region's pages: it takes a fault for each one that it touches,
//! which together cost a third of a `fork`. An enclave that makes many processes therefore puts the
//! memory that all of them touch into pages of 2 MiB, one fault each. An enclave that makes few does
//! not, as whole pages take more memory, and making them takes time.
//!
//! Memory that the kernel is about to use all over comes in large pages from the start: that takes a
//! tenth of the time that 512 faults do.

use crate::host::{self, host};
use crate::layout::{ARENA, BASE, DATA, END, IMAGE, LARGE, SLOT_SIZE, SLOTS};
use crate::start::control;
use bastide_pal::{Clock, Platform};
use core::ops::Range;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// So many processes are made before, and four times as many each time before it is done again for
/// what was added.
const MANY: u32 = 16;
/// Of the arena no more than this: most of it is the contents of files. The first time it is one page,
/// with what all processes use, and each time twice as much.
const ARENA_MOST: usize = 8 << 20;
/// Of the thread slots no more than this.
const SLOTS_MOST: usize = 8 << 20;

const MADV_COLLAPSE: usize = 25;
const MAP_SHARED_FIXED: usize = 0x11;
const READ_WRITE: usize = 3;
const READ_EXEC: usize = 5;

/// So much idle memory in large pages is kept in any case.
const IDLE_MOST: usize = 16 << 20;
/// Nanoseconds that 512 faults take about. The host takes longer where it has to make room for a large
/// page, or to wait for other processors.
const SLOW: u64 = 1_000_000;
/// So many large pages are not asked for after one that took too long, and twice as many after the
/// next, up to a most.
const REST: Range<u32> = 8..512;

/// Large pages not to ask for now, and when one takes too long again.
static RESTING: AtomicU32 = AtomicU32::new(0);
static REST_NEXT: AtomicU32 = AtomicU32::new(REST.start);
static MADE: AtomicU32 = AtomicU32::new(0);
/// There is a copy of the image's constant part in large pages.
static COPIED: AtomicU32 = AtomicU32::new(0);
/// What is in large pages of the arena, from its start.
static ARENA_DONE: AtomicUsize = AtomicUsize::new(ARENA);
static SLOTS_DONE: AtomicUsize = AtomicUsize::new(SLOTS);

/// Zero in the launcher's file, one in the copy: which of them a process has mapped. In a section of
/// its own, the compiler does not let other constants of this value share its place.
// SAFETY: a constant beside the others.
#[unsafe(link_section = ".rodata.bastide_is_copy")]
static IS_COPY: u32 = 0;

unsafe extern "C" {
    static bastide_constant_end: u8;
}

/// Counts a new process; true if it is time for [`prepare`].
pub(crate) fn count() -> bool {
    let made = MADE.fetch_add(1, Ordering::Relaxed) + 1;
    made % MANY == 0 && (made / MANY).is_power_of_two() && (made / MANY).trailing_zeros() % 2 == 0
}

/// Makes large pages of what new processes touch. Runs in the zygote, whose own address space is
/// free to work in. `slots` is the end of the thread slots that were ever used.
pub(crate) fn prepare(slots: usize) {
    if COPIED.load(Ordering::Relaxed) == 0 && copy_constant() {
        COPIED.store(1, Ordering::Release);
    }
    collapse(DATA..DATA + LARGE);
    let slots = slots.min(SLOTS + SLOTS_MOST);
    extend(&SLOTS_DONE, slots.next_multiple_of(LARGE));
    let done = ARENA_DONE.load(Ordering::Relaxed) - ARENA;
    let arena = (done * 2).clamp(LARGE, ARENA_MOST);
    let top = bastide_base::pages::top().next_multiple_of(LARGE);
    extend(&ARENA_DONE, top.min(ARENA + arena));
}

fn extend(done: &AtomicUsize, end: usize) {
    let from = done.load(Ordering::Relaxed);
    if end > from && collapse(from..end) {
        done.store(end, Ordering::Relaxed);
    }
}

/// Which large pages of the arena are such, a bit each.
static IS_LARGE: [AtomicU64; (END - ARENA) / LARGE / 64] =
    [const { AtomicU64::new(0) }; (END - ARENA) / LARGE / 64];

/// The bits of the large pages that a part of the arena touches: the word and the bit of each.
fn bits(range: Range<usize>) -> impl Iterator<Item = (&'static AtomicU64, u64)> {
    let first = range.start.saturating_sub(ARENA) / LARGE;
    let end = range.end.saturating_sub(ARENA).div_ceil(LARGE);
    (first..end).filter_map(|n| Some((IS_LARGE.get(n / 64)?, 1 << (n % 64))))
}

/// Whether memory of the region that is given up stays for the next use, as it lies in a large page
/// that it would break. Not if too much is idle.
pub(crate) fn keeps(addr: usize, len: usize) -> bool {
    let range = addr..addr + len;
    let idle = bastide_base::pages::idle();
    if len < LARGE && idle < IDLE_MOST + bastide_base::pages::used() / 2 {
        return bits(range).all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0);
    }
    for (word, bit) in bits(range) {
        word.fetch_and(!bit, Ordering::Relaxed);
    }
    false
}

/// Brings a large page of the arena in as a whole, where the host has one at hand.
pub(crate) fn expect(addr: usize, len: usize) {
    if addr < ARENA || addr % LARGE != 0 || len != LARGE {
        return;
    }
    let wait = RESTING.load(Ordering::Relaxed);
    if wait > 0 {
        RESTING.store(wait - 1, Ordering::Relaxed);
        return;
    }
    // The host makes none of nothing, nor of what was only read.
    // SAFETY: memory of the arena; a byte is written as it is.
    let byte = unsafe { AtomicU8::from_ptr(addr as *mut u8) };
    let _ = byte.compare_exchange(0, 0, Ordering::Relaxed, Ordering::Relaxed);
    let now = || crate::LinuxPal.now(Clock::Monotonic);
    let start = now();
    let done = collapse(addr..addr + LARGE);
    let rest = match done && now().saturating_sub(start) <= SLOW {
        true => 0,
        false => REST_NEXT.load(Ordering::Relaxed),
    };
    RESTING.store(rest, Ordering::Relaxed);
    REST_NEXT.store((rest * 2).clamp(REST.start, REST.end), Ordering::Relaxed);
}

/// Puts memory into large pages, its contents unchanged; false if the host cannot.
fn collapse(range: Range<usize>) -> bool {
    // SAFETY: the contents stay as they are, wherever they are mapped.
    let r = unsafe { host!(__NR_madvise, range.start, range.len(), MADV_COLLAPSE) };
    let done = host::check(r).is_ok();
    if done && range.start >= ARENA {
        for (word, bit) in bits(range) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }
    done
}

/// Copies the constant part of the image into large pages of the region's memory object, below the
/// mapping of the launcher's file.
fn copy_constant() -> bool {
    // Anywhere in the zygote's application memory, where nothing is mapped.
    const WORK: usize = 0x1000_0000;
    let fd = control().region_fd.load(Ordering::Relaxed);
    let len = &raw const bastide_constant_end as usize - IMAGE;
    // SAFETY: a free range outside the region.
    let at = unsafe {
        host!(
            __NR_mmap,
            WORK,
            DATA - IMAGE,
            READ_WRITE,
            MAP_SHARED_FIXED,
            fd,
            IMAGE - BASE
        )
    };
    if host::check(at) != Ok(WORK) {
        return false;
    }
    // SAFETY: the source is the image, readable up to its end; the target was just mapped, and
    // nobody sees this part of the memory object yet.
    unsafe {
        core::ptr::copy_nonoverlapping(IMAGE as *const u8, WORK as *mut u8, len);
        let mark = WORK + (&raw const IS_COPY as usize - IMAGE);
        (mark as *mut u32).write_volatile(1);
    }
    let done = collapse(WORK..WORK + (DATA - IMAGE));
    // SAFETY: mapped above; nothing refers to it.
    unsafe { host!(__NR_munmap, WORK, DATA - IMAGE) };
    done
}

/// Makes the calling process, which is about to be copied, use the image's copy in large pages.
pub(crate) fn adopt() {
    // SAFETY: a constant that differs between the mappings; a plain read.
    let has = unsafe { (&raw const IS_COPY).read_volatile() };
    if has == 1 || COPIED.load(Ordering::Acquire) == 0 {
        return;
    }
    let fd = control().region_fd.load(Ordering::Relaxed);
    // SAFETY: the same code and constants appear at the same addresses; threads that run in between
    // wait for the host to be done.
    unsafe {
        host!(
            __NR_mmap,
            IMAGE,
            DATA - IMAGE,
            READ_EXEC,
            MAP_SHARED_FIXED,
            fd,
            IMAGE - BASE
        )
    };
}

/// The end of so many thread slots.
pub(crate) fn slots_end(count: usize) -> usize {
    SLOTS + count * SLOT_SIZE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let due: std::vec::Vec<u32> = (1..=1100).filter(|_| count()).collect();
        assert_eq!(due, [16, 64, 256, 1024]);
    }
}
