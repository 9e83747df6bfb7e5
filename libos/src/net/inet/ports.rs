//! Ports inside the enclave: who has bound what.

use super::policy::is_any;
use crate::{Errno, Result};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use core::net::{IpAddr, SocketAddr};

/// `net.ipv4.ip_local_port_range`.
const EPHEMERAL: core::ops::RangeInclusive<u16> = 32_768..=60_999;

/// How a socket wants to bind.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub ip: IpAddr,
    /// 0: any free one.
    pub port: u16,
    /// An IPv6 wildcard that does not cover IPv4.
    pub v6only: bool,
    pub reuse_addr: bool,
    pub reuse_port: bool,
    pub uid: u32,
}

impl Wish {
    /// A socket bound so can show peers that reach it through a host address: one for IPv6 alone
    /// has no place for IPv4's.
    pub fn carries(&self, host: IpAddr) -> bool {
        match self.ip {
            IpAddr::V4(_) => true,
            IpAddr::V6(ip) => host.is_ipv6() || ip.is_unspecified() && !self.v6only,
        }
    }
}

struct Entry<T: ?Sized> {
    key: u64,
    wish: Wish,
    listening: bool,
    socket: Weak<T>,
}

/// The ports of one protocol.
pub struct Ports<T: ?Sized> {
    inner: Mutex<Inner<T>>,
    /// Datagram sockets that allow it may share a port; stream sockets only until one listens.
    datagrams: bool,
}

struct Inner<T: ?Sized> {
    last_key: u64,
    last_port: u16,
    turn: usize,
    bound: BTreeMap<u16, Vec<Entry<T>>>,
}

/// A bound port; given up with [`Ports::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub port: u16,
    key: u64,
}

/// Two addresses that share packets.
fn overlap(a: &Wish, b: &Wish) -> bool {
    match (a.ip, b.ip) {
        _ if a.ip == b.ip => true,
        (IpAddr::V4(x), IpAddr::V4(y)) => x.is_unspecified() || y.is_unspecified(),
        (IpAddr::V6(x), IpAddr::V6(y)) => x.is_unspecified() || y.is_unspecified(),
        (IpAddr::V6(x), IpAddr::V4(_)) => x.is_unspecified() && !a.v6only,
        (IpAddr::V4(_), IpAddr::V6(y)) => y.is_unspecified() && !b.v6only,
    }
}

/// A socket bound so hears what is sent to `to`; more for a better match.
fn score(w: &Wish, to: IpAddr) -> u32 {
    match (w.ip, to) {
        _ if w.ip == to => 3,
        (IpAddr::V4(a), IpAddr::V4(_)) if a.is_unspecified() => 2,
        (IpAddr::V6(a), IpAddr::V6(_)) if a.is_unspecified() => 2,
        (IpAddr::V6(a), IpAddr::V4(_)) if a.is_unspecified() && !w.v6only => 1,
        _ => 0,
    }
}

impl<T: ?Sized> Ports<T> {
    /// None bound.
    pub const fn new(datagrams: bool) -> Self {
        Ports {
            inner: Mutex::new(Inner {
                last_key: 0,
                last_port: 0,
                turn: 0,
                bound: BTreeMap::new(),
            }),
            datagrams,
        }
    }

    fn conflict(&self, a: &Wish, b: &Entry<T>, listening: bool) -> bool {
        if b.socket.strong_count() == 0 || !overlap(a, &b.wish) {
            return false;
        }
        let shared = a.reuse_port && b.wish.reuse_port && a.uid == b.wish.uid;
        let reused =
            a.reuse_addr && b.wish.reuse_addr && (self.datagrams || !listening && !b.listening);
        !shared && !reused
    }

    /// Binds; EADDRINUSE.
    pub fn bind(&self, wish: Wish, socket: Weak<T>) -> Result<Held> {
        let mut inner = self.inner.lock();
        let free = |inner: &Inner<T>, port: u16| {
            inner
                .bound
                .get(&port)
                .is_none_or(|l| l.iter().all(|e| !self.conflict(&wish, e, false)))
        };
        let port = if wish.port != 0 {
            if !free(&inner, wish.port) {
                return Err(Errno::EADDRINUSE);
            }
            wish.port
        } else {
            let (low, count) = (*EPHEMERAL.start(), EPHEMERAL.len() as u16);
            if inner.last_port == 0 {
                let mut seed = [0; 2];
                crate::pal().random(&mut seed);
                inner.last_port = u16::from_ne_bytes(seed) % count;
            }
            let start = inner.last_port;
            let port = (1..=count)
                .map(|i| low + (start + i) % count)
                // Nobody at all: what is handed out at random is not shared.
                .find(|p| inner.bound.get(p).is_none_or(Vec::is_empty))
                .ok_or(Errno::EADDRINUSE)?;
            inner.last_port = port - low;
            port
        };
        inner.last_key += 1;
        let key = inner.last_key;
        inner.bound.entry(port).or_default().push(Entry {
            key,
            wish: Wish { port, ..wish },
            listening: false,
            socket,
        });
        Ok(Held { port, key })
    }

    /// From now on others may not share the port; EADDRINUSE if another listens.
    pub fn listen(&self, held: Held) -> Result<()> {
        let mut inner = self.inner.lock();
        let Some(list) = inner.bound.get_mut(&held.port) else {
            return Err(Errno::EINVAL);
        };
        let Some(i) = list.iter().position(|e| e.key == held.key) else {
            return Err(Errno::EINVAL);
        };
        let wish = list[i].wish;
        let taken = list
            .iter()
            .any(|e| e.key != held.key && e.listening && self.conflict(&wish, e, true));
        if taken {
            return Err(Errno::EADDRINUSE);
        }
        list[i].listening = true;
        Ok(())
    }

    /// Narrows a wildcard to the address that a connection gave.
    pub fn narrow(&self, held: Held, ip: IpAddr) {
        let mut inner = self.inner.lock();
        if let Some(e) = inner
            .bound
            .get_mut(&held.port)
            .and_then(|l| l.iter_mut().find(|e| e.key == held.key))
            && is_any(e.wish.ip)
        {
            e.wish.ip = ip;
        }
    }

    /// Gives a port up.
    pub fn release(&self, held: Held) {
        let mut inner = self.inner.lock();
        if let Some(list) = inner.bound.get_mut(&held.port) {
            list.retain(|e| e.key != held.key);
            if list.is_empty() {
                inner.bound.remove(&held.port);
            }
        }
    }

    /// The socket that hears what is sent to an address, among those that `takes` accepts; the
    /// best match, and sockets that share a port in turn.
    pub fn find(&self, to: SocketAddr, takes: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        let mut inner = self.inner.lock();
        inner.turn = inner.turn.wrapping_add(1);
        let turn = inner.turn;
        let hears = |e: &Entry<T>| match score(&e.wish, to.ip()) {
            0 => None,
            n => Some((n, e.socket.upgrade()?)),
        };
        let hearing: Vec<(u32, Arc<T>)> = inner
            .bound
            .get(&to.port())?
            .iter()
            .filter_map(hears)
            .collect();
        // The last holder of a socket releases its port.
        drop(inner);
        let mut found: Vec<_> = hearing.into_iter().filter(|(_, x)| takes(x)).collect();
        let best = found.iter().map(|(n, _)| *n).max()?;
        found.retain(|(n, _)| *n == best);
        let n = found.len();
        Some(found.swap_remove(turn % n).1)
    }

    /// Whether a socket that `is` so holds the same port at addresses that do not overlap.
    pub fn beside(&self, held: Held, is: impl Fn(&T) -> bool) -> bool {
        let inner = self.inner.lock();
        let list = inner.bound.get(&held.port).map_or(&[][..], Vec::as_slice);
        let Some(own) = list.iter().find(|e| e.key == held.key) else {
            return false;
        };
        let others: Vec<Arc<T>> = list
            .iter()
            .filter(|e| !overlap(&own.wish, &e.wish))
            .filter_map(|e| e.socket.upgrade())
            .collect();
        drop(inner);
        others.iter().any(|x| is(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(ip: &str, port: u16) -> Wish {
        Wish {
            ip: ip.parse().unwrap(),
            port,
            v6only: false,
            reuse_addr: false,
            reuse_port: false,
            uid: 0,
        }
    }

    fn to(s: &str) -> SocketAddr {
        s.parse().unwrap()
    }

    #[test]
    fn addresses_that_overlap_conflict() {
        crate::testing::boot();
        let p: Ports<u8> = Ports::new(false);
        let s = Arc::new(1);
        let w = |x| p.bind(x, Arc::downgrade(&s));
        let held = w(wish("127.0.0.1", 80)).unwrap();
        assert!(w(wish("127.0.0.2", 80)).is_ok());
        assert_eq!(w(wish("0.0.0.0", 80)), Err(Errno::EADDRINUSE));
        assert_eq!(w(wish("::", 80)), Err(Errno::EADDRINUSE));
        let only = Wish {
            v6only: true,
            ..wish("::", 80)
        };
        assert!(w(only).is_ok());
        p.release(held);
        assert!(w(wish("127.0.0.1", 80)).is_ok());
    }

    #[test]
    fn reuse_ends_when_one_listens() {
        crate::testing::boot();
        let p: Ports<u8> = Ports::new(false);
        let s = Arc::new(1);
        let reuse = Wish {
            reuse_addr: true,
            ..wish("0.0.0.0", 80)
        };
        let a = p.bind(reuse, Arc::downgrade(&s)).unwrap();
        let b = p.bind(reuse, Arc::downgrade(&s)).unwrap();
        p.listen(a).unwrap();
        assert_eq!(p.listen(b), Err(Errno::EADDRINUSE));
        assert_eq!(p.bind(reuse, Arc::downgrade(&s)), Err(Errno::EADDRINUSE));
    }

    #[test]
    fn sockets_share_a_port_side_by_side() {
        crate::testing::boot();
        let p: Ports<u8> = Ports::new(false);
        let (one, two) = (Arc::new(1), Arc::new(2));
        let only = Wish {
            v6only: true,
            ..wish("::", 80)
        };
        let a = p.bind(wish("0.0.0.0", 80), Arc::downgrade(&one)).unwrap();
        let b = p.bind(only, Arc::downgrade(&two)).unwrap();
        assert!(p.beside(b, |x| *x == 1) && p.beside(a, |x| *x == 2));
        assert!(!p.beside(a, |x| *x == 1));
        drop(one);
        assert!(!p.beside(b, |_| true));
        let (v4, v6) = (to("127.0.0.1:1").ip(), to("[::1]:1").ip());
        assert!(!only.carries(v4) && only.carries(v6));
        assert!(!wish("::1", 80).carries(v4) && wish("::", 80).carries(v4));
        assert!(wish("127.0.0.1", 80).carries(v4));
    }

    #[test]
    fn the_best_match_hears() {
        crate::testing::boot();
        let p: Ports<u8> = Ports::new(true);
        let (any, one) = (Arc::new(1), Arc::new(2));
        let reuse = |ip| Wish {
            reuse_addr: true,
            ..wish(ip, 53)
        };
        p.bind(reuse("0.0.0.0"), Arc::downgrade(&any)).unwrap();
        p.bind(reuse("127.0.0.1"), Arc::downgrade(&one)).unwrap();
        assert_eq!(p.find(to("127.0.0.1:53"), |_| true).as_deref(), Some(&2));
        assert_eq!(p.find(to("127.0.0.9:53"), |_| true).as_deref(), Some(&1));
        assert_eq!(p.find(to("127.0.0.1:54"), |_| true), None);
        let free = p.bind(wish("0.0.0.0", 0), Arc::downgrade(&any)).unwrap();
        assert!(EPHEMERAL.contains(&free.port));
    }
}
