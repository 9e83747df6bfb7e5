//! Host sockets.

use crate::LinuxPal;
use crate::host::{self, host};
use bastide_pal::net::Received;
use bastide_pal::{Error, HostFd, HostSockets, IoVec, Result};

const SOCK_FLAGS: i32 = 0o4000 | 0o2000000;
const MSG_TRUNC: u32 = 0x20;
/// `MSG_DONTWAIT | MSG_NOSIGNAL`: waiting and SIGPIPE are the kernel's business.
const SENDING: u32 = 0x4040;
/// `MSG_DONTWAIT | MSG_CMSG_CLOEXEC`.
const RECEIVING: u32 = 0x4000_0040;

#[repr(C)]
struct Msghdr {
    name: usize,
    namelen: u32,
    _pad: u32,
    iov: usize,
    iovlen: usize,
    control: usize,
    controllen: usize,
    flags: u32,
    _pad2: u32,
}

fn unit(raw: isize) -> Result<()> {
    host::check(raw).map(|_| ())
}

/// How much came. `MSG_TRUNC` asks for a datagram's true length, which may be more than fits.
fn received(raw: isize, asked: usize, flags: u32) -> Result<usize> {
    let most = if flags & MSG_TRUNC != 0 {
        1 << 30
    } else {
        asked
    };
    host::check_len(raw, most)
}

impl HostSockets for LinuxPal {
    fn socket(&self, domain: i32, kind: i32, protocol: i32) -> Result<HostFd> {
        // SAFETY: touches no memory.
        let r = unsafe { host!(__NR_socket, domain, (kind & 0xf) | SOCK_FLAGS, protocol) };
        Ok(HostFd(host::check(r)? as i32))
    }

    fn bind(&self, fd: HostFd, addr: &[u8]) -> Result<()> {
        // SAFETY: the host reads the address.
        unit(unsafe { host!(__NR_bind, fd.0, addr.as_ptr(), addr.len()) })
    }

    fn listen(&self, fd: HostFd, backlog: i32) -> Result<()> {
        // SAFETY: touches no memory.
        unit(unsafe { host!(__NR_listen, fd.0, backlog) })
    }

    fn accept(&self, fd: HostFd, addr: &mut [u8]) -> Result<(HostFd, usize)> {
        let mut len = addr.len() as u32;
        // SAFETY: the host fills at most `len` bytes of the address.
        let r = unsafe {
            host!(
                __NR_accept4,
                fd.0,
                addr.as_mut_ptr(),
                &raw mut len,
                SOCK_FLAGS
            )
        };
        Ok((
            HostFd(host::check(r)? as i32),
            (len as usize).min(addr.len()),
        ))
    }

    fn connect(&self, fd: HostFd, addr: &[u8]) -> Result<()> {
        // SAFETY: the host reads the address.
        unit(unsafe { host!(__NR_connect, fd.0, addr.as_ptr(), addr.len()) })
    }

    fn shutdown(&self, fd: HostFd, how: i32) -> Result<()> {
        // SAFETY: touches no memory.
        unit(unsafe { host!(__NR_shutdown, fd.0, how) })
    }

    fn sock_name(&self, fd: HostFd, peer: bool, addr: &mut [u8]) -> Result<usize> {
        let mut len = addr.len() as u32;
        // SAFETY: the host fills at most `len` bytes of the address.
        unit(unsafe {
            if peer {
                host!(__NR_getpeername, fd.0, addr.as_mut_ptr(), &raw mut len)
            } else {
                host!(__NR_getsockname, fd.0, addr.as_mut_ptr(), &raw mut len)
            }
        })?;
        Ok((len as usize).min(addr.len()))
    }

    fn get_option(&self, fd: HostFd, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
        let mut len = value.len() as u32;
        // SAFETY: the host fills at most `len` bytes of the value.
        unit(unsafe {
            host!(
                __NR_getsockopt,
                fd.0,
                level,
                name,
                value.as_mut_ptr(),
                &raw mut len
            )
        })?;
        Ok((len as usize).min(value.len()))
    }

    fn set_option(&self, fd: HostFd, level: i32, name: i32, value: &[u8]) -> Result<()> {
        // A filter program would be code of the application's in the host's kernel.
        if level == 1 && matches!(name, 26 | 27 | 50 | 51 | 52) {
            return Err(Error(1));
        }
        // SAFETY: the host reads the value.
        unit(unsafe {
            host!(
                __NR_setsockopt,
                fd.0,
                level,
                name,
                value.as_ptr(),
                value.len()
            )
        })
    }

    fn send(
        &self,
        fd: HostFd,
        iov: &[IoVec],
        addr: &[u8],
        control: &[u8],
        flags: u32,
    ) -> Result<usize> {
        let null_if_empty = |b: &[u8]| if b.is_empty() { 0 } else { b.as_ptr() as usize };
        if let ([one], []) = (iov, control) {
            // SAFETY: the host reads the piece and the address.
            let r = unsafe {
                host!(
                    __NR_sendto,
                    fd.0,
                    one.addr,
                    one.len,
                    flags | SENDING,
                    null_if_empty(addr),
                    addr.len()
                )
            };
            return host::check_len(r, one.len);
        }
        let msg = Msghdr {
            name: null_if_empty(addr),
            namelen: addr.len() as u32,
            _pad: 0,
            iov: iov.as_ptr() as usize,
            iovlen: iov.len(),
            control: null_if_empty(control),
            controllen: control.len(),
            flags: 0,
            _pad2: 0,
        };
        // SAFETY: the host reads what the header names.
        let r = unsafe { host!(__NR_sendmsg, fd.0, &raw const msg, flags | SENDING) };
        host::check_len(r, iov.iter().map(|v| v.len).sum())
    }

    fn recv(
        &self,
        fd: HostFd,
        iov: &[IoVec],
        addr: &mut [u8],
        control: &mut [u8],
        flags: u32,
    ) -> Result<Received> {
        let mut msg = Msghdr {
            name: addr.as_mut_ptr() as usize,
            namelen: addr.len() as u32,
            _pad: 0,
            iov: iov.as_ptr() as usize,
            iovlen: iov.len(),
            control: control.as_mut_ptr() as usize,
            controllen: control.len(),
            flags: 0,
            _pad2: 0,
        };
        // SAFETY: the host fills the pieces (application memory or the caller's buffers), the
        // address and the control bytes, each bounded by its length.
        let r = unsafe { host!(__NR_recvmsg, fd.0, &raw mut msg, flags | RECEIVING) };
        let asked: usize = iov.iter().map(|v| v.len).sum();
        Ok(Received {
            len: received(r, asked, flags)?,
            addr_len: (msg.namelen as usize).min(addr.len()),
            control_len: msg.controllen.min(control.len()),
            flags: msg.flags,
        })
    }

    fn recv_plain(&self, fd: HostFd, piece: IoVec, flags: u32) -> Result<Received> {
        // SAFETY: the host fills the piece, application memory or the caller's buffer.
        let r = unsafe {
            host!(
                __NR_recvfrom,
                fd.0,
                piece.addr,
                piece.len,
                flags | RECEIVING,
                0,
                0
            )
        };
        Ok(Received {
            len: received(r, piece.len, flags)?,
            ..Received::default()
        })
    }

    fn queued(&self, fd: HostFd, output: bool) -> Result<usize> {
        let mut n = 0i32;
        let request = if output { 0x5411 } else { 0x541b };
        // SAFETY: the host fills the local.
        unit(unsafe { host!(__NR_ioctl, fd.0, request, &raw mut n) })?;
        Ok(n.max(0) as usize)
    }
}
