//! Socket files: where the file system and Unix names meet.

use crate::fs::Path;
use crate::{Errno, Result, Task};

/// A socket file. Holding it keeps its inode, and so the inode's number.
pub struct Place {
    /// Device and inode number.
    pub id: (u64, u64),
    #[allow(dead_code)]
    path: Path,
}

/// Makes a socket file for `bind(2)`: EADDRINUSE if there is something already.
pub fn create(_t: &Task, _path: &[u8]) -> Result<Place> {
    Err(Errno::EACCES)
}

/// Finds a socket file for `connect(2)`: EACCES without permission to write, ECONNREFUSED if it
/// is no socket.
pub fn find(_t: &Task, _path: &[u8]) -> Result<Place> {
    Err(Errno::ENOENT)
}
