//! The memory functions that compiled code calls. Most of what they move is short: that goes in
//! pieces of 16 bytes, as `rep` takes longer to start. The pieces are moved by assembly, which the
//! compiler cannot take for a call to the very function.

use core::arch::asm;
use core::arch::x86_64::__m128i;

/// From here on `rep movsb`, which is fast for long runs on every processor with ERMS.
const LONG: usize = 512;

unsafe fn load(p: *const u8) -> __m128i {
    let v;
    // SAFETY: the caller's 16 bytes.
    unsafe {
        asm!("movups {}, [{}]", out(xmm_reg) v, in(reg) p,
             options(nostack, preserves_flags, readonly));
    }
    v
}

unsafe fn store(p: *mut u8, v: __m128i) {
    // SAFETY: the caller's 16 bytes.
    unsafe {
        asm!("movups [{}], {}", in(reg) p, in(xmm_reg) v, options(nostack, preserves_flags));
    }
}

/// Up to 32 bytes, which may overlap: everything is read before anything is written.
unsafe fn short(dst: *mut u8, src: *const u8, n: usize) {
    // SAFETY: all accesses are within the caller's `n` bytes; unaligned words as arrays of bytes.
    unsafe {
        if n >= 16 {
            let (first, last) = (load(src), load(src.add(n - 16)));
            store(dst, first);
            store(dst.add(n - 16), last);
        } else if n >= 8 {
            let first = (src as *const [u8; 8]).read_volatile();
            let last = (src.add(n - 8) as *const [u8; 8]).read_volatile();
            (dst as *mut [u8; 8]).write_volatile(first);
            (dst.add(n - 8) as *mut [u8; 8]).write_volatile(last);
        } else if n >= 4 {
            let first = (src as *const [u8; 4]).read_volatile();
            let last = (src.add(n - 4) as *const [u8; 4]).read_volatile();
            (dst as *mut [u8; 4]).write_volatile(first);
            (dst.add(n - 4) as *mut [u8; 4]).write_volatile(last);
        } else if n > 0 {
            let (first, middle, last) = (
                src.read_volatile(),
                src.add(n / 2).read_volatile(),
                src.add(n - 1).read_volatile(),
            );
            dst.write_volatile(first);
            dst.add(n / 2).write_volatile(middle);
            dst.add(n - 1).write_volatile(last);
        }
    }
}

/// More than 16 bytes, from the first to the last: the target may overlap if it lies lower.
unsafe fn upwards(dst: *mut u8, src: *const u8, n: usize) {
    // SAFETY: all accesses are within the caller's `n` bytes.
    unsafe {
        let last = load(src.add(n - 16));
        let mut i = 0;
        while i < n - 16 {
            store(dst.add(i), load(src.add(i)));
            i += 16;
        }
        store(dst.add(n - 16), last);
    }
}

/// More than 16 bytes, from the last to the first: the target may overlap if it lies higher.
unsafe fn downwards(dst: *mut u8, src: *const u8, n: usize) {
    // SAFETY: all accesses are within the caller's `n` bytes.
    unsafe {
        let first = load(src);
        let mut i = n;
        while i > 16 {
            i -= 16;
            store(dst.add(i), load(src.add(i)));
        }
        store(dst, first);
    }
}

/// # Safety
/// As C's `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(dst: *mut u8, src: *const u8, n: usize) -> *mut u8 {
    // SAFETY: the caller's contract; the direction flag is clear in the kernel.
    unsafe {
        if n <= 32 {
            short(dst, src, n);
        } else if n < LONG {
            upwards(dst, src, n);
        } else {
            asm!("rep movsb", inout("rcx") n => _, inout("rdi") dst => _, inout("rsi") src => _,
                 options(nostack, preserves_flags));
        }
    }
    dst
}

/// # Safety
/// As C's `memmove`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(dst: *mut u8, src: *const u8, n: usize) -> *mut u8 {
    // SAFETY: the caller's contract.
    unsafe {
        if n <= 32 {
            short(dst, src, n);
        } else if (dst as usize).wrapping_sub(src as usize) >= n {
            // The destination does not start within the source.
            memcpy(dst, src, n);
        } else {
            downwards(dst, src, n);
        }
    }
    dst
}

/// # Safety
/// As C's `memset`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(dst: *mut u8, byte: i32, n: usize) -> *mut u8 {
    // SAFETY: the caller's contract.
    unsafe {
        asm!("rep stosb", inout("rcx") n => _, inout("rdi") dst => _, in("al") byte as u8,
             options(nostack, preserves_flags));
    }
    dst
}

/// # Safety
/// As C's `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    let mut i = 0;
    // SAFETY: the caller's contract; volatile as in `memcpy`.
    unsafe {
        while i < n {
            let (x, y) = (a.add(i).read_volatile(), b.add(i).read_volatile());
            if x != y {
                return i32::from(x) - i32::from(y);
            }
            i += 1;
        }
    }
    0
}

/// # Safety
/// As C's `bcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: the caller's contract.
    unsafe { memcmp(a, b, n) }
}

/// # Safety
/// As C's `strlen`.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(s: *const u8) -> usize {
    let mut n = 0;
    // SAFETY: the caller's contract; volatile as in `memcpy`.
    while unsafe { s.add(n).read_volatile() } != 0 {
        n += 1;
    }
    n
}
