//! Options of the internet levels for sockets that stay inside the enclave: `ip(7)`, `ipv6(7)`,
//! `tcp(7)`. They are kept, answered, and handed to the host if the socket turns outside.

use super::host::HostSocket;
use crate::net::socket::{Common, Flags, OptionValue};
use crate::{Errno, Result};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bastide_abi::net::Linger;
use bastide_abi::raw::net::*;
use bastide_base::sync::Mutex;
use core::sync::atomic::Ordering;
use zerocopy::IntoBytes;

pub const IP: i32 = 0;
pub const TCP: i32 = 6;
pub const UDP: i32 = 17;
pub const IPV6: i32 = 41;

/// The value of an integer option that nobody set; `None` for one that does not exist.
fn default_of(level: i32, name: u32) -> Option<i32> {
    Some(match (level, name) {
        (IP, IP_TTL) => 64,
        (IP, IP_MTU_DISCOVER | IP_MULTICAST_TTL | IP_MULTICAST_LOOP | IP_MULTICAST_ALL) => 1,
        (
            IP,
            IP_TOS
            | IP_RECVOPTS
            | IP_RETOPTS
            | IP_PKTINFO
            | IP_RECVERR
            | IP_RECVTTL
            | IP_RECVTOS
            | IP_FREEBIND
            | IP_RECVORIGDSTADDR
            | IP_MINTTL
            | IP_BIND_ADDRESS_NO_PORT
            | IP_MULTICAST_IF
            | IP_UNICAST_IF
            | IP_LOCAL_PORT_RANGE,
        ) => 0,
        (IPV6, IPV6_UNICAST_HOPS) => 64,
        (IPV6, IPV6_MTU) => 65_536,
        (
            IPV6,
            IPV6_MULTICAST_HOPS | IPV6_MULTICAST_LOOP | IPV6_MULTICAST_ALL | IPV6_MTU_DISCOVER
            | IPV6_AUTOFLOWLABEL,
        ) => 1,
        (
            IPV6,
            IPV6_V6ONLY
            | IPV6_MULTICAST_IF
            | IPV6_RECVERR
            | IPV6_RECVPKTINFO
            | IPV6_RECVHOPLIMIT
            | IPV6_RECVTCLASS
            | IPV6_TCLASS
            | IPV6_DONTFRAG
            | IPV6_ADDR_PREFERENCES
            | IPV6_RECVPATHMTU
            | IPV6_FREEBIND
            | IPV6_UNICAST_IF,
        ) => 0,
        (TCP, TCP_MAXSEG) => 65_483,
        (TCP, TCP_KEEPIDLE) => 7200,
        (TCP, TCP_KEEPINTVL) => 75,
        (TCP, TCP_KEEPCNT) => 9,
        (TCP, TCP_SYNCNT) => 6,
        (TCP, TCP_LINGER2) => 60,
        (TCP, TCP_QUICKACK) => 1,
        (
            TCP,
            TCP_NODELAY
            | TCP_CORK
            | TCP_DEFER_ACCEPT
            | TCP_WINDOW_CLAMP
            | TCP_USER_TIMEOUT
            | TCP_FASTOPEN
            | TCP_NOTSENT_LOWAT
            | TCP_FASTOPEN_CONNECT
            | TCP_SAVE_SYN
            | TCP_THIN_LINEAR_TIMEOUTS
            | TCP_THIN_DUPACK,
        ) => 0,
        _ => return None,
    })
}

/// Limits of values, beyond which they are EINVAL.
fn in_range(level: i32, name: u32, v: i32) -> bool {
    match (level, name) {
        (IP, IP_TTL) => v == -1 || (1..=255).contains(&v),
        (IP, IP_TOS) => (0..=255).contains(&v),
        (TCP, TCP_KEEPIDLE | TCP_KEEPINTVL) => (1..=32_767).contains(&v),
        (TCP, TCP_KEEPCNT | TCP_SYNCNT) => (1..=127).contains(&v),
        (TCP, TCP_MAXSEG) => (88..=32_767).contains(&v),
        (TCP, TCP_USER_TIMEOUT) => v >= 0,
        _ => true,
    }
}

/// Asks for a multicast group, of which there are none inside.
fn is_membership(level: i32, name: u32) -> bool {
    match level {
        IP => matches!(name, 35..=48),
        IPV6 => matches!(name, 20 | 21 | 27 | 28 | 42..=48),
        _ => false,
    }
}

/// Whether a socket of this family and kind has the level at all.
fn has_level(c: &Common, level: i32) -> bool {
    match level {
        IP => true,
        IPV6 => c.domain == AF_INET6,
        TCP => c.kind == SOCK_STREAM,
        UDP => c.kind == SOCK_DGRAM,
        _ => false,
    }
}

/// Options that were set.
#[derive(Default)]
pub struct Options {
    set: Mutex<BTreeMap<(i32, u32), Vec<u8>>>,
}

impl Options {
    /// An integer option's value.
    pub fn int(&self, level: i32, name: u32) -> i32 {
        let set = self.set.lock();
        match set.get(&(level, name)).and_then(|v| v.first_chunk::<4>()) {
            Some(v) => i32::from_ne_bytes(*v),
            None => default_of(level, name).unwrap_or(0),
        }
    }

    /// The same options, for an accepted connection.
    pub fn inherit(&self) -> Options {
        Options {
            set: Mutex::new(self.set.lock().clone()),
        }
    }

    /// Keeps an option: ENOPROTOOPT, EINVAL, EFAULT. Returns its bytes.
    pub fn set(&self, c: &Common, level: i32, name: u32, value: &OptionValue) -> Result<Vec<u8>> {
        if !has_level(c, level) {
            return Err(Errno::ENOPROTOOPT);
        }
        if is_membership(level, name) {
            return Err(Errno::ENODEV);
        }
        let bytes = if level == TCP && name == TCP_CONGESTION {
            let text = value.bytes(16)?;
            if !matches!(
                text.split(|&b| b == 0).next(),
                Some(b"cubic" | b"reno" | b"bbr")
            ) {
                return Err(Errno::ENOENT);
            }
            text
        } else {
            default_of(level, name).ok_or(Errno::ENOPROTOOPT)?;
            let v = if level == IP && (1..4).contains(&value.len) {
                i32::from(*value.bytes(4)?.first().ok_or(Errno::EINVAL)?)
            } else {
                value.int()?
            };
            if !in_range(level, name, v) {
                return Err(Errno::EINVAL);
            }
            v.to_ne_bytes().to_vec()
        };
        self.set.lock().insert((level, name), bytes.clone());
        Ok(bytes)
    }

    /// An option's value: EOPNOTSUPP for a level that the socket does not have, ENOPROTOOPT.
    pub fn get(&self, c: &Common, level: i32, name: u32, connected: bool) -> Result<Vec<u8>> {
        if !has_level(c, level) {
            return Err(Errno::EOPNOTSUPP);
        }
        if level == TCP && name == TCP_INFO {
            // struct tcp_info begins with the state; the rest counts what does not happen here.
            let mut info = alloc::vec![0u8; 232];
            info[0] = if connected { 1 } else { 7 };
            return Ok(info);
        }
        if let Some(v) = self.set.lock().get(&(level, name)) {
            return Ok(v.clone());
        }
        if level == TCP && name == TCP_CONGESTION {
            return Ok(b"cubic\0\0\0\0\0\0\0\0\0\0\0".to_vec());
        }
        let v = default_of(level, name).ok_or(Errno::ENOPROTOOPT)?;
        Ok(v.to_ne_bytes().to_vec())
    }

    /// Gives a host socket everything that was set so far.
    pub fn apply(&self, c: &Common, host: &HostSocket) {
        let socket = SOL_SOCKET as i32;
        for (flag, name) in [
            (Flags::REUSEADDR, SO_REUSEADDR),
            (Flags::REUSEPORT, SO_REUSEPORT),
            (Flags::KEEPALIVE, SO_KEEPALIVE),
            (Flags::BROADCAST, SO_BROADCAST),
            (Flags::OOBINLINE, SO_OOBINLINE),
            (Flags::TIMESTAMP, SO_TIMESTAMP),
            (Flags::TIMESTAMPNS, SO_TIMESTAMPNS),
        ] {
            if c.has(flag) {
                host.try_option(socket, name, 1i32.as_bytes());
            }
        }
        for (lock, name, size) in [
            (Flags::SNDBUF_LOCK, SO_SNDBUF, &c.sndbuf),
            (Flags::RCVBUF_LOCK, SO_RCVBUF, &c.rcvbuf),
        ] {
            if c.has(lock) {
                let half = size.load(Ordering::Relaxed) / 2;
                host.try_option(socket, name, half.as_bytes());
            }
        }
        let (on, seconds) = *c.linger.lock();
        if on != 0 {
            host.try_option(socket, SO_LINGER, Linger { on, seconds }.as_bytes());
        }
        for ((level, name), value) in self.set.lock().iter() {
            host.try_option(*level, *name, value);
        }
    }
}
