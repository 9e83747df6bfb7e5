//! Which machine and which commit the figures are from.

use serde::{Deserialize, Serialize};
use std::fs;
use std::process::Command;

/// Where and when something was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub commit: String,
    pub date: String,
    pub cpu: String,
    pub processors: usize,
    pub memory_gib: u64,
    pub kernel: String,
    pub system: String,
    /// Others' work at the start: the load averages.
    pub load: String,
    /// `sched_autogroup_enabled`: 1 if the host divides its time by session.
    #[serde(default)]
    pub autogroup: String,
    /// gVisor's version, where it is installed.
    #[serde(default)]
    pub gvisor: String,
}

impl Machine {
    pub fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (cpuinfo, meminfo) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let field = |text: &str, name: &str, separator: char| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(separator));
            value.map_or_else(
                || "unknown".to_owned(),
                |(_, v)| v.trim_matches(['"', ' ']).into(),
            )
        };
        let memory = field(&meminfo, "MemTotal", ':');
        let kib = memory
            .split(' ')
            .next()
            .and_then(|kib| kib.parse::<u64>().ok());
        let load = read("/proc/loadavg");
        Machine {
            commit: commit(),
            date: output("date", &["-u", "+%-d %B %Y"]),
            cpu: field(&cpuinfo, "model name", ':'),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: kib.unwrap_or(0).div_ceil(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
            system: field(&read("/etc/os-release"), "PRETTY_NAME", '='),
            autogroup: read("/proc/sys/kernel/sched_autogroup_enabled")
                .trim()
                .into(),
            load: load.split(' ').take(3).collect::<Vec<_>>().join(" "),
            gvisor: output("runsc", &["--version"])
                .lines()
                .next()
                .unwrap_or_default()
                .into(),
        }
    }

    /// One sentence.
    pub fn describe(&self) -> String {
        let by_session = match self.autogroup.as_str() {
            "1" => "; time is divided by session",
            _ => "",
        };
        let with = if self.gvisor.is_empty() { "" } else { ", " };
        format!(
            "Commit {}, {}: {}, {} processors, {} GiB, Linux {}, {}{with}{}; load at the start {}{by_session}.",
            self.commit,
            self.date,
            self.cpu,
            self.processors,
            self.memory_gib,
            self.kernel,
            self.system,
            self.gvisor,
            self.load
        )
    }
}

/// What is checked out, and whether files differ from it.
fn commit() -> String {
    let dir = crate::context::benchmarks().display().to_string();
    let commit = output("git", &["-C", &dir, "rev-parse", "--short", "HEAD"]);
    if commit.is_empty() {
        return "unknown".into();
    }
    let changed = output("git", &["-C", &dir, "status", "--porcelain", "-uno"]);
    let mark = if changed.is_empty() {
        ""
    } else {
        " with changes"
    };
    commit + mark
}

fn output(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}
