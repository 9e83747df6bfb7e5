use super::*;
use crate::fs::file::O_APPEND;
use crate::fs::{File, SetAttr};
use crate::testing;
use crate::testing::host::{self, Directory};
use crate::uio::{IoDst, IoSrc};
use crate::{Errno, Task};
use alloc::vec::Vec;
use std::fs as real;

const FILE: u32 = 0o100644;
const DIR: u32 = 0o040755;

fn tree(name: &str, read_only: bool) -> (Directory, Arc<dyn Inode>) {
    testing::boot();
    let (path, fd) = Directory::new(name);
    (path, new(fd, read_only).unwrap().root())
}

fn open(t: &Task, i: &Arc<dyn Inode>, flags: u32) -> Arc<File> {
    File::new(i.clone().open(t, flags).unwrap(), None, flags)
}

fn read(t: &Task, f: &File) -> Vec<u8> {
    let mut buf = Vec::new();
    f.read(t, &mut IoDst::kernel(&mut buf, 1000)).unwrap();
    buf
}

fn write(t: &Task, f: &File, data: &[u8]) -> usize {
    f.write(t, &mut IoSrc::kernel(data)).unwrap()
}

#[test]
fn files_are_read_and_written() {
    let t = testing::task();
    let (path, root) = tree("rw", false);
    let i = root.create(b"f", 0o100444, 0, 0, 0).unwrap();
    // The creator may write although the mode says no.
    let f = open(&t, &i, 2);
    assert_eq!(write(&t, &f, b"hello"), 5);
    assert_eq!(real::read(path.join("f")).unwrap(), b"hello");
    assert_eq!(i.stat().unwrap().mode, 0o100444);
    root.unlink(b"f").unwrap();
    // Without a name it is still there for who has it open.
    assert_eq!(i.stat().unwrap().size, 5);
    let size = SetAttr {
        size: Some(2),
        ..Default::default()
    };
    i.set_attr(&size).unwrap();
    *f.pos.lock() = 0;
    assert_eq!(read(&t, &f), b"he");
    assert_eq!(root.lookup(b"f").err(), Some(Errno::ENOENT));
}

#[test]
fn appending_goes_to_the_end() {
    let t = testing::task();
    let (path, root) = tree("append", false);
    real::write(path.join("log"), b"one\n").unwrap();
    let i = root.lookup(b"log").unwrap();
    let f = open(&t, &i, 1 | O_APPEND);
    write(&t, &f, b"two\n");
    real::write(path.join("log"), b"one\ntwo\nhost\n").unwrap();
    write(&t, &f, b"three\n");
    let all = real::read(path.join("log")).unwrap();
    assert_eq!(all, b"one\ntwo\nhost\nthree\n");
    assert_eq!(*f.pos.lock(), 19);
}

#[test]
fn links_share_an_inode_and_symlinks_are_text() {
    let (path, root) = tree("links", false);
    let i = root.create(b"a", FILE, 0, 0, 0).unwrap();
    root.link(b"b", &i).unwrap();
    assert!(Arc::ptr_eq(&i, &root.lookup(b"b").unwrap()));
    assert_eq!(i.stat().unwrap().nlink, 2);
    let s = root.symlink(b"s", b"/etc/passwd", 0, 0).unwrap();
    assert_eq!(s.kind(), Kind::Symlink);
    assert_eq!(s.read_link().unwrap(), b"/etc/passwd");
    let t = testing::task();
    assert_eq!(s.open(&t, 0).err(), Some(Errno::ELOOP));
    // A link put in a file's place is not followed.
    real::write(path.join("c"), b"").unwrap();
    let c = root.lookup(b"c").unwrap();
    real::remove_file(path.join("c")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", path.join("c")).unwrap();
    assert_eq!(c.open(&t, 0).err(), Some(Errno::ELOOP));
}

#[test]
fn a_file_without_a_name_lives_with_its_inode() {
    let t = testing::task();
    let (path, root) = tree("unnamed", false);
    let i = root.tmpfile(0o100400, 0, 0).unwrap();
    assert_eq!(path.join(".").read_dir().unwrap().count(), 0);
    let f = open(&t, &i, 2);
    assert_eq!(write(&t, &f, b"nameless"), 8);
    drop(f);
    let st = i.stat().unwrap();
    assert_eq!((st.mode, st.size, st.nlink), (0o100400, 8, 0));
    assert_eq!(read(&t, &open(&t, &i, 0)), b"nameless");
    let (_path, other) = tree("unnamed-ro", true);
    assert_eq!(other.tmpfile(FILE, 0, 0).err(), Some(Errno::EROFS));
}

#[test]
fn renamed_directories_are_found_again() {
    let t = testing::task();
    let (path, root) = tree("rename", false);
    let a = root.create(b"a", DIR, 0, 0, 0).unwrap();
    let b = root.create(b"b", DIR, 0, 0, 0).unwrap();
    let f = a.create(b"f", FILE, 0, 0, 0).unwrap();
    root.rename(b"a", &b, b"moved", 0).unwrap();
    assert_eq!(b.rename(b"moved", &a, b"x", 0), Err(Errno::EINVAL));
    write(&t, &open(&t, &f, 1), b"x");
    assert_eq!(real::read(path.join("b/moved/f")).unwrap(), b"x");
    a.create(b"g", FILE, 0, 0, 0).unwrap();
    assert!(path.join("b/moved/g").exists());
    let mut names: Vec<_> = (a.entries().unwrap().into_iter()).map(|e| e.name).collect();
    names.sort();
    assert_eq!(names, [b"f", b"g"]);
    assert_eq!(root.rmdir(b"b"), Err(Errno::ENOTEMPTY));
}

#[test]
fn read_only_trees_refuse_changes() {
    let t = testing::task();
    let (path, root) = tree("ro", true);
    real::write(path.join("f"), b"x").unwrap();
    let f = root.lookup(b"f").unwrap();
    assert_eq!(f.clone().open(&t, 1).err(), Some(Errno::EROFS));
    assert_eq!(root.create(b"g", FILE, 0, 0, 0).err(), Some(Errno::EROFS));
    assert_eq!(root.unlink(b"f"), Err(Errno::EROFS));
    assert_eq!(f.set_attr(&SetAttr::default()), Err(Errno::EROFS));
    assert_eq!(read(&t, &open(&t, &f, 0)), b"x");
}

#[test]
fn few_descriptors_stay_open() {
    let (path, root) = tree("many", false);
    let dirs: Vec<_> = (0..2 * KEPT)
        .map(|i| {
            let name = alloc::format!("d{i}");
            let d = root.create(name.as_bytes(), DIR, 0, 0, 0).unwrap();
            d.create(b"sub", DIR, 0, 0, 0).unwrap();
            d
        })
        .collect();
    assert!(host::open_count() < KEPT + 64);
    for (i, d) in dirs.iter().enumerate() {
        d.lookup(b"sub")
            .unwrap()
            .create(b"x", DIR, 0, 0, 0)
            .unwrap();
        assert!(path.join(alloc::format!("d{i}/sub/x")).exists());
    }
}

#[test]
fn bad_names_are_not_names() {
    for bad in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
        assert!(!valid_name(bad));
    }
    let lie = HostStat {
        mode: FILE,
        size: u64::MAX,
        ..Default::default()
    };
    assert_eq!(checked(lie).err(), Some(Errno::EIO));
}
