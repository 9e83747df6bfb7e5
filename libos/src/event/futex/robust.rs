//! What is left of a task's futexes when it dies: the robust list, `get_robust_list(2)`.

use super::pi::{OWNER_DIED, TID_MASK, WAITERS, bequeath};
use super::{Word, wake};
use crate::process::creds::CAP_SYS_PTRACE;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task, process};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

/// `struct robust_list_head`: a pointer, an offset, a pointer.
const HEAD_SIZE: usize = 24;
/// Longest list that is believed.
const LIMIT: usize = 2048;

/// `set_robust_list(2)`. EINVAL for another size than this kernel's.
pub fn sys_set_robust_list(t: &Arc<Task>, head: UserAddr, len: usize) -> SysResult {
    if len != HEAD_SIZE {
        return Err(Errno::EINVAL);
    }
    t.robust_list.store(head.0, Ordering::Relaxed);
    Ok(0)
}

/// `get_robust_list(2)`. ESRCH, EPERM, EFAULT.
pub fn sys_get_robust_list(t: &Arc<Task>, pid: i32, head: UserAddr, len: UserAddr) -> SysResult {
    let target = match pid {
        0 => t.clone(),
        _ => process::find_task(pid).ok_or(Errno::ESRCH)?,
    };
    if !Arc::ptr_eq(&target.process, &t.process) {
        let (mine, theirs) = (t.creds(), target.creds());
        let same = [theirs.uid, theirs.euid, theirs.suid] == [mine.uid; 3]
            && [theirs.gid, theirs.egid, theirs.sgid] == [mine.gid; 3];
        if !same && !mine.capable(CAP_SYS_PTRACE) {
            return Err(Errno::EPERM);
        }
    }
    user::write(t, len, &HEAD_SIZE)?;
    user::write(t, head, &target.robust_list.load(Ordering::Relaxed))?;
    Ok(0)
}

/// Marks and wakes a futex that the dying task may own.
fn died(t: &Task, addr: usize, pi: bool, pending: bool) -> Result<()> {
    if addr % 4 != 0 {
        return Err(Errno::EINVAL);
    }
    let addr = UserAddr(addr);
    let word = Word {
        addr,
        private: false,
    };
    loop {
        let old = user::load_u32(t, addr)?;
        if pending && !pi && old == 0 {
            // It was unlocking and had not woken anybody yet.
            wake::wake(t, &word, 1, u32::MAX)?;
            return Ok(());
        }
        if old & TID_MASK != t.tid as u32 {
            return Ok(());
        }
        if user::cas_u32(t, addr, old, old & WAITERS | OWNER_DIED)? == old {
            if !pi && old & WAITERS != 0 {
                wake::wake(t, &word, 1, u32::MAX)?;
            }
            return Ok(());
        }
    }
}

fn walk(t: &Task, head: usize) -> Result<()> {
    let [first, offset, pending] = user::read::<[u64; 3]>(t, UserAddr(head))?;
    let split = |p: u64| ((p & !1) as usize, p & 1 != 0);
    let futex = |node: usize| node.wrapping_add(offset as usize);
    let (pending, pending_pi) = split(pending);
    let (mut node, mut pi) = split(first);
    for _ in 0..LIMIT {
        if node == head {
            break;
        }
        // The next one first: the memory may be reused as soon as the futex is free.
        let next = user::read::<u64>(t, UserAddr(node));
        if node != pending {
            died(t, futex(node), pi, false)?;
        }
        (node, pi) = split(next?);
    }
    if pending != 0 {
        died(t, futex(pending), pending_pi, true)?;
    }
    Ok(())
}

/// Releases the futexes that the calling task, which exits or execs, still owns.
pub fn exit_robust(t: &Task) {
    let head = t.robust_list.swap(0, Ordering::Relaxed);
    if head != 0 {
        // A damaged list ends the walk; there is nobody to tell.
        let _ = walk(t, head);
    }
    bequeath(t.tid);
}
