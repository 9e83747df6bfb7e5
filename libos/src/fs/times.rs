//! Setting times: `utimensat(2)` and its ancestors.

use super::attr::{self, target};
use super::{Path, SetAttr, notify, perm};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use bastide_abi::fs::Timespec;
use bastide_abi::raw::general::AT_FDCWD;

const UTIME_NOW: i64 = 0x3fff_ffff;
const UTIME_OMIT: i64 = 0x3fff_fffe;

/// One of the two times.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    Omit,
    At(i64),
}

impl When {
    fn from(ts: &Timespec) -> Result<When> {
        match ts.nsec {
            UTIME_NOW => Ok(When::Now),
            UTIME_OMIT => Ok(When::Omit),
            0..1_000_000_000 => {
                let ns = i128::from(ts.sec) * 1_000_000_000 + i128::from(ts.nsec);
                Ok(When::At(ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64))
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn value(self, now: i64) -> Option<i64> {
        match self {
            When::Now => Some(now),
            When::Omit => None,
            When::At(t) => Some(t),
        }
    }
}

/// Sets access and modification time. EROFS; setting both to now needs ownership or write
/// permission (EACCES), anything else ownership (EPERM).
fn set_times(t: &Task, p: &Path, times: [When; 2]) -> SysResult {
    p.mount.want_write()?;
    let creds = t.creds();
    let owner = perm::is_owner(&creds, p.inode().perms()?.1);
    if times == [When::Now; 2] {
        if !owner {
            perm::may(&creds, p.inode(), perm::WRITE)?;
        }
    } else if !owner {
        return Err(Errno::EPERM);
    }
    let now = crate::time::realtime() as i64;
    p.inode().set_attr(&SetAttr {
        atime: times[0].value(now),
        mtime: times[1].value(now),
        ..Default::default()
    })?;
    notify::attributes(p);
    Ok(0)
}

/// `utimensat(2)`: a null path means the descriptor itself.
pub fn sys_utimensat(
    t: &Arc<Task>,
    dirfd: i32,
    path: UserAddr,
    times: UserAddr,
    flags: u32,
) -> SysResult {
    let times = if times.is_null() {
        [When::Now; 2]
    } else {
        let ts: [Timespec; 2] = user::read(t, times)?;
        // Nothing to do: not even the path is looked at.
        if ts[0].nsec == UTIME_OMIT && ts[1].nsec == UTIME_OMIT {
            return Ok(0);
        }
        [When::from(&ts[0])?, When::from(&ts[1])?]
    };
    at(t, dirfd, path, times, flags)
}

fn at(t: &Task, dirfd: i32, path: UserAddr, times: [When; 2], flags: u32) -> SysResult {
    if path.is_null() && dirfd != AT_FDCWD {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        return set_times(t, &attr::opened(t, dirfd)?, times);
    }
    set_times(t, &target(t, dirfd, path, flags)?, times)
}

/// `utime(2)`: whole seconds.
pub fn sys_utime(t: &Arc<Task>, path: UserAddr, times: UserAddr) -> SysResult {
    let times = if times.is_null() {
        [When::Now; 2]
    } else {
        let secs: [i64; 2] = user::read(t, times)?;
        let when = |sec| When::from(&Timespec { sec, nsec: 0 });
        [when(secs[0])?, when(secs[1])?]
    };
    at(t, AT_FDCWD, path, times, 0)
}

/// `utimes(2)`: microseconds.
pub fn sys_utimes(t: &Arc<Task>, path: UserAddr, times: UserAddr) -> SysResult {
    sys_futimesat(t, AT_FDCWD, path, times)
}

/// `futimesat(2)`.
pub fn sys_futimesat(t: &Arc<Task>, dirfd: i32, path: UserAddr, times: UserAddr) -> SysResult {
    let times = if times.is_null() {
        [When::Now; 2]
    } else {
        let tv: [Timespec; 2] = user::read(t, times)?;
        let when = |v: Timespec| {
            if !(0..1_000_000).contains(&v.nsec) {
                return Err(Errno::EINVAL);
            }
            When::from(&Timespec {
                sec: v.sec,
                nsec: v.nsec * 1000,
            })
        };
        [when(tv[0])?, when(tv[1])?]
    };
    at(t, dirfd, path, times, 0)
}
