//! `bastide volume export`: a directory of a volume, with all that belongs to its files.

use super::copy::{CopyError, copy_out};
use super::{path, progress, wrong};
use crate::{Failure, say};
use bastide_volume::{Inode, Volume, mode};
use indicatif::ProgressBar;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Error as IoError, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Copies the contents of the directory `source` of the volume to `dir`, which is new or empty: so
/// there is nothing there that a name could lead astray to.
pub fn export(volume: &mut Volume, dir: &Path, source: &Path) -> Result<(), Failure> {
    let from = path::find(volume, source)?;
    let failed = |e: IoError| Failure::new(format!("{}: {e}", dir.display()));
    match std::fs::create_dir(dir) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            if std::fs::read_dir(dir).map_err(failed)?.next().is_some() {
                return Err(Failure::new(format!(
                    "{} is not empty\n  = help: name a new directory",
                    dir.display()
                )));
            }
        }
        made => made.map_err(failed)?,
    }
    let used = volume.usage();
    let bar = progress("exporting", used.inodes, "{pos}/{len} files");
    let mut export = Export {
        volume,
        links: HashMap::new(),
        owner: rustix::process::geteuid().is_root(),
        files: 0,
        bar,
    };
    export.dir(dir, from)?;
    export.bar.finish_and_clear();
    println!("{} files exported", export.files);
    if !export.owner {
        say("note: not being root, the files are yours, and device nodes are left out");
    }
    Ok(())
}

struct Export<'a> {
    volume: &'a mut Volume,
    /// Files with several names: where the first is.
    links: HashMap<u64, PathBuf>,
    /// Owners can be set.
    owner: bool,
    files: u64,
    bar: ProgressBar,
}

impl Export<'_> {
    fn dir(&mut self, dir: &Path, from: u64) -> Result<(), Failure> {
        let mut names = Vec::new();
        let read = self.volume.read_dir(from, 0, &mut |e, _| {
            names.push((e.name.clone(), e.ino));
            true
        });
        read.map_err(|e| wrong(dir.display(), e))?;
        names.sort();
        for (name, ino) in names {
            let path = dir.join(OsStr::from_bytes(&name));
            let failed = |e: CopyError| e.of(path.display());
            let inode = self.volume.inode(ino).map_err(|e| failed(e.into()))?;
            self.bar.inc(1);
            if inode.is_dir() {
                std::fs::create_dir(&path).map_err(|e| failed(e.into()))?;
                self.dir(&path, ino)?;
            } else if self.file(&path, ino, &inode).map_err(failed)? {
                self.attributes(&path, ino, &inode).map_err(failed)?;
            }
            self.files += 1;
        }
        let failed = |e: CopyError| e.of(dir.display());
        let inode = self.volume.inode(from).map_err(|e| failed(e.into()))?;
        self.attributes(dir, from, &inode).map_err(failed)
    }

    /// Makes what is not a directory; false if it needs no attributes, or could not be made.
    fn file(&mut self, path: &Path, ino: u64, inode: &Inode) -> Result<bool, CopyError> {
        if let Some(first) = self.links.get(&ino) {
            std::fs::hard_link(first, path)?;
            return Ok(false);
        }
        if inode.nlink > 1 {
            self.links.insert(ino, path.to_owned());
        }
        match inode.kind() {
            mode::FILE => {
                copy_out(self.volume, ino, File::create_new(path)?, |_| {})?;
            }
            mode::LINK => {
                let target = self.volume.read_link(ino)?;
                std::os::unix::fs::symlink(OsStr::from_bytes(&target), path)?;
            }
            kind => {
                let file_type = FileType::from_raw_mode(kind);
                let device = matches!(kind, mode::CHAR | mode::BLOCK);
                if device && !self.owner {
                    return Ok(false);
                }
                let bits = Mode::from_raw_mode(inode.mode & 0o777);
                rustix::fs::mknodat(CWD, path, file_type, bits, inode.rdev)
                    .map_err(IoError::from)?;
            }
        }
        Ok(true)
    }

    /// Owner first, as a change of it clears bits of the mode; times last.
    fn attributes(&mut self, path: &Path, ino: u64, inode: &Inode) -> Result<(), CopyError> {
        if self.owner {
            let (uid, gid) = (Uid::from_raw(inode.uid), Gid::from_raw(inode.gid));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(CWD, path, Some(uid), Some(gid), flags).map_err(IoError::from)?;
        }
        for name in self.volume.list_xattr(ino)? {
            let value = self.volume.get_xattr(ino, &name)?;
            rustix::fs::lsetxattr(path, &name[..], &value, XattrFlags::empty())
                .map_err(IoError::from)?;
        }
        if inode.kind() != mode::LINK {
            let bits = Mode::from_raw_mode(inode.mode & 0o7777);
            rustix::fs::chmodat(CWD, path, bits, AtFlags::empty()).map_err(IoError::from)?;
        }
        let time = |ns: i64| Timespec {
            tv_sec: ns.div_euclid(1_000_000_000),
            tv_nsec: ns.rem_euclid(1_000_000_000),
        };
        let times = Timestamps {
            last_access: time(inode.atime),
            last_modification: time(inode.mtime),
        };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(IoError::from)?;
        Ok(())
    }
}
