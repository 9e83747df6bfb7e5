//! Calls that send signals.

use super::{SigInfo, group_members, post, valid};
use crate::abi::signal::*;
use crate::process::creds::CAP_KILL;
use crate::process::{self, Life, Process, Task};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult};
use alloc::sync::Arc;

/// Whether `t` may send `signo` to a process, by the rules of `kill(2)`; EPERM, or EINVAL for a
/// number that is no signal. 0 asks without sending.
pub fn check_permission(t: &Task, p: &Process, signo: i32) -> Result<()> {
    if signo != 0 && !valid(signo) {
        return Err(Errno::EINVAL);
    }
    if p.pid == t.process.pid {
        return Ok(());
    }
    let target = {
        let tasks = p.tasks.lock();
        let leader = tasks.get(&p.pid).or_else(|| tasks.values().next());
        leader.map(|l| l.creds())
    };
    let (uid, suid) = match target {
        Some(c) => (c.uid, c.suid),
        // The kernel's own init is root's.
        None if *p.life.lock() == Life::Running => (0, 0),
        // A zombie takes nothing; asking is harmless.
        None => return Ok(()),
    };
    let own = t.creds();
    let same = [own.euid, own.uid]
        .iter()
        .any(|&id| id == suid || id == uid);
    let same_session = || p.rel.lock().sid == t.process.rel.lock().sid;
    if same || own.capable(CAP_KILL) || signo == SIGCONT && same_session() {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

fn own_info(t: &Task, signo: i32, code: i32) -> SigInfo {
    SigInfo::sender(signo, code, t.process.pid, t.creds().uid)
}

/// Checks permission and sends; signal 0 only checks.
pub fn send_checked(t: &Task, p: &Process, info: SigInfo) -> Result<()> {
    check_permission(t, p, info.signo)?;
    if info.signo != 0 {
        post(p, None, info, None)?;
    }
    Ok(())
}

/// As [`send_checked`] for a process group: it suffices that one member can be reached. ESRCH if
/// there is none.
pub fn send_group_checked(t: &Task, pgid: i32, info: SigInfo) -> Result<()> {
    let mut result = Err(Errno::ESRCH);
    for p in group_members(pgid) {
        let sent = send_checked(t, &p, info);
        if result.is_err() {
            result = sent;
        }
    }
    result
}

/// Sends to every process but the caller and process 1.
fn send_all_checked(t: &Task, info: SigInfo) -> Result<()> {
    let all: alloc::vec::Vec<_> = crate::kernel().processes.lock().values().cloned().collect();
    let mut found = false;
    let mut result = Ok(());
    for p in all.iter().filter(|p| p.pid > 1 && p.pid != t.process.pid) {
        found = true;
        match send_checked(t, p, info) {
            Err(Errno::EPERM) => {}
            other => result = other,
        }
    }
    if found { result } else { Err(Errno::ESRCH) }
}

/// The process with an id, or that of the thread with it: where one thread of a process is named,
/// the kernel takes it for the process.
fn find_process(id: i32) -> Result<Arc<Process>> {
    process::find_process(id)
        .or_else(|| process::find_task(id).map(|t| t.process.clone()))
        .ok_or(Errno::ESRCH)
}

/// `kill(2)`.
pub fn sys_kill(t: &Arc<Task>, pid: i32, signo: i32) -> SysResult {
    let info = own_info(t, signo, SI_USER);
    match pid {
        1.. => {
            let p = find_process(pid)?;
            send_checked(t, &p, info)?;
        }
        0 => {
            let pgid = t.process.rel.lock().pgid;
            send_group_checked(t, pgid, info)?;
        }
        -1 => send_all_checked(t, info)?,
        i32::MIN => return Err(Errno::ESRCH),
        _ => send_group_checked(t, -pid, info)?,
    }
    Ok(0)
}

/// Sends to a thread, of process `tgid` if that is given.
fn send_thread(t: &Task, tgid: Option<i32>, tid: i32, info: SigInfo) -> SysResult {
    let target = process::find_task(tid)
        .filter(|target| tgid.is_none_or(|g| g == target.process.pid))
        .ok_or(Errno::ESRCH)?;
    check_permission(t, &target.process, info.signo)?;
    if info.signo != 0 {
        post(&target.process, Some(&target), info, None)?;
    }
    Ok(0)
}

/// `tgkill(2)`.
pub fn sys_tgkill(t: &Arc<Task>, tgid: i32, tid: i32, signo: i32) -> SysResult {
    if tgid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL);
    }
    send_thread(t, Some(tgid), tid, own_info(t, signo, SI_TKILL))
}

/// `tkill(2)`.
pub fn sys_tkill(t: &Arc<Task>, tid: i32, signo: i32) -> SysResult {
    if tid <= 0 {
        return Err(Errno::EINVAL);
    }
    send_thread(t, None, tid, own_info(t, signo, SI_TKILL))
}

/// Codes that only the kernel and kill(2) may use, except towards oneself.
fn forged(raw: &SigInfoT) -> bool {
    raw.code >= 0 || raw.code == SI_TKILL
}

/// `rt_sigqueueinfo(2)`.
pub fn sys_rt_sigqueueinfo(t: &Arc<Task>, pid: i32, signo: i32, info: UserAddr) -> SysResult {
    let raw: SigInfoT = user::read(t, info)?;
    if forged(&raw) && pid != t.process.pid {
        return Err(Errno::EPERM);
    }
    let p = find_process(pid)?;
    send_checked(t, &p, SigInfo::from_user(signo, &raw))?;
    Ok(0)
}

/// `rt_tgsigqueueinfo(2)`.
pub fn sys_rt_tgsigqueueinfo(
    t: &Arc<Task>,
    tgid: i32,
    tid: i32,
    signo: i32,
    info: UserAddr,
) -> SysResult {
    let raw: SigInfoT = user::read(t, info)?;
    if tgid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL);
    }
    if forged(&raw) && tid != t.process.pid {
        return Err(Errno::EPERM);
    }
    send_thread(t, Some(tgid), tid, SigInfo::from_user(signo, &raw))
}

/// `pidfd_send_signal(2)`.
pub fn sys_pidfd_send_signal(
    t: &Arc<Task>,
    fd: i32,
    signo: i32,
    info: UserAddr,
    flags: u32,
) -> SysResult {
    let scope = match flags {
        0 | PIDFD_SIGNAL_THREAD | PIDFD_SIGNAL_THREAD_GROUP | PIDFD_SIGNAL_PROCESS_GROUP => flags,
        _ => return Err(Errno::EINVAL),
    };
    let file = t.file(fd)?;
    // A directory of `/proc` will do as well.
    let (p, thread) = match process::pidfd::target_of(&file) {
        Err(Errno::EBADF) => (crate::fs::procfs::process_of(&file)?, None),
        other => other?,
    };
    let thread = match scope {
        PIDFD_SIGNAL_THREAD => Some(thread.unwrap_or(p.pid)),
        0 => thread,
        _ => None,
    };
    let info = if info.is_null() {
        let code = if thread.is_some() { SI_TKILL } else { SI_USER };
        own_info(t, signo, code)
    } else {
        let raw: SigInfoT = user::read(t, info)?;
        if raw.signo != signo {
            return Err(Errno::EINVAL);
        }
        let own = p.pid == t.process.pid && scope != PIDFD_SIGNAL_PROCESS_GROUP;
        if forged(&raw) && !own {
            return Err(Errno::EPERM);
        }
        SigInfo::from_user(signo, &raw)
    };
    if process::find_process(p.pid).is_none_or(|now| !Arc::ptr_eq(&now, &p)) {
        return Err(Errno::ESRCH);
    }
    match thread {
        Some(tid) => send_thread(t, Some(p.pid), tid, info),
        None if scope == PIDFD_SIGNAL_PROCESS_GROUP => {
            send_group_checked(t, p.pid, info).map(|()| 0)
        }
        None => send_checked(t, &p, info).map(|()| 0),
    }
}
