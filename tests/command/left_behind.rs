//! When an enclave ends, however it ends, no process of it is left.

use crate::{LIMIT, bastide_in};
use bastide_tests::{Ending, run};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Host processes whose environment has this mark: the launcher hands its own to all of them.
fn marked(mark: &str) -> Vec<u32> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let alive = fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.contains(") Z "));
            alive
                && environ
                    .windows(mark.len())
                    .any(|part| part == mark.as_bytes())
        })
        .collect()
}

#[track_caller]
fn gone(mark: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !marked(mark).is_empty() {
        assert!(Instant::now() < deadline, "left behind: {:?}", marked(mark));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn mark(name: &str) -> String {
    format!("BASTIDE_TEST_MARK={name}-{}", std::process::id())
}

/// A script of many processes, with the mark in the environment of its launcher.
fn many(mark: &str, script: &str) -> Command {
    let mut command = bastide_in(Path::new("/"), &["run", "-q", "--", "bash", "-c", script]);
    let (name, value) = mark.split_once('=').unwrap();
    command.env(name, value);
    command
}

const CHILDREN: &str =
    "for i in 1 2 3 4 5; do sleep 1000 & done; (sleep 1000 & sleep 1000) & echo ready;";

#[test]
fn after_the_end_of_the_first_process() {
    let mark = mark("end");
    let outcome = run(many(&mark, &format!("{CHILDREN} exit 3")), "", LIMIT);
    assert_eq!(outcome.ending, Ending::Code(3), "{outcome:?}");
    gone(&mark);
}

#[test]
fn after_the_launcher_is_killed() {
    let mark = mark("killed");
    let mut command = many(&mark, &format!("{CHILDREN} wait"));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(!marked(&mark).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    gone(&mark);
}

/// The host kills one process: the whole enclave stops and says so.
#[test]
fn after_the_host_kills_one_process() {
    let mark = mark("one");
    let mut command = many(&mark, &format!("{CHILDREN} wait"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let victim = *marked(&mark).iter().max().unwrap();
    assert_ne!(victim, child.id());
    kill_process(
        Pid::from_raw(i32::try_from(victim).unwrap()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("host") && stderr.contains("kill"),
        "{stderr}"
    );
    gone(&mark);
}
