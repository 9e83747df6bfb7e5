//! What a process is known by after its threads are gone, and what it read and wrote.

use super::{Creds, Task};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

/// What a zombie still shows: its leader's name, credentials, and scheduling as [`Task::sched`].
#[derive(Clone)]
pub struct Remains {
    pub name: [u8; 16],
    pub creds: Arc<Creds>,
    pub sched: (u32, i32, i32),
}

impl Remains {
    /// A task's.
    pub fn of(t: &Task) -> Remains {
        Remains {
            name: *t.name.lock(),
            creds: t.creds(),
            sched: *t.sched.lock(),
        }
    }
}

/// Bytes and calls of reading and writing, `/proc/PID/io`.
#[derive(Default)]
pub struct IoCounts {
    pub read_bytes: AtomicU64,
    pub read_calls: AtomicU64,
    pub written_bytes: AtomicU64,
    pub write_calls: AtomicU64,
}

impl IoCounts {
    /// A read of so many bytes.
    pub fn read(&self, n: usize) {
        self.read_bytes.fetch_add(n as u64, Ordering::Relaxed);
        self.read_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// A write of so many bytes.
    pub fn wrote(&self, n: usize) {
        self.written_bytes.fetch_add(n as u64, Ordering::Relaxed);
        self.write_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes read, bytes written, calls of reading, calls of writing.
    pub fn values(&self) -> [u64; 4] {
        [
            &self.read_bytes,
            &self.written_bytes,
            &self.read_calls,
            &self.write_calls,
        ]
        .map(|c| c.load(Ordering::Relaxed))
    }

    /// Adds what a thread that is over did.
    pub fn add(&self, other: &IoCounts) {
        let [read, written, reads, writes] = other.values();
        self.read_bytes.fetch_add(read, Ordering::Relaxed);
        self.written_bytes.fetch_add(written, Ordering::Relaxed);
        self.read_calls.fetch_add(reads, Ordering::Relaxed);
        self.write_calls.fetch_add(writes, Ordering::Relaxed);
    }
}
