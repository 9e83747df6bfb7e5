//! `bastide volume`: what goes in comes out, and mistakes are told.

use crate::{LIMIT, bastide_in, refused};
use bastide_tests::{Ending, Outcome, Scratch, command, run, tree};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Runs `bastide volume` in the scratch directory.
fn volume(scratch: &Scratch, args: &[&str], input: &str) -> Outcome {
    let args = [&["volume"], args].concat();
    run(bastide_in(scratch.path(), &args), input, LIMIT)
}

/// The same, and it must succeed; what it printed.
#[track_caller]
fn good(scratch: &Scratch, args: &[&str]) -> String {
    crate::good(&volume(scratch, args, "")).to_owned()
}

fn with_volume(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    scratch.file("key", [7; 32]);
    good(
        &scratch,
        &["create", "v", "--size", "64M", "--key-file", "key"],
    );
    scratch
}

fn shell(dir: &Path, script: &str) -> String {
    let mut command = command("/bin/sh", dir);
    command.args(["-ec", script]);
    let outcome = run(command, "", LIMIT);
    assert_eq!(outcome.ending, Ending::Code(0), "{outcome:?}");
    outcome.stdout
}

#[test]
fn a_tree_goes_in_and_comes_out() {
    let scratch = with_volume("volume-tree");
    let dir = scratch.path().join("in");
    fs::create_dir_all(dir.join("a/b/c")).unwrap();
    fs::write(dir.join("a/small"), "hello\n").unwrap();
    let large: Vec<u8> = (0..3_000_000_u32)
        .map(|i| (i.wrapping_mul(i) >> 7) as u8)
        .collect();
    fs::write(dir.join("a/b/large"), &large).unwrap();
    fs::hard_link(dir.join("a/small"), dir.join("a/b/again")).unwrap();
    symlink("../small", dir.join("a/b/link")).unwrap();
    shell(
        &dir,
        "mkfifo a/fifo; truncate -s 100M a/hole; touch -d @1000000000.123456789 a/small a/b/c a/b
         for i in $(seq 300); do echo $i > a/b/c/n$i; done; chmod 1700 a/b/c
         touch -h -d @1234567890 a/b/link; chown 1234:5678 a/b/large 2>/dev/null || true; chmod 4751 a/b/large
         setfattr -n user.note -v text a/small 2>/dev/null || true",
    );
    let key = ["--key-file", "key"];
    let args = |args: &[&'static str]| [args, &key].concat();
    let said = good(&scratch, &args(&["import", "v", "in"]));
    assert!(said.contains("309 files imported"), "{said}");
    assert!(good(&scratch, &args(&["fsck", "v"])).contains(" 0 problems"));
    assert_eq!(good(&scratch, &args(&["cat", "v", "/a/small"])), "hello\n");
    assert_eq!(
        good(&scratch, &args(&["ls", "v", "/a"])),
        "b\nfifo\nhole\nsmall\n"
    );
    let long = good(&scratch, &args(&["ls", "v", "-l", "/a/b"]));
    assert!(
        long.contains("-rwsr-x--x") && long.contains("link -> ../small"),
        "{long}"
    );
    let size = fs::metadata(scratch.path().join("v")).unwrap().len();
    assert!(size < 8 << 20, "holes take no room: {size}");

    let said = good(&scratch, &args(&["export", "v", "out"]));
    assert!(said.contains("309 files exported"), "{said}");
    let out = scratch.path().join("out");
    assert_eq!(tree(&out), tree(&dir));
    let times = "find . -printf '%p %T@ %u %g\\n' | sort; getfattr -R -d . 2>/dev/null || true";
    assert_eq!(shell(&out, times), shell(&dir, times));
    refused(
        &volume(&scratch, &args(&["export", "v", "out"]), ""),
        &["not empty"],
    );
}

#[test]
fn single_files() {
    let scratch = with_volume("volume-files");
    scratch.file("f", "one");
    let key = ["--key-file", "key"];
    let args = |args: &[&'static str]| [args, &key].concat();
    good(&scratch, &args(&["put", "v", "f", "/"]));
    scratch.file("f", "another");
    good(&scratch, &args(&["put", "v", "f", "/f"]));
    good(&scratch, &args(&["put", "v", "f", "/g"]));
    assert_eq!(good(&scratch, &args(&["ls", "v"])), "f\ng\n");
    good(&scratch, &args(&["get", "v", "/f", "back"]));
    let back = fs::read_to_string(scratch.path().join("back")).unwrap();
    assert_eq!(back, "another");
    let missing = volume(&scratch, &args(&["cat", "v", "/h"]), "");
    refused(&missing, &["/h", "no such file"]);
    refused(
        &volume(&scratch, &args(&["cat", "v", "/"]), ""),
        &["is a directory"],
    );
    assert!(good(&scratch, &args(&["fsck", "v"])).contains(" 0 problems"));
}

#[test]
fn keys() {
    let scratch = with_volume("volume-keys");
    scratch.file("other", [8; 32]);
    scratch.file("short", [8; 31]);
    let try_key = |key: &[&str]| volume(&scratch, &[&["ls", "v"], key].concat(), "secret\n");
    refused(&try_key(&[]), &["no key", "--key-file", "--passphrase"]);
    refused(
        &try_key(&["--key-file", "other"]),
        &["does not open this volume", "nothing was changed"],
    );
    refused(
        &try_key(&["--key-file", "short"]),
        &["has 31 bytes", "/dev/urandom"],
    );
    refused(&try_key(&["--key-env", "NO_SUCH"]), &["NO_SUCH is not set"]);
    refused(
        &try_key(&["--passphrase"]),
        &["opened by a key", "--key-file"],
    );
    let both = try_key(&["--passphrase", "--key-file", "key"]);
    refused(&both, &["cannot be used with"]);

    // To a passphrase, and on to a key from the environment.
    let args = ["rekey", "v", "--key-file", "key", "--new-passphrase"];
    assert_eq!(volume(&scratch, &args, "secret\n").ending, Ending::Code(0));
    refused(
        &try_key(&["--key-file", "key"]),
        &["opened by a passphrase"],
    );
    assert_eq!(try_key(&["--passphrase"]).ending, Ending::Code(0));
    let wrong = volume(&scratch, &["ls", "v", "--passphrase"], "guess\n");
    refused(&wrong, &["does not open this volume"]);
    let hex = "0f".repeat(32);
    let args = [
        "volume",
        "rekey",
        "v",
        "--passphrase",
        "--new-key-env",
        "KEY",
    ];
    let mut rekey = bastide_in(scratch.path(), &args);
    rekey.env("KEY", &hex);
    assert_eq!(run(rekey, "secret\n", LIMIT).ending, Ending::Code(0));
    let mut ls = bastide_in(scratch.path(), &["volume", "ls", "v", "--key-env", "KEY"]);
    ls.env("KEY", &hex);
    assert_eq!(run(ls, "", LIMIT).ending, Ending::Code(0));
}

#[test]
fn what_is_wrong_with_a_volume_is_said() {
    let scratch = with_volume("volume-wrong");
    let path = scratch.path().join("v");
    let key = ["--key-file", "key"];
    let args = |args: &[&'static str]| [args, &key].concat();
    let again = volume(&scratch, &args(&["create", "v", "--size", "1M"]), "");
    refused(&again, &["cannot make v", "remove it first"]);
    let small = volume(&scratch, &args(&["create", "w", "--size", "1K"]), "");
    refused(&small, &["size must be from"]);
    assert!(!scratch.path().join("w").exists());
    scratch.file("f", [1; 300_000]);
    good(&scratch, &args(&["put", "v", "f", "/f"]));
    let whole = fs::read(&path).unwrap();

    fs::write(&path, &whole[..whole.len() - 5000]).unwrap();
    refused(
        &volume(&scratch, &args(&["ls", "v"]), ""),
        &["truncated", "needs"],
    );
    fs::write(&path, "x".repeat(100_000)).unwrap();
    refused(
        &volume(&scratch, &args(&["ls", "v"]), ""),
        &["not a volume"],
    );
    // The contents come first: they are most of the file.
    let mut altered = whole.clone();
    for block in altered.chunks_mut(4096).skip(40).step_by(3) {
        block[100] ^= 1;
    }
    fs::write(&path, altered).unwrap();
    let damaged = volume(&scratch, &args(&["fsck", "v"]), "");
    assert!(damaged.ending != Ending::Code(0), "{damaged:?}");
    assert!(
        damaged.stderr.contains("does not hold what was written"),
        "{damaged:?}"
    );
    fs::write(&path, &whole).unwrap();
    assert!(good(&scratch, &args(&["fsck", "v"])).contains(" 0 problems"));

    let info = good(&scratch, &["info", "v"]);
    assert!(
        info.contains("give the key to see more") && !info.contains("generation"),
        "{info}"
    );
    assert!(good(&scratch, &args(&["info", "v"])).contains("generation"));
}

#[test]
fn an_older_volume_is_refused_by_its_anchor() {
    let scratch = Scratch::new("volume-anchor");
    scratch.file("key", [7; 32]);
    scratch.file("f", "contents");
    let key = ["--key-file", "key", "--anchor", "anchor"];
    let args = |args: &[&'static str]| [args, &key].concat();
    good(&scratch, &args(&["create", "v", "--size", "1M"]));
    let old = fs::read(scratch.path().join("v")).unwrap();
    good(&scratch, &args(&["put", "v", "f", "/f"]));
    assert_eq!(good(&scratch, &args(&["ls", "v"])), "f\n");
    fs::write(scratch.path().join("v"), old).unwrap();
    let refusal = volume(&scratch, &args(&["ls", "v"]), "");
    refused(
        &refusal,
        &["this volume is older than its anchor", "remove the anchor"],
    );
    assert_eq!(good(&scratch, &["ls", "v", "--key-file", "key"]), "");
    good(
        &scratch,
        &["create", "w", "--size", "1M", "--key-file", "key"],
    );
    refused(
        &volume(&scratch, &args(&["ls", "w"]), ""),
        &["belongs to another volume"],
    );
}

#[test]
fn contents_can_be_compressed() {
    let scratch = Scratch::new("volume-compressed");
    scratch.file("key", [7; 32]);
    scratch.file("new", [8; 32]);
    let dir = scratch.path().join("in");
    fs::create_dir_all(&dir).unwrap();
    shell(
        &dir,
        "seq -f 'line %g of a text like any other' 40000 > text; head -c 500000 /dev/urandom > noise; truncate -s 10M hole; echo x > small",
    );
    let key = ["--key-file", "key"];
    let args = |args: &[&'static str]| [args, &key].concat();
    good(
        &scratch,
        &args(&["create", "v", "--size", "64M", "--compress"]),
    );
    good(&scratch, &args(&["import", "v", "in"]));
    assert!(good(&scratch, &args(&["fsck", "v"])).contains(" 0 problems"));
    let info = good(&scratch, &["info", "v"]);
    assert!(
        info.contains("compressed with LZ4") && !info.contains(" to 1"),
        "{info}"
    );
    let info = good(&scratch, &args(&["info", "v"]));
    let ratio = info
        .split_once(" to 1")
        .unwrap()
        .0
        .rsplit_once(' ')
        .unwrap()
        .1;
    assert!(ratio.parse::<f64>().unwrap() > 1.3, "{info}");
    let args =
        |args: &[&'static str]| [args, &["--key-file", "key", "--new-key-file", "new"]].concat();
    good(&scratch, &args(&["rekey", "v"]));
    let key = ["--key-file", "new"];
    let args = |args: &[&'static str]| [args, &key].concat();
    good(&scratch, &args(&["export", "v", "out"]));
    assert_eq!(tree(&scratch.path().join("out")), tree(&dir));
    assert!(good(&scratch, &args(&["info", "v"])).contains("compressed with LZ4"));
    let size = |name: &str| fs::metadata(scratch.path().join(name)).unwrap().len();
    good(&scratch, &["seal", "plain", "in", "--public"]);
    good(
        &scratch,
        &["seal", "packed", "in", "--public", "--compress"],
    );
    assert!(size("packed") + 500_000 < size("plain"));
    good(&scratch, &["export", "packed", "again"]);
    assert_eq!(tree(&scratch.path().join("again")), tree(&dir));
}

/// `bastide volume` with a passphrase in `PASS`, from a shell that leaves descriptors open.
fn scripted(scratch: &Scratch, script: &str) -> Outcome {
    let mut command = command("/bin/sh", scratch.path());
    command.args(["-c", script]);
    command.env("BASTIDE", bastide_tests::bastide());
    command.env("PASS", "correct horse").env("EMPTY", "");
    run(command, "", LIMIT)
}

#[test]
fn passphrases_without_a_terminal() {
    let scratch = Scratch::new("volume-passphrases");
    scratch.file("pass", "correct horse\n");
    scratch.file("both", "correct horse\nanother horse\n");
    scratch.file("f", "contents\n");
    let good = |script: &str| crate::good(&scripted(&scratch, script)).to_owned();
    good("$BASTIDE volume create v --size 1M --passphrase-env PASS");
    good("$BASTIDE volume put v f / --passphrase-fd 3 3< pass");
    good("echo correct horse | $BASTIDE volume ls v --passphrase-fd 0");
    good("$BASTIDE volume ls v --passphrase-fd 9 9<< END\ncorrect horse\nEND\n");
    // The old one and the new, one after the other.
    good("$BASTIDE volume rekey v --passphrase-fd 3 --new-passphrase-fd 3 3< both");
    let wrong = |script: &str, words: &[&str]| {
        let outcome = scripted(&scratch, script);
        refused(&outcome, words);
        assert!(!outcome.stderr.contains("horse"), "{outcome:?}");
    };
    let ls = |how: &str| format!("$BASTIDE volume ls v {how}");
    wrong(&ls("--passphrase-env PASS"), &["does not open this volume"]);
    wrong(&ls("--passphrase-env NO_SUCH"), &["NO_SUCH is not set"]);
    wrong(&ls("--passphrase-env EMPTY"), &["EMPTY is empty"]);
    // By now the volume's own file may be open as descriptor 3.
    for fd in [3, 4, 700] {
        let words = [&format!("descriptor {fd}")[..], "Bad file descriptor"];
        wrong(&ls(&format!("--passphrase-fd {fd}")), &words);
    }
    wrong(
        &ls("--passphrase-fd 3 3> out"),
        &["descriptor 3", "Bad file"],
    );
    wrong(&ls("--passphrase-fd 3 3< /dev/null"), &["no line"]);
    wrong(
        &ls("--key-env PASS"),
        &["opened by a passphrase", "--passphrase-fd"],
    );
    for how in [
        "--passphrase-fd x",
        "--passphrase-fd -1",
        "--passphrase-env A --passphrase",
    ] {
        let outcome = scripted(&scratch, &ls(how));
        assert!(!matches!(outcome.ending, Ending::Code(0)), "{outcome:?}");
    }
    good(
        "$BASTIDE volume rekey v --passphrase-fd 3 --new-passphrase-env PASS 3<< END\nanother horse\nEND\n",
    );
    assert_eq!(
        good("$BASTIDE volume cat v /f --passphrase-env PASS"),
        "contents\n"
    );
    good("mkdir d && $BASTIDE volume seal i d --passphrase-env PASS");
    assert_eq!(good("$BASTIDE volume ls i --passphrase-env PASS"), "");
}
