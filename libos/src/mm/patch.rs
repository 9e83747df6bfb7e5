//! System call sites, rewritten so that they enter the kernel by a jump instead of a trap.
//!
//! A `syscall` instruction traps into the kernel, which costs microseconds. A site that traps
//! often is rewritten: a five-byte jump goes to a stub near the code, and the stub enters the
//! kernel directly. Two shapes of code are rewritten, which are nearly all there are:
//!
//! * *before*: `mov $nr, %eax` (or `%rax`) stands before the `syscall`. The jump replaces the
//!   `mov`, which the stub executes first. The `syscall` itself stays, so a thread that stands on
//!   it, or returns to what follows, sees the code as it was.
//! * *after*: a comparison of the result (`cmp $imm, %rax`) follows. The jump replaces the
//!   `syscall` and the comparison's beginning; the stub ends in the comparison (the *tail*).
//!   A thread that was inside the call returns to the tail; handlers of signals see the address
//!   that they would see without the rewriting. Only while a process has one thread, and only if
//!   nothing seems to jump to the comparison.
//!
//! Sites are found by trapping, never by searching: bytes that look like a `syscall` may be data.
//! The code's pages are writable only during the rewriting.

use super::vma::VmFlags;
use super::{Backing, MapRequest, Mm, PAGE};
use crate::process::Task;
use crate::{Result, pal};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bastide_base::user as raw;
use bastide_pal::{Context, Prot};

/// Traps of a site before it is rewritten: about as many as the rewriting costs.
const PATIENCE: u32 = 8;
/// Bytes of a `jmp rel32`.
const JUMP: usize = 5;
const SYSCALL: [u8; 2] = [0x0f, 0x05];
const INT3: u8 = 0xcc;
const JMP: u8 = 0xe9;
/// How far from the code a stub may lie.
const REACH: usize = 0x6000_0000;
/// Memory for stubs is taken so many bytes at a time.
const STUBS: usize = 4 * PAGE;
const NR_RT_SIGRETURN: u64 = 15;
/// How far short and long branches to the comparison are looked for.
const NEAR: usize = 130;
const FAR: usize = 2048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Length of the `mov`.
    Before(usize),
    /// Length of the comparison.
    After(usize),
}

#[derive(Clone, Copy, Debug)]
enum Site {
    /// Trapped so often.
    Seen(u32),
    /// Rewritten, with a jump at this address.
    Rewritten { jump: usize },
    /// Has no known shape.
    Refused,
}

/// What is known of an address space's sites. A forked child has the same code and knows the same.
#[derive(Clone, Default)]
pub(super) struct Sites {
    /// By the address of the `syscall` instruction.
    sites: BTreeMap<usize, Site>,
    /// Where calls of rewritten *after* sites continue, and the address that stands for.
    tails: BTreeMap<usize, usize>,
    /// Free stub memory: next address and end.
    stubs: Vec<(usize, usize)>,
}

fn rel32(from: usize, to: usize) -> Option<[u8; 4]> {
    let d = (to as i64).checked_sub(from as i64)?;
    i32::try_from(d).ok().map(i32::to_le_bytes)
}

fn jump(at: usize, to: usize) -> Option<[u8; JUMP]> {
    let [a, b, c, d] = rel32(at + JUMP, to)?;
    Some([JMP, a, b, c, d])
}

/// The shape of the code around a `syscall`, given up to ten bytes before and ten after it, and the
/// number the call was made with.
fn shape(before: &[u8; 10], after: &[u8; 10], nr: u64) -> Option<Shape> {
    let number = u32::try_from(nr).ok()?.to_le_bytes();
    if before[3..6] == [0x48, 0xc7, 0xc0] && before[6..] == number {
        return Some(Shape::Before(7));
    }
    if before[5] == 0xb8 && before[6..] == number {
        return Some(Shape::Before(5));
    }
    // cmp $imm32, %rax
    if after[..2] == [0x48, 0x3d] {
        return Some(Shape::After(6));
    }
    None
}

/// Whether some branch near `site` seems to go into the bytes that an *after* rewriting replaces.
/// `code` starts at `base`. Bytes that only look like a branch count too: better one site less.
fn is_branch_target(code: &[u8], base: usize, site: usize) -> bool {
    let inside = |to: usize| to > site && to < site + JUMP;
    code.windows(6).enumerate().any(|(i, w)| {
        let at = base + i;
        let short = at.abs_diff(site) < NEAR && (w[0] == 0xeb || w[0] & 0xf0 == 0x70);
        if short && inside((at + 2).wrapping_add_signed(isize::from(w[1] as i8))) {
            return true;
        }
        let long = |skip: usize| {
            let d = i32::from_le_bytes([
                w[skip],
                w[skip + 1],
                w[skip + 2],
                *w.get(skip + 3).unwrap_or(&0),
            ]);
            inside((at + skip + 4).wrapping_add_signed(d as isize))
        };
        w[0] == JMP && long(1) || w[0] == 0x0f && w[1] & 0xf0 == 0x80 && long(2)
    })
}

/// A call came by a trap. Counts it, and rewrites its site when it is time. On return the frame
/// continues where the site's calls continue.
pub fn trapped(t: &Task, ctx: &Context) {
    let Some(entry) = pal().direct_entry() else {
        return;
    };
    let site = (ctx.rip as usize).wrapping_sub(2);
    let mm = t.mm();
    let mut s = mm.sites.lock();
    match s.sites.entry(site).or_insert(Site::Seen(0)) {
        Site::Seen(n) if *n < PATIENCE => *n += 1,
        Site::Refused => {}
        // A thread that had passed the jump's place when it was written, or a jump onto the
        // `syscall` itself.
        Site::Rewritten { jump } if starts_with_jump(*jump) => {}
        // Other code is there now.
        known @ Site::Rewritten { .. } => *known = Site::Seen(0),
        Site::Seen(_) => {
            let done = mm.rewrite(t, &mut s, site, ctx.orig_rax, entry);
            let new = done.map_or(Site::Refused, |jump| Site::Rewritten { jump });
            s.sites.insert(site, new);
        }
    }
}

/// Where a call that is about to return to `rip` must go if its site was rewritten meanwhile.
pub fn continue_at(t: &Task, rip: u64) -> u64 {
    let mm = t.mm();
    let s = mm.sites.lock();
    s.tails
        .iter()
        .find(|(_, stands_for)| **stands_for as u64 == rip)
        .map_or(rip, |(tail, _)| *tail as u64)
}

/// The address that a stub's tail stands for, for those who must not see the rewriting.
pub fn shown(t: &Task, rip: u64) -> u64 {
    let mm = t.mm();
    let s = mm.sites.lock();
    s.tails.get(&(rip as usize)).map_or(rip, |a| *a as u64)
}

/// A breakpoint of ours that a thread ran into while its site was being rewritten: where it
/// continues. Whoever has the lock finds the rewriting done, so a breakpoint that is still there
/// is the program's own.
pub fn breakpoint(t: &Task, rip: u64) -> Option<u64> {
    let at = (rip as usize).wrapping_sub(1);
    let mm = t.mm();
    let s = mm.sites.lock();
    let ours = s
        .sites
        .values()
        .any(|site| matches!(site, Site::Rewritten { jump } if *jump == at));
    (ours && starts_with_jump(at)).then_some(at as u64)
}

fn starts_with_jump(at: usize) -> bool {
    let mut byte = [0];
    raw::read(at, &mut byte).is_ok() && byte == [JMP]
}

impl Mm {
    /// Rewrites one site; returns the jump's address. `None` if it cannot be.
    fn rewrite(&self, t: &Task, s: &mut Sites, site: usize, nr: u64, entry: u32) -> Option<usize> {
        let (mut before, mut after) = ([0; 10], [0; 10]);
        let mut own = [0; 2];
        raw::read(site.checked_sub(10)?, &mut before).ok()?;
        raw::read(site, &mut own).ok()?;
        raw::read(site + 2, &mut after).ok()?;
        if own != SYSCALL || nr == NR_RT_SIGRETURN {
            return None;
        }
        let alone = t.process.tasks.lock().len() == 1 && !crate::process::life::memory_is_shared(t);
        let shape = shape(&before, &after, nr)?;
        let (at, moved) = match shape {
            Shape::Before(n) => (site - n, &before[10 - n..]),
            Shape::After(n) => (site, &after[..n]),
        };
        let (start, end) = self.private_code(at, site + 10)?;
        if matches!(shape, Shape::After(_)) {
            let base = start.max(site.saturating_sub(FAR));
            let mut code = alloc::vec![0; end.min(site + FAR) - base];
            raw::read(base, &mut code).ok()?;
            if !alone || is_branch_target(&code, base, site) {
                return None;
            }
        }
        let mut stub: Vec<u8> = Vec::with_capacity(40);
        let place = self.stub_memory(s, site)?;
        let back = match shape {
            Shape::Before(_) => {
                stub.extend_from_slice(moved);
                site + 2
            }
            // lea and jmp come first, then the tail.
            Shape::After(_) => place + 15,
        };
        // lea back(%rip), %rcx; jmp *%gs:entry
        stub.extend_from_slice(&[0x48, 0x8d, 0x0d]);
        stub.extend_from_slice(&rel32(place + stub.len() + 4, back)?);
        stub.extend_from_slice(&[0x65, 0xff, 0x24, 0x25]);
        stub.extend_from_slice(&entry.to_le_bytes());
        if let Shape::After(n) = shape {
            stub.extend_from_slice(moved);
            stub.extend_from_slice(&jump(place + stub.len(), site + 2 + n)?);
        }
        let jump = jump(at, place)?;
        write_code(place, &stub).ok()?;
        // From here on other threads may run into the breakpoint, and need to find the site.
        if let Shape::After(_) = shape {
            s.tails.insert(place + 15, site + 2);
        }
        self.place_jump(at, jump, alone).ok()?;
        Some(at)
    }

    /// Room for a stub near the code.
    fn stub_memory(&self, s: &mut Sites, site: usize) -> Option<usize> {
        const SIZE: usize = 48;
        let near = |a: usize| a.abs_diff(site) < REACH;
        let slot = s
            .stubs
            .iter()
            .position(|&(next, end)| near(next) && near(end) && next + SIZE <= end);
        let i = match slot {
            Some(i) => i,
            None => {
                let at = self.map_near(site).ok()?;
                s.stubs.push((at, at + STUBS));
                s.stubs.len() - 1
            }
        };
        let (next, _) = s.stubs.get_mut(i)?;
        let at = *next;
        *next += SIZE;
        Some(at)
    }

    fn map_near(&self, site: usize) -> Result<usize> {
        let (low, high) = (
            site.saturating_sub(REACH).max(PAGE * 16),
            site.saturating_add(REACH),
        );
        let addr = {
            let state = self.state.lock();
            let below = state.map.find_free_in(low, site, STUBS);
            below.or_else(|| state.map.find_free_in(site, high, STUBS))
        };
        self.map(&MapRequest {
            addr: addr.ok_or(crate::Errno::ENOMEM)?,
            len: STUBS,
            prot: Prot::READ | Prot::EXEC,
            shared: false,
            fixed: true,
            noreplace: true,
            growsdown: false,
            backing: Backing::Anon,
        })
    }

    /// The mapping around a range, if it is program code that only this address space sees and
    /// that it cannot write.
    fn private_code(&self, start: usize, end: usize) -> Option<(usize, usize)> {
        let state = self.state.lock();
        let v = state.map.find(start)?;
        let code = v.prot == Prot::READ | Prot::EXEC && !v.flags.contains(VmFlags::SHARED);
        (code && end <= v.end).then_some((v.start, v.end))
    }

    /// Puts the jump in place. Other threads see the old code, a breakpoint, or the new code.
    fn place_jump(&self, at: usize, jump: [u8; JUMP], alone: bool) -> Result<()> {
        if alone || at % 8 + JUMP <= 8 {
            // One store of an aligned word is seen whole.
            return write_code(at, &jump);
        }
        write_code(at, &[INT3])?;
        pal().sync_code();
        write_code(at + 1, &jump[1..])?;
        pal().sync_code();
        write_code(at, &jump[..1])?;
        pal().sync_code();
        Ok(())
    }
}

/// Writes code, whose pages are readable and executable before and after.
fn write_code(at: usize, bytes: &[u8]) -> Result<()> {
    let start = at & !(PAGE - 1);
    let len = (at + bytes.len()).next_multiple_of(PAGE) - start;
    let code = Prot::READ | Prot::EXEC;
    pal()
        .protect(start, len, code | Prot::WRITE)
        .map_err(crate::host_error)?;
    let mut word = [0u8; 8];
    let aligned = at & !7;
    let written = if at % 8 + bytes.len() <= 8 && raw::read(aligned, &mut word).is_ok() {
        word[at % 8..at % 8 + bytes.len()].copy_from_slice(bytes);
        raw::store_u64(aligned, u64::from_le_bytes(word))
    } else {
        raw::write(at, bytes)
    };
    pal().protect(start, len, code).map_err(crate::host_error)?;
    written.map_err(|_| crate::Errno::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_told_by_their_bytes() {
        let nop = [0x90; 10];
        let mut b = nop;
        b[5..].copy_from_slice(&[0xb8, 39, 0, 0, 0]);
        assert_eq!(shape(&b, &nop, 39), Some(Shape::Before(5)));
        assert_eq!(shape(&b, &nop, 40), None);
        b[3..].copy_from_slice(&[0x48, 0xc7, 0xc0, 1, 1, 0, 0]);
        assert_eq!(shape(&b, &nop, 257), Some(Shape::Before(7)));
        let mut a = nop;
        a[..6].copy_from_slice(&[0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff]);
        assert_eq!(shape(&nop, &a, 0), Some(Shape::After(6)));
        assert_eq!(shape(&nop, &nop, 0), None);
    }

    #[test]
    fn branches_into_the_window_are_seen() {
        let base = 0x1000;
        let site = base + 32;
        let mut code = [0x90u8; 64];
        assert!(!is_branch_target(&code, base, site));
        // jmp to site + 2
        code[10] = 0xeb;
        code[11] = 22;
        assert!(is_branch_target(&code, base, site));
        // to the site itself is allowed
        code[11] = 20;
        assert!(!is_branch_target(&code, base, site));
        // jne rel32 to site + 2
        code[40..46].copy_from_slice(&[0x0f, 0x85, 0xf4, 0xff, 0xff, 0xff]);
        assert!(is_branch_target(&code, base, site));
    }

    #[test]
    fn jumps_reach_two_gigabytes() {
        assert_eq!(jump(0x1000, 0x1005), Some([0xe9, 0, 0, 0, 0]));
        assert_eq!(jump(0x1000, 0x1_8000_2000), None);
    }
}
