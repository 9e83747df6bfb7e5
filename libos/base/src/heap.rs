//! The kernel heap: size classes over [`crate::pages`]. Small objects come from per-class free
//! lists, large ones are page blocks.

use crate::pages::{self, PAGE};
use crate::sync::Mutex;
use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};

const CLASSES: [usize; 16] = [
    16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096,
];
/// Pages that a class takes at a time.
const SLAB_ORDER: usize = 2;

/// A `#[global_allocator]` for the image. Allocation fails (null) when page memory is out.
pub struct Heap {
    free: [Mutex<usize>; CLASSES.len()],
}

static USED: AtomicUsize = AtomicUsize::new(0);

/// Bytes allocated and not freed, as asked for.
pub fn used() -> usize {
    USED.load(Ordering::Relaxed)
}

fn class(layout: &Layout) -> Option<usize> {
    if layout.align() > 16 {
        // Larger alignments are rare; a power-of-two class is aligned to its size within a slab
        // whose size is a power of two.
        let size = layout.size().max(layout.align()).next_power_of_two();
        return CLASSES.iter().position(|&c| c == size);
    }
    let i = CLASSES.partition_point(|&c| c < layout.size());
    (i < CLASSES.len()).then_some(i)
}

fn order(layout: &Layout) -> usize {
    let size = layout.size().max(layout.align());
    size.div_ceil(PAGE).next_power_of_two().trailing_zeros() as usize
}

impl Heap {
    /// An empty heap.
    pub const fn new() -> Self {
        Heap {
            free: [const { Mutex::new(0) }; CLASSES.len()],
        }
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: every block is handed out once until it is returned, is at least as large as the layout
// (class size or whole pages) and as aligned: classes of 16-byte multiples start at slab offsets
// that are multiples of the class, page blocks at multiples of the page.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(c) = class(&layout) else {
            if layout.align() > (2 << 20) {
                return core::ptr::null_mut();
            }
            let addr = pages::take(order(&layout));
            if addr != 0 {
                USED.fetch_add(layout.size(), Ordering::Relaxed);
            }
            return addr as *mut u8;
        };
        let mut head = self.free[c].lock();
        if *head == 0 {
            let slab = pages::take(SLAB_ORDER);
            if slab == 0 {
                return core::ptr::null_mut();
            }
            let size = CLASSES[c];
            let count = (PAGE << SLAB_ORDER) / size;
            for i in (0..count).rev() {
                let block = slab + i * size;
                // SAFETY: the block lies in the fresh slab.
                unsafe { *(block as *mut usize) = *head };
                *head = block;
            }
        }
        let block = *head;
        // SAFETY: a block on the free list begins with its link.
        *head = unsafe { *(block as *const usize) };
        USED.fetch_add(layout.size(), Ordering::Relaxed);
        block as *mut u8
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        let Some(c) = class(&layout) else {
            // SAFETY: the block came from `take` with the same order.
            unsafe { pages::give(ptr as usize, order(&layout)) };
            return;
        };
        let mut head = self.free[c].lock();
        // SAFETY: the caller gives the block up.
        unsafe { *(ptr as *mut usize) = *head };
        *head = ptr as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn blocks_are_distinct_aligned_and_reused() {
        pages::init_for_tests();
        let heap = Heap::new();
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
