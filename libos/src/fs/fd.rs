//! Descriptor tables.

use super::File;
use crate::sysctl::NR_OPEN;
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

#[derive(Clone, Default)]
struct Slots {
    list: Vec<Slot>,
    /// No number below is free.
    free_from: usize,
}

impl Slots {
    fn lowest_free(&mut self, from: usize) -> usize {
        let start = from.max(self.free_from);
        let found = (self.list.iter().enumerate().skip(start)).find(|(_, s)| s.is_none());
        let i = found.map_or(self.list.len().max(start), |(i, _)| i);
        if from <= self.free_from {
            self.free_from = i;
        }
        i
    }

    /// The slot of a number, which comes into being.
    fn slot(&mut self, i: usize) -> Option<&mut Slot> {
        if i >= self.list.len() {
            self.list.resize(i + 1, None);
        }
        self.list.get_mut(i)
    }

    fn take(&mut self, i: usize) -> Option<Arc<File>> {
        let (file, _) = self.list.get_mut(i)?.take()?;
        self.free_from = self.free_from.min(i);
        Some(file)
    }
}

/// The descriptors of a process (or of several, `CLONE_FILES`).
#[derive(Default)]
pub struct FdTable {
    slots: Mutex<Slots>,
}

fn number(fd: Fd) -> Result<usize> {
    usize::try_from(fd).map_err(|_| Errno::EBADF)
}

impl FdTable {
    /// An empty table.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// EMFILE if a copy would have more room than `/proc/sys/fs/nr_open` allows: it was lowered
    /// since the descriptors were opened.
    pub fn may_copy(&self) -> Result<()> {
        let room = self.slots.lock().list.len().next_multiple_of(64);
        if room > NR_OPEN.size() {
            Err(Errno::EMFILE)
        } else {
            Ok(())
        }
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
        let slot = slots.list.get(number(fd)?);
        slot.and_then(Clone::clone).ok_or(Errno::EBADF)
    }

    /// EMFILE if no number below `limit` is free.
    pub fn check_room(&self, limit: usize) -> Result<()> {
        if self.slots.lock().lowest_free(0) < limit.min(NR_OPEN.size()) {
            Ok(())
        } else {
            Err(Errno::EMFILE)
        }
    }

    /// Puts a file at the lowest free number not below `from` and below `limit`
    /// (`RLIMIT_NOFILE`); EMFILE.
    pub fn insert(&self, file: Arc<File>, flags: FdFlags, from: usize, limit: usize) -> Result<Fd> {
        let mut slots = self.slots.lock();
        let i = slots.lowest_free(from);
        if i >= limit.min(NR_OPEN.size()) {
            return Err(Errno::EMFILE);
        }
        if let Some(slot) = slots.slot(i) {
            *slot = Some((file, flags));
        }
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
        let i = number(fd)?;
        if i >= limit.min(NR_OPEN.size()) {
            return Err(Errno::EBADF);
        }
        let mut slots = self.slots.lock();
        let slot = slots.slot(i).ok_or(Errno::EBADF)?;
        Ok(slot.replace((file, flags)).map(|(f, _)| f))
    }

    /// Takes a file out; EBADF. The caller calls [`File::close`] without the table's lock.
    pub fn remove(&self, fd: Fd) -> Result<Arc<File>> {
        let i = number(fd)?;
        self.slots.lock().take(i).ok_or(Errno::EBADF)
    }

    /// Sets a descriptor's flags; EBADF.
    pub fn set_flags(&self, fd: Fd, flags: FdFlags) -> Result<()> {
        let i = number(fd)?;
        let mut slots = self.slots.lock();
        let slot = slots.list.get_mut(i).and_then(Option::as_mut);
        slot.ok_or(Errno::EBADF)?.1 = flags;
        Ok(())
    }

    /// Takes out every file that `which(fd, flags)` names: exec, exit, `close_range(2)`.
    pub fn remove_where(&self, mut which: impl FnMut(Fd, FdFlags) -> bool) -> Vec<Arc<File>> {
        let mut slots = self.slots.lock();
        let mut gone = Vec::new();
        for i in 0..slots.list.len() {
            let named = slots.list.get(i).and_then(Option::as_ref);
            if named.is_some_and(|(_, fl)| which(i as Fd, *fl)) {
                gone.extend(slots.take(i));
            }
        }
        gone
    }

    /// Sets flags on every open descriptor that `which` names.
    pub fn flag_where(&self, flags: FdFlags, mut which: impl FnMut(Fd) -> bool) {
        for (i, slot) in self.slots.lock().list.iter_mut().enumerate() {
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
            .list
            .iter()
            .enumerate()
            .filter(|(_, s)| s.is_some())
            .map(|(i, _)| i as Fd)
            .collect()
    }
}
