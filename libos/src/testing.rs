//! A mock platform for unit tests: real time, threads' own parking, the machine's files, no memory to
//! map. [`task`] makes a process to run system calls with.

#![allow(dead_code)]

#[path = "../volume/tests/common/disk.rs"]
pub mod disk;
pub mod host;

use crate::fs::{FdTable, FsInfo};
use crate::process::{Creds, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_pal::boot::{BootConfig, Network};
use bastide_pal::*;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// The platform.
pub struct Mock;

const ENOSYS: Error = Error(38);
const PAGE: usize = bastide_base::pages::PAGE;

std::thread_local! {
    /// The calling thread's address space: each page's rights and source.
    static SPACE: std::cell::RefCell<std::collections::BTreeMap<usize, (Prot, MapSource)>> =
        const { std::cell::RefCell::new(std::collections::BTreeMap::new()) };
    /// The sessions that it began.
    static SESSIONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    /// Ranges of it that large pages were wanted or not wanted for.
    static LARGE: std::cell::RefCell<Vec<(usize, usize, bool)>> =
        const { std::cell::RefCell::new(Vec::new()) };
    /// Kernel pages that the calling thread said it is about to use.
    static EXPECTED: std::cell::RefCell<Vec<(usize, usize)>> =
        const { std::cell::RefCell::new(Vec::new()) };
    /// What the platform says of how many kernel pages have memory.
    static USED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// From now on the platform tells the calling thread that so many of the kernel pages that it asks
/// about have memory behind them.
pub fn use_kernel_pages(pages: usize) {
    USED.set(pages);
}

/// The kernel pages that the calling thread said it is about to use since the last time.
pub fn expected_kernel_pages() -> Vec<(usize, usize)> {
    EXPECTED.take()
}

/// What the platform was told of large pages in the calling thread's address space since the last
/// time: addresses, lengths, and whether they are wanted.
pub fn large_pages() -> Vec<(usize, usize, bool)> {
    LARGE.take()
}

/// How many sessions the calling thread's address space began since the last time.
pub fn sessions() -> usize {
    SESSIONS.take()
}

/// What the platform has mapped at a page of the calling thread's address space.
pub fn mapped(addr: usize) -> Option<(Prot, MapSource)> {
    SPACE.with_borrow(|s| s.get(&addr).copied())
}

impl Platform for Mock {
    fn now(&self, clock: Clock) -> u64 {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        match clock {
            Clock::Realtime => SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |d| d.as_nanos() as u64),
            _ => START.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1,
        }
    }
    fn counter_is_steady(&self) -> bool {
        true
    }
    fn thread_cpu(&self, _thread: ThreadId) -> (u64, u64) {
        (0, 0)
    }
    fn space_cpu(&self, _thread: ThreadId) -> (u64, u64) {
        (0, 0)
    }
    fn thread_time(&self, _thread: ThreadId) -> u64 {
        0
    }
    fn space_time(&self, _thread: ThreadId) -> u64 {
        0
    }
    fn space_peak(&self) -> u64 {
        0
    }
    fn random(&self, buf: &mut [u8]) {
        for (i, b) in buf.iter_mut().enumerate() {
            *b = (self.now(Clock::Monotonic) as usize * 31 + i * 17) as u8;
        }
    }
    fn cpu(&self) -> u32 {
        0
    }
    fn cpus(&self) -> u32 {
        2
    }
    fn memory(&self) -> (u64, u64) {
        (1 << 30, 1 << 29)
    }
    fn log(&self, line: &[u8]) {
        std::eprintln!("{}", alloc::string::String::from_utf8_lossy(line));
    }
    fn yield_now(&self) {
        std::thread::yield_now();
    }
    fn stopped(&self, _signal: i32) {}
    fn shutdown(&self, wait_status: i32) -> ! {
        std::process::exit(wait_status)
    }
}

impl park::Parking for Mock {
    fn park(&self, park: &Park, deadline: Option<u64>, _hosts: &mut [HostPoll]) {
        while !park.take() {
            if deadline.is_some_and(|d| self.now(Clock::Monotonic) >= d) {
                return;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    fn unpark(&self, park: &Park) {
        park.state
            .store(ParkState::Notified as u32, Ordering::Release);
    }
    fn word_wait(&self, word: &AtomicU32, expected: u32) {
        if word.load(Ordering::Acquire) == expected {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    fn word_wake(&self, _word: &AtomicU32, _count: u32) {}
    fn poll_now(&self, _hosts: &mut [HostPoll]) {}
    fn readiness_new(&self) -> Result<HostFd> {
        Err(ENOSYS)
    }
    fn readiness_set(&self, _: HostFd, _: HostFd, _: Option<(u32, u64)>) -> Result<()> {
        Err(ENOSYS)
    }
    fn readiness_take(&self, _: HostFd, _: &mut [HostEvent]) -> Result<usize> {
        Err(ENOSYS)
    }
}

impl AddressSpace for Mock {
    fn kernel_region(&self) -> (usize, usize) {
        (0, 0)
    }
    fn map(&self, addr: usize, len: usize, prot: Prot, source: MapSource) -> Result<()> {
        for off in (0..len).step_by(PAGE) {
            let source = match source {
                MapSource::Anon => MapSource::Anon,
                MapSource::Kernel { addr, shared } => MapSource::Kernel {
                    addr: addr + off,
                    shared,
                },
                MapSource::Host { fd, offset, shared } => MapSource::Host {
                    fd,
                    offset: offset + off as u64,
                    shared,
                },
            };
            SPACE.with_borrow_mut(|s| s.insert(addr + off, (prot, source)));
        }
        Ok(())
    }
    fn unmap(&self, addr: usize, len: usize) -> Result<()> {
        SPACE.with_borrow_mut(|s| s.retain(|&a, _| a < addr || a >= addr + len));
        Ok(())
    }
    fn protect(&self, addr: usize, len: usize, prot: Prot) -> Result<()> {
        SPACE.with_borrow_mut(|s| {
            for off in (0..len).step_by(PAGE) {
                s.get_mut(&(addr + off)).ok_or(Error(12))?.0 = prot;
            }
            Ok(())
        })
    }
    fn remap(&self, old: usize, old_len: usize, new: usize, new_len: usize) -> Result<()> {
        let moved: Vec<_> = SPACE.with_borrow_mut(|s| {
            (0..old_len.min(new_len))
                .step_by(PAGE)
                .filter_map(|off| s.remove(&(old + off)).map(|p| (new + off, p)))
                .collect()
        });
        SPACE.with_borrow_mut(|s| {
            s.extend(moved);
            // The rest continues the last page; the tests only let anonymous memory grow.
            if let Some(last) = s.get(&(new + old_len.min(new_len) - PAGE)).copied() {
                for off in (old_len..new_len).step_by(PAGE) {
                    s.insert(new + off, last);
                }
            }
        });
        Ok(())
    }
    fn discard(&self, _: usize, _: usize) -> Result<()> {
        Ok(())
    }
    fn large_pages(&self, addr: usize, len: usize, wanted: bool) -> Result<()> {
        LARGE.with_borrow_mut(|l| l.push((addr, len, wanted)));
        Ok(())
    }
    fn resident(&self, _: usize, _: usize, _: &mut [u8]) -> Result<()> {
        Err(ENOSYS)
    }
    fn clear(&self) -> Result<()> {
        Ok(())
    }
    fn peek(&self, _: ThreadId, _: usize, _: &mut [u8]) -> Result<usize> {
        Err(ENOSYS)
    }
    fn poke(&self, _: ThreadId, _: usize, _: &[u8]) -> Result<usize> {
        Err(ENOSYS)
    }
    fn expect_kernel_pages(&self, addr: usize, len: usize) {
        EXPECTED.with_borrow_mut(|e| e.push((addr, len)));
    }
    fn used_kernel_pages(&self, _: usize, _: usize) -> usize {
        USED.get()
    }
    fn release_kernel_pages(&self, addr: usize, len: usize) {
        bastide_base::pages::wipe_for_tests(addr, len);
    }
}

impl Threads for Mock {
    fn spawn(&self, _: Spawn, _: Start) -> Result<ThreadId> {
        Err(ENOSYS)
    }
    fn spawn_service(&self) -> Result<()> {
        Ok(())
    }
    fn detach(&self, _: &Park) {}
    fn direct_entry(&self) -> Option<u32> {
        None
    }
    fn sync_code(&self) {}
    fn exit(&self) -> ! {
        panic!("a task exits")
    }
    fn kick(&self, _: ThreadId, park: &Park) {
        park::Parking::unpark(self, park);
    }
    fn fs_base(&self) -> u64 {
        0
    }
    fn set_fs_base(&self, _: u64) {}
    fn vector_size(&self) -> usize {
        576
    }
    fn vector_save(&self, _: &Context, _: &mut [u8]) {}
    fn vector_restore(&self, _: &mut Context, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn vector_reset(&self, _: &mut Context) {}
    fn set_nice(&self, _: ThreadId, _: i32) -> Result<()> {
        Ok(())
    }
    fn set_affinity(&self, _: ThreadId, _: &[u64]) -> Result<()> {
        Ok(())
    }
    fn own_session(&self) {
        SESSIONS.set(SESSIONS.get() + 1);
    }
}

impl HostSockets for Mock {
    fn socket(&self, _: i32, _: i32, _: i32) -> Result<HostFd> {
        Err(ENOSYS)
    }
    fn bind(&self, _: HostFd, _: &[u8]) -> Result<()> {
        Err(ENOSYS)
    }
    fn listen(&self, _: HostFd, _: i32) -> Result<()> {
        Err(ENOSYS)
    }
    fn accept(&self, _: HostFd, _: &mut [u8]) -> Result<(HostFd, usize)> {
        Err(ENOSYS)
    }
    fn connect(&self, _: HostFd, _: &[u8]) -> Result<()> {
        Err(ENOSYS)
    }
    fn shutdown(&self, _: HostFd, _: i32) -> Result<()> {
        Err(ENOSYS)
    }
    fn sock_name(&self, _: HostFd, _: bool, _: &mut [u8]) -> Result<usize> {
        Err(ENOSYS)
    }
    fn get_option(&self, _: HostFd, _: i32, _: i32, _: &mut [u8]) -> Result<usize> {
        Err(ENOSYS)
    }
    fn set_option(&self, _: HostFd, _: i32, _: i32, _: &[u8]) -> Result<()> {
        Err(ENOSYS)
    }
    fn send(&self, _: HostFd, _: &[IoVec], _: &[u8], _: &[u8], _: u32) -> Result<usize> {
        Err(ENOSYS)
    }
    fn recv(
        &self,
        _: HostFd,
        _: &[IoVec],
        _: &mut [u8],
        _: &mut [u8],
        _: u32,
    ) -> Result<net::Received> {
        Err(ENOSYS)
    }
    fn queued(&self, _: HostFd, _: bool) -> Result<usize> {
        Err(ENOSYS)
    }
}

/// A configuration with nothing in it but a tmpfs root.
pub fn config() -> BootConfig {
    BootConfig {
        program: b"/bin/true".to_vec(),
        argv: Vec::new(),
        env: Vec::new(),
        cwd: b"/".to_vec(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        hostname: b"test".to_vec(),
        umask: 0o022,
        ignored_signals: 0,
        init: false,
        mounts: alloc::vec![boot::Mount {
            target: b"/".to_vec(),
            source: boot::Source::Tmpfs {
                size: 0,
                mode: 0o755
            },
            read_only: false,
        }],
        stdio: [None; 3],
        terminal: None,
        trace: None,
        trace_summary: false,
        patch: true,
        log: alloc::string::String::new(),
        network: Network {
            open: true,
            publish: Vec::new(),
            connect: Vec::new(),
        },
        rlimits: Vec::new(),
        seed: [7; 32],
    }
}

/// Starts the kernel on the mock platform, once per test program.
pub fn boot() {
    static MOCK: Mock = Mock;
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = LOCK.lock();
    bastide_base::pages::init_for_tests();
    crate::kernel::init(&MOCK, config());
}

/// A process of one task with these credentials and places in the tree of files.
pub fn task_with(creds: Creds, files: Arc<FdTable>, fs: Arc<FsInfo>) -> Arc<Task> {
    static NEXT: AtomicI32 = AtomicI32::new(1000);
    boot();
    let pid = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = crate::process::life::for_tests(pid);
    let t = Task::new(
        pid,
        process.clone(),
        Arc::new(creds),
        files,
        fs,
        crate::mm::Mm::new(),
        Default::default(),
        [0; 16],
    );
    process.tasks.lock().insert(pid, t.clone());
    crate::kernel().processes.lock().insert(pid, process);
    crate::kernel().tasks.lock().insert(pid, t.clone());
    t
}

/// The address of a value, as the application would give it.
pub fn addr<T: ?Sized>(v: &T) -> crate::user::UserAddr {
    crate::user::UserAddr((v as *const T).cast::<u8>() as usize)
}

/// The root of a fresh in-memory file system.
pub fn tree() -> crate::fs::Path {
    boot();
    let fs = crate::fs::tmpfs::Tmpfs::new(crate::fs::tmpfs::Options {
        size: 16 << 20,
        inodes: 0,
        mode: 0o755,
        uid: 0,
        gid: 0,
    });
    let sup = crate::fs::mount::Super::new(fs);
    let root = sup.root.clone();
    crate::fs::mount::Mount::new(sup, root, b"tmpfs", crate::fs::mount::RELATIME).path()
}

/// A root process in a fresh tree.
pub fn task() -> Arc<Task> {
    task_with(
        Creds::new(0, 0, Vec::new()),
        FdTable::new(),
        FsInfo::at(tree(), 0o022),
    )
}

/// A C string for a system call.
pub struct CStr(Vec<u8>);

impl CStr {
    /// Its address.
    pub fn addr(&self) -> crate::user::UserAddr {
        crate::user::UserAddr(self.0.as_ptr() as usize)
    }
}

/// Makes a C string.
pub fn cstr(s: &str) -> CStr {
    let mut v = s.as_bytes().to_vec();
    v.push(0);
    CStr(v)
}
