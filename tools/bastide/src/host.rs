//! What the caller hands to the program: standard descriptors, terminal, credentials, limits.

use crate::Failure;
use bastide_manifest::Limit;
use bastide_pal::HostFd;
use bastide_pal::boot::Stdio;
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::Resource;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Whether the caller ignores SIGPIPE, which this process does.
pub static PIPE_IGNORED: AtomicBool = AtomicBool::new(false);

/// The caller's standard descriptors, for the enclave to own.
pub fn stdio() -> Result<[Option<Stdio>; 3], Failure> {
    Ok([
        one(rustix::stdio::stdin())?,
        one(rustix::stdio::stdout())?,
        one(rustix::stdio::stderr())?,
    ])
}

fn one(fd: BorrowedFd<'_>) -> Result<Option<Stdio>, Failure> {
    let (Ok(flags), Ok(stat)) = (fcntl_getfl(fd), rustix::fs::fstat(fd)) else {
        return Ok(None);
    };
    let tty = rustix::termios::isatty(fd);
    let explain = |error| {
        Failure::new(format!(
            "cannot duplicate a standard descriptor: {error}; allow more open files, `ulimit -n`"
        ))
    };
    let copy = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => {
            make_nonblocking(fd, flags);
            fcntl_dupfd_cloexec(fd, 3).map_err(explain)?
        }
        kind if tty || kind == FileType::Fifo => match reopen(fd, flags) {
            Ok(own) => own,
            Err(_) => {
                make_nonblocking(fd, flags);
                fcntl_dupfd_cloexec(fd, 3).map_err(explain)?
            }
        },
        // The position of a file is shared with the caller.
        _ => fcntl_dupfd_cloexec(fd, 3).map_err(explain)?,
    };
    Ok(Some(Stdio {
        tty,
        flags: (flags & (OFlags::RWMODE | OFlags::APPEND)).bits(),
        fd: HostFd(copy.into_raw_fd()),
    }))
}

/// The same pipe or terminal, non-blocking as the enclave needs it; the caller's own description,
/// which other programs use too, stays as it is.
fn reopen(fd: BorrowedFd<'_>, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = (flags & OFlags::RWMODE) | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// What [`restore_stdio`] puts back: descriptors that had to be made non-blocking for all.
static CHANGED: Mutex<Vec<(OwnedFd, OFlags)>> = Mutex::new(Vec::new());

fn make_nonblocking(fd: BorrowedFd<'_>, flags: OFlags) {
    if flags.contains(OFlags::NONBLOCK) {
        return;
    }
    if let Ok(copy) = fcntl_dupfd_cloexec(fd, 3) {
        let _ = fcntl_setfl(fd, flags | OFlags::NONBLOCK);
        CHANGED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((copy, flags));
    }
}

/// The descriptors that [`restore_stdio`] needs.
pub fn changed() -> Vec<RawFd> {
    let changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    changed.iter().map(|(fd, _)| fd.as_raw_fd()).collect()
}

/// Undoes what [`stdio`] had to change for every user of a descriptor.
pub fn restore_stdio() {
    let mut changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    for (fd, flags) in changed.drain(..) {
        let _ = fcntl_setfl(&fd, flags);
    }
}

/// The caller's controlling terminal, which a program may open although none of its standard
/// descriptors is one.
pub fn terminal() -> Option<HostFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    rustix::fs::open("/dev/tty", flags, Mode::empty())
        .ok()
        .map(|fd| HostFd(fd.into_raw_fd()))
}

/// The caller's user, group and supplementary groups.
pub fn credentials() -> Result<(u32, u32, Vec<u32>), Failure> {
    let groups = rustix::process::getgroups()
        .map_err(|error| Failure::new(format!("cannot read the caller's groups: {error}")))?;
    Ok((
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
        groups.into_iter().map(|group| group.as_raw()).collect(),
    ))
}

/// The caller's file creation mask.
pub fn umask() -> u32 {
    // There is no way to read it but to change it; no other thread runs yet.
    let mask = rustix::process::umask(Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

/// The signals that the caller ignores, bit `n` for signal `n`.
pub fn ignored_signals() -> u64 {
    (1..64)
        .filter(|&n| {
            if n == libc::SIGPIPE {
                return PIPE_IGNORED.load(Ordering::Relaxed);
            }
            // SAFETY: only asks; the structure is a local that the call fills.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                libc::sigaction(n, std::ptr::null(), &mut action) == 0
                    && action.sa_sigaction == libc::SIG_IGN
            }
        })
        .fold(0, |mask, n| mask | 1 << n)
}

/// The caller's limits as (resource, soft, hard), with those of the manifest in their place.
pub fn limits(asked: &[Limit]) -> Vec<(u32, u64, u64)> {
    const ALL: [Resource; 16] = [
        Resource::Cpu,
        Resource::Fsize,
        Resource::Data,
        Resource::Stack,
        Resource::Core,
        Resource::Rss,
        Resource::Nproc,
        Resource::Nofile,
        Resource::Memlock,
        Resource::As,
        Resource::Locks,
        Resource::Sigpending,
        Resource::Msgqueue,
        Resource::Nice,
        Resource::Rtprio,
        Resource::Rttime,
    ];
    (0u32..)
        .zip(ALL)
        .map(|(number, resource)| {
            if let Some(limit) = asked.iter().find(|limit| limit.resource == number) {
                return (number, limit.soft, limit.hard);
            }
            let limit = rustix::process::getrlimit(resource);
            let value = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
            (number, value(limit.current), value(limit.maximum))
        })
        .collect()
}

/// Entropy for address-space layout and hash tables.
pub fn seed() -> Result<[u8; 32], Failure> {
    let mut seed = [0; 32];
    match rustix::rand::getrandom(&mut seed[..], rustix::rand::GetRandomFlags::empty()) {
        Ok(32) => Ok(seed),
        _ => Err(Failure::new("the host gives no random bytes (getrandom)")),
    }
}
