//! `select(2)` and `pselect(2)`.

use super::poll::write_left;
use super::{deadline_after, read_timespec};
use crate::fs::File;
use crate::signal::{SigSet, read_mask, with_mask};
use crate::user::{self, UserAddr};
use crate::wait::{
    Events, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDBAND, POLLRDNORM, POLLWRBAND,
    POLLWRNORM, PollTable, wait_poll,
};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

/// What makes a descriptor count as readable, writable, exceptional.
const MEANING: [Events; 3] = [
    POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR,
    POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR,
    POLLPRI,
];
/// More descriptors than any process has.
const MAX_FDS: usize = 1 << 20;

struct Subject {
    fd: usize,
    file: Arc<File>,
    /// In which of the three sets it is.
    sets: [bool; 3],
}

fn bit(set: &[u64], fd: usize) -> bool {
    set.get(fd / 64).is_some_and(|w| w >> (fd % 64) & 1 != 0)
}

fn check(
    t: &Task,
    subjects: &[Subject],
    out: &mut [Vec<u64>; 3],
    mut table: Option<&mut PollTable>,
) -> Option<usize> {
    let mut count = 0;
    for s in subjects {
        let mut table = table.as_deref_mut().filter(|_| count == 0);
        if let Some(table) = &mut table {
            let sets = MEANING.iter().zip(s.sets).filter(|(_, on)| *on);
            table.wanted = sets.fold(0, |all, (ev, _)| all | ev);
        }
        let ready = s.file.poll_for(Some(t), table);
        for (i, set) in out.iter_mut().enumerate() {
            if s.sets[i]
                && ready & MEANING[i] != 0
                && let Some(w) = set.get_mut(s.fd / 64)
            {
                *w |= 1 << (s.fd % 64);
                count += 1;
            }
        }
    }
    (count > 0).then_some(count)
}

/// Waits for descriptors of the sets; they are changed to those that are ready.
fn select(t: &Task, n: i32, sets: [UserAddr; 3], deadline: Option<u64>) -> Result<usize> {
    let n = usize::try_from(n).map_err(|_| Errno::EINVAL)?.min(MAX_FDS);
    let words = n.div_ceil(64);
    let mut wanted: [Vec<u64>; 3] = Default::default();
    for (w, addr) in wanted.iter_mut().zip(sets) {
        if !addr.is_null() {
            *w = user::read_array(t, addr, words)?;
        }
    }
    let files = t.files();
    let mut subjects = Vec::new();
    for fd in 0..n {
        let sets = [0, 1, 2].map(|i: usize| bit(&wanted[i], fd));
        if sets != [false; 3] {
            let file = t.file_in(&files, fd as i32)?;
            subjects.push(Subject { fd, file, sets });
        }
    }
    let mut out = [vec![0; words], vec![0; words], vec![0; words]];
    let r = match (deadline, check(t, &subjects, &mut out, None)) {
        (_, Some(n)) => n,
        (Some(0), None) if t.interrupted() => return Err(Errno::ERESTARTNOHAND),
        (Some(0), None) => 0,
        _ => match wait_poll(t, deadline, |table| check(t, &subjects, &mut out, table)) {
            Err(Errno::ETIMEDOUT) => 0,
            Err(Errno::ERESTARTSYS) => return Err(Errno::ERESTARTNOHAND),
            r => r?,
        },
    };
    for (o, addr) in out.iter().zip(sets) {
        if !addr.is_null() {
            user::write(t, addr, o.as_slice())?;
        }
    }
    Ok(r)
}

/// `select(2)`. EBADF, EFAULT, EINTR, EINVAL. The timeout is changed to what is left of it.
pub fn sys_select(
    t: &Arc<Task>,
    n: i32,
    read: UserAddr,
    write: UserAddr,
    except: UserAddr,
    timeout: UserAddr,
) -> SysResult {
    let deadline = if timeout.is_null() {
        None
    } else {
        let [sec, usec] = user::read::<[i64; 2]>(t, timeout)?;
        let sec = sec.saturating_add(usec / 1_000_000);
        let (Ok(sec), Ok(usec)) = (u64::try_from(sec), u64::try_from(usec % 1_000_000)) else {
            return Err(Errno::EINVAL);
        };
        let ns = sec.saturating_mul(1_000_000_000);
        Some(deadline_after(ns.saturating_add(usec * 1000)))
    };
    let r = select(t, n, [read, write, except], deadline);
    write_left(t, timeout, deadline, r, 1000)
}

fn read_packed_mask(t: &Task, pack: UserAddr) -> Result<Option<SigSet>> {
    if pack.is_null() {
        return Ok(None);
    }
    let [mask, size] = user::read::<[usize; 2]>(t, pack)?;
    read_mask(t, UserAddr(mask), size)
}

/// `pselect6(2)`: the last argument points to the address and size of a signal mask.
pub fn sys_pselect6(
    t: &Arc<Task>,
    n: i32,
    read: UserAddr,
    write: UserAddr,
    except: UserAddr,
    timeout: UserAddr,
    pack: UserAddr,
) -> SysResult {
    let deadline = if timeout.is_null() {
        None
    } else {
        Some(deadline_after(read_timespec(t, timeout)?))
    };
    let mask = read_packed_mask(t, pack)?;
    with_mask(t, mask, || {
        let r = select(t, n, [read, write, except], deadline);
        write_left(t, timeout, deadline, r, 1)
    })
}
