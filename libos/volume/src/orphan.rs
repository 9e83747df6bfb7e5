//! Files without a name: they live while somebody holds them. Each has a mark, so that a mount
//! after a power cut removes what was left; so does a file that is being cut short.

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

    /// Undoes one [`Volume::hold`]; a file without names then goes.
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
            Ok(inode) if inode.nlink == 0 => self.change(Need::Little, |v| v.destroy(ino)),
            Ok(_) | Err(Error::NotFound) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// A file has lost its last name.
    pub(crate) fn orphaned(&mut self, ino: u64) -> Result<()> {
        self.mark_orphan(ino)?;
        match self.held.contains_key(&ino) {
            true => Ok(()),
            false => self.destroy(ino),
        }
    }

    /// Removes a file with all that it has; it is marked.
    fn destroy(&mut self, ino: u64) -> Result<()> {
        self.drop_pages(ino, 0, u64::MAX);
        self.delta.reshaped(ino);
        if self.inode(ino)?.has_contents() {
            self.free_from(ino, 0)?;
            self.tree.remove(&Key::new(ino, Kind::Inline, 0))?;
        }
        self.drop_xattrs(ino)?;
        self.tree.remove(&Key::new(ino, Kind::Inode, 0))?;
        self.root.inodes = self.root.inodes.saturating_sub(1);
        self.unmark_orphan(ino)
    }

    /// Removes what a power cut left behind.
    pub(crate) fn reap_orphans(&mut self) -> Result<()> {
        let mut next = Some(Key::new(0, Kind::Orphan, 0));
        while let Some(from) = next
            && let Some((key, _)) = self.tree.ceiling(&from)?
        {
            if (key.ino, key.kind) != (0, Kind::Orphan as u8) {
                break;
            }
            let ino = key.at;
            next = key.next();
            self.change(Need::Little, |v| v.reap(ino))?;
        }
        Ok(())
    }

    fn reap(&mut self, ino: u64) -> Result<()> {
        let inode = match self.inode(ino) {
            Err(Error::NotFound) => Err(Error::Malformed { block: 0 }),
            other => other,
        }?;
        if inode.nlink == 0 {
            return self.destroy(ino);
        }
        // It was being cut short.
        self.free_from(ino, inode.size.div_ceil(crate::BLOCK as u64))?;
        if inode.size == 0 && inode.kind() == mode::FILE {
            let mut inode = self.inode(ino)?;
            inode.inline = true;
            self.put_inode(ino, &inode)?;
        }
        self.unmark_orphan(ino)
    }
}
