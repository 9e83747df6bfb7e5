//! Sleeping and waking: futexes on shared memory, and `ppoll` when host descriptors take part.

use crate::LinuxPal;
use crate::awake::{self, Wait};
use crate::host::{self, host};
use crate::start::upcalls;
use alloc::vec::Vec;
use bastide_pal::park::{Parking, park_and_take};
use bastide_pal::{HostEvent, HostFd, HostPoll, Park, ParkState, Result};
use core::sync::atomic::{AtomicU32, Ordering};

const FUTEX_WAIT_BITSET: u32 = 9;
const FUTEX_WAKE: u32 = 1;
/// Only threads of one host process wait and wake, which the host finds faster.
const PRIVATE: u32 = 128;
const EINTR: i32 = 4;

fn timespec(ns: u64) -> [i64; 2] {
    [(ns / 1_000_000_000) as i64, (ns % 1_000_000_000) as i64]
}

/// Sleeps while `word` is `expected`, until an absolute monotonic time at most. `scope` is
/// [`PRIVATE`] or 0.
fn wait_in(scope: u32, word: &AtomicU32, expected: u32, deadline: Option<u64>) {
    let ts = deadline.map(timespec);
    let ts_ptr = ts.as_ref().map_or(0, |t| t.as_ptr() as usize);
    // SAFETY: the host reads the word and the time.
    unsafe {
        host!(
            __NR_futex,
            word.as_ptr(),
            FUTEX_WAIT_BITSET | scope,
            expected,
            ts_ptr,
            0,
            u32::MAX
        )
    };
}

/// Sleeps while `word` is `expected`, until an absolute monotonic time at most.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, deadline: Option<u64>) {
    wait_in(0, word, expected, deadline);
}

fn wake_in(scope: u32, word: &AtomicU32, count: u32) {
    // SAFETY: wakes only.
    unsafe { host!(__NR_futex, word.as_ptr(), FUTEX_WAKE | scope, count) };
}

/// Wakes sleepers on `word`.
pub(crate) fn futex_wake(word: &AtomicU32, count: u32) {
    wake_in(0, word, count);
}

/// Permits from its own host process after which a thread expects no more from others.
const FORGET: u32 = 16;

/// What giving a permit did.
#[derive(PartialEq, Eq)]
pub(crate) enum Permit {
    /// The thread slept on its word, and no longer does.
    Woke,
    /// It sleeps in a host call that has to be interrupted.
    Interrupt,
    /// It was awake.
    Found,
}

/// Gives the permit and wakes a thread that sleeps on its word. Threads of one host process wake
/// each other faster than others do, so a sleeper prepares for those who woke it last.
pub(crate) fn permit(park: &Park) -> Permit {
    let before = park
        .state
        .swap(ParkState::Notified as u32, Ordering::AcqRel);
    // Read after the state: where the thread has been since it fell asleep.
    let home = park.thread.load(Ordering::Acquire) >> 32;
    let near = home == u64::from(crate::entry::block().tgid.load(Ordering::Relaxed));
    let far = park.far.load(Ordering::Relaxed);
    let expected = if near { far.saturating_sub(1) } else { FORGET };
    if expected != far {
        park.far.store(expected, Ordering::Relaxed);
    }
    match before {
        s if s == ParkState::Parked as u32 => futex_wake(&park.state, 1),
        s if s == ParkState::Near as u32 && near => wake_in(PRIVATE, &park.state, 1),
        s if s == ParkState::Near as u32 || s == ParkState::Polling as u32 => {
            return Permit::Interrupt;
        }
        _ => return Permit::Found,
    }
    Permit::Woke
}

#[repr(C)]
#[derive(Clone, Copy)]
struct PollFd {
    fd: i32,
    events: u16,
    revents: u16,
}

fn poll_fds(hosts: &[HostPoll]) -> Vec<PollFd> {
    hosts
        .iter()
        .map(|h| PollFd {
            fd: h.fd.0,
            events: h.events,
            revents: 0,
        })
        .collect()
}

fn poll_results(fds: &[PollFd], hosts: &mut [HostPoll]) {
    for (f, h) in fds.iter().zip(hosts) {
        h.revents = f.revents & (h.events | 0x38);
    }
}

/// Has a thread sleep in this state, unless it has a permit, which it takes.
fn sleep_as(park: &Park, asleep: ParkState, sleep: impl FnOnce()) {
    crate::entry::check_canary(crate::entry::block());
    let running = ParkState::Running as u32;
    let wait = Wait::begin(park);
    if park
        .state
        .compare_exchange(running, asleep as u32, Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
    {
        sleep();
    }
    park.state.store(running, Ordering::Release);
    wait.end(park);
}

impl Parking for LinuxPal {
    fn park(&self, park: &Park, deadline: Option<u64>, hosts: &mut [HostPoll]) {
        if hosts.is_empty() {
            let placed = park.thread.load(Ordering::Relaxed) != 0;
            let (asleep, scope) = match park.far.load(Ordering::Relaxed) {
                0 if placed => (ParkState::Near, PRIVATE),
                _ => (ParkState::Parked, 0),
            };
            return sleep_as(park, asleep, || {
                wait_in(scope, &park.state, asleep as u32, deadline);
            });
        }
        sleep_as(park, ParkState::Polling, || {
            let mut fds = poll_fds(hosts);
            let left = deadline.map(|d| timespec(d.saturating_sub(upcalls().monotonic())));
            let left_ptr = left.as_ref().map_or(0, |t| t.as_ptr() as usize);
            // SAFETY: the host fills `fds` and updates `left`, both locals.
            let n = unsafe {
                host::bastide_host_poll(
                    fds.as_mut_ptr() as usize,
                    fds.len(),
                    left_ptr,
                    park.state.as_ptr() as usize,
                    ParkState::Notified as u32,
                )
            };
            if n > 0 {
                poll_results(&fds, hosts);
            }
        });
    }

    fn unpark(&self, park: &Park) {
        awake::sign(park);
        if permit(park) == Permit::Interrupt {
            crate::thread::send_kick(park.thread.load(Ordering::Acquire));
        }
    }

    fn word_wait(&self, word: &AtomicU32, expected: u32) {
        futex_wait(word, expected, None);
    }

    fn word_wake(&self, word: &AtomicU32, count: u32) {
        futex_wake(word, count);
    }

    fn poll_now(&self, hosts: &mut [HostPoll]) {
        let mut fds = poll_fds(hosts);
        let zero = [0i64; 2];
        // SAFETY: the host fills `fds`.
        unsafe { host!(__NR_ppoll, fds.as_mut_ptr(), fds.len(), zero.as_ptr(), 0, 0) };
        poll_results(&fds, hosts);
    }

    fn readiness_new(&self) -> Result<HostFd> {
        // SAFETY: touches no memory.
        let fd = host::check(unsafe { host!(__NR_epoll_create1, 0x80000) })?;
        Ok(HostFd(fd as i32))
    }

    fn readiness_set(&self, set: HostFd, fd: HostFd, events: Option<(u32, u64)>) -> Result<()> {
        let Some((mask, cookie)) = events else {
            // SAFETY: touches no memory.
            return host::check(unsafe { host!(__NR_epoll_ctl, set.0, 2, fd.0, 0) }).map(|_| ());
        };
        let event = HostEvent {
            events: mask,
            cookie,
        };
        // SAFETY: the host reads the event.
        let added = host::check(unsafe { host!(__NR_epoll_ctl, set.0, 1, fd.0, &raw const event) });
        match added {
            Err(bastide_pal::Error(17)) => {
                // SAFETY: as above.
                host::check(unsafe { host!(__NR_epoll_ctl, set.0, 3, fd.0, &raw const event) })
                    .map(|_| ())
            }
            r => r.map(|_| ()),
        }
    }

    fn readiness_take(&self, set: HostFd, out: &mut [HostEvent]) -> Result<usize> {
        // SAFETY: the host fills at most that many events.
        let r = unsafe {
            host!(
                __NR_epoll_pwait,
                set.0,
                out.as_mut_ptr(),
                out.len(),
                0,
                0,
                8
            )
        };
        host::check_len(r, out.len())
    }

    fn readiness_wait(
        &self,
        park: &Park,
        deadline: Option<u64>,
        set: HostFd,
        out: &mut [HostEvent],
    ) -> Result<usize> {
        // Whole milliseconds; the rest of them is slept as any other time.
        let left = deadline.map(|d| d.saturating_sub(upcalls().monotonic()) / 1_000_000);
        if left == Some(0) {
            return park_and_take(self, park, deadline, set, out);
        }
        let left = left.map_or(-1, |ms| i32::try_from(ms).unwrap_or(i32::MAX));
        let mut r = 0;
        sleep_as(park, ParkState::Polling, || {
            // SAFETY: the host fills at most that many events.
            r = unsafe {
                host::bastide_host_epoll(
                    set.0,
                    out.as_mut_ptr() as usize,
                    out.len(),
                    left,
                    park.state.as_ptr() as usize,
                    ParkState::Notified as u32,
                )
            };
        });
        match host::check_len(r, out.len()) {
            Err(bastide_pal::Error(EINTR)) => Ok(0),
            r => r,
        }
    }
}
