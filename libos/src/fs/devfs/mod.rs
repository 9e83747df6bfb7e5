//! Devices: what opening a device node, wherever it lies, gives.

mod mem;
pub mod pts;
mod tree;

pub use tree::{new, submounts};

use super::{File, FileOps, Kind, Path, inode};
use crate::{Errno, Result, Task};
use alloc::sync::Arc;

/// Opens the device with a number, as `open(2)` of a node does; ENXIO if there is none.
pub fn open_device(t: &Task, rdev: u64, flags: u32, kind: Kind) -> Result<Arc<dyn FileOps>> {
    if kind != Kind::Char {
        return Err(Errno::ENXIO);
    }
    match inode::split_dev(rdev) {
        (1, minor) => mem::open(minor),
        (5, 0) => super::tty::open_controlling(t, flags),
        (5, 1) => super::tty::console::open(),
        (5, 2) => super::tty::open_master(t),
        (major @ pts::MAJOR..=143, minor) => {
            let index = (major - pts::MAJOR) * 256 + (minor & 0xff);
            super::tty::open_slave(t, &pts::find(index)?, flags)
        }
        _ => Err(Errno::ENXIO),
    }
}

/// An open `/dev/null`.
pub fn null(path: Option<Path>, flags: u32) -> Arc<File> {
    File::new(mem::null(), path, flags)
}
