//! The long proofs of sealed volumes (`tests/volumes/run`), each in its short form.

use bastide_tests::{Ending, bastide, command, run};
use std::path::Path;
use std::time::Duration;

#[track_caller]
fn proof(name: &str) {
    proof_with(name, &[]);
}

#[track_caller]
fn proof_with(name: &str, more: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("volumes/run");
    let mut command = command(script, Path::new("/"));
    command.arg(name).args(more).env("BASTIDE", bastide());
    let outcome = run(command, "", Duration::from_secs(240));
    match outcome.ending {
        Ending::Code(77) => eprintln!("{}", outcome.stderr),
        ending => assert_eq!(ending, Ending::Code(0), "{outcome:?}"),
    }
}

#[test]
fn files() {
    proof("fsx");
}

#[test]
fn compressed_files() {
    proof_with("fsx", &["3", "--compress"]);
}

#[test]
fn postgresql() {
    proof("postgresql");
}

#[test]
fn redis() {
    proof("redis");
}

#[test]
fn programs() {
    proof("programs");
}
