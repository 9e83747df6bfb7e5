//! The network interfaces that the application sees: `lo`, and `eth0` if something outside can be
//! reached. The host's own interfaces are none of the enclave's business; `eth0` has the address
//! from which the host would reach the outside, which connections show anyway.

use super::address::{Address, decode_inet};
use super::inet::policy;
use crate::{Result, host_error, pal};
use alloc::vec::Vec;
use bastide_abi::raw::net::{AF_INET, AF_INET6, SOCK_DGRAM};
use bastide_base::sync::Once;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub const IFF_UP: u32 = 1;
const IFF_BROADCAST: u32 = 2;
pub const IFF_LOOPBACK: u32 = 8;
const IFF_RUNNING: u32 = 0x40;
const IFF_MULTICAST: u32 = 0x1000;
pub const IFF_LOWER_UP: u32 = 0x1_0000;

/// An interface.
#[derive(Clone, Debug)]
pub struct Interface {
    pub index: i32,
    pub name: &'static str,
    pub flags: u32,
    pub mtu: u32,
    /// `ARPHRD_*`.
    pub kind: u16,
    pub mac: [u8; 6],
    /// Addresses with the lengths of their prefixes.
    pub addrs: Vec<(IpAddr, u8)>,
}

impl Interface {
    /// It is `lo`.
    pub fn is_loopback(&self) -> bool {
        self.flags & IFF_LOOPBACK != 0
    }

    /// Its IPv4 address.
    pub fn v4(&self) -> Option<(Ipv4Addr, u8)> {
        self.addrs.iter().find_map(|&(a, p)| match a {
            IpAddr::V4(a) => Some((a, p)),
            IpAddr::V6(_) => None,
        })
    }
}

/// Leading ones.
pub fn netmask(prefix: u8) -> Ipv4Addr {
    let shift = 32 - u32::from(prefix.min(32));
    Ipv4Addr::from(u32::MAX.checked_shl(shift).unwrap_or(0))
}

/// All addresses of a network at once.
pub fn broadcast(addr: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(addr) | !u32::from(netmask(prefix)))
}

/// The address that the host would use towards a destination. Connecting a datagram socket sends
/// nothing.
fn source_towards(to: SocketAddr) -> Result<IpAddr> {
    let domain = if to.is_ipv6() { AF_INET6 } else { AF_INET };
    let fd = pal()
        .socket(domain as i32, SOCK_DGRAM as i32, 0)
        .map_err(host_error)?;
    let fd = crate::fs::HostHandle(fd);
    pal()
        .connect(fd.0, &Address::Inet(to).encode())
        .map_err(host_error)?;
    let mut buf = [0; super::address::STORAGE];
    let n = pal().sock_name(fd.0, false, &mut buf).map_err(host_error)?;
    Ok(decode_inet(buf.get(..n).unwrap_or_default())?.ip())
}

fn find_outside() -> Vec<(IpAddr, u8)> {
    if !policy::open() && !policy::has_outside() {
        return Vec::new();
    }
    // Addresses that nobody has, behind the default route.
    let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let v6 = SocketAddr::new(IpAddr::V6(v6), 9);
    [(v4, 24), (v6, 64)]
        .into_iter()
        .filter_map(|(to, prefix)| Some((source_towards(to).ok()?, prefix)))
        .filter(|(ip, _)| !ip.is_loopback() && !ip.is_unspecified())
        .collect()
}

/// All interfaces.
pub fn list() -> Vec<Interface> {
    static OUTSIDE: Once<Vec<(IpAddr, u8)>> = Once::new();
    let mut all = alloc::vec![Interface {
        index: 1,
        name: "lo",
        flags: IFF_UP | IFF_LOOPBACK | IFF_RUNNING,
        mtu: 65_536,
        kind: 772,
        mac: [0; 6],
        addrs: alloc::vec![
            (IpAddr::V4(Ipv4Addr::LOCALHOST), 8),
            (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
        ],
    }];
    let outside = OUTSIDE.get_or_init(find_outside);
    if !outside.is_empty() {
        all.push(Interface {
            index: 2,
            name: "eth0",
            flags: IFF_UP | IFF_BROADCAST | IFF_RUNNING | IFF_MULTICAST,
            mtu: 1500,
            kind: 1,
            mac: [2, 0, 0, 0, 0, 2],
            addrs: outside.clone(),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        assert_eq!(netmask(8), Ipv4Addr::new(255, 0, 0, 0));
        assert_eq!(netmask(0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(netmask(32), Ipv4Addr::BROADCAST);
        assert_eq!(
            broadcast(Ipv4Addr::new(10, 1, 2, 3), 24),
            Ipv4Addr::new(10, 1, 2, 255)
        );
    }
}
