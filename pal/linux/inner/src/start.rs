//! The image's first steps.

use crate::host::host;
use crate::layout::{self, Block, Control};
use crate::{LinuxPal, seccomp, thread, trap};
use bastide_base::sync::Once;
use bastide_pal::{AddressSpace, BootConfig, Kernel};
use core::ops::Range;
use core::sync::atomic::Ordering;

static UPCALLS: Once<&'static dyn Kernel> = Once::new();

/// The library OS.
pub(crate) fn upcalls() -> &'static dyn Kernel {
    match UPCALLS.get() {
        Some(k) => *k,
        None => crate::platform::fatal("a trap before the kernel was up"),
    }
}

/// What the two halves share.
pub(crate) fn control() -> &'static Control {
    // SAFETY: the outer half maps and fills the control block before the image starts; its fields
    // are atomics.
    unsafe { &*(layout::CONTROL as *const Control) }
}

unsafe extern "C" {
    static __executable_start: u8;
    static etext: u8;
}

/// The image's text.
pub(crate) fn text_range() -> Range<usize> {
    &raw const __executable_start as usize..&raw const etext as usize
}

/// The boot configuration's bytes.
fn boot_bytes() -> &'static [u8] {
    let len = control().boot_len.load(Ordering::Relaxed) as usize;
    let len = len.min(layout::BOOT_SIZE);
    // SAFETY: mapped by the outer half, which does not touch it once the image runs.
    unsafe { core::slice::from_raw_parts(layout::BOOT as *const u8, len) }
}

/// Makes the calling host process, which the outer half has made, one of the enclave's. The block is
/// the calling thread's.
pub(crate) fn settle(b: &'static Block) {
    // This thread needs a block before anything can trap.
    // SAFETY: `b` is this thread's block from now on.
    unsafe { core::arch::asm!("wrgsbase {}", in(reg) b.this, options(nostack, preserves_flags)) };
    // Its own session: the terminal's signals go to the launcher alone.
    // SAFETY: these calls touch no memory.
    let pid = unsafe {
        host!(__NR_setsid);
        host!(__NR_getpid)
    };
    b.tid.store(pid as u32, Ordering::Relaxed);
    b.tgid.store(pid as u32, Ordering::Relaxed);
    trap::set_stack(b);
    trap::install();
    trap::set_mask(0);
    thread::die_with_launcher();
    if LinuxPal.clear().is_err() {
        crate::platform::refuse("the host does not let the enclave unmap the launcher's memory");
    }
}

/// From now on the calling process, and what it makes, reaches the host by the stubs alone.
pub(crate) fn filter() {
    if !seccomp::install() {
        crate::platform::refuse(
            "the host refuses the seccomp filter; without it system calls would reach the host \
             (is seccomp compiled in, and not forbidden by a container profile?)",
        );
    }
}

/// Brings the kernel up and becomes the first program, which `boot` starts; the error it returns is
/// told to the user. On its slot, becomes the zygote.
///
/// # Safety
/// Called by the image's entry, in a process that the outer half made, on the stack of `slot`: the
/// first, once, or the zygote's, once.
pub unsafe fn start(
    slot: usize,
    kernel: &'static dyn Kernel,
    boot: impl FnOnce(&'static LinuxPal, BootConfig) -> core::result::Result<(), i32>,
) -> ! {
    static PAL: LinuxPal = LinuxPal;
    if slot == layout::ZYGOTE_SLOT {
        thread::zygote();
    }
    // SAFETY: the arena is part of the region, zeroed, and nothing uses it yet.
    unsafe { bastide_base::pages::init(layout::ARENA, layout::END) };
    UPCALLS.get_or_init(|| kernel);
    let Ok(b) = thread::take_slot() else {
        crate::platform::fatal("no thread slot")
    };
    settle(b);
    filter();
    let Some(config) = BootConfig::decode(boot_bytes()) else {
        crate::platform::fatal("the boot configuration is malformed");
    };
    match boot(&PAL, config) {
        Ok(()) => thread::begin(),
        Err(status) => bastide_pal::Platform::shutdown(&PAL, status),
    }
}
