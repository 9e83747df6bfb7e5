//! AES-256-GCM with 12-byte nonces and 16-byte tags.
//!
//! On x86-64 processors with AES-NI and PCLMULQDQ (all since 2010) it is done here ([`ni`]): the
//! `aes-gcm` crate multiplies and reduces block by block, which is five times slower. Others, and
//! the tests that compare the two, use that crate. Only 128-bit instructions in their old encoding
//! are used: an enclave's kernel leaves the rest of the vector state to the application.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(target_arch = "x86_64")]
mod ni;

use aes_gcm::aead::AeadInPlace;
use aes_gcm::{Aes256Gcm, KeyInit};
use alloc::boxed::Box;

/// An authentication tag.
pub type Tag = [u8; 16];

/// A key, ready for use. It is wiped when it goes.
pub struct Key(How);

enum How {
    #[cfg(target_arch = "x86_64")]
    Instructions(Box<ni::Key>),
    Crate(Box<Aes256Gcm>),
}

impl Key {
    /// Prepares a key.
    pub fn new(key: &[u8; 32]) -> Key {
        #[cfg(target_arch = "x86_64")]
        if let Some(key) = ni::Key::new(key) {
            return Key(How::Instructions(Box::new(key)));
        }
        Key::of_the_crate(key)
    }

    fn of_the_crate(key: &[u8; 32]) -> Key {
        Key(How::Crate(Box::new(Aes256Gcm::new(key.into()))))
    }

    /// Encrypts `data` in place.
    pub fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> Tag {
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            How::Instructions(key) => key.seal(nonce, aad, data),
            // It fails for messages of 64 GiB and more only; an all-zero tag then opens nowhere.
            How::Crate(key) => (key.encrypt_in_place_detached(nonce.into(), aad, data))
                .map_or([0; 16], |tag| tag.into()),
        }
    }

    /// Decrypts `data` in place if it is authentic; says whether it is. If not, zeros are left.
    pub fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &Tag) -> bool {
        let good = match &self.0 {
            #[cfg(target_arch = "x86_64")]
            How::Instructions(key) => key.open(nonce, aad, data, tag),
            How::Crate(key) => {
                let opened = key.decrypt_in_place_detached(nonce.into(), aad, data, tag.into());
                opened.is_ok()
            }
        };
        if !good {
            data.fill(0);
        }
        good
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// McGrew and Viega's test cases 13 to 16.
    #[test]
    fn both_are_the_standard_one() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len() / 2)
                .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
                .collect()
        };
        let zeros = "00".repeat(32);
        let key = "feffe9928665731c6d6a8f9467308308".repeat(2);
        let text = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                    1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
        let sealed = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                      8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad";
        let aad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
        let nonce = "cafebabefacedbaddecaf888";
        let cases = [
            (
                &zeros[..],
                &zeros[..24],
                "",
                "",
                "",
                "530f8afbc74536b9a963b4f1c4cb738b",
            ),
            (
                &zeros,
                &zeros[..24],
                &zeros[..32],
                "",
                "cea7403d4d606b6e074ec5d3baf39d18",
                "d0d1c8a799996bf0265b98b5d48ab919",
            ),
            (
                &key,
                nonce,
                text,
                "",
                sealed,
                "b094dac5d93471bdec1a502270e3cc6c",
            ),
            (
                &key,
                nonce,
                &text[..120],
                aad,
                &sealed[..120],
                "76fc6ece0f4e1768cddf8853bb2d551b",
            ),
        ];
        for (key, nonce, text, aad, sealed, tag) in cases {
            let key = hex(key).try_into().unwrap();
            for key in [Key::new(&key), Key::of_the_crate(&key)] {
                let mut data = hex(text);
                let nonce = hex(nonce).try_into().unwrap();
                let got = key.seal(&nonce, &hex(aad), &mut data);
                assert_eq!((data, &got[..]), (hex(sealed), &hex(tag)[..]));
            }
        }
    }

    /// Every length up to some groups of blocks, and those of whole volume blocks, with every length
    /// of associated data up to a few blocks.
    #[test]
    fn both_say_the_same() {
        let mut state = 1_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as u8
        };
        for len in (0..700).chain([4056, 4095, 4096, 4097, 65536]) {
            let key = core::array::from_fn(|_| next());
            let nonce = core::array::from_fn(|_| next());
            let aad: Vec<u8> = (0..len % 50).map(|_| next()).collect();
            let text: Vec<u8> = (0..len).map(|_| next()).collect();
            let (fast, slow) = (Key::new(&key), Key::of_the_crate(&key));
            let (mut a, mut b) = (text.clone(), text.clone());
            let tag = fast.seal(&nonce, &aad, &mut a);
            assert_eq!(tag, slow.seal(&nonce, &aad, &mut b), "{len}");
            assert!(a == b, "{len}");
            assert!(fast.open(&nonce, &aad, &mut a, &tag) && a == text, "{len}");
            assert!(slow.open(&nonce, &aad, &mut b, &tag) && b == text, "{len}");
        }
    }

    #[test]
    fn what_was_altered_anywhere_does_not_open_and_nothing_is_left_of_it() {
        let key = [3; 32];
        for key in [Key::new(&key), Key::of_the_crate(&key)] {
            let mut sealed = [7; 300];
            let tag = key.seal(&[1; 12], &[2; 33], &mut sealed);
            let refused = |nonce: &[u8; 12], aad: &[u8], data: &[u8], tag: &Tag| {
                let mut data = data.to_vec();
                assert!(!key.open(nonce, aad, &mut data, tag));
                assert!(data.iter().all(|b| *b == 0));
            };
            for bit in 0..300 * 8 {
                let mut other = sealed;
                other[bit / 8] ^= 1 << (bit % 8);
                refused(&[1; 12], &[2; 33], &other, &tag);
            }
            for bit in 0..128 {
                let mut other = tag;
                other[bit / 8] ^= 1 << (bit % 8);
                refused(&[1; 12], &[2; 33], &sealed, &other);
            }
            refused(&[0; 12], &[2; 33], &sealed, &tag);
            refused(&[1; 12], &[2; 32], &sealed, &tag);
            refused(&[1; 12], &[2; 33], &sealed[..299], &tag);
            assert!(key.open(&[1; 12], &[2; 33], &mut sealed, &tag) && sealed == [7; 300]);
        }
    }
}
