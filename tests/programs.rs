//! Each file below `programs/` run natively and under Bastide; output, ending and files must be
//! the same.
//!
//!     cargo test --release -p bastide-tests --test programs -- python/

use bastide_tests::{Case, Outcome, Scratch, bastide, cases, command, compile, run, tree};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
    let trials = cases(&root).into_iter().map(|case| {
        let name = case.name.clone();
        let missing = case.missing().map(str::to_owned);
        if let Some(program) = &missing {
            eprintln!("skipped {name}: {program} is not installed (tests/setup.sh installs it)");
        }
        Trial::test(name, move || compare(&case)).with_ignored_flag(missing.is_some())
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

fn compare(case: &Case) -> Result<(), Failed> {
    let build = Scratch::new(&format!("{}.build", case.name));
    let scratch = Scratch::new(&case.name);
    let words = compile(case, build.path())?;

    let mut native = command(&words[0], scratch.path());
    native.args(&words[1..]);
    let (expected, expected_files) = outcome(native, case, &scratch);

    scratch.renew();
    let mut inside = command(bastide(), scratch.path());
    inside.args(["run", "--quiet"]).args(&case.options);
    if case.keep {
        let path = scratch.path().display();
        inside.arg("--mount").arg(format!("{path}:{path}:rw"));
    }
    inside.arg("--").args(&words);
    let (found, found_files) = outcome(inside, case, &scratch);

    let mut difference = String::new();
    if expected != found {
        difference += &first_difference(&expected, &found);
        difference += &format!("natively {expected:?}\n\nunder Bastide {found:?}\n");
    }
    if case.keep && expected_files != found_files {
        difference +=
            &format!("files natively\n{expected_files}\n\nunder Bastide\n{found_files}\n");
    }
    if !case.keep && !found_files.is_empty() {
        difference += &format!("written to the host although nothing may be:\n{found_files}\n");
    }
    if difference.is_empty() {
        Ok(())
    } else {
        Err(difference.into())
    }
}

/// The first line that differs, to spare a reader the search for it.
fn first_difference(expected: &Outcome, found: &Outcome) -> String {
    let streams = [
        ("stdout", &expected.stdout, &found.stdout),
        ("stderr", &expected.stderr, &found.stderr),
    ];
    for (name, expected, found) in streams {
        let (mut native, mut inside) = (expected.lines(), found.lines());
        for number in 1.. {
            match (native.next(), inside.next()) {
                (None, None) => break,
                (a, b) if a == b => {}
                (a, b) => {
                    let (a, b) = (a.unwrap_or("its end"), b.unwrap_or("its end"));
                    return format!("{name} differs in line {number}:\n  - {a}\n  + {b}\n\n");
                }
            }
        }
    }
    String::new()
}

fn outcome(mut command: Command, case: &Case, scratch: &Scratch) -> (Outcome, String) {
    // Some cases look for files beside their own.
    command.env(
        "CASE_DIR",
        case.file.parent().map(PathBuf::from).unwrap_or_default(),
    );
    let mut outcome = run(command, "", case.limit);
    if case.any_stderr {
        outcome.stderr.clear();
    }
    (outcome, tree(scratch.path()))
}
