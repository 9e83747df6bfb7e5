//! The register frame through which the application enters and leaves the kernel.

/// The application's registers while it is in the kernel. The layout is known to the entry code.
///
/// Vector state: `xmm0`–`xmm15` are saved here; everything else (upper halves, x87, masks) stays
/// in the registers, because the image never touches it.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
pub struct Context {
    pub xmm: [u128; 16],
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// The system call's number, or -1 if the frame comes from a fault or an interrupt.
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
    /// How the application entered: an [`Entry`] as a number.
    pub entry: u64,
}

/// The ways into the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Entry {
    /// From a stub that jumped ([`crate::Threads::direct_entry`]), or not from a system call.
    Direct = 0,
    /// By a trap at a `syscall` instruction.
    Trap = 1,
    /// Not any more: the thread is to be given up, its task is over or goes on elsewhere.
    Gone = 2,
}

impl Context {
    /// All registers zero, user segments, interrupts on: what a program starts with.
    pub const fn new() -> Self {
        Context {
            xmm: [0; 16],
            r15: 0,
            r14: 0,
            r13: 0,
            r12: 0,
            rbp: 0,
            rbx: 0,
            r11: 0,
            r10: 0,
            r9: 0,
            r8: 0,
            rax: 0,
            rcx: 0,
            rdx: 0,
            rsi: 0,
            rdi: 0,
            orig_rax: u64::MAX,
            rip: 0,
            cs: 0x33,
            rflags: 0x202,
            rsp: 0,
            ss: 0x2b,
            entry: 0,
        }
    }

    /// The six system call arguments in order.
    pub fn args(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

/// Why the processor stopped the application, as the platform saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Processor exception number (0 divide, 1 debug, 3 breakpoint, 6 opcode, 13 protection,
    /// 14 page fault, 17 alignment, 19 SIMD).
    pub vector: u32,
    /// Page-fault error code: bit 0 protection, bit 1 write, bit 4 instruction fetch.
    pub code: u32,
    /// The address, for page faults.
    pub addr: u64,
    /// The host said that the address is mapped but has no memory behind it (beyond the end of a
    /// host file): SIGBUS.
    pub bus: bool,
}
