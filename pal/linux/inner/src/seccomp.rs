//! The host-call filter: every `syscall` outside the stubs traps into the kernel; inside them only
//! [`crate::calls::CALLS`] pass.

use crate::calls::CALLS;
use crate::host::{host, stubs};
use alloc::vec::Vec;

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Insn {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

const LOAD: u16 = 0x20;
const CONSTANT: u16 = 0x00;
const JEQ: u16 = 0x15;
const JGE: u16 = 0x35;
const JSET: u16 = 0x45;
const AND: u16 = 0x54;
const SHIFT_LEFT_X: u16 = 0x6c;
const SHIFT_RIGHT: u16 = 0x74;
const TO_X: u16 = 0x07;
const FROM_X: u16 = 0x87;
const RET: u16 = 0x06;
const NR: u32 = 0;
const ARCH: u32 = 4;
const IP_LOW: u32 = 8;
const IP_HIGH: u32 = 12;
const ALLOW: u32 = 0x7fff_0000;
const TRAP: u32 = 0x0003_0000;
const KILL: u32 = 0x8000_0000;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
    Insn { code, jt, jf, k }
}

/// A set of calls as words of 32 bits: a short program, since the host translates it to machine code
/// at every start.
fn program(start: usize, end: usize) -> Vec<Insn> {
    let mut out = alloc::vec![
        insn(LOAD, 0, 0, ARCH),
        insn(JEQ, 1, 0, AUDIT_ARCH_X86_64),
        insn(RET, 0, 0, TRAP),
        insn(LOAD, 0, 0, IP_HIGH),
        insn(JEQ, 1, 0, (start >> 32) as u32),
        insn(RET, 0, 0, TRAP),
        insn(LOAD, 0, 0, IP_LOW),
        insn(JGE, 1, 0, start as u32),
        insn(RET, 0, 0, TRAP),
        insn(JGE, 0, 1, end as u32),
        insn(RET, 0, 0, TRAP),
        // The call's bit to X, then its word to A.
        insn(LOAD, 0, 0, NR),
        insn(AND, 0, 0, 31),
        insn(TO_X, 0, 0, 0),
        insn(CONSTANT, 0, 0, 1),
        insn(SHIFT_LEFT_X, 0, 0, 0),
        insn(TO_X, 0, 0, 0),
        insn(LOAD, 0, 0, NR),
        insn(SHIFT_RIGHT, 0, 0, 5),
    ];
    for calls in CALLS.chunk_by(|a, b| a.0 / 32 == b.0 / 32) {
        let bits = calls.iter().fold(0, |bits, call| bits | 1 << (call.0 % 32));
        out.extend([
            insn(JEQ, 0, 4, calls[0].0 / 32),
            insn(FROM_X, 0, 0, 0),
            insn(JSET, 0, 1, bits),
            insn(RET, 0, 0, ALLOW),
            insn(RET, 0, 0, KILL),
        ]);
    }
    out.push(insn(RET, 0, 0, KILL));
    out
}

/// Installs the filter for good; children inherit it.
pub(crate) fn install() -> bool {
    let (start, end) = stubs();
    let filter = program(start, end);
    let prog: [usize; 2] = [filter.len(), filter.as_ptr() as usize];
    // SAFETY: the host reads the program. PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP with
    // SECCOMP_MODE_FILTER.
    unsafe {
        host!(__NR_prctl, 38, 1, 0, 0, 0) == 0 && host!(__NR_prctl, 22, 2, prog.as_ptr(), 0, 0) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(p: &[Insn], nr: u32, arch: u32, ip: u64) -> u32 {
        let (mut acc, mut x, mut pc) = (0u32, 0u32, 0);
        loop {
            let i = p[pc];
            pc += 1;
            match i.code {
                LOAD => {
                    acc = match i.k {
                        NR => nr,
                        ARCH => arch,
                        IP_LOW => ip as u32,
                        _ => (ip >> 32) as u32,
                    }
                }
                CONSTANT => acc = i.k,
                AND => acc &= i.k,
                SHIFT_LEFT_X => acc <<= x,
                SHIFT_RIGHT => acc >>= i.k,
                TO_X => x = acc,
                FROM_X => acc = x,
                JSET => pc += usize::from(if acc & i.k != 0 { i.jt } else { i.jf }),
                JEQ => pc += usize::from(if acc == i.k { i.jt } else { i.jf }),
                JGE => pc += usize::from(if acc >= i.k { i.jt } else { i.jf }),
                RET => return i.k,
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    #[test]
    fn passes_exactly_the_listed_calls_from_the_stubs() {
        let (start, end) = (0x2000_0000_1000, 0x2000_0000_1200);
        let p = program(start, end);
        assert!(CALLS.is_sorted_by_key(|c| c.0));
        let beyond = [0x4000_0000, 0x4000_0001, 0x8000_0000, u32::MAX];
        for nr in (0..5000).chain(beyond) {
            let listed = CALLS.iter().any(|c| c.0 == nr);
            let inside = run(&p, nr, AUDIT_ARCH_X86_64, start as u64 + 0x20);
            assert_eq!(inside, if listed { ALLOW } else { KILL }, "call {nr}");
            assert_eq!(run(&p, nr, AUDIT_ARCH_X86_64, 0x7000_1234_5678), TRAP);
            assert_eq!(run(&p, nr, AUDIT_ARCH_X86_64, end as u64), TRAP);
            assert_eq!(run(&p, nr, 0x4000_0003, start as u64 + 0x20), TRAP);
        }
    }
}
