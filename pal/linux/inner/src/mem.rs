//! Address spaces: the calling host process's memory outside the enclave's region.

use crate::LinuxPal;
use crate::host::{self, host};
use crate::layout::{BASE, END};
use crate::start::control;
use bastide_base::pages::{LARGE, PAGE};
use bastide_base::user::USER_END;
use bastide_pal::{AddressSpace, Error, IoVec, MapSource, Prot, Result, ThreadId};
use core::sync::atomic::Ordering;

const MAP_SHARED: usize = 1;
const MAP_PRIVATE: usize = 2;
const MAP_FIXED: usize = 0x10;
const MAP_ANONYMOUS: usize = 0x20;
const MAP_NORESERVE: usize = 0x4000;
const MADV_HUGEPAGE: usize = 14;
const MADV_NOHUGEPAGE: usize = 15;
const EINVAL: Error = Error(22);

/// Refuses a range that is not application memory: the last line of defence of the region.
fn outside(addr: usize, len: usize) -> Result<()> {
    let end = addr.checked_add(len).ok_or(EINVAL)?;
    if !addr.is_multiple_of(4096) || end > USER_END || (addr < END && end > BASE) {
        return Err(EINVAL);
    }
    Ok(())
}

fn unit(raw: isize) -> Result<()> {
    host::check(raw).map(|_| ())
}

impl AddressSpace for LinuxPal {
    fn kernel_region(&self) -> (usize, usize) {
        (BASE, END)
    }

    fn map(&self, addr: usize, len: usize, prot: Prot, source: MapSource) -> Result<()> {
        outside(addr, len)?;
        let kind = |shared| if shared { MAP_SHARED } else { MAP_PRIVATE } | MAP_FIXED;
        let (flags, fd, offset) = match source {
            // The kernel has decided whether so much memory may be promised.
            MapSource::Anon => (
                MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE,
                -1,
                0,
            ),
            MapSource::Kernel { addr: from, shared } => {
                if from < BASE || from.checked_add(len).is_none_or(|e| e > END) {
                    return Err(EINVAL);
                }
                (
                    kind(shared),
                    control().region_fd.load(Ordering::Relaxed),
                    from - BASE,
                )
            }
            MapSource::Host { fd, offset, shared } => (kind(shared), fd.0, offset as usize),
        };
        // SAFETY: the range is outside the region, so only application memory changes.
        let r = unsafe {
            host!(
                __NR_mmap,
                addr,
                len,
                prot.bits(),
                flags,
                fd as isize,
                offset
            )
        };
        match host::check(r)? {
            at if at == addr => Ok(()),
            _ => Err(Error(5)),
        }
    }

    fn unmap(&self, addr: usize, len: usize) -> Result<()> {
        outside(addr, len)?;
        // SAFETY: as for `map`.
        unit(unsafe { host!(__NR_munmap, addr, len) })
    }

    fn protect(&self, addr: usize, len: usize, prot: Prot) -> Result<()> {
        outside(addr, len)?;
        // SAFETY: as for `map`.
        unit(unsafe { host!(__NR_mprotect, addr, len, prot.bits()) })
    }

    fn remap(&self, old: usize, old_len: usize, new: usize, new_len: usize) -> Result<()> {
        outside(old, old_len)?;
        outside(new, new_len)?;
        // MREMAP_MAYMOVE, and MREMAP_FIXED unless it stays.
        let (flags, target) = if old == new { (0, 0) } else { (3, new) };
        // SAFETY: as for `map`, both ranges checked.
        let r = unsafe { host!(__NR_mremap, old, old_len, new_len, flags, target) };
        match host::check(r)? {
            at if at == new => Ok(()),
            _ => Err(Error(5)),
        }
    }

    fn discard(&self, addr: usize, len: usize) -> Result<()> {
        outside(addr, len)?;
        // SAFETY: as for `map`; MADV_DONTNEED.
        unit(unsafe { host!(__NR_madvise, addr, len, 4) })
    }

    fn large_pages(&self, addr: usize, len: usize, wanted: bool) -> Result<()> {
        outside(addr, len)?;
        let advice = if wanted {
            MADV_HUGEPAGE
        } else {
            MADV_NOHUGEPAGE
        };
        // SAFETY: as for `map`; contents stay as they are.
        unit(unsafe { host!(__NR_madvise, addr, len, advice) })
    }

    fn resident(&self, addr: usize, len: usize, out: &mut [u8]) -> Result<()> {
        outside(addr, len)?;
        if out.len() < len.div_ceil(4096) {
            return Err(EINVAL);
        }
        // SAFETY: the host writes a byte a page to `out`, which is long enough.
        unit(unsafe { host!(__NR_mincore, addr, len, out.as_mut_ptr()) })
    }

    fn clear(&self) -> Result<()> {
        // SAFETY: everything but the region.
        unsafe {
            unit(host!(__NR_munmap, 0, BASE))?;
            unit(host!(__NR_munmap, END, USER_END - END))
        }
    }

    fn peek(&self, thread: ThreadId, addr: usize, buf: &mut [u8]) -> Result<usize> {
        let pid = crate::thread::group_of(thread.0).ok_or(Error(3))?;
        let local = IoVec {
            addr: buf.as_mut_ptr() as usize,
            len: buf.len(),
        };
        let remote = IoVec {
            addr,
            len: bastide_base::user::accessible(addr, buf.len()),
        };
        // SAFETY: the host writes to `buf` only.
        let r = unsafe {
            host!(
                __NR_process_vm_readv,
                pid,
                &raw const local,
                1,
                &raw const remote,
                1,
                0
            )
        };
        host::check_len(r, buf.len())
    }

    fn poke(&self, thread: ThreadId, addr: usize, buf: &[u8]) -> Result<usize> {
        let pid = crate::thread::group_of(thread.0).ok_or(Error(3))?;
        let local = IoVec {
            addr: buf.as_ptr() as usize,
            len: buf.len(),
        };
        let remote = IoVec {
            addr,
            len: bastide_base::user::accessible(addr, buf.len()),
        };
        // SAFETY: the target range is outside the region, so only application memory changes.
        let r = unsafe {
            host!(
                __NR_process_vm_writev,
                pid,
                &raw const local,
                1,
                &raw const remote,
                1,
                0
            )
        };
        host::check_len(r, buf.len())
    }

    fn expect_kernel_pages(&self, addr: usize, len: usize) {
        crate::large::expect(addr, len);
    }

    fn used_kernel_pages(&self, addr: usize, len: usize) -> usize {
        let mut used = [0u8; LARGE / PAGE];
        let len = len.min(LARGE);
        // SAFETY: the host writes a byte a page, of which there is room for as many.
        match host::check(unsafe { host!(__NR_mincore, addr, len, used.as_mut_ptr()) }) {
            Ok(_) => used.iter().filter(|page| **page & 1 != 0).count(),
            Err(_) => 0,
        }
    }

    fn release_kernel_pages(&self, addr: usize, len: usize) {
        if addr < BASE || addr.checked_add(len).is_none_or(|e| e > END) {
            return;
        }
        if crate::large::keeps(addr, len) {
            // SAFETY: the caller gave the pages up.
            unsafe { core::ptr::write_bytes(addr as *mut u8, 0, len) };
            return;
        }
        let fd = control().region_fd.load(Ordering::Relaxed);
        // FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE.
        // SAFETY: the caller gave the pages up; they read as zero afterwards.
        unsafe { host!(__NR_fallocate, fd, 3, addr - BASE, len) };
    }
}
