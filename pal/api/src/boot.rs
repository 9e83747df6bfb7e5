//! What the outer half tells the enclave at start.

use crate::HostFd;
use alloc::{boxed::Box, string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// The whole configuration of one run: the manifest after every default and command-line option
/// has been applied. Serialised with postcard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BootConfig {
    /// Program to run: a path inside the enclave, or a bare name looked up in `PATH`.
    pub program: Vec<u8>,
    /// Its arguments, `argv[0]` first.
    pub argv: Vec<Vec<u8>>,
    /// Its environment, `NAME=value` each.
    pub env: Vec<Vec<u8>>,
    /// Its working directory inside the enclave.
    pub cwd: Vec<u8>,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// `uname(2)` node name.
    pub hostname: Vec<u8>,
    pub umask: u32,
    /// Signals that the program ignores at its start, bit `n` for signal `n`: as a child of the
    /// caller would inherit them.
    pub ignored_signals: u64,
    /// A tiny init is process 1, and the program its child.
    pub init: bool,
    /// Mounted in order; the first is `/`.
    pub mounts: Vec<Mount>,
    /// Host descriptors that are the program's standard input, output and error.
    pub stdio: [Option<Stdio>; 3],
    /// The terminal that is the first session's controlling terminal.
    pub terminal: Option<HostFd>,
    /// strace-style trace to this descriptor.
    pub trace: Option<HostFd>,
    /// Trace prints only totals.
    pub trace_summary: bool,
    /// System call sites are rewritten to jumps.
    pub patch: bool,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    pub log: String,
    pub network: Network,
    /// (resource, soft, hard) as in `setrlimit(2)`.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// Entropy for address-space layout and hash tables.
    pub seed: [u8; 32],
}

/// One mount.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the enclave.
    pub target: Vec<u8>,
    pub source: Source,
    pub read_only: bool,
}

/// What is mounted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Source {
    /// A host directory or file, opened by the outer half with `O_PATH`.
    Host {
        root: HostFd,
    },
    /// In-memory files, at most `size` bytes (0: no limit).
    Tmpfs {
        size: u64,
        mode: u32,
    },
    /// Trees below, topmost first, which are only read, and the changes to them above.
    Overlay {
        lower: Vec<Source>,
        upper: Box<Source>,
    },
    /// A sealed volume in a host file, which the outer half opened, with the key that opens it.
    Volume {
        file: HostFd,
        key: [u8; 32],
        /// The file that remembers its newest state.
        anchor: Option<HostFd>,
        /// Bytes of contents that are kept in memory.
        cache: u64,
    },
    /// An image in a host file: a volume that is only read, all of which its root hash stands for.
    Image {
        file: HostFd,
        key: [u8; 32],
        root_hash: [u8; 32],
        /// As of a volume.
        cache: u64,
    },
    Proc,
    Dev,
    Sys,
}

impl Source {
    /// The host descriptors in it.
    pub fn descriptors(&self) -> Vec<HostFd> {
        match self {
            Source::Host { root } => [*root].into(),
            Source::Overlay { lower, upper } => {
                let lower = lower.iter().flat_map(Source::descriptors);
                lower.chain(upper.descriptors()).collect()
            }
            Source::Volume { file, anchor, .. } => [*file].into_iter().chain(*anchor).collect(),
            Source::Image { file, .. } => [*file].into(),
            Source::Tmpfs { .. } | Source::Proc | Source::Dev | Source::Sys => Vec::new(),
        }
    }
}

/// A standard descriptor inherited from the launcher.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stdio {
    pub fd: HostFd,
    /// It is a terminal.
    pub tty: bool,
    /// `O_RDONLY`, `O_WRONLY` or `O_RDWR`, with `O_APPEND`.
    pub flags: u32,
}

/// Which connections may cross the wall.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Network {
    /// No manifest: everything is allowed and host loopback is used.
    pub open: bool,
    /// Ports that may be bound on the host.
    pub publish: Vec<Publish>,
    /// Destinations that may be reached.
    pub connect: Vec<Connect>,
}

/// A published port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Publish {
    pub udp: bool,
    /// Port that the program binds.
    pub port: u16,
    /// Address on the host, IPv4 mapped into IPv6.
    pub host_addr: [u8; 16],
    pub host_port: u16,
}

/// A permitted destination: an address range (IPv4 mapped into IPv6) and ports.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Connect {
    pub addr: [u8; 16],
    pub prefix: u8,
    pub ports: (u16, u16),
}

impl BootConfig {
    /// The bytes that [`BootConfig::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// Reads a configuration; `None` if it is malformed.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}
