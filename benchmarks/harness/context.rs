//! What all jobs share: how thorough to be, where scratch files go, and programs made from source.

use crate::process::run;
use bastide_tests::Scratch;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What all jobs share.
pub struct Context {
    /// Short and coarse.
    pub quick: bool,
    scratch: Scratch,
    compiled: RefCell<HashMap<String, PathBuf>>,
}

/// This crate's own directory.
pub fn benchmarks() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Context {
    pub fn new(quick: bool) -> Self {
        Context {
            quick,
            scratch: Scratch::new("benchmarks"),
            compiled: RefCell::default(),
        }
    }

    /// The directory for everything that a run leaves.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// A directory of its own for a job on a side. Everybody may enter it, because some servers
    /// change their user.
    pub fn dir(&self, name: &str) -> Result<PathBuf, String> {
        let dir = self.scratch().join(name);
        std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(dir)
    }

    /// `full`, or `quick`.
    pub fn amount<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// `micro/NAME*.c` for gcc with `flags`, as one executable called `name`.
    pub fn c(&self, name: &str, sources: &[&str], flags: &[&str]) -> Result<PathBuf, String> {
        self.once(name, |out| {
            let mut gcc = Command::new("gcc");
            gcc.args(["-O2", "-pthread"]).args(flags).arg("-o").arg(out);
            gcc.args(sources.iter().map(|source| benchmarks().join(source)));
            gcc
        })
    }

    /// A Go program, static as Go's are.
    pub fn go(&self, name: &str, source: &str) -> Result<PathBuf, String> {
        self.once(name, |out| {
            let mut go = Command::new("go");
            go.args(["build", "-o"])
                .arg(out)
                .arg(benchmarks().join(source));
            go.env("CGO_ENABLED", "0").env("GO111MODULE", "off");
            go
        })
    }

    /// A Java program; returns the directory with its classes.
    pub fn java(&self, source: &str) -> Result<PathBuf, String> {
        self.once("classes", |out| {
            let mut javac = Command::new("javac");
            javac.arg("-d").arg(out).arg(benchmarks().join(source));
            javac
        })
    }

    fn once(&self, name: &str, make: impl Fn(&Path) -> Command) -> Result<PathBuf, String> {
        if let Some(path) = self.compiled.borrow().get(name) {
            return Ok(path.clone());
        }
        let out = self.dir("bin")?.join(name);
        run(make(&out), None)?;
        self.compiled.borrow_mut().insert(name.into(), out.clone());
        Ok(out)
    }
}
