//! The command line.

use crate::volume::cli::VolumeVerb;
use bastide_manifest::{LOG_LEVELS, User};
use clap::{Args, Command, FromArgMatches, Parser, Subcommand, builder::PossibleValuesParser};
use std::ffi::OsString;
use std::path::PathBuf;

macro_rules! examples {
    () => {
        "\
Examples:
  bastide run -- /bin/sh -c 'echo hello'       a program, with the host's files below it
  bastide run manifests/python.toml            what a manifest describes
  bastide run --trace -- ls /                  shows every system call
  bastide check my.toml                        finds mistakes without running
  bastide doctor                               says what this machine can do
  bastide volume create v --size 1G --passphrase   an encrypted file system in one file
"
    };
}

/// Runs unmodified Linux programs inside a library OS
///
/// The program, its child processes and its threads get a kernel of their own, inside one wall.
/// What may cross the wall is said by a manifest, or by options.
#[derive(Parser, Debug)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = examples!(),
    after_long_help = concat!(examples!(), "\n
Exit status:
  that of the program; if a signal ended it, bastide ends by the same signal
  125   Bastide itself failed, and said why on standard error
  126   the program exists but cannot be executed
  127   the program was not found
")
)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

/// What the command line asks for.
pub fn verb() -> Result<Verb, clap::Error> {
    let mut args = std::env::args_os().skip(1).peekable();
    // Alone, since it takes longer to describe all the other verbs than to start a program.
    if args.peek().is_some_and(|verb| verb == "run") {
        let run = RunOptions::augment_args(Command::new("run").bin_name("bastide run"));
        let matches = run.try_get_matches_from(args)?;
        return Ok(Verb::Run(Box::new(RunOptions::from_arg_matches(&matches)?)));
    }
    Cli::try_parse().map(|cli| cli.verb)
}

#[derive(Subcommand, Debug)]
pub enum Verb {
    Run(Box<RunOptions>),
    /// Checks manifests without running anything
    #[command(after_help = "\
Examples:
  bastide check manifests/*.toml
")]
    Check {
        /// Manifests to check
        #[arg(required = true, value_name = "MANIFEST")]
        manifests: Vec<PathBuf>,
    },
    /// Says what this machine can do, and what stands in the way
    Doctor {
        /// Lists every host call that can leave the enclave, and why it is needed
        #[arg(long)]
        host_calls: bool,
    },
    #[command(subcommand)]
    Volume(Box<VolumeVerb>),
}

/// Runs a program: the one a manifest describes, or the one after `--`
///
/// Without a manifest the program sees the host's files, the caller's environment and the current
/// directory. It can change files, but the changes stay in memory and are lost at its end, except
/// below directories mounted with `--mount DIR:DIR:rw`.
#[derive(Args, Debug)]
#[command(
    override_usage = "bastide run [OPTIONS] MANIFEST [-- ARGUMENTS...]\n       \
                      bastide run [OPTIONS] -- PROGRAM [ARGUMENTS...]",
    after_help = "\
Examples:
  bastide run -- python3 -c 'print(1)'
  bastide run --mount .:/work:rw --cwd /work -- make
  bastide run manifests/shell.toml -- -c 'echo $0'
  bastide run --trace=/tmp/calls -- git status
  bastide run --env TERM=dumb --user nobody -- id
"
)]
pub struct RunOptions {
    /// The TOML file that says what to run; manifests/README.md describes it
    #[arg(value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,

    /// Without a manifest the program and its arguments, else arguments after the manifest's own
    #[arg(last = true, value_name = "PROGRAM")]
    pub command: Vec<OsString>,

    /// Makes a host directory or file appear inside, read-only unless `:rw` is added; or files in
    /// memory: tmpfs:TARGET[:SIZE]; or the host's files with changes in memory: SOURCE:TARGET:overlay;
    /// or a sealed volume: volume:FILE:TARGET, which asks for the passphrase, or
    /// volume:FILE:TARGET:key_file=FILE; or an image: image:FILE:TARGET:root_hash=HASH
    #[arg(long, value_name = "SOURCE:TARGET[:MODE]")]
    pub mount: Vec<String>,

    /// Has the host listen for a port of the program, instead of the manifest's entry for that port.
    /// Without a manifest, other ports that the program binds are then for the enclave only
    #[arg(long, value_name = "[[ADDRESS:]HOST_PORT:]PORT[/udp]")]
    pub publish: Vec<String>,

    /// Sets a variable, or passes the caller's
    #[arg(long, short = 'e', value_name = "NAME[=VALUE]")]
    pub env: Vec<OsString>,

    /// Working directory inside
    #[arg(long, short = 'C', value_name = "DIR")]
    pub cwd: Option<String>,

    /// Runs as this user: names or numbers
    #[arg(long, short = 'u', value_name = "USER[:GROUP]")]
    pub user: Option<User>,

    /// What `hostname` says inside
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,

    /// Makes a tiny init process 1, and the program its child
    #[arg(long)]
    pub init: bool,

    /// Prints every system call to standard error or a file, as strace does, or only totals
    /// (`summary`)
    #[arg(
        long,
        value_name = "FILE|summary",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "-"
    )]
    pub trace: Option<PathBuf>,

    /// Every system call enters by a trap, and no code is rewritten: slower, for finding faults
    #[arg(long)]
    pub no_patch: bool,

    /// How much Bastide says on standard error [default: warn]
    #[arg(long, value_name = "LEVEL", value_parser = PossibleValuesParser::new(LOG_LEVELS))]
    pub log: Option<String>,

    /// Leaves out the notice that files are not kept and how open the network is
    #[arg(long, short)]
    pub quiet: bool,
}
