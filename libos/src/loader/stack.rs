//! The initial stack: strings, auxiliary vector, environment, arguments (System V ABI, AMD64
//! supplement, "Process initialization"; `getauxval(3)`).

use super::{Start, Strings};
use crate::mm::Mm;
use crate::process::task::RLIMIT_STACK;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, Task, pal};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Once;
use bastide_pal::Prot;

const AT_NULL: u64 = 0;
const AT_PHDR: u64 = 3;
const AT_PHENT: u64 = 4;
const AT_PHNUM: u64 = 5;
const AT_PAGESZ: u64 = 6;
const AT_BASE: u64 = 7;
const AT_FLAGS: u64 = 8;
const AT_ENTRY: u64 = 9;
const AT_UID: u64 = 11;
const AT_EUID: u64 = 12;
const AT_GID: u64 = 13;
const AT_EGID: u64 = 14;
const AT_PLATFORM: u64 = 15;
const AT_HWCAP: u64 = 16;
const AT_CLKTCK: u64 = 17;
const AT_SECURE: u64 = 23;
const AT_RANDOM: u64 = 25;
const AT_HWCAP2: u64 = 26;
const AT_EXECFN: u64 = 31;
const AT_SYSINFO_EHDR: u64 = 33;
const AT_MINSIGSTKSZ: u64 = 51;
/// `HWCAP2_FSGSBASE`.
const HWCAP2: u64 = 2;

/// What the auxiliary vector says of the program.
pub struct Facts {
    pub headers: usize,
    pub header_count: usize,
    pub base: usize,
    pub entry: usize,
    /// Address of the vDSO, 0 if there is none.
    pub vdso: usize,
    pub secure: bool,
}

/// `AT_HWCAP`: the processor's `edx` of CPUID leaf 1. Asked once, as the instruction costs
/// microseconds in a virtual machine.
fn hwcap() -> u64 {
    static KNOWN: Once<u64> = Once::new();
    *KNOWN.get_or_init(|| core::arch::x86_64::__cpuid(1).edx.into())
}

/// Maps the stack and writes what the program expects on it. The result's `entry` is not set.
pub fn build(t: &Task, mm: &Arc<Mm>, s: &Strings, f: &Facts) -> Result<Start> {
    let top = mm.map_stack(t.rlimit(RLIMIT_STACK), Prot::READ | Prot::WRITE)?;
    let mut random = [0u8; 24];
    pal().random(&mut random);
    // Some entropy below the top, as the kernel's `arch_align_stack`.
    let jitter = usize::from(u16::from_le_bytes([random[16], random[17]])) & 0x1ff0;

    // From the top down: path, environment, arguments, platform, random bytes.
    let mut strings: Vec<u8> = Vec::new();
    let put = |bytes: &[u8], strings: &mut Vec<u8>| {
        let at = strings.len();
        strings.extend_from_slice(bytes);
        strings.push(0);
        at
    };
    let random_at = strings.len();
    strings.extend_from_slice(&random[..16]);
    let platform = put(b"x86_64", &mut strings);
    let arg_start = strings.len();
    let args: Vec<usize> = s.args.iter().map(|a| put(a, &mut strings)).collect();
    let env_start = strings.len();
    let env: Vec<usize> = s.env.iter().map(|e| put(e, &mut strings)).collect();
    let env_end = strings.len();
    let path = put(&s.path, &mut strings);

    let at = |offset: usize, base: usize| (base + offset) as u64;
    let string_base = (top - 8 - jitter)
        .checked_sub(strings.len())
        .ok_or(Errno::E2BIG)?
        & !15;
    let creds = t.creds();
    let vdso = (f.vdso != 0).then_some((AT_SYSINFO_EHDR, f.vdso as u64));
    let auxv: Vec<u64> = vdso
        .into_iter()
        .chain([
            (AT_HWCAP, hwcap()),
            (AT_PAGESZ, 4096),
            (AT_CLKTCK, 100),
            (AT_PHDR, f.headers as u64),
            (AT_PHENT, 56),
            (AT_PHNUM, f.header_count as u64),
            (AT_BASE, f.base as u64),
            (AT_FLAGS, 0),
            (AT_ENTRY, f.entry as u64),
            (AT_UID, creds.uid.into()),
            (AT_EUID, creds.euid.into()),
            (AT_GID, creds.gid.into()),
            (AT_EGID, creds.egid.into()),
            (AT_SECURE, f.secure.into()),
            (AT_RANDOM, at(random_at, string_base)),
            (AT_HWCAP2, HWCAP2),
            (AT_EXECFN, at(path, string_base)),
            (AT_PLATFORM, at(platform, string_base)),
            (AT_MINSIGSTKSZ, crate::signal::max_frame_size() as u64),
            (AT_NULL, 0),
        ])
        .flat_map(|(k, v)| [k, v])
        .collect();
    let mut words: Vec<u64> = Vec::with_capacity(args.len() + env.len() + auxv.len() + 3);
    words.push(args.len() as u64);
    words.extend(args.iter().map(|&o| at(o, string_base)));
    words.push(0);
    words.extend(env.iter().map(|&o| at(o, string_base)));
    words.push(0);
    words.extend(&auxv);
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let stack = string_base.checked_sub(bytes.len()).ok_or(Errno::E2BIG)? & !15;

    user::write_bytes(t, UserAddr(string_base), &strings).map_err(|_| Errno::E2BIG)?;
    user::write_bytes(t, UserAddr(stack), &bytes).map_err(|_| Errno::E2BIG)?;
    Ok(Start {
        entry: 0,
        stack,
        args: [
            string_base + arg_start,
            string_base + env_start,
            string_base + env_start,
            string_base + env_end,
        ],
        auxv: auxv.iter().flat_map(|w| w.to_le_bytes()).collect(),
    })
}
