//! System call sites, rewritten so that they enter the kernel by a jump instead of a trap.
//!
//! A `syscall` instruction traps into the kernel, which costs microseconds. A site that traps
//! often is rewritten: a five-byte jump goes to a stub near the code, and the stub enters the
//! kernel directly. Two shapes of code are rewritten, which are nearly all there are:
//!
//! * *before*: the jump replaces the instruction before the `syscall`, which the stub executes
//!   first. The `syscall` itself stays, so a thread that stands on it, or returns to what follows,
//!   sees the code as it was. Nearly always that is `mov $nr, %eax` (or `%rax`). Another is taken
//!   only if there is no other way, and may be shorter than a jump: then the bytes of the
//!   `syscall` are the end of it too, and the stub lies where they point.
//! * *after*: the jump replaces the `syscall` and the first instructions behind it, which can run
//!   anywhere; the stub ends in a copy of them (the *tail*). No thread may stand inside what is
//!   replaced. So from a site's very first call on every call continues in the tail, and what
//!   returns from signal handlers does too; a site that was once taken for something else never
//!   becomes one of these.
//!
//! Whoever looks at a thread's address (a signal handler, a trace) sees one in the original code.
//!
//! Sites are found by trapping, never by searching: bytes that look like a `syscall` may be data.
//! The code's pages are writable only during the rewriting. Where a program's sites are is
//! remembered ([`known`]).

mod known;
mod shape;
mod stubs;

use super::vma::VmFlags;
use super::{Mm, PAGE};
use crate::process::Task;
use crate::{Result, kernel, pal};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bastide_base::user as raw;
use bastide_pal::{Context, Prot};
use core::ops::Range;
pub use shape::SYSCALL;
use shape::{FAR, JUMP, Shape, Tail, Window, jump, rel32};
pub(super) use stubs::STUBS;
use stubs::{Area, STUB};

/// Traps of a site, or in a page, before it is rewritten: about as many as the rewriting costs.
const PATIENCE: u32 = 8;
const INT3: u8 = 0xcc;
const NR_RT_SIGRETURN: u64 = 15;
/// Bytes of a stub that load the address to continue at and enter the kernel.
const ENTER: usize = 15;

/// Where a jump is to be written, and it.
type Jump = (usize, [u8; JUMP]);

/// What becomes of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It trapped so often.
    Trapping(u32),
    /// It jumps to its stub.
    Jumping,
    /// It stays as it is.
    Refused,
}

/// A `syscall` instruction that trapped.
#[derive(Clone, Copy, Debug)]
struct Site {
    /// The code around it, as it was.
    window: Window,
    shape: Option<Shape>,
    /// Its stub, 0 if it has none yet.
    stub: usize,
    stage: Stage,
}

/// What is known of an address space's sites. A forked child has the same code and knows the same.
#[derive(Clone, Default)]
pub(super) struct Sites {
    /// By the address of the `syscall` instruction.
    sites: BTreeMap<usize, Site>,
    /// The site of each stub.
    stubs: BTreeMap<usize, usize>,
    areas: Vec<Area>,
}

impl Sites {
    /// The sites in the page of `site` that trap, and how often they did.
    fn trapping(&self, site: usize) -> impl Iterator<Item = (usize, u32)> {
        let start = site & !(PAGE - 1);
        self.sites
            .range(start..start + PAGE)
            .filter_map(|(site, known)| match known.stage {
                Stage::Trapping(n) => Some((*site, n)),
                _ => None,
            })
    }

    /// Code that is no longer mapped.
    pub(super) fn forget(&mut self, place: Range<usize>) {
        while let Some((&site, _)) = self.sites.range(place.clone()).next() {
            self.sites.remove(&site);
        }
    }

    /// Calls of this site may have returned to what follows it.
    fn returned_to(&self, site: usize) -> bool {
        let known = self.sites.get(&site);
        known.is_some_and(|known| known.stub == 0 || !known.shape.is_some_and(Shape::is_after))
    }

    /// Where a call continues that would return to `rip`. The nearest record need not be the one:
    /// other code may have been here before.
    fn continues(&self, rip: usize) -> Option<usize> {
        let near = self.sites.range(rip.saturating_sub(JUMP)..rip);
        near.into_iter()
            .find_map(|(site, known)| known.continues(*site, rip))
    }
}

fn read<const N: usize>(at: usize) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    raw::read(at, &mut bytes).ok().map(|()| bytes)
}

impl Window {
    fn read(site: usize) -> Option<Window> {
        Some(Window {
            before: read(site.checked_sub(shape::BEFORE)?)?,
            after: read(site + SYSCALL.len())?,
        })
    }
}

impl Site {
    /// Where its jump is or would be.
    fn jump_at(&self, site: usize) -> usize {
        self.shape.map_or(site, |shape| shape.jump_at(site))
    }

    /// The code is still the one that this was learnt of, rewritten or not.
    fn is_current(&self, site: usize) -> bool {
        if self.stage == Stage::Jumping {
            let at = self.jump_at(site);
            return read(at) == jump(at, self.stub);
        }
        read(site) == Some(SYSCALL) && Window::read(site) == Some(self.window)
    }

    /// Where a call continues that would return to `rip`.
    fn continues(&self, site: usize, rip: usize) -> Option<usize> {
        let inside = (site + SYSCALL.len()..site + JUMP).contains(&rip);
        if !(inside && self.stub != 0 && self.is_current(site)) {
            return None;
        }
        let tail = self.tail(site)?;
        Some(self.stub + ENTER + tail.moved(rip - site - SYSCALL.len())?)
    }

    /// What its stub ends in, for an *after* shape.
    fn tail(&self, site: usize) -> Option<Tail> {
        matches!(self.shape, Some(Shape::After(_)))
            .then(|| self.window.tail(site, self.stub + ENTER))?
    }

    /// The address in the original code that an address in the stub stands for.
    fn original(&self, site: usize, rip: usize) -> usize {
        let into = rip - self.stub;
        match self.shape {
            Some(Shape::Before(len)) if into < len => site - len,
            Some(Shape::After(_)) if into >= ENTER => {
                let tail = self.tail(site);
                let own = tail.and_then(|tail| tail.own(into - ENTER));
                own.map_or(rip, |own| site + SYSCALL.len() + own)
            }
            // The number is loaded: the `syscall` does the rest.
            _ => site,
        }
    }
}

/// A call came by a trap. Counts it, and rewrites its site when it is time.
#[cold]
pub fn trapped(t: &Task, ctx: &Context) {
    let Some(entry) = pal().direct_entry().filter(|_| kernel().config.patch) else {
        return;
    };
    let site = (ctx.rip as usize).wrapping_sub(SYSCALL.len());
    let mm = t.mm();
    let mut s = mm.sites.lock();
    let known = s.sites.get(&site).copied().filter(|k| k.is_current(site));
    let Some(mut known) = known.or_else(|| learn(&mm, &mut s, site, ctx.orig_rax, entry)) else {
        return;
    };
    // A site that is no longer trapping: a thread had passed the jump's place when it was written,
    // or jumped onto the `syscall` itself.
    if let Stage::Trapping(n) = &mut known.stage {
        *n += 1;
        let n = *n;
        s.sites.insert(site, known);
        let traps = s.trapping(site).map(|(_, n)| n).sum();
        known::trapped(t, &mm, site, &known, n == 1, traps);
        if traps > PATIENCE && is_alone(t) {
            let page: Vec<usize> = s.trapping(site).map(|(site, _)| site).collect();
            mm.rewrite(&mut s, &page, entry, write_jumps);
        } else if n > PATIENCE {
            mm.rewrite(&mut s, &[site], entry, write_live);
        }
    } else {
        s.sites.insert(site, known);
    }
}

/// No other thread runs in the task's address space.
fn is_alone(t: &Task) -> bool {
    t.process.tasks.lock().len() == 1 && !crate::process::life::memory_is_shared(t)
}

/// A site's first trap: its shape, and for *after* shapes the tail that this and all calls from now
/// on continue in.
fn learn(mm: &Mm, s: &mut Sites, site: usize, nr: u64, entry: u32) -> Option<Site> {
    let window = Window::read(site)?;
    let code = mm
        .private_code(site - shape::BEFORE, site + shape::AFTER)
        .filter(|_| nr != NR_RT_SIGRETURN && read(site) == Some(SYSCALL));
    let shape = code.and_then(|(start, _)| {
        let sure = window.shape(site, nr);
        sure.filter(|shape| !(shape.is_after() && s.returned_to(site)))
            .or_else(|| before(site, start))
    });
    let mut new = Site {
        window,
        shape,
        stub: 0,
        stage: match shape {
            Some(_) => Stage::Trapping(0),
            None => Stage::Refused,
        },
    };
    if shape.is_some_and(Shape::is_after) && make_stub(mm, s, site, &mut new, entry).is_none() {
        new.stage = Stage::Refused;
    }
    Some(new)
}

/// The instruction before a site can make room, in code that begins at `start`.
fn before(site: usize, start: usize) -> Option<Shape> {
    let mut code = [0; shape::BACK];
    let code = &mut code[..shape::BACK.min(site - start)];
    raw::read(site - code.len(), code).ok()?;
    shape::last(code, site).map(Shape::Before)
}

/// Writes a site's stub.
fn make_stub(mm: &Mm, s: &mut Sites, site: usize, known: &mut Site, entry: u32) -> Option<()> {
    let reach = known.shape?.reach(site);
    let place = match s.areas.iter().find_map(|a| a.take(&reach)) {
        Some(place) => place,
        None => {
            s.areas.push(Area::near(mm, site, &reach).ok()?);
            s.areas.last()?.take(&reach)?
        }
    };
    let mut code: Vec<u8> = Vec::with_capacity(STUB);
    let back = match known.shape? {
        Shape::Before(len) => {
            code.extend_from_slice(&known.window.before[shape::BEFORE - len..]);
            site + SYSCALL.len()
        }
        Shape::After(_) => place + ENTER,
    };
    // lea back(%rip), %rcx; jmp *%gs:entry
    code.extend_from_slice(&[0x48, 0x8d, 0x0d]);
    code.extend_from_slice(&rel32(place + code.len() + 4, back)?);
    code.extend_from_slice(&[0x65, 0xff, 0x24, 0x25]);
    code.extend_from_slice(&entry.to_le_bytes());
    if let Some(Shape::After(_)) = known.shape {
        code.extend_from_slice(&known.window.tail(site, place + ENTER)?.code);
    }
    s.areas.iter().any(|a| a.write(place, &code)).then(|| {
        known.stub = place;
        s.stubs.insert(place, site);
    })
}

/// Where a call that is about to return to `rip` must continue.
#[cold]
pub fn continue_at(t: &Task, rip: u64) -> u64 {
    let mm = t.mm();
    let s = mm.sites.lock();
    s.continues(rip as usize).map_or(rip, |at| at as u64)
}

/// The address that one in a stub stands for, for those who must not see the rewriting.
pub fn shown(t: &Task, rip: u64) -> u64 {
    let mm = t.mm();
    let s = mm.sites.lock();
    let at = rip as usize;
    let stub = s.stubs.range(..=at).next_back();
    stub.filter(|(stub, _)| at - **stub < STUB)
        .and_then(|(stub, site)| Some((site, s.sites.get(site).filter(|k| k.stub == *stub)?)))
        .map_or(rip, |(site, known)| known.original(*site, at) as u64)
}

/// A breakpoint of ours that a thread ran into while its site was being rewritten: where it
/// continues. Whoever has the lock finds the rewriting done, so a breakpoint that is still there
/// is the program's own.
pub fn breakpoint(t: &Task, rip: u64) -> Option<u64> {
    let at = (rip as usize).wrapping_sub(1);
    let mm = t.mm();
    let s = mm.sites.lock();
    let near = s.sites.range(at..at.saturating_add(shape::BEFORE));
    let ours = near.into_iter().any(|(site, known)| {
        known.stage == Stage::Jumping && known.jump_at(*site) == at && known.is_current(*site)
    });
    ours.then_some(at as u64)
}

impl Mm {
    /// Makes sites jump to their stubs, where that can be.
    fn rewrite(
        &self,
        s: &mut Sites,
        sites: &[usize],
        entry: u32,
        write: fn(&[Jump]) -> Result<()>,
    ) {
        let mut jumps: Vec<Jump> = Vec::new();
        let entered = self.entered(s, sites);
        for &site in sites {
            let Some(mut known) = s.sites.get(&site).copied() else {
                continue;
            };
            // Learnt anew when it traps again, where the code around it has changed or is about to.
            if !known.is_current(site) || overlaps(&jumps, known.jump_at(site)) {
                continue;
            }
            let jump = match entered.contains(&site) {
                true => None,
                false => self.jump_for(s, site, &mut known, entry),
            };
            known.stage = match jump {
                Some(_) => Stage::Jumping,
                None => Stage::Refused,
            };
            jumps.extend(jump);
            s.sites.insert(site, known);
        }
        // A jump that could not be written is not there: its site is then learnt anew.
        let _ = write(&jumps);
    }

    /// Those of a page's sites that must stay as something branches into what would be replaced.
    fn entered(&self, s: &Sites, sites: &[usize]) -> Vec<usize> {
        let is_after = |site: &&usize| {
            let known = s.sites.get(*site).and_then(|known| known.shape);
            known.is_some_and(Shape::is_after)
        };
        let after: Vec<usize> = sites.iter().filter(is_after).copied().collect();
        let code = after
            .first()
            .and_then(|site| self.private_code(*site, site + 1));
        code.map_or(Vec::new(), |(start, end)| entered(&after, start, end))
    }

    /// The jump to a site's stub, and where it goes.
    fn jump_for(&self, s: &mut Sites, site: usize, known: &mut Site, entry: u32) -> Option<Jump> {
        self.private_code(site - shape::BEFORE, site + shape::AFTER)?;
        if known.stub == 0 {
            make_stub(self, s, site, known, entry)?;
        }
        let at = known.jump_at(site);
        Some((at, jump(at, known.stub)?))
    }

    /// The mapping around a range, if it is program code that only this address space sees and
    /// that it cannot write.
    fn private_code(&self, start: usize, end: usize) -> Option<(usize, usize)> {
        let state = self.state.lock();
        let v = state.map.find(start)?;
        let code = v.prot == Prot::READ | Prot::EXEC && !v.flags.contains(VmFlags::SHARED);
        (code && end <= v.end).then_some((v.start, v.end))
    }
}

/// A jump at `at` would lie on one of these.
fn overlaps(jumps: &[Jump], at: usize) -> bool {
    jumps.iter().any(|(other, _)| other.abs_diff(at) < JUMP)
}

/// Those of some sites, ascending, in code at `start..end`, that something near them seems to branch
/// into.
fn entered(sites: &[usize], start: usize, end: usize) -> Vec<usize> {
    let (Some(first), Some(last)) = (sites.first(), sites.last()) else {
        return Vec::new();
    };
    let base = start.max(first.saturating_sub(FAR));
    let mut code = alloc::vec![0; end.min(last + FAR) - base];
    match raw::read(base, &mut code) {
        Ok(()) => shape::branch_targets(&code, base, sites),
        Err(_) => sites.to_vec(),
    }
}

/// Puts jumps into code that nobody runs meanwhile.
fn write_jumps(jumps: &[Jump]) -> Result<()> {
    let (Some(first), Some(last)) = (
        jumps.iter().map(|j| j.0).min(),
        jumps.iter().map(|j| j.0 + JUMP).max(),
    ) else {
        return Ok(());
    };
    let start = first & !(PAGE - 1);
    let len = last.next_multiple_of(PAGE) - start;
    let protect = |prot| pal().protect(start, len, prot).map_err(crate::host_error);
    protect(Prot::READ | Prot::WRITE)?;
    for (at, jump) in jumps {
        // Where that fails (the file became shorter) there is nothing to run.
        let _ = raw::write(*at, jump);
    }
    protect(Prot::READ | Prot::EXEC)
}

/// Puts jumps into code that other threads may run: they see the old code, a breakpoint, or the new
/// code.
fn write_live(jumps: &[Jump]) -> Result<()> {
    for &(at, jump) in jumps {
        if at % 8 + JUMP <= 8 {
            // One store of an aligned word is seen whole.
            write_code(at, &jump)?;
            continue;
        }
        write_code(at, &[INT3])?;
        pal().sync_code();
        write_code(at + 1, &jump[1..])?;
        pal().sync_code();
        write_code(at, &jump[..1])?;
        pal().sync_code();
    }
    Ok(())
}

/// Writes code, whose pages are readable and executable before and after.
fn write_code(at: usize, bytes: &[u8]) -> Result<()> {
    let start = at & !(PAGE - 1);
    let len = (at + bytes.len()).next_multiple_of(PAGE) - start;
    let code = Prot::READ | Prot::EXEC;
    pal()
        .protect(start, len, code | Prot::WRITE)
        .map_err(crate::host_error)?;
    let aligned = at & !7;
    let whole = (at % 8 + bytes.len() <= 8)
        .then(|| read::<8>(aligned))
        .flatten();
    let written = match whole {
        Some(mut word) => {
            word[at % 8..at % 8 + bytes.len()].copy_from_slice(bytes);
            raw::store_u64(aligned, u64::from_le_bytes(word))
        }
        None => raw::write(at, bytes),
    };
    pal().protect(start, len, code).map_err(crate::host_error)?;
    written.map_err(|_| crate::Errno::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_code_that_is_gone_hide_nothing() {
        // push $39; pop %rax; syscall; test %eax, %eax; js; ret
        let mut code = [0x90u8; 64];
        code[16..26].copy_from_slice(&[0x6a, 39, 0x58, 0x0f, 0x05, 0x85, 0xc0, 0x78, 1, 0xc3]);
        let site = code.as_ptr() as usize + 19;
        let window = Window::read(site).unwrap();
        let known = Site {
            window,
            shape: window.shape(site, 39),
            stub: site + 0x1000,
            stage: Stage::Trapping(1),
        };
        let mut sites = Sites::default();
        sites.sites.insert(site, known);
        assert!(!sites.returned_to(site));
        assert_eq!(sites.continues(site + 2), Some(known.stub + ENTER));
        // There was a `syscall` two bytes further.
        sites.sites.insert(site + 2, known);
        assert_eq!(sites.continues(site + 4), Some(known.stub + ENTER + 2));
        assert_eq!(sites.continues(site + 6), None);
        sites.forget(site..site + 1);
        assert_eq!(sites.continues(site + 2), None);
    }
}
