//! Images: sealed from a directory, named by a hash, and only read.

use crate::group::Group;
use crate::{LIMIT, bastide_in, good, refused};
use bastide_tests::{Ending, Outcome, Scratch, run, tree};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn bastide(scratch: &Scratch, args: &[&str]) -> Outcome {
    run(bastide_in(scratch.path(), args), "", LIMIT)
}

/// A directory `d` and its image `i`; the root hash.
fn sealed(name: &str, key: &[&str]) -> (Scratch, String) {
    let scratch = Scratch::new(name);
    scratch.file("key", [5; 32]);
    let dir = scratch.path().join("d");
    fs::create_dir_all(dir.join("sub/dir")).unwrap();
    fs::write(dir.join("small"), "hello\n").unwrap();
    let large: Vec<u8> = (0..2_000_000_u32).map(|i| (i >> 3) as u8).collect();
    fs::write(dir.join("sub/large"), large).unwrap();
    fs::hard_link(dir.join("small"), dir.join("sub/again")).unwrap();
    symlink("../small", dir.join("sub/link")).unwrap();
    let outcome = bastide(&scratch, &[&["volume", "seal", "i", "d"], key].concat());
    let hash = good(&outcome).trim().to_owned();
    assert_eq!(hash.len(), 64, "{outcome:?}");
    (scratch, hash)
}

/// A manifest that mounts the image at /img.
fn manifest(scratch: &Scratch, hash: &str, more: &str) {
    let text = format!(
        "program = \"/bin/sh\"\n[[mount]]\ntarget = \"/\"\ntype = \"overlay\"\nsource = \"/\"\n\
         [[mount]]\ntarget = \"/img\"\ntype = \"image\"\nsource = \"i\"\nroot_hash = \"{hash}\"\n{more}\n"
    );
    scratch.file("m.toml", text);
}

fn inside(scratch: &Scratch, script: &str) -> Outcome {
    bastide(scratch, &["run", "m.toml", "--", "-c", script])
}

#[test]
fn what_was_sealed_is_read() {
    for key in [&["--public"][..], &["--key-file", "key"]] {
        let (scratch, hash) = sealed("image-read", key);
        let given: Vec<&str> = key.iter().copied().filter(|k| *k != "--public").collect();
        let volume = |args: &[&str]| {
            let args = [&["volume"], args, &["--root-hash", &hash], &given].concat();
            bastide(&scratch, &args)
        };
        assert_eq!(good(&volume(&["ls", "i"])), "small\nsub\n");
        assert_eq!(good(&volume(&["cat", "i", "/small"])), "hello\n");
        assert!(good(&volume(&["fsck", "i"])).contains(" 0 problems"));
        good(&volume(&["export", "i", "out"]));
        let (out, dir) = (scratch.path().join("out"), scratch.path().join("d"));
        assert_eq!(tree(&out), tree(&dir));
        let info = volume(&["info", "i"]);
        assert!(good(&info).contains(&hash), "{info:?}");
        let encrypted = !given.is_empty();
        assert_eq!(good(&info).contains("anybody can read"), !encrypted);

        let more = if encrypted { "key_file = \"key\"" } else { "" };
        manifest(&scratch, &hash, more);
        let seen = inside(
            &scratch,
            "cd /img && md5sum sub/large small && cat sub/link && stat -c %h small && touch x
             echo y > small; rm -r sub; mv small z; chmod 600 small; ls; df /img | wc -l",
        );
        let mut native = bastide_tests::command("/usr/bin/md5sum", &dir);
        native.args(["sub/large", "small"]);
        let sums = run(native, "", LIMIT).stdout;
        let expected = format!("{sums}hello\n2\nsmall\nsub\n2\n");
        assert_eq!(good(&seen), expected);
        assert_eq!(seen.stderr.matches("Read-only file system").count(), 8);
    }
}

#[test]
fn another_image_and_altered_blocks_are_refused() {
    let (scratch, hash) = sealed("image-altered", &["--public"]);
    let path = scratch.path().join("i");
    let whole = fs::read(&path).unwrap();
    manifest(&scratch, &hash.replace(['0', '1'], "2"), "");
    refused(
        &inside(&scratch, "echo started"),
        &["not the image that the root hash stands for", "m.toml:"],
    );
    let args = ["volume", "ls", "i", "--root-hash", &"0".repeat(64)];
    refused(&bastide(&scratch, &args), &["not the image"]);
    let args = ["volume", "ls", "i", "--root-hash", "abc"];
    refused(&bastide(&scratch, &args), &["64 hexadecimal digits"]);

    // Contents: most of the file. Who does not look at them does not notice, who does is told.
    manifest(&scratch, &hash, "");
    let mut altered = whole.clone();
    for block in altered.chunks_mut(4096).skip(40).step_by(3).take(100) {
        block[100] ^= 1;
    }
    fs::write(&path, altered).unwrap();
    let seen = inside(&scratch, "cat /img/small; cat /img/sub/large > /dev/null");
    assert_eq!(seen.stdout, "hello\n", "{seen:?}");
    assert!(seen.stderr.contains("Input/output error"), "{seen:?}");
    let check = bastide(&scratch, &["volume", "fsck", "i"]);
    assert_eq!(check.ending, Ending::Code(1), "{check:?}");
    let told = check
        .stderr
        .matches("does not hold what was written")
        .count();
    assert_eq!(told, 100, "{check:?}");

    // The tree.
    let mut altered = whole.clone();
    let last = altered.len() - 4000;
    altered[last] ^= 1;
    fs::write(&path, altered).unwrap();
    refused(
        &inside(&scratch, "echo started"),
        &["does not hold what was written", "m.toml:"],
    );
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    refused(&inside(&scratch, "echo started"), &["truncated"]);
    fs::write(&path, whole).unwrap();
    good(&inside(&scratch, "cat /img/sub/large > /dev/null"));
}

#[test]
fn what_is_wrong_with_an_image_is_said() {
    let (scratch, hash) = sealed("image-wrong", &["--key-file", "key"]);
    let volume = |args: &[&str]| bastide(&scratch, &[&["volume"], args].concat());
    refused(&volume(&["seal", "j", "d"]), &["no key", "--public"]);
    refused(&volume(&["seal", "j", "no-such", "--public"]), &["no-such"]);
    assert!(!scratch.path().join("j").exists());
    refused(
        &volume(&["seal", "i", "d", "--public"]),
        &["remove it first"],
    );
    refused(&volume(&["ls", "i"]), &["no key"]);
    let put = volume(&["put", "i", "key", "/x", "--key-file", "key"]);
    refused(&put, &["image", "nobody can change"]);
    let note = volume(&["ls", "i", "--key-file", "key"]);
    good(&note);
    assert!(note.stderr.contains("without --root-hash"), "{note:?}");
    good(&volume(&["seal", "p", "d", "--public"]));
    let key = volume(&["ls", "p", "--key-file", "key"]);
    refused(&key, &["has no key", "give none"]);
    good(&volume(&[
        "create",
        "v",
        "--size",
        "1M",
        "--key-file",
        "key",
    ]));
    let plain = volume(&["ls", "v", "--key-file", "key", "--root-hash", &hash]);
    refused(&plain, &["not an image"]);

    let start = |hash: &str, more: &str| {
        manifest(&scratch, hash, more);
        inside(&scratch, "echo started")
    };
    refused(&start(&hash, ""), &["no key", "m.toml:"]);
    refused(&start("x", ""), &["not a hash", "m.toml:"]);
    let writable = start(&hash, "key_file = \"key\"\nread_only = false");
    refused(&writable, &["an image is read-only", "overlay"]);
    let anchored = start(&hash, "key_file = \"key\"\nanchor = \"a\"");
    refused(&anchored, &["`anchor` is for mounts of type `volume`"]);
    let text = "program = \"/bin/sh\"\n[[mount]]\ntarget = \"/img\"\ntype = \"volume\"\nsource = \"i\"\n\
                key_file = \"key\"\n";
    scratch.file("m.toml", text);
    refused(
        &inside(&scratch, ""),
        &["is an image", "type = \"image\"", "m.toml:"],
    );
}

/// A root in an image, with a shell and what it needs, and a manifest that changes it in a volume.
fn root(name: &str) -> (Scratch, String) {
    let scratch = Scratch::new(name);
    scratch.file("key", [5; 32]);
    let mut make = bastide_tests::command("/bin/sh", scratch.path());
    make.args([
        "-ec",
        "mkdir -p d/bin d/etc d/gone/away
         for p in bash ls cat rm mv mkdir rmdir chmod stat sync seq ln; do cp -L /bin/$p d/bin || cp -L /usr/bin/$p d/bin; done
         ldd d/bin/* | grep -o '/lib[^ ]*' | grep -v : | sort -u | while read l; do mkdir -p d$(dirname $l); cp -L $l d$l; done
         for i in 1 2 3 4; do echo lower $i > d/etc/f$i; done
         echo x > d/gone/away/x; chmod 640 d/etc/f2; chmod 751 d",
    ]);
    let made = run(make, "", LIMIT);
    assert_eq!(made.ending, Ending::Code(0), "{made:?}");
    let hash = good(&bastide(
        &scratch,
        &["volume", "seal", "i", "d", "--public"],
    ))
    .trim()
    .to_owned();
    let args = [
        "volume",
        "create",
        "v",
        "--size",
        "64M",
        "--key-file",
        "key",
    ];
    good(&bastide(&scratch, &args));
    let upper = "upper = { type = \"volume\", source = \"v\", key_file = \"key\", anchor = \"a\" }";
    over(&scratch, &hash, upper);
    (scratch, hash)
}

fn over(scratch: &Scratch, hash: &str, upper: &str) {
    let text = format!(
        "program = \"/bin/bash\"\nenv.set = {{ PATH = \"/bin\" }}\n[[mount]]\ntarget = \"/\"\n\
         type = \"overlay\"\nlower = {{ type = \"image\", source = \"i\", root_hash = \"{hash}\" }}\n{upper}\n"
    );
    scratch.file("m.toml", text);
}

#[test]
fn a_root_in_an_image_changes_in_a_volume() {
    let (scratch, hash) = root("image-root");
    let seen = inside(
        &scratch,
        "set -e; stat -c %a /; cat /etc/f1 /gone/away/x; echo new > /etc/f1; rm /etc/f3; chmod 600 /etc/f2
         mv /etc/f4 /etc/g4; ln /etc/g4 /h4; rm -r /gone; mkdir /gone; mkdir /tmp/x; chmod 700 /
         echo own > /etc/own; exec 3>>/etc/own; echo more >&3; cat /etc/own",
    );
    assert_eq!(good(&seen), "751\nlower 1\nx\nown\nmore\n");
    for _ in 0..2 {
        let seen = inside(
            &scratch,
            "stat -c %a / /etc/f2; cd /etc; ls; cat f1 f2 g4 /h4; ls -a /gone; rmdir /gone/* 2>&1 | cat; ls /tmp",
        );
        let expected = "700\n600\nf1\nf2\ng4\nown\nnew\nlower 2\nlower 4\nlower 4\n.\n..\n";
        let seen = good(&seen).to_owned();
        assert!(seen.starts_with(expected), "{seen}");
    }
    let args = ["volume", "fsck", "v", "--key-file", "key"];
    assert!(good(&bastide(&scratch, &args)).contains(" 0 problems"));
    let args = ["volume", "cat", "v", "/upper/etc/f1", "--key-file", "key"];
    assert_eq!(good(&bastide(&scratch, &args)), "new\n");
    let args = ["volume", "fsck", "i", "--root-hash", &hash];
    assert!(good(&bastide(&scratch, &args)).contains(" 0 problems"));

    // In memory: as the image has it, each time.
    over(&scratch, &hash, "");
    for _ in 0..2 {
        let seen = inside(
            &scratch,
            "cat /etc/f1; ls /etc; rm /etc/f1; echo x > /etc/y; cat /etc/y",
        );
        assert_eq!(good(&seen), "lower 1\nf1\nf2\nf3\nf4\nx\n");
    }
    over(&scratch, &hash, "read_only = true");
    let seen = inside(&scratch, "echo x > /etc/y || cat /etc/f1");
    assert_eq!(good(&seen), "lower 1\n");
    assert!(seen.stderr.contains("Read-only file system"), "{seen:?}");
}

#[test]
fn what_was_removed_from_an_image_stays_removed_after_a_kill() {
    let (scratch, _) = root("image-kill");
    // Each round removes a lower file, replaces another, and is killed after a sync.
    for round in 1..4 {
        let script = format!(
            "rm /etc/f{round}; echo round {round} > /etc/new; mv /etc/new /etc/f4; sync /
             echo synced; read"
        );
        let command = bastide_in(scratch.path(), &["run", "m.toml", "--", "-c", &script]);
        let mut group = Group::start(command, Stdio::piped());
        assert_eq!(group.lines.next().unwrap().unwrap(), "synced");
        group.kill();
        // The last of its processes may still be dying, and hold the file.
        let deadline = Instant::now() + LIMIT;
        let fsck = || bastide(&scratch, &["volume", "fsck", "v", "--key-file", "key"]);
        while fsck().stderr.contains("in use") && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let seen = inside(&scratch, "cd /etc; ls; cat f4");
        let left: String = (round + 1..4).map(|n| format!("f{n}\n")).collect();
        assert_eq!(good(&seen), format!("{left}f4\nround {round}\n"));
    }
    let args = ["volume", "fsck", "v", "--key-file", "key"];
    assert!(good(&bastide(&scratch, &args)).contains(" 0 problems"));
}
