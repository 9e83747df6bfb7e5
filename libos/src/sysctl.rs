//! Kernel parameters, `proc(5)` "/proc/sys": the numbers that `/proc/sys` shows and changes and
//! that the kernel obeys. What nothing obeys lives with the files, in `fs::procfs::sys`.

use core::sync::atomic::{AtomicI64, Ordering};

/// A number with bounds.
pub struct Param {
    value: AtomicI64,
    pub min: i64,
    pub max: i64,
    /// Of type `unsigned long`: the bits are a `u64`'s, and there are no bounds.
    unsigned: bool,
}

impl Param {
    /// A parameter that starts as `value` and stays within `min..=max`.
    pub const fn new(value: i64, min: i64, max: i64) -> Param {
        Param {
            value: AtomicI64::new(value),
            min,
            max,
            unsigned: false,
        }
    }

    /// A parameter of type `unsigned long` without bounds.
    pub const fn unsigned(value: u64) -> Param {
        Param {
            value: AtomicI64::new(value as i64),
            min: 0,
            max: i64::MAX,
            unsigned: true,
        }
    }

    /// The value now; one that is too large is the largest.
    pub fn get(&self) -> i64 {
        i64::try_from(self.shown()).unwrap_or(i64::MAX)
    }

    /// The value now, for [`Param::unsigned`] ones.
    pub fn get_u64(&self) -> u64 {
        u64::try_from(self.shown()).unwrap_or(0)
    }

    /// The value as it is shown.
    pub fn shown(&self) -> i128 {
        let v = self.value.load(Ordering::Relaxed);
        if self.unsigned {
            i128::from(v as u64)
        } else {
            i128::from(v)
        }
    }

    /// Changes the value to one that was written; false if it is out of bounds.
    pub fn take(&self, value: i128) -> bool {
        if self.unsigned {
            let Ok(v) = u64::try_from(value) else {
                return false;
            };
            self.value.store(v as i64, Ordering::Relaxed);
            return true;
        }
        i64::try_from(value).is_ok_and(|v| self.set(v))
    }

    /// The value now, as a size.
    pub fn size(&self) -> usize {
        usize::try_from(self.get()).unwrap_or(0)
    }

    /// Changes the value to one that means "none" and is out of bounds for others.
    pub fn reset(&self, value: i64) {
        self.value.store(value, Ordering::Relaxed);
    }

    /// Changes the value; false if it is out of bounds.
    pub fn set(&self, value: i64) -> bool {
        let fits = (self.min..=self.max).contains(&value);
        if fits {
            self.value.store(value, Ordering::Relaxed);
        }
        fits
    }
}

const INT: i64 = i32::MAX as i64;

/// One more than the largest process id.
pub static PID_MAX: Param = Param::new(4_194_304, 301, 4_194_304);
/// Most threads.
pub static THREADS_MAX: Param = Param::new(65536, 1, INT);
/// `SCHED_RR` time slice in milliseconds, and the share of time for real-time tasks.
pub static SCHED_RR_TIMESLICE_MS: Param = Param::new(100, -INT - 1, INT);
pub static SCHED_RT_PERIOD_US: Param = Param::new(1_000_000, 1, INT);
pub static SCHED_RT_RUNTIME_US: Param = Param::new(950_000, -1, INT);

/// Largest `RLIMIT_NOFILE`.
pub static NR_OPEN: Param = Param::new(1 << 20, 64, 1 << 30);
/// Seconds until a lease is broken by force.
pub static LEASE_BREAK_TIME: Param = Param::new(45, 0, INT);
/// Restrictions on links and on opening files in sticky directories.
pub static PROTECTED_HARDLINKS: Param = Param::new(1, 0, 1);
pub static PROTECTED_SYMLINKS: Param = Param::new(1, 0, 1);
pub static PROTECTED_FIFOS: Param = Param::new(0, 0, 2);
pub static PROTECTED_REGULAR: Param = Param::new(0, 0, 2);
pub static INOTIFY_MAX_EVENTS: Param = Param::new(16384, 0, INT);
pub static INOTIFY_MAX_INSTANCES: Param = Param::new(128, 0, INT);
pub static INOTIFY_MAX_WATCHES: Param = Param::new(192_536, 0, INT);
/// Asynchronous I/O: events that may be in flight.
pub static AIO_MAX_NR: Param = Param::new(65536, 0, i64::MAX);
/// Message queues, `mq_overview(7)`.
pub static MQUEUE_QUEUES_MAX: Param = Param::new(256, 0, INT);
pub static MQUEUE_MSG_MAX: Param = Param::new(10, 1, 65536);
pub static MQUEUE_MSGSIZE_MAX: Param = Param::new(8192, 128, 16 << 20);
pub static MQUEUE_MSG_DEFAULT: Param = Param::new(10, 1, 65536);
pub static MQUEUE_MSGSIZE_DEFAULT: Param = Param::new(8192, 128, 16 << 20);

/// System V shared memory, semaphores and messages, `sysvipc(7)`.
pub static SHMMAX: Param = Param::unsigned(u64::MAX - (1 << 24));
pub static SHMALL: Param = Param::unsigned(u64::MAX - (1 << 24));
pub static SHMMNI: Param = Param::new(4096, 0, 32768);
pub static SHM_NEXT_ID: Param = Param::new(-1, 0, INT);
pub static SEMMSL: Param = Param::new(32000, 0, INT);
pub static SEMMNS: Param = Param::new(1_024_000_000, 0, INT);
pub static SEMOPM: Param = Param::new(500, 0, INT);
pub static SEMMNI: Param = Param::new(32000, 0, 32768);
pub static SEM_NEXT_ID: Param = Param::new(-1, 0, INT);
pub static MSGMAX: Param = Param::new(8192, 0, INT);
pub static MSGMNB: Param = Param::new(16384, 0, INT);
pub static MSGMNI: Param = Param::new(32000, 0, 32768);
pub static MSG_NEXT_ID: Param = Param::new(-1, 0, INT);

/// How memory may be promised: 0 within reason, 1 always.
pub static OVERCOMMIT_MEMORY: Param = Param::new(0, 0, 1);
pub static OVERCOMMIT_RATIO: Param = Param::new(50, 0, INT);
pub static OVERCOMMIT_KBYTES: Param = Param::new(0, 0, i64::MAX);
/// Most mappings of a process.
pub static MAX_MAP_COUNT: Param = Param::new(65530, 0, INT);

/// Longest queue of connections that wait for `accept(2)`.
pub static SOMAXCONN: Param = Param::new(4096, 0, INT);
pub static RMEM_DEFAULT: Param = Param::new(212_992, 2304, INT);
pub static RMEM_MAX: Param = Param::new(212_992, 2304, INT);
pub static WMEM_DEFAULT: Param = Param::new(212_992, 4608, INT);
pub static WMEM_MAX: Param = Param::new(212_992, 4608, INT);
/// The first port that needs no privilege.
pub static UNPRIVILEGED_PORT_START: Param = Param::new(1024, 0, 65535);
