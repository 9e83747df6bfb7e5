//! The inner half of the Linux backend: the part of the image that knows the host.
//!
//! The whole enclave is one shared region of memory at a fixed address, mapped by every host
//! process of the enclave ([`layout`]). Each process of the application is a host process, each
//! thread a host thread ([`thread`]). Application code enters through a seccomp trap and leaves by
//! `iretq` ([`entry`], [`trap`]); the kernel leaves through one short stub ([`host`]).
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod awake;
pub mod calls;
mod entry;
mod file;
mod host;
mod large;
pub mod layout;
mod mem;
mod net;
mod park;
mod platform;
mod seccomp;
pub mod start;
mod thread;
mod trap;
mod vector;

/// The backend. It has no state of its own: that is in the shared region.
pub struct LinuxPal;

/// The image's panic handler: says where, and stops the enclave.
pub fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    platform::fatal(&alloc::format!("{info}"))
}
