//! When reading a file moves its access time, `mount(2)` MS_RELATIME.

use super::File;
use super::mount;
use core::sync::atomic::{AtomicI64, Ordering};

const O_NOATIME: u32 = 0o1000000;
const DAY: i64 = 86_400_000_000_000;

/// Whether a read through `f` now sets the access time.
pub fn wanted(f: &File, atime: i64, mtime: i64, ctime: i64) -> bool {
    if f.flags() & O_NOATIME != 0 {
        return false;
    }
    if let Some(p) = &f.path {
        let flags = p.mount.flags();
        let not = mount::NOATIME | if p.is_dir() { mount::NODIRATIME } else { 0 };
        if flags & not != 0 || p.mount.read_only() {
            return false;
        }
        if flags & mount::RELATIME == 0 {
            return true;
        }
    }
    atime <= mtime || atime <= ctime || SEEN.load(Ordering::Relaxed) - atime >= DAY
}

/// The wall time when a file was last stamped. Asking for the time at every read costs more than
/// the read; that a day has passed may be noticed late.
static SEEN: AtomicI64 = AtomicI64::new(0);

/// The time to stamp a file with.
pub fn now() -> i64 {
    let now = crate::time::realtime() as i64;
    SEEN.store(now, Ordering::Relaxed);
    now
}
