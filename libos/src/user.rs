//! Typed access to the application's memory: fallible copies, never references.

use crate::{Errno, Result, Task};
use alloc::{vec, vec::Vec};
use bastide_base::user as raw;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Longest path with its NUL, `PATH_MAX`.
pub const PATH_MAX: usize = 4096;

/// How often one access is repaired before it counts as a fault: what seems mapped may lie beyond
/// the end of a host file.
const REPAIRS: usize = 4;

/// An address in the application's memory: a claim, not a fact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct UserAddr(pub usize);

impl UserAddr {
    /// The null pointer, by which many calls mean "not given".
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// `self + n`; EFAULT if it leaves the address space.
    pub fn offset(self, n: usize) -> Result<UserAddr> {
        self.0.checked_add(n).map(UserAddr).ok_or(Errno::EFAULT)
    }
}

/// Copies once, and again after the memory manager has repaired what can be repaired (a growing
/// stack, a file page not yet mapped).
fn with_repair(
    t: &Task,
    addr: usize,
    write: bool,
    mut copy: impl FnMut(usize) -> core::result::Result<(), raw::Fault>,
) -> core::result::Result<(), usize> {
    let mut done = 0;
    let mut last = usize::MAX;
    loop {
        match copy(done) {
            Ok(()) => return Ok(()),
            Err(raw::Fault { done: more }) => {
                done += more;
                if last == done || !t.mm().repair(t, addr + done, write) {
                    return Err(done);
                }
                last = done;
            }
        }
    }
}

/// Copies from user memory; the error is the number of bytes copied before the fault.
pub fn read_partial(t: &Task, addr: UserAddr, buf: &mut [u8]) -> core::result::Result<(), usize> {
    with_repair(t, addr.0, false, |d| raw::read(addr.0 + d, &mut buf[d..]))
}

/// Copies to user memory; the error is the number of bytes copied before the fault.
pub fn write_partial(t: &Task, addr: UserAddr, buf: &[u8]) -> core::result::Result<(), usize> {
    with_repair(t, addr.0, true, |d| raw::write(addr.0 + d, &buf[d..]))
}

/// Copies from user memory, all or EFAULT.
pub fn read_bytes(t: &Task, addr: UserAddr, buf: &mut [u8]) -> Result<()> {
    read_partial(t, addr, buf).map_err(|_| Errno::EFAULT)
}

/// Copies to user memory, all or EFAULT.
pub fn write_bytes(t: &Task, addr: UserAddr, buf: &[u8]) -> Result<()> {
    write_partial(t, addr, buf).map_err(|_| Errno::EFAULT)
}

/// Copies a kernel page block's part to user memory.
pub fn write_pages(
    t: &Task,
    addr: UserAddr,
    p: &bastide_base::pages::Pages,
    off: usize,
    len: usize,
) -> core::result::Result<(), usize> {
    with_repair(t, addr.0, true, |d| p.to_user(off + d, addr.0 + d, len - d))
}

/// Copies user memory to a kernel page block.
pub fn read_pages(
    t: &Task,
    addr: UserAddr,
    p: &bastide_base::pages::Pages,
    off: usize,
    len: usize,
) -> core::result::Result<(), usize> {
    with_repair(t, addr.0, false, |d| {
        p.from_user(off + d, addr.0 + d, len - d)
    })
}

/// Writes zeros to user memory.
pub fn fill(t: &Task, addr: UserAddr, byte: u8, len: usize) -> core::result::Result<(), usize> {
    with_repair(t, addr.0, true, |d| raw::fill(addr.0 + d, byte, len - d))
}

/// Reads one value.
pub fn read<T: FromBytes + IntoBytes>(t: &Task, addr: UserAddr) -> Result<T> {
    let mut v = T::new_zeroed();
    read_bytes(t, addr, v.as_mut_bytes())?;
    Ok(v)
}

/// Writes one value.
pub fn write<T: IntoBytes + Immutable + ?Sized>(t: &Task, addr: UserAddr, v: &T) -> Result<()> {
    write_bytes(t, addr, v.as_bytes())
}

/// Writes one value unless the pointer is null.
pub fn write_opt<T: IntoBytes + Immutable>(t: &Task, addr: UserAddr, v: &T) -> Result<()> {
    if addr.is_null() {
        Ok(())
    } else {
        write(t, addr, v)
    }
}

/// Reads `count` values; ENOMEM when that is absurd.
pub fn read_array<T: FromBytes + IntoBytes + Immutable + KnownLayout + Clone>(
    t: &Task,
    addr: UserAddr,
    count: usize,
) -> Result<Vec<T>> {
    if count
        .checked_mul(size_of::<T>())
        .is_none_or(|n| n > 64 << 20)
    {
        return Err(Errno::ENOMEM);
    }
    let mut v = vec![T::new_zeroed(); count];
    read_bytes(t, addr, v.as_mut_slice().as_mut_bytes())?;
    Ok(v)
}

/// Reads a NUL-terminated string of at most `max` bytes with its NUL (which is not returned), as
/// the kernel's `strncpy_from_user`: EFAULT, or `too_long` if there is no NUL.
pub fn read_cstr(t: &Task, addr: UserAddr, max: usize, too_long: Errno) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    while out.len() < max {
        let at = addr.offset(out.len())?;
        // Stop at page boundaries so that the string may end just before an unmapped page.
        let n = (4096 - at.0 % 4096).min(max - out.len()).min(256);
        let mut chunk = [0u8; 256];
        let got = match read_partial(t, at, &mut chunk[..n]) {
            Ok(()) => n,
            Err(k) => k,
        };
        if let Some(end) = chunk[..got].iter().position(|&b| b == 0) {
            out.extend_from_slice(&chunk[..end]);
            return Ok(out);
        }
        if got < n {
            return Err(Errno::EFAULT);
        }
        out.extend_from_slice(&chunk[..got]);
    }
    Err(too_long)
}

/// Reads a path: ENAMETOOLONG beyond `PATH_MAX`, EFAULT for a bad pointer. May be empty.
pub fn read_path(t: &Task, addr: UserAddr) -> Result<Vec<u8>> {
    read_cstr(t, addr, PATH_MAX, Errno::ENAMETOOLONG)
}

/// Reads an aligned 32-bit word in one access.
pub fn load_u32(t: &Task, addr: UserAddr) -> Result<u32> {
    for _ in 0..REPAIRS {
        match raw::load_u32(addr.0) {
            Ok(v) => return Ok(v),
            Err(_) if t.mm().repair(t, addr.0, false) => {}
            Err(_) => break,
        }
    }
    Err(Errno::EFAULT)
}

/// Compares and exchanges an aligned 32-bit word; returns what it was.
pub fn cas_u32(t: &Task, addr: UserAddr, old: u32, new: u32) -> Result<u32> {
    for _ in 0..REPAIRS {
        match raw::cas_u32(addr.0, old, new) {
            Ok(v) => return Ok(v),
            Err(_) if t.mm().repair(t, addr.0, true) => {}
            Err(_) => break,
        }
    }
    Err(Errno::EFAULT)
}
