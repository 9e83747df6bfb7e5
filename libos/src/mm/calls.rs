//! The system calls that make, move and remove mappings.

use super::vma::{Memory, VmFlags};
use super::{Backing, Limits, MapExtra, MapRequest, page_up};
use crate::abi::raw::general::*;
use crate::ipc::sysv::shm;
use crate::process::creds::CAP_IPC_LOCK;
use crate::process::task::RLIMIT_MEMLOCK;
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::pages::PAGE;
use bastide_base::user::USER_END;
use bastide_pal::Prot;

/// Flags that `MAP_SHARED_VALIDATE` knows: those that existed before it.
const LEGACY: u32 = MAP_SHARED
    | MAP_PRIVATE
    | MAP_FIXED
    | MAP_ANONYMOUS
    | MAP_DENYWRITE
    | MAP_EXECUTABLE
    | MAP_UNINITIALIZED
    | MAP_GROWSDOWN
    | MAP_LOCKED
    | MAP_NORESERVE
    | MAP_POPULATE
    | MAP_NONBLOCK
    | MAP_STACK
    | MAP_HUGETLB
    | MAP_32BIT;

/// Access rights from `PROT_*` bits.
fn rights(prot: u32) -> Prot {
    Prot::from_bits_truncate(prot)
}

/// `mmap(2)`. EINVAL, EBADF, EACCES, EPERM, ENOMEM, EAGAIN, EEXIST, ENODEV, EOVERFLOW,
/// EOPNOTSUPP.
pub fn sys_mmap(
    t: &Arc<Task>,
    addr: usize,
    len: usize,
    prot: u32,
    flags: u32,
    fd: i32,
    offset: u64,
) -> SysResult {
    if offset % PAGE as u64 != 0 {
        return Err(Errno::EINVAL);
    }
    let anonymous = flags & MAP_ANONYMOUS != 0;
    let backing = if anonymous {
        if flags & MAP_HUGETLB != 0 {
            // There are huge pages of no size.
            return Err(Errno::EINVAL);
        }
        Backing::Anon
    } else {
        Backing::File {
            file: t.file(fd)?,
            offset,
        }
    };
    if len == 0 {
        return Err(Errno::EINVAL);
    }
    let shared = match flags & 0xf {
        MAP_SHARED => true,
        MAP_PRIVATE => false,
        MAP_SHARED_VALIDATE if !anonymous => {
            if flags & !LEGACY != 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            true
        }
        _ => return Err(Errno::EINVAL),
    };
    let locked = flags & MAP_LOCKED != 0;
    if locked && !may_lock(t) {
        return Err(Errno::EPERM);
    }
    let noreplace = flags & MAP_FIXED_NOREPLACE != 0;
    let request = MapRequest {
        addr,
        len,
        prot: rights(prot),
        shared,
        fixed: noreplace || flags & MAP_FIXED != 0,
        noreplace,
        growsdown: flags & MAP_GROWSDOWN != 0,
        backing,
    };
    let extra = MapExtra {
        low: flags & MAP_32BIT != 0,
        noreserve: flags & MAP_NORESERVE != 0,
        locked,
    };
    let mm = t.mm();
    let at = mm.map_for(t, &request, extra)?;
    if locked || flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE {
        // As on Linux, the mapping stands even if its pages cannot be had now.
        let _ = mm.populate(t, at, at.saturating_add(len), !shared);
    } else {
        bring_in_locked(t, at, at.saturating_add(len));
    }
    Ok(at)
}

/// The task may lock any memory at all, Linux's `can_do_mlock`.
pub(super) fn may_lock(t: &Task) -> bool {
    t.rlimit(RLIMIT_MEMLOCK) != 0 || t.creds().capable(CAP_IPC_LOCK)
}

/// Brings in the pages of a range that `mlockall(MCL_FUTURE)` locked.
fn bring_in_locked(t: &Task, start: usize, end: usize) {
    let mut locked = false;
    let mm = t.mm();
    mm.walk(start, end, |v, _, _| {
        locked = v.flags & (VmFlags::LOCKED | VmFlags::LOCKONFAULT) == VmFlags::LOCKED;
        false
    });
    if locked {
        let _ = mm.populate(t, start, end, true);
    }
}

/// `munmap(2)`. EINVAL, ENOMEM.
pub fn sys_munmap(t: &Arc<Task>, addr: usize, len: usize) -> SysResult {
    t.mm().unmap(addr, len).map(|()| 0)
}

/// `mprotect(2)`. EINVAL, EACCES, ENOMEM.
pub fn sys_mprotect(t: &Arc<Task>, addr: usize, len: usize, prot: u32) -> SysResult {
    let down = prot & PROT_GROWSDOWN != 0;
    let up = prot & PROT_GROWSUP != 0;
    if down && up || addr % PAGE != 0 {
        return Err(Errno::EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let end = page_up(len)
        .and_then(|n| addr.checked_add(n))
        .filter(|&e| e > addr)
        .ok_or(Errno::ENOMEM)?;
    let bits = prot & !(PROT_GROWSDOWN | PROT_GROWSUP);
    if bits & !(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM) != 0 {
        return Err(Errno::EINVAL);
    }
    if up && t.mm().covers(addr, addr + PAGE) {
        // There are no mappings that grow upwards.
        return Err(Errno::EINVAL);
    }
    t.mm()
        .protect(&Limits::of(t), addr, end, rights(bits), down)
        .map(|()| 0)
}

/// `mseal(2)`. EINVAL, ENOMEM.
pub fn sys_mseal(t: &Arc<Task>, start: usize, len: usize, flags: u64) -> SysResult {
    if flags != 0 || start % PAGE != 0 {
        return Err(Errno::EINVAL);
    }
    let end = page_up(len)
        .and_then(|n| start.checked_add(n))
        .ok_or(Errno::EINVAL)?;
    if start != end {
        t.mm().seal(start, end)?;
    }
    Ok(0)
}

/// `pkey_mprotect(2)` on a processor without protection keys: EINVAL for any key but -1.
pub fn sys_pkey_mprotect(
    t: &Arc<Task>,
    addr: usize,
    len: usize,
    prot: u32,
    pkey: i32,
) -> SysResult {
    if pkey != -1 {
        return Err(Errno::EINVAL);
    }
    sys_mprotect(t, addr, len, prot)
}

/// `pkey_alloc(2)` on a processor without protection keys: ENOSPC, EINVAL.
pub fn sys_pkey_alloc(_t: &Arc<Task>, flags: u64, rights: u64) -> SysResult {
    Err(if flags != 0 || rights & !3 != 0 {
        Errno::EINVAL
    } else {
        Errno::ENOSPC
    })
}

/// `pkey_free(2)`: EINVAL, as no key is ever allocated.
pub fn sys_pkey_free(_t: &Arc<Task>, _pkey: i32) -> SysResult {
    Err(Errno::EINVAL)
}

/// `mremap(2)`. EINVAL, EFAULT, ENOMEM, EAGAIN.
pub fn sys_mremap(
    t: &Arc<Task>,
    addr: usize,
    old_len: usize,
    new_len: usize,
    flags: u64,
    new_addr: usize,
) -> SysResult {
    let flags = u32::try_from(flags).map_err(|_| Errno::EINVAL)?;
    let at = t
        .mm()
        .remap(&Limits::of(t), addr, old_len, new_len, flags, new_addr)?;
    if new_len > old_len {
        bring_in_locked(t, at + old_len, at + new_len);
    }
    Ok(at)
}

/// `brk(2)`: where it ends after the call, changed or not.
pub fn sys_brk(t: &Arc<Task>, to: usize) -> SysResult {
    let mm = t.mm();
    let (now, bring_in) = mm.brk(t, to);
    if let Some(from) = bring_in {
        let _ = mm.populate(t, from & !(PAGE - 1), now, true);
    }
    Ok(now)
}

/// `msync(2)`. EINVAL, EBUSY for locked memory, ENOMEM for what is not mapped, EIO.
pub fn sys_msync(t: &Arc<Task>, start: usize, len: usize, flags: u32) -> SysResult {
    if flags & !(MS_ASYNC | MS_INVALIDATE | MS_SYNC) != 0
        || start % PAGE != 0
        || flags & MS_ASYNC != 0 && flags & MS_SYNC != 0
    {
        return Err(Errno::EINVAL);
    }
    let end = page_up(len)
        .and_then(|n| start.checked_add(n))
        .ok_or(Errno::ENOMEM)?;
    if start == end {
        return Ok(0);
    }
    let mut busy = false;
    let mut files = Vec::new();
    let mm = t.mm();
    mm.walk(start, end, |v, _, _| {
        busy = flags & MS_INVALIDATE != 0 && v.flags.contains(VmFlags::LOCKED);
        if flags & MS_SYNC != 0 && v.shared() {
            files.extend(v.file.clone());
        }
        !busy
    });
    if busy {
        return Err(Errno::EBUSY);
    }
    files.dedup_by(|a, b| Arc::ptr_eq(a, b));
    for f in files {
        if let Some(object) = f.ops.mapped() {
            mm.hold_still(&object);
        }
        match f.ops.fsync(true) {
            // Devices and the like have nothing to write back.
            Err(Errno::EINVAL) | Ok(()) => {}
            Err(e) => return Err(e),
        }
    }
    if mm.covers(start, end) {
        Ok(0)
    } else {
        Err(Errno::ENOMEM)
    }
}

/// `remap_file_pages(2)`: makes part of a shared mapping show another part of its file, by a
/// mapping of its own. EINVAL.
pub fn sys_remap_file_pages(
    t: &Arc<Task>,
    start: usize,
    size: usize,
    prot: u64,
    pgoff: u64,
    flags: u32,
) -> SysResult {
    let start = start & !(PAGE - 1);
    let size = size & !(PAGE - 1);
    let end = start.checked_add(size).filter(|&e| e > start);
    let offset = pgoff
        .checked_mul(PAGE as u64)
        .filter(|o| o.checked_add(size as u64).is_some());
    let (Some(end), Some(offset), 0) = (end, offset, prot) else {
        return Err(Errno::EINVAL);
    };
    let mut found: Option<(Backing, Prot, bool)> = None;
    let mut fits = true;
    let mut reached = start;
    let mut whole = 0;
    let mm = t.mm();
    mm.walk(start, end, |v, a, b| {
        whole += usize::from((a, b) == (v.start, v.end));
        let backing = match (&v.file, &v.memory) {
            _ if !v.shared() => None,
            (Some(file), _) => Some(Backing::File {
                file: file.clone(),
                offset,
            }),
            (None, Memory::Pages { map, .. }) => Some(Backing::Object {
                object: map.object().clone(),
                offset,
                name: v.name,
            }),
            _ => None,
        };
        let locked = v.flags.contains(VmFlags::LOCKED);
        fits = a == reached
            && match (&backing, &found) {
                (Some(b), Some((f, prot, _))) => same(b, f) && *prot == v.prot,
                (b, None) => b.is_some(),
                _ => false,
            };
        found = found.take().or(backing.map(|b| (b, v.prot, locked)));
        reached = b;
        fits
    });
    let Some((backing, prot, locked)) = found.filter(|_| fits && reached == end) else {
        return Err(Errno::EINVAL);
    };
    if let Backing::File { file, .. } = &backing
        && shm::goes_with(file, whole + 1)
    {
        // The old mapping goes first, and a removed segment with it.
        mm.unmap(start, size)?;
        return Err(Errno::EINVAL);
    }
    let request = MapRequest {
        addr: start,
        len: size,
        prot,
        shared: true,
        fixed: true,
        noreplace: false,
        growsdown: false,
        backing,
    };
    let extra = MapExtra {
        locked,
        ..MapExtra::default()
    };
    mm.map_for(t, &request, extra)?;
    if flags & MAP_NONBLOCK == 0 {
        let _ = mm.populate(t, start, end, false);
    }
    Ok(0)
}

fn same(a: &Backing, b: &Backing) -> bool {
    match (a, b) {
        (Backing::File { file: a, .. }, Backing::File { file: b, .. }) => Arc::ptr_eq(a, b),
        (Backing::Object { object: a, .. }, Backing::Object { object: b, .. }) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

/// Start and end of a range given by address and length, in whole pages: `start` must be aligned.
/// `overflow` if it leaves the address space.
pub(super) fn page_range(start: usize, len: usize, overflow: Errno) -> Result<(usize, usize)> {
    let end = page_up(len)
        .and_then(|n| start.checked_add(n))
        .filter(|&e| e <= USER_END || len == 0)
        .ok_or(overflow)?;
    Ok((start, end))
}
