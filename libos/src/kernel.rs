//! The kernel as one object: global tables, and what the platform calls.

use crate::process::{Process, Task};
use crate::{process, signal, syscall, time};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use bastide_base::sync::{Mutex, Once};
use bastide_base::token;
use bastide_pal::{BootConfig, Context, Fault, Pal};

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
    process::start_first().map_err(|e| {
        let text = alloc::format!("bastide: cannot start the program: {e:?}\n");
        pal().log(text.as_bytes());
        127 << 8
    })?;
    platform.spawn_service().map_err(|_| 125 << 8)
}

/// The kernel as the platform sees it.
pub struct Upcalls;

impl bastide_pal::Kernel for Upcalls {
    fn syscall(&self, tok: usize, ctx: &mut Context) {
        token::with::<Task, _>(tok, |t| {
            syscall::enter(t, ctx);
            process::to_user(t, ctx);
        });
    }

    fn fault(&self, tok: usize, ctx: &mut Context, fault: Fault) {
        token::with::<Task, _>(tok, |t| {
            signal::fault(t, ctx, fault);
            process::to_user(t, ctx);
        });
    }

    fn interrupt(&self, tok: usize, ctx: &mut Context) {
        token::with::<Task, _>(tok, |t| process::to_user(t, ctx));
    }

    fn start(&self, tok: usize, ctx: &mut Context) {
        token::with::<Task, _>(tok, |t| {
            process::first_step(t, ctx);
            process::to_user(t, ctx);
        });
    }

    fn service(&self) -> ! {
        time::service()
    }

    fn host_signal(&self, signal: i32) {
        signal::from_host(signal);
    }
}
