//! Images: sealed from a directory, named by a hash, and only read.

use crate::{LIMIT, bastide_in};
use bastide_tests::{Ending, Outcome, Scratch, run, tree};
use std::fs;
use std::os::unix::fs::symlink;

fn bastide(scratch: &Scratch, args: &[&str]) -> Outcome {
    run(bastide_in(scratch.path(), args), "", LIMIT)
}

#[track_caller]
fn good(outcome: &Outcome) -> &str {
    assert_eq!(outcome.ending, Ending::Code(0), "{outcome:?}");
    &outcome.stdout
}

#[track_caller]
fn refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.ending, Ending::Code(125), "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "no `{word}` in {outcome:?}");
    }
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
