//! Sockets that stay inside the enclave, through their system calls.

use super::make_inside;
use crate::fs::FdFlags;
use crate::net::address::{Address, decode_inet};
use crate::net::calls::*;
use crate::net::msg::*;
use crate::net::socket::{self, Common};
use crate::testing::{self, addr as at};
use crate::user::UserAddr;
use crate::wait::*;
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_abi::net::Linger;
use bastide_abi::raw::net::*;
use core::net::SocketAddr;

const NULL: UserAddr = UserAddr(0);

fn make(t: &Arc<Task>, domain: u32, kind: u32) -> i32 {
    let s = make_inside(Common::new(t, domain, kind, 0));
    t.install(socket::open(s, false), FdFlags::default())
        .unwrap()
}

fn encode(a: &str) -> Vec<u8> {
    Address::Inet(a.parse().unwrap()).encode()
}

fn bind(t: &Arc<Task>, fd: i32, a: &str) -> SysResult {
    let a = encode(a);
    sys_bind(t, fd, at(&a[..]), a.len() as i32)
}

fn connect(t: &Arc<Task>, fd: i32, a: &str) -> SysResult {
    let a = encode(a);
    sys_connect(t, fd, at(&a[..]), a.len() as i32)
}

fn name(t: &Arc<Task>, fd: i32, peer: bool) -> Result<SocketAddr> {
    let buf = [0u8; 28];
    let len = 28i32;
    if peer {
        sys_getpeername(t, fd, at(&buf), at(&len))?;
    } else {
        sys_getsockname(t, fd, at(&buf), at(&len))?;
    }
    decode_inet(&core::hint::black_box(buf)[..core::hint::black_box(len) as usize])
}

fn send(t: &Arc<Task>, fd: i32, data: &[u8]) -> SysResult {
    sys_sendto(t, fd, at(data), data.len(), MSG_NOSIGNAL, NULL, 0)
}

fn send_to(t: &Arc<Task>, fd: i32, data: &[u8], to: &str) -> SysResult {
    let a = encode(to);
    sys_sendto(t, fd, at(data), data.len(), 0, at(&a[..]), a.len() as i32)
}

fn recv(t: &Arc<Task>, fd: i32) -> Result<Vec<u8>> {
    let mut buf = alloc::vec![0u8; 64];
    let n = sys_recvfrom(t, fd, at(&buf[..]), 64, MSG_DONTWAIT, NULL, NULL)?;
    buf.truncate(n);
    Ok(buf)
}

fn close(t: &Task, fd: i32) {
    drop(t.files().remove(fd).unwrap());
}

fn poll(t: &Task, fd: i32) -> Events {
    t.file(fd).unwrap().poll(None)
}

fn listen(t: &Arc<Task>, domain: u32, a: &str) -> (i32, SocketAddr) {
    let fd = make(t, domain, SOCK_STREAM);
    bind(t, fd, a).unwrap();
    sys_listen(t, fd, 5).unwrap();
    (fd, name(t, fd, false).unwrap())
}

/// A client and the accepted server side.
fn connected(t: &Arc<Task>) -> (i32, i32) {
    let (l, a) = listen(t, AF_INET, "127.0.0.1:0");
    let c = make(t, AF_INET, SOCK_STREAM);
    connect(t, c, &std::format!("{a}")).unwrap();
    let s = sys_accept(t, l, NULL, NULL).unwrap() as i32;
    close(t, l);
    (c, s)
}

#[test]
fn tcp_connects_over_loopback() {
    let t = testing::task();
    let (l, a) = listen(&t, AF_INET, "0.0.0.0:0");
    let c = make(&t, AF_INET, SOCK_STREAM);
    assert_eq!(poll(&t, c), POLLHUP | POLLOUT | POLLWRNORM);
    assert_eq!(name(&t, c, true), Err(Errno::ENOTCONN));
    // The unspecified address means oneself.
    connect(&t, c, &std::format!("{a}")).unwrap();
    assert_eq!(poll(&t, l), POLLIN | POLLRDNORM);
    let s = sys_accept(&t, l, NULL, NULL).unwrap() as i32;
    assert_eq!(name(&t, c, false), name(&t, s, true));
    assert_eq!(name(&t, s, false), name(&t, c, true));
    assert_eq!(
        name(&t, s, false).unwrap().ip(),
        core::net::Ipv4Addr::LOCALHOST
    );
    assert_eq!(poll(&t, c), POLLOUT | POLLWRNORM);
    send(&t, c, b"ping").unwrap();
    assert_eq!(recv(&t, s).unwrap(), b"ping");
    assert_eq!(connect(&t, c, "127.0.0.1:1"), Err(Errno::EISCONN));
    assert_eq!(sys_listen(&t, c, 1), Err(Errno::EINVAL));
    assert_eq!(recv(&t, l), Err(Errno::ENOTCONN));
    assert_eq!(sys_shutdown(&t, make(&t, 2, 1), 2), Err(Errno::ENOTCONN));
}

#[test]
fn ports_are_exclusive_and_refuse_when_unheard() {
    let t = testing::task();
    let (l, a) = listen(&t, AF_INET, "127.0.0.1:0");
    let text = std::format!("{a}");
    let other = make(&t, AF_INET, SOCK_STREAM);
    assert_eq!(bind(&t, other, &text), Err(Errno::EADDRINUSE));
    assert_eq!(bind(&t, l, "127.0.0.1:0"), Err(Errno::EINVAL));
    close(&t, l);
    assert_eq!(connect(&t, other, &text), Err(Errno::ECONNREFUSED));
    let third = make(&t, AF_INET, SOCK_STREAM);
    assert_eq!(bind(&t, third, &text), Ok(0));
    // Not listening is not being there.
    let fourth = make(&t, AF_INET, SOCK_STREAM);
    assert_eq!(connect(&t, fourth, &text), Err(Errno::ECONNREFUSED));
}

#[test]
fn the_manifest_rules_the_outside() {
    let t = testing::task();
    let s = make(&t, AF_INET, SOCK_STREAM);
    assert_eq!(connect(&t, s, "192.0.2.1:80"), Err(Errno::ENETUNREACH));
    assert_eq!(bind(&t, s, "192.0.2.1:80"), Err(Errno::EACCES));
    let u = make(&t, AF_INET, SOCK_DGRAM);
    assert_eq!(
        send_to(&t, u, b"x", "192.0.2.1:53"),
        Err(Errno::ENETUNREACH)
    );
    let addr = encode("127.0.0.1:80");
    assert_eq!(sys_bind(&t, s, at(&addr[..]), 8), Err(Errno::EINVAL));
    let v6 = encode("[::1]:80");
    assert_eq!(
        sys_bind(&t, s, at(&v6[..]), v6.len() as i32),
        Err(Errno::EAFNOSUPPORT)
    );
}

#[test]
fn both_families_reach_a_dual_stack_listener() {
    let t = testing::task();
    let (l, a) = listen(&t, AF_INET6, "[::]:0");
    for (domain, ip) in [
        (AF_INET, "127.0.0.1"),
        (AF_INET6, "[::1]"),
        (AF_INET6, "[::ffff:127.0.0.1]"),
    ] {
        let c = make(&t, domain, SOCK_STREAM);
        connect(&t, c, &std::format!("{ip}:{}", a.port())).unwrap();
        let s = sys_accept(&t, l, NULL, NULL).unwrap() as i32;
        assert!(name(&t, s, true).unwrap().is_ipv6());
        assert_eq!(
            name(&t, c, true).unwrap().to_string(),
            std::format!("{ip}:{}", a.port())
        );
        send(&t, s, b"x").unwrap();
        assert_eq!(recv(&t, c).unwrap(), b"x");
    }
}

use std::string::ToString;

#[test]
fn a_close_is_an_end_and_then_a_reset() {
    let t = testing::task();
    let (c, s) = connected(&t);
    send(&t, s, b"last").unwrap();
    close(&t, s);
    assert_eq!(
        poll(&t, c),
        POLLIN | POLLRDNORM | POLLRDHUP | POLLOUT | POLLWRNORM
    );
    // As on Linux: the first data after the close is taken, and answered by a reset.
    assert_eq!(send(&t, c, b"x"), Ok(1));
    assert_eq!(recv(&t, c).unwrap(), b"last");
    assert_eq!(recv(&t, c).unwrap(), b"");
    assert_eq!(poll(&t, c) & (POLLERR | POLLHUP), POLLERR | POLLHUP);
    assert_eq!(send(&t, c, b"x"), Err(Errno::EPIPE));
}

#[test]
fn unread_data_or_linger_resets() {
    let t = testing::task();
    let (c, s) = connected(&t);
    send(&t, c, b"unread").unwrap();
    close(&t, s);
    assert_eq!(recv(&t, c), Err(Errno::ECONNRESET));
    assert_eq!(send(&t, c, b"x"), Err(Errno::EPIPE));
    let (c, s) = connected(&t);
    let linger = Linger { on: 1, seconds: 0 };
    sys_setsockopt(&t, s, 1, SO_LINGER, at(&linger), 8).unwrap();
    close(&t, s);
    assert_eq!(recv(&t, c), Err(Errno::ECONNRESET));
}

#[test]
fn half_closed_streams_still_carry_the_other_way() {
    let t = testing::task();
    let (c, s) = connected(&t);
    sys_shutdown(&t, c, SHUT_WR).unwrap();
    assert_eq!(send(&t, c, b"x"), Err(Errno::EPIPE));
    assert_eq!(recv(&t, s).unwrap(), b"");
    send(&t, s, b"answer").unwrap();
    assert_eq!(recv(&t, c).unwrap(), b"answer");
    // Shutting down reception is not told to the peer.
    let (c, s) = connected(&t);
    sys_shutdown(&t, c, SHUT_RD).unwrap();
    assert_eq!(recv(&t, c).unwrap(), b"");
    assert_eq!(send(&t, s, b"x"), Ok(1));
}

#[test]
fn a_closing_listener_resets_those_who_wait() {
    let t = testing::task();
    let (l, a) = listen(&t, AF_INET, "127.0.0.1:0");
    let c = make(&t, AF_INET, SOCK_STREAM);
    connect(&t, c, &std::format!("{a}")).unwrap();
    close(&t, l);
    assert_eq!(recv(&t, c), Err(Errno::ECONNRESET));
}

#[test]
fn udp_finds_its_way_inside() {
    let t = testing::task();
    let a = make(&t, AF_INET, SOCK_DGRAM);
    bind(&t, a, "127.0.0.1:0").unwrap();
    let here = name(&t, a, false).unwrap().to_string();
    let b = make(&t, AF_INET, SOCK_DGRAM);
    assert_eq!(send(&t, b, b"x"), Err(Errno::EDESTADDRREQ));
    assert_eq!(send_to(&t, b, b"one", &here), Ok(3));
    assert_eq!(poll(&t, a) & POLLIN, POLLIN);
    let buf = [0u8; 8];
    let from = [0u8; 16];
    let len = 16i32;
    assert_eq!(
        sys_recvfrom(&t, a, at(&buf), 8, 0, at(&from), at(&len)),
        Ok(3)
    );
    let back = decode_inet(&core::hint::black_box(from)).unwrap();
    assert_eq!(back.port(), name(&t, b, false).unwrap().port());
    assert_eq!(send_to(&t, a, b"two", &back.to_string()), Ok(3));
    assert_eq!(recv(&t, b).unwrap(), b"two");
    connect(&t, b, &here).unwrap();
    assert_eq!(name(&t, b, true).unwrap().to_string(), here);
    close(&t, a);
    // Nobody hears: the send succeeds, the next call fails.
    assert_eq!(send(&t, b, b"x"), Ok(1));
    assert_eq!(recv(&t, b), Err(Errno::ECONNREFUSED));
    let big = alloc::vec![0u8; 70_000];
    assert_eq!(send(&t, b, &big), Err(Errno::EMSGSIZE));
}

#[test]
fn a_connected_udp_socket_hears_its_peer_only() {
    let t = testing::task();
    let a = make(&t, AF_INET, SOCK_DGRAM);
    bind(&t, a, "127.0.0.1:0").unwrap();
    let b = make(&t, AF_INET, SOCK_DGRAM);
    bind(&t, b, "127.0.0.1:0").unwrap();
    connect(&t, a, &name(&t, b, false).unwrap().to_string()).unwrap();
    let here = name(&t, a, false).unwrap().to_string();
    let stranger = make(&t, AF_INET, SOCK_DGRAM);
    send_to(&t, stranger, b"no", &here).unwrap();
    send_to(&t, b, b"yes", &here).unwrap();
    assert_eq!(recv(&t, a).unwrap(), b"yes");
    assert_eq!(recv(&t, a), Err(Errno::EAGAIN));
}

#[test]
fn options_are_kept_and_checked() {
    let t = testing::task();
    let s = make(&t, AF_INET, SOCK_STREAM);
    let set = |level, name, v: i32| sys_setsockopt(&t, s, level, name, at(&v), 4);
    let get = |level, name| {
        let v = 0i32;
        let n = 4i32;
        sys_getsockopt(&t, s, level, name, at(&v), at(&n)).map(|_| core::hint::black_box(v))
    };
    assert_eq!(get(6, TCP_NODELAY), Ok(0));
    assert_eq!(set(6, TCP_NODELAY, 1), Ok(0));
    assert_eq!(get(6, TCP_NODELAY), Ok(1));
    assert_eq!(set(6, u32::MAX, 1), Err(Errno::ENOPROTOOPT));
    assert_eq!(get(6, u32::MAX), Err(Errno::ENOPROTOOPT));
    assert_eq!(set(0, u32::MAX, 1), Err(Errno::ENOPROTOOPT));
    assert_eq!(set(500, 1, 1), Err(Errno::ENOPROTOOPT));
    assert_eq!(get(500, 1), Err(Errno::EOPNOTSUPP));
    assert_eq!(set(17, 10, 1), Err(Errno::ENOPROTOOPT));
    assert_eq!(get(17, 10), Err(Errno::EOPNOTSUPP));
    assert_eq!(get(1, SO_ACCEPTCONN), Ok(0));
    assert_eq!(get(1, SO_TYPE), Ok(1));
    assert_eq!(get(1, SO_DOMAIN), Ok(2));
    assert_eq!(set(1, SO_TYPE, 1), Err(Errno::ENOPROTOOPT));
    assert_eq!(set(6, TCP_KEEPIDLE, 0), Err(Errno::EINVAL));
}

#[test]
fn a_blocked_accept_is_woken() {
    let t = testing::task();
    let (l, a) = listen(&t, AF_INET, "127.0.0.1:0");
    let u = testing::task_with((*t.creds()).clone(), t.files(), t.fs());
    let server = std::thread::spawn(move || {
        let s = sys_accept(&u, l, NULL, NULL).unwrap() as i32;
        let buf = [0u8; 3];
        sys_recvfrom(&u, s, at(&buf), 3, MSG_WAITALL, NULL, NULL).unwrap();
        core::hint::black_box(buf)
    });
    let c = make(&t, AF_INET, SOCK_STREAM);
    connect(&t, c, &a.to_string()).unwrap();
    send(&t, c, b"a").unwrap();
    send(&t, c, b"bc").unwrap();
    assert_eq!(&server.join().unwrap(), b"abc");
}
