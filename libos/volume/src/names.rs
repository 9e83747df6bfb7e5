//! Operations on names: making, linking, removing, renaming.

use crate::dir::{Entry, check_name};
use crate::error::{Error, Result};
use crate::inode::{Inode, ROOT, mode};
use crate::volume::Volume;
use alloc::vec::Vec;

/// Who owns a new file, and how it may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct New {
    /// Type and permission bits.
    pub mode: u32,
    /// Device number of a device node.
    pub rdev: u64,
    pub uid: u32,
    pub gid: u32,
}

/// How `renameat2(2)` treats a target that exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rename {
    /// It is replaced.
    Replace,
    /// It is an error.
    NoReplace,
    /// Both change places.
    Exchange,
}

/// Names that a file may have: as many as on ext4.
const LINK_MAX: u32 = 65000;

fn dirent(mode: u32) -> u8 {
    ((mode & mode::TYPE) >> 12) as u8
}

impl Volume {
    fn new_inode(&mut self, new: &New, nlink: u32, parent: u64) -> Result<u64> {
        let now = self.now();
        let inode = Inode {
            mode: new.mode,
            nlink,
            uid: new.uid,
            gid: new.gid,
            rdev: new.rdev,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            parent,
            inline: matches!(new.mode & mode::TYPE, mode::FILE | mode::LINK),
            ..Inode::default()
        };
        let ino = self.root.next_ino;
        self.put_inode(ino, &inode)?;
        self.root.next_ino += 1;
        self.root.inodes += 1;
        self.delta.reshaped(ino);
        Ok(ino)
    }

    /// The name is free, and there is room for it.
    fn no_such_name(&mut self, dir: u64, name: &[u8]) -> Result<()> {
        match self.entry(dir, name) {
            Ok(_) => Err(Error::Exists),
            Err(Error::NotFound) => self.room_for(dir, name),
            Err(e) => Err(e),
        }
    }

    fn links(&mut self, ino: u64, change: i32) -> Result<Inode> {
        let mut inode = self.inode(ino)?;
        if change > 0 && !inode.is_dir() && inode.nlink >= LINK_MAX {
            return Err(Error::TooManyLinks);
        }
        let nlink = inode.nlink.checked_add_signed(change);
        inode.nlink = nlink.ok_or(Error::TooManyLinks)?;
        inode.ctime = self.now();
        self.put_inode(ino, &inode)?;
        self.delta.reshaped(ino);
        Ok(inode)
    }

    /// Makes a file, directory, device node, FIFO or socket; its inode number.
    pub(crate) fn create_in(&mut self, dir: u64, name: &[u8], new: &New) -> Result<u64> {
        check_name(name)?;
        let above = self.dir(dir)?;
        self.no_such_name(dir, name)?;
        let is_dir = match new.mode & mode::TYPE {
            mode::DIR if above.nlink == u32::MAX => return Err(Error::TooManyLinks),
            mode::DIR => true,
            mode::FILE | mode::FIFO | mode::SOCKET | mode::CHAR | mode::BLOCK => false,
            _ => return Err(Error::Invalid),
        };
        let (nlink, parent) = if is_dir { (2, dir) } else { (1, 0) };
        let ino = self.new_inode(new, nlink, parent)?;
        let entry = Entry {
            ino,
            kind: dirent(new.mode),
            name: name.to_vec(),
        };
        self.add_name(dir, entry)?;
        if is_dir {
            self.links(dir, 1)?;
        }
        Ok(ino)
    }

    /// Makes a symbolic link.
    pub(crate) fn symlink_in(
        &mut self,
        dir: u64,
        name: &[u8],
        target: &[u8],
        new: &New,
    ) -> Result<u64> {
        check_name(name)?;
        if target.is_empty() || target.len() >= crate::BLOCK {
            return Err(Error::NameTooLong);
        }
        self.dir(dir)?;
        self.no_such_name(dir, name)?;
        let new = New {
            mode: mode::LINK | 0o777,
            ..*new
        };
        let ino = self.new_inode(&new, 1, 0)?;
        let entry = Entry {
            ino,
            kind: dirent(new.mode),
            name: name.to_vec(),
        };
        self.add_name(dir, entry)?;
        self.write_target(ino, target)?;
        Ok(ino)
    }

    /// A symbolic link's target.
    pub fn read_link(&mut self, ino: u64) -> Result<Vec<u8>> {
        let inode = self.inode(ino)?;
        if inode.kind() != mode::LINK {
            return Err(Error::Invalid);
        }
        let mut out = alloc::vec![0; usize::try_from(inode.size).unwrap_or(0).min(crate::BLOCK)];
        self.read(ino, 0, &mut out)?;
        Ok(out)
    }

    /// Makes a file without a name, which goes when it is released unless it was linked.
    pub(crate) fn tmpfile_in(&mut self, new: &New) -> Result<u64> {
        if new.mode & mode::TYPE != mode::FILE {
            return Err(Error::Invalid);
        }
        let ino = self.new_inode(new, 0, 0)?;
        self.mark_orphan(ino)?;
        Ok(ino)
    }

    /// Gives a file another name.
    pub(crate) fn link_in(&mut self, dir: u64, name: &[u8], ino: u64) -> Result<()> {
        check_name(name)?;
        self.dir(dir)?;
        let inode = self.inode(ino)?;
        if inode.is_dir() {
            return Err(Error::NotPermitted);
        }
        self.no_such_name(dir, name)?;
        let entry = Entry {
            ino,
            kind: dirent(inode.mode),
            name: name.to_vec(),
        };
        self.links(ino, 1)?;
        self.add_name(dir, entry)?;
        // What is being cut short keeps its mark until that is done.
        match inode.nlink == 0 && !self.unfinished.contains_key(&ino) {
            true => self.unmark_orphan(ino),
            false => Ok(()),
        }
    }

    /// Removes a name that is not a directory's. The file goes with its last name, once nobody
    /// holds it.
    pub(crate) fn unlink_in(&mut self, dir: u64, name: &[u8]) -> Result<()> {
        let entry = self.entry(dir, name)?;
        if self.inode(entry.ino)?.is_dir() {
            return Err(Error::IsDir);
        }
        self.remove_name(dir, name)?;
        self.drop_link(entry.ino)
    }

    /// One name less.
    fn drop_link(&mut self, ino: u64) -> Result<()> {
        let inode = self.links(ino, -1)?;
        match inode.nlink {
            0 => self.orphaned(ino),
            _ => Ok(()),
        }
    }

    /// Removes an empty directory.
    pub(crate) fn rmdir_in(&mut self, dir: u64, name: &[u8]) -> Result<()> {
        let entry = self.entry(dir, name)?;
        self.empty_dir(entry.ino)?;
        self.remove_name(dir, name)?;
        self.links(dir, -1)?;
        self.drop_dir(entry.ino)
    }

    fn empty_dir(&mut self, ino: u64) -> Result<()> {
        let inode = self.inode(ino)?;
        match (inode.is_dir(), inode.entries) {
            (false, _) => Err(Error::NotDir),
            (true, 0) => Ok(()),
            (true, _) => Err(Error::NotEmpty),
        }
    }

    fn drop_dir(&mut self, ino: u64) -> Result<()> {
        let mut inode = self.inode(ino)?;
        inode.nlink = 0;
        inode.ctime = self.now();
        self.put_inode(ino, &inode)?;
        self.orphaned(ino)
    }

    /// Moves a name: `renameat2(2)`.
    pub(crate) fn rename_in(
        &mut self,
        dir: u64,
        name: &[u8],
        to: u64,
        new_name: &[u8],
        how: Rename,
    ) -> Result<()> {
        check_name(new_name)?;
        self.dir(dir)?;
        self.dir(to)?;
        let moved = self.entry(dir, name)?;
        let target = match self.entry(to, new_name) {
            Ok(entry) => Some(entry),
            Err(Error::NotFound) => {
                self.room_for(to, new_name)?;
                None
            }
            Err(e) => return Err(e),
        };
        let is_dir = self.inode(moved.ino)?.is_dir();
        if is_dir {
            self.not_below(to, moved.ino)?;
        }
        if how == Rename::Exchange {
            let target = target.ok_or(Error::NotFound)?;
            return self.exchange((dir, &moved), (to, &target));
        }
        if let Some(target) = &target {
            if how == Rename::NoReplace {
                return Err(Error::Exists);
            }
            if target.ino == moved.ino {
                return Ok(());
            }
            match (is_dir, self.inode(target.ino)?.is_dir()) {
                (true, false) => return Err(Error::NotDir),
                (false, true) => return Err(Error::IsDir),
                (true, true) => self.empty_dir(target.ino)?,
                (false, false) => {}
            }
        }
        self.remove_name(dir, name)?;
        if is_dir {
            self.links(dir, -1)?;
        }
        match &target {
            Some(old) => {
                self.change_name(to, new_name, (moved.ino, moved.kind))?;
                if is_dir {
                    self.links(to, -1)?;
                    self.drop_dir(old.ino)?;
                } else {
                    self.drop_link(old.ino)?;
                }
            }
            None => {
                let entry = Entry {
                    name: new_name.to_vec(),
                    ..moved
                };
                self.add_name(to, entry)?;
            }
        }
        if is_dir {
            self.links(to, 1)?;
        }
        self.moved(moved.ino, to)
    }

    fn exchange(&mut self, a: (u64, &Entry), b: (u64, &Entry)) -> Result<()> {
        let dirs = (self.inode(a.1.ino)?.is_dir(), self.inode(b.1.ino)?.is_dir());
        if dirs.1 {
            self.not_below(a.0, b.1.ino)?;
        }
        self.change_name(a.0, &a.1.name, (b.1.ino, b.1.kind))?;
        self.change_name(b.0, &b.1.name, (a.1.ino, a.1.kind))?;
        let change = i32::from(dirs.1) - i32::from(dirs.0);
        if a.0 != b.0 && change != 0 {
            self.links(a.0, change)?;
            self.links(b.0, -change)?;
        }
        self.moved(a.1.ino, b.0)?;
        self.moved(b.1.ino, a.0)
    }

    /// A file's name moved to a directory.
    fn moved(&mut self, ino: u64, to: u64) -> Result<()> {
        let mut inode = self.inode(ino)?;
        if inode.is_dir() {
            inode.parent = to;
        }
        inode.ctime = self.now();
        self.put_inode(ino, &inode)?;
        self.delta.reshaped(ino);
        Ok(())
    }

    /// A directory may not move into itself or what is below it.
    fn not_below(&mut self, dir: u64, moved: u64) -> Result<()> {
        let (mut at, mut seen, mut steps) = (dir, dir, 0_u64);
        while at != moved {
            if at == ROOT {
                return Ok(());
            }
            at = self.dir(at)?.parent;
            // A directory that is above itself would never end (Brent's test).
            if at == seen {
                return Err(Error::Malformed { block: 0 });
            }
            steps += 1;
            if steps.is_power_of_two() {
                seen = at;
            }
        }
        Err(Error::Invalid)
    }
}
