//! UDP sockets of an enclave whose network is not open. One socket may talk to others inside and,
//! as far as the manifest permits, to the outside at the same time.

use super::host::HostSocket;
use super::options::{self, Options};
use super::policy;
use super::ports::{Held, Ports, Wish};
use super::{parse, place_to_bind, unbound};
use crate::net::address::{Address, decode_inet, family, shown_as, unmapped};
use crate::net::packet::{Packet, Queue, Route};
use crate::net::payload::{self, Payload};
use crate::net::socket::{Common, Flags, Incoming, OptionValue, Outgoing, Socket};
use crate::uio::{IoDst, IoSrc};
use crate::user::{self, UserAddr};
use crate::wait::{
    Events, POLLALL, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, POLLRDNORM, POLLWRBAND,
    POLLWRNORM, PollTable,
};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_abi::net::CMsgHdr;
use bastide_abi::raw::ioctl::{FIONREAD, TIOCOUTQ};
use bastide_abi::raw::net::*;
use bastide_base::sync::Mutex;
use core::any::Any;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::Ordering;
use zerocopy::IntoBytes;

static PORTS: Ports<Udp> = Ports::new(true);
/// The longest datagram.
const MAX: usize = 65_507;
/// What of a datagram is in the head of its buffer.
const HEAD: usize = 16_064;

/// A UDP socket.
pub struct Udp {
    common: Arc<Common>,
    me: Weak<Udp>,
    held: Mutex<Option<Held>>,
    peer: Mutex<Option<SocketAddr>>,
    /// The half that the host hears and speaks for.
    host: Mutex<Option<Arc<HostSocket>>>,
    queue: Queue,
    options: Options,
}

impl Udp {
    /// A socket that is neither bound nor connected.
    pub fn new(common: Arc<Common>) -> Arc<Self> {
        Arc::new_cyclic(|me| Udp {
            common,
            me: me.clone(),
            held: Mutex::new(None),
            peer: Mutex::new(None),
            host: Mutex::new(None),
            queue: Queue::default(),
            options: Options::default(),
        })
    }

    fn is_v6(&self) -> bool {
        self.common.domain == AF_INET6
    }

    fn wish(&self, t: &Task, addr: SocketAddr) -> Wish {
        Wish {
            ip: unmapped(addr.ip()),
            port: addr.port(),
            v6only: self.options.int(options::IPV6, IPV6_V6ONLY) != 0,
            reuse_addr: self.common.has(Flags::REUSEADDR),
            reuse_port: self.common.has(Flags::REUSEPORT),
            uid: t.creds().euid,
        }
    }

    /// Holds a port inside, and on the host if it is published. EINVAL if there is one.
    fn take_port(&self, t: &Task, addr: SocketAddr) -> Result<()> {
        let mut held = self.held.lock();
        if held.is_some() {
            return Err(Errno::EINVAL);
        }
        let wish = self.wish(t, addr);
        let new = PORTS.bind(wish, self.me.clone())?;
        if let Some(rule) = policy::published(true, addr.port()) {
            // Of sockets for IPv4 and IPv6, or for several addresses, one hears the host.
            if wish.carries(policy::host_place(rule).ip())
                && !PORTS.beside(new, |other| other.host.lock().is_some())
            {
                match super::publish(&self.common, &self.options, rule) {
                    Ok(host) => self.set_host(host),
                    Err(e) => {
                        PORTS.release(new);
                        return Err(e);
                    }
                }
            }
        } else if policy::is_any(addr.ip()) && addr.port() != 0 {
            policy::note_unpublished(true, addr);
        }
        *held = Some(new);
        let mut shown = shown_as(addr, self.is_v6());
        shown.set_port(new.port);
        *self.common.local.lock() = Some(Address::Inet(shown));
        Ok(())
    }

    fn set_host(&self, host: Arc<HostSocket>) {
        *self.host.lock() = Some(host);
        // Pollers must listen to it as well.
        self.common.wait.wake_all(POLLALL);
    }

    fn ensure_port(&self, t: &Task) -> Result<()> {
        match self.take_port(t, unbound(self.common.domain)) {
            Ok(()) | Err(Errno::EINVAL) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// The host half, made if there is none.
    fn outside(&self) -> Result<Arc<HostSocket>> {
        if let Some(h) = &*self.host.lock() {
            return Ok(h.clone());
        }
        let host = HostSocket::new(self.common.sibling())?;
        self.options.apply(&self.common, &host);
        self.set_host(host.clone());
        Ok(host)
    }

    /// The host half, made already now if datagrams may come from outside later: who waits must
    /// listen to it.
    fn outside_if_possible(&self) -> Option<Arc<HostSocket>> {
        let host = self.host.lock().clone();
        if host.is_some() || !policy::has_outside() {
            return host;
        }
        self.outside().ok()
    }

    /// It takes datagrams from this address.
    fn hears(&self, from: SocketAddr) -> bool {
        self.peer.lock().is_none_or(|p| p == from) && !self.common.has(Flags::RCV_SHUTDOWN)
    }

    /// Its address as the receiver of a datagram to `to` sees it.
    fn source(&self, to: IpAddr) -> SocketAddr {
        let port = (*self.held.lock()).map_or(0, |h| h.port);
        let own = match &*self.common.local.lock() {
            Some(Address::Inet(a)) => unmapped(a.ip()),
            _ => to,
        };
        let ip = match (own.is_unspecified(), to) {
            (false, _) => own,
            (true, IpAddr::V4(_)) => IpAddr::V4(core::net::Ipv4Addr::LOCALHOST),
            (true, IpAddr::V6(_)) => to,
        };
        SocketAddr::new(ip, port)
    }

    fn send_inside(&self, t: &Task, src: &mut IoSrc<'_>, to: SocketAddr) -> Result<usize> {
        self.ensure_port(t)?;
        let len = src.left();
        let data = Payload::take(src, len)?;
        let from = self.source(to.ip());
        let Some(other) = PORTS.find(to, |u| u.hears(from)) else {
            // The answer to a connected socket comes as an error of the next call.
            if self.peer.lock().is_some() {
                self.common.fail(Errno::ECONNREFUSED);
            }
            return Ok(len);
        };
        let charge = payload::truesize(len, HEAD);
        let limit = other.common.rcvbuf.load(Ordering::Relaxed) as usize;
        if other.common.charged.load(Ordering::Acquire) + charge > limit.max(charge) {
            // No room: datagrams get lost.
            return Ok(len);
        }
        other.common.charged.fetch_add(charge, Ordering::AcqRel);
        let packet = Packet {
            data,
            at: 0,
            charge,
            files: None,
            cred: None,
            urgent: false,
            sender: None,
            route: Some(Route {
                from: shown_as(from, other.is_v6()),
                to: to.ip(),
            }),
        };
        if other.queue.push(packet, || None).is_ok() {
            other.common.wait.wake_all(POLLIN | POLLRDNORM);
        }
        Ok(len)
    }

    fn send_outside(
        &self,
        t: &Task,
        src: &mut IoSrc<'_>,
        msg: &Outgoing<'_>,
        to: Option<SocketAddr>,
    ) -> Result<usize> {
        let host = self.outside()?;
        let addr =
            to.map(|a| Address::Inet(shown_as(a, host.common().domain == AF_INET6)).encode());
        host.send(
            t,
            src,
            &Outgoing {
                flags: msg.flags,
                addr: addr.as_deref(),
                control: msg.control,
            },
        )
    }

    /// Tells where a datagram was sent to, if asked to.
    fn packet_info(&self, msg: &mut Incoming) {
        let Some(Route { to, .. }) = msg.route else {
            return;
        };
        let mut put = |level: i32, kind: u32, data: &[u8]| {
            let h = CMsgHdr {
                len: (size_of::<CMsgHdr>() + data.len()) as u64,
                level,
                kind: kind as i32,
            };
            msg.control.extend_from_slice(h.as_bytes());
            msg.control.extend_from_slice(data);
            let padded = msg.control.len().next_multiple_of(8);
            msg.control.resize(padded, 0);
        };
        const LO: u32 = 1;
        if let IpAddr::V4(a) = to
            && self.options.int(options::IP, IP_PKTINFO) != 0
        {
            let addr = a.octets();
            put(
                options::IP,
                IP_PKTINFO,
                &[LO.to_ne_bytes(), addr, addr].concat(),
            );
        }
        if self.options.int(options::IPV6, IPV6_RECVPKTINFO) != 0 {
            let addr = match to {
                IpAddr::V6(a) => a.octets(),
                IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
            };
            put(
                options::IPV6,
                IPV6_PKTINFO,
                &[&addr[..], &LO.to_ne_bytes()].concat(),
            );
        }
    }

    /// One try to receive, from inside first.
    fn try_recv(
        &self,
        t: &Task,
        dst: &mut IoDst<'_>,
        msg: &mut Incoming,
        host: Option<&Arc<HostSocket>>,
    ) -> Option<Result<usize>> {
        if let Err(e) = self.common.take_error() {
            return Some(Err(e));
        }
        let gone = |p: &Packet| {
            self.common.charged.fetch_sub(p.charge, Ordering::AcqRel);
        };
        match self.queue.try_receive(&self.common, dst, msg, gone) {
            Ok(Some(n)) => {
                self.packet_info(msg);
                return Some(Ok(n));
            }
            Ok(None) => {}
            Err(e) => return Some(Err(e)),
        }
        match host?.recv_now(t, dst, msg) {
            Err(Errno::EAGAIN) => None,
            r => {
                if let Some(a) = msg.addr.as_deref().and_then(|a| decode_inet(a).ok()) {
                    msg.addr = Some(Address::Inet(shown_as(a, self.is_v6())).encode());
                }
                Some(r)
            }
        }
    }
}

impl Socket for Udp {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn common(&self) -> &Arc<Common> {
        &self.common
    }

    fn bind(&self, t: &Task, addr: &[u8]) -> Result<()> {
        let a = place_to_bind(&self.common, t, addr, true)?;
        self.take_port(t, a)
    }

    fn connect(&self, t: &Task, addr: &[u8], _nonblock: bool) -> Result<()> {
        if family(addr).ok_or(Errno::EINVAL)? == AF_UNSPEC {
            *self.peer.lock() = None;
            let host = self.host.lock().clone();
            if let Some(h) = host {
                let _ = h.connect(t, addr, true);
            }
            return Ok(());
        }
        let given = parse(&self.common, addr, false)?;
        let ip = policy::loopback_for(unmapped(given.ip()));
        let to = SocketAddr::new(ip, given.port());
        let inside = policy::is_loopback(ip) && !policy::may_connect(to);
        if !inside && !policy::may_connect(to) {
            return Err(policy::refuse_connect(to));
        }
        self.ensure_port(t)?;
        if inside {
            let held = *self.held.lock();
            let source = self.source(ip);
            if let Some(held) = held {
                PORTS.narrow(held, source.ip());
            }
            *self.common.local.lock() = Some(Address::Inet(shown_as(source, self.is_v6())));
        } else {
            let host = self.outside()?;
            let shown = shown_as(to, host.common().domain == AF_INET6);
            host.connect(t, &Address::Inet(shown).encode(), true)?;
            if let Ok(mut a) = decode_inet(&host.name(false)?) {
                a.set_port((*self.held.lock()).map_or(a.port(), |h| h.port));
                *self.common.local.lock() = Some(Address::Inet(shown_as(a, self.is_v6())));
            }
        }
        *self.peer.lock() = Some(to);
        Ok(())
    }

    fn name(&self, peer: bool) -> Result<Vec<u8>> {
        if peer {
            let a = (*self.peer.lock()).ok_or(Errno::ENOTCONN)?;
            return Ok(Address::Inet(shown_as(a, self.is_v6())).encode());
        }
        let local = self.common.local.lock().clone();
        Ok(local
            .unwrap_or_else(|| Address::Inet(unbound(self.common.domain)))
            .encode())
    }

    fn send(&self, t: &Task, src: &mut IoSrc<'_>, msg: &Outgoing<'_>) -> Result<usize> {
        if src.left() > MAX {
            return Err(Errno::EMSGSIZE);
        }
        if msg.flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let to = match msg.addr {
            Some(addr) => {
                let given = parse(&self.common, addr, false)?;
                if given.port() == 0 {
                    return Err(Errno::EINVAL);
                }
                let ip = policy::loopback_for(unmapped(given.ip()));
                SocketAddr::new(ip, given.port())
            }
            None => (*self.peer.lock()).ok_or(Errno::EDESTADDRREQ)?,
        };
        super::host::outgoing_control(msg.control)?;
        self.common.take_error()?;
        if self.common.has(Flags::SEND_SHUTDOWN) {
            return Err(Errno::EPIPE);
        }
        if policy::is_loopback(to.ip()) && !policy::may_connect(to) {
            return self.send_inside(t, src, to);
        }
        // A published port answers whoever wrote to it.
        let answers = self
            .held
            .lock()
            .is_some_and(|h| policy::published(true, h.port).is_some())
            && self.host.lock().is_some();
        if !answers && !policy::may_connect(to) {
            return Err(policy::refuse_connect(to));
        }
        self.ensure_port(t)?;
        self.send_outside(t, src, msg, msg.addr.map(|_| to))
    }

    fn recv(&self, t: &Task, dst: &mut IoDst<'_>, msg: &mut Incoming) -> Result<usize> {
        if msg.wants(MSG_OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let host = self.host.lock().clone();
        if msg.wants(MSG_ERRQUEUE) {
            return host.map_or(Err(Errno::EAGAIN), |h| h.recv_now(t, dst, msg));
        }
        if let Some(r) = self.try_recv(t, dst, msg, host.as_ref()) {
            return r;
        }
        let patience = self.common.receive_patience(msg.wants(MSG_DONTWAIT));
        if patience.none() {
            return Err(Errno::EAGAIN);
        }
        let host = self.outside_if_possible();
        patience.wait_poll(t, |table| {
            if let Some(table) = table {
                table.listen(&self.common.wait);
                if let Some(h) = &host {
                    h.listen_for(table, POLLIN);
                }
            }
            if self.common.has(Flags::RCV_SHUTDOWN) {
                return Some(Ok(0));
            }
            self.try_recv(t, dst, msg, host.as_ref())
        })?
    }

    fn shutdown(&self, how: u32) -> Result<()> {
        if self.peer.lock().is_none() {
            return Err(Errno::ENOTCONN);
        }
        if how != SHUT_WR {
            self.common.set(Flags::RCV_SHUTDOWN, true);
        }
        if how != SHUT_RD {
            self.common.set(Flags::SEND_SHUTDOWN, true);
        }
        self.common.wait.wake_all(POLLALL);
        Ok(())
    }

    fn get_option(&self, _t: &Task, level: i32, name: u32, _room: usize) -> Result<Vec<u8>> {
        self.options.get(&self.common, level, name, false)
    }

    fn set_option(&self, _t: &Task, level: i32, name: u32, value: &OptionValue) -> Result<()> {
        if (level, name) == (options::IPV6, IPV6_V6ONLY) && self.held.lock().is_some() {
            return Err(Errno::EINVAL);
        }
        let bytes = self.options.set(&self.common, level, name, value)?;
        if let Some(h) = &*self.host.lock() {
            h.try_option(level, name, &bytes);
        }
        Ok(())
    }

    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        let host = if let Some(table) = table {
            table.listen(&self.common.wait);
            let host = self.outside_if_possible();
            if let Some(h) = &host {
                h.listen_to(table);
            }
            host
        } else {
            self.host.lock().clone()
        };
        let flags = self.common.flags();
        let mut ev = POLLOUT | POLLWRNORM | POLLWRBAND;
        if let Some(h) = host {
            ev |= h.ready() & (POLLIN | POLLRDNORM | POLLERR);
        }
        if self.queue.level().count > 0 {
            ev |= POLLIN | POLLRDNORM;
        }
        if flags.contains(Flags::RCV_SHUTDOWN) {
            ev |= POLLIN | POLLRDNORM | POLLRDHUP;
        }
        if flags.contains(Flags::RCV_SHUTDOWN | Flags::SEND_SHUTDOWN) {
            ev |= POLLHUP;
        }
        if self.common.has_error() {
            ev |= POLLERR;
        }
        ev
    }

    fn ioctl(&self, t: &Task, request: u32, arg: usize) -> SysResult {
        let value = match request {
            FIONREAD => {
                let level = self.queue.level();
                let host = self.host.lock().clone();
                if level.count == 0
                    && let Some(h) = host
                {
                    return h.ioctl(t, request, arg);
                }
                level.first
            }
            TIOCOUTQ => 0,
            _ => return Err(Errno::ENOTTY),
        };
        user::write(t, UserAddr(arg), &(value as i32))?;
        Ok(0)
    }

    fn release(&self) {
        if let Some(held) = self.held.lock().take() {
            PORTS.release(held);
        }
        drop(self.host.lock().take());
        drop(self.queue.drain());
    }
}
