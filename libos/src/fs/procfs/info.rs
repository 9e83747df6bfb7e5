//! The smaller files of `/proc/PID`.

use super::super::pseudo::Text;
use super::target::Seen;
use super::{fds, memory};
use crate::process::creds::{CAP_SYS_ADMIN, CAP_SYS_NICE, CAP_SYS_RESOURCE};
use crate::process::task::RLIMIT_RSS;
use crate::{Errno, Result, Task, pal, time};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

const CAP_AUDIT_CONTROL: u32 = 30;

/// A line with a value.
fn line(v: impl core::fmt::Display) -> Result<Vec<u8>> {
    Ok(format!("{v}\n").into_bytes())
}

/// The number that was written, `kstrtoint` with base 0.
fn number(data: &[u8]) -> Result<i64> {
    super::sys::parse_number(data.trim_ascii()).ok_or(Errno::EINVAL)
}

/// When the process started, nanoseconds since 1970.
pub fn started_at(seen: &Seen) -> i64 {
    let age = (crate::time::boottime()).saturating_sub(seen.process.started);
    time::realtime().saturating_sub(age) as i64
}

/// Accepts what is written and does nothing.
pub fn ignore(_s: &Seen, _t: &Task, _data: &[u8]) -> Result<()> {
    Ok(())
}

/// A file that is only written.
pub fn nothing(_s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    Err(Errno::EINVAL)
}

/// `personality`.
pub fn personality(s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    let bits = s.process.personality.load(Ordering::Relaxed);
    line(format_args!("{bits:08x}"))
}

/// `limits`.
pub fn limits(s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    const NAMES: [(&str, &str); 16] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    let limits = *s.process.rlimits.lock();
    let mut out = Text::new();
    let mut row = |a: &str, b: &str, c: &str, d: &str| {
        out.put(format_args!("{a:<25} {b:<20} {c:<20} {d:<10}\n"));
    };
    row("Limit", "Soft Limit", "Hard Limit", "Units");
    let show = |v: u64| match v {
        u64::MAX => String::from("unlimited"),
        v => format!("{v}"),
    };
    for ((name, unit), (soft, hard)) in NAMES.into_iter().zip(limits) {
        row(name, &show(soft), &show(hard), unit);
    }
    Ok(out.0)
}

/// CPU time (user, system) in nanoseconds of what is meant.
pub fn cpu(s: &Seen) -> (u64, u64) {
    match &s.task {
        Some(t) if s.thread => time::thread_cpu(t),
        _ => time::process_cpu(&s.process),
    }
}

/// The scheduler's view of a task: policy, real-time priority, nice value.
pub fn scheduling(s: &Seen) -> (u32, i32, i32) {
    s.task.as_ref().map_or((0, 0, 0), |t| *t.sched.lock())
}

/// `sched`.
pub fn sched(s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    let (user, system) = cpu(s);
    let run = user.saturating_add(system);
    let switches = switches(s);
    let (policy, rt, nice) = scheduling(s);
    let prio = if matches!(policy, 1 | 2) {
        99 - rt
    } else {
        120 + nice
    };
    let mut out = Text::new();
    out.bytes(&s.name());
    let threads = s.process.tasks.lock().len();
    out.put(format_args!(" ({}, #threads: {threads})\n", s.id));
    out.put(format_args!("{:-<67}\n", ""));
    let ms = |ns: u64| (ns / 1_000_000, ns % 1_000_000);
    let mut real = |name: &str, ns: u64| {
        let (whole, part) = ms(ns);
        out.put(format_args!("{name:<45}:{whole:>14}.{part:06}\n"));
    };
    real("se.exec_start", time::monotonic());
    real("se.vruntime", run);
    real("se.sum_exec_runtime", run);
    for (name, value) in [
        ("se.nr_migrations", 0),
        ("nr_switches", switches as i64),
        ("nr_voluntary_switches", switches as i64),
        ("nr_involuntary_switches", 0),
        ("policy", i64::from(policy)),
        ("prio", i64::from(prio)),
    ] {
        out.put(format_args!("{name:<45}:{value:>21}\n"));
    }
    Ok(out.0)
}

/// Voluntary context switches.
pub fn switches(s: &Seen) -> u64 {
    let tasks = s.tasks();
    tasks
        .iter()
        .map(|t| t.switches.load(Ordering::Relaxed))
        .sum()
}

/// `schedstat`.
pub fn schedstat(s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    let (user, system) = cpu(s);
    line(format_args!(
        "{} 0 {}",
        user.saturating_add(system),
        switches(s)
    ))
}

/// `autogroup`.
pub fn autogroup(s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    let sid = s.process.rel.lock().sid;
    line(format_args!("/autogroup-{sid} nice 0"))
}

/// `timens_offsets`.
pub fn timens_offsets(_s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    Ok(format!(
        "{:<10} {:>10} {:>9}\n{:<10} {:>10} {:>9}\n",
        "monotonic", 0, 0, "boottime", 0, 0
    )
    .into_bytes())
}

/// `comm`.
pub fn comm(s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    let mut name = s.name();
    name.push(b'\n');
    Ok(name)
}

/// Only the process itself may name its threads: EINVAL.
pub fn set_comm(s: &Seen, t: &Task, data: &[u8]) -> Result<()> {
    if !Arc::ptr_eq(&s.process, &t.process) {
        return Err(Errno::EINVAL);
    }
    let mut name = [0; 16];
    let text = data.split(|&b| b == 0).next().unwrap_or_default();
    for (to, from) in name.iter_mut().take(15).zip(text) {
        *to = *from;
    }
    *s.task()?.name.lock() = name;
    Ok(())
}

/// `syscall`: what a task does in the kernel is not told.
pub fn syscall(_s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    line("running")
}

/// `task/TID/children`; all children count as the leader's.
pub fn children(s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    if s.id == s.process.pid {
        for c in &s.process.rel.lock().children {
            out.put(format_args!("{} ", c.pid));
        }
    }
    Ok(out.0)
}

/// `clear_refs`: there are no referenced bits to clear.
pub fn clear_refs(_s: &Seen, _t: &Task, data: &[u8]) -> Result<()> {
    match number(data)? {
        1..=5 => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

/// `wchan`.
pub fn wchan(_s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    Ok(b"0".to_vec())
}

/// `stack`: the kernel's own stack is not shown.
pub fn stack(_s: &Seen, t: &Task) -> Result<Vec<u8>> {
    if t.creds().capable(CAP_SYS_ADMIN) {
        Ok(Vec::new())
    } else {
        Err(Errno::EACCES)
    }
}

/// `cpuset`.
pub fn cpuset(_s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    line("/")
}

/// `cgroup`.
pub fn cgroup(_s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    line("0::/")
}

/// `oom_score`.
pub fn oom_score(s: &Seen, t: &Task) -> Result<Vec<u8>> {
    let adj = s.process.settings.oom_score_adj.load(Ordering::Relaxed);
    if adj <= -1000 {
        return line(0);
    }
    let total = (pal().memory().0 / 4096).max(1);
    let used = memory::sizes(s, t).resident.saturating_mul(1000) / total;
    let points = 1000 + i64::from(adj) + used.min(1000) as i64;
    line(points.max(0) * 2 / 3)
}

/// `oom_score_adj`.
pub fn oom_score_adj(s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    line(s.process.settings.oom_score_adj.load(Ordering::Relaxed))
}

fn adjust(s: &Seen, t: &Task, to: i32, legacy: bool) -> Result<()> {
    let settings = &s.process.settings;
    let privileged = t.creds().capable(CAP_SYS_RESOURCE);
    let least = if legacy {
        &settings.oom_score_adj
    } else {
        &settings.oom_score_adj_min
    };
    if to < least.load(Ordering::Relaxed) && !privileged {
        return Err(Errno::EACCES);
    }
    settings.oom_score_adj.store(to, Ordering::Relaxed);
    if privileged && !legacy {
        settings.oom_score_adj_min.store(to, Ordering::Relaxed);
    }
    Ok(())
}

/// EINVAL out of -1000..=1000, EACCES for lowering it without `CAP_SYS_RESOURCE`.
pub fn set_oom_score_adj(s: &Seen, t: &Task, data: &[u8]) -> Result<()> {
    match number(data)? {
        v @ -1000..=1000 => adjust(s, t, v as i32, false),
        _ => Err(Errno::EINVAL),
    }
}

/// `oom_adj`: the same on the old scale of -17 to 15.
pub fn oom_adj(s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    let adj = s.process.settings.oom_score_adj.load(Ordering::Relaxed);
    line(if adj == 1000 { 15 } else { adj * 17 / 1000 })
}

/// As [`set_oom_score_adj`].
pub fn set_oom_adj(s: &Seen, t: &Task, data: &[u8]) -> Result<()> {
    match number(data)? {
        15 => adjust(s, t, 1000, true),
        v @ -17..=14 => adjust(s, t, v as i32 * 1000 / 17, true),
        _ => Err(Errno::EINVAL),
    }
}

/// `loginuid`.
pub fn loginuid(s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    let uid = s.process.settings.loginuid.load(Ordering::Relaxed);
    Ok(format!("{uid}").into_bytes())
}

/// EPERM for another process, or once it is set without `CAP_AUDIT_CONTROL`.
pub fn set_loginuid(s: &Seen, t: &Task, data: &[u8]) -> Result<()> {
    if !Arc::ptr_eq(&s.process, &t.process) {
        return Err(Errno::EPERM);
    }
    let uid = u32::try_from(number(data)?).map_err(|_| Errno::EINVAL)?;
    let cell = &s.process.settings.loginuid;
    if cell.load(Ordering::Relaxed) != u32::MAX && !t.creds().capable(CAP_AUDIT_CONTROL) {
        return Err(Errno::EPERM);
    }
    cell.store(uid, Ordering::Relaxed);
    Ok(())
}

/// `sessionid`.
pub fn sessionid(_s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    Ok(b"4294967295".to_vec())
}

/// `io`.
pub fn io(s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    let mut sums = if s.thread {
        [0; 4]
    } else {
        s.process.io_gone.values()
    };
    for t in s.tasks() {
        for (sum, n) in sums.iter_mut().zip(t.io.values()) {
            *sum = sum.saturating_add(n);
        }
    }
    let mut out = Text::new();
    for (name, n) in ["rchar", "wchar", "syscr", "syscw"].into_iter().zip(sums) {
        out.put(format_args!("{name}: {n}\n"));
    }
    // What reaches a disk is the host's business.
    out.bytes(b"read_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n");
    Ok(out.0)
}

/// `uid_map`, `gid_map`, `projid_map`: the first user namespace's.
pub fn id_map(_s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    line(format_args!("{:>10} {:>10} {:>10}", 0, 0, u32::MAX))
}

/// It cannot be changed.
pub fn set_id_map(_s: &Seen, _t: &Task, _data: &[u8]) -> Result<()> {
    Err(Errno::EPERM)
}

/// `setgroups`.
pub fn setgroups(_s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    line("allow")
}

/// It is allowed and cannot be denied any more.
pub fn set_setgroups(_s: &Seen, t: &Task, data: &[u8]) -> Result<()> {
    match data.trim_ascii() {
        b"allow" if t.creds().capable(CAP_SYS_ADMIN) => Ok(()),
        b"allow" | b"deny" => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

/// `timers`: POSIX timers are not listed.
pub fn timers(_s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    Ok(Vec::new())
}

fn may_slack(s: &Seen, t: &Task) -> Result<()> {
    if Arc::ptr_eq(&s.process, &t.process) || t.creds().capable(CAP_SYS_NICE) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// `timerslack_ns`.
pub fn timerslack(s: &Seen, t: &Task) -> Result<Vec<u8>> {
    may_slack(s, t)?;
    line(s.task()?.timer_slack.load(Ordering::Relaxed))
}

/// 0 puts back the default.
pub fn set_timerslack(s: &Seen, t: &Task, data: &[u8]) -> Result<()> {
    let ns = u64::try_from(number(data)?).map_err(|_| Errno::EINVAL)?;
    may_slack(s, t)?;
    let task = s.task()?;
    let default = task.timer_slack_default.load(Ordering::Relaxed);
    let ns = if ns == 0 { default } else { ns };
    task.timer_slack.store(ns, Ordering::Relaxed);
    Ok(())
}

/// `coredump_filter`.
pub fn coredump_filter(s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    let bits = s.process.settings.coredump_filter.load(Ordering::Relaxed);
    line(format_args!("{bits:08x}"))
}

/// Bits above the ninth mean nothing.
pub fn set_coredump_filter(s: &Seen, _t: &Task, data: &[u8]) -> Result<()> {
    let v = u32::try_from(number(data)?).map_err(|_| Errno::EINVAL)?;
    let cell = &s.process.settings.coredump_filter;
    cell.store(u64::from(v & 0x1ff), Ordering::Relaxed);
    Ok(())
}

/// `RLIMIT_RSS`, for `stat`.
pub fn rss_limit(s: &Seen) -> u64 {
    s.process.rlimits.lock()[RLIMIT_RSS].0
}

/// `FDSize`, for `status`.
pub fn fd_size(s: &Seen) -> usize {
    fds::room(s)
}
