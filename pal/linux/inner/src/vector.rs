//! The application's vector state, as `xsave` lays it out.
//!
//! The kernel touches only `xmm0`–`xmm15`, which the entry code keeps in the frame; the rest is
//! still in the registers, so saving is: load the frame's xmm registers, `xsave`.

use bastide_pal::{Context, Error, Result};
use core::arch::x86_64::{__cpuid_count, _xgetbv};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Features left out: PKRU (a bad value would lock the kernel out of its own memory) and AMX
/// tiles (which the host grants only on request).
const LEFT_OUT: u64 = 1 << 9 | 3 << 17;
const MXCSR_MASK: u32 = 0xffff;
const LARGEST: usize = 8192;

#[repr(C, align(64))]
struct Area([u8; LARGEST]);

static FEATURES: AtomicU64 = AtomicU64::new(0);
static SIZE: AtomicUsize = AtomicUsize::new(0);

#[target_feature(enable = "xsave")]
fn xcr0() -> u64 {
    // SAFETY: xgetbv of register 0 is allowed where OSXSAVE is set, which x86-64 Linux does.
    unsafe { _xgetbv(0) }
}

fn features() -> u64 {
    match FEATURES.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: every x86-64 processor that this backend's checks admit has xsave.
            let f = unsafe { xcr0() } & !LEFT_OUT;
            FEATURES.store(f, Ordering::Relaxed);
            f
        }
        f => f,
    }
}

/// Bytes of the state.
pub(crate) fn size() -> usize {
    match SIZE.load(Ordering::Relaxed) {
        0 => {
            let size = measure(features());
            if size > LARGEST {
                crate::platform::fatal("vector state larger than expected");
            }
            SIZE.store(size, Ordering::Relaxed);
            size
        }
        size => size,
    }
}

/// Where the features' areas end.
fn measure(features: u64) -> usize {
    // Each question goes to the hypervisor, if there is one. All of the features that are on need so
    // much, and only tiles are large.
    const TILES: u64 = 3 << 17;
    // SAFETY: as in `features`.
    if unsafe { xcr0() } & TILES == 0 {
        return __cpuid_count(0xd, 0).ebx as usize;
    }
    (2..63)
        .filter(|i| features & (1 << i) != 0)
        .map(|i| __cpuid_count(0xd, i))
        .map(|area| (area.ebx + area.eax) as usize)
        .fold(576, usize::max)
}

core::arch::global_asm!(
    ".pushsection .text.bastide_vector,\"ax\",@progbits",
    // rdi frame, rsi area, rdx features
    "bastide_vector_save:",
    "movaps xmm0, [rdi]",
    "movaps xmm1, [rdi + 0x10]",
    "movaps xmm2, [rdi + 0x20]",
    "movaps xmm3, [rdi + 0x30]",
    "movaps xmm4, [rdi + 0x40]",
    "movaps xmm5, [rdi + 0x50]",
    "movaps xmm6, [rdi + 0x60]",
    "movaps xmm7, [rdi + 0x70]",
    "movaps xmm8, [rdi + 0x80]",
    "movaps xmm9, [rdi + 0x90]",
    "movaps xmm10, [rdi + 0xa0]",
    "movaps xmm11, [rdi + 0xb0]",
    "movaps xmm12, [rdi + 0xc0]",
    "movaps xmm13, [rdi + 0xd0]",
    "movaps xmm14, [rdi + 0xe0]",
    "movaps xmm15, [rdi + 0xf0]",
    "mov eax, edx",
    "shr rdx, 32",
    "xsave64 [rsi]",
    "ret",
    // rdi frame, rsi area, rdx features
    "bastide_vector_load:",
    "mov eax, edx",
    "shr rdx, 32",
    "xrstor64 [rsi]",
    "movaps [rdi], xmm0",
    "movaps [rdi + 0x10], xmm1",
    "movaps [rdi + 0x20], xmm2",
    "movaps [rdi + 0x30], xmm3",
    "movaps [rdi + 0x40], xmm4",
    "movaps [rdi + 0x50], xmm5",
    "movaps [rdi + 0x60], xmm6",
    "movaps [rdi + 0x70], xmm7",
    "movaps [rdi + 0x80], xmm8",
    "movaps [rdi + 0x90], xmm9",
    "movaps [rdi + 0xa0], xmm10",
    "movaps [rdi + 0xb0], xmm11",
    "movaps [rdi + 0xc0], xmm12",
    "movaps [rdi + 0xd0], xmm13",
    "movaps [rdi + 0xe0], xmm14",
    "movaps [rdi + 0xf0], xmm15",
    "ret",
    ".popsection",
);

unsafe extern "C" {
    fn bastide_vector_save(ctx: *const Context, area: *mut Area, features: u64);
    fn bastide_vector_load(ctx: *mut Context, area: *const u8, features: u64);
}

/// Writes the state to `out`, which holds [`size`] bytes.
pub(crate) fn save(ctx: &Context, out: &mut [u8]) {
    let n = out.len().min(size());
    let mut area = Area([0; LARGEST]);
    // SAFETY: the area is aligned and larger than the state, as `size` has seen to; xmm registers are
    // scratch in the C ABI.
    unsafe { bastide_vector_save(ctx, &mut area, features()) };
    out[..n].copy_from_slice(&area.0[..n]);
}

/// Loads a state, or what of it is well-formed: a header that the processor would refuse is EINVAL.
pub(crate) fn restore(ctx: &mut Context, state: &[u8]) -> Result<()> {
    let n = state.len();
    if !(512..=LARGEST).contains(&n) {
        return Err(Error(22));
    }
    let mut area = Area([0; LARGEST]);
    area.0[..n].copy_from_slice(state);
    let word =
        |a: &Area, at: usize| u64::from_le_bytes(a.0[at..at + 8].try_into().unwrap_or([0; 8]));
    let bv = if n >= 576 {
        word(&area, 512) & features()
    } else {
        3
    };
    if n >= 576 && (word(&area, 520) != 0 || area.0[528..576].iter().any(|&b| b != 0)) {
        return Err(Error(22));
    }
    area.0[512..520].copy_from_slice(&bv.to_le_bytes());
    area.0[520..576].fill(0);
    let mxcsr = u32::from_le_bytes(area.0[24..28].try_into().unwrap_or([0; 4])) & MXCSR_MASK;
    area.0[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    // SAFETY: the header names only enabled features, reserved fields are zero and MXCSR is
    // masked, so xrstor does not fault; features not named go to their initial state.
    unsafe { bastide_vector_load(ctx, &raw const area.0 as *const u8, features()) };
    Ok(())
}

/// A state whose header names no feature: nothing behind the header is read.
#[repr(C, align(64))]
struct Initial([u8; 576]);

static INITIAL: Initial = {
    let mut area = [0; 576];
    let [low, high, ..] = 0x1f80u32.to_le_bytes();
    area[24] = low;
    area[25] = high;
    Initial(area)
};

/// The state of a new program.
pub(crate) fn reset(ctx: &mut Context) {
    // SAFETY: as in `restore`.
    unsafe { bastide_vector_load(ctx, &raw const INITIAL.0 as *const u8, features()) };
}
