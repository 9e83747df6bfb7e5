//! What the system is: `uname(2)`, `sysinfo(2)`, `getrandom(2)`, and the calls that only a real
//! machine's administrator makes.

use super::Task;
use super::creds::{CAP_SYS_ADMIN, CAP_SYS_BOOT};
use crate::user::{self, UserAddr};
use crate::{Errno, SysResult, kernel, pal};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `uname(2)` release: the Linux whose interface this is.
pub const RELEASE: &str = "6.18.44";
/// `uname(2)` version.
pub const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC Bastide";
/// Longest host name, `__NEW_UTS_LEN`.
const NAME_MAX: usize = 64;

/// `uname(2)`.
pub fn sys_uname(t: &Arc<Task>, out: UserAddr) -> SysResult {
    let mut buf = [0u8; 6 * 65];
    let k = kernel();
    let release: &[u8] = if t.process.personality.load(Ordering::Relaxed) & UNAME26 != 0 {
        b"2.6.78"
    } else {
        RELEASE.as_bytes()
    };
    let (node, domain) = (k.hostname.lock().clone(), k.domainname.lock().clone());
    let fields: [&[u8]; 6] = [
        b"Linux",
        &node,
        release,
        VERSION.as_bytes(),
        b"x86_64",
        &domain,
    ];
    for (slot, f) in buf.chunks_exact_mut(65).zip(fields) {
        let n = f.len().min(64);
        slot[..n].copy_from_slice(&f[..n]);
    }
    user::write(t, out, &buf)?;
    Ok(0)
}

fn set_name(
    t: &Task,
    name: UserAddr,
    len: i32,
    slot: &bastide_base::sync::Mutex<Vec<u8>>,
) -> SysResult {
    if !t.creds().capable(CAP_SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let len = usize::try_from(len)
        .ok()
        .filter(|&n| n <= NAME_MAX)
        .ok_or(Errno::EINVAL)?;
    let new = user::read_array::<u8>(t, name, len)?;
    *slot.lock() = new;
    Ok(0)
}

/// `sethostname(2)`.
pub fn sys_sethostname(t: &Arc<Task>, name: UserAddr, len: i32) -> SysResult {
    set_name(t, name, len, &kernel().hostname)
}

/// `setdomainname(2)`.
pub fn sys_setdomainname(t: &Arc<Task>, name: UserAddr, len: i32) -> SysResult {
    set_name(t, name, len, &kernel().domainname)
}

/// `struct sysinfo`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
struct SysInfo {
    uptime: i64,
    loads: [u64; 3],
    totalram: u64,
    freeram: u64,
    sharedram: u64,
    bufferram: u64,
    totalswap: u64,
    freeswap: u64,
    procs: u16,
    pad: u16,
    pad2: u32,
    totalhigh: u64,
    freehigh: u64,
    mem_unit: u32,
    tail: u32,
}

/// `sysinfo(2)`.
pub fn sys_sysinfo(t: &Arc<Task>, out: UserAddr) -> SysResult {
    let (total, free) = pal().memory();
    let up = crate::time::boottime();
    let info = SysInfo {
        uptime: up.div_ceil(1_000_000_000) as i64,
        // `SI_LOAD_SHIFT` is 16.
        loads: crate::fs::procfs::load_averages().map(|l| l << 5),
        totalram: total,
        freeram: free,
        procs: kernel().tasks.lock().len().min(65535) as u16,
        mem_unit: 1,
        ..SysInfo::default()
    };
    user::write(t, out, &info)?;
    Ok(0)
}

/// `getrandom(2)`: never blocks, the platform is seeded from the start.
pub fn sys_getrandom(t: &Arc<Task>, buf: UserAddr, len: usize, flags: u32) -> SysResult {
    const GRND_RANDOM: u32 = 2;
    const GRND_INSECURE: u32 = 4;
    if flags & !7 != 0 || flags & (GRND_RANDOM | GRND_INSECURE) == GRND_RANDOM | GRND_INSECURE {
        return Err(Errno::EINVAL);
    }
    let len = len.min(crate::uio::MAX_RW);
    let mut done = 0;
    let mut chunk = [0u8; 1024];
    while done < len {
        let n = (len - done).min(chunk.len());
        pal().random(&mut chunk[..n]);
        if let Err(k) = user::write_partial(t, buf.offset(done)?, &chunk[..n]) {
            done += k;
            return if done > 0 {
                Ok(done)
            } else {
                Err(Errno::EFAULT)
            };
        }
        done += n;
        if t.interrupted() && done < len {
            break;
        }
    }
    Ok(done)
}

const UNAME26: u32 = 0x0020000;

/// `personality(2)`.
pub fn sys_personality(t: &Arc<Task>, persona: u32) -> SysResult {
    let slot = &t.process.personality;
    if persona == u32::MAX {
        return Ok(slot.load(Ordering::Relaxed) as usize);
    }
    Ok(slot.swap(persona, Ordering::Relaxed) as usize)
}

/// `membarrier(2)`. Every thread of the enclave that could be running is interrupted, which orders
/// its memory accesses; the commands differ only in whom they reach.
pub fn sys_membarrier(t: &Arc<Task>, command: i32, flags: u32, _cpu: i32) -> SysResult {
    const GLOBAL: i32 = 1;
    const GLOBAL_EXPEDITED: i32 = 2;
    const REGISTER_GLOBAL: i32 = 4;
    const PRIVATE: i32 = 8;
    const REGISTER_PRIVATE: i32 = 16;
    const SYNC_CORE: i32 = 32;
    const REGISTER_SYNC_CORE: i32 = 64;
    const GET_REGISTRATIONS: i32 = 512;
    const ALL: i32 = GLOBAL
        | GLOBAL_EXPEDITED
        | REGISTER_GLOBAL
        | PRIVATE
        | REGISTER_PRIVATE
        | SYNC_CORE
        | REGISTER_SYNC_CORE
        | GET_REGISTRATIONS;
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let registered = &t.process.membarrier;
    let interrupt = |tasks: Vec<Arc<Task>>| {
        for o in tasks.iter().filter(|o| o.tid != t.tid) {
            o.kick();
        }
        core::sync::atomic::fence(Ordering::SeqCst);
        Ok(0)
    };
    match command {
        0 => Ok(ALL as usize),
        GLOBAL | GLOBAL_EXPEDITED => {
            let all: Vec<_> = kernel().tasks.lock().values().cloned().collect();
            interrupt(all)
        }
        REGISTER_GLOBAL | REGISTER_PRIVATE | REGISTER_SYNC_CORE => {
            registered.fetch_or(command as u32, Ordering::Relaxed);
            Ok(0)
        }
        PRIVATE | SYNC_CORE => {
            let needed = if command == PRIVATE {
                REGISTER_PRIVATE
            } else {
                REGISTER_SYNC_CORE
            };
            if registered.load(Ordering::Relaxed) & needed as u32 == 0 {
                return Err(Errno::EPERM);
            }
            let own: Vec<_> = t.process.tasks.lock().values().cloned().collect();
            interrupt(own)
        }
        GET_REGISTRATIONS => Ok(registered.load(Ordering::Relaxed) as usize),
        _ => Err(Errno::EINVAL),
    }
}

/// `syslog(2)`: there is a log, and it is empty.
pub fn sys_syslog(t: &Arc<Task>, action: i32, _buf: usize, len: i32) -> SysResult {
    let privileged = t.creds().capable(CAP_SYS_ADMIN) || t.creds().capable(34);
    if !privileged && !matches!(action, 3 | 10) {
        return Err(Errno::EPERM);
    }
    match action {
        0 | 1 | 5 | 6 | 7 | 9 => Ok(0),
        2..=4 if len < 0 || _buf == 0 => Err(Errno::EINVAL),
        2..=4 => Ok(0),
        8 if (1..=8).contains(&len) => Ok(0),
        10 => Ok(1 << 18),
        _ => Err(Errno::EINVAL),
    }
}

/// `reboot(2)`: the enclave's machine is not the application's to stop.
pub fn sys_reboot(t: &Arc<Task>, magic: u32, magic2: u32) -> SysResult {
    if !t.creds().capable(CAP_SYS_BOOT) {
        return Err(Errno::EPERM);
    }
    let known = [672274793, 85072278, 369367448, 537993216];
    if magic != 0xfee1_dead || !known.contains(&magic2) {
        return Err(Errno::EINVAL);
    }
    Err(Errno::EPERM)
}

/// Calls for which a process without the privilege is told so, and with it that there is nothing
/// to do it to.
pub fn sys_not_permitted(_t: &Arc<Task>) -> SysResult {
    Err(Errno::EPERM)
}

/// `unshare(2)`: what a thread shares with its siblings; there are no namespaces.
pub fn sys_unshare(t: &Arc<Task>, flags: u64) -> SysResult {
    const FS: u64 = 0x200;
    const FILES: u64 = 0x400;
    const SYSVSEM: u64 = 0x40000;
    const SAME_GROUP: u64 = 0x100 | 0x800 | 0x10000;
    const NAMESPACES: u64 =
        0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x80;
    if flags & !(FS | FILES | SYSVSEM | SAME_GROUP | NAMESPACES) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & SAME_GROUP != 0 && t.process.tasks.lock().len() > 1 {
        return Err(Errno::EINVAL);
    }
    if flags & NAMESPACES != 0 {
        let may = t.creds().capable(CAP_SYS_ADMIN);
        return Err(if may { Errno::EINVAL } else { Errno::EPERM });
    }
    if flags & FS != 0 {
        let own = t.fs().fork();
        *t.fs.lock() = own;
    }
    if flags & FILES != 0 {
        t.files().may_copy()?;
        let own = t.files().fork();
        *t.files.lock() = own;
    }
    if flags & SYSVSEM != 0 {
        crate::ipc::sysv::sem::exit_undo(&t.process);
    }
    Ok(0)
}
