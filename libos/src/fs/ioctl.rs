//! `ioctl(2)`: what every file answers; the rest is the object's.

use super::file::O_NONBLOCK;
use super::{FdFlags, Kind};
use crate::user::{self, UserAddr};
use crate::{Errno, SysResult, Task};
use alloc::sync::Arc;
use bastide_abi::raw::ioctl::{FIGETBSZ, FIOASYNC, FIOCLEX, FIONBIO, FIONCLEX, FIONREAD, FIOQSIZE};

/// `ioctl(2)`.
pub fn sys_ioctl(t: &Arc<Task>, fd: i32, request: u32, arg: usize) -> SysResult {
    let f = t.file(fd)?;
    let switch = || user::read::<i32>(t, UserAddr(arg)).map(|on| on != 0);
    match request {
        FIOCLEX => t.files().set_flags(fd, FdFlags::CLOEXEC).map(|()| 0),
        FIONCLEX => t.files().set_flags(fd, FdFlags::empty()).map(|()| 0),
        FIONBIO => {
            f.set_flags(O_NONBLOCK, if switch()? { O_NONBLOCK } else { 0 });
            Ok(0)
        }
        FIOASYNC => {
            f.set_async(fd, switch()?);
            Ok(0)
        }
        FIGETBSZ if f.path.is_some() => {
            user::write(t, UserAddr(arg), &(f.stat()?.blksize as i32)).map(|()| 0)
        }
        FIOQSIZE if matches!(f.stat()?.kind(), Kind::Regular | Kind::Dir) && f.path.is_some() => {
            user::write(t, UserAddr(arg), &(f.stat()?.size as i64)).map(|()| 0)
        }
        FIONREAD if f.path.is_some() && f.is_regular() => {
            let left = (f.stat()?.size as i64).wrapping_sub(*f.pos.lock() as i64);
            user::write(t, UserAddr(arg), &(left as i32)).map(|()| 0)
        }
        _ if f.path.as_ref().is_some_and(|p| p.is_dir()) => Err(Errno::ENOTTY),
        _ => f.ops.ioctl(t, &f, request, arg),
    }
}
