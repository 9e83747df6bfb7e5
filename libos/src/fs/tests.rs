//! The calls on names, attributes, descriptors and locks, in an in-memory tree.

use super::{
    attr, copy, desc, dir, fcntl, locks, mounting, names, open, rename, rw, size, stat, times,
    xattr,
};
use crate::abi::fs::{Flock, StatBuf, Timespec};
use crate::abi::raw::general::*;
use crate::process::Creds;
use crate::testing::{addr, cstr, task, task_with};
use crate::user::UserAddr;
use crate::{Errno, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use zerocopy::FromZeros;

fn open(t: &Arc<Task>, path: &str, flags: u32) -> Result<i32, Errno> {
    open::sys_open(t, cstr(path).addr(), flags, 0o666).map(|fd| fd as i32)
}

fn touch(t: &Arc<Task>, path: &str) {
    let fd = open(t, path, O_CREAT | O_WRONLY).unwrap();
    desc::sys_close(t, fd).unwrap();
}

fn mkdir(t: &Arc<Task>, path: &str) -> Result<(), Errno> {
    names::sys_mkdir(t, cstr(path).addr(), 0o777).map(|_| ())
}

fn symlink(t: &Arc<Task>, to: &str, path: &str) -> Result<(), Errno> {
    names::sys_symlink(t, cstr(to).addr(), cstr(path).addr()).map(|_| ())
}

fn rename(t: &Arc<Task>, old: &str, new: &str, flags: u32) -> Result<(), Errno> {
    rename::sys_renameat2(t, -100, cstr(old).addr(), -100, cstr(new).addr(), flags).map(|_| ())
}

fn unlink(t: &Arc<Task>, path: &str) -> Result<(), Errno> {
    names::sys_unlink(t, cstr(path).addr()).map(|_| ())
}

fn rmdir(t: &Arc<Task>, path: &str) -> Result<(), Errno> {
    names::sys_rmdir(t, cstr(path).addr()).map(|_| ())
}

fn stat(t: &Arc<Task>, path: &str) -> Result<StatBuf, Errno> {
    let out = StatBuf::new_zeroed();
    stat::sys_lstat(t, cstr(path).addr(), addr(&out))?;
    Ok(out)
}

fn getcwd(t: &Arc<Task>) -> Result<Vec<u8>, Errno> {
    let buf = [0u8; 100];
    let n = dir::sys_getcwd(t, addr(&buf), 100)?;
    Ok(buf[..n - 1].to_vec())
}

/// The same tree seen by an ordinary user.
fn user(t: &Arc<Task>) -> Arc<Task> {
    task_with(
        Creds::new(1000, 1000, Vec::new()),
        super::FdTable::new(),
        t.fs().fork(),
    )
}

#[test]
fn names_come_and_go() {
    let t = task();
    mkdir(&t, "/d").unwrap();
    assert_eq!(mkdir(&t, "/d"), Err(Errno::EEXIST));
    assert_eq!(mkdir(&t, "/"), Err(Errno::EEXIST));
    assert_eq!(mkdir(&t, "/x/y"), Err(Errno::ENOENT));
    mkdir(&t, "/d/e/").unwrap();
    assert_eq!(stat(&t, "/d").unwrap().nlink, 3);
    touch(&t, "/d/f");
    assert_eq!(rmdir(&t, "/d"), Err(Errno::ENOTEMPTY));
    assert_eq!(rmdir(&t, "/d/f"), Err(Errno::ENOTDIR));
    assert_eq!(rmdir(&t, "/d/."), Err(Errno::EINVAL));
    assert_eq!(rmdir(&t, "/d/.."), Err(Errno::ENOTEMPTY));
    assert_eq!(rmdir(&t, "/"), Err(Errno::EBUSY));
    assert_eq!(unlink(&t, "/d/e"), Err(Errno::EISDIR));
    assert_eq!(unlink(&t, "/d/f/"), Err(Errno::ENOTDIR));
    assert_eq!(unlink(&t, "/d/g"), Err(Errno::ENOENT));
    unlink(&t, "/d/f").unwrap();
    rmdir(&t, "/d/e").unwrap();
    rmdir(&t, "/d").unwrap();
    assert_eq!(stat(&t, "/d").unwrap_err(), Errno::ENOENT);
}

#[test]
fn links_are_followed_and_counted() {
    let t = task();
    mkdir(&t, "/d").unwrap();
    touch(&t, "/d/f");
    symlink(&t, "d", "/l").unwrap();
    symlink(&t, "/l/f", "/m").unwrap();
    assert_eq!(stat(&t, "/l/f").unwrap().mode, 0o100644);
    assert_eq!(stat(&t, "/m").unwrap().mode, 0o120777);
    open(&t, "/m", O_RDONLY).unwrap();
    assert_eq!(open(&t, "/m", O_RDONLY | O_NOFOLLOW), Err(Errno::ELOOP));
    assert_eq!(stat(&t, "/l/").unwrap().mode, 0o40755);
    symlink(&t, "loop", "/loop").unwrap();
    assert_eq!(open(&t, "/loop", O_RDONLY), Err(Errno::ELOOP));
    assert_eq!(open(&t, "/loop/x", O_RDONLY), Err(Errno::ELOOP));
    symlink(&t, "new", "/dangling").unwrap();
    assert_eq!(open(&t, "/dangling", O_RDONLY), Err(Errno::ENOENT));
    assert_eq!(
        open(&t, "/dangling", O_CREAT | O_EXCL | O_WRONLY),
        Err(Errno::EEXIST)
    );
    open(&t, "/dangling", O_CREAT | O_WRONLY).unwrap();
    assert_eq!(stat(&t, "/new").unwrap().mode, 0o100644);
    let buf = [0u8; 3];
    let n = names::sys_readlink(&t, cstr("/dangling").addr(), addr(&buf), 3);
    assert_eq!((n, &buf), (Ok(3), b"new"));
    let link = |a: &str, b: &str| names::sys_link(&t, cstr(a).addr(), cstr(b).addr());
    link("/new", "/hard").unwrap();
    assert_eq!(stat(&t, "/new").unwrap().nlink, 2);
    assert_eq!(
        stat(&t, "/new").unwrap().ino,
        stat(&t, "/hard").unwrap().ino
    );
    assert_eq!(link("/d", "/d2"), Err(Errno::EPERM));
    assert_eq!(link("/new", "/hard"), Err(Errno::EEXIST));
}

#[test]
fn renames_follow_the_rules() {
    let t = task();
    mkdir(&t, "/a").unwrap();
    mkdir(&t, "/a/b").unwrap();
    mkdir(&t, "/c").unwrap();
    touch(&t, "/f");
    touch(&t, "/c/g");
    assert_eq!(rename(&t, "/a", "/a/b/x", 0), Err(Errno::EINVAL));
    assert_eq!(rename(&t, "/a/b", "/a", 0), Err(Errno::ENOTEMPTY));
    assert_eq!(rename(&t, "/f", "/a", 0), Err(Errno::EISDIR));
    assert_eq!(rename(&t, "/a", "/f", 0), Err(Errno::ENOTDIR));
    assert_eq!(rename(&t, "/a", "/c", 0), Err(Errno::ENOTEMPTY));
    assert_eq!(
        rename(&t, "/f", "/c/g", RENAME_NOREPLACE),
        Err(Errno::EEXIST)
    );
    assert_eq!(rename(&t, "/f", "/new/", 0), Err(Errno::ENOTDIR));
    assert_eq!(rename(&t, "/a/.", "/x", 0), Err(Errno::EBUSY));
    assert_eq!(rename(&t, "/f", "/f", 0), Ok(()));
    rename(&t, "/f", "/c/g", 0).unwrap();
    assert_eq!(stat(&t, "/f").unwrap_err(), Errno::ENOENT);
    rename(&t, "/a/b", "/c/b", 0).unwrap();
    assert_eq!(stat(&t, "/a").unwrap().nlink, 2);
    assert_eq!(stat(&t, "/c").unwrap().nlink, 3);
    rename(&t, "/c/g", "/a", RENAME_EXCHANGE).unwrap();
    assert_eq!(stat(&t, "/c/g").unwrap().mode, 0o40755);
    assert_eq!(stat(&t, "/a").unwrap().mode, 0o100644);
    assert_eq!(stat(&t, "/c").unwrap().nlink, 4);
}

#[test]
fn the_working_directory_moves_with_its_names() {
    let t = task();
    mkdir(&t, "/a").unwrap();
    mkdir(&t, "/a/b").unwrap();
    dir::sys_chdir(&t, cstr("/a/b").addr()).unwrap();
    rename(&t, "/a", "/z", 0).unwrap();
    assert_eq!(getcwd(&t).unwrap(), b"/z/b");
    touch(&t, "file");
    assert_eq!(stat(&t, "/z/b/file").unwrap().mode, 0o100644);
    unlink(&t, "file").unwrap();
    rmdir(&t, "/z/b").unwrap();
    assert_eq!(getcwd(&t), Err(Errno::ENOENT));
    assert_eq!(open(&t, "file", O_CREAT | O_WRONLY), Err(Errno::ENOENT));
    assert_eq!(stat(&t, "..").unwrap().ino, stat(&t, "/z").unwrap().ino);
}

#[test]
fn permissions_are_asked_of_the_right_directory() {
    let t = task();
    mkdir(&t, "/d").unwrap();
    touch(&t, "/d/f");
    mkdir(&t, "/tmp").unwrap();
    attr::sys_chmod(&t, cstr("/tmp").addr(), 0o1777).unwrap();
    touch(&t, "/tmp/root");
    let u = user(&t);
    assert_eq!(open(&u, "/d/f", O_WRONLY), Err(Errno::EACCES));
    assert_eq!(open(&u, "/d/g", O_WRONLY | O_CREAT), Err(Errno::EACCES));
    assert_eq!(unlink(&u, "/d/f"), Err(Errno::EACCES));
    assert_eq!(unlink(&u, "/tmp/root"), Err(Errno::EPERM));
    touch(&u, "/tmp/mine");
    assert_eq!(stat(&u, "/tmp/mine").unwrap().uid, 1000);
    attr::sys_chmod(&t, cstr("/d").addr(), 0o700).unwrap();
    assert_eq!(stat(&u, "/d/f").unwrap_err(), Errno::EACCES);
    let chown = |p: &str, uid| attr::sys_chown(&u, cstr(p).addr(), uid, u32::MAX);
    assert_eq!(chown("/tmp/mine", 0), Err(Errno::EPERM));
    assert_eq!(chown("/tmp/mine", 1000), Ok(0));
    attr::sys_chmod(&u, cstr("/tmp/mine").addr(), 0o6755).unwrap();
    assert_eq!(stat(&u, "/tmp/mine").unwrap().mode, 0o106755);
    let fd = open(&u, "/tmp/mine", O_WRONLY).unwrap();
    let data = b"x";
    rw::sys_write(&u, fd, addr(data), 1).unwrap();
    assert_eq!(stat(&u, "/tmp/mine").unwrap().mode, 0o100755);
}

#[test]
fn times_are_set_as_asked() {
    let t = task();
    touch(&t, "/f");
    let ts = |nsec| Timespec { sec: 5, nsec };
    let set =
        |times: &[Timespec; 2]| times::sys_utimensat(&t, -100, cstr("/f").addr(), addr(times), 0);
    set(&[ts(7), ts(0x3fff_fffe)]).unwrap();
    let s = stat(&t, "/f").unwrap();
    assert_eq!(s.atime, ts(7));
    assert!(s.mtime.sec > 5 && s.ctime.sec > 5);
    assert_eq!(set(&[ts(1_000_000_000), ts(0)]), Err(Errno::EINVAL));
}

#[test]
fn sizes_change_with_holes() {
    let t = task();
    let fd = open(&t, "/f", O_CREAT | O_RDWR).unwrap();
    size::sys_ftruncate(&t, fd, 10_000).unwrap();
    assert_eq!(stat(&t, "/f").unwrap().blocks, 0);
    size::sys_fallocate(&t, fd, 0, 0, 8192).unwrap();
    assert_eq!(stat(&t, "/f").unwrap().blocks, 16);
    let punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    size::sys_fallocate(&t, fd, punch, 0, 4096).unwrap();
    assert_eq!(stat(&t, "/f").unwrap().blocks, 8);
    assert_eq!(rw::sys_lseek(&t, fd, 0, SEEK_DATA), Ok(4096));
    assert_eq!(size::sys_fallocate(&t, fd, 0, 0, 0), Err(Errno::EINVAL));
    assert_eq!(size::sys_fallocate(&t, fd, 2, 0, 1), Err(Errno::EOPNOTSUPP));
    // The tree of the tests has 16 MiB.
    assert_eq!(
        size::sys_fallocate(&t, fd, 0, 0, 17 << 20),
        Err(Errno::ENOSPC)
    );
}

#[test]
fn descriptors_are_duplicated() {
    let t = task();
    let fd = open(&t, "/f", O_CREAT | O_RDWR | O_CLOEXEC).unwrap();
    let d = desc::sys_dup(&t, fd).unwrap() as i32;
    assert_eq!(fcntl::sys_fcntl(&t, fd, F_GETFD, 0), Ok(1));
    assert_eq!(fcntl::sys_fcntl(&t, d, F_GETFD, 0), Ok(0));
    assert_eq!(fcntl::sys_fcntl(&t, fd, F_DUPFD, 100), Ok(100));
    assert_eq!(fcntl::sys_fcntl(&t, fd, F_DUPFD, 5000), Err(Errno::EINVAL));
    assert_eq!(desc::sys_dup2(&t, fd, 2000), Err(Errno::EBADF));
    assert_eq!(desc::sys_dup3(&t, fd, fd, 0), Err(Errno::EINVAL));
    assert_eq!(desc::sys_close_range(&t, 1, 0, 0), Err(Errno::EINVAL));
    desc::sys_close_range(&t, d as u32, u32::MAX, 0).unwrap();
    assert_eq!(desc::sys_close(&t, 100), Err(Errno::EBADF));
    desc::sys_close(&t, fd).unwrap();
}

#[test]
fn record_locks_belong_to_processes() {
    let t = task();
    touch(&t, "/f");
    let u = task_with(Creds::new(0, 0, Vec::new()), super::FdTable::new(), t.fs());
    let (a, b) = (
        open(&t, "/f", O_RDWR).unwrap(),
        open(&u, "/f", O_RDWR).unwrap(),
    );
    let lock = |t: &Arc<Task>, fd, kind: u32, start| {
        let l = Flock {
            kind: kind as i16,
            start,
            len: 10,
            ..Default::default()
        };
        fcntl::sys_fcntl(t, fd, F_SETLK, addr(&l).0)
    };
    lock(&t, a, F_WRLCK, 0).unwrap();
    assert_eq!(lock(&u, b, F_RDLCK, 5), Err(Errno::EAGAIN));
    lock(&u, b, F_WRLCK, 10).unwrap();
    let l = Flock {
        kind: F_WRLCK as i16,
        ..Default::default()
    };
    fcntl::sys_fcntl(&u, b, F_GETLK, addr(&l).0).unwrap();
    assert_eq!((l.pid, l.start, l.len), (t.process.pid, 0, 10));
    // Closing any descriptor of the file gives the locks up.
    let other = open(&t, "/f", O_RDONLY).unwrap();
    desc::sys_close(&t, other).unwrap();
    lock(&u, b, F_WRLCK, 5).unwrap();
    // Whole-file locks belong to descriptions.
    fcntl::sys_flock(&t, a, LOCK_EX).unwrap();
    let dup = desc::sys_dup(&t, a).unwrap() as i32;
    desc::sys_close(&t, a).unwrap();
    assert_eq!(
        fcntl::sys_flock(&u, b, LOCK_SH | LOCK_NB),
        Err(Errno::EAGAIN)
    );
    desc::sys_close(&t, dup).unwrap();
    fcntl::sys_flock(&u, b, LOCK_SH | LOCK_NB).unwrap();
    desc::sys_close(&u, b).unwrap();
    assert!(
        !locks::list()
            .iter()
            .any(|(_, l)| { l.is_ok_and(|l| l.owner == locks::Owner::Process(u.process.pid)) })
    );
}

#[test]
fn an_unnamed_file_can_be_given_a_name() {
    let t = task();
    let fd = open(&t, "/", O_TMPFILE | O_RDWR).unwrap();
    let empty = cstr("");
    names::sys_linkat(&t, fd, empty.addr(), -100, cstr("/n").addr(), AT_EMPTY_PATH).unwrap();
    assert_eq!(stat(&t, "/n").unwrap().nlink, 1);
    let fd = open(&t, "/", O_TMPFILE | O_RDWR | O_EXCL).unwrap();
    assert_eq!(
        names::sys_linkat(&t, fd, empty.addr(), -100, cstr("/m").addr(), AT_EMPTY_PATH),
        Err(Errno::ENOENT)
    );
}

#[test]
fn copies_stay_in_the_kernel() {
    let t = task();
    let a = open(&t, "/a", O_CREAT | O_RDWR).unwrap();
    let b = open(&t, "/b", O_CREAT | O_RDWR).unwrap();
    rw::sys_write(&t, a, addr(b"0123456789"), 10).unwrap();
    let off = 2i64;
    let n = copy::sys_copy_file_range(&t, a, addr(&off), b, UserAddr(0), 5, 0);
    assert_eq!((n, off), (Ok(5), 7));
    assert_eq!(copy::sys_sendfile(&t, b, a, addr(&off), 100), Ok(3));
    assert_eq!(stat(&t, "/b").unwrap().size, 8);
    let zero = 0i64;
    assert_eq!(
        copy::sys_copy_file_range(&t, a, addr(&zero), a, addr(&off), 11, 0),
        Err(Errno::EINVAL)
    );
}

#[test]
fn file_systems_are_mounted_and_bound() {
    let t = task();
    mkdir(&t, "/m").unwrap();
    mkdir(&t, "/b").unwrap();
    touch(&t, "/m/below");
    let none = UserAddr(0);
    let mount = |src: &str, at: &str, kind: &str, flags: u32| {
        let (s, a, k) = (cstr(src), cstr(at), cstr(kind));
        mounting::sys_mount(&t, s.addr(), a.addr(), k.addr(), flags.into(), none)
    };
    let umount = |at: &str| mounting::sys_umount2(&t, cstr(at).addr(), 0);
    assert_eq!(mount("x", "/m", "ext4", 0), Err(Errno::ENODEV));
    assert_eq!(umount("/m"), Err(Errno::EINVAL));
    mount("x", "/m", "tmpfs", 0).unwrap();
    assert_eq!(stat(&t, "/m/below").unwrap_err(), Errno::ENOENT);
    assert_ne!(stat(&t, "/m").unwrap().dev, stat(&t, "/").unwrap().dev);
    let fd = open(&t, "/m/f", O_CREAT | O_RDWR).unwrap();
    assert_eq!(
        stat(&t, "/m/../b").unwrap().ino,
        stat(&t, "/b").unwrap().ino
    );
    assert_eq!(rename(&t, "/m/f", "/b/f", 0), Err(Errno::EXDEV));
    assert_eq!(rmdir(&t, "/m"), Err(Errno::EBUSY));
    assert_eq!(umount("/m"), Err(Errno::EBUSY));
    assert_eq!(
        mount("x", "/m", "", MS_REMOUNT | MS_RDONLY),
        Err(Errno::EBUSY)
    );
    desc::sys_close(&t, fd).unwrap();
    mount("/m", "/b", "", MS_BIND).unwrap();
    assert_eq!(stat(&t, "/b/f").unwrap().mode, 0o100644);
    umount("/b").unwrap();
    mount("x", "/m", "", MS_REMOUNT | MS_RDONLY).unwrap();
    assert_eq!(open(&t, "/m/g", O_CREAT | O_RDWR), Err(Errno::EROFS));
    assert_eq!(open(&t, "/m/f", O_RDWR), Err(Errno::EROFS));
    assert_eq!(mkdir(&t, "/m/f"), Err(Errno::EEXIST));
    umount("/m").unwrap();
    assert_eq!(stat(&t, "/m/below").unwrap().mode, 0o100644);
    rmdir(&t, "/b").unwrap();
}

#[test]
fn extended_attributes_are_kept() {
    let t = task();
    touch(&t, "/f");
    let (path, name) = (cstr("/f"), cstr("user.colour"));
    let set = |name: &str, flags| {
        let v = b"green";
        xattr::sys_setxattr(&t, path.addr(), cstr(name).addr(), addr(v), 5, flags)
    };
    set("user.colour", XATTR_CREATE).unwrap();
    assert_eq!(set("user.colour", XATTR_CREATE), Err(Errno::EEXIST));
    assert_eq!(set("user.size", XATTR_REPLACE), Err(Errno::ENODATA));
    assert_eq!(set("other.size", 0), Err(Errno::EOPNOTSUPP));
    assert_eq!(set("", 0), Err(Errno::ERANGE));
    let buf = [0u8; 32];
    let get = |size| xattr::sys_getxattr(&t, path.addr(), name.addr(), addr(&buf), size);
    assert_eq!(
        (get(0), get(4), get(32)),
        (Ok(5), Err(Errno::ERANGE), Ok(5))
    );
    assert_eq!(&buf[..5], b"green");
    assert_eq!(
        xattr::sys_listxattr(&t, path.addr(), addr(&buf), 32),
        Ok(12)
    );
    assert_eq!(&buf[..12], b"user.colour\0");
    xattr::sys_removexattr(&t, path.addr(), name.addr()).unwrap();
    assert_eq!(get(32), Err(Errno::ENODATA));
}
