//! How the code around a `syscall` instruction can make room for a five-byte jump.

use super::super::PAGE;
use alloc::vec::Vec;
use core::ops::Range;
use iced_x86::{Decoder, DecoderError, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};

/// Bytes of a `jmp rel32`, and its opcode.
pub const JUMP: usize = 5;
pub const JMP: u8 = 0xe9;
/// Bytes of a `syscall`.
pub const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// How much of the code before and after a `syscall` is looked at.
pub const BEFORE: usize = 10;
pub const AFTER: usize = 20;
/// How far back the start of the instruction before a `syscall` is made sure of.
pub const BACK: usize = 48;
/// How far from the code a stub may lie.
const REACH: usize = 0x6000_0000;
/// How far off branches are looked for.
pub const FAR: usize = 2048;

/// What is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The instruction of so many bytes, three or more, before the `syscall`: most often a `mov` of
    /// the call's number to `rax`.
    Before(usize),
    /// The `syscall` and the beginning of what follows, instructions of so many bytes.
    After(usize),
}

impl Shape {
    pub fn is_after(self) -> bool {
        matches!(self, Shape::After(_))
    }

    /// Where the jump of the `syscall` at `site` is.
    pub fn jump_at(self, site: usize) -> usize {
        match self {
            Shape::Before(len) => site - len,
            Shape::After(_) => site,
        }
    }

    /// Where the stub of the `syscall` at `site` may lie. A jump that is longer than what it replaces
    /// ends in bytes of the `syscall`, which stays: the upper ones of its distance.
    pub fn reach(self, site: usize) -> Range<usize> {
        let jump = |given: u32, free: u32| {
            let start = self.jump_at(site) + JUMP + given as usize;
            start..start + (1 << free)
        };
        match self {
            Shape::Before(3) => jump(0x050f_0000, 16),
            Shape::Before(4) => jump(0x0f00_0000, 24),
            _ => site.saturating_sub(REACH).max(PAGE * 16)..site.saturating_add(REACH),
        }
    }
}

/// The code around a `syscall`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    pub before: [u8; BEFORE],
    pub after: [u8; AFTER],
}

/// What an *after* shape replaces, made to run elsewhere.
#[derive(Debug)]
pub struct Tail {
    pub code: Vec<u8>,
    /// Where each instruction starts, the way back included: behind the `syscall`, and in `code`.
    starts: Vec<(usize, usize)>,
}

impl Tail {
    /// Where in the code is what stands so many bytes behind the `syscall`.
    pub fn moved(&self, own: usize) -> Option<usize> {
        self.starts.iter().find(|s| s.0 == own).map(|s| s.1)
    }

    /// How far behind the `syscall` is what stands in the code at `at`.
    pub fn own(&self, at: usize) -> Option<usize> {
        self.starts.iter().find(|s| s.1 == at).map(|s| s.0)
    }
}

/// A `jmp` from `at` to `to`, if it reaches.
pub fn jump(at: usize, to: usize) -> Option<[u8; JUMP]> {
    let [a, b, c, d] = rel32(at + JUMP, to)?;
    Some([JMP, a, b, c, d])
}

/// The distance from the end of an instruction to its target.
pub fn rel32(from: usize, to: usize) -> Option<[u8; 4]> {
    let d = (to as i64).checked_sub(from as i64)?;
    i32::try_from(d).ok().map(i32::to_le_bytes)
}

impl Window {
    /// The shape of a `syscall` at `site` that was executed with this number.
    pub fn shape(&self, site: usize, nr: u64) -> Option<Shape> {
        let number = u32::try_from(nr).ok()?.to_le_bytes();
        if self.before[6..] == number {
            if self.before[3..6] == [0x48, 0xc7, 0xc0] {
                return Some(Shape::Before(7));
            }
            if self.before[5] == 0xb8 {
                return Some(Shape::Before(5));
            }
        }
        let tail = self.follow(site, |_, _| Some(()))?;
        Some(Shape::After(tail))
    }

    /// What an *after* shape replaces, made to run at `place` and to continue behind it in the
    /// original.
    pub fn tail(&self, site: usize, place: usize) -> Option<Tail> {
        let mut code = Vec::new();
        let mut starts = Vec::new();
        let mut open = true;
        let replaced = self.follow(site, |own, step| {
            starts.push((own, code.len()));
            match step.flow {
                Flow::Branch(condition, to) => {
                    code.extend_from_slice(&[0x0f, 0x80 | condition]);
                    let from = place + code.len() + 4;
                    code.extend_from_slice(&rel32(from, to)?);
                }
                Flow::Jump(to) => {
                    code.extend_from_slice(&jump(place + code.len(), to)?);
                    open = false;
                }
                _ => {
                    code.extend_from_slice(self.after.get(own..own + step.len)?);
                    open &= step.flow != Flow::Return;
                }
            }
            Some(())
        })?;
        if open {
            starts.push((replaced, code.len()));
            let back = site + SYSCALL.len() + replaced;
            code.extend_from_slice(&jump(place + code.len(), back)?);
        }
        Some(Tail { code, starts })
    }

    /// Goes through the instructions that an *after* shape replaces, each with how far behind the
    /// `syscall` it starts; their length. `None` if one cannot run elsewhere.
    fn follow(
        &self,
        site: usize,
        mut each: impl FnMut(usize, &Step) -> Option<()>,
    ) -> Option<usize> {
        let room = JUMP - SYSCALL.len();
        let start = site + SYSCALL.len();
        let step = |at: usize| Some(Step::of(self.after.get(at..)?, start + at));
        let mut end = 0;
        while end < room {
            let next = step(end)?;
            if next.flow == Flow::Bound {
                return None;
            }
            each(end, &next)?;
            end += next.len;
            if matches!(next.flow, Flow::Jump(_) | Flow::Return) {
                // Then only padding may be overwritten.
                while end < room {
                    let padding = step(end).filter(|step| step.is_padding)?;
                    end += padding.len;
                }
            }
        }
        Some(end)
    }
}

/// An instruction, as far as it matters for moving it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Step {
    len: usize,
    flow: Flow,
    is_padding: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flow {
    Next,
    /// To the target under a condition, its number in the opcode of a `jcc`.
    Branch(u8, usize),
    Jump(usize),
    Return,
    /// It cannot run elsewhere, or is none.
    Bound,
}

impl Step {
    /// The instruction that `code` begins with, at address `ip`.
    fn of(code: &[u8], ip: usize) -> Step {
        Step::common(code, ip)
            .filter(|step| step.len <= code.len())
            .unwrap_or_else(|| Step::decode(code, ip))
    }

    /// The instructions that nearly all calls of C libraries are followed by. They are known without
    /// the decoder, which takes longer to set up than many a program runs.
    fn common(code: &[u8], ip: usize) -> Option<Step> {
        let next = |len| {
            Some(Step {
                len,
                flow: Flow::Next,
                is_padding: false,
            })
        };
        match *code {
            // cmp $imm32, %rax; cmp $imm32, %eax
            [0x48, 0x3d, ..] => next(6),
            [0x3d, ..] => next(5),
            // xor, test and mov between registers
            [0x48, 0x31 | 0x85 | 0x89, 0xc0..=0xff, ..] => next(3),
            [0x31 | 0x85 | 0x89, 0xc0..=0xff, ..] => next(2),
            // lea disp8(%rsp), register
            [0x48, 0x8d, to, 0x24, ..] if to & 0xc7 == 0x44 => next(5),
            // jcc rel8
            [op @ 0x70..=0x7f, distance, ..] => {
                let to = (ip + 2).wrapping_add_signed(isize::from(distance as i8));
                next(2).map(|step| Step {
                    flow: Flow::Branch(op & 15, to),
                    ..step
                })
            }
            _ => None,
        }
    }

    fn decode(code: &[u8], ip: usize) -> Step {
        Step::new(&Decoder::with_ip(64, code, ip as u64, DecoderOptions::NONE).decode())
    }

    fn new(i: &Instruction) -> Step {
        let target = i.near_branch_target() as usize;
        let flow = match i.flow_control() {
            _ if i.is_invalid() || i.is_ip_rel_memory_operand() => Flow::Bound,
            FlowControl::Next => Flow::Next,
            FlowControl::Return if i.mnemonic() == Mnemonic::Ret => Flow::Return,
            FlowControl::UnconditionalBranch if i.op0_kind() == OpKind::NearBranch64 => {
                Flow::Jump(target)
            }
            FlowControl::ConditionalBranch => {
                condition(i).map_or(Flow::Bound, |condition| Flow::Branch(condition, target))
            }
            _ => Flow::Bound,
        };
        Step {
            len: i.len(),
            flow,
            is_padding: matches!(i.mnemonic(), Mnemonic::Nop | Mnemonic::Int3),
        }
    }
}

/// The condition's number in the opcode of a `jcc`; `None` for `loop` and `jrcxz`.
fn condition(i: &Instruction) -> Option<u8> {
    match i.condition_code() as u8 {
        // `ConditionCode` counts from `None` in the order of the opcodes.
        n @ 1..=16 if i.is_jcc_short_or_near() => Some(n - 1),
        _ => None,
    }
}

/// The bytes of the instruction that `code` ends in, if it is sure which that is, it can run elsewhere,
/// and it makes room for a jump. The code ends at address `end`.
pub fn last(code: &[u8], end: usize) -> Option<usize> {
    let mut found = None;
    for read in reads(code, end) {
        match read {
            Read::NoCode => {}
            Read::Last(step) if found.is_none_or(|other| other == step) => found = Some(step),
            _ => return None,
        }
    }
    let fits = |step: &Step| step.flow == Flow::Next && (3..=BEFORE).contains(&step.len);
    found.filter(fits).map(|step| step.len)
}

/// Those of `sites`, ascending, where some branch in `code`, which starts at `base`, seems to go into
/// the bytes that an *after* shape replaces. What may be a branch counts as one: better one site less.
pub fn branch_targets(code: &[u8], base: usize, sites: &[usize]) -> Vec<usize> {
    let entered = |(i, bytes): (usize, &[u8])| {
        let (len, distance) = match *bytes {
            [0x70..=0x7f | 0xe0..=0xe3 | 0xeb, d, ..] => (2, isize::from(d as i8)),
            [JMP, a, b, c, d, _] => (5, i32::from_le_bytes([a, b, c, d]) as isize),
            [0x0f, 0x80..=0x8f, a, b, c, d] => (6, i32::from_le_bytes([a, b, c, d]) as isize),
            _ => return &[][..],
        };
        let to = (base + i + len).wrapping_add_signed(distance);
        let first = sites.partition_point(|&site| site + JUMP <= to);
        let end = sites.partition_point(|&site| site < to);
        match first < end && may_begin(&code[..i]) {
            true => &sites[first..end],
            false => &[],
        }
    };
    code.windows(6)
        .enumerate()
        .flat_map(entered)
        .copied()
        .collect()
}

/// An instruction may begin behind `code`.
fn may_begin(code: &[u8]) -> bool {
    let mut inside = false;
    for read in reads(&code[code.len().saturating_sub(BACK)..], 0) {
        match read {
            Read::NoCode => {}
            Read::Last(_) => return true,
            Read::Beyond => inside = true,
        }
    }
    !inside
}

/// What the end of `code` is read as.
///
/// Code cannot be read backwards. But wherever one begins to read, one soon sees the instructions that
/// there are: what is read from different places agrees, or is in doubt.
fn reads(code: &[u8], end: usize) -> impl Iterator<Item = Read> {
    let starts = (code.len() + 1).saturating_sub(BACK - BEFORE);
    (0..starts).map(move |start| Read::of(&code[start..], end))
}

enum Read {
    /// These bytes are none.
    NoCode,
    /// The last instruction that ends where they end.
    Last(Step),
    /// An instruction that goes on behind them.
    Beyond,
}

impl Read {
    fn of(code: &[u8], end: usize) -> Read {
        let start = end.wrapping_sub(code.len()) as u64;
        let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
        let mut last = None;
        while decoder.can_decode() {
            let i = decoder.decode();
            match decoder.last_error() {
                DecoderError::None => last = Some(Step::new(&i)),
                DecoderError::NoMoreBytes => return Read::Beyond,
                _ => return Read::NoCode,
            }
        }
        last.map_or(Read::NoCode, Read::Last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: usize = 0x40_1000;

    fn window(before: &[u8], after: &[u8]) -> Window {
        let mut w = Window {
            before: [0x90; BEFORE],
            after: [0x90; AFTER],
        };
        w.before[BEFORE - before.len()..].copy_from_slice(before);
        w.after[..after.len()].copy_from_slice(after);
        w
    }

    #[test]
    fn the_number_before_is_replaced() {
        let w = window(&[0xb8, 39, 0, 0, 0], &[]);
        assert_eq!(w.shape(SITE, 39), Some(Shape::Before(5)));
        let w = window(&[0x48, 0xc7, 0xc0, 1, 1, 0, 0], &[]);
        assert_eq!(w.shape(SITE, 257), Some(Shape::Before(7)));
        // Another number than the call had is some other instruction's.
        assert_ne!(w.shape(SITE, 40), Some(Shape::Before(7)));
    }

    #[test]
    fn what_follows_runs_elsewhere() {
        // cmp $-4096, %rax
        let cmp = [0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff];
        let w = window(&[], &cmp);
        assert_eq!(w.shape(SITE, 0), Some(Shape::After(6)));
        let tail = w.tail(SITE, 0x50_0000).unwrap().code;
        assert_eq!(tail[..6], cmp);
        assert_eq!(tail[6..], jump(0x50_0006, SITE + 8).unwrap());
    }

    #[test]
    fn common_instructions_are_what_the_decoder_says() {
        let mut known = 0;
        for first in 0..=255 {
            for second in 0..=255 {
                for third in [0, 0x44, 0x45, 0x7c, 0xc0, 0xd2, 0xff] {
                    for fourth in [0, 0x24, 0x90] {
                        let code = [first, second, third, fourth, 0x80, 1, 2, 3];
                        if let Some(step) = Step::common(&code, SITE) {
                            assert_eq!(step, Step::decode(&code, SITE), "{code:x?}");
                            known += 1;
                        }
                    }
                }
            }
        }
        assert!(known > 0);
        // What is cut off is no instruction.
        for code in [&[0x48, 0x3d, 0, 0][..], &[0x74], &[0x31], &[]] {
            assert_eq!(Step::of(code, SITE).flow, Flow::Bound, "{code:x?}");
        }
    }

    #[test]
    fn branches_keep_their_targets() {
        // test %eax, %eax; js +0x10
        let w = window(&[], &[0x85, 0xc0, 0x78, 0x10]);
        assert_eq!(w.shape(SITE, 0), Some(Shape::After(4)));
        let tail = w.tail(SITE, 0x50_0000).unwrap().code;
        assert_eq!(tail[..4], [0x85, 0xc0, 0x0f, 0x88]);
        assert_eq!(tail[4..8], rel32(0x50_0008, SITE + 6 + 0x10).unwrap());
        assert_eq!(tail[8..], jump(0x50_0008, SITE + 6).unwrap());
        // jmp -0x40
        let w = window(&[], &[0xeb, 0xc0, 0xcc, 0xcc]);
        assert_eq!(w.shape(SITE, 0), Some(Shape::After(3)));
        let tail = w.tail(SITE, 0x50_0000).unwrap().code;
        assert_eq!(tail, jump(0x50_0000, SITE + 4 - 0x40).unwrap());
    }

    #[test]
    fn instructions_are_found_where_they_moved() {
        // js, ten bytes on; test %eax, %eax: the branch becomes four bytes longer.
        let tail = window(&[], &[0x78, 0x10, 0x85, 0xc0])
            .tail(SITE, 0x50_0000)
            .unwrap();
        for (own, at) in [(0, 0), (2, 6), (4, 8)] {
            assert_eq!(tail.moved(own), Some(at));
            assert_eq!(tail.own(at), Some(own));
        }
        assert_eq!((tail.moved(3), tail.own(2)), (None, None));
        // Nothing runs behind a return.
        let tail = window(&[], &[0xc3, 0x66, 0x90])
            .tail(SITE, 0x50_0000)
            .unwrap();
        assert_eq!((tail.moved(0), tail.moved(3)), (Some(0), None));
    }

    #[test]
    fn a_return_needs_padding_behind_it() {
        let w = window(&[], &[0xc3, 0x66, 0x90]);
        assert_eq!(w.shape(SITE, 0), Some(Shape::After(3)));
        assert_eq!(w.tail(SITE, 0x50_0000).unwrap().code, [0xc3]);
        // The next function starts at once.
        let w = window(&[], &[0xc3, 0x55, 0x48, 0x89, 0xe5]);
        assert_eq!(w.shape(SITE, 0), None);
    }

    #[test]
    fn what_depends_on_its_address_stays() {
        for code in [
            // mov 0x10(%rip), %rdx
            &[0x48, 0x8b, 0x15, 0x10, 0, 0, 0][..],
            // call
            &[0xe8, 0, 0, 0, 0],
            // jmp *%rax
            &[0xff, 0xe0, 0x90],
            // syscall
            &[0x0f, 0x05, 0x90],
            // jrcxz
            &[0xe3, 0x10, 0x90],
            // no instruction
            &[0x06, 0x06, 0x06],
        ] {
            assert_eq!(window(&[], code).shape(SITE, 0), None, "{code:x?}");
        }
    }

    #[test]
    fn the_last_instruction_is_found_if_there_is_no_doubt() {
        let after = |last: &[u8]| {
            // xor %esi, %esi; mov %rax, 8(%rsp), and so on
            let mut code = [0x31, 0xf6, 0x48, 0x89, 0x44, 0x24, 0x08].repeat(8);
            code.extend_from_slice(last);
            super::last(&code[code.len() - BACK..], SITE)
        };
        // mov %rax, %rdx; lea 8(%rax), %rdx; mov $8, %r10d
        assert_eq!(after(&[0x48, 0x89, 0xc2]), Some(3));
        assert_eq!(after(&[0x48, 0x8d, 0x50, 0x08]), Some(4));
        assert_eq!(after(&[0x41, 0xba, 8, 0, 0, 0]), Some(6));
        // Too short: pop %rax. Bound to its place: jmp, lea 8(%rip), %rdi.
        assert_eq!(after(&[0x58]), None);
        assert_eq!(after(&[0xe9, 0, 1, 0, 0]), None);
        assert_eq!(after(&[0x48, 0x8d, 0x3d, 8, 0, 0, 0]), None);
        // The beginning of an instruction.
        assert_eq!(after(&[0x48, 0xb8, 0, 0]), None);
        // Too little to be sure.
        assert_eq!(super::last(&[0x90; BACK - BEFORE], SITE), None);
    }

    #[test]
    fn short_jumps_end_in_the_syscall() {
        for len in [3, 4] {
            let shape = Shape::Before(len);
            let at = shape.jump_at(SITE);
            let Range { start, end } = shape.reach(SITE);
            for stub in [start, start + 0x1230, end - 1] {
                let kept = JUMP - len;
                assert_eq!(jump(at, stub).unwrap()[len..], SYSCALL[..kept]);
            }
            assert_ne!(jump(at, end).unwrap()[len..], SYSCALL[..JUMP - len]);
        }
    }

    #[test]
    fn branches_into_the_window_are_seen() {
        let base = 0x1000;
        let site = base + 32;
        let mut code = [0x90u8; 64];
        let is_target = |code: &[u8], site| branch_targets(code, base, &[site]) == [site];
        assert!(!is_target(&code, site));
        // jmp to site + 2
        code[10] = 0xeb;
        code[11] = 22;
        assert!(is_target(&code, site));
        // to the site itself is allowed
        code[11] = 20;
        assert!(!is_target(&code, site));
        // The same bytes inside of an instruction: movabs
        let mut far = [0x90u8; 128];
        far[60..70].copy_from_slice(&[0x48, 0xb8, 0, 0, 0xeb, 26, 0, 0, 0, 0]);
        assert!(!is_target(&far, base + 90));
        far[60..62].copy_from_slice(&[0x90; 2]);
        assert!(is_target(&far, base + 90));
        // jne rel32 to site + 2
        code[40..46].copy_from_slice(&[0x0f, 0x85, 0xf4, 0xff, 0xff, 0xff]);
        assert!(is_target(&code, site));
    }

    #[test]
    fn jumps_reach_two_gigabytes() {
        assert_eq!(jump(0x1000, 0x1005), Some([0xe9, 0, 0, 0, 0]));
        assert_eq!(jump(0x1000, 0x1_8000_2000), None);
    }
}
