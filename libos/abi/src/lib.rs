//! Linux's numbers, flags and structures for x86-64. No logic.
//!
//! Constants come from `linux-raw-sys` (generated from the kernel's own headers); structures that
//! cross to the application are ours, so that they can be turned to and from bytes safely.
#![no_std]
#![forbid(unsafe_code)]

pub mod errno;
pub mod fs;
pub mod ipc;
pub mod net;
pub mod proc;
pub mod signal;
pub mod time;

pub use errno::Errno;
pub use linux_raw_sys as raw;
