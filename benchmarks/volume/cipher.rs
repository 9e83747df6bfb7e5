//! What sealing costs by itself: AES-256-GCM as the volumes use it, block by block on one processor.

use crate::job::{Job, Row, Unit};
use crate::side::Side;
use bastide_volume::BLOCK;
use bastide_volume::crypto::{Aead, AesGcm};
use std::time::Instant;

pub fn job() -> Job {
    let rows = ["seal", "open"]
        .map(|what| Row::new(format!("volume/cipher-{what}"), Unit::MebibytesPerSecond));
    Job::new("volume-cipher", rows.into(), |context, _| {
        let blocks = context.amount(256 << 8, 100_u64);
        Ok(Box::new(move || {
            let cipher = AesGcm::new(&[7; 32]);
            let mut block = [1; BLOCK];
            let rate = |start: Instant| {
                let mebibytes = (blocks * BLOCK as u64) as f64 / (1 << 20) as f64;
                Some(mebibytes / start.elapsed().as_secs_f64())
            };
            let nonce = |i: u64| {
                let mut nonce = [0; 12];
                nonce[..8].copy_from_slice(&i.to_le_bytes());
                nonce
            };
            let start = Instant::now();
            let mut tag = [0; 16];
            for i in 0..blocks {
                tag = cipher.seal(&nonce(i), &[0; 33], &mut block);
            }
            let seal = rate(start);
            let sealed = block;
            let start = Instant::now();
            for _ in 0..blocks {
                block = sealed;
                if !cipher.open(&nonce(blocks - 1), &[0; 33], &mut block, &tag) {
                    return Err("a block does not open".into());
                }
            }
            Ok(vec![seal, rate(start)])
        }))
    })
    // It is the same everywhere.
    .on(Side::is_native)
}
