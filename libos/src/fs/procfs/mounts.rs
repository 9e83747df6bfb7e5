//! `/proc/PID/mounts`, `mountinfo` and `mountstats`: the mounts that the process can reach.

use super::super::dentry::Dentry;
use super::super::mount::{self, Mount};
use super::super::path;
use super::super::pseudo::Text;
use super::target::Seen;
use crate::{Result, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What stands as `\ooo` in these files.
const SPECIAL: &[u8] = b" \t\n#";

/// Calls `f` with each mount that lies below the process's root, and its path from there.
fn each(seen: &Seen, t: &Task, mut f: impl FnMut(&Arc<Mount>, &[u8])) {
    let root = match &seen.task {
        Some(task) => task.fs(),
        None => t.fs(),
    };
    let root = root.root.lock().clone();
    for m in mount::list() {
        let shown = path::show(&m.path(), &root);
        if shown.reachable {
            f(&m, &shown.text);
        }
    }
}

fn source(m: &Mount) -> &[u8] {
    if m.source.is_empty() {
        b"none"
    } else {
        &m.source
    }
}

/// The options that belong to the mount, each after a comma.
fn options(out: &mut Text, flags: u32) {
    const NAMES: [(u32, &str); 7] = [
        (mount::NOSUID, ",nosuid"),
        (mount::NODEV, ",nodev"),
        (mount::NOEXEC, ",noexec"),
        (mount::NOATIME, ",noatime"),
        (mount::NODIRATIME, ",nodiratime"),
        (mount::RELATIME, ",relatime"),
        (mount::NOSYMFOLLOW, ",nosymfollow"),
    ];
    for (flag, name) in NAMES {
        if flags & flag != 0 {
            out.bytes(name.as_bytes());
        }
    }
}

fn access(read_only: bool) -> &'static str {
    if read_only { "ro" } else { "rw" }
}

/// `mounts`.
pub fn mounts(seen: &Seen, t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    each(seen, t, |m, at| {
        out.escaped(source(m), SPECIAL).bytes(b" ");
        out.escaped(at, SPECIAL);
        out.put(format_args!(" {} {}", m.fs().name(), access(m.read_only())));
        options(&mut out, m.flags());
        out.bytes(b" 0 0\n");
    });
    Ok(out.0)
}

/// A file's path within its file system.
fn inner(d: &Arc<Dentry>) -> Vec<u8> {
    let mut parts = Vec::new();
    let mut at = d.clone();
    while let (Some(parent), name) = at.place() {
        parts.push(name);
        at = parent;
    }
    let mut out = Vec::new();
    for name in parts.iter().rev() {
        out.push(b'/');
        out.extend_from_slice(name);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

/// `mountinfo`.
pub fn mountinfo(seen: &Seen, t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    each(seen, t, |m, at| {
        let parent = m.place().map_or(1, |p| p.mount.id);
        let dev = m.root.inode().stat().map_or(0, |s| s.dev);
        let (major, minor) = super::super::inode::split_dev(dev);
        out.put(format_args!("{} {parent} {major}:{minor} ", m.id));
        out.escaped(&inner(&m.root), SPECIAL).bytes(b" ");
        out.escaped(at, SPECIAL);
        let only = m.flags() & mount::RDONLY != 0;
        out.put(format_args!(" {}", access(only)));
        options(&mut out, m.flags());
        out.put(format_args!(" - {} ", m.fs().name()));
        out.escaped(source(m), SPECIAL);
        let all = m.sup.read_only.load(core::sync::atomic::Ordering::Relaxed);
        out.put(format_args!(" {}\n", access(all)));
    });
    Ok(out.0)
}

/// `mountstats`.
pub fn mountstats(seen: &Seen, t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    each(seen, t, |m, at| {
        out.bytes(b"device ").escaped(source(m), SPECIAL);
        out.bytes(b" mounted on ").escaped(at, SPECIAL);
        out.put(format_args!(" with fstype {}\n", m.fs().name()));
    });
    Ok(out.0)
}
