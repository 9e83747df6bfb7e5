//! `/proc/PID/stat`, `status` and `statm`.

use super::super::pseudo::Text;
use super::super::tty;
use super::target::Seen;
use super::{info, memory, ticks};
use crate::process::Creds;
use crate::process::task::RLIMIT_SIGPENDING;
use crate::signal::{Charge, SigSet};
use crate::{Result, Task};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

/// The process's memory was laid out at random.
const PF_RANDOMIZE: u32 = 0x40_0000;
/// It has not called exec since its fork.
const PF_FORKNOEXEC: u32 = 0x40;

/// Relations in numbers.
struct Ids {
    ppid: i32,
    pgid: i32,
    sid: i32,
    exit_signal: i32,
    has_execed: bool,
    /// Device number of the terminal, and its foreground process group.
    tty: u64,
    foreground: i32,
}

fn ids(s: &Seen) -> Ids {
    let (parent, terminal, mut out) = {
        let rel = s.process.rel.lock();
        let ids = Ids {
            ppid: 0,
            pgid: rel.pgid,
            sid: rel.sid,
            exit_signal: rel.exit_signal,
            has_execed: rel.has_execed,
            tty: 0,
            foreground: -1,
        };
        (rel.parent.upgrade(), rel.terminal.clone(), ids)
    };
    out.ppid = parent.map_or(0, |p| p.pid);
    if let Some((rdev, foreground)) = terminal.as_ref().and_then(tty::seen) {
        (out.tty, out.foreground) = (rdev, foreground);
    }
    if s.thread && s.id != s.process.pid {
        out.exit_signal = -1;
    }
    out
}

/// Signals: (pending for the thread, pending for the process, blocked, ignored, caught).
fn signals(s: &Seen) -> [SigSet; 5] {
    let (ignored, caught) = s.process.signals.dispositions();
    let (own, blocked) = match &s.task {
        Some(t) => (t.signals.pending(), t.signals.blocked()),
        None => (SigSet::EMPTY, SigSet::EMPTY),
    };
    [own, s.process.signals.pending(), blocked, ignored, caught]
}

/// `stat`.
pub fn stat(s: &Seen, t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    let ids = ids(s);
    let permitted = s.may_inspect(t).is_ok();
    let mem = memory::sizes(s, t);
    let (user, system) = info::cpu(s);
    let (cuser, csystem) = if s.thread {
        (0, 0)
    } else {
        *s.process.cpu_children.lock()
    };
    let faults: u64 = (s.tasks().iter())
        .map(|t| t.faults.load(Ordering::Relaxed))
        .sum();
    let (policy, rt, nice) = info::scheduling(s);
    let priority = if matches!(policy, 1 | 2) {
        -1 - rt
    } else {
        20 + nice
    };
    let threads = s.process.tasks.lock().len().max(1);
    let [own, _, blocked, ignored, caught] = signals(s);
    // Only the first 31 signals fit in these fields.
    let old = |set: SigSet| set.0 & 0x7fff_ffff;
    let args = if permitted {
        s.process.args.lock().0
    } else {
        [0; 4]
    };
    let flags = PF_RANDOMIZE | if ids.has_execed { 0 } else { PF_FORKNOEXEC };
    let hide = |v: usize| if permitted { v } else { 0 };
    let code = |v: usize| match v {
        0 => 0,
        v if permitted => v,
        _ => 1,
    };
    out.put(format_args!("{} (", s.id));
    out.bytes(&s.name());
    out.put(format_args!(
        ") {} {} {} {} {} {} {flags}",
        s.state().0,
        ids.ppid,
        ids.pgid,
        ids.sid,
        ids.tty,
        ids.foreground,
    ));
    // Faults, times, priority, threads, the gone interval timer, start.
    out.put(format_args!(
        " {faults} 0 0 0 {} {} {} {} {priority} {nice} {threads} 0 {}",
        ticks(user),
        ticks(system),
        ticks(cuser),
        ticks(csystem),
        ticks(s.process.started),
    ));
    out.put(format_args!(
        " {} {} {} {} {} {} 0 0",
        mem.size * 4096,
        mem.resident,
        info::rss_limit(s),
        code(mem.code.0),
        code(mem.code.1),
        hide(mem.stack_start),
    ));
    // Signals; wchan, swapping; exit signal; CPU; policy; delays and guests.
    out.put(format_args!(
        " {} {} {} {} 0 0 0 {} {} {rt} {policy} 0 0 0",
        old(own),
        old(blocked),
        old(ignored),
        old(caught),
        ids.exit_signal,
        0,
    ));
    out.put(format_args!(
        " {} {} {} {} {} {} {} 0\n",
        hide(mem.data.0),
        hide(mem.data.1),
        hide(mem.brk),
        args[0],
        args[1],
        args[2],
        args[3],
    ));
    Ok(out.0)
}

/// A set of CPUs as hexadecimal words, `nr` bits wide.
pub fn mask(bits: &[u64], nr: u32) -> Text {
    let mut out = Text::new();
    let words = nr.div_ceil(32).max(1) as usize;
    for i in (0..words).rev() {
        let word = bits.get(i / 2).copied().unwrap_or(0) >> (i % 2 * 32) & 0xffff_ffff;
        let digits = match nr % 32 {
            0 => 8,
            n if i + 1 == words => n.div_ceil(4) as usize,
            _ => 8,
        };
        out.put(format_args!("{word:0digits$x}"));
        if i > 0 {
            out.bytes(b",");
        }
    }
    out
}

/// A set of CPUs as ranges.
pub fn list(bits: &[u64], nr: u32) -> Text {
    let has = |i: u32| {
        bits.get(i as usize / 64)
            .is_some_and(|w| w >> (i % 64) & 1 != 0)
    };
    let mut out = Text::new();
    let mut i = 0;
    while i < nr {
        if !has(i) {
            i += 1;
            continue;
        }
        let first = i;
        while i < nr && has(i) {
            i += 1;
        }
        if !out.0.is_empty() {
            out.bytes(b",");
        }
        out.put(format_args!("{first}"));
        if i - first > 1 {
            out.put(format_args!("-{}", i - 1));
        }
    }
    out
}

fn bits(cpus: &[u32]) -> Vec<u64> {
    let nr = cpus.iter().max().map_or(0, |c| c + 1);
    let mut bits = vec![0; nr.div_ceil(64) as usize];
    for &cpu in cpus {
        if let Some(word) = bits.get_mut(cpu as usize / 64) {
            *word |= 1 << (cpu % 64);
        }
    }
    bits
}

/// CPUs as a mask of all that there are.
pub fn cpu_mask(cpus: &[u32]) -> String {
    let mask = mask(&bits(cpus), crate::cpus());
    String::from_utf8(mask.0).unwrap_or_default()
}

/// CPUs as ranges.
pub fn cpu_list(cpus: &[u32]) -> String {
    let bits = bits(cpus);
    String::from_utf8(list(&bits, bits.len() as u32 * 64).0).unwrap_or_default()
}

/// All CPUs.
pub fn all_cpus() -> Vec<u64> {
    let n = crate::cpus() as usize;
    (0..n.div_ceil(64))
        .map(|w| match n - w * 64 {
            left if left >= 64 => u64::MAX,
            left => (1 << left) - 1,
        })
        .collect()
}

fn put_creds(out: &mut Text, c: &Creds) {
    out.put(format_args!(
        "Uid:\t{}\t{}\t{}\t{}\n",
        c.uid, c.euid, c.suid, c.fsuid
    ));
    out.put(format_args!(
        "Gid:\t{}\t{}\t{}\t{}\n",
        c.gid, c.egid, c.sgid, c.fsgid
    ));
}

/// `status`.
pub fn status(s: &Seen, t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    let ids = ids(s);
    let creds = s.creds();
    let (letter, word) = s.state();
    out.bytes(b"Name:\t");
    for &b in &s.name() {
        match b {
            b'\n' => out.bytes(b"\\n"),
            b'\\' => out.bytes(b"\\\\"),
            b => out.bytes(&[b]),
        };
    }
    out.bytes(b"\n");
    if let Some(task) = &s.task {
        out.put(format_args!("Umask:\t{:04o}\n", *task.fs().umask.lock()));
    }
    out.put(format_args!(
        "State:\t{letter} ({word})\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t0\n",
        s.process.pid, s.id, ids.ppid
    ));
    put_creds(&mut out, &creds);
    out.put(format_args!("FDSize:\t{}\nGroups:\t", info::fd_size(s)));
    for (i, g) in creds.groups.iter().enumerate() {
        out.put(format_args!("{}{g}", if i > 0 { " " } else { "" }));
    }
    out.put(format_args!(
        " \nNStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{}\nNSsid:\t{}\nKthread:\t0\n",
        s.process.pid, s.id, ids.pgid, ids.sid
    ));
    if s.task.is_some() {
        put_memory(&mut out, s, t);
    }
    let threads = s.process.tasks.lock().len().max(1);
    out.put(format_args!("Threads:\t{threads}\n"));
    let limit = s.process.rlimits.lock()[RLIMIT_SIGPENDING].0;
    out.put(format_args!(
        "SigQ:\t{}/{limit}\n",
        Charge::taken(creds.uid)
    ));
    let names = ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"];
    for (name, set) in names.into_iter().zip(signals(s)) {
        out.put(format_args!("{name}:\t{:016x}\n", set.0));
    }
    for (name, caps) in [
        ("CapInh", creds.inheritable),
        ("CapPrm", creds.permitted),
        ("CapEff", creds.effective),
        ("CapBnd", creds.bounding),
        ("CapAmb", creds.ambient),
    ] {
        out.put(format_args!("{name}:\t{caps:016x}\n"));
    }
    put_rest(&mut out, s, &creds);
    Ok(out.0)
}

fn put_memory(out: &mut Text, s: &Seen, t: &Task) {
    out.bytes(memory::status(s, t).as_bytes());
    out.bytes(b"HugetlbPages:\t       0 kB\nCoreDumping:\t0\nTHP_enabled:\t0\n");
    out.bytes(b"untag_mask:\t0xffffffffffffffff\n");
}

fn put_rest(out: &mut Text, s: &Seen, creds: &Creds) {
    out.put(format_args!(
        "NoNewPrivs:\t{}\nSeccomp:\t0\nSeccomp_filters:\t0\n",
        u32::from(creds.no_new_privs)
    ));
    out.bytes(b"Speculation_Store_Bypass:\tvulnerable\n");
    out.bytes(b"SpeculationIndirectBranch:\talways enabled\n");
    let nr = crate::cpus();
    let allowed = s.task.as_ref().map(|t| t.affinity.lock().clone());
    let allowed = allowed.filter(|a| !a.is_empty()).unwrap_or_else(all_cpus);
    out.bytes(b"Cpus_allowed:\t").bytes(&mask(&allowed, nr).0);
    out.bytes(b"\nCpus_allowed_list:\t")
        .bytes(&list(&allowed, nr).0);
    out.bytes(b"\nMems_allowed:\t").bytes(&mask(&[1], 1024).0);
    out.bytes(b"\nMems_allowed_list:\t0\n");
    out.put(format_args!(
        "voluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t0\n",
        info::switches(s)
    ));
}

/// The processes' threads that run or want to: (running, all).
pub fn load() -> (u64, u64) {
    let tasks: Vec<Arc<Task>> = (crate::kernel().tasks.lock().values()).cloned().collect();
    let running = (tasks.iter())
        .filter(|t| {
            let seen = super::target::Target::process(t.tid).and_then(|x| x.see());
            seen.is_ok_and(|s| s.state().0 == 'R')
        })
        .count();
    (running as u64, tasks.len() as u64)
}
