//! A session of the application is one of the host's, whose scheduler may divide time by session; and
//! the end of the enclave is theirs too.

use crate::LIMIT;
use crate::signals::end;
use bastide_tests::{Copy, Ending, command, run};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

/// Three children that begin sessions, and one whose own child does, between vfork and execve. None
/// minds a signal.
const CHILDREN: &str = "
import os, signal, subprocess, sys, time
def minds(how):
    for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP: signal.signal(number, how)
minds(signal.SIG_IGN)
ready, here = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        os.write(here, b'x')
        time.sleep(1000)
if os.fork() == 0:
    script = f'echo >&{here}; exec sleep 1000'
    subprocess.run(['sh', '-c', script], start_new_session=True, pass_fds=[here])
for _ in range(4): os.read(ready, 1)
minds(signal.SIG_DFL)
print('ready', flush=True)
";

/// Starts the children and then this; waits until they are there.
fn start(copy: &Copy, then: &str) -> Child {
    let program = format!("{CHILDREN}{then}");
    let mut command = copy.command(&["run", "-q", "--", "/usr/bin/python3", "-c", &program]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    child
}

/// The host's session of a process.
fn session(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name may hold blanks and parentheses; then come the state, the parent and the group.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(3).unwrap().parse().unwrap()
}

#[test]
fn sessions_are_the_hosts() {
    let copy = Copy::new("sessions");
    let mut child = start(&copy, "time.sleep(1000)");
    let mut processes = copy.processes();
    processes.retain(|pid| *pid != child.id());
    let (leaders, others): (Vec<u32>, Vec<u32>) =
        processes.iter().partition(|pid| session(**pid) == **pid);
    let others: Vec<_> = others.into_iter().map(session).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    copy.gone();
    // The first and the kernel's own lead one from their start. Who borrowed memory did not take its
    // owner along.
    assert_eq!(leaders.len(), 2 + 4, "{processes:?}");
    let inside = |session| leaders.contains(session);
    assert!(others.iter().all(inside), "{others:?} of {leaders:?}");
}

#[test]
fn sessions_end_with_the_first_process() {
    let copy = Copy::new("sessions-end");
    let child = start(&copy, "sys.exit(3)");
    assert_eq!(end(child), (Some(3), None));
    copy.gone();
}

#[test]
fn sessions_end_by_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let copy = Copy::new("sessions-signal");
        let child = start(&copy, "time.sleep(1000)");
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(end(child), (None, Some(signal.as_raw())));
        copy.gone();
    }
}

#[test]
fn sessions_end_with_the_launcher() {
    let copy = Copy::new("sessions-launcher");
    let mut child = start(&copy, "time.sleep(1000)");
    child.kill().unwrap();
    child.wait().unwrap();
    copy.gone();
}

/// The host's list of children says nothing where /proc is another namespace's.
#[test]
fn sessions_end_where_the_host_lists_no_children() {
    let unshare = |args: &[&str]| {
        let mut unshare = command("unshare", Path::new("/"));
        unshare
            .args(["--map-root-user", "--pid", "--fork"])
            .args(args);
        run(unshare, "", LIMIT)
    };
    if unshare(&["true"]).ending != Ending::Code(0) {
        eprintln!("skipped: namespaces are not allowed here");
        return;
    }
    let copy = Copy::new("sessions-unlisted");
    // What is left ends with the shell, the namespace's first process, so that it has to look.
    let script = "
        copy=$1; shift; \"$copy\" \"$@\" || exit
        for turn in $(seq 200); do
            readlink /proc/[0-9]*/exe 2>/dev/null | grep -qxF \"$copy\" || exit 0
            sleep 0.05
        done
        echo left behind; exit 1";
    let bastide = copy.command(&["run", "-q", "--", "/usr/bin/python3", "-c", CHILDREN]);
    let mut args = vec!["sh", "-c", script, "sh"];
    args.push(bastide.get_program().to_str().unwrap());
    args.extend(bastide.get_args().map(|arg| arg.to_str().unwrap()));
    let outcome = unshare(&args);
    assert_eq!(outcome.ending, Ending::Code(0), "{outcome:?}");
    assert_eq!(outcome.stdout, "ready\n");
}

/// Each process makes the next and ends: there is always one that is just being made.
#[test]
fn fleeing_sessions_are_caught() {
    let copy = Copy::new("sessions-flee");
    let program = "
import os, time
for _ in range(3):
    while os.fork() == 0:
        os.setsid()
        if os.fork() > 0: os._exit(0)
time.sleep(0.3)
os._exit(3)
";
    let args = ["run", "-q", "--", "/usr/bin/python3", "-c", program];
    let outcome = run(copy.command(&args), "", LIMIT);
    assert_eq!(outcome.ending, Ending::Code(3), "{outcome:?}");
    copy.gone();
}
