//! What the caller hands to the program: standard descriptors, terminal, credentials, limits.

use crate::Failure;
use bastide_manifest::Limit;
use bastide_pal::HostFd;
use bastide_pal::boot::Stdio;
use rustix::fs::OFlags;
use rustix::process::Resource;
use std::os::fd::{BorrowedFd, IntoRawFd};

/// Duplicates of the caller's standard descriptors; the enclave owns them.
pub fn stdio() -> Result<[Option<Stdio>; 3], Failure> {
    Ok([
        one(rustix::stdio::stdin())?,
        one(rustix::stdio::stdout())?,
        one(rustix::stdio::stderr())?,
    ])
}

fn one(fd: BorrowedFd<'_>) -> Result<Option<Stdio>, Failure> {
    let Ok(flags) = rustix::fs::fcntl_getfl(fd) else {
        return Ok(None);
    };
    let copy = rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|error| {
        Failure::new(format!("cannot duplicate a standard descriptor: {error}"))
    })?;
    Ok(Some(Stdio {
        tty: rustix::termios::isatty(fd),
        flags: (flags & (OFlags::RWMODE | OFlags::APPEND)).bits(),
        fd: HostFd(copy.into_raw_fd()),
    }))
}

/// The caller's controlling terminal, which a program may open although none of its standard
/// descriptors is one.
pub fn terminal() -> Option<HostFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open("/dev/tty", flags, rustix::fs::Mode::empty())
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
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
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
