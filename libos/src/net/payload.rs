//! The bytes of one packet.

use crate::uio::IoSrc;
use crate::{Errno, Result};
use alloc::vec::Vec;

const INLINE: usize = 64;

/// Owned bytes; few of them need no allocation.
pub enum Payload {
    Small { len: u8, bytes: [u8; INLINE] },
    Large(Vec<u8>),
}

impl Payload {
    /// Takes `len` bytes, all or EFAULT.
    pub fn take(src: &mut IoSrc<'_>, len: usize) -> Result<Self> {
        if len <= INLINE {
            let mut bytes = [0; INLINE];
            if src.take(&mut bytes[..len])? < len {
                return Err(Errno::EFAULT);
            }
            return Ok(Payload::Small {
                len: len as u8,
                bytes,
            });
        }
        let mut v = Vec::new();
        v.try_reserve_exact(len).map_err(|_| Errno::ENOBUFS)?;
        v.resize(len, 0);
        if src.take(&mut v)? < len {
            return Err(Errno::EFAULT);
        }
        Ok(Payload::Large(v))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Payload::Small { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Payload::Large(v) => v,
        }
    }
}

/// What a packet of `len` bytes weighs on its sender's `SO_SNDBUF`: Linux's `skb->truesize`.
/// `linear` is how much of it goes into the head of the buffer, the rest into pages.
pub fn truesize(len: usize, linear: usize) -> usize {
    const SKB: usize = 256;
    const SHARED_INFO: usize = 320;
    let paged = len.saturating_sub(linear).next_multiple_of(4096);
    let head = len.saturating_sub(paged.min(len)).next_multiple_of(64) + SHARED_INFO;
    head.next_power_of_two().max(512) + SKB + paged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weighs_as_linux_does() {
        // Measured: 278 one-byte datagrams and six 36,544-byte pieces fill 212,992 bytes.
        assert_eq!(212_992usize.div_ceil(truesize(1, 3776)), 278);
        assert_eq!(truesize(36_544, 3776), 4096 + 256 + 32_768);
    }
}
