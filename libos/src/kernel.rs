//! The kernel as one object: global tables, and what the platform calls.

use crate::mm::patch;
use crate::process::NotStarted;
use crate::process::{Process, Task};
use crate::{Errno, background, process, signal, syscall, time};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use bastide_base::sync::{Mutex, Once};
use bastide_base::token;
use bastide_pal::context::Entry;
use bastide_pal::{BootConfig, Context, Fault, Pal};
use core::sync::atomic::{AtomicBool, Ordering};

static KERNEL: Once<Kernel> = Once::new();

/// Global state. Locks here come first in the lock order of `libos/README.md`.
pub struct Kernel {
    pub config: BootConfig,
    /// Every task by thread id.
    pub tasks: Mutex<BTreeMap<i32, Arc<Task>>>,
    /// Every process (zombies too) by process id.
    pub processes: Mutex<BTreeMap<i32, Arc<Process>>>,
    /// The last process or thread id given out.
    pub last_pid: Mutex<i32>,
    /// `uname(2)` node and domain name.
    pub hostname: Mutex<alloc::vec::Vec<u8>>,
    pub domainname: Mutex<alloc::vec::Vec<u8>>,
    /// `CLOCK_BOOTTIME` when the enclave started, nanoseconds.
    pub started: u64,
}

/// The kernel; it exists from [`init`] on.
pub fn kernel() -> &'static Kernel {
    KERNEL
        .get()
        .expect("kernel::init runs before anything else")
}

/// The platform.
pub fn pal() -> &'static dyn Pal {
    bastide_base::platform().expect("kernel::init runs before anything else")
}

/// Sets up the kernel, once.
pub fn init(platform: &'static dyn Pal, config: BootConfig) -> &'static Kernel {
    bastide_base::init(platform);
    crate::logger::install(&config.log);
    KERNEL.get_or_init(|| Kernel {
        hostname: Mutex::new(config.hostname.clone()),
        domainname: Mutex::new(b"(none)".to_vec()),
        config,
        tasks: Mutex::default(),
        processes: Mutex::default(),
        last_pid: Mutex::new(0),
        started: platform.now(bastide_pal::Clock::Boottime),
    })
}

/// Brings the kernel up and starts the first program. The error is a `wait(2)` status.
pub fn boot(platform: &'static dyn Pal, config: BootConfig) -> Result<(), i32> {
    init(platform, config);
    process::start_first().map_err(|e| exit_code(&e) << 8)?;
    if background::is_wanted() {
        // The first that comes is for the timers.
        time::start_service();
        platform.spawn_service().map_err(|_| 125 << 8)?;
    }
    Ok(())
}

/// Says why the first program does not run; the exit code is as a shell's.
fn exit_code(e: &NotStarted) -> i32 {
    let NotStarted::Program(e) = *e else {
        return 125;
    };
    let program = &kernel().config.program;
    let (code, reason) = match e {
        Errno::ENOENT => (
            127,
            "there is no such program (or its interpreter) inside the enclave",
        ),
        Errno::EACCES => (126, "it is not an executable file, or may not be read"),
        Errno::ENOEXEC | Errno::ELIBBAD => {
            (126, "it is no x86-64 ELF program or script, or is damaged")
        }
        Errno::ENOMEM => (
            126,
            "it needs more memory than its limits or the host allow",
        ),
        Errno::EMFILE | Errno::ENFILE => {
            (126, "the host allows too few open files, see `ulimit -n`")
        }
        _ => (126, "it cannot be started"),
    };
    let program = alloc::string::String::from_utf8_lossy(program);
    let text = alloc::format!("bastide: cannot run {program}: {reason} ({e:?})\n");
    pal().log(text.as_bytes());
    code
}

/// The kernel as the platform sees it.
pub struct Upcalls;

/// Does `work` for the task of a token and takes the last steps to the application. If the thread
/// is to be given up instead, does not return; everything that `work` held is released by then.
fn serve(tok: usize, ctx: &mut Context, work: impl FnOnce(&Arc<Task>, &mut Context)) {
    token::with::<Task, _>(tok, |t| {
        work(t, ctx);
        process::to_user(t, ctx);
        if ctx.entry == Entry::Trap as u64 {
            ctx.rip = patch::continue_at(t, ctx.rip);
        }
    });
    if ctx.entry == Entry::Gone as u64 {
        drop(token::release::<Task>(tok));
        pal().exit()
    }
}

impl bastide_pal::Kernel for Upcalls {
    fn syscall(&self, tok: usize, ctx: &mut Context) {
        serve(tok, ctx, |t, ctx| {
            if ctx.entry == Entry::Trap as u64 {
                patch::trapped(t, ctx);
            }
            syscall::enter(t, ctx);
        });
    }

    fn fault(&self, tok: usize, ctx: &mut Context, fault: Fault) {
        serve(tok, ctx, |t, ctx| signal::fault(t, ctx, fault));
    }

    fn interrupt(&self, tok: usize, ctx: &mut Context) {
        serve(tok, ctx, |_, _| {});
    }

    fn start(&self, tok: usize, ctx: &mut Context) {
        serve(tok, ctx, process::first_step);
    }

    fn service(&self) -> ! {
        // The first thread that comes sees to the timers.
        static COME: AtomicBool = AtomicBool::new(false);
        match COME.swap(true, Ordering::Relaxed) {
            false => time::service(),
            true => background::service(),
        }
    }

    fn monotonic(&self) -> u64 {
        time::monotonic()
    }

    fn host_signal(&self, signal: i32) {
        signal::from_host(signal);
    }
}
