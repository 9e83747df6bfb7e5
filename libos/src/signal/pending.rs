//! Signals that were sent and not yet delivered.

use super::{SigInfo, SigSet};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use bastide_base::sync::Mutex;

/// How many signals are queued per real user id, for `RLIMIT_SIGPENDING`.
static QUEUED: Mutex<BTreeMap<u32, u64>> = Mutex::new(BTreeMap::new());

/// One place in a user's queue allowance; given back when dropped.
pub struct Charge(u32);

impl Charge {
    /// Takes a place; `None` if the user has `limit` already.
    pub fn take(uid: u32, limit: u64) -> Option<Charge> {
        let mut users = QUEUED.lock();
        let n = users.entry(uid).or_insert(0);
        if *n >= limit {
            return None;
        }
        *n += 1;
        Some(Charge(uid))
    }

    /// Places that a user has taken, `/proc/pid/status` SigQ.
    pub fn taken(uid: u32) -> u64 {
        QUEUED.lock().get(&uid).copied().unwrap_or(0)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut users = QUEUED.lock();
        if let Some(n) = users.get_mut(&self.0) {
            *n -= 1;
            if *n == 0 {
                users.remove(&self.0);
            }
        }
    }
}

/// The source of a signal that wants to know when it left the queue: a POSIX timer, which counts
/// what it could not queue meanwhile.
pub trait Source: Send + Sync {
    /// The signal is no longer queued; the overrun count since it was. `None` if it is void: it is
    /// not delivered then.
    fn dequeued(self: Arc<Self>) -> Option<i32>;
}

/// A queued signal.
pub struct Queued {
    pub info: SigInfo,
    pub charge: Option<Charge>,
    pub source: Option<Arc<dyn Source>>,
}

impl Queued {
    /// A signal without a charge or a source.
    pub fn plain(info: SigInfo) -> Self {
        Queued {
            info,
            charge: None,
            source: None,
        }
    }

    /// The information to deliver, unless the signal is void. Call without locks.
    pub fn into_info(self) -> Option<SigInfo> {
        let mut info = self.info;
        drop(self.charge);
        if let Some(source) = self.source {
            let n = source.dequeued()?;
            if let super::Fields::Timer { overrun, .. } = &mut info.fields {
                *overrun = n;
            }
        }
        Some(info)
    }
}

/// A set of pending signals. Standard signals are there once; real-time signals queue.
#[derive(Default)]
pub struct Pending {
    set: SigSet,
    queue: VecDeque<Queued>,
}

impl Pending {
    /// Which signals are pending.
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// A standard signal that is pending already absorbs another.
    pub fn absorbs(&self, signo: i32) -> bool {
        signo < crate::abi::signal::SIGRTMIN && self.set.contains(signo)
    }

    /// Adds a signal.
    pub fn push(&mut self, q: Queued) {
        self.set.insert(q.info.signo);
        self.queue.push_back(q);
    }

    /// Marks a signal pending without keeping its details.
    pub fn mark(&mut self, signo: i32) {
        self.set.insert(signo);
    }

    /// Takes the next signal of `wanted`: those that instructions cause first, then the lowest.
    pub fn take(&mut self, wanted: SigSet) -> Option<Queued> {
        let set = self.set & wanted;
        let signo = (set & SigSet::SYNCHRONOUS).first().or(set.first())?;
        let found = self.queue.iter().position(|q| q.info.signo == signo);
        let q = found.and_then(|i| self.queue.remove(i));
        if !self.queue.iter().any(|q| q.info.signo == signo) {
            self.set.remove(signo);
        }
        Some(q.unwrap_or_else(|| Queued::plain(SigInfo::unknown(signo))))
    }

    /// Takes out every signal of `unwanted`. Drop the result without locks, through
    /// [`discard`].
    #[must_use]
    pub fn remove(&mut self, unwanted: SigSet) -> VecDeque<Queued> {
        if (self.set & unwanted).is_empty() {
            return VecDeque::new();
        }
        self.set = self.set - unwanted;
        let (gone, kept) = core::mem::take(&mut self.queue)
            .into_iter()
            .partition(|q| unwanted.contains(q.info.signo));
        self.queue = kept;
        gone
    }
}

/// Forgets signals that will not be delivered.
pub fn discard(gone: VecDeque<Queued>) {
    for q in gone {
        q.into_info();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::signal::*;

    fn q(signo: i32, value: u64) -> Queued {
        let mut info = SigInfo::unknown(signo);
        info.fields = super::super::Fields::Sender {
            pid: 0,
            uid: 0,
            value,
        };
        Queued::plain(info)
    }

    fn take(p: &mut Pending, wanted: u64) -> Option<(i32, u64)> {
        p.take(SigSet(wanted)).map(|q| match q.info.fields {
            super::super::Fields::Sender { value, .. } => (q.info.signo, value),
            _ => (q.info.signo, 0),
        })
    }

    #[test]
    fn real_time_signals_queue_in_order() {
        let mut p = Pending::default();
        p.push(q(40, 1));
        p.push(q(35, 2));
        p.push(q(40, 3));
        p.push(q(SIGUSR1, 4));
        assert!(p.absorbs(SIGUSR1) && !p.absorbs(40));
        assert_eq!(take(&mut p, 1 << 39), Some((40, 1)));
        assert_eq!(take(&mut p, u64::MAX), Some((SIGUSR1, 4)));
        assert_eq!(take(&mut p, u64::MAX), Some((35, 2)));
        assert!(p.set().contains(40));
        assert_eq!(take(&mut p, u64::MAX), Some((40, 3)));
        assert_eq!(take(&mut p, u64::MAX), None);
    }

    #[test]
    fn synchronous_signals_go_first_and_marks_are_delivered() {
        let mut p = Pending::default();
        p.mark(SIGHUP);
        p.push(q(SIGSEGV, 1));
        assert_eq!(take(&mut p, u64::MAX), Some((SIGSEGV, 1)));
        assert_eq!(take(&mut p, u64::MAX), Some((SIGHUP, 0)));
        assert!(p.set().is_empty());
    }

    #[test]
    fn removed_signals_are_gone() {
        let mut p = Pending::default();
        p.push(q(SIGTSTP, 1));
        p.push(q(SIGTERM, 2));
        assert_eq!(p.remove(SigSet::STOPS).len(), 1);
        assert_eq!(take(&mut p, u64::MAX), Some((SIGTERM, 2)));
        assert_eq!(take(&mut p, u64::MAX), None);
    }

    #[test]
    fn charges_count_per_user() {
        let a = Charge::take(4242, 2).unwrap();
        let _b = Charge::take(4242, 2).unwrap();
        assert!(Charge::take(4242, 2).is_none());
        assert_eq!(Charge::taken(4242), 2);
        drop(a);
        assert!(Charge::take(4242, 2).is_some());
    }
}
