//! NUMA policies, `numa(7)`, on a machine of one node: they are checked and remembered.

use super::Mm;
use super::calls::page_range;
use super::remote::{find_target, may_access};
use crate::abi::raw::mempolicy::*;
use crate::process::creds::CAP_SYS_NICE;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::pages::PAGE;
use core::sync::atomic::Ordering;

/// A policy: mode and mode flags in the low half, bit 31 if its node set is {0}.
pub type Policy = u32;
const NODES: u32 = 1 << 31;

const DEFAULT: u32 = _bindgen_ty_1::MPOL_DEFAULT as u32;
const PREFERRED: u32 = _bindgen_ty_1::MPOL_PREFERRED as u32;
const BIND: u32 = _bindgen_ty_1::MPOL_BIND as u32;
const INTERLEAVE: u32 = _bindgen_ty_1::MPOL_INTERLEAVE as u32;
const LOCAL: u32 = _bindgen_ty_1::MPOL_LOCAL as u32;
const PREFERRED_MANY: u32 = _bindgen_ty_1::MPOL_PREFERRED_MANY as u32;
const MAX: u32 = _bindgen_ty_1::MPOL_MAX as u32;

/// Reads a node mask; true if node 0 is in it. EINVAL for nodes that do not exist.
fn read_nodes(t: &Task, mask: UserAddr, maxnode: u64) -> Result<bool> {
    let bits = maxnode.wrapping_sub(1);
    if bits == 0 || mask.is_null() {
        return Ok(false);
    }
    if bits > (PAGE * 8) as u64 {
        return Err(Errno::EINVAL);
    }
    let mut words: Vec<u64> = user::read_array(t, mask, (bits as usize).div_ceil(64))?;
    if let Some(last) = words.last_mut()
        && bits % 64 != 0
    {
        *last &= (1 << (bits % 64)) - 1;
    }
    let first = words.first().copied().unwrap_or(0);
    if first & !1 != 0 || words.iter().skip(1).any(|&w| w != 0) {
        return Err(Errno::EINVAL);
    }
    Ok(first & 1 != 0)
}

/// Checks mode and nodes as Linux's `mpol_new`; EINVAL.
fn make(mode: u32, nodes: bool) -> Result<Policy> {
    let flags = mode & MPOL_MODE_FLAGS;
    let (fixed, relative) = (MPOL_F_STATIC_NODES, MPOL_F_RELATIVE_NODES);
    let mode = mode & !MPOL_MODE_FLAGS;
    let absolute = flags & (fixed | relative) != 0;
    let balancing = flags & MPOL_F_NUMA_BALANCING != 0;
    if mode >= MAX
        || flags & (fixed | relative) == fixed | relative
        || balancing && mode != BIND && mode != PREFERRED_MANY
    {
        return Err(Errno::EINVAL);
    }
    match mode {
        DEFAULT if nodes => Err(Errno::EINVAL),
        DEFAULT => Ok(DEFAULT),
        LOCAL if nodes || absolute => Err(Errno::EINVAL),
        LOCAL => Ok(LOCAL),
        PREFERRED if !nodes && absolute => Err(Errno::EINVAL),
        PREFERRED if !nodes => Ok(LOCAL),
        _ if !nodes => Err(Errno::EINVAL),
        _ => Ok(mode | flags | NODES),
    }
}

/// `set_mempolicy(2)`. EINVAL, EFAULT.
pub fn sys_set_mempolicy(t: &Arc<Task>, mode: u32, mask: UserAddr, maxnode: u64) -> SysResult {
    let nodes = read_nodes(t, mask, maxnode)?;
    t.mempolicy.store(make(mode, nodes)?, Ordering::Relaxed);
    Ok(0)
}

/// `mbind(2)`. EINVAL, EPERM, EFAULT for what is not mapped.
pub fn sys_mbind(
    t: &Arc<Task>,
    start: usize,
    len: usize,
    mode: u32,
    mask: UserAddr,
    maxnode: u64,
    flags: u32,
) -> SysResult {
    let nodes = read_nodes(t, mask, maxnode)?;
    if flags & !MPOL_MF_VALID != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & MPOL_MF_MOVE_ALL != 0 && !t.creds().capable(CAP_SYS_NICE) {
        return Err(Errno::EPERM);
    }
    if start % PAGE != 0 {
        return Err(Errno::EINVAL);
    }
    let (start, end) = page_range(start, len, Errno::EINVAL)?;
    if start == end {
        return Ok(0);
    }
    let policy = make(mode, nodes)?;
    t.mm().set_policy(start, end, policy).map(|()| 0)
}

impl Mm {
    fn set_policy(&self, start: usize, end: usize, policy: Policy) -> Result<()> {
        let mut s = self.state.lock();
        if !s.map.covers(start, end) {
            return Err(Errno::EFAULT);
        }
        let done = s.each(start, end, |s, a, b| {
            s.map.isolate(a, b)?;
            s.map.change(a, |v| v.policy = policy);
            Ok(())
        });
        s.map.merge(start, end);
        done
    }
}

/// `get_mempolicy(2)`. EINVAL, EFAULT.
pub fn sys_get_mempolicy(
    t: &Arc<Task>,
    mode: UserAddr,
    mask: UserAddr,
    maxnode: u64,
    addr: usize,
    flags: u32,
) -> SysResult {
    if !mask.is_null() && maxnode < 1
        || flags & !(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED) != 0
        || flags & MPOL_F_MEMS_ALLOWED != 0 && flags & (MPOL_F_NODE | MPOL_F_ADDR) != 0
        || flags & MPOL_F_ADDR == 0 && addr != 0
    {
        return Err(Errno::EINVAL);
    }
    let own = t.mempolicy.load(Ordering::Relaxed);
    let policy = if flags & MPOL_F_ADDR != 0 {
        let mut found = None;
        t.mm().walk(addr, addr.saturating_add(1), |v, _, _| {
            found = Some(v.policy);
            false
        });
        found.ok_or(Errno::EFAULT)?
    } else {
        own
    };
    let (value, nodes) = if flags & MPOL_F_MEMS_ALLOWED != 0 {
        (0, true)
    } else if flags & MPOL_F_NODE != 0 {
        // The node of the page, or the next one to be used: there is only node 0.
        if flags & MPOL_F_ADDR == 0 && policy & !(MPOL_MODE_FLAGS | NODES) != INTERLEAVE {
            return Err(Errno::EINVAL);
        }
        (0, policy & NODES != 0)
    } else {
        (policy & !NODES, policy & NODES != 0)
    };
    user::write_opt(t, mode, &value)?;
    if !mask.is_null() {
        let words = (maxnode as usize).min(PAGE * 8).div_ceil(64);
        for i in 0..words {
            let word = u64::from(i == 0 && nodes);
            user::write(t, mask.offset(i * 8)?, &word)?;
        }
    }
    Ok(0)
}

/// `migrate_pages(2)`: there is nowhere to migrate to. EINVAL, EFAULT, ESRCH, EPERM.
pub fn sys_migrate_pages(
    t: &Arc<Task>,
    pid: i32,
    maxnode: u64,
    from: UserAddr,
    to: UserAddr,
) -> SysResult {
    read_nodes(t, from, maxnode)?;
    let target_exists = read_nodes(t, to, maxnode)?;
    may_access(t, &*find_target(t, pid)?)?;
    if target_exists {
        Ok(0)
    } else {
        Err(Errno::EINVAL)
    }
}

/// `move_pages(2)`: says on which node pages are; moving them there changes nothing. EINVAL, EPERM,
/// ESRCH, EFAULT, ENODEV.
pub fn sys_move_pages(
    t: &Arc<Task>,
    pid: i32,
    count: usize,
    pages: UserAddr,
    nodes: UserAddr,
    status: UserAddr,
    flags: u32,
) -> SysResult {
    if flags & !(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & MPOL_MF_MOVE_ALL != 0 && !t.creds().capable(CAP_SYS_NICE) {
        return Err(Errno::EPERM);
    }
    let target = find_target(t, pid)?;
    may_access(t, &target)?;
    let mm = target.mm();
    let own = Arc::ptr_eq(&mm, &t.mm());
    for i in 0..count {
        let at =
            |array: UserAddr, size: usize| array.offset(i.checked_mul(size).ok_or(Errno::EFAULT)?);
        let page: u64 = user::read(t, at(pages, 8)?)?;
        if !nodes.is_null() && user::read::<i32>(t, at(nodes, 4)?)? != 0 {
            return Err(Errno::ENODEV);
        }
        let page = page as usize & !(PAGE - 1);
        let found = match mm.find_map(page) {
            None => -Errno::EFAULT.0,
            Some(_) if mm.present(page, page.saturating_add(PAGE), own) == [true] => 0,
            Some(_) => -Errno::ENOENT.0,
        };
        user::write(t, at(status, 4)?, &found)?;
    }
    Ok(0)
}
