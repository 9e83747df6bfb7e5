use crate::Errno;
use crate::fs::tmpfs::{Options, Tmpfs};
use crate::fs::{FileSystem, Inode, Kind, SetAttr, Xattr};
use crate::testing;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

const DIR: u32 = 0o040755;
const FILE: u32 = 0o100644;

type Node = Arc<dyn Inode>;

/// A lower tree `d/{a,b,sub/x}`, `f`, and the overlay over it.
fn trees() -> (Arc<dyn FileSystem>, Arc<Tmpfs>, Node, Node) {
    testing::boot();
    let lower = Tmpfs::new(Options::default());
    let upper = Tmpfs::new(Options::default());
    let root = lower.root();
    let d = root.create(b"d", DIR, 0, 0, 0).unwrap();
    for name in [&b"a"[..], b"b"] {
        let f = d.create(name, FILE, 0, 1, 2).unwrap();
        f.write_at(0, name).unwrap();
    }
    let sub = d.create(b"sub", DIR, 0, 0, 0).unwrap();
    sub.create(b"x", FILE, 0, 0, 0).unwrap();
    root.create(b"f", FILE, 0, 0, 0).unwrap();
    let fs = super::new(lower, upper.clone()).unwrap();
    let top = fs.root();
    (fs, upper, root, top)
}

fn names(dir: &Node) -> Vec<Vec<u8>> {
    let mut n: Vec<_> = dir.entries().unwrap().into_iter().map(|e| e.name).collect();
    n.sort();
    n
}

fn text(f: &Node) -> Vec<u8> {
    let mut buf = [0; 64];
    let n = f.read_at(0, &mut buf).unwrap();
    buf[..n].to_vec()
}

#[test]
fn changes_are_copied_up_and_the_lower_tree_stays() {
    let (_fs, upper, lower, root) = trees();
    let d = root.lookup(b"d").unwrap();
    let a = d.lookup(b"a").unwrap();
    let before = a.stat().unwrap();
    assert!(upper.root().entries().unwrap().is_empty());
    a.write_at(1, b"!").unwrap();
    assert_eq!(text(&a), b"a!");
    let lower_a = lower.lookup(b"d").unwrap().lookup(b"a").unwrap();
    assert_eq!(text(&lower_a), b"a");
    let after = d.lookup(b"a").unwrap().stat().unwrap();
    assert_eq!(
        (before.ino, before.dev, before.uid),
        (after.ino, after.dev, after.uid)
    );
    assert_eq!(after.size, 2);
    assert_eq!(names(&d), [&b"a"[..], b"b", b"sub"]);
    // The number in the listing is the file's.
    let listed = d.entries().unwrap();
    let e = listed.iter().find(|e| e.name == b"a").unwrap();
    assert_eq!(e.ino, after.ino);
}

#[test]
fn removed_names_stay_removed_and_can_come_back() {
    let (_fs, _upper, lower, root) = trees();
    let d = root.lookup(b"d").unwrap();
    d.unlink(b"a").unwrap();
    assert_eq!(d.lookup(b"a").err(), Some(Errno::ENOENT));
    assert_eq!(names(&d), [&b"b"[..], b"sub"]);
    let a = d.create(b"a", FILE, 0, 0, 0).unwrap();
    assert_eq!(text(&a), b"");
    assert_eq!(d.create(b"b", FILE, 0, 0, 0).err(), Some(Errno::EEXIST));
    d.unlink(b"a").unwrap();
    assert_eq!(d.lookup(b"a").err(), Some(Errno::ENOENT));
    assert_eq!(names(&lower.lookup(b"d").unwrap()).len(), 3);
}

#[test]
fn a_directory_made_anew_is_opaque() {
    let (_fs, _upper, _lower, root) = trees();
    let d = root.lookup(b"d").unwrap();
    assert_eq!(d.rmdir(b"sub").err(), Some(Errno::ENOTEMPTY));
    d.lookup(b"sub").unwrap().unlink(b"x").unwrap();
    d.rmdir(b"sub").unwrap();
    let sub = d.create(b"sub", DIR, 0, 0, 0).unwrap();
    assert!(names(&sub).is_empty());
    drop(sub);
    let sub = d.lookup(b"sub").unwrap();
    assert_eq!(sub.lookup(b"x").err(), Some(Errno::ENOENT));
}

#[test]
fn renames() {
    let (_fs, _upper, _lower, root) = trees();
    let d = root.lookup(b"d").unwrap();
    assert_eq!(root.rename(b"d", &root, b"e", 0), Err(Errno::EXDEV));
    d.rename(b"a", &root, b"f", 0).unwrap();
    assert_eq!(text(&root.lookup(b"f").unwrap()), b"a");
    assert_eq!(d.lookup(b"a").err(), Some(Errno::ENOENT));
    assert_eq!(root.rename(b"f", &root, b"d", 0), Err(Errno::EISDIR));
    let new = root.create(b"new", DIR, 0, 0, 0).unwrap();
    new.create(b"y", FILE, 0, 0, 0).unwrap();
    assert_eq!(root.rename(b"new", &root, b"d", 0), Err(Errno::ENOTEMPTY));
    root.rename(b"new", &d, b"moved", 0).unwrap();
    assert_eq!(names(&d.lookup(b"moved").unwrap()), [b"y"]);
    // Exchange: neither name goes.
    d.rename(b"b", &root, b"f", 2).unwrap();
    assert_eq!(text(&root.lookup(b"f").unwrap()), b"b");
    assert_eq!(text(&d.lookup(b"b").unwrap()), b"a");
}

#[test]
fn a_nameless_file_is_copied_without_coming_back() {
    let (_fs, _upper, _lower, root) = trees();
    let d = root.lookup(b"d").unwrap();
    let a = d.lookup(b"a").unwrap();
    d.unlink(b"a").unwrap();
    let mode = SetAttr {
        mode: Some(0o600),
        ..Default::default()
    };
    a.set_attr(&mode).unwrap();
    assert_eq!(a.stat().unwrap().mode & 0o777, 0o600);
    assert_eq!(d.lookup(b"a").err(), Some(Errno::ENOENT));
}

#[test]
fn links_and_symlinks() {
    let (_fs, _upper, _lower, root) = trees();
    let d = root.lookup(b"d").unwrap();
    let b = d.lookup(b"b").unwrap();
    root.link(b"hard", &b).unwrap();
    assert_eq!(b.stat().unwrap().nlink, 2);
    root.lookup(b"hard").unwrap().write_at(0, b"new").unwrap();
    assert_eq!(text(&d.lookup(b"b").unwrap()), b"new");
    let s = d.symlink(b"s", b"../f", 0, 0).unwrap();
    assert_eq!(s.kind(), Kind::Symlink);
    assert_eq!(d.lookup(b"s").unwrap().read_link().unwrap(), b"../f");
}

#[test]
fn extended_attributes_are_copied_up() {
    let (_fs, _, lower, root) = trees();
    let lower_a = lower.lookup(b"d").unwrap().lookup(b"a").unwrap();
    (lower_a.set_xattr(b"user.lower", b"1", Xattr::Any)).unwrap();
    let a = root.lookup(b"d").unwrap().lookup(b"a").unwrap();
    assert_eq!(a.get_xattr(b"user.lower"), Ok(b"1".to_vec()));
    a.set_xattr(b"user.upper", b"2", Xattr::Create).unwrap();
    let mut names = a.list_xattr().unwrap();
    names.sort();
    assert_eq!(names, [b"user.lower", b"user.upper"]);
    a.remove_xattr(b"user.lower").unwrap();
    assert_eq!(a.get_xattr(b"user.lower"), Err(Errno::ENODATA));
    assert_eq!(lower_a.list_xattr(), Ok([b"user.lower".to_vec()].into()));
}

/// What a tree holds, by path.
fn listing(dir: &Node, path: &str, out: &mut Vec<String>) {
    for name in names(dir) {
        let f = dir.lookup(&name).unwrap();
        let path = format!("{path}/{}", name.escape_ascii());
        if f.kind() == Kind::Dir {
            listing(&f, &path, out);
            out.push(path);
        } else {
            out.push(format!("{path}={}", text(&f).escape_ascii()));
        }
    }
}

fn everything(fs: &Arc<dyn FileSystem>) -> Vec<String> {
    let mut out = Vec::new();
    listing(&fs.root(), "", &mut out);
    out
}

#[test]
fn what_is_kept_is_there_the_next_time() {
    let (_fs, _, root, _) = trees();
    let (lower, upper) = (root.fs(), Tmpfs::new(Options::default()));
    let before = everything(&lower);
    // Each step works on an overlay of its own.
    let d = |root: &Node| root.lookup(b"d").unwrap();
    let steps: [&dyn Fn(&Node); 14] = [
        &|root| d(root).lookup(b"a").unwrap().write_at(1, b"!").unwrap(),
        &|root| d(root).unlink(b"a").unwrap(),
        &|root| d(root).unlink(b"b").unwrap(),
        &|root| {
            let b = d(root).create(b"b", FILE, 0, 0, 0).unwrap();
            b.write_at(0, b"new").unwrap();
        },
        &|root| {
            let sub = d(root).lookup(b"sub").unwrap();
            sub.unlink(b"x").unwrap();
            sub.create(b"own", FILE, 0, 0, 0).unwrap();
        },
        &|root| {
            d(root).lookup(b"sub").unwrap().unlink(b"own").unwrap();
            d(root).rmdir(b"sub").unwrap();
        },
        // Made anew: nothing of the lower one shows.
        &|root| drop(d(root).create(b"sub", DIR, 0, 0, 0).unwrap()),
        &|root| {
            let sub = d(root).lookup(b"sub").unwrap();
            sub.create(b"y", FILE, 0, 0, 0).unwrap();
        },
        // It moves away, and its name stays free.
        &|root| d(root).rename(b"sub", root, b"moved", 0).unwrap(),
        &|root| root.rename(b"f", &d(root), b"b", 0).unwrap(),
        &|root| d(root).unlink(b"b").unwrap(),
        // Over a lower directory that was emptied.
        &|root| root.rename(b"moved", root, b"d", 0).unwrap(),
        &|root| {
            d(root)
                .link(b"hard", &d(root).lookup(b"y").unwrap())
                .unwrap()
        },
        &|root| {
            d(root).unlink(b"y").unwrap();
            d(root).unlink(b"hard").unwrap();
            root.rmdir(b"d").unwrap();
        },
    ];
    let mut last = before.clone();
    let open = || super::kept(lower.clone(), upper.clone()).unwrap();
    for (i, step) in steps.iter().enumerate() {
        let fs = open();
        assert_eq!(everything(&fs), last, "before step {i}");
        step(&fs.root());
        let seen = everything(&fs);
        assert_ne!(seen, last, "step {i}");
        drop(fs);
        last = everything(&open());
        assert_eq!(last, seen, "step {i}");
    }
    assert!(last.is_empty(), "{last:?}");
    assert_eq!(everything(&lower), before);
    // Nothing is kept of directories that are gone.
    let whiteouts = upper.root().lookup(b"whiteouts").unwrap();
    assert_eq!(names(&whiteouts).len(), 1);
}

#[test]
fn the_attributes_of_the_root_are_kept() {
    let (_fs, _, root, _) = trees();
    let (lower, upper) = (root.fs(), Tmpfs::new(Options::default()));
    let open = || super::kept(lower.clone(), upper.clone()).unwrap();
    let mode = |mode| SetAttr {
        mode: Some(mode),
        ..Default::default()
    };
    root.set_attr(&mode(0o751)).unwrap();
    assert_eq!(open().root().stat().unwrap().mode & 0o777, 0o751);
    open().root().set_attr(&mode(0o711)).unwrap();
    assert_eq!(open().root().stat().unwrap().mode & 0o777, 0o711);
}
