//! Programs on a sealed volume: what they keep, what a kill leaves, what is refused.

use crate::group::Group;
use crate::{LIMIT, bastide_in};
use bastide_tests::{Ending, Outcome, Scratch, command, compile_c, run};
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A volume `v` of this size with its key, and a manifest that mounts it at /data, with more lines
/// for the mount.
fn sealed(name: &str, size: &str, more: &str) -> Scratch {
    let scratch = Scratch::new(name);
    scratch.file("key", [3; 32]);
    let args = ["volume", "create", "v", "--size", size, "--key-file", "key"];
    let made = run(bastide_in(scratch.path(), &args), "", LIMIT);
    assert_eq!(made.ending, Ending::Code(0), "{made:?}");
    manifest(&scratch, more);
    scratch
}

fn manifest(scratch: &Scratch, more: &str) {
    let text = format!(
        "program = \"/bin/sh\"\n[[mount]]\ntarget = \"/\"\ntype = \"overlay\"\nsource = \"/\"\n\
         [[mount]]\ntarget = \"/scratch\"\nsource = \".\"\n\
         [[mount]]\ntarget = \"/data\"\ntype = \"volume\"\nsource = \"v\"\n{more}\n"
    );
    scratch.file("m.toml", text);
}

fn inside(scratch: &Scratch, script: &str) -> Outcome {
    let args = ["run", "m.toml", "--", "-ec", script];
    run(bastide_in(scratch.path(), &args), "", LIMIT)
}

/// Runs a script inside, which must succeed; what it printed.
#[track_caller]
fn good(scratch: &Scratch, script: &str) -> String {
    let outcome = inside(scratch, script);
    assert_eq!(outcome.ending, Ending::Code(0), "{outcome:?}");
    outcome.stdout
}

fn check(scratch: &Scratch) -> Outcome {
    let args = ["volume", "fsck", "v", "--key-file", "key"];
    run(bastide_in(scratch.path(), &args), "", LIMIT)
}

#[track_caller]
fn fsck(scratch: &Scratch) {
    let outcome = check(scratch);
    assert!(outcome.stdout.contains(" 0 problems"), "{outcome:?}");
}

#[test]
fn files_stay() {
    let scratch = sealed(
        "sealed-files",
        "64M",
        "key_file = \"key\"\nanchor = \"anchor\"",
    );
    good(
        &scratch,
        "cd /data; mkdir -p a/b; echo one > a/f; ln a/f a/b/g; ln -s f a/l; mkfifo p
         cp /bin/ls tool; ./tool a; mv a/b c; chmod 640 a/f; touch -d @1000000000 a/f
         seq 20000 > lines; truncate -s 30000 lines; truncate -s 1000000 lines",
    );
    let seen = good(
        &scratch,
        "cd /data; stat -c '%n %A %h %s' a/f c/g a/l p; stat -c %Y a/f; cat c/g; readlink a/l
         ./tool; md5sum < lines; df -T . | grep -c volume",
    );
    let lines: String = (1..=20000).map(|n| format!("{n}\n")).collect();
    let mut bytes = lines.into_bytes();
    bytes.truncate(30000);
    bytes.resize(1_000_000, 0);
    fs::write(scratch.path().join("lines"), bytes).unwrap();
    let mut sum = bastide_tests::command("/usr/bin/md5sum", scratch.path());
    sum.stdin(Stdio::null()).arg("lines");
    let sum = run(sum, "", LIMIT).stdout.replace("lines", "-");
    let expected = format!(
        "a/f -rw-r----- 2 4\nc/g -rw-r----- 2 4\na/l lrwxrwxrwx 1 1\np prw-r--r-- 1 0\n1000000000\n\
         one\nf\na\nc\nlines\np\ntool\n{sum}1\n"
    );
    assert_eq!(seen, expected);
    fsck(&scratch);
}

/// `cp -p` and `mv` set a mode as an access control list, and by the mode itself where there are none.
#[test]
fn what_is_moved_in_keeps_its_mode() {
    let scratch = sealed("sealed-modes", "8M", "key_file = \"key\"");
    let script = "mkdir -m 751 /tmp/d; echo x > /tmp/d/f; chmod 640 /tmp/d/f; mv /tmp/d /data
                  stat -c %a /data/d /data/d/f";
    assert_eq!(good(&scratch, script), "751\n640\n");
}

#[test]
fn a_mapping_and_a_descriptor_see_the_same() {
    let scratch = sealed("sealed-mmap", "16M", "key_file = \"key\"");
    let script = r#"
import mmap, os, random
f = open("/data/f", "w+b", buffering=0)
size = 200000
f.truncate(size)
m = mmap.mmap(f.fileno(), size)
model = bytearray(size)
r = random.Random(1)
for step in range(3000):
    at, n = r.randrange(size), r.randrange(1, 9000)
    n = min(n, size - at)
    data = bytes([r.randrange(256)]) * n
    what = r.randrange(5)
    if what == 0:
        m[at:at + n] = data
        model[at:at + n] = data
    elif what == 1:
        assert os.pwrite(f.fileno(), data, at) == n
        model[at:at + n] = data
    elif what == 2:
        assert m[at:at + n] == bytes(model[at:at + n]), step
    elif what == 3:
        assert os.pread(f.fileno(), n, at) == bytes(model[at:at + n]), step
    elif step % 20 == 0:
        r.choice([m.flush, lambda: os.fsync(f.fileno()), os.sync])()
open("/data/model", "wb").write(model)
"#;
    scratch.file("map.py", script);
    good(&scratch, "python3 /scratch/map.py");
    good(&scratch, "cmp /data/f /data/model");
    fsck(&scratch);
}

#[test]
fn a_mapped_file_is_as_on_linux() {
    let scratch = sealed("sealed-mapped", "64M", "key_file = \"key\"");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = root.join("programs/c/mapped_file.c");
    compile_c(&source, &scratch.path().join("program")).unwrap();
    let mut native = command(scratch.path().join("program"), scratch.path());
    native.stdin(Stdio::null());
    let native = run(native, "", LIMIT);
    assert_eq!(native.ending, Ending::Code(0), "{native:?}");
    let seen = good(&scratch, "cd /data; /scratch/program");
    assert_eq!(seen, native.stdout);
    assert_eq!(good(&scratch, "cmp /data/file /scratch/file"), "");
    fsck(&scratch);
}

#[test]
fn changes_reach_the_disk_by_themselves() {
    let scratch = sealed("sealed-idle", "16M", "key_file = \"key\"");
    scratch.file(
        "w.py",
        r#"
import mmap, os, time
f = open("/data/f", "w+b", buffering=0)
f.write(b"written\n")
m = mmap.mmap(f.fileno(), 8)
m[0:5] = b"first"
m.flush()
# From here on nothing but the mapping changes.
m[0:5] = b"later"
print("ready", flush=True)
time.sleep(600)
"#,
    );
    let script = "exec python3 /scratch/w.py";
    let command = bastide_in(scratch.path(), &["run", "m.toml", "--", "-c", script]);
    let mut group = Group::start(command, Stdio::null());
    assert_eq!(group.lines.next().expect("a line").unwrap(), "ready");
    // What the disk has now is what a power cut would leave.
    let deadline = Instant::now() + LIMIT;
    let mut seen = Vec::new();
    while seen != b"lateren\n" && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(500));
        fs::copy(scratch.path().join("v"), scratch.path().join("copy")).unwrap();
        let _ = fs::remove_file(scratch.path().join("got"));
        let args = ["volume", "get", "copy", "/f", "got", "--key-file", "key"];
        run(bastide_in(scratch.path(), &args), "", LIMIT);
        seen = fs::read(scratch.path().join("got")).unwrap_or_default();
    }
    group.kill();
    assert_eq!(String::from_utf8_lossy(&seen), "lateren\n");
}

#[test]
fn databases_and_repositories() {
    let scratch = sealed("sealed-programs", "64M", "key_file = \"key\"");
    let script = r#"
import sqlite3
for mode in ("delete", "wal"):
    c = sqlite3.connect("/data/" + mode)
    c.execute("pragma journal_mode=" + mode)
    c.execute("create table if not exists t(a, b)")
    for i in range(20):
        c.execute("insert into t values(?, ?)", (i, "x" * 900))
        c.commit()
    print(c.execute("select count(*) from t").fetchone()[0], c.execute("pragma integrity_check").fetchone()[0])
"#;
    scratch.file("db.py", script);
    let python = "python3 /scratch/db.py";
    assert_eq!(good(&scratch, python), "20 ok\n20 ok\n");
    assert_eq!(good(&scratch, python), "40 ok\n40 ok\n");
    if !std::path::Path::new("/usr/bin/git").exists() {
        eprintln!("no git: skipped");
        return;
    }
    good(
        &scratch,
        "cd /data; git init -q r; cd r; git config user.email a@b; git config user.name n
         for i in $(seq 200); do seq $i > f$i; done; git add .; git commit -qm one
         rm f1*; git commit -qam two; git gc -q",
    );
    let seen = good(
        &scratch,
        "cd /data/r; git fsck --full; git status --short; git log --oneline | wc -l; git ls-files | wc -l",
    );
    assert_eq!(seen, "2\n89\n");
    fsck(&scratch);
}

#[test]
fn what_was_synced_survives_a_kill() {
    let scratch = sealed("sealed-kill", "16M", "key_file = \"key\"");
    scratch.file(
        "w.py",
        r#"
import os, sys
start = int(sys.argv[1])
log = os.open("/data/log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
os.fsync(os.open("/data", os.O_RDONLY))
for n in range(start, start + 100000):
    os.write(log, b"%08d\n" % n)
    if n % 7 == 0:
        f = os.open("/data/tmp", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.write(f, b"%d" % n * 1000)
        os.close(f)
        os.rename("/data/tmp", "/data/f%d" % (n % 50))
    os.fsync(log)
    print(n, flush=True)
"#,
    );
    let mut next = 0_u64;
    for round in 0..6_u64 {
        let line = format!("exec python3 /scratch/w.py {next}");
        let command = bastide_in(scratch.path(), &["run", "m.toml", "--", "-c", &line]);
        let mut group = Group::start(command, Stdio::null());
        let mut last = next;
        for _ in 0..10 + round * 13 % 40 {
            let n = group.lines.next().expect("it goes on").unwrap();
            last = n.parse().unwrap();
        }
        group.kill();
        // What it printed before it died counts too.
        for n in group.lines.map_while(Result::ok) {
            last = n.parse().unwrap_or(last);
        }
        // The last of its processes may still be dying, and hold the file.
        let deadline = Instant::now() + LIMIT;
        while check(&scratch).stderr.contains("in use") && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        fsck(&scratch);
        let log = good(&scratch, "cat /data/log");
        let numbers: Vec<u64> = log.lines().map(|l| l.parse().unwrap()).collect();
        let expected: Vec<u64> = (0..numbers.len() as u64).collect();
        assert_eq!(numbers, expected, "round {round}: whole and in order");
        assert!(
            numbers.len() as u64 > last,
            "round {round}: {last} was synced, {}",
            numbers.len()
        );
        next = numbers.len() as u64;
    }
}

#[test]
fn a_full_volume_can_be_emptied() {
    let scratch = sealed("sealed-full", "2M", "key_file = \"key\"");
    let seen = good(
        &scratch,
        "cd /data; dd if=/dev/urandom of=a bs=64k 2>&1 | grep -o 'No space left.*'
         echo x > b 2>/dev/null || true; rm a; dd if=/dev/urandom of=c bs=64k count=10 2>/dev/null
         stat -c %s c; rm -f *; ls | wc -l",
    );
    assert_eq!(seen, "No space left on device\n655360\n0\n");
    fsck(&scratch);
}

#[test]
fn what_cannot_be_mounted_is_said() {
    let scratch = sealed("sealed-refused", "1M", "");
    let refused = |more: &str, words: &[&str]| {
        manifest(&scratch, more);
        let outcome = inside(&scratch, "echo started");
        assert_eq!(outcome.ending, Ending::Code(125), "{outcome:?}");
        for word in words.iter().chain(&["m.toml:"]) {
            assert!(outcome.stderr.contains(word), "no `{word}` in {outcome:?}");
        }
    };
    refused("", &["a volume needs one key", "key_file"]);
    refused("key_file = \"no-such\"", &["no-such", "No such file"]);
    scratch.file("other", [4; 32]);
    refused("key_file = \"other\"", &["does not open this volume"]);
    refused("key_env = \"NO_SUCH\"", &["NO_SUCH is not set"]);
    refused(
        "key_file = \"key\"\nsize = \"3M\"",
        &["`size` is for mounts"],
    );

    // An older volume is found out by the kernel, which alone can open its root.
    manifest(&scratch, "key_file = \"key\"\nanchor = \"anchor\"");
    let old = fs::read(scratch.path().join("v")).unwrap();
    good(&scratch, "echo x > /data/f");
    fs::write(scratch.path().join("v"), old).unwrap();
    let outcome = inside(&scratch, "echo started");
    assert!(
        outcome.ending != Ending::Code(0) && outcome.stdout.is_empty(),
        "{outcome:?}"
    );
    assert!(
        outcome
            .stderr
            .contains("this volume is older than its anchor"),
        "{outcome:?}"
    );
    fs::remove_file(scratch.path().join("anchor")).unwrap();

    manifest(&scratch, "key_file = \"key\"\nread_only = true");
    let seen = good(&scratch, "touch /data/x 2>&1 || ls -a /data");
    assert!(seen.contains("Read-only file system"), "{seen}");
}
