//! `bastide volume import`: a host directory's files with all that belongs to them.

use super::copy::{CopyError, copy_in};
use super::{path, progress};
use crate::Failure;
use bastide_volume::{Error, New, SetAttr, SetXattr, Volume, mode};
use indicatif::ProgressBar;
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Copies the contents of `dir` into the directory `target` of the volume; how many files it was.
pub fn import(volume: &mut Volume, dir: &Path, target: &Path) -> Result<u64, Failure> {
    let to = path::find(volume, target)?;
    let bar = progress("importing", 0, "{bytes}/{total_bytes}");
    let mut import = Import {
        volume,
        links: HashMap::new(),
        files: 0,
        bar,
    };
    import.count(dir);
    import.dir(dir, to)?;
    import.attributes(dir, to)?;
    let done = import.volume.commit();
    done.map_err(|e| CopyError::from(e).of(dir.display()))?;
    import.bar.finish_and_clear();
    Ok(import.files)
}

struct Import<'a> {
    volume: &'a mut Volume,
    /// Files with several names: by device and number, the inode in the volume.
    links: HashMap<(u64, u64), u64>,
    files: u64,
    bar: ProgressBar,
}

impl Import<'_> {
    /// How much there is, for the bar.
    fn count(&self, dir: &Path) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => self.count(&entry.path()),
                Ok(meta) if meta.is_file() => self.bar.inc_length(meta.len()),
                _ => {}
            }
        }
    }

    fn dir(&mut self, dir: &Path, to: u64) -> Result<(), Failure> {
        let failed = |e: std::io::Error| CopyError::from(e).of(dir.display());
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            paths.push(entry.map_err(failed)?.path());
        }
        paths.sort();
        for path in paths {
            let meta = path.symlink_metadata().map_err(failed)?;
            let ino = self
                .entry(&path, &meta, to)
                .map_err(|e| e.of(path.display()))?;
            if meta.is_dir() {
                self.dir(&path, ino)?;
            }
            self.files += 1;
            // Last, as what is made in a directory moves its times.
            self.attributes(&path, ino)?;
        }
        Ok(())
    }

    /// Makes one file, with its contents.
    fn entry(&mut self, path: &Path, meta: &Metadata, to: u64) -> Result<u64, CopyError> {
        let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        let new = New {
            mode: meta.mode(),
            rdev: meta.rdev(),
            uid: meta.uid(),
            gid: meta.gid(),
        };
        if meta.is_dir() {
            // Directories that are there are filled.
            return match self.volume.create_file(to, name, &new) {
                Err(Error::Exists) => {
                    let ino = self.volume.lookup(to, name)?;
                    match self.volume.inode(ino)?.is_dir() {
                        true => Ok(ino),
                        false => Err(Error::Exists.into()),
                    }
                }
                made => Ok(made?),
            };
        }
        let id = (meta.dev(), meta.ino());
        if let Some(ino) = self.links.get(&id) {
            self.volume.link(to, name, *ino)?;
            return Ok(*ino);
        }
        let ino = match meta.mode() & mode::TYPE {
            mode::LINK => {
                let target = std::fs::read_link(path)?;
                (self.volume).symlink(to, name, target.as_os_str().as_bytes(), &new)?
            }
            kind => {
                let ino = self.volume.create_file(to, name, &new)?;
                if kind == mode::FILE {
                    let bar = self.bar.clone();
                    copy_in(self.volume, ino, File::open(path)?, |n| bar.inc(n))?;
                }
                ino
            }
        };
        if meta.nlink() > 1 {
            self.links.insert(id, ino);
        }
        Ok(ino)
    }

    /// Gives a file the attributes of another: owner, mode, extended attributes, times.
    fn attributes(&mut self, path: &Path, ino: u64) -> Result<(), Failure> {
        self.copy_attributes(path, ino)
            .map_err(|e| e.of(path.display()))
    }

    fn copy_attributes(&mut self, path: &Path, ino: u64) -> Result<(), CopyError> {
        for (name, value) in xattrs(path)? {
            self.volume.set_xattr(ino, &name, &value, SetXattr::Any)?;
        }
        let meta = path.symlink_metadata()?;
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        self.volume.set_attr(
            ino,
            &SetAttr {
                mode: Some(meta.mode() & 0o7777),
                uid: Some(meta.uid()),
                gid: Some(meta.gid()),
                atime: Some(ns(meta.atime(), meta.atime_nsec())),
                mtime: Some(ns(meta.mtime(), meta.mtime_nsec())),
                ..SetAttr::default()
            },
        )?;
        Ok(())
    }
}

/// A file's extended attributes; none where the host's file system has none.
fn xattrs(path: &Path) -> std::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // The kernel's limits of a list and of a value.
    let mut list = vec![0; 64 * 1024];
    let n = match rustix::fs::llistxattr(path, &mut list) {
        Ok(n) => n,
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::PERM) => 0,
        Err(e) => return Err(e.into()),
    };
    let names = list.get(..n).unwrap_or_default().split(|b| *b == 0);
    let mut out = Vec::new();
    for name in names.filter(|n| !n.is_empty()) {
        let mut value = vec![0; 64 * 1024];
        let n = rustix::fs::lgetxattr(path, name, &mut value)?;
        value.truncate(n);
        out.push((name.to_vec(), value));
    }
    Ok(out)
}
