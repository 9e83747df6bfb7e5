//! `ioctl(2)` on sockets: their own requests, and those about interfaces, `netdevice(7)`.

use super::address::Address;
use super::interfaces::{self, Interface};
use super::socket::Socket;
use crate::fs::File;
use crate::fs::sigio::Whose;
use crate::process::creds::CAP_NET_ADMIN;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use bastide_abi::net::{IfConf, IfReq};
use bastide_abi::raw::net::{AF_INET, AF_INET6};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Is the next byte the urgent one?
pub const SIOCATMARK: u32 = 0x8905;
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;
const FIOGETOWN: u32 = 0x8903;
const SIOCGPGRP: u32 = 0x8904;
const SIOCADDRT: u32 = 0x890b;
const SIOCDELRT: u32 = 0x890c;
const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCSIFFLAGS: u32 = 0x8914;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
const SIOCETHTOOL: u32 = 0x8946;
const SIOCGIFMAP: u32 = 0x8970;
/// Requests that would change an interface.
const CHANGES: [u32; 13] = [
    0x8911, 0x8916, 0x8918, 0x891a, 0x891c, 0x891e, 0x8922, 0x8923, 0x8924, 0x8930, 0x8934, 0x8943,
    0x8936,
];

/// Requests of sockets and of interfaces.
pub fn ioctl(t: &Task, f: &File, s: &dyn Socket, request: u32, arg: usize) -> SysResult {
    let arg = UserAddr(arg);
    match request {
        FIOSETOWN | SIOCSPGRP => {
            let id: i32 = user::read(t, arg)?;
            let whose = if id < 0 { Whose::Group } else { Whose::Process };
            f.set_owner(t, whose, id.checked_abs().ok_or(Errno::EINVAL)?)?;
            return Ok(0);
        }
        FIOGETOWN | SIOCGPGRP => {
            let o = *f.owner.lock();
            let id = if o.whose == Whose::Group { -o.id } else { o.id };
            user::write(t, arg, &id)?;
            return Ok(0);
        }
        SIOCGIFCONF => return configuration(t, arg),
        SIOCADDRT | SIOCDELRT => {
            return Err(if t.creds().capable(CAP_NET_ADMIN) {
                Errno::EOPNOTSUPP
            } else {
                Errno::EPERM
            });
        }
        SIOCGIFADDR | SIOCGIFDSTADDR | SIOCGIFBRDADDR | SIOCGIFNETMASK => {
            if !matches!(s.common().domain, AF_INET | AF_INET6) {
                return Err(Errno::ENOTTY);
            }
        }
        SIOCGIFNAME | SIOCGIFFLAGS | SIOCSIFFLAGS | SIOCGIFMETRIC | SIOCGIFMTU | SIOCGIFHWADDR
        | SIOCGIFINDEX | SIOCGIFTXQLEN | SIOCETHTOOL | SIOCGIFMAP => {}
        _ if CHANGES.contains(&request) => {
            user::read::<IfReq>(t, arg)?;
            return Err(Errno::EPERM);
        }
        // Wireless extensions.
        0x8b00..=0x8bff => return Err(Errno::EOPNOTSUPP),
        _ => return s.ioctl(t, request, arg.0),
    }
    let mut req: IfReq = user::read(t, arg)?;
    interface(t, request, &mut req)?;
    user::write(t, arg, &req)?;
    Ok(0)
}

fn find(req: &IfReq) -> Result<Interface> {
    let name = req.name.split(|&b| b == 0).next().unwrap_or_default();
    interfaces::list()
        .into_iter()
        .find(|i| i.name.as_bytes() == name)
        .ok_or(Errno::ENODEV)
}

fn store(data: &mut [u8; 24], bytes: &[u8]) {
    let n = bytes.len().min(data.len());
    data[..n].copy_from_slice(&bytes[..n]);
}

fn ipv4(addr: Ipv4Addr) -> alloc::vec::Vec<u8> {
    Address::Inet(SocketAddr::new(IpAddr::V4(addr), 0)).encode()
}

/// One question about an interface.
fn interface(t: &Task, request: u32, req: &mut IfReq) -> Result<()> {
    if request == SIOCGIFNAME {
        let index = i32::from_ne_bytes([req.data[0], req.data[1], req.data[2], req.data[3]]);
        let i = interfaces::list()
            .into_iter()
            .find(|i| i.index == index)
            .ok_or(Errno::ENODEV)?;
        req.name = [0; 16];
        req.name[..i.name.len()].copy_from_slice(i.name.as_bytes());
        return Ok(());
    }
    let i = find(req)?;
    let v4 = || i.v4().ok_or(Errno::EADDRNOTAVAIL);
    match request {
        SIOCGIFFLAGS => store(&mut req.data, &(i.flags as u16).to_ne_bytes()),
        SIOCSIFFLAGS => {
            let flags = u16::from_ne_bytes([req.data[0], req.data[1]]);
            // What is so already may be asked for.
            if !t.creds().capable(CAP_NET_ADMIN)
                || (u32::from(flags) ^ i.flags) & interfaces::IFF_UP != 0
            {
                return Err(Errno::EPERM);
            }
        }
        SIOCGIFADDR | SIOCGIFDSTADDR => store(&mut req.data, &ipv4(v4()?.0)),
        SIOCGIFBRDADDR => {
            let (addr, prefix) = v4()?;
            let all = if i.is_loopback() {
                Ipv4Addr::UNSPECIFIED
            } else {
                interfaces::broadcast(addr, prefix)
            };
            store(&mut req.data, &ipv4(all));
        }
        SIOCGIFNETMASK => store(&mut req.data, &ipv4(interfaces::netmask(v4()?.1))),
        SIOCGIFMETRIC => store(&mut req.data, &0i32.to_ne_bytes()),
        SIOCGIFMTU => store(&mut req.data, &i.mtu.to_ne_bytes()),
        SIOCGIFHWADDR => {
            req.data = [0; 24];
            store(&mut req.data, &i.kind.to_ne_bytes());
            req.data[2..8].copy_from_slice(&i.mac);
        }
        SIOCGIFINDEX => store(&mut req.data, &i.index.to_ne_bytes()),
        SIOCGIFTXQLEN => store(&mut req.data, &1000i32.to_ne_bytes()),
        SIOCGIFMAP => req.data = [0; 24],
        _ => return Err(Errno::EOPNOTSUPP),
    }
    Ok(())
}

/// `SIOCGIFCONF`: the interfaces with an IPv4 address, as many as fit; or the room they need.
fn configuration(t: &Task, at: UserAddr) -> SysResult {
    let mut conf: IfConf = user::read(t, at)?;
    let room = usize::try_from(conf.len).map_err(|_| Errno::EINVAL)?;
    let mut done = 0usize;
    for i in interfaces::list() {
        let Some((addr, _)) = i.v4() else {
            continue;
        };
        let size = size_of::<IfReq>();
        if conf.buf != 0 {
            if done + size > room {
                break;
            }
            let mut req = IfReq::default();
            req.name[..i.name.len()].copy_from_slice(i.name.as_bytes());
            store(&mut req.data, &ipv4(addr));
            user::write(t, UserAddr(conf.buf as usize).offset(done)?, &req)?;
        }
        done += size;
    }
    conf.len = done as i32;
    user::write(t, at, &conf)?;
    Ok(0)
}
