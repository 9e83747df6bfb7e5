//! A Linux kernel as a library. `libos/README.md` is the map.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod background;
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

/// Most CPUs that the kernel believes in, `NR_CPUS` of a usual Linux.
const MAX_CPUS: u32 = 8192;

/// Number of CPUs: at least one, and not more than masks and lists are made for.
pub fn cpus() -> u32 {
    pal().cpus().clamp(1, MAX_CPUS)
}

/// What kernel functions return.
pub type Result<T> = core::result::Result<T, Errno>;
/// What a system call returns: the value for `rax`.
pub type SysResult = Result<usize>;

/// The last error number that a system call may return, `EHWPOISON`.
const LAST_ERRNO: i32 = 133;

/// Turns a host error into the application's: EIO for what is no error number, or one that only
/// the kernel itself uses (a zero would look like success, `ERESTARTSYS` like a signal).
pub fn host_error(e: bastide_pal::Error) -> Errno {
    match e.0 {
        1..=LAST_ERRNO => Errno(e.0),
        _ => Errno::EIO,
    }
}
