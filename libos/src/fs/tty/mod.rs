//! Terminals: the launcher's own ([`console`]), pseudoterminals ([`pty`]) with their line
//! discipline ([`ldisc`]), and job control on all of them ([`job`]).

pub mod console;
mod ends;
pub mod job;
mod ldisc;
mod pty;
mod stream;
mod termios;
#[cfg(test)]
mod tests;

pub(super) use ends::{open_master, open_slave};
pub use pty::Pty;

use super::devfs::pts;
use super::{FileOps, Kind, Stat};
use crate::{Errno, Result, Task};
use alloc::sync::{Arc, Weak};
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
    Pty(Weak<Pty>),
}

impl Tty {
    /// The device number.
    fn rdev(&self) -> u64 {
        match &self.line {
            Line::Console => super::inode::make_dev(5, 1),
            Line::Pty(p) => pts::rdev(p.upgrade().map_or(0, |p| p.index)),
        }
    }

    /// Kills the files that have it open. The launcher's terminal is the host's to hang up.
    fn hang_up_line(&self) {
        if let Line::Pty(p) = &self.line
            && let Some(pty) = p.upgrade()
        {
            pty.hang_up_slaves();
        }
    }

    /// Opens it again, as `/dev/tty` does.
    fn open(&self, t: &Task, flags: u32) -> Result<Arc<dyn FileOps>> {
        match &self.line {
            Line::Console => console::open(),
            Line::Pty(p) => open_slave(t, &p.upgrade().ok_or(Errno::EIO)?, flags),
        }
    }
}

impl FileOps for Tty {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A terminal's attributes when it was not opened by a path.
fn stat(tty: &Tty) -> Stat {
    if let Line::Pty(p) = &tty.line
        && let Some(st) = p.upgrade().and_then(|p| pts::stat(p.index))
    {
        return st;
    }
    let now = crate::time::realtime() as i64;
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
pub fn open_controlling(t: &Task, flags: u32) -> Result<Arc<dyn FileOps>> {
    let terminal = t.process.rel.lock().terminal.clone().ok_or(Errno::ENXIO)?;
    as_tty(&terminal).ok_or(Errno::ENXIO)?.open(t, flags)
}

/// Device number and foreground process group (-1: none) of a controlling terminal, for
/// `/proc/PID/stat`.
pub fn seen(terminal: &Arc<dyn FileOps>) -> Option<(u64, i32)> {
    let tty = as_tty(terminal)?;
    let foreground = tty.session.lock().1;
    Some((tty.rdev(), if foreground > 0 { foreground } else { -1 }))
}

/// The terminal in `Relations::terminal`.
fn as_tty(ops: &Arc<dyn FileOps>) -> Option<Arc<Tty>> {
    let any: Arc<dyn Any + Send + Sync> = ops.clone();
    any.downcast().ok()
}
