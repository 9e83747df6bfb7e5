use crate::{CACHE, Id, Manifest, MountKind, Problem, VolumeKey};
use std::path::Path;

fn parse(text: &str) -> Result<Manifest, Vec<Problem>> {
    Manifest::parse(Path::new("dir/m.toml"), text.into())
}

/// What a person sees.
fn refused(text: &str) -> String {
    let problems = parse(text).expect_err("accepted");
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

#[test]
fn a_full_manifest() {
    let manifest = parse(
        r#"
        program = "python3"
        args = ["-c", "print(1)"]
        cwd = "/work/"
        user = "1000"
        hostname = "box"
        init = true
        log = "info"

        [env]
        pass = ["TERM", "LC_*"]
        set = { HOME = "/root" }

        [[mount]]
        target = "/"
        type = "overlay"
        source = "rootfs"

        [[mount]]
        target = "/data"
        source = "/srv"
        read_only = false

        [[mount]]
        target = "/tmp"
        type = "tmpfs"
        size = "64M"
        mode = "1777"

        [network]
        publish = ["8080:80"]
        connect = ["example.org:443"]

        [limits]
        nofile = 1024
        stack = ["8M", "unlimited"]
        "#,
    )
    .unwrap();
    assert_eq!(manifest.cwd, "/work");
    assert_eq!(manifest.user.unwrap().0.user, Id::Number(1000));
    assert!(manifest.env.passes("LC_ALL") && !manifest.env.passes("LANG"));
    let mount = |target| {
        let mut mounts = manifest.mounts.iter();
        mounts.find(|mount| mount.target == target).unwrap()
    };
    assert_eq!(mount("/").kind, MountKind::over_host("dir/rootfs".into()));
    assert!(!mount("/data").read_only);
    let tmp = MountKind::Tmpfs {
        size: 64 << 20,
        mode: 0o1777,
    };
    assert_eq!(mount("/tmp").kind, tmp);
    assert_eq!(mount("/proc").kind, MountKind::Proc);
    assert_eq!(manifest.limits[0].soft, 8 << 20);
    assert_eq!(manifest.limits[0].hard, u64::MAX);
}

#[test]
fn an_overlay_of_an_image_and_a_volume() {
    let hash = "0f".repeat(32);
    let text = format!(
        "program = \"a\"\n[[mount]]\ntarget = \"/\"\ntype = \"overlay\"\n\
         lower = {{ type = \"image\", source = \"i\", root_hash = \"{hash}\", cache = \"2M\" }}\n\
         upper = {{ type = \"volume\", source = \"v\", passphrase = true, anchor = \"n\" }}\n"
    );
    let manifest = parse(&text).unwrap();
    let found = manifest.mounts.iter().find(|m| m.target == "/").unwrap();
    assert!(!found.read_only);
    let overlay = MountKind::Overlay {
        lower: vec![MountKind::Image {
            file: "dir/i".into(),
            key: None,
            root_hash: [15; 32],
            cache: 2 << 20,
        }],
        upper: Box::new(MountKind::Volume {
            file: "dir/v".into(),
            key: VolumeKey::Passphrase,
            anchor: Some("dir/n".into()),
            cache: CACHE,
        }),
    };
    assert_eq!(found.kind, overlay);
}

#[test]
fn a_cache_has_a_size_that_makes_sense_and_belongs_to_a_volume() {
    let volume = "program = \"a\"\n[[mount]]\ntarget = \"/v\"\ntype = \"volume\"\n\
                  source = \"v\"\npassphrase = true\n";
    for (cache, bytes) in [
        ("\"1M\"", 1 << 20),
        ("\"3G\"", 3 << 30),
        ("1048577", (1 << 20) + 1),
    ] {
        let manifest = parse(&format!("{volume}cache = {cache}\n")).unwrap();
        let found = manifest.mounts.iter().find(|m| m.target == "/v").unwrap();
        assert!(
            matches!(found.kind, MountKind::Volume { cache, .. } if cache == bytes),
            "{found:?}"
        );
    }
    assert_eq!(
        refused(&format!("{volume}cache = \"900K\"\n")),
        "error: `cache` is 1M at least\n \
         --> dir/m.toml:7:9, key `mount[0].cache`\n  |\n7 | cache = \"900K\"\n  |         ^^^^^^"
    );
    assert!(refused(&format!("{volume}cache = \"lots\"\n")).contains("is not a size"));
    let tmpfs = "program = \"a\"\n[[mount]]\ntarget = \"/t\"\ntype = \"tmpfs\"\ncache = \"1M\"\n";
    let said = refused(tmpfs);
    assert!(
        said.contains("`cache` is for mounts of type `volume` or `image`"),
        "{said}"
    );
}

#[test]
fn an_overlay_of_several_trees() {
    let hash = "0f".repeat(32);
    let text = format!(
        "program = \"a\"\n[[mount]]\ntarget = \"/\"\ntype = \"overlay\"\n\
         lower = [{{ source = \"top\" }}, {{ type = \"image\", source = \"i\", root_hash = \
         \"{hash}\" }}, {{ type = \"volume\", source = \"v\", key_env = \"K\" }}]\n"
    );
    let manifest = parse(&text).unwrap();
    let found = manifest.mounts.iter().find(|m| m.target == "/").unwrap();
    let lower = vec![
        MountKind::Host("dir/top".into()),
        MountKind::Image {
            file: "dir/i".into(),
            key: None,
            root_hash: [15; 32],
            cache: CACHE,
        },
        MountKind::Volume {
            file: "dir/v".into(),
            key: VolumeKey::Env("K".into()),
            anchor: None,
            cache: CACHE,
        },
    ];
    let upper = Box::new(MountKind::memory());
    assert_eq!(found.kind, MountKind::Overlay { lower, upper });
}

#[test]
fn where_keys_may_be() {
    for (text, key) in [
        ("key_file = \"k\"", VolumeKey::File("dir/k".into())),
        ("key_env = \"K\"", VolumeKey::Env("K".into())),
        ("passphrase = true", VolumeKey::Passphrase),
        (
            "passphrase_env = \"P\"",
            VolumeKey::PassphraseEnv("P".into()),
        ),
        ("passphrase_fd = 3", VolumeKey::PassphraseFd(3)),
    ] {
        let text = format!(
            "program = \"a\"\n[[mount]]\ntarget = \"/d\"\ntype = \"volume\"\nsource = \"v\"\n{text}\n"
        );
        let manifest = parse(&text).unwrap();
        let found = manifest.mounts.iter().find(|m| m.target == "/d").unwrap();
        assert_eq!(found.kind.keys(), [&key]);
    }
}

#[test]
fn an_unknown_key_is_refused_with_a_suggestion() {
    assert_eq!(
        refused("program = \"a\"\n[[mount]]\ntargt = \"/a\"\ntype = \"tmpfs\"\n"),
        "error: unknown key `targt`\n \
         --> dir/m.toml:3:1, key `mount[0].targt`\n  |\n3 | targt = \"/a\"\n  | ^^^^^\n  \
         = help: did you mean `target`?"
    );
    let text = refused("program = \"a\"\nxyzzy = 1");
    assert!(text.contains("the keys here are: args, cwd"), "{text}");
}

#[test]
fn every_problem_is_told_in_the_order_of_the_file() {
    let text = refused("cwd = \"a\"\nargs = \"x\"\ninit = 3\n[limits]\nnofil = 1\n");
    let at: Vec<_> = [
        "key `program` is missing",
        "`a` is not an absolute path",
        "expected an array, found a string",
        "expected true or false, found an integer",
        "did you mean `nofile`?",
    ]
    .map(|message| text.find(message).expect(message))
    .into();
    assert!(at.is_sorted(), "{text}");
}

#[test]
fn wrong_values() {
    let program = "program = \"a\"\n";
    for (text, message) in [
        ("log = \"wran\"", "did you mean `warn`?"),
        ("user = \"\"", "expected USER or USER:GROUP"),
        ("hostname = \"\"", "1 to 64 bytes"),
        (
            "[[mount]]\ntarget = \"/a/../b\"\ntype = \"tmpfs\"",
            "must not contain `..`",
        ),
        ("[[mount]]\ntarget = \"/a\"", "needs a `source`"),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"hots\"",
            "did you mean `host`?",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"tmpfs\"\nsource = \"b\"",
            "has no `source`",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\nsource = \"b\"\nsize = 1",
            "`size` is for mounts of type",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\nsource = \"b\"\n[[mount]]\ntarget = \"/a/\"\nsource = \"c\"",
            "mounted twice",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"volume\"\nsource = \"b\"",
            "a volume needs one key",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"volume\"\nsource = \"b\"\nkey_env = \"A\"\npassphrase = true",
            "here are two",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"volume\"\nsource = \"b\"\npassphrase = false",
            "`passphrase` is true, or left out",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"volume\"\nsource = \"b\"\npassphrase_fd = -1",
            "key `mount[0].passphrase_fd`",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"volume\"\nsource = \"b\"\npassphrase_fd = 4294967296",
            "not the number of a descriptor",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"volume\"\nsource = \"b\"\npassphrase_fd = 3\npassphrase_env = \"A\"",
            "here are two",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"image\"\nsource = \"b\"",
            "needs its `root_hash`",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"overlay\"",
            "type `overlay` needs a `source`",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"overlay\"\nlower = { type = \"tmpfs\" }",
            "unknown mount type `tmpfs`",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"overlay\"\nsource = \"b\"\nlower = { source = \"c\" }",
            "not both",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"overlay\"\nlower = []",
            "at least one tree below",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"overlay\"\nlower = [{ source = \"b\" }, 3]",
            "key `mount[0].lower[1]`",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"overlay\"\nlower = [{ source = \"b\", anchor = \"c\" }]",
            "key `mount[0].lower[0].anchor`",
        ),
        (
            "[[mount]]\ntarget = \"/a\"\ntype = \"overlay\"\nsource = \"b\"\nupper = { sise = 3 }",
            "key `mount[0].upper.sise`",
        ),
        ("[network]\npublish = [\"x\"]", "key `network.publish[0]`"),
        ("[limits]\nnofile = [2, 1]", "soft limit is above"),
        ("[env]\nset = { A = 1 }", "key `env.set.A`"),
        ("args = [\"a\\u0000\"]", "NUL"),
        ("a = ", "not TOML"),
    ] {
        let found = refused(&format!("{program}{text}\n"));
        assert!(found.contains(message), "{text}: {found}");
    }
}

#[test]
fn a_missing_file_says_how_to_run_a_program() {
    let problems = Manifest::read(Path::new("/nonexistent/ls")).unwrap_err();
    let text = problems[0].to_string();
    assert!(text.contains("bastide run -- /nonexistent/ls"), "{text}");
}
