//! The frame of a handler on the application's stack, and the way back through `sigreturn(2)`.

use super::state::AltStack;
use super::{SigInfo, SigSet, mask, send};
use crate::abi::signal::*;
use crate::process::Task;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, pal};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bastide_base::user::USER_END;
use bastide_pal::Context;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes under the stack pointer that belong to the interrupted function.
const RED_ZONE: u64 = 128;
const XSAVE_HEADER: usize = FXSAVE_SIZE;
/// Legacy region and header.
const XSAVE_MIN: usize = FXSAVE_SIZE + 64;
const FLAG_TF: u64 = 1 << 8;
const FLAG_DF: u64 = 1 << 10;
const FLAG_RF: u64 = 1 << 16;
/// Flags that a handler may change: AC, OF, DF, TF, SF, ZF, AF, PF, CF, RF.
const FLAGS_USER: u64 = 0x0005_0dd5;
const USER_CS: u64 = 0x33;
const USER_SS: u64 = 0x2b;

/// Room that a handler's frame may need at most, `AT_MINSIGSTKSZ` of `getauxval(3)`.
pub fn max_frame_size() -> usize {
    let vector = pal().vector_size() + size_of::<u32>();
    // Alignment of the vector state and of the frame.
    size_of::<RtSigFrame>() + vector + 64 + 16 + 8
}

/// Where the vector state and the frame go.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    vector: u64,
    frame: u64,
}

/// Finds room below the stack pointer or on the alternate stack; `None` if that would overflow.
fn place(rsp: u64, alt: &AltStack, onstack: bool, vector_size: usize) -> Option<Place> {
    let mut sp = rsp.checked_sub(RED_ZONE)?;
    let nested = alt.holds(rsp);
    let entering = onstack && alt.state(sp) == 0;
    if entering {
        sp = alt.sp.checked_add(alt.size)?;
    }
    let vector = sp.checked_sub((vector_size + size_of::<u32>()) as u64)? & !63;
    let frame = (vector.checked_sub(size_of::<RtSigFrame>() as u64)? & !15).checked_sub(8)?;
    if (nested || entering) && !alt.spans(frame) {
        return None;
    }
    Some(Place { vector, frame })
}

/// The vector state with the marks that tell the application what it holds.
fn vector_area(ctx: &Context) -> Vec<u8> {
    let size = pal().vector_size();
    let mut area = vec![0u8; size + size_of::<u32>()];
    pal().vector_save(ctx, &mut area[..size]);
    seal(&mut area);
    area
}

/// Writes the software-reserved bytes and the closing magic; the last four bytes are for it.
fn seal(area: &mut [u8]) {
    let Some(size) = area.len().checked_sub(4).filter(|&n| n >= FXSAVE_SIZE) else {
        return;
    };
    let mut sw = FpxSwBytes::default();
    if size >= XSAVE_MIN {
        let used = area[XSAVE_HEADER..]
            .first_chunk()
            .map_or(0, |b| u64::from_le_bytes(*b));
        sw = FpxSwBytes {
            magic1: FP_XSTATE_MAGIC1,
            extended_size: area.len() as u32,
            xfeatures: used | 3,
            xstate_size: size as u32,
            pad: [0; 7],
        };
        area[size..].copy_from_slice(&FP_XSTATE_MAGIC2.to_le_bytes());
    }
    area[FP_SW_OFFSET..FXSAVE_SIZE].copy_from_slice(sw.as_bytes());
}

/// Writes a handler's frame and makes `ctx` enter the handler. EFAULT if the stack cannot hold it.
pub(super) fn push(
    t: &Task,
    ctx: &mut Context,
    info: &SigInfo,
    action: &SigAction,
    to_save: SigSet,
) -> Result<()> {
    // x86-64 has no other way back.
    if action.flags & SA_RESTORER == 0 {
        return Err(Errno::EFAULT);
    }
    let (alt, fault) = {
        let s = t.signals.state.lock();
        (s.altstack, s.fault)
    };
    let area = vector_area(ctx);
    let onstack = action.flags & SA_ONSTACK != 0;
    let place = place(ctx.rsp, &alt, onstack, area.len() - 4).ok_or(Errno::EFAULT)?;
    user::write_bytes(t, UserAddr(place.vector as usize), &area)?;
    let frame = RtSigFrame {
        pretcode: action.restorer,
        uc: UContext {
            flags: UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
            link: 0,
            stack: StackT {
                sp: alt.sp,
                flags: alt.flags,
                pad: 0,
                size: alt.size,
            },
            mcontext: SigContext {
                err: fault.err,
                trapno: fault.trapno,
                oldmask: to_save.0,
                cr2: fault.cr2,
                fpstate: place.vector,
                rip: crate::mm::patch::shown(t, ctx.rip),
                ..registers(ctx)
            },
            sigmask: to_save.0,
        },
        info: info.encode(),
    };
    user::write(t, UserAddr(place.frame as usize), &frame)?;
    ctx.rdi = info.signo as u64;
    ctx.rsi = place.frame + core::mem::offset_of!(RtSigFrame, info) as u64;
    ctx.rdx = place.frame + core::mem::offset_of!(RtSigFrame, uc) as u64;
    ctx.rax = 0;
    ctx.rip = action.handler;
    ctx.rsp = place.frame;
    ctx.rflags &= !(FLAG_DF | FLAG_RF | FLAG_TF);
    ctx.cs = USER_CS;
    ctx.ss = USER_SS;
    Ok(())
}

fn registers(ctx: &Context) -> SigContext {
    SigContext {
        r8: ctx.r8,
        r9: ctx.r9,
        r10: ctx.r10,
        r11: ctx.r11,
        r12: ctx.r12,
        r13: ctx.r13,
        r14: ctx.r14,
        r15: ctx.r15,
        rdi: ctx.rdi,
        rsi: ctx.rsi,
        rbp: ctx.rbp,
        rbx: ctx.rbx,
        rdx: ctx.rdx,
        rax: ctx.rax,
        rcx: ctx.rcx,
        rsp: ctx.rsp,
        rip: ctx.rip,
        rflags: ctx.rflags,
        cs: USER_CS as u16,
        ss: USER_SS as u16,
        ..SigContext::default()
    }
}

/// Takes the registers that a handler left; false if they cannot be continued with.
fn set_registers(ctx: &mut Context, m: &SigContext) -> bool {
    ctx.r8 = m.r8;
    ctx.r9 = m.r9;
    ctx.r10 = m.r10;
    ctx.r11 = m.r11;
    ctx.r12 = m.r12;
    ctx.r13 = m.r13;
    ctx.r14 = m.r14;
    ctx.r15 = m.r15;
    ctx.rdi = m.rdi;
    ctx.rsi = m.rsi;
    ctx.rbp = m.rbp;
    ctx.rbx = m.rbx;
    ctx.rdx = m.rdx;
    ctx.rax = m.rax;
    ctx.rcx = m.rcx;
    ctx.rsp = m.rsp;
    ctx.rip = m.rip;
    ctx.rflags = ctx.rflags & !FLAGS_USER | m.rflags & FLAGS_USER;
    ctx.cs = USER_CS;
    ctx.ss = USER_SS;
    ctx.rip < USER_END as u64
}

/// `rt_sigreturn(2)`: goes back to where the signal struck, with what the handler made of the
/// frame. A bad frame is SIGSEGV.
pub fn sys_rt_sigreturn(t: &Arc<Task>, ctx: &mut Context) -> SysResult {
    let at = ctx.rsp;
    // The frame puts all registers in place, rax included.
    ctx.orig_rax = u64::MAX;
    if restore(t, ctx, at).is_err() {
        send::force(t, SigInfo::kernel(SIGSEGV));
    }
    ctx.rip = crate::mm::patch::continue_at(t, ctx.rip);
    Ok(0)
}

fn restore(t: &Task, ctx: &mut Context, rsp: u64) -> Result<()> {
    // The handler's return took pretcode off.
    let uc: UContext = user::read(t, UserAddr(rsp as usize))?;
    mask::set_mask(t, SigSet(uc.sigmask));
    if !set_registers(ctx, &uc.mcontext) {
        return Err(Errno::EFAULT);
    }
    restore_vector(t, ctx, uc.mcontext.fpstate)?;
    // Errors other than a fault are not errors here: the stack may still be in use.
    let _ = super::altstack::set(t, &uc.stack, ctx.rsp);
    Ok(())
}

fn restore_vector(t: &Task, ctx: &mut Context, addr: u64) -> Result<()> {
    if addr == 0 {
        pal().vector_reset(ctx);
        return Ok(());
    }
    let addr = UserAddr(addr as usize);
    let size = pal().vector_size();
    let mut area = vec![0u8; size.max(XSAVE_MIN)];
    user::read_bytes(t, addr, &mut area[..FXSAVE_SIZE])?;
    let sw = FpxSwBytes::read_from_bytes(&area[FP_SW_OFFSET..FXSAVE_SIZE]).unwrap_or_default();
    let claimed = sw.xstate_size as usize;
    let extended = sw.magic1 == FP_XSTATE_MAGIC1
        && (XSAVE_MIN..=size).contains(&claimed)
        && sw.extended_size as usize >= claimed + 4
        && user::read::<u32>(t, addr.offset(claimed)?)? == FP_XSTATE_MAGIC2;
    let mut components = 3;
    if extended {
        user::read_bytes(t, addr, &mut area[..claimed])?;
        let used = area[XSAVE_HEADER..]
            .first_chunk()
            .map_or(0, |b| u64::from_le_bytes(*b));
        components = used & (sw.xfeatures | 3);
    }
    area[XSAVE_HEADER..XSAVE_HEADER + 8].copy_from_slice(&components.to_le_bytes());
    // These are the hardware's in a saved state, the kernel's in a frame.
    area[FP_SW_OFFSET..FXSAVE_SIZE].fill(0);
    area.truncate(size);
    pal().vector_restore(ctx, &area).map_err(|_| Errno::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_lie_below_the_red_zone_and_are_aligned_as_after_a_call() {
        let p = place(0x7000_0000_1234, &AltStack::NONE, true, 832).unwrap();
        assert_eq!(p.vector % 64, 0);
        assert!(p.vector + 836 <= 0x7000_0000_1234 - 128);
        assert_eq!(p.frame % 16, 8);
        assert!(p.frame + 440 <= p.vector);
        assert!(p.frame > 0x7000_0000_1234 - 128 - 836 - 64 - 440 - 24);
    }

    #[test]
    fn the_alternate_stack_is_entered_once_and_does_not_overflow() {
        let alt = AltStack {
            sp: 0x10000,
            size: 0x4000,
            flags: 0,
        };
        let p = place(0x7000_0000, &alt, true, 832).unwrap();
        assert!(p.frame > 0x13000 && p.vector + 836 <= 0x14000);
        let nested = place(p.frame, &alt, true, 832).unwrap();
        assert!(nested.frame < p.frame && nested.frame > 0x12000);
        assert_eq!(place(0x10400, &alt, true, 832), None);
        assert_eq!(place(0x10400, &alt, false, 832), None);
        assert!(place(0x7000_0000, &alt, false, 832).unwrap().frame > 0x6fff_0000);
        let small = AltStack { size: 1024, ..alt };
        assert_eq!(place(0x7000_0000, &small, true, 832), None);
    }

    #[test]
    fn registers_survive_the_frame() {
        let mut ctx = Context::new();
        ctx.r15 = 15;
        ctx.rax = 1;
        ctx.rip = 0x40_0000;
        ctx.rflags = 0x246;
        let mut m = registers(&ctx);
        m.cs = 0;
        m.rflags |= 1 << 9 | 1 << 17 | 1;
        let mut back = Context::new();
        assert!(set_registers(&mut back, &m));
        assert_eq!((back.r15, back.rax, back.rip), (15, 1, 0x40_0000));
        assert_eq!((back.rflags, back.cs, back.ss), (0x247, 0x33, 0x2b));
        m.rip = 1 << 63;
        assert!(!set_registers(&mut back, &m));
    }

    #[test]
    fn the_vector_area_is_marked() {
        let mut area = vec![0u8; 832 + 4];
        area[XSAVE_HEADER] = 7;
        seal(&mut area);
        let sw = FpxSwBytes::read_from_bytes(&area[464..512]).unwrap();
        assert_eq!((sw.magic1, sw.extended_size), (0x4650_5853, 836));
        assert_eq!((sw.xfeatures, sw.xstate_size), (7, 832));
        assert_eq!(area[832..], 0x4650_5845u32.to_le_bytes());
    }
}
