//! Threads and processes of the application, as host threads and processes.

use crate::entry::{self, block};
use crate::host::{self, host};
use crate::layout::{self, Block, Control};
use crate::park::{Permit, permit};
use crate::start::{control, upcalls};
use crate::{LinuxPal, large, trap, vector};
use bastide_base::sync::Mutex;
use bastide_pal::{Context, Error, Park, Result, Spawn, Start, ThreadId, Threads};
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};
use linux_raw_sys::general as g;

const EAGAIN: Error = Error(11);

/// Which slots are taken ([`TAKEN`] or [`SPARE`]), kept together so that a search touches little
/// memory; and one past the highest slot ever taken.
static USED: [AtomicU32; layout::SLOT_COUNT] = [const { AtomicU32::new(0) }; layout::SLOT_COUNT];
static TOP: AtomicUsize = AtomicUsize::new(0);

/// A slot's state; a free one's is 0.
const TAKEN: u32 = 1;
/// Its thread waits until it is [`TAKEN`].
const SPARE: u32 = 2;

fn slot_block(i: usize) -> *mut Block {
    (layout::SLOTS + i * layout::SLOT_SIZE + layout::BLOCK_OFFSET) as *mut Block
}

/// A free slot with its block set up; EAGAIN if all are taken.
pub(crate) fn take_slot() -> Result<&'static mut Block> {
    // Low slots first: their memory is warm.
    for (i, used) in USED.iter().enumerate() {
        if used.load(Ordering::Relaxed) != 0
            || used
                .compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            continue;
        }
        TOP.fetch_max(i + 1, Ordering::Relaxed);
        // SAFETY: `used` makes this one ours alone.
        return Ok(unsafe { set_up(i) });
    }
    Err(EAGAIN)
}

/// # Safety
/// Nobody else uses the slot.
unsafe fn set_up(slot: usize) -> &'static mut Block {
    let p = slot_block(slot);
    // SAFETY: slots are mapped memory, and this one is the caller's.
    let b = unsafe { &mut *p };
    b.this = p as usize;
    b.frame = layout::stack(slot);
    b.kicked.store(0, Ordering::Relaxed);
    b.tid.store(0, Ordering::Relaxed);
    b.direct_entry = entry::direct_entry();
    b.token = 0;
    b.role = APPLICATION;
    b.park = core::ptr::null();
    b.set_fs = 0;
    b.new_process = 0;
    b.handed.store(0, Ordering::Relaxed);
    b.woke.store(0, Ordering::Relaxed);
    entry::arm_canary(b);
    b
}

fn slot_index(b: &Block) -> usize {
    (b.this - layout::SLOTS) / layout::SLOT_SIZE
}

fn give_slot(b: &Block) {
    USED[slot_index(b)].store(0, Ordering::Release);
}

/// One while the kernel comes up, on the thread that then becomes the first program's: a process less
/// to make and to fill.
static BOOTING: AtomicU32 = AtomicU32::new(1);
/// Service threads that the zygote is to start.
static SERVICES: AtomicU32 = AtomicU32::new(0);

/// [`Block::role`]: runs the application.
const APPLICATION: u32 = 0;
/// Runs [`bastide_pal::Kernel::service`].
const SERVICE: u32 = 1;

const SHARED: u32 = g::CLONE_VM
    | g::CLONE_FS
    | g::CLONE_FILES
    | g::CLONE_SIGHAND
    | g::CLONE_THREAD
    | g::CLONE_SYSVSEM;
/// A new host process whose parent is the launcher, so that the launcher sees it end.
const PROCESS: u32 = g::CLONE_FS | g::CLONE_FILES | g::CLONE_PARENT | 17;

/// Clones the caller onto a slot.
fn clone(flags: u32, b: &mut Block) -> Result<ThreadId> {
    let new_process = flags & g::CLONE_VM == 0;
    b.new_process = u32::from(new_process);
    let (frame, this) = (b.frame, b.this);
    let group = if new_process {
        0
    } else {
        block().tgid.load(Ordering::Relaxed)
    };
    b.tgid.store(group, Ordering::Relaxed);
    if new_process {
        large::adopt();
    }
    let id = &raw const b.tid as usize;
    // Until the child has its own trap stack no trap may reach it.
    let mask = trap::set_mask(!0);
    // SAFETY: the child runs on the slot's own kernel stack, from its frame down; the host stores
    // its id in the slot's block.
    let r = unsafe {
        host::bastide_host_clone((flags | g::CLONE_PARENT_SETTID) as usize, frame, id, this)
    };
    trap::set_mask(mask);
    if new_process && large::count() {
        LARGE_DUE.store(1, Ordering::Relaxed);
        ring(control());
    }
    match host::check(r) {
        Ok(tid) => Ok(ThreadId(tid as u32)),
        Err(e) => {
            give_slot(b);
            Err(e)
        }
    }
}

/// A new thread's first Rust code, on its own kernel stack with traps held back.
///
/// # Safety
/// The block is this thread's, and of a spare nobody else's until it is [offered](offer).
pub(crate) unsafe extern "C" fn on_start(this: *const Block) {
    // SAFETY: the caller's promise.
    let slot = unsafe {
        begin_thread(&*this);
        slot_index(&*this)
    };
    if is_spare(slot) {
        offer(slot);
    }
    // SAFETY: whoever filled a spare's block is done with it.
    run(unsafe { &*this });
}

fn begin_thread(b: &Block) {
    trap::set_stack(b);
    if b.new_process != 0 {
        // The host stored it before the thread ran.
        b.tgid
            .store(b.tid.load(Ordering::Relaxed), Ordering::Relaxed);
        die_with_launcher();
    }
}

/// Does what the block says.
fn run(b: &'static Block) {
    let tid = b.tid.load(Ordering::Relaxed);
    let tgid = b.tgid.load(Ordering::Relaxed);
    if b.set_fs != 0 {
        LinuxPal.set_fs_base(b.fs_base);
    }
    // SAFETY: null, or the place that Start promises to outlive the thread.
    if let Some(park) = unsafe { b.park.as_ref() } {
        park.thread
            .store((tgid as u64) << 32 | tid as u64, Ordering::Release);
    }
    trap::set_mask(0);
    match b.role {
        SERVICE => upcalls().service(),
        _ => {
            // SAFETY: this thread's frame, not otherwise referenced.
            let ctx = unsafe { entry::frame(b) };
            upcalls().start(b.token, ctx);
        }
    }
}

/// The kernel is up: becomes the first program's thread.
pub(crate) fn begin() -> ! {
    BOOTING.store(0, Ordering::Release);
    crate::park::futex_wake(&BOOTING, 1);
    // SAFETY: this is the thread of its block, whose frame `spawn` has filled.
    unsafe { entry::begin(block()) }
}

/// Makes the host kill this process when the launcher dies.
pub(crate) fn die_with_launcher() {
    // SAFETY: these calls touch no memory.
    unsafe {
        host!(__NR_prctl, 1, 9);
        if host!(__NR_getppid) as i32 != control().launcher.load(Ordering::Relaxed) {
            host!(__NR_exit_group, 0);
        }
    }
}

/// The zygote is asked for [`large::prepare`].
static LARGE_DUE: AtomicU32 = AtomicU32::new(0);

/// A request for a process with an empty address space, which only the zygote can make.
static FRESH: Mutex<()> = Mutex::new(());
static FRESH_BLOCK: AtomicU32 = AtomicU32::new(0);
/// 0 pending, otherwise the answer: a thread id or a negative error.
static FRESH_ANSWER: AtomicI32 = AtomicI32::new(0);
static FRESH_WORD: AtomicU32 = AtomicU32::new(0);

/// The spare: a process with an empty address space that waits for something to run. 0 if there is
/// none, [`COMING`], or its slot plus one.
static SPARE_SLOT: AtomicU32 = AtomicU32::new(0);
const COMING: u32 = u32::MAX;

fn is_spare(slot: usize) -> bool {
    USED[slot].load(Ordering::Acquire) == SPARE
}

/// Makes a spare if there is none; without one, processes are made when they are wanted. Runs in the
/// zygote.
fn make_spare() {
    let none = SPARE_SLOT.compare_exchange(0, COMING, Ordering::Relaxed, Ordering::Relaxed);
    if none.is_err() {
        return;
    }
    let made = take_slot().and_then(|b| {
        USED[slot_index(b)].store(SPARE, Ordering::Relaxed);
        clone(PROCESS, b)
    });
    if made.is_err() {
        SPARE_SLOT.store(0, Ordering::Relaxed);
    }
}

/// The calling thread, with nothing to run, is there for [`take_spare`]. Returns once its block is
/// filled.
fn offer(slot: usize) {
    SPARE_SLOT.store(slot as u32 + 1, Ordering::Release);
    while is_spare(slot) {
        crate::park::futex_wait(&USED[slot], SPARE, None);
    }
}

fn take_spare() -> Option<&'static mut Block> {
    let take = |there| (there != 0 && there != COMING).then_some(0);
    let taken = SPARE_SLOT.fetch_update(Ordering::Acquire, Ordering::Relaxed, take);
    // SAFETY: its thread leaves the block to whoever took it.
    Some(unsafe { &mut *slot_block(taken.ok()? as usize - 1) })
}

/// A spare runs what its block says, and the zygote makes another.
fn start_spare(b: &Block) -> ThreadId {
    let id = ThreadId(b.tid.load(Ordering::Relaxed));
    let state = &USED[slot_index(b)];
    state.store(TAKEN, Ordering::Release);
    crate::park::futex_wake(state, 1);
    ring(control());
    id
}

fn spawn_fresh(b: &mut Block) -> Result<ThreadId> {
    let _one_at_a_time = FRESH.lock();
    let slot = slot_index(b);
    FRESH_ANSWER.store(0, Ordering::Relaxed);
    FRESH_WORD.store(0, Ordering::Relaxed);
    FRESH_BLOCK.store(slot as u32 + 1, Ordering::Release);
    ring(control());
    while FRESH_WORD.load(Ordering::Acquire) == 0 {
        crate::park::futex_wait(&FRESH_WORD, 0, None);
    }
    match FRESH_ANSWER.load(Ordering::Acquire) {
        n if n > 0 => Ok(ThreadId(n as u32)),
        e => Err(Error(-e)),
    }
}

/// Has the zygote look at what there is to do; the launcher makes it if there is none.
pub(crate) fn ring(c: &Control) {
    c.doorbell.fetch_add(1, Ordering::Release);
    match c.zygote.swap(1, Ordering::AcqRel) {
        0 => crate::platform::call_launcher(c),
        _ => crate::park::futex_wake(&c.doorbell, 1),
    }
}

/// Makes a thread of the kernel's own, in the zygote.
fn service_thread() {
    let made = take_slot().and_then(|b| {
        b.role = SERVICE;
        clone(SHARED, b)
    });
    if made.is_err() {
        crate::platform::refuse("the host allows the enclave no more threads");
    }
}

/// The zygote: a host process that has nothing mapped but the kernel. It makes processes with empty
/// address spaces, hears the launcher's signals, and has the kernel's own threads. Most programs
/// need none of that: it is made, by the launcher, when there is something to do.
pub(crate) fn zygote() -> ! {
    let c = control();
    // SAFETY: the slot is the zygote's, and there is only one.
    crate::start::settle(unsafe { set_up(layout::ZYGOTE_SLOT) });
    // A signal of the first moment comes before the kernel is up.
    while BOOTING.load(Ordering::Acquire) != 0 {
        crate::park::futex_wait(&BOOTING, 1, None);
    }
    crate::start::filter();
    // Who needs one process is likely to need more.
    let mut spawns = false;
    loop {
        let seen = c.doorbell.load(Ordering::Acquire);
        if c.done.load(Ordering::Acquire) != 0 {
            crate::platform::end();
        }
        let slot = FRESH_BLOCK.swap(0, Ordering::AcqRel);
        if slot != 0 && (slot as usize) <= layout::SLOT_COUNT {
            // SAFETY: the requester took the slot and waits for the answer.
            let b = unsafe { &mut *slot_block(slot as usize - 1) };
            let answer = match clone(PROCESS, b) {
                Ok(ThreadId(tid)) => tid as i32,
                Err(Error(e)) => -e,
            };
            FRESH_ANSWER.store(answer, Ordering::Release);
            FRESH_WORD.store(1, Ordering::Release);
            crate::park::futex_wake(&FRESH_WORD, 1);
            spawns = true;
        }
        if spawns {
            make_spare();
        }
        for _ in 0..SERVICES.swap(0, Ordering::Relaxed) {
            service_thread();
        }
        let signals = c.signals.swap(0, Ordering::AcqRel);
        for n in 1..64 {
            if signals & (1 << n) != 0 {
                upcalls().host_signal(n);
            }
        }
        if LARGE_DUE.swap(0, Ordering::Relaxed) != 0 {
            large::prepare(large::slots_end(TOP.load(Ordering::Relaxed)));
        }
        crate::park::futex_wait(&c.doorbell, seen, None);
    }
}

impl Threads for LinuxPal {
    fn spawn(&self, how: Spawn, start: Start) -> Result<ThreadId> {
        let becomes = BOOTING.load(Ordering::Relaxed) != 0;
        let spare = || (how == Spawn::Fresh).then(take_spare).flatten();
        let b = match becomes {
            // SAFETY: this thread's own, which nothing refers to.
            true => unsafe { &mut *(block().this as *mut Block) },
            false => spare().map_or_else(take_slot, Ok)?,
        };
        b.token = start.token;
        b.park = start.park;
        start.park.thread.store(0, Ordering::Relaxed);
        // SAFETY: the slot is ours and its thread does not run yet.
        unsafe { *(b.frame as *mut Context) = start.context };
        if let Some(base) = start.fs_base.or((how == Spawn::Fresh).then_some(0)) {
            b.set_fs = 1;
            b.fs_base = base;
        }
        match how {
            _ if becomes => Ok(ThreadId(b.tid.load(Ordering::Relaxed))),
            Spawn::Shared => clone(SHARED, b),
            Spawn::Copy => clone(PROCESS, b),
            Spawn::Fresh if is_spare(slot_index(b)) => Ok(start_spare(b)),
            Spawn::Fresh => spawn_fresh(b),
        }
    }

    fn spawn_service(&self) -> Result<()> {
        SERVICES.fetch_add(1, Ordering::Relaxed);
        ring(control());
        Ok(())
    }

    fn detach(&self, park: &Park) {
        park.thread.store(0, Ordering::Release);
    }

    fn exit(&self) -> ! {
        let b = block();
        entry::check_canary(b);
        trap::set_mask(!0);
        // SAFETY: traps are held back, and the stub uses no stack once the slot is free.
        unsafe { host::bastide_host_exit(&raw const USED[slot_index(b)] as usize) }
    }

    fn kick(&self, _thread: ThreadId, park: &Park) {
        if permit(park) != Permit::Woke {
            send_kick(park.thread.load(Ordering::Acquire));
        }
    }

    fn direct_entry(&self) -> Option<u32> {
        Some(core::mem::offset_of!(Block, direct_entry) as u32)
    }

    fn sync_code(&self) {
        const SYNC_CORE: u32 = 1 << 5;
        const REGISTER_SYNC_CORE: u32 = 1 << 6;
        // SAFETY: touches no memory.
        unsafe {
            if host!(__NR_membarrier, SYNC_CORE, 0, 0) != 0 {
                host!(__NR_membarrier, REGISTER_SYNC_CORE, 0, 0);
                host!(__NR_membarrier, SYNC_CORE, 0, 0);
            }
        }
    }

    fn fs_base(&self) -> u64 {
        let v: u64;
        // SAFETY: reads a register.
        unsafe {
            core::arch::asm!("rdfsbase {}", out(reg) v, options(nomem, nostack, preserves_flags))
        };
        v
    }

    fn set_fs_base(&self, base: u64) {
        // A non-canonical base would fault in the kernel.
        if base < bastide_base::user::USER_END as u64 {
            // SAFETY: the image does not use %fs; the application's is its own business.
            unsafe {
                core::arch::asm!("wrfsbase {}", in(reg) base, options(nomem, nostack, preserves_flags))
            };
        }
    }

    fn vector_size(&self) -> usize {
        vector::size()
    }

    fn vector_save(&self, ctx: &Context, out: &mut [u8]) {
        vector::save(ctx, out);
    }

    fn vector_restore(&self, ctx: &mut Context, state: &[u8]) -> Result<()> {
        vector::restore(ctx, state)
    }

    fn vector_reset(&self, ctx: &mut Context) {
        vector::reset(ctx);
    }

    fn set_nice(&self, thread: ThreadId, nice: i32) -> Result<()> {
        // SAFETY: touches no memory. PRIO_PROCESS of a thread id is that thread.
        host::check(unsafe { host!(__NR_setpriority, 0, thread.0, nice as isize) }).map(|_| ())
    }

    fn set_affinity(&self, thread: ThreadId, mask: &[u64]) -> Result<()> {
        // SAFETY: the host reads the mask.
        host::check(unsafe {
            host!(
                __NR_sched_setaffinity,
                thread.0,
                size_of_val(mask),
                mask.as_ptr()
            )
        })
        .map(|_| ())
    }

    fn own_session(&self) {
        // It fails only where the process leads a session already, its own from its start: nothing is
        // to be done then.
        // SAFETY: touches no memory.
        unsafe { host!(__NR_setsid) };
    }
}

/// Sends the kick signal to a thread (as [`Park::thread`] names it) unless it is the caller.
pub(crate) fn send_kick(thread: u64) {
    let (tgid, tid) = (thread >> 32, thread as u32);
    if tid != 0 && tid != block().tid.load(Ordering::Relaxed) {
        // SAFETY: a signal to a thread of the enclave, which has a handler for it.
        unsafe { host!(__NR_tgkill, tgid, tid, trap::KICK) };
    }
}

/// The host process of a thread of the enclave.
pub(crate) fn group_of(tid: u32) -> Option<u32> {
    (0..TOP.load(Ordering::Relaxed))
        .filter(|&i| USED[i].load(Ordering::Relaxed) == TAKEN)
        .find_map(|i| {
            // SAFETY: a slot in use has been set up; only atomics are read.
            let b = unsafe { &*slot_block(i) };
            (b.tid.load(Ordering::Relaxed) == tid).then(|| match b.tgid.load(Ordering::Relaxed) {
                // A new process's first thread, which has not run yet.
                0 => tid,
                tgid => tgid,
            })
        })
}
