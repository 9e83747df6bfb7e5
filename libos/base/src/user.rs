//! The application's memory. Never a reference to it: only copies that can fail.
//!
//! The copy loops are assembly with known addresses. When one faults, the platform asks
//! [`fixup`] where to continue, and the copy reports how far it got.

use core::sync::atomic::{AtomicUsize, Ordering};

/// First address above user space.
pub const USER_END: usize = 0x7fff_ffff_f000;

static KERNEL_LOW: AtomicUsize = AtomicUsize::new(0);
static KERNEL_HIGH: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn exclude(low: usize, high: usize) {
    KERNEL_LOW.store(low, Ordering::Relaxed);
    KERNEL_HIGH.store(high, Ordering::Relaxed);
}

/// The memory at fault could not be reached; `done` bytes were copied before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    pub done: usize,
}

/// Bytes from `addr` that are user space, at most `len`: 0 if `addr` is not.
pub fn accessible(addr: usize, len: usize) -> usize {
    let (low, high) = (
        KERNEL_LOW.load(Ordering::Relaxed),
        KERNEL_HIGH.load(Ordering::Relaxed),
    );
    let limit = if addr < low {
        low
    } else if addr < high {
        return 0;
    } else {
        USER_END
    };
    limit.saturating_sub(addr).min(len)
}

// Up to sixteen bytes are loaded before any is stored, so that after a fault the string instruction,
// which can say how far it came, starts from the beginning.
core::arch::global_asm!(
    ".pushsection .text.bastide_user,\"ax\",@progbits",
    ".globl bastide_user_copy, bastide_user_copy_short, bastide_user_copy_long",
    ".globl bastide_user_copy_at, bastide_user_copy_out",
    "bastide_user_copy:", // rdi dst, rsi src, rdx len -> bytes left
    "cmp rdx, 16",
    "ja bastide_user_copy_long",
    "cmp rdx, 8",
    "jb 4f",
    "bastide_user_copy_short: mov rax, qword ptr [rsi]",
    "mov rcx, qword ptr [rsi + rdx - 8]",
    "mov qword ptr [rdi], rax",
    "mov qword ptr [rdi + rdx - 8], rcx",
    "xor eax, eax",
    "ret",
    "4: cmp rdx, 4",
    "jb 2f",
    "mov eax, dword ptr [rsi]",
    "mov ecx, dword ptr [rsi + rdx - 4]",
    "mov dword ptr [rdi], eax",
    "mov dword ptr [rdi + rdx - 4], ecx",
    "xor eax, eax",
    "ret",
    "2: mov r9, rdx",
    "shr r9, 1",
    "jz 1f",
    "movzx eax, byte ptr [rsi]",
    "movzx ecx, byte ptr [rsi + r9]",
    "movzx r8d, byte ptr [rsi + rdx - 1]",
    "mov byte ptr [rdi], al",
    "mov byte ptr [rdi + r9], cl",
    "mov byte ptr [rdi + rdx - 1], r8b",
    "xor eax, eax",
    "ret",
    "1: xor eax, eax",
    "test rdx, rdx",
    "jz 0f",
    "movzx ecx, byte ptr [rsi]",
    "mov byte ptr [rdi], cl",
    "0: ret",
    "bastide_user_copy_long:",
    "mov rcx, rdx",
    "bastide_user_copy_at: rep movsb",
    "bastide_user_copy_out: mov rax, rcx",
    "ret",
    ".globl bastide_user_fill",
    "bastide_user_fill:", // rdi dst, esi byte, rdx len -> bytes left
    "mov rcx, rdx",
    "mov eax, esi",
    "cmp rdx, 1",
    "jne bastide_user_fill_at",
    "bastide_user_fill_one: mov byte ptr [rdi], al",
    "xor eax, eax",
    "ret",
    "bastide_user_fill_at: rep stosb",
    "bastide_user_fill_out: mov rax, rcx",
    "ret",
    ".globl bastide_user_cas32",
    "bastide_user_cas32:", // rdi addr, esi old, edx new, rcx out -> 0 or 1 on a fault
    "mov eax, esi",
    "mov r8d, 1",
    "bastide_user_cas32_at: lock cmpxchg dword ptr [rdi], edx",
    "xor r8d, r8d",
    "bastide_user_cas32_out: mov dword ptr [rcx], eax",
    "mov eax, r8d",
    "ret",
    ".globl bastide_user_load32",
    "bastide_user_load32:", // rdi addr, rsi out -> 0 or 1 on a fault
    "mov eax, 1",
    "bastide_user_load32_at: mov edx, dword ptr [rdi]",
    "xor eax, eax",
    "mov dword ptr [rsi], edx",
    "bastide_user_load32_out: ret",
    ".globl bastide_user_store64",
    "bastide_user_store64:", // rdi addr, rsi value -> 0 or 1 on a fault
    "mov eax, 1",
    "bastide_user_store64_at: mov qword ptr [rdi], rsi",
    "xor eax, eax",
    "bastide_user_store64_out: ret",
    ".popsection",
);

unsafe extern "C" {
    fn bastide_user_copy(dst: usize, src: usize, len: usize) -> usize;
    fn bastide_user_fill(dst: usize, byte: u32, len: usize) -> usize;
    fn bastide_user_cas32(addr: usize, old: u32, new: u32, out: *mut u32) -> u32;
    fn bastide_user_load32(addr: usize, out: *mut u32) -> u32;
    fn bastide_user_store64(addr: usize, value: u64) -> u32;
    static bastide_user_store64_at: u8;
    static bastide_user_store64_out: u8;
    static bastide_user_copy_short: u8;
    static bastide_user_copy_long: u8;
    static bastide_user_copy_at: u8;
    static bastide_user_copy_out: u8;
    static bastide_user_fill_one: u8;
    static bastide_user_fill_at: u8;
    static bastide_user_fill_out: u8;
    static bastide_user_cas32_at: u8;
    static bastide_user_cas32_out: u8;
    static bastide_user_load32_at: u8;
    static bastide_user_load32_out: u8;
}

/// Where to continue after a memory fault at the instruction `rip`, if it is one of the copies.
pub fn fixup(rip: usize) -> Option<usize> {
    let at = |s: *const u8| s as usize;
    let short = at(&raw const bastide_user_copy_short)..at(&raw const bastide_user_copy_long);
    if short.contains(&rip) {
        return Some(short.end);
    }
    let table = [
        (
            &raw const bastide_user_fill_one,
            &raw const bastide_user_fill_at,
        ),
        (
            &raw const bastide_user_copy_at,
            &raw const bastide_user_copy_out,
        ),
        (
            &raw const bastide_user_fill_at,
            &raw const bastide_user_fill_out,
        ),
        (
            &raw const bastide_user_cas32_at,
            &raw const bastide_user_cas32_out,
        ),
        (
            &raw const bastide_user_load32_at,
            &raw const bastide_user_load32_out,
        ),
        (
            &raw const bastide_user_store64_at,
            &raw const bastide_user_store64_out,
        ),
    ];
    table
        .iter()
        .find(|(from, _)| at(*from) == rip)
        .map(|(_, to)| at(*to))
}

fn result(len: usize, allowed: usize, left: usize) -> Result<(), Fault> {
    let done = allowed - left;
    if done == len {
        Ok(())
    } else {
        Err(Fault { done })
    }
}

/// Copies from user memory.
pub fn read(addr: usize, buf: &mut [u8]) -> Result<(), Fault> {
    let n = accessible(addr, buf.len());
    // SAFETY: writes at most buf.len() bytes to buf; the source is user memory, and a fault there
    // is fixed up.
    let left = unsafe { bastide_user_copy(buf.as_mut_ptr() as usize, addr, n) };
    result(buf.len(), n, left)
}

/// Copies to user memory.
pub fn write(addr: usize, buf: &[u8]) -> Result<(), Fault> {
    let n = accessible(addr, buf.len());
    // SAFETY: the destination is outside the kernel region, so no Rust object is changed; a fault
    // there is fixed up.
    let left = unsafe { bastide_user_copy(addr, buf.as_ptr() as usize, n) };
    result(buf.len(), n, left)
}

/// Fills user memory.
pub fn fill(addr: usize, byte: u8, len: usize) -> Result<(), Fault> {
    let n = accessible(addr, len);
    // SAFETY: as for `write`.
    let left = unsafe { bastide_user_fill(addr, u32::from(byte), n) };
    result(len, n, left)
}

/// Copies `len` bytes of kernel page memory to user memory; for [`crate::pages`].
pub(crate) fn write_raw(addr: usize, src: usize, len: usize) -> Result<(), Fault> {
    let n = accessible(addr, len);
    // SAFETY: the destination is outside the kernel region; the source is page memory that the
    // caller owns.
    let left = unsafe { bastide_user_copy(addr, src, n) };
    result(len, n, left)
}

/// Copies `len` bytes of user memory to kernel page memory; for [`crate::pages`].
pub(crate) fn read_raw(addr: usize, dst: usize, len: usize) -> Result<(), Fault> {
    let n = accessible(addr, len);
    // SAFETY: the destination is page memory that the caller owns and that no reference covers.
    let left = unsafe { bastide_user_copy(dst, addr, n) };
    result(len, n, left)
}

/// Reads an aligned 32-bit word in one access.
pub fn load_u32(addr: usize) -> Result<u32, Fault> {
    let mut out = 0;
    if !addr.is_multiple_of(4) || accessible(addr, 4) < 4 {
        return Err(Fault { done: 0 });
    }
    // SAFETY: reads one word of user memory, with a fix-up, and writes the local.
    match unsafe { bastide_user_load32(addr, &mut out) } {
        0 => Ok(out),
        _ => Err(Fault { done: 0 }),
    }
}

/// Compares and exchanges an aligned 32-bit word; returns what it was.
pub fn cas_u32(addr: usize, old: u32, new: u32) -> Result<u32, Fault> {
    let mut out = 0;
    if !addr.is_multiple_of(4) || accessible(addr, 4) < 4 {
        return Err(Fault { done: 0 });
    }
    // SAFETY: changes one word of user memory, with a fix-up, and writes the local.
    match unsafe { bastide_user_cas32(addr, old, new, &mut out) } {
        0 => Ok(out),
        _ => Err(Fault { done: 0 }),
    }
}

/// Writes an aligned 64-bit word in one access.
pub fn store_u64(addr: usize, value: u64) -> Result<(), Fault> {
    if !addr.is_multiple_of(8) || accessible(addr, 8) < 8 {
        return Err(Fault { done: 0 });
    }
    // SAFETY: changes one word of user memory, with a fix-up.
    match unsafe { bastide_user_store64(addr, value) } {
        0 => Ok(()),
        _ => Err(Fault { done: 0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_and_exchanges() {
        let mut v = [1u8, 2, 3, 4];
        let mut w = [0u8; 4];
        read(v.as_ptr() as usize, &mut w).unwrap();
        assert_eq!(v, w);
        write(v.as_mut_ptr() as usize, &[9; 4]).unwrap();
        assert_eq!(v, [9; 4]);
        let word = core::cell::UnsafeCell::new(5u32);
        assert_eq!(cas_u32(word.get() as usize, 5, 6), Ok(5));
        assert_eq!(load_u32(word.get() as usize), Ok(6));
    }

    #[test]
    fn copies_of_every_length_touch_nothing_else() {
        let from: [u8; 40] = core::array::from_fn(|i| i as u8 + 1);
        for len in 0..=32 {
            let mut to = [0xee; 40];
            let at = &raw mut to as usize + 4;
            write(at, &from[..len]).unwrap();
            assert_eq!(to[4..4 + len], from[..len]);
            assert!(to[..4].iter().chain(&to[4 + len..]).all(|&b| b == 0xee));
            fill(at, 7, len).unwrap();
            assert!(to[4..4 + len].iter().all(|&b| b == 7));
            assert!(to[..4].iter().chain(&to[4 + len..]).all(|&b| b == 0xee));
        }
    }

    #[test]
    fn a_short_copy_that_faults_goes_on_as_a_long_one() {
        let long = &raw const bastide_user_copy_long as usize;
        let short = &raw const bastide_user_copy_short as usize;
        assert_eq!(fixup(short), Some(long));
        assert_eq!(fixup(long - 1), Some(long));
        assert_eq!(fixup(long), None);
        let out = &raw const bastide_user_copy_out as usize;
        assert_eq!(fixup(&raw const bastide_user_copy_at as usize), Some(out));
    }

    #[test]
    fn refuses_what_is_not_user_space() {
        assert_eq!(accessible(USER_END, 1), 0);
        assert_eq!(accessible(USER_END - 2, 8), 2);
        assert_eq!(read(usize::MAX - 1, &mut [0; 4]), Err(Fault { done: 0 }));
        assert_eq!(load_u32(2), Err(Fault { done: 0 }));
    }
}
