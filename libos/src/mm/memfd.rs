//! `memfd_create(2)`: files without a name, and seals (`fcntl(2)` "File Sealing").

use super::PageObject;
use crate::abi::raw::general::*;
use crate::fs::file::{O_APPEND, O_RDWR};
use crate::fs::{FdFlags, File, FileOps, Mappable, SetAttr, Stat};
use crate::uio::{IoDst, IoSrc};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task, time};
use alloc::string::String;
use alloc::sync::Arc;
use bastide_base::sync::Mutex;
use core::any::Any;

/// Longest name, without the `memfd:` that Linux puts before it.
const NAME_MAX: usize = 249;
/// `O_LARGEFILE`, which `fcntl(F_GETFL)` shows.
const O_LARGEFILE: u32 = 0o100000;

struct Inode {
    name: String,
    object: Arc<PageObject>,
    stat: Mutex<Stat>,
}

/// An open memory file.
pub struct MemFd(Arc<Inode>);

impl MemFd {
    fn changed(&self) {
        let now = time::realtime() as i64;
        let mut s = self.0.stat.lock();
        s.mtime = now;
        s.ctime = now;
    }
}

impl FileOps for MemFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(
        &self,
        _t: &Task,
        _f: &File,
        dst: &mut IoDst<'_>,
        offset: Option<u64>,
    ) -> Result<usize> {
        let n = self.0.object.read(offset.unwrap_or(0), dst)?;
        self.0.stat.lock().atime = time::realtime() as i64;
        Ok(n)
    }

    fn write(
        &self,
        _t: &Task,
        f: &File,
        src: &mut IoSrc<'_>,
        offset: Option<u64>,
    ) -> Result<usize> {
        if src.left() == 0 {
            return Ok(0);
        }
        let n = match offset {
            Some(at) if f.flags() & O_APPEND == 0 => self.0.object.write(at, src)?,
            _ => self.0.object.append(src)?.1,
        };
        self.changed();
        Ok(n)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Result<u64> {
        Ok(self.0.object.size())
    }

    fn seek_data(&self, offset: u64, data: bool) -> Result<u64> {
        self.0.object.seek_data(offset, data)
    }

    fn pollable(&self) -> bool {
        false
    }

    fn mmap(&self, _f: &File) -> Result<Mappable> {
        Ok(Mappable::Pages(self.0.object.clone()))
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.0.object.set_size(len)?;
        self.changed();
        Ok(())
    }

    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let object = &self.0.object;
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        match mode {
            0 => {
                object.allocate(offset, len)?;
                if end > object.size() {
                    object.set_size(end)?;
                }
            }
            FALLOC_FL_KEEP_SIZE => object.allocate(offset, len)?,
            _ if mode == FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE => object.punch(offset, len)?,
            _ => return Err(Errno::EOPNOTSUPP),
        }
        self.changed();
        Ok(())
    }

    fn fsync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }

    fn describe(&self) -> String {
        alloc::format!("/memfd:{} (deleted)", self.0.name)
    }

    fn stat(&self) -> Result<Stat> {
        let mut s = *self.0.stat.lock();
        s.size = self.0.object.size();
        s.blocks = self.0.object.allocated() / 512;
        Ok(s)
    }

    fn reopen(&self, _t: &Task, flags: u32) -> Result<Arc<dyn FileOps>> {
        if flags & O_TRUNC != 0 {
            self.truncate(0)?;
        }
        Ok(Arc::new(MemFd(self.0.clone())))
    }

    fn set_attr(&self, attr: &SetAttr) -> Result<()> {
        if let Some(size) = attr.size {
            self.0.object.set_size(size)?;
        }
        let mut s = self.0.stat.lock();
        let now = time::realtime() as i64;
        if let Some(mode) = attr.mode {
            if self.0.object.seals() & F_SEAL_EXEC != 0 && (mode ^ s.mode) & 0o111 != 0 {
                return Err(Errno::EPERM);
            }
            s.mode = s.mode & 0o170000 | mode & 0o7777;
        }
        s.uid = attr.uid.unwrap_or(s.uid);
        s.gid = attr.gid.unwrap_or(s.gid);
        s.atime = attr.atime.unwrap_or(s.atime);
        s.mtime = attr
            .mtime
            .unwrap_or(if attr.size.is_some() { now } else { s.mtime });
        s.ctime = now;
        Ok(())
    }
}

/// `memfd_create(2)`. EINVAL for unknown flags or a long name, EFAULT, EMFILE, ENODEV for huge
/// pages, of which there are no sizes.
pub fn sys_memfd_create(t: &Arc<Task>, name: UserAddr, flags: u32) -> SysResult {
    let known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_NOEXEC_SEAL | MFD_EXEC;
    let size_bits = if flags & MFD_HUGETLB != 0 {
        MFD_HUGE_MASK << MFD_HUGE_SHIFT
    } else {
        0
    };
    if flags & !(known | size_bits) != 0
        || flags & (MFD_EXEC | MFD_NOEXEC_SEAL) == MFD_EXEC | MFD_NOEXEC_SEAL
    {
        return Err(Errno::EINVAL);
    }
    let name = user::read_cstr(t, name, NAME_MAX + 1, Errno::EINVAL)?;
    if flags & MFD_HUGETLB != 0 {
        return Err(Errno::ENODEV);
    }
    let (seals, mode) = if flags & MFD_NOEXEC_SEAL != 0 {
        (F_SEAL_EXEC, 0o666)
    } else if flags & MFD_ALLOW_SEALING != 0 {
        (0, 0o777)
    } else {
        (F_SEAL_SEAL, 0o777)
    };
    let creds = t.creds();
    let now = time::realtime() as i64;
    let object = PageObject::with_seals(seals);
    let stat = Stat {
        dev: 1,
        ino: object.id(),
        mode: 0o100000 | mode,
        nlink: 0,
        uid: creds.fsuid,
        gid: creds.fsgid,
        blksize: 4096,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        ..Stat::default()
    };
    let ops = MemFd(Arc::new(Inode {
        name: String::from_utf8_lossy(&name).into_owned(),
        object,
        stat: Mutex::new(stat),
    }));
    let file = File::new(Arc::new(ops), None, O_RDWR | O_LARGEFILE);
    let mut fd = FdFlags::empty();
    fd.set(FdFlags::CLOEXEC, flags & MFD_CLOEXEC != 0);
    t.install(file, fd).map(|fd| fd as usize)
}

/// The sealable contents of a file in memory; EINVAL for other files.
fn object_of(f: &File) -> Result<Arc<PageObject>> {
    if !f.is_regular() {
        return Err(Errno::EINVAL);
    }
    match f.ops.mmap(f) {
        Ok(Mappable::Pages(o)) => Ok(o),
        _ => Err(Errno::EINVAL),
    }
}

/// `fcntl(F_GET_SEALS)`: EINVAL for files that cannot have seals.
pub fn get_seals(f: &File) -> SysResult {
    object_of(f).map(|o| o.seals() as usize)
}

/// `fcntl(F_ADD_SEALS)`: EPERM if the file is not open for writing or is sealed against seals,
/// EBUSY, EINVAL.
pub fn add_seals(f: &File, seals: u32) -> SysResult {
    let object = object_of(f)?;
    if !f.writable() {
        return Err(Errno::EPERM);
    }
    let mut seals = seals;
    if seals & F_SEAL_EXEC != 0 && f.stat()?.mode & 0o111 != 0 {
        // What may be executed for ever must not change.
        seals |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
    }
    object.add_seals(seals).map(|()| 0)
}
