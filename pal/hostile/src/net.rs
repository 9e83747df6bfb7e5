//! Sockets.

use crate::{Hostile, Lie, call};
use bastide_pal::net::Received;
use bastide_pal::{HostFd, HostSockets, IoVec, Result};

/// `struct msghdr`.
fn header(iov: &[IoVec], addr: (usize, usize), control: (usize, usize)) -> libc::msghdr {
    // SAFETY: all zeros is a value of this structure.
    let mut h: libc::msghdr = unsafe { std::mem::zeroed() };
    h.msg_name = addr.0 as *mut _;
    h.msg_namelen = addr.1 as u32;
    h.msg_iov = iov.as_ptr() as *mut _;
    h.msg_iovlen = iov.len();
    h.msg_control = control.0 as *mut _;
    h.msg_controllen = control.1;
    h
}

impl Hostile {
    /// A call that fills `out` and a length.
    fn filled(&self, name: &str, nr: libc::c_long, a: [usize; 3], out: &mut [u8]) -> Result<usize> {
        self.check(name)?;
        let mut len = out.len() as u32;
        let (to, n) = (out.as_mut_ptr() as usize, &raw mut len as usize);
        let a = match nr {
            libc::SYS_getsockopt => [a[0], a[1], a[2], to, n, 0],
            _ => [a[0], to, n, 0, 0, 0],
        };
        call(nr, a)?;
        if self.changed(name) {
            out.fill(0xff);
        }
        Ok(self.length(name, len as usize, out.len()))
    }
}

impl HostSockets for Hostile {
    fn socket(&self, domain: i32, kind: i32, protocol: i32) -> Result<HostFd> {
        self.check("socket")?;
        let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let a = [domain as usize, kind as usize, protocol as usize, 0, 0, 0];
        let fd = call(libc::SYS_socket, a)?;
        Ok(self.descriptor("socket", HostFd(fd as i32)))
    }
    fn bind(&self, fd: HostFd, addr: &[u8]) -> Result<()> {
        self.check("bind")?;
        let a = [fd.0 as usize, addr.as_ptr() as usize, addr.len(), 0, 0, 0];
        call(libc::SYS_bind, a).map(drop)
    }
    fn listen(&self, fd: HostFd, backlog: i32) -> Result<()> {
        self.check("listen")?;
        let a = [fd.0 as usize, backlog as usize, 0, 0, 0, 0];
        call(libc::SYS_listen, a).map(drop)
    }
    fn accept(&self, fd: HostFd, addr: &mut [u8]) -> Result<(HostFd, usize)> {
        self.check("accept")?;
        let mut len = addr.len() as u32;
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let (to, n) = (addr.as_mut_ptr() as usize, &raw mut len as usize);
        let new = call(
            libc::SYS_accept4,
            [fd.0 as usize, to, n, flags as usize, 0, 0],
        )?;
        if self.changed("accept") {
            addr.fill(0xff);
        }
        let len = self.length("accept", len as usize, addr.len());
        Ok((self.descriptor("accept", HostFd(new as i32)), len))
    }
    fn connect(&self, fd: HostFd, addr: &[u8]) -> Result<()> {
        self.check("connect")?;
        let a = [fd.0 as usize, addr.as_ptr() as usize, addr.len(), 0, 0, 0];
        call(libc::SYS_connect, a).map(drop)
    }
    fn shutdown(&self, fd: HostFd, how: i32) -> Result<()> {
        self.check("shutdown")?;
        let a = [fd.0 as usize, how as usize, 0, 0, 0, 0];
        call(libc::SYS_shutdown, a).map(drop)
    }
    fn sock_name(&self, fd: HostFd, peer: bool, addr: &mut [u8]) -> Result<usize> {
        let nr = if peer {
            libc::SYS_getpeername
        } else {
            libc::SYS_getsockname
        };
        self.filled("sock_name", nr, [fd.0 as usize, 0, 0], addr)
    }
    fn get_option(&self, fd: HostFd, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
        let a = [fd.0 as usize, level as usize, name as usize];
        self.filled("get_option", libc::SYS_getsockopt, a, value)
    }
    fn set_option(&self, fd: HostFd, level: i32, name: i32, value: &[u8]) -> Result<()> {
        self.check("set_option")?;
        let (at, n) = (value.as_ptr() as usize, value.len());
        let a = [fd.0 as usize, level as usize, name as usize, at, n, 0];
        call(libc::SYS_setsockopt, a).map(drop)
    }
    fn send(
        &self,
        fd: HostFd,
        iov: &[IoVec],
        addr: &[u8],
        control: &[u8],
        flags: u32,
    ) -> Result<usize> {
        self.check("send")?;
        let control = (control.as_ptr() as usize, control.len());
        let h = header(iov, (addr.as_ptr() as usize, addr.len()), control);
        let flags = flags as usize | libc::MSG_NOSIGNAL as usize;
        let a = [fd.0 as usize, &raw const h as usize, flags, 0, 0, 0];
        let n = call(libc::SYS_sendmsg, a)?;
        Ok(self.length("send", n, iov.iter().map(|v| v.len).sum()))
    }
    fn recv(
        &self,
        fd: HostFd,
        iov: &[IoVec],
        addr: &mut [u8],
        control: &mut [u8],
        flags: u32,
    ) -> Result<Received> {
        self.check("recv")?;
        let (at, room) = (addr.as_mut_ptr() as usize, addr.len());
        let mut h = header(
            iov,
            (at, room),
            (control.as_mut_ptr() as usize, control.len()),
        );
        let a = [fd.0 as usize, &raw mut h as usize, flags as usize, 0, 0, 0];
        let n = call(libc::SYS_recvmsg, a)?;
        let mut r = Received {
            len: n,
            addr_len: h.msg_namelen as usize,
            control_len: h.msg_controllen,
            flags: h.msg_flags as u32,
        };
        match self.lie("recv") {
            Some(Lie::Longer(more)) => {
                r.len = iov
                    .iter()
                    .map(|v| v.len)
                    .sum::<usize>()
                    .saturating_add(more);
                r.addr_len = room.saturating_add(more);
                r.control_len = control.len().saturating_add(more);
            }
            Some(Lie::Changed) => {
                addr.fill(0xff);
                control.fill(0xff);
                r.addr_len = room;
                r.control_len = control.len();
                r.flags = u32::MAX;
            }
            _ => {}
        }
        Ok(r)
    }
    fn queued(&self, fd: HostFd, output: bool) -> Result<usize> {
        self.check("queued")?;
        let mut n = 0i32;
        let request = if output {
            libc::TIOCOUTQ
        } else {
            libc::FIONREAD
        };
        let a = [
            fd.0 as usize,
            request as usize,
            &raw mut n as usize,
            0,
            0,
            0,
        ];
        call(libc::SYS_ioctl, a)?;
        Ok(self.length("queued", n as usize, n as usize))
    }
}
