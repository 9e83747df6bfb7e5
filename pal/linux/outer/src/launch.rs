//! Starting the enclave and living beside it.

use crate::children::{Children, Reaped};
use crate::{load, probe};
use bastide_pal::BootConfig;
use bastide_pal_linux::layout::{self, Control};
use std::fs::File;
use std::io::{Error as IoError, Read};
use std::sync::atomic::Ordering;
use thiserror::Error;

/// Why the enclave did not run to its end.
#[derive(Debug, Error)]
pub enum LaunchError {
    #[error("cannot {what}: {source}; {remedy}")]
    Host {
        what: &'static str,
        source: IoError,
        remedy: &'static str,
    },
    #[error("the enclave image is damaged: {0}; build bastide again")]
    Image(String),
    #[error("the configuration is too large ({0} bytes): shorten the arguments or the environment")]
    TooLarge(usize),
    #[error(
        "the host killed process {pid} of the enclave with {signal}; the enclave was stopped, since \
         its state cannot be trusted any more (out of memory? `dmesg` may say; allow it more)"
    )]
    Killed { pid: i32, signal: String },
    #[error("this machine cannot run Bastide: {0}: {1} (see `bastide doctor`)")]
    Missing(String, String),
    #[error("the kernel inside the enclave stopped; its message is above")]
    Panic,
}

pub(crate) fn host(what: &'static str, remedy: &'static str) -> LaunchError {
    LaunchError::Host {
        what,
        source: IoError::last_os_error(),
        remedy,
    }
}

/// Signals that are passed to the program, and those that tell of its processes.
const PASSED: &[i32] = &[
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGTSTP,
    libc::SIGCONT,
    libc::SIGWINCH,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
];

struct Region {
    fd: i32,
}

fn control() -> &'static Control {
    // SAFETY: called after the region is mapped; the fields are atomics.
    unsafe { &*(layout::CONTROL as *const Control) }
}

impl Region {
    fn new() -> Result<Self, LaunchError> {
        let remedy =
            "the host must allow memfd_create and 512 GiB of address space (see `ulimit -v`)";
        // SAFETY: plain calls with constant arguments; the mapping is at a fixed free address.
        unsafe {
            let fd = libc::memfd_create(c"bastide".as_ptr(), libc::MFD_CLOEXEC);
            if fd < 0 {
                return Err(host("make the enclave's memory", remedy));
            }
            // Out of the way of low descriptor numbers.
            let high = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 1000);
            let fd = if high >= 0 {
                libc::close(fd);
                high
            } else {
                fd
            };
            if libc::ftruncate(fd, layout::SIZE as i64) < 0 {
                let error = host("size the enclave's memory", remedy);
                libc::close(fd);
                return Err(match IoError::last_os_error().raw_os_error() {
                    Some(libc::EFBIG) => host(
                        "size the enclave's memory",
                        "it counts as a file of 512 GiB: set no limit for files (see `ulimit -f`)",
                    ),
                    _ => error,
                });
            }
            let at = libc::mmap(
                layout::BASE as *mut _,
                layout::SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE,
                fd,
                0,
            );
            if at as usize != layout::BASE {
                let error = host("map the enclave's memory", remedy);
                libc::close(fd);
                return Err(error);
            }
            Ok(Region { fd })
        }
    }
}

/// Where the kernel's messages go: a copy of standard error, out of the way of low numbers where
/// the host allows such high ones.
fn log_fd() -> Result<i32, LaunchError> {
    // SAFETY: duplicates a descriptor.
    let duplicate = |least: i32| unsafe { libc::fcntl(2, libc::F_DUPFD_CLOEXEC, least) };
    let fd = [1001, 3].into_iter().map(duplicate).find(|fd| *fd >= 0);
    match fd {
        Some(fd) => Ok(fd),
        // Standard error may be closed: then nobody reads messages.
        _ if IoError::last_os_error().raw_os_error() == Some(libc::EBADF) => Ok(-1),
        _ => Err(host(
            "open what the enclave needs",
            "allow more open files, `ulimit -n`",
        )),
    }
}

/// The caller's soft limits are the application's, and kept by the kernel inside; what the host
/// sees is the whole enclave. A file that grows too large is then an error, not a signal.
fn lift_limits() {
    for resource in [libc::RLIMIT_NOFILE, libc::RLIMIT_FSIZE] {
        // SAFETY: plain calls on a local.
        unsafe {
            let mut limit: libc::rlimit = std::mem::zeroed();
            if libc::getrlimit(resource, &mut limit) == 0 {
                limit.rlim_cur = limit.rlim_max;
                libc::setrlimit(resource, &limit);
            }
        }
    }
    // SAFETY: plain calls: ignoring has no handler to get wrong.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        // A core dump would copy the enclave.
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        libc::setrlimit(libc::RLIMIT_CORE, &none);
    }
}

fn signal_set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: fills a local set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for &s in signals {
            libc::sigaddset(&mut set, s);
        }
        set
    }
}

/// The CPUs that the caller may use, as `nproc` counts them.
fn cpus() -> u32 {
    // SAFETY: fills a local set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        match libc::sched_getaffinity(0, size_of_val(&set), &mut set) {
            0 => libc::CPU_COUNT(&set) as u32,
            // More CPUs than the set has room for.
            _ => libc::sysconf(libc::_SC_NPROCESSORS_ONLN).max(1) as u32,
        }
    }
}

/// Whether the host keeps time by the time-stamp counter, which it does only where the counter is
/// steady and alike on all CPUs.
fn steady_counter() -> bool {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let mut name = [0; 16];
    let read = File::open(path).and_then(|mut file| file.read(&mut name));
    read.is_ok_and(|len| name[..len].trim_ascii() == b"tsc")
}

/// Runs the enclave until its first program ends; returns the program's `wait(2)` status.
///
/// Must be called from the only thread of the launcher, by who then ends it: nothing is put in order
/// first. Takes over the descriptors that the configuration names, and closes all others but standard
/// error and those to `keep`.
pub fn run(config: BootConfig, keep: &[i32]) -> Result<i32, LaunchError> {
    if let Some((what, why)) = probe::missing() {
        return Err(LaunchError::Missing(what, why));
    }
    lift_limits();
    let region = Region::new()?;
    let entry = load::load()?;
    let boot = config.encode();
    if boot.len() > layout::BOOT_SIZE {
        return Err(LaunchError::TooLarge(boot.len()));
    }
    let c = control();
    // SAFETY: the range is in the mapped region, after the control block.
    unsafe { std::ptr::copy_nonoverlapping(boot.as_ptr(), layout::BOOT as *mut u8, boot.len()) };
    c.boot_len.store(boot.len() as u64, Ordering::Relaxed);
    c.launcher
        .store(std::process::id() as i32, Ordering::Relaxed);
    c.region_fd.store(region.fd, Ordering::Relaxed);
    c.cpus.store(cpus(), Ordering::Relaxed);
    c.steady_counter
        .store(steady_counter().into(), Ordering::Relaxed);
    // SAFETY: sysconf only reads.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) }.max(0) as u64;
    c.memory.store(pages * 4096, Ordering::Relaxed);
    let log = log_fd()?;
    c.log_fd.store(log, Ordering::Relaxed);
    let mut waited = PASSED.to_vec();
    waited.extend([libc::SIGCHLD, layout::CALL_SIGNAL]);
    let set = signal_set(&waited);
    // SAFETY: blocks signals of this thread, the only one; restored below.
    let mut old = unsafe {
        // Who ignores it never learns of a child's end.
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        let mut old = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_BLOCK, &set, &mut old);
        old
    };
    // The enclave's processes would inherit it.
    // SAFETY: the C library's memory is mapped, and nothing here is a restartable sequence.
    unsafe { forget_rseq() };
    let mut kept = named(&config);
    kept.extend(keep);
    kept.extend([region.fd, log]);
    close_others(kept);
    let mut enclave = Enclave {
        entry,
        children: Children::new(),
        zygote: 0,
    };
    // The terminal's signals then come without delay, to who is in the foreground when they are sent.
    let interactive = config.stdio.iter().flatten().any(|s| s.tty);
    let result = enclave.run(&set, interactive);
    enclave.children.end();
    // SAFETY: restores the mask, and standard error where it was open; nothing uses that number now.
    unsafe {
        // The enclave's last call may have come after its end was seen.
        libc::sigaddset(&mut old, layout::CALL_SIGNAL);
        libc::sigprocmask(libc::SIG_SETMASK, &old, std::ptr::null_mut());
        if libc::dup2(log, 2) < 0 {
            libc::close(2);
        }
    }
    // Freeing it would copy the pages that it lies in.
    std::mem::forget(config);
    result
}

/// Its host processes: the launcher makes two, from which all others descend.
struct Enclave {
    entry: usize,
    children: Children,
    /// 0 until it is wanted.
    zygote: i32,
}

impl Enclave {
    /// Runs it to its end, passing signals on.
    fn run(&mut self, set: &libc::sigset_t, zygote: bool) -> Result<i32, LaunchError> {
        let c = control();
        start(self.entry, 0)?;
        if zygote {
            self.need_zygote()?;
        }
        loop {
            // SAFETY: waits for one of our signals.
            let signal = unsafe { libc::sigwaitinfo(set, std::ptr::null_mut()) };
            if signal == libc::SIGCHLD {
                if let Some(end) = self.reap()? {
                    return Ok(end);
                }
            } else if signal == layout::CALL_SIGNAL {
                let by = c.stopped.swap(0, Ordering::AcqRel);
                if by != 0 {
                    // A stopped program stops its launcher, so that a shell sees it.
                    // SAFETY: a signal to ourselves.
                    unsafe { libc::raise(libc::SIGSTOP) };
                }
                if c.zygote.load(Ordering::Acquire) != 0 {
                    self.need_zygote()?;
                }
            } else if signal > 0 {
                c.signals.fetch_or(1 << signal, Ordering::AcqRel);
                c.doorbell.fetch_add(1, Ordering::Release);
                self.need_zygote()?;
                // SAFETY: wakes the zygote; the word is in the mapped region.
                unsafe { libc::syscall(libc::SYS_futex, c.doorbell.as_ptr(), libc::FUTEX_WAKE, 1) };
            }
        }
    }

    fn need_zygote(&mut self) -> Result<(), LaunchError> {
        if self.zygote == 0 {
            control().zygote.store(1, Ordering::Release);
            self.zygote = start(self.entry, layout::ZYGOTE_SLOT)?;
        }
        Ok(())
    }

    /// Reaps every process that has ended. `Some` when the enclave is done.
    fn reap(&mut self) -> Result<Option<i32>, LaunchError> {
        let c = control();
        loop {
            let reaped = self.children.reap();
            match c.done.load(Ordering::Acquire) {
                1 => return Ok(Some(c.status.load(Ordering::Relaxed))),
                2 => return Err(LaunchError::Panic),
                _ => {}
            }
            match reaped {
                Reaped::One(pid, status) if libc::WIFSIGNALED(status) => {
                    let signal = signal_name(libc::WTERMSIG(status));
                    return Err(LaunchError::Killed { pid, signal });
                }
                Reaped::One(pid, _) if pid == self.zygote => return Err(LaunchError::Panic),
                // Also the first: a thread that executes a program leaves its process for a new one.
                Reaped::One(..) => {}
                Reaped::NoneYet => return Ok(None),
                // Gone without a word on how it ended.
                Reaped::NoneLeft => return Err(LaunchError::Panic),
            }
        }
    }
}

fn signal_name(signal: i32) -> String {
    match signal {
        libc::SIGKILL => "SIGKILL".into(),
        libc::SIGTERM => "SIGTERM".into(),
        libc::SIGSEGV => "SIGSEGV".into(),
        libc::SIGBUS => "SIGBUS".into(),
        libc::SIGSYS => "SIGSYS (a host call that the filter forbids)".into(),
        n => format!("signal {n}"),
    }
}

/// Takes back the restartable-sequence area that the C library registered (`rseq(2)`): the host
/// would write to it after the enclave has unmapped it, and kill the process.
///
/// # Safety
/// The C library's memory is still mapped, and its thread runs no restartable sequence.
unsafe fn forget_rseq() {
    const UNREGISTER: i32 = 1;
    const SIGNATURE: u32 = 0x5305_3053;
    let (offset, thread): (*const isize, usize);
    // SAFETY: reads a linker's constant and the thread pointer, whose first word is its own address.
    // The symbol, where the C library has it (glibc 2.35), is an isize: where the area lies from the
    // thread pointer.
    unsafe {
        core::arch::asm!(
            ".weak __rseq_offset",
            "mov {}, qword ptr [rip + __rseq_offset@GOTPCREL]",
            "mov {}, fs:[0]",
            out(reg) offset,
            out(reg) thread,
            options(nostack, readonly),
        );
        let Some(offset) = offset.as_ref() else {
            return;
        };
        let area = thread.wrapping_add_signed(*offset);
        // The registered length is not exactly what `__rseq_size` says in every version.
        for len in [32usize, 28, 20, 36, 64] {
            if libc::syscall(libc::SYS_rseq, area, len, UNREGISTER, SIGNATURE) == 0 {
                return;
            }
        }
    }
}

/// The descriptors that the configuration names: the enclave's own.
fn named(config: &BootConfig) -> Vec<i32> {
    let mut fds: Vec<i32> = config.stdio.iter().flatten().map(|s| s.fd.0).collect();
    fds.extend(config.terminal.iter().chain(&config.trace).map(|f| f.0));
    let mounted = config.mounts.iter().flat_map(|m| m.source.descriptors());
    fds.extend(mounted.map(|fd| fd.0));
    fds
}

/// Keeps only the descriptors that the enclave uses.
fn close_others(mut keep: Vec<i32>) {
    keep.sort_unstable();
    let mut next = 0;
    // SAFETY: nothing here uses the descriptors that are closed.
    unsafe {
        for fd in keep {
            if fd > next {
                libc::syscall(libc::SYS_close_range, next, fd - 1, 0);
            }
            next = next.max(fd + 1);
        }
        libc::syscall(libc::SYS_close_range, next, u32::MAX, 0);
    }
}

/// Makes a host process of the enclave, which begins in the image, on the stack of a thread slot.
///
/// All of them share the descriptors, the launcher too: a number means the same in each. On its way it
/// touches none of the launcher's memory, which would be copied.
fn start(entry: usize, slot: usize) -> Result<i32, LaunchError> {
    let flags = libc::CLONE_FILES | libc::CLONE_FS | libc::SIGCHLD;
    let result: isize;
    // SAFETY: the parent continues as after any call. The child jumps to the image for good, whose
    // entry takes the slot; the launcher is single-threaded, so that no lock is held in the child.
    unsafe {
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rsp, {stack}",
            "mov rdi, {slot}",
            "xor ebp, ebp",
            "call {entry}",
            "ud2",
            "2:",
            stack = in(reg) layout::stack(slot),
            slot = in(reg) slot,
            entry = in(reg) entry,
            inlateout("rax") libc::SYS_clone as isize => result,
            in("rdi") flags as usize,
            in("rsi") 0,
            in("rdx") 0,
            in("r10") 0,
            in("r8") 0,
            out("rcx") _,
            out("r11") _,
        );
    }
    match i32::try_from(result) {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(LaunchError::Host {
            what: match slot {
                0 => "start the enclave's first process",
                _ => "start another process of the enclave",
            },
            source: IoError::from_raw_os_error(-result as i32),
            remedy: "check the process limit, `ulimit -u`",
        }),
    }
}
