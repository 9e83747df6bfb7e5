//! Host files.
//!
//! libos names a file by its directory and one plain name, and no call follows a symbolic link: a
//! directory that turns into a link under our feet cannot lead out of the mount.

use crate::LinuxPal;
use crate::host::{self, host};
use alloc::{vec, vec::Vec};
use bastide_pal::file::{HostDirent, HostSetAttr, HostStatFs};
use bastide_pal::{Error, HostFd, HostFiles, HostStat, IoVec, Result};

const ENOENT: Error = Error(2);
const EINVAL: Error = Error(22);
const ERANGE: Error = Error(34);
const EIO: Error = Error(5);
const ENAMETOOLONG: Error = Error(36);
const ENOSYS: Error = Error(38);

const O_CLOEXEC: u32 = 0o2000000;
const O_NONBLOCK: u32 = 0o4000;
const O_NOFOLLOW: u32 = 0o400000;
const O_NOCTTY: u32 = 0o400;
const O_DIRECTORY: u32 = 0o200000;
const O_PATH: u32 = 0o10000000;
const RESOLVE: u64 = 0x08 | 0x04 | 0x02;
const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_SYMLINK_FOLLOW: u32 = 0x400;
const AT_REMOVEDIR: u32 = 0x200;
const AT_EMPTY_PATH: u32 = 0x1000;

const PATH_MAX: usize = 4096;

type CPath = Vec<u8>;

/// The path with its NUL.
fn cpath(path: &[u8]) -> Result<CPath> {
    if path.len() >= PATH_MAX {
        return Err(ENAMETOOLONG);
    }
    if path.contains(&0) {
        return Err(EINVAL);
    }
    Ok([path, &[0]].concat())
}

fn unit(raw: isize) -> Result<()> {
    host::check(raw).map(|_| ())
}

fn openat2(dir: HostFd, path: &[u8], flags: u32, mode: u32) -> Result<HostFd> {
    let p = cpath(if path.is_empty() { b"." } else { path })?;
    let how = [u64::from(flags | O_CLOEXEC), u64::from(mode), RESOLVE];
    // SAFETY: the host reads the path and `how`.
    let r = unsafe {
        host!(
            __NR_openat2,
            dir.0,
            p.as_ptr(),
            how.as_ptr(),
            size_of_val(&how)
        )
    };
    Ok(HostFd(host::check(r)? as i32))
}

/// A descriptor that is closed when dropped.
struct Temporary(HostFd);

impl Drop for Temporary {
    fn drop(&mut self) {
        LinuxPal.close(self.0);
    }
}

/// Calls `f` with a plain name in a directory; what is more than a name is EINVAL.
fn at<T>(dir: HostFd, name: &[u8], f: impl FnOnce(HostFd, &CPath) -> Result<T>) -> Result<T> {
    if name.contains(&b'/') || name == b".." {
        return Err(EINVAL);
    }
    f(dir, &cpath(name)?)
}

/// What a call gives that fills a buffer and says ERANGE if it is too small: most is small, nothing
/// is larger than an extended attribute may be.
fn sized(call: impl Fn(&mut [u8]) -> isize) -> Result<Vec<u8>> {
    let mut buf = vec![0u8; 256];
    let mut n = host::check_len(call(&mut buf), buf.len());
    if n == Err(ERANGE) {
        buf.resize(64 << 10, 0);
        n = host::check_len(call(&mut buf), buf.len());
    }
    buf.truncate(n?);
    Ok(buf)
}

fn total(iov: &[IoVec]) -> usize {
    iov.iter().map(|v| v.len).sum()
}

#[repr(C)]
#[derive(Default)]
struct Statx {
    mask: u32,
    blksize: u32,
    attributes: u64,
    nlink: u32,
    uid: u32,
    gid: u32,
    mode: u16,
    _pad: u16,
    ino: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    atime: [i64; 2],
    btime: [i64; 2],
    ctime: [i64; 2],
    mtime: [i64; 2],
    rdev: [u32; 2],
    dev: [u32; 2],
    rest: [u64; 14],
}

fn nanoseconds([s, ns]: [i64; 2]) -> i64 {
    // The upper half of the second word is padding.
    s.saturating_mul(1_000_000_000)
        .saturating_add(i64::from(ns as u32).min(999_999_999))
}

fn makedev([major, minor]: [u32; 2]) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
}

impl HostFiles for LinuxPal {
    fn open(&self, dir: HostFd, path: &[u8], flags: u32, mode: u32) -> Result<HostFd> {
        if path.is_empty() && flags & O_DIRECTORY == 0 {
            // The root of a mount that is a single file: it was opened by the outer half.
            // SAFETY: touches no memory.
            return Ok(HostFd(
                host::check(unsafe { host!(__NR_dup, dir.0) })? as i32
            ));
        }
        openat2(
            dir,
            path,
            flags
                | O_NOFOLLOW
                | (O_NONBLOCK * u32::from(flags & O_PATH == 0))
                | (O_NOCTTY * u32::from(flags & O_PATH == 0)),
            mode,
        )
    }

    fn close(&self, fd: HostFd) {
        // SAFETY: the caller owns the descriptor.
        unsafe { host!(__NR_close, fd.0) };
    }

    fn read(&self, fd: HostFd, iov: &[IoVec], offset: Option<u64>) -> Result<usize> {
        // SAFETY: the pieces are application memory or buffers of the caller (the contract of
        // HostFiles); application memory that is not there is EFAULT.
        let r = unsafe {
            match (offset, iov) {
                (Some(o), [v]) => host!(__NR_pread64, fd.0, v.addr, v.len, o),
                (Some(o), _) => host!(__NR_preadv, fd.0, iov.as_ptr(), iov.len(), o, 0),
                (None, _) => host!(__NR_readv, fd.0, iov.as_ptr(), iov.len()),
            }
        };
        host::check_len(r, total(iov))
    }

    fn write(&self, fd: HostFd, iov: &[IoVec], offset: Option<u64>) -> Result<usize> {
        // SAFETY: the host reads the pieces.
        let r = unsafe {
            match (offset, iov) {
                (Some(o), [v]) => host!(__NR_pwrite64, fd.0, v.addr, v.len, o),
                (Some(o), _) => host!(__NR_pwritev, fd.0, iov.as_ptr(), iov.len(), o, 0),
                (None, _) => host!(__NR_writev, fd.0, iov.as_ptr(), iov.len()),
            }
        };
        host::check_len(r, total(iov))
    }

    fn seek(&self, fd: HostFd, offset: u64, whence: u32) -> Result<u64> {
        // SAFETY: touches no memory.
        Ok(host::check(unsafe { host!(__NR_lseek, fd.0, offset, whence) })? as u64)
    }

    fn stat(&self, dir: HostFd, path: &[u8]) -> Result<HostStat> {
        let mut s = Statx::default();
        at(dir, path, |dir, name| {
            let flags = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH;
            // SAFETY: the host fills the local, which has statx's size of 256 bytes.
            unit(unsafe { host!(__NR_statx, dir.0, name.as_ptr(), flags, 0xfff, &raw mut s) })
        })?;
        Ok(HostStat {
            dev: makedev(s.dev),
            ino: s.ino,
            mode: u32::from(s.mode),
            nlink: u64::from(s.nlink),
            uid: s.uid,
            gid: s.gid,
            rdev: makedev(s.rdev),
            size: s.size,
            blksize: s.blksize,
            blocks: s.blocks,
            atime: nanoseconds(s.atime),
            mtime: nanoseconds(s.mtime),
            ctime: nanoseconds(s.ctime),
            btime: nanoseconds(s.btime),
        })
    }

    fn statfs(&self, fd: HostFd) -> Result<HostStatFs> {
        let mut s = [0u64; 15];
        // SAFETY: the host fills the local, which has statfs's size of 120 bytes.
        unit(unsafe { host!(__NR_fstatfs, fd.0, s.as_mut_ptr()) })?;
        let [
            kind,
            bsize,
            blocks,
            bfree,
            bavail,
            files,
            ffree,
            _fsid,
            namelen,
            ..,
        ] = s;
        Ok(HostStatFs {
            kind,
            bsize,
            blocks,
            bfree,
            bavail,
            files,
            ffree,
            namelen,
        })
    }

    fn set_attr(&self, dir: HostFd, path: &[u8], attr: &HostSetAttr) -> Result<()> {
        at(dir, path, |dir, name| {
            let flags = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH;
            let none = u32::MAX;
            if attr.uid.is_some() || attr.gid.is_some() {
                let (u, g) = (attr.uid.unwrap_or(none), attr.gid.unwrap_or(none));
                // SAFETY: the host reads the name.
                unit(unsafe { host!(__NR_fchownat, dir.0, name.as_ptr(), u, g, flags) })?;
            }
            if let Some(mode) = attr.mode {
                // SAFETY: as above.
                let r = unit(unsafe { host!(__NR_fchmodat2, dir.0, name.as_ptr(), mode, flags) });
                if r == Err(ENOSYS) {
                    let end = name.iter().position(|&b| b == 0).unwrap_or(0);
                    let f = Temporary(openat2(dir, &name[..end], O_NOFOLLOW | O_NONBLOCK, 0)?);
                    // SAFETY: touches no memory.
                    unit(unsafe { host!(__NR_fchmod, f.0.0, mode) })?;
                } else {
                    r?;
                }
            }
            if let Some(size) = attr.size {
                let end = name.iter().position(|&b| b == 0).unwrap_or(0);
                let f = Temporary(self.open(dir, &name[..end], 1, 0)?);
                // SAFETY: touches no memory.
                unit(unsafe { host!(__NR_ftruncate, f.0.0, size) })?;
            }
            if attr.atime.is_some() || attr.mtime.is_some() {
                const UTIME_OMIT: i64 = (1 << 30) - 2;
                let ts = |t: Option<i64>| match t {
                    Some(ns) => [ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000)],
                    None => [0, UTIME_OMIT],
                };
                let times = [ts(attr.atime), ts(attr.mtime)];
                // SAFETY: the host reads the name and the times.
                unit(unsafe {
                    host!(__NR_utimensat, dir.0, name.as_ptr(), times.as_ptr(), flags)
                })?;
            }
            Ok(())
        })
    }

    fn read_dir(&self, fd: HostFd) -> Result<Vec<HostDirent>> {
        let mut out = Vec::new();
        let mut buf = vec![0u8; 32 << 10];
        // SAFETY: touches no memory.
        host::check(unsafe { host!(__NR_lseek, fd.0, 0, 0) })?;
        loop {
            // SAFETY: the host fills `buf`.
            let r = unsafe { host!(__NR_getdents64, fd.0, buf.as_mut_ptr(), buf.len()) };
            let n = host::check_len(r, buf.len())?;
            if n == 0 {
                return Ok(out);
            }
            parse_dirents(&buf[..n], &mut out)?;
            if out.len() > 10_000_000 {
                return Err(EIO);
            }
        }
    }

    fn read_link(&self, dir: HostFd, path: &[u8]) -> Result<Vec<u8>> {
        let mut buf = vec![0u8; 4096];
        let n = at(dir, path, |dir, name| {
            // SAFETY: the host fills `buf`.
            let r = unsafe {
                host!(
                    __NR_readlinkat,
                    dir.0,
                    name.as_ptr(),
                    buf.as_mut_ptr(),
                    buf.len()
                )
            };
            host::check_len(r, buf.len())
        })?;
        // The kernel keeps it: without what is left of the buffer.
        Ok(buf[..n].to_vec())
    }

    fn mkdir(&self, dir: HostFd, path: &[u8], mode: u32) -> Result<()> {
        at(dir, path, |d, n| {
            // SAFETY: the host reads the name.
            unit(unsafe { host!(__NR_mkdirat, d.0, n.as_ptr(), mode) })
        })
    }

    fn mknod(&self, dir: HostFd, path: &[u8], mode: u32, rdev: u64) -> Result<()> {
        at(dir, path, |d, n| {
            // SAFETY: the host reads the name.
            unit(unsafe { host!(__NR_mknodat, d.0, n.as_ptr(), mode, rdev) })
        })
    }

    fn symlink(&self, dir: HostFd, path: &[u8], target: &[u8]) -> Result<()> {
        let t = cpath(target)?;
        at(dir, path, |d, n| {
            // SAFETY: the host reads both strings.
            unit(unsafe { host!(__NR_symlinkat, t.as_ptr(), d.0, n.as_ptr()) })
        })
    }

    fn link(&self, dir: HostFd, name: &[u8], new_dir: HostFd, new_name: &[u8]) -> Result<()> {
        let linkat = |od: i32, on: &CPath, flags: u32| {
            at(new_dir, new_name, |nd, nn| {
                // SAFETY: the host reads both names.
                unit(unsafe { host!(__NR_linkat, od, on.as_ptr(), nd.0, nn.as_ptr(), flags) })
            })
        };
        if !name.is_empty() {
            return at(dir, name, |od, on| linkat(od.0, on, 0));
        }
        match linkat(dir.0, &cpath(b"")?, AT_EMPTY_PATH) {
            // Not every host lets an unprivileged process do so; by its name in /proc each does.
            Err(ENOENT) => {
                let path = alloc::format!("/proc/self/fd/{}", dir.0);
                linkat(AT_FDCWD, &cpath(path.as_bytes())?, AT_SYMLINK_FOLLOW)
            }
            done => done,
        }
    }

    fn unlink(&self, dir: HostFd, path: &[u8], directory: bool) -> Result<()> {
        let flags = if directory { AT_REMOVEDIR } else { 0 };
        at(dir, path, |d, n| {
            // SAFETY: the host reads the name.
            unit(unsafe { host!(__NR_unlinkat, d.0, n.as_ptr(), flags) })
        })
    }

    fn rename(
        &self,
        dir: HostFd,
        name: &[u8],
        new_dir: HostFd,
        new_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        at(dir, name, |od, on| {
            at(new_dir, new_name, |nd, nn| {
                // SAFETY: the host reads both names.
                unit(unsafe { host!(__NR_renameat2, od.0, on.as_ptr(), nd.0, nn.as_ptr(), flags) })
            })
        })
    }

    fn fsync(&self, fd: HostFd, data_only: bool) -> Result<()> {
        // SAFETY: touches no memory.
        unit(unsafe {
            if data_only {
                host!(__NR_fdatasync, fd.0)
            } else {
                host!(__NR_fsync, fd.0)
            }
        })
    }

    fn get_xattr(&self, fd: HostFd, name: &[u8]) -> Result<Vec<u8>> {
        let name = cpath(name)?;
        sized(|buf| {
            // SAFETY: the host reads the name and fills `buf`.
            unsafe {
                host!(
                    __NR_fgetxattr,
                    fd.0,
                    name.as_ptr(),
                    buf.as_mut_ptr(),
                    buf.len()
                )
            }
        })
    }

    fn set_xattr(&self, fd: HostFd, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        let name = cpath(name)?;
        // SAFETY: the host reads the name and the value.
        unit(unsafe {
            host!(
                __NR_fsetxattr,
                fd.0,
                name.as_ptr(),
                value.as_ptr(),
                value.len(),
                flags
            )
        })
    }

    fn list_xattr(&self, fd: HostFd) -> Result<Vec<Vec<u8>>> {
        // SAFETY: the host fills `buf`.
        let list =
            sized(|buf| unsafe { host!(__NR_flistxattr, fd.0, buf.as_mut_ptr(), buf.len()) })?;
        let names = list.split(|&b| b == 0).filter(|name| !name.is_empty());
        Ok(names.map(<[u8]>::to_vec).collect())
    }

    fn remove_xattr(&self, fd: HostFd, name: &[u8]) -> Result<()> {
        let name = cpath(name)?;
        // SAFETY: the host reads the name.
        unit(unsafe { host!(__NR_fremovexattr, fd.0, name.as_ptr()) })
    }

    fn fallocate(&self, fd: HostFd, mode: u32, offset: u64, len: u64) -> Result<()> {
        // SAFETY: touches no memory.
        unit(unsafe { host!(__NR_fallocate, fd.0, mode, offset, len) })
    }

    fn tty_ioctl(&self, fd: HostFd, request: u32, arg: &mut [u8]) -> Result<usize> {
        // How many bytes each request reads or writes; 0: the argument is a number.
        let size = match request {
            0x5401..=0x5404 => 36,
            0x802c_542a..=0x802c_542a | 0x402c_542b..=0x402c_542d => 44,
            0x5413 | 0x5414 => 8,
            0x541b | 0x5411 | 0x8905 => 4,
            0x5409..=0x540b | 0x5425 => 0,
            _ => return Err(Error(25)),
        };
        if arg.len() < size {
            return Err(EINVAL);
        }
        let value = if size == 0 {
            arg.first_chunk::<4>()
                .map_or(0, |b| u32::from_le_bytes(*b) as usize)
        } else {
            arg.as_mut_ptr() as usize
        };
        // SAFETY: the host reads or fills `size` bytes of `arg`, which is long enough.
        host::check(unsafe { host!(__NR_ioctl, fd.0, request, value) })
    }
}

/// Parses `struct linux_dirent64` records, checking each field against the buffer.
fn parse_dirents(mut buf: &[u8], out: &mut Vec<HostDirent>) -> Result<()> {
    while !buf.is_empty() {
        let header = buf.first_chunk::<19>().ok_or(EIO)?;
        let ino = u64::from_le_bytes(header[..8].try_into().map_err(|_| EIO)?);
        let len = usize::from(u16::from_le_bytes([header[16], header[17]]));
        if len < 20 || len > buf.len() {
            return Err(EIO);
        }
        let name = &buf[19..len];
        let end = name.iter().position(|&b| b == 0).ok_or(EIO)?;
        let name = &name[..end];
        if name.is_empty() || name.contains(&b'/') {
            return Err(EIO);
        }
        if name != b"." && name != b".." {
            out.push(HostDirent {
                ino,
                kind: header[18],
                name: name.to_vec(),
            });
        }
        buf = &buf[len..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_directory_records_are_refused() {
        let mut good = vec![0u8; 24];
        good[16] = 24;
        good[19] = b'x';
        let mut out = Vec::new();
        parse_dirents(&good, &mut out).unwrap();
        assert_eq!(out[0].name, b"x");
        let mut long = good.clone();
        long[16] = 200;
        assert!(parse_dirents(&long, &mut out).is_err());
        let mut zero = good.clone();
        zero[16] = 0;
        assert!(parse_dirents(&zero, &mut out).is_err());
        let mut slash = good.clone();
        slash[19] = b'/';
        assert!(parse_dirents(&slash, &mut out).is_err());
        assert!(parse_dirents(&good[..10], &mut out).is_err());
    }
}
