//! When an enclave ends, however it ends, no process of it is left.

use crate::LIMIT;
use bastide_tests::{Copy, Ending, run};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const CHILDREN: &str =
    "for i in 1 2 3 4 5; do sleep 1000 & done; (sleep 1000 & sleep 1000) & echo ready;";

/// Runs a script with many processes.
fn script(copy: &Copy, script: &str) -> Command {
    copy.command(&["run", "-q", "--", "bash", "-c", script])
}

#[test]
fn after_the_end_of_the_first_process() {
    let copy = Copy::new("end");
    let outcome = run(script(&copy, &format!("{CHILDREN} exit 3")), "", LIMIT);
    assert_eq!(outcome.ending, Ending::Code(3), "{outcome:?}");
    copy.gone();
}

/// Starts the script, waits until its children are there, and returns the launcher.
fn start(copy: &Copy) -> Child {
    let mut command = script(copy, &format!("{CHILDREN} wait"));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    // The launcher, both shells and five children; those of the inner shell may still be to come.
    assert!(copy.processes().len() >= 8, "{:?}", copy.processes());
    child
}

#[test]
fn after_the_launcher_is_killed() {
    let copy = Copy::new("killed");
    let mut child = start(&copy);
    child.kill().unwrap();
    child.wait().unwrap();
    copy.gone();
}

/// The host kills one process: the whole enclave stops and says so.
#[test]
fn after_the_host_kills_one_process() {
    let copy = Copy::new("one");
    let child = start(&copy);
    let victim = copy.processes().into_iter().max().unwrap();
    assert_ne!(victim, child.id());
    let victim = Pid::from_raw(i32::try_from(victim).unwrap()).unwrap();
    kill_process(victim, Signal::KILL).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("the host killed process"), "{stderr}");
    copy.gone();
}
