//! Descriptor tables.

use super::File;
use crate::{Errno, Result};
use alloc::{sync::Arc, vec::Vec};
use bastide_base::sync::Mutex;

/// A descriptor number as the application gives it.
pub type Fd = i32;

bitflags::bitflags! {
    /// Per-descriptor flags, `fcntl(2)` F_SETFD.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct FdFlags: u32 {
        const CLOEXEC = 1;
    }
}

type Slot = Option<(Arc<File>, FdFlags)>;

/// The descriptors of a process (or of several, `CLONE_FILES`).
#[derive(Default)]
pub struct FdTable {
    slots: Mutex<Vec<Slot>>,
}

impl FdTable {
    /// An empty table.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A copy for `fork(2)`.
    pub fn fork(&self) -> Arc<Self> {
        Arc::new(FdTable {
            slots: Mutex::new(self.slots.lock().clone()),
        })
    }

    /// The file behind a descriptor; EBADF.
    pub fn get(&self, fd: Fd) -> Result<Arc<File>> {
        self.get_with_flags(fd).map(|(f, _)| f)
    }

    /// The file and the descriptor's flags; EBADF.
    pub fn get_with_flags(&self, fd: Fd) -> Result<(Arc<File>, FdFlags)> {
        let slots = self.slots.lock();
        let i = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        slots.get(i).and_then(Clone::clone).ok_or(Errno::EBADF)
    }

    /// EMFILE if no number below `limit` is free.
    pub fn check_room(&self, limit: usize) -> Result<()> {
        let slots = self.slots.lock();
        if slots.len() < limit || slots.iter().take(limit).any(Option::is_none) {
            Ok(())
        } else {
            Err(Errno::EMFILE)
        }
    }

    /// Puts a file at the lowest free number not below `from` and below `limit`
    /// (`RLIMIT_NOFILE`); EMFILE.
    pub fn insert(&self, file: Arc<File>, flags: FdFlags, from: usize, limit: usize) -> Result<Fd> {
        let mut slots = self.slots.lock();
        let i = (from..slots.len())
            .find(|&i| slots[i].is_none())
            .unwrap_or(slots.len().max(from));
        if i >= limit {
            return Err(Errno::EMFILE);
        }
        if i >= slots.len() {
            slots.resize(i + 1, None);
        }
        slots[i] = Some((file, flags));
        Ok(i as Fd)
    }

    /// Puts a file at a number, returning what was there (`dup2(2)`); EBADF at or above `limit`.
    pub fn replace(
        &self,
        fd: Fd,
        file: Arc<File>,
        flags: FdFlags,
        limit: usize,
    ) -> Result<Option<Arc<File>>> {
        let i = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        if i >= limit {
            return Err(Errno::EBADF);
        }
        let mut slots = self.slots.lock();
        if i >= slots.len() {
            slots.resize(i + 1, None);
        }
        Ok(slots[i].replace((file, flags)).map(|(f, _)| f))
    }

    /// Takes a file out; EBADF. The caller calls [`super::FileOps::flush`] and drops it without
    /// the table's lock.
    pub fn remove(&self, fd: Fd) -> Result<Arc<File>> {
        let i = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let mut slots = self.slots.lock();
        let gone = slots
            .get_mut(i)
            .and_then(Option::take)
            .ok_or(Errno::EBADF)?;
        while matches!(slots.last(), Some(None)) {
            slots.pop();
        }
        Ok(gone.0)
    }

    /// Sets a descriptor's flags; EBADF.
    pub fn set_flags(&self, fd: Fd, flags: FdFlags) -> Result<()> {
        let i = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let mut slots = self.slots.lock();
        slots
            .get_mut(i)
            .and_then(Option::as_mut)
            .ok_or(Errno::EBADF)?
            .1 = flags;
        Ok(())
    }

    /// Takes out every file that `which(fd, flags)` names: exec, exit, `close_range(2)`.
    pub fn remove_where(&self, mut which: impl FnMut(Fd, FdFlags) -> bool) -> Vec<Arc<File>> {
        let mut slots = self.slots.lock();
        let mut gone = Vec::new();
        for (i, slot) in slots.iter_mut().enumerate() {
            if slot.as_ref().is_some_and(|(_, fl)| which(i as Fd, *fl)) {
                gone.extend(slot.take().map(|(f, _)| f));
            }
        }
        gone
    }

    /// Sets flags on every open descriptor that `which` names.
    pub fn flag_where(&self, flags: FdFlags, mut which: impl FnMut(Fd) -> bool) {
        for (i, slot) in self.slots.lock().iter_mut().enumerate() {
            if let Some((_, fl)) = slot
                && which(i as Fd)
            {
                *fl |= flags;
            }
        }
    }

    /// The open descriptors, ascending.
    pub fn list(&self) -> Vec<Fd> {
        self.slots
            .lock()
            .iter()
            .enumerate()
            .filter(|(_, s)| s.is_some())
            .map(|(i, _)| i as Fd)
            .collect()
    }
}
