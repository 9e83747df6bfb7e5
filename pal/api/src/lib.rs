//! The PAL ABI: what the library OS may ask of the platform, and how the platform calls the
//! library OS.
//!
//! [`Pal`] is the only way out of the enclave. A backend implements it; libos uses it through
//! `&'static dyn Pal` and never learns which backend it is. [`Kernel`] is the way in: the backend
//! calls it when the application traps.
//!
//! Every value that a [`Pal`] method returns came from an untrusted host. Backends check what can
//! be checked without knowing the caller (a length is at most what was asked for, an error number
//! is one); libos checks the rest.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod boot;
pub mod context;
pub mod file;
pub mod mem;
pub mod net;
pub mod park;
pub mod thread;

pub use boot::BootConfig;
pub use context::{Context, Fault};
pub use file::{HostFd, HostFiles, HostStat, IoVec};
pub use mem::{AddressSpace, MapSource, Prot};
pub use net::HostSockets;
pub use park::{Bet, HostEvent, HostPoll, Park, ParkState};
pub use thread::{Kernel, Spawn, Start, ThreadId, Threads};

/// A host error: a Linux error number, 1..=4095.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error(pub i32);

/// The result of a host call.
pub type Result<T> = core::result::Result<T, Error>;

/// Clocks a platform offers, in nanoseconds; `clock_gettime(2)` says what each means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// Wall time since 1970.
    Realtime,
    /// Time since an arbitrary start; never goes back.
    Monotonic,
    /// As `Monotonic`, and runs during suspend.
    Boottime,
    /// CPU time of the calling thread.
    ThreadCpu,
    /// CPU time of the calling thread's address space's threads.
    ProcessCpu,
}

/// Time, entropy, and what is known of the machine.
pub trait Platform {
    /// The clock's value in nanoseconds.
    fn now(&self, clock: Clock) -> u64;
    /// Whether the processor's time-stamp counter runs at one rate, also while the processor sleeps,
    /// and reads alike on all CPUs, so that clocks may be computed from it.
    fn counter_is_steady(&self) -> bool;
    /// CPU time (user, system) in nanoseconds of another thread, 0 if it is gone.
    fn thread_cpu(&self, thread: ThreadId) -> (u64, u64);
    /// CPU time (user, system) in nanoseconds of all threads, gone ones too, of the address space
    /// that `thread` runs in; 0 if it is gone.
    fn space_cpu(&self, thread: ThreadId) -> (u64, u64);
    /// CPU time in nanoseconds, user and system together, of another thread: as exact as
    /// [`Clock::ThreadCpu`] within an address space. 0 if it is gone.
    fn thread_time(&self, thread: ThreadId) -> u64;
    /// The same of all threads, gone ones too, of the address space that `thread` runs in.
    fn space_time(&self, thread: ThreadId) -> u64;
    /// The most memory in bytes that the calling thread's address space has had at a time, as far
    /// as the platform knows; some of the kernel's may be counted.
    fn space_peak(&self) -> u64;
    /// Fills `buf` with random bytes fit for keys.
    fn random(&self, buf: &mut [u8]);
    /// Number of the CPU the caller runs on.
    fn cpu(&self) -> u32;
    /// Number of CPUs online.
    fn cpus(&self) -> u32;
    /// Host memory (total, free) in bytes.
    fn memory(&self) -> (u64, u64);
    /// Writes a diagnostic line where a person will see it.
    fn log(&self, line: &[u8]);
    /// Gives up the CPU once (`sched_yield(2)`).
    fn yield_now(&self);
    /// Tells the outer half that the first program was stopped by a job-control signal.
    fn stopped(&self, signal: i32);
    /// Ends the enclave, every thread of it, with a wait status as of `wait(2)`.
    fn shutdown(&self, wait_status: i32) -> !;
}

/// The whole platform.
pub trait Pal:
    Platform + park::Parking + AddressSpace + Threads + HostFiles + HostSockets + Send + Sync
{
}

impl<T> Pal for T where
    T: Platform + park::Parking + AddressSpace + Threads + HostFiles + HostSockets + Send + Sync
{
}
