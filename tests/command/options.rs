//! The options of `bastide run` do what they say.

use crate::{LIMIT, bastide_in, good, refused, try_bastide};
use bastide_tests::{Ending, Outcome, Scratch, bastide, command, run, without_notice};
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

/// Runs a shell script under options and expects this output.
#[track_caller]
fn prints(options: &[&str], script: &str, expected: &str) {
    let mut args = vec!["run", "--quiet"];
    args.extend(options);
    args.extend(["--", "/bin/sh", "-c", script]);
    let outcome = try_bastide(&args);
    let good = Outcome {
        stdout: expected.into(),
        stderr: String::new(),
        ending: Ending::Code(0),
    };
    assert_eq!(outcome, good);
}

#[test]
fn environment() {
    prints(
        &["--env", "A=1", "-e", "B=x=y", "-e", "HOME"],
        "echo $A $B $HOME",
        "1 x=y /\n",
    );
}

#[test]
fn working_directory() {
    prints(&["--cwd", "/usr"], "pwd", "/usr\n");
    prints(&["-C", "etc"], "pwd", "/etc\n");
}

/// The caller's directory need not have a name that could be the program's, if another is asked for.
#[test]
fn working_directory_instead_of_the_callers() {
    let scratch = Scratch::new("options-cwd");
    let odd = scratch.path().join(OsStr::from_bytes(b"\xff"));
    fs::create_dir(&odd).unwrap();
    let pwd = |options: &[&str]| {
        let mut args = vec!["run", "--quiet"];
        args.extend(options);
        args.extend(["--", "/bin/pwd"]);
        run(bastide_in(&odd, &args), "", LIMIT)
    };
    assert_eq!(good(&pwd(&["--cwd", "/usr"])), "/usr\n");
    refused(&pwd(&[]), &["not UTF-8", "--cwd"]);
    refused(&pwd(&["--cwd", "usr"]), &["not UTF-8", "--cwd"]);
}

#[test]
fn user_and_group() {
    prints(
        &["--user", "1234:77"],
        "id -u; id -g; id -G",
        "1234\n77\n77\n",
    );
    prints(&["--user", "daemon"], "id -un", "daemon\n");
    prints(
        &["--user", "daemon"],
        "cat /etc/shadow 2>/dev/null || echo denied",
        "denied\n",
    );
}

#[test]
fn hostname() {
    prints(&["--hostname", "box"], "uname -n", "box\n");
}

#[test]
fn init_is_process_one() {
    prints(&[], "echo $$", "1\n");
    prints(&["--init"], "test $$ -ne 1 && echo $PPID", "1\n");
    let script = "kill -TERM $$; echo not reached";
    let outcome = try_bastide(&["run", "-q", "--init", "--", "sh", "-c", script]);
    assert_eq!(outcome.ending, Ending::Signal(15), "{outcome:?}");
}

#[test]
fn notice_without_manifest() {
    let outcome = try_bastide(&["run", "--", "/bin/true"]);
    assert_eq!(outcome.ending, Ending::Code(0), "{outcome:?}");
    for word in [
        "in-memory overlay",
        "--mount DIR:DIR:rw",
        "network is open",
        "no hardware protection",
    ] {
        assert!(outcome.stderr.contains(word), "{outcome:?}");
    }
    assert_eq!(without_notice(&outcome.stderr), "");
}

#[test]
fn changes_are_lost_or_kept() {
    let scratch = Scratch::new("kept");
    scratch.file("old", "old\n");
    let mount = format!("{0}:{0}:rw", scratch.path().display());
    let script = "echo new > old; mkdir d; echo x > d/y; cat old d/y; ls";
    let good = "new\nx\nd\nold\n";
    let outcome = run(
        bastide_in(scratch.path(), &["run", "-q", "--", "sh", "-c", script]),
        "",
        LIMIT,
    );
    assert_eq!(outcome.stdout, good, "{outcome:?}");
    assert_eq!(fs::read(scratch.path().join("old")).unwrap(), b"old\n");
    assert!(!scratch.path().join("d").exists());
    let outcome = run(
        bastide_in(
            scratch.path(),
            &["run", "-q", "--mount", &mount, "--", "sh", "-c", script],
        ),
        "",
        LIMIT,
    );
    assert_eq!(outcome.stdout, good, "{outcome:?}");
    assert_eq!(fs::read(scratch.path().join("old")).unwrap(), b"new\n");
    assert_eq!(fs::read(scratch.path().join("d/y")).unwrap(), b"x\n");
}

#[test]
fn mounts_of_other_kinds() {
    prints(
        &["--mount", "tmpfs:/mnt/a"],
        "cd /mnt/a && ls -A && echo x > y && cat y",
        "x\n",
    );
    prints(
        &["--mount", "/etc/passwd:/mnt/file"],
        "head -c4 /mnt/file",
        "root",
    );
    prints(
        &["--mount", "/etc:/mnt:overlay"],
        "echo x > /mnt/passwd; cat /mnt/passwd",
        "x\n",
    );
    prints(
        &["--mount", "/usr/share:/new/target"],
        "test -d /new/target/doc && echo there",
        "there\n",
    );
}

#[test]
fn input_and_output_are_the_callers() {
    let outcome = run(
        bastide_in("/".as_ref(), &["run", "-q", "--", "cat"]),
        &"line\n".repeat(50_000),
        LIMIT,
    );
    assert_eq!(outcome.stdout.len(), 250_000, "{:?}", outcome.stderr);
}

/// Who reads the program's output sees its end when the program closes it, not when it exits.
#[test]
fn closed_output_is_closed() {
    let script = "echo x; exec >&-; sleep 1000";
    let mut command = bastide_in("/".as_ref(), &["run", "-q", "--", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(text, "x\n");
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Writing to a pipe that nobody reads ends the program, as natively.
#[test]
fn broken_pipe() {
    let outcome = run(
        bastide_in(
            "/".as_ref(),
            &[
                "run",
                "-q",
                "--",
                "bash",
                "-c",
                "yes | head -1; echo ${PIPESTATUS[0]}",
            ],
        ),
        "",
        LIMIT,
    );
    assert_eq!(outcome.stdout, "y\n141\n", "{outcome:?}");
    let script = format!(
        "{} run -q -- yes | head -1; echo ${{PIPESTATUS[0]}}",
        bastide().display()
    );
    let mut command = command("/bin/bash", "/".as_ref());
    command.args(["-c", &script]);
    let outcome = run(command, "", LIMIT);
    assert_eq!(outcome.stdout, "y\n141\n", "{outcome:?}");
}

#[test]
fn trace_reads_like_strace() {
    let scratch = Scratch::new("trace");
    let file = scratch.path().join("trace");
    let option = format!("--trace={}", file.display());
    let script = "cat /etc/hostname; exit 3";
    let outcome = try_bastide(&["run", "-q", &option, "--", "/bin/sh", "-c", script]);
    assert_eq!(outcome.ending, Ending::Code(3), "{outcome:?}");
    assert_eq!(outcome.stderr, "");
    let trace = fs::read_to_string(&file).unwrap();
    for word in [
        "execve(\"/bin/sh\"",
        "/etc/hostname",
        "openat(AT_FDCWD, ",
        "O_RDONLY",
        ") = 0",
        "exit_group(3)",
        "ENOENT",
    ] {
        assert!(trace.contains(word), "no {word} in\n{trace}");
    }
    let outcome = try_bastide(&["run", "-q", "--trace", "--", "/bin/true"]);
    assert!(outcome.stderr.contains("exit_group(0)"), "{outcome:?}");
    let outcome = try_bastide(&["run", "-q", "--trace=summary", "--", "/bin/true"]);
    assert!(
        outcome.stderr.contains("mmap") && !outcome.stderr.contains("exit_group(0)"),
        "{outcome:?}"
    );
    // Where the calls came from: busy sites have been rewritten, unless that is turned off.
    let busy = "i=0; while [ $i -lt 100 ]; do : < /dev/null; i=$((i + 1)); done";
    let jumps = |script: &str, file: &str, option: &[&str]| {
        let args = ["run", "-q", "--trace=summary"].iter().chain(option);
        let args: Vec<&str> = args
            .chain(&["--", "/bin/sh", "-c", script])
            .copied()
            .collect();
        let outcome = try_bastide(&args);
        let sites = outcome.stderr.lines().skip_while(|l| !l.ends_with(" site"));
        let own = sites.filter(|l| l.contains(file));
        let jumps = own.map(|l| l.split_whitespace().nth(1).unwrap().parse::<u32>().unwrap());
        jumps
            .max()
            .unwrap_or_else(|| panic!("no site in {outcome:?}"))
    };
    assert!(jumps(busy, "/libc.so.6+0x", &[]) > 50);
    assert_eq!(jumps(busy, "/libc.so.6+0x", &["--no-patch"]), 0);
    // What a program does again, be it ever so short, has been rewritten before it starts.
    let again = "i=0; while [ $i -lt 30 ]; do /bin/true; i=$((i + 1)); done";
    assert!(jumps(again, "/ld-linux-x86-64.so.2+0x", &[]) > 100);
    assert_eq!(jumps(again, "/ld-linux-x86-64.so.2+0x", &["--no-patch"]), 0);
}

#[test]
fn doctor() {
    let outcome = try_bastide(&["doctor"]);
    assert_eq!(outcome.ending, Ending::Code(0), "{outcome:?}");
    assert!(
        outcome.stdout.contains("No hardware protection"),
        "{outcome:?}"
    );
    let outcome = try_bastide(&["doctor", "--host-calls"]);
    assert!(outcome.stdout.contains("futex"), "{outcome:?}");
}

#[test]
fn two_at_once() {
    let run_one = |n: u32| {
        std::thread::spawn(move || {
            let script = format!("for i in $(seq 50); do echo {n} $i | cat; done; echo $$");
            try_bastide(&["run", "-q", "--", "bash", "-c", &script])
        })
    };
    let (a, b) = (run_one(1), run_one(2));
    for (n, outcome) in [(1, a.join().unwrap()), (2, b.join().unwrap())] {
        let lines: Vec<_> = (1..=50).map(|i| format!("{n} {i}\n")).collect();
        assert_eq!(outcome.stdout, lines.concat() + "1\n", "{outcome:?}");
    }
}
