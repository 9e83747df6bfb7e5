//! Who has a file open for writing, and who runs it: the two exclude each other (ETXTBSY).

use super::Stat;
use crate::{Errno, Result};
use alloc::collections::BTreeMap;
use bastide_base::sync::Mutex;

/// A file's identity: device and inode number.
pub type FileId = (u64, u64);

impl Stat {
    /// The file's identity.
    pub fn id(&self) -> FileId {
        (self.dev, self.ino)
    }
}

/// Writers count up, runs count down.
static COUNTS: Mutex<BTreeMap<FileId, i32>> = Mutex::new(BTreeMap::new());

/// A right to write to a file, or to keep others from it, until it is dropped.
#[derive(Debug)]
pub struct Hold {
    id: FileId,
    by: i32,
}

fn hold(id: FileId, by: i32) -> Result<Hold> {
    let mut counts = COUNTS.lock();
    let n = counts.entry(id).or_insert(0);
    if *n != 0 && (*n > 0) != (by > 0) {
        return Err(Errno::ETXTBSY);
    }
    *n = n.saturating_add(by);
    Ok(Hold { id, by })
}

/// The file is open for writing. ETXTBSY if it is being executed.
pub fn writing(id: FileId) -> Result<Hold> {
    hold(id, 1)
}

/// The file is executed. ETXTBSY if somebody has it open for writing.
pub fn executing(id: FileId) -> Result<Hold> {
    hold(id, -1)
}

/// Somebody has the file open for writing.
pub fn is_written(id: FileId) -> bool {
    COUNTS.lock().get(&id).is_some_and(|&n| n > 0)
}

/// The file is executed.
pub fn is_executed(id: FileId) -> bool {
    COUNTS.lock().get(&id).is_some_and(|&n| n < 0)
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut counts = COUNTS.lock();
        if let Some(n) = counts.get_mut(&self.id) {
            *n -= self.by;
            if *n == 0 {
                counts.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_and_runs_exclude_each_other() {
        let id = (77, 1);
        let w = writing(id).unwrap();
        assert_eq!(executing(id).unwrap_err(), Errno::ETXTBSY);
        assert!(is_written(id));
        drop(w);
        let x = executing(id).unwrap();
        assert_eq!(writing(id).unwrap_err(), Errno::ETXTBSY);
        drop(x);
        assert!(writing(id).is_ok());
    }
}
