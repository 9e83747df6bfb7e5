//! What is wrong is said, with the cause and the remedy, and the exit code tells whose fault it is.

use crate::{LIMIT, bastide_in, try_bastide};
use bastide_tests::{Ending, Scratch, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Runs it, expects this exit code and all of these words on standard error.
#[track_caller]
fn refused(args: &[&str], code: i32, words: &[&str]) {
    let outcome = try_bastide(args);
    assert_eq!(outcome.ending, Ending::Code(code), "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "no `{word}` in {outcome:?}");
    }
    assert!(!outcome.stderr.contains("panic"), "{outcome:?}");
}

#[test]
fn nothing_to_run() {
    refused(&["run"], 125, &["nothing to run", "bastide run -- /bin/sh"]);
}

#[test]
fn unknown_option() {
    refused(
        &["run", "--trce", "--", "true"],
        125,
        &["--trce", "--trace"],
    );
}

#[test]
fn forgotten_dashes() {
    refused(&["run", "ls", "-l"], 125, &["put `--` before it"]);
}

#[test]
fn missing_manifest() {
    let words = ["/nonexistent.toml", "No such file", "bastide run -- "];
    refused(&["run", "/nonexistent.toml"], 125, &words);
}

#[test]
fn manifest_that_is_not_toml() {
    let scratch = Scratch::new("not-toml");
    let path = scratch.file("m.toml", "program = \"sh\"\nargs = [\"a\"\n");
    let path = path.to_str().unwrap();
    refused(&["run", path], 125, &["not TOML", "m.toml:", " | "]);
    refused(&["run", "/bin/true"], 125, &["not a text file", "`--`"]);
}

#[test]
fn unknown_key() {
    let scratch = Scratch::new("unknown-key");
    let path = scratch.file("m.toml", "program = \"sh\"\n\n[limits]\nnofiles = 3\n");
    let path = path.to_str().unwrap();
    let words = [
        "unknown key `nofiles`",
        "m.toml:4:1",
        "^^^^^^^",
        "did you mean `nofile`?",
    ];
    refused(&["run", path], 125, &words);
    refused(&["check", path], 125, &words);
}

#[test]
fn missing_program() {
    refused(
        &["run", "--", "/nonexistent/program"],
        127,
        &["/nonexistent/program"],
    );
    refused(&["run", "--", "no-such-program"], 127, &["no-such-program"]);
}

#[test]
fn program_that_is_a_directory() {
    refused(&["run", "--", "/usr"], 126, &["/usr"]);
}

#[test]
fn program_that_is_not_executable() {
    refused(&["run", "--", "/etc/passwd"], 126, &["/etc/passwd"]);
}

#[test]
fn missing_working_directory() {
    refused(
        &["run", "--cwd", "/nonexistent", "--", "/bin/true"],
        125,
        &["/nonexistent"],
    );
}

/// A program for another processor, and one cut short at each place where its parts end.
#[test]
fn malformed_programs() {
    let scratch = Scratch::new("malformed");
    let good = fs::read("/bin/true").unwrap();
    let mut arm = good.clone();
    arm[18] = 183;
    let mut broken = good.clone();
    broken[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut huge = good.clone();
    huge[56..58].copy_from_slice(&0xffffu16.to_le_bytes());
    let cases: [(&str, &[u8]); 7] = [
        ("arm", &arm),
        ("headers-nowhere", &broken),
        ("too-many-headers", &huge),
        ("cut-in-header", &good[..20]),
        ("cut-in-program-headers", &good[..100]),
        ("empty", b""),
        ("interpreter-missing", b"#!/nonexistent/interpreter\n"),
    ];
    for (name, bytes) in cases {
        let path = scratch.file(name, bytes);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let outcome = try_bastide(&["run", "--", path.to_str().unwrap()]);
        let code = if name == "interpreter-missing" {
            127
        } else {
            126
        };
        assert_eq!(outcome.ending, Ending::Code(code), "{name}: {outcome:?}");
        assert!(outcome.stderr.contains(name), "{name}: {outcome:?}");
        assert!(!outcome.stderr.contains("panic"), "{name}: {outcome:?}");
    }
}

/// Cut anywhere, a program is refused or dies as it does natively; Bastide never fails itself.
#[test]
fn truncated_programs_end_as_natively() {
    let scratch = Scratch::new("truncated");
    let good = fs::read("/bin/true").unwrap();
    for eighth in 1..8 {
        let path = scratch.file("program", &good[..good.len() * eighth / 8]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let native = run(Command::new(&path), "", LIMIT);
        let inside = try_bastide(&["run", "--quiet", "--", path.to_str().unwrap()]);
        assert_eq!(
            native.ending, inside.ending,
            "{eighth}/8: {native:?} {inside:?}"
        );
    }
}

#[test]
fn mounts_that_cannot_be() {
    let missing = ["/nonexistent", "No such file", "--mount"];
    refused(
        &["run", "--mount", "/nonexistent:/x", "--", "true"],
        125,
        &missing,
    );
    refused(
        &["run", "--mount", "x", "--", "true"],
        125,
        &["SOURCE:TARGET", "--mount x"],
    );
    refused(
        &["run", "--mount", "/:relative", "--", "true"],
        125,
        &["not an absolute path"],
    );
    refused(
        &[
            "run", "--mount", "tmpfs:/a", "--mount", "tmpfs:/a", "--", "true",
        ],
        125,
        &["mounted twice"],
    );
}

#[test]
fn unreadable_mount() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root to become somebody else");
        return;
    }
    let scratch = Scratch::new("unreadable");
    let secret = scratch.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
    // Root may read anything; somebody else may not.
    let mount = format!("{}:/x", secret.display());
    // The executable may lie below a directory that only root may enter.
    let copy = scratch.path().join("bastide");
    fs::copy(bastide_tests::bastide(), &copy).unwrap();
    let mut command = bastide_tests::command(&copy, scratch.path());
    command
        .args(["run", "--mount", &mount, "--", "true"])
        .uid(65534)
        .gid(65534);
    let outcome = run(command, "", LIMIT);
    assert_eq!(outcome.ending, Ending::Code(125), "{outcome:?}");
    assert!(outcome.stderr.contains("Permission denied"), "{outcome:?}");
    assert!(
        outcome.stderr.contains("must be able to read it"),
        "{outcome:?}"
    );
}

#[test]
fn unknown_user() {
    refused(
        &["run", "--user", "nobody-here", "--", "true"],
        125,
        &["nobody-here", "1000:1000"],
    );
}

#[test]
fn trace_file_that_cannot_be_written() {
    refused(
        &["run", "--trace=/nonexistent/x", "--", "true"],
        125,
        &["/nonexistent/x"],
    );
}

/// Memory runs out inside: the program is told, or ends; the command does not hang.
#[test]
fn out_of_memory() {
    let program = "x = []\ntry:\n    while True: x.append(bytearray(1 << 24))\nexcept MemoryError:\n    print('told')";
    let scratch = Scratch::new("memory");
    let manifest = scratch.file(
        "m.toml",
        "program = \"/usr/bin/python3\"\n[limits]\nas = \"600M\"\n[[mount]]\ntarget = \"/\"\ntype = \"overlay\"\nsource = \"/\"\n",
    );
    let args = ["run", manifest.to_str().unwrap(), "--", "-c", program];
    let outcome = try_bastide(&args);
    assert_eq!(
        (outcome.stdout.as_str(), outcome.ending),
        ("told\n", Ending::Code(0)),
        "{outcome:?}"
    );
}

/// A full file system is ENOSPC.
#[test]
fn full_disk() {
    let script = "head -c 3000000 /dev/zero > /full/file; echo $?; wc -c < /full/file; rm /full/file; echo x > /full/y && echo again";
    let outcome = try_bastide(&[
        "run",
        "-q",
        "--mount",
        "tmpfs:/full:1M",
        "--",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(outcome.stdout, "1\n1048576\nagain\n", "{outcome:?}");
    assert!(
        outcome.stderr.contains("No space left on device"),
        "{outcome:?}"
    );
}

/// Read-only is EROFS, and nothing reaches the host.
#[test]
fn read_only_mount() {
    let scratch = Scratch::new("read-only");
    scratch.file("old", "old");
    let mount = format!("{}:/data", scratch.path().display());
    let script =
        "echo new > /data/old; echo new > /data/new; rm /data/old; mkdir /data/d; cat /data/old";
    let outcome = run(
        bastide_in(
            scratch.path(),
            &["run", "-q", "--mount", &mount, "--", "sh", "-c", script],
        ),
        "",
        LIMIT,
    );
    assert_eq!(outcome.stdout, "old", "{outcome:?}");
    assert_eq!(
        outcome.stderr.matches("Read-only file system").count(),
        4,
        "{outcome:?}"
    );
    assert_eq!(fs::read(scratch.path().join("old")).unwrap(), b"old");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
}
