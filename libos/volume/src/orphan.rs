//! Files without a name: they live while somebody holds them. Each has a mark, so that a mount
//! after a power cut removes what was left; so does a file that is being cut short.
//!
//! What has many extents is freed in steps, between which there may be a commit. The first is a part
//! of the operation that removes or cuts a file; the others follow it, and if one of them finds no
//! room or cannot read what it needs, the operation is done all the same.

use crate::error::{Error, Result};
use crate::inode::mode;
use crate::node::{Key, Kind};
use crate::txn::Need;
use crate::volume::Volume;
use alloc::vec::Vec;

impl Volume {
    pub(crate) fn mark_orphan(&mut self, ino: u64) -> Result<()> {
        self.tree.put(Key::new(0, Kind::Orphan, ino), Vec::new())
    }

    pub(crate) fn unmark_orphan(&mut self, ino: u64) -> Result<()> {
        self.tree
            .remove(&Key::new(0, Kind::Orphan, ino))
            .map(|_| ())
    }

    /// Keeps a file alive that loses its last name, until [`Volume::release`].
    pub fn hold(&mut self, ino: u64) {
        *self.held.entry(ino).or_default() += 1;
    }

    /// Undoes one [`Volume::hold`]; a file without names then goes, now or with [`Volume::go_on`].
    pub fn release(&mut self, ino: u64) -> Result<()> {
        if let Some(n) = self.held.get_mut(&ino) {
            *n -= 1;
            if *n > 0 {
                return Ok(());
            }
        }
        self.held.remove(&ino);
        if self.read_only {
            return Ok(());
        }
        match self.inode(ino) {
            Ok(inode) if inode.nlink == 0 => {
                self.unfinished.insert(ino, None);
                self.go_on_with(ino)
            }
            Ok(_) | Err(Error::NotFound) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// A file has lost its last name.
    pub(crate) fn orphaned(&mut self, ino: u64) -> Result<()> {
        if self.held.contains_key(&ino) {
            return self.mark_orphan(ino);
        }
        match self.destroy(ino)? {
            true => Ok(()),
            false => self.leave(ino),
        }
    }

    /// More of a file is to be freed than one step can.
    pub(crate) fn leave(&mut self, ino: u64) -> Result<()> {
        self.mark_orphan(ino)?;
        self.step.leaves(ino);
        Ok(())
    }

    /// Goes on with what operations left to be freed, as far as there is room for that. What cannot
    /// be read stays until the next mount, and concerns nobody until the file grows.
    pub fn go_on(&mut self) -> Result<()> {
        let left = self.unfinished.iter().filter(|left| left.1.is_none());
        let left: Vec<u64> = left.map(|(ino, _)| *ino).collect();
        for ino in left {
            match self.go_on_with(ino) {
                Err(e) if !e.is_damage() => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Something is left to be freed, and can be.
    pub(crate) fn has_unfinished(&self) -> bool {
        self.unfinished.values().any(Option::is_none)
    }

    /// Frees all that is to be freed of a file.
    pub(crate) fn go_on_with(&mut self, ino: u64) -> Result<()> {
        while self.unfinished.contains_key(&ino) {
            self.begin(Need::Little)?;
            let done = self.reap(ino);
            match self.end_step(done) {
                Ok(false) => {}
                Ok(true) => drop(self.unfinished.remove(&ino)),
                Err(e) => {
                    if e.is_damage() {
                        self.unfinished.insert(ino, Some(e));
                    }
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Removes what a power cut left behind.
    pub(crate) fn reap_orphans(&mut self) -> Result<()> {
        let mut found = Vec::new();
        self.tree
            .scan(&Key::new(0, Kind::Orphan, 0), &mut |key, _| {
                let ours = (key.ino, key.kind) == (0, Kind::Orphan as u8);
                if ours {
                    found.push(key.at);
                }
                ours
            })?;
        self.unfinished
            .extend(found.into_iter().map(|ino| (ino, None)));
        match self.go_on() {
            // There is no less room than before.
            Err(Error::NoSpace | Error::Busy) => Ok(()),
            done => done,
        }
    }

    /// One step of freeing what a file has no more; whether it was the last.
    fn reap(&mut self, ino: u64) -> Result<bool> {
        let inode = match self.inode(ino) {
            Err(Error::NotFound) => Err(Error::Malformed { block: 0 }),
            other => other,
        }?;
        if inode.nlink == 0 && !self.held.contains_key(&ino) {
            return self.destroy(ino);
        }
        // It was being cut short.
        let done = self.cut(ino)?;
        if done && inode.nlink > 0 {
            self.unmark_orphan(ino)?;
        }
        Ok(done)
    }

    /// Removes a file with all that it has, or frees some of it; whether it is gone.
    fn destroy(&mut self, ino: u64) -> Result<bool> {
        self.drop_pages(ino, 0, u64::MAX);
        self.delta.reshaped(ino);
        if self.inode(ino)?.has_contents() {
            if !self.free_some(ino, 0, u64::MAX)? {
                return Ok(false);
            }
            self.tree.remove(&Key::new(ino, Kind::Inline, 0))?;
        }
        self.drop_xattrs(ino)?;
        self.tree.remove(&Key::new(ino, Kind::Inode, 0))?;
        self.root.inodes = self.root.inodes.saturating_sub(1);
        self.unmark_orphan(ino)?;
        Ok(true)
    }

    /// Frees blocks beyond the end of a file; whether there are none any more.
    pub(crate) fn cut(&mut self, ino: u64) -> Result<bool> {
        let size = self.inode(ino)?.size;
        let done = self.free_some(ino, size.div_ceil(crate::BLOCK as u64), u64::MAX)?;
        let mut inode = self.inode(ino)?;
        if done && size == 0 && inode.kind() == mode::FILE {
            inode.inline = true;
            self.put_inode(ino, &inode)?;
        }
        Ok(done)
    }
}
