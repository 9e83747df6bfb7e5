//! `poll(2)` and `ppoll(2)`.

use super::{deadline_after, read_timespec, timeout_left};
use crate::fs::File;
use crate::process::task::RLIMIT_NOFILE;
use crate::signal::{read_mask, with_mask};
use crate::user::{self, UserAddr};
use crate::wait::{Events, POLLERR, POLLHUP, POLLNVAL, PollTable, wait_poll};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const STICKY_TIMEOUTS: u32 = 0x0400_0000;

/// `struct pollfd`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct PollFd {
    fd: i32,
    events: u16,
    revents: u16,
}

/// A descriptor that is polled.
enum Subject {
    /// A negative number: skipped.
    Nothing,
    Closed,
    Open(Arc<File>, Events),
}

/// Finds out what is ready; registers with the table until something is.
fn check(
    t: &Task,
    subjects: &[Subject],
    fds: &mut [PollFd],
    mut table: Option<&mut PollTable>,
) -> Option<usize> {
    let mut count = 0;
    for (s, p) in subjects.iter().zip(fds.iter_mut()) {
        let ev = match s {
            Subject::Nothing => 0,
            Subject::Closed => POLLNVAL,
            Subject::Open(f, wanted) => {
                let mut table = table.as_deref_mut().filter(|_| count == 0);
                if let Some(table) = &mut table {
                    table.wanted = wanted | POLLERR | POLLHUP;
                }
                f.poll_for(Some(t), table) & (wanted | POLLERR | POLLHUP)
            }
        };
        p.revents = ev as u16;
        count += usize::from(ev != 0);
    }
    (count > 0).then_some(count)
}

/// Polls until the deadline (`Some(0)`: only once) and writes the results. ERESTARTNOHAND if a
/// signal came first.
fn poll(t: &Task, addr: UserAddr, count: u32, deadline: Option<u64>) -> Result<usize> {
    if u64::from(count) > t.rlimit(RLIMIT_NOFILE) {
        return Err(Errno::EINVAL);
    }
    let mut fds: Vec<PollFd> =
        user::read_array(t, addr, count as usize).map_err(|_| Errno::EFAULT)?;
    let files = t.files();
    let subjects: Vec<Subject> = fds
        .iter()
        .map(|p| match t.file_in(&files, p.fd) {
            _ if p.fd < 0 => Subject::Nothing,
            Ok(f) => Subject::Open(f, Events::from(p.events)),
            Err(_) => Subject::Closed,
        })
        .collect();
    let r = match (deadline, check(t, &subjects, &mut fds, None)) {
        (_, Some(n)) => Ok(n),
        (Some(0), None) if t.interrupted() => Err(Errno::ERESTARTNOHAND),
        (Some(0), None) => Ok(0),
        _ => match wait_poll(t, deadline, |table| check(t, &subjects, &mut fds, table)) {
            Err(Errno::ETIMEDOUT) => Ok(0),
            Err(Errno::ERESTARTSYS) => Err(Errno::ERESTARTNOHAND),
            r => r,
        },
    };
    for (i, p) in fds.iter().enumerate() {
        user::write(t, addr.offset(i * size_of::<PollFd>() + 6)?, &p.revents)?;
    }
    r
}

fn poll_restarting(t: &Task, addr: UserAddr, count: u32, deadline: Option<u64>) -> Result<usize> {
    match poll(t, addr, count, deadline) {
        Err(Errno::ERESTARTNOHAND) => {
            Err(t.restart_with(move |t| poll_restarting(t, addr, count, deadline)))
        }
        r => r,
    }
}

/// `poll(2)`. EFAULT, EINTR, EINVAL for more entries than `RLIMIT_NOFILE`.
pub fn sys_poll(t: &Arc<Task>, fds: UserAddr, count: u32, timeout_ms: i32) -> SysResult {
    let deadline = u64::try_from(timeout_ms)
        .ok()
        .map(|ms| deadline_after(ms * 1_000_000));
    poll_restarting(t, fds, count, deadline)
}

/// `ppoll(2)`. As poll, and EINVAL for a bad timeout or mask size.
pub fn sys_ppoll(
    t: &Arc<Task>,
    fds: UserAddr,
    count: u32,
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
    with_mask(t, mask, || {
        let r = poll(t, fds, count, deadline);
        write_left(t, timeout, deadline, r, 1)
    })
}

/// Tells the application how much of its timeout is left, as `{seconds, units of `unit` ns}`. If
/// it cannot be told, or is not to be (`personality(2)`), the call must not be restarted with the
/// full timeout.
pub(super) fn write_left(
    t: &Task,
    addr: UserAddr,
    deadline: Option<u64>,
    r: Result<usize>,
    unit: u64,
) -> Result<usize> {
    let Some(left) = timeout_left(deadline).filter(|_| !addr.is_null()) else {
        return r;
    };
    let value = [left / 1_000_000_000, left % 1_000_000_000 / unit];
    let sticky = t.process.personality.load(Ordering::Relaxed) & STICKY_TIMEOUTS != 0;
    let told = if sticky {
        Err(Errno::EFAULT)
    } else {
        user::write(t, addr, &value)
    };
    match (told, r) {
        (Err(_), Err(Errno::ERESTARTNOHAND)) => Err(Errno::EINTR),
        (_, r) => r,
    }
}
