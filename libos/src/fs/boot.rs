//! The tree of files as the configuration describes it.

use super::dentry::Dentry;
use super::mount::{self, Mount, RELATIME, Super};
use super::tmpfs::{Options, Tmpfs};
use super::{
    FdFlags, FdTable, FileSystem, FsInfo, Kind, Path, devfs, hostfs, overlay, procfs, sysfs, tty,
    volume,
};
use crate::{Errno, Result, pal};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_pal::BootConfig;
use bastide_pal::boot::{self, Source};

/// Mounts everything in order; the first is the root. A place that does not exist is made, or
/// only shown if it cannot be (or would appear on the host).
pub fn mount_all(config: &BootConfig) -> Result<()> {
    for m in &config.mounts {
        mount_one(m).inspect_err(|e| {
            let target = String::from_utf8_lossy(&m.target);
            let line = alloc::format!("bastide: cannot mount {target}: {e:?}\n");
            pal().log(line.as_bytes());
        })?;
    }
    if mount::root().is_none() {
        return Err(Errno::ENOENT);
    }
    Ok(())
}

fn mount_one(m: &boot::Mount) -> Result<()> {
    let (fs, source) = file_system(&m.source, m.read_only)?;
    let mut flags = RELATIME;
    if m.read_only {
        flags |= mount::RDONLY;
    }
    let sup = Super::new(fs);
    let root = sup.root.clone();
    let at = match mount::root() {
        Some(top) => {
            let is_dir = root.kind() == Kind::Dir;
            Some(resolve(&top, &m.target, |dir, name, last| {
                make(dir, name, is_dir || !last)
            })?)
        }
        None => None,
    };
    let mounted = Mount::new(sup, root, source, flags);
    mount::attach(&mounted, at);
    if m.source == Source::Dev {
        for (name, fs, flags) in devfs::submounts() {
            let dir = mounted.path();
            let dentry = dir.dentry.child(name)?.ok_or(Errno::ENOENT)?;
            let sup = Super::new(fs.clone());
            let root = sup.root.clone();
            let new = Mount::new(sup, root, fs.name().as_bytes(), flags | RELATIME);
            let place = Path { dentry, ..dir };
            mount::attach(&new, Some(place));
        }
    }
    Ok(())
}

/// The file system that is described, and what `/proc/mounts` calls its source.
fn file_system(source: &Source, read_only: bool) -> Result<(Arc<dyn FileSystem>, &'static [u8])> {
    Ok(match *source {
        Source::Host { root } => (hostfs::new(root, read_only)?, b"host"),
        Source::Tmpfs { size, mode } => (memory(size, mode), b"tmpfs"),
        Source::Overlay {
            ref lower,
            ref upper,
        } => {
            let kept = matches!(**upper, Source::Volume { .. });
            let lower = lower.iter().map(|source| Ok(file_system(source, true)?.0));
            let lower = lower.collect::<Result<_>>()?;
            let (upper, _) = file_system(upper, false)?;
            let fs = match kept {
                true => overlay::kept(lower, upper)?,
                false => overlay::new(lower, upper)?,
            };
            (fs, b"overlay")
        }
        Source::Volume {
            file,
            ref key,
            anchor,
            cache,
        } => (volume::new(file, key, anchor, read_only, cache)?, b"volume"),
        Source::Image {
            file,
            ref key,
            ref root_hash,
            cache,
        } => (volume::image(file, key, root_hash, cache)?, b"image"),
        Source::Dev => (special(b"devtmpfs")?, b"dev"),
        Source::Proc => (special(b"proc")?, b"proc"),
        Source::Sys => (special(b"sysfs")?, b"sysfs"),
    })
}

/// A file system that the kernel itself makes up, by its name in `mount(2)`; ENODEV.
pub fn special(name: &[u8]) -> Result<Arc<dyn FileSystem>> {
    match name {
        b"devtmpfs" => devfs::new(),
        b"proc" => Ok(procfs::new()),
        b"sysfs" => Ok(sysfs::new()),
        _ => Err(Errno::ENODEV),
    }
}

fn memory(size: u64, mode: u32) -> Arc<dyn FileSystem> {
    Tmpfs::new(Options {
        size,
        inodes: 0,
        mode,
        uid: 0,
        gid: 0,
    })
}

/// The place that `path` names below `root`; `missing` says what stands for a name that is not
/// there, given its directory and whether it is the last.
fn resolve(
    root: &Path,
    path: &[u8],
    missing: impl Fn(&Path, &[u8], bool) -> Result<Arc<Dentry>>,
) -> Result<Path> {
    let mut at = root.clone();
    let mut left: Vec<Vec<u8>> = parts(path).rev().collect();
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name == b".." {
            at = at.parent().map_or_else(|| root.clone(), mount::top);
            continue;
        }
        if !at.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let found = match at.dentry.child(&name)? {
            Some(d) => d,
            None => missing(&at, &name, left.is_empty())?,
        };
        if found.kind() == Kind::Symlink {
            links += 1;
            if links > 40 {
                return Err(Errno::ELOOP);
            }
            let text = found.inode().read_link()?;
            if text.first() == Some(&b'/') {
                at = root.clone();
            }
            left.extend(parts(&text).rev());
            continue;
        }
        at.dentry = found;
        at = mount::top(at);
    }
    Ok(at)
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> + '_ {
    path.split(|&b| b == b'/')
        .filter(|p| !p.is_empty() && *p != b".")
        .map(<[u8]>::to_vec)
}

/// Something to mount on.
fn make(dir: &Path, name: &[u8], want_dir: bool) -> Result<Arc<Dentry>> {
    let mode = if want_dir { 0o40755 } else { 0o100644 };
    // What has volatile names is the host's, where nothing should appear that was not asked for.
    if !dir.mount.read_only() && !dir.mount.fs().volatile() {
        let names = dir.dentry.lock_names();
        if let Ok(inode) = dir.inode().create(name, mode, 0, 0, 0) {
            return Ok(names.add(name, inode));
        }
    }
    let scratch = memory(0, 0o755).root();
    let inode = scratch.create(name, mode, 0, 0, 0)?;
    Ok(dir.dentry.add_synthetic(name, inode))
}

/// Root, working directory and umask of the first process. ENOENT (and a message) if there is no
/// such working directory.
pub fn first_places(config: &BootConfig) -> Result<Arc<FsInfo>> {
    let root = mount::root().ok_or(Errno::ENOENT)?;
    let info = FsInfo::at(root.clone(), config.umask);
    let cwd = resolve(&root, &config.cwd, |_, _, _| Err(Errno::ENOENT)).and_then(|p| {
        if p.is_dir() {
            Ok(p)
        } else {
            Err(Errno::ENOTDIR)
        }
    });
    *info.cwd.lock() = cwd.inspect_err(|_| {
        let dir = String::from_utf8_lossy(&config.cwd);
        let line = alloc::format!(
            "bastide: there is no directory {dir} inside the enclave; set cwd, or mount it\n"
        );
        pal().log(line.as_bytes());
    })?;
    Ok(info)
}

/// The first process's descriptors: the launcher's standard ones.
pub fn first_files(config: &BootConfig) -> Arc<FdTable> {
    let table = FdTable::new();
    for (fd, stdio) in (0..).zip(&config.stdio) {
        if let Some(s) = stdio {
            let file = tty::console::stdio(s);
            let _ = table.replace(fd, file, FdFlags::empty(), 3);
        }
    }
    table
}
