//! Standard descriptors that are no terminal: pipes, sockets, files of the launcher.

use super::super::hostfs::{read_host, write_host};
use crate::abi::signal::SIGPIPE;
use crate::fs::{File, FileOps, HostHandle, Kind, Mappable, SetAttr, Stat};
use crate::signal::{self, SigInfo};
use crate::uio::{IoDst, IoSrc};
use crate::user::{self, UserAddr};
use crate::wait::{self, Events, POLLERR, POLLHUP, POLLIN, POLLOUT, PollTable};
use crate::{Errno, Result, SysResult, Task, abi::raw::ioctl, host_error, pal};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use bastide_base::sync::Mutex;
use bastide_pal::file::HostSetAttr;
use bastide_pal::{HostFd, HostPoll};
use core::any::Any;

const SEEK_SET: u32 = 0;
const SEEK_CUR: u32 = 1;

/// Ready events of a host descriptor now; with a table, also listens to it.
pub(super) fn poll_host(fd: HostFd, wanted: Events, table: Option<&mut PollTable>) -> Events {
    if let Some(table) = table {
        table.listen_host(fd, wanted);
    }
    let mut now = [HostPoll {
        fd,
        events: wanted as u16,
        revents: 0,
    }];
    pal().poll_now(&mut now);
    Events::from(now[0].revents) & (wanted | POLLERR | POLLHUP)
}

/// Reads a stream; waits for it unless `nonblocking`.
pub(super) fn read_stream(
    t: &Task,
    fd: HostFd,
    nonblocking: bool,
    dst: &mut IoDst<'_>,
) -> Result<usize> {
    loop {
        match read_host_now(fd, dst) {
            Err(Errno::EAGAIN) if !nonblocking => {}
            r => return r,
        }
        wait_for(t, fd, POLLIN)?;
    }
}

/// Reads what a stream has now; EAGAIN if nothing.
pub(super) fn read_host_now(fd: HostFd, dst: &mut IoDst<'_>) -> Result<usize> {
    loop {
        match read_host(fd, dst, None) {
            Err(Errno::EINTR) => {}
            r => return r,
        }
    }
}

/// Writes all to a stream; stops early only for a signal or an error.
pub(super) fn write_stream(
    t: &Task,
    fd: HostFd,
    nonblocking: bool,
    src: &mut IoSrc<'_>,
) -> Result<usize> {
    let mut total = 0;
    loop {
        match write_host(src, |pieces| pal().write(fd, pieces, None)) {
            Ok(n) => {
                total += n;
                if src.left() == 0 || n == 0 {
                    return Ok(total);
                }
                continue;
            }
            Err(Errno::EAGAIN) if !nonblocking => {}
            Err(Errno::EINTR) => {}
            Err(Errno::EPIPE) => {
                signal::send_task(t, SigInfo::sender(SIGPIPE, 0, t.process.pid, t.creds().uid));
                return Err(Errno::EPIPE);
            }
            Err(_) if total > 0 => return Ok(total),
            Err(e) => return Err(e),
        }
        match wait_for(t, fd, POLLOUT) {
            Err(_) if total > 0 => return Ok(total),
            r => r?,
        }
    }
}

/// Sleeps until a host descriptor is ready.
pub(super) fn wait_for(t: &Task, fd: HostFd, events: Events) -> Result<()> {
    wait::wait_poll(t, None, |table| {
        (poll_host(fd, events, table) != 0).then_some(())
    })
}

/// An inherited descriptor. A regular file's position is the description's own, which other host
/// programs share (`(bastide run a; bastide run b) > log`); so reads and writes at the position
/// where it stands are left to the host, which moves it.
pub struct HostStream {
    handle: Arc<HostHandle>,
    kind: Kind,
    /// Where the host's position stands, for regular files.
    at: Mutex<u64>,
}

impl HostStream {
    pub(super) fn new(fd: HostFd) -> (Self, u64) {
        let kind = pal()
            .stat(fd, b"")
            .ok()
            .and_then(|s| Kind::of(s.mode))
            .unwrap_or(Kind::Fifo);
        let at = match kind {
            Kind::Regular => pal().seek(fd, 0, SEEK_CUR).unwrap_or(0),
            _ => 0,
        };
        let stream = HostStream {
            handle: Arc::new(HostHandle(fd)),
            kind,
            at: Mutex::new(at),
        };
        (stream, at)
    }

    fn regular(&self) -> bool {
        self.kind == Kind::Regular
    }

    fn fd(&self) -> HostFd {
        self.handle.0
    }
}

impl FileOps for HostStream {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, t: &Task, f: &File, dst: &mut IoDst<'_>, offset: Option<u64>) -> Result<usize> {
        let Some(offset) = offset else {
            return read_stream(t, self.fd(), f.nonblocking(), dst);
        };
        if *self.at.lock() != offset {
            return read_host(self.fd(), dst, Some(offset));
        }
        let n = read_host(self.fd(), dst, None)?;
        *self.at.lock() = offset.saturating_add(n as u64);
        Ok(n)
    }

    fn write(&self, t: &Task, f: &File, src: &mut IoSrc<'_>, offset: Option<u64>) -> Result<usize> {
        let Some(offset) = offset else {
            return write_stream(t, self.fd(), f.nonblocking(), src);
        };
        let own = *self.at.lock() == offset || f.flags() & crate::fs::file::O_APPEND != 0;
        let mut at = offset;
        let n = write_host(src, |pieces| {
            let n = pal().write(self.fd(), pieces, (!own).then_some(at))?;
            at = at.saturating_add(n as u64);
            Ok(n)
        })?;
        if own {
            *self.at.lock() = offset.saturating_add(n as u64);
        }
        Ok(n)
    }

    fn seekable(&self) -> bool {
        self.regular()
    }

    fn size(&self) -> Result<u64> {
        if !self.regular() {
            return Err(Errno::ESPIPE);
        }
        let size = pal().stat(self.fd(), b"").map_err(host_error)?.size;
        Ok(size.min(i64::MAX as u64))
    }

    fn poll(&self, _f: &File, table: Option<&mut PollTable>) -> Events {
        if self.regular() {
            return POLLIN | POLLOUT;
        }
        poll_host(self.fd(), POLLIN | POLLOUT | wait::POLLPRI, table)
    }

    fn pollable(&self) -> bool {
        !self.regular()
    }

    fn ioctl(&self, t: &Task, _f: &File, request: u32, arg: usize) -> SysResult {
        if request != ioctl::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let mut out = [0u8; 4];
        pal()
            .tty_ioctl(self.fd(), request, &mut out)
            .map_err(host_error)?;
        user::write(t, UserAddr(arg), &out).map(|()| 0)
    }

    fn mmap(&self, _f: &File) -> Result<Mappable> {
        if self.regular() {
            Ok(Mappable::Host(self.handle.clone()))
        } else {
            Err(Errno::ENODEV)
        }
    }

    fn truncate(&self, len: u64) -> Result<()> {
        if !self.regular() {
            return Err(Errno::EINVAL);
        }
        let change = HostSetAttr {
            size: Some(len),
            ..Default::default()
        };
        pal().set_attr(self.fd(), b"", &change).map_err(host_error)
    }

    /// Size and times of a regular file; who owns it and who may use it is the host's business.
    fn set_attr(&self, attr: &SetAttr) -> Result<()> {
        if !self.regular() || attr.mode.is_some() || attr.uid.is_some() || attr.gid.is_some() {
            return Err(Errno::EPERM);
        }
        let change = HostSetAttr {
            size: attr.size,
            atime: attr.atime,
            mtime: attr.mtime,
            ..Default::default()
        };
        pal().set_attr(self.fd(), b"", &change).map_err(host_error)
    }

    fn fsync(&self, data_only: bool) -> Result<()> {
        pal().fsync(self.fd(), data_only).map_err(host_error)
    }

    fn flush(&self, _t: &Task, f: &File) -> Result<()> {
        if self.regular() {
            // Where the program left off is where the host's next program begins.
            let pos = *f.pos.lock();
            let mut at = self.at.lock();
            if *at != pos && pal().seek(self.fd(), pos, SEEK_SET).is_ok() {
                *at = pos;
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let kind = match self.kind {
            Kind::Socket => "socket",
            Kind::Regular => "file",
            Kind::Char | Kind::Block => "device",
            _ => "pipe",
        };
        let ino = pal().stat(self.fd(), b"").map_or(0, |s| s.ino);
        format!("{kind}:[{ino}]")
    }

    fn stat(&self) -> Result<Stat> {
        let s = pal().stat(self.fd(), b"").map_err(host_error)?;
        Ok(Stat {
            dev: super::super::inode::make_dev(0, 0xffff),
            ino: s.ino,
            mode: self.kind.bits() | s.mode & 0o7777,
            nlink: s.nlink,
            uid: s.uid,
            gid: s.gid,
            rdev: s.rdev,
            size: s.size.min(i64::MAX as u64),
            blksize: s.blksize.clamp(512, 1 << 20),
            blocks: s.blocks,
            atime: s.atime,
            mtime: s.mtime,
            ctime: s.ctime,
            btime: s.btime,
        })
    }

    fn reopen(&self, _t: &Task, _flags: u32) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(HostStream {
            handle: self.handle.clone(),
            kind: self.kind,
            at: Mutex::new(*self.at.lock()),
        }))
    }
}
