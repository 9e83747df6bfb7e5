//! Writes strings for the fuzzer to begin with: one for each kind of alteration and operation, and
//! noise. `cargo run --example seeds DIRECTORY`.

#[path = "../tests/common/mod.rs"]
mod common;

use common::Rng;

fn main() {
    let mut args = std::env::args_os().skip(1);
    let dir = std::path::PathBuf::from(args.next().expect("a directory"));
    std::fs::create_dir_all(&dir).expect("it can be made");
    let put = |name: String, bytes: Vec<u8>| {
        std::fs::write(dir.join(name), bytes).expect("it can be written");
    };
    let mut rng = Rng(1);
    for kind in 0..24_u8 {
        // An alteration of this kind, its end, and operations of all kinds.
        let mut altered = vec![kind % 8];
        altered.extend(rng.bytes(16));
        altered.extend([0, kind]);
        for operation in 0..24 {
            altered.push(operation);
            altered.extend(rng.bytes(6));
        }
        put(format!("altered{kind}"), altered);
        let mut whole = vec![0, 0];
        for _ in 0..40 {
            whole.push(kind);
            whole.extend(rng.bytes(4));
        }
        put(format!("whole{kind}"), whole);
    }
    for n in 0..16 {
        put(format!("noise{n}"), rng.bytes(100 + 40 * n));
    }
}
