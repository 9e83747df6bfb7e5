//! Host files for unit tests: the machine's own, by `/proc/self/fd`.

use super::Mock;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::user;
use bastide_pal::file::{HostDirent, HostSetAttr, HostStatFs};
use bastide_pal::{Error, HostFd, HostFiles, HostStat, IoVec, Result};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Mutex;

const ENOSYS: Error = Error(38);
const EBADF: Error = Error(9);
const O_EXCL: u32 = 0o200;
const O_CREAT: u32 = 0o100;

static FILES: Mutex<BTreeMap<i32, Arc<File>>> = Mutex::new(BTreeMap::new());

fn error(e: io::Error) -> Error {
    Error(e.raw_os_error().unwrap_or(5))
}

fn keep(f: File) -> HostFd {
    let fd = f.as_raw_fd();
    FILES.lock().unwrap().insert(fd, Arc::new(f));
    HostFd(fd)
}

fn get(fd: HostFd) -> Result<Arc<File>> {
    FILES.lock().unwrap().get(&fd.0).cloned().ok_or(EBADF)
}

fn path(dir: HostFd, name: &[u8]) -> PathBuf {
    assert!(!name.contains(&b'/') && name != b"..", "one plain name");
    let mut p = PathBuf::from(alloc::format!("/proc/self/fd/{}", dir.0));
    if !name.is_empty() {
        p.push(OsStr::from_bytes(name));
    }
    p
}

/// Descriptors that are open.
pub fn open_count() -> usize {
    FILES.lock().unwrap().len()
}

/// A host directory of the test's own, removed with it.
pub struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Directory {
    /// Makes one, and opens it.
    pub fn new(name: &str) -> (Directory, HostFd) {
        let p = std::env::temp_dir().join(alloc::format!("bastide-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&p);
        fs::create_dir(&p).unwrap();
        let dir = File::open(&p).unwrap();
        (Directory(p), keep(dir))
    }

    /// A path in it.
    pub fn join(&self, name: impl AsRef<std::path::Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl HostFiles for Mock {
    fn open(&self, dir: HostFd, name: &[u8], flags: u32, mode: u32) -> Result<HostFd> {
        let mut o = OpenOptions::new();
        let access = flags & 3;
        o.read(access != 1).write(access != 0).mode(mode);
        if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL {
            o.create_new(true);
        }
        o.custom_flags((flags & !(3 | O_CREAT | O_EXCL)) as i32);
        // What is itself a link in /proc must not be taken for one in the tree.
        let name = if name.is_empty() { b"." } else { name };
        o.open(path(dir, name)).map(keep).map_err(error)
    }
    fn close(&self, fd: HostFd) {
        let gone = FILES.lock().unwrap().remove(&fd.0);
        drop(gone);
    }
    fn read(&self, fd: HostFd, iov: &[IoVec], offset: Option<u64>) -> Result<usize> {
        let f = get(fd)?;
        let mut total = 0;
        for v in iov {
            let mut buf = alloc::vec![0; v.len];
            let at = offset.ok_or(ENOSYS)? + total as u64;
            let n = f.read_at(&mut buf, at).map_err(error)?;
            user::write(v.addr, &buf[..n]).map_err(|_| Error(14))?;
            total += n;
        }
        Ok(total)
    }
    fn write(&self, fd: HostFd, iov: &[IoVec], offset: Option<u64>) -> Result<usize> {
        let f = get(fd)?;
        let mut total = 0;
        for v in iov {
            let mut buf = alloc::vec![0; v.len];
            user::read(v.addr, &mut buf).map_err(|_| Error(14))?;
            let at = offset.ok_or(ENOSYS)? + total as u64;
            total += f.write_at(&buf, at).map_err(error)?;
        }
        Ok(total)
    }
    fn seek(&self, _: HostFd, _: u64, _: u32) -> Result<u64> {
        Err(ENOSYS)
    }
    fn stat(&self, dir: HostFd, name: &[u8]) -> Result<HostStat> {
        let p = path(dir, name);
        let m = if name.is_empty() {
            fs::metadata(p)
        } else {
            fs::symlink_metadata(p)
        };
        let m = m.map_err(error)?;
        let time = |s: i64, ns: i64| s * 1_000_000_000 + ns;
        Ok(HostStat {
            dev: m.dev(),
            ino: m.ino(),
            mode: m.mode(),
            nlink: m.nlink(),
            uid: m.uid(),
            gid: m.gid(),
            rdev: m.rdev(),
            size: m.size(),
            blksize: m.blksize() as u32,
            blocks: m.blocks(),
            atime: time(m.atime(), m.atime_nsec()),
            mtime: time(m.mtime(), m.mtime_nsec()),
            ctime: time(m.ctime(), m.ctime_nsec()),
            btime: 0,
        })
    }
    fn statfs(&self, _: HostFd) -> Result<HostStatFs> {
        Err(ENOSYS)
    }
    fn set_attr(&self, dir: HostFd, name: &[u8], attr: &HostSetAttr) -> Result<()> {
        if let Some(size) = attr.size {
            get(dir)?.set_len(size).map_err(error)?;
        }
        if let Some(mode) = attr.mode {
            fs::set_permissions(path(dir, name), Permissions::from_mode(mode)).map_err(error)?;
        }
        Ok(())
    }
    fn read_dir(&self, fd: HostFd) -> Result<Vec<HostDirent>> {
        let list = fs::read_dir(path(fd, b"")).map_err(error)?;
        list.map(|e| {
            let e = e.map_err(error)?;
            Ok(HostDirent {
                ino: e.metadata().map_err(error)?.ino(),
                kind: (e.metadata().map_err(error)?.mode() >> 12) as u8,
                name: e.file_name().into_vec(),
            })
        })
        .collect()
    }
    fn read_link(&self, dir: HostFd, name: &[u8]) -> Result<Vec<u8>> {
        let p = fs::read_link(path(dir, name)).map_err(error)?;
        Ok(p.into_os_string().into_vec())
    }
    fn mkdir(&self, dir: HostFd, name: &[u8], _mode: u32) -> Result<()> {
        fs::create_dir(path(dir, name)).map_err(error)
    }
    fn mknod(&self, _: HostFd, _: &[u8], _: u32, _: u64) -> Result<()> {
        Err(ENOSYS)
    }
    fn symlink(&self, dir: HostFd, name: &[u8], target: &[u8]) -> Result<()> {
        let target = String::from_utf8_lossy(target).into_owned();
        std::os::unix::fs::symlink(target, path(dir, name)).map_err(error)
    }
    fn link(&self, dir: HostFd, name: &[u8], new_dir: HostFd, new_name: &[u8]) -> Result<()> {
        fs::hard_link(path(dir, name), path(new_dir, new_name)).map_err(error)
    }
    fn unlink(&self, dir: HostFd, name: &[u8], directory: bool) -> Result<()> {
        if directory {
            fs::remove_dir(path(dir, name)).map_err(error)
        } else {
            fs::remove_file(path(dir, name)).map_err(error)
        }
    }
    fn rename(
        &self,
        dir: HostFd,
        name: &[u8],
        new_dir: HostFd,
        new_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        if flags != 0 {
            return Err(ENOSYS);
        }
        fs::rename(path(dir, name), path(new_dir, new_name)).map_err(error)
    }
    fn fsync(&self, _: HostFd, _: bool) -> Result<()> {
        Ok(())
    }
    fn get_xattr(&self, _: HostFd, _: &[u8]) -> Result<Vec<u8>> {
        Err(ENOSYS)
    }
    fn set_xattr(&self, _: HostFd, _: &[u8], _: &[u8], _: u32) -> Result<()> {
        Err(ENOSYS)
    }
    fn list_xattr(&self, _: HostFd) -> Result<Vec<Vec<u8>>> {
        Err(ENOSYS)
    }
    fn remove_xattr(&self, _: HostFd, _: &[u8]) -> Result<()> {
        Err(ENOSYS)
    }
    fn fallocate(&self, _: HostFd, _: u32, _: u64, _: u64) -> Result<()> {
        Err(ENOSYS)
    }
    fn tty_ioctl(&self, _: HostFd, _: u32, _: &mut [u8]) -> Result<usize> {
        Err(ENOSYS)
    }
}
