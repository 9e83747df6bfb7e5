//! Sleeping and waking.

use crate::HostFd;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

/// A thread's sleeping place: one permit, as `std::thread::park`.
///
/// A thread parks only on its own place. An [`Parking::unpark`] that comes before the
/// [`Parking::park`] makes that park return at once.
#[derive(Debug, Default)]
pub struct Park {
    /// A [`ParkState`] as a number; a platform may wait on it as a futex word.
    pub state: AtomicU32,
    /// The thread to interrupt when it sleeps in a host call; the platform's business.
    pub thread: AtomicU64,
    /// Who gave the last permit, and when; where the thread last began to wait; whether spinning and
    /// yielding pay: the platform's business too.
    pub waker: AtomicU64,
    pub seat: AtomicU64,
    pub spins: Bet,
    pub yields: Bet,
    /// How sure it is that permits come from other host processes, likewise.
    pub far: AtomicU32,
}

/// A platform's experience with a way to wait that may or may not be worth it.
#[derive(Debug, Default)]
pub struct Bet {
    /// Above zero: it is tried. Below: it waits for so much more evidence.
    pub credit: AtomicI32,
    /// How often it was given up before it was trusted again.
    pub setbacks: AtomicU32,
}

impl Bet {
    const fn new() -> Self {
        Bet {
            credit: AtomicI32::new(0),
            setbacks: AtomicU32::new(0),
        }
    }
}

/// The values of [`Park::state`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum ParkState {
    /// Awake, no permit.
    Running = 0,
    /// Awake or about to be, with a permit.
    Notified = 1,
    /// Asleep on the word.
    Parked = 2,
    /// Asleep in a host call that waits for host descriptors.
    Polling = 3,
    /// Asleep on the word, where only threads of its own host process can wake it cheaply.
    Near = 4,
}

impl Park {
    /// A place with no permit.
    pub const fn new() -> Self {
        Park {
            state: AtomicU32::new(0),
            thread: AtomicU64::new(0),
            waker: AtomicU64::new(0),
            seat: AtomicU64::new(0),
            spins: Bet::new(),
            yields: Bet::new(),
            far: AtomicU32::new(0),
        }
    }

    /// The thread sleeps, or is about to.
    pub fn is_asleep(&self) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        state != ParkState::Running as u32 && state != ParkState::Notified as u32
    }

    /// Takes the permit if there is one.
    pub fn take(&self) -> bool {
        self.state.swap(ParkState::Running as u32, Ordering::AcqRel) == ParkState::Notified as u32
    }
}

/// A host descriptor that a sleeping thread also waits for, with `poll(2)` event bits.
#[derive(Clone, Copy, Debug)]
pub struct HostPoll {
    pub fd: HostFd,
    pub events: u16,
    /// What the host reported; only bits of `events` and POLLERR, POLLHUP, POLLNVAL.
    pub revents: u16,
}

/// A descriptor of a readiness set is ready: the host's `struct epoll_event`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed)]
pub struct HostEvent {
    /// `EPOLL*` bits.
    pub events: u32,
    /// What it was added with.
    pub cookie: u64,
}

/// Sleeping and waking.
pub trait Parking {
    /// Sleeps until a permit is there (and takes it), until the monotonic `deadline` in
    /// nanoseconds, or until one of `hosts` is ready. May return early for no reason.
    fn park(&self, park: &Park, deadline: Option<u64>, hosts: &mut [HostPoll]);
    /// Gives the permit and wakes the thread.
    fn unpark(&self, park: &Park);
    /// Sleeps while `word` is `expected`: the slow path of kernel locks.
    fn word_wait(&self, word: &AtomicU32, expected: u32);
    /// Wakes up to `count` threads in [`Parking::word_wait`].
    fn word_wake(&self, word: &AtomicU32, count: u32);
    /// Asks which of `hosts` are ready, without waiting.
    fn poll_now(&self, hosts: &mut [HostPoll]);
    /// Makes a host readiness set (`epoll_create(2)`), itself pollable.
    fn readiness_new(&self) -> crate::Result<HostFd>;
    /// Adds or changes (`Some(events)`, `EPOLL*` bits, and a cookie) or removes (`None`) a
    /// descriptor.
    fn readiness_set(
        &self,
        set: HostFd,
        fd: HostFd,
        events: Option<(u32, u64)>,
    ) -> crate::Result<()>;
    /// Takes ready descriptors without waiting; returns how many.
    fn readiness_take(&self, set: HostFd, out: &mut [HostEvent]) -> crate::Result<usize>;
    /// Sleeps as [`Parking::park`] does until the set has ready descriptors, and takes them. None
    /// if another reason ended the sleep, or none at all.
    fn readiness_wait(
        &self,
        park: &Park,
        deadline: Option<u64>,
        set: HostFd,
        out: &mut [HostEvent],
    ) -> crate::Result<usize> {
        park_and_take(self, park, deadline, set, out)
    }
}

/// [`Parking::readiness_wait`] by its parts.
pub fn park_and_take<P: Parking + ?Sized>(
    pal: &P,
    park: &Park,
    deadline: Option<u64>,
    set: HostFd,
    out: &mut [HostEvent],
) -> crate::Result<usize> {
    const READABLE: u16 = 1;
    let mut hosts = [HostPoll {
        fd: set,
        events: READABLE,
        revents: 0,
    }];
    pal.park(park, deadline, &mut hosts);
    if hosts[0].revents == 0 {
        return Ok(0);
    }
    pal.readiness_take(set, out)
}
