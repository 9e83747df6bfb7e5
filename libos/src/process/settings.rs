//! What a process carries only to show it and hand it to its children, `proc(5)`.

use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

/// Settings that children inherit.
pub struct Settings {
    /// `/proc/PID/oom_score_adj`, and the least that it may become without privilege.
    pub oom_score_adj: AtomicI32,
    pub oom_score_adj_min: AtomicI32,
    /// `/proc/PID/coredump_filter`.
    pub coredump_filter: AtomicU64,
    /// `/proc/PID/loginuid`.
    pub loginuid: AtomicU32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            oom_score_adj: AtomicI32::new(0),
            oom_score_adj_min: AtomicI32::new(0),
            coredump_filter: AtomicU64::new(0x33),
            loginuid: AtomicU32::new(u32::MAX),
        }
    }
}

impl Settings {
    /// A copy for `fork(2)`.
    pub fn fork(&self) -> Settings {
        Settings {
            oom_score_adj: AtomicI32::new(self.oom_score_adj.load(Ordering::Relaxed)),
            oom_score_adj_min: AtomicI32::new(self.oom_score_adj_min.load(Ordering::Relaxed)),
            coredump_filter: AtomicU64::new(self.coredump_filter.load(Ordering::Relaxed)),
            loginuid: AtomicU32::new(self.loginuid.load(Ordering::Relaxed)),
        }
    }
}
