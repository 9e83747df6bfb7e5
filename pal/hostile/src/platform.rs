//! Time, entropy, the machine, and threads that do not run.

use crate::{Hostile, Lie, REFUSED, call};
use bastide_pal::{
    Clock, Context, Park, Platform, Result, Spawn, Start, ThreadId, Threads, park::Parking,
};

impl Hostile {
    /// A number, true or not.
    fn number(&self, call: &str, n: u64) -> u64 {
        match self.lie(call) {
            Some(Lie::Longer(more)) => more as u64,
            Some(Lie::Changed) => u64::MAX,
            _ => n,
        }
    }
}

impl Platform for Hostile {
    fn now(&self, clock: Clock) -> u64 {
        let id = match clock {
            Clock::Realtime => libc::CLOCK_REALTIME,
            Clock::Monotonic => libc::CLOCK_MONOTONIC,
            Clock::Boottime => libc::CLOCK_BOOTTIME,
            Clock::ThreadCpu => libc::CLOCK_THREAD_CPUTIME_ID,
            Clock::ProcessCpu => libc::CLOCK_PROCESS_CPUTIME_ID,
        };
        let mut ts = [0u64; 2];
        let a = [id as usize, ts.as_mut_ptr() as usize, 0, 0, 0, 0];
        call(libc::SYS_clock_gettime, a).expect("a clock");
        let n = ts[0] * 1_000_000_000 + ts[1];
        // A clock that stands still would only make the kernel wait.
        match self.lie("now") {
            Some(Lie::Longer(more)) => n.saturating_add(more as u64),
            _ => self.number("now", n),
        }
    }
    fn counter_is_steady(&self) -> bool {
        self.number("counter_is_steady", 1) == 1
    }
    fn thread_cpu(&self, _: ThreadId) -> (u64, u64) {
        let n = self.number("thread_cpu", 1000);
        (n, n)
    }
    fn space_cpu(&self, _: ThreadId) -> (u64, u64) {
        let n = self.number("space_cpu", 1000);
        (n, n)
    }
    fn thread_time(&self, _: ThreadId) -> u64 {
        self.number("thread_time", 1000)
    }
    fn space_time(&self, _: ThreadId) -> u64 {
        self.number("space_time", 1000)
    }
    fn space_peak(&self) -> u64 {
        self.number("space_peak", 1 << 20)
    }
    fn random(&self, buf: &mut [u8]) {
        let a = [buf.as_mut_ptr() as usize, buf.len(), 0, 0, 0, 0];
        call(libc::SYS_getrandom, a).expect("random bytes");
        if self.changed("random") {
            buf.fill(0xff);
        }
    }
    fn cpu(&self) -> u32 {
        self.number("cpu", 0) as u32
    }
    fn cpus(&self) -> u32 {
        match self.lie("cpus") {
            Some(Lie::Changed) => 0,
            Some(Lie::Longer(0x1_0000_0000..)) => u32::MAX,
            _ => self.number("cpus", 2) as u32,
        }
    }
    fn memory(&self) -> (u64, u64) {
        match self.lie("memory") {
            Some(Lie::Changed) => (0, u64::MAX),
            Some(Lie::Longer(0x1_0000_0000..)) => (u64::MAX, u64::MAX),
            _ => (self.number("memory", 1 << 30), 1 << 29),
        }
    }
    fn log(&self, line: &[u8]) {
        eprint!("{}", String::from_utf8_lossy(line));
    }
    fn yield_now(&self) {
        std::thread::yield_now();
    }
    fn stopped(&self, _: i32) {}
    fn shutdown(&self, wait_status: i32) -> ! {
        match wait_status {
            REFUSED => std::process::exit(REFUSED >> 8),
            _ => panic!("the enclave ends with {wait_status:x}"),
        }
    }
}

impl Threads for Hostile {
    fn spawn(&self, _: Spawn, start: Start) -> Result<ThreadId> {
        self.check("spawn")?;
        let mut started = self.started.lock().expect("one thread");
        started.push(start);
        Ok(ThreadId(1000 + started.len() as u32))
    }
    fn spawn_service(&self) -> Result<()> {
        self.check("spawn")
    }
    fn detach(&self, _: &Park) {}
    fn exit(&self) -> ! {
        panic!("the task ends")
    }
    fn kick(&self, _: ThreadId, park: &Park) {
        self.unpark(park);
    }
    fn direct_entry(&self) -> Option<u32> {
        None
    }
    fn sync_code(&self) {}
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
        self.check("set_nice")
    }
    fn set_affinity(&self, _: ThreadId, _: &[u64]) -> Result<()> {
        self.check("set_affinity")
    }
}
