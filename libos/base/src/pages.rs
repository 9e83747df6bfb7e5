//! Page memory: what the page cache and shared memory are made of, and what the heap grows from.
//!
//! Blocks are powers of two of pages, taken from one arena. A free block keeps its list link in
//! its own first page; the memory behind the rest of a large free block goes back to the platform.
//!
//! Small blocks lie side by side, so that the large page around the first of them is soon used all over:
//! the platform is told then.

use crate::sync::Mutex;
use crate::user;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a page.
pub const PAGE: usize = 4096;
const ORDERS: usize = 27;
/// Free blocks of at least this order give their memory back.
const RELEASE_ORDER: usize = 4;
/// A large page, which a platform may bring in as a whole.
pub const LARGE: usize = PAGE << LARGE_ORDER;
const LARGE_ORDER: usize = 9;
/// So much of the arena is brought in page by page: small programs do not use more.
const SMALL: usize = LARGE;

struct Arena {
    next: usize,
    end: usize,
    free: [usize; ORDERS],
    /// The large pages below need not be announced to the platform any more.
    announced: usize,
}

static ARENA: Mutex<Arena> = Mutex::new(Arena::new(0, 0));
static USED: AtomicUsize = AtomicUsize::new(0);
static IDLE: AtomicUsize = AtomicUsize::new(0);

impl Arena {
    const fn new(start: usize, end: usize) -> Arena {
        Arena {
            next: start,
            end,
            free: [0; ORDERS],
            announced: (start + SMALL).next_multiple_of(LARGE),
        }
    }

    fn push(&mut self, addr: usize, order: usize) {
        // SAFETY: the block is the arena's, and nothing refers to it.
        unsafe { *(addr as *mut usize) = self.free[order] };
        self.free[order] = addr;
        IDLE.fetch_add(PAGE << order, Ordering::Relaxed);
    }

    fn pop(&mut self, order: usize) -> Option<usize> {
        let addr = self.free[order];
        if addr == 0 {
            return None;
        }
        // SAFETY: a block on the free list belongs to the arena and begins with its link.
        self.free[order] = unsafe { *(addr as *const usize) };
        IDLE.fetch_sub(PAGE << order, Ordering::Relaxed);
        Some(addr)
    }

    /// A block, and the large page around it if it is the first of its smaller blocks.
    fn take(&mut self, order: usize) -> Option<(usize, Option<usize>)> {
        let free = (order..ORDERS).find(|&o| self.free[o] != 0);
        let addr = match free {
            Some(from) => self.split(from, order)?,
            None => self.extend(order)?,
        };
        let large = addr & !(LARGE - 1);
        let is_first = free.is_some_and(|from| from >= LARGE_ORDER) || large >= self.announced;
        if order >= LARGE_ORDER || !is_first {
            return Some((addr, None));
        }
        self.announced = self.announced.max(large + LARGE);
        Some((addr, Some(large)))
    }

    /// A block of an order from a free one of another.
    fn split(&mut self, from: usize, order: usize) -> Option<usize> {
        let addr = self.pop(from)?;
        for half in (order..from).rev() {
            self.push(addr + (PAGE << half), half);
        }
        Some(addr)
    }

    /// A block from what was never used.
    fn extend(&mut self, order: usize) -> Option<usize> {
        let size = PAGE << order;
        // Aligned to their size up to large pages.
        let addr = self.next.next_multiple_of(size.min(LARGE));
        if self.next == 0 || addr.checked_add(size).is_none_or(|end| end > self.end) {
            return None;
        }
        while self.next < addr {
            let gap = (self.next / PAGE).trailing_zeros() as usize;
            self.push(self.next, gap);
            self.next += PAGE << gap;
        }
        self.next += size;
        Some(addr)
    }
}

/// Gives the arena its memory, once, before any allocation.
///
/// # Safety
/// `start..end` is page-aligned, zeroed, writable memory that nothing else uses, ever.
pub unsafe fn init(start: usize, end: usize) {
    let mut a = ARENA.lock();
    *a = Arena::new(start, end);
}

/// Bytes in free blocks, their memory given back or not.
pub fn idle() -> usize {
    IDLE.load(Ordering::Relaxed)
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
    let taken = ARENA.lock().take(order);
    let Some((addr, divided)) = taken else {
        return 0;
    };
    USED.fetch_add(PAGE << order, Ordering::Relaxed);
    if let Some(large) = divided
        && let Some(pal) = crate::platform()
    {
        pal.expect_kernel_pages(large, LARGE);
    }
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
    ARENA.lock().push(addr, order);
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
        let layout = core::alloc::Layout::from_size_align(SIZE, LARGE).expect("valid layout");
        // SAFETY: the layout has a size; the memory is leaked, so the arena owns it for ever.
        let mem = unsafe { alloc::alloc::alloc_zeroed(layout) } as usize;
        *a = Arena::new(mem, mem + SIZE);
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
    fn large_pages_are_announced_when_small_blocks_begin_in_them() {
        let layout = core::alloc::Layout::from_size_align(4 * LARGE, LARGE).unwrap();
        // SAFETY: the layout has a size; the memory is leaked.
        let start = unsafe { alloc::alloc::alloc_zeroed(layout) } as usize;
        let mut a = Arena::new(start, start + 4 * LARGE);
        assert_eq!(a.take(0), Some((start, None)));
        // What is left before an aligned block is used afterwards.
        assert_eq!(a.take(LARGE_ORDER), Some((start + LARGE, None)));
        assert_eq!(a.take(0), Some((start + PAGE, None)));
        for order in 1..LARGE_ORDER {
            assert_eq!(a.take(order), Some((start + (PAGE << order), None)));
        }
        let next = start + 2 * LARGE;
        assert_eq!(a.take(3), Some((next, Some(next))));
        assert_eq!(a.take(3), Some((next + 8 * PAGE, None)));
        // One that was used as a whole.
        a.push(start + LARGE, LARGE_ORDER);
        assert_eq!(a.take(8), Some((start + LARGE, Some(start + LARGE))));
        assert_eq!(a.take(9), Some((start + 3 * LARGE, None)));
        assert_eq!(a.take(9), None);
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn access_is_bounded() {
        Pages::zeroed(1).unwrap().read(4090, &mut [0; 10]);
    }
}
