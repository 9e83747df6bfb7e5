//! The launcher's children: the enclave's host processes, each of which is made with the launcher for
//! its parent.

use libc::{SIGKILL, WEXITED, WNOHANG, WNOWAIT, pid_t};
use std::fs;

/// The children of this process, whose only thread calls.
pub(crate) struct Children {
    /// Who executed the launcher may have had some, which are not the enclave's.
    others: Vec<pid_t>,
}

/// What [`Children::reap`] found.
pub(crate) enum Reaped {
    /// This one has ended, with this status.
    One(pid_t, i32),
    /// All of them live.
    NoneYet,
    /// There are no children.
    NoneLeft,
}

impl Children {
    /// Those that there will be: the enclave has no process yet.
    pub(crate) fn new() -> Self {
        let others = match is_child(libc::P_ALL, 0) {
            true => listed(),
            false => Vec::new(),
        };
        Children { others }
    }

    /// Reaps a process of the enclave.
    pub(crate) fn reap(&mut self) -> Reaped {
        loop {
            let mut status = 0;
            // SAFETY: reaps our own children.
            let pid = unsafe { libc::waitpid(-1, &mut status, WNOHANG | libc::__WALL) };
            match self.others.iter().position(|other| *other == pid) {
                // The number may be given to another.
                Some(at) => drop(self.others.swap_remove(at)),
                None if pid > 0 => return Reaped::One(pid, status),
                None if pid == 0 => return Reaped::NoneYet,
                None => return Reaped::NoneLeft,
            }
        }
    }

    /// Kills every process of the enclave, in whatever session, and waits until they are gone.
    ///
    /// Which there are only the host can tell: what the enclave says is not to be trusted with a
    /// signal. One that is being made meanwhile is there the next time, or its maker was killed before.
    /// Where the host does not tell, for want of /proc, they are left to end with this process, as each
    /// has asked of the host (`PR_SET_PDEATHSIG`).
    pub(crate) fn end(mut self) {
        loop {
            match self.reap() {
                Reaped::One(..) => continue,
                Reaped::NoneYet => {}
                Reaped::NoneLeft => return,
            }
            let mut left = listed();
            left.retain(|pid| !self.others.contains(pid));
            if left.is_empty() {
                return;
            }
            for &pid in &left {
                // SAFETY: a signal to a child, whose number is its own until it is reaped.
                unsafe { libc::kill(pid, SIGKILL) };
            }
            for pid in left {
                // SAFETY: reaps our own child.
                unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
            }
        }
    }
}

/// The children that the host lists, if not all of them.
fn listed() -> Vec<pid_t> {
    let list = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let list = list.split_ascii_whitespace();
    // The list may be another namespace's, whose numbers mean other processes here, and its descriptor
    // is shared with the enclave.
    list.filter_map(|pid| pid.parse().ok())
        .filter(|&pid| is_child(libc::P_PID, pid))
        .collect()
}

/// Whether this process has such a child.
fn is_child(which: libc::idtype_t, pid: pid_t) -> bool {
    let options = WEXITED | WNOHANG | WNOWAIT | libc::__WALL;
    // SAFETY: only asks; the host fills the local.
    unsafe {
        let mut info = std::mem::zeroed();
        libc::waitid(which, pid as libc::id_t, &mut info, options) == 0
    }
}
