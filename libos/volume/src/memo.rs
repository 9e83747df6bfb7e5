//! What the tree says of the files in use, decoded. The tree forgets it as it changes an item.

use crate::extent::Extent;
use crate::inode::Inode;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Files that have a place.
const PLACES: usize = 64;

/// What is known of one file.
#[derive(Clone, Default)]
struct Known {
    ino: u64,
    inode: Option<Inode>,
    /// The extent that was wanted last, and its first block in the file.
    extent: Option<(u64, Arc<Extent>)>,
}

/// Files by their numbers; one takes the place of another.
#[derive(Default)]
pub(crate) struct Memo(Vec<Known>);

impl Memo {
    fn known(&self, ino: u64) -> Option<&Known> {
        let known = self.0.get(ino as usize % PLACES)?;
        (known.ino == ino).then_some(known)
    }

    fn place(&mut self, ino: u64) -> Option<&mut Known> {
        self.0.resize(PLACES, Known::default());
        let known = self.0.get_mut(ino as usize % PLACES)?;
        if known.ino != ino {
            *known = Known {
                ino,
                ..Known::default()
            };
        }
        Some(known)
    }

    /// A file's attributes.
    pub fn inode(&self, ino: u64) -> Option<Inode> {
        self.known(ino)?.inode
    }

    /// The extent that holds a file's block, and its first block in the file.
    pub fn extent(&self, ino: u64, at: u64) -> Option<(u64, Arc<Extent>)> {
        let (start, extent) = self.known(ino)?.extent.as_ref()?;
        (*start..start + extent.len())
            .contains(&at)
            .then(|| (*start, extent.clone()))
    }

    /// These are a file's attributes.
    pub fn set_inode(&mut self, ino: u64, inode: &Inode) {
        if let Some(known) = self.place(ino) {
            known.inode = Some(*inode);
        }
    }

    /// This is one of a file's extents.
    pub fn set_extent(&mut self, ino: u64, start: u64, extent: &Arc<Extent>) {
        if let Some(known) = self.place(ino) {
            known.extent = Some((start, extent.clone()));
        }
    }

    /// An item of a file changes.
    pub fn forget(&mut self, ino: u64) {
        if let Some(known) = self.0.get_mut(ino as usize % PLACES)
            && known.ino == ino
        {
            *known = Known::default();
        }
    }

    /// Everything may be otherwise.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
