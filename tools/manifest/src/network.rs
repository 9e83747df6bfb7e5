//! What may cross the wall by network: published ports and permitted destinations.

use crate::origin::Origin;
use crate::reader::{Reader, string};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ports that may be bound on the host, and destinations that may be reached.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Everything is allowed.
    pub open: bool,
    pub publish: Vec<(Port, Origin)>,
    pub connect: Vec<(Peer, Origin)>,
}

/// A published port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    pub udp: bool,
    /// What the program binds.
    pub port: u16,
    /// Where the host listens.
    pub host_addr: IpAddr,
    pub host_port: u16,
}

/// A permitted destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    pub host: Host,
    /// First and last port.
    pub ports: (u16, u16),
}

/// Whom a destination names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    Any,
    /// An address with the length of the prefix that must agree.
    Range(IpAddr, u8),
    /// A name, looked up when the enclave starts.
    Name(String),
}

pub(crate) fn read(mut table: Reader<'_>) -> Network {
    let network = Network {
        open: table.bool("open").unwrap_or(false),
        publish: table.each("publish", |value| parse_publish(&string(value)?)),
        connect: table.each("connect", |value| parse_peer(&string(value)?)),
    };
    table.finish();
    network
}

/// `[[HOST_ADDRESS:]HOST_PORT:]PORT[/tcp|/udp]`, an IPv6 address in brackets. Without an address
/// only the host itself reaches the port.
pub fn parse_publish(text: &str) -> Result<Port, String> {
    let usage = || {
        format!(
            "`{text}` is not [[ADDRESS:]HOST_PORT:]PORT[/udp], such as 8080:80 or 0.0.0.0:53:53/udp"
        )
    };
    let (ports, udp) = match text.split_once('/') {
        None => (text, false),
        Some((ports, "tcp")) => (ports, false),
        Some((ports, "udp")) => (ports, true),
        Some(_) => return Err(usage()),
    };
    let (rest, port) = match ports.rsplit_once(':') {
        None => (None, ports),
        Some((rest, port)) => (Some(rest), port),
    };
    let (addr, host_port) = match rest {
        None => (None, port),
        Some(rest) => match rest.rsplit_once(':') {
            None => (None, rest),
            Some((addr, host_port)) => (Some(addr), host_port),
        },
    };
    let number = |text: &str| match text.parse::<u16>() {
        Ok(0) | Err(_) => Err(usage()),
        Ok(port) => Ok(port),
    };
    Ok(Port {
        udp,
        port: number(port)?,
        host_addr: match addr {
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(addr) => unbracket(addr).parse().map_err(|_| usage())?,
        },
        host_port: number(host_port)?,
    })
}

/// `HOST:PORT`, `HOST:FIRST-LAST` or `HOST:*`, where `HOST` is a name, an address, a range such
/// as `10.0.0.0/8`, or `*`. IPv6 addresses stand in brackets.
pub fn parse_peer(text: &str) -> Result<Peer, String> {
    let usage = || {
        format!(
            "`{text}` is not HOST:PORT, such as example.org:443, 10.0.0.0/8:*, [::1]:80-90 or *:53"
        )
    };
    let (host, ports) = text.rsplit_once(':').ok_or_else(usage)?;
    let ports = match ports.split_once('-') {
        _ if ports == "*" => (1, u16::MAX),
        None => {
            let port = ports.parse().map_err(|_| usage())?;
            (port, port)
        }
        Some((first, last)) => (
            first.parse().map_err(|_| usage())?,
            last.parse().map_err(|_| usage())?,
        ),
    };
    if ports.0 == 0 || ports.0 > ports.1 {
        return Err(usage());
    }
    Ok(Peer {
        host: parse_host(host).ok_or_else(usage)?,
        ports,
    })
}

fn parse_host(text: &str) -> Option<Host> {
    if text == "*" {
        return Some(Host::Any);
    }
    if let Some((addr, prefix)) = text.split_once('/') {
        // Both `[2001:db8::]/32` and `[2001:db8::/32]` are written.
        let (addr, prefix) = (addr.trim_matches(['[', ']']), prefix.trim_end_matches(']'));
        let addr: IpAddr = addr.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        let longest = if addr.is_ipv4() { 32 } else { 128 };
        return (prefix <= longest).then_some(Host::Range(addr, prefix));
    }
    if let Ok(addr) = unbracket(text).parse::<IpAddr>() {
        return Some(Host::Range(addr, if addr.is_ipv4() { 32 } else { 128 }));
    }
    let name = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    name.then(|| Host::Name(text.into()))
}

fn unbracket(text: &str) -> &str {
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text)
}

/// An address as the kernel compares it: IPv4 mapped into IPv6.
pub(crate) fn mapped(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

impl Port {
    /// As the kernel is told.
    pub fn to_boot(&self) -> bastide_pal::boot::Publish {
        bastide_pal::boot::Publish {
            udp: self.udp,
            port: self.port,
            host_addr: mapped(self.host_addr),
            host_port: self.host_port,
        }
    }
}

impl Peer {
    /// As the kernel is told; `lookup` gives the addresses of a name.
    pub fn to_boot<E>(
        &self,
        lookup: impl FnOnce(&str) -> Result<Vec<IpAddr>, E>,
    ) -> Result<Vec<bastide_pal::boot::Connect>, E> {
        let ranges = match &self.host {
            Host::Any => vec![(Ipv6Addr::UNSPECIFIED.octets(), 0)],
            Host::Range(addr @ IpAddr::V4(_), prefix) => vec![(mapped(*addr), 96 + prefix)],
            Host::Range(addr, prefix) => vec![(mapped(*addr), *prefix)],
            Host::Name(name) => lookup(name)?
                .into_iter()
                .map(|addr| (mapped(addr), 128))
                .collect(),
        };
        Ok(ranges
            .into_iter()
            .map(|(addr, prefix)| bastide_pal::boot::Connect {
                addr,
                prefix,
                ports: self.ports,
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports() {
        let port = parse_publish("[::1]:8080:80").unwrap();
        assert_eq!(port.host_addr, IpAddr::V6(Ipv6Addr::LOCALHOST));
        assert_eq!((port.host_port, port.port, port.udp), (8080, 80, false));
        let port = parse_publish("53/udp").unwrap();
        assert_eq!(port.host_addr, IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!((port.host_port, port.port, port.udp), (53, 53, true));
        for bad in ["", "0", "70000", "80/sctp", "host:80:80", "1:2:3:4", ":80"] {
            assert!(parse_publish(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn destinations() {
        let peer = parse_peer("10.0.0.0/8:*").unwrap();
        assert_eq!(peer.ports, (1, 65535));
        let boot = peer.to_boot(|_| Err(())).unwrap();
        assert_eq!(boot[0].prefix, 104);
        assert_eq!(boot[0].addr[10..13], [0xff, 0xff, 10]);
        assert_eq!(
            parse_peer("[2001:db8::]/32:80-90").unwrap().host,
            Host::Range("2001:db8::".parse().unwrap(), 32)
        );
        assert_eq!(
            parse_peer("example.org:443").unwrap().host,
            Host::Name("example.org".into())
        );
        for bad in [
            "",
            "a",
            "a:",
            "a:0",
            "a:9-1",
            "10.0.0.0/33:1",
            "a b:1",
            ":1",
        ] {
            assert!(parse_peer(bad).is_err(), "{bad}");
        }
    }
}
