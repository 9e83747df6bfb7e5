//! A copy of the executable, by which the host's processes that run it are known.

use crate::{Scratch, bastide, command};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// A copy of the executable, by which the host's processes that run it are known.
pub struct Copy {
    scratch: Scratch,
    path: PathBuf,
}

impl Copy {
    pub fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let path = scratch.path().join("bastide");
        // A second link is enough to have a name of its own, where the file systems allow it.
        fs::hard_link(bastide(), &path)
            .or_else(|_| fs::copy(bastide(), &path).map(drop))
            .expect("cannot copy the executable");
        Copy { scratch, path }
    }

    /// The directory of the copy, for other files of the test.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// `bastide` with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command(&self.path, self.scratch.path());
        command.args(args);
        command
    }

    /// The processes that run the copy, and are not zombies.
    pub fn processes(&self) -> Vec<u32> {
        fs::read_dir("/proc")
            .expect("/proc is there")
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.path)
            })
            .collect()
    }

    /// No process of it is left, or soon will be.
    #[track_caller]
    pub fn gone(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.processes().is_empty() {
            assert!(
                Instant::now() < deadline,
                "left behind: {:?}",
                self.processes()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
