//! Contents between host files and a volume's.

use super::{path, wrong};
use crate::Failure;
use bastide_volume::{Error, New, SetAttr, Volume, mode};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes that are copied at a time.
const PIECE: usize = 256 * 1024;

/// What can fail on either side.
pub enum CopyError {
    Host(std::io::Error),
    Volume(Error),
}

impl CopyError {
    /// For a person: which file it was.
    pub fn of(self, path: impl std::fmt::Display) -> Failure {
        match self {
            CopyError::Host(e) => Failure::new(format!("{path}: {e}")),
            CopyError::Volume(e) => wrong(path, e),
        }
    }
}

impl From<std::io::Error> for CopyError {
    fn from(e: std::io::Error) -> Self {
        CopyError::Host(e)
    }
}

impl From<Error> for CopyError {
    fn from(e: Error) -> Self {
        CopyError::Volume(e)
    }
}

/// Copies contents into a file of the volume; pieces of zeros become holes.
pub fn copy_in(
    volume: &mut Volume,
    ino: u64,
    mut from: impl Read,
    mut done: impl FnMut(u64),
) -> Result<(), CopyError> {
    let mut buf = vec![0; PIECE];
    let mut at = 0;
    loop {
        let mut n = 0;
        while let Some(rest) = buf.get_mut(n..).filter(|r| !r.is_empty()) {
            match from.read(rest)? {
                0 => break,
                read => n += read,
            }
        }
        let data = buf.get(..n).unwrap_or_default();
        if data.is_empty() {
            break;
        }
        if data.iter().any(|b| *b != 0) {
            let mut put = 0;
            while let Some(rest) = data.get(put..).filter(|r| !r.is_empty()) {
                put += volume.write(ino, at + put as u64, rest)?;
            }
        }
        at += n as u64;
        done(n as u64);
    }
    let size = Some(at);
    volume.set_attr(
        ino,
        &SetAttr {
            size,
            ..SetAttr::default()
        },
    )?;
    Ok(())
}

/// Copies a file's contents out of the volume.
pub fn copy_out(
    volume: &mut Volume,
    ino: u64,
    mut to: impl Write,
    mut done: impl FnMut(u64),
) -> Result<(), CopyError> {
    let mut buf = vec![0; PIECE];
    let mut at = 0;
    loop {
        let n = volume.read(ino, at, &mut buf)?;
        if n == 0 {
            return Ok(());
        }
        to.write_all(buf.get(..n).unwrap_or_default())?;
        at += n as u64;
        done(n as u64);
    }
}

/// `bastide volume put`.
pub fn put(volume: &mut Volume, source: &Path, target: &Path) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::new(format!("{}: {e}", source.display()));
    let file = File::open(source).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        let help = "\n  = help: `bastide volume import` copies directories";
        return Err(Failure::new(format!(
            "{} is not a regular file{help}",
            source.display()
        )));
    }
    let (dir, name) = path::place(volume, target, source.file_name().map(|n| n.as_bytes()))?;
    let copied = put_file(volume, dir, &name, &file, &meta);
    copied.map_err(|e| e.of(target.display()))
}

fn put_file(
    volume: &mut Volume,
    dir: u64,
    name: &[u8],
    file: &File,
    meta: &std::fs::Metadata,
) -> Result<(), CopyError> {
    let new = New {
        mode: mode::FILE | meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        rdev: 0,
    };
    // It takes the name once it is whole.
    let ino = volume.tmpfile(&new)?;
    volume.hold(ino);
    let bar = super::progress("copying", meta.len(), "{bytes}/{total_bytes}");
    copy_in(volume, ino, file, |n| bar.inc(n))?;
    bar.finish_and_clear();
    match volume.lookup(dir, name) {
        Ok(_) => volume.unlink(dir, name)?,
        Err(Error::NotFound) => {}
        Err(e) => return Err(e.into()),
    }
    volume.link(dir, name, ino)?;
    volume.release(ino)?;
    Ok(volume.commit()?)
}

/// `bastide volume get`.
pub fn get(volume: &mut Volume, source: &Path, target: &Path) -> Result<(), Failure> {
    let ino = path::find(volume, source)?;
    let inode = volume.inode(ino).map_err(|e| wrong(source.display(), e))?;
    if inode.kind() != mode::FILE {
        let help = "\n  = help: `bastide volume export` copies directories";
        return Err(Failure::new(format!(
            "{} is not a regular file{help}",
            source.display()
        )));
    }
    let target = match (target.is_dir(), source.file_name()) {
        (true, Some(name)) => target.join(name),
        _ => target.to_owned(),
    };
    let file = File::create(&target)
        .map_err(|e| Failure::new(format!("cannot make {}: {e}", target.display())))?;
    let bar = super::progress("copying", inode.size, "{bytes}/{total_bytes}");
    copy_out(volume, ino, &file, |n| bar.inc(n)).map_err(|e| e.of(source.display()))?;
    bar.finish_and_clear();
    Ok(())
}
