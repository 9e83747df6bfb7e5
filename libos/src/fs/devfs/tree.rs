//! `/dev`: in-memory files, with the nodes that every Linux container has.

use crate::fs::inode::make_dev;
use crate::fs::mount::{NOEXEC, NOSUID};
use crate::fs::tmpfs::{Options, Tmpfs};
use crate::fs::{FileSystem, Kind, devfs::pts};
use crate::{Result, kernel};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Name, major and minor number, permissions.
const NODES: [(&[u8], u32, u32, u32); 8] = [
    (b"null", 1, 3, 0o666),
    (b"zero", 1, 5, 0o666),
    (b"full", 1, 7, 0o666),
    (b"random", 1, 8, 0o666),
    (b"urandom", 1, 9, 0o666),
    (b"tty", 5, 0, 0o666),
    (b"console", 5, 1, 0o620),
    (b"ptmx", 5, 2, 0o666),
];
const LINKS: [(&[u8], &[u8]); 4] = [
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
];
/// The group `tty` of Debian and others.
pub(super) const TTY_GROUP: u32 = 5;

/// A new `/dev`, without what [`submounts`] puts there.
pub fn new() -> Result<Arc<dyn FileSystem>> {
    let fs = Tmpfs::new(Options {
        size: 0,
        inodes: 0,
        mode: 0o755,
        uid: 0,
        gid: 0,
    });
    let root = fs.root();
    let user = kernel().config.uid;
    for (name, major, minor, bits) in NODES {
        let uid = if name == b"console" { user } else { 0 };
        let gid = if major == 5 { TTY_GROUP } else { 0 };
        let mode = Kind::Char.bits() | bits;
        root.create(name, mode, make_dev(major, minor), uid, gid)?;
    }
    for (name, target) in LINKS {
        root.symlink(name, target, 0, 0)?;
    }
    for name in [&b"pts"[..], b"shm", b"mqueue"] {
        root.create(name, Kind::Dir.bits() | 0o755, 0, 0, 0)?;
    }
    Ok(fs)
}

/// What is mounted in a new `/dev`: directory, file system, `MS_*` flags.
pub fn submounts() -> Vec<(&'static [u8], Arc<dyn FileSystem>, u32)> {
    let shm: Arc<dyn FileSystem> = Tmpfs::new(Options::default());
    alloc::vec![
        (&b"pts"[..], pts::devpts(), NOSUID | NOEXEC),
        (&b"shm"[..], shm, NOSUID),
    ]
}
