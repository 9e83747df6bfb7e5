//! In-memory files, `tmpfs(5)`.
//!
//! A [`Node`] is a file; directories own the nodes they name. Contents are page objects, whose
//! pages applications map. One lock per file system makes changes of names happen one after the
//! other; look-ups take only the directory's own lock.

mod dir;
mod file;
mod node;
#[cfg(test)]
mod tests;

pub use node::Node;

use super::inode::new_dev;
use super::{FileSystem, Inode, StatFs};
use crate::mm::object::Budget;
use crate::{Errno, Result};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::pages::PAGE;
use bastide_base::sync::{Mutex, Once};
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};

/// `TMPFS_MAGIC`.
const MAGIC: u64 = 0x0102_1994;

/// What the files of one file system share.
pub(super) struct Core {
    fs: Once<Weak<Tmpfs>>,
    dev: u64,
    budget: Arc<Budget>,
    inodes: Mutex<Count>,
    next_ino: AtomicU64,
    /// Held over every change of names.
    tree: Mutex<()>,
}

struct Count {
    used: u64,
    limit: u64,
}

/// Options of a mount, `tmpfs(5)`.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes; 0: no limit.
    pub size: u64,
    /// Files; 0: no limit.
    pub inodes: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Default for Options {
    /// As Linux: half of the memory, and as many files as it has pages.
    fn default() -> Self {
        let size = crate::pal().memory().0 / 2;
        Options {
            size,
            inodes: size / PAGE as u64,
            mode: 0o1777,
            uid: 0,
            gid: 0,
        }
    }
}

impl Options {
    /// Reads `size=`, `nr_blocks=`, `nr_inodes=`, `mode=`, `uid=`, `gid=`, comma-separated; EINVAL
    /// for others and for malformed values.
    pub fn parse(&mut self, text: &[u8]) -> Result<()> {
        for part in text.split(|&b| b == b',').filter(|p| !p.is_empty()) {
            let part = core::str::from_utf8(part).map_err(|_| Errno::EINVAL)?;
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key {
                "size" => self.size = parse_size(value)?.next_multiple_of(PAGE as u64),
                "nr_blocks" => self.size = parse_size(value)?.saturating_mul(PAGE as u64),
                "nr_inodes" => self.inodes = parse_size(value)?,
                "mode" => {
                    self.mode = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)? & 0o7777;
                }
                "uid" => self.uid = value.parse().map_err(|_| Errno::EINVAL)?,
                "gid" => self.gid = value.parse().map_err(|_| Errno::EINVAL)?,
                // Where memory comes from is not ours to choose.
                "huge" | "mpol" | "inode32" | "inode64" | "noswap" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(())
    }
}

fn parse_size(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let n: u64 = digits.parse().map_err(|_| Errno::EINVAL)?;
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        "t" | "T" => 1 << 40,
        "%" => crate::pal().memory().0 / 100,
        _ => return Err(Errno::EINVAL),
    };
    n.checked_mul(unit)
        .filter(|&n| n < 1 << 62)
        .ok_or(Errno::EINVAL)
}

/// An in-memory file system.
pub struct Tmpfs {
    core: Arc<Core>,
    root: Arc<Node>,
}

impl Tmpfs {
    /// An empty one.
    pub fn new(options: Options) -> Arc<Tmpfs> {
        let core = Arc::new(Core {
            fs: Once::new(),
            dev: new_dev(),
            budget: Budget::new(pages(options.size)),
            inodes: Mutex::new(Count {
                used: 1,
                limit: unlimited(options.inodes),
            }),
            next_ino: AtomicU64::new(2),
            tree: Mutex::new(()),
        });
        let root = Node::root(&core, options.mode, options.uid, options.gid);
        let fs = Arc::new(Tmpfs { core, root });
        fs.core.fs.get_or_init(|| Arc::downgrade(&fs));
        fs
    }

    /// Changes the limits (remount); EINVAL if more is in use.
    pub fn set_limits(&self, size: u64, inodes: u64) -> Result<()> {
        let (pages, inodes) = (pages(size), unlimited(inodes));
        let mut count = self.core.inodes.lock();
        if pages < self.core.budget.used() || inodes < count.used {
            return Err(Errno::EINVAL);
        }
        self.core.budget.set_limit(pages);
        count.limit = inodes;
        Ok(())
    }

    /// Size in bytes and number of files, the limits; 0: none.
    pub fn limits(&self) -> (u64, u64) {
        let known = |n: u64, unit: u64| if n == u64::MAX { 0 } else { n * unit };
        (
            known(self.core.budget.limit(), PAGE as u64),
            known(self.core.inodes.lock().limit, 1),
        )
    }
}

fn unlimited(n: u64) -> u64 {
    if n == 0 { u64::MAX } else { n }
}

fn pages(size: u64) -> u64 {
    if size == 0 {
        u64::MAX
    } else {
        size.div_ceil(PAGE as u64)
    }
}

impl Core {
    /// A number for a new file; ENOSPC.
    fn take_inode(&self) -> Result<u64> {
        let mut count = self.inodes.lock();
        if count.used >= count.limit {
            return Err(Errno::ENOSPC);
        }
        count.used += 1;
        Ok(self.next_ino.fetch_add(1, Ordering::Relaxed))
    }

    fn give_inode(&self) {
        let mut count = self.inodes.lock();
        count.used = count.used.saturating_sub(1);
    }
}

impl FileSystem for Tmpfs {
    fn name(&self) -> &'static str {
        "tmpfs"
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn statfs(&self) -> Result<StatFs> {
        let mut out = StatFs {
            magic: MAGIC,
            bsize: PAGE as u64,
            namelen: 255,
            ..Default::default()
        };
        let budget = &self.core.budget;
        if budget.limit() == u64::MAX {
            // Memory is the limit.
            let (total, free) = crate::pal().memory();
            (out.blocks, out.bfree) = (total / PAGE as u64, free / PAGE as u64);
        } else {
            out.blocks = budget.limit();
            out.bfree = budget.limit().saturating_sub(budget.used());
        }
        out.bavail = out.bfree;
        let count = self.core.inodes.lock();
        if count.limit != u64::MAX {
            out.files = count.limit;
            out.ffree = count.limit.saturating_sub(count.used);
        }
        Ok(out)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Deep trees must not go by deep recursion.
        let mut left: Vec<Arc<Node>> = alloc::vec![self.root.clone()];
        while let Some(n) = left.pop() {
            left.extend(n.clear());
        }
    }
}
