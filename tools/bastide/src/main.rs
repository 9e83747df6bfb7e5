//! `bastide`: runs unmodified Linux programs inside a library OS.
#![cfg_attr(not(test), no_main)]

mod boot;
mod check;
mod cli;
mod doctor;
mod ending;
mod host;
mod mount_option;
mod options;
mod run;
#[cfg(not(test))]
mod start;
mod users;
mod volume;

use std::io::Write;

/// Exit code for errors of Bastide's own, as `docker run` and `env` have it; 126 and 127 are the
/// program's that cannot be executed or found.
const OWN_ERROR: u8 = 125;

/// Does what the command line asks for; the exit code.
#[cfg_attr(test, allow(dead_code))]
fn command() -> u8 {
    let verb = match cli::verb() {
        Ok(verb) => verb,
        Err(error) => {
            let _ = error.print();
            if forgot_dashes(error.kind()) {
                say("To run a program, put `--` before it: bastide run -- PROGRAM ARGUMENTS");
            }
            return if error.use_stderr() { OWN_ERROR } else { 0 };
        }
    };
    let result = match verb {
        cli::Verb::Run(options) => run::run(&options),
        cli::Verb::Check { manifests } => check::check(&manifests),
        cli::Verb::Doctor { host_calls } => doctor::doctor(host_calls),
        cli::Verb::Volume(verb) => volume::volume(&verb),
    };
    result.unwrap_or_else(|error| {
        say(error);
        OWN_ERROR
    })
}

/// Writes a line to standard error, which may be closed.
fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// `bastide run ls -l`: the commonest mistake there is.
fn forgot_dashes(kind: clap::error::ErrorKind) -> bool {
    let mut args = std::env::args_os().skip(1);
    kind == clap::error::ErrorKind::UnknownArgument
        && args.next().is_some_and(|verb| verb == "run")
        && !args.any(|arg| arg == "--")
}

/// What ends a verb early: the text for a person, cause and remedy.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub fn new(message: impl std::fmt::Display) -> Self {
        Failure(format!("error: {message}"))
    }

    /// The same, with the place that asked for it.
    pub fn at(&self, origin: &bastide_manifest::Origin) -> bastide_manifest::Problem {
        let text = self.0.trim_start_matches("error: ");
        let (message, help) = match text.split_once("\n  = help: ") {
            Some((message, help)) => (message, Some(help)),
            None => (text, None),
        };
        let problem = origin.problem(message);
        match help {
            Some(help) => problem.help(help),
            None => problem,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<bastide_manifest::Problem> for Failure {
    fn from(problem: bastide_manifest::Problem) -> Self {
        Failure(problem.to_string())
    }
}

impl From<Vec<bastide_manifest::Problem>> for Failure {
    fn from(problems: Vec<bastide_manifest::Problem>) -> Self {
        let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Failure(texts.join("\n\n"))
    }
}
