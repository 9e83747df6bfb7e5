//! `mremap(2)`.

use super::map::MIN_ADDR;
use super::vma::{Memory, VmFlags, Vma};
use super::{Limits, Mm, Place, State, fault, page_up, runs::Runs};
use crate::sysctl::MAX_MAP_COUNT;
use crate::{Errno, Result, host_error, pal};
use alloc::vec::Vec;
use bastide_base::pages::PAGE;
use bastide_base::user::USER_END;
use bastide_pal::MapSource;

/// `MREMAP_*`.
pub const MAYMOVE: u32 = 1;
pub const FIXED: u32 = 2;
pub const DONTUNMAP: u32 = 4;

/// The host's answer to moving several of its mappings at once.
const EFAULT: bastide_pal::Error = bastide_pal::Error(14);

/// Moves host mappings, and makes the last one longer if `grown` is more than `len`. What is one
/// mapping here may be several there, which move one by one.
fn move_host(old: usize, len: usize, new: usize, grown: usize) -> Result<()> {
    match pal().remap(old, len, new, grown) {
        Err(EFAULT) if len > PAGE => {
            let half = (len / 2).next_multiple_of(PAGE);
            move_host(old, half, new, half)?;
            move_host(old + half, len - half, new + half, grown - half).inspect_err(|_| {
                // Out of host memory half-way: what moved goes back if it can.
                let _ = move_host(new, half, old, half);
            })
        }
        r => r.map_err(host_error),
    }
}

/// Tells the platform of the part `from..to` of a mapping that it does not have yet.
fn map_more(v: &Vma, from: usize, to: usize) -> Result<()> {
    let source = match &v.memory {
        Memory::Anon => MapSource::Anon,
        Memory::Host { handle, .. } => MapSource::Host {
            fd: handle.0,
            offset: v.offset_at(from),
            shared: v.shared(),
        },
        Memory::Pages { .. } => return Ok(()),
    };
    if from < to {
        pal()
            .map(from, to - from, v.prot, source)
            .map_err(host_error)?;
    }
    Ok(())
}

impl State {
    /// The mapping at `addr` may be resized: Linux's `vma_to_resize`.
    fn check_resize(&self, limits: &Limits, addr: usize, old: usize, new: usize) -> Result<()> {
        let v = self.map.find(addr).ok_or(Errno::EFAULT)?;
        if old == 0 && !v.shared() {
            return Err(Errno::EINVAL);
        }
        if old > v.end - addr {
            return Err(Errno::EFAULT);
        }
        if new <= old {
            return Ok(());
        }
        let pages = (new - old) / PAGE;
        if v.offset_at(addr).checked_add(new as u64).is_none() {
            return Err(Errno::EINVAL);
        }
        if v.flags.contains(VmFlags::LOCKED) {
            self.check_lock(limits, pages)?;
        }
        self.check_room(limits, v, pages)
    }

    /// Grows a mapping that ends at `end` by `len` bytes where it is.
    fn grow(&mut self, addr: usize, end: usize, len: usize) -> Result<()> {
        let Some(v) = self.map.find(addr) else {
            return Err(Errno::EFAULT);
        };
        // The host's last mapping grows with it, so that it stays one and can move as one.
        let grows = !matches!(v.memory, Memory::Pages { .. })
            && !v.guards.contains(end - PAGE)
            && pal()
                .remap(end - PAGE, PAGE, end - PAGE, PAGE + len)
                .is_ok();
        if !grows {
            map_more(v, end, end + len)?;
        }
        let start = v.start;
        self.map.change(start, |v| v.end = end + len);
        if let Some(v) = self.map.find_mut(start) {
            // What does not get mapped now is mapped on access.
            let _ = fault::fill(v, end, end + len);
        }
        self.map.merge(start, end + len);
        Ok(())
    }

    /// Moves `old` bytes of a mapping to `dest`, where they become `new`; with `keep`, leaves the
    /// old range mapped and empty. `old` 0 makes a second mapping of the same shared memory.
    fn relocate(
        &mut self,
        addr: usize,
        old: usize,
        new: usize,
        dest: usize,
        keep: bool,
    ) -> Result<()> {
        if old > 0 {
            self.map.isolate(addr, addr + old)?;
        }
        let v = self.map.find(addr).ok_or(Errno::EFAULT)?;
        let offset = v.offset_at(addr);
        let mut moved = Vma {
            start: dest,
            end: dest + new,
            ..v.clone()
        };
        match &mut moved.memory {
            Memory::Anon => {}
            Memory::Host { offset: o, .. } => *o = offset,
            Memory::Pages {
                offset: o, filled, ..
            } => {
                *o = offset;
                *filled = Runs::default();
            }
        }
        moved.guards = v.guards.moved(addr, dest);
        match (&v.memory, &mut moved.memory) {
            _ if old == 0 => map_more(&moved, dest, dest + new)?,
            (Memory::Pages { filled: from, .. }, Memory::Pages { filled, .. }) => {
                for (a, b) in from.within(addr, addr + old) {
                    move_host(a, b - a, dest + (a - addr), b - a)?;
                }
                *filled = from.moved(addr, dest);
            }
            _ if v.guards.contains(addr + old - PAGE) => {
                map_more(&moved, dest + old, dest + new)?;
                move_host(addr, old, dest, old)?;
            }
            _ => move_host(addr, old, dest, new)?,
        }
        if old > 0
            && let Some(mut left) = self.map.take(addr)
            && keep
        {
            left.flags -= VmFlags::LOCKED | VmFlags::LOCKONFAULT;
            left.guards = Runs::default();
            if let Memory::Pages { filled, .. } = &mut left.memory {
                *filled = Runs::default();
            }
            map_more(&left, addr, addr + old)?;
            self.map.put(left);
            self.map.merge(addr, addr + old);
        }
        // What does not get mapped now is mapped on access.
        let _ = fault::fill(&mut moved, dest, dest + new);
        self.map.put(moved);
        self.map.merge(dest, dest + new);
        Ok(())
    }
}

impl Mm {
    /// Resizes and moves a mapping, `mremap(2)`; arguments as the call's. Returns the new address.
    pub fn remap(
        &self,
        limits: &Limits,
        addr: usize,
        old_len: usize,
        new_len: usize,
        flags: u32,
        new_addr: usize,
    ) -> Result<usize> {
        let fixed = flags & FIXED != 0;
        let keep = flags & DONTUNMAP != 0;
        if flags & !(MAYMOVE | FIXED | DONTUNMAP) != 0
            || (fixed || keep) && flags & MAYMOVE == 0
            || keep && old_len != new_len
            || addr % PAGE != 0
        {
            return Err(Errno::EINVAL);
        }
        let new = page_up(new_len).filter(|&n| n > 0).ok_or(Errno::EINVAL)?;
        let old = page_up(old_len).ok_or(Errno::EINVAL)?;
        let mut gone = Vec::new();
        let mut s = self.state.lock();
        let done = s.remap(limits, addr, old, new, flags, new_addr, &mut gone);
        drop(s);
        drop(gone);
        done
    }
}

impl State {
    #[allow(clippy::too_many_arguments)]
    fn remap(
        &mut self,
        limits: &Limits,
        addr: usize,
        mut old: usize,
        new: usize,
        flags: u32,
        new_addr: usize,
        gone: &mut Vec<Vma>,
    ) -> Result<usize> {
        let (fixed, keep) = (flags & FIXED != 0, flags & DONTUNMAP != 0);
        let v = self.map.find(addr).ok_or(Errno::EFAULT)?;
        let old_end = addr.checked_add(old).ok_or(Errno::EINVAL)?;
        self.check_seals(addr, old_end.max(addr + 1))?;
        if fixed || keep {
            if new_addr % PAGE != 0 || new > USER_END || new_addr > USER_END - new {
                return Err(Errno::EINVAL);
            }
            if old_end > new_addr && new_addr + new > addr {
                return Err(Errno::EINVAL);
            }
            if self.map.len() + 2 >= MAX_MAP_COUNT.size().saturating_sub(3) {
                return Err(Errno::ENOMEM);
            }
            if fixed {
                if new_addr < MIN_ADDR {
                    return Err(Errno::EPERM);
                }
                if !self.map.allowed(new_addr, new) {
                    return Err(Errno::EINVAL);
                }
                self.check_seals(new_addr, new_addr + new)?;
                self.unmap(new_addr, new_addr + new, true, gone)?;
            }
            if old > new {
                self.unmap(addr + new, old_end, true, gone)?;
                old = new;
            }
            self.check_resize(limits, addr, old, new)?;
            if keep && let Some(v) = self.map.find(addr) {
                self.check_room(limits, v, old / PAGE)?;
            }
        } else {
            if old >= new {
                if old > new {
                    self.unmap(addr + new, old_end.min(USER_END), true, gone)?;
                }
                return Ok(addr);
            }
            let end = v.end;
            self.check_resize(limits, addr, old, new)?;
            let more = new - old;
            if old > 0
                && old_end == end
                && self.map.allowed(end, more)
                && self.map.touching(end, end + more).is_empty()
            {
                self.grow(addr, end, more)?;
                return Ok(addr);
            }
            if flags & MAYMOVE == 0 {
                return Err(Errno::ENOMEM);
            }
        }
        let place = Place {
            addr: if fixed || keep { new_addr } else { 0 },
            fixed,
            ..Place::default()
        };
        let dest = self.place(place, new)?;
        self.relocate(addr, old, new, dest, keep)?;
        Ok(dest)
    }
}
