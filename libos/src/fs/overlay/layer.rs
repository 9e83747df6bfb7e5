//! What a lower tree says of those below it, in the form that overlayfs leaves in its upper one: a
//! *whiteout*, a character device 0:0, for a name that was removed, and an attribute on a directory
//! that is *opaque*: nothing below it shows.

use crate::fs::{Inode, Kind};
use crate::{Errno, Result};
use alloc::sync::Arc;

/// Attributes of this kind are overlayfs's own, and not shown.
const PRIVATE: &[u8] = b"trusted.overlay.";
const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// An attribute that is not a file's own.
pub(super) fn is_private(name: &[u8]) -> bool {
    name.starts_with(PRIVATE)
}

/// The file stands for one that is not there.
pub(super) fn is_whiteout(file: &Arc<dyn Inode>) -> Result<bool> {
    Ok(file.kind() == Kind::Char && file.stat()?.rdev == 0)
}

/// The name in a listing is of a file that stands for one that is not there.
pub(super) fn is_whiteout_in(dir: &Arc<dyn Inode>, name: &[u8], kind: u8) -> Result<bool> {
    match kind == Kind::Char.dirent() {
        true => is_whiteout(&dir.lookup(name)?),
        false => Ok(false),
    }
}

/// Nothing below the directory shows through it.
pub(super) fn is_opaque(dir: &Arc<dyn Inode>) -> Result<bool> {
    match dir.get_xattr(OPAQUE) {
        Ok(value) => Ok(value == b"y"),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP | Errno::EPERM) => Ok(false),
        Err(e) => Err(e),
    }
}
