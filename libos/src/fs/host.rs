//! Host descriptors that close themselves.

use crate::pal;
use bastide_pal::HostFd;

/// Owns a host descriptor.
#[derive(Debug)]
pub struct HostHandle(pub HostFd);

impl Drop for HostHandle {
    fn drop(&mut self) {
        pal().close(self.0);
    }
}
