//! A server that runs as its manifest says: started, waited for, stopped, and nothing of it left.

use crate::command::ending;
use crate::copy::Copy;
use crate::{Ending, Scratch};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start or to stop on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A server started from `manifests/NAME.toml`, with its published ports on free ones of the host.
///
/// Its output goes to a file, which is shown when a test fails.
pub struct Server {
    copy: Copy,
    child: Child,
    ports: BTreeMap<u16, u16>,
    ended: bool,
}

impl Server {
    /// Starts the manifest `name`, publishing the inside's `ports`. `options` are further ones of
    /// `bastide run`, perhaps with `--` and arguments at their end. Does not wait.
    pub fn start(name: &str, ports: &[u16], options: &[&str]) -> Server {
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        let manifest = manifests.join(format!("{name}.toml"));
        Self::start_manifest(&manifest, ports, options)
    }

    /// As [`Server::start`], from a manifest elsewhere.
    pub fn start_manifest(manifest: &Path, ports: &[u16], options: &[&str]) -> Server {
        let name = manifest.file_stem().unwrap_or_default().display();
        let copy = Copy::new(&format!("server-{name}-{}", unique()));
        let ports: BTreeMap<u16, u16> = ports.iter().map(|&port| (port, free_port())).collect();
        let mut command = copy.command(&["run"]);
        command.arg(manifest);
        for (inside, outside) in &ports {
            command.args(["--publish", &format!("{outside}:{inside}")]);
        }
        let log = File::create(copy.scratch().path().join("log")).expect("cannot make a log");
        let child = command
            .args(options)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("cannot share the log"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("cannot start bastide");
        Server {
            copy,
            child,
            ports,
            ended: false,
        }
    }

    /// A directory for files of the test. It goes with the server.
    pub fn scratch(&self) -> &Scratch {
        self.copy.scratch()
    }

    /// Where the host listens for a port of the inside.
    pub fn address(&self, port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[&port]).into()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.scratch().path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until a port of the inside can be connected to, and returns where the host listens
    /// for it.
    #[track_caller]
    pub fn wait_for_port(&mut self, port: u16) -> SocketAddr {
        let address = self.address(port);
        self.wait_for("a listening port", |_| TcpStream::connect(address).is_ok());
        address
    }

    /// Waits until its output contains `text`.
    #[track_caller]
    pub fn wait_for_log(&mut self, text: &str) {
        self.wait_for(text, |server| server.log().contains(text));
    }

    /// Waits until `there` says so; the server must not end meanwhile.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, mut there: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !there(self) {
            let status = self.child.try_wait().expect("the child is ours");
            assert!(status.is_none(), "the server ended: {status:?}");
            assert!(Instant::now() < deadline, "waited too long for {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal to `bastide`, which passes it on to process 1.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the server runs");
    }

    /// The host's processes that are the enclave.
    pub fn processes(&self) -> Vec<u32> {
        self.copy.processes()
    }

    /// Processor time that the enclave has used so far.
    pub fn cpu_time(&self) -> Duration {
        let ticks = |pid: &u32| -> u64 {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit(')').next().unwrap_or_default();
            let fields = fields.split_whitespace().skip(11).take(2);
            fields.filter_map(|field| field.parse::<u64>().ok()).sum()
        };
        // Linux counts in hundredths of a second for programs, whatever it counts itself in.
        Duration::from_millis(10 * self.processes().iter().map(ticks).sum::<u64>())
    }

    /// Descriptors of the host that the enclave holds, which its processes share.
    pub fn descriptors(&self) -> usize {
        let of = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        self.processes().into_iter().map(of).max().unwrap_or(0)
    }

    /// Asks it to stop by SIGTERM. It must end as `expected`, leave no process, and free its ports.
    /// Returns what it wrote.
    #[track_caller]
    pub fn stop(self, expected: Ending) -> String {
        self.stop_by(Signal::TERM, expected)
    }

    /// As [`Server::stop`], by another signal.
    #[track_caller]
    pub fn stop_by(mut self, signal: Signal, expected: Ending) -> String {
        self.signal(signal);
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not stop");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(ending(status), expected, "it did not stop well");
        self.copy.gone();
        for (inside, outside) in &self.ports {
            let address = (Ipv4Addr::LOCALHOST, *outside);
            assert!(
                TcpStream::connect(address).is_err(),
                "port {inside} still answers"
            );
        }
        self.ended = true;
        self.log()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // A test failed: the reader wants to know what the server had to say.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        eprintln!("--- the server's output\n{}---", self.log());
    }
}

/// A port of the host that nothing listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the host has ports");
    listener.local_addr().expect("it is bound").port()
}

fn unique() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
