//! Page memory: what the page cache and shared memory are made of, and what the heap grows from.
//!
//! Blocks are powers of two of pages, taken from one arena. A free block keeps its list link in
//! its own first page; the memory behind the rest of a large free block goes back to the platform.

use crate::sync::Mutex;
use crate::user;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a page.
pub const PAGE: usize = 4096;
const ORDERS: usize = 27;
/// Free blocks of at least this order give their memory back.
const RELEASE_ORDER: usize = 4;

struct Arena {
    next: usize,
    end: usize,
    free: [usize; ORDERS],
}

static ARENA: Mutex<Arena> = Mutex::new(Arena {
    next: 0,
    end: 0,
    free: [0; ORDERS],
});
static USED: AtomicUsize = AtomicUsize::new(0);

/// Gives the arena its memory, once, before any allocation.
///
/// # Safety
/// `start..end` is page-aligned, zeroed, writable memory that nothing else uses, ever.
pub unsafe fn init(start: usize, end: usize) {
    let mut a = ARENA.lock();
    a.next = start;
    a.end = end;
}

/// Bytes handed out and not yet returned.
pub fn used() -> usize {
    USED.load(Ordering::Relaxed)
}

/// The end of what has ever been handed out.
pub fn top() -> usize {
    ARENA.lock().next
}

fn order(pages: usize) -> usize {
    pages.max(1).next_power_of_two().trailing_zeros() as usize
}

/// A block of `1 << order` pages, not necessarily zero; 0 if there is none.
pub(crate) fn take(order: usize) -> usize {
    if order >= ORDERS {
        return 0;
    }
    let size = PAGE << order;
    let mut a = ARENA.lock();
    let found = (order..ORDERS).find(|&o| a.free[o] != 0);
    let addr = match found {
        Some(o) => {
            let addr = a.free[o];
            // SAFETY: a block on the free list belongs to the arena and begins with its link.
            a.free[o] = unsafe { *(addr as *const usize) };
            for half in (order..o).rev() {
                let upper = addr + (PAGE << half);
                // SAFETY: the upper half is part of the block just taken.
                unsafe { *(upper as *mut usize) = a.free[half] };
                a.free[half] = upper;
            }
            addr
        }
        None => {
            // Align blocks to their size up to 2 MiB, so that large ones can be huge pages.
            let align = size.min(2 << 20);
            let addr = a.next.next_multiple_of(align);
            if a.next == 0 || addr.checked_add(size).is_none_or(|e| e > a.end) {
                return 0;
            }
            a.next = addr + size;
            addr
        }
    };
    USED.fetch_add(size, Ordering::Relaxed);
    addr
}

/// Returns a block from [`take`].
///
/// # Safety
/// The block came from `take(order)`, is returned once, and nothing refers to it.
pub(crate) unsafe fn give(addr: usize, order: usize) {
    USED.fetch_sub(PAGE << order, Ordering::Relaxed);
    if order >= RELEASE_ORDER
        && let Some(pal) = crate::platform()
    {
        pal.release_kernel_pages(addr, PAGE << order);
    }
    let mut a = ARENA.lock();
    // SAFETY: the caller gives the block up.
    unsafe { *(addr as *mut usize) = a.free[order] };
    a.free[order] = addr;
}

/// Owned page memory. Its contents may be mapped by applications and change at any time, so there
/// are no references into it, only copies.
#[derive(Debug)]
pub struct Pages {
    addr: usize,
    order: usize,
}

impl Pages {
    /// At least `count` pages of zeros (rounded up to a power of two); `None` if memory is out.
    pub fn zeroed(count: usize) -> Option<Self> {
        let order = order(count);
        #[cfg(not(test))]
        let addr = take(order);
        #[cfg(test)]
        let addr = tests::take(order);
        if addr == 0 {
            return None;
        }
        if order >= RELEASE_ORDER && crate::platform().is_some() {
            // All but the link were given back to the platform, or never used.
            // SAFETY: the block is ours.
            unsafe { core::ptr::write_bytes(addr as *mut u8, 0, PAGE) };
        } else {
            // SAFETY: the block is ours.
            unsafe { core::ptr::write_bytes(addr as *mut u8, 0, PAGE << order) };
        }
        Some(Pages { addr, order })
    }

    /// Address in the kernel, for [`bastide_pal::MapSource::Kernel`].
    pub fn addr(&self) -> usize {
        self.addr
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        PAGE << self.order
    }

    /// Never: a block has at least a page.
    pub fn is_empty(&self) -> bool {
        false
    }

    fn range(&self, offset: usize, len: usize) -> usize {
        assert!(
            offset.checked_add(len).is_some_and(|e| e <= self.len()),
            "page access out of bounds"
        );
        self.addr + offset
    }

    /// Copies out.
    pub fn read(&self, offset: usize, buf: &mut [u8]) {
        let from = self.range(offset, buf.len());
        // SAFETY: the range is inside the block; raw copy, no reference to shared memory.
        unsafe { core::ptr::copy_nonoverlapping(from as *const u8, buf.as_mut_ptr(), buf.len()) };
    }

    /// Copies in.
    pub fn write(&self, offset: usize, buf: &[u8]) {
        let to = self.range(offset, buf.len());
        // SAFETY: as for `read`.
        unsafe { core::ptr::copy_nonoverlapping(buf.as_ptr(), to as *mut u8, buf.len()) };
    }

    /// Writes zeros.
    pub fn zero(&self, offset: usize, len: usize) {
        let to = self.range(offset, len);
        // SAFETY: as for `read`.
        unsafe { core::ptr::write_bytes(to as *mut u8, 0, len) };
    }

    /// Copies between blocks (or within one, if the ranges do not overlap).
    pub fn copy_from(&self, offset: usize, source: &Pages, from: usize, len: usize) {
        let (to, from) = (self.range(offset, len), source.range(from, len));
        // SAFETY: both ranges are inside their blocks; `copy` allows overlap.
        unsafe { core::ptr::copy(from as *const u8, to as *mut u8, len) };
    }

    /// Copies to user memory.
    pub fn to_user(&self, offset: usize, addr: usize, len: usize) -> Result<(), user::Fault> {
        user::write_raw(addr, self.range(offset, len), len)
    }

    /// Copies from user memory.
    pub fn from_user(&self, offset: usize, addr: usize, len: usize) -> Result<(), user::Fault> {
        user::read_raw(addr, self.range(offset, len), len)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        #[cfg(not(test))]
        // SAFETY: the block is ours and goes.
        unsafe {
            give(self.addr, self.order)
        };
        #[cfg(test)]
        tests::give(self.addr, self.order);
    }
}

/// For unit tests of the crates above: an arena made of ordinary heap memory.
pub fn init_for_tests() {
    let mut a = ARENA.lock();
    if a.next == 0 {
        const SIZE: usize = 256 << 20;
        let layout = core::alloc::Layout::from_size_align(SIZE, 2 << 20).expect("valid layout");
        // SAFETY: the layout has a size; the memory is leaked, so the arena owns it for ever.
        let mem = unsafe { alloc::alloc::alloc_zeroed(layout) } as usize;
        a.next = mem;
        a.end = mem + SIZE;
    }
}

/// What a platform for unit tests does for
/// [`bastide_pal::AddressSpace::release_kernel_pages`].
pub fn wipe_for_tests(addr: usize, len: usize) {
    let a = ARENA.lock();
    assert!(
        addr.checked_add(len).is_some_and(|end| end <= a.next) && addr + (256 << 20) >= a.end,
        "not page memory"
    );
    drop(a);
    // SAFETY: the range is page memory, to which there are no references; the caller gives its
    // contents up.
    unsafe { core::ptr::write_bytes(addr as *mut u8, 0, len) };
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn take(order: usize) -> usize {
        init_for_tests();
        super::take(order)
    }

    pub(super) fn give(addr: usize, order: usize) {
        // SAFETY: called by Drop only.
        unsafe { super::give(addr, order) }
    }

    #[test]
    fn blocks_are_zeroed_and_reused() {
        let p = Pages::zeroed(3).unwrap();
        assert_eq!(p.len(), 4 * PAGE);
        p.write(PAGE, b"hello");
        let mut b = [0; 5];
        p.read(PAGE, &mut b);
        assert_eq!(&b, b"hello");
        drop(p);
        let q = Pages::zeroed(4).unwrap();
        q.read(PAGE, &mut b);
        assert_eq!(b, [0; 5]);
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn access_is_bounded() {
        Pages::zeroed(1).unwrap().read(4090, &mut [0; 10]);
    }
}
