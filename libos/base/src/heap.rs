//! The kernel heap: size classes over [`crate::pages`]. Small objects come from per-class free
//! lists, large ones are page blocks.

use crate::pages::{self, PAGE};
use crate::sync::Mutex;
use core::alloc::{GlobalAlloc, Layout};
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

const CLASSES: [usize; 16] = [
    16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096,
];
/// Pages that a class takes at a time.
const SLAB_ORDER: usize = 2;

/// The class of sizes up to `16 * index`.
const CLASS_OF: [u8; PAGE / 16 + 1] = {
    let mut table = [0; PAGE / 16 + 1];
    let (mut i, mut class) = (0, 0);
    while i < table.len() {
        if CLASSES[class] < 16 * i {
            class += 1;
        }
        table[i] = class as u8;
        i += 1;
    }
    table
};

/// A `#[global_allocator]` for the image. Allocation fails (null) when page memory is out.
pub struct Heap;

/// Blocks of one size, apart from others for the sake of the processors' caches.
#[repr(align(64))]
struct Class(Mutex<Blocks>);

struct Blocks {
    /// The first that was given back; each begins with the address of the next.
    free: usize,
    /// What is left of the last slab, whose memory has not been touched.
    fresh: Range<usize>,
    used: usize,
}

impl Blocks {
    const NONE: Blocks = Blocks {
        free: 0,
        fresh: 0..0,
        used: 0,
    };
}

static BLOCKS: [Class; CLASSES.len()] = [const { Class(Mutex::new(Blocks::NONE)) }; CLASSES.len()];
/// Bytes of page blocks.
static LARGE: AtomicUsize = AtomicUsize::new(0);

/// Bytes allocated and not freed, in whole blocks.
pub fn used() -> usize {
    let small = CLASSES.iter().zip(&BLOCKS);
    let small: usize = small.map(|(size, c)| size * c.0.lock().used).sum();
    small + LARGE.load(Ordering::Relaxed)
}

fn class(layout: &Layout) -> Option<usize> {
    if layout.align() > 16 {
        // Larger alignments are rare; a power-of-two class is aligned to its size within a slab
        // whose size is a power of two.
        let size = layout.size().max(layout.align()).next_power_of_two();
        return CLASSES.iter().position(|&c| c == size);
    }
    let i = CLASS_OF.get(layout.size().div_ceil(16))?;
    Some(usize::from(*i))
}

fn order(layout: &Layout) -> usize {
    let size = layout.size().max(layout.align());
    size.div_ceil(PAGE).next_power_of_two().trailing_zeros() as usize
}

// SAFETY: every block is handed out once until it is returned, is at least as large as the layout
// (class size or whole pages) and as aligned: classes of 16-byte multiples start at slab offsets
// that are multiples of the class, page blocks at multiples of the page.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(c) = class(&layout) else {
            if layout.align() > pages::LARGE {
                return core::ptr::null_mut();
            }
            let addr = pages::take(order(&layout));
            if addr != 0 {
                LARGE.fetch_add(layout.size(), Ordering::Relaxed);
            }
            return addr as *mut u8;
        };
        let mut blocks = BLOCKS[c].0.lock();
        blocks.used += 1;
        if blocks.free != 0 {
            let block = blocks.free;
            // SAFETY: a block on the free list begins with its link.
            blocks.free = unsafe { *(block as *const usize) };
            return block as *mut u8;
        }
        let size = CLASSES[c];
        if blocks.fresh.len() < size {
            let slab = pages::take(SLAB_ORDER);
            if slab == 0 {
                blocks.used -= 1;
                return core::ptr::null_mut();
            }
            blocks.fresh = slab..slab + (PAGE << SLAB_ORDER);
        }
        let block = blocks.fresh.start;
        blocks.fresh.start += size;
        block as *mut u8
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        let Some(c) = class(&layout) else {
            LARGE.fetch_sub(layout.size(), Ordering::Relaxed);
            // SAFETY: the block came from `take` with the same order.
            unsafe { pages::give(ptr as usize, order(&layout)) };
            return;
        };
        let mut blocks = BLOCKS[c].0.lock();
        // SAFETY: the caller gives the block up.
        unsafe { *(ptr as *mut usize) = blocks.free };
        blocks.free = ptr as usize;
        blocks.used -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn blocks_are_distinct_aligned_and_reused() {
        pages::init_for_tests();
        let heap = Heap;
        let mut seen: Vec<(usize, usize)> = Vec::new();
        for (size, align) in [
            (1, 1),
            (16, 16),
            (40, 8),
            (64, 64),
            (100, 32),
            (4096, 4096),
            (5000, 8),
            (70000, 16),
        ] {
            let l = Layout::from_size_align(size, align).unwrap();
            for _ in 0..50 {
                // SAFETY: the layout has a size.
                let p = unsafe { heap.alloc(l) } as usize;
                assert!(p != 0 && p % align == 0);
                assert!(seen.iter().all(|&(q, n)| p + size <= q || q + n <= p));
                seen.push((p, size));
            }
        }
    }
}
