//! Processor exceptions as signals.

use super::state::LastFault;
use super::{SigInfo, send};
use crate::abi::signal::*;
use crate::mm::FaultOutcome;
use crate::pal;
use crate::process::Task;
use alloc::sync::Arc;
use alloc::vec;
use bastide_pal::{Context, Fault};

const WRITE: u32 = 2;
const USER: u32 = 4;
const FETCH: u32 = 16;

/// The processor refused an instruction of the application: the memory manager repairs it, or it
/// becomes a signal.
pub fn fault(t: &Arc<Task>, ctx: &mut Context, fault: Fault) {
    ctx.orig_rax = u64::MAX;
    if fault.vector == 3
        && let Some(stub) = crate::mm::patch::breakpoint(t, ctx.rip)
    {
        ctx.rip = stub;
        return;
    }
    let info = if fault.vector == 14 {
        let outcome = if fault.bus {
            FaultOutcome::Bus
        } else {
            let (write, exec) = (fault.code & WRITE != 0, fault.code & FETCH != 0);
            t.mm().fault(t, fault.addr as usize, write, exec)
        };
        match outcome {
            FaultOutcome::Repaired => return,
            FaultOutcome::Segv(code) => SigInfo::fault(SIGSEGV, code, fault.addr),
            FaultOutcome::Bus => SigInfo::fault(SIGBUS, BUS_ADRERR, fault.addr),
        }
    } else {
        exception(ctx, fault.vector)
    };
    let mut last = LastFault {
        trapno: u64::from(fault.vector),
        err: u64::from(fault.code),
        ..t.signals.state.lock().fault
    };
    if fault.vector == 14 {
        last.cr2 = fault.addr;
        last.err |= u64::from(USER);
    }
    t.signals.state.lock().fault = last;
    send::force(t, info);
}

/// The signal of an exception other than a page fault, as Linux's `traps.c` has it.
fn exception(ctx: &Context, vector: u32) -> SigInfo {
    match vector {
        0 => SigInfo::fault(SIGFPE, FPE_INTDIV, ctx.rip),
        1 => SigInfo::fault(SIGTRAP, TRAP_TRACE, ctx.rip),
        3 => SigInfo::kernel(SIGTRAP),
        6 => SigInfo::fault(SIGILL, ILL_ILLOPN, ctx.rip),
        11 | 12 => SigInfo::kernel(SIGBUS),
        16 | 19 => SigInfo::fault(SIGFPE, float_code(ctx, vector), ctx.rip),
        17 => SigInfo::fault(SIGBUS, BUS_ADRALN, 0),
        _ => SigInfo::kernel(SIGSEGV),
    }
}

/// Which floating-point exception it was, from the unmasked ones that are raised.
fn float_code(ctx: &Context, vector: u32) -> i32 {
    let mut area = vec![0u8; pal().vector_size()];
    pal().vector_save(ctx, &mut area);
    let word = |at: usize| {
        area.get(at..)
            .and_then(|a| a.first_chunk())
            .map_or(0, |b| u32::from(u16::from_le_bytes(*b)))
    };
    let raised = if vector == 16 {
        word(2) & !word(0)
    } else {
        let mxcsr = word(24);
        mxcsr & !(mxcsr >> 7)
    };
    float_exception(raised)
}

fn float_exception(raised: u32) -> i32 {
    if raised & 0x01 != 0 {
        FPE_FLTINV
    } else if raised & 0x04 != 0 {
        FPE_FLTDIV
    } else if raised & 0x08 != 0 {
        FPE_FLTOVF
    } else if raised & 0x12 != 0 {
        FPE_FLTUND
    } else if raised & 0x20 != 0 {
        FPE_FLTRES
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_become_the_signals_linux_sends() {
        let mut ctx = Context::new();
        ctx.rip = 77;
        assert_eq!(exception(&ctx, 0), SigInfo::fault(SIGFPE, 1, 77));
        assert_eq!(exception(&ctx, 13), SigInfo::kernel(SIGSEGV));
        assert_eq!(exception(&ctx, 3).code, SI_KERNEL);
        assert_eq!(float_exception(0x05), FPE_FLTINV);
        assert_eq!(float_exception(0x04), FPE_FLTDIV);
    }
}
