//! Where the work is done: natively, under Bastide, or under gVisor; and, for files alone, on
//! gocryptfs.

use bastide_tests::{bastide, command};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, io};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Native,
    Bastide,
    Gvisor,
    Gocryptfs,
}

/// One of the things that are compared.
pub struct Side {
    kind: Kind,
    /// The executable that runs the program inside, except natively.
    runner: PathBuf,
    /// gVisor's own state.
    state: PathBuf,
    root: Arc<AtomicU32>,
    helper: Arc<AtomicU32>,
}

impl Side {
    /// All sides that this machine has, native first; `state` is a directory for gVisor, and for a copy
    /// of Bastide's executable, as installing makes one: the host has what a linker wrote in smaller
    /// pieces in its cache.
    pub fn all(state: &Path) -> io::Result<Vec<Side>> {
        let installed = state.join("bastide");
        fs::copy(bastide(), &installed)?;
        let side = |kind, runner| Side {
            kind,
            runner,
            state: state.into(),
            root: Arc::default(),
            helper: Arc::default(),
        };
        let mut sides = vec![
            side(Kind::Native, PathBuf::new()),
            side(Kind::Bastide, installed),
        ];
        sides.extend(find("runsc").map(|runner| side(Kind::Gvisor, runner)));
        sides.extend(find("gocryptfs").map(|_| side(Kind::Gocryptfs, PathBuf::new())));
        Ok(sides)
    }

    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Native => "native",
            Kind::Bastide => "bastide",
            Kind::Gvisor => "gvisor",
            Kind::Gocryptfs => "gocryptfs",
        }
    }

    pub fn is_native(&self) -> bool {
        self.kind == Kind::Native
    }

    pub fn is_bastide(&self) -> bool {
        self.kind == Kind::Bastide
    }

    /// Files of the host that gocryptfs encrypts.
    pub fn is_gocryptfs(&self) -> bool {
        self.kind == Kind::Gocryptfs
    }

    /// It runs any program, rather than keep files only.
    pub fn is_general(&self) -> bool {
        !self.is_gocryptfs()
    }

    /// It takes part where files on the disk are compared.
    pub fn has_volumes(&self) -> bool {
        self.kind != Kind::Gvisor
    }

    /// A command that runs `program` here, in `dir`, with an environment that is the same on all
    /// sides.
    pub fn command(&self, program: impl AsRef<Path>, dir: &Path) -> Command {
        self.command_with(program, dir, true)
    }

    /// The same, whose loopback is its own where there is a sandbox: nobody outside reaches it.
    pub fn closed_command(&self, program: impl AsRef<Path>, dir: &Path) -> Command {
        self.command_with(program, dir, false)
    }

    fn command_with(&self, program: impl AsRef<Path>, dir: &Path, open: bool) -> Command {
        if matches!(self.kind, Kind::Native | Kind::Gocryptfs) {
            return command(program, dir);
        }
        let mut runner = command(&self.runner, dir);
        match self.kind {
            Kind::Native | Kind::Gocryptfs | Kind::Bastide => {
                // Where one port is published, the others are for the enclave only.
                let closed = ["--publish", "1"];
                let closed = if open { &[][..] } else { &closed };
                runner.args(["run", "--quiet"]).args(closed)
            }
            // The host's network, so that a client outside reaches a server inside.
            Kind::Gvisor => runner
                .arg(format!("--root={}", self.state.display()))
                .args(["--rootless", "--ignore-cgroups"])
                .arg(if open {
                    "--network=host"
                } else {
                    "--network=none"
                })
                .args(["do", "-quiet", "-cwd"])
                .arg(dir),
        };
        runner.arg("--").arg(program.as_ref());
        runner
    }

    /// Notes the process that the work at hand began with.
    pub fn started(&self, process: u32) {
        self.root.store(process, Ordering::Relaxed);
    }

    /// Notes a process beside the work that serves it; 0 for none.
    pub fn helped_by(&self, process: u32) {
        self.helper.store(process, Ordering::Relaxed);
    }

    /// The process that the work at hand began with, and the one that serves it.
    pub fn processes(&self) -> [Arc<AtomicU32>; 2] {
        [self.root.clone(), self.helper.clone()]
    }
}

/// Where an installed program is.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}
