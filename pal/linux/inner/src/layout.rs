//! Where things lie in the enclave's region, and what the two halves share. The outer half uses
//! this module too.

use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};

/// The region's address in every host process.
pub const BASE: usize = 0x2000_0000_0000;
/// Size of the region; memory appears as it is touched.
pub const SIZE: usize = 512 << 30;
/// The image's text and data, for which it is linked (`image.ld`).
pub const IMAGE: usize = BASE;
/// Room for the image.
pub const IMAGE_SIZE: usize = 64 << 20;
/// A large page of the host's.
pub const LARGE: usize = bastide_base::pages::LARGE;
/// The image is only read below, and written from here on (`image.ld`).
pub const DATA: usize = IMAGE + 2 * LARGE;
/// A [`Control`], in the last page of the large one that begins at [`DATA`].
pub const CONTROL: usize = DATA + LARGE - 4096;
/// Where the boot configuration's bytes lie.
pub const BOOT: usize = BASE + IMAGE_SIZE;
/// Room for the boot configuration.
pub const BOOT_SIZE: usize = 64 << 20;
/// Thread slots.
pub const SLOTS: usize = BASE + (1 << 30);
/// Number of slots, the most threads at a time.
pub const SLOT_COUNT: usize = 32768;
/// A slot more, the zygote's: the launcher, which makes it, cannot look for a free one.
pub const ZYGOTE_SLOT: usize = SLOT_COUNT;
/// One thread's memory: alternate stack, kernel stack, [`Block`].
pub const SLOT_SIZE: usize = 128 << 10;
/// The host signal stack, at the slot's start.
pub const ALT_SIZE: usize = 32 << 10;
/// Offset of the [`Block`] in a slot; the kernel stack ends below it.
pub const BLOCK_OFFSET: usize = SLOT_SIZE - 4096;
/// Offset of the register frame at the kernel stack's top.
pub const FRAME_OFFSET: usize = BLOCK_OFFSET - 448;
/// Page memory and heap.
pub const ARENA: usize = BASE + (8 << 30);
/// End of the region.
pub const END: usize = BASE + SIZE;

/// Where the kernel stack of a slot starts.
pub const fn stack(slot: usize) -> usize {
    SLOTS + slot * SLOT_SIZE + FRAME_OFFSET
}

/// What the two halves share. The inner half trusts nothing here but what the outer half is
/// entitled to say.
#[repr(C)]
pub struct Control {
    /// Bumped, and woken if there is a zygote, whenever that has something to look at.
    pub doorbell: AtomicU32,
    /// 1 once the zygote is wanted: most programs end without.
    pub zygote: AtomicU32,
    /// 1 once the first program has ended and `status` is valid, 2 after a kernel panic.
    pub done: AtomicU32,
    /// The first program's `wait(2)` status.
    pub status: AtomicI32,
    /// The first program was stopped by this signal; taken by the outer half.
    pub stopped: AtomicI32,
    /// Signals that the launcher received, bit `n` for signal `n`.
    pub signals: AtomicU64,
    /// The launcher's process id.
    pub launcher: AtomicI32,
    /// Descriptor of the region's memory object.
    pub region_fd: AtomicI32,
    /// Descriptor for diagnostics.
    pub log_fd: AtomicI32,
    /// CPUs online.
    pub cpus: AtomicU32,
    /// 1 if the host itself keeps time by the time-stamp counter.
    pub steady_counter: AtomicU32,
    /// Bytes of the boot configuration that follow at [`BOOT`].
    pub boot_len: AtomicU64,
    /// Total host memory.
    pub memory: AtomicU64,
}

/// The host signal that has the launcher look at [`Control::stopped`] and [`Control::zygote`].
pub const CALL_SIGNAL: i32 = 40;

/// A thread's block, which `%gs` points to while it runs. Offsets are known to the entry code.
#[repr(C)]
pub struct Block {
    /// Its own address.
    pub this: usize,
    /// Address of the register frame.
    pub frame: usize,
    /// The application's stack pointer while the entry code switches stacks.
    pub scratch: usize,
    /// A kick came while the thread was in the kernel.
    pub kicked: AtomicU32,
    /// It is the first thread of a new host process.
    pub new_process: u32,
    /// Where stubs jump to: the kernel's direct entry.
    pub direct_entry: usize,
    /// libos's object for this thread.
    pub token: usize,
    /// Host thread and process ids.
    pub tid: AtomicU32,
    pub tgid: AtomicU32,
    /// A fault on its way into the kernel.
    pub fault_vector: u32,
    pub fault_code: u32,
    pub fault_addr: u64,
    pub fault_bus: u32,
    /// What a new thread is to do first: one of the constants of `thread.rs`.
    pub role: u32,
    /// The thread's sleeping place.
    pub park: *const bastide_pal::Park,
    /// Set the `%fs` base to `fs_base` at start.
    pub set_fs: u32,
    pub fs_base: u64,
    /// When and where it last woke a thread that waits for the same CPU; 0 if that is answered.
    pub handed: AtomicU64,
    /// When and where it last got a permit.
    pub woke: AtomicU64,
}
