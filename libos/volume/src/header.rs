//! The first two blocks: what the file is, and the volume's secret wrapped for its key. They are
//! two copies, written one after the other, so that changing the key survives a power cut.

use crate::BLOCK;
use crate::codec::{Reader, Writer};
use crate::crypto::{self, Key32, Tag};
use crate::device::{Device, Platform};
use crate::error::{Error, Result};
use alloc::vec;
use zeroize::Zeroizing;

const MAGIC: [u8; 8] = *b"\x89BASTVOL";
/// The format's version.
pub const VERSION: u16 = 1;
/// The features that a volume may have, bits above the version: a program that does not know one
/// does not know how to read the volume either.
const PACKED: u32 = 1 << 16;
/// Copies of the header, in blocks 0 and 1.
const COPIES: u64 = 2;
/// Bytes of the header that carry something; the rest of its block is zero.
const LEN: usize = 128;
/// Of these, the part that the wrapped secret's tag authenticates.
const BOUND: usize = LEN - 48;

/// How the key of 32 bytes comes from what a person holds. The volume only keeps the parameters;
/// the work is the caller's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kdf {
    /// The key itself is kept somewhere.
    Key,
    /// Argon2id, version 1.3, of a passphrase, with [`Header::salt`].
    Argon2id {
        /// KiB.
        memory: u32,
        passes: u32,
        lanes: u32,
    },
    /// There is nothing to keep: the key is [`PUBLIC`]. For images only, which a hash
    /// authenticates.
    Public,
}

/// The key of an image that anybody may read.
pub const PUBLIC: [u8; 32] = [0; 32];

/// A copy of the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The volume's identity: random, for life.
    pub id: [u8; 16],
    pub kdf: Kdf,
    /// Contents may be compressed.
    pub packs: bool,
    /// For the key's derivation, new with each key.
    pub salt: [u8; 32],
    wrapped: [u8; 32],
    tag: Tag,
}

impl Header {
    /// What the file says of itself. Nothing of it is authenticated before [`Header::unwrap`].
    pub fn read(device: &dyn Device, copy: u64) -> Result<Header> {
        let have = device.len()?;
        let mut start = [0; LEN];
        if have < LEN as u64 {
            return Err(Error::NotAVolume);
        }
        if have < COPIES * BLOCK as u64 {
            let need = COPIES * BLOCK as u64;
            device.read_at(0, &mut start)?;
            return Err(match start.starts_with(&MAGIC) {
                true => Error::Truncated { have, need },
                false => Error::NotAVolume,
            });
        }
        device.read_at(copy * BLOCK as u64, &mut start)?;
        Header::decode(&start)
    }

    /// The copies that can be read, or why the first cannot.
    pub fn copies(device: &dyn Device) -> Result<vec::Vec<Header>> {
        let first = Header::read(device, 0);
        let second = Header::read(device, 1);
        let mut out = vec::Vec::new();
        match (first, second) {
            (Err(e), Err(_)) => return Err(e),
            (a, b) => out.extend([a, b].into_iter().flatten()),
        }
        Ok(out)
    }

    fn decode(bytes: &[u8; LEN]) -> Result<Header> {
        let mut r = Reader(bytes);
        let short = |_| Error::NotAVolume;
        if r.array().map_err(short)? != MAGIC {
            return Err(Error::NotAVolume);
        }
        let found = r.u32().map_err(short)?;
        let shift = r.u32().map_err(short)?;
        if found as u16 != VERSION || shift != BLOCK.ilog2() {
            let found = found & 0xffff;
            return Err(Error::Version { found });
        }
        match found >> 16 & !(PACKED >> 16) {
            0 => {}
            unknown => return Err(Error::Features { unknown }),
        }
        let id = r.array().map_err(short)?;
        let kind = r.u32().map_err(short)?;
        let (memory, passes, lanes) = (
            r.u32().map_err(short)?,
            r.u32().map_err(short)?,
            r.u32().map_err(short)?,
        );
        let kdf = match kind {
            0 => Kdf::Key,
            1 => Kdf::Argon2id {
                memory,
                passes,
                lanes,
            },
            2 => Kdf::Public,
            _ => return Err(Error::Version { found }),
        };
        Ok(Header {
            id,
            kdf,
            packs: found & PACKED != 0,
            salt: r.array().map_err(short)?,
            wrapped: r.array().map_err(short)?,
            tag: r.array().map_err(short)?,
        })
    }

    fn encode(&self) -> Writer {
        let mut w = Writer::default();
        let (kind, memory, passes, lanes) = match self.kdf {
            Kdf::Key => (0, 0, 0, 0),
            Kdf::Argon2id {
                memory,
                passes,
                lanes,
            } => (1, memory, passes, lanes),
            Kdf::Public => (2, 0, 0, 0),
        };
        w.bytes(&MAGIC)
            .u32(u32::from(VERSION) | if self.packs { PACKED } else { 0 })
            .u32(BLOCK.ilog2())
            .bytes(&self.id)
            .u32(kind)
            .u32(memory)
            .u32(passes)
            .u32(lanes)
            .bytes(&self.salt);
        w.bytes(&self.wrapped).bytes(&self.tag);
        w
    }

    /// The part that the tag authenticates.
    fn bound(&self) -> [u8; BOUND] {
        let mut out = [0; BOUND];
        for (to, from) in out.iter_mut().zip(&self.encode().0) {
            *to = *from;
        }
        out
    }

    /// The header of a volume that nothing is wrapped in yet.
    pub fn new(id: [u8; 16], packs: bool) -> Header {
        Header {
            id,
            kdf: Kdf::Key,
            packs,
            salt: [0; 32],
            wrapped: [0; 32],
            tag: [0; 16],
        }
    }

    /// The same volume's, with `secret` wrapped for `key`.
    pub fn wrap(&self, kdf: Kdf, salt: [u8; 32], key: &[u8; 32], secret: &Key32) -> Header {
        let mut wrapped = Zeroizing::new(**secret);
        let mut header = Header { kdf, salt, ..*self };
        header.tag = crypto::wrap(key, &salt, &header.bound(), &mut wrapped);
        header.wrapped = *wrapped;
        header
    }

    /// The volume's secret; `None` if the key is another's or the header was altered.
    pub fn unwrap(&self, key: &[u8; 32]) -> Option<Key32> {
        crypto::unwrap(key, &self.salt, &self.bound(), &self.wrapped, &self.tag)
    }

    /// Writes both copies, each durable before the other is touched. The second goes first: a
    /// reader tries them in order, so the old key works until the new one surely does.
    pub fn write(&self, device: &dyn Device) -> Result<()> {
        let mut block = vec![0; BLOCK];
        for (to, from) in block.iter_mut().zip(&self.encode().0) {
            *to = *from;
        }
        for copy in (0..COPIES).rev() {
            device.write_at(copy * BLOCK as u64, &block)?;
            device.flush()?;
        }
        Ok(())
    }
}

/// A fresh salt for the derivation of a key.
pub fn new_salt(platform: &dyn Platform) -> Result<[u8; 32]> {
    let mut salt = [0; 32];
    platform.random(&mut salt)?;
    Ok(salt)
}
