//! The strace-style trace.
//!
//! Each call is one line, written when it is over, so that lines of tasks do not interleave. What
//! goes in is read before the call, what comes out after it.

mod errors;
mod names;
mod render;
mod summary;

use super::{Entry, numbers};
use crate::process::Life;
use crate::signal::{Fields, SigInfo};
use crate::{Errno, SysResult, Task, host_error, kernel, pal};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bastide_pal::{Context, HostFd, HostPoll, IoVec, Park};
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};
use render::Call;

/// Calls that return addresses.
const ADDRESSES: [&str; 4] = ["mmap", "brk", "mremap", "shmat"];
/// Calls whose result is shown with what it says of `pollfd`s.
const POLLS: [&str; 2] = ["poll", "ppoll"];
/// Calls that do not return.
const FINAL: [&str; 2] = ["exit", "exit_group"];

/// A trace was asked for.
pub fn enabled() -> bool {
    kernel().config.trace.is_some()
}

/// What is known of a call before it runs.
pub struct Started {
    args: [u64; 6],
    nr: u64,
    /// Each argument's place and kind, and its text, or `None` where the call fills it in.
    shown: Vec<(usize, &'static str, Option<String>)>,
    /// Monotonic nanoseconds.
    at: u64,
}

fn name(entry: Option<&Entry>, nr: u64) -> String {
    match entry {
        Some(e) => String::from(e.name),
        None => unknown_name(nr),
    }
}

/// The name of a call that is not in the table.
fn unknown_name(nr: u64) -> String {
    match numbers::NAMES.iter().find(|(n, _)| u64::from(*n) == nr) {
        Some((_, name)) => String::from(*name),
        None => format!("syscall_{nr:#x}"),
    }
}

/// The arguments that are shown, with their places; an empty kind is a place to pass over.
fn kinds(entry: Option<&Entry>) -> impl Iterator<Item = (usize, &'static str)> {
    let args = entry.map_or("hex,hex,hex,hex,hex,hex", |e| e.args);
    args.split(',')
        .map(str::trim)
        .enumerate()
        .filter(|(_, k)| !k.is_empty())
}

/// Before the call.
#[cold]
pub fn before(t: &Task, entry: Option<&Entry>, ctx: &Context) -> Started {
    let mut started = Started {
        args: ctx.args(),
        nr: ctx.orig_rax,
        shown: Vec::new(),
        at: crate::time::monotonic(),
    };
    if kernel().config.trace_summary {
        summary::count_site(t, ctx);
        if entry.is_some_and(|e| FINAL.contains(&e.name)) {
            summary::count(started.nr, false, 0);
        }
        return started;
    }
    let call = Call {
        t,
        args: started.args,
        result: None,
    };
    started.shown = kinds(entry)
        .filter(|(i, kind)| *kind != "mode" || call.takes_mode(entry, *i))
        .map(|(i, kind)| {
            let text = (!render::is_output(kind)).then(|| call.show(kind, i));
            (i, kind, text)
        })
        .collect();
    if let Some(e) = entry
        && FINAL.contains(&e.name)
    {
        let args = started.shown.iter().filter_map(|(_, _, text)| text.clone());
        let args: Vec<String> = args.collect();
        line(t, &format!("{}({}) = ?", e.name, args.join(", ")));
    }
    started
}

/// After the call.
#[cold]
pub fn after(t: &Task, entry: Option<&Entry>, started: Started, result: SysResult) {
    if kernel().config.trace_summary {
        let spent = crate::time::monotonic().saturating_sub(started.at);
        summary::count(started.nr, result.is_err(), spent);
        return;
    }
    if entry.is_some_and(|e| FINAL.contains(&e.name)) {
        return;
    }
    let call = Call {
        t,
        args: started.args,
        result: Some(result),
    };
    let mut text = name(entry, started.nr);
    text.push('(');
    for (n, (i, kind, input)) in started.shown.iter().enumerate() {
        if n > 0 {
            text.push_str(", ");
        }
        match input {
            Some(s) => text.push_str(s),
            None => text.push_str(&call.show(kind, *i)),
        }
    }
    text.push_str(") = ");
    let _ = match result {
        Ok(n) if entry.is_some_and(|e| POLLS.contains(&e.name)) => {
            write!(text, "{n}{}", call.polled(n))
        }
        Ok(v) if entry.is_some_and(|e| ADDRESSES.contains(&e.name)) => write!(text, "{v:#x}"),
        Ok(v) => write!(text, "{}", v as isize),
        Err(e) if e.is_restart() => write!(text, "? {} ({})", e.name(), errors::text(e.0)),
        Err(Errno(e)) => write!(text, "-1 {} ({})", Errno(e).name(), errors::text(e)),
    };
    line(t, &text);
}

/// A signal is about to be acted on.
pub fn signal(t: &Task, info: &SigInfo) {
    if !enabled() || kernel().config.trace_summary {
        return;
    }
    let name = names::signal(info.signo);
    let code = names::signal_code(info.signo, info.code);
    let mut text = format!("--- {name} {{si_signo={name}, si_code={code}");
    let _ = match info.fields {
        Fields::None | Fields::Raw(_) => Ok(()),
        Fields::Sender { pid, uid, value: 0 } => write!(text, ", si_pid={pid}, si_uid={uid}"),
        Fields::Sender { pid, uid, value } => {
            write!(text, ", si_pid={pid}, si_uid={uid}, si_value={value:#x}")
        }
        Fields::Child {
            pid,
            uid,
            status,
            utime,
            stime,
        } => {
            // CLD_EXITED has an exit code, the others a signal.
            let status = if info.code == 1 {
                format!("{status}")
            } else {
                names::signal(status)
            };
            write!(
                text,
                ", si_pid={pid}, si_uid={uid}, si_status={status}, si_utime={utime}, \
                 si_stime={stime}"
            )
        }
        Fields::Timer { id, overrun, value } => write!(
            text,
            ", si_timerid={id}, si_overrun={overrun}, si_value={value:#x}"
        ),
        Fields::Fault { addr } => write!(text, ", si_addr={}", render::pointer(addr)),
        Fields::Poll { band, fd } => write!(text, ", si_band={band:#x}, si_fd={fd}"),
    };
    text.push_str("} ---");
    line(t, &text);
}

/// The first program was chosen: a line as for its `execve`, which nobody called.
pub fn first(t: &Task, path: &[u8], args: usize, env: usize) {
    if enabled() && !kernel().config.trace_summary {
        let path = String::from_utf8_lossy(path);
        line(
            t,
            &format!("execve({path:?}, [/* {args} args */], [/* {env} vars */]) = 0"),
        );
    }
}

/// The task ends with a `wait(2)` status: the `+++ exited with 0 +++` line.
pub fn exited(t: &Task, wait_status: i32) {
    if !enabled() || kernel().config.trace_summary {
        return;
    }
    // When the whole process ends, all its tasks end with its status.
    let wait_status = match *t.process.life.lock() {
        Life::Exiting(status) | Life::Zombie(status) => status,
        Life::Running => wait_status,
    };
    let signal = wait_status & 0x7f;
    if signal == 0 {
        line(
            t,
            &format!("+++ exited with {} +++", wait_status >> 8 & 0xff),
        );
    } else {
        let core = if wait_status & 0x80 != 0 {
            " (core dumped)"
        } else {
            ""
        };
        line(
            t,
            &format!("+++ killed by {}{core} +++", names::signal(signal)),
        );
    }
}

/// The enclave ends: totals, if they were asked for.
pub fn finish() {
    if let Some(fd) = kernel().config.trace
        && kernel().config.trace_summary
    {
        put(fd, summary::report().into_bytes());
    }
}

fn line(t: &Task, text: &str) {
    if let Some(fd) = kernel().config.trace {
        put(fd, format!("[pid {:>3}] {text}\n", t.tid).into_bytes());
    }
}

/// The person was told that the trace has gaps.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Writes all of it, waiting for a slow reader; a reader that is gone is nothing to us.
fn put(fd: HostFd, text: Vec<u8>) {
    let mut done = 0;
    while let Some(rest) = text.get(done..).filter(|r| !r.is_empty()) {
        let piece = IoVec {
            addr: rest.as_ptr() as usize,
            len: rest.len(),
        };
        match pal().write(fd, &[piece], None) {
            Ok(0) => return,
            Ok(n) => done += n,
            Err(e) if e.0 == Errno::EAGAIN.0 => {
                let soon = crate::time::monotonic().saturating_add(10_000_000);
                let mut ready = [HostPoll {
                    fd,
                    events: crate::wait::POLLOUT as u16,
                    revents: 0,
                }];
                pal().park(&Park::new(), Some(soon), &mut ready);
            }
            Err(e) => {
                let e = host_error(e);
                if e != Errno::EPIPE && !TOLD.swap(true, Ordering::Relaxed) {
                    log::error!("the trace is not complete: it cannot be written ({e:?})");
                }
                return;
            }
        }
    }
}
