use crate::Errno;
use crate::fs::tmpfs::{Options, Tmpfs};
use crate::fs::{FileSystem, Inode, Kind, SetAttr, Xattr};
use crate::testing;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

const DIR: u32 = 0o040755;
pub(super) const FILE: u32 = 0o100644;

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
    let fs = super::new([lower as _].into(), upper.clone()).unwrap();
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
fn a_merged_directory_does_not_count_its_subdirectories() {
    let (_fs, _upper, lower, root) = trees();
    let links = |dir: &Node| dir.stat().unwrap().nlink;
    let d = root.lookup(b"d").unwrap();
    // In one tree only, it is that tree's.
    assert_eq!(links(&root), 1);
    assert_eq!(links(&d), links(&lower.lookup(b"d").unwrap()));
    d.create(b"new", DIR, 0, 0, 0).unwrap();
    assert_eq!(links(&d), 1);
    let own = root.create(b"own", DIR, 0, 0, 0).unwrap();
    own.create(b"sub", DIR, 0, 0, 0).unwrap();
    assert_eq!(links(&own), 3);
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

/// What a tree holds, by path, and what `describe` says of each file.
pub(super) fn listing_with(
    dir: &Node,
    path: &str,
    out: &mut Vec<String>,
    describe: &dyn Fn(&Node) -> String,
) {
    for name in names(dir) {
        let f = dir.lookup(&name).unwrap();
        let path = format!("{path}/{}", name.escape_ascii());
        out.push(format!("{path}{}", describe(&f)));
        if f.kind() == Kind::Dir {
            listing_with(&f, &path, out, describe);
        }
    }
}

fn everything(fs: &Arc<dyn FileSystem>) -> Vec<String> {
    let mut out = Vec::new();
    listing_with(&fs.root(), "", &mut out, &|f| match f.kind() {
        Kind::Dir => String::new(),
        _ => format!("={}", text(f).escape_ascii()),
    });
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
    let open = || super::kept([lower.clone()].into(), upper.clone()).unwrap();
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
    let open = || super::kept([lower.clone()].into(), upper.clone()).unwrap();
    let mode = |mode| SetAttr {
        mode: Some(mode),
        ..Default::default()
    };
    root.set_attr(&mode(0o751)).unwrap();
    assert_eq!(open().root().stat().unwrap().mode & 0o777, 0o751);
    open().root().set_attr(&mode(0o711)).unwrap();
    assert_eq!(open().root().stat().unwrap().mode & 0o777, 0o711);
}

/// Three trees below, topmost first, as an image of three layers has them.
fn layers() -> [Arc<Tmpfs>; 3] {
    testing::boot();
    let [a, b, c] = [(); 3].map(|()| Tmpfs::new(Options::default()));
    let file = |dir: &Node, name: &[u8], text: &[u8]| {
        let f = dir.create(name, FILE, 0, 0, 0).unwrap();
        f.write_at(0, text).unwrap();
    };
    let dir = |dir: &Node, name: &[u8]| dir.create(name, DIR, 0, 0, 0).unwrap();
    let whiteout = |dir: &Node, name: &[u8]| {
        let mode = Kind::Char.bits();
        dir.create(name, mode, 0, 0, 0).unwrap();
    };
    let opaque = |dir: &Node| (dir.set_xattr(b"trusted.overlay.opaque", b"y", Xattr::Any)).unwrap();
    let [top, middle, bottom] = [a.root(), b.root(), c.root()];

    for name in [
        &b"all"[..],
        b"middle",
        b"bottom",
        b"removed",
        b"again",
        b"file-then-dir",
    ] {
        file(&bottom, name, b"3");
    }
    let d = dir(&bottom, b"d");
    for name in [&b"x"[..], b"y", b"z"] {
        file(&d, name, b"3");
    }
    file(&dir(&bottom, b"opaque"), b"hidden", b"3");
    file(&dir(&bottom, b"dir-then-file"), b"hidden", b"3");
    file(&dir(&bottom, b"dir-file-dir"), b"hidden", b"3");
    file(&dir(&bottom, b"gone"), b"hidden", b"3");

    for name in [&b"all"[..], b"middle"] {
        file(&middle, name, b"2");
    }
    for name in [&b"removed"[..], b"again", b"gone"] {
        whiteout(&middle, name);
    }
    let d = dir(&middle, b"d");
    whiteout(&d, b"x");
    file(&d, b"y", b"2");
    let o = dir(&middle, b"opaque");
    opaque(&o);
    file(&o, b"own", b"2");
    file(&middle, b"dir-then-file", b"2");
    file(&middle, b"dir-file-dir", b"2");
    file(&dir(&middle, b"file-then-dir"), b"own", b"2");

    for name in [&b"all"[..], b"again"] {
        file(&top, name, b"1");
    }
    let d = dir(&top, b"d");
    file(&d, b"w", b"1");
    file(&dir(&top, b"opaque"), b"top", b"1");
    file(&dir(&top, b"dir-file-dir"), b"own", b"1");
    [a, b, c]
}

const MERGED: [&str; 16] = [
    "/again=1",
    "/all=1",
    "/bottom=3",
    "/d",
    "/d/w=1",
    "/d/y=2",
    "/d/z=3",
    "/dir-file-dir",
    "/dir-file-dir/own=1",
    "/dir-then-file=2",
    "/file-then-dir",
    "/file-then-dir/own=2",
    "/middle=2",
    "/opaque",
    "/opaque/own=2",
    "/opaque/top=1",
];

fn sorted(fs: &Arc<dyn FileSystem>) -> Vec<String> {
    let mut all = everything(fs);
    all.sort();
    all
}

#[test]
fn several_lower_trees_show_as_one() {
    let lower = || layers().map(|fs| fs as Arc<dyn FileSystem>).to_vec();
    let below = lower();
    let untouched: Vec<_> = below.iter().map(everything_raw).collect();
    let upper = Tmpfs::new(Options::default());
    let open = || super::kept(below.clone(), upper.clone()).unwrap();
    let fs = open();
    assert_eq!(sorted(&fs), MERGED);
    let root = fs.root();
    for name in [&b"removed"[..], b"gone"] {
        assert_eq!(root.lookup(name).err(), Some(Errno::ENOENT));
    }
    // Numbers in listings are the files', whichever tree they are from.
    for dir in [root.clone(), root.lookup(b"d").unwrap()] {
        for e in dir.entries().unwrap() {
            let st = dir.lookup(&e.name).unwrap().stat().unwrap();
            assert_eq!(st.ino, e.ino, "{}", e.name.escape_ascii());
            assert_eq!(st.dev, root.stat().unwrap().dev);
        }
    }
    // Copied up from whichever tree has it.
    let d = root.lookup(b"d").unwrap();
    for (name, dir) in [(&b"z"[..], &d), (b"y", &d), (b"w", &d), (b"bottom", &root)] {
        let f = dir.lookup(name).unwrap();
        let (before, was) = (f.stat().unwrap(), text(&f));
        f.write_at(1, b"!").unwrap();
        assert_eq!(text(&dir.lookup(name).unwrap()), [&was[..], b"!"].concat());
        assert_eq!(f.stat().unwrap().ino, before.ino);
    }
    // What is removed is so in all of them, and does not come back.
    root.unlink(b"all").unwrap();
    d.unlink(b"y").unwrap();
    d.create(b"x", FILE, 0, 0, 0).unwrap();
    assert_eq!(names(&d), [&b"w"[..], b"x", b"z"]);
    assert_eq!(root.rename(b"d", &root, b"e", 0), Err(Errno::EXDEV));
    let o = root.lookup(b"opaque").unwrap();
    for name in [b"own", b"top"] {
        o.unlink(name).unwrap();
    }
    root.rmdir(b"opaque").unwrap();
    root.create(b"opaque", DIR, 0, 0, 0).unwrap();
    root.create(b"gone", DIR, 0, 0, 0).unwrap();
    let seen = sorted(&fs);
    assert!(seen.contains(&"/opaque".into()) && seen.contains(&"/gone".into()));
    assert!(
        !seen
            .iter()
            .any(|f| f.contains("own=2") && f.contains("opaque"))
    );
    assert!(
        !seen
            .iter()
            .any(|f| f.contains("hidden") || f.contains("/all"))
    );
    drop((o, d, root, fs));
    assert_eq!(sorted(&open()), seen);
    let after: Vec<_> = below.iter().map(everything_raw).collect();
    assert_eq!(after, untouched);
}

/// What a tree holds, its whiteouts too.
fn everything_raw(fs: &Arc<dyn FileSystem>) -> Vec<String> {
    let mut out = Vec::new();
    listing_with(&fs.root(), "", &mut out, &|f| {
        let text = (f.kind() == Kind::Regular).then(|| text(f));
        format!(" {:?} {:?} {text:?}", f.kind(), f.list_xattr())
    });
    out
}

#[test]
fn marks_of_overlayfs_are_not_shown_nor_made() {
    let below = layers().map(|fs| fs as Arc<dyn FileSystem>).to_vec();
    let fs = super::new(below, Tmpfs::new(Options::default())).unwrap();
    let (root, mark) = (fs.root(), &b"trusted.overlay.opaque"[..]);
    let o = root.lookup(b"opaque").unwrap();
    assert_eq!(o.list_xattr(), Ok(Vec::new()));
    assert_eq!(o.get_xattr(mark), Err(Errno::EOPNOTSUPP));
    assert_eq!(o.set_xattr(mark, b"y", Xattr::Any), Err(Errno::EOPNOTSUPP));
    o.create(b"new", FILE, 0, 0, 0).unwrap();
    let char = Kind::Char.bits() | 0o600;
    assert_eq!(root.create(b"w", char, 0, 0, 0).err(), Some(Errno::EPERM));
    root.create(b"null", char, 0x103, 0, 0).unwrap();
    assert_eq!(root.lookup(b"null").unwrap().stat().unwrap().rdev, 0x103);
}

#[test]
fn whiteouts_of_a_single_lower_tree() {
    let [_, middle, _] = layers();
    let upper = Tmpfs::new(Options::default());
    let fs = super::new([middle as Arc<dyn FileSystem>].into(), upper).unwrap();
    let root = fs.root();
    assert_eq!(root.lookup(b"removed").err(), Some(Errno::ENOENT));
    assert_eq!(names(&root.lookup(b"d").unwrap()), [b"y"]);
    let d = root.lookup(b"d").unwrap();
    d.unlink(b"y").unwrap();
    drop(d);
    root.rmdir(b"d").unwrap();
    root.create(b"removed", FILE, 0, 0, 0).unwrap();
    assert!(names(&root).contains(&b"removed".to_vec()));
}
