//! AF_NETLINK, `netlink(7)`: questions about interfaces, addresses and routes, `rtnetlink(7)`.
//! Nothing can be changed, and nothing changes: groups may be joined but stay silent.

use super::address::{Address, family};
use super::interfaces::{self, Interface};
use super::packet::{Packet, Queue};
use super::payload::{self, Payload};
use super::socket::{Common, Flags, Incoming, OptionValue, Outgoing, Socket, SocketFile};
use crate::fs::File;
use crate::uio::{IoDst, IoSrc};
use crate::user::{self, UserAddr};
use crate::wait::{
    Events, POLLALL, POLLERR, POLLIN, POLLOUT, POLLRDNORM, POLLWRBAND, POLLWRNORM, PollTable,
};
use crate::{Errno, Result, SysResult, Task};
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_abi::net::{IfAddrMsg, IfInfoMsg, NlMsgHdr, SockAddrNl};
use bastide_abi::raw::ioctl::FIONREAD;
use bastide_abi::raw::net::*;
use bastide_base::sync::Mutex;
use core::any::Any;
use core::net::IpAddr;
use zerocopy::{FromBytes, IntoBytes};

const NETLINK_ROUTE: u32 = 0;
const NETLINK_MAX: u32 = 32;
const SOL_NETLINK: i32 = 270;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_MULTI: u16 = 2;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_MIN_TYPE: u16 = 16;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

/// Port numbers of netlink sockets in use.
static PIDS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// A route netlink socket.
pub struct Netlink {
    common: Arc<Common>,
    state: Mutex<State>,
    queue: Queue,
}

#[derive(Default)]
struct State {
    /// Its port number; 0 before it is bound.
    pid: u32,
    groups: u32,
    /// Where it is connected to.
    peer: (u32, u32),
}

/// Makes a socket: ESOCKTNOSUPPORT for other kinds, EPROTONOSUPPORT for other protocols than
/// NETLINK_ROUTE.
pub fn create(t: &Task, kind: u32, protocol: u32) -> Result<Arc<dyn Socket>> {
    if !matches!(kind, SOCK_RAW | SOCK_DGRAM) {
        return Err(Errno::ESOCKTNOSUPPORT);
    }
    if protocol >= NETLINK_MAX || protocol != NETLINK_ROUTE {
        return Err(Errno::EPROTONOSUPPORT);
    }
    Ok(Arc::new(Netlink {
        common: Common::new(t, AF_NETLINK, kind, protocol),
        state: Mutex::default(),
        queue: Queue::default(),
    }))
}

fn parse(addr: &[u8]) -> Result<SockAddrNl> {
    let (a, _) = SockAddrNl::read_from_prefix(addr).map_err(|_| Errno::EINVAL)?;
    if u32::from(a.family) != AF_NETLINK {
        return Err(Errno::EINVAL);
    }
    Ok(a)
}

/// The netlink socket behind a file: ENOTSOCK, EINVAL for another kind.
pub fn of_file(f: &File) -> Result<&Netlink> {
    let socket = f.downcast::<SocketFile>().ok_or(Errno::ENOTSOCK)?;
    socket.0.as_any().downcast_ref().ok_or(Errno::EINVAL)
}

impl Netlink {
    /// The kernel sends a datagram.
    pub fn deliver(&self, data: &[u8]) {
        self.answer(data.to_vec());
    }

    /// Takes a port number: the process's id, or another if that is taken.
    fn bind_to(&self, t: &Task, wanted: u32) -> Result<()> {
        let mut state = self.state.lock();
        if state.pid != 0 {
            return if wanted == 0 || wanted == state.pid {
                Ok(())
            } else {
                Err(Errno::EINVAL)
            };
        }
        let mut pids = PIDS.lock();
        let pid = if wanted != 0 {
            if pids.contains(&wanted) {
                return Err(Errno::EADDRINUSE);
            }
            wanted
        } else {
            let own = t.process.pid as u32;
            core::iter::once(own)
                .chain((0..u32::MAX / 2).map(|n| u32::MAX - 4096 - n))
                .find(|p| !pids.contains(p))
                .ok_or(Errno::EADDRINUSE)?
        };
        pids.insert(pid);
        state.pid = pid;
        Ok(())
    }

    fn answer(&self, data: Vec<u8>) {
        let charge = payload::truesize(data.len(), 4096);
        let packet = Packet {
            data: Payload::Large(data),
            at: 0,
            charge,
            files: None,
            cred: None,
            urgent: false,
            sender: None,
            route: None,
        };
        if self.queue.push(packet, || None).is_ok() {
            self.common.wait.wake_all(POLLIN | POLLRDNORM);
        }
    }

    /// Serves the requests of one datagram.
    fn serve(&self, t: &Task, mut data: &[u8]) {
        let pid = self.state.lock().pid;
        while let Ok((h, _)) = NlMsgHdr::read_from_prefix(data) {
            let len = h.len as usize;
            let Some(body) = data.get(size_of::<NlMsgHdr>()..len) else {
                return;
            };
            let mut reply = Reply {
                seq: h.seq,
                pid,
                flags: 0,
                out: Vec::new(),
            };
            if h.flags & NLM_F_REQUEST != 0 {
                let request = data.get(..len).unwrap_or_default();
                self.serve_one(t, &h, body, request, &mut reply);
            }
            match data.get(len.next_multiple_of(4)..) {
                Some(rest) => data = rest,
                None => return,
            }
        }
    }

    fn serve_one(&self, t: &Task, h: &NlMsgHdr, body: &[u8], request: &[u8], reply: &mut Reply) {
        let dump = h.flags & NLM_F_DUMP == NLM_F_DUMP;
        let outcome = if h.kind < NLMSG_MIN_TYPE {
            Ok(())
        } else if h.kind & 3 == 2 {
            if dump {
                reply.flags = NLM_F_MULTI;
            }
            get(h.kind, body, dump, reply)
        } else {
            change(t, h.kind, body)
        };
        match outcome {
            Ok(()) if dump && h.kind >= NLMSG_MIN_TYPE => {
                if !reply.out.is_empty() {
                    self.answer(core::mem::take(&mut reply.out));
                }
                reply.message(NLMSG_DONE, &0i32.to_ne_bytes());
            }
            Ok(()) if reply.out.is_empty() && h.flags & NLM_F_ACK == 0 => return,
            Ok(()) => {
                if h.flags & NLM_F_ACK != 0 {
                    reply.flags = 0;
                    reply.message(NLMSG_ERROR, &[&0i32.to_ne_bytes(), h.as_bytes()].concat());
                }
            }
            Err(e) => {
                reply.flags = 0;
                reply.out.clear();
                reply.message(NLMSG_ERROR, &[&(-e.0).to_ne_bytes(), request].concat());
            }
        }
        self.answer(core::mem::take(&mut reply.out));
    }
}

/// Messages being written.
struct Reply {
    seq: u32,
    pid: u32,
    flags: u16,
    out: Vec<u8>,
}

impl Reply {
    fn message(&mut self, kind: u16, body: &[u8]) {
        let h = NlMsgHdr {
            len: (size_of::<NlMsgHdr>() + body.len()) as u32,
            kind,
            flags: self.flags,
            seq: self.seq,
            pid: self.pid,
        };
        self.out.extend_from_slice(h.as_bytes());
        self.out.extend_from_slice(body);
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }
}

fn attribute(out: &mut Vec<u8>, kind: u16, data: &[u8]) {
    out.extend_from_slice(&(4 + data.len() as u16).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn name_of(i: &Interface) -> Vec<u8> {
    let mut name = i.name.as_bytes().to_vec();
    name.push(0);
    name
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn family_of(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => AF_INET as u8,
        IpAddr::V6(_) => AF_INET6 as u8,
    }
}

fn link(i: &Interface) -> Vec<u8> {
    let head = IfInfoMsg {
        family: 0,
        pad: 0,
        kind: i.kind,
        index: i.index,
        flags: i.flags | interfaces::IFF_LOWER_UP,
        change: 0,
    };
    let mut out = head.as_bytes().to_vec();
    let all_ones = if i.is_loopback() { [0; 6] } else { [0xff; 6] };
    // IFLA_IFNAME, TXQLEN, OPERSTATE, LINKMODE, MTU, GROUP, ADDRESS, BROADCAST, QDISC.
    attribute(&mut out, 3, &name_of(i));
    attribute(&mut out, 13, &1000u32.to_ne_bytes());
    attribute(&mut out, 16, &[if i.is_loopback() { 0 } else { 6 }]);
    attribute(&mut out, 17, &[0]);
    attribute(&mut out, 4, &i.mtu.to_ne_bytes());
    attribute(&mut out, 27, &0u32.to_ne_bytes());
    attribute(&mut out, 1, &i.mac);
    attribute(&mut out, 2, &all_ones);
    attribute(&mut out, 6, b"noqueue\0");
    out
}

fn address(i: &Interface, ip: IpAddr, prefix: u8) -> Vec<u8> {
    const PERMANENT: u32 = 0x80;
    let head = IfAddrMsg {
        family: family_of(ip),
        prefix,
        flags: PERMANENT as u8,
        // RT_SCOPE_HOST, RT_SCOPE_UNIVERSE.
        scope: if i.is_loopback() { 254 } else { 0 },
        index: i.index as u32,
    };
    let mut out = head.as_bytes().to_vec();
    // IFA_ADDRESS, LOCAL, BROADCAST, LABEL, FLAGS, CACHEINFO.
    attribute(&mut out, 1, &octets(ip));
    if let IpAddr::V4(v4) = ip {
        attribute(&mut out, 2, &v4.octets());
        if !i.is_loopback() {
            attribute(&mut out, 4, &interfaces::broadcast(v4, prefix).octets());
        }
        attribute(&mut out, 3, &name_of(i));
    }
    attribute(&mut out, 8, &PERMANENT.to_ne_bytes());
    let forever = [u32::MAX, u32::MAX, 0, 0];
    attribute(&mut out, 6, forever.as_bytes());
    out
}

/// The route to everywhere, through the interface's own address.
fn default_route(i: &Interface, ip: IpAddr) -> Vec<u8> {
    // struct rtmsg: family, lengths, tos, table MAIN, protocol BOOT, scope LINK, type UNICAST.
    let mut out = alloc::vec![family_of(ip), 0, 0, 0, 254, 3, 253, 1, 0, 0, 0, 0];
    // RTA_TABLE, OIF, PREFSRC.
    attribute(&mut out, 15, &254u32.to_ne_bytes());
    attribute(&mut out, 4, &i.index.to_ne_bytes());
    attribute(&mut out, 7, &octets(ip));
    out
}

/// Answers a question.
fn get(kind: u16, body: &[u8], dump: bool, reply: &mut Reply) -> Result<()> {
    let wanted = body.first().copied().unwrap_or(0);
    let all = interfaces::list();
    match kind {
        RTM_GETLINK if dump => {
            for i in &all {
                reply.message(RTM_NEWLINK, &link(i));
            }
        }
        RTM_GETLINK => {
            let i = asked_link(body, &all)?.ok_or(Errno::ENODEV)?;
            reply.message(RTM_NEWLINK, &link(i));
        }
        RTM_GETADDR if dump => {
            for i in &all {
                for &(ip, prefix) in &i.addrs {
                    if wanted == 0 || wanted == family_of(ip) {
                        reply.message(RTM_NEWADDR, &address(i, ip, prefix));
                    }
                }
            }
        }
        RTM_GETROUTE if dump => {
            for i in all.iter().filter(|i| !i.is_loopback()) {
                for &(ip, _) in &i.addrs {
                    if wanted == 0 || wanted == family_of(ip) {
                        reply.message(RTM_NEWROUTE, &default_route(i, ip));
                    }
                }
            }
        }
        // Neighbours, rules and the like: there are none.
        _ if dump => {}
        _ => return Err(Errno::EOPNOTSUPP),
    }
    Ok(())
}

/// The interface that a link message names, by number or name; EINVAL if by neither.
fn asked_link<'a>(body: &[u8], all: &'a [Interface]) -> Result<Option<&'a Interface>> {
    let (head, mut rest) = IfInfoMsg::read_from_prefix(body).map_err(|_| Errno::EINVAL)?;
    if head.index > 0 {
        return Ok(all.iter().find(|i| i.index == head.index));
    }
    while let Some(h) = rest.first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([h[0], h[1]]));
        let kind = u16::from_ne_bytes([h[2], h[3]]);
        let Some(data) = rest.get(4..len) else {
            break;
        };
        if kind == 3 {
            let name = data.split(|&b| b == 0).next().unwrap_or_default();
            return Ok(all.iter().find(|i| i.name.as_bytes() == name));
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Err(Errno::EINVAL)
}

/// Refuses to change anything, except to what is so already: `ip link set lo up`.
fn change(t: &Task, kind: u16, body: &[u8]) -> Result<()> {
    if !t.creds().capable(crate::process::creds::CAP_NET_ADMIN) {
        return Err(Errno::EPERM);
    }
    if kind == RTM_NEWLINK {
        let all = interfaces::list();
        let i = asked_link(body, &all)?.ok_or(Errno::ENODEV)?;
        let (head, _) = IfInfoMsg::read_from_prefix(body).map_err(|_| Errno::EINVAL)?;
        if (head.flags ^ i.flags) & head.change == 0 {
            return Ok(());
        }
    }
    Err(Errno::EPERM)
}

impl Socket for Netlink {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn common(&self) -> &Arc<Common> {
        &self.common
    }

    fn bind(&self, t: &Task, addr: &[u8]) -> Result<()> {
        let a = parse(addr)?;
        self.bind_to(t, a.pid)?;
        self.state.lock().groups = a.groups;
        Ok(())
    }

    fn connect(&self, t: &Task, addr: &[u8], _nonblock: bool) -> Result<()> {
        if family(addr).ok_or(Errno::EINVAL)? == AF_UNSPEC {
            self.state.lock().peer = (0, 0);
            return Ok(());
        }
        let a = parse(addr)?;
        self.bind_to(t, 0)?;
        self.state.lock().peer = (a.pid, a.groups);
        Ok(())
    }

    fn name(&self, peer: bool) -> Result<Vec<u8>> {
        let s = self.state.lock();
        let (pid, groups) = if peer { s.peer } else { (s.pid, s.groups) };
        Ok(Address::Netlink { pid, groups }.encode())
    }

    fn send(&self, t: &Task, src: &mut IoSrc<'_>, msg: &Outgoing<'_>) -> Result<usize> {
        if msg.flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let (pid, groups) = match msg.addr {
            Some(addr) => {
                let a = parse(addr)?;
                (a.pid, a.groups)
            }
            None => self.state.lock().peer,
        };
        if groups != 0 {
            return Err(Errno::EPERM);
        }
        self.bind_to(t, 0)?;
        if pid != 0 {
            return Err(Errno::ECONNREFUSED);
        }
        let len = src.left();
        if len > 1 << 16 {
            return Err(Errno::EMSGSIZE);
        }
        let data = src.take_vec(len)?;
        if data.len() < len {
            return Err(Errno::EFAULT);
        }
        self.serve(t, &data);
        Ok(len)
    }

    fn recv(&self, t: &Task, dst: &mut IoDst<'_>, msg: &mut Incoming) -> Result<usize> {
        if msg.wants(MSG_OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let me = &self.common;
        let patience = me.receive_patience(msg.wants(MSG_DONTWAIT));
        let ended = || me.has_error().then(|| me.take_error());
        let n = self
            .queue
            .receive(t, me, dst, msg, patience, ended, |_| {})?;
        if msg.wants_addr {
            msg.addr = Some(Address::Netlink { pid: 0, groups: 0 }.encode());
        }
        Ok(n)
    }

    fn shutdown(&self, _how: u32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn get_option(&self, _t: &Task, level: i32, _name: u32, _room: usize) -> Result<Vec<u8>> {
        Err(if level == SOL_NETLINK {
            Errno::ENOPROTOOPT
        } else {
            Errno::EOPNOTSUPP
        })
    }

    fn set_option(&self, _t: &Task, level: i32, name: u32, value: &OptionValue) -> Result<()> {
        if level != SOL_NETLINK {
            return Err(Errno::ENOPROTOOPT);
        }
        // ADD_MEMBERSHIP, DROP_MEMBERSHIP, PKTINFO, BROADCAST_ERROR, NO_ENOBUFS,
        // LISTEN_ALL_NSID, CAP_ACK, EXT_ACK, GET_STRICT_CHK: nothing is ever said unasked, and
        // errors carry no more than they must.
        match name {
            1 | 2 | 3 | 4 | 5 | 8 | 10 | 11 | 12 => {
                value.int()?;
                Ok(())
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        if let Some(table) = table {
            table.listen(&self.common.wait);
        }
        let mut ev = POLLOUT | POLLWRNORM | POLLWRBAND;
        if self.queue.level().count > 0 {
            ev |= POLLIN | POLLRDNORM;
        }
        if self.common.has_error() {
            ev |= POLLERR;
        }
        ev
    }

    fn ioctl(&self, t: &Task, request: u32, arg: usize) -> SysResult {
        if request != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let n = self.queue.level().first as i32;
        user::write(t, UserAddr(arg), &n)?;
        Ok(0)
    }

    fn release(&self) {
        let pid = core::mem::take(&mut self.state.lock().pid);
        PIDS.lock().remove(&pid);
        drop(self.queue.drain());
        self.common.set(Flags::RCV_SHUTDOWN, true);
        self.common.wait.wake_all(POLLALL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::calls::*;
    use crate::net::msg::*;
    use crate::testing::{self, addr as at};

    fn ask(kind: u16, flags: u16, body: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let t = testing::task();
        let fd = sys_socket(&t, AF_NETLINK as i32, SOCK_RAW, 0).unwrap() as i32;
        let h = NlMsgHdr {
            len: 16 + body.len() as u32,
            kind,
            flags: flags | NLM_F_REQUEST,
            seq: 9,
            pid: 0,
        };
        let m = [h.as_bytes(), body].concat();
        sys_sendto(&t, fd, at(&m[..]), m.len(), 0, UserAddr(0), 0).unwrap();
        let mut out = Vec::new();
        let buf = alloc::vec![0u8; 8192];
        while let Ok(n) = sys_recvfrom(
            &t,
            fd,
            at(&buf[..]),
            8192,
            MSG_DONTWAIT,
            UserAddr(0),
            UserAddr(0),
        ) {
            let mut rest = &core::hint::black_box(&buf)[..n];
            while let Ok((h, _)) = NlMsgHdr::read_from_prefix(rest) {
                assert_eq!(h.seq, 9);
                out.push((h.kind, rest[16..h.len as usize].to_vec()));
                rest = &rest[(h.len as usize).next_multiple_of(4)..];
            }
        }
        out
    }

    #[test]
    fn dumps_end_with_done() {
        let links = ask(RTM_GETLINK, NLM_F_DUMP, &[0; 16]);
        assert_eq!(links.first().unwrap().0, RTM_NEWLINK);
        assert_eq!(links.last().unwrap().0, NLMSG_DONE);
        let addrs = ask(RTM_GETADDR, NLM_F_DUMP, &[AF_INET as u8, 0, 0, 0]);
        assert_eq!(addrs.len(), 2);
        assert!(addrs[0].1.windows(4).any(|w| w == [127, 0, 0, 1]));
        assert_eq!(ask(30, NLM_F_DUMP, &[0; 12]).len(), 1);
    }

    #[test]
    fn changes_are_refused_unless_they_change_nothing() {
        let up = IfInfoMsg {
            index: 1,
            flags: 1,
            change: 1,
            ..Default::default()
        };
        let ok = ask(RTM_NEWLINK, NLM_F_ACK, up.as_bytes());
        assert_eq!(ok[0].1[..4], [0; 4]);
        let down = IfInfoMsg { flags: 0, ..up };
        let no = ask(RTM_NEWLINK, NLM_F_ACK, down.as_bytes());
        assert_eq!(no[0].1[..4], (-1i32).to_ne_bytes());
        let nothing = ask(RTM_GETLINK, 0, &[0; 16]);
        assert_eq!(nothing[0].1[..4], (-22i32).to_ne_bytes());
    }
}
