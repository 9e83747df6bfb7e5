//! Sets of signals, and what a signal does by default.

use crate::abi::signal::*;

/// A set of signals; signal `n` is bit `n - 1`, as the application lays it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SigSet(pub u64);

impl SigSet {
    pub const EMPTY: SigSet = SigSet(0);
    /// SIGKILL and SIGSTOP, which nothing blocks, catches or ignores.
    pub const UNBLOCKABLE: SigSet = SigSet::of(&[SIGKILL, SIGSTOP]);
    /// The signals that stop a process by default.
    pub const STOPS: SigSet = SigSet::of(&[SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU]);
    /// Signals that an instruction causes: delivered before others.
    pub const SYNCHRONOUS: SigSet = SigSet::of(&[SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS]);

    /// The set of these signals.
    pub const fn of(signals: &[i32]) -> SigSet {
        let mut bits = 0;
        let mut i = 0;
        while i < signals.len() {
            bits |= 1 << (signals[i] - 1);
            i += 1;
        }
        SigSet(bits)
    }

    /// A mask from the application, without what cannot be blocked.
    pub fn blockable(mask: u64) -> SigSet {
        SigSet(mask) - SigSet::UNBLOCKABLE
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn contains(self, signo: i32) -> bool {
        valid(signo) && self.0 & (1 << (signo - 1)) != 0
    }

    pub fn insert(&mut self, signo: i32) {
        if valid(signo) {
            self.0 |= 1 << (signo - 1);
        }
    }

    pub fn remove(&mut self, signo: i32) {
        if valid(signo) {
            self.0 &= !(1 << (signo - 1));
        }
    }

    /// The lowest signal in the set.
    pub fn first(self) -> Option<i32> {
        (self.0 != 0).then(|| self.0.trailing_zeros() as i32 + 1)
    }
}

impl core::ops::BitOr for SigSet {
    type Output = SigSet;
    fn bitor(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }
}

impl core::ops::BitAnd for SigSet {
    type Output = SigSet;
    fn bitand(self, other: SigSet) -> SigSet {
        SigSet(self.0 & other.0)
    }
}

impl core::ops::Sub for SigSet {
    type Output = SigSet;
    fn sub(self, other: SigSet) -> SigSet {
        SigSet(self.0 & !other.0)
    }
}

/// A number that names a signal.
pub fn valid(signo: i32) -> bool {
    (1..=SIGMAX).contains(&signo)
}

/// What happens when a signal is neither caught nor ignored, `signal(7)` "Standard signals".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    Terminate,
    /// Terminate, with a core dump on other systems.
    Core,
    Ignore,
    Stop,
    /// Ignored once it has continued the process.
    Continue,
}

/// The default action of a signal.
pub fn default_action(signo: i32) -> DefaultAction {
    match signo {
        SIGCONT => DefaultAction::Continue,
        SIGCHLD | SIGURG | SIGWINCH => DefaultAction::Ignore,
        SIGSTOP | SIGTSTP | SIGTTIN | SIGTTOU => DefaultAction::Stop,
        SIGQUIT | SIGILL | SIGTRAP | SIGABRT | SIGBUS | SIGFPE | SIGSEGV | SIGXCPU | SIGXFSZ
        | SIGSYS => DefaultAction::Core,
        _ => DefaultAction::Terminate,
    }
}

/// Ignored when nothing else was asked for.
pub fn ignored_by_default(signo: i32) -> bool {
    matches!(
        default_action(signo),
        DefaultAction::Ignore | DefaultAction::Continue
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_laid_out_as_linux_does() {
        assert_eq!(SigSet::UNBLOCKABLE.0, 0x40100);
        assert_eq!(SigSet(1 << 63).first(), Some(64));
        assert!(!SigSet(u64::MAX).contains(0) && !SigSet(u64::MAX).contains(65));
        assert_eq!(SigSet::blockable(u64::MAX).0, !0x40100);
    }
}
