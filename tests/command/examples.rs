//! The manifests that come with Bastide are sound, and do what their comments say.

use crate::{LIMIT, bastide_in};
use bastide_tests::{Ending, run};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

fn manifests() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    path.canonicalize().unwrap()
}

#[track_caller]
fn prints(args: &[&str], expected: &str) {
    let args = [&["run"], args].concat();
    let outcome = run(bastide_in(&manifests(), &args), "", LIMIT);
    assert_eq!(
        (outcome.stdout.as_str(), outcome.ending),
        (expected, Ending::Code(0)),
        "{outcome:?}"
    );
    assert_eq!(outcome.stderr, "");
}

#[test]
fn all_are_sound() {
    let mut names: Vec<_> = std::fs::read_dir(manifests())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    names.sort();
    assert!(names.len() >= 4);
    let mut args = vec!["check"];
    args.extend(names.iter().map(String::as_str));
    let outcome = run(bastide_in(&manifests(), &args), "", LIMIT);
    assert_eq!(outcome.ending, Ending::Code(0), "{outcome:?}");
    assert_eq!(outcome.stdout.matches(": ok").count(), names.len());
}

#[test]
fn shell() {
    prints(
        &[
            "shell.toml",
            "--",
            "-c",
            "echo $HOME $LD_PRELOAD$USER; pwd; uname -n",
        ],
        "/root\n/root\nbastide\n",
    );
}

#[test]
fn python_sees_usr_and_nothing_else() {
    let program =
        "import os; print(sorted(os.listdir('/')), os.path.exists('/etc/passwd'), sum(range(10)))";
    let expected = "['bin', 'dev', 'lib', 'lib64', 'proc', 'sys', 'tmp', 'usr'] False 45\n";
    prints(&["python.toml", "--", "-c", program], expected);
    let program = "open('/tmp/x', 'w').write('x'); print(open('/tmp/x').read())\ntry: open('/usr/x', 'w')\nexcept OSError as e: print(e.errno)";
    prints(&["python.toml", "--", "-c", program], "x\n30\n");
}

#[test]
fn script() {
    let outcome = run(bastide_in(&manifests(), &["run", "script.toml"]), "", LIMIT);
    assert!(
        outcome.stdout.contains("script.toml") && outcome.stdout.contains(" total\n"),
        "{outcome:?}"
    );
}

/// The published port answers; what the manifest does not name cannot be reached.
#[test]
fn web() {
    let mut command = bastide_in(&manifests(), &["run", "web.toml"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + LIMIT;
    let reply = loop {
        assert!(child.try_wait().unwrap().is_none(), "the server ended");
        if let Ok(mut stream) = TcpStream::connect("127.0.0.1:8080") {
            let _ = stream.write_all(b"GET /web.toml HTTP/1.0\r\n\r\n");
            let mut reply = String::new();
            if stream.read_to_string(&mut reply).is_ok() && !reply.is_empty() {
                break reply;
            }
        }
        assert!(Instant::now() < deadline, "the server does not answer");
        std::thread::sleep(Duration::from_millis(50));
    };
    let _ = child.kill();
    let _ = child.wait();
    assert!(
        reply.starts_with("HTTP/1.0 200") && reply.contains("http.server"),
        "{reply}"
    );
}
