//! The walk along a path, `path_resolution(7)`.

use super::Kind;
use super::dentry::{self, Dentry};
use super::mount;
use super::path::{self, Path};
use super::perm;
use crate::process::Creds;
use crate::{Errno, Result, Task};
use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_abi::raw::general::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW};

bitflags::bitflags! {
    /// How a path is walked.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Look: u32 {
        /// A symbolic link at the end is followed.
        const FOLLOW = 1;
        /// What is found must be a directory (ENOTDIR).
        const DIRECTORY = 2;
        /// An empty path means the directory descriptor's own file.
        const EMPTY = 4;
        /// The rest is `RESOLVE_*` of `openat2(2)`.
        const NO_XDEV = 8;
        const NO_MAGICLINKS = 16;
        const NO_SYMLINKS = 32;
        const BENEATH = 64;
        const IN_ROOT = 128;
    }
}

impl Look {
    /// From `AT_*` flags of calls that follow links unless told otherwise.
    pub fn from_at(flags: u32) -> Look {
        let mut look = Look::empty();
        look.set(Look::FOLLOW, flags & AT_SYMLINK_NOFOLLOW == 0);
        look.set(Look::EMPTY, flags & AT_EMPTY_PATH != 0);
        look
    }
}

/// Most symbolic links in one walk.
const MAX_LINKS: u32 = 40;

/// The last component of a path, not yet looked up.
pub struct Last<'p> {
    pub name: Cow<'p, [u8]>,
    /// Slashes follow it.
    pub slash: bool,
}

impl Last<'_> {
    /// Neither `.` nor `..`.
    pub fn is_normal(&self) -> bool {
        !matches!(&*self.name, b"." | b"..")
    }
}

/// What a step led to.
#[derive(PartialEq, Eq)]
pub enum Stepped {
    /// [`Walk::at`] moved.
    Moved,
    /// A link's text is to be walked first.
    Link,
}

/// A walk in progress.
pub struct Walk<'p> {
    t: &'p Task,
    pub creds: Arc<Creds>,
    /// What `/` and `..` do not go above, if it is not the task's root.
    scope: Option<Path>,
    /// Where the walk is.
    pub at: Path,
    pub look: Look,
    base: &'p [u8],
    pos: usize,
    /// Texts of links being followed, each with its position.
    nested: Vec<(Vec<u8>, usize)>,
    links: u32,
}

/// The place that `dirfd` names, not necessarily a directory.
pub fn at_fd(t: &Task, dirfd: i32) -> Result<Path> {
    if dirfd == AT_FDCWD {
        return Ok(t.fs.lock().cwd.lock().clone());
    }
    Ok(path::of_file(&t.files().get(dirfd)?))
}

impl<'p> Walk<'p> {
    /// At the beginning of `path`. ENOENT if it is empty and may not be; EBADF and ENOTDIR for
    /// the directory descriptor.
    pub fn new(t: &'p Task, dirfd: i32, path: &'p [u8], look: Look) -> Result<Self> {
        if path.is_empty() && !look.contains(Look::EMPTY) {
            return Err(Errno::ENOENT);
        }
        let absolute = path.first() == Some(&b'/');
        let scoped = look.intersects(Look::BENEATH | Look::IN_ROOT);
        if scoped && absolute && look.contains(Look::BENEATH) {
            return Err(Errno::EXDEV);
        }
        let at = if absolute && !scoped {
            t.fs.lock().root.lock().clone()
        } else {
            at_fd(t, dirfd)?
        };
        if !path.is_empty() && !at.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(Walk {
            t,
            creds: t.creds(),
            scope: scoped.then(|| at.clone()),
            at,
            look,
            base: path,
            pos: 0,
            nested: Vec::new(),
            links: 0,
        })
    }

    /// The next component, and whether it is the last and has slashes behind it.
    fn next(&mut self) -> Option<(Cow<'p, [u8]>, bool, bool)> {
        loop {
            let inner = self.nested.last_mut();
            let is_base = inner.is_none();
            let (bytes, pos) = match inner {
                Some((v, p)) => (&v[..], p),
                None => (self.base, &mut self.pos),
            };
            let rest = bytes.get(*pos..).unwrap_or_default();
            let skip = rest.iter().take_while(|&&b| b == b'/').count();
            let rest = rest.get(skip..).unwrap_or_default();
            if rest.is_empty() {
                self.nested.pop()?;
                continue;
            }
            let len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
            let (name, after) = rest.split_at(len);
            let slashes = after.iter().take_while(|&&b| b == b'/').count();
            let finished = slashes == after.len();
            let start = *pos + skip;
            *pos = start + len + slashes;
            let name = if is_base {
                Cow::Borrowed(self.base.get(start..start + len).unwrap_or_default())
            } else {
                Cow::Owned(name.to_vec())
            };
            // A finished text goes before a link in its last component comes, so that what is
            // left on the stack has more to walk.
            if finished && !is_base {
                self.nested.pop();
            }
            let last = finished && self.nested.is_empty() && self.pos >= self.base.len();
            return Some((name, last, slashes > 0));
        }
    }

    /// Walks up to the last component, whose directory is then [`Walk::at`]. `None` if there is
    /// none (`/`, or an empty path).
    pub fn to_last(&mut self) -> Result<Option<Last<'p>>> {
        while let Some((name, last, slash)) = self.next() {
            perm::may_search(&self.creds, self.at.inode())?;
            if last {
                return Ok(Some(Last { name, slash }));
            }
            if self.step(&name, true)? == Stepped::Moved && !self.at.is_dir() {
                return Err(Errno::ENOTDIR);
            }
        }
        Ok(None)
    }

    /// One component.
    pub fn step(&mut self, name: &[u8], follow: bool) -> Result<Stepped> {
        match name {
            b"." => Ok(Stepped::Moved),
            b".." => self.up(),
            _ => {
                let d = self.at.dentry.child(name)?.ok_or(Errno::ENOENT)?;
                self.enter(d, follow)
            }
        }
    }

    /// The last component, followed as the walk is to.
    pub fn last_step(&mut self, name: &[u8]) -> Result<Stepped> {
        if matches!(name, b"." | b"..") {
            return self.step(name, false);
        }
        let d = self.at.dentry.child(name)?.ok_or(Errno::ENOENT)?;
        self.enter_last(d)
    }

    /// As [`Walk::enter`] for the last component.
    pub fn enter_last(&mut self, d: Arc<Dentry>) -> Result<Stepped> {
        let follow = self.look.contains(Look::FOLLOW);
        if follow && d.kind() == Kind::Symlink {
            perm::may_follow(&self.creds, self.at.inode(), d.inode())?;
        }
        self.enter(d, follow)
    }

    /// Into an entry of the present directory.
    pub fn enter(&mut self, d: Arc<Dentry>, follow: bool) -> Result<Stepped> {
        let link = follow && d.kind() == Kind::Symlink;
        if !link && !d.is(dentry::MOUNTPOINT) {
            self.at.dentry = d;
            return Ok(Stepped::Moved);
        }
        let p = Path {
            mount: self.at.mount.clone(),
            dentry: d,
        };
        if link {
            return self.follow(&p);
        }
        self.descend(p)?;
        Ok(Stepped::Moved)
    }

    fn descend(&mut self, p: Path) -> Result<()> {
        let top = mount::top(p);
        if self.look.contains(Look::NO_XDEV) && !Arc::ptr_eq(&top.mount, &self.at.mount) {
            return Err(Errno::EXDEV);
        }
        self.at = top;
        Ok(())
    }

    fn follow(&mut self, link: &Path) -> Result<Stepped> {
        self.links += 1;
        if self.links > MAX_LINKS
            || self.look.contains(Look::NO_SYMLINKS)
            || link.mount.flags() & mount::NOSYMFOLLOW != 0
        {
            return Err(Errno::ELOOP);
        }
        if let Some(to) = link.inode().follow(self.t) {
            if self.look.contains(Look::NO_MAGICLINKS) {
                return Err(Errno::ELOOP);
            }
            if self.look.intersects(Look::BENEATH | Look::IN_ROOT) {
                return Err(Errno::EXDEV);
            }
            let to = to?;
            if self.look.contains(Look::NO_XDEV) && !Arc::ptr_eq(&to.mount, &link.mount) {
                return Err(Errno::EXDEV);
            }
            self.at = to;
            return Ok(Stepped::Moved);
        }
        let text = link.inode().link_text(self.t)?;
        if text.is_empty() {
            return Err(Errno::ENOENT);
        }
        if text.first() == Some(&b'/') {
            if self.look.contains(Look::BENEATH) {
                return Err(Errno::EXDEV);
            }
            self.descend(self.root())?;
        }
        self.nested.push((text, 0));
        Ok(Stepped::Link)
    }

    fn root(&self) -> Path {
        match &self.scope {
            Some(p) => p.clone(),
            None => self.t.fs.lock().root.lock().clone(),
        }
    }

    fn up(&mut self) -> Result<Stepped> {
        let root = self.root();
        let mut p = self.at.clone();
        let parent = loop {
            if p.same(&root) {
                break None;
            }
            if !p.is_mount_root() {
                break p.dentry.parent();
            }
            match p.mount.place() {
                Some(place) => p = place,
                None => break None,
            }
        };
        let Some(dentry) = parent else {
            return if self.look.contains(Look::BENEATH) {
                Err(Errno::EXDEV)
            } else {
                Ok(Stepped::Moved)
            };
        };
        let mount = p.mount;
        if self.look.contains(Look::NO_XDEV) && !Arc::ptr_eq(&mount, &self.at.mount) {
            return Err(Errno::EXDEV);
        }
        self.descend(Path { mount, dentry })?;
        Ok(Stepped::Moved)
    }

    /// To the end.
    pub fn finish(mut self) -> Result<Path> {
        while let Some(last) = self.to_last()? {
            if last.slash {
                self.look |= Look::FOLLOW | Look::DIRECTORY;
            }
            if self.last_step(&last.name)? == Stepped::Moved {
                break;
            }
        }
        if self.look.contains(Look::DIRECTORY) && !self.at.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(self.at)
    }
}

/// The file that a path names. ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG, EBADF.
pub fn lookup(t: &Task, dirfd: i32, path: &[u8], look: Look) -> Result<Path> {
    Walk::new(t, dirfd, path, look)?.finish()
}

/// As [`lookup`] with other credentials than the task's.
pub fn lookup_as(t: &Task, creds: Arc<Creds>, dirfd: i32, path: &[u8], look: Look) -> Result<Path> {
    let mut w = Walk::new(t, dirfd, path, look)?;
    w.creds = creds;
    w.finish()
}

/// The directory of a path's last component, and that component; `None` if it has none (`/`).
pub fn parent<'p>(t: &'p Task, dirfd: i32, path: &'p [u8]) -> Result<(Path, Option<Last<'p>>)> {
    let mut w = Walk::new(t, dirfd, path, Look::empty())?;
    let last = w.to_last()?;
    Ok((w.at, last))
}
