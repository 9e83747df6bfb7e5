//! Overlays of several trees, beside Linux's own.

use crate::{LIMIT, bastide_in, good};
use bastide_tests::{Ending, Outcome, Scratch, command, run};
use std::fs;

const LAYERS: &str = include_str!("overlay/layers.sh");
const USE: &str = include_str!("overlay/use.sh");
/// What Linux's overlayfs shows.
const EXPECTED: &str = include_str!("overlay/expected");

fn shell(scratch: &Scratch, script: &str) -> Outcome {
    let mut command = command("/bin/sh", scratch.path());
    command.args(["-c", script]);
    run(command, "", LIMIT)
}

/// The layers, unless this user may not make the marks in them.
fn layers(name: &str) -> Option<Scratch> {
    let scratch = Scratch::new(name);
    scratch.file("use.sh", USE);
    let made = shell(&scratch, LAYERS);
    if made.ending != Ending::Code(0) {
        eprintln!("skipped: {}", made.stderr);
        return None;
    }
    Some(scratch)
}

/// Runs the script in an overlay of these trees; the upper one is as `more` says.
fn overlay(scratch: &Scratch, lower: &str, more: &str, script: &str) -> Outcome {
    let text = format!(
        "program = \"/bin/sh\"\n[[mount]]\ntarget = \"/\"\ntype = \"overlay\"\nsource = \"/\"\n\
         [[mount]]\ntarget = \"/mnt\"\ntype = \"overlay\"\nlower = {lower}\n{more}\n"
    );
    scratch.file("m.toml", text);
    let args = ["run", "m.toml", "--", "-c", script];
    run(bastide_in(scratch.path(), &args), "", LIMIT)
}

#[test]
fn linux_shows_what_is_expected() {
    let Some(scratch) = layers("overlay-native") else {
        return;
    };
    let script = "mkdir upper work mnt && exec unshare -m sh -c \
                  'mount -t overlay overlay -o lowerdir=1:2:3,upperdir=upper,workdir=work mnt \
                   || exit 77; cd mnt && sh ../use.sh'";
    let native = shell(&scratch, script);
    match native.ending {
        Ending::Code(77) | Ending::Code(1) => eprintln!("skipped: {}", native.stderr),
        _ => assert_eq!(native.stdout, EXPECTED),
    }
}

#[test]
fn trees_of_the_host() {
    let Some(scratch) = layers("overlay-host") else {
        return;
    };
    let lower = "[{ source = \"1\" }, { source = \"2\" }, { source = \"3\" }]";
    let outcome = overlay(&scratch, lower, "", &in_mnt(USE));
    assert_eq!(good(&outcome), EXPECTED);
}

/// The script, run in the overlay.
fn in_mnt(script: &str) -> String {
    format!("cd /mnt || exit\n{script}")
}

#[test]
fn images_and_a_volume_below_and_a_volume_above() {
    let Some(scratch) = layers("overlay-sealed") else {
        return;
    };
    scratch.file("key", [5; 32]);
    let bastide = |args: &[&str]| {
        let outcome = run(bastide_in(scratch.path(), args), "", LIMIT);
        good(&outcome).trim().to_owned()
    };
    let one = bastide(&["volume", "seal", "one", "1", "--public"]);
    let three = bastide(&["volume", "seal", "three", "3", "--public", "--compress"]);
    for volume in ["two", "changes"] {
        bastide(&[
            "volume",
            "create",
            volume,
            "--size",
            "8M",
            "--key-file",
            "key",
        ]);
    }
    bastide(&["volume", "import", "two", "2", "--key-file", "key"]);
    let lower = format!(
        "[{{ type = \"image\", source = \"one\", root_hash = \"{one}\" }}, \
         {{ type = \"volume\", source = \"two\", key_file = \"key\" }}, \
         {{ type = \"image\", source = \"three\", root_hash = \"{three}\" }}]"
    );
    let upper = "upper = { type = \"volume\", source = \"changes\", key_file = \"key\" }";
    let outcome = overlay(&scratch, &lower, upper, &in_mnt(USE));
    assert_eq!(good(&outcome), EXPECTED);
    // It is all there the next time.
    let show = USE.split("show \"as it is\"").next().unwrap();
    let outcome = overlay(
        &scratch,
        &lower,
        upper,
        &in_mnt(&format!("{show}show 'with less'")),
    );
    let (_, last) = EXPECTED.rsplit_once("== ").unwrap();
    assert_eq!(good(&outcome), format!("== {last}"));
    for volume in ["two", "changes"] {
        let checked = bastide(&["volume", "fsck", volume, "--key-file", "key"]);
        assert!(checked.contains(" 0 problems"), "{checked}");
    }
    assert_eq!(
        fs::read_to_string(scratch.path().join("3/bottom")).unwrap(),
        "3 bottom\n"
    );
}
