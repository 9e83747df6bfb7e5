//! The enclave image for Linux: the library OS and the inner PAL in one freestanding program.
#![no_std]
#![no_main]

extern crate alloc;

mod mem;

use bastide_base::heap::Heap;
use bastide_libos::kernel::Upcalls;
use core::panic::PanicInfo;

#[global_allocator]
static HEAP: Heap = Heap;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    bastide_pal_linux::panic(info)
}

/// Where the outer half jumps to, on the stack of the thread slot that it names.
///
/// # Safety
/// Called by the outer half, after it has loaded the image, for the first slot and later for the
/// zygote's.
#[unsafe(no_mangle)]
unsafe extern "C" fn _start(slot: usize) -> ! {
    // SAFETY: this is the image's entry.
    unsafe {
        bastide_pal_linux::start::start(slot, &Upcalls, |pal, config| {
            bastide_libos::kernel::boot(pal, config)
        })
    }
}

// The precompiled `alloc` refers to the unwinder even though panics abort.
core::arch::global_asm!(
    ".globl _Unwind_Resume",
    "_Unwind_Resume: ud2",
    ".globl rust_eh_personality",
    "rust_eh_personality: ud2",
);
