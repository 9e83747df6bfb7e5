//! With AES-NI and PCLMULQDQ, eight blocks at a time.
//!
//! GHASH is computed as POLYVAL (RFC 8452, appendix A): of blocks with their bytes reversed, with
//! the key reversed and multiplied by x. Products of eight blocks with the powers of the key are
//! added up and reduced once.

use crate::Tag;
use core::arch::x86_64::*;
use zeroize::Zeroize;

cpufeatures::new!(instructions, "aes", "pclmulqdq", "ssse3");

/// Blocks that are worked on at once.
const WIDE: usize = 8;
const B: usize = 16;
/// Rounds of AES-256 and one.
const ROUNDS: usize = 15;

pub struct Key {
    rounds: [__m128i; ROUNDS],
    /// The hash key to the power of 8, 7 … 1.
    powers: [__m128i; WIDE],
}

impl Drop for Key {
    fn drop(&mut self) {
        self.rounds.zeroize();
        self.powers.zeroize();
    }
}

impl Key {
    /// `None` if the processor lacks the instructions.
    pub fn new(key: &[u8; 32]) -> Option<Key> {
        // SAFETY: the processor has the instructions.
        instructions::get().then(|| unsafe { prepare(key) })
    }

    pub fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> Tag {
        // SAFETY: the processor has the instructions, else there would be no key.
        unsafe { seal(self, nonce, aad, data) }
    }

    /// Decrypts; says whether it was authentic.
    pub fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &Tag) -> bool {
        // SAFETY: as in `seal`.
        unsafe { open(self, nonce, aad, data, tag) }
    }
}

#[target_feature(enable = "sse2")]
#[inline]
fn load(bytes: &[u8; B]) -> __m128i {
    // SAFETY: there are 16 bytes, and they need not be aligned.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "sse2")]
#[inline]
fn store(bytes: &mut [u8; B], value: __m128i) {
    // SAFETY: as in `load`.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), value) }
}

/// Reverses the bytes.
#[target_feature(enable = "ssse3")]
#[inline]
fn reversed(x: __m128i) -> __m128i {
    let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm_shuffle_epi8(x, order)
}

#[target_feature(enable = "aes,pclmulqdq,ssse3")]
fn prepare(key: &[u8; 32]) -> Key {
    let rounds = expand(key);
    let h = times_x(reversed(encrypt(&rounds, _mm_setzero_si128())));
    let mut powers = [h; WIDE];
    for i in (0..WIDE - 1).rev() {
        powers[i] = multiply(powers[i + 1], h);
    }
    Key { rounds, powers }
}

/// The key schedule: FIPS 197, section 5.2.
#[target_feature(enable = "aes")]
fn expand(key: &[u8; 32]) -> [__m128i; ROUNDS] {
    #[target_feature(enable = "sse2")]
    fn mix(mut a: __m128i, b: __m128i) -> __m128i {
        a = _mm_xor_si128(a, _mm_slli_si128::<4>(a));
        a = _mm_xor_si128(a, _mm_slli_si128::<8>(a));
        _mm_xor_si128(a, b)
    }
    let (halves, _) = key.as_chunks();
    let mut k = [load(&halves[0]); ROUNDS];
    k[1] = load(&halves[1]);
    macro_rules! even {
        ($i:expr, $constant:expr) => {
            let t = _mm_aeskeygenassist_si128::<$constant>(k[$i - 1]);
            k[$i] = mix(k[$i - 2], _mm_shuffle_epi32::<0xff>(t));
        };
    }
    macro_rules! odd {
        ($i:expr) => {
            let t = _mm_aeskeygenassist_si128::<0>(k[$i - 1]);
            k[$i] = mix(k[$i - 2], _mm_shuffle_epi32::<0xaa>(t));
        };
    }
    even!(2, 0x01);
    odd!(3);
    even!(4, 0x02);
    odd!(5);
    even!(6, 0x04);
    odd!(7);
    even!(8, 0x08);
    odd!(9);
    even!(10, 0x10);
    odd!(11);
    even!(12, 0x20);
    odd!(13);
    even!(14, 0x40);
    k
}

#[target_feature(enable = "aes")]
#[inline]
fn encrypt(rounds: &[__m128i; ROUNDS], mut x: __m128i) -> __m128i {
    x = _mm_xor_si128(x, rounds[0]);
    for round in &rounds[1..ROUNDS - 1] {
        x = _mm_aesenc_si128(x, *round);
    }
    _mm_aesenclast_si128(x, rounds[ROUNDS - 1])
}

#[target_feature(enable = "aes")]
#[inline]
fn encrypt_wide(rounds: &[__m128i; ROUNDS], mut x: [__m128i; WIDE]) -> [__m128i; WIDE] {
    for x in &mut x {
        *x = _mm_xor_si128(*x, rounds[0]);
    }
    for round in &rounds[1..ROUNDS - 1] {
        for x in &mut x {
            *x = _mm_aesenc_si128(*x, *round);
        }
    }
    for x in &mut x {
        *x = _mm_aesenclast_si128(*x, rounds[ROUNDS - 1]);
    }
    x
}

/// Multiplies by x in POLYVAL's field.
#[target_feature(enable = "sse2")]
fn times_x(a: __m128i) -> __m128i {
    let carries = _mm_srli_epi64::<63>(a);
    let shifted = _mm_or_si128(_mm_slli_epi64::<1>(a), _mm_slli_si128::<8>(carries));
    // All ones if the highest bit was set, without a branch on the key.
    let over = _mm_sub_epi64(_mm_setzero_si128(), _mm_srli_si128::<8>(carries));
    let over = _mm_unpacklo_epi64(over, over);
    _mm_xor_si128(shifted, _mm_and_si128(over, polynomial()))
}

/// x^127 + x^126 + x^121 + 1: what x^128 is.
#[target_feature(enable = "sse2")]
#[inline]
fn polynomial() -> __m128i {
    _mm_set_epi64x(0xc200_0000_0000_0000_u64 as i64, 1)
}

/// A sum of products that is not reduced yet: low, middle and high part.
#[derive(Clone, Copy)]
struct Sum(__m128i, __m128i, __m128i);

#[target_feature(enable = "pclmulqdq")]
#[inline]
fn add_product(sum: Sum, a: __m128i, b: __m128i) -> Sum {
    let middle = _mm_xor_si128(
        _mm_clmulepi64_si128::<0x01>(a, b),
        _mm_clmulepi64_si128::<0x10>(a, b),
    );
    Sum(
        _mm_xor_si128(sum.0, _mm_clmulepi64_si128::<0x00>(a, b)),
        _mm_xor_si128(sum.1, middle),
        _mm_xor_si128(sum.2, _mm_clmulepi64_si128::<0x11>(a, b)),
    )
}

#[target_feature(enable = "pclmulqdq")]
#[inline]
fn reduce(Sum(low, middle, high): Sum) -> __m128i {
    let p = polynomial();
    let low = _mm_xor_si128(low, _mm_slli_si128::<8>(middle));
    let high = _mm_xor_si128(high, _mm_srli_si128::<8>(middle));
    let fold = |x| {
        let swapped = _mm_shuffle_epi32::<0x4e>(x);
        _mm_xor_si128(_mm_clmulepi64_si128::<0x10>(x, p), swapped)
    };
    _mm_xor_si128(high, fold(fold(low)))
}

#[target_feature(enable = "pclmulqdq")]
#[inline]
fn multiply(a: __m128i, b: __m128i) -> __m128i {
    let zero = _mm_setzero_si128();
    reduce(add_product(Sum(zero, zero, zero), a, b))
}

type Wide = [[u8; B]; WIDE];

/// Takes eight blocks into the hash.
#[target_feature(enable = "pclmulqdq,ssse3")]
#[inline]
fn hash_wide(key: &Key, hash: __m128i, blocks: &Wide) -> __m128i {
    let zero = _mm_setzero_si128();
    let mut sum = Sum(zero, zero, zero);
    let mut carried = hash;
    for (block, power) in blocks.iter().zip(&key.powers) {
        let x = _mm_xor_si128(reversed(load(block)), carried);
        carried = zero;
        sum = add_product(sum, x, *power);
    }
    reduce(sum)
}

/// Takes bytes into the hash, filled up with zeros to whole blocks.
#[target_feature(enable = "pclmulqdq,ssse3")]
#[inline]
fn hash(key: &Key, mut hash: __m128i, bytes: &[u8]) -> __m128i {
    for piece in bytes.chunks(B) {
        let mut block = [0; B];
        block[..piece.len()].copy_from_slice(piece);
        let x = _mm_xor_si128(hash, reversed(load(&block)));
        hash = multiply(x, key.powers[WIDE - 1]);
    }
    hash
}

/// The counter blocks of a message.
struct Counter {
    /// With the bytes reversed, so that the counter is its lowest word.
    next: __m128i,
}

impl Counter {
    /// The first one, which the tag is encrypted with.
    #[target_feature(enable = "sse2,ssse3")]
    #[inline]
    fn new(nonce: &[u8; 12]) -> Counter {
        let mut first = [0; B];
        first[..12].copy_from_slice(nonce);
        first[15] = 1;
        Counter {
            next: reversed(load(&first)),
        }
    }

    #[target_feature(enable = "ssse3")]
    #[inline]
    fn next(&mut self) -> __m128i {
        let now = reversed(self.next);
        self.next = _mm_add_epi32(self.next, _mm_set_epi32(0, 0, 0, 1));
        now
    }

    #[target_feature(enable = "ssse3")]
    #[inline]
    fn next_wide(&mut self) -> [__m128i; WIDE] {
        let mut out = [self.next; WIDE];
        for out in &mut out {
            *out = self.next();
        }
        out
    }
}

#[target_feature(enable = "aes,pclmulqdq,ssse3")]
#[inline]
fn crypt_wide(key: &Key, counter: &mut Counter, blocks: &mut Wide) {
    let stream = encrypt_wide(&key.rounds, counter.next_wide());
    for (block, stream) in blocks.iter_mut().zip(stream) {
        store(block, _mm_xor_si128(load(block), stream));
    }
}

#[target_feature(enable = "aes,pclmulqdq,ssse3")]
#[inline]
fn crypt(key: &Key, counter: &mut Counter, bytes: &mut [u8]) {
    for piece in bytes.chunks_mut(B) {
        let mut stream = [0; B];
        store(&mut stream, encrypt(&key.rounds, counter.next()));
        for (to, from) in piece.iter_mut().zip(stream) {
            *to ^= from;
        }
    }
}

/// The tag, from the hash of the associated data and the encrypted text.
#[target_feature(enable = "aes,pclmulqdq,ssse3")]
#[inline]
fn tag(key: &Key, first: __m128i, text: __m128i, aad: usize, data: usize) -> __m128i {
    let lengths = _mm_set_epi64x((aad as i64) << 3, (data as i64) << 3);
    let sum = multiply(_mm_xor_si128(text, lengths), key.powers[WIDE - 1]);
    _mm_xor_si128(reversed(sum), encrypt(&key.rounds, first))
}

#[target_feature(enable = "aes,pclmulqdq,ssse3")]
fn seal(key: &Key, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> Tag {
    let len = data.len();
    let mut counter = Counter::new(nonce);
    let first = counter.next();
    let mut sum = hash(key, _mm_setzero_si128(), aad);
    let (blocks, rest) = data.as_chunks_mut::<B>();
    let (wide, single) = blocks.as_chunks_mut::<WIDE>();
    for wide in wide {
        crypt_wide(key, &mut counter, wide);
        sum = hash_wide(key, sum, wide);
    }
    for part in [single.as_flattened_mut(), rest] {
        crypt(key, &mut counter, part);
        sum = hash(key, sum, part);
    }
    let mut out = [0; B];
    store(&mut out, tag(key, first, sum, aad.len(), len));
    out
}

#[target_feature(enable = "aes,pclmulqdq,ssse3")]
fn open(key: &Key, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], expected: &Tag) -> bool {
    let len = data.len();
    let mut counter = Counter::new(nonce);
    let first = counter.next();
    let mut sum = hash(key, _mm_setzero_si128(), aad);
    let (blocks, rest) = data.as_chunks_mut::<B>();
    let (wide, single) = blocks.as_chunks_mut::<WIDE>();
    for wide in wide {
        sum = hash_wide(key, sum, wide);
        crypt_wide(key, &mut counter, wide);
    }
    for part in [single.as_flattened_mut(), rest] {
        sum = hash(key, sum, part);
        crypt(key, &mut counter, part);
    }
    let tag = tag(key, first, sum, aad.len(), len);
    // All of it is compared, however early it differs.
    _mm_movemask_epi8(_mm_cmpeq_epi8(tag, load(expected))) == 0xffff
}
