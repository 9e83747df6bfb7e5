//! Time, entropy, diagnostics, and the end.

use crate::LinuxPal;
use crate::entry::block;
use crate::host::{self, host};
use crate::layout::{CALL_SIGNAL, Control};
use crate::start::control;
use alloc::format;
use bastide_pal::{Clock, Platform, ThreadId};
use core::sync::atomic::Ordering;

fn clock_gettime(id: isize) -> Option<u64> {
    let mut ts = [0i64; 2];
    // SAFETY: the host fills the local.
    host::check(unsafe { host!(__NR_clock_gettime, id, ts.as_mut_ptr()) }).ok()?;
    let [s, ns] = ts;
    Some(
        (s.max(0) as u64)
            .saturating_mul(1_000_000_000)
            .saturating_add(ns.clamp(0, 999_999_999) as u64),
    )
}

const RUSAGE_SELF: usize = 0;
const RUSAGE_THREAD: usize = 1;

/// The host's `struct rusage` of the caller, or of its host process; zeros if it gives none.
fn getrusage(who: usize) -> [i64; 18] {
    let mut r = [0i64; 18];
    // SAFETY: the host fills the local, a `struct rusage`.
    match host::check(unsafe { host!(__NR_getrusage, who, r.as_mut_ptr()) }) {
        Ok(_) => r,
        Err(_) => [0; 18],
    }
}

/// CPU time (user, system) of the caller, or of its host process.
fn rusage(who: usize) -> (u64, u64) {
    let r = getrusage(who);
    let nanos = |s: i64, us: i64| {
        (s.max(0) as u64)
            .saturating_mul(1_000_000_000)
            .saturating_add(us.clamp(0, 999_999) as u64 * 1000)
    };
    (nanos(r[0], r[1]), nanos(r[2], r[3]))
}

impl Platform for LinuxPal {
    fn now(&self, clock: Clock) -> u64 {
        let id = match clock {
            Clock::Realtime => 0,
            Clock::Monotonic => 1,
            Clock::ProcessCpu => 2,
            Clock::ThreadCpu => 3,
            Clock::Boottime => 7,
        };
        clock_gettime(id).unwrap_or(0)
    }

    fn counter_is_steady(&self) -> bool {
        control().steady_counter.load(Ordering::Relaxed) == 1
    }

    fn thread_cpu(&self, thread: ThreadId) -> (u64, u64) {
        if block().tid.load(Ordering::Relaxed) == thread.0 {
            return rusage(RUSAGE_THREAD);
        }
        (self.thread_time(thread), 0)
    }

    fn space_cpu(&self, thread: ThreadId) -> (u64, u64) {
        match crate::thread::group_of(thread.0) {
            Some(tgid) if tgid == block().tgid.load(Ordering::Relaxed) => rusage(RUSAGE_SELF),
            // The host tells other processes only the sum.
            _ => (self.space_time(thread), 0),
        }
    }

    fn thread_time(&self, thread: ThreadId) -> u64 {
        if block().tid.load(Ordering::Relaxed) == thread.0 {
            return self.now(Clock::ThreadCpu);
        }
        match crate::thread::group_of(thread.0) {
            // Per-thread clocks can be read only within a process; the process's is the next best.
            Some(tgid) if tgid == block().tgid.load(Ordering::Relaxed) => {
                clock_gettime((!(thread.0 as isize) << 3) | 6).unwrap_or(0)
            }
            _ => self.space_time(thread),
        }
    }

    fn space_time(&self, thread: ThreadId) -> u64 {
        let tgid = crate::thread::group_of(thread.0);
        tgid.and_then(|tgid| clock_gettime((!(tgid as isize) << 3) | 2))
            .unwrap_or(0)
    }

    fn space_peak(&self) -> u64 {
        let [_, _, _, _, kib, ..] = getrusage(RUSAGE_SELF);
        (kib.max(0) as u64).saturating_mul(1024)
    }

    fn random(&self, buf: &mut [u8]) {
        let mut done = 0;
        while done < buf.len() {
            let rest = &mut buf[done..];
            // SAFETY: the host fills `rest`.
            let r = unsafe { host!(__NR_getrandom, rest.as_mut_ptr(), rest.len(), 0) };
            match host::check_len(r, rest.len()) {
                Ok(n) => done += n,
                Err(_) => refuse("the host gives no random numbers"),
            }
        }
    }

    fn cpu(&self) -> u32 {
        let mut cpu = 0u32;
        // SAFETY: the host fills the local.
        unsafe { host!(__NR_getcpu, &raw mut cpu, 0, 0) };
        cpu
    }

    fn cpus(&self) -> u32 {
        control().cpus.load(Ordering::Relaxed).clamp(1, 1024)
    }

    fn memory(&self) -> (u64, u64) {
        let total = control().memory.load(Ordering::Relaxed);
        (
            total,
            total.saturating_sub(bastide_base::pages::used() as u64),
        )
    }

    fn log(&self, line: &[u8]) {
        log(line);
    }

    fn yield_now(&self) {
        // SAFETY: touches no memory.
        unsafe { host!(__NR_sched_yield) };
    }

    fn stopped(&self, signal: i32) {
        let c = control();
        c.stopped.store(signal, Ordering::Release);
        call_launcher(c);
    }

    fn shutdown(&self, wait_status: i32) -> ! {
        let c = control();
        c.status.store(wait_status, Ordering::Relaxed);
        c.done.store(1, Ordering::Release);
        // The zygote ends at the same time, rather than when the launcher has heard of our end.
        if c.zygote.load(Ordering::Acquire) != 0 {
            crate::thread::ring(c);
        }
        end()
    }
}

/// Has the launcher look at what is asked of it.
pub(crate) fn call_launcher(c: &Control) {
    let launcher = c.launcher.load(Ordering::Relaxed);
    // SAFETY: a signal to the launcher, which waits for it.
    unsafe { host!(__NR_kill, launcher, CALL_SIGNAL) };
}

/// Writes a diagnostic line.
pub(crate) fn log(line: &[u8]) {
    let fd = control().log_fd.load(Ordering::Relaxed);
    let iov = bastide_pal::IoVec {
        addr: line.as_ptr() as usize,
        len: line.len(),
    };
    // SAFETY: the host reads the line.
    unsafe { host!(__NR_writev, fd, &raw const iov, 1) };
}

pub(crate) fn end() -> ! {
    // SAFETY: this process is not needed any more; the launcher ends the others.
    unsafe { host!(__NR_exit_group, 0) };
    loop {
        core::hint::spin_loop();
    }
}

/// Stops the enclave: its state cannot be trusted.
pub fn fatal(why: &str) -> ! {
    stop(&format!("kernel panic: {why}"))
}

/// Stops the enclave: the host withholds what it cannot do without.
pub(crate) fn refuse(why: &str) -> ! {
    stop(why)
}

fn stop(why: &str) -> ! {
    log(format!("bastide: {why}\n").as_bytes());
    control().done.store(2, Ordering::Release);
    end()
}

/// The kernel itself faulted.
pub(crate) fn oops(signo: u32, rip: u64, addr: u64, rsp: u64) -> ! {
    // SAFETY: reads of this thread's own stack for a trace; if it faults, the process dies anyway.
    let mut trace = alloc::string::String::new();
    let b = block();
    let mut p = rsp & !7;
    while p < b.frame as u64 && trace.len() < 600 {
        // SAFETY: between rsp and the frame lies this thread's kernel stack.
        let v = unsafe { *(p as *const u64) };
        let text = crate::start::text_range();
        if text.contains(&(v as usize)) {
            trace.push_str(&format!(" {v:x}"));
        }
        p += 8;
    }
    fatal(&format!(
        "signal {signo} at {rip:#x}, address {addr:#x}; stack:{trace}"
    ))
}
