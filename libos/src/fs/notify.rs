//! Telling watchers what happened to files, `inotify(7)`.

use super::Path;
use super::dentry::Dentry;
use alloc::sync::Arc;

/// A name was made.
pub fn created(_dir: &Path, _new: &Arc<Dentry>) {}

/// A name was removed.
pub fn removed(_dir: &Path, _gone: &Arc<Dentry>) {}

/// Contents changed.
pub fn modified(_p: &Path) {}

/// Attributes changed.
pub fn attributes(_p: &Path) {}

/// A name moved, replacing a file or changing places with it.
pub fn moved(
    _from: (&Path, &[u8]),
    _to: (&Path, &[u8]),
    _file: &Arc<Dentry>,
    _other: Option<&Arc<Dentry>>,
    _exchanged: bool,
) {
}
