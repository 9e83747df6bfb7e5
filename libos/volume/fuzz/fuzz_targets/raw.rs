//! What is not authenticated, or not before it is used: the header, the file's length, any block.
//! The string overwrites parts of a sample volume's file.
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

use bastide_volume::{Header, Mark};
use common::Disk;
use common::forge::Forge;
use common::hostile::{Choices, work};
use std::sync::OnceLock;

static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|string: &[u8]| {
    let mut image = SAMPLE.get_or_init(|| Forge::sample().seal()).clone();
    let _ = std::str::from_utf8(string).map(Mark::parse);
    let mut c = Choices(string);
    for _ in 0..c.byte() % 8 {
        let at = usize::from(c.byte()) * if c.byte() % 2 == 0 { 1 } else { 4096 };
        let n = usize::from(c.byte());
        let bytes = c.bytes(n);
        let at = at.min(image.len());
        for (to, from) in image[at..].iter_mut().zip(bytes) {
            *to = *from;
        }
    }
    if c.byte() % 4 == 0 {
        let len = usize::from(c.byte()) * 4097;
        image.truncate(len);
    }
    let disk = Disk::with(image.clone());
    for copy in [0, 1] {
        let _ = Header::read(&disk, copy);
    }
    work(image, &mut c);
});
