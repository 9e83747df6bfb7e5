//! Socket addresses.

use crate::user::{self, UserAddr};
use crate::{Errno, Result, Task};
use alloc::{sync::Arc, vec::Vec};
use bastide_abi::net::{SockAddrIn, SockAddrIn6, SockAddrNl};
use bastide_abi::raw::net::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use zerocopy::{FromBytes, IntoBytes};

/// Room for any address, `struct sockaddr_storage`.
pub const STORAGE: usize = 128;
/// Bytes of `sun_path`.
pub const SUN_PATH: usize = 108;

/// A socket's own or its peer's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// `sun_path` as `getsockname(2)` reports it: a path with its NUL, or a NUL and an abstract
    /// name; empty for an unnamed socket.
    Unix(Arc<[u8]>),
    Inet(SocketAddr),
    Netlink {
        pid: u32,
        groups: u32,
    },
}

impl Address {
    /// An unnamed Unix socket.
    pub fn unnamed() -> Self {
        Address::Unix(Arc::from(&[][..]))
    }

    /// Reads the bytes of a `sockaddr`; `None` for families that are not ours and for addresses
    /// that are too short.
    pub fn decode(addr: &[u8]) -> Option<Self> {
        match family(addr)? {
            AF_UNIX => Some(Address::Unix(Arc::from(addr.get(2..)?))),
            AF_NETLINK => {
                let (a, _) = SockAddrNl::read_from_prefix(addr).ok()?;
                Some(Address::Netlink {
                    pid: a.pid,
                    groups: a.groups,
                })
            }
            _ => decode_inet(addr).ok().map(Address::Inet),
        }
    }

    /// The bytes of the `sockaddr`.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Address::Unix(name) => {
                let mut out = (AF_UNIX as u16).to_ne_bytes().to_vec();
                out.extend_from_slice(name);
                out
            }
            Address::Inet(SocketAddr::V4(a)) => SockAddrIn {
                family: AF_INET as u16,
                port: a.port().to_be_bytes(),
                addr: a.ip().octets(),
                zero: [0; 8],
            }
            .as_bytes()
            .to_vec(),
            Address::Inet(SocketAddr::V6(a)) => SockAddrIn6 {
                family: AF_INET6 as u16,
                port: a.port().to_be_bytes(),
                flowinfo: a.flowinfo().to_ne_bytes(),
                addr: a.ip().octets(),
                scope: a.scope_id(),
            }
            .as_bytes()
            .to_vec(),
            Address::Netlink { pid, groups } => SockAddrNl {
                family: AF_NETLINK as u16,
                pad: 0,
                pid: *pid,
                groups: *groups,
            }
            .as_bytes()
            .to_vec(),
        }
    }
}

/// The family that an address names; `None` if it is too short to name one.
pub fn family(addr: &[u8]) -> Option<u32> {
    let b = addr.get(..2)?;
    Some(u32::from(u16::from_ne_bytes([b[0], b[1]])))
}

/// Reads an internet address of either family. EINVAL if it is too short for its family,
/// EAFNOSUPPORT for other families.
pub fn decode_inet(addr: &[u8]) -> Result<SocketAddr> {
    match family(addr).ok_or(Errno::EINVAL)? {
        AF_INET => {
            let (a, _) = SockAddrIn::read_from_prefix(addr).map_err(|_| Errno::EINVAL)?;
            Ok(SocketAddr::V4(SocketAddrV4::new(
                Ipv4Addr::from(a.addr),
                u16::from_be_bytes(a.port),
            )))
        }
        AF_INET6 => {
            // `sin6_scope_id` may be missing: SIN6_LEN_RFC2133 is 24.
            let mut full = [0u8; size_of::<SockAddrIn6>()];
            if addr.len() < 24 {
                return Err(Errno::EINVAL);
            }
            let n = addr.len().min(full.len());
            full[..n].copy_from_slice(&addr[..n]);
            let a = SockAddrIn6::read_from_bytes(&full).map_err(|_| Errno::EINVAL)?;
            Ok(SocketAddr::V6(SocketAddrV6::new(
                Ipv6Addr::from(a.addr),
                u16::from_be_bytes(a.port),
                u32::from_ne_bytes(a.flowinfo),
                a.scope,
            )))
        }
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// `::ffff:a.b.c.d` as the IPv4 address it stands for.
pub fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// The address as a socket of `v6` family shows it: IPv4 mapped into IPv6.
pub fn shown_as(addr: SocketAddr, v6: bool) -> SocketAddr {
    match addr {
        SocketAddr::V4(a) if v6 => {
            SocketAddr::V6(SocketAddrV6::new(a.ip().to_ipv6_mapped(), a.port(), 0, 0))
        }
        _ => addr,
    }
}

/// Copies an address in, the kernel's `move_addr_to_kernel`: EINVAL for an absurd length.
pub fn read(t: &Task, addr: UserAddr, len: i32) -> Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    if len > STORAGE {
        return Err(Errno::EINVAL);
    }
    let mut out = alloc::vec![0; len];
    user::read_bytes(t, addr, &mut out)?;
    Ok(out)
}

/// Copies an address out, cut to the length that is at `len_at`, and stores its full length
/// there: the kernel's `move_addr_to_user`.
pub fn write(t: &Task, encoded: &[u8], addr: UserAddr, len_at: UserAddr) -> Result<()> {
    let room: i32 = user::read(t, len_at)?;
    let n = usize::try_from(room)
        .map_err(|_| Errno::EINVAL)?
        .min(encoded.len());
    if n > 0 {
        user::write_bytes(t, addr, &encoded[..n])?;
    }
    user::write(t, len_at, &(encoded.len() as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["127.0.0.1:80", "[::1]:443", "[fe80::1%3]:7"] {
            let a: SocketAddr = text.parse().unwrap();
            assert_eq!(decode_inet(&Address::Inet(a).encode()), Ok(a));
        }
        assert_eq!(decode_inet(&[2, 0, 0]), Err(Errno::EINVAL));
        assert_eq!(decode_inet(&[2]), Err(Errno::EINVAL));
        assert_eq!(decode_inet(&[1, 0, 0, 0]), Err(Errno::EAFNOSUPPORT));
        assert_eq!(Address::unnamed().encode(), [1, 0]);
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let m: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(unmapped(m), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(
            shown_as("10.0.0.1:5".parse().unwrap(), true),
            "[::ffff:10.0.0.1]:5".parse().unwrap()
        );
    }
}
