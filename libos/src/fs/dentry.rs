//! Names: dentries and their cache.
//!
//! A dentry is a name in a directory together with the file it names. It exists while something
//! refers to it: an open file, a working directory, a mount, a dentry below it, or the cache,
//! which keeps the last few thousand that were looked up. A directory's map of its dentries does
//! not keep them.
//!
//! Two locks per directory: `names` is held over every change of the directory (and over a look-up
//! that asks the file system), so that the map and the file system agree; `children` is held only
//! for the map itself. Nothing of the file system is called, and no dentry dropped, under
//! `children`. A parent's `names` comes before its child's.

use super::{Inode, Kind};
use crate::{Errno, Result};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::sync::{Mutex, MutexGuard};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use hashbrown::HashMap;

/// Longest name of one component, `NAME_MAX`.
pub const NAME_MAX: usize = 255;

/// Something is mounted here.
pub const MOUNTPOINT: u32 = 1;
/// The name is gone.
pub const DELETED: u32 = 2;
/// Its file system's names change behind our back.
const VOLATILE: u32 = 4;
/// Not in the file system: a mount point where none could be made.
const SYNTHETIC: u32 = 8;
/// Has synthetic children.
const HAS_SYNTHETIC: u32 = 16;
/// An `O_TMPFILE` file that `linkat(2)` must not name (`O_EXCL`).
pub const NO_LINK: u32 = 32;

struct Place {
    parent: Option<Arc<Dentry>>,
    name: Arc<[u8]>,
}

/// A name and its file.
pub struct Dentry {
    place: Mutex<Place>,
    inode: Arc<dyn Inode>,
    kind: Kind,
    flags: AtomicU32,
    names: Mutex<()>,
    children: Mutex<HashMap<Arc<[u8]>, Weak<Dentry>>>,
    /// Its slot in the cache plus one; 0: not there.
    slot: AtomicUsize,
    /// Open files.
    opens: AtomicU32,
}

/// Holds a directory's names still.
pub struct Names<'a> {
    dir: &'a Arc<Dentry>,
    _guard: MutexGuard<'a, ()>,
}

impl Dentry {
    fn new(
        parent: Option<Arc<Dentry>>,
        name: Arc<[u8]>,
        inode: Arc<dyn Inode>,
        flags: u32,
    ) -> Arc<Dentry> {
        Arc::new(Dentry {
            place: Mutex::new(Place { parent, name }),
            kind: inode.kind(),
            inode,
            flags: AtomicU32::new(flags),
            names: Mutex::new(()),
            children: Mutex::default(),
            slot: AtomicUsize::new(0),
            opens: AtomicU32::new(0),
        })
    }

    /// The root of a file system.
    pub fn root(inode: Arc<dyn Inode>, volatile: bool) -> Arc<Dentry> {
        let flags = if volatile { VOLATILE } else { 0 };
        Self::new(None, Arc::from(&b"/"[..]), inode, flags)
    }

    /// A file that has no name (yet), shown as `text`.
    pub fn unnamed(
        parent: Option<&Arc<Dentry>>,
        text: &[u8],
        inode: Arc<dyn Inode>,
    ) -> Arc<Dentry> {
        Self::new(parent.cloned(), Arc::from(text), inode, DELETED)
    }

    /// The file.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// The file's kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// It is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }

    /// The name now.
    pub fn name(&self) -> Arc<[u8]> {
        self.place.lock().name.clone()
    }

    /// The directory that has (or had) the name; `None` at a root.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.lock().parent.clone()
    }

    /// Directory and name together.
    pub fn place(&self) -> (Option<Arc<Dentry>>, Arc<[u8]>) {
        let p = self.place.lock();
        (p.parent.clone(), p.name.clone())
    }

    /// All of `flags` are set.
    pub fn is(&self, flags: u32) -> bool {
        self.flags.load(Ordering::Acquire) & flags == flags
    }

    /// Sets or clears flags.
    pub fn set(&self, flags: u32, on: bool) {
        if on {
            self.flags.fetch_or(flags, Ordering::AcqRel);
        } else {
            self.flags.fetch_and(!flags, Ordering::AcqRel);
        }
    }

    /// How many open files there are under this name.
    pub fn opens(&self) -> u32 {
        self.opens.load(Ordering::Acquire)
    }

    /// One more or less of them; how many there are then.
    pub fn count_open(&self, change: i32) -> u32 {
        let old = self.opens.fetch_add(change as u32, Ordering::AcqRel);
        old.wrapping_add(change as u32)
    }

    /// `self` lies below `above`, or is it.
    pub fn is_under(self: &Arc<Self>, above: &Arc<Dentry>) -> bool {
        let mut at = self.clone();
        loop {
            if Arc::ptr_eq(&at, above) {
                return true;
            }
            match at.parent() {
                Some(p) => at = p,
                None => return false,
            }
        }
    }

    /// Whatever the file system says: something is mounted on it, or it exists only for that.
    fn stays(&self) -> bool {
        self.flags.load(Ordering::Acquire) & (SYNTHETIC | MOUNTPOINT) != 0
    }

    fn cached(&self, name: &[u8]) -> Option<Arc<Dentry>> {
        self.children.lock().get(name).and_then(Weak::upgrade)
    }

    /// The entry `name`; `None` if there is none. ENAMETOOLONG.
    pub fn child(self: &Arc<Self>, name: &[u8]) -> Result<Option<Arc<Dentry>>> {
        if let Some(d) = self.cached(name)
            && (!self.is(VOLATILE) || d.stays())
        {
            return Ok(Some(d));
        }
        self.lock_names().child(name)
    }

    /// Stops changes to the directory's names.
    pub fn lock_names(self: &Arc<Self>) -> Names<'_> {
        Names {
            dir: self,
            _guard: self.names.lock(),
        }
    }

    /// Adds a name that exists only here, to mount something on.
    pub fn add_synthetic(self: &Arc<Self>, name: &[u8], inode: Arc<dyn Inode>) -> Arc<Dentry> {
        let names = self.lock_names();
        self.set(HAS_SYNTHETIC, true);
        let d = Self::new(Some(self.clone()), Arc::from(name), inode, SYNTHETIC);
        names.insert(&d);
        d
    }

    /// The synthetic entries, for directory listings.
    pub fn synthetic(&self) -> Vec<Arc<Dentry>> {
        if !self.is(HAS_SYNTHETIC) {
            return Vec::new();
        }
        let live: Vec<_> = (self.children.lock().values())
            .filter_map(Weak::upgrade)
            .collect();
        live.into_iter().filter(|d| d.is(SYNTHETIC)).collect()
    }

    /// The name is gone: nothing below it can be reached or made any more, and the cache lets go.
    fn unhash(&self) {
        self.set(DELETED, true);
        cache::remove(self);
    }

    /// Takes the dentry out of its parent's map once nothing refers to it; returns the parent.
    fn detach(&mut self) -> Option<Arc<Dentry>> {
        let place = self.place.get_mut();
        let parent = place.parent.take()?;
        {
            let mut map = parent.children.lock();
            // Another dentry may have taken the name meanwhile.
            if map.get(&place.name).is_some_and(|w| w.strong_count() == 0) {
                map.remove(&place.name);
            }
        }
        Some(parent)
    }
}

impl Names<'_> {
    /// As [`Dentry::child`].
    pub fn child(&self, name: &[u8]) -> Result<Option<Arc<Dentry>>> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let dir = self.dir;
        let known = dir.cached(name);
        if let Some(d) = &known
            && (!dir.is(VOLATILE) || d.stays())
        {
            return Ok(known);
        }
        match dir.inode.lookup(name) {
            Ok(inode) => {
                if let Some(d) = known {
                    if same_file(&d.inode, &inode) {
                        return Ok(Some(d));
                    }
                    d.unhash();
                }
                Ok(Some(self.add(name, inode)))
            }
            Err(Errno::ENOENT) => {
                if let Some(d) = known {
                    d.unhash();
                }
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    fn insert(&self, d: &Arc<Dentry>) {
        let name = d.name();
        let before = (self.dir.children.lock()).insert(name, Arc::downgrade(d));
        drop(before);
    }

    /// A file was made or found under `name`.
    pub fn add(&self, name: &[u8], inode: Arc<dyn Inode>) -> Arc<Dentry> {
        let flags = self.dir.flags.load(Ordering::Relaxed) & VOLATILE;
        let d = Dentry::new(Some(self.dir.clone()), Arc::from(name), inode, flags);
        self.insert(&d);
        cache::add(&d);
        d
    }

    /// The name was removed.
    pub fn remove(&self, d: &Arc<Dentry>) {
        let gone = self.dir.children.lock().remove(&d.name());
        drop(gone);
        d.unhash();
    }

    /// The name moved to `new_name` in `to` (whose names are also still), replacing `replaced`.
    pub fn moved(
        &self,
        d: &Arc<Dentry>,
        to: &Names<'_>,
        new_name: &[u8],
        replaced: Option<&Arc<Dentry>>,
    ) {
        if let Some(r) = replaced {
            to.remove(r);
        }
        let gone = self.dir.children.lock().remove(&d.name());
        drop(gone);
        self.place(d, to, new_name);
    }

    /// Two names changed places.
    pub fn exchanged(&self, a: &Arc<Dentry>, to: &Names<'_>, b: &Arc<Dentry>) {
        let (name_a, name_b) = (a.name(), b.name());
        self.place(a, to, &name_b);
        to.place(b, self, &name_a);
    }

    fn place(&self, d: &Arc<Dentry>, to: &Names<'_>, name: &[u8]) {
        let old = {
            let mut p = d.place.lock();
            core::mem::replace(
                &mut *p,
                Place {
                    parent: Some(to.dir.clone()),
                    name: Arc::from(name),
                },
            )
        };
        drop(old);
        to.insert(d);
    }

    /// The directory itself was removed: names can no longer be added.
    pub fn is_dead(&self) -> bool {
        self.dir.is(DELETED)
    }
}

/// The file system found the same file again.
fn same_file(a: &Arc<dyn Inode>, b: &Arc<dyn Inode>) -> bool {
    if Arc::ptr_eq(a, b) {
        return true;
    }
    match (a.stat(), b.stat()) {
        (Ok(x), Ok(y)) => x.dev == y.dev && x.ino == y.ino && x.kind() == y.kind(),
        _ => false,
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        // A long chain of directories must not become a deep recursion.
        let mut next = self.detach();
        while let Some(parent) = next {
            next = match Arc::into_inner(parent) {
                Some(mut d) => d.detach(),
                None => None,
            };
        }
    }
}

/// The dentries that were looked up last.
mod cache {
    use super::*;

    const SLOTS: usize = 8192;

    struct Ring {
        slots: Vec<Option<Arc<Dentry>>>,
        next: usize,
    }

    static RING: Mutex<Ring> = Mutex::new(Ring {
        slots: Vec::new(),
        next: 0,
    });

    /// Keeps a dentry in the place of the one that came longest ago.
    pub fn add(d: &Arc<Dentry>) {
        let old = {
            let mut ring = RING.lock();
            let at = ring.next;
            ring.next = (at + 1) % SLOTS;
            if at >= ring.slots.len() {
                ring.slots.resize(at + 1, None);
            }
            d.slot.store(at + 1, Ordering::Relaxed);
            let old = ring.slots[at].replace(d.clone());
            if let Some(o) = &old {
                o.slot.store(0, Ordering::Relaxed);
            }
            old
        };
        drop(old);
    }

    /// Lets go of a dentry.
    pub fn remove(d: &Dentry) {
        let slot = d.slot.load(Ordering::Relaxed);
        if slot == 0 {
            return;
        }
        let gone = {
            let mut ring = RING.lock();
            match ring.slots.get_mut(slot - 1) {
                Some(s) if s.as_ref().is_some_and(|o| core::ptr::eq(&**o, d)) => {
                    d.slot.store(0, Ordering::Relaxed);
                    s.take()
                }
                _ => None,
            }
        };
        drop(gone);
    }

    /// Lets go of every dentry under `root`: its file system is unmounted.
    pub fn purge(root: &Arc<Dentry>) {
        let all: Vec<Arc<Dentry>> = (RING.lock().slots.iter()).flatten().cloned().collect();
        for d in all {
            if d.is_under(root) {
                remove(&d);
            }
        }
    }
}

pub use cache::purge;
