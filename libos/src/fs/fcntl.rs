//! `fcntl(2)` and `flock(2)`.

use super::file::{O_APPEND, O_NONBLOCK, O_PATH};
use super::locks::{self, Lock, TO_END};
use super::sigio::{O_ASYNC, Whose};
use super::{FdFlags, File, Kind, Mappable, dnotify, lease, perm};
use crate::ipc::pipe::PipeEnd;
use crate::process::task::RLIMIT_NOFILE;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use bastide_abi::fs::{Flock, OwnerEx};
use bastide_abi::raw::general::*;
use core::sync::atomic::Ordering;

/// What `F_SETFL` changes.
const SETTABLE: u32 = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;

/// `fcntl(2)`.
pub fn sys_fcntl(t: &Arc<Task>, fd: i32, cmd: u32, arg: usize) -> SysResult {
    let (f, fd_flags) = t.files().get_with_flags(fd)?;
    let of_descriptor = matches!(
        cmd,
        F_DUPFD | F_DUPFD_CLOEXEC | F_DUPFD_QUERY | F_GETFD | F_SETFD | F_GETFL
    );
    if f.flags() & O_PATH != 0 && !of_descriptor {
        return Err(Errno::EBADF);
    }
    match cmd {
        F_DUPFD => dup(t, f, arg, FdFlags::empty()),
        F_DUPFD_CLOEXEC => dup(t, f, arg, FdFlags::CLOEXEC),
        F_DUPFD_QUERY => {
            let other = t.files().get(arg as i32)?;
            Ok(usize::from(Arc::ptr_eq(&f, &other)))
        }
        F_GETFD => Ok(fd_flags.bits() as usize),
        F_SETFD => {
            let flags = FdFlags::from_bits_truncate(arg as u32);
            t.files().set_flags(fd, flags).map(|()| 0)
        }
        F_GETFL => Ok(f.flags() as usize),
        F_SETFL => set_flags(t, &f, fd, arg as u32),
        F_GETLK => get_lock(t, &f, UserAddr(arg), false),
        F_OFD_GETLK => get_lock(t, &f, UserAddr(arg), true),
        F_SETLK => set_lock(t, &f, UserAddr(arg), false, false),
        F_SETLKW => set_lock(t, &f, UserAddr(arg), false, true),
        F_OFD_SETLK => set_lock(t, &f, UserAddr(arg), true, false),
        F_OFD_SETLKW => set_lock(t, &f, UserAddr(arg), true, true),
        F_SETOWN => {
            let id = arg as i32;
            let (whose, id) = if id < 0 {
                (Whose::Group, id.checked_neg().ok_or(Errno::EINVAL)?)
            } else {
                (Whose::Process, id)
            };
            f.set_owner(t, whose, id).map(|()| 0)
        }
        F_GETOWN => {
            let o = *f.owner.lock();
            let id = if o.whose == Whose::Group { -o.id } else { o.id };
            // A group's number is negative: not an error, as the C library knows.
            Ok(id as isize as usize)
        }
        F_SETOWN_EX => set_owner(t, &f, UserAddr(arg)),
        F_GETOWN_EX => {
            let o = *f.owner.lock();
            let kind = match o.whose {
                Whose::Thread => F_OWNER_TID,
                Whose::Process => F_OWNER_PID,
                Whose::Group => F_OWNER_PGRP,
            };
            let out = OwnerEx {
                kind: kind as i32,
                pid: o.id,
            };
            user::write(t, UserAddr(arg), &out).map(|()| 0)
        }
        F_GETOWNER_UIDS => {
            let o = *f.owner.lock();
            user::write(t, UserAddr(arg), &[o.uid, o.euid]).map(|()| 0)
        }
        F_SETSIG => {
            if arg > 64 {
                return Err(Errno::EINVAL);
            }
            f.owner.lock().signal = arg as i32;
            Ok(0)
        }
        F_GETSIG => Ok(f.owner.lock().signal as usize),
        F_SETPIPE_SZ => {
            let pipe: &PipeEnd = f.downcast().ok_or(Errno::EBADF)?;
            pipe.set_size(t, arg as u32 as usize)
        }
        F_GETPIPE_SZ => Ok(f.downcast::<PipeEnd>().ok_or(Errno::EBADF)?.size()),
        F_ADD_SEALS => {
            if !f.writable() {
                return Err(Errno::EPERM);
            }
            sealable(&f)?.add_seals(arg as u32).map(|()| 0)
        }
        F_GET_SEALS => Ok(sealable(&f)?.seals() as usize),
        F_CREATED_QUERY => Ok(usize::from(f.created.load(Ordering::Relaxed))),
        F_NOTIFY => dnotify::watch(t, &f, fd, arg as u32).map(|()| 0),
        F_SETLEASE => lease::set(t, &f, fd, arg as u32).map(|()| 0),
        F_GETLEASE => lease::get(&f).map(|kind| kind as usize),
        _ => Err(Errno::EINVAL),
    }
}

fn dup(t: &Task, f: Arc<File>, from: usize, flags: FdFlags) -> SysResult {
    let limit = t.rlimit(RLIMIT_NOFILE) as usize;
    let from = from as u32 as usize;
    if from >= limit {
        return Err(Errno::EINVAL);
    }
    (t.files().insert(f, flags, from, limit)).map(|fd| fd as usize)
}

/// `F_SETFL`: EPERM for `O_NOATIME` on another's file.
fn set_flags(t: &Task, f: &File, fd: i32, flags: u32) -> SysResult {
    if flags & O_NOATIME != 0
        && f.flags() & O_NOATIME == 0
        && !perm::is_owner(&t.creds(), f.stat()?.uid)
    {
        return Err(Errno::EPERM);
    }
    f.set_flags(SETTABLE, flags);
    f.set_async(fd, flags & O_ASYNC != 0);
    Ok(0)
}

fn set_owner(t: &Task, f: &File, arg: UserAddr) -> SysResult {
    let o: OwnerEx = user::read(t, arg)?;
    let whose = match o.kind as u32 {
        F_OWNER_TID => Whose::Thread,
        F_OWNER_PID => Whose::Process,
        F_OWNER_PGRP => Whose::Group,
        _ => return Err(Errno::EINVAL),
    };
    if o.pid < 0 {
        return Err(Errno::ESRCH);
    }
    f.set_owner(t, whose, o.pid).map(|()| 0)
}

/// The pages of an in-memory file; EINVAL for others.
fn sealable(f: &File) -> Result<Arc<crate::mm::PageObject>> {
    if !f.is_regular() {
        return Err(Errno::EINVAL);
    }
    match f.ops.mmap(f) {
        Ok(Mappable::Pages(o)) => Ok(o),
        _ => Err(Errno::EINVAL),
    }
}

/// The range and owner of a `struct flock`: EINVAL, EOVERFLOW.
fn range(t: &Task, f: &Arc<File>, l: &Flock, ofd: bool) -> Result<Lock> {
    let base = match l.whence as u32 {
        SEEK_SET => 0,
        SEEK_CUR => *f.pos.lock(),
        SEEK_END => f.stat()?.size,
        _ => return Err(Errno::EINVAL),
    };
    let base = i64::try_from(base).map_err(|_| Errno::EOVERFLOW)?;
    let start = base.checked_add(l.start).ok_or(Errno::EOVERFLOW)?;
    let (start, end) = match l.len {
        0 => (start, i64::MAX),
        n if n > 0 => (start, start.checked_add(n - 1).ok_or(Errno::EOVERFLOW)?),
        n => (
            start.checked_add(n).ok_or(Errno::EINVAL)?,
            start.checked_sub(1).ok_or(Errno::EINVAL)?,
        ),
    };
    if start < 0 || end < 0 {
        return Err(Errno::EINVAL);
    }
    if ofd && l.pid != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Lock {
        start: start as u64,
        end: end as u64,
        write: l.kind as u32 == F_WRLCK,
        owner: if ofd {
            locks::Owner::Description(locks::description(f))
        } else {
            locks::Owner::Process(t.process.pid)
        },
    })
}

fn get_lock(t: &Task, f: &Arc<File>, arg: UserAddr, ofd: bool) -> SysResult {
    let mut l: Flock = user::read(t, arg)?;
    if !matches!(l.kind as u32, F_RDLCK | F_WRLCK) {
        return Err(Errno::EINVAL);
    }
    let wanted = range(t, f, &l, ofd)?;
    match locks::test(f.stat()?.id(), &wanted) {
        None => l.kind = F_UNLCK as i16,
        Some(other) => {
            l.kind = if other.write { F_WRLCK } else { F_RDLCK } as i16;
            l.whence = SEEK_SET as i16;
            l.start = other.start as i64;
            l.len = if other.end == TO_END {
                0
            } else {
                (other.end - other.start + 1) as i64
            };
            l.pid = match other.owner {
                locks::Owner::Process(pid) => pid,
                locks::Owner::Description(_) => -1,
            };
        }
    }
    user::write(t, arg, &l).map(|()| 0)
}

fn set_lock(t: &Task, f: &Arc<File>, arg: UserAddr, ofd: bool, wait: bool) -> SysResult {
    let l: Flock = user::read(t, arg)?;
    let wanted = range(t, f, &l, ofd)?;
    let id = f.stat()?.id();
    match l.kind as u32 {
        F_UNLCK => {
            locks::unlock(id, &wanted);
            return Ok(0);
        }
        F_RDLCK if !f.readable() => return Err(Errno::EBADF),
        F_WRLCK if !f.writable() => return Err(Errno::EBADF),
        F_RDLCK | F_WRLCK => {}
        _ => return Err(Errno::EINVAL),
    }
    locks::lock(t, id, &wanted, wait).map(|()| 0)
}

/// `flock(2)`: EINVAL for an unknown operation, EAGAIN (EWOULDBLOCK) with `LOCK_NB`.
pub fn sys_flock(t: &Arc<Task>, fd: i32, operation: u32) -> SysResult {
    let exclusive = match operation & !LOCK_NB {
        LOCK_SH => Some(false),
        LOCK_EX => Some(true),
        LOCK_UN => None,
        _ => return Err(Errno::EINVAL),
    };
    let f = t.file(fd)?;
    if exclusive.is_some() && !f.readable() && !f.writable() {
        return Err(Errno::EBADF);
    }
    let id = f.stat()?.id();
    locks::flock(t, id, &f, exclusive, operation & LOCK_NB == 0)?;
    Ok(0)
}

/// The kind of a file that leases may be had on.
pub(super) fn is_leasable(f: &File) -> bool {
    f.path.as_ref().is_some_and(|p| p.kind() == Kind::Regular)
}
