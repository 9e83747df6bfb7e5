//! Unix datagram sockets.

use super::names::{self, Found, Target};
use crate::fs::File;
use crate::net::Address;
use crate::net::address::family;
use crate::net::packet::{self, Packet, Queue};
use crate::net::payload::{self, Payload};
use crate::net::scm::{self, Flying};
use crate::net::socket::{Common, Flags, Incoming, Outgoing, Patience, Socket};
use crate::uio::{IoDst, IoSrc};
use crate::user::{self, UserAddr};
use crate::wait::{
    Events, POLLALL, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, POLLRDNORM, POLLWRBAND,
    POLLWRNORM, PollTable, WaitQueue,
};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_abi::raw::ioctl::{FIONREAD, TIOCOUTQ};
use bastide_abi::raw::net::*;
use bastide_base::sync::Mutex;
use core::any::Any;
use core::sync::atomic::{AtomicBool, Ordering};

/// `net.unix.max_dgram_qlen`: senders that are not the receiver's own peer wait beyond it.
const QUEUE: usize = 10;

/// A datagram socket.
pub struct UnixDgram {
    common: Arc<Common>,
    me: Weak<UnixDgram>,
    name: names::Slot,
    peer: Mutex<Option<Weak<UnixDgram>>>,
    dead: AtomicBool,
    pub(super) queue: Queue,
    /// Senders that wait for room in the queue.
    space: WaitQueue,
}

impl UnixDgram {
    /// A socket that is neither bound nor connected.
    pub fn new(common: Arc<Common>) -> Arc<Self> {
        Arc::new_cyclic(|me| UnixDgram {
            common,
            me: me.clone(),
            name: Mutex::new(None),
            peer: Mutex::new(None),
            dead: AtomicBool::new(false),
            queue: Queue::default(),
            space: WaitQueue::new(),
        })
    }

    /// Connects two new sockets to each other.
    pub fn join(a: &Self, b: &Self) {
        *a.peer.lock() = Some(b.me.clone());
        *b.peer.lock() = Some(a.me.clone());
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    fn is_peer(&self, other: &UnixDgram) -> bool {
        self.peer
            .lock()
            .as_ref()
            .is_some_and(|p| core::ptr::eq(p.as_ptr(), other))
    }

    /// It takes datagrams from `from`: it is not connected to somebody else.
    fn may_hear(&self, from: &UnixDgram) -> bool {
        match &*self.peer.lock() {
            None => true,
            Some(p) => core::ptr::eq(p.as_ptr(), from),
        }
    }

    fn find(t: &Task, addr: &[u8]) -> Result<Arc<UnixDgram>> {
        match names::find(t, addr, SOCK_DGRAM)? {
            Found::Dgram(d) => Ok(d),
            Found::Stream(_) => Err(Errno::EPROTOTYPE),
        }
    }

    /// Ends the connection to a peer: what it sent is thrown away, and it learns of it.
    fn disconnect(&self, old: Option<Weak<UnixDgram>>) {
        let Some(old) = old.and_then(|w| w.upgrade()) else {
            return;
        };
        self.purge();
        if old.is_peer(self) {
            old.common.fail(Errno::ECONNRESET);
        }
    }

    fn purge(&self) {
        let lost = self.queue.drain();
        for p in &lost {
            if let Some(s) = &p.sender {
                packet::uncharge(s, p.charge);
            }
        }
        self.space.wake_all(POLLOUT);
    }

    fn room(&self, t: &Task, patience: Patience) -> Result<()> {
        let me = &self.common;
        let look = || {
            if me.has_error() {
                return Some(me.take_error());
            }
            if me.has(Flags::SEND_SHUTDOWN) {
                return Some(Err(Errno::EPIPE));
            }
            let room =
                me.charged.load(Ordering::Acquire) < me.sndbuf.load(Ordering::Relaxed) as usize;
            room.then_some(Ok(()))
        };
        match look() {
            Some(r) => r,
            None => patience.wait_until(t, &[&me.wait], look)?,
        }
    }

    /// Whether a datagram from `from` must wait for room.
    fn full_for(&self, from: &UnixDgram) -> bool {
        !core::ptr::eq(self, from) && !self.is_peer(from) && self.queue.level().count > QUEUE
    }

    /// Where a datagram goes: the named socket or the peer. `None` for the peer's death.
    fn destination(&self, t: &Task, named: Option<&[u8]>) -> Result<Arc<UnixDgram>> {
        let found = match named {
            Some(addr) => Some(Self::find(t, addr)?),
            None => {
                let mut peer = self.peer.lock();
                let found = peer.as_ref().ok_or(Errno::ENOTCONN)?.upgrade();
                if found.as_ref().is_none_or(|d| d.is_dead()) {
                    *peer = None;
                }
                found
            }
        };
        match found {
            Some(d) if !d.is_dead() => Ok(d),
            _ => Err(Errno::ECONNREFUSED),
        }
    }
}

impl Socket for UnixDgram {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn common(&self) -> &Arc<Common> {
        &self.common
    }

    fn bind(&self, t: &Task, addr: &[u8]) -> Result<()> {
        names::bind(
            t,
            &self.common,
            &self.name,
            Target::Dgram(self.me.clone()),
            addr,
        )
    }

    fn connect(&self, t: &Task, addr: &[u8], _nonblock: bool) -> Result<()> {
        if family(addr).ok_or(Errno::EINVAL)? == AF_UNSPEC {
            let old = self.peer.lock().take();
            self.disconnect(old);
            return Ok(());
        }
        if addr.len() <= 2 {
            return Err(Errno::EINVAL);
        }
        super::autobind_for_creds(&self.common, &self.name, Target::Dgram(self.me.clone()))?;
        let other = Self::find(t, addr)?;
        if !other.may_hear(self) {
            return Err(Errno::EPERM);
        }
        let old = self.peer.lock().replace(other.me.clone());
        if old
            .as_ref()
            .is_some_and(|o| !core::ptr::eq(o.as_ptr(), Arc::as_ptr(&other)))
        {
            self.disconnect(old);
        }
        self.common.wait.wake_all(POLLALL);
        Ok(())
    }

    fn name(&self, peer: bool) -> Result<Vec<u8>> {
        let local = if peer {
            let peer = self.peer.lock().clone().ok_or(Errno::ENOTCONN)?;
            let peer = peer.upgrade().ok_or(Errno::ENOTCONN)?;
            peer.common.local.lock().clone()
        } else {
            self.common.local.lock().clone()
        };
        Ok(local.unwrap_or_else(Address::unnamed).encode())
    }

    fn send(&self, t: &Task, src: &mut IoSrc<'_>, msg: &Outgoing<'_>) -> Result<usize> {
        let mut rights = scm::outgoing(t, msg.control)?;
        if msg.flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if let Some(addr) = msg.addr {
            if addr.len() <= 2 || family(addr) != Some(AF_UNIX) {
                return Err(Errno::EINVAL);
            }
        } else if self.peer.lock().is_none() {
            return Err(Errno::ENOTCONN);
        }
        super::autobind_for_creds(&self.common, &self.name, Target::Dgram(self.me.clone()))?;
        let len = src.left();
        if len > (self.common.sndbuf.load(Ordering::Relaxed) as usize).saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        let patience = self.common.send_patience(msg.flags & MSG_DONTWAIT != 0);
        self.room(t, patience)?;
        let mut data = Some(Payload::take(src, len)?);
        loop {
            let other = self.destination(t, msg.addr)?;
            if !other.may_hear(self) {
                return Err(Errno::EPERM);
            }
            if other.common.has(Flags::RCV_SHUTDOWN) {
                return Err(Errno::EPIPE);
            }
            if other.full_for(self) {
                patience.wait_until(t, &[&other.space], || {
                    (other.is_dead()
                        || other.common.has(Flags::RCV_SHUTDOWN)
                        || !other.full_for(self))
                    .then_some(())
                })?;
                continue;
            }
            let Some(data) = data.take() else {
                return Err(Errno::EAGAIN);
            };
            let charge = payload::truesize(len, super::RECORD_HEAD);
            self.common.charged.fetch_add(charge, Ordering::AcqRel);
            let packet = Packet {
                data,
                at: 0,
                charge,
                files: Flying::new(core::mem::take(&mut rights.files)),
                cred: scm::attach_cred(t, rights.cred, &self.common, &other.common),
                urgent: false,
                sender: Some(self.common.clone()),
                route: None,
            };
            let refuse = || other.is_dead().then_some(Errno::ECONNREFUSED);
            if let Err((e, p)) = other.queue.push(packet, refuse) {
                packet::uncharge(&self.common, p.charge);
                return Err(e);
            }
            other.common.wait.wake_all(POLLIN | POLLRDNORM);
            return Ok(len);
        }
    }

    fn recv(&self, t: &Task, dst: &mut IoDst<'_>, msg: &mut Incoming) -> Result<usize> {
        if msg.wants(MSG_OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let me = &self.common;
        let patience = me.receive_patience(msg.wants(MSG_DONTWAIT));
        let ended = || {
            if me.has_error() {
                return Some(me.take_error());
            }
            // Without waiting, a datagram socket that was shut down says EAGAIN.
            (me.has(Flags::RCV_SHUTDOWN) && !patience.none()).then_some(Ok(()))
        };
        self.queue.receive(t, me, dst, msg, patience, ended, |p| {
            if let Some(s) = &p.sender {
                packet::uncharge(s, p.charge);
            }
            self.space.wake_all(POLLOUT | POLLWRNORM | POLLWRBAND);
        })
    }

    fn shutdown(&self, how: u32) -> Result<()> {
        if how != SHUT_WR {
            self.common.set(Flags::RCV_SHUTDOWN, true);
        }
        if how != SHUT_RD {
            self.common.set(Flags::SEND_SHUTDOWN, true);
        }
        self.common.wait.wake_all(POLLALL);
        self.space.wake_all(POLLALL);
        Ok(())
    }

    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        let peer = self.peer.lock().as_ref().and_then(Weak::upgrade);
        if let Some(table) = table {
            table.listen(&self.common.wait);
            if let Some(peer) = &peer {
                table.listen(&peer.space);
            }
        }
        let flags = self.common.flags();
        let mut ev = 0;
        if self.common.has_error() {
            ev |= POLLERR;
        }
        if flags.contains(Flags::RCV_SHUTDOWN | Flags::SEND_SHUTDOWN) {
            ev |= POLLHUP;
        }
        if flags.contains(Flags::RCV_SHUTDOWN) {
            ev |= POLLRDHUP | POLLIN | POLLRDNORM;
        }
        if self.queue.level().count > 0 {
            ev |= POLLIN | POLLRDNORM;
        }
        if packet::writable(&self.common) && !peer.is_some_and(|p| p.full_for(self)) {
            ev |= POLLOUT | POLLWRNORM | POLLWRBAND;
        }
        ev
    }

    fn ioctl(&self, t: &Task, request: u32, arg: usize) -> SysResult {
        let value = match request {
            FIONREAD => self.queue.level().first,
            TIOCOUTQ => self.common.charged.load(Ordering::Relaxed),
            _ => return Err(Errno::ENOTTY),
        };
        user::write(t, UserAddr(arg), &(value as i32))?;
        Ok(0)
    }

    fn closing(&self, f: &File) {
        super::garbage::closing(f);
    }

    fn release(&self) {
        self.dead.store(true, Ordering::Release);
        self.name.lock().take();
        self.purge();
        let peer = self.peer.lock().take();
        if let Some(peer) = peer.and_then(|p| p.upgrade()) {
            peer.common.wait.wake_all(POLLALL);
        }
    }
}
