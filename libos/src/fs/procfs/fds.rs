//! `/proc/PID/fd` and `fdinfo`, and the links to the program and the directories.

use super::super::file::{O_ACCMODE, O_RDWR, O_WRONLY};
use super::super::pseudo::Text;
use super::super::{FdFlags, FdTable, File, Path, path};
use super::target::Seen;
use crate::{Errno, Result};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

const O_CLOEXEC: u32 = 0o2000000;
const O_PATH: u32 = super::super::file::O_PATH;

fn table(seen: &Seen) -> Result<Arc<FdTable>> {
    Ok(seen.task.as_ref().ok_or(Errno::ENOENT)?.files())
}

/// A descriptor's number as a name.
pub fn parse(name: &[u8]) -> Option<i32> {
    if name == b"0" {
        return Some(0);
    }
    super::parse_id(name)
}

/// The file behind a descriptor; ENOENT.
pub fn file(seen: &Seen, fd: i32) -> Result<(Arc<File>, FdFlags)> {
    table(seen)?.get_with_flags(fd).map_err(|_| Errno::ENOENT)
}

/// The descriptors from a number on.
pub fn list(seen: &Seen, from: i32) -> Vec<i32> {
    let mut all = table(seen).map_or_else(|_| Vec::new(), |t| t.list());
    all.retain(|&fd| fd >= from);
    all
}

/// How many there are.
pub fn count(seen: &Seen) -> usize {
    table(seen).map_or(0, |t| t.list().len())
}

/// Slots that the table has room for, `FDSize`.
pub fn room(seen: &Seen) -> usize {
    let last = table(seen).ok().and_then(|t| t.list().last().copied());
    let slots = last.map_or(0, |fd| fd as usize + 1);
    match slots {
        0..=64 => 64,
        65..=256 => 256,
        n => n.next_power_of_two(),
    }
}

/// The permissions of a link: how the file is open.
pub fn link_mode(seen: &Seen, fd: i32) -> u32 {
    let Ok((f, _)) = file(seen, fd) else {
        return 0;
    };
    if f.flags() & O_PATH != 0 {
        return 0o100;
    }
    match f.flags() & O_ACCMODE {
        0 => 0o500,
        O_WRONLY => 0o300,
        O_RDWR => 0o700,
        _ => 0o100,
    }
}

/// Where a descriptor's file is.
pub fn path(seen: &Seen, fd: i32) -> Result<Path> {
    Ok(path::of_file(&file(seen, fd)?.0))
}

/// `fdinfo/N`.
pub fn info(seen: &Seen, fd: i32) -> Result<Vec<u8>> {
    let (f, fd_flags) = file(seen, fd)?;
    let mut flags = f.flags();
    if fd_flags.contains(FdFlags::CLOEXEC) {
        flags |= O_CLOEXEC;
    }
    let pos = *f.pos.lock();
    let at = path::of_file(&f);
    let ino = at.inode().stat().map_or(0, |s| s.ino);
    let mut out = Text::new();
    out.put(format_args!(
        "pos:\t{pos}\nflags:\t0{flags:o}\nmnt_id:\t{}\nino:\t{ino}\n",
        at.mount.id
    ));
    let mut more = String::new();
    f.ops.fdinfo(&mut more);
    out.bytes(more.as_bytes());
    Ok(out.0)
}

/// `cwd`.
pub fn cwd(seen: &Seen) -> Result<Path> {
    let fs = seen.task.as_ref().ok_or(Errno::ENOENT)?.fs();
    let p = fs.cwd.lock().clone();
    Ok(p)
}

/// `root`.
pub fn root(seen: &Seen) -> Result<Path> {
    let fs = seen.task.as_ref().ok_or(Errno::ENOENT)?.fs();
    let p = fs.root.lock().clone();
    Ok(p)
}

/// `exe`.
pub fn exe(seen: &Seen) -> Result<Path> {
    let exe = seen.process.exe.lock().clone();
    Ok(path::of_file(&exe.ok_or(Errno::ENOENT)?))
}
