//! Sockets of the host: TCP and UDP to the outside.
//!
//! The host's descriptors never block; a call that may wait sleeps on the descriptor together
//! with the task's own sleeping place. Data goes straight between the application's memory and
//! the host. Everything the host says is checked or cut to what was asked for.

use crate::fs::HostHandle;
use crate::net::ioctl::SIOCATMARK;
use crate::net::scm;
use crate::net::socket::{Common, Incoming, OptionValue, Outgoing, Patience, Socket, broken_pipe};
use crate::process::creds::CAP_NET_BIND_SERVICE;
use crate::uio::{IoDst, IoSrc, Pieces};
use crate::user::{self, UserAddr};
use crate::wait::{
    Events, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDBAND, POLLRDHUP, POLLRDNORM,
    POLLWRBAND, POLLWRNORM, PollTable,
};
use crate::{Errno, Result, SysResult, Task, host_error, pal};
use alloc::sync::Arc;
use alloc::{vec, vec::Vec};
use bastide_abi::net::CMsgHdr;
use bastide_abi::raw::ioctl::{FIONREAD, TIOCOUTQ};
use bastide_abi::raw::net::*;
use bastide_base::pages::PAGE;
use bastide_pal::net::Received;
use bastide_pal::{HostFd, HostPoll, HostSockets, IoVec};
use core::any::Any;
use zerocopy::IntoBytes;

/// What a host descriptor can tell.
const EVENTS: Events = POLLIN
    | POLLPRI
    | POLLOUT
    | POLLRDNORM
    | POLLRDBAND
    | POLLWRNORM
    | POLLWRBAND
    | POLLRDHUP
    | POLLERR
    | POLLHUP;
/// Result flags of a receive that mean something to an application.
const RESULT: u32 = MSG_OOB | MSG_CTRUNC | MSG_TRUNC | MSG_EOR | MSG_ERRQUEUE;
/// Most control bytes taken from the host at a time.
const CONTROL: usize = 8192;
/// Bytes taken at a time on behalf of the kernel.
const BOUNCE: usize = 32_768;

/// A host socket.
pub struct HostSocket {
    common: Arc<Common>,
    fd: HostHandle,
}

impl HostSocket {
    /// Makes one of the kind that `common` tells.
    pub fn new(common: Arc<Common>) -> Result<Arc<Self>> {
        let fd = pal()
            .socket(
                common.domain as i32,
                common.kind as i32,
                common.protocol as i32,
            )
            .map_err(host_error)?;
        Ok(Arc::new(HostSocket {
            common,
            fd: HostHandle(fd),
        }))
    }

    fn fd(&self) -> HostFd {
        self.fd.0
    }

    fn is_stream(&self) -> bool {
        self.common.kind == SOCK_STREAM
    }

    /// Tries `op`, and again whenever the host says that one of `events` came, until it has
    /// another answer than EAGAIN.
    pub fn retry<T>(
        &self,
        t: &Task,
        patience: Patience,
        events: Events,
        mut op: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        match op() {
            Err(Errno::EAGAIN) if !patience.none() => {}
            r => return r,
        }
        let mut tried = true;
        patience.wait_poll(t, |table| {
            if let Some(table) = table {
                table.listen_host(self.fd(), events);
                return None;
            }
            if core::mem::take(&mut tried) {
                return None;
            }
            match op() {
                Err(Errno::EAGAIN) => None,
                r => Some(r),
            }
        })?
    }

    /// What the host says of it now.
    pub fn ready(&self) -> Events {
        let mut p = [HostPoll {
            fd: self.fd(),
            events: EVENTS as u16,
            revents: 0,
        }];
        pal().poll_now(&mut p);
        u32::from(p[0].revents) & EVENTS
    }

    fn with_error(&self, ready: Events) -> Events {
        let error = if self.common.has_error() { POLLERR } else { 0 };
        ready | error
    }

    /// What [`HostSocket::ready`] would say, if the host has just said `ready` of `fd`.
    pub fn knowing(&self, fd: HostFd, ready: Events) -> Option<Events> {
        (fd == self.fd()).then_some(ready & EVENTS)
    }

    /// Has a poller listen to it.
    pub fn listen_to(&self, table: &mut PollTable) {
        table.listen_host(self.fd(), EVENTS);
    }

    /// Has a poller listen to it for some events.
    pub fn listen_for(&self, table: &mut PollTable, events: Events) {
        table.listen_host(self.fd(), events);
    }

    /// Sets an option that the host may or may not know.
    pub fn try_option(&self, level: i32, name: u32, value: &[u8]) {
        let _ = pal().set_option(self.fd(), level, name as i32, value);
    }

    /// `connect(2)` on the host, waiting as long as `patience` allows: EINPROGRESS then.
    pub fn connect_waiting(&self, t: &Task, addr: &[u8], patience: Patience) -> Result<()> {
        let op = || pal().connect(self.fd(), addr).map_err(host_error);
        match op() {
            Err(Errno::EINPROGRESS | Errno::EALREADY) if !patience.none() => {}
            r => return r,
        }
        // The host remembers the attempt: asking again tells how it went.
        let outcome = self.retry(t, patience, POLLOUT, || match op() {
            Err(Errno::EINPROGRESS | Errno::EALREADY) => Err(Errno::EAGAIN),
            r => r,
        });
        match outcome {
            Err(Errno::EAGAIN) => Err(Errno::EINPROGRESS),
            r => r,
        }
    }

    /// `bind(2)` on the host.
    pub fn bind_to(&self, addr: &[u8]) -> Result<()> {
        pal().bind(self.fd(), addr).map_err(host_error)
    }

    /// `listen(2)` on the host.
    pub fn listen_with(&self, backlog: u32) -> Result<()> {
        pal().listen(self.fd(), backlog as i32).map_err(host_error)
    }

    /// One try to accept.
    pub fn try_accept(&self) -> Result<Arc<HostSocket>> {
        let mut addr = [0; crate::net::address::STORAGE];
        let (fd, _) = pal().accept(self.fd(), &mut addr).map_err(host_error)?;
        Ok(Arc::new(HostSocket {
            common: self.common.inherit(),
            fd: HostHandle(fd),
        }))
    }

    /// One try to send; sends what the host takes.
    fn try_send(
        &self,
        t: &Task,
        src: &mut IoSrc<'_>,
        addr: &[u8],
        control: &[u8],
        flags: u32,
    ) -> Result<usize> {
        let send = |iov: &[IoVec]| {
            pal()
                .send(self.fd(), iov, addr, control, flags)
                .map_err(host_error)
        };
        let Some(mut pieces) = src.pieces() else {
            let max = if self.is_stream() { BOUNCE } else { src.left() };
            let buf = src.take_vec(max)?;
            let sent = send(&[kernel_piece(&buf)]);
            let sent = sent.map(|n| n.min(buf.len()));
            let n = *sent.as_ref().unwrap_or(&0);
            src.rewind(buf.len() - n);
            return sent;
        };
        let n = match send(&pieces) {
            Err(Errno::EFAULT) => {
                touch(t, &mut pieces, false, self.is_stream())?;
                send(&pieces)?
            }
            r => r?,
        };
        let n = n.min(src.left());
        src.advance(n);
        Ok(n)
    }

    /// There is no more to send, or no waiting for the chance to.
    fn is_sent(&self, src: &IoSrc<'_>, patience: Patience) -> bool {
        !self.is_stream() || src.left() == 0 || patience.none()
    }

    /// Sends what is left after `sent` bytes, waiting as long as `patience` allows.
    fn send_on(
        &self,
        t: &Task,
        src: &mut IoSrc<'_>,
        msg: &Outgoing<'_>,
        patience: Patience,
        mut sent: usize,
    ) -> Result<usize> {
        let control = outgoing_control(msg.control)?;
        let addr = msg.addr.unwrap_or_default();
        loop {
            let r = self.retry(t, patience, POLLOUT, || {
                self.try_send(t, src, addr, &control, msg.flags)
            });
            match r {
                Ok(n) => sent += n,
                Err(_) if sent > 0 => return Ok(sent),
                Err(Errno::EPIPE) if self.is_stream() => return Err(broken_pipe(t, msg.flags)),
                Err(e) => return Err(e),
            }
            if self.is_sent(src, patience) {
                return Ok(sent);
            }
        }
    }

    /// One try to receive. `addr` and `control` are filled; lengths in the answer are true.
    pub fn try_recv(
        &self,
        t: &Task,
        dst: &mut IoDst<'_>,
        addr: &mut [u8],
        control: &mut [u8],
        flags: u32,
    ) -> Result<Received> {
        let Some(mut pieces) = dst.pieces() else {
            let mut buf = vec![0u8; dst.left().min(BOUNCE)];
            let piece = IoVec {
                addr: buf.as_mut_ptr() as usize,
                len: buf.len(),
            };
            let r = pal()
                .recv(self.fd(), &[piece], addr, control, flags)
                .map_err(host_error)?;
            let r = believable(r, flags, buf.len());
            let n = r.len.min(buf.len());
            if n > 0 {
                dst.put(&buf[..n])?;
            }
            return Ok(r);
        };
        if !self.is_stream() {
            // The host drops a datagram that it cannot store.
            touch(t, &mut pieces, true, true)?;
        }
        let plain = self.is_stream() && addr.is_empty() && control.is_empty();
        let mut recv = |pieces: &[IoVec]| {
            match pieces {
                [one] if plain => pal().recv_plain(self.fd(), *one, flags),
                _ => pal().recv(self.fd(), pieces, addr, control, flags),
            }
            .map_err(host_error)
        };
        let r = match recv(&pieces) {
            Err(Errno::EFAULT) if self.is_stream() => {
                touch(t, &mut pieces, true, true)?;
                recv(&pieces)?
            }
            r => r?,
        };
        let r = believable(r, flags, dst.left());
        dst.advance(r.len);
        Ok(r)
    }

    /// Receives one message or what a stream has, without waiting.
    pub fn recv_now(&self, t: &Task, dst: &mut IoDst<'_>, msg: &mut Incoming) -> Result<usize> {
        let flags = msg.flags & !(MSG_WAITALL | MSG_CMSG_CLOEXEC);
        let mut addr = [0u8; crate::net::address::STORAGE];
        let mut control = vec![0u8; msg.control_room.min(CONTROL)];
        let room = if msg.wants_addr { addr.len() } else { 0 };
        let r = self.try_recv(t, dst, &mut addr[..room], &mut control, flags)?;
        if r.addr_len > 0 {
            msg.addr = addr.get(..r.addr_len.min(room)).map(<[u8]>::to_vec);
        }
        let said = control.get(..r.control_len).unwrap_or_default();
        msg.control = checked_control(said);
        msg.result |= r.flags & RESULT;
        Ok(r.len)
    }
}

/// What was received with its length cut to the room there was. Only with `MSG_TRUNC` may it be
/// more: a datagram's true length, which has a limit too.
fn believable(r: Received, flags: u32, room: usize) -> Received {
    let most = if flags & MSG_TRUNC != 0 {
        room.max(1 << 30)
    } else {
        room
    };
    Received {
        len: r.len.min(most),
        ..r
    }
}

fn kernel_piece(buf: &[u8]) -> IoVec {
    IoVec {
        addr: buf.as_ptr() as usize,
        len: buf.len(),
    }
}

/// Has the memory manager repair what the host could not reach. With `shorten`, pieces end where
/// memory does; EFAULT if nothing is left, or anything is missing without.
fn touch(t: &Task, pieces: &mut Pieces<'_>, write: bool, shorten: bool) -> Result<()> {
    let mut good = 0;
    let mut bad = false;
    'all: for v in pieces.iter() {
        let mut at = v.addr;
        let end = v.addr.saturating_add(v.len);
        while at < end {
            if probe(t, at, write).is_err() {
                bad = true;
                break 'all;
            }
            let next = (at / PAGE + 1).saturating_mul(PAGE).min(end);
            good += next - at;
            at = next;
        }
    }
    if !bad {
        return Ok(());
    }
    if !shorten || good == 0 {
        return Err(Errno::EFAULT);
    }
    pieces.truncate(good);
    Ok(())
}

/// Reads, or writes back, a byte's word.
fn probe(t: &Task, at: usize, write: bool) -> Result<()> {
    let word = UserAddr(at & !3);
    let old = user::load_u32(t, word)?;
    if write {
        user::cas_u32(t, word, old, old)?;
    }
    Ok(())
}

/// The control messages that may come from outside; malformed ones end it. Descriptors and
/// credentials never do.
fn checked_control(said: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let _ = scm::walk(said, |h, data| {
        if !is_rights(h) {
            out.extend_from_slice(h.as_bytes());
            out.extend_from_slice(data);
            out.resize(out.len().next_multiple_of(8).min(said.len()), 0);
        }
        Ok(())
    });
    out
}

fn is_rights(h: &CMsgHdr) -> bool {
    h.level == SOL_SOCKET as i32 && matches!(h.kind as u32, SCM_RIGHTS | SCM_CREDENTIALS)
}

/// What an application may attach to a message outside. EINVAL for malformed ones; descriptors
/// and credentials are left out, as Linux ignores them.
pub fn outgoing_control(given: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    scm::walk(given, |h, data| {
        if !is_rights(h) {
            out.extend_from_slice(h.as_bytes());
            out.extend_from_slice(data);
            out.resize(out.len().next_multiple_of(8), 0);
        }
        Ok(())
    })?;
    Ok(out)
}

/// EACCES for a port below `net.ipv4.ip_unprivileged_port_start` without the capability.
pub fn may_bind_port(t: &Task, port: u16) -> Result<()> {
    let first = crate::sysctl::UNPRIVILEGED_PORT_START.get();
    if (1..first).contains(&i64::from(port)) && !t.creds().capable(CAP_NET_BIND_SERVICE) {
        return Err(Errno::EACCES);
    }
    Ok(())
}

/// `SOL_SOCKET` options that the libos answers for host sockets too: they speak of waiting,
/// identity or credentials.
pub fn is_local_option(name: u32) -> bool {
    matches!(
        name,
        SO_RCVTIMEO
            | SO_RCVTIMEO_NEW
            | SO_SNDTIMEO
            | SO_SNDTIMEO_NEW
            | SO_PASSCRED
            | SO_PEERCRED
            | SO_PEERGROUPS
            | SO_TYPE
            | SO_DOMAIN
            | SO_PROTOCOL
    )
}

impl Socket for HostSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn common(&self) -> &Arc<Common> {
        &self.common
    }

    fn bind(&self, t: &Task, addr: &[u8]) -> Result<()> {
        if let Ok(a) = crate::net::address::decode_inet(addr) {
            may_bind_port(t, a.port())?;
        }
        self.bind_to(addr)
    }

    fn listen(&self, _t: &Task, backlog: u32) -> Result<()> {
        self.listen_with(backlog)
    }

    fn accept(&self, t: &Task, nonblock: bool) -> Result<Arc<dyn Socket>> {
        let patience = self.common.receive_patience(nonblock);
        Ok(self.retry(t, patience, POLLIN, || self.try_accept())?)
    }

    fn connect(&self, t: &Task, addr: &[u8], nonblock: bool) -> Result<()> {
        self.connect_waiting(t, addr, self.common.send_patience(nonblock))
    }

    fn name(&self, peer: bool) -> Result<Vec<u8>> {
        let mut addr = vec![0; crate::net::address::STORAGE];
        let n = pal()
            .sock_name(self.fd(), peer, &mut addr)
            .map_err(host_error)?;
        addr.truncate(n);
        Ok(addr)
    }

    fn send(&self, t: &Task, src: &mut IoSrc<'_>, msg: &Outgoing<'_>) -> Result<usize> {
        let patience = self.common.send_patience(msg.flags & MSG_DONTWAIT != 0);
        let (None, [], Some(Pieces::One([piece]))) = (msg.addr, msg.control, src.pieces()) else {
            return self.send_on(t, src, msg, patience, 0);
        };
        let sent = pal().send(self.fd(), &[piece], &[], &[], msg.flags);
        match sent.map_err(host_error) {
            Ok(n) => {
                let n = n.min(piece.len);
                src.advance(n);
                if self.is_sent(src, patience) {
                    return Ok(n);
                }
                self.send_on(t, src, msg, patience, n)
            }
            Err(Errno::EAGAIN) if !patience.none() => self.send_on(t, src, msg, patience, 0),
            Err(Errno::EFAULT) => self.send_on(t, src, msg, patience, 0),
            Err(Errno::EPIPE) if self.is_stream() => Err(broken_pipe(t, msg.flags)),
            Err(e) => Err(e),
        }
    }

    fn recv(&self, t: &Task, dst: &mut IoDst<'_>, msg: &mut Incoming) -> Result<usize> {
        let errors = msg.wants(MSG_ERRQUEUE);
        let patience = self
            .common
            .receive_patience(msg.wants(MSG_DONTWAIT) || errors);
        let all = self.is_stream() && msg.wants(MSG_WAITALL) && !msg.wants(MSG_PEEK);
        let mut got = 0;
        loop {
            let r = self.retry(t, patience, POLLIN, || self.recv_now(t, dst, msg));
            match r {
                Ok(n) => {
                    got += n;
                    if !all || n == 0 || dst.left() == 0 {
                        return Ok(got);
                    }
                }
                Err(_) if got > 0 => return Ok(got),
                Err(e) => return Err(e),
            }
        }
    }

    fn read(&self, t: &Task, dst: &mut IoDst<'_>, flags: u32) -> Result<usize> {
        let patience = self.common.receive_patience(flags & MSG_DONTWAIT != 0);
        if let (true, Some(Pieces::One([piece]))) = (self.is_stream(), dst.pieces())
            && flags & !MSG_DONTWAIT == 0
        {
            match pal().recv_plain(self.fd(), piece, 0).map_err(host_error) {
                // The long way waits, or has the memory repaired.
                Err(Errno::EAGAIN) if !patience.none() => {}
                Err(Errno::EFAULT) => {}
                r => {
                    let n = believable(r?, 0, piece.len).len;
                    dst.advance(n);
                    return Ok(n);
                }
            }
        }
        self.recv(t, dst, &mut Incoming::plain(flags))
    }

    fn shutdown(&self, how: u32) -> Result<()> {
        HostSockets::shutdown(pal(), self.fd(), how as i32).map_err(host_error)
    }

    fn owns_options(&self, name: u32) -> bool {
        !is_local_option(name)
    }

    fn get_option(&self, _t: &Task, level: i32, name: u32, room: usize) -> Result<Vec<u8>> {
        if level == SOL_SOCKET as i32 && name == SO_ERROR {
            self.common.take_error()?;
        }
        let mut value = vec![0; room];
        let n = pal()
            .get_option(self.fd(), level, name as i32, &mut value)
            .map_err(host_error)?;
        value.truncate(n);
        Ok(value)
    }

    fn set_option(&self, _t: &Task, level: i32, name: u32, value: &OptionValue) -> Result<()> {
        let value = value.bytes(4096)?;
        pal()
            .set_option(self.fd(), level, name as i32, &value)
            .map_err(host_error)
    }

    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        if let Some(table) = table {
            table.listen(&self.common.wait);
            self.listen_to(table);
        }
        self.with_error(self.ready())
    }

    fn poll_knowing(&self, fd: HostFd, ready: Events) -> Option<Events> {
        Some(self.with_error(self.knowing(fd, ready)?))
    }

    fn ioctl(&self, t: &Task, request: u32, arg: usize) -> SysResult {
        let output = match request {
            FIONREAD => false,
            TIOCOUTQ => true,
            SIOCATMARK if self.is_stream() => {
                let mut mark = [0; 4];
                pal()
                    .tty_ioctl(self.fd(), SIOCATMARK, &mut mark)
                    .map_err(host_error)?;
                user::write(t, UserAddr(arg), &mark)?;
                return Ok(0);
            }
            _ => return Err(Errno::ENOTTY),
        };
        let n = pal().queued(self.fd(), output).map_err(host_error)?;
        user::write(t, UserAddr(arg), &i32::try_from(n).unwrap_or(i32::MAX))?;
        Ok(0)
    }

    fn release(&self) {}
}
