//! Making, naming and connecting sockets: the system calls that move no data.

use super::address;
use super::options::{self, OptionValue};
use super::socket::{self, Socket, SocketFile};
use super::{inet, netlink, unix};
use crate::fs::{FdFlags, File};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_abi::raw::general::{O_CLOEXEC, O_NONBLOCK};
use bastide_abi::raw::net::*;

/// Flags that share the type argument with `SOCK_STREAM` and the others.
const SOCK_CLOEXEC: u32 = O_CLOEXEC;
const SOCK_NONBLOCK: u32 = O_NONBLOCK;
const TYPE_MASK: u32 = 0xf;
/// Most bytes of an option value.
const OPTION_MAX: usize = 1 << 16;

/// The socket that is a file; ENOTSOCK.
pub fn socket_of(f: &File) -> Result<&Arc<dyn Socket>> {
    let s = f.downcast::<SocketFile>().ok_or(Errno::ENOTSOCK)?;
    Ok(&s.0)
}

/// The socket behind a descriptor, with its file; EBADF, ENOTSOCK.
pub fn lookup(t: &Task, fd: i32) -> Result<(Arc<File>, Arc<dyn Socket>)> {
    let f = t.file(fd)?;
    let s = socket_of(&f)?.clone();
    Ok((f, s))
}

fn fd_flags(flags: u32) -> FdFlags {
    if flags & SOCK_CLOEXEC != 0 {
        FdFlags::CLOEXEC
    } else {
        FdFlags::default()
    }
}

/// Splits a type argument into type and flags; EINVAL for unknown flags.
fn split_type(kind: u32) -> Result<(u32, u32)> {
    let flags = kind & !TYPE_MASK;
    if flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok((kind & TYPE_MASK, flags))
}

/// Checks a combination for AF_INET or AF_INET6 and returns the protocol it means.
fn internet_protocol(kind: u32, protocol: u32) -> Result<u32> {
    const TCP: u32 = 6;
    const UDP: u32 = 17;
    const MAX: u32 = 263;
    if protocol >= MAX {
        return Err(Errno::EINVAL);
    }
    match (kind, protocol) {
        (SOCK_STREAM, 0 | TCP) => Ok(TCP),
        (SOCK_DGRAM, 0 | UDP) => Ok(UDP),
        (SOCK_STREAM | SOCK_DGRAM | SOCK_RAW, 0 | TCP | UDP) if kind != SOCK_RAW => {
            Err(Errno::EPROTONOSUPPORT)
        }
        (SOCK_RAW, 0) => Err(Errno::EPROTONOSUPPORT),
        // Raw packets never cross the wall, whatever the capabilities inside.
        (SOCK_RAW, _) => Err(Errno::EPERM),
        // UDP-Lite and echo requests: the host may have them.
        (SOCK_DGRAM, 136 | 1 | 58) => Ok(protocol),
        (SOCK_STREAM | SOCK_DGRAM, _) => Err(Errno::EPROTONOSUPPORT),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

fn create(t: &Task, domain: i32, kind: u32, protocol: i32) -> Result<Arc<dyn Socket>> {
    let domain = u32::try_from(domain).map_err(|_| Errno::EAFNOSUPPORT)?;
    if domain >= AF_MAX {
        return Err(Errno::EAFNOSUPPORT);
    }
    if kind > 10 {
        return Err(Errno::EINVAL);
    }
    let wanted = u32::try_from(protocol);
    match domain {
        AF_UNIX => unix::create(t, kind, wanted.map_err(|_| Errno::EPROTONOSUPPORT)?),
        AF_INET | AF_INET6 => {
            let protocol = internet_protocol(kind, wanted.map_err(|_| Errno::EINVAL)?)?;
            inet::create(t, domain, kind, protocol)
        }
        AF_NETLINK => netlink::create(t, kind, wanted.map_err(|_| Errno::EPROTONOSUPPORT)?),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// `socket(2)`.
pub fn sys_socket(t: &Arc<Task>, domain: i32, kind: u32, protocol: i32) -> SysResult {
    let (kind, flags) = split_type(kind)?;
    let s = create(t, domain, kind, protocol)?;
    let f = socket::open(s, flags & SOCK_NONBLOCK != 0);
    Ok(t.install(f, fd_flags(flags))? as usize)
}

/// `socketpair(2)`. EOPNOTSUPP for families other than AF_UNIX.
pub fn sys_socketpair(
    t: &Arc<Task>,
    domain: i32,
    kind: u32,
    protocol: i32,
    out: UserAddr,
) -> SysResult {
    let (kind, flags) = split_type(kind)?;
    // Linux stores the numbers first: a bad pointer is found before a bad protocol.
    user::write(t, out, &[-1i32, -1])?;
    if domain != AF_UNIX as i32 {
        create(t, domain, kind, protocol)?;
        return Err(Errno::EOPNOTSUPP);
    }
    let protocol = u32::try_from(protocol).map_err(|_| Errno::EPROTONOSUPPORT)?;
    let (a, b) = unix::pair(t, kind, protocol)?;
    let nonblock = flags & SOCK_NONBLOCK != 0;
    let (a, b) = (socket::open(a, nonblock), socket::open(b, nonblock));
    let fa = t.install(a, fd_flags(flags))?;
    let undo = |fds: &[i32]| {
        for &fd in fds {
            let _ = t.files().remove(fd);
        }
    };
    let fb = match t.install(b, fd_flags(flags)) {
        Ok(fd) => fd,
        Err(e) => {
            undo(&[fa]);
            return Err(e);
        }
    };
    if let Err(e) = user::write(t, out, &[fa, fb]) {
        undo(&[fa, fb]);
        return Err(e);
    }
    Ok(0)
}

/// `bind(2)`.
pub fn sys_bind(t: &Arc<Task>, fd: i32, addr: UserAddr, len: i32) -> SysResult {
    let (_f, s) = lookup(t, fd)?;
    s.bind(t, &address::read(t, addr, len)?)?;
    Ok(0)
}

/// `listen(2)`.
pub fn sys_listen(t: &Arc<Task>, fd: i32, backlog: u32) -> SysResult {
    let (_f, s) = lookup(t, fd)?;
    s.listen(t, backlog.min(crate::sysctl::SOMAXCONN.get() as u32))?;
    Ok(0)
}

/// `connect(2)`.
pub fn sys_connect(t: &Arc<Task>, fd: i32, addr: UserAddr, len: i32) -> SysResult {
    let (f, s) = lookup(t, fd)?;
    let addr = address::read(t, addr, len)?;
    s.connect(t, &addr, f.nonblocking())?;
    Ok(0)
}

/// `accept4(2)`.
pub fn sys_accept4(
    t: &Arc<Task>,
    fd: i32,
    addr: UserAddr,
    addr_len: UserAddr,
    flags: u32,
) -> SysResult {
    let f = t.file(fd)?;
    if flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let (_, s) = lookup(t, fd)?;
    let new = s.accept(t, f.nonblocking())?;
    let name = if addr.is_null() {
        None
    } else {
        Some(new.name(true))
    };
    let file = socket::open(new, flags & SOCK_NONBLOCK != 0);
    if let Some(name) = name {
        // The peer may be gone already; Linux calls that an aborted connection.
        let name = name.map_err(|_| Errno::ECONNABORTED)?;
        address::write(t, &name, addr, addr_len)?;
    }
    Ok(t.install(file, fd_flags(flags))? as usize)
}

/// `accept(2)`.
pub fn sys_accept(t: &Arc<Task>, fd: i32, addr: UserAddr, addr_len: UserAddr) -> SysResult {
    sys_accept4(t, fd, addr, addr_len, 0)
}

fn get_name(t: &Task, fd: i32, addr: UserAddr, addr_len: UserAddr, peer: bool) -> SysResult {
    let (_f, s) = lookup(t, fd)?;
    let name = s.name(peer)?;
    address::write(t, &name, addr, addr_len)?;
    Ok(0)
}

/// `getsockname(2)`.
pub fn sys_getsockname(t: &Arc<Task>, fd: i32, addr: UserAddr, addr_len: UserAddr) -> SysResult {
    get_name(t, fd, addr, addr_len, false)
}

/// `getpeername(2)`.
pub fn sys_getpeername(t: &Arc<Task>, fd: i32, addr: UserAddr, addr_len: UserAddr) -> SysResult {
    get_name(t, fd, addr, addr_len, true)
}

/// `shutdown(2)`.
pub fn sys_shutdown(t: &Arc<Task>, fd: i32, how: u32) -> SysResult {
    let (_f, s) = lookup(t, fd)?;
    if how > SHUT_RDWR {
        return Err(Errno::EINVAL);
    }
    s.shutdown(how)?;
    Ok(0)
}

/// `setsockopt(2)`.
pub fn sys_setsockopt(
    t: &Arc<Task>,
    fd: i32,
    level: i32,
    name: u32,
    value: UserAddr,
    len: i32,
) -> SysResult {
    let (_f, s) = lookup(t, fd)?;
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    let value = OptionValue::new(t, value, len);
    if level == SOL_SOCKET as i32 && !s.owns_options(name) {
        options::set(t, &*s, name, &value)?;
    } else {
        s.set_option(t, level, name, &value)?;
    }
    Ok(0)
}

/// `getsockopt(2)`.
pub fn sys_getsockopt(
    t: &Arc<Task>,
    fd: i32,
    level: i32,
    name: u32,
    value: UserAddr,
    len_at: UserAddr,
) -> SysResult {
    let (_f, s) = lookup(t, fd)?;
    let len: i32 = user::read(t, len_at)?;
    let room = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    let room = room.min(OPTION_MAX);
    let got: Vec<u8> = if level == SOL_SOCKET as i32 && !s.owns_options(name) {
        options::get(t, &*s, name, room)?
    } else {
        s.get_option(t, level, name, room)?
    };
    let n = got.len().min(room);
    user::write_bytes(t, value, &got[..n])?;
    user::write(t, len_at, &(n as i32))?;
    Ok(0)
}
