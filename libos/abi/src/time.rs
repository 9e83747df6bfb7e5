//! Time: the structures that cross to the application (`clock_gettime(2)`, `setitimer(2)`,
//! `timer_create(2)`, `adjtimex(2)`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// `struct timespec`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Timespec {
    pub sec: i64,
    pub nsec: i64,
}

impl Timespec {
    /// From nanoseconds.
    pub fn from_nanos(ns: u64) -> Self {
        Timespec {
            sec: (ns / SECOND) as i64,
            nsec: (ns % SECOND) as i64,
        }
    }

    /// Nanoseconds, as many as fit; `None` if the time is negative or malformed.
    pub fn nanos(self) -> Option<u64> {
        let sec = u64::try_from(self.sec).ok()?;
        let nsec = u64::try_from(self.nsec).ok().filter(|&n| n < SECOND)?;
        Some(sec.saturating_mul(SECOND).saturating_add(nsec))
    }
}

/// `struct timeval`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Timeval {
    pub sec: i64,
    pub usec: i64,
}

impl Timeval {
    /// From nanoseconds, rounded down.
    pub fn from_nanos(ns: u64) -> Self {
        Timeval {
            sec: (ns / SECOND) as i64,
            usec: (ns % SECOND / 1000) as i64,
        }
    }

    /// Nanoseconds, as many as fit; `None` if the time is negative or malformed.
    pub fn nanos(self) -> Option<u64> {
        let sec = u64::try_from(self.sec).ok()?;
        let usec = u64::try_from(self.usec).ok().filter(|&n| n < 1_000_000)?;
        Some(sec.saturating_mul(SECOND).saturating_add(usec * 1000))
    }
}

/// `struct itimerspec`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Itimerspec {
    pub interval: Timespec,
    pub value: Timespec,
}

/// `struct itimerval`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Itimerval {
    pub interval: Timeval,
    pub value: Timeval,
}

/// `struct tms`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Tms {
    pub utime: i64,
    pub stime: i64,
    pub cutime: i64,
    pub cstime: i64,
}

/// `struct timezone`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Timezone {
    pub minuteswest: i32,
    pub dsttime: i32,
}

/// `struct sigevent`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SigEvent {
    pub value: u64,
    pub signo: i32,
    pub notify: i32,
    pub tid: i32,
    pub pad: [u32; 11],
}

pub const SIGEV_SIGNAL: i32 = 0;
pub const SIGEV_NONE: i32 = 1;
pub const SIGEV_THREAD: i32 = 2;
pub const SIGEV_THREAD_ID: i32 = 4;

/// `struct timex`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Timex {
    pub modes: u32,
    pub pad1: u32,
    pub offset: i64,
    pub freq: i64,
    pub maxerror: i64,
    pub esterror: i64,
    pub status: i32,
    pub pad2: u32,
    pub constant: i64,
    pub precision: i64,
    pub tolerance: i64,
    pub time: Timeval,
    pub tick: i64,
    pub ppsfreq: i64,
    pub jitter: i64,
    pub shift: i32,
    pub pad3: u32,
    pub stabil: i64,
    pub jitcnt: i64,
    pub calcnt: i64,
    pub errcnt: i64,
    pub stbcnt: i64,
    pub tai: i32,
    pub pad4: [u32; 11],
}

/// Clock ids.
pub const CLOCK_REALTIME: i32 = 0;
pub const CLOCK_MONOTONIC: i32 = 1;
pub const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;
pub const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
pub const CLOCK_MONOTONIC_RAW: i32 = 4;
pub const CLOCK_REALTIME_COARSE: i32 = 5;
pub const CLOCK_MONOTONIC_COARSE: i32 = 6;
pub const CLOCK_BOOTTIME: i32 = 7;
pub const CLOCK_REALTIME_ALARM: i32 = 8;
pub const CLOCK_BOOTTIME_ALARM: i32 = 9;
pub const CLOCK_TAI: i32 = 11;

pub const TIMER_ABSTIME: i32 = 1;
pub const ITIMER_REAL: i32 = 0;
pub const ITIMER_VIRTUAL: i32 = 1;
pub const ITIMER_PROF: i32 = 2;

pub const TFD_TIMER_ABSTIME: u32 = 1;
pub const TFD_TIMER_CANCEL_ON_SET: u32 = 2;
pub const TFD_CLOEXEC: u32 = 0o2000000;
pub const TFD_NONBLOCK: u32 = 0o4000;

const _: () = {
    use linux_raw_sys::general as raw;
    assert!(size_of::<SigEvent>() == raw::SIGEV_MAX_SIZE as usize);
    assert!(size_of::<Timex>() == 208);
    assert!(size_of::<Itimerspec>() == size_of::<raw::itimerspec>());
    assert!(size_of::<Itimerval>() == size_of::<raw::itimerval>());
    assert!(core::mem::offset_of!(Timex, tick) == 88);
};
