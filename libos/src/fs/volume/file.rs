//! Open files and directories of a volume.

use super::{BOUNCE, Buffer, Node, errno};
use crate::fs::atime::{self, now};
use crate::fs::file::O_APPEND;
use crate::fs::{Dirent, File, FileOps, Inode, Mappable, SetAttr, Stat};
use crate::mm::PageObject;
use crate::process::creds::CAP_FSETID;
use crate::uio::{IoDst, IoSrc};
use crate::wait::{Events, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, PollTable};
use crate::{Errno, Result, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_abi::raw::general::{
    FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, O_DSYNC,
};
use bastide_volume::{BLOCK, Reading, Volume};
use core::any::Any;

/// Names of a directory that are taken at once.
const NAMES: usize = 128;

/// Contents that were not in memory.
struct Missed<'a> {
    reading: Reading,
    /// Where they go and how much they are, if they are more than was asked for.
    more: Option<(Buffer<'a>, usize)>,
    /// Bytes that were read in order before.
    run: u64,
}

impl Node {
    /// Reads contents: from memory if they are there. No lock is held while they are copied to the
    /// application.
    pub(super) fn read_to(&self, offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        self.ahead.lock().begin(offset);
        let done = self.read_pieces(offset, dst)?;
        self.ahead.lock().end(offset + done as u64);
        Ok(done)
    }

    fn read_pieces(&self, offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        let object = self.object.lock().clone();
        let mut done = 0;
        let mut buf = self.core.buffer(dst.left());
        let mut by_block = false;
        while dst.left() > 0 {
            let at = offset.saturating_add(done as u64);
            let in_block = BLOCK - at as usize % BLOCK;
            let mut want = dst.left().min(buf.len());
            if by_block {
                want = want.min(in_block);
            }
            if let Some(object) = &object {
                match object.read_present(at, dst) {
                    Ok(0) => {}
                    Ok(n) => {
                        done += n;
                        continue;
                    }
                    Err(_) if done > 0 => break,
                    Err(e) => return Err(e),
                }
                // Up to where there are contents in memory, that may be newer. Beyond the end there
                // are none, even if the page is there.
                let next = (object.next_extent(at - at % BLOCK as u64))
                    .filter(|next| *next > at)
                    .unwrap_or(u64::MAX);
                want = want.min(usize::try_from(next - at).unwrap_or(usize::MAX));
            }
            let part = buf.get_mut(..want).unwrap_or_default();
            let fetched = self.fetch(at, part);
            if fetched.is_err() && want > in_block {
                // All that is before what cannot be read is read.
                by_block = true;
                continue;
            }
            let step = fetched.and_then(|n| dst.put(part.get(..n).unwrap_or_default()));
            match step {
                Ok(put) if put < want => return Ok(done + put),
                Ok(put) => done += put,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// Reads a piece of contents. If it is not in memory, what is likely to be wanted next comes
    /// with it.
    fn fetch(&self, at: u64, part: &mut [u8]) -> Result<usize> {
        let core = &self.core;
        let (n, missed) = core.with(|v| {
            let (n, reading) = v.start_read(self.ino, at, part)?;
            Ok((n, reading.map(|r| self.look_ahead(v, at, part.len(), r))))
        })?;
        let Some(mut missed) = missed else {
            return Ok(n);
        };
        if let Some((buf, len)) = &mut missed.more {
            let more = buf.get_mut(..*len).unwrap_or_default();
            if core.finish_and_keep(missed.reading, more).is_err() {
                // What is wrong beyond what was asked for is not this reader's business.
                return core.read_and_keep(self.ino, at, part);
            }
            if let (Some(to), Some(from)) = (part.get_mut(..n), more.get(..n)) {
                to.copy_from_slice(from);
            }
        } else {
            // What is read in order and in large pieces is kept as long as it leaves room for others.
            match part.len() >= BOUNCE && missed.run > core.cache / 4 {
                true => drop(missed.reading.finish(part).map_err(errno)?),
                false => core.finish_and_keep(missed.reading, part)?,
            }
        }
        Ok(n)
    }

    /// A read of `len` bytes missed some of them: it is of more, if they are read in order.
    fn look_ahead(&self, v: &mut Volume, at: u64, len: usize, reading: Reading) -> Missed<'_> {
        let (run, window) = {
            let mut ahead = self.ahead.lock();
            (ahead.run(at), ahead.miss(at))
        };
        let mut missed = Missed {
            reading,
            more: None,
            run,
        };
        if window > len {
            let mut buf = self.core.buffer(window);
            let more = buf.get_mut(..window).unwrap_or_default();
            if let Ok((all, Some(reading))) = v.start_read(self.ino, at, more) {
                missed.reading = reading;
                missed.more = Some((buf, all));
            }
        }
        missed
    }

    /// Writes one piece, at an offset or at the end: where, and how much.
    pub(super) fn write_piece(&self, offset: Option<u64>, data: &[u8]) -> Result<(u64, usize)> {
        let held = self.object.lock();
        // Nobody else writes to this file meanwhile.
        let at = match offset {
            Some(at) => at,
            None => self.core.with(|v| v.inode(self.ino))?.size,
        };
        let n = self.core.write(self.ino, at, data)?;
        if let Some(object) = &*held {
            object.overwrite(at, data.get(..n).unwrap_or_default())?;
        }
        Ok((at, n))
    }

    /// Contents were read. As on Linux, nobody fails because the time of it cannot be kept: an image
    /// keeps none.
    fn accessed(&self, f: &File) {
        let Ok(a) = self.core.with(|v| v.inode(self.ino)) else {
            return;
        };
        if atime::wanted(f, a.atime, a.mtime, a.ctime) {
            let attr = bastide_volume::SetAttr {
                atime: Some(now()),
                ctime: Some(a.ctime),
                ..Default::default()
            };
            let _ = self.core.change(|v| v.set_attr(self.ino, &attr));
        }
    }

    /// Contents were written: set-id bits and file capabilities go, unless the writer may keep
    /// them.
    fn written(&self, t: &Task) -> Result<()> {
        let mode = self.core.with(|v| v.inode(self.ino))?.mode;
        let drops = mode & 0o4000 != 0 || mode & 0o2010 == 0o2010;
        if drops && !t.creds().capable(CAP_FSETID) {
            let keep = match mode & 0o2010 == 0o2010 {
                true => !0o6000,
                false => !0o4000,
            };
            let attr = bastide_volume::SetAttr {
                mode: Some(mode & keep & 0o7777),
                ..Default::default()
            };
            self.core.change(|v| v.set_attr(self.ino, &attr))?;
        }
        let capability = &b"security.capability"[..];
        if (self.core.with(|v| v.list_xattr(self.ino))?).contains(&capability.to_vec()) {
            self.core.change(|v| v.remove_xattr(self.ino, capability))?;
        }
        Ok(())
    }

    /// Makes a hole, in memory too.
    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        let held = self.object.lock();
        self.core.change(|v| v.punch(self.ino, offset, len))?;
        match &*held {
            Some(object) => object.punch(offset, len),
            None => Ok(()),
        }
    }
}

impl FileOps for Node {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _t: &Task, f: &File, dst: &mut IoDst<'_>, offset: Option<u64>) -> Result<usize> {
        self.regular()?;
        let n = self.read_to(offset.unwrap_or(0), dst)?;
        self.accessed(f);
        Ok(n)
    }

    fn write(&self, t: &Task, f: &File, src: &mut IoSrc<'_>, offset: Option<u64>) -> Result<usize> {
        self.regular()?;
        let append = offset.is_none() || f.flags() & O_APPEND != 0;
        let mut next = offset.filter(|_| !append);
        let mut done = 0;
        let mut buf = self.core.buffer(src.left());
        while src.left() > 0 {
            let step = src.take(&mut buf).and_then(|taken| {
                let data = buf.get(..taken).unwrap_or_default();
                let (at, n) = self.write_piece(next, data)?;
                // The pieces of one write follow each other.
                next = Some(at + n as u64);
                src.rewind(taken - n);
                Ok((n, n < taken))
            });
            match step {
                Ok((n, short)) => {
                    done += n;
                    if short {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        if done > 0 {
            self.written(t)?;
            if f.flags() & O_DSYNC != 0 {
                self.sync()?;
            }
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Result<u64> {
        self.regular().map_err(|_| Errno::EINVAL)?;
        Ok(self.core.with(|v| v.inode(self.ino))?.size)
    }

    fn seek_data(&self, offset: u64, data: bool) -> Result<u64> {
        self.write_back()?;
        (self.core.with(|v| v.seek(self.ino, offset, data))?).ok_or(Errno::ENXIO)
    }

    fn poll(&self, _f: &File, _table: Option<&mut PollTable>) -> Events {
        POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM
    }

    fn pollable(&self) -> bool {
        false
    }

    fn mmap(&self, f: &File) -> Result<Mappable> {
        self.regular().map_err(|_| Errno::ENODEV)?;
        let object = self.object()?;
        self.accessed(f);
        Ok(Mappable::Pages(object))
    }

    fn mapped(&self) -> Option<Arc<PageObject>> {
        self.object.lock().clone()
    }

    fn truncate(&self, len: u64) -> Result<()> {
        Inode::set_attr(
            self,
            &SetAttr {
                size: Some(len),
                ..Default::default()
            },
        )
    }

    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.regular().map_err(|_| Errno::ENODEV)?;
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        let keep = mode & FALLOC_FL_KEEP_SIZE != 0;
        match mode & !FALLOC_FL_KEEP_SIZE {
            // Nothing is ever written in place, so there are no blocks to set aside; but what
            // could never fit is refused now.
            0 => {
                let free = self.core.volume.lock().usage().free;
                if len.div_ceil(BLOCK as u64) > free {
                    return Err(Errno::ENOSPC);
                }
            }
            FALLOC_FL_PUNCH_HOLE if keep => self.punch(offset, len)?,
            FALLOC_FL_ZERO_RANGE => self.punch(offset, len)?,
            _ => return Err(Errno::EOPNOTSUPP),
        }
        if !keep && end > self.size()? {
            self.truncate(end)?;
        }
        Ok(())
    }

    fn fsync(&self, _data_only: bool) -> Result<()> {
        self.sync()
    }

    fn read_dir(
        &self,
        _t: &Task,
        position: u64,
        emit: &mut dyn FnMut(Dirent<'_>) -> bool,
    ) -> Result<()> {
        let mut at = position;
        loop {
            let mut batch = Vec::new();
            self.core.with(|v| {
                v.read_dir(self.ino, at, &mut |e, next| {
                    batch.push((e.clone(), next));
                    batch.len() < NAMES
                })
            })?;
            let full = batch.len() >= NAMES;
            for (e, next) in batch {
                at = next;
                let entry = Dirent {
                    ino: e.ino,
                    next,
                    kind: e.kind,
                    name: &e.name,
                };
                if !emit(entry) {
                    return Ok(());
                }
            }
            if !full {
                return Ok(());
            }
        }
    }

    fn stat(&self) -> Result<Stat> {
        Inode::stat(self)
    }
}
