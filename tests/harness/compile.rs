//! Compiles the test programs, natively.

use crate::Case;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles the case's source into `dir`, if it is compiled at all, and returns the command that
/// runs it.
pub fn compile(case: &Case, dir: &Path) -> Result<Vec<String>, String> {
    let out = dir.join("program");
    let source = &case.file;
    let extension = source.extension().unwrap_or_default().to_string_lossy();
    let text = |path: &Path| path.display().to_string();
    let command = match extension.as_ref() {
        "c" => {
            let build = case.build.as_deref().unwrap_or("dynamic");
            c_compiler(build, source, &out)?
        }
        "go" => {
            let mut command = Command::new("go");
            command
                .args(["build", "-o"])
                .arg(&out)
                .arg(source)
                .env("CGO_ENABLED", "0")
                .env("GO111MODULE", "off")
                .env("GOFLAGS", "");
            command
        }
        "rs" => {
            let mut command = Command::new("rustc");
            command
                .args(["--edition", "2024", "-O", "-o"])
                .arg(&out)
                .arg(source);
            command
        }
        "java" => {
            let mut command = Command::new("javac");
            command.arg("-d").arg(dir).arg(source);
            command
        }
        _ => {
            let mut words = case.run.clone();
            words.push(text(source));
            words.extend(case.args.iter().cloned());
            return Ok(words);
        }
    };
    succeed(command)?;
    let mut words = if extension == "java" {
        let class = source.file_stem().unwrap_or_default().to_string_lossy();
        let mut words = case.run.clone();
        words.extend(["-cp".into(), text(dir), class.into_owned()]);
        words
    } else {
        vec![text(&PathBuf::from(&out))]
    };
    words.extend(case.args.iter().cloned());
    Ok(words)
}

/// Compiles a C program that a test needs beside its own.
pub fn compile_c(source: &Path, out: &Path) -> Result<(), String> {
    succeed(c_compiler("dynamic", source, out)?)
}

fn c_compiler(build: &str, source: &Path, out: &Path) -> Result<Command, String> {
    let (compiler, flag) = match build {
        "dynamic" => ("gcc", "-pie"),
        "static" => ("gcc", "-static"),
        "static-pie" => ("gcc", "-static-pie"),
        "no-pie" => ("gcc", "-no-pie"),
        "musl" => ("musl-gcc", "-static"),
        other => return Err(format!("unknown build `{other}`")),
    };
    let mut command = Command::new(compiler);
    command
        .args(["-O1", "-g", "-Wall", "-Werror", "-pthread", flag, "-o"])
        .arg(out)
        .arg(source);
    Ok(command)
}

/// Runs a compiler, and returns what it has to say if it fails.
fn succeed(mut command: Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    ))
}
