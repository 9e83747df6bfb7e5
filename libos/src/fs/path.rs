//! Places in the tree, and how they are written.

use super::dentry::{self, Dentry};
use super::mount::{self, Mount};
use super::walk::{self, Look};
use super::{File, Inode, Kind};
use crate::{Errno, Result, Task};
use alloc::{sync::Arc, vec::Vec};
use bastide_base::sync::{Mutex, Once};

/// A place in the tree of mounts.
#[derive(Clone)]
pub struct Path {
    pub mount: Arc<Mount>,
    pub dentry: Arc<Dentry>,
}

impl Path {
    /// The file there.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        self.dentry.inode()
    }

    /// The file's kind.
    pub fn kind(&self) -> Kind {
        self.dentry.kind()
    }

    /// It is a directory.
    pub fn is_dir(&self) -> bool {
        self.dentry.is_dir()
    }

    /// The same place.
    pub fn same(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.dentry, &other.dentry) && Arc::ptr_eq(&self.mount, &other.mount)
    }

    /// It is the root of its mount.
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.dentry, &self.mount.root)
    }

    /// The directory above, across mounts; `None` at the root of everything.
    pub fn parent(&self) -> Option<Path> {
        let mut at = self.clone();
        while at.is_mount_root() {
            at = at.mount.place()?;
        }
        let dentry = at.dentry.parent()?;
        Some(Path {
            mount: at.mount,
            dentry,
        })
    }
}

/// What `CLONE_FS` shares: working directory, root, umask.
pub struct FsInfo {
    pub cwd: Mutex<Path>,
    pub root: Mutex<Path>,
    pub umask: Mutex<u32>,
}

impl FsInfo {
    /// Everything at one place.
    pub fn at(root: Path, umask: u32) -> Arc<FsInfo> {
        Arc::new(FsInfo {
            cwd: Mutex::new(root.clone()),
            root: Mutex::new(root),
            umask: Mutex::new(umask & 0o777),
        })
    }

    /// A copy for `fork(2)`.
    pub fn fork(&self) -> Arc<FsInfo> {
        Arc::new(FsInfo {
            cwd: Mutex::new(self.cwd.lock().clone()),
            root: Mutex::new(self.root.lock().clone()),
            umask: Mutex::new(*self.umask.lock()),
        })
    }
}

/// Opens a path from the task's root, for exec: resolved fully, EACCES without execute permission
/// or if it is no regular file. `flags`: `AT_EMPTY_PATH`, `AT_SYMLINK_NOFOLLOW`.
pub fn open_exec(t: &Task, dirfd: i32, path: &[u8], flags: u32) -> Result<Arc<File>> {
    let mut look = Look::FOLLOW;
    if flags & bastide_abi::raw::general::AT_SYMLINK_NOFOLLOW != 0 {
        look = Look::empty();
    }
    if flags & bastide_abi::raw::general::AT_EMPTY_PATH != 0 {
        look |= Look::EMPTY;
    }
    let p = walk::lookup(t, dirfd, path, look)?;
    match p.kind() {
        Kind::Symlink => return Err(Errno::ELOOP),
        Kind::Regular => {}
        _ => return Err(Errno::EACCES),
    }
    if p.mount.flags() & mount::NOEXEC != 0 {
        return Err(Errno::EACCES);
    }
    super::perm::may(&t.creds(), p.inode(), 1)?;
    super::open::open_denying_writes(t, p)
}

/// How a place looks from a root.
pub struct Shown {
    pub text: Vec<u8>,
    /// It lies below the root.
    pub reachable: bool,
    /// The name is gone.
    pub deleted: bool,
}

/// The path of a place as seen from `root`, without marks.
pub fn show(p: &Path, root: &Path) -> Shown {
    let mut parts: Vec<Arc<[u8]>> = Vec::new();
    let deleted = p.dentry.is(dentry::DELETED);
    let mut at = p.clone();
    let mut reachable = false;
    loop {
        if at.same(root) {
            reachable = true;
            break;
        }
        if at.is_mount_root() {
            match at.mount.place() {
                Some(place) => {
                    at = place;
                    continue;
                }
                None => break,
            }
        }
        let (parent, name) = at.dentry.place();
        parts.push(name);
        match parent {
            Some(d) => at.dentry = d,
            None => break,
        }
    }
    let mut text = Vec::new();
    for part in parts.iter().rev() {
        if &part[..] != b"/" {
            text.push(b'/');
            text.extend_from_slice(part);
        }
    }
    if text.is_empty() {
        text.push(b'/');
    }
    Shown {
        text,
        reachable,
        deleted,
    }
}

/// The absolute path as seen from the task's root (`/proc/self/exe`), with ` (deleted)` if the
/// name is gone.
pub fn absolute(t: &Task, p: &Path) -> Result<Vec<u8>> {
    if Arc::ptr_eq(&p.mount, anon_mount()) {
        return Ok(p.dentry.name().to_vec());
    }
    let root = t.fs().root.lock().clone();
    let mut shown = show(p, &root);
    if shown.deleted {
        shown.text.extend_from_slice(b" (deleted)");
    }
    Ok(shown.text)
}

fn anon_mount() -> &'static Arc<Mount> {
    static ANON: Once<Arc<Mount>> = Once::new();
    ANON.get_or_init(|| {
        let sup = mount::Super::new(super::anon::AnonFs::new());
        let root = sup.root.clone();
        Mount::new(sup, root, b"none", 0)
    })
}

/// Where an open file is. Objects without a path (pipes, sockets) get one in a hidden file
/// system: `/proc/pid/fd/N` leads there, and `AT_EMPTY_PATH` finds them.
pub fn of_file(f: &Arc<File>) -> Path {
    match &f.path {
        Some(p) => p.clone(),
        None => Path {
            mount: anon_mount().clone(),
            dentry: Dentry::unnamed(
                None,
                f.ops.describe().as_bytes(),
                super::anon::AnonInode::new(f.ops.clone()),
            ),
        },
    }
}
