use crate::Errno;
use crate::abi::fs::StatBuf;
use crate::abi::raw::general::*;
use crate::fs::{dir, open, rw, stat};
use crate::testing::{addr, cstr, task};
use crate::user::UserAddr;
use crate::{SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use zerocopy::FromZeros;

fn open(t: &Arc<Task>, path: &str, flags: u32) -> Result<i32, Errno> {
    open::sys_open(t, cstr(path).addr(), flags, 0o666).map(|fd| fd as i32)
}

fn stat(t: &Arc<Task>, path: &str) -> Result<StatBuf, Errno> {
    let mut out = StatBuf::new_zeroed();
    stat::sys_stat(t, cstr(path).addr(), addr(&mut out))?;
    Ok(out)
}

fn write(t: &Arc<Task>, fd: i32, data: &str) -> SysResult {
    rw::sys_write(t, fd, UserAddr(data.as_ptr() as usize), data.len())
}

fn read(t: &Arc<Task>, fd: i32, n: usize) -> Result<Vec<u8>, Errno> {
    let mut v = alloc::vec![0u8; n];
    let got = rw::sys_read(t, fd, UserAddr(v.as_mut_ptr() as usize), n)?;
    v.truncate(got);
    Ok(v)
}

#[test]
fn a_file_keeps_what_is_written() {
    let t = task();
    assert_eq!(open(&t, "/f", O_RDONLY), Err(Errno::ENOENT));
    let fd = open(&t, "/f", O_CREAT | O_RDWR | O_EXCL).unwrap();
    assert_eq!(
        open(&t, "/f", O_CREAT | O_RDWR | O_EXCL),
        Err(Errno::EEXIST)
    );
    assert_eq!(write(&t, fd, "hello, world"), Ok(12));
    assert_eq!(rw::sys_lseek(&t, fd, 7, SEEK_SET), Ok(7));
    assert_eq!(read(&t, fd, 100).unwrap(), b"world");
    assert_eq!(read(&t, fd, 100).unwrap(), b"");
    let s = stat(&t, "/f").unwrap();
    assert_eq!((s.size, s.mode, s.nlink), (12, 0o100644, 1));
    let fd = open(&t, "/f", O_WRONLY | O_APPEND).unwrap();
    assert_eq!(write(&t, fd, "!"), Ok(1));
    assert_eq!(rw::sys_lseek(&t, fd, 0, SEEK_CUR), Ok(13));
    assert_eq!(read(&t, fd, 1), Err(Errno::EBADF));
    open(&t, "/f", O_WRONLY | O_TRUNC).unwrap();
    assert_eq!(stat(&t, "/f").unwrap().size, 0);
}

#[test]
fn offsets_are_checked() {
    let t = task();
    let fd = open(&t, "/f", O_CREAT | O_RDWR).unwrap();
    assert_eq!(rw::sys_lseek(&t, fd, -1, SEEK_SET), Err(Errno::EINVAL));
    assert_eq!(rw::sys_lseek(&t, fd, 0, 9), Err(Errno::EINVAL));
    assert_eq!(rw::sys_lseek(&t, fd, 0, SEEK_DATA), Err(Errno::ENXIO));
    assert_eq!(
        rw::sys_pread64(&t, fd, UserAddr(0), 0, -1),
        Err(Errno::EINVAL)
    );
    assert_eq!(rw::sys_lseek(&t, 99, 0, 0), Err(Errno::EBADF));
}

#[test]
fn paths_end_where_they_should() {
    let t = task();
    open(&t, "/f", O_CREAT | O_RDWR).unwrap();
    assert_eq!(stat(&t, "").unwrap_err(), Errno::ENOENT);
    assert_eq!(stat(&t, "/f/").unwrap_err(), Errno::ENOTDIR);
    assert_eq!(stat(&t, "/f/x").unwrap_err(), Errno::ENOTDIR);
    assert_eq!(stat(&t, "/..//./f").unwrap().mode, 0o100644);
    assert_eq!(stat(&t, "/").unwrap().mode, 0o40755);
    assert_eq!(open(&t, "/g/", O_CREAT | O_RDWR), Err(Errno::EISDIR));
    assert_eq!(open(&t, "/", O_RDWR), Err(Errno::EISDIR));
    assert_eq!(open(&t, "/f", O_RDONLY | O_DIRECTORY), Err(Errno::ENOTDIR));
    let long = "x".repeat(256);
    assert_eq!(stat(&t, &long).unwrap_err(), Errno::ENAMETOOLONG);
    assert_eq!(
        stat(&t, &"x/".repeat(2048)).unwrap_err(),
        Errno::ENAMETOOLONG
    );
}

#[test]
fn directories_list_their_names_once() {
    let t = task();
    for i in 0..100 {
        open(&t, &alloc::format!("/file{i}"), O_CREAT | O_RDWR).unwrap();
    }
    let fd = open(&t, "/", O_RDONLY | O_DIRECTORY).unwrap();
    let mut names = Vec::new();
    loop {
        let mut buf = [0u8; 300];
        let n = dir::sys_getdents64(&t, fd, addr(&mut buf), 300).unwrap();
        if n == 0 {
            break;
        }
        let mut at = 0;
        while at < n {
            let len = usize::from(u16::from_le_bytes([buf[at + 16], buf[at + 17]]));
            let name = &buf[at + 19..at + len];
            let end = name.iter().position(|&b| b == 0).unwrap();
            names.push(name[..end].to_vec());
            at += len;
        }
    }
    assert_eq!(names.len(), 102);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 102);
    let mut small = [0u8; 10];
    rw::sys_lseek(&t, fd, 0, SEEK_SET).unwrap();
    assert_eq!(
        dir::sys_getdents64(&t, fd, addr(&mut small), 10),
        Err(Errno::EINVAL)
    );
}
