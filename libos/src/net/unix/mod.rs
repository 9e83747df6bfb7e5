//! AF_UNIX, `unix(7)`.

pub mod dgram;
pub mod garbage;
mod names;
mod place;
pub mod stream;
#[cfg(test)]
mod tests;

use super::packet::Queue;
use super::socket::{Common, Flags, PeerCred, Socket};
use crate::{Errno, Result, Task};
use alloc::sync::Arc;
use bastide_abi::raw::net::*;

pub use dgram::UnixDgram;
pub use stream::UnixStream;

/// What fits in the head of a datagram's buffer: `SKB_MAX_ALLOC`.
pub const RECORD_HEAD: usize = 16_064;

/// Makes a socket: ESOCKTNOSUPPORT for an unknown kind, EPROTONOSUPPORT for a protocol.
pub fn create(t: &Task, kind: u32, protocol: u32) -> Result<Arc<dyn Socket>> {
    if protocol != 0 && protocol != PF_UNIX {
        return Err(Errno::EPROTONOSUPPORT);
    }
    Ok(match kind {
        SOCK_STREAM | SOCK_SEQPACKET => UnixStream::new(Common::new(t, AF_UNIX, kind, 0)),
        // BSD knew a raw Unix socket; it is a datagram socket.
        SOCK_DGRAM | SOCK_RAW => UnixDgram::new(Common::new(t, AF_UNIX, SOCK_DGRAM, 0)),
        _ => return Err(Errno::ESOCKTNOSUPPORT),
    })
}

const PF_UNIX: u32 = AF_UNIX;

/// `socketpair(2)`: two sockets connected to each other.
pub fn pair(t: &Task, kind: u32, protocol: u32) -> Result<(Arc<dyn Socket>, Arc<dyn Socket>)> {
    // Both are made, so that the kind and the protocol are checked as for one.
    let (a, b) = (create(t, kind, protocol)?, create(t, kind, protocol)?);
    let cred = PeerCred::of(t);
    *a.common().peer_cred.lock() = Some(cred.clone());
    *b.common().peer_cred.lock() = Some(cred);
    if let (Some(a), Some(b)) = (a.as_any().downcast_ref(), b.as_any().downcast_ref()) {
        UnixStream::join(a, b);
    } else if let (Some(a), Some(b)) = (a.as_any().downcast_ref(), b.as_any().downcast_ref()) {
        UnixDgram::join(a, b);
    }
    Ok((a, b))
}

/// Shows each queue that a socket's descriptors can be received from.
fn each_queue(s: &dyn Socket, f: &mut dyn FnMut(&Queue)) {
    if let Some(s) = s.as_any().downcast_ref::<UnixStream>() {
        s.each_queue(f);
    } else if let Some(s) = s.as_any().downcast_ref::<UnixDgram>() {
        f(&s.queue);
    }
}

/// Binds to a name of its own if the socket passes credentials and has none, so that receivers
/// can answer.
fn autobind_for_creds(common: &Common, slot: &names::Slot, target: names::Target) -> Result<()> {
    if common.has(Flags::PASSCRED) && common.local.lock().is_none() {
        names::autobind(common, slot, target)?;
    }
    Ok(())
}
