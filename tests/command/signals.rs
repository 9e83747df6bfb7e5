//! Signals to the command reach the program, and the program's end is the command's.

use crate::{LIMIT, bastide_in, good, try_bastide};
use bastide_tests::{Ending, Outcome, bastide, command, run};
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Starts a script in a process group of its own and waits until it says `ready`.
fn start(options: &[&str], script: &str) -> Child {
    let mut args = vec!["run", "-q"];
    args.extend(options);
    args.extend(["--", "bash", "-c", script]);
    let mut command = bastide_in(Path::new("/"), &args);
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    BufReader::with_capacity(1, stdout)
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    child
}

/// Waits for the end, with a deadline, and returns (exit code, signal).
#[track_caller]
pub fn end(mut child: Child) -> (Option<i32>, Option<i32>) {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), status.signal());
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("still running");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_program_killed_by_a_signal() {
    for (signal, number) in [
        ("TERM", 15),
        ("KILL", 9),
        ("SEGV", 11),
        ("PIPE", 13),
        ("HUP", 1),
        ("USR1", 10),
    ] {
        let script = format!("kill -{signal} $BASHPID; sleep 5");
        let outcome = try_bastide(&["run", "-q", "--init", "--", "bash", "-c", &script]);
        assert_eq!(
            outcome.ending,
            Ending::Signal(number),
            "{signal}: {outcome:?}"
        );
    }
}

#[test]
fn ctrl_c_ends_the_program() {
    let child = start(&["--init"], "echo ready; sleep 100; echo not reached");
    kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
    let ending = end(child);
    assert!(
        ending == (None, Some(2)) || ending == (Some(130), None),
        "{ending:?}"
    );
}

#[test]
fn sigterm_ends_the_program() {
    let child = start(&["--init"], "echo ready; sleep 100 & wait");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(end(child), (None, Some(15)));
}

#[test]
fn a_program_may_catch_signals() {
    let script =
        "trap 'exit 44' TERM; trap 'echo hup' HUP; echo ready; while :; do sleep 0.01; done";
    let child = start(&[], script);
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(end(child), (Some(44), None));
}

/// The kernel asks for its timers' process, and is gone before it is made.
#[test]
fn a_timer_is_set_at_the_end() {
    for _ in 0..200 {
        let outcome = try_bastide(&["run", "-q", "--", "perl", "-e", "alarm 60"]);
        assert_eq!(outcome.ending, Ending::Code(0), "{outcome:?}");
    }
}

#[test]
fn stop_and_continue() {
    let child = start(
        &[],
        "echo ready; for i in $(seq 20); do sleep 0.01; done; exit 5",
    );
    let pid = Pid::from_child(&child);
    kill_process_group(pid, Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    kill_process_group(pid, Signal::CONT).unwrap();
    assert_eq!(end(child), (Some(5), None));
    // In the middle of a sleep, which the host makes it begin again.
    let child = start(&[], "echo ready; sleep 1.5; exit 5");
    let pid = Pid::from_child(&child);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        kill_process_group(pid, Signal::STOP).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        kill_process_group(pid, Signal::CONT).unwrap();
    }
    assert_eq!(end(child), (Some(5), None));
}

/// Has a shell prepare what the launcher inherits.
fn by_shell(shell: &str, script: &str) -> Outcome {
    let mut shell = command(shell, Path::new("/"));
    shell.args(["-c", script]);
    run(shell, "", LIMIT)
}

/// What the caller ignores the program ignores too, and nothing else.
#[test]
fn ignored_signals_are_inherited() {
    for (trap, mask) in [("", 0), ("trap '' PIPE USR2;", 0x1800)] {
        let script = format!(
            "{trap} exec {} run -q -- grep SigIgn /proc/self/status",
            bastide().display()
        );
        let outcome = by_shell("sh", &script);
        assert_eq!(good(&outcome), format!("SigIgn:\t{mask:016x}\n"));
    }
}

/// The ends of children too, of which the launcher must hear all the same.
#[test]
fn ignored_ends_of_children() {
    let script = format!(
        "exec perl -e '$SIG{{CHLD}} = q(IGNORE); exec @ARGV' {} run -q -- grep SigIgn /proc/self/status",
        bastide().display()
    );
    let outcome = by_shell("sh", &script);
    assert_eq!(good(&outcome), format!("SigIgn:\t{:016x}\n", 1 << 16));
}

/// Who executes the launcher may have children already: they are none of its business.
#[test]
fn other_children_are_left_alone() {
    let script = format!(
        "sleep 1000 > /dev/null 2>&1 & echo $!; (exit 1) & (kill -9 $BASHPID) & \
         exec {} run -q -- bash -c 'sleep 1000 & (sleep 0.1; exit 5); exit $?'",
        bastide().display()
    );
    let outcome = by_shell("bash", &script);
    let other = outcome.stdout.trim().parse().ok().and_then(Pid::from_raw);
    // Fails if it is gone.
    kill_process(other.expect("the shell told it"), Signal::KILL).unwrap();
    assert_eq!(outcome.ending, Ending::Code(5), "{outcome:?}");
}

/// A program may close its standard descriptors before it starts another: what the other opens does
/// not take their place.
#[test]
fn closed_standard_descriptors() {
    let script = format!(
        "exec {} run -q -- sh -c 'echo lost; exit 7' <&- >&- 2>&-",
        bastide().display()
    );
    let outcome = by_shell("sh", &script);
    assert_eq!(outcome.ending, Ending::Code(7), "{outcome:?}");
    assert_eq!(outcome.stdout, "");
}
