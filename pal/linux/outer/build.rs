//! Builds the image with a cargo of its own, so that the tools' features and flags stay out of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let image = root.join("../image");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("image");
    for dir in ["../image", "../inner", "../../api", "../../../libos"] {
        watch(&root.join(dir));
    }
    // Who asks for incremental builds is changing the image, and waits for it.
    println!("cargo:rerun-if-env-changed=CARGO_INCREMENTAL");
    let profile = match env::var("CARGO_INCREMENTAL").as_deref() {
        Ok("1") => "quick",
        _ => "release",
    };
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    cargo
        .current_dir(&image)
        .args(["build", "--locked", "--profile", profile, "--target-dir"])
        .arg(&out);
    for (name, _) in env::vars_os() {
        let n = name.to_string_lossy();
        let inherited = [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "RUSTC_WRAPPER",
        ];
        if inherited.contains(&&*n)
            || n.starts_with("CARGO_BUILD_")
            || n.starts_with("CARGO_PROFILE_")
            || n.starts_with("RUSTC_WORKSPACE")
            || n.starts_with("CARGO_FEATURE_")
            || n.starts_with("CARGO_CFG_")
        {
            cargo.env_remove(&name);
        }
    }
    // Names that tell the instances of a generic function apart, for `start.ld`.
    cargo.env("RUSTFLAGS", "-Csymbol-mangling-version=v0");
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "building the image failed");
    println!(
        "cargo:rustc-env=BASTIDE_IMAGE={}",
        out.join(profile).join("bastide-image").display()
    );
}

fn watch(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" {
            watch(&path);
        } else if path
            .extension()
            .is_some_and(|e| ["rs", "toml", "lock", "ld"].iter().any(|&known| e == known))
        {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
}
