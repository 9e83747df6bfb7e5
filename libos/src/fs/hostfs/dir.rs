//! Open host directories.

use super::inode::{HostInode, open_dir};
use super::valid_name;
use crate::fs::FileOps;
use crate::fs::file::Dirent;
use crate::fs::inode::Entry;
use crate::{Result, Task, host_error, pal};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use core::any::Any;

/// An open directory. Its entries are read whole from the host when reading starts at the
/// beginning, so that positions stay valid while names come and go.
pub struct HostDir {
    inode: Arc<HostInode>,
    entries: Mutex<Option<Arc<Vec<Entry>>>>,
}

/// The host's entries; what it says that is no name is not shown.
pub(super) fn read(i: &HostInode) -> Result<Vec<Entry>> {
    let h = open_dir(i)?;
    let list = pal().read_dir(h.0).map_err(host_error)?;
    let valid = list.into_iter().filter(|e| valid_name(&e.name));
    Ok(valid
        .map(|e| Entry {
            ino: e.ino,
            kind: if e.kind <= 12 { e.kind } else { 0 },
            name: e.name,
        })
        .collect())
}

impl HostDir {
    pub(super) fn new(inode: Arc<HostInode>) -> Self {
        HostDir {
            inode,
            entries: Mutex::new(None),
        }
    }

    fn entries(&self, again: bool) -> Result<Arc<Vec<Entry>>> {
        if !again && let Some(e) = &*self.entries.lock() {
            return Ok(e.clone());
        }
        let list = read(&self.inode)?;
        let list = Arc::new(list);
        *self.entries.lock() = Some(list.clone());
        Ok(list)
    }
}

impl FileOps for HostDir {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn pollable(&self) -> bool {
        false
    }

    fn fsync(&self, data_only: bool) -> Result<()> {
        let h = open_dir(&self.inode)?;
        pal().fsync(h.0, data_only).map_err(host_error)
    }

    fn read_dir(
        &self,
        _t: &Task,
        position: u64,
        emit: &mut dyn FnMut(Dirent<'_>) -> bool,
    ) -> Result<()> {
        let entries = self.entries(position == 0)?;
        let from = usize::try_from(position).unwrap_or(usize::MAX);
        for (i, e) in entries.iter().enumerate().skip(from) {
            let next = i as u64 + 1;
            let kind = e.kind;
            if !emit(Dirent {
                ino: e.ino,
                next,
                kind,
                name: &e.name,
            }) {
                return Ok(());
            }
        }
        Ok(())
    }
}
