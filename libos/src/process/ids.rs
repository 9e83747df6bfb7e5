//! User and group ids and capabilities: `setuid(2)`, `setresuid(2)`, `setgroups(2)`, `capset(2)`.

use super::creds::{self, CAP_SETGID, CAP_SETPCAP, CAP_SETUID, Creds};
use super::{Task, find_task};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

const NGROUPS_MAX: usize = 65536;
/// "Leave it", -1.
const KEEP: u32 = u32::MAX;

/// Changes the caller's credentials.
fn change(t: &Task, f: impl FnOnce(&mut Creds) -> Result<()>) -> SysResult {
    let mut slot = t.creds.lock();
    let old = slot.clone();
    let mut new = (*old).clone();
    f(&mut new)?;
    if new.euid != old.euid
        || new.egid != old.egid
        || new.fsuid != old.fsuid
        || new.fsgid != old.fsgid
    {
        t.process.dumpable.store(0, Ordering::Relaxed);
        t.process.death_signal.store(0, Ordering::Relaxed);
    }
    t.process.last_uid.store(new.uid, Ordering::Relaxed);
    *slot = Arc::new(new);
    Ok(0)
}

/// The effect of user id changes on capabilities, `capabilities(7)`.
fn adjust_caps(old: &Creds, new: &mut Creds) {
    if new.securebits & creds::SECBIT_NO_SETUID_FIXUP != 0 {
        return;
    }
    let had_root = old.uid == 0 || old.euid == 0 || old.suid == 0;
    let has_root = new.uid == 0 || new.euid == 0 || new.suid == 0;
    if had_root && !has_root {
        if new.securebits & creds::SECBIT_KEEP_CAPS == 0 {
            new.permitted = 0;
            new.effective = 0;
        }
        new.ambient = 0;
    }
    if old.euid == 0 && new.euid != 0 {
        new.effective = 0;
    } else if old.euid != 0 && new.euid == 0 {
        new.effective = new.permitted;
    }
}

fn change_uids(t: &Task, f: impl FnOnce(&Creds, &mut Creds) -> Result<()>) -> SysResult {
    change(t, |c| {
        let old = c.clone();
        f(&old, c)?;
        c.fsuid = c.euid;
        adjust_caps(&old, c);
        Ok(())
    })
}

macro_rules! getter {
    ($($name:ident $field:ident $doc:literal;)*) => { $(
        #[doc = $doc]
        pub fn $name(t: &Arc<Task>) -> SysResult {
            Ok(t.creds().$field as usize)
        }
    )* };
}
getter! {
    sys_getuid uid "`getuid(2)`.";
    sys_geteuid euid "`geteuid(2)`.";
    sys_getgid gid "`getgid(2)`.";
    sys_getegid egid "`getegid(2)`.";
}

/// `setuid(2)`.
pub fn sys_setuid(t: &Arc<Task>, uid: u32) -> SysResult {
    if uid == KEEP {
        return Err(Errno::EINVAL);
    }
    change_uids(t, |old, c| {
        if old.capable(CAP_SETUID) {
            (c.uid, c.suid) = (uid, uid);
        } else if uid != old.uid && uid != old.suid {
            return Err(Errno::EPERM);
        }
        c.euid = uid;
        Ok(())
    })
}

/// `setgid(2)`.
pub fn sys_setgid(t: &Arc<Task>, gid: u32) -> SysResult {
    if gid == KEEP {
        return Err(Errno::EINVAL);
    }
    change(t, |c| {
        if c.capable(CAP_SETGID) {
            (c.gid, c.sgid) = (gid, gid);
        } else if gid != c.gid && gid != c.sgid {
            return Err(Errno::EPERM);
        }
        (c.egid, c.fsgid) = (gid, gid);
        Ok(())
    })
}

/// `setreuid(2)`.
pub fn sys_setreuid(t: &Arc<Task>, ruid: u32, euid: u32) -> SysResult {
    change_uids(t, |old, c| {
        let free = old.capable(CAP_SETUID);
        if ruid != KEEP {
            if !free && ruid != old.uid && ruid != old.euid {
                return Err(Errno::EPERM);
            }
            c.uid = ruid;
        }
        if euid != KEEP {
            if !free && ![old.uid, old.euid, old.suid].contains(&euid) {
                return Err(Errno::EPERM);
            }
            c.euid = euid;
        }
        if ruid != KEEP || euid != KEEP && euid != old.uid {
            c.suid = c.euid;
        }
        Ok(())
    })
}

/// `setregid(2)`.
pub fn sys_setregid(t: &Arc<Task>, rgid: u32, egid: u32) -> SysResult {
    change(t, |c| {
        let old = c.clone();
        let free = old.capable(CAP_SETGID);
        if rgid != KEEP {
            if !free && rgid != old.gid && rgid != old.egid {
                return Err(Errno::EPERM);
            }
            c.gid = rgid;
        }
        if egid != KEEP {
            if !free && ![old.gid, old.egid, old.sgid].contains(&egid) {
                return Err(Errno::EPERM);
            }
            c.egid = egid;
        }
        if rgid != KEEP || egid != KEEP && egid != old.gid {
            c.sgid = c.egid;
        }
        c.fsgid = c.egid;
        Ok(())
    })
}

/// `setresuid(2)`.
pub fn sys_setresuid(t: &Arc<Task>, r: u32, e: u32, s: u32) -> SysResult {
    change_uids(t, |old, c| {
        let have = [old.uid, old.euid, old.suid, KEEP];
        if !old.capable(CAP_SETUID) && [r, e, s].iter().any(|id| !have.contains(id)) {
            return Err(Errno::EPERM);
        }
        let pick = |new, old| if new == KEEP { old } else { new };
        (c.uid, c.euid, c.suid) = (pick(r, old.uid), pick(e, old.euid), pick(s, old.suid));
        Ok(())
    })
}

/// `setresgid(2)`.
pub fn sys_setresgid(t: &Arc<Task>, r: u32, e: u32, s: u32) -> SysResult {
    change(t, |c| {
        let have = [c.gid, c.egid, c.sgid, KEEP];
        if !c.capable(CAP_SETGID) && [r, e, s].iter().any(|id| !have.contains(id)) {
            return Err(Errno::EPERM);
        }
        let pick = |new, old| if new == KEEP { old } else { new };
        (c.gid, c.egid, c.sgid) = (pick(r, c.gid), pick(e, c.egid), pick(s, c.sgid));
        c.fsgid = c.egid;
        Ok(())
    })
}

/// `getresuid(2)`.
pub fn sys_getresuid(t: &Arc<Task>, r: UserAddr, e: UserAddr, s: UserAddr) -> SysResult {
    let c = t.creds();
    user::write(t, r, &c.uid)?;
    user::write(t, e, &c.euid)?;
    user::write(t, s, &c.suid)?;
    Ok(0)
}

/// `getresgid(2)`.
pub fn sys_getresgid(t: &Arc<Task>, r: UserAddr, e: UserAddr, s: UserAddr) -> SysResult {
    let c = t.creds();
    user::write(t, r, &c.gid)?;
    user::write(t, e, &c.egid)?;
    user::write(t, s, &c.sgid)?;
    Ok(0)
}

/// `setfsuid(2)`: returns the old id whether or not it changed.
pub fn sys_setfsuid(t: &Arc<Task>, uid: u32) -> SysResult {
    let old = t.creds();
    if uid != KEEP
        && (old.capable(CAP_SETUID) || [old.uid, old.euid, old.suid, old.fsuid].contains(&uid))
    {
        change(t, |c| {
            c.fsuid = uid;
            const FS_CAPS: u64 = 0x1f | 1 << 9 | 1 << 27 | 1 << 32;
            if old.fsuid == 0 && uid != 0 {
                c.effective &= !FS_CAPS;
            } else if old.fsuid != 0 && uid == 0 {
                c.effective |= c.permitted & FS_CAPS;
            }
            Ok(())
        })?;
    }
    Ok(old.fsuid as usize)
}

/// `setfsgid(2)`: returns the old id whether or not it changed.
pub fn sys_setfsgid(t: &Arc<Task>, gid: u32) -> SysResult {
    let old = t.creds();
    if gid != KEEP
        && (old.capable(CAP_SETGID) || [old.gid, old.egid, old.sgid, old.fsgid].contains(&gid))
    {
        change(t, |c| {
            c.fsgid = gid;
            Ok(())
        })?;
    }
    Ok(old.fsgid as usize)
}

/// `getgroups(2)`.
pub fn sys_getgroups(t: &Arc<Task>, size: i32, list: UserAddr) -> SysResult {
    let c = t.creds();
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    if size > 0 {
        if size < c.groups.len() {
            return Err(Errno::EINVAL);
        }
        user::write(t, list, c.groups.as_slice())?;
    }
    Ok(c.groups.len())
}

/// `setgroups(2)`.
pub fn sys_setgroups(t: &Arc<Task>, size: usize, list: UserAddr) -> SysResult {
    if !t.creds().capable(CAP_SETGID) {
        return Err(Errno::EPERM);
    }
    if size as u32 as usize > NGROUPS_MAX || size > NGROUPS_MAX {
        return Err(Errno::EINVAL);
    }
    let mut groups = user::read_array::<u32>(t, list, size)?;
    groups.sort_unstable();
    change(t, |c| {
        c.groups = groups;
        Ok(())
    })
}

const CAP_V1: u32 = 0x1998_0330;
const CAP_V2: u32 = 0x2007_1026;
const CAP_V3: u32 = 0x2008_0522;

/// The header's version and pid; an unknown version is answered with ours and EINVAL.
fn cap_header(t: &Task, header: UserAddr) -> Result<(usize, i32)> {
    let [version, pid]: [u32; 2] = user::read(t, header)?;
    match version {
        CAP_V1 => Ok((1, pid as i32)),
        CAP_V2 | CAP_V3 => Ok((2, pid as i32)),
        _ => {
            user::write(t, header, &CAP_V3)?;
            Err(Errno::EINVAL)
        }
    }
}

/// `capget(2)`.
pub fn sys_capget(t: &Arc<Task>, header: UserAddr, data: UserAddr) -> SysResult {
    let (words, pid) = match cap_header(t, header) {
        // Probing for the version is not an error.
        Err(Errno::EINVAL) if data.is_null() => return Ok(0),
        r => r?,
    };
    if pid < 0 {
        return Err(Errno::EINVAL);
    }
    let c = if pid == 0 || pid == t.tid {
        t.creds()
    } else {
        find_task(pid).ok_or(Errno::ESRCH)?.creds()
    };
    if data.is_null() {
        return Ok(0);
    }
    for w in 0..words {
        let half = |v: u64| (v >> (32 * w)) as u32;
        let triple = [half(c.effective), half(c.permitted), half(c.inheritable)];
        user::write(t, data.offset(w * 12)?, &triple)?;
    }
    Ok(0)
}

/// `capset(2)`.
pub fn sys_capset(t: &Arc<Task>, header: UserAddr, data: UserAddr) -> SysResult {
    let (words, pid) = cap_header(t, header)?;
    if pid != 0 && pid != t.tid {
        return Err(Errno::EPERM);
    }
    let (mut e, mut p, mut i) = (0u64, 0u64, 0u64);
    for w in 0..words {
        let [we, wp, wi]: [u32; 3] = user::read(t, data.offset(w * 12)?)?;
        e |= u64::from(we) << (32 * w);
        p |= u64::from(wp) << (32 * w);
        i |= u64::from(wi) << (32 * w);
    }
    let (e, p, i) = (e & creds::CAP_ALL, p & creds::CAP_ALL, i & creds::CAP_ALL);
    change(t, |c| {
        let wide = c.capable(CAP_SETPCAP);
        if !wide && i & !(c.inheritable | c.permitted) != 0
            || i & !(c.inheritable | c.bounding) != 0
            || p & !c.permitted != 0
            || e & !p != 0
        {
            return Err(Errno::EPERM);
        }
        (c.effective, c.permitted, c.inheritable) = (e, p, i);
        c.ambient &= p & i;
        Ok(())
    })
}
