//! Unix sockets through their system calls. What is expected was seen on Linux.

use crate::fs::File;
use crate::net::calls::*;
use crate::net::msg::*;
use crate::testing;
use crate::user::UserAddr;
use crate::wait::*;
use crate::{Errno, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_abi::net::{CMsgHdr, MsgHdr, UCred};
use bastide_abi::raw::net::*;
use zerocopy::{FromBytes, IntoBytes};

fn at<T: ?Sized>(v: &T) -> UserAddr {
    UserAddr(core::ptr::from_ref(v).cast::<u8>() as usize)
}

const NULL: UserAddr = UserAddr(0);
const NONBLOCK: u32 = 0o4000;

fn pair(t: &Arc<Task>, kind: u32) -> [i32; 2] {
    let fds = [0i32; 2];
    sys_socketpair(t, 1, kind, 0, at(&fds)).unwrap();
    core::hint::black_box(fds)
}

/// A task with the same descriptors, for another thread.
fn another(t: &Arc<Task>) -> Arc<Task> {
    testing::task_with((*t.creds()).clone(), t.files(), t.fs())
}

fn send(t: &Arc<Task>, fd: i32, data: &[u8], flags: u32) -> crate::SysResult {
    sys_sendto(t, fd, at(data), data.len(), flags, NULL, 0)
}

fn recv(t: &Arc<Task>, fd: i32, max: usize, flags: u32) -> crate::Result<Vec<u8>> {
    let mut buf = alloc::vec![0u8; max];
    let n = sys_recvfrom(t, fd, at(&buf[..]), max, flags, NULL, NULL)?;
    buf.truncate(n);
    Ok(buf)
}

fn close(t: &Task, fd: i32) {
    let f = t.files().remove(fd).unwrap();
    f.ops.flush(t, &f).unwrap();
}

fn poll(t: &Task, fd: i32) -> Events {
    t.file(fd).unwrap().poll(None)
}

fn address(name: &[u8]) -> Vec<u8> {
    [&1u16.to_ne_bytes()[..], name].concat()
}

fn listener(t: &Arc<Task>, name: &[u8], kind: u32, backlog: u32) -> i32 {
    let fd = sys_socket(t, 1, kind, 0).unwrap() as i32;
    let a = address(name);
    sys_bind(t, fd, at(&a[..]), a.len() as i32).unwrap();
    sys_listen(t, fd, backlog).unwrap();
    fd
}

fn connect(t: &Arc<Task>, name: &[u8], kind: u32) -> crate::Result<i32> {
    let fd = sys_socket(t, 1, kind, 0).unwrap() as i32;
    let a = address(name);
    sys_connect(t, fd, at(&a[..]), a.len() as i32)?;
    Ok(fd)
}

#[test]
fn streams_carry_bytes_in_order() {
    let t = testing::task();
    let [a, b] = pair(&t, SOCK_STREAM);
    assert_eq!(send(&t, a, b"hello ", 0), Ok(6));
    assert_eq!(send(&t, a, b"world", 0), Ok(5));
    assert_eq!(recv(&t, b, 3, MSG_PEEK).unwrap(), b"hel");
    assert_eq!(recv(&t, b, 20, MSG_PEEK).unwrap(), b"hello world");
    assert_eq!(recv(&t, b, 8, 0).unwrap(), b"hello wo");
    assert_eq!(recv(&t, b, 20, 0).unwrap(), b"rld");
    assert_eq!(recv(&t, b, 1, MSG_DONTWAIT), Err(Errno::EAGAIN));
    close(&t, a);
    assert_eq!(recv(&t, b, 1, 0).unwrap(), b"");
    assert_eq!(send(&t, b, b"x", MSG_NOSIGNAL), Err(Errno::EPIPE));
}

#[test]
fn buffers_hold_what_linux_holds() {
    let t = testing::task();
    let [a, b] = pair(&t, SOCK_DGRAM | NONBLOCK);
    let mut n = 0;
    while send(&t, a, b"x", 0).is_ok() {
        n += 1;
    }
    assert_eq!(n, 278);
    assert_eq!(poll(&t, a) & POLLOUT, 0);
    // Writable again only when three quarters are free.
    for _ in 0..208 {
        recv(&t, b, 1, 0).unwrap();
    }
    assert_eq!(poll(&t, a) & POLLOUT, 0);
    recv(&t, b, 1, 0).unwrap();
    assert_eq!(poll(&t, a) & POLLOUT, POLLOUT);

    let [a, _b] = pair(&t, SOCK_STREAM | NONBLOCK);
    let big = alloc::vec![7u8; 1 << 20];
    assert_eq!(send(&t, a, &big, 0), Ok(219_264));
    assert_eq!(send(&t, a, b"x", 0), Err(Errno::EAGAIN));
}

#[test]
fn closing_with_unread_data_resets() {
    let t = testing::task();
    let [a, b] = pair(&t, SOCK_STREAM);
    send(&t, a, b"lost", 0).unwrap();
    close(&t, b);
    assert_eq!(
        poll(&t, a),
        POLLERR | POLLHUP | POLLRDHUP | POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLWRBAND
    );
    assert_eq!(recv(&t, a, 1, 0), Err(Errno::ECONNRESET));
    assert_eq!(recv(&t, a, 1, 0).unwrap(), b"");
}

#[test]
fn half_close_is_seen_by_the_other_side() {
    let t = testing::task();
    let [a, b] = pair(&t, SOCK_STREAM);
    assert_eq!(poll(&t, a), POLLOUT | POLLWRNORM | POLLWRBAND);
    sys_shutdown(&t, a, SHUT_WR).unwrap();
    assert_eq!(send(&t, a, b"x", MSG_NOSIGNAL), Err(Errno::EPIPE));
    assert_eq!(
        poll(&t, b),
        POLLRDHUP | POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLWRBAND
    );
    assert_eq!(recv(&t, b, 1, 0).unwrap(), b"");
    assert_eq!(send(&t, b, b"y", 0), Ok(1));
    assert_eq!(recv(&t, a, 1, 0).unwrap(), b"y");
    assert_eq!(sys_shutdown(&t, a, 3), Err(Errno::EINVAL));
}

#[test]
fn records_keep_their_boundaries() {
    let t = testing::task();
    for kind in [SOCK_DGRAM, SOCK_SEQPACKET] {
        let [a, b] = pair(&t, kind);
        send(&t, a, b"first", 0).unwrap();
        send(&t, a, b"", 0).unwrap();
        send(&t, a, b"third", 0).unwrap();
        assert_eq!(recv(&t, b, 2, MSG_PEEK).unwrap(), b"fi");
        assert_eq!(recv(&t, b, 2, 0).unwrap(), b"fi");
        assert_eq!(recv(&t, b, 2, 0).unwrap(), b"");
        let buf = [0u8; 2];
        assert_eq!(
            sys_recvfrom(&t, b, at(&buf), 2, MSG_TRUNC, NULL, NULL),
            Ok(5)
        );
        let huge = alloc::vec![0u8; 212_992];
        assert_eq!(send(&t, a, &huge, 0), Err(Errno::EMSGSIZE));
    }
}

#[test]
fn abstract_names_connect() {
    let t = testing::task();
    let l = listener(&t, b"\0a-name", SOCK_STREAM, 1);
    let addr = address(b"\0a-name");
    let other = sys_socket(&t, 1, SOCK_STREAM, 0).unwrap() as i32;
    let bind = |fd| sys_bind(&t, fd, at(&addr[..]), addr.len() as i32);
    assert_eq!(bind(other), Err(Errno::EADDRINUSE));
    assert_eq!(bind(l), Err(Errno::EINVAL));
    assert_eq!(poll(&t, l), 0);
    let c = connect(&t, b"\0a-name", SOCK_STREAM).unwrap();
    assert_eq!(poll(&t, l), POLLIN | POLLRDNORM);
    send(&t, c, b"early", 0).unwrap();
    let _second = connect(&t, b"\0a-name", SOCK_STREAM).unwrap();
    let third = sys_socket(&t, 1, SOCK_STREAM | NONBLOCK, 0).unwrap() as i32;
    let again = || sys_connect(&t, third, at(&addr[..]), addr.len() as i32);
    assert_eq!(again(), Err(Errno::EAGAIN));
    let buf = [0u8; 110];
    let len = 110i32;
    let s = sys_accept(&t, l, at(&buf), at(&len)).unwrap() as i32;
    assert_eq!(core::hint::black_box(len), 2);
    assert_eq!(recv(&t, s, 9, 0).unwrap(), b"early");
    let len = 110i32;
    sys_getpeername(&t, c, at(&buf), at(&len)).unwrap();
    assert_eq!(core::hint::black_box(len), 9);
    assert_eq!(&core::hint::black_box(buf)[..9], &addr[..]);
    assert_eq!(
        sys_getpeername(&t, l, at(&buf), at(&len)),
        Err(Errno::ENOTCONN)
    );
    assert_eq!(
        sys_connect(&t, c, at(&addr[..]), addr.len() as i32),
        Err(Errno::EISCONN)
    );
    let cred = UCred::default();
    let n = 12i32;
    sys_getsockopt(&t, s, 1, SO_PEERCRED, at(&cred), at(&n)).unwrap();
    assert_eq!(core::hint::black_box(cred).pid, t.process.pid);
    close(&t, l);
    assert_eq!(
        connect(&t, b"\0a-name", SOCK_STREAM),
        Err(Errno::ECONNREFUSED)
    );
    assert_eq!(recv(&t, _second, 1, 0), Err(Errno::ECONNRESET));
    // A name belongs to one kind of socket.
    listener(&t, b"\0kind", SOCK_SEQPACKET, 1);
    assert_eq!(
        connect(&t, b"\0kind", SOCK_STREAM),
        Err(Errno::ECONNREFUSED)
    );
}

#[test]
fn wrong_states_give_the_right_errors() {
    let t = testing::task();
    let s = sys_socket(&t, 1, SOCK_STREAM, 0).unwrap() as i32;
    assert_eq!(poll(&t, s), POLLHUP | POLLOUT | POLLWRNORM | POLLWRBAND);
    assert_eq!(sys_listen(&t, s, 1), Err(Errno::EINVAL));
    assert_eq!(sys_accept(&t, s, NULL, NULL), Err(Errno::EINVAL));
    assert_eq!(recv(&t, s, 1, 0), Err(Errno::EINVAL));
    assert_eq!(send(&t, s, b"x", 0), Err(Errno::ENOTCONN));
    let q = sys_socket(&t, 1, SOCK_SEQPACKET, 0).unwrap() as i32;
    assert_eq!(recv(&t, q, 1, 0), Err(Errno::ENOTCONN));
    let d = sys_socket(&t, 1, SOCK_DGRAM, 0).unwrap() as i32;
    assert_eq!(sys_listen(&t, d, 1), Err(Errno::EOPNOTSUPP));
    assert_eq!(send(&t, d, b"x", 0), Err(Errno::ENOTCONN));
    assert_eq!(send(&t, d, b"x", MSG_OOB), Err(Errno::EOPNOTSUPP));
    assert_eq!(sys_socket(&t, 0, 1, 0), Err(Errno::EAFNOSUPPORT));
    assert_eq!(sys_socket(&t, 2, 75, 0), Err(Errno::EINVAL));
    assert_eq!(sys_socket(&t, 1, 4, 0), Err(Errno::ESOCKTNOSUPPORT));
    assert_eq!(sys_socket(&t, 1, 1, 7), Err(Errno::EPROTONOSUPPORT));
    assert_eq!(sys_socket(&t, 2, 3, 0), Err(Errno::EPROTONOSUPPORT));
    assert_eq!(sys_socket(&t, 2, 1, 17), Err(Errno::EPROTONOSUPPORT));
    let bad = UserAddr(usize::MAX - 15);
    assert_eq!(sys_socketpair(&t, 1, 1, 0, bad), Err(Errno::EFAULT));
    assert_eq!(sys_listen(&t, 400, 1), Err(Errno::EBADF));
}

#[test]
fn datagrams_find_names_and_respect_peers() {
    let t = testing::task();
    let bind = |name: &[u8]| {
        let fd = sys_socket(&t, 1, SOCK_DGRAM | NONBLOCK, 0).unwrap() as i32;
        let a = address(name);
        sys_bind(&t, fd, at(&a[..]), a.len() as i32).unwrap();
        fd
    };
    let (a, b, c) = (bind(b"\0dg-a"), bind(b"\0dg-b"), bind(b"\0dg-c"));
    let to = |fd, name: &[u8]| {
        let addr = address(name);
        sys_sendto(&t, fd, at(b"m"), 1, 0, at(&addr[..]), addr.len() as i32)
    };
    for _ in 0..11 {
        assert_eq!(to(a, b"\0dg-b"), Ok(1));
    }
    assert_eq!(to(a, b"\0dg-b"), Err(Errno::EAGAIN));
    let from = [0u8; 110];
    let len = 110i32;
    let buf = [0u8; 1];
    sys_recvfrom(&t, b, at(&buf), 1, 0, at(&from), at(&len)).unwrap();
    assert_eq!(core::hint::black_box(len), 7);
    assert_eq!(&core::hint::black_box(from)[..7], &address(b"\0dg-a")[..]);
    let addr = address(b"\0dg-a");
    sys_connect(&t, b, at(&addr[..]), addr.len() as i32).unwrap();
    assert_eq!(to(c, b"\0dg-b"), Err(Errno::EPERM));
    assert_eq!(send(&t, b, b"x", 0), Ok(1));
    close(&t, a);
    assert_eq!(send(&t, b, b"x", 0), Err(Errno::ECONNREFUSED));
    assert_eq!(send(&t, b, b"x", 0), Err(Errno::ENOTCONN));
    assert_eq!(to(c, b"\0dg-a"), Err(Errno::ECONNREFUSED));
}

/// Sends descriptors with one byte.
fn send_fds(t: &Arc<Task>, fd: i32, fds: &[i32]) -> crate::SysResult {
    let h = CMsgHdr {
        len: (16 + fds.len() * 4) as u64,
        level: 1,
        kind: SCM_RIGHTS as i32,
    };
    let control = [h.as_bytes(), fds.as_bytes()].concat();
    let data = *b"!";
    let iov = [at(&data).0 as u64, 1];
    let m = MsgHdr {
        iov: at(&iov).0 as u64,
        iovlen: 1,
        control: at(&control[..]).0 as u64,
        controllen: control.len() as u64,
        ..Default::default()
    };
    sys_sendmsg(t, fd, at(&m), 0)
}

/// Receives one byte and descriptors; `room` is the size of the control buffer.
fn recv_fds(t: &Arc<Task>, fd: i32, room: usize, flags: u32) -> crate::Result<(Vec<i32>, u32)> {
    let control = alloc::vec![0u8; room];
    let data = [0u8; 1];
    let iov = [at(&data).0 as u64, 1];
    let m = MsgHdr {
        iov: at(&iov).0 as u64,
        iovlen: 1,
        control: at(&control[..]).0 as u64,
        controllen: room as u64,
        ..Default::default()
    };
    sys_recvmsg(t, fd, at(&m), flags)?;
    let m = core::hint::black_box(m);
    let used = &core::hint::black_box(&control)[..m.controllen as usize];
    let mut got = Vec::new();
    if let Ok((h, rest)) = CMsgHdr::read_from_prefix(used) {
        for c in rest[..h.len as usize - 16].chunks(4) {
            got.push(i32::from_ne_bytes(c.try_into().unwrap()));
        }
    }
    Ok((got, m.flags))
}

#[test]
fn descriptors_travel() {
    let t = testing::task();
    for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
        let [a, b] = pair(&t, kind);
        let [x, y] = pair(&t, SOCK_STREAM);
        assert_eq!(send_fds(&t, a, &[x]), Ok(1));
        close(&t, x);
        let (got, flags) = recv_fds(&t, b, 64, MSG_CMSG_CLOEXEC).unwrap();
        assert_eq!((got.len(), flags), (1, MSG_CMSG_CLOEXEC));
        send(&t, got[0], b"via", 0).unwrap();
        assert_eq!(recv(&t, y, 9, 0).unwrap(), b"via");
        assert!(t.files().get_with_flags(got[0]).unwrap().1 == crate::fs::FdFlags::CLOEXEC);
        // Without room they are closed, and a flag tells.
        send_fds(&t, a, &[y, y]).unwrap();
        let (two, flags) = recv_fds(&t, b, 20, 0).unwrap();
        assert_eq!((two.len(), flags), (1, MSG_CTRUNC));
        send_fds(&t, a, &[y]).unwrap();
        assert_eq!(recv_fds(&t, b, 8, 0).unwrap(), (Vec::new(), MSG_CTRUNC));
        assert_eq!(send_fds(&t, a, &[999]), Err(Errno::EBADF));
    }
}

#[test]
fn a_stream_stops_at_descriptors() {
    let t = testing::task();
    let [a, b] = pair(&t, SOCK_STREAM);
    send(&t, a, b"one", 0).unwrap();
    send_fds(&t, a, &[a]).unwrap();
    send(&t, a, b"two", 0).unwrap();
    assert_eq!(recv(&t, b, 99, 0).unwrap(), b"one!");
    assert_eq!(recv(&t, b, 99, 0).unwrap(), b"two");
}

fn weak_files(t: &Task, fds: &[i32]) -> Vec<alloc::sync::Weak<File>> {
    fds.iter()
        .map(|&fd| Arc::downgrade(&t.files().get(fd).unwrap()))
        .collect()
}

#[test]
fn circles_of_sockets_are_collected() {
    let t = testing::task();
    // Each end of a pair travels in the other's queue.
    let circle = || {
        let [a, b] = pair(&t, SOCK_DGRAM);
        let weak = weak_files(&t, &[a, b]);
        send_fds(&t, a, &[a]).unwrap();
        send_fds(&t, b, &[b]).unwrap();
        close(&t, a);
        assert!(weak.iter().all(|w| w.strong_count() > 0));
        close(&t, b);
        weak
    };
    let weak = circle();
    // At once, but for what other tests have in flight at this moment.
    while weak.iter().any(|w| w.strong_count() > 0) {
        circle();
    }
    // One that can still be received stays.
    let [a, b] = pair(&t, SOCK_STREAM);
    let [x, y] = pair(&t, SOCK_STREAM);
    let weak = weak_files(&t, &[x, y]);
    send_fds(&t, x, &[x, y]).unwrap();
    send_fds(&t, a, &[y]).unwrap();
    close(&t, x);
    close(&t, y);
    assert!(weak[1].strong_count() > 0);
    let (got, _) = recv_fds(&t, b, 64, 0).unwrap();
    let (inner, _) = recv_fds(&t, got[0], 64, 0).unwrap();
    assert_eq!(inner.len(), 2);
}

#[test]
fn long_chains_of_sockets_close_without_recursion() {
    let t = testing::task();
    let [mut a, mut b] = pair(&t, SOCK_STREAM);
    for _ in 0..20_000 {
        let [x, y] = pair(&t, SOCK_STREAM);
        // The next pair holds this one.
        send_fds(&t, x, &[a, b]).unwrap();
        close(&t, a);
        close(&t, b);
        (a, b) = (x, y);
    }
    close(&t, a);
    close(&t, b);
}

#[test]
fn credentials_arrive_when_asked_for() {
    let t = testing::task();
    let [a, b] = pair(&t, SOCK_STREAM);
    let on = 1i32;
    sys_setsockopt(&t, b, 1, SO_PASSCRED, at(&on), 4).unwrap();
    send(&t, a, b"x", 0).unwrap();
    let control = [0u8; 64];
    let data = [0u8; 8];
    let iov = [at(&data).0 as u64, 8];
    let m = MsgHdr {
        iov: at(&iov).0 as u64,
        iovlen: 1,
        control: at(&control).0 as u64,
        controllen: 64,
        ..Default::default()
    };
    assert_eq!(sys_recvmsg(&t, b, at(&m), 0), Ok(1));
    assert_eq!(core::hint::black_box(m).controllen, 32);
    let (h, rest) = CMsgHdr::read_from_prefix(core::hint::black_box(&control)).unwrap();
    assert_eq!((h.len, h.kind), (28, SCM_CREDENTIALS as i32));
    let (cred, _) = UCred::read_from_prefix(rest).unwrap();
    assert_eq!(cred.pid, t.process.pid);
}

#[test]
fn urgent_bytes_stand_apart() {
    let t = testing::task();
    let [a, b] = pair(&t, SOCK_STREAM);
    assert_eq!(send(&t, a, b"abc", MSG_OOB), Ok(3));
    send(&t, a, b"def", 0).unwrap();
    assert_eq!(poll(&t, b) & POLLPRI, POLLPRI);
    // Reading stops at the mark, and then passes over it.
    assert_eq!(recv(&t, b, 9, 0).unwrap(), b"ab");
    assert_eq!(recv(&t, b, 1, MSG_OOB | MSG_PEEK).unwrap(), b"c");
    assert_eq!(recv(&t, b, 1, MSG_OOB).unwrap(), b"c");
    assert_eq!(recv(&t, b, 1, MSG_OOB), Err(Errno::EINVAL));
    assert_eq!(recv(&t, b, 9, 0).unwrap(), b"def");
}

#[test]
fn waiting_receivers_and_senders_are_woken() {
    let t = testing::task();
    let [a, b] = pair(&t, SOCK_STREAM);
    let u = another(&t);
    let reader = std::thread::spawn(move || {
        let mut total = 0;
        loop {
            let got = recv(&u, b, 65_536, 0).unwrap();
            if got.is_empty() {
                return total;
            }
            total += got.len();
        }
    });
    let big = alloc::vec![1u8; 1 << 20];
    assert_eq!(send(&t, a, &big, 0), Ok(1 << 20));
    sys_shutdown(&t, a, SHUT_WR).unwrap();
    assert_eq!(reader.join().unwrap(), 1 << 20);

    let [a, b] = pair(&t, SOCK_STREAM);
    let u = another(&t);
    let reader = std::thread::spawn(move || recv(&u, b, 6, MSG_WAITALL).unwrap());
    for part in [b"ab", b"cd", b"ef"] {
        send(&t, a, part, 0).unwrap();
    }
    assert_eq!(reader.join().unwrap(), b"abcdef");
}

#[test]
fn timeouts_end_the_wait() {
    let t = testing::task();
    let [a, _b] = pair(&t, SOCK_STREAM);
    let tv = [0i64, 2000];
    sys_setsockopt(&t, a, 1, SO_RCVTIMEO, at(&tv), 16).unwrap();
    assert_eq!(recv(&t, a, 1, 0), Err(Errno::EAGAIN));
}
