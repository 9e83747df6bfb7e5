//! Sending and receiving: the system calls that move data.

use super::address;
use super::calls::{lookup, socket_of};
use super::scm;
use super::socket::{Incoming, Outgoing, Socket, dontwait};
use crate::uio::{self, IoDst, IoSrc};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_abi::net::{MMsgHdr, MsgHdr};
use bastide_abi::raw::net::*;
use core::mem::offset_of;

/// Most bytes of control messages that one call sends, `net.core.optmem_max`.
const CONTROL_MAX: u64 = 131_072;
/// Flags that the kernel keeps for itself, `MSG_INTERNAL_SENDMSG_FLAGS`.
const MSG_INTERNAL: u32 = 0x0811_0000;
/// The 32-bit ABI's.
const MSG_CMSG_COMPAT: u32 = 0x8000_0000;
const MSG_WAITFORONE: u32 = 0x1_0000;

/// `sendto(2)`.
pub fn sys_sendto(
    t: &Arc<Task>,
    fd: i32,
    buf: UserAddr,
    len: usize,
    flags: u32,
    addr: UserAddr,
    addr_len: i32,
) -> SysResult {
    let mut src = IoSrc::user(t, buf, len)?;
    let f = t.file(fd)?;
    let s = socket_of(&f)?;
    let addr = if addr.is_null() {
        None
    } else {
        Some(address::read(t, addr, addr_len)?)
    };
    let msg = Outgoing {
        flags: flags & !MSG_INTERNAL | dontwait(&f),
        addr: addr.as_deref().filter(|a| !a.is_empty()),
        control: &[],
    };
    s.send(t, &mut src, &msg)
}

/// `recvfrom(2)`.
pub fn sys_recvfrom(
    t: &Arc<Task>,
    fd: i32,
    buf: UserAddr,
    len: usize,
    flags: u32,
    addr: UserAddr,
    addr_len: UserAddr,
) -> SysResult {
    let mut dst = IoDst::user(t, buf, len)?;
    let f = t.file(fd)?;
    let s = socket_of(&f)?;
    let flags = flags | dontwait(&f);
    if addr.is_null() {
        return s.read(t, &mut dst, flags);
    }
    let mut msg = Incoming::plain(flags);
    msg.wants_addr = true;
    let n = s.recv(t, &mut dst, &mut msg)?;
    // What came along and cannot be delivered is closed.
    scm::deliver(t, &mut msg, UserAddr(0))?;
    address::write(t, &msg.addr.unwrap_or_default(), addr, addr_len)?;
    Ok(n)
}

/// Reads a `msghdr`; EFAULT, EINVAL for a negative name length, EMSGSIZE for too many pieces.
fn read_header(t: &Task, at: UserAddr) -> Result<MsgHdr> {
    let mut h: MsgHdr = user::read(t, at)?;
    if h.name == 0 {
        h.namelen = 0;
    }
    if h.namelen < 0 {
        return Err(Errno::EINVAL);
    }
    h.namelen = h.namelen.min(address::STORAGE as i32);
    if h.iovlen > uio::IOV_MAX as u64 {
        return Err(Errno::EMSGSIZE);
    }
    Ok(h)
}

fn send_message(t: &Task, s: &dyn Socket, at: UserAddr, flags: u32) -> Result<(usize, usize)> {
    let h = read_header(t, at)?;
    let addr = address::read(t, UserAddr(h.name as usize), h.namelen)?;
    let iov = uio::read_iov(t, UserAddr(h.iov as usize), h.iovlen as usize)?;
    if h.controllen > CONTROL_MAX {
        return Err(Errno::ENOBUFS);
    }
    let mut control = Vec::new();
    if h.controllen > 0 {
        control.resize(h.controllen as usize, 0);
        user::read_bytes(t, UserAddr(h.control as usize), &mut control)?;
    }
    let mut src = IoSrc::iov(t, iov);
    let total = src.left();
    let msg = Outgoing {
        flags: flags & !MSG_INTERNAL,
        addr: (!addr.is_empty()).then_some(&addr[..]),
        control: &control,
    };
    let n = s.send(t, &mut src, &msg)?;
    Ok((n, total))
}

/// `sendmsg(2)`.
pub fn sys_sendmsg(t: &Arc<Task>, fd: i32, at: UserAddr, flags: u32) -> SysResult {
    if flags & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    let (f, s) = lookup(t, fd)?;
    let (n, _) = send_message(t, &*s, at, flags | dontwait(&f))?;
    Ok(n)
}

/// `sendmmsg(2)`: an error is only reported if nothing was sent.
pub fn sys_sendmmsg(t: &Arc<Task>, fd: i32, at: UserAddr, count: u32, flags: u32) -> SysResult {
    if flags & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    let (f, s) = lookup(t, fd)?;
    let count = (count as usize).min(uio::IOV_MAX);
    let mut sent = 0;
    while sent < count {
        let one = || -> Result<bool> {
            let entry = at.offset(sent * size_of::<MMsgHdr>())?;
            let (n, total) = send_message(t, &*s, entry, flags | dontwait(&f))?;
            user::write(t, entry.offset(offset_of!(MMsgHdr, len))?, &(n as u32))?;
            Ok(n < total)
        };
        match one() {
            Ok(partial) => {
                sent += 1;
                if partial {
                    break;
                }
            }
            Err(_) if sent > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(sent)
}

/// Receives into the message at `at`; returns its length and result flags.
fn recv_message(t: &Task, s: &dyn Socket, at: UserAddr, flags: u32) -> Result<(usize, u32)> {
    let h = read_header(t, at)?;
    let iov = uio::read_iov(t, UserAddr(h.iov as usize), h.iovlen as usize)?;
    let mut dst = IoDst::iov(t, iov);
    let mut msg = Incoming {
        flags,
        wants_addr: h.name != 0,
        control_room: if h.control == 0 {
            0
        } else {
            usize::try_from(h.controllen).unwrap_or(usize::MAX)
        },
        ..Default::default()
    };
    let n = s.recv(t, &mut dst, &mut msg)?;
    let control_len = scm::deliver(t, &mut msg, UserAddr(h.control as usize))?;
    if h.name != 0 {
        address::write(
            t,
            msg.addr.as_deref().unwrap_or_default(),
            UserAddr(h.name as usize),
            at.offset(offset_of!(MsgHdr, namelen))?,
        )?;
    }
    let result = msg.result | flags & MSG_CMSG_CLOEXEC;
    user::write(t, at.offset(offset_of!(MsgHdr, flags))?, &result)?;
    user::write(
        t,
        at.offset(offset_of!(MsgHdr, controllen))?,
        &(control_len as u64),
    )?;
    Ok((n, msg.result))
}

/// `recvmsg(2)`.
pub fn sys_recvmsg(t: &Arc<Task>, fd: i32, at: UserAddr, flags: u32) -> SysResult {
    if flags & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    let (f, s) = lookup(t, fd)?;
    let (n, _) = recv_message(t, &*s, at, flags | dontwait(&f))?;
    Ok(n)
}

/// `recvmmsg(2)`. The timeout is looked at after each message, as Linux does, and what is left
/// of it is stored back.
pub fn sys_recvmmsg(
    t: &Arc<Task>,
    fd: i32,
    at: UserAddr,
    count: u32,
    flags: u32,
    timeout: UserAddr,
) -> SysResult {
    if flags & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    let mut deadline = None;
    if !timeout.is_null() {
        let [sec, nsec]: [i64; 2] = user::read(t, timeout)?;
        if sec < 0 || !(0..1_000_000_000).contains(&nsec) {
            return Err(Errno::EINVAL);
        }
        let ns = (sec as u64)
            .saturating_mul(1_000_000_000)
            .saturating_add(nsec as u64);
        deadline = Some(crate::time::monotonic().saturating_add(ns));
    }
    let (f, s) = lookup(t, fd)?;
    let mut flags = flags | dontwait(&f);
    if flags & MSG_ERRQUEUE == 0 {
        s.common().take_error()?;
    }
    let count = count as usize;
    let mut got = 0;
    while got < count {
        let one = || -> Result<u32> {
            let entry = at.offset(got.saturating_mul(size_of::<MMsgHdr>()))?;
            let (n, result) = recv_message(t, &*s, entry, flags & !MSG_WAITFORONE)?;
            user::write(t, entry.offset(offset_of!(MMsgHdr, len))?, &(n as u32))?;
            Ok(result)
        };
        match one() {
            Ok(result) => {
                got += 1;
                if flags & MSG_WAITFORONE != 0 {
                    flags |= MSG_DONTWAIT;
                }
                let late = deadline.is_some_and(|d| crate::time::monotonic() >= d);
                if late || result & MSG_OOB != 0 {
                    break;
                }
            }
            Err(e) if got > 0 => {
                if e != Errno::EAGAIN && !e.is_restart() {
                    s.common().fail(e);
                }
                break;
            }
            Err(e) => return Err(e),
        }
    }
    if got > 0
        && let Some(d) = deadline
    {
        let left = d.saturating_sub(crate::time::monotonic());
        let left = [(left / 1_000_000_000) as i64, (left % 1_000_000_000) as i64];
        user::write(t, timeout, &left)?;
    }
    Ok(got)
}
