//! Memory: each process's map of mappings, and the page objects behind shared ones.
//!
//! The map says what *should* be mapped; the platform is told at once of private memory and host
//! files. Page objects are mapped where they have contents and on access elsewhere, so that a
//! sparse file stays sparse and an access beyond the end is a SIGBUS.
//!
//! One lock per address space. Host calls are made under it; copies of user memory never are, as
//! they may fault and need it.

pub mod advise;
pub mod calls;
mod extents;
mod fault;
mod fork;
mod layout;
pub mod lock;
mod map;
pub mod memfd;
mod move_;
pub mod object;
pub mod pager;
pub mod patch;
pub mod policy;
mod protect;
pub mod remote;
pub mod report;
mod runs;
#[cfg(test)]
mod tests;
mod vma;

pub use extents::Run;
pub use object::{Budget, Mapped, PageObject};
pub use vma::VmFlags;

use crate::fs::{File, Mappable};
use crate::process::task::{RLIMIT_AS, RLIMIT_DATA, RLIMIT_MEMLOCK, RLIMIT_STACK};
use crate::sysctl::{MAX_MAP_COUNT, OVERCOMMIT_MEMORY};
use crate::{Errno, Result, Task, host_error, pal};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::pages::{LARGE, PAGE};
use bastide_base::sync::Mutex;
use bastide_base::user::USER_END;
use bastide_pal::{MapSource, Prot};
use core::sync::atomic::{AtomicU64, Ordering};
use map::{MIN_ADDR, VmaMap};
use vma::{Memory, Vma};

/// What a new mapping is made of.
#[derive(Clone)]
pub enum Backing {
    /// Zero pages; with `shared`, shared with children.
    Anon,
    /// A file from `offset`.
    File { file: Arc<File>, offset: u64 },
    /// A page object from `offset`, with a name for `/proc/pid/maps`.
    Object {
        object: Arc<PageObject>,
        offset: u64,
        name: &'static str,
    },
}

/// A request for a mapping, `mmap(2)`.
pub struct MapRequest {
    /// Hint, or the place if `fixed`.
    pub addr: usize,
    pub len: usize,
    pub prot: Prot,
    pub shared: bool,
    pub fixed: bool,
    /// With `fixed`: EEXIST instead of replacing (`MAP_FIXED_NOREPLACE`).
    pub noreplace: bool,
    pub growsdown: bool,
    pub backing: Backing,
}

/// Rarer wishes for a mapping.
#[derive(Clone, Copy, Default)]
pub struct MapExtra {
    /// Below 2 GiB (`MAP_32BIT`).
    pub low: bool,
    /// `MAP_NORESERVE`.
    pub noreserve: bool,
    /// `MAP_LOCKED`.
    pub locked: bool,
}

/// Where a mapping shall go.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Hint, or the place if `fixed`.
    addr: usize,
    fixed: bool,
    noreplace: bool,
    low: bool,
    /// What the mapping begins with, if it may be in large pages of the kernel: they are mapped as
    /// such where both lie alike.
    offset: Option<u64>,
}

/// What came of a page fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultOutcome {
    /// Repaired: run the instruction again.
    Repaired,
    /// SIGSEGV, with `SEGV_MAPERR` (1) or `SEGV_ACCERR` (2).
    Segv(i32),
    /// SIGBUS (beyond the end of a mapped file).
    Bus,
}

/// A futex's identity: the same word, however it is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum FutexKey {
    /// Address in one address space.
    Private { mm: u64, addr: usize },
    /// Offset in a shared object.
    Shared { object: u64, offset: u64 },
}

/// Resource limits that bind a memory operation, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub space: u64,
    pub data: u64,
    pub stack: u64,
    pub locked: u64,
}

impl Limits {
    /// None: for the kernel's own mappings.
    pub const NONE: Limits = Limits {
        space: u64::MAX,
        data: u64::MAX,
        stack: u64::MAX,
        locked: u64::MAX,
    };

    /// A task's.
    pub fn of(t: &Task) -> Limits {
        let may_lock = t.creds().capable(crate::process::creds::CAP_IPC_LOCK);
        Limits {
            space: t.rlimit(RLIMIT_AS),
            data: t.rlimit(RLIMIT_DATA),
            stack: t.rlimit(RLIMIT_STACK),
            locked: if may_lock {
                u64::MAX
            } else {
                t.rlimit(RLIMIT_MEMLOCK)
            },
        }
    }
}

/// What an [`Mm`]'s lock protects.
struct State {
    map: VmaMap,
    /// `brk(2)`: where it starts, and now.
    brk: (usize, usize),
    /// The first program's stack ends here.
    stack_top: usize,
    /// `mlockall(MCL_FUTURE)`: flags of new mappings.
    lock_future: VmFlags,
    /// What a forked child still has to do to its copied memory.
    inherited: Vec<fork::Inherited>,
}

/// A process's memory map. All operations that change it act on the calling thread's address
/// space, which must be this one.
pub struct Mm {
    id: u64,
    me: Weak<Mm>,
    state: Mutex<State>,
    /// Objects that shrank: id, and the offset from which mappings must go.
    shrunk: Mutex<Vec<(u64, u64)>>,
    /// Objects whose pages are to hold still.
    asked: Mutex<Vec<Arc<PageObject>>>,
    /// System call sites; taken before `state`.
    sites: Mutex<patch::Sites>,
}

/// Rounds up to whole pages; `None` if that overflows.
fn page_up(n: usize) -> Option<usize> {
    n.checked_next_multiple_of(PAGE)
}

impl Mm {
    /// An empty address space with a random layout.
    pub fn new() -> Arc<Mm> {
        Self::with_state(State::new())
    }

    /// No memory, and none to come: of a task that has ended, or does not run yet.
    pub fn none() -> Arc<Mm> {
        Self::with_state(State::none())
    }

    fn with_state(state: State) -> Arc<Mm> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new_cyclic(|me| Mm {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            me: me.clone(),
            state: Mutex::new(state),
            shrunk: Mutex::default(),
            asked: Mutex::default(),
            sites: Mutex::default(),
        })
    }

    /// Makes a mapping without regard to limits; returns its address.
    pub fn map(&self, r: &MapRequest) -> Result<usize> {
        self.map_with(&Limits::NONE, r, MapExtra::default())
    }

    /// Makes a mapping within a task's limits; returns its address. EAGAIN for too much locked
    /// memory, ENOMEM, and what [`mmap(2)`] says of files.
    ///
    /// [`mmap(2)`]: https://man7.org/linux/man-pages/man2/mmap.2.html
    pub fn map_for(&self, t: &Task, r: &MapRequest, extra: MapExtra) -> Result<usize> {
        self.map_code(t, &Limits::of(t), r, extra)
    }

    fn map_with(&self, limits: &Limits, r: &MapRequest, extra: MapExtra) -> Result<usize> {
        if r.len == 0 {
            return Err(Errno::EINVAL);
        }
        let len = page_up(r.len).ok_or(Errno::ENOMEM)?;
        let pages = len / PAGE;
        let mut v = new_vma(r, extra, len)?;
        let mut gone = Vec::new();
        let mut sites = (r.fixed && !r.noreplace).then(|| self.sites.lock());
        let mut s = self.state.lock();
        if s.map.len() > MAX_MAP_COUNT.size() {
            return Err(Errno::ENOMEM);
        }
        let place = Place {
            addr: r.addr,
            fixed: r.fixed,
            noreplace: r.noreplace,
            low: extra.low,
            offset: match v.memory {
                Memory::Pages { offset, .. } => Some(offset),
                _ => None,
            },
        };
        let addr = s.place(place, len)?;
        let replaced = if r.fixed {
            s.map.mapped_pages(addr, addr + len)
        } else {
            0
        };
        v.start = addr;
        v.end = addr + len;
        v.flags |= s.lock_future;
        s.check_room(limits, &v, pages.saturating_sub(replaced))?;
        if v.flags.contains(VmFlags::LOCKED) {
            s.check_lock(limits, pages)?;
        }
        if replaced > 0 {
            s.check_seals(addr, addr + len)?;
            // A mapping of the whole range replaces what the host has; a sparse one does not.
            let sparse = matches!(v.memory, Memory::Pages { .. });
            s.unmap(addr, addr + len, sparse, &mut gone)?;
            if let Some(sites) = &mut sites {
                sites.forget(addr..addr + len);
            }
        }
        if let Err(e) = self.map_host(&mut v) {
            let _ = pal().unmap(addr, len);
            drop(s);
            return Err(e);
        }
        s.map.put(v);
        s.map.merge(addr, addr + len);
        drop(s);
        drop(gone);
        Ok(addr)
    }

    /// A free place, aligned, for several mappings that the caller makes next. Only while nobody
    /// else makes any.
    pub fn find_place(&self, hint: usize, len: usize, align: usize) -> Result<usize> {
        let padded = len.checked_add(align - PAGE).ok_or(Errno::ENOMEM)?;
        let place = Place {
            addr: hint & !(align - 1),
            ..Place::default()
        };
        let at = self.state.lock().place(place, padded)?;
        Ok(at.next_multiple_of(align))
    }

    /// Tells the platform of a new mapping.
    fn map_host(&self, v: &mut Vma) -> Result<()> {
        let source = match &v.memory {
            Memory::Anon => MapSource::Anon,
            Memory::Host { handle, offset } => MapSource::Host {
                fd: handle.0,
                offset: *offset,
                shared: v.shared(),
            },
            Memory::Pages { map, .. } => {
                if let Some(me) = self.me.upgrade() {
                    map.register(&me);
                }
                let (start, end) = (v.start, v.end);
                return fault::fill(v, start, end);
            }
        };
        pal()
            .map(v.start, v.len(), v.prot, source)
            .map_err(host_error)
    }

    /// Removes mappings, `munmap(2)`: EINVAL, ENOMEM. Stubs stay: the application did not map them,
    /// and may unmap what it takes for a hole.
    pub fn unmap(&self, addr: usize, len: usize) -> Result<()> {
        if addr % PAGE != 0 || len > USER_END || addr > USER_END - len {
            return Err(Errno::EINVAL);
        }
        let len = page_up(len).filter(|&n| n > 0).ok_or(Errno::EINVAL)?;
        let mut gone = Vec::new();
        let mut sites = self.sites.lock();
        let mut s = self.state.lock();
        let end = addr + len;
        let mut done = s.check_seals(addr, end);
        let mut at = addr;
        while done.is_ok() && at < end {
            let (hole, next) = s.map.named(patch::STUBS, at, end).unwrap_or((end, end));
            if hole > at {
                done = s.unmap(at, hole, true, &mut gone);
                sites.forget(at..hole);
            }
            at = next;
        }
        drop(s);
        drop(sites);
        drop(gone);
        done
    }

    /// Removes every mapping (exec).
    pub fn clear(&self) -> Result<()> {
        let mut s = self.state.lock();
        pal().clear().map_err(host_error)?;
        let old = core::mem::replace(&mut *s, State::new());
        drop(s);
        drop(old);
        self.shrunk.lock().clear();
        self.asked.lock().clear();
        *self.sites.lock() = patch::Sites::default();
        Ok(())
    }
}

impl State {
    /// Chooses where a mapping goes.
    fn place(&mut self, r: Place, len: usize) -> Result<usize> {
        if len > USER_END {
            return Err(Errno::ENOMEM);
        }
        if r.fixed {
            if r.addr > USER_END - len {
                return Err(Errno::ENOMEM);
            }
            if r.addr % PAGE != 0 {
                return Err(Errno::EINVAL);
            }
            if r.addr < MIN_ADDR {
                return Err(Errno::EPERM);
            }
            if r.noreplace
                && (!self.map.allowed(r.addr, len)
                    || !self.map.touching(r.addr, r.addr + len).is_empty())
            {
                return Err(Errno::EEXIST);
            }
            return if self.map.allowed(r.addr, len) {
                Ok(r.addr)
            } else {
                Err(Errno::ENOMEM)
            };
        }
        let hint = r.addr & !(PAGE - 1);
        if hint != 0 {
            let hint = hint.max(MIN_ADDR);
            if self.map.is_free(hint, len) {
                return Ok(hint);
            }
        }
        if r.low {
            return (self.map.find_free_in(0x4000_0000, 0x8000_0000, len)).ok_or(Errno::ENOMEM);
        }
        let alike = r.offset.filter(|_| len >= LARGE).and_then(|offset| {
            let at = self.map.find_free(len + LARGE - PAGE)?;
            Some(at + (offset as usize).wrapping_sub(at) % LARGE)
        });
        alike
            .or_else(|| self.map.find_free(len))
            .ok_or(Errno::ENOMEM)
    }

    /// `pages` more of a mapping like `v` may be had: ENOMEM.
    fn check_room(&self, limits: &Limits, v: &Vma, pages: usize) -> Result<()> {
        let bytes = |n: usize| (n as u64).saturating_mul(PAGE as u64);
        if bytes(self.map.total + pages) > limits.space {
            return Err(Errno::ENOMEM);
        }
        if v.is_data() {
            if bytes(self.map.data + pages) > limits.data {
                return Err(Errno::ENOMEM);
            }
            // Linux's heuristic overcommit: refuse only what could never be.
            if OVERCOMMIT_MEMORY.get() != 1
                && pages > (64 << 20) / PAGE
                && !v.flags.contains(VmFlags::NORESERVE)
                && bytes(pages) > pal().memory().0
            {
                return Err(Errno::ENOMEM);
            }
        }
        Ok(())
    }

    /// `pages` more may be locked: EAGAIN.
    fn check_lock(&self, limits: &Limits, pages: usize) -> Result<()> {
        if ((self.map.locked + pages) as u64).saturating_mul(PAGE as u64) > limits.locked {
            return Err(Errno::EAGAIN);
        }
        Ok(())
    }

    /// Takes the mappings of `start..end` out, into `gone` to be dropped without the lock; with
    /// `host`, from the platform too.
    fn unmap(&mut self, start: usize, end: usize, host: bool, gone: &mut Vec<Vma>) -> Result<()> {
        let touching = self.map.touching(start, end);
        if touching.is_empty() {
            return Ok(());
        }
        self.map.isolate(start, end)?;
        let touching = self.map.touching(start, end);
        if host {
            let mut span: Option<(usize, usize)> = None;
            for v in touching.iter().filter_map(|&s| self.map.find(s)) {
                span = match span {
                    Some((a, b)) if b == v.start => Some((a, v.end)),
                    Some((a, b)) => {
                        pal().unmap(a, b - a).map_err(host_error)?;
                        Some((v.start, v.end))
                    }
                    None => Some((v.start, v.end)),
                };
            }
            if let Some((a, b)) = span {
                pal().unmap(a, b - a).map_err(host_error)?;
            }
        }
        gone.extend(touching.into_iter().filter_map(|s| self.map.take(s)));
        Ok(())
    }
}

/// The mapping that a request describes, not yet placed.
fn new_vma(r: &MapRequest, extra: MapExtra, len: usize) -> Result<Vma> {
    let mut v = Vma::anon(0, len, r.prot, VmFlags::empty());
    v.flags.set(VmFlags::SHARED, r.shared);
    v.flags.set(VmFlags::GROWSDOWN, r.growsdown);
    v.flags.set(VmFlags::NORESERVE, extra.noreserve);
    v.flags.set(VmFlags::LOCKED, extra.locked);
    let (object, offset) = match &r.backing {
        Backing::Anon if r.shared && r.growsdown => return Err(Errno::EINVAL),
        Backing::Anon if r.shared => {
            v.name = "/dev/zero (deleted)";
            (PageObject::sized(len as u64), 0)
        }
        Backing::Anon => return Ok(v),
        Backing::Object {
            object,
            offset,
            name,
        } => {
            v.name = name;
            (object.clone(), *offset)
        }
        Backing::File { file, offset } => {
            if offset
                .checked_add(len as u64)
                .is_none_or(|e| e > i64::MAX as u64)
            {
                return Err(Errno::EOVERFLOW);
            }
            if r.shared && r.prot.contains(Prot::WRITE) && !file.writable() || !file.readable() {
                return Err(Errno::EACCES);
            }
            if r.shared && !file.writable() {
                v.max -= Prot::WRITE;
            }
            if let Some(p) = &file.path
                && p.mount.flags() & crate::fs::mount::NOEXEC != 0
            {
                if r.prot.contains(Prot::EXEC) {
                    return Err(Errno::EPERM);
                }
                v.max -= Prot::EXEC;
            }
            let what = file.ops.mmap(file)?;
            if r.growsdown {
                return Err(Errno::EINVAL);
            }
            v.file = Some(file.clone());
            match what {
                Mappable::Pages(object) => (object, *offset),
                Mappable::Host(handle) => {
                    v.memory = Memory::Host {
                        handle,
                        offset: *offset,
                    };
                    return Ok(v);
                }
                Mappable::Zero if r.shared => (PageObject::sized(len as u64), 0),
                Mappable::Zero => return Ok(v),
            }
        }
    };
    let writable = r.shared && v.max.contains(Prot::WRITE);
    let map = match Mapped::new(object.clone(), writable) {
        // Sealed against writing: it may be shared for reading.
        Err(Errno::EPERM) if !r.prot.contains(Prot::WRITE) => {
            v.max -= Prot::WRITE;
            Mapped::new(object, false)?
        }
        made => made?,
    };
    v.memory = Memory::Pages {
        map,
        offset,
        filled: runs::Runs::default(),
    };
    Ok(v)
}
