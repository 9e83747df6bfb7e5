//! Queues of packets between sockets.

use super::address::Address;
use super::payload::Payload;
use super::scm::{Flying, Rights};
use super::socket::{Common, Flags, Incoming, Patience};
use crate::uio::IoDst;
use crate::wait::{POLLOUT, POLLWRBAND, POLLWRNORM};
use crate::{Errno, Result, Task};
use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};
use bastide_abi::net::UCred;
use bastide_abi::raw::net::{AF_UNIX, MSG_PEEK, MSG_TRUNC};
use bastide_base::sync::{Mutex, MutexGuard};
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::Ordering;

/// A datagram, or a piece of a stream.
pub struct Packet {
    pub data: Payload,
    /// Bytes of it that were taken already.
    pub at: usize,
    /// What it weighs on its sender.
    pub charge: usize,
    pub files: Option<Box<Flying>>,
    pub cred: Option<UCred>,
    /// The urgent byte of a stream.
    pub urgent: bool,
    /// The sender of a Unix datagram, on which it weighs; streams know it without.
    pub sender: Option<Arc<Common>>,
    /// Where an internet datagram came from and went to.
    pub route: Option<Route>,
}

/// The way of an internet datagram.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub from: SocketAddr,
    pub to: IpAddr,
}

impl Packet {
    /// Bytes not taken yet.
    pub fn rest(&self) -> &[u8] {
        self.data.bytes().get(self.at..).unwrap_or_default()
    }

    /// Copies of its descriptors, for `MSG_PEEK`.
    pub fn peek_files(&self) -> Vec<Arc<crate::fs::File>> {
        self.files
            .as_ref()
            .map_or_else(Vec::new, |f| f.files().to_vec())
    }

    /// Its descriptors.
    pub fn take_files(&mut self) -> Vec<Arc<crate::fs::File>> {
        self.files.take().map_or_else(Vec::new, Flying::land)
    }
}

/// The sender may be told that it can write: Linux's `unix_writable`, or `sk_stream_is_writeable`
/// for TCP.
pub fn writable(sender: &Common) -> bool {
    let charged = sender.charged.load(Ordering::Acquire);
    let limit = sender.sndbuf.load(Ordering::Relaxed) as usize;
    if sender.domain == AF_UNIX {
        charged.saturating_mul(4) <= limit
    } else {
        charged.saturating_mul(3) <= limit.saturating_mul(2)
    }
}

/// A packet of this weight was taken: its sender has room again.
pub fn uncharge(sender: &Common, weight: usize) {
    if weight == 0 {
        return;
    }
    sender.charged.fetch_sub(weight, Ordering::AcqRel);
    if writable(sender) {
        sender.wait.wake_all(POLLOUT | POLLWRNORM | POLLWRBAND);
    }
}

#[derive(Default)]
struct Inner {
    packets: VecDeque<Packet>,
    /// Packets and bytes not taken, those included that a reader holds for the moment.
    count: usize,
    bytes: usize,
    urgent: bool,
}

/// Packets in order. A reader holds [`Queue::reading`] while it copies to user memory, so that
/// the queue itself is only locked for moments.
#[derive(Default)]
pub struct Queue {
    reading: Mutex<()>,
    inner: Mutex<Inner>,
}

/// What a look at a queue tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    pub count: usize,
    pub bytes: usize,
    /// The first packet's bytes.
    pub first: usize,
    /// An urgent byte is there.
    pub urgent: bool,
    /// The urgent byte is next.
    pub at_mark: bool,
}

impl Queue {
    /// Only one reader at a time.
    pub fn begin(&self) -> MutexGuard<'_, ()> {
        self.reading.lock()
    }

    /// How full it is.
    pub fn level(&self) -> Level {
        let q = self.inner.lock();
        let first = q.packets.front();
        Level {
            count: q.count,
            bytes: q.bytes,
            first: first.map_or(0, |p| p.rest().len()),
            urgent: q.urgent,
            at_mark: first.is_some_and(|p| p.urgent),
        }
    }

    /// Adds a packet unless `refuse`, asked under the lock, gives a reason not to.
    pub fn push(
        &self,
        packet: Packet,
        refuse: impl FnOnce() -> Option<Errno>,
    ) -> core::result::Result<(), (Errno, Packet)> {
        let mut q = self.inner.lock();
        if let Some(e) = refuse() {
            return Err((e, packet));
        }
        if packet.urgent {
            // One urgent byte at a time: an older one becomes ordinary data.
            q.packets.iter_mut().for_each(|p| p.urgent = false);
            q.urgent = true;
        }
        q.count += 1;
        q.bytes += packet.rest().len();
        q.packets.push_back(packet);
        Ok(())
    }

    /// Takes the first packet if `wanted`; it still counts until [`Queue::consumed`].
    pub fn take_if(&self, wanted: impl FnOnce(&Packet) -> bool) -> Option<Packet> {
        let mut q = self.inner.lock();
        if wanted(q.packets.front()?) {
            q.packets.pop_front()
        } else {
            None
        }
    }

    /// Takes the urgent packet.
    pub fn take_urgent(&self) -> Option<Packet> {
        let mut q = self.inner.lock();
        let i = q.packets.iter().position(|p| p.urgent)?;
        let p = q.packets.remove(i)?;
        q.count = q.count.saturating_sub(1);
        q.bytes = q.bytes.saturating_sub(p.rest().len());
        q.urgent = false;
        Some(p)
    }

    /// Looks at the urgent byte.
    pub fn peek_urgent(&self) -> Option<u8> {
        let q = self.inner.lock();
        let p = q.packets.iter().find(|p| p.urgent)?;
        p.rest().first().copied()
    }

    /// Puts packets back that were taken, in the order they had.
    pub fn put_back(&self, packets: impl DoubleEndedIterator<Item = Packet>) {
        let mut q = self.inner.lock();
        for p in packets.rev() {
            q.packets.push_front(p);
        }
    }

    /// Says that `bytes` of packets taken, and `count` whole packets, are gone for good.
    pub fn consumed(&self, bytes: usize, count: usize, urgent: bool) {
        let mut q = self.inner.lock();
        q.bytes = q.bytes.saturating_sub(bytes);
        q.count = q.count.saturating_sub(count);
        if urgent {
            q.urgent = false;
        }
    }

    /// Takes everything; for the end.
    pub fn drain(&self) -> VecDeque<Packet> {
        let mut q = self.inner.lock();
        q.count = q.count.saturating_sub(q.packets.len());
        let bytes: usize = q.packets.iter().map(|p| p.rest().len()).sum();
        q.bytes = q.bytes.saturating_sub(bytes);
        q.urgent = false;
        core::mem::take(&mut q.packets)
    }

    /// Shows each packet's descriptors.
    pub fn each_file(&self, mut f: impl FnMut(&Arc<crate::fs::File>)) {
        for p in &self.inner.lock().packets {
            p.files.iter().flat_map(|fl| fl.files()).for_each(&mut f);
        }
    }

    /// Receives one whole packet for `me`, waiting for it. `ended` tells why there is none to
    /// wait for: `Ok` for end of file. `gone` is called with what was taken off the queue.
    #[allow(clippy::too_many_arguments)]
    pub fn receive(
        &self,
        t: &Task,
        me: &Common,
        dst: &mut IoDst<'_>,
        msg: &mut Incoming,
        patience: Patience,
        ended: impl Fn() -> Option<Result<()>>,
        gone: impl Fn(&Packet),
    ) -> Result<usize> {
        loop {
            if let Some(n) = self.try_receive(me, dst, msg, &gone)? {
                return Ok(n);
            }
            if let Some(end) = ended() {
                return end.map(|()| 0);
            }
            let ready = patience.wait_until(t, &[&me.wait], || {
                if self.level().count > 0 {
                    return Some(Ok(true));
                }
                ended().map(|end| end.map(|()| false))
            })?;
            if !ready? {
                return Ok(0);
            }
        }
    }

    /// Receives one whole packet for `me` if there is one; as [`Queue::receive`].
    pub fn try_receive(
        &self,
        me: &Common,
        dst: &mut IoDst<'_>,
        msg: &mut Incoming,
        gone: impl Fn(&Packet),
    ) -> Result<Option<usize>> {
        let guard = self.begin();
        let Some(mut p) = self.take_if(|_| true) else {
            return Ok(None);
        };
        let len = p.rest().len();
        let copied = if dst.left() == 0 {
            Ok(0)
        } else {
            dst.put(p.rest())
        };
        if msg.wants_addr {
            msg.addr = match (&p.route, &p.sender) {
                (Some(r), _) => Some(Address::Inet(r.from).encode()),
                (None, Some(s)) => s.local.lock().as_ref().map(Address::encode),
                (None, None) => None,
            };
        }
        msg.route = p.route;
        msg.rights = Rights {
            files: Vec::new(),
            cred: p.cred,
            wants_cred: me.has(Flags::PASSCRED),
        };
        if msg.wants(MSG_PEEK) {
            msg.rights.files = p.peek_files();
            self.put_back(core::iter::once(p));
        } else {
            msg.rights.files = p.take_files();
            self.consumed(len, 1, false);
            gone(&p);
        }
        drop(guard);
        let copied = copied?;
        if copied < len {
            msg.result |= MSG_TRUNC;
            if msg.wants(MSG_TRUNC) {
                return Ok(Some(len));
            }
        }
        Ok(Some(copied))
    }
}
