//! Moving names: `rename(2)`.

use super::dentry::{Dentry, Names};
use super::names::read_name;
use super::walk;
use super::{Path, mount, notify, perm};
use crate::process::Creds;
use crate::user::UserAddr;
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use bastide_abi::raw::general::{AT_FDCWD, RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT};
use bastide_base::sync::Mutex;

/// One rename between directories at a time: the tree stays a tree, and the order of two
/// directories' locks is known.
static TREE: Mutex<()> = Mutex::new(());

/// `rename(2)`.
pub fn sys_rename(t: &Arc<Task>, old: UserAddr, new: UserAddr) -> SysResult {
    sys_renameat2(t, AT_FDCWD, old, AT_FDCWD, new, 0)
}

/// `renameat(2)`.
pub fn sys_renameat(
    t: &Arc<Task>,
    old_dirfd: i32,
    old: UserAddr,
    new_dirfd: i32,
    new: UserAddr,
) -> SysResult {
    sys_renameat2(t, old_dirfd, old, new_dirfd, new, 0)
}

/// `renameat2(2)`: EINVAL for unknown flags and combinations.
pub fn sys_renameat2(
    t: &Arc<Task>,
    old_dirfd: i32,
    old: UserAddr,
    new_dirfd: i32,
    new: UserAddr,
    flags: u32,
) -> SysResult {
    if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) != 0
        || flags & (RENAME_NOREPLACE | RENAME_WHITEOUT) != 0 && flags & RENAME_EXCHANGE != 0
    {
        return Err(Errno::EINVAL);
    }
    let old = read_name(t, old)?;
    let new = read_name(t, new)?;
    let (old_dir, old_last) = walk::parent(t, old_dirfd, &old)?;
    let (new_dir, new_last) = walk::parent(t, new_dirfd, &new)?;
    if !Arc::ptr_eq(&old_dir.mount, &new_dir.mount) {
        return Err(Errno::EXDEV);
    }
    let old_last = old_last.filter(|l| l.is_normal()).ok_or(Errno::EBUSY)?;
    let new_last = new_last.filter(|l| l.is_normal());
    let new_last = new_last.ok_or(if flags & RENAME_NOREPLACE != 0 {
        Errno::EEXIST
    } else {
        Errno::EBUSY
    })?;
    old_dir.mount.want_write()?;
    if flags & RENAME_WHITEOUT != 0 {
        // No file system here leaves whiteouts for an overlay above it.
        return Err(Errno::EINVAL);
    }
    let r = Rename {
        creds: t.creds(),
        old_dir: &old_dir,
        old_name: &old_last.name,
        new_dir: &new_dir,
        new_name: &new_last.name,
        old_slash: old_last.slash,
        new_slash: new_last.slash,
        flags,
    };
    let done = r.run()?;
    if let Some((moved, replaced)) = done {
        notify::moved(
            (&old_dir, &old_last.name),
            (&new_dir, &new_last.name),
            &moved,
            replaced.as_ref(),
            flags & RENAME_EXCHANGE != 0,
        );
    }
    Ok(0)
}

struct Rename<'a> {
    creds: Arc<Creds>,
    old_dir: &'a Path,
    old_name: &'a [u8],
    new_dir: &'a Path,
    new_name: &'a [u8],
    old_slash: bool,
    new_slash: bool,
    flags: u32,
}

/// The file that moved, and the one whose name it took (or that it changed places with).
type Moved = Option<(Arc<Dentry>, Option<Arc<Dentry>>)>;

impl Rename<'_> {
    fn run(&self) -> Result<Moved> {
        let (a, b) = (&self.old_dir.dentry, &self.new_dir.dentry);
        if Arc::ptr_eq(a, b) {
            let names = a.lock_names();
            return self.locked(&names, &names);
        }
        let _tree = TREE.lock();
        if b.is_under(a) {
            let from = a.lock_names();
            let to = b.lock_names();
            self.locked(&from, &to)
        } else {
            let to = b.lock_names();
            let from = a.lock_names();
            self.locked(&from, &to)
        }
    }

    fn exchanges(&self) -> bool {
        self.flags & RENAME_EXCHANGE != 0
    }

    fn locked(&self, from: &Names<'_>, to: &Names<'_>) -> Result<Moved> {
        let old = from.child(self.old_name)?.ok_or(Errno::ENOENT)?;
        let new = to.child(self.new_name)?;
        match &new {
            Some(_) if self.flags & RENAME_NOREPLACE != 0 => return Err(Errno::EEXIST),
            None if self.exchanges() => return Err(Errno::ENOENT),
            Some(n) if self.exchanges() && self.new_slash && !n.is_dir() => {
                return Err(Errno::ENOTDIR);
            }
            _ => {}
        }
        if !old.is_dir() && (self.old_slash || self.new_slash && !self.exchanges()) {
            return Err(Errno::ENOTDIR);
        }
        if self.new_dir.dentry.is_under(&old) {
            return Err(Errno::EINVAL);
        }
        if let Some(n) = &new
            && self.old_dir.dentry.is_under(n)
        {
            return Err(if self.exchanges() {
                Errno::EINVAL
            } else {
                Errno::ENOTEMPTY
            });
        }
        if let Some(n) = &new
            && same_file(&old, n)
        {
            return Ok(None);
        }
        self.check(&old, new.as_ref())?;
        // Nothing may be made in a directory that is about to go.
        let none = new.as_ref().map(|n| n.lock_names());
        self.old_dir.inode().rename(
            self.old_name,
            self.new_dir.inode(),
            self.new_name,
            self.flags,
        )?;
        match &new {
            Some(n) if self.exchanges() => from.exchanged(&old, to, n),
            _ => from.moved(&old, to, self.new_name, new.as_ref()),
        }
        drop(none);
        Ok(Some((old, new)))
    }

    fn check(&self, old: &Dentry, new: Option<&Arc<Dentry>>) -> Result<()> {
        let creds = &self.creds;
        perm::may_delete(creds, self.old_dir, old, old.is_dir())?;
        match new {
            None => perm::may_create(creds, self.new_dir)?,
            Some(n) => {
                let as_dir = if self.exchanges() { n } else { old }.is_dir();
                perm::may_delete(creds, self.new_dir, n, as_dir)?;
            }
        }
        if !Arc::ptr_eq(&self.old_dir.dentry, &self.new_dir.dentry) {
            // Their `..` changes.
            if old.is_dir() {
                perm::may(creds, old.inode(), perm::WRITE)?;
            }
            if let Some(n) = new
                && self.exchanges()
                && n.is_dir()
            {
                perm::may(creds, n.inode(), perm::WRITE)?;
            }
        }
        let busy = |d: &Dentry| mount::is_mountpoint(d);
        if busy(old) || new.is_some_and(|n| busy(n)) {
            return Err(Errno::EBUSY);
        }
        Ok(())
    }
}

fn same_file(a: &Arc<Dentry>, b: &Arc<Dentry>) -> bool {
    Arc::ptr_eq(a.inode(), b.inode())
        || match (a.inode().stat(), b.inode().stat()) {
            (Ok(x), Ok(y)) => x.id() == y.id(),
            _ => false,
        }
}
