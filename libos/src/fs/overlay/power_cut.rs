//! The power fails at every write to the host, while an overlay whose changes go to a volume is
//! worked on. What is there afterwards is the state before an operation or after it, and nothing is
//! left of what had begun.

use super::tests::{FILE, listing_with};
use crate::fs::tmpfs::{Options as Memory, Tmpfs};
use crate::fs::{FileSystem, Inode, Kind, SetAttr, Xattr, volume};
use crate::testing;
use crate::testing::disk::{Disk, Rng, cut_everywhere};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_volume::{Kdf, Limits, Options, Platform, Result, Volume};
use core::sync::atomic::{AtomicU64, Ordering};

type Node = Arc<dyn Inode>;

const KEY: [u8; 32] = [8; 32];
const DIR: u32 = 0o040750;

/// Numbers that differ from mount to mount.
struct Test(u64);

impl Platform for Test {
    fn random(&self, buf: &mut [u8]) -> Result<()> {
        buf.copy_from_slice(&Rng(self.0).bytes(buf.len()));
        Ok(())
    }

    fn now(&self) -> i64 {
        crate::time::realtime() as i64
    }
}

/// Everything that is begun is first made durable: each change of the volume may be the last.
fn options() -> Options {
    static SEED: AtomicU64 = AtomicU64::new(1);
    let seed = SEED.fetch_add(1, Ordering::Relaxed);
    Options {
        limits: Limits {
            changed: 0,
            ..Limits::default()
        },
        ..Options::new(Box::new(Test(seed << 32)))
    }
}

fn open(disk: &Disk) -> Volume {
    Volume::open(Box::new(disk.clone()), &KEY, options()).unwrap()
}

/// The overlay, and the volume's file system.
fn mount(lower: &Arc<dyn FileSystem>, disk: &Disk) -> (Arc<dyn FileSystem>, Arc<dyn FileSystem>) {
    let upper = volume::mounted(Ok(open(disk)), 1 << 20).unwrap();
    let fs = super::kept([lower.clone()].into(), upper.clone()).unwrap();
    (fs, upper)
}

/// A lower tree with a file of every kind, and directories of some depth.
fn lower() -> Arc<dyn FileSystem> {
    testing::boot();
    let fs = Tmpfs::new(Memory::default());
    let root = fs.root();
    let dir = |dir: &Node, name: &[u8]| {
        let d = dir.create(name, DIR, 0, 5, 6).unwrap();
        d.set_xattr(b"user.of", name, Xattr::Any).unwrap();
        d
    };
    let file = |dir: &Node, name: &[u8]| {
        let f = dir.create(name, FILE, 0, 1, 2).unwrap();
        f.write_at(0, &name.repeat(3000)).unwrap();
        f.set_xattr(b"user.of", name, Xattr::Any).unwrap();
    };
    let d = dir(&root, b"d");
    let deep = dir(&dir(&d, b"sub"), b"deep");
    file(&deep, b"f");
    for name in [&b"a"[..], b"b", b"c"] {
        file(&d, name);
        file(&root, name);
    }
    d.symlink(b"link", b"a", 3, 4).unwrap();
    d.create(b"fifo", Kind::Fifo.bits() | 0o600, 0, 3, 4)
        .unwrap();
    file(&dir(&root, b"emptied"), b"x");
    file(&dir(&root, b"replaced"), b"x");
    fs
}

fn all(fs: &Arc<dyn FileSystem>, times: bool) -> Vec<String> {
    let mut out = Vec::new();
    listing_with(&fs.root(), "", &mut out, &|f| {
        let s = f.stat().unwrap();
        let mut names = f.list_xattr().unwrap();
        names.sort();
        let xattrs: Vec<_> = (names.iter())
            .map(|name| (name.len(), f.get_xattr(name).unwrap()))
            .collect();
        let target = (f.kind() == Kind::Symlink).then(|| f.read_link().unwrap());
        let mut contents = alloc::vec![0; s.size as usize];
        let mtime = (times && f.kind() != Kind::Dir).then_some(s.mtime);
        if f.kind() == Kind::Regular {
            assert_eq!(f.read_at(0, &mut contents), Ok(contents.len()));
        }
        let sum = |sum: u64, b: &u8| sum.wrapping_mul(31).wrapping_add(u64::from(*b));
        let text =
            (f.kind() == Kind::Regular).then(|| (contents.len(), contents.iter().fold(7, sum)));
        let links = (f.kind() != Kind::Dir).then_some(s.nlink);
        alloc::format!(
            "{:o} {} {} {links:?} {mtime:?} {xattrs:?} {target:?} {text:?}",
            s.mode,
            s.uid,
            s.gid
        )
    });
    out
}

fn at(root: &Node, path: &str) -> Node {
    (path.split('/')).fold(root.clone(), |dir, name| {
        dir.lookup(name.as_bytes()).unwrap()
    })
}

/// Operations one after the other, each of which is done or not done.
fn steps() -> Vec<(&'static str, Box<dyn Fn(&Node)>)> {
    let mode = |mode| SetAttr {
        mode: Some(mode),
        ..SetAttr::default()
    };
    let owner = SetAttr {
        uid: Some(77),
        ..SetAttr::default()
    };
    let cut = SetAttr {
        size: Some(100),
        ..SetAttr::default()
    };
    let mut steps: Vec<(&str, Box<dyn Fn(&Node)>)> = Vec::new();
    let mut add = |name, step: Box<dyn Fn(&Node)>| steps.push((name, step));
    add(
        "write deep down",
        Box::new(|r| at(r, "d/sub/deep/f").write_at(7000, b"!").unwrap()),
    );
    add(
        "mode of a FIFO",
        Box::new(move |r| at(r, "d/fifo").set_attr(&mode(0o644)).unwrap()),
    );
    add(
        "owner of a link",
        Box::new(move |r| at(r, "d/link").set_attr(&owner).unwrap()),
    );
    add(
        "mode of a directory",
        Box::new(move |r| at(r, "emptied").set_attr(&mode(0o711)).unwrap()),
    );
    add(
        "attribute of a file",
        Box::new(|r| {
            at(r, "a").set_xattr(b"user.new", b"1", Xattr::Any).unwrap();
        }),
    );
    add("cut", Box::new(move |r| at(r, "b").set_attr(&cut).unwrap()));
    add(
        "remove what is below",
        Box::new(|r| r.unlink(b"c").unwrap()),
    );
    add(
        "make it again",
        Box::new(|r| drop(r.create(b"c", FILE, 0, 0, 0).unwrap())),
    );
    add(
        "remove what is above too",
        Box::new(|r| r.unlink(b"a").unwrap()),
    );
    add(
        "link to what is below",
        Box::new(|r| at(r, "d").link(b"hard", &at(r, "d/c")).unwrap()),
    );
    add(
        "rename over",
        Box::new(|r| at(r, "d").rename(b"a", r, b"b", 0).unwrap()),
    );
    add(
        "exchange",
        Box::new(|r| at(r, "d").rename(b"b", r, b"c", 2).unwrap()),
    );
    add(
        "empty",
        Box::new(|r| at(r, "emptied").unlink(b"x").unwrap()),
    );
    add(
        "remove a directory",
        Box::new(|r| r.rmdir(b"emptied").unwrap()),
    );
    add(
        "make it anew",
        Box::new(|r| drop(r.create(b"emptied", DIR, 0, 0, 0).unwrap())),
    );
    add(
        "fill it",
        Box::new(|r| drop(at(r, "emptied").create(b"y", FILE, 0, 0, 0).unwrap())),
    );
    add(
        "empty another",
        Box::new(|r| at(r, "replaced").unlink(b"x").unwrap()),
    );
    add(
        "put a directory in its place",
        Box::new(|r| {
            r.rename(b"emptied", r, b"replaced", 0).unwrap();
        }),
    );
    add(
        "move a directory",
        Box::new(|r| r.rename(b"replaced", &at(r, "d"), b"moved", 0).unwrap()),
    );
    add(
        "make a link",
        Box::new(|r| drop(r.symlink(b"a", b"d/moved", 1, 1).unwrap())),
    );
    steps
}

/// What must be so after the power failed and all was mounted again.
fn recovered(lower: &Arc<dyn FileSystem>, image: Vec<u8>) -> (Disk, Vec<String>) {
    let disk = Disk::with(image);
    let (fs, upper) = mount(lower, &disk);
    let seen = all(&fs, true);
    let work = upper.root().lookup(b"work").unwrap();
    assert!(work.entries().unwrap().is_empty(), "something is left");
    upper.sync().unwrap();
    drop((fs, work, upper));
    let report = open(&disk).fsck(true, &mut |_, _| {}).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    (disk, seen)
}

#[test]
fn every_power_cut_leaves_the_state_before_or_after() {
    let lower = lower();
    let disk = Disk::default();
    let device = Box::new(disk.clone());
    drop(Volume::create(device, 4 << 20, &KEY, Kdf::Key, None, options()).unwrap());
    let (mut points, mut between) = (0, 0);
    let mut rng = Rng(1);
    // The first mount is cut short as well.
    let begun = disk.data();
    disk.record();
    let before = all(&mount(&lower, &disk).0, true);
    let events = disk.0.lock().unwrap().events.take().unwrap();
    points += cut_everywhere(begun, &events, 3, &mut rng, &mut |image, at, _, how| {
        assert_eq!(
            recovered(&lower, image).1,
            before,
            "first mount, {how} at {at}"
        );
    });
    for (name, step) in steps() {
        let (fs, upper) = mount(&lower, &disk);
        upper.sync().unwrap();
        let before = all(&fs, true);
        let image = disk.data();
        disk.record();
        step(&fs.root());
        upper.sync().unwrap();
        let events = disk.0.lock().unwrap().events.take().unwrap();
        let (after, timeless) = (all(&fs, true), all(&fs, false));
        assert_ne!(before, after, "{name}");
        drop((fs, upper));
        points += cut_everywhere(image, &events, 3, &mut rng, &mut |image, at, rng, how| {
            let (disk, seen) = recovered(&lower, image);
            // As on Linux, what is cut is copied no farther, and takes its new time later.
            let cut =
                name == "cut" && seen != before && all(&mount(&lower, &disk).0, false) == timeless;
            if seen == after || cut {
                return;
            }
            assert_eq!(seen, before, "{name}, {how} at {at}");
            between += 1;
            // It can be done again, as if nothing had happened.
            if rng.one_in(3) {
                let (fs, _) = mount(&lower, &disk);
                step(&fs.root());
                assert_eq!(all(&fs, false), timeless, "{name}, {how} at {at}, again");
            }
        });
    }
    assert!(points > 1000 && between > 500, "{points} {between}");
}
