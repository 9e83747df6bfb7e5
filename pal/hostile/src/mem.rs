//! Memory: the test process's own.

use crate::{Hostile, call};
use bastide_base::{pages, user};
use bastide_pal::{AddressSpace, HostFd, MapSource, Prot, Result, ThreadId};
use std::sync::OnceLock;

/// The kernel's region: everything that the test process has of its own lies above this.
const LOW: usize = 0x5000_0000_0000;
const ARENA: usize = 256 << 20;

/// The descriptor and the address of page memory.
static PAGES: OnceLock<(i32, usize)> = OnceLock::new();

/// Gives the kernel page memory, and lets its copies of user memory survive faults.
pub(crate) fn prepare() {
    PAGES.get_or_init(|| {
        let name = c"pages".as_ptr() as usize;
        let fd = call(libc::SYS_memfd_create, [name, 0, 0, 0, 0, 0]).expect("memfd");
        call(libc::SYS_ftruncate, [fd, ARENA, 0, 0, 0, 0]).expect("page memory");
        let rights = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let a = [0, ARENA, rights, libc::MAP_SHARED as usize, fd, 0];
        let at = call(libc::SYS_mmap, a).expect("page memory");
        // SAFETY: the mapping is new, zero and for this purpose only.
        unsafe { pages::init(at, at + ARENA) };
        (fd as i32, at)
    });
    // SAFETY: all zeros is a value of this structure, and the handler has the signature that
    // SA_SIGINFO asks for.
    unsafe {
        let mut a: libc::sigaction = std::mem::zeroed();
        a.sa_sigaction = fault as *const () as usize;
        a.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGSEGV, &a, std::ptr::null_mut());
        libc::sigaction(libc::SIGBUS, &a, std::ptr::null_mut());
    }
}

/// Continues a copy of user memory that cannot go on; anything else is what the tests look for.
extern "C" fn fault(signal: i32, _: *mut libc::siginfo_t, ctx: *mut libc::ucontext_t) {
    // SAFETY: the host passes the interrupted frame.
    let rip = unsafe { &mut (*ctx).uc_mcontext.gregs[libc::REG_RIP as usize] };
    match user::fixup(*rip as usize) {
        Some(to) => *rip = to as i64,
        None => {
            // SAFETY: the default action ends the process when the instruction faults again.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

impl Hostile {
    /// Calls the host, or says that it did.
    fn memory(&self, name: &str, nr: libc::c_long, a: [usize; 6]) -> Result<()> {
        self.check(name)?;
        if self.changed(name) {
            return Ok(());
        }
        assert!(
            a[0] < LOW,
            "{name} of the kernel's own memory at {:x}",
            a[0]
        );
        call(nr, a).map(drop)
    }
}

impl AddressSpace for Hostile {
    fn kernel_region(&self) -> (usize, usize) {
        (LOW, user::USER_END)
    }
    fn map(&self, addr: usize, len: usize, prot: Prot, source: MapSource) -> Result<()> {
        let kind = |shared| {
            if shared {
                libc::MAP_SHARED
            } else {
                libc::MAP_PRIVATE
            }
        };
        let (flags, fd, offset) = match source {
            MapSource::Anon => (
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            ),
            MapSource::Kernel { addr, shared } => {
                let (fd, start) = *PAGES.get().expect("prepared");
                assert!((start..start + ARENA).contains(&addr), "no page memory");
                (kind(shared), fd, addr - start)
            }
            MapSource::Host {
                fd: HostFd(fd),
                offset,
                shared,
            } => (kind(shared), fd, offset as usize),
        };
        let flags = (flags | libc::MAP_FIXED) as usize;
        let a = [addr, len, prot.bits() as usize, flags, fd as usize, offset];
        self.memory("map", libc::SYS_mmap, a)
    }
    fn unmap(&self, addr: usize, len: usize) -> Result<()> {
        self.memory("unmap", libc::SYS_munmap, [addr, len, 0, 0, 0, 0])
    }
    fn protect(&self, addr: usize, len: usize, prot: Prot) -> Result<()> {
        let a = [addr, len, prot.bits() as usize, 0, 0, 0];
        self.memory("protect", libc::SYS_mprotect, a)
    }
    fn remap(&self, old: usize, old_len: usize, new: usize, new_len: usize) -> Result<()> {
        let flags = (libc::MREMAP_FIXED | libc::MREMAP_MAYMOVE) as usize;
        let a = [old, old_len, new_len, flags, new, 0];
        self.memory("remap", libc::SYS_mremap, a)
    }
    fn discard(&self, addr: usize, len: usize) -> Result<()> {
        let a = [addr, len, libc::MADV_DONTNEED as usize, 0, 0, 0];
        self.memory("discard", libc::SYS_madvise, a)
    }
    fn resident(&self, addr: usize, len: usize, out: &mut [u8]) -> Result<()> {
        self.check("resident")?;
        assert!(out.len() >= len / pages::PAGE);
        call(
            libc::SYS_mincore,
            [addr, len, out.as_mut_ptr() as usize, 0, 0, 0],
        )?;
        if self.changed("resident") {
            out.fill(0xff);
        }
        Ok(())
    }
    fn clear(&self) -> Result<()> {
        Ok(())
    }
    fn peek(&self, _: ThreadId, addr: usize, buf: &mut [u8]) -> Result<usize> {
        self.check("peek")?;
        let n = user::read(addr, buf).map_or_else(|f| f.done, |()| buf.len());
        if self.changed("peek") {
            buf.fill(0xff);
        }
        Ok(self.length("peek", n, buf.len()))
    }
    fn poke(&self, _: ThreadId, addr: usize, buf: &[u8]) -> Result<usize> {
        self.check("poke")?;
        if self.changed("poke") {
            return Ok(0);
        }
        let n = user::write(addr, buf).map_or_else(|f| f.done, |()| buf.len());
        Ok(self.length("poke", n, buf.len()))
    }
    fn release_kernel_pages(&self, addr: usize, len: usize) {
        let (fd, start) = *PAGES.get().expect("prepared");
        assert!((start..start + ARENA).contains(&addr), "no page memory");
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let a = [fd as usize, mode as usize, addr - start, len, 0, 0];
        call(libc::SYS_fallocate, a).expect("a hole in page memory");
    }
}
