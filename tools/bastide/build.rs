//! Links the command without shared libraries where the C compiler has static ones: the dynamic
//! linker takes as long as a small program runs. And puts together what every start runs.
//!
//! `-C target-feature=+crt-static` would do the same, but cargo takes flags for the host's procedural
//! macros too unless a target is named, and then puts the command elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What the standard library asks for, and what there is of each without sharing.
const LIBRARIES: [(&str, &[&str]); 7] = [
    ("gcc_s", &["gcc_eh", "gcc", "c"]),
    ("c", &["c", "gcc", "gcc_eh"]),
    ("m", &["m"]),
    ("util", &["util"]),
    ("rt", &["rt"]),
    ("pthread", &["pthread"]),
    ("dl", &["dl"]),
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=start.ld");
    let script = env::current_dir().map(|dir| dir.join("start.ld"));
    let script = script.expect("cargo sets it");
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{}", script.display());
    let dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    if substitutes(&dir).is_some() {
        // Searched before the system's: of two libraries the first that is found is taken.
        println!("cargo:rustc-link-arg-bins=-L{}", dir.display());
        println!("cargo:rustc-link-arg-bins=-static-pie");
    }
}

/// Fills a directory with linker scripts that stand for the shared libraries.
fn substitutes(dir: &Path) -> Option<()> {
    for (name, parts) in LIBRARIES {
        let files: Option<Vec<_>> = parts.iter().map(|part| archive(part)).collect();
        let script = format!("GROUP ( {} )\n", files?.join(" "));
        fs::write(dir.join(format!("lib{name}.a")), script).ok()?;
    }
    Some(())
}

/// Where the C compiler has a static library.
fn archive(name: &str) -> Option<String> {
    let file = format!("lib{name}.a");
    let asked = Command::new("cc")
        .arg(format!("-print-file-name={file}"))
        .output();
    let path = String::from_utf8(asked.ok()?.stdout).ok()?;
    // What it does not have it repeats.
    Some(path.trim().to_owned()).filter(|path| Path::new(path).is_absolute())
}
