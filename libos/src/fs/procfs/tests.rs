use super::super::pseudo::Text;
use super::super::{FdTable, File, Inode};
use crate::testing;
use crate::uio::{IoDst, IoSrc};
use crate::{Errno, Result, Task};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

fn walk(t: &Task, path: &str) -> Result<Arc<dyn Inode>> {
    let mut at = super::new().root();
    for name in path.split('/').filter(|n| !n.is_empty()) {
        at = match name {
            "self" => at.lookup(at.lookup(b"self")?.link_text(t)?.as_slice())?,
            _ => at.lookup(name.as_bytes())?,
        };
    }
    Ok(at)
}

fn open(t: &Task, path: &str) -> Result<Arc<File>> {
    Ok(File::new(walk(t, path)?.open(t, 2)?, None, 2))
}

fn read(t: &Task, path: &str) -> Result<String> {
    let mut out = Vec::new();
    open(t, path)?.read(t, &mut IoDst::kernel(&mut out, 1 << 20))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn write(t: &Task, path: &str, data: &str) -> Result<usize> {
    open(t, path)?.write(t, &mut IoSrc::kernel(data.as_bytes()))
}

fn names(t: &Task, path: &str) -> Vec<String> {
    let ops = walk(t, path).unwrap().open(t, 0).unwrap();
    let mut out = Vec::new();
    let mut position = 0;
    // One entry at a time, to go through all positions.
    loop {
        let before = position;
        ops.read_dir(t, position, &mut |d| {
            out.push(String::from_utf8_lossy(d.name).into_owned());
            position = d.next;
            false
        })
        .unwrap();
        if position == before {
            return out;
        }
    }
}

#[test]
fn shows_the_reader() {
    let t = testing::task();
    *t.name.lock() = *b"a) name\n\0\0\0\0\0\0\0\0";
    // It has a platform thread, or it would seem asleep.
    t.thread.store(1, core::sync::atomic::Ordering::Relaxed);
    let stat = read(&t, "self/stat").unwrap();
    assert!(stat.starts_with(&alloc::format!("{} (a) name\n) R 0 ", t.tid)));
    assert_eq!(stat.rsplit(") ").next().unwrap().split(' ').count(), 50);
    let status = read(&t, "self/status").unwrap();
    assert!(status.contains("Name:\ta) name\\n\n"));
    assert!(status.contains("Uid:\t0\t0\t0\t0\n"));
    assert_eq!(read(&t, "self/statm").unwrap().split(' ').count(), 7);
    assert!(
        read(&t, "self/limits")
            .unwrap()
            .contains("Max open files            1024")
    );
    let listed = names(&t, "");
    assert!(listed.contains(&t.tid.to_string()) && listed.contains(&"meminfo".into()));
    assert!(names(&t, "self").contains(&"mountinfo".into()));
    assert_eq!(names(&t, "self/task"), [t.tid.to_string()]);
    assert!(walk(&t, "self/task/1").is_err());
    assert!(walk(&t, &alloc::format!("self/task/{}/children", t.tid)).is_ok());
}

#[test]
fn names_are_changed_by_their_owner_only() {
    let (t, other) = (testing::task(), testing::task());
    write(&t, "self/comm", "averyveryverylongname").unwrap();
    assert_eq!(read(&t, "self/comm").unwrap(), "averyveryverylo\n");
    let path = alloc::format!("{}/comm", t.tid);
    assert_eq!(write(&other, &path, "x"), Err(Errno::EINVAL));
    assert_eq!(write(&t, "self/oom_score_adj", "-1001"), Err(Errno::EINVAL));
    write(&t, "self/oom_score_adj", " 500\n").unwrap();
    assert_eq!(read(&t, "self/oom_adj").unwrap(), "8\n");
    write(&t, "self/coredump_filter", "0x7f").unwrap();
    assert_eq!(read(&t, "self/coredump_filter").unwrap(), "0000007f\n");
}

#[test]
fn descriptors_are_links() {
    let t = testing::task_with(
        crate::process::Creds::new(0, 0, Vec::new()),
        FdTable::new(),
        testing::task().fs(),
    );
    let ns = Arc::new(super::NsFile(super::NsKind::Uts));
    t.install(File::new(ns, None, 0), Default::default())
        .unwrap();
    assert_eq!(names(&t, "self/fd"), ["0"]);
    let link = walk(&t, "self/fd/0").unwrap();
    assert_eq!(link.link_text(&t).unwrap(), b"uts:[4026531838]");
    assert_eq!(link.stat().unwrap().mode, 0o120500);
    assert!(
        read(&t, "self/fdinfo/0")
            .unwrap()
            .starts_with("pos:\t0\nflags:\t00\n")
    );
    assert!(walk(&t, "self/fd/1").is_err());
    assert!(walk(&t, "self/fd/00").is_err());
    let ns = walk(&t, "self/ns/uts").unwrap();
    assert_eq!(ns.link_text(&t).unwrap(), b"uts:[4026531838]");
}

#[test]
fn strangers_are_kept_out() {
    let owner = testing::task();
    let stranger = testing::task_with(
        crate::process::Creds::new(1000, 1000, Vec::new()),
        FdTable::new(),
        owner.fs(),
    );
    let path = |file: &str| alloc::format!("{}/{file}", owner.tid);
    assert_eq!(open(&stranger, &path("maps")).err(), Some(Errno::EACCES));
    assert_eq!(open(&stranger, &path("fd")).err(), Some(Errno::EACCES));
    let exe = walk(&stranger, &path("exe")).unwrap();
    assert_eq!(exe.link_text(&stranger), Err(Errno::EACCES));
    assert!(read(&stranger, &path("stat")).is_ok());
    assert_eq!(
        walk(&stranger, &path("fd")).unwrap().stat().unwrap().mode,
        0o040500
    );
}

#[test]
fn the_gone_are_not_found() {
    let (t, gone) = (testing::task(), testing::task());
    let path = alloc::format!("{}/stat", gone.tid);
    let dir = walk(&t, &gone.tid.to_string()).unwrap();
    let file = open(&t, &path).unwrap();
    crate::kernel().processes.lock().remove(&gone.tid);
    crate::kernel().tasks.lock().remove(&gone.tid);
    assert!(walk(&t, &path).is_err());
    assert_eq!(dir.lookup(b"stat").err(), Some(Errno::ENOENT));
    let mut out = Vec::new();
    let got = file.read(&t, &mut IoDst::kernel(&mut out, 100));
    assert_eq!(got, Err(Errno::ESRCH));
}

#[test]
fn parameters_keep_what_fits() {
    let t = testing::task();
    write(&t, "sys/kernel/core_pattern", "core.%p\nrest").unwrap();
    assert_eq!(read(&t, "sys/kernel/core_pattern").unwrap(), "core.%p\n");
    assert_eq!(write(&t, "sys/vm/swappiness", "201"), Err(Errno::EINVAL));
    assert_eq!(write(&t, "sys/vm/swappiness", "ten"), Err(Errno::EINVAL));
    assert_eq!(write(&t, "sys/vm/swappiness", ""), Err(Errno::EINVAL));
    write(&t, "sys/vm/swappiness", "0x10\n").unwrap();
    assert_eq!(read(&t, "sys/vm/swappiness").unwrap(), "16\n");
    assert_eq!(
        read(&t, "sys/kernel/shmmax").unwrap(),
        "18446744073692774399\n"
    );
    write(&t, "sys/kernel/shmmax", "18446744073692774399").unwrap();
    write(&t, "sys/kernel/sem", "32000 1024000000 600").unwrap();
    assert_eq!(crate::sysctl::SEMOPM.get(), 600);
    assert_eq!(
        read(&t, "sys/kernel/sem").unwrap(),
        "32000\t1024000000\t600\t32000\n"
    );
    write(&t, "sys/kernel/hostname", "elsewhere\n").unwrap();
    assert_eq!(*crate::kernel().hostname.lock(), b"elsewhere");
    assert_eq!(read(&t, "sys/kernel/random/uuid").unwrap().len(), 37);
    write(&t, "sys/fs/pipe-max-size", "100000").unwrap();
    assert_eq!(read(&t, "sys/fs/pipe-max-size").unwrap(), "131072\n");
    write(&t, "sys/fs/pipe-max-size", "1048576").unwrap();
}

#[test]
fn every_file_can_be_read() {
    fn visit(t: &Task, path: &str) {
        for name in names(t, path) {
            let below = alloc::format!("{path}/{name}");
            if path.is_empty() && name.parse::<i32>().is_ok() {
                continue;
            }
            let inode = walk(t, &below).unwrap();
            match inode.kind() {
                crate::fs::Kind::Dir => visit(t, &below),
                crate::fs::Kind::Regular => {
                    let readable = inode.stat().unwrap().mode & 0o400 != 0;
                    // The mock has no memory to look at, and physical pages nobody sees.
                    if readable && !below.ends_with("/pagemap") && !below.ends_with("/mem") {
                        read(t, &below).unwrap();
                    }
                }
                _ => {}
            }
        }
    }
    let t = testing::task();
    visit(&t, "");
    visit(&t, "/self");
}

#[test]
fn sets_are_shown_as_ranges_and_words() {
    let text = |t: Text| String::from_utf8(t.0).unwrap();
    assert_eq!(text(super::stat::list(&[0b1101_1110], 8)), "1-4,6-7");
    assert_eq!(text(super::stat::mask(&[3], 2)), "3");
    assert_eq!(
        text(super::stat::mask(&[u64::MAX, 1], 65)),
        "1,ffffffff,ffffffff"
    );
    assert_eq!(text(super::stat::mask(&[1], 64)), "00000000,00000001");
}

#[test]
fn the_machine_is_in_sys() {
    let t = testing::task();
    let mut at = super::super::sysfs::new().root();
    for name in [
        "devices",
        "system",
        "cpu",
        "cpu1",
        "topology",
        "core_siblings",
    ] {
        at = at.lookup(name.as_bytes()).unwrap();
    }
    let mut out = Vec::new();
    let f = File::new(at.clone().open(&t, 0).unwrap(), None, 0);
    f.read(&t, &mut IoDst::kernel(&mut out, 100)).unwrap();
    assert_eq!(out, b"3\n");
    assert_eq!(at.stat().unwrap().size, 4096);
}
