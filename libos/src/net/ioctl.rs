//! `ioctl(2)` on sockets.

use super::socket::Socket;
use crate::{SysResult, Task};

/// Is the next byte the urgent one?
pub const SIOCATMARK: u32 = 0x8905;

/// Requests of sockets.
pub fn ioctl(t: &Task, s: &dyn Socket, request: u32, arg: usize) -> SysResult {
    s.ioctl(t, request, arg)
}
