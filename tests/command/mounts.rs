//! Volumes and images on the command line, passphrases of a run, and what `bastide check` says of
//! them.

use crate::{LIMIT, bastide_in, good, refused};
use bastide_tests::{Outcome, Scratch, command, run};
use std::fs;

fn bastide(scratch: &Scratch, args: &[&str], input: &str) -> Outcome {
    run(bastide_in(scratch.path(), args), input, LIMIT)
}

/// A volume `v` with a key, one `p` with a passphrase.
fn volumes(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    scratch.file("key", [5; 32]);
    let args = ["volume", "create", "v", "--size", "4M", "--key-file", "key"];
    good(&bastide(&scratch, &args, ""));
    let args = ["volume", "create", "p", "--size", "4M", "--passphrase"];
    good(&bastide(&scratch, &args, "correct horse\n"));
    scratch
}

/// Runs a shell with this mount.
fn with(scratch: &Scratch, mount: &str, script: &str, input: &str) -> Outcome {
    let args = ["run", "-q", "--mount", mount, "--", "/bin/sh", "-c", script];
    bastide(scratch, &args, input)
}

#[test]
fn a_passphrase_is_the_first_line_of_what_is_no_terminal() {
    let scratch = volumes("mounts-passphrase");
    let script = "cat; echo x >> /data/f; wc -l < /data/f";
    for n in 1..3 {
        let seen = with(
            &scratch,
            "volume:p:/data",
            script,
            "correct horse\nthe rest\n",
        );
        assert_eq!(good(&seen), format!("the rest\n{n}\n"));
    }
    let wrong = with(
        &scratch,
        "volume:p:/data",
        script,
        "wrong horse\nthe rest\n",
    );
    refused(&wrong, &["does not open this volume", "--mount volume:p"]);
    let none = with(&scratch, "volume:v:/data", script, "correct horse\n");
    refused(&none, &["opened by a key", "key_file"]);

    let text = "program = \"/bin/cat\"\n[[mount]]\ntarget = \"/\"\ntype = \"overlay\"\nsource = \"/\"\n\
                [[mount]]\ntarget = \"/data\"\ntype = \"volume\"\nsource = \"p\"\npassphrase = true\n";
    scratch.file("m.toml", text);
    let args = ["run", "m.toml", "--", "/data/f", "-"];
    let seen = bastide(&scratch, &args, "correct horse\nthe rest\n");
    assert_eq!(good(&seen), "x\nx\nthe rest\n");
}

/// What a script has a passphrase in, and nobody else may see.
#[test]
fn a_passphrase_in_a_variable_or_a_descriptor() {
    let scratch = volumes("mounts-scripted");
    let manifest = |key: &str, env: &str| {
        let text = format!(
            "program = \"/bin/sh\"\n[env]\npass = [{env}]\n[[mount]]\ntarget = \"/\"\n\
             type = \"overlay\"\nsource = \"/\"\n[[mount]]\ntarget = \"/data\"\n\
             type = \"volume\"\nsource = \"p\"\n{key}\n"
        );
        scratch.file("m.toml", text);
    };
    let script = "echo x >> /data/f; wc -l < /data/f; cat; env | grep -c horse; \
                  cat /proc/self/fd/[3-9] 2>/dev/null";
    let shell = |how: &str| {
        let mut shell = command("/bin/sh", scratch.path());
        shell.args(["-c", how, "sh", script]);
        shell.env("BASTIDE", bastide_tests::bastide());
        shell.env("PASS", "correct horse");
        run(shell, "in\n", LIMIT)
    };
    let run_it = "exec $BASTIDE run --trace=trace --log debug m.toml -- -c \"$1\"";
    let seen = |outcome: &Outcome, expected: &str| {
        assert_eq!(outcome.stdout, expected, "{outcome:?}");
        let trace = fs::read_to_string(scratch.path().join("trace")).unwrap();
        assert!(!outcome.stderr.contains("horse") && !trace.contains("correct horse"));
    };
    // The program's environment has the variable only if it is named.
    manifest("passphrase_env = \"PASS\"", "\"*\"");
    seen(&shell(run_it), "1\nin\n0\n");
    good(&shell("exec $BASTIDE check m.toml"));
    manifest("passphrase_env = \"PASS\"", "\"*\", \"PASS\"");
    assert_eq!(shell(run_it).stdout, "2\nin\n1\n");
    manifest("passphrase_fd = 5", "");
    let with_fd = format!("{run_it} 5<< END\ncorrect horse\nmore\nEND\n");
    seen(&shell(&with_fd), "3\nin\n0\n");
    good(&shell("exec $BASTIDE check m.toml"));
    refused(&shell(run_it), &["descriptor 5", "leave it open"]);
    manifest("passphrase_env = \"NOT_SET\"", "");
    refused(&shell(run_it), &["NOT_SET is not set"]);
    refused(
        &shell("exec $BASTIDE check m.toml"),
        &["NOT_SET is not set"],
    );
    let mount = "exec $BASTIDE run -q --mount volume:p:/data:passphrase_env=PASS -- sh -c \"$1\"";
    seen(&shell(mount), "4\nin\n0\n");
}

#[test]
fn volumes_and_images_on_the_command_line() {
    let scratch = volumes("mounts-option");
    let keyed = "volume:v:/data:key_file=key,anchor=a";
    good(&with(&scratch, keyed, "echo one > /data/f", ""));
    assert!(scratch.path().join("a").exists());
    let read_only = "volume:v:/data:key_file=key,ro";
    let seen = with(&scratch, read_only, "cat /data/f; touch /data/g", "");
    assert_eq!(seen.stdout, "one\n", "{seen:?}");
    assert!(seen.stderr.contains("Read-only file system"), "{seen:?}");
    let over = "volume:v:/data:key_file=key,overlay";
    let seen = with(
        &scratch,
        over,
        "rm /data/f; echo two > /data/g; ls /data",
        "",
    );
    assert_eq!(good(&seen), "g\n");
    assert_eq!(good(&with(&scratch, keyed, "ls /data", "")), "f\n");

    fs::create_dir(scratch.path().join("d")).unwrap();
    scratch.file("d/f", "sealed\n");
    let sealed = bastide(&scratch, &["volume", "seal", "i", "d", "--public"], "");
    let hash = good(&sealed).trim();
    let image = format!("image:i:/data:root_hash={hash}");
    assert_eq!(good(&with(&scratch, &image, "cat /data/f", "")), "sealed\n");
    let script = "echo new > /data/f; cat /data/f";
    assert_eq!(
        good(&with(&scratch, &format!("{image},overlay"), script, "")),
        "new\n"
    );
    let other = image.replace(['0', '1', '2', '3'], "4");
    refused(
        &with(&scratch, &other, "", ""),
        &["not the image", "--mount"],
    );
    let bad = with(&scratch, "volume:v:/data:key=key", "", "");
    refused(&bad, &["`key=key` is not an option", "key_file=FILE"]);
}

#[test]
fn users_of_a_root_in_an_image() {
    let scratch = volumes("mounts-users");
    fs::create_dir_all(scratch.path().join("d/etc")).unwrap();
    scratch.file("d/etc/passwd", "ann:x:1234:1234::/:/bin/sh\n");
    scratch.file("d/etc/group", "ann:x:1234:\nstaff:x:50:ann\n");
    let args = ["volume", "seal", "i", "d", "--key-file", "key"];
    let sealed = bastide(&scratch, &args, "");
    let hash = good(&sealed).trim();
    let text = format!(
        "program = \"/usr/bin/id\"\nuser = \"ann\"\n[[mount]]\ntarget = \"/\"\ntype = \"overlay\"\n\
         lower = {{ type = \"image\", source = \"i\", root_hash = \"{hash}\", key_file = \"key\" }}\n\
         upper = {{ type = \"volume\", source = \"v\", key_file = \"key\" }}\n\
         [[mount]]\ntarget = \"/usr\"\nsource = \"/usr\"\n[[mount]]\ntarget = \"/lib\"\nsource = \"/lib\"\n\
         [[mount]]\ntarget = \"/lib64\"\nsource = \"/lib64\"\n"
    );
    scratch.file("m.toml", text);
    good(&bastide(&scratch, &["check", "m.toml"], ""));
    let seen = bastide(&scratch, &["run", "m.toml"], "");
    assert_eq!(
        good(&seen),
        "uid=1234(ann) gid=1234(ann) groups=1234(ann),50(staff)\n"
    );
}

#[test]
fn check_looks_at_volumes_and_changes_nothing() {
    let scratch = volumes("mounts-check");
    let files = || {
        let dir = fs::read_dir(scratch.path()).unwrap();
        let mut all: Vec<_> = dir
            .map(|e| e.unwrap())
            .filter(|e| e.file_name() != "m.toml")
            .map(|e| (e.file_name(), fs::read(e.path()).unwrap()))
            .collect();
        all.sort();
        all
    };
    let check = |more: &str| {
        let text = format!("program = \"/bin/sh\"\n[[mount]]\ntarget = \"/data\"\n{more}\n");
        scratch.file("m.toml", text);
        let before = files();
        let outcome = bastide(&scratch, &["check", "m.toml"], "");
        assert!(files() == before, "{more}: something was written");
        outcome
    };
    let volume = |more: &str| check(&format!("type = \"volume\"\n{more}"));
    good(&volume(
        "source = \"v\"\nkey_file = \"key\"\nanchor = \"a\"",
    ));
    good(&volume("source = \"p\"\npassphrase = true"));
    let at = |outcome: &Outcome, words: &[&str]| {
        refused(outcome, words);
        refused(outcome, &["m.toml:", "mount[0]"]);
    };
    at(
        &volume("source = \"none\"\nkey_file = \"key\""),
        &["cannot open", "none"],
    );
    at(
        &volume("source = \"key\"\nkey_file = \"key\""),
        &["not a volume"],
    );
    at(
        &volume("source = \"v\"\nkey_file = \"none\""),
        &["cannot read the key file"],
    );
    at(
        &volume("source = \"v\"\nkey_env = \"NONE\""),
        &["NONE is not set"],
    );
    at(
        &volume("source = \"v\"\npassphrase = true"),
        &["opened by a key"],
    );
    at(
        &volume("source = \"p\"\nkey_file = \"key\""),
        &["opened by a passphrase"],
    );
    at(
        &volume("source = \"v\"\nkey_file = \"key\"\nanchor = \"none/a\""),
        &["cannot write", "none"],
    );
    scratch.file("other", [6; 32]);
    at(
        &volume("source = \"v\"\nkey_file = \"other\""),
        &["does not open this volume"],
    );
    // An older volume than the anchor knows.
    let old = fs::read(scratch.path().join("v")).unwrap();
    let anchored = "volume:v:/data:key_file=key,anchor=a";
    good(&with(&scratch, anchored, "echo x > /data/f", ""));
    let wanted = "source = \"v\"\nkey_file = \"key\"\nanchor = \"a\"";
    good(&volume(wanted));
    fs::write(scratch.path().join("v"), old).unwrap();
    at(&volume(wanted), &["older than its anchor"]);

    fs::create_dir(scratch.path().join("d")).unwrap();
    let sealed = bastide(&scratch, &["volume", "seal", "i", "d", "--public"], "");
    let hash = good(&sealed).trim().to_owned();
    fs::remove_dir(scratch.path().join("d")).unwrap();
    let lower = |hash: &str, more: &str| {
        check(&format!(
            "type = \"overlay\"\nlower = {{ type = \"image\", source = \"i\", root_hash = \"{hash}\"{more} }}"
        ))
    };
    good(&lower(&hash, ""));
    at(&lower(&"0".repeat(64), ""), &["not the image"]);
    at(&lower(&hash, ", key_file = \"key\""), &["has no key"]);
}
