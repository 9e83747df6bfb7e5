//! Trees shown as one: lower ones that are only read, one above the other, and an upper one that
//! takes all changes, as Linux's overlayfs.
//!
//! A name is the upper tree's if it is there, else that of the first lower tree that has it, unless a
//! *whiteout* says that it was removed. Directories of one name are merged, unless the name has a
//! whiteout: then what is above was made after what is below was removed. A lower file is *copied
//! up*, with the directories above it, before its first change.
//!
//! In a lower tree whiteouts are what Linux's overlayfs and container tools leave there ([`layer`]).
//! Of the upper tree they are noted beside the upper tree and not in it, which so contains nothing to hide. They
//! are noted before the change that needs them, and until then the upper file hides them. What is
//! copied up takes its name once it is whole. So an upper file system that is kept ([`kept`]) shows
//! the state before a change or after it, whenever the power fails.
//!
//! As on Linux, files that are open for reading while they are copied up go on reading the lower
//! file; a lower file with several names is copied for one of them only; and renaming a directory
//! that has a lower part is EXDEV, upon which programs copy.
//!
//! Lower files get an inode object for each name (the dentry cache keeps it), upper ones a single
//! object, however many names they have.

mod copy;
mod dir;
mod inode;
mod layer;
#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod tests;

use super::inode::new_dev;
use super::{FileSystem, Inode, Kind, Stat, StatFs};
use crate::{Errno, Result, pal};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use inode::{OverlayInode, Place};

/// `OVERLAYFS_SUPER_MAGIC`.
const MAGIC: u64 = 0x794c_7630;
/// Inode numbers of upper files have this bit, so that they are not those of lower ones. Programs
/// that hold them in floating point (node) lose nothing below 2^53.
const UPPER_BIT: u64 = 1 << 52;

/// What is noted of an upper file.
#[derive(Default)]
struct Note {
    /// Lower names that are removed.
    whiteouts: BTreeSet<Vec<u8>>,
    /// All whiteouts that were kept are here.
    loaded: bool,
    /// The inode number that it had before it was copied up.
    ino: Option<u64>,
}

/// The file system.
pub struct Overlay {
    me: Weak<Overlay>,
    /// Topmost first; at least one.
    lower: Vec<Arc<dyn FileSystem>>,
    upper: Arc<dyn FileSystem>,
    upper_root: Arc<dyn Inode>,
    /// Where whiteouts are kept, if the upper file system lives longer than this: for each
    /// directory, by its inode number, one with its whiteouts.
    whiteouts: Option<Arc<dyn Inode>>,
    /// Where a file is made that takes its name once it is whole, in an upper file system that lives
    /// longer than this. Used by one at a time, under [`Overlay::change`].
    work: Option<Arc<dyn Inode>>,
    dev: u64,
    /// Small numbers for the devices that lower files are on.
    lower_devs: Mutex<Vec<u64>>,
    /// By inode number of the upper file.
    notes: Mutex<BTreeMap<u64, Note>>,
    /// Live inodes with an upper file, by its number.
    inodes: Mutex<BTreeMap<u64, Weak<OverlayInode>>>,
    root: Mutex<Weak<OverlayInode>>,
    /// Held while something is copied up, removed or renamed.
    change: Mutex<()>,
}

/// Shows `lower`, the topmost tree first, with changes in `upper`, which is empty and of no use
/// afterwards.
pub fn new(
    lower: Vec<Arc<dyn FileSystem>>,
    upper: Arc<dyn FileSystem>,
) -> Result<Arc<dyn FileSystem>> {
    let root = upper.root();
    copy::copy_attributes(&directories(&lower)?, &root)?;
    Ok(assemble(lower, upper, root, None))
}

/// Shows `lower`, with changes in `upper` that are there again the next time: its directory `upper`
/// has the files, `whiteouts` what was removed; in `work` is what has no name yet. All are made if need
/// be.
pub fn kept(
    lower: Vec<Arc<dyn FileSystem>>,
    upper: Arc<dyn FileSystem>,
) -> Result<Arc<dyn FileSystem>> {
    let st = directories(&lower)?;
    let top = upper.root();
    let work = sub_directory(&top, b"work")?;
    clear(&work)?;
    let root = match top.lookup(b"upper") {
        Err(Errno::ENOENT) => {
            let new = work.create(WORK, st.mode, 0, st.uid, st.gid)?;
            copy::copy_attributes(&st, &new)?;
            work.rename(WORK, &top, b"upper", 0)?;
            new
        }
        found => found?,
    };
    let whiteouts = sub_directory(&top, b"whiteouts")?;
    if root.kind() != Kind::Dir {
        return Err(Errno::ENOTDIR);
    }
    let ino = root.stat()?.ino;
    let overlay = assemble(lower, upper, root, Some((whiteouts, work)));
    overlay.load(ino)?;
    Ok(overlay)
}

/// The attributes of the topmost tree's root. All must be directories.
fn directories(lower: &[Arc<dyn FileSystem>]) -> Result<Stat> {
    let top = lower.first().ok_or(Errno::EINVAL)?.root();
    match lower.iter().all(|fs| fs.root().kind() == Kind::Dir) {
        true => top.stat(),
        false => Err(Errno::ENOTDIR),
    }
}

/// The name of what is being made in the work directory.
const WORK: &[u8] = b"new";

/// Removes what was being made when the power failed.
fn clear(work: &Arc<dyn Inode>) -> Result<()> {
    for e in work.entries()? {
        match e.kind == Kind::Dir.dirent() {
            true => work.rmdir(&e.name)?,
            false => work.unlink(&e.name)?,
        }
    }
    Ok(())
}

/// A directory of the overlay's own, made if it is missing.
fn sub_directory(dir: &Arc<dyn Inode>, name: &[u8]) -> Result<Arc<dyn Inode>> {
    match dir.lookup(name) {
        Err(Errno::ENOENT) => dir.create(name, Kind::Dir.bits() | 0o700, 0, 0, 0),
        found => found,
    }
}

fn assemble(
    lower: Vec<Arc<dyn FileSystem>>,
    upper: Arc<dyn FileSystem>,
    upper_root: Arc<dyn Inode>,
    own: Option<(Arc<dyn Inode>, Arc<dyn Inode>)>,
) -> Arc<Overlay> {
    let (whiteouts, work) = own.unzip();
    Arc::new_cyclic(|me| Overlay {
        me: me.clone(),
        lower,
        upper,
        upper_root,
        whiteouts,
        work,
        dev: new_dev(),
        lower_devs: Mutex::default(),
        notes: Mutex::default(),
        inodes: Mutex::default(),
        root: Mutex::default(),
        change: Mutex::default(),
    })
}

/// The name of the directory that holds a directory's whiteouts.
fn holder(ino: u64) -> Vec<u8> {
    alloc::format!("{ino}").into_bytes()
}

impl Overlay {
    fn arc(&self) -> Arc<Overlay> {
        self.me.upgrade().expect("a method runs on a live object")
    }

    /// The inode number shown for a lower file: its own, marked if it is on another device than
    /// most.
    fn lower_ino(&self, dev: u64, ino: u64) -> u64 {
        let mut devs = self.lower_devs.lock();
        let i = match devs.iter().position(|&d| d == dev) {
            Some(i) => i,
            None => {
                devs.push(dev);
                devs.len() - 1
            }
        };
        ino ^ (i as u64) << 44
    }

    /// The inode number shown for an upper file.
    fn upper_ino(&self, ino: u64) -> u64 {
        let notes = self.notes.lock();
        let before = notes.get(&ino).and_then(|n| n.ino);
        before.unwrap_or(ino | UPPER_BIT)
    }

    /// Notes something of an upper file.
    fn note<R>(&self, ino: u64, change: impl FnOnce(&mut Note) -> R) -> R {
        change(self.notes.lock().entry(ino).or_default())
    }

    /// Reads what is noted of an upper file; the default if nothing is.
    fn noted<R: Default>(&self, ino: u64, read: impl FnOnce(&Note) -> R) -> R {
        self.notes.lock().get(&ino).map(read).unwrap_or_default()
    }

    /// Takes the whiteouts of an upper directory that were kept.
    fn load(&self, ino: u64) -> Result<()> {
        let Some(all) = &self.whiteouts else {
            return Ok(());
        };
        if self.noted(ino, |n| n.loaded) {
            return Ok(());
        }
        let names = match all.lookup(&holder(ino)) {
            Err(Errno::ENOENT) => Vec::new(),
            found => found?.entries()?,
        };
        self.note(ino, |n| {
            n.whiteouts.extend(names.into_iter().map(|e| e.name));
            n.loaded = true;
        });
        Ok(())
    }

    /// A lower name is removed from the directory whose upper one has this number.
    fn white_out(&self, ino: u64, name: &[u8]) -> Result<()> {
        if let Some(all) = &self.whiteouts {
            let dir = sub_directory(all, &holder(ino))?;
            match dir.create(name, Kind::Regular.bits(), 0, 0, 0) {
                Ok(_) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(e),
            }
        }
        self.note(ino, |n| n.whiteouts.insert(name.to_vec()));
        Ok(())
    }

    /// An upper directory is about to go, and its whiteouts are of no use: there is nothing in it, and
    /// its name has a whiteout if there is anything below it. What is left of them if this fails does
    /// no harm, as no other directory gets the number.
    fn forget(&self, ino: u64) {
        let Some(all) = &self.whiteouts else {
            return;
        };
        if let Ok(dir) = all.lookup(&holder(ino)) {
            for e in dir.entries().unwrap_or_default() {
                let _ = dir.unlink(&e.name);
            }
            let _ = all.rmdir(&holder(ino));
        }
    }

    /// The inode of an upper file. `lower` is asked for the directories below it.
    fn upper_inode(
        &self,
        upper: Arc<dyn Inode>,
        place: Place,
        lower: impl FnOnce() -> Result<Vec<Arc<dyn Inode>>>,
    ) -> Result<Arc<OverlayInode>> {
        let ino = upper.stat()?.ino;
        let known = self.inodes.lock().get(&ino).and_then(Weak::upgrade);
        if let Some(i) = known {
            return Ok(i);
        }
        let lower = match upper.kind() {
            Kind::Dir => {
                self.load(ino)?;
                lower()?
            }
            _ => Vec::new(),
        };
        let new = OverlayInode::new(self.arc(), lower, Some((upper, ino)), place)?;
        let known = {
            let mut inodes = self.inodes.lock();
            // Somebody else may have been faster.
            let known = inodes.get(&ino).and_then(Weak::upgrade);
            if known.is_none() {
                inodes.insert(ino, Arc::downgrade(&new));
            }
            known
        };
        Ok(known.unwrap_or(new))
    }

    /// The attributes shown for a file.
    fn shown(&self, mut st: Stat, upper: bool) -> Stat {
        st.ino = if upper {
            self.upper_ino(st.ino)
        } else {
            self.lower_ino(st.dev, st.ino)
        };
        st.dev = self.dev;
        st
    }
}

impl FileSystem for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn root(&self) -> Arc<dyn Inode> {
        let mut root = self.root.lock();
        if let Some(r) = root.upgrade() {
            return r;
        }
        let upper = self.upper_root.clone();
        let ino = upper.stat().map_or(0, |s| s.ino);
        let lower = self.lower.iter().map(|fs| fs.root()).collect();
        let r = OverlayInode::root(self.arc(), lower, upper, ino);
        *root = Arc::downgrade(&r);
        r
    }

    fn statfs(&self) -> Result<StatFs> {
        let mut s = self.upper.statfs()?;
        s.magic = MAGIC;
        if s.blocks == 0 {
            // Changes are limited by memory alone; programs look here for room.
            let (total, free) = pal().memory();
            s.blocks = total / s.bsize.max(1);
            s.bfree = free.min(total) / s.bsize.max(1);
            s.bavail = s.bfree;
        }
        Ok(s)
    }

    fn sync(&self) -> Result<()> {
        self.upper.sync()
    }

    fn volatile(&self) -> bool {
        self.lower.iter().any(|fs| fs.volatile()) || self.upper.volatile()
    }
}
