//! AF_INET and AF_INET6.
//!
//! With an open network, every socket is one of the host's ([`host`]). Otherwise loopback stays
//! inside the enclave, and what may go outside is decided when a socket is bound, connected or
//! sends ([`policy`], [`tcp`], [`udp`]).

mod host;
mod options;
pub mod policy;
mod ports;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use super::address::{Address, decode_inet, family, unmapped};
use super::socket::{Common, Socket};
use crate::{Errno, Result, Task};
use alloc::sync::Arc;
use bastide_abi::raw::net::{AF_INET, AF_INET6, AF_UNSPEC, SOCK_STREAM};
use bastide_pal::boot::Publish;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use host::HostSocket;

/// Makes a socket; the combination has been checked. Beside TCP and UDP, only the host has any
/// protocol.
pub fn create(t: &Task, domain: u32, kind: u32, protocol: u32) -> Result<Arc<dyn Socket>> {
    const TCP: u32 = options::TCP as u32;
    const UDP: u32 = options::UDP as u32;
    let common = Common::new(t, domain, kind, protocol);
    if policy::open() {
        return Ok(HostSocket::new(common)?);
    }
    match protocol {
        TCP | UDP => Ok(make_inside(common)),
        _ => Err(Errno::EPROTONOSUPPORT),
    }
}

fn make_inside(common: Arc<Common>) -> Arc<dyn Socket> {
    if common.kind == SOCK_STREAM {
        tcp::Tcp::new(common)
    } else {
        udp::Udp::new(common)
    }
}

/// The address of a socket that has none: any, port 0.
fn unbound(domain: u32) -> SocketAddr {
    let ip = if domain == AF_INET6 {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    SocketAddr::new(ip, 0)
}

/// The address that a socket of the enclave's is to be bound to; EACCES for one of the host's that
/// the manifest does not publish, and for a port that is not the caller's to bind.
fn place_to_bind(common: &Common, t: &Task, addr: &[u8], udp: bool) -> Result<SocketAddr> {
    let a = parse(common, addr, true)?;
    host::may_bind_port(t, a.port())?;
    let ip = unmapped(a.ip());
    let own = policy::is_loopback(ip) || policy::is_any(ip);
    if !own && policy::published(udp, a.port()).is_none() {
        return Err(policy::refuse_bind(udp, a));
    }
    Ok(a)
}

/// Reads an address for a socket of this family. EINVAL if it is too short, EAFNOSUPPORT for
/// another family; `bind(2)` takes AF_UNSPEC with the address 0.0.0.0 for AF_INET.
fn parse(common: &Common, addr: &[u8], binding: bool) -> Result<SocketAddr> {
    let least = if common.domain == AF_INET6 { 24 } else { 16 };
    if addr.len() < least {
        return Err(Errno::EINVAL);
    }
    let named = family(addr).ok_or(Errno::EINVAL)?;
    if named == common.domain {
        return decode_inet(addr);
    }
    if binding && named == AF_UNSPEC && common.domain == AF_INET && addr[4..8] == [0; 4] {
        let mut fixed = addr.to_vec();
        fixed[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
        return decode_inet(&fixed);
    }
    Err(Errno::EAFNOSUPPORT)
}

/// The host half of a published port.
fn publish(common: &Common, options: &options::Options, rule: &Publish) -> Result<Arc<HostSocket>> {
    let place = policy::host_place(rule);
    let domain = if place.is_ipv6() { AF_INET6 } else { AF_INET };
    let host = HostSocket::new(common.sibling_of(domain))?;
    options.apply(common, &host);
    host.bind_to(&Address::Inet(place).encode())?;
    Ok(host)
}
