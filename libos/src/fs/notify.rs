//! Telling watchers what happened to files, `inotify(7)`. In Linux's order, which programs see.

use super::dentry::{DELETED, Dentry};
use super::file::File;
use super::{Path, dentry, dnotify};
use crate::event::inotify::*;
use alloc::sync::Arc;
use bastide_abi::raw::general::{DN_ACCESS, DN_ATTRIB, DN_CREATE, DN_DELETE, DN_MODIFY, DN_RENAME};
use core::sync::atomic::{AtomicU32, Ordering};

/// Tells the watches of a file, and of its directory under its name.
fn tell_both(d: &Arc<Dentry>, mask: u32) {
    let (parent, name) = d.place();
    if let Some(dir) = parent {
        tell(dir.inode(), mask, d.is_dir(), 0, Some(&name), d.is(DELETED));
    }
    tell(d.inode(), mask, d.is_dir(), 0, None, false);
}

fn tell_of(p: &Path, mask: u32) {
    if wanted(mask) {
        tell_both(&p.dentry, mask);
    }
}

/// A name was made.
pub fn created(dir: &Path, new: &Arc<Dentry>) {
    dnotify::tell(&dir.dentry, DN_CREATE);
    if wanted(IN_CREATE) {
        let name = new.name();
        tell(dir.inode(), IN_CREATE, new.is_dir(), 0, Some(&name), false);
    }
}

/// A name was removed.
pub fn removed(dir: &Path, gone: &Arc<Dentry>) {
    dnotify::tell(&dir.dentry, DN_DELETE);
    if !wanted(!0) {
        return;
    }
    if !gone.is_dir() {
        tell(gone.inode(), IN_ATTRIB, false, 0, None, false);
    }
    unlinked(gone);
    let name = gone.name();
    tell(dir.inode(), IN_DELETE, gone.is_dir(), 0, Some(&name), false);
}

/// A name is gone; perhaps the file with it.
fn unlinked(d: &Arc<Dentry>) {
    let none_left = d.is_dir() || d.inode().stat().is_ok_and(|s| s.nlink == 0);
    if none_left && d.opens() == 0 {
        deleted(d.inode());
    }
}

/// A file was opened.
pub fn opened(p: &Path) {
    p.dentry.count_open(1);
    tell_of(p, IN_OPEN);
}

/// A file's last descriptor was closed.
pub fn closed(f: &File, p: &Path) {
    let left = p.dentry.count_open(-1);
    tell_of(
        p,
        if f.writable() {
            IN_CLOSE_WRITE
        } else {
            IN_CLOSE_NOWRITE
        },
    );
    if left == 0 && p.dentry.is(dentry::DELETED) && wanted(!0) {
        unlinked(&p.dentry);
    }
}

/// Contents were read.
pub fn accessed(p: &Path) {
    dnotify::tell_parent(&p.dentry, DN_ACCESS);
    tell_of(p, IN_ACCESS);
}

/// Contents changed.
pub fn modified(p: &Path) {
    dnotify::tell_parent(&p.dentry, DN_MODIFY);
    tell_of(p, IN_MODIFY);
}

/// Attributes changed.
pub fn attributes(p: &Path) {
    dnotify::tell_parent(&p.dentry, DN_ATTRIB);
    if p.is_dir() {
        dnotify::tell(&p.dentry, DN_ATTRIB);
    }
    tell_of(p, IN_ATTRIB);
}

/// A name moved, replacing a file or changing places with it.
pub fn moved(
    from: (&Path, &[u8]),
    to: (&Path, &[u8]),
    file: &Arc<Dentry>,
    other: Option<&Arc<Dentry>>,
    exchanged: bool,
) {
    if Arc::ptr_eq(&from.0.dentry, &to.0.dentry) {
        dnotify::tell(&from.0.dentry, DN_RENAME);
    } else {
        dnotify::tell(&from.0.dentry, DN_DELETE);
        dnotify::tell(&to.0.dentry, DN_CREATE);
    }
    if !wanted(!0) {
        return;
    }
    one_moved(from, to, file);
    match other {
        Some(o) if exchanged => one_moved(to, from, o),
        Some(o) => {
            if !o.is_dir() {
                tell(o.inode(), IN_ATTRIB, false, 0, None, false);
            }
        }
        None => {}
    }
    tell(file.inode(), IN_MOVE_SELF, file.is_dir(), 0, None, false);
    match other {
        Some(o) if exchanged => tell(o.inode(), IN_MOVE_SELF, o.is_dir(), 0, None, false),
        Some(o) => unlinked(o),
        None => {}
    }
}

fn one_moved(from: (&Path, &[u8]), to: (&Path, &[u8]), file: &Arc<Dentry>) {
    /// Joins the two events of a move.
    static COOKIE: AtomicU32 = AtomicU32::new(0);
    let cookie = COOKIE.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    let dir = file.is_dir();
    for (place, mask) in [(from, IN_MOVED_FROM), (to, IN_MOVED_TO)] {
        tell(place.0.inode(), mask, dir, cookie, Some(place.1), false);
    }
}
