//! Unix stream and seqpacket sockets.

use super::names::{self, Found, Target};
use crate::fs::File;
use crate::net::Address;
use crate::net::ioctl::SIOCATMARK;
use crate::net::packet::{self, Queue};
use crate::net::scm::{self};
use crate::net::socket::{Common, Flags, Incoming, Outgoing, PeerCred, Socket, broken_pipe};
use crate::net::stream::{self, End};
use crate::uio::{IoDst, IoSrc};
use crate::user::{self, UserAddr};
use crate::wait::{
    Events, POLLALL, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, POLLRDNORM, POLLWRBAND, POLLWRNORM,
    PollTable, WaitQueue,
};
use crate::{Errno, Result, SysResult, Task};
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_abi::raw::ioctl::{FIONREAD, TIOCOUTQ};
use bastide_abi::raw::net::*;
use bastide_base::sync::{Mutex, Once};
use core::any::Any;
use core::sync::atomic::Ordering;

/// A connection-oriented Unix socket.
pub struct UnixStream {
    common: Arc<Common>,
    me: Weak<UnixStream>,
    name: names::Slot,
    /// Serialises `listen(2)` and `connect(2)`, which exclude each other.
    phase: Mutex<()>,
    backlog: Once<Backlog>,
    end: Once<End>,
}

/// Connections that wait to be accepted.
struct Backlog {
    inner: Mutex<Pending>,
    /// Those who wait for room.
    space: WaitQueue,
}

#[derive(Default)]
struct Pending {
    queue: VecDeque<End>,
    max: usize,
    closed: bool,
}

impl UnixStream {
    /// A socket that is neither bound nor connected.
    pub fn new(common: Arc<Common>) -> Arc<Self> {
        Arc::new_cyclic(|me| UnixStream {
            common,
            me: me.clone(),
            name: Mutex::new(None),
            phase: Mutex::new(()),
            backlog: Once::new(),
            end: Once::new(),
        })
    }

    /// Connects two new sockets to each other.
    pub fn join(a: &Self, b: &Self) {
        let (x, y) = stream::connect(a.common.clone(), b.common.clone());
        a.end.get_or_init(|| x);
        b.end.get_or_init(|| y);
    }

    /// The queues behind it, those of connections not accepted yet included.
    pub fn each_queue(&self, f: &mut dyn FnMut(&Queue)) {
        if let Some(end) = self.end.get() {
            f(end.incoming());
        }
        if let Some(b) = self.backlog.get() {
            b.inner.lock().queue.iter().for_each(|e| f(e.incoming()));
        }
    }

    /// One attempt to connect to `listener`. `None` if its backlog is full.
    fn try_connect(&self, t: &Task, listener: &UnixStream) -> Result<Option<()>> {
        let backlog = listener.backlog.get().ok_or(Errno::ECONNREFUSED)?;
        if listener.common.has(Flags::RCV_SHUTDOWN) {
            return Err(Errno::ECONNREFUSED);
        }
        {
            let _phase = self.phase.lock();
            let mut pending = backlog.inner.lock();
            if pending.closed {
                return Err(Errno::ECONNREFUSED);
            }
            if pending.queue.len() > pending.max {
                return Ok(None);
            }
            if self.end.get().is_some() {
                return Err(Errno::EISCONN);
            }
            if self.backlog.get().is_some() {
                return Err(Errno::EINVAL);
            }
            let server = listener.common.sibling();
            *server.local.lock() = listener.common.local.lock().clone();
            *server.peer_cred.lock() = Some(PeerCred::of(t));
            *self.common.peer_cred.lock() = listener.common.peer_cred.lock().clone();
            let (mine, theirs) = stream::connect(self.common.clone(), server);
            self.end.get_or_init(|| mine);
            pending.queue.push_back(theirs);
        }
        self.common.wait.wake_all(POLLALL);
        listener.common.wait.wake_all(POLLIN | POLLRDNORM);
        Ok(Some(()))
    }

    fn connected(&self) -> Option<&End> {
        self.end.get()
    }
}

impl Socket for UnixStream {
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
            Target::Stream(self.me.clone()),
            addr,
        )
    }

    fn listen(&self, t: &Task, backlog: u32) -> Result<()> {
        if self.common.local.lock().is_none() {
            return Err(Errno::EINVAL);
        }
        let _phase = self.phase.lock();
        if self.end.get().is_some() {
            return Err(Errno::EINVAL);
        }
        *self.common.peer_cred.lock() = Some(PeerCred::of(t));
        let b = self.backlog.get_or_init(|| Backlog {
            inner: Mutex::default(),
            space: WaitQueue::new(),
        });
        b.inner.lock().max = backlog as usize;
        b.space.wake_all(POLLOUT);
        Ok(())
    }

    fn accept(&self, t: &Task, nonblock: bool) -> Result<Arc<dyn Socket>> {
        let backlog = self.backlog.get().ok_or(Errno::EINVAL)?;
        let patience = self.common.receive_patience(nonblock);
        let end = patience.wait_until(t, &[&self.common.wait], || {
            if let Some(end) = backlog.inner.lock().queue.pop_front() {
                return Some(Ok(end));
            }
            self.common
                .has(Flags::RCV_SHUTDOWN)
                .then_some(Err(Errno::EINVAL))
        })??;
        backlog.space.wake_all(POLLOUT);
        let new = UnixStream::new(end.me().clone());
        new.end.get_or_init(|| end);
        Ok(new)
    }

    fn connect(&self, t: &Task, addr: &[u8], nonblock: bool) -> Result<()> {
        if addr.len() <= 2 {
            return Err(Errno::EINVAL);
        }
        super::autobind_for_creds(&self.common, &self.name, Target::Stream(self.me.clone()))?;
        let patience = self.common.send_patience(nonblock);
        loop {
            let Found::Stream(listener) = names::find(t, addr, self.common.kind)? else {
                return Err(Errno::EPROTOTYPE);
            };
            if self.try_connect(t, &listener)?.is_some() {
                return Ok(());
            }
            let Some(b) = listener.backlog.get() else {
                continue;
            };
            patience.wait_until(t, &[&b.space], || {
                let p = b.inner.lock();
                (p.closed || p.queue.len() <= p.max || listener.common.has(Flags::RCV_SHUTDOWN))
                    .then_some(())
            })?;
        }
    }

    fn name(&self, peer: bool) -> Result<Vec<u8>> {
        let common = if peer {
            self.connected().ok_or(Errno::ENOTCONN)?.peer()
        } else {
            &self.common
        };
        Ok(common
            .local
            .lock()
            .clone()
            .unwrap_or_else(Address::unnamed)
            .encode())
    }

    fn send(&self, t: &Task, src: &mut IoSrc<'_>, msg: &Outgoing<'_>) -> Result<usize> {
        let rights = scm::outgoing(t, msg.control)?;
        let record = self.common.kind == SOCK_SEQPACKET;
        if msg.flags & MSG_OOB != 0 && (record || src.left() == 0) {
            return Err(Errno::EOPNOTSUPP);
        }
        let Some(end) = self.connected() else {
            return Err(if msg.addr.is_some() && !record {
                Errno::EOPNOTSUPP
            } else {
                Errno::ENOTCONN
            });
        };
        if record {
            self.common.take_error()?;
            return end.send_record(t, src, msg, rights);
        }
        if msg.addr.is_some() {
            return Err(Errno::EISCONN);
        }
        match end.send_stream(t, src, msg, rights) {
            Err(Errno::EPIPE) => Err(broken_pipe(t, msg.flags)),
            r => r,
        }
    }

    fn recv(&self, t: &Task, dst: &mut IoDst<'_>, msg: &mut Incoming) -> Result<usize> {
        let record = self.common.kind == SOCK_SEQPACKET;
        let Some(end) = self.connected() else {
            return Err(if record {
                Errno::ENOTCONN
            } else {
                Errno::EINVAL
            });
        };
        if msg.wants(MSG_OOB) {
            return if record {
                Err(Errno::EOPNOTSUPP)
            } else {
                end.recv_urgent(dst, msg)
            };
        }
        let n = if record {
            end.recv_record(t, dst, msg)?
        } else {
            end.recv_stream(t, dst, msg, false)?
        };
        if msg.wants_addr {
            msg.addr = end.peer().local.lock().as_ref().map(Address::encode);
        }
        Ok(n)
    }

    fn shutdown(&self, how: u32) -> Result<()> {
        if let Some(end) = self.connected() {
            end.shutdown(how);
            return Ok(());
        }
        if how != SHUT_WR {
            self.common.set(Flags::RCV_SHUTDOWN, true);
        }
        if how != SHUT_RD {
            self.common.set(Flags::SEND_SHUTDOWN, true);
        }
        self.common.wait.wake_all(POLLALL);
        if let Some(b) = self.backlog.get() {
            b.space.wake_all(POLLALL);
        }
        Ok(())
    }

    fn is_listening(&self) -> bool {
        self.backlog.get().is_some()
    }

    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        if let Some(table) = table {
            table.listen(&self.common.wait);
        }
        if let Some(end) = self.connected() {
            return end.poll();
        }
        let flags = self.common.flags();
        let mut ev = 0;
        if flags.contains(Flags::RCV_SHUTDOWN | Flags::SEND_SHUTDOWN) {
            ev |= POLLHUP;
        }
        if flags.contains(Flags::RCV_SHUTDOWN) {
            ev |= POLLIN | POLLRDNORM | POLLRDHUP;
        }
        match self.backlog.get() {
            Some(b) => {
                if !b.inner.lock().queue.is_empty() {
                    ev |= POLLIN | POLLRDNORM;
                }
            }
            None => {
                ev |= POLLHUP;
                if packet::writable(&self.common) {
                    ev |= POLLOUT | POLLWRNORM | POLLWRBAND;
                }
            }
        }
        ev
    }

    fn ioctl(&self, t: &Task, request: u32, arg: usize) -> SysResult {
        let stream = self.common.kind == SOCK_STREAM;
        let value = match request {
            FIONREAD if self.is_listening() => return Err(Errno::EINVAL),
            FIONREAD => self.connected().map_or(0, |e| {
                let l = e.incoming().level();
                l.bytes
            }),
            TIOCOUTQ => self.common.charged.load(Ordering::Relaxed),
            SIOCATMARK if stream => usize::from(
                self.connected()
                    .is_some_and(|e| e.incoming().level().at_mark),
            ),
            _ => return Err(Errno::ENOTTY),
        };
        user::write(t, UserAddr(arg), &(value as i32))?;
        Ok(0)
    }

    fn closing(&self, f: &File) {
        super::garbage::closing(f);
    }

    fn release(&self) {
        self.name.lock().take();
        if let Some(end) = self.connected()
            && end.close()
        {
            end.peer().fail(Errno::ECONNRESET);
        }
        if let Some(end) = self.connected() {
            end.peer().wait.wake_all(POLLALL);
        }
        if let Some(b) = self.backlog.get() {
            let refused = {
                let mut p = b.inner.lock();
                p.closed = true;
                core::mem::take(&mut p.queue)
            };
            b.space.wake_all(POLLALL);
            for end in refused {
                end.close();
                end.peer().fail(Errno::ECONNRESET);
            }
        }
    }
}
