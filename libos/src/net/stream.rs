//! Connections inside the enclave: two queues between two sockets. Unix stream and seqpacket
//! sockets, and TCP over loopback.

use super::packet::{self, Packet, Queue};
use super::payload::{self, Payload};
use super::scm::{self, Flying, Rights};
use super::socket::{Common, Flags, Incoming, Outgoing, Patience};
use crate::uio::{IoDst, IoSrc};
use crate::wait::{
    Events, POLLALL, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDHUP, POLLRDNORM, POLLWRBAND,
    POLLWRNORM,
};
use crate::{Errno, Result, Task};
use alloc::{sync::Arc, vec::Vec};
use bastide_abi::net::UCred;
use bastide_abi::raw::net::*;
use core::sync::atomic::{AtomicBool, Ordering};

/// What fits in the head of a socket buffer, and the most that one piece of a stream holds:
/// `SKB_MAX_HEAD(0)`, and that and `UNIX_SKB_FRAGS_SZ`.
const HEAD: usize = 3776;
const PIECE: usize = HEAD + 32_768;
/// Bytes in one packet: larger blocks of memory go back to the platform whenever they are freed.
const BLOCK: usize = 32_768;

/// Two sockets that talk to each other.
pub struct Connection {
    ends: [Arc<Common>; 2],
    /// What an end has sent and the other has not taken.
    queues: [Queue; 2],
    closed: [AtomicBool; 2],
}

/// One socket's hold on a connection.
#[derive(Clone)]
pub struct End {
    conn: Arc<Connection>,
    side: usize,
}

/// Makes a connection between two sockets.
pub fn connect(a: Arc<Common>, b: Arc<Common>) -> (End, End) {
    let conn = Arc::new(Connection {
        ends: [a, b],
        queues: Default::default(),
        closed: Default::default(),
    });
    let other = End {
        conn: conn.clone(),
        side: 1,
    };
    (End { conn, side: 0 }, other)
}

impl End {
    /// This socket.
    pub fn me(&self) -> &Arc<Common> {
        &self.conn.ends[self.side]
    }

    /// The other socket.
    pub fn peer(&self) -> &Arc<Common> {
        &self.conn.ends[1 - self.side]
    }

    /// What arrives here.
    pub fn incoming(&self) -> &Queue {
        &self.conn.queues[1 - self.side]
    }

    /// What was sent and has not been taken.
    pub fn outgoing(&self) -> &Queue {
        &self.conn.queues[self.side]
    }

    /// The other socket was closed.
    pub fn peer_closed(&self) -> bool {
        self.conn.closed[1 - self.side].load(Ordering::Acquire)
    }

    /// Why sending is over, if it is. A Unix socket knows at once that its peer will not read;
    /// a TCP socket only learns of the peer's close.
    fn send_refused(&self) -> Option<Errno> {
        (self.me().has(Flags::SEND_SHUTDOWN)
            || self.peer_closed()
            || self.is_unix() && self.peer().has(Flags::RCV_SHUTDOWN))
        .then_some(Errno::EPIPE)
    }

    fn is_unix(&self) -> bool {
        self.me().domain == AF_UNIX
    }

    /// Waits until `SO_SNDBUF` has room. EPIPE when nobody will read.
    fn room(&self, t: &Task, patience: Patience) -> Result<()> {
        let me = self.me();
        let look = || {
            if me.has_error() {
                return Some(me.take_error());
            }
            if let Some(e) = self.send_refused() {
                return Some(Err(e));
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

    /// Queues one packet of `len` bytes from `src` that weighs `charge`.
    fn send_packet(
        &self,
        src: &mut IoSrc<'_>,
        len: usize,
        charge: usize,
        cred: Option<UCred>,
        files: &mut Vec<Arc<crate::fs::File>>,
        urgent: bool,
    ) -> Result<()> {
        let data = Payload::take(src, len)?;
        let me = self.me();
        me.charged.fetch_add(charge, Ordering::AcqRel);
        let packet = Packet {
            data,
            at: 0,
            charge,
            files: Flying::new(core::mem::take(files)),
            cred,
            urgent,
            sender: None,
            route: None,
        };
        if let Err((e, packet)) = self.outgoing().push(packet, || self.send_refused()) {
            packet::uncharge(me, packet.charge);
            return Err(e);
        }
        let events = POLLIN | POLLRDNORM | if urgent { POLLPRI } else { 0 };
        self.peer().wait.wake_all(events);
        Ok(())
    }

    /// Sends as a stream. EPIPE without a signal: the caller knows whether one is due.
    pub fn send_stream(
        &self,
        t: &Task,
        src: &mut IoSrc<'_>,
        msg: &Outgoing<'_>,
        mut rights: Rights,
    ) -> Result<usize> {
        let me = self.me();
        let patience = me.send_patience(msg.flags & MSG_DONTWAIT != 0);
        let cred = scm::attach_cred(t, rights.cred, me, self.peer());
        if let Some(e) = self.send_refused() {
            return Err(e);
        }
        let urgent = msg.flags & MSG_OOB != 0;
        let total = src.left();
        let plain = if urgent {
            total.saturating_sub(1)
        } else {
            total
        };
        let mut sent = 0;
        while sent < total {
            let half = (me.sndbuf.load(Ordering::Relaxed) as usize / 2).saturating_sub(64);
            let (len, mark) = if sent < plain {
                ((plain - sent).min(half.max(1)).min(PIECE), false)
            } else {
                (1, true)
            };
            let r = self.room(t, patience).and_then(|()| {
                // The piece's weight is on its last packet.
                let mut left = len;
                while left > BLOCK {
                    self.send_packet(src, BLOCK, 0, cred, &mut rights.files, false)?;
                    left -= BLOCK;
                    sent += BLOCK;
                }
                let weight = payload::truesize(len, HEAD);
                self.send_packet(src, left, weight, cred, &mut rights.files, mark)?;
                sent += left;
                Ok(())
            });
            match r {
                Ok(()) => {}
                Err(_) if sent > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(sent)
    }

    /// Sends one record of a seqpacket socket: EMSGSIZE if it can never fit.
    pub fn send_record(
        &self,
        t: &Task,
        src: &mut IoSrc<'_>,
        msg: &Outgoing<'_>,
        mut rights: Rights,
    ) -> Result<usize> {
        let me = self.me();
        let len = src.left();
        if len > (me.sndbuf.load(Ordering::Relaxed) as usize).saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        let cred = scm::attach_cred(t, rights.cred, me, self.peer());
        self.room(t, me.send_patience(msg.flags & MSG_DONTWAIT != 0))?;
        self.send_packet(
            src,
            len,
            payload::truesize(len, super::unix::RECORD_HEAD),
            cred,
            &mut rights.files,
            false,
        )?;
        Ok(len)
    }

    /// Receives one record of a seqpacket socket; 0 at the end.
    pub fn recv_record(&self, t: &Task, dst: &mut IoDst<'_>, msg: &mut Incoming) -> Result<usize> {
        let me = self.me();
        let patience = me.receive_patience(msg.wants(MSG_DONTWAIT));
        let ended = || {
            if me.has_error() {
                return Some(me.take_error());
            }
            me.has(Flags::RCV_SHUTDOWN).then_some(Ok(()))
        };
        let peer = self.peer();
        self.incoming()
            .receive(t, me, dst, msg, patience, ended, |p| {
                packet::uncharge(peer, p.charge);
            })
    }

    /// Receives from a stream; 0 at the end. `discard` drops the bytes instead (`MSG_TRUNC` of
    /// TCP).
    pub fn recv_stream(
        &self,
        t: &Task,
        dst: &mut IoDst<'_>,
        msg: &mut Incoming,
        discard: bool,
    ) -> Result<usize> {
        let me = self.me();
        let lowat = me.rcvlowat.load(Ordering::Relaxed) as usize;
        let target = if msg.wants(MSG_WAITALL) {
            dst.left()
        } else {
            lowat.min(dst.left())
        };
        let patience = me.receive_patience(msg.wants(MSG_DONTWAIT));
        let mut r = Reader {
            end: self,
            peek: msg.wants(MSG_PEEK),
            discard,
            inline: me.has(Flags::OOBINLINE),
            cred: me.has(Flags::PASSCRED).then_some(None),
            copied: 0,
            rights: Rights::default(),
        };
        let mut wanted = 1;
        loop {
            let done = r.take_available(dst)?;
            if done || r.copied >= target.max(1) || (r.peek && r.copied > 0 && patience.none()) {
                break;
            }
            let ended = me.has(Flags::RCV_SHUTDOWN);
            // TCP: the end of the stream comes before a reset that answered our own sending.
            if ended && me.has_this_error(Errno::EPIPE) {
                break;
            }
            if me.has_error() {
                if r.copied == 0 {
                    me.take_error()?;
                }
                break;
            }
            if ended {
                break;
            }
            if r.peek {
                // Look at all of it again when there is more.
                wanted = r.copied + 1;
                dst.rewind(r.copied);
                r.copied = 0;
                r.rights = Rights::default();
            }
            let q = self.incoming();
            let waited = patience.wait_until(t, &[&me.wait], || {
                let ready =
                    q.level().bytes >= wanted || me.has_error() || me.has(Flags::RCV_SHUTDOWN);
                ready.then_some(())
            });
            if let Err(e) = waited {
                if r.peek && wanted > 1 {
                    r.take_available(dst)?;
                }
                if r.copied == 0 {
                    return Err(e);
                }
                break;
            }
        }
        if let Some(seen) = r.cred {
            r.rights.wants_cred = true;
            r.rights.cred = seen.flatten();
        }
        msg.rights = r.rights;
        Ok(r.copied)
    }

    /// Receives the urgent byte, `MSG_OOB`: EINVAL if there is none or it is inline.
    pub fn recv_urgent(&self, dst: &mut IoDst<'_>, msg: &mut Incoming) -> Result<usize> {
        if self.me().has(Flags::OOBINLINE) {
            return Err(Errno::EINVAL);
        }
        let _reading = self.incoming().begin();
        let byte = self.incoming().peek_urgent().ok_or(Errno::EINVAL)?;
        msg.result |= MSG_OOB;
        let n = if dst.left() == 0 {
            0
        } else {
            dst.put(&[byte])?
        };
        if !msg.wants(MSG_PEEK)
            && let Some(p) = self.incoming().take_urgent()
        {
            packet::uncharge(self.peer(), p.charge);
        }
        Ok(n)
    }

    /// Shuts down one or both directions here, and the opposite ones at the peer.
    pub fn shutdown(&self, how: u32) {
        let (mut mine, mut theirs) = (Flags::empty(), Flags::empty());
        if how != SHUT_WR {
            mine |= Flags::RCV_SHUTDOWN;
            // TCP has no way to tell the peer.
            theirs.set(Flags::SEND_SHUTDOWN, self.is_unix());
        }
        if how != SHUT_RD {
            mine |= Flags::SEND_SHUTDOWN;
            theirs |= Flags::RCV_SHUTDOWN;
        }
        self.me().set(mine, true);
        self.peer().set(theirs, true);
        self.me().wait.wake_all(POLLALL);
        self.peer().wait.wake_all(POLLALL);
    }

    /// Closes this end. True if data that had arrived was thrown away: the peer sees a reset.
    pub fn close(&self) -> bool {
        self.conn.closed[self.side].store(true, Ordering::Release);
        let all = Flags::RCV_SHUTDOWN | Flags::SEND_SHUTDOWN;
        self.me().set(all, true);
        let known = if self.is_unix() {
            all
        } else {
            Flags::RCV_SHUTDOWN
        };
        self.peer().set(known, true);
        let lost = self.incoming().drain();
        let weight: usize = lost.iter().map(|p| p.charge).sum();
        packet::uncharge(self.peer(), weight);
        !lost.is_empty()
    }

    /// What `poll(2)` says of a connected stream.
    pub fn poll(&self) -> Events {
        let me = self.me();
        let flags = me.flags();
        let level = self.incoming().level();
        let mut ev = 0;
        if me.has_error() {
            ev |= POLLERR;
        }
        if flags.contains(Flags::RCV_SHUTDOWN | Flags::SEND_SHUTDOWN) {
            ev |= POLLHUP;
        }
        if flags.contains(Flags::RCV_SHUTDOWN) {
            ev |= POLLRDHUP | POLLIN | POLLRDNORM;
        }
        if level.count > 0 {
            ev |= POLLIN | POLLRDNORM;
        }
        if level.urgent {
            ev |= POLLPRI;
        }
        if packet::writable(me) {
            ev |= POLLOUT | POLLWRNORM | POLLWRBAND;
        }
        ev
    }
}

/// The state of one receive from a stream.
struct Reader<'a> {
    end: &'a End,
    peek: bool,
    discard: bool,
    inline: bool,
    /// `Some` if credentials are wanted; inside, those of the first packet once there is one:
    /// bytes of different writers are never glued.
    cred: Option<Option<Option<UCred>>>,
    copied: usize,
    rights: Rights,
}

impl Reader<'_> {
    /// Copies what is there. True if the call must end here though more may follow: a boundary
    /// of credentials, descriptors or urgent data, or a full buffer.
    fn take_available(&mut self, dst: &mut IoDst<'_>) -> Result<bool> {
        let q = self.end.incoming();
        let _reading = q.begin();
        let mut seen: Vec<Packet> = Vec::new();
        let outcome = self.take_packets(dst, q, &mut seen);
        if !seen.is_empty() {
            q.put_back(seen.into_iter());
        }
        outcome
    }

    fn take_packets(
        &mut self,
        dst: &mut IoDst<'_>,
        q: &Queue,
        seen: &mut Vec<Packet>,
    ) -> Result<bool> {
        loop {
            let mut boundary = false;
            let taken = q.take_if(|p| {
                let other = matches!(self.cred, Some(Some(c)) if c != p.cred);
                boundary = self.copied > 0 && (other || p.urgent);
                !boundary
            });
            let Some(mut p) = taken else {
                return Ok(boundary);
            };
            if p.urgent && !self.inline {
                // Normal reading passes over the urgent byte.
                if self.peek {
                    seen.push(p);
                } else {
                    q.consumed(p.rest().len(), 1, true);
                    packet::uncharge(self.end.peer(), p.charge);
                }
                continue;
            }
            if let Some(c @ None) = &mut self.cred {
                *c = Some(p.cred);
            }
            let n = match self.copy(dst, &p) {
                Ok(n) => n,
                Err(e) => {
                    q.put_back(core::iter::once(p));
                    return if self.copied > 0 { Ok(true) } else { Err(e) };
                }
            };
            self.copied += n;
            let whole = n == p.rest().len();
            let has_files = p.files.is_some();
            if self.peek {
                self.rights.files.extend(p.peek_files());
                seen.push(p);
            } else {
                self.rights.files.extend(p.take_files());
                p.at += n;
                let urgent = p.urgent && whole;
                q.consumed(n, usize::from(whole), urgent);
                if whole {
                    packet::uncharge(self.end.peer(), p.charge);
                } else {
                    q.put_back(core::iter::once(p));
                }
            }
            if has_files || !whole || dst.left() == 0 {
                return Ok(true);
            }
        }
    }

    fn copy(&self, dst: &mut IoDst<'_>, p: &Packet) -> Result<usize> {
        if self.discard {
            let n = p.rest().len().min(dst.left());
            dst.advance(n);
            Ok(n)
        } else if dst.left() == 0 {
            Ok(0)
        } else {
            dst.put(p.rest())
        }
    }
}
