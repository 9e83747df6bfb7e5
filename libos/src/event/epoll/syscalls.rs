//! The calls: `epoll_create(2)`, `epoll_ctl(2)`, `epoll_wait(2)`.

use super::item::{EPOLLET, EPOLLEXCLUSIVE, EPOLLWAKEUP};
use super::{Epoll, Event, Out};
use crate::event::{deadline_after, read_timespec};
use crate::fs::file::O_RDWR;
use crate::fs::{FdFlags, File};
use crate::signal::{read_mask, with_mask};
use crate::user::{self, UserAddr};
use crate::wait::{POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM};
use crate::{Errno, Result, SysResult, Task, time};
use alloc::sync::Arc;
use alloc::vec::Vec;

const EPOLL_CLOEXEC: u32 = 0o2000000;
const CTL_ADD: i32 = 1;
const CTL_DEL: i32 = 2;
const CTL_MOD: i32 = 3;
const EVENT_SIZE: usize = size_of::<Event>();

/// `epoll_create1(2)`. EINVAL, EMFILE.
pub fn sys_epoll_create1(t: &Arc<Task>, flags: u32) -> SysResult {
    if flags & !EPOLL_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let fd_flags = if flags != 0 {
        FdFlags::CLOEXEC
    } else {
        FdFlags::empty()
    };
    let file = File::new(Arc::new(Epoll::new()), None, O_RDWR);
    Ok(t.install(file, fd_flags)? as usize)
}

/// `epoll_create(2)`. EINVAL for a size that is not positive.
pub fn sys_epoll_create(t: &Arc<Task>, size: i32) -> SysResult {
    if size <= 0 {
        return Err(Errno::EINVAL);
    }
    sys_epoll_create1(t, 0)
}

/// `epoll_ctl(2)`. EBADF, EFAULT, EPERM (the file cannot be watched), EINVAL, EEXIST, ENOENT,
/// ELOOP.
pub fn sys_epoll_ctl(t: &Arc<Task>, epfd: i32, op: i32, fd: i32, event: UserAddr) -> SysResult {
    let (events, data) = if op == CTL_DEL {
        (0, 0)
    } else {
        let [e, lo, hi] = user::read::<[u32; 3]>(t, event)?;
        (e, u64::from(lo) | u64::from(hi) << 32)
    };
    let set = t.file(epfd)?;
    let file = t.file(fd)?;
    if !file.ops.pollable() {
        return Err(Errno::EPERM);
    }
    let ep = set.downcast::<Epoll>().ok_or(Errno::EINVAL)?;
    if Arc::ptr_eq(&set, &file) {
        return Err(Errno::EINVAL);
    }
    if events & EPOLLEXCLUSIVE != 0 {
        let allowed = POLLIN | POLLOUT | POLLERR | POLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;
        if op == CTL_MOD || op == CTL_ADD && events & !allowed != 0 {
            return Err(Errno::EINVAL);
        }
    }
    match op {
        CTL_ADD => ep.add(t, fd, &file, events, data)?,
        CTL_DEL => ep.remove(fd, &file)?,
        CTL_MOD => ep.modify(t, fd, &file, events, data)?,
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

/// Waits for events: none at the deadline (`Some(0)`: at once), EINTR.
fn wait(t: &Task, ep: &Epoll, max: usize, deadline: Option<u64>) -> Result<Vec<Event>> {
    let queue = &ep.shared.queue;
    let registration = (deadline != Some(0)).then(|| queue.register(t.parker.clone(), true));
    // With nothing else to report, sleeping asks the host too.
    let mut asked = deadline == Some(0) || !ep.shared.ready.lock().is_empty();
    let mut got = Vec::new();
    let ask = |list: &mut Vec<Event>| ep.ask(&mut Out { list, max });
    let mut round = if asked {
        ask(&mut got)
    } else {
        ep.tidy();
        ep.round()
    };
    let mut slept = false;
    let r = loop {
        ep.collect(t, max, round, &mut got);
        if !got.is_empty() || deadline == Some(0) {
            break Ok(got);
        }
        if t.interrupted() {
            // What is ready comes before the signal.
            if core::mem::replace(&mut asked, true) {
                break Err(Errno::EINTR);
            }
            round = ask(&mut got);
            continue;
        }
        if slept && deadline.is_some_and(|d| time::monotonic() >= d) {
            break Ok(got);
        }
        round = ep.round();
        let out = &mut Out {
            list: &mut got,
            max,
        };
        ep.hosts
            .sleep(&t.parker.park, deadline, &ep.shared, round, out);
        (slept, asked) = (true, true);
    };
    drop(registration);
    // What was not taken is for another one, as is a wake-up that came here just now.
    if !ep.shared.ready.lock().is_empty() {
        queue.wake_one(POLLIN | POLLRDNORM);
    }
    r
}

fn wait_and_copy(
    t: &Task,
    epfd: i32,
    addr: UserAddr,
    max: i32,
    deadline: Option<u64>,
) -> Result<usize> {
    let max = usize::try_from(max).map_err(|_| Errno::EINVAL)?;
    if max == 0 || max > i32::MAX as usize / EVENT_SIZE {
        return Err(Errno::EINVAL);
    }
    if bastide_base::user::accessible(addr.0, max * EVENT_SIZE) < max * EVENT_SIZE {
        return Err(Errno::EFAULT);
    }
    let set = t.file(epfd)?;
    let ep = set.downcast::<Epoll>().ok_or(Errno::EINVAL)?;
    let got = wait(t, ep, max, deadline)?;
    user::write(t, addr, got.as_slice())?;
    Ok(got.len())
}

fn from_ms(ms: i32) -> Option<u64> {
    u64::try_from(ms)
        .ok()
        .map(|ms| deadline_after(ms * 1_000_000))
}

/// `epoll_wait(2)`. EBADF, EFAULT, EINTR, EINVAL.
pub fn sys_epoll_wait(
    t: &Arc<Task>,
    epfd: i32,
    events: UserAddr,
    max: i32,
    timeout_ms: i32,
) -> SysResult {
    wait_and_copy(t, epfd, events, max, from_ms(timeout_ms))
}

/// `epoll_pwait(2)`: with another signal mask meanwhile.
pub fn sys_epoll_pwait(
    t: &Arc<Task>,
    epfd: i32,
    events: UserAddr,
    max: i32,
    timeout_ms: i32,
    mask: UserAddr,
    mask_size: usize,
) -> SysResult {
    let mask = read_mask(t, mask, mask_size)?;
    with_mask(t, mask, || {
        wait_and_copy(t, epfd, events, max, from_ms(timeout_ms))
    })
}

/// `epoll_pwait2(2)`: with a `timespec`.
pub fn sys_epoll_pwait2(
    t: &Arc<Task>,
    epfd: i32,
    events: UserAddr,
    max: i32,
    timeout: UserAddr,
    mask: UserAddr,
    mask_size: usize,
) -> SysResult {
    let deadline = if timeout.is_null() {
        None
    } else {
        Some(deadline_after(read_timespec(t, timeout)?))
    };
    let mask = read_mask(t, mask, mask_size)?;
    with_mask(t, mask, || wait_and_copy(t, epfd, events, max, deadline))
}
