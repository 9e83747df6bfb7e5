//! The only crate of the library OS that contains `unsafe`: locks, the heap, page memory, and
//! access to the application's memory. Everything above it forbids `unsafe`.
#![no_std]

extern crate alloc;

pub mod heap;
pub mod pages;
pub mod sync;
pub mod token;
pub mod user;
pub mod vdso;

use bastide_pal::Pal;
use core::sync::atomic::{AtomicBool, Ordering};

static READY: AtomicBool = AtomicBool::new(false);
static mut PAL: Option<&'static dyn Pal> = None;

/// Installs the platform, once, before any other thread exists. Later calls change nothing.
pub fn init(pal: &'static dyn Pal) {
    if READY.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: the flag is still unset, so no reader looks at PAL; start-up is single-threaded.
    unsafe { PAL = Some(pal) };
    let (low, high) = pal.kernel_region();
    user::exclude(low, high);
    READY.store(true, Ordering::Release);
}

/// The platform, if [`init`] has run.
pub fn platform() -> Option<&'static dyn Pal> {
    if !READY.load(Ordering::Acquire) {
        return None;
    }
    // SAFETY: PAL is written once, before READY is set, and never again.
    unsafe { PAL }
}
