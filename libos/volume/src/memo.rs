//! What the tree says of the files in use, decoded. The tree forgets it as it changes an item.

use crate::extent::{Extent, LONGEST};
use crate::inode::Inode;
use crate::node::{Key, Kind};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Files that have a place, and extents that do.
const INODES: usize = 64;
const EXTENTS: usize = 256;

/// Each place has what was wanted last of all that belong there.
#[derive(Default)]
pub(crate) struct Memo {
    inodes: Vec<Option<(u64, Inode)>>,
    /// With the file, and the number of the first block in it.
    extents: Vec<Option<(u64, u64, Arc<Extent>)>>,
}

/// Where the extent with a file's block has its place.
fn place(ino: u64, at: u64) -> usize {
    (ino.wrapping_mul(31).wrapping_add(at / LONGEST as u64) % EXTENTS as u64) as usize
}

impl Memo {
    /// A file's attributes.
    pub fn inode(&self, ino: u64) -> Option<Inode> {
        let (of, inode) = self.inodes.get(ino as usize % INODES)?.as_ref()?;
        (*of == ino).then_some(*inode)
    }

    /// The extent that holds a file's block, and its first block in the file.
    pub fn extent(&self, ino: u64, at: u64) -> Option<(u64, Arc<Extent>)> {
        let (of, start, extent) = self.extents.get(place(ino, at))?.as_ref()?;
        let holds = *of == ino && (*start..start + extent.len()).contains(&at);
        holds.then(|| (*start, extent.clone()))
    }

    /// These are a file's attributes.
    pub fn set_inode(&mut self, ino: u64, inode: &Inode) {
        self.inodes.resize(INODES, None);
        if let Some(place) = self.inodes.get_mut(ino as usize % INODES) {
            *place = Some((ino, *inode));
        }
    }

    /// This is the extent with a file's block.
    pub fn set_extent(&mut self, ino: u64, at: u64, start: u64, extent: &Arc<Extent>) {
        self.extents.resize(EXTENTS, None);
        if let Some(place) = self.extents.get_mut(place(ino, at)) {
            *place = Some((ino, start, extent.clone()));
        }
    }

    /// An item changes.
    pub fn forget(&mut self, key: &Key) {
        let of = |ino: u64| ino == key.ino;
        if key.kind == Kind::Inode as u8 {
            let place = self.inodes.get_mut(key.ino as usize % INODES);
            if let Some(place) = place.filter(|p| p.is_some_and(|(ino, _)| of(ino))) {
                *place = None;
            }
        } else if key.kind == Kind::Extent as u8 {
            // The item that goes may hold any of the file's blocks.
            for place in &mut self.extents {
                if place.as_ref().is_some_and(|(ino, ..)| of(*ino)) {
                    *place = None;
                }
            }
        }
    }

    /// Everything may be otherwise.
    pub fn clear(&mut self) {
        self.inodes.clear();
        self.extents.clear();
    }
}
