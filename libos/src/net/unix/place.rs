//! Socket files: where the file system and Unix names meet.

use crate::fs::walk::{self, Look};
use crate::fs::{Kind, Path, names, perm};
use crate::{Errno, Result, Task};
use bastide_abi::raw::general::AT_FDCWD;

/// A socket file. Holding it keeps its inode, and so the inode's number.
pub struct Place {
    /// Device and inode number.
    pub id: (u64, u64),
    _path: Path,
}

impl Place {
    fn of(path: Path) -> Result<Place> {
        let stat = path.inode().stat()?;
        Ok(Place {
            id: (stat.dev, stat.ino),
            _path: path,
        })
    }
}

/// Makes a socket file for `bind(2)`: EADDRINUSE if there is something already.
pub fn create(t: &Task, path: &[u8]) -> Result<Place> {
    match names::make_node(t, AT_FDCWD, path, Kind::Socket.bits() | 0o777, 0) {
        Err(Errno::EEXIST) => Err(Errno::EADDRINUSE),
        r => Place::of(r?),
    }
}

/// Finds a socket file for `connect(2)`: EACCES without permission to write, ECONNREFUSED if it
/// is no socket.
pub fn find(t: &Task, path: &[u8]) -> Result<Place> {
    let path = walk::lookup(t, AT_FDCWD, path, Look::FOLLOW)?;
    perm::may_path(&t.creds(), &path, perm::WRITE)?;
    if path.kind() != Kind::Socket {
        return Err(Errno::ECONNREFUSED);
    }
    Place::of(path)
}
