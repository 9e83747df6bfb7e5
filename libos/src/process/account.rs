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
    /// A read of so many bytes, by the thread whose counts these are.
    pub fn read(&self, n: usize) {
        count(&self.read_bytes, n as u64);
        count(&self.read_calls, 1);
    }

    /// A write of so many bytes, likewise.
    pub fn wrote(&self, n: usize) {
        count(&self.written_bytes, n as u64);
        count(&self.write_calls, 1);
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

/// Adds to what one thread alone changes, which takes no locked step.
fn count(counter: &AtomicU64, n: u64) {
    let now = counter.load(Ordering::Relaxed);
    counter.store(now.wrapping_add(n), Ordering::Relaxed);
}
