//! Terminals: the launcher's own ([`console`]), and job control on them ([`job`]).

pub mod console;
pub mod job;
mod stream;
mod termios;

use super::{FileOps, Kind, Stat};
use crate::{Errno, Result, Task, pal};
use alloc::string::String;
use alloc::sync::Arc;
use bastide_base::sync::Mutex;
use core::any::Any;

/// A terminal as sessions know it; also what `Relations::terminal` holds.
pub struct Tty {
    /// Session and foreground process group, 0: none.
    pub(crate) session: Mutex<(i32, i32)>,
    line: Line,
}

/// What a terminal is connected to.
enum Line {
    Console,
}

impl Tty {
    /// The device number.
    fn rdev(&self) -> u64 {
        match &self.line {
            Line::Console => super::inode::make_dev(5, 1),
        }
    }

    /// Opens it again, as `/dev/tty` does.
    fn open(self: &Arc<Self>) -> Result<Arc<dyn FileOps>> {
        match &self.line {
            Line::Console => console::open(),
        }
    }
}

impl FileOps for Tty {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        String::from("/dev/console")
    }
}

/// A terminal's attributes when it was not opened by a path.
fn stat(tty: &Tty) -> Stat {
    let now = pal().now(bastide_pal::Clock::Realtime) as i64;
    Stat {
        mode: Kind::Char.bits() | 0o620,
        nlink: 1,
        rdev: tty.rdev(),
        uid: crate::kernel().config.uid,
        gid: crate::kernel().config.gid,
        blksize: 1024,
        atime: now,
        mtime: now,
        ctime: now,
        ..Default::default()
    }
}

/// Opens the controlling terminal, `/dev/tty`; ENXIO without one.
pub fn open_controlling(t: &Task, _flags: u32) -> Result<Arc<dyn FileOps>> {
    let terminal = t.process.rel.lock().terminal.clone().ok_or(Errno::ENXIO)?;
    as_tty(&terminal).ok_or(Errno::ENXIO)?.open()
}

/// The terminal in `Relations::terminal`.
fn as_tty(ops: &Arc<dyn FileOps>) -> Option<Arc<Tty>> {
    let any: Arc<dyn Any + Send + Sync> = ops.clone();
    any.downcast().ok()
}
