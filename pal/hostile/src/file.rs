//! Files.

use crate::{Hostile, Lie, call, error};
use bastide_pal::file::{HostDirent, HostSetAttr, HostStatFs};
use bastide_pal::{HostFd, HostFiles, HostStat, IoVec, Result};
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

/// A name in a directory as a path of this process.
fn path(dir: HostFd, name: &[u8]) -> PathBuf {
    let mut p = PathBuf::from(format!("/proc/self/fd/{}", dir.0));
    if !name.is_empty() {
        p.push(OsStr::from_bytes(name));
    }
    p
}

fn c_path(dir: HostFd, name: &[u8]) -> Result<CString> {
    CString::new(path(dir, name).into_os_string().into_vec()).map_err(|e| error(e.into()))
}

fn c_str(s: &[u8]) -> Result<CString> {
    CString::new(s).map_err(|e| error(e.into()))
}

/// What a call writes to the buffer that follows its first arguments.
fn filled(nr: libc::c_long, first: &[usize]) -> Result<Vec<u8>> {
    let mut buf = vec![0u8; 64 << 10];
    let mut a = [0; 6];
    a[..first.len()].copy_from_slice(first);
    a[first.len()] = buf.as_mut_ptr() as usize;
    a[first.len() + 1] = buf.len();
    let n = call(nr, a)?;
    buf.truncate(n);
    Ok(buf)
}

const AT_FDCWD: usize = libc::AT_FDCWD as usize;

impl Hostile {
    /// Reads or writes by the call with or without an offset.
    fn transfer(
        &self,
        (with, without): (libc::c_long, libc::c_long),
        fd: HostFd,
        iov: &[IoVec],
        offset: Option<u64>,
    ) -> Result<usize> {
        let (nr, at) = offset.map_or((without, 0), |o| (with, o as usize));
        let list = iov.as_ptr() as usize;
        call(nr, [fd.0 as usize, list, iov.len(), at, 0, 0])
    }

    /// Two paths for a call as `renameat2`.
    fn two(
        &self,
        nr: libc::c_long,
        from: (HostFd, &[u8]),
        to: (HostFd, &[u8]),
        flags: usize,
    ) -> Result<()> {
        let (a, b) = (c_path(from.0, from.1)?, c_path(to.0, to.1)?);
        let (a, b) = (a.as_ptr() as usize, b.as_ptr() as usize);
        call(nr, [AT_FDCWD, a, AT_FDCWD, b, flags, 0]).map(drop)
    }
}

/// Names that no directory has, and one that exists.
fn nonsense() -> Vec<HostDirent> {
    let names: [&[u8]; 9] = [
        b"",
        b".",
        b"..",
        b"a/b",
        b"/",
        b"a\0b",
        b"\0",
        &[b'x'; 300],
        b"file",
    ];
    names
        .iter()
        .map(|n| HostDirent {
            ino: u64::MAX,
            kind: 0xff,
            name: n.to_vec(),
        })
        .collect()
}

impl HostFiles for Hostile {
    fn open(&self, dir: HostFd, name: &[u8], flags: u32, mode: u32) -> Result<HostFd> {
        self.check("open")?;
        let p = c_path(dir, name)?;
        // What the kernel knows as an open file is here a link in /proc.
        let flags = if name.is_empty() {
            flags as i32 & !libc::O_NOFOLLOW
        } else {
            flags as i32
        };
        let flags = flags | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let a = [
            AT_FDCWD,
            p.as_ptr() as usize,
            flags as usize,
            mode as usize,
            0,
            0,
        ];
        let fd = call(libc::SYS_openat, a)?;
        Ok(self.descriptor("open", HostFd(fd as i32)))
    }
    fn close(&self, fd: HostFd) {
        crate::close(fd);
    }
    fn read(&self, fd: HostFd, iov: &[IoVec], offset: Option<u64>) -> Result<usize> {
        self.check("read")?;
        let asked = iov.iter().map(|v| v.len).sum();
        let n = self.transfer((libc::SYS_preadv, libc::SYS_readv), fd, iov, offset)?;
        // Other contents than a file's are no lie the kernel could notice; a length is.
        let n = if self.changed("read") { asked } else { n };
        Ok(self.length("read", n, asked))
    }
    fn write(&self, fd: HostFd, iov: &[IoVec], offset: Option<u64>) -> Result<usize> {
        self.check("write")?;
        let asked = iov.iter().map(|v| v.len).sum();
        let n = self.transfer((libc::SYS_pwritev, libc::SYS_writev), fd, iov, offset)?;
        Ok(self.length("write", n, asked))
    }
    fn seek(&self, fd: HostFd, offset: u64, whence: u32) -> Result<u64> {
        self.check("seek")?;
        let a = [fd.0 as usize, offset as usize, whence as usize, 0, 0, 0];
        let n = call(libc::SYS_lseek, a)?;
        Ok(match self.lie("seek") {
            Some(Lie::Changed) => u64::MAX,
            _ => self.length("seek", n, n) as u64,
        })
    }
    fn stat(&self, dir: HostFd, name: &[u8]) -> Result<HostStat> {
        self.check("stat")?;
        let p = path(dir, name);
        let m = if name.is_empty() {
            fs::metadata(p)
        } else {
            fs::symlink_metadata(p)
        };
        let m = m.map_err(error)?;
        let time = |s: i64, ns: i64| s * 1_000_000_000 + ns;
        let mut st = HostStat {
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
        };
        if self.changed("stat") {
            // In turn: a kind that does not exist, a size that does not, and what may be true.
            static TURN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
            let turn = TURN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            match turn % 4 {
                0 => st.mode = u32::MAX,
                1 => st.size = u64::MAX,
                2 => st.mode ^= 0o060000,
                _ => st.size = i64::MAX as u64,
            }
            st.nlink = u64::MAX;
            st.uid = u32::MAX;
            st.blksize = turn % 2 * u32::MAX;
            st.blocks = u64::MAX;
            st.atime = i64::MIN;
            st.mtime = i64::MAX;
            st.ctime = -1;
            st.btime = i64::MIN;
        }
        Ok(st)
    }
    fn statfs(&self, fd: HostFd) -> Result<HostStatFs> {
        self.check("statfs")?;
        let value = if self.changed("statfs") {
            u64::MAX
        } else {
            4096
        };
        Ok(HostStatFs {
            kind: value,
            bsize: if fd.0 % 2 == 0 {
                value
            } else {
                value / 4096 - 1
            },
            blocks: value,
            bfree: value,
            bavail: value,
            files: value,
            ffree: value,
            namelen: value,
        })
    }
    fn set_attr(&self, dir: HostFd, name: &[u8], attr: &HostSetAttr) -> Result<()> {
        self.check("set_attr")?;
        if let Some(size) = attr.size {
            let p = c_path(dir, name)?;
            let a = [p.as_ptr() as usize, size as usize, 0, 0, 0, 0];
            call(libc::SYS_truncate, a)?;
        }
        if let Some(mode) = attr.mode {
            let bits = fs::Permissions::from_mode(mode);
            fs::set_permissions(path(dir, name), bits).map_err(error)?;
        }
        Ok(())
    }
    fn read_dir(&self, fd: HostFd) -> Result<Vec<HostDirent>> {
        self.check("read_dir")?;
        if self.changed("read_dir") {
            return Ok(nonsense());
        }
        let list = fs::read_dir(path(fd, b"")).map_err(error)?;
        list.map(|e| {
            let e = e.map_err(error)?;
            let m = e.metadata().map_err(error)?;
            Ok(HostDirent {
                ino: m.ino(),
                kind: (m.mode() >> 12) as u8,
                name: e.file_name().into_vec(),
            })
        })
        .collect()
    }
    fn read_link(&self, dir: HostFd, name: &[u8]) -> Result<Vec<u8>> {
        self.check("read_link")?;
        match self.lie("read_link") {
            Some(Lie::Longer(n)) => return Ok(vec![b'l'; n.min(1 << 20)]),
            Some(Lie::Changed) => return Ok(b"\0".repeat(name.len() % 2)),
            _ => {}
        }
        let p = fs::read_link(path(dir, name)).map_err(error)?;
        Ok(p.into_os_string().into_vec())
    }
    fn mkdir(&self, dir: HostFd, name: &[u8], mode: u32) -> Result<()> {
        self.check("mkdir")?;
        let p = c_path(dir, name)?;
        let a = [AT_FDCWD, p.as_ptr() as usize, mode as usize, 0, 0, 0];
        call(libc::SYS_mkdirat, a).map(drop)
    }
    fn mknod(&self, dir: HostFd, name: &[u8], mode: u32, rdev: u64) -> Result<()> {
        self.check("mknod")?;
        let p = c_path(dir, name)?;
        let a = [
            AT_FDCWD,
            p.as_ptr() as usize,
            mode as usize,
            rdev as usize,
            0,
            0,
        ];
        call(libc::SYS_mknodat, a).map(drop)
    }
    fn symlink(&self, dir: HostFd, name: &[u8], target: &[u8]) -> Result<()> {
        self.check("symlink")?;
        let (target, p) = (c_str(target)?, c_path(dir, name)?);
        let a = [
            target.as_ptr() as usize,
            AT_FDCWD,
            p.as_ptr() as usize,
            0,
            0,
            0,
        ];
        call(libc::SYS_symlinkat, a).map(drop)
    }
    fn link(&self, dir: HostFd, name: &[u8], new_dir: HostFd, new_name: &[u8]) -> Result<()> {
        self.check("link")?;
        self.two(libc::SYS_linkat, (dir, name), (new_dir, new_name), 0)
    }
    fn unlink(&self, dir: HostFd, name: &[u8], directory: bool) -> Result<()> {
        self.check("unlink")?;
        let r = if directory {
            fs::remove_dir(path(dir, name))
        } else {
            fs::remove_file(path(dir, name))
        };
        r.map_err(error)
    }
    fn rename(
        &self,
        dir: HostFd,
        name: &[u8],
        new_dir: HostFd,
        new_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        self.check("rename")?;
        let (from, to) = ((dir, name), (new_dir, new_name));
        self.two(libc::SYS_renameat2, from, to, flags as usize)
    }
    fn fsync(&self, fd: HostFd, data_only: bool) -> Result<()> {
        self.check("fsync")?;
        let nr = if data_only {
            libc::SYS_fdatasync
        } else {
            libc::SYS_fsync
        };
        call(nr, [fd.0 as usize, 0, 0, 0, 0, 0]).map(drop)
    }
    fn get_xattr(&self, fd: HostFd, name: &[u8]) -> Result<Vec<u8>> {
        self.check("get_xattr")?;
        match self.lie("get_xattr") {
            Some(Lie::Longer(n)) => return Ok(vec![b'x'; n.min(1 << 20)]),
            Some(Lie::Changed) => return Ok(Vec::new()),
            _ => {}
        }
        let name = c_str(name)?;
        filled(
            libc::SYS_fgetxattr,
            &[fd.0 as usize, name.as_ptr() as usize],
        )
    }
    fn set_xattr(&self, fd: HostFd, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.check("set_xattr")?;
        let name = c_str(name)?;
        let a = [
            fd.0 as usize,
            name.as_ptr() as usize,
            value.as_ptr() as usize,
            value.len(),
            flags as usize,
            0,
        ];
        call(libc::SYS_fsetxattr, a).map(drop)
    }
    fn list_xattr(&self, fd: HostFd) -> Result<Vec<Vec<u8>>> {
        self.check("list_xattr")?;
        match self.lie("list_xattr") {
            Some(Lie::Longer(n)) => return Ok(vec![b"user.x".to_vec(); n.min(100_000)]),
            Some(Lie::Changed) => return Ok(nonsense().into_iter().map(|e| e.name).collect()),
            _ => {}
        }
        let list = filled(libc::SYS_flistxattr, &[fd.0 as usize])?;
        let names = list.split(|&b| b == 0).filter(|name| !name.is_empty());
        Ok(names.map(<[u8]>::to_vec).collect())
    }
    fn remove_xattr(&self, fd: HostFd, name: &[u8]) -> Result<()> {
        self.check("remove_xattr")?;
        let name = c_str(name)?;
        let a = [fd.0 as usize, name.as_ptr() as usize, 0, 0, 0, 0];
        call(libc::SYS_fremovexattr, a).map(drop)
    }
    fn fallocate(&self, fd: HostFd, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.check("fallocate")?;
        let a = [
            fd.0 as usize,
            mode as usize,
            offset as usize,
            len as usize,
            0,
            0,
        ];
        call(libc::SYS_fallocate, a).map(drop)
    }
    fn tty_ioctl(&self, fd: HostFd, request: u32, arg: &mut [u8]) -> Result<usize> {
        self.check("tty_ioctl")?;
        let mut room = [0u8; 256];
        let n = arg.len().min(room.len());
        room[..n].copy_from_slice(&arg[..n]);
        let a = [
            fd.0 as usize,
            request as usize,
            room.as_mut_ptr() as usize,
            0,
            0,
            0,
        ];
        let r = call(libc::SYS_ioctl, a)?;
        arg[..n].copy_from_slice(&room[..n]);
        if self.changed("tty_ioctl") {
            arg.fill(0xff);
        }
        Ok(self.length("tty_ioctl", r, arg.len()))
    }
}
