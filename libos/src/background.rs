//! Work of the kernel's own that may sleep: a thread of its own does it, one job after the other. With
//! nothing to do it sleeps.

use crate::pal;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use bastide_base::sync::Mutex;
use bastide_pal::Park;
use core::sync::atomic::{AtomicBool, Ordering};

/// Something to do.
pub trait Job: Send + Sync {
    /// Does it. Whoever waits for another job waits for this one.
    fn run(self: Arc<Self>);
}

static JOBS: Mutex<VecDeque<Weak<dyn Job>>> = Mutex::new(VecDeque::new());
static SERVICE: Park = Park::new();
static WANTED: AtomicBool = AtomicBool::new(false);

/// There will be jobs: called before the kernel has booted.
pub fn want() {
    WANTED.store(true, Ordering::Relaxed);
}

/// The thread is needed.
pub fn is_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// Has `job` done soon, unless it is gone by then.
pub fn add(job: Weak<dyn Job>) {
    JOBS.lock().push_back(job);
    pal().unpark(&SERVICE);
}

/// The thread.
pub fn service() -> ! {
    loop {
        let next = JOBS.lock().pop_front();
        match next.map(|job| job.upgrade()) {
            Some(Some(job)) => job.run(),
            Some(None) => {}
            None => pal().park(&SERVICE, None, &mut []),
        }
    }
}
