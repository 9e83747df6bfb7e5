//! Paths: mounts, the dentry cache, and the walk.

use super::Inode;
use crate::{Errno, Result, Task};
use alloc::{sync::Arc, vec::Vec};
use bastide_base::sync::Mutex;

/// A place in the tree of mounts.
#[derive(Clone)]
pub struct Path {
    pub inode: Arc<dyn Inode>,
}

/// What `CLONE_FS` shares: working directory, root, umask.
pub struct FsInfo {
    pub cwd: Mutex<Path>,
    pub root: Mutex<Path>,
    pub umask: Mutex<u32>,
}

impl FsInfo {
    /// A copy for `fork(2)`.
    pub fn fork(&self) -> Arc<FsInfo> {
        Arc::new(FsInfo {
            cwd: Mutex::new(self.cwd.lock().clone()),
            root: Mutex::new(self.root.lock().clone()),
            umask: Mutex::new(*self.umask.lock()),
        })
    }
}

/// Opens a path from the task's root, for exec: resolved fully, EACCES without execute permission.
pub fn open_exec(_t: &Task, _dirfd: i32, _path: &[u8], _flags: u32) -> Result<Arc<super::File>> {
    Err(Errno::ENOENT)
}

/// The absolute path as seen from the task's root (`/proc/self/exe`, `getcwd(2)`).
pub fn absolute(_t: &Task, _p: &Path) -> Result<Vec<u8>> {
    Err(Errno::ENOENT)
}
