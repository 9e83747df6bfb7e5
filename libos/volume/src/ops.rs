//! The operations that change a volume. Each is a whole: it finds the space that it needs before it
//! begins and, if the device fails it halfway, it is taken back.
//!
//! With [`crate::Error::Busy`] there will be space once reads end that are under way. Who is told that
//! lets others have the volume, then calls [`Volume::go_on`] and tries again.

use crate::error::Result;
use crate::inode::SetAttr;
use crate::names::{New, Rename};
use crate::txn::Need;
use crate::volume::Volume;
use crate::xattr::{SetXattr, XATTR_MAX};

impl Volume {
    pub(crate) fn change<T>(
        &mut self,
        need: Need,
        f: impl FnOnce(&mut Volume) -> Result<T>,
    ) -> Result<T> {
        self.begin(need)?;
        let result = f(self);
        let result = self.end_step(result)?;
        if self.has_unfinished() {
            // Somebody goes on later if there is no room for it now.
            let _ = self.go_on();
        }
        Ok(result)
    }

    /// Makes a file, directory, device node, FIFO or socket; its inode number.
    pub fn create_file(&mut self, dir: u64, name: &[u8], new: &New) -> Result<u64> {
        self.change(Need::Item, |v| v.create_in(dir, name, new))
    }

    /// Makes a symbolic link.
    pub fn symlink(&mut self, dir: u64, name: &[u8], target: &[u8], new: &New) -> Result<u64> {
        self.change(Need::Pages(1), |v| v.symlink_in(dir, name, target, new))
    }

    /// Makes a file without a name, which goes when it is released unless it was linked.
    pub fn tmpfile(&mut self, new: &New) -> Result<u64> {
        self.change(Need::Item, |v| v.tmpfile_in(new))
    }

    /// Gives a file another name.
    pub fn link(&mut self, dir: u64, name: &[u8], ino: u64) -> Result<()> {
        self.change(Need::Item, |v| v.link_in(dir, name, ino))
    }

    /// Removes a name that is not a directory's. The file goes with its last name, once nobody
    /// holds it.
    pub fn unlink(&mut self, dir: u64, name: &[u8]) -> Result<()> {
        self.change(Need::Little, |v| v.unlink_in(dir, name))
    }

    /// Removes an empty directory.
    pub fn rmdir(&mut self, dir: u64, name: &[u8]) -> Result<()> {
        self.change(Need::Little, |v| v.rmdir_in(dir, name))
    }

    /// Moves a name: `renameat2(2)`.
    pub fn rename(
        &mut self,
        dir: u64,
        name: &[u8],
        to: u64,
        new_name: &[u8],
        how: Rename,
    ) -> Result<()> {
        self.change(Need::Item, |v| v.rename_in(dir, name, to, new_name, how))
    }

    /// Changes attributes. A change of size cuts or extends a regular file.
    pub fn set_attr(&mut self, ino: u64, attr: &SetAttr) -> Result<()> {
        self.before_growth(ino, attr.size.unwrap_or(0))?;
        self.change(Need::Little, |v| v.set_attr_in(ino, attr))
    }

    /// Makes a hole: what is there reads as zeros, and its blocks are free. The size stays.
    pub fn punch(&mut self, ino: u64, offset: u64, len: u64) -> Result<()> {
        self.change(Need::Little, |v| v.punch_in(ino, offset, len))
    }

    /// Sets an extended attribute.
    pub fn set_xattr(&mut self, ino: u64, name: &[u8], value: &[u8], how: SetXattr) -> Result<()> {
        let need = Need::Pages(match value.len() {
            ..4096 => 4,
            _ => (XATTR_MAX / crate::BLOCK) as u64,
        });
        self.change(need, |v| v.set_xattr_in(ino, name, value, how))
    }

    /// Removes an extended attribute.
    pub fn remove_xattr(&mut self, ino: u64, name: &[u8]) -> Result<()> {
        self.change(Need::Little, |v| v.remove_xattr_in(ino, name))
    }
}
