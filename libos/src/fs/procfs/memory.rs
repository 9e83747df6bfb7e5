//! Files of `/proc/PID` that show its memory.

use super::super::pseudo::Text;
use super::super::{File, FileOps};
use super::target::{Seen, Target};
use crate::uio::{IoDst, IoSrc};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, Task};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bastide_base::pages::PAGE;
use bastide_pal::{Prot, ThreadId};
use core::any::Any;
use core::sync::atomic::Ordering;

/// How much memory a process has, in pages unless said otherwise.
#[derive(Clone, Copy, Default)]
pub struct Sizes {
    pub size: u64,
    pub resident: u64,
    /// Addresses: the program's code and data, its stack, and where `brk(2)` starts.
    pub code: (usize, usize),
    pub data: (usize, usize),
    pub stack_start: usize,
    pub brk: usize,
}

/// The process's memory is the reader's, which can be measured exactly.
fn is_own(task: &Task, reader: &Task) -> bool {
    Arc::ptr_eq(&task.mm(), &reader.mm())
}

/// The sizes of a process; zero for what has no memory any more.
pub fn sizes(s: &Seen, t: &Task) -> Sizes {
    let Some(task) = &s.task else {
        return Sizes::default();
    };
    let mm = task.mm();
    let sums = mm.sizes(is_own(task, t));
    let mut out = Sizes {
        size: sums.total / PAGE as u64,
        resident: sums.resident / PAGE as u64,
        stack_start: s.process.args.lock().0[0],
        brk: mm.brk_area().0,
        ..Sizes::default()
    };
    // The program's own mappings: those of its file, in order.
    let exe = s.process.exe.lock().clone().and_then(|f| f.stat().ok());
    let exe = exe.map(|st| (st.dev, st.ino));
    for m in mm.describe_maps() {
        let of_program = m.file.as_ref().and_then(|f| f.stat().ok());
        if exe.is_none() || of_program.map(|st| (st.dev, st.ino)) != exe {
            continue;
        }
        if m.prot.contains(Prot::EXEC) {
            let first = if out.code.0 == 0 { m.start } else { out.code.0 };
            out.code = (first, m.end);
        } else if m.prot.contains(Prot::WRITE) {
            let first = if out.data.0 == 0 { m.start } else { out.data.0 };
            out.data = (first, m.end);
        }
    }
    out
}

/// `statm`.
pub fn statm(s: &Seen, t: &Task) -> Result<Vec<u8>> {
    let text = match &s.task {
        Some(task) => task.mm().statm(is_own(task, t)),
        None => String::from("0 0 0 0 0 0 0\n"),
    };
    Ok(text.into_bytes())
}

/// The lines about memory of `status`.
pub fn status(s: &Seen, t: &Task) -> String {
    let own = |task: &Arc<Task>| task.mm().status(is_own(task, t));
    s.task.as_ref().map(own).unwrap_or_default()
}

/// Longest text of memory that `cmdline` shows.
const MAX_ARGS: usize = 1 << 21;

/// Reads the memory of a task on behalf of `reader`; returns the bytes read.
fn peek(task: &Task, reader: &Task, addr: usize, buf: &mut [u8]) -> usize {
    if is_own(task, reader) {
        return match user::read_partial(reader, UserAddr(addr), buf) {
            Ok(()) => buf.len(),
            Err(n) => n,
        };
    }
    let limit = bastide_base::user::accessible(addr, buf.len());
    let thread = ThreadId(task.thread.load(Ordering::Acquire));
    let part = buf.get_mut(..limit).unwrap_or_default();
    task.mm().peek(thread, addr, part)
}

/// Writes the memory of a task on behalf of `writer`; returns the bytes written.
fn poke(task: &Task, writer: &Task, addr: usize, buf: &[u8]) -> usize {
    if is_own(task, writer) {
        return match user::write_partial(writer, UserAddr(addr), buf) {
            Ok(()) => buf.len(),
            Err(n) => n,
        };
    }
    let limit = bastide_base::user::accessible(addr, buf.len());
    let thread = ThreadId(task.thread.load(Ordering::Acquire));
    let part = buf.get(..limit).unwrap_or_default();
    task.mm().poke(thread, addr, part)
}

/// A range of a process's memory, as much of it as can be read.
fn range(s: &Seen, t: &Task, from: usize, to: usize) -> Vec<u8> {
    let Some(task) = &s.task else {
        return Vec::new();
    };
    let len = to.saturating_sub(from).min(MAX_ARGS);
    let mut buf = vec![0; len];
    let n = peek(task, t, from, &mut buf);
    buf.truncate(n);
    buf
}

/// `cmdline`. A program that wrote over its arguments (`setproctitle`) and the NUL at their end
/// is shown up to the first NUL, into the environment.
pub fn cmdline(s: &Seen, t: &Task) -> Result<Vec<u8>> {
    let [start, end, _, env_end] = s.process.args.lock().0;
    let args = range(s, t, start, end);
    if args.len() < end.saturating_sub(start) || args.last().is_none_or(|&b| b == 0) {
        return Ok(args);
    }
    let mut title = range(s, t, start, env_end.max(end));
    let len = title.iter().position(|&b| b == 0).unwrap_or(title.len());
    title.truncate(len);
    Ok(title)
}

/// `environ`.
pub fn environ(s: &Seen, t: &Task) -> Result<Vec<u8>> {
    let [_, _, start, end] = s.process.args.lock().0;
    Ok(range(s, t, start, end))
}

/// `auxv`.
pub fn auxv(s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    Ok(s.process.args.lock().1.clone())
}

/// `maps`.
pub fn maps(s: &Seen, t: &Task) -> Result<Vec<u8>> {
    Ok(s.task()?.mm().maps(t).into_bytes())
}

/// `numa_maps`: all memory is on node 0.
pub fn numa_maps(s: &Seen, t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    for m in s.task()?.mm().describe_maps() {
        out.put(format_args!("{:08x} default", m.start));
        let name = m.name.trim_matches(['[', ']']);
        match &m.file {
            Some(f) => {
                let path = crate::fs::path::of_file(f);
                let text = crate::fs::path::absolute(t, &path).unwrap_or_default();
                out.bytes(b" file=").escaped(&text, b"\n\t ");
            }
            None if matches!(name, "heap" | "stack") => {
                out.put(format_args!(" {name}"));
            }
            None => {}
        }
        out.bytes(b"\n");
    }
    Ok(out.0)
}

/// `smaps`.
pub fn smaps(s: &Seen, t: &Task) -> Result<Vec<u8>> {
    let task = s.task()?;
    Ok(task.mm().smaps(t, is_own(task, t)).into_bytes())
}

/// `smaps_rollup`: the sums of `smaps`.
pub fn smaps_rollup(s: &Seen, t: &Task) -> Result<Vec<u8>> {
    let task = s.task()?;
    let mm = task.mm();
    let text = mm.smaps(t, is_own(task, t));
    let mut sums: Vec<(&str, u64)> = Vec::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let Some(kb) = value.trim().strip_suffix(" kB") else {
            continue;
        };
        if name.ends_with("Size") {
            continue;
        }
        let kb: u64 = kb.parse().unwrap_or(0);
        match sums.iter_mut().find(|(n, _)| *n == name) {
            Some((_, sum)) => *sum += kb,
            None => sums.push((name, kb)),
        }
    }
    let maps = mm.describe_maps();
    let first = maps.first().map_or(0, |m| m.start);
    let last = maps.last().map_or(0, |m| m.end);
    let mut out = Text::new();
    out.put(format_args!(
        "{first:08x}-{last:08x} ---p 00000000 00:00 0 "
    ));
    let pad = 73usize.saturating_sub(out.0.len());
    out.put(format_args!("{:pad$}[rollup]\n", ""));
    for (name, kb) in sums {
        out.put(format_args!("{:<16}{kb:>8} kB\n", format!("{name}:")));
    }
    Ok(out.0)
}

/// Opens `mem`.
pub fn open(s: &Seen, target: Target, t: &Task) -> Result<Arc<dyn FileOps>> {
    s.may_inspect(t)?;
    s.task()?;
    Ok(Arc::new(MemFile(target)))
}

/// An open `mem`: positions are addresses.
struct MemFile(Target);

/// Bytes moved at once.
const CHUNK: usize = 4096;

impl FileOps for MemFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, t: &Task, _f: &File, dst: &mut IoDst<'_>, off: Option<u64>) -> Result<usize> {
        let Ok(seen) = self.0.see() else {
            return Ok(0);
        };
        let Some(task) = &seen.task else {
            return Ok(0);
        };
        let mut at = off.unwrap_or(0) as usize;
        let mut buf = [0; CHUNK];
        while dst.left() > 0 {
            let want = dst.left().min(CHUNK - at % CHUNK);
            let part = buf.get_mut(..want).unwrap_or_default();
            let n = peek(task, t, at, part);
            if n == 0 {
                break;
            }
            let put = dst.put(part.get(..n).unwrap_or_default());
            match put {
                Ok(k) => at = at.wrapping_add(k),
                Err(e) if dst.done() == 0 => return Err(e),
                Err(_) => break,
            }
        }
        if dst.done() == 0 && dst.left() > 0 {
            return Err(Errno::EIO);
        }
        Ok(dst.done())
    }

    fn write(&self, t: &Task, _f: &File, src: &mut IoSrc<'_>, off: Option<u64>) -> Result<usize> {
        let Ok(seen) = self.0.see() else {
            return Ok(0);
        };
        let Some(task) = &seen.task else {
            return Ok(0);
        };
        let mut at = off.unwrap_or(0) as usize;
        let mut done = 0;
        while src.left() > 0 {
            let data = src.take_vec(CHUNK - at % CHUNK)?;
            let n = poke(task, t, at, &data);
            done += n;
            at = at.wrapping_add(n);
            if n < data.len() {
                src.rewind(data.len() - n);
                break;
            }
        }
        if done == 0 && src.left() > 0 {
            return Err(Errno::EIO);
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Result<u64> {
        Err(Errno::EINVAL)
    }

    fn append_position(&self) -> Result<u64> {
        Ok(0)
    }

    fn pollable(&self) -> bool {
        false
    }
}
