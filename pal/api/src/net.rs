//! Host sockets: TCP and UDP to the outside.

use crate::{HostFd, IoVec, Result};

/// Host socket operations; addresses and options as Linux lays them out. Sockets are
/// non-blocking and close-on-exec; the caller closes them by [`crate::HostFiles::close`].
pub trait HostSockets {
    fn socket(&self, domain: i32, kind: i32, protocol: i32) -> Result<HostFd>;
    fn bind(&self, fd: HostFd, addr: &[u8]) -> Result<()>;
    fn listen(&self, fd: HostFd, backlog: i32) -> Result<()>;
    /// Returns the connection and the length of the peer's address written to `addr`.
    fn accept(&self, fd: HostFd, addr: &mut [u8]) -> Result<(HostFd, usize)>;
    fn connect(&self, fd: HostFd, addr: &[u8]) -> Result<()>;
    fn shutdown(&self, fd: HostFd, how: i32) -> Result<()>;
    fn sock_name(&self, fd: HostFd, peer: bool, addr: &mut [u8]) -> Result<usize>;
    fn get_option(&self, fd: HostFd, level: i32, name: i32, value: &mut [u8]) -> Result<usize>;
    fn set_option(&self, fd: HostFd, level: i32, name: i32, value: &[u8]) -> Result<()>;
    fn send(
        &self,
        fd: HostFd,
        iov: &[IoVec],
        addr: &[u8],
        control: &[u8],
        flags: u32,
    ) -> Result<usize>;
    /// Fills `addr` and `control`; returns what arrived.
    fn recv(
        &self,
        fd: HostFd,
        iov: &[IoVec],
        addr: &mut [u8],
        control: &mut [u8],
        flags: u32,
    ) -> Result<Received>;
    /// As [`HostSockets::recv`] into one piece without address and control messages, for streams:
    /// the result flags may be left out.
    fn recv_plain(&self, fd: HostFd, piece: IoVec, flags: u32) -> Result<Received> {
        self.recv(fd, &[piece], &mut [], &mut [], flags)
    }
    /// Bytes that can be read at once (`FIONREAD`), or sit unsent (`TIOCOUTQ`).
    fn queued(&self, fd: HostFd, output: bool) -> Result<usize>;
}

/// What a receive brought.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Received {
    pub len: usize,
    pub addr_len: usize,
    pub control_len: usize,
    /// `MSG_*` result flags.
    pub flags: u32,
}
