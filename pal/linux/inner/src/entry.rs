//! Between the application and the kernel.
//!
//! A trap handler ([`crate::trap`]) stores the application's general registers in the frame at the
//! kernel stack's top and continues here, on the kernel stack, with the vector registers still
//! the application's. The way back restores everything with `iretq`, which touches neither the
//! application's stack nor any register.
//!
//! The kernel must not return to the application while a kick is unseen. The handler of a kick
//! that finds the thread in the kernel sets `kicked`; the exit tests it. A kick that arrives after
//! the test, between `bastide_exit_window` and its end, sends the thread back to the test: the
//! frame is still whole.

use crate::layout::{Block, FRAME_OFFSET, SLOT_SIZE};
use crate::start::upcalls;
use bastide_pal::{Context, Fault};

macro_rules! xmm {
    ($op:literal, store) => {
        concat!(
            "movaps [rsp + 0x00], xmm0\n",
            "movaps [rsp + 0x10], xmm1\n",
            "movaps [rsp + 0x20], xmm2\n",
            "movaps [rsp + 0x30], xmm3\n",
            "movaps [rsp + 0x40], xmm4\n",
            "movaps [rsp + 0x50], xmm5\n",
            "movaps [rsp + 0x60], xmm6\n",
            "movaps [rsp + 0x70], xmm7\n",
            "movaps [rsp + 0x80], xmm8\n",
            "movaps [rsp + 0x90], xmm9\n",
            "movaps [rsp + 0xa0], xmm10\n",
            "movaps [rsp + 0xb0], xmm11\n",
            "movaps [rsp + 0xc0], xmm12\n",
            "movaps [rsp + 0xd0], xmm13\n",
            "movaps [rsp + 0xe0], xmm14\n",
            "movaps [rsp + 0xf0], xmm15\n",
            $op
        )
    };
    ($op:literal, load) => {
        concat!(
            "movaps xmm0, [rsp + 0x00]\n",
            "movaps xmm1, [rsp + 0x10]\n",
            "movaps xmm2, [rsp + 0x20]\n",
            "movaps xmm3, [rsp + 0x30]\n",
            "movaps xmm4, [rsp + 0x40]\n",
            "movaps xmm5, [rsp + 0x50]\n",
            "movaps xmm6, [rsp + 0x60]\n",
            "movaps xmm7, [rsp + 0x70]\n",
            "movaps xmm8, [rsp + 0x80]\n",
            "movaps xmm9, [rsp + 0x90]\n",
            "movaps xmm10, [rsp + 0xa0]\n",
            "movaps xmm11, [rsp + 0xb0]\n",
            "movaps xmm12, [rsp + 0xc0]\n",
            "movaps xmm13, [rsp + 0xd0]\n",
            "movaps xmm14, [rsp + 0xe0]\n",
            "movaps xmm15, [rsp + 0xf0]\n",
            $op
        )
    };
}

core::arch::global_asm!(
    ".pushsection .text.bastide_entry,\"ax\",@progbits",
    ".balign 64",
    ".globl bastide_enter_syscall",
    "bastide_enter_syscall:",
    xmm!("", store),
    "mov rdi, gs:[0]",
    "call {syscall}",
    "jmp bastide_exit_window",
    // From a stub in the application: rcx is where to return, rax the number. The window between
    // here and the stack switch is kernel text, so a kick only sets its flag.
    ".globl bastide_enter_direct",
    "bastide_enter_direct:",
    "mov gs:[16], rsp",
    "mov rsp, gs:[8]",
    "mov [rsp + 256], r15",
    "mov [rsp + 264], r14",
    "mov [rsp + 272], r13",
    "mov [rsp + 280], r12",
    "mov [rsp + 288], rbp",
    "mov [rsp + 296], rbx",
    "mov [rsp + 312], r10",
    "mov [rsp + 320], r9",
    "mov [rsp + 328], r8",
    "mov [rsp + 336], rax",
    "mov [rsp + 344], rcx",
    "mov [rsp + 352], rdx",
    "mov [rsp + 360], rsi",
    "mov [rsp + 368], rdi",
    "mov [rsp + 376], rax",
    "mov [rsp + 384], rcx",
    "pushfq",
    "pop r11",
    "mov [rsp + 304], r11",
    "mov [rsp + 400], r11",
    "mov r11, gs:[16]",
    "mov [rsp + 408], r11",
    "mov qword ptr [rsp + 424], 0",
    "cld",
    "mov word ptr [rsp + 392], cs",
    "mov word ptr [rsp + 416], ss",
    xmm!("", store),
    "mov rdi, gs:[0]",
    "call {syscall}",
    "jmp bastide_exit_window",
    ".globl bastide_enter_fault",
    "bastide_enter_fault:",
    xmm!("", store),
    "mov rdi, gs:[0]",
    "call {fault}",
    "jmp bastide_exit_window",
    ".globl bastide_enter_interrupt",
    "bastide_enter_interrupt:",
    xmm!("", store),
    "bastide_exit_again:",
    "mov dword ptr gs:[24], 0",
    "mov rdi, gs:[0]",
    "call {interrupt}",
    "bastide_exit_window:",
    "cmp dword ptr gs:[24], 0",
    "jne bastide_exit_again",
    xmm!("", load),
    "mov r15, [rsp + 256]",
    "mov r14, [rsp + 264]",
    "mov r13, [rsp + 272]",
    "mov r12, [rsp + 280]",
    "mov rbp, [rsp + 288]",
    "mov rbx, [rsp + 296]",
    "mov r10, [rsp + 312]",
    "mov r9, [rsp + 320]",
    "mov r8, [rsp + 328]",
    "mov rcx, [rsp + 344]",
    "mov rsi, [rsp + 360]",
    "mov rdi, [rsp + 368]",
    // A plain system call returns with rcx and r11 clobbered, as by `sysret`. Anything else (a
    // handler to run, a restored frame), and flags that act at once, take the slow way.
    "cmp qword ptr [rsp + 376], -1",
    "je bastide_exit_slow",
    "mov r11, [rsp + 400]",
    "test r11d, 0x54500", // AC, NT, DF, TF
    "jnz bastide_exit_slow",
    "mov rcx, [rsp + 384]",
    // The arithmetic flags are left, faster so than by `popfq`: overflow by an addition that has it
    // or not, the others by `sahf`.
    "mov eax, r11d",
    "shr eax, 8",
    "and al, 8",
    "add al, 0x78",
    "mov ah, byte ptr [rsp + 400]",
    "sahf",
    "mov rax, [rsp + 336]",
    "mov rdx, [rsp + 352]",
    "mov rsp, [rsp + 408]",
    "jmp rcx",
    "bastide_exit_slow:",
    "mov r11, [rsp + 304]",
    "mov rax, [rsp + 336]",
    "mov rdx, [rsp + 352]",
    "lea rsp, [rsp + 384]",
    "iretq",
    "bastide_exit_window_end:",
    // A new thread: rbx is its block, rsp its frame.
    ".globl bastide_thread_start",
    "bastide_thread_start:",
    "wrgsbase rbx",
    "xor ebp, ebp",
    "mov rdi, rbx",
    "call {start}",
    "jmp bastide_exit_window",
    ".popsection",
    syscall = sym on_syscall,
    fault = sym on_fault,
    interrupt = sym on_interrupt,
    start = sym crate::thread::on_start,
);

unsafe extern "C" {
    fn bastide_thread_start() -> !;
    static bastide_enter_direct: u8;
    pub(crate) static bastide_enter_syscall: u8;
    pub(crate) static bastide_enter_fault: u8;
    pub(crate) static bastide_enter_interrupt: u8;
    static bastide_exit_window: u8;
    static bastide_exit_window_end: u8;
    static bastide_exit_again: u8;
}

/// Where stubs in the application jump to.
pub(crate) fn direct_entry() -> usize {
    &raw const bastide_enter_direct as usize
}

/// If `rip` is on the last steps to the application, where it must go to look again.
pub(crate) fn exit_again(rip: usize) -> Option<usize> {
    let window =
        &raw const bastide_exit_window as usize..&raw const bastide_exit_window_end as usize;
    window
        .contains(&rip)
        .then_some(&raw const bastide_exit_again as usize)
}

/// The calling thread's block.
pub(crate) fn block() -> &'static Block {
    let p: *const Block;
    // SAFETY: in the kernel `%gs` points to the thread's block, whose first word is its address.
    unsafe {
        core::arch::asm!("mov {}, gs:[0]", out(reg) p, options(nostack, readonly, preserves_flags))
    };
    // SAFETY: the block lives as long as the thread runs on its slot.
    unsafe { &*p }
}

/// The register frame of a block.
///
/// # Safety
/// The caller is the block's thread, in the kernel, and holds no other reference to the frame.
pub(crate) unsafe fn frame(block: &Block) -> &'static mut Context {
    // SAFETY: the frame lies at the top of the thread's own stack and only it uses it.
    unsafe { &mut *(block.frame as *mut Context) }
}

/// Starts the calling thread anew, as one that was made with this block.
///
/// # Safety
/// The block is the thread's own, its frame is filled, and nothing on the thread's stack is needed
/// any more.
pub(crate) unsafe fn begin(block: &Block) -> ! {
    // SAFETY: a new thread finds its registers so; the caller vouches for the rest.
    unsafe {
        core::arch::asm!(
            "mov rbx, rdi",
            "mov rsp, rsi",
            "jmp {}",
            sym bastide_thread_start,
            in("rdi") block.this,
            in("rsi") block.frame,
            options(noreturn),
        )
    }
}

const CANARY: u64 = 0x6261_7374_6964_6521;

fn stack_bottom(block: &Block) -> *mut u64 {
    let slot = block.frame - FRAME_OFFSET;
    debug_assert!(slot.is_multiple_of(SLOT_SIZE));
    (slot + crate::layout::ALT_SIZE) as *mut u64
}

pub(crate) fn arm_canary(block: &Block) {
    // SAFETY: the lowest word of the slot's kernel stack, which is not in use yet.
    unsafe { stack_bottom(block).write_volatile(CANARY) };
}

/// Ends the enclave if the thread has used more than its kernel stack. Seen when it sleeps or exits:
/// after every system call, the stack's far end would have to come into the processor's caches.
pub(crate) fn check_canary(block: &Block) {
    // SAFETY: as for `arm_canary`; a plain read.
    if unsafe { stack_bottom(block).read_volatile() } != CANARY {
        crate::platform::fatal("kernel stack overflow");
    }
}

extern "C" fn on_syscall(block: &'static Block) {
    // SAFETY: entered from the stub on this thread; no other reference exists.
    let ctx = unsafe { frame(block) };
    upcalls().syscall(block.token, ctx);
}

extern "C" fn on_fault(block: &'static Block) {
    let fault = Fault {
        vector: block.fault_vector,
        code: block.fault_code,
        addr: block.fault_addr,
        bus: block.fault_bus != 0,
    };
    // SAFETY: as in `on_syscall`.
    let ctx = unsafe { frame(block) };
    upcalls().fault(block.token, ctx, fault);
}

extern "C" fn on_interrupt(block: &'static Block) {
    // SAFETY: as in `on_syscall`.
    let ctx = unsafe { frame(block) };
    upcalls().interrupt(block.token, ctx);
}
