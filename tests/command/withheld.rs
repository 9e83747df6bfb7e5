//! What the host withholds: memory, disk space, descriptors, calls. Each is told with a remedy, or
//! reaches the program as the error that it is; nothing hangs, and nothing is a panic.

use crate::{LIMIT, bastide_in};
use bastide_tests::{Ending, Outcome, Scratch, bastide, command, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `bastide run -q` with these arguments in a shell that first does `before`.
fn after(before: &str, args: &str) -> Outcome {
    let mut shell = command("sh", Path::new("/"));
    let script = format!("{before}; exec {} run -q {args}", bastide().display());
    shell.args(["-c", &script]);
    run(shell, "", LIMIT)
}

#[track_caller]
fn says(outcome: &Outcome, code: i32, words: &[&str]) {
    assert_eq!(outcome.ending, Ending::Code(code), "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "no `{word}` in {outcome:?}");
    }
    assert!(!outcome.stderr.contains("panic"), "{outcome:?}");
}

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// Runs `bastide` where one system call (with this first argument, if any) fails with EPERM.
fn without(call: u32, argument: Option<u32>, args: &[&str]) -> Outcome {
    const DENY: &str = r#"
import ctypes, os, struct, sys
call, argument = sys.argv[1:3]
load, equal, done = 0x20, 0x15, 0x06
refuse = (done, 0, 0, 0x50001)
if argument:
    program = [(load, 0, 0, 0), (equal, 0, 3, int(call)), (load, 0, 0, 16), (equal, 0, 1, int(argument)), refuse]
else:
    program = [(load, 0, 0, 0), (equal, 0, 1, int(call)), refuse]
program.append((done, 0, 0, 0x7fff0000))
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))
prctl = ctypes.CDLL(None).prctl
assert prctl(38, 1, 0, 0, 0) == 0
assert prctl(22, 2, ctypes.c_ulong(ctypes.addressof(head)), 0, 0) == 0
os.execv(sys.argv[3], sys.argv[3:])
"#;
    let mut python = command("python3", Path::new("/"));
    let argument = argument.map_or(String::new(), |argument| argument.to_string());
    python
        .args(["-c", DENY, &call.to_string(), &argument])
        .arg(bastide())
        .args(args);
    run(python, "", LIMIT)
}

const PRCTL: u32 = 157;
const PR_SET_SECCOMP: u32 = 22;
const PR_SET_NO_NEW_PRIVS: u32 = 38;
const MEMFD_CREATE: u32 = 319;
const OPENAT2: u32 = 437;

#[test]
fn no_permission_for_seccomp() {
    let echo = ["run", "-q", "--", "/bin/echo", "ran"];
    let outcome = without(PRCTL, Some(PR_SET_SECCOMP), &echo);
    let words = ["seccomp", "container's profile", "bastide doctor"];
    says(&outcome, 125, &words);
    assert_eq!(outcome.stdout, "");
    // Refused only once it is really asked for.
    let outcome = without(PRCTL, Some(PR_SET_NO_NEW_PRIVS), &echo);
    says(&outcome, 125, &["seccomp", "container profile"]);
    assert_eq!(outcome.stdout, "");
    let outcome = without(PRCTL, Some(PR_SET_SECCOMP), &["doctor"]);
    assert_eq!(outcome.ending, Ending::Code(1), "{outcome:?}");
    assert!(outcome.stdout.contains("missing  seccomp"), "{outcome:?}");
}

#[test]
fn other_calls_that_the_host_refuses() {
    let echo = ["run", "-q", "--", "/bin/echo", "ran"];
    let outcome = without(OPENAT2, None, &echo);
    says(&outcome, 125, &["openat2", "Linux 5.6"]);
    let outcome = without(MEMFD_CREATE, None, &echo);
    says(&outcome, 125, &["memfd_create"]);
}

#[test]
fn address_space_is_limited() {
    let outcome = after("ulimit -v 1000000", "-- /bin/echo ran");
    says(&outcome, 125, &["Cannot allocate memory", "`ulimit -v`"]);
    // Room for the enclave and little more: the program is told.
    let program = "try: bytearray(1 << 30)\nexcept MemoryError: print(\"told\")";
    let outcome = after("ulimit -v 537500000", &format!("-- python3 -c '{program}'"));
    says(&outcome, 0, &[]);
    assert_eq!(outcome.stdout, "told\n", "{outcome:?}");
}

/// The limit for files holds for the program, not for the enclave's own memory; unless the host
/// leaves no choice.
#[test]
fn file_size_is_limited() {
    let script = "-- sh -c 'head -c 100000 /dev/zero > /tmp/file; echo $?; wc -c < /tmp/file'";
    let outcome = after("ulimit -Sf 10", script);
    says(&outcome, 0, &["File size limit exceeded"]);
    assert!(outcome.stdout.starts_with("153\n"), "{outcome:?}");
    let outcome = after("ulimit -f 10", "-- /bin/echo ran");
    says(&outcome, 125, &["File too large", "`ulimit -f`"]);
}

#[test]
fn few_open_files() {
    for limit in [6, 8, 10, 12] {
        let outcome = after(&format!("ulimit -n {limit}"), "-- /bin/echo ran");
        let Ending::Code(code @ (125 | 126)) = outcome.ending else {
            panic!("{limit}: {outcome:?}");
        };
        says(&outcome, code, &["open files", "`ulimit -n`"]);
    }
}

#[test]
fn no_more_processes() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("no-processes");
    // It may lie below a directory that only root may enter.
    let copy = scratch.path().join("bastide");
    fs::copy(bastide(), &copy).unwrap();
    let limited = |limit: u32, program: &str| {
        let mut shell = command("setpriv", scratch.path());
        let script = format!(
            "ulimit -u {limit}; exec {} run -q -- {program}",
            copy.display()
        );
        // A user of its own, so that nobody else's processes count.
        shell.args(["--reuid", "54321", "--regid", "54321", "--clear-groups"]);
        shell.args(["bash", "-c", &script]);
        run(shell, "", LIMIT)
    };
    let outcome = limited(1, "/bin/echo ran");
    says(&outcome, 125, &["first process", "`ulimit -u`"]);
    // Timers have a process of the kernel's own.
    let outcome = limited(2, "perl -e 'alarm 60; sleep 60'");
    says(&outcome, 125, &["another process", "`ulimit -u`"]);
}

/// A control group of this test's own that may use so many bytes of memory.
struct Group(PathBuf);

impl Group {
    fn new(name: &str, bytes: u64) -> Option<Group> {
        let places = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        places.iter().find_map(|(top, limit)| {
            let dir = Path::new(top).join(format!("bastide-{name}-{}", std::process::id()));
            fs::create_dir(&dir).ok()?;
            let group = Group(dir);
            fs::write(group.0.join(limit), bytes.to_string()).ok()?;
            Some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The host has no more memory: it kills, and the person is told what, and why perhaps.
#[test]
fn host_is_out_of_memory() {
    let Some(group) = Group::new("memory", 200 << 20) else {
        eprintln!("skipped: needs a control group for memory");
        return;
    };
    let enter = format!("echo $$ > {}/cgroup.procs", group.0.display());
    let outcome = after(&enter, "-- /bin/echo ran");
    assert_eq!(outcome.stdout, "ran\n", "{outcome:?}");
    let words = ["SIGKILL", "out of memory?"];
    // The application's own memory, and files in the enclave's.
    let outcome = after(&enter, "-- python3 -c 'bytearray(400 << 20)'");
    says(&outcome, 125, &words);
    let outcome = after(
        &enter,
        "-- sh -c 'head -c 400000000 /dev/zero > /dev/shm/file'",
    );
    says(&outcome, 125, &words);
}

/// A host directory on a full disk, by every way that needs space.
#[test]
fn full_host_disk() {
    if !root() {
        return;
    }
    const PROGRAM: &str = r#"
import ctypes, errno, mmap, os
def tell(what, call):
    try: print(what, call())
    except OSError as e: print(what, errno.errorcode[e.errno])
fd = os.open("file", os.O_RDWR | os.O_CREAT)
def fill():
    written = 0
    while True:
        try: written += os.write(fd, b"x" * 65536)
        except OSError as e: return written, errno.errorcode[e.errno]
tell("fill", fill)
tell("size", lambda: os.fstat(fd).st_size)
tell("write", lambda: os.pwrite(fd, b"y" * 8192, 1 << 20))
tell("symlink", lambda: os.symlink("x" * 3000, "link"))
tell("fallocate", lambda: os.posix_fallocate(fd, 0, 1 << 22))
tell("truncate", lambda: os.ftruncate(fd, 1 << 22))
tell("fsync", lambda: os.fsync(fd))
# In a mapped hole a store is SIGBUS, a call's write is EFAULT.
hole = (ctypes.c_char * (1 << 22)).from_buffer(mmap.mmap(fd, 1 << 22))
zero = os.open("/dev/zero", os.O_RDONLY)
libc = ctypes.CDLL(None, use_errno=True)
print("read", libc.read(zero, ctypes.byref(hole, 1 << 21), 4096), errno.errorcode[ctypes.get_errno()])
child = os.fork()
if child == 0:
    hole[1 << 21] = b"x"
    os._exit(0)
print("store", os.WTERMSIG(os.waitpid(child, 0)[1]))
os.ftruncate(fd, 0)
tell("write again", lambda: os.pwrite(fd, b"y" * 8192, 0))
"#;
    let scratch = Scratch::new("full-disk");
    scratch.file("program.py", PROGRAM);
    let here = scratch.path().display();
    let full = |prefix: &str| {
        let mut shell = command("unshare", scratch.path());
        let script = format!(
            "mkdir -p full; mount -t tmpfs -o size=1m none full; cd full; exec {prefix} python3 {here}/program.py"
        );
        shell.args(["--mount", "sh", "-c", &script]);
        run(shell, "", LIMIT)
    };
    let inside = format!(
        "{} run -q --mount {here}:{here}:rw --mount {here}/full:{here}/full:rw --cwd {here}/full --",
        bastide().display()
    );
    let (native, inside) = (full(""), full(&inside));
    assert!(native.stdout.contains("write ENOSPC"), "{native:?}");
    assert_eq!(native, inside);
}

/// What the kernel itself writes, to a full disk: the program runs on.
#[test]
fn trace_and_messages_on_a_full_disk() {
    let args = ["run", "-q", "--trace=/dev/full", "--", "/bin/echo", "ran"];
    let outcome = run(bastide_in(Path::new("/"), &args), "", LIMIT);
    says(&outcome, 0, &["trace is not complete", "ENOSPC"]);
    assert_eq!(outcome.stdout, "ran\n");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    let outcome = after("exec 2> /dev/full", "--log debug -- /bin/echo ran");
    assert_eq!(outcome.stdout, "ran\n", "{outcome:?}");
    says(&outcome, 0, &[]);
    let mut shell: Command = command("sh", Path::new("/"));
    shell.args([
        "-c",
        &format!(
            "{} run -q -- /bin/echo ran > /dev/full",
            bastide().display()
        ),
    ]);
    says(&run(shell, "", LIMIT), 1, &["No space left on device"]);
}
