//! Running things to their end, servers, and what a tree of processes uses.

use crate::side::Side;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Nothing here takes nearly as long, also on a loaded machine.
const LIMIT: Duration = Duration::from_secs(180);

/// Linux's `USER_HZ`, in which /proc counts.
const TICKS_PER_SECOND: u64 = 100;

/// Kills a process group that is not done in time.
struct Watchdog {
    done: Sender<()>,
    thread: JoinHandle<bool>,
}

impl Watchdog {
    fn new(group: Pid) -> Self {
        let (done, wait): (_, Receiver<()>) = channel();
        let thread = thread::spawn(move || {
            let late = wait.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
            if late {
                let _ = kill_process_group(group, Signal::KILL);
            }
            late
        });
        Watchdog { done, thread }
    }

    /// Whether it had to bite.
    fn fired(self) -> bool {
        let _ = self.done.send(());
        self.thread.join().unwrap_or(true)
    }
}

/// Runs a command to its end; returns how long that took, and what it wrote. Anything but success
/// is an error.
pub fn run(mut command: Command, side: Option<&Side>) -> Result<(Duration, String), String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let start = Instant::now();
    let child = spawn(&mut command)?;
    if let Some(side) = side {
        side.started(child.id());
    }
    let watchdog = Watchdog::new(Pid::from_child(&child));
    let output = child.wait_with_output();
    let took = start.elapsed();
    let name = || command.get_program().display().to_string();
    if watchdog.fired() {
        return Err(format!("{} took more than {LIMIT:?}", name()));
    }
    let output = output.map_err(|error| format!("{}: {error}", name()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}; {}", name(), output.status, end_of(&said)));
    }
    Ok((took, String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn spawn(command: &mut Command) -> Result<Child, String> {
    command
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))
}

/// The same command, told to end when this process does, however that ends.
fn ending_with_us(command: Command) -> Command {
    let mut wrapped = Command::new("/usr/bin/setpriv");
    wrapped
        .args(["--pdeathsig", "TERM", "--"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    if let Some(dir) = command.get_current_dir() {
        wrapped.current_dir(dir);
    }
    wrapped
}

/// The last lines, on one line.
fn end_of(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

/// A program that stays until this is dropped.
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it and waits until it is `ready`; what it says goes to the file `log`.
    pub fn start(
        command: Command,
        side: &Side,
        log: &Path,
        ready: impl Fn() -> bool,
    ) -> Result<Self, String> {
        let mut command = ending_with_us(command);
        let file = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let again = file.try_clone().map_err(|error| error.to_string())?;
        command
            .stdin(Stdio::piped())
            .stdout(file)
            .stderr(again)
            .process_group(0);
        let child = spawn(&mut command)?;
        side.started(child.id());
        let mut server = Server {
            child,
            log: log.into(),
        };
        let deadline = Instant::now() + LIMIT / 3;
        while !ready() {
            let ended = server.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                return Err(match ended {
                    Some(status) => format!("the server ended ({status}): {}", server.said()),
                    None => format!("the server does not answer: {}", server.said()),
                });
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// The last that it said.
    pub fn said(&self) -> String {
        end_of(&fs::read_to_string(&self.log).unwrap_or_default())
    }

    /// Processor time that it has used so far.
    pub fn cpu(&self) -> Duration {
        cpu(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let process = Pid::from_child(&self.child);
        let _ = kill_process(process, Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = kill_process_group(process, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A port on which nobody listens.
pub fn free_port() -> u16 {
    // Apart for two runs at a time.
    let start = std::process::id() as u16 % 900;
    (start..1000)
        .map(|offset| 23_000 + offset)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a thousand ports are taken")
}

/// Whether somebody listens there.
pub fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// `root` and everything that descends from it.
fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let process = entry.file_name().to_string_lossy().parse::<u32>();
        if let Ok(process) = process
            && let Some(stat) = stat(process)
        {
            children.entry(stat[1] as u32).or_default().push(process);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(process) = found.get(next) {
        found.extend(children.remove(process).unwrap_or_default());
        next += 1;
    }
    found
}

/// The numbers of `/proc/PID/stat` from the state on (which comes out as 0).
fn stat(process: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold blanks and parentheses.
    let (_, fields) = text.rsplit_once(") ")?;
    let number = |field: &str| field.parse().unwrap_or(0);
    Some(fields.split_ascii_whitespace().map(number).collect())
}

/// User and system time of a tree, with its children that have ended and been waited for.
fn cpu(root: u32) -> Duration {
    let ticks: u64 = tree(root)
        .into_iter()
        .filter_map(stat)
        .map(|stat| stat[11..15].iter().sum::<u64>())
        .sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// Resident memory of a tree in MiB. A page that several processes share counts once, and a file in
/// memory that one of them has open counts in full, whether or not it is mapped.
pub fn memory(root: u32) -> f64 {
    let (mut own, mut shared) = (0, 0);
    let mut memfds = HashMap::new();
    for process in tree(root) {
        let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"));
        for line in rollup.unwrap_or_default().lines() {
            let mut words = line.split_ascii_whitespace();
            let (name, size) = (words.next().unwrap_or_default(), words.next());
            let kib = size.and_then(|size| size.parse::<u64>().ok()).unwrap_or(0);
            match name {
                "Pss_Anon:" | "Pss_File:" => own += kib,
                "Pss_Shmem:" => shared += kib,
                _ => {}
            }
        }
        let fds = fs::read_dir(format!("/proc/{process}/fd"));
        for fd in fds.into_iter().flatten().flatten() {
            let is_memfd = fs::read_link(fd.path())
                .is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:"));
            if is_memfd && let Ok(meta) = fs::metadata(fd.path()) {
                memfds.insert((meta.dev(), meta.ino()), meta.blocks() / 2);
            }
        }
    }
    let in_memfds: u64 = memfds.values().sum();
    (own + shared.max(in_memfds)) as f64 / 1024.0
}

/// Starts a program that says something and then waits; returns what it holds then, in MiB.
pub fn resting_memory(mut command: Command) -> Result<f64, String> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let mut child = spawn(&mut command)?;
    let watchdog = Watchdog::new(Pid::from_child(&child));
    let mut byte = [0];
    let said = child.stdout.take().map(|mut out| out.read_exact(&mut byte));
    let holds = memory(child.id());
    drop(child.stdin.take());
    let _ = child.wait();
    match said {
        Some(Ok(())) if !watchdog.fired() => Ok(holds),
        _ => Err("the program said nothing".into()),
    }
}
