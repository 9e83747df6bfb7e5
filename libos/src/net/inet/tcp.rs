//! TCP sockets of an enclave whose network is not open. Each stays inside (loopback) or turns
//! outside (the host) when it is connected; one that listens on a published port does both.

use super::host::HostSocket;
use super::options::{self, Options};
use super::policy;
use super::ports::{Held, Ports, Wish};
use super::{parse, place_to_bind, unbound};
use crate::net::address::{Address, family, shown_as, unmapped};
use crate::net::ioctl::SIOCATMARK;
use crate::net::scm::Rights;
use crate::net::socket::{Common, Flags, Incoming, OptionValue, Outgoing, Socket, broken_pipe};
use crate::net::stream::{self, End};
use crate::uio::{IoDst, IoSrc};
use crate::user::{self, UserAddr};
use crate::wait::{
    Events, POLLALL, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRBAND, POLLWRNORM, PollTable,
};
use crate::{Errno, Result, SysResult, Task};
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_abi::raw::ioctl::{FIONREAD, TIOCOUTQ};
use bastide_abi::raw::net::*;
use bastide_base::sync::Mutex;
use bastide_pal::HostFd;
use core::any::Any;
use core::net::{IpAddr, SocketAddr};

static PORTS: Ports<Tcp> = Ports::new(false);

/// `MSG_FASTOPEN`: connect and send at once.
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// A TCP socket.
pub struct Tcp {
    common: Arc<Common>,
    me: Weak<Tcp>,
    phase: Mutex<Phase>,
    held: Mutex<Option<Held>>,
    /// The half of a published port that the host hears.
    published: Mutex<Option<Arc<HostSocket>>>,
    options: Options,
}

/// What became of a socket.
#[derive(Clone)]
enum Phase {
    Fresh,
    Listening(Arc<Listener>),
    Inside(End),
    Outside(Arc<HostSocket>),
}

/// Connections that wait to be accepted.
struct Listener {
    pending: Mutex<Pending>,
    host: Option<Arc<HostSocket>>,
}

#[derive(Default)]
struct Pending {
    queue: VecDeque<End>,
    closed: bool,
}

/// What `accept(2)` found.
enum Accepted {
    Inside(End),
    Outside(Arc<HostSocket>),
}

impl Tcp {
    /// A socket that is neither bound nor connected.
    pub fn new(common: Arc<Common>) -> Arc<Self> {
        Self::made(common, Phase::Fresh, Options::default())
    }

    fn made(common: Arc<Common>, phase: Phase, options: Options) -> Arc<Self> {
        Arc::new_cyclic(|me| Tcp {
            common,
            me: me.clone(),
            phase: Mutex::new(phase),
            held: Mutex::new(None),
            published: Mutex::new(None),
            options,
        })
    }

    fn phase(&self) -> Phase {
        self.phase.lock().clone()
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

    /// Holds a port inside, and on the host if it is published.
    fn take_port(&self, t: &Task, addr: SocketAddr) -> Result<Held> {
        let mut held = self.held.lock();
        if held.is_some() || !matches!(*self.phase.lock(), Phase::Fresh) {
            return Err(Errno::EINVAL);
        }
        let wish = self.wish(t, addr);
        let new = PORTS.bind(wish, self.me.clone())?;
        // Of sockets for IPv4 and IPv6, or for several addresses, one hears the host.
        if let Some(rule) = policy::published(false, addr.port())
            && wish.carries(policy::host_place(rule).ip())
            && !PORTS.beside(new, |other| other.published.lock().is_some())
        {
            match super::publish(&self.common, &self.options, rule) {
                Ok(host) => *self.published.lock() = Some(host),
                Err(e) => {
                    PORTS.release(new);
                    return Err(e);
                }
            }
        }
        *held = Some(new);
        let mut shown = shown_as(addr, self.is_v6());
        shown.set_port(new.port);
        *self.common.local.lock() = Some(Address::Inet(shown));
        Ok(new)
    }

    fn accepts(&self) -> bool {
        matches!(&*self.phase.lock(), Phase::Listening(l) if !l.pending.lock().closed)
    }

    /// Connects to a socket that listens inside.
    fn connect_inside(&self, t: &Task, to: SocketAddr) -> Result<()> {
        let listener = PORTS.find(to, Tcp::accepts).ok_or(Errno::ECONNREFUSED)?;
        let Phase::Listening(l) = listener.phase() else {
            return Err(Errno::ECONNREFUSED);
        };
        let from = match to.ip() {
            IpAddr::V4(_) => IpAddr::V4(core::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => to.ip(),
        };
        if self.held.lock().is_none() {
            self.take_port(t, SocketAddr::new(from, 0))?;
        }
        let held = (*self.held.lock()).ok_or(Errno::EADDRNOTAVAIL)?;
        PORTS.narrow(held, from);
        let local = match &*self.common.local.lock() {
            Some(Address::Inet(a)) if !a.ip().is_unspecified() => *a,
            _ => shown_as(SocketAddr::new(from, held.port), self.is_v6()),
        };
        let server = listener.common.inherit();
        let shown = shown_as(to, listener.is_v6());
        *server.local.lock() = Some(Address::Inet(shown));
        {
            let mut phase = self.phase.lock();
            if !matches!(*phase, Phase::Fresh | Phase::Outside(_)) {
                return Err(Errno::EISCONN);
            }
            let (mine, theirs) = stream::connect(self.common.clone(), server);
            let mut pending = l.pending.lock();
            if pending.closed {
                return Err(Errno::ECONNREFUSED);
            }
            pending.queue.push_back(theirs);
            *self.common.local.lock() = Some(Address::Inet(local));
            *phase = Phase::Inside(mine);
        }
        self.common.wait.wake_all(POLLALL);
        listener.common.wait.wake_all(POLLIN | POLLRDNORM);
        Ok(())
    }

    /// Connects through the host.
    fn connect_outside(&self, t: &Task, addr: &[u8], nonblock: bool) -> Result<()> {
        let host = {
            let mut phase = self.phase.lock();
            match &*phase {
                Phase::Outside(h) => h.clone(),
                Phase::Fresh => {
                    let host = match self.published.lock().take() {
                        Some(h) => h,
                        None => HostSocket::new(self.common.sibling())?,
                    };
                    self.options.apply(&self.common, &host);
                    *phase = Phase::Outside(host.clone());
                    host
                }
                _ => return Err(Errno::EISCONN),
            }
        };
        self.common.wait.wake_all(POLLALL);
        let patience = self.common.send_patience(nonblock);
        host.connect_waiting(t, addr, patience)
    }

    /// `connect(2)` with AF_UNSPEC: ends the connection, and the socket is as new.
    fn disconnect(&self) {
        let old = core::mem::replace(&mut *self.phase.lock(), Phase::Fresh);
        Self::end(&old, true);
        self.common
            .set(Flags::RCV_SHUTDOWN | Flags::SEND_SHUTDOWN, false);
        self.common.wait.wake_all(POLLALL);
    }

    /// Ends what a phase holds. With `abort`, or if data was left unread, the peer sees a reset.
    fn end(phase: &Phase, abort: bool) {
        match phase {
            Phase::Inside(end) => {
                if end.close() || abort {
                    reset(end.peer(), Errno::ECONNRESET);
                }
                end.peer().wait.wake_all(POLLALL);
            }
            Phase::Listening(l) => {
                let refused = {
                    let mut p = l.pending.lock();
                    p.closed = true;
                    core::mem::take(&mut p.queue)
                };
                for end in refused {
                    end.close();
                    reset(end.peer(), Errno::ECONNRESET);
                }
            }
            Phase::Fresh | Phase::Outside(_) => {}
        }
    }
}

/// The connection is gone.
fn reset(common: &Common, e: Errno) {
    common.set(Flags::RCV_SHUTDOWN | Flags::SEND_SHUTDOWN, true);
    common.fail(e);
}

impl Socket for Tcp {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn common(&self) -> &Arc<Common> {
        &self.common
    }

    fn bind(&self, t: &Task, addr: &[u8]) -> Result<()> {
        let a = place_to_bind(&self.common, t, addr, false)?;
        self.take_port(t, a)?;
        Ok(())
    }

    fn listen(&self, t: &Task, backlog: u32) -> Result<()> {
        match self.phase() {
            Phase::Fresh => {}
            Phase::Listening(l) => {
                return l.host.as_ref().map_or(Ok(()), |h| h.listen_with(backlog));
            }
            _ => return Err(Errno::EINVAL),
        }
        let known = *self.held.lock();
        let held = match known {
            Some(h) => h,
            None => self.take_port(t, unbound(self.common.domain))?,
        };
        PORTS.listen(held)?;
        let host = self.published.lock().clone();
        if let Some(h) = &host {
            h.listen_with(backlog)?;
        } else if let Some(Address::Inet(a)) = *self.common.local.lock()
            && policy::is_any(a.ip())
            && known.is_some()
            && policy::published(false, a.port()).is_none()
        {
            policy::note_unpublished(false, a);
        }
        *self.phase.lock() = Phase::Listening(Arc::new(Listener {
            pending: Mutex::default(),
            host,
        }));
        self.common.wait.wake_all(POLLALL);
        Ok(())
    }

    fn accept(&self, t: &Task, nonblock: bool) -> Result<Arc<dyn Socket>> {
        let l = match self.phase() {
            Phase::Listening(l) => l,
            Phase::Outside(_) | Phase::Fresh | Phase::Inside(_) => return Err(Errno::EINVAL),
        };
        let patience = self.common.receive_patience(nonblock);
        let accepted = patience.wait_poll(t, |table| {
            if let Some(table) = table {
                table.listen(&self.common.wait);
                if let Some(h) = &l.host {
                    h.listen_for(table, POLLIN);
                }
            }
            {
                let mut p = l.pending.lock();
                if let Some(end) = p.queue.pop_front() {
                    return Some(Ok(Accepted::Inside(end)));
                }
                if p.closed {
                    return Some(Err(Errno::EINVAL));
                }
            }
            match l.host.as_ref()?.try_accept() {
                Err(Errno::EAGAIN) => None,
                r => Some(r.map(Accepted::Outside)),
            }
        })??;
        let options = self.options.inherit();
        Ok(match accepted {
            Accepted::Inside(end) => {
                Tcp::made(end.me().clone(), Phase::Inside(end.clone()), options)
            }
            Accepted::Outside(h) => {
                let common = self.common.inherit();
                if let Ok(name) = h.name(false)
                    && let Ok(mut a) = crate::net::address::decode_inet(&name)
                    && let Some(held) = *self.held.lock()
                {
                    // The program knows the port that it bound, not the host's.
                    a.set_port(held.port);
                    *common.local.lock() = Some(Address::Inet(shown_as(a, self.is_v6())));
                }
                Tcp::made(common, Phase::Outside(h), options)
            }
        })
    }

    fn connect(&self, t: &Task, addr: &[u8], nonblock: bool) -> Result<()> {
        if family(addr).ok_or(Errno::EINVAL)? == AF_UNSPEC {
            self.disconnect();
            return Ok(());
        }
        let given = parse(&self.common, addr, false)?;
        match self.phase() {
            Phase::Listening(_) | Phase::Inside(_) => return Err(Errno::EISCONN),
            Phase::Outside(h) if h.name(true).is_ok() => {
                // Connected, or the outcome of an earlier attempt that succeeded.
                return h.connect_waiting(t, addr, self.common.send_patience(nonblock));
            }
            _ => {}
        }
        let ip = policy::loopback_for(unmapped(given.ip()));
        let to = SocketAddr::new(ip, given.port());
        if policy::is_loopback(ip) {
            match self.connect_inside(t, to) {
                Err(Errno::ECONNREFUSED) if policy::may_connect(to) => {}
                r => return r,
            }
        } else if !policy::may_connect(to) {
            return Err(policy::refuse_connect(to));
        }
        let target = match given {
            SocketAddr::V6(v6) if !v6.ip().is_unspecified() => given,
            _ => shown_as(to, self.is_v6()),
        };
        self.connect_outside(t, &Address::Inet(target).encode(), nonblock)
    }

    fn name(&self, peer: bool) -> Result<Vec<u8>> {
        let outside = |h: &HostSocket| -> Result<Vec<u8>> {
            let a = crate::net::address::decode_inet(&h.name(peer)?)?;
            Ok(Address::Inet(shown_as(a, self.is_v6())).encode())
        };
        if peer {
            return match self.phase() {
                Phase::Inside(end) if !end.me().has_this_error(Errno::ECONNRESET) => {
                    let a = end.peer().local.lock().clone().ok_or(Errno::ENOTCONN)?;
                    Ok(as_family(a, self.is_v6()).encode())
                }
                Phase::Outside(h) => outside(&h),
                _ => Err(Errno::ENOTCONN),
            };
        }
        if let Some(a) = &*self.common.local.lock() {
            return Ok(a.encode());
        }
        match self.phase() {
            Phase::Outside(h) => outside(&h),
            _ => Ok(Address::Inet(unbound(self.common.domain)).encode()),
        }
    }

    fn send(&self, t: &Task, src: &mut IoSrc<'_>, msg: &Outgoing<'_>) -> Result<usize> {
        if msg.flags & MSG_FASTOPEN != 0
            && let Some(addr) = msg.addr
        {
            self.connect(t, addr, msg.flags & MSG_DONTWAIT != 0)?;
        }
        let end = match self.phase() {
            Phase::Outside(h) => return h.send(t, src, msg),
            Phase::Inside(end) => end,
            _ => return Err(broken_pipe(t, msg.flags)),
        };
        super::host::outgoing_control(msg.control)?;
        let me = &self.common;
        if me.has_error() && !me.has_this_error(Errno::EPIPE) {
            me.take_error()?;
        }
        let total = src.left();
        match end.send_stream(t, src, msg, Rights::default()) {
            Err(Errno::EPIPE) if end.peer_closed() && !me.has(Flags::SEND_SHUTDOWN) => {
                // The peer answers data after its close with a reset, which the next call sees.
                reset(me, Errno::EPIPE);
                Ok(total)
            }
            Err(Errno::EPIPE) => {
                let _ = me.take_error();
                Err(broken_pipe(t, msg.flags))
            }
            r => r,
        }
    }

    fn recv(&self, t: &Task, dst: &mut IoDst<'_>, msg: &mut Incoming) -> Result<usize> {
        let end = match self.phase() {
            Phase::Outside(h) => return h.recv(t, dst, msg),
            Phase::Inside(end) => end,
            _ => return Err(Errno::ENOTCONN),
        };
        if msg.wants(MSG_ERRQUEUE) {
            return Err(Errno::EAGAIN);
        }
        if msg.wants(MSG_OOB) {
            return end.recv_urgent(dst, msg);
        }
        end.recv_stream(t, dst, msg, msg.wants(MSG_TRUNC))
    }

    fn shutdown(&self, how: u32) -> Result<()> {
        match self.phase() {
            Phase::Fresh => Err(Errno::ENOTCONN),
            Phase::Outside(h) => h.shutdown(how),
            Phase::Inside(end) => {
                end.shutdown(how);
                Ok(())
            }
            Phase::Listening(l) => {
                if how != SHUT_WR {
                    if let Some(h) = &l.host {
                        h.shutdown(how)?;
                    }
                    self.disconnect();
                }
                Ok(())
            }
        }
    }

    fn is_listening(&self) -> bool {
        matches!(*self.phase.lock(), Phase::Listening(_))
    }

    fn owns_options(&self, name: u32) -> bool {
        matches!(*self.phase.lock(), Phase::Outside(_)) && !super::host::is_local_option(name)
    }

    fn get_option(&self, t: &Task, level: i32, name: u32, room: usize) -> Result<Vec<u8>> {
        match self.phase() {
            Phase::Outside(h) => {
                if level == SOL_SOCKET as i32 && name == SO_ERROR {
                    self.common.take_error()?;
                }
                h.get_option(t, level, name, room)
            }
            phase => {
                let connected = matches!(phase, Phase::Inside(_));
                self.options.get(&self.common, level, name, connected)
            }
        }
    }

    fn set_option(&self, t: &Task, level: i32, name: u32, value: &OptionValue) -> Result<()> {
        if let Phase::Outside(h) = self.phase() {
            return h.set_option(t, level, name, value);
        }
        if (level, name) == (options::IPV6, IPV6_V6ONLY) && self.held.lock().is_some() {
            return Err(Errno::EINVAL);
        }
        let bytes = self.options.set(&self.common, level, name, value)?;
        if let Some(h) = &*self.published.lock() {
            h.try_option(level, name, &bytes);
        }
        Ok(())
    }

    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        match self.phase() {
            Phase::Outside(h) => {
                if let Some(table) = table {
                    table.listen(&self.common.wait);
                    h.listen_to(table);
                }
                h.ready()
            }
            Phase::Inside(end) => {
                if let Some(table) = table {
                    table.listen(&self.common.wait);
                }
                let mut ev = end.poll() & !POLLWRBAND;
                if self.common.has(Flags::SEND_SHUTDOWN) {
                    ev |= POLLOUT | POLLWRNORM;
                }
                ev
            }
            Phase::Listening(l) => {
                if let Some(table) = table {
                    table.listen(&self.common.wait);
                    if let Some(h) = &l.host {
                        h.listen_to(table);
                    }
                }
                let waiting = !l.pending.lock().queue.is_empty();
                let outside = l.host.as_ref().map_or(0, |h| h.ready());
                let inside = if waiting { POLLIN | POLLRDNORM } else { 0 };
                inside | outside & (POLLIN | POLLRDNORM)
            }
            Phase::Fresh => {
                if let Some(table) = table {
                    table.listen(&self.common.wait);
                }
                POLLHUP | POLLOUT | POLLWRNORM
            }
        }
    }

    fn poll_knowing(&self, fd: HostFd, ready: Events) -> Option<Events> {
        match self.phase() {
            Phase::Outside(h) => h.knowing(fd, ready),
            _ => None,
        }
    }

    fn ioctl(&self, t: &Task, request: u32, arg: usize) -> SysResult {
        let phase = self.phase();
        if let Phase::Outside(h) = &phase {
            return h.ioctl(t, request, arg);
        }
        let end = match &phase {
            Phase::Inside(end) => Some(end),
            Phase::Listening(_) if matches!(request, FIONREAD | TIOCOUTQ) => {
                return Err(Errno::EINVAL);
            }
            _ => None,
        };
        let value = match request {
            FIONREAD => end.map_or(0, |e| e.incoming().level().bytes),
            TIOCOUTQ => end.map_or(0, |e| e.outgoing().level().bytes),
            SIOCATMARK => end.map_or(0, |e| usize::from(e.incoming().level().at_mark)),
            _ => return Err(Errno::ENOTTY),
        };
        user::write(t, UserAddr(arg), &(value as i32))?;
        Ok(0)
    }

    fn release(&self) {
        if let Some(held) = self.held.lock().take() {
            PORTS.release(held);
        }
        let (linger, seconds) = *self.common.linger.lock();
        let phase = core::mem::replace(&mut *self.phase.lock(), Phase::Fresh);
        Self::end(&phase, linger != 0 && seconds == 0);
        drop(self.published.lock().take());
    }
}

/// An address as a socket of the other family shows it.
fn as_family(a: Address, v6: bool) -> Address {
    match a {
        Address::Inet(a) => {
            let plain = SocketAddr::new(unmapped(a.ip()), a.port());
            Address::Inet(shown_as(if v6 { a } else { plain }, v6))
        }
        a => a,
    }
}
