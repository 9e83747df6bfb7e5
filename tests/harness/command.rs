//! Runs one command to its end, or to its deadline.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The `bastide` executable under test: `$BASTIDE`, or the release build.
pub fn bastide() -> PathBuf {
    let path = match std::env::var_os("BASTIDE") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/bastide"),
    };
    path.canonicalize().unwrap_or_else(|error| {
        panic!(
            "{}: {error}; build it with `cargo build --release`, or set BASTIDE",
            path.display()
        )
    })
}

/// A command with the environment that both sides of a comparison get: nothing of the person's.
pub fn command(program: impl AsRef<Path>, dir: &Path) -> Command {
    let mut command = Command::new(program.as_ref());
    command
        .current_dir(dir)
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", dir)
        .env("TMPDIR", dir)
        .env("LANG", "C.UTF-8")
        .env("TERM", "dumb")
        .env("TZ", "UTC");
    command
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    Code(i32),
    Signal(i32),
    TimedOut,
}

/// What a command did, as its caller sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    pub stdout: String,
    pub stderr: String,
    pub ending: Ending,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome {
            stdout,
            stderr,
            ending,
        } = self;
        write!(f, "{ending:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Runs `command` with `input` on its standard input, and kills it and what it started after
/// `limit`.
pub fn run(mut command: Command, input: &str, limit: Duration) -> Outcome {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {:?}: {error}", command.get_program()));
    let group = rustix::process::Pid::from_child(&child);
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    // The child may end without reading it.
    let writer = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let stdout = drain(child.stdout.take().expect("piped"));
    let stderr = drain(child.stderr.take().expect("piped"));

    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait().expect("the child is ours") {
            Some(status) => break Some(status),
            None if Instant::now() >= deadline => {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                let _ = child.wait();
                break None;
            }
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    let text = |reader: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
    };
    let _ = writer.join();
    Outcome {
        stdout: text(stdout),
        stderr: text(stderr),
        ending: status.map_or(Ending::TimedOut, ending),
    }
}

fn drain(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// How a status says that its command ended.
pub fn ending(status: ExitStatus) -> Ending {
    match status.code() {
        Some(code) => Ending::Code(code),
        None => Ending::Signal(status.signal().unwrap_or(0)),
    }
}

/// What a program wrote to standard error, without Bastide's one line before it.
pub fn without_notice(stderr: &str) -> String {
    stderr
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("bastide: no manifest:"))
        .collect()
}
