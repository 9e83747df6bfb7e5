//! Threads, and the way from the application into the kernel.

use crate::{Context, Fault, Result};

/// A platform thread, unique while it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct ThreadId(pub u32);

/// In which address space a new thread runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spawn {
    /// The caller's own.
    Shared,
    /// A copy of the caller's, as by `fork(2)`.
    Copy,
    /// A new, empty one.
    Fresh,
}

/// What a new thread begins with.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Handed to every [`Kernel`] call that the thread makes.
    pub token: usize,
    /// Its registers.
    pub context: Context,
    /// Its thread pointer (`%fs` base); `None` keeps the caller's (zero for [`Spawn::Fresh`]).
    pub fs_base: Option<u64>,
    /// Its sleeping place; must outlive the thread.
    pub park: &'static crate::Park,
}

/// Threads of the application.
pub trait Threads {
    /// Makes a thread that first calls [`Kernel::start`] and then runs the application.
    fn spawn(&self, how: Spawn, start: Start) -> Result<ThreadId>;
    /// Makes a thread that only runs [`Kernel::service`], apart from the application's address
    /// spaces; it may begin later.
    fn spawn_service(&self) -> Result<()>;
    /// No [`Threads::kick`] reaches the calling thread through `park` any more; the place may then
    /// be given to another thread or go away.
    fn detach(&self, park: &crate::Park);
    /// Ends the calling thread, whose place was detached; its address space goes with its last thread. The token is not
    /// used again.
    fn exit(&self) -> !;
    /// Makes `thread` enter the kernel soon ([`Kernel::interrupt`]) if it runs application code,
    /// and ends its [`crate::park::Parking::park`].
    fn kick(&self, thread: ThreadId, park: &crate::Park);
    /// The displacement `d` such that `jmp *%gs:d`, in code of the application, is a system call:
    /// `rcx` holds the address to return to, the rest is as for the `syscall` instruction. `None`
    /// if system calls enter only by traps.
    fn direct_entry(&self) -> Option<u32>;
    /// Makes every thread of the address space execute code as it is in memory now.
    fn sync_code(&self);
    /// The calling thread's `%fs` base.
    fn fs_base(&self) -> u64;
    /// Sets the calling thread's `%fs` base, a canonical user address.
    fn set_fs_base(&self, base: u64);
    /// Bytes of the full vector state as `xsave` lays it out.
    fn vector_size(&self) -> usize;
    /// Writes the application's full vector state (legacy region, xsave header, extensions) to
    /// `out`, [`Threads::vector_size`] bytes.
    fn vector_save(&self, ctx: &Context, out: &mut [u8]);
    /// Makes `state` the application's vector state; refuses a malformed one with EINVAL.
    fn vector_restore(&self, ctx: &mut Context, state: &[u8]) -> Result<()>;
    /// Puts the vector state to what a new program starts with.
    fn vector_reset(&self, ctx: &mut Context);
    /// Sets a thread's nice value, -20..=19.
    fn set_nice(&self, thread: ThreadId, nice: i32) -> Result<()>;
    /// Restricts the calling thread to these CPUs (bit mask).
    fn set_affinity(&self, thread: ThreadId, mask: &[u64]) -> Result<()>;
    /// The calling thread's address space begins a session (`setsid(2)`), to which the copies made
    /// of it from now on belong too. A hint: a platform that divides the processors' time by session
    /// does so as the application expects.
    fn own_session(&self) {}
}

/// The library OS as a platform sees it.
pub trait Kernel: Sync {
    /// The application executed `syscall`; the number is in `ctx.orig_rax`, the result goes to
    /// `ctx.rax`.
    fn syscall(&self, token: usize, ctx: &mut Context);
    /// The processor refused an instruction of the application.
    fn fault(&self, token: usize, ctx: &mut Context, fault: Fault);
    /// The application was interrupted, or something asked for attention just before it
    /// continued.
    fn interrupt(&self, token: usize, ctx: &mut Context);
    /// A new thread's first step.
    fn start(&self, token: usize, ctx: &mut Context);
    /// A thread of the kernel's own. Never returns.
    fn service(&self) -> !;
    /// Monotonic time in nanoseconds, as the platform tells it; the kernel seldom has to ask.
    fn monotonic(&self) -> u64;
    /// The person at the terminal or the host's init sent the launcher this signal.
    fn host_signal(&self, signal: i32);
}
