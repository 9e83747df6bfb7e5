//! What may cross the wall: the manifest's `[network]` table.

use crate::{Errno, kernel};
use alloc::collections::BTreeSet;
use bastide_base::sync::Mutex;
use bastide_pal::boot::{Network, Publish};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Refusals told of already, so that each is one line.
static TOLD: Mutex<BTreeSet<(u8, SocketAddr)>> = Mutex::new(BTreeSet::new());
/// Beyond so many different ones, none are remembered, and none told of.
const MAX_TOLD: usize = 1000;

fn network() -> &'static Network {
    &kernel().config.network
}

/// Everything is allowed, and the host's own loopback is used.
pub fn open() -> bool {
    network().open
}

/// Some destination outside may be reached.
pub fn has_outside() -> bool {
    !network().connect.is_empty()
}

/// The rule that publishes a port.
pub fn published(udp: bool, port: u16) -> Option<&'static Publish> {
    network()
        .publish
        .iter()
        .find(|p| p.udp == udp && p.port == port)
}

/// Where a published port is bound on the host.
pub fn host_place(rule: &Publish) -> SocketAddr {
    let ip = Ipv6Addr::from(rule.host_addr);
    let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
    SocketAddr::new(ip, rule.host_port)
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}

/// Bits `prefix` at the front agree.
fn within(ip: [u8; 16], range: [u8; 16], prefix: u8) -> bool {
    let shift = 128 - u32::from(prefix.min(128));
    let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
    (u128::from_be_bytes(ip) ^ u128::from_be_bytes(range)) & mask == 0
}

/// The manifest permits this destination. Loopback is the enclave's own; only a rule that names
/// loopback itself means the host's.
pub fn may_connect(to: SocketAddr) -> bool {
    let ip = octets(to.ip());
    let own = is_loopback(to.ip());
    network().connect.iter().any(|r| {
        (r.ports.0..=r.ports.1).contains(&to.port())
            && within(ip, r.addr, r.prefix)
            && (!own || is_loopback(from_octets(r.addr)))
    })
}

fn from_octets(addr: [u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(addr);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

/// 127.0.0.0/8 and `::1`.
pub fn is_loopback(ip: IpAddr) -> bool {
    super::super::address::unmapped(ip).is_loopback()
}

/// `0.0.0.0` and `::`.
pub fn is_any(ip: IpAddr) -> bool {
    ip.is_unspecified()
}

/// Where a connection to the unspecified address goes: to oneself.
pub fn loopback_for(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(a) if a.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(a) if a.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        _ => ip,
    }
}

fn first_time(what: u8, addr: SocketAddr) -> bool {
    let mut told = TOLD.lock();
    told.len() < MAX_TOLD && told.insert((what, addr))
}

/// Refuses a destination and says how to permit it. ENETUNREACH if nothing outside is permitted,
/// EACCES if this is not among what is.
pub fn refuse_connect(to: SocketAddr) -> Errno {
    if first_time(0, to) {
        log::warn!(
            "connection to {to} refused: the manifest does not permit it; add it with \
             `connect = [\"{to}\"]` under [network]"
        );
    }
    if has_outside() {
        Errno::EACCES
    } else {
        Errno::ENETUNREACH
    }
}

/// Refuses to bind an address of the host's.
pub fn refuse_bind(udp: bool, at: SocketAddr) -> Errno {
    if first_time(1, at) {
        let suffix = if udp { "/udp" } else { "" };
        log::warn!(
            "binding {at} refused: the manifest does not publish it; add it with \
             `publish = [\"{0}:{0}{suffix}\"]` under [network]",
            at.port()
        );
    }
    Errno::EACCES
}

/// Says that a port that listens to everybody only hears the enclave.
pub fn note_unpublished(udp: bool, at: SocketAddr) {
    if first_time(2, at) {
        let suffix = if udp { "/udp" } else { "" };
        log::warn!(
            "port {0}{suffix} is bound, but only the enclave's own processes reach it; publish it \
             with `publish = [\"{0}:{0}{suffix}\"]` under [network]",
            at.port()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_compare_front_bits() {
        let ip = |s: &str| octets(s.parse().unwrap());
        assert!(within(ip("10.1.2.3"), ip("10.0.0.0"), 96 + 8));
        assert!(!within(ip("11.1.2.3"), ip("10.0.0.0"), 96 + 8));
        assert!(within(ip("::1"), ip("::"), 0));
        assert!(within(ip("1.2.3.4"), ip("1.2.3.4"), 128));
        assert!(!within(ip("1.2.3.5"), ip("1.2.3.4"), 128));
    }
}
