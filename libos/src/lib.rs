//! A Linux kernel as a library. `libos/README.md` is the map.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod event;
pub mod fs;
pub mod ipc;
pub mod kernel;
pub mod loader;
mod logger;
pub mod mm;
pub mod net;
pub mod process;
pub mod signal;
pub mod syscall;
pub mod sysctl;
pub mod time;
pub mod uio;
pub mod user;
pub mod wait;

#[cfg(test)]
mod testing;

pub use bastide_abi::{self as abi, Errno};
pub use kernel::{kernel, pal};
pub use process::{Process, Task};

/// What kernel functions return.
pub type Result<T> = core::result::Result<T, Errno>;
/// What a system call returns: the value for `rax`.
pub type SysResult = Result<usize>;

/// Turns a host error into the application's.
pub fn host_error(e: bastide_pal::Error) -> Errno {
    Errno(e.0)
}
