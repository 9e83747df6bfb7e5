//! Where the parts of an address space go: stack, `brk` area, and the base of other mappings.

use super::map::{STACK_GAP, VmaMap};
use super::vma::{VmFlags, Vma};
use super::{Limits, Mm, State, page_up};
use crate::sysctl::MAX_MAP_COUNT;
use crate::{Errno, Result, Task, host_error, pal};
use alloc::vec::Vec;
use bastide_base::pages::PAGE;
use bastide_base::user::USER_END;
use bastide_pal::{MapSource, Prot};
use zerocopy::IntoBytes;

/// Smallest and default room for the stack.
const STACK_ROOM: usize = 128 << 20;
/// Room for an unlimited stack.
const STACK_UNLIMITED: usize = 8 << 30;
/// The stack begins up to this far below the top of user space.
const STACK_RANDOM: usize = 16 << 30;
/// A new stack's mapping: what Linux gives, and programs rarely exceed.
const STACK_INITIAL: usize = 132 << 10;
/// The `brk` area begins up to this far above the program.
const BRK_RANDOM: usize = 32 << 20;
/// Room for the `brk` area, where there is a choice.
const BRK_ROOM: usize = 64 << 30;

/// Random multiples of the page size below each range.
fn random<const N: usize>(ranges: [usize; N]) -> [usize; N] {
    let mut drawn = [0u64; N];
    pal().random(drawn.as_mut_bytes());
    core::array::from_fn(|i| drawn[i] as usize % ranges[i] / PAGE * PAGE)
}

impl State {
    /// Nothing mapped, and no layout.
    pub(super) fn none() -> State {
        State {
            map: VmaMap::new(0, pal().kernel_region()),
            brk: (0, 0),
            stack_top: 0,
            lock_future: VmFlags::empty(),
            inherited: Vec::new(),
        }
    }

    /// Nothing mapped; a new random layout.
    pub(super) fn new() -> State {
        let [base, stack] = random([1 << 40, STACK_RANDOM]);
        let mut s = State::none();
        let room = STACK_RANDOM + STACK_ROOM + STACK_GAP;
        s.map.set_base(USER_END - room - base);
        s.stack_top = USER_END - PAGE - stack;
        s
    }

    /// The stack or the `brk` area may grow over this address.
    pub(super) fn grows(&self, at: usize) -> bool {
        let stack = self.stack_top.saturating_sub(STACK_UNLIMITED)..self.stack_top;
        let brk = self.brk.0..self.brk.0.saturating_add(BRK_ROOM);
        stack.contains(&at) || brk.contains(&at)
    }

    /// `brk(2)` under the lock; false leaves it where it was.
    fn set_brk(&mut self, limits: &Limits, to: usize, gone: &mut Vec<Vma>) -> Option<()> {
        let (start, now) = self.brk;
        if to < start || (to - start) as u64 > limits.data {
            return None;
        }
        let (old_end, new_end) = (page_up(now)?, page_up(to)?);
        if new_end <= old_end {
            if new_end < old_end {
                self.check_seals(new_end, old_end).ok()?;
                self.unmap(new_end, old_end, true, gone).ok()?;
            }
        } else {
            let len = new_end - old_end;
            if !self.map.is_free(old_end, len) {
                return None;
            }
            let prot = Prot::READ | Prot::WRITE;
            let v = Vma::anon(old_end, new_end, prot, self.lock_future);
            self.check_room(limits, &v, len / PAGE).ok()?;
            if v.flags.contains(VmFlags::LOCKED) {
                self.check_lock(limits, len / PAGE).ok()?;
            }
            if self.map.len() > MAX_MAP_COUNT.size() {
                return None;
            }
            pal().map(old_end, len, prot, MapSource::Anon).ok()?;
            self.map.put(v);
            self.map.merge(old_end, new_end);
        }
        self.brk.1 = to;
        Some(())
    }
}

impl Mm {
    /// Where `brk(2)` starts: somewhere after the program's bss, which ends at `addr`.
    pub fn set_brk_start(&self, addr: usize) {
        let mut s = self.state.lock();
        let [shift] = random([BRK_RANDOM]);
        let start = page_up(addr).unwrap_or(addr).saturating_add(shift);
        s.brk = (start, start);
    }

    /// `brk(2)`: moves the end of the `brk` area; returns where it is then. The second value says
    /// that the new pages must be brought in ([`Mm::populate`]), with where they begin.
    pub fn brk(&self, t: &Task, to: usize) -> (usize, Option<usize>) {
        let limits = Limits::of(t);
        let mut gone = Vec::new();
        let mut s = self.state.lock();
        let before = s.brk.1;
        let moved = s.set_brk(&limits, to, &mut gone).is_some();
        let now = s.brk.1;
        let locked = moved && now > before && s.lock_future == VmFlags::LOCKED;
        drop(s);
        drop(gone);
        (now, locked.then_some(before))
    }

    /// Makes the first program's stack, which grows on demand; returns its top. To be called
    /// before other mappings are made: they go below the room that `limit` (`RLIMIT_STACK`)
    /// demands.
    pub fn map_stack(&self, limit: u64, prot: Prot) -> Result<usize> {
        let mut s = self.state.lock();
        let room = match usize::try_from(limit) {
            Ok(n) if n <= USER_END / 6 => n,
            _ => STACK_UNLIMITED,
        };
        if room > STACK_ROOM {
            let [shift] = random([1 << 40]);
            let base = USER_END - STACK_RANDOM - room - STACK_GAP - shift;
            s.map.set_base(base / PAGE * PAGE);
        }
        let top = s.stack_top;
        let len = STACK_INITIAL.min(room.max(PAGE) / PAGE * PAGE);
        let v = Vma {
            name: "[stack]",
            ..Vma::anon(top - len, top, prot, VmFlags::GROWSDOWN)
        };
        if !s.map.is_free(v.start, len) {
            return Err(Errno::ENOMEM);
        }
        pal()
            .map(v.start, len, prot, MapSource::Anon)
            .map_err(host_error)?;
        s.map.put(v);
        Ok(top)
    }
}
