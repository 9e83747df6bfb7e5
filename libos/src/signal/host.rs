//! Signals from outside: the person at the launcher's terminal, or the host's init.

use super::{SigInfo, send_group, send_process};
use crate::abi::signal::*;
use crate::process::{self, Process};

/// Process id of the first program: a tiny init may stand before it.
fn first_pid() -> i32 {
    if crate::kernel().config.init { 2 } else { 1 }
}

/// The process whose parent, for the person, is the launcher.
pub(super) fn is_first_program(p: &Process) -> bool {
    p.pid == first_pid()
}

/// The launcher received a signal. Those that a terminal sends go to the foreground process
/// group, the others to the first program. They count as the kernel's own, so that even process
/// 1 obeys them.
pub fn from_host(signal: i32) {
    if !super::set::valid(signal) {
        return;
    }
    let Some(first) = process::find_process(first_pid()) else {
        return;
    };
    let info = SigInfo::kernel(signal);
    match signal {
        SIGINT | SIGQUIT | SIGTSTP | SIGWINCH | SIGCONT => {
            let own = first.rel.lock().pgid;
            let pgid = crate::fs::tty::console::foreground().unwrap_or(own);
            let _ = send_group(pgid, info);
        }
        _ => send_process(&first, info),
    }
}
