//! `SOL_SOCKET` options, `socket(7)`.

use super::socket::{Common, Flags, Socket};
use crate::process::creds::{CAP_NET_ADMIN, CAP_NET_RAW};
use crate::sysctl::{Param, RMEM_MAX, WMEM_MAX};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, Task};
use alloc::{vec, vec::Vec};
use bastide_abi::net::{Linger, SockTimeval, UCred};
use bastide_abi::raw::net::*;
use core::sync::atomic::Ordering;
use zerocopy::IntoBytes;

/// An option's new value in the application's memory.
#[derive(Clone, Copy)]
pub struct OptionValue<'a> {
    t: &'a Task,
    addr: UserAddr,
    pub len: usize,
}

impl<'a> OptionValue<'a> {
    /// `len` bytes at `addr`.
    pub fn new(t: &'a Task, addr: UserAddr, len: usize) -> Self {
        OptionValue { t, addr, len }
    }

    /// An `int`: EINVAL if it is shorter, EFAULT.
    pub fn int(&self) -> Result<i32> {
        self.read()
    }

    /// A structure: EINVAL if it is shorter, EFAULT.
    pub fn read<T: zerocopy::FromBytes + zerocopy::IntoBytes>(&self) -> Result<T> {
        if self.len < size_of::<T>() {
            return Err(Errno::EINVAL);
        }
        user::read(self.t, self.addr)
    }

    /// All of it, up to `max` bytes; EINVAL beyond, EFAULT.
    pub fn bytes(&self, max: usize) -> Result<Vec<u8>> {
        if self.len > max {
            return Err(Errno::EINVAL);
        }
        let mut out = vec![0; self.len];
        user::read_bytes(self.t, self.addr, &mut out)?;
        Ok(out)
    }
}

/// The options that are one bit.
fn bit(name: u32) -> Option<Flags> {
    Some(match name {
        SO_DEBUG => Flags::DEBUG,
        SO_REUSEADDR => Flags::REUSEADDR,
        SO_REUSEPORT => Flags::REUSEPORT,
        SO_DONTROUTE => Flags::DONTROUTE,
        SO_BROADCAST => Flags::BROADCAST,
        SO_KEEPALIVE => Flags::KEEPALIVE,
        SO_OOBINLINE => Flags::OOBINLINE,
        SO_PASSCRED => Flags::PASSCRED,
        SO_PASSSEC => Flags::PASSSEC,
        SO_TIMESTAMP => Flags::TIMESTAMP,
        SO_TIMESTAMPNS => Flags::TIMESTAMPNS,
        SO_NO_CHECK => Flags::NO_CHECK,
        SO_RXQ_OVFL => Flags::RXQ_OVFL,
        SO_ZEROCOPY => Flags::ZEROCOPY,
        _ => return None,
    })
}

/// A timeout option's value in nanoseconds: zero is for ever, negative seconds do not wait.
fn timeout(v: SockTimeval) -> Result<u64> {
    if !(0..1_000_000).contains(&v.usec) {
        return Err(Errno::EDOM);
    }
    if v.sec < 0 {
        return Ok(0);
    }
    if v.sec == 0 && v.usec == 0 {
        return Ok(u64::MAX);
    }
    Ok((v.sec as u64)
        .saturating_mul(1_000_000_000)
        .saturating_add(v.usec as u64 * 1000))
}

fn timeval(ns: u64) -> SockTimeval {
    if ns == u64::MAX {
        return SockTimeval::default();
    }
    SockTimeval {
        sec: (ns / 1_000_000_000) as i64,
        usec: (ns % 1_000_000_000 / 1000) as i64,
    }
}

/// Doubles a buffer size as Linux does for its bookkeeping; without a limit `force` is meant.
fn buffer(asked: i32, least: u32, limit: Option<&Param>) -> u32 {
    let asked = match limit {
        None => asked.max(0) as u32,
        Some(max) => (asked as u32).min(max.get() as u32),
    };
    asked.min(i32::MAX as u32 / 2).saturating_mul(2).max(least)
}

/// Sets a `SOL_SOCKET` option. ENOPROTOOPT for unknown ones and those that cannot be set, EPERM
/// without the capability, EDOM for a timeout that is none.
pub fn set(t: &Task, s: &dyn Socket, name: u32, value: &OptionValue) -> Result<()> {
    let c = s.common();
    match name {
        SO_LINGER => {
            let l: Linger = value.read()?;
            *c.linger.lock() = (i32::from(l.on != 0), if l.on != 0 { l.seconds } else { 0 });
            return Ok(());
        }
        SO_RCVTIMEO | SO_RCVTIMEO_NEW => {
            c.rcvtimeo.store(timeout(value.read()?)?, Ordering::Relaxed);
            return Ok(());
        }
        SO_SNDTIMEO | SO_SNDTIMEO_NEW => {
            c.sndtimeo.store(timeout(value.read()?)?, Ordering::Relaxed);
            return Ok(());
        }
        SO_BINDTODEVICE => {
            // The only interface is lo; binding to it changes nothing.
            let name = value.bytes(256)?;
            let name = name.split(|&b| b == 0).next().unwrap_or_default();
            return if name.is_empty() || name == b"lo" {
                Ok(())
            } else {
                Err(Errno::ENODEV)
            };
        }
        _ => {}
    }
    let v = value.int()?;
    let capable = |cap| t.creds().capable(cap);
    if let Some(flag) = bit(name) {
        if flag == Flags::DEBUG && v != 0 && !capable(CAP_NET_ADMIN) {
            return Err(Errno::EACCES);
        }
        if matches!(flag, Flags::REUSEPORT | Flags::ZEROCOPY) && c.domain == AF_UNIX {
            return Err(Errno::EOPNOTSUPP);
        }
        c.set(flag, v != 0);
        return Ok(());
    }
    match name {
        SO_SNDBUF => {
            c.sndbuf
                .store(buffer(v, 4608, Some(&WMEM_MAX)), Ordering::Relaxed);
            c.set(Flags::SNDBUF_LOCK, true);
            c.wait.wake_all(crate::wait::POLLOUT);
        }
        SO_RCVBUF => {
            c.rcvbuf
                .store(buffer(v, 2304, Some(&RMEM_MAX)), Ordering::Relaxed);
            c.set(Flags::RCVBUF_LOCK, true);
        }
        SO_SNDBUFFORCE | SO_RCVBUFFORCE if !capable(CAP_NET_ADMIN) => return Err(Errno::EPERM),
        SO_SNDBUFFORCE => {
            c.sndbuf.store(buffer(v, 4608, None), Ordering::Relaxed);
            c.wait.wake_all(crate::wait::POLLOUT);
        }
        SO_RCVBUFFORCE => c.rcvbuf.store(buffer(v, 2304, None), Ordering::Relaxed),
        SO_RCVLOWAT => {
            let v = if v < 0 { i32::MAX } else { v };
            c.rcvlowat.store((v as u32).max(1), Ordering::Relaxed);
        }
        SO_PRIORITY => {
            if !(0..=6).contains(&v) && !capable(CAP_NET_ADMIN) && !capable(CAP_NET_RAW) {
                return Err(Errno::EPERM);
            }
            c.priority.store(v, Ordering::Relaxed);
        }
        SO_MARK => {
            if !capable(CAP_NET_ADMIN) && !capable(CAP_NET_RAW) {
                return Err(Errno::EPERM);
            }
            c.mark.store(v as u32, Ordering::Relaxed);
        }
        SO_BSDCOMPAT => {}
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

fn int(v: impl TryInto<i32>) -> Result<Vec<u8>> {
    Ok(v.try_into().unwrap_or(i32::MAX).to_ne_bytes().to_vec())
}

/// A `SOL_SOCKET` option's value, for the caller to cut to `room`. ENOPROTOOPT; ERANGE if
/// `SO_PEERGROUPS` does not fit.
pub fn get(t: &Task, s: &dyn Socket, name: u32, room: usize) -> Result<Vec<u8>> {
    let c: &Common = s.common();
    if let Some(flag) = bit(name) {
        return int(i32::from(c.has(flag)));
    }
    match name {
        SO_TYPE => int(c.kind),
        SO_DOMAIN => int(c.domain),
        SO_PROTOCOL => int(c.protocol),
        SO_ACCEPTCONN => int(i32::from(s.is_listening())),
        SO_ERROR => int(c.take_error().err().map_or(0, |e| e.0)),
        SO_SNDBUF => int(c.sndbuf.load(Ordering::Relaxed)),
        SO_RCVBUF => int(c.rcvbuf.load(Ordering::Relaxed)),
        SO_RCVLOWAT => int(c.rcvlowat.load(Ordering::Relaxed)),
        SO_SNDLOWAT => int(1),
        SO_PRIORITY => int(c.priority.load(Ordering::Relaxed)),
        SO_MARK => int(c.mark.load(Ordering::Relaxed)),
        SO_BSDCOMPAT => int(0),
        SO_INCOMING_CPU => int(crate::pal().cpu()),
        SO_COOKIE if room < 8 => Err(Errno::EINVAL),
        SO_COOKIE => Ok(c.ino.to_ne_bytes().to_vec()),
        SO_BINDTODEVICE => Ok(Vec::new()),
        SO_LINGER => {
            let (on, seconds) = *c.linger.lock();
            Ok(Linger { on, seconds }.as_bytes().to_vec())
        }
        SO_RCVTIMEO | SO_RCVTIMEO_NEW => Ok(timeval(c.rcvtimeo.load(Ordering::Relaxed))
            .as_bytes()
            .to_vec()),
        SO_SNDTIMEO | SO_SNDTIMEO_NEW => Ok(timeval(c.sndtimeo.load(Ordering::Relaxed))
            .as_bytes()
            .to_vec()),
        SO_PEERCRED => {
            let nobody = UCred {
                pid: 0,
                uid: u32::MAX,
                gid: u32::MAX,
            };
            let cred = c.peer_cred.lock().as_ref().map_or(nobody, |p| p.cred);
            Ok(cred.as_bytes().to_vec())
        }
        SO_PEERGROUPS => {
            let groups = c
                .peer_cred
                .lock()
                .as_ref()
                .map(|p| p.groups.clone())
                .ok_or(Errno::ENODATA)?;
            if groups.len() * 4 > room {
                return Err(Errno::ERANGE);
            }
            Ok(groups.as_bytes().to_vec())
        }
        SO_PEERNAME => {
            let name = s.name(true)?;
            if name.len() < room {
                return Err(Errno::EINVAL);
            }
            Ok(name)
        }
        _ => {
            let _ = t;
            Err(Errno::ENOPROTOOPT)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_and_buffers_follow_linux() {
        let tv = |sec, usec| SockTimeval { sec, usec };
        assert_eq!(timeout(tv(0, 0)), Ok(u64::MAX));
        assert_eq!(timeout(tv(-1, 0)), Ok(0));
        assert_eq!(timeout(tv(1, 500_000)), Ok(1_500_000_000));
        assert_eq!(timeout(tv(1, 1_000_000)), Err(Errno::EDOM));
        assert_eq!(buffer(1, 4608, Some(&WMEM_MAX)), 4608);
        assert_eq!(buffer(-1, 4608, Some(&WMEM_MAX)), 2 * 212_992);
        assert_eq!(buffer(1 << 20, 4608, Some(&WMEM_MAX)), 2 * 212_992);
        assert!(buffer(i32::MAX, 4608, None) <= i32::MAX as u32);
        assert_eq!(buffer(-256, 4608, None), 4608);
    }
}
