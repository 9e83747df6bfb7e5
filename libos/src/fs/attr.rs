//! Changing attributes: `chmod(2)`, `chown(2)`, `utimensat(2)`, `truncate(2)`.

use super::{Inode, SetAttr};
use crate::Result;
use crate::process::Creds;
use crate::process::creds::CAP_FSETID;
use alloc::sync::Arc;

/// The mode without the set-id bits that a change of contents by these credentials removes;
/// `None` if it stays.
pub fn stripped_mode(creds: &Creds, mode: u32) -> Option<u32> {
    if creds.capable(CAP_FSETID) {
        return None;
    }
    let mut new = mode & !0o4000;
    if mode & 0o2010 == 0o2010 {
        new &= !0o2000;
    }
    (new != mode).then_some(new & 0o7777)
}

/// Sets a regular file's size.
pub fn truncate_inode(creds: &Creds, inode: &Arc<dyn Inode>, size: u64) -> Result<()> {
    let mode = stripped_mode(creds, inode.perms()?.0);
    inode.set_attr(&SetAttr {
        size: Some(size),
        mode,
        ..Default::default()
    })
}
