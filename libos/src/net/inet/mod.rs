//! AF_INET and AF_INET6.

mod host;

use super::socket::{Common, Socket};
use crate::{Result, Task};
use alloc::sync::Arc;

/// Makes a TCP or UDP socket; the combination has been checked.
pub fn create(t: &Task, domain: u32, kind: u32, protocol: u32) -> Result<Arc<dyn Socket>> {
    let common = Common::new(t, domain, kind, protocol);
    Ok(host::HostSocket::new(common)?)
}
