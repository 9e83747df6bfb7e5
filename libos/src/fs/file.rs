//! Open files.

use super::access::Hold;
use super::notify;
use super::path::Path;
use crate::mm::PageObject;
use crate::uio::{IoDst, IoSrc};
use crate::wait::{Events, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, PollTable};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use bastide_pal::HostFd;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// One name in a directory, for `getdents64(2)`.
#[derive(Clone, Copy, Debug)]
pub struct Dirent<'a> {
    pub ino: u64,
    /// The position *after* this entry, for `lseek(2)`.
    pub next: u64,
    /// `DT_*`.
    pub kind: u8,
    pub name: &'a [u8],
}

/// What `mmap(2)` of a file maps.
#[derive(Clone)]
pub enum Mappable {
    /// Pages in the kernel: tmpfs, memfd, shared memory.
    Pages(Arc<PageObject>),
    /// A host file.
    Host(Arc<crate::fs::HostHandle>),
    /// Zero pages: `/dev/zero`.
    Zero,
}

/// What an open object does. The defaults refuse as Linux does for objects without the operation.
pub trait FileOps: Any + Send + Sync {
    fn as_any(&self) -> &dyn Any;

    /// Reads at `offset`, or from the object's stream if it has no positions (`None`). Blocks
    /// unless [`File::nonblocking`]; 0 is end of file.
    fn read(
        &self,
        _t: &Task,
        _f: &File,
        _dst: &mut IoDst<'_>,
        _offset: Option<u64>,
    ) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// Writes at `offset` or to the stream. `O_APPEND` is handled by the object: a seekable one
    /// ignores `offset` and returns the new end through [`FileOps::append_position`].
    fn write(
        &self,
        _t: &Task,
        _f: &File,
        _src: &mut IoSrc<'_>,
        _offset: Option<u64>,
    ) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// Has positions: `lseek(2)` and `pread(2)` work.
    fn seekable(&self) -> bool {
        false
    }
    /// Present size, for `SEEK_END` and `O_APPEND`.
    fn size(&self) -> Result<u64> {
        Err(Errno::ESPIPE)
    }
    /// Where a write with `O_APPEND` that just finished left the end.
    fn append_position(&self) -> Result<u64> {
        self.size()
    }
    /// `SEEK_DATA` (`data`) or `SEEK_HOLE` from `offset`; ENXIO beyond the end.
    fn seek_data(&self, offset: u64, data: bool) -> Result<u64> {
        let size = self.size()?;
        if offset >= size {
            return Err(Errno::ENXIO);
        }
        Ok(if data { offset } else { size })
    }
    /// Ready events now; with a table, also registers for changes.
    fn poll(&self, _f: &File, _table: Option<&mut PollTable>) -> Events {
        POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM
    }
    /// As [`FileOps::poll`] on behalf of a task, where what is ready for one is not for another.
    fn poll_for(&self, _t: &Task, f: &File, table: Option<&mut PollTable>) -> Events {
        self.poll(f, table)
    }
    /// As [`FileOps::poll`], where the host has just been asked of the descriptor `fd` and said
    /// `ready`; `None` if that does not settle it.
    fn poll_knowing(&self, _fd: HostFd, _ready: Events) -> Option<Events> {
        None
    }
    /// epoll can watch it (`epoll_ctl(2)` EPERM otherwise).
    fn pollable(&self) -> bool {
        true
    }
    fn ioctl(&self, _t: &Task, _f: &File, _request: u32, _arg: usize) -> SysResult {
        Err(Errno::ENOTTY)
    }
    fn mmap(&self, _f: &File) -> Result<Mappable> {
        Err(Errno::ENODEV)
    }
    fn truncate(&self, _len: u64) -> Result<()> {
        Err(Errno::EINVAL)
    }
    fn fallocate(&self, _mode: u32, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::ENODEV)
    }
    /// What shows the contents where they are mapped, if it is not the contents themselves: it may
    /// have been changed, and [`FileOps::fsync`] writes that back.
    fn mapped(&self) -> Option<Arc<PageObject>> {
        None
    }
    fn fsync(&self, _data_only: bool) -> Result<()> {
        Err(Errno::EINVAL)
    }
    /// Emits entries from `position` until `emit` says false or the directory ends. Without `.`
    /// and `..`, which `getdents64(2)` adds itself; positions are the directory's own: 0 is the
    /// first entry, and others are what [`Dirent::next`] said.
    fn read_dir(
        &self,
        _t: &Task,
        _position: u64,
        _emit: &mut dyn FnMut(Dirent<'_>) -> bool,
    ) -> Result<()> {
        Err(Errno::ENOTDIR)
    }
    /// A descriptor to it was closed (`close(2)`), by this process.
    fn flush(&self, _t: &Task, _f: &File) -> Result<()> {
        Ok(())
    }
    /// Status flags changed by `fcntl(F_SETFL)`.
    fn flags_changed(&self, _f: &File) {}
    /// `(link text)` of `/proc/pid/fd/N` for objects without a path, such as `pipe:[12]`.
    fn describe(&self) -> alloc::string::String {
        alloc::string::String::from("anon_inode:[file]")
    }
    /// `splice(2)` works with it (EINVAL otherwise): files, sockets, terminals, but not event
    /// objects.
    fn spliceable(&self) -> bool {
        self.seekable()
    }
    /// Attributes of objects without a path (`fstat(2)` of a pipe or socket).
    fn stat(&self) -> Result<super::Stat> {
        Ok(super::Stat {
            mode: 0o600,
            nlink: 1,
            blksize: 4096,
            ..Default::default()
        })
    }
    /// Opens again an object without a path, through `/proc/pid/fd/N`; ENXIO where Linux cannot
    /// (sockets).
    fn reopen(&self, _t: &Task, _flags: u32) -> Result<Arc<dyn FileOps>> {
        Err(Errno::ENXIO)
    }
    /// Changes the attributes of an object without a path; permission is checked.
    fn set_attr(&self, _attr: &super::SetAttr) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Extra lines of `/proc/pid/fdinfo/N`.
    fn fdinfo(&self, _out: &mut alloc::string::String) {}
}

/// An open file description, `open(2)`: what descriptors refer to.
pub struct File {
    pub ops: Arc<dyn FileOps>,
    /// What [`FileOps::seekable`] says.
    seekable: bool,
    /// Where it was opened; `None` for pipes, sockets and the like.
    pub path: Option<Path>,
    /// `O_*` access mode and status flags.
    flags: AtomicU32,
    /// Position.
    pub pos: Mutex<u64>,
    /// `F_SETOWN` and `F_SETSIG`.
    pub owner: Arc<Mutex<super::sigio::Owner>>,
    /// Watchers were told that it was opened.
    announced: AtomicBool,
    /// Where it listens because of `O_ASYNC`.
    pub(super) listening: Mutex<Vec<crate::wait::Registration>>,
    /// This opening made the file, `F_CREATED_QUERY`.
    pub(super) created: AtomicBool,
    /// Keeps others from executing what is written here, or from writing what is executed.
    _hold: Option<Hold>,
}

/// Access mode bits and flags of `open(2)` used everywhere.
pub const O_ACCMODE: u32 = 3;
pub const O_WRONLY: u32 = 1;
pub const O_RDWR: u32 = 2;
pub const O_APPEND: u32 = 0o2000;
pub const O_NONBLOCK: u32 = 0o4000;
pub const O_PATH: u32 = 0o10000000;

impl Drop for File {
    fn drop(&mut self) {
        super::locks::dropped(self);
        super::lease::dropped(self);
        if let Some(p) = &self.path
            && *self.announced.get_mut()
        {
            notify::closed(self, p);
        }
    }
}

impl File {
    /// A new description with access mode and status `flags`.
    pub fn new(ops: Arc<dyn FileOps>, path: Option<Path>, flags: u32) -> Arc<File> {
        Self::holding(ops, path, flags, None)
    }

    /// As [`File::new`], for a file that is written or executed.
    pub fn holding(
        ops: Arc<dyn FileOps>,
        path: Option<Path>,
        flags: u32,
        hold: Option<Hold>,
    ) -> Arc<File> {
        Arc::new(File {
            seekable: ops.seekable(),
            ops,
            path,
            flags: AtomicU32::new(flags),
            pos: Mutex::new(0),
            announced: AtomicBool::new(false),
            owner: Arc::default(),
            listening: Mutex::default(),
            created: AtomicBool::new(false),
            _hold: hold,
        })
    }

    /// Watchers are told that it was opened, and will be told when it is closed.
    pub fn announce(&self) {
        if let Some(p) = &self.path
            && !self.announced.swap(true, Ordering::Relaxed)
        {
            notify::opened(p);
        }
    }

    fn was_read(&self, t: &Task, r: Result<usize>) -> Result<usize> {
        t.io.read(r.unwrap_or(0));
        if let (Ok(1..), Some(p)) = (r, &self.path) {
            notify::accessed(p);
        }
        r
    }

    fn was_written(&self, t: &Task, r: Result<usize>) -> Result<usize> {
        t.io.wrote(r.unwrap_or(0));
        if let (Ok(1..), Some(p)) = (r, &self.path) {
            notify::modified(p);
        }
        r
    }

    /// Access mode and status flags.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Replaces the flags in `mask`.
    pub fn set_flags(&self, mask: u32, value: u32) {
        let _ = self
            .flags
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |f| {
                Some((f & !mask) | (value & mask))
            });
        self.ops.flags_changed(self);
    }

    /// `O_NONBLOCK` is set.
    pub fn nonblocking(&self) -> bool {
        self.flags() & O_NONBLOCK != 0
    }

    /// Opened for reading; an `O_PATH` file is not.
    pub fn readable(&self) -> bool {
        self.flags() & O_PATH == 0 && self.flags() & O_ACCMODE != O_WRONLY
    }

    /// Opened for writing.
    pub fn writable(&self) -> bool {
        self.flags() & O_PATH == 0 && matches!(self.flags() & O_ACCMODE, O_WRONLY | O_RDWR)
    }

    /// Its attributes, `fstat(2)`.
    pub fn stat(&self) -> Result<super::Stat> {
        match &self.path {
            Some(p) => p.inode().stat(),
            None => self.ops.stat(),
        }
    }

    /// It is an ordinary file: `RLIMIT_FSIZE` and the like apply.
    pub fn is_regular(&self) -> bool {
        match &self.path {
            Some(p) => p.kind() == super::Kind::Regular,
            None => self.seekable,
        }
    }

    /// The object, if it is a `T`.
    pub fn downcast<T: FileOps>(&self) -> Option<&T> {
        self.ops.as_any().downcast_ref()
    }

    /// Reads at the file position and moves it; or from the stream. EBADF if not open for
    /// reading, EISDIR.
    pub fn read(&self, t: &Task, dst: &mut IoDst<'_>) -> Result<usize> {
        self.check_read()?;
        if !self.seekable {
            return self.was_read(t, self.ops.read(t, self, dst, None));
        }
        let mut pos = self.pos.lock();
        let n = self.was_read(t, self.ops.read(t, self, dst, Some(*pos)))?;
        *pos += n as u64;
        Ok(n)
    }

    /// Reads at an offset; as [`File::read`], and ESPIPE without positions.
    pub fn read_at(&self, t: &Task, dst: &mut IoDst<'_>, offset: u64) -> Result<usize> {
        if !self.seekable {
            return Err(Errno::ESPIPE);
        }
        self.check_read()?;
        self.was_read(t, self.ops.read(t, self, dst, Some(offset)))
    }

    fn check_read(&self) -> Result<()> {
        if !self.readable() {
            return Err(Errno::EBADF);
        }
        if self.path.as_ref().is_some_and(Path::is_dir) {
            return Err(Errno::EISDIR);
        }
        Ok(())
    }

    /// Writes at the file position (or the end, `O_APPEND`) and moves it; or to the stream. EBADF
    /// if not open for writing; EFBIG (and SIGXFSZ) beyond `RLIMIT_FSIZE`.
    pub fn write(&self, t: &Task, src: &mut IoSrc<'_>) -> Result<usize> {
        if !self.writable() {
            return Err(Errno::EBADF);
        }
        if !self.seekable {
            return self.was_written(t, self.ops.write(t, self, src, None));
        }
        let mut pos = self.pos.lock();
        let n = self.write_limited(t, src, *pos)?;
        *pos = if self.flags() & O_APPEND != 0 && n > 0 {
            self.ops.append_position()?
        } else {
            *pos + n as u64
        };
        Ok(n)
    }

    /// Writes at an offset (with `O_APPEND` at the end all the same); as [`File::write`], and
    /// ESPIPE without positions.
    pub fn write_at(&self, t: &Task, src: &mut IoSrc<'_>, offset: u64) -> Result<usize> {
        if !self.seekable {
            return Err(Errno::ESPIPE);
        }
        if !self.writable() {
            return Err(Errno::EBADF);
        }
        self.write_limited(t, src, offset)
    }

    fn write_limited(&self, t: &Task, src: &mut IoSrc<'_>, offset: u64) -> Result<usize> {
        if src.left() > 0 && self.is_regular() {
            let start = if self.flags() & O_APPEND != 0 {
                self.ops.size()?
            } else {
                offset
            };
            src.limit(super::rw::writable_bytes(t, start, src.left())?);
        }
        self.was_written(t, self.ops.write(t, self, src, Some(offset)))
    }

    /// One descriptor less refers to the file, `close(2)`: the object hears of it, and the process
    /// loses its record locks on the file.
    pub fn close(self: Arc<Self>, t: &Task) -> Result<()> {
        super::locks::close(t.process.pid, &self);
        super::dnotify::descriptor_closed(&self);
        self.ops.flush(t, &self)
    }

    /// Ready events.
    pub fn poll(&self, table: Option<&mut PollTable>) -> Events {
        self.ops.poll(self, table)
    }

    /// Events that are ready for a task, if it is known.
    pub fn poll_for(&self, t: Option<&Task>, table: Option<&mut PollTable>) -> Events {
        match t {
            Some(t) => self.ops.poll_for(t, self, table),
            None => self.poll(table),
        }
    }
}
