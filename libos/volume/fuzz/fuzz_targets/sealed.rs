//! A forged volume: authentic blocks of hostile contents. The string alters a sample volume in
//! plaintext, which is sealed again, opened, and worked on.
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

use common::forge::Forge;
use common::hostile::{Choices, alter, work};
use std::sync::OnceLock;

static SAMPLE: OnceLock<Forge> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|string: &[u8]| {
    let mut forge = SAMPLE.get_or_init(Forge::sample).clone();
    let mut choices = Choices(string);
    alter(&mut forge, &mut choices);
    work(forge.seal(), &mut choices);
});
