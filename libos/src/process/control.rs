//! Identity and per-task settings: `getpid(2)`, `prctl(2)`, `arch_prctl(2)`, `set_tid_address(2)`.

use super::creds::{self, CAP_SETPCAP, CAP_SYS_RESOURCE};
use super::{Process, Task};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, pal};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

/// `getpid(2)`.
pub fn sys_getpid(t: &Arc<Task>) -> SysResult {
    Ok(t.process.pid as usize)
}

/// `gettid(2)`.
pub fn sys_gettid(t: &Arc<Task>) -> SysResult {
    Ok(t.tid as usize)
}

/// `getppid(2)`.
pub fn sys_getppid(t: &Arc<Task>) -> SysResult {
    Ok(t.process
        .rel
        .lock()
        .parent
        .upgrade()
        .map_or(0, |p| p.pid as usize))
}

/// `set_tid_address(2)`.
pub fn sys_set_tid_address(t: &Arc<Task>, addr: usize) -> SysResult {
    t.clear_child_tid.store(addr, Ordering::Relaxed);
    Ok(t.tid as usize)
}

const ARCH_SET_GS: i32 = 0x1001;
const ARCH_SET_FS: i32 = 0x1002;
const ARCH_GET_FS: i32 = 0x1003;
const ARCH_GET_GS: i32 = 0x1004;
const ARCH_GET_CPUID: i32 = 0x1011;
const ARCH_SET_CPUID: i32 = 0x1012;

/// `arch_prctl(2)`. `%gs` is the kernel's own, so programs cannot set it.
pub fn sys_arch_prctl(t: &Arc<Task>, code: i32, addr: u64) -> SysResult {
    match code {
        ARCH_SET_FS => {
            if addr >= bastide_base::user::USER_END as u64 {
                return Err(Errno::EPERM);
            }
            pal().set_fs_base(addr);
            Ok(0)
        }
        ARCH_GET_FS => {
            user::write(t, UserAddr(addr as usize), &pal().fs_base())?;
            Ok(0)
        }
        ARCH_SET_GS if addr == 0 => Ok(0),
        ARCH_SET_GS => Err(Errno::EPERM),
        ARCH_GET_GS => {
            user::write(t, UserAddr(addr as usize), &0u64)?;
            Ok(0)
        }
        ARCH_GET_CPUID => Ok(1),
        // As on a processor that cannot make `cpuid` fault.
        ARCH_SET_CPUID => Err(Errno::ENODEV),
        _ => Err(Errno::EINVAL),
    }
}

const PR_SET_PDEATHSIG: i32 = 1;
const PR_GET_PDEATHSIG: i32 = 2;
const PR_GET_DUMPABLE: i32 = 3;
const PR_SET_DUMPABLE: i32 = 4;
const PR_GET_UNALIGN: i32 = 5;
const PR_SET_UNALIGN: i32 = 6;
const PR_GET_KEEPCAPS: i32 = 7;
const PR_SET_KEEPCAPS: i32 = 8;
const PR_GET_TIMING: i32 = 13;
const PR_SET_TIMING: i32 = 14;
const PR_SET_NAME: i32 = 15;
const PR_GET_NAME: i32 = 16;
const PR_GET_SECCOMP: i32 = 21;
const PR_SET_SECCOMP: i32 = 22;
const PR_CAPBSET_READ: i32 = 23;
const PR_CAPBSET_DROP: i32 = 24;
const PR_GET_TSC: i32 = 25;
const PR_SET_TSC: i32 = 26;
const PR_GET_SECUREBITS: i32 = 27;
const PR_SET_SECUREBITS: i32 = 28;
const PR_SET_TIMERSLACK: i32 = 29;
const PR_GET_TIMERSLACK: i32 = 30;
const PR_MCE_KILL: i32 = 33;
const PR_MCE_KILL_GET: i32 = 34;
const PR_SET_MM: i32 = 35;
const PR_SET_CHILD_SUBREAPER: i32 = 36;
const PR_GET_CHILD_SUBREAPER: i32 = 37;
const PR_SET_NO_NEW_PRIVS: i32 = 38;
const PR_GET_NO_NEW_PRIVS: i32 = 39;
const PR_GET_TID_ADDRESS: i32 = 40;
const PR_SET_THP_DISABLE: i32 = 41;
const PR_GET_THP_DISABLE: i32 = 42;
const PR_CAP_AMBIENT: i32 = 47;
const PR_GET_SPECULATION_CTRL: i32 = 52;
const PR_SET_SPECULATION_CTRL: i32 = 53;
const PR_SET_VMA: i32 = 0x5356_4d41;
const PR_SET_PTRACER: i32 = 0x5961_6d61;

/// `prctl(2)`.
pub fn sys_prctl(t: &Arc<Task>, option: i32, a2: u64, a3: u64, a4: u64, a5: u64) -> SysResult {
    let p = &t.process;
    let rest_is_zero = a3 == 0 && a4 == 0 && a5 == 0;
    match option {
        PR_SET_PDEATHSIG => {
            if a2 > 64 {
                return Err(Errno::EINVAL);
            }
            p.death_signal.store(a2 as i32, Ordering::Relaxed);
            Ok(0)
        }
        PR_GET_PDEATHSIG => put(t, a2, &p.death_signal.load(Ordering::Relaxed)),
        PR_GET_DUMPABLE => Ok(p.dumpable.load(Ordering::Relaxed) as usize),
        PR_SET_DUMPABLE => {
            if a2 > 1 {
                return Err(Errno::EINVAL);
            }
            p.dumpable.store(a2 as i32, Ordering::Relaxed);
            Ok(0)
        }
        PR_GET_KEEPCAPS => Ok(usize::from(
            t.creds().securebits & creds::SECBIT_KEEP_CAPS != 0,
        )),
        PR_SET_KEEPCAPS => set_keepcaps(t, a2),
        PR_GET_TIMING => Ok(0),
        PR_SET_TIMING => {
            if a2 == 0 {
                Ok(0)
            } else {
                Err(Errno::EINVAL)
            }
        }
        PR_SET_NAME => {
            let mut name = [0; 16];
            let given = match user::read_cstr(t, UserAddr(a2 as usize), 16, Errno::ENAMETOOLONG) {
                Err(Errno::ENAMETOOLONG) => {
                    user::read_bytes(t, UserAddr(a2 as usize), &mut name[..15])?;
                    name[..15].to_vec()
                }
                r => r?,
            };
            name = [0; 16];
            name[..given.len().min(15)].copy_from_slice(&given[..given.len().min(15)]);
            *t.name.lock() = name;
            Ok(0)
        }
        PR_GET_NAME => {
            let name = *t.name.lock();
            put(t, a2, &name)
        }
        PR_GET_SECCOMP => Ok(0),
        // A kernel without CONFIG_SECCOMP.
        PR_SET_SECCOMP => Err(Errno::EINVAL),
        PR_CAPBSET_READ => {
            if a2 > 40 {
                return Err(Errno::EINVAL);
            }
            Ok((t.creds().bounding >> a2 & 1) as usize)
        }
        PR_CAPBSET_DROP => capbset_drop(t, a2),
        PR_GET_TSC => put(t, a2, &1i32),
        PR_SET_TSC => {
            if a2 == 1 {
                Ok(0)
            } else {
                Err(Errno::EINVAL)
            }
        }
        PR_GET_SECUREBITS => Ok(t.creds().securebits as usize),
        PR_SET_SECUREBITS => set_securebits(t, a2),
        PR_SET_TIMERSLACK => {
            let default = t.timer_slack_default.load(Ordering::Relaxed);
            let slack = if a2 as i64 <= 0 { default } else { a2 };
            t.timer_slack.store(slack, Ordering::Relaxed);
            Ok(0)
        }
        PR_GET_TIMERSLACK => Ok(t.timer_slack.load(Ordering::Relaxed) as usize),
        PR_MCE_KILL => match (a2, a3) {
            _ if a4 != 0 || a5 != 0 => Err(Errno::EINVAL),
            (0, 0) | (1, 0..=2) => Ok(0),
            _ => Err(Errno::EINVAL),
        },
        PR_MCE_KILL_GET => {
            if a2 == 0 && rest_is_zero {
                Ok(2)
            } else {
                Err(Errno::EINVAL)
            }
        }
        PR_SET_MM => Err(if t.creds().capable(CAP_SYS_RESOURCE) {
            Errno::EINVAL
        } else {
            Errno::EPERM
        }),
        PR_SET_CHILD_SUBREAPER => {
            p.rel.lock().subreaper = a2 != 0;
            Ok(0)
        }
        PR_GET_CHILD_SUBREAPER => {
            let on = i32::from(p.rel.lock().subreaper);
            put(t, a2, &on)
        }
        PR_SET_NO_NEW_PRIVS => {
            if a2 != 1 || !rest_is_zero {
                return Err(Errno::EINVAL);
            }
            change(t, |c| c.no_new_privs = true);
            Ok(0)
        }
        PR_GET_NO_NEW_PRIVS => {
            if a2 != 0 || !rest_is_zero {
                return Err(Errno::EINVAL);
            }
            Ok(usize::from(t.creds().no_new_privs))
        }
        PR_GET_TID_ADDRESS => put(t, a2, &(t.clear_child_tid.load(Ordering::Relaxed) as u64)),
        PR_SET_THP_DISABLE => {
            if a3 != 0 || a4 != 0 || a5 != 0 {
                return Err(Errno::EINVAL);
            }
            p.thp_disabled.store(a2 != 0, Ordering::Relaxed);
            Ok(0)
        }
        PR_GET_THP_DISABLE => {
            if a2 != 0 || !rest_is_zero {
                return Err(Errno::EINVAL);
            }
            Ok(usize::from(p.thp_disabled.load(Ordering::Relaxed)))
        }
        PR_CAP_AMBIENT => ambient(t, a2, a3, a4, a5),
        PR_GET_SPECULATION_CTRL | PR_SET_SPECULATION_CTRL => {
            Err(if a2 > 2 { Errno::ENODEV } else { Errno::ENXIO })
        }
        // Names of anonymous mappings are for people who debug; a kernel without
        // CONFIG_ANON_VMA_NAME says EINVAL, which callers expect.
        PR_SET_VMA | PR_GET_UNALIGN | PR_SET_UNALIGN | PR_SET_PTRACER => Err(Errno::EINVAL),
        _ => Err(Errno::EINVAL),
    }
}

fn put<T: zerocopy::IntoBytes + zerocopy::Immutable>(t: &Task, addr: u64, v: &T) -> SysResult {
    user::write(t, UserAddr(addr as usize), v)?;
    Ok(0)
}

fn change(t: &Task, f: impl FnOnce(&mut creds::Creds)) {
    let mut slot = t.creds.lock();
    let mut c = (**slot).clone();
    f(&mut c);
    *slot = Arc::new(c);
}

const SECBIT_KEEP_CAPS_LOCKED: u32 = 32;

fn set_keepcaps(t: &Task, value: u64) -> SysResult {
    if value > 1 {
        return Err(Errno::EINVAL);
    }
    if t.creds().securebits & SECBIT_KEEP_CAPS_LOCKED != 0 {
        return Err(Errno::EPERM);
    }
    change(t, |c| {
        c.securebits &= !creds::SECBIT_KEEP_CAPS;
        c.securebits |= creds::SECBIT_KEEP_CAPS * value as u32;
    });
    Ok(0)
}

fn set_securebits(t: &Task, bits: u64) -> SysResult {
    let old = t.creds().securebits;
    let locked = (old & 0xaa) >> 1;
    let changes = u64::from(old) ^ bits;
    if bits & !0xff != 0
        || changes & u64::from(locked) != 0
        || u64::from(old) & 0xaa & !bits != 0
        || !t.creds().capable(CAP_SETPCAP)
    {
        return Err(Errno::EPERM);
    }
    change(t, |c| c.securebits = bits as u32);
    Ok(0)
}

fn capbset_drop(t: &Task, cap: u64) -> SysResult {
    if !t.creds().capable(CAP_SETPCAP) {
        return Err(Errno::EPERM);
    }
    if cap > 40 {
        return Err(Errno::EINVAL);
    }
    change(t, |c| c.bounding &= !(1 << cap));
    Ok(0)
}

const SECBIT_NO_CAP_AMBIENT_RAISE: u32 = 64;

fn ambient(t: &Task, action: u64, cap: u64, a4: u64, a5: u64) -> SysResult {
    const IS_SET: u64 = 1;
    const RAISE: u64 = 2;
    const LOWER: u64 = 3;
    const CLEAR_ALL: u64 = 4;
    if action == CLEAR_ALL {
        if cap != 0 || a4 != 0 || a5 != 0 {
            return Err(Errno::EINVAL);
        }
        change(t, |c| c.ambient = 0);
        return Ok(0);
    }
    if cap > 40 || a4 != 0 || a5 != 0 {
        return Err(Errno::EINVAL);
    }
    let c = t.creds();
    match action {
        IS_SET => Ok((c.ambient >> cap & 1) as usize),
        RAISE => {
            if c.permitted & c.inheritable & (1 << cap) == 0
                || c.securebits & SECBIT_NO_CAP_AMBIENT_RAISE != 0
            {
                return Err(Errno::EPERM);
            }
            change(t, |c| c.ambient |= 1 << cap);
            Ok(0)
        }
        LOWER => {
            change(t, |c| c.ambient &= !(1 << cap));
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// The caller may look into the other task (`ptrace(2)`, "Ptrace access mode checking").
pub fn may_inspect(t: &Task, other: &Task) -> Result<()> {
    if Arc::ptr_eq(&t.process, &other.process) {
        return Ok(());
    }
    let (c, o) = (t.creds(), other.creds());
    let uids = [o.uid, o.euid, o.suid].iter().all(|&u| u == c.fsuid);
    let gids = [o.gid, o.egid, o.sgid].iter().all(|&g| g == c.fsgid);
    let caps = o.permitted & !c.permitted == 0;
    let dumpable = Process::is_dumpable(&other.process);
    if c.capable(creds::CAP_SYS_PTRACE) || uids && gids && caps && dumpable {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}
