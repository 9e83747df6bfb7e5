//! Keys, and blocks sealed with them. FORMAT.md argues why no nonce is used twice.

use crate::BLOCK;
use crate::codec::{Reader, Short, Writer};
use crate::device::Platform;
use crate::error::{Error, Result};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use zeroize::Zeroizing;

/// A key of 32 bytes that is wiped when it goes.
pub type Key32 = Zeroizing<[u8; 32]>;
/// An authentication tag.
pub type Tag = [u8; 16];

/// An authenticated cipher with 12-byte nonces and 16-byte tags, so that a faster one can take the
/// place of AES-256-GCM.
pub trait Aead: Send + Sync {
    /// Encrypts `data` in place.
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> Tag;
    /// Decrypts `data` in place if it is authentic; says whether it is. If not, zeros are left.
    fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &Tag) -> bool;
}

/// AES-256-GCM.
pub struct AesGcm(bastide_gcm::Key);

impl AesGcm {
    pub fn new(key: &[u8; 32]) -> AesGcm {
        AesGcm(bastide_gcm::Key::new(key))
    }
}

impl Aead for AesGcm {
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> Tag {
        self.0.seal(nonce, aad, data)
    }

    fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &Tag) -> bool {
        self.0.open(nonce, aad, data, tag)
    }
}

/// HKDF-SHA-256 with `label` as the info string.
pub fn derive(secret: &[u8; 32], salt: &[u8], label: &[u8]) -> Key32 {
    let mut out = Zeroizing::new([0; 32]);
    let hkdf = hkdf::Hkdf::<sha2::Sha256>::new(Some(salt), secret);
    // 32 bytes are far below HKDF's limit.
    let _ = hkdf.expand(label, &mut *out);
    out
}

/// What a sealed block is. It is part of what the tag authenticates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    Root = 1,
    Node = 2,
    Data = 3,
    Space = 4,
    Log = 5,
}

/// Where the key and the nonce of a sealed block come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Nonce {
    /// The salt of the mount that wrote it.
    pub salt: [u8; 16],
    /// Counts the blocks that this mount sealed.
    pub counter: u64,
}

impl Nonce {
    pub const LEN: usize = 24;

    pub fn read(r: &mut Reader<'_>) -> core::result::Result<Nonce, Short> {
        Ok(Nonce {
            salt: r.array()?,
            counter: r.u64()?,
        })
    }

    pub fn write(&self, w: &mut Writer) {
        w.bytes(&self.salt).u64(self.counter);
    }

    fn bytes(&self) -> [u8; 12] {
        let mut out = [0; 12];
        out[..8].copy_from_slice(&self.counter.to_le_bytes());
        out
    }
}

/// Keys of earlier mounts that are kept at hand.
const KEPT: usize = 256;

/// All keys of an open volume.
pub struct KeyRing {
    secret: Key32,
    /// The present mount's; `None` until something is sealed, so that a volume that is only read
    /// needs no random numbers.
    own: Option<(Nonce, Arc<AesGcm>)>,
    others: BTreeMap<[u8; 16], Arc<AesGcm>>,
}

impl KeyRing {
    pub fn new(secret: Key32) -> KeyRing {
        KeyRing {
            secret,
            own: None,
            others: BTreeMap::new(),
        }
    }

    /// The volume's secret, which the header keeps wrapped.
    pub fn secret(&self) -> &Key32 {
        &self.secret
    }

    /// The key for names in directories: two words for SipHash.
    pub fn name_key(&self) -> [u8; 16] {
        let key = derive(&self.secret, b"", b"bastide volume v1 names");
        let mut out = [0; 16];
        out.copy_from_slice(&key[..16]);
        out
    }

    fn block_key(&self, salt: &[u8; 16]) -> Arc<AesGcm> {
        let key = derive(&self.secret, salt, b"bastide volume v1 blocks");
        Arc::new(AesGcm::new(&key))
    }

    /// Chooses the present mount's salt if that has not happened.
    pub fn begin(&mut self, platform: &dyn Platform) -> Result<()> {
        if self.own.is_none() {
            let mut salt = [0; 16];
            platform.random(&mut salt)?;
            self.own = Some((Nonce { salt, counter: 0 }, self.block_key(&salt)));
        }
        Ok(())
    }

    /// Encrypts in place, with a nonce that was never used.
    pub fn seal(&mut self, what: Purpose, aad: &[u8], data: &mut [u8]) -> Result<(Nonce, Tag)> {
        let (next, key) = self.own.as_mut().ok_or(Error::ReadOnly)?;
        let nonce = *next;
        next.counter = next.counter.checked_add(1).ok_or(Error::Stopped)?;
        let tag = key.seal(&nonce.bytes(), &bound(what, aad), data);
        Ok((nonce, tag))
    }

    /// The nonce that the next block will be sealed with.
    pub fn next(&self) -> Result<Nonce> {
        Ok(self.own.as_ref().ok_or(Error::ReadOnly)?.0)
    }

    /// The key of the mount with this salt.
    pub fn key(&mut self, salt: &[u8; 16]) -> Arc<AesGcm> {
        if let Some((own, key)) = &self.own
            && own.salt == *salt
        {
            return key.clone();
        }
        if let Some(key) = self.others.get(salt) {
            return key.clone();
        }
        if self.others.len() >= KEPT {
            self.others.clear();
        }
        let key = self.block_key(salt);
        self.others.insert(*salt, key.clone());
        key
    }

    /// Decrypts in place if it is authentic; says whether it is.
    pub fn open(
        &mut self,
        what: Purpose,
        aad: &[u8],
        nonce: &Nonce,
        tag: &Tag,
        data: &mut [u8],
    ) -> bool {
        open(&self.key(&nonce.salt), what, aad, nonce, tag, data)
    }
}

/// As [`KeyRing::open`], with the key at hand.
pub fn open(
    key: &AesGcm,
    what: Purpose,
    aad: &[u8],
    nonce: &Nonce,
    tag: &Tag,
    data: &mut [u8],
) -> bool {
    key.open(&nonce.bytes(), &bound(what, aad), data, tag)
}

/// The associated data: what the block is, and what it is bound to (its place, for most).
fn bound(what: Purpose, aad: &[u8]) -> [u8; 33] {
    let mut out = [0; 33];
    out[0] = what as u8;
    for (to, from) in out[1..].iter_mut().zip(aad) {
        *to = *from;
    }
    out
}

/// A pointer to a sealed block: where it is and everything that authenticates it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ptr {
    pub block: u64,
    pub nonce: Nonce,
    pub tag: Tag,
}

impl Ptr {
    pub const LEN: usize = 8 + Nonce::LEN + 16;

    /// A pointer to a block that a volume can have.
    pub fn read(r: &mut Reader<'_>) -> core::result::Result<Ptr, Short> {
        let ptr = Ptr {
            block: r.u64()?,
            nonce: Nonce::read(r)?,
            tag: r.array()?,
        };
        (ptr.block < crate::BLOCKS_MOST).then_some(ptr).ok_or(Short)
    }

    pub fn write(&self, w: &mut Writer) {
        w.u64(self.block);
        self.nonce.write(w);
        w.bytes(&self.tag);
    }
}

/// Wraps a volume's secret for one key. The key that wraps is derived with a fresh random salt, so
/// its one nonce is used once.
pub fn wrap(key: &[u8; 32], salt: &[u8; 32], aad: &[u8], secret: &mut [u8; 32]) -> Tag {
    let kek = derive(key, salt, b"bastide volume v1 wrap");
    AesGcm::new(&kek).seal(&[0; 12], aad, secret)
}

/// Unwraps what [`wrap`] wrapped, if the key is right.
pub fn unwrap(
    key: &[u8; 32],
    salt: &[u8; 32],
    aad: &[u8],
    wrapped: &[u8; 32],
    tag: &Tag,
) -> Option<Key32> {
    let kek = derive(key, salt, b"bastide volume v1 wrap");
    let mut secret = Zeroizing::new(*wrapped);
    AesGcm::new(&kek)
        .open(&[0; 12], aad, &mut *secret, tag)
        .then_some(secret)
}

/// One block's bytes.
pub type Block = [u8; BLOCK];

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    // RFC 5869, test case 1: its input is 22 bytes, ours always 32, so the expected value here is
    // from an independent implementation (Python's hmac and hashlib).
    #[test]
    fn hkdf_is_the_standard_one() {
        let key: [u8; 32] = core::array::from_fn(|i| i as u8);
        let out = derive(&key, b"salt", b"info");
        let hex: alloc::string::String = out.iter().map(|b| alloc::format!("{b:02x}")).collect();
        assert_eq!(hex, HKDF);
    }

    const HKDF: &str = "64cc2a23b7a1da4310420350405fdf5d632cb9bda3700d753e96cbcfeb81d449";

    // McGrew and Viega's test case 14 of AES-256-GCM: a zero key, nonce and block.
    #[test]
    fn gcm_is_the_standard_one() {
        let mut data = [0; 16];
        let tag = AesGcm::new(&[0; 32]).seal(&[0; 12], b"", &mut data);
        assert_eq!(data, 0xcea7403d4d606b6e074ec5d3baf39d18_u128.to_be_bytes());
        assert_eq!(tag, 0xd0d1c8a799996bf0265b98b5d48ab919_u128.to_be_bytes());
    }

    #[test]
    fn nothing_sealed_twice_is_alike_and_purpose_and_place_are_bound() {
        struct Fixed;
        impl Platform for Fixed {
            fn random(&self, buf: &mut [u8]) -> Result<()> {
                buf.fill(7);
                Ok(())
            }
            fn now(&self) -> i64 {
                0
            }
        }
        let mut ring = KeyRing::new(Zeroizing::new([1; 32]));
        assert_eq!(
            ring.seal(Purpose::Data, b"", &mut [0; 4]),
            Err(Error::ReadOnly)
        );
        ring.begin(&Fixed).unwrap();
        let sealed: Vec<_> = (0..3)
            .map(|_| {
                let mut data = [9; 64];
                let (nonce, tag) = ring.seal(Purpose::Data, b"here", &mut data).unwrap();
                (nonce, tag, data)
            })
            .collect();
        assert!(sealed[0].2 != sealed[1].2 && sealed[1].2 != sealed[2].2);
        let (nonce, tag, data) = &sealed[1];
        let mut open = |what, aad: &[u8], nonce: &Nonce| {
            let mut copy = *data;
            let ok = ring.open(what, aad, nonce, tag, &mut copy);
            ok && copy == [9; 64]
        };
        assert!(open(Purpose::Data, b"here", nonce));
        assert!(!open(Purpose::Node, b"here", nonce));
        assert!(!open(Purpose::Data, b"there", nonce));
        assert!(!open(Purpose::Data, b"here", &sealed[0].0));
    }
}
