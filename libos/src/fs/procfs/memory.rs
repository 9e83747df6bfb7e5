//! Files of `/proc/PID` that show its memory.

use super::super::{File, FileOps};
use super::target::{Seen, Target};
use crate::uio::{IoDst, IoSrc};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, Task, pal};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bastide_pal::ThreadId;
use core::any::Any;
use core::sync::atomic::Ordering;

/// How much memory a process has, in pages unless said otherwise.
#[derive(Clone, Copy, Default)]
pub struct Sizes {
    pub size: u64,
    pub peak: u64,
    pub resident: u64,
    /// Of what is resident: file pages and shared memory.
    pub shared: u64,
    pub locked: u64,
    pub text: u64,
    pub lib: u64,
    /// Data with the stack (`statm`), and without (`VmData`).
    pub data_pages: u64,
    pub data_only: u64,
    pub stack: u64,
    /// Addresses: the program's code and data, its stack, and where `brk(2)` starts.
    pub code: (usize, usize),
    pub data: (usize, usize),
    pub stack_start: usize,
    pub brk: usize,
}

/// The sizes of a process; zero for what has no memory any more.
pub fn sizes(_s: &Seen) -> Sizes {
    Sizes::default()
}

/// Longest text of memory that `cmdline` shows.
const MAX_ARGS: usize = 1 << 21;

/// Reads the memory of a task on behalf of `reader`; returns the bytes read.
fn peek(task: &Task, reader: &Task, addr: usize, buf: &mut [u8]) -> usize {
    if Arc::ptr_eq(&task.mm(), &reader.mm()) {
        return match user::read_partial(reader, UserAddr(addr), buf) {
            Ok(()) => buf.len(),
            Err(n) => n,
        };
    }
    let n = buf.len();
    let limit = bastide_base::user::accessible(addr, n);
    let thread = ThreadId(task.thread.load(Ordering::Acquire));
    let part = buf.get_mut(..limit).unwrap_or_default();
    pal().peek(thread, addr, part).unwrap_or(0).min(limit)
}

/// Writes the memory of a task on behalf of `writer`; returns the bytes written.
fn poke(task: &Task, writer: &Task, addr: usize, buf: &[u8]) -> usize {
    if Arc::ptr_eq(&task.mm(), &writer.mm()) {
        return match user::write_partial(writer, UserAddr(addr), buf) {
            Ok(()) => buf.len(),
            Err(n) => n,
        };
    }
    let limit = bastide_base::user::accessible(addr, buf.len());
    let thread = ThreadId(task.thread.load(Ordering::Acquire));
    let part = buf.get(..limit).unwrap_or_default();
    pal().poke(thread, addr, part).unwrap_or(0).min(limit)
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
pub fn maps(_s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    Ok(Vec::new())
}

/// `numa_maps`.
pub fn numa_maps(_s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    Ok(Vec::new())
}

/// `smaps`.
pub fn smaps(_s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    Ok(Vec::new())
}

/// `smaps_rollup`.
pub fn smaps_rollup(_s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    Ok(Vec::new())
}

/// `pagemap`: physical pages are the platform's secret.
pub fn pagemap(_s: &Seen, _t: &Task) -> Result<Vec<u8>> {
    Err(Errno::EPERM)
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
