//! The `bastide` command as a person or a script meets it: errors, options, signals, terminals,
//! and what is left behind.

mod errors;
mod examples;
mod group;
mod image;
mod left_behind;
mod mounts;
mod network;
mod options;
mod overlay;
mod proofs;
mod sealed;
mod sessions;
mod signals;
mod terminal;
mod volume;
mod withheld;

use bastide_tests::{Ending, Outcome, bastide, command, run};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Enough for anything here, also on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// `bastide` with these arguments, in this directory.
fn bastide_in(dir: &Path, args: &[&str]) -> Command {
    let mut command = command(bastide(), dir);
    command.args(args);
    command
}

/// Runs `bastide` with these arguments in `/`.
fn try_bastide(args: &[&str]) -> Outcome {
    run(bastide_in(Path::new("/"), args), "", LIMIT)
}

/// It succeeded; what it printed.
#[track_caller]
fn good(outcome: &Outcome) -> &str {
    assert_eq!(outcome.ending, Ending::Code(0), "{outcome:?}");
    &outcome.stdout
}

/// It was refused, with these words.
#[track_caller]
fn refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.ending, Ending::Code(125), "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "no `{word}` in {outcome:?}");
    }
}
