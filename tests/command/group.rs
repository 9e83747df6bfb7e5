//! A run that is killed as a whole, as a power cut ends it.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A command in a process group of its own.
pub struct Group {
    child: Child,
    /// What it prints.
    pub lines: Lines<BufReader<ChildStdout>>,
}

impl Group {
    pub fn start(mut command: Command, input: Stdio) -> Self {
        command.stdin(input).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Group { child, lines }
    }

    /// Kills all of it. What it had printed before can still be read.
    pub fn kill(&mut self) {
        kill_process_group(Pid::from_child(&self.child), Signal::KILL).unwrap();
        self.child.wait().unwrap();
    }
}
