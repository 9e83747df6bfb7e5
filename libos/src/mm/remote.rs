//! `process_vm_readv(2)` and `process_vm_writev(2)`, and access to another process's memory for
//! `/proc/pid/mem` and the like.

use super::vma::Memory;
use super::{Mm, PageObject};
use crate::process::creds::CAP_SYS_PTRACE;
use crate::process::{find_process, find_task};
use crate::uio::{self, IoDst, IoSrc};
use crate::user::UserAddr;
use crate::{Errno, Result, SysResult, Task, pal};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bastide_pal::{IoVec, Prot, ThreadId};
use core::sync::atomic::Ordering;

/// Bytes that go through the kernel at a time.
const CHUNK: usize = 64 << 10;

/// How to reach a piece of another address space.
enum Way {
    /// Done through the platform: bytes transferred.
    Done(usize),
    /// The page is not mapped yet; its contents are in the object.
    Object(Arc<PageObject>, u64, usize),
}

impl Mm {
    /// Reads memory of this address space, in which `thread` runs; returns how much could be read.
    pub fn peek(&self, thread: ThreadId, addr: usize, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let Some(at) = addr.checked_add(done) else {
                break;
            };
            let rest = &mut buf[done..];
            let n = match self.reach(at, rest.len(), Prot::READ, |n| {
                pal().peek(thread, at, &mut rest[..n]).unwrap_or(0).min(n)
            }) {
                Some(Way::Done(n)) => n,
                Some(Way::Object(object, offset, len)) => {
                    let mut piece = Vec::new();
                    let got = object.read(offset, &mut IoDst::kernel(&mut piece, len));
                    // Within the last page the object reads as zero beyond its size.
                    piece.resize(if got.is_ok() { len } else { 0 }, 0);
                    buf[done..done + piece.len()].copy_from_slice(&piece);
                    piece.len()
                }
                None => 0,
            };
            if n == 0 {
                break;
            }
            done += n;
        }
        done
    }

    /// Writes memory of this address space, in which `thread` runs; returns how much could be
    /// written.
    pub fn poke(&self, thread: ThreadId, addr: usize, buf: &[u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let Some(at) = addr.checked_add(done) else {
                break;
            };
            let rest = &buf[done..];
            let n = match self.reach(at, rest.len(), Prot::WRITE, |n| {
                pal().poke(thread, at, &rest[..n]).unwrap_or(0).min(n)
            }) {
                Some(Way::Done(n)) => n,
                Some(Way::Object(object, offset, len)) => object
                    .write(offset, &mut IoSrc::kernel(&rest[..len]))
                    .unwrap_or(0),
                None => 0,
            };
            if n == 0 {
                break;
            }
            done += n;
        }
        done
    }

    /// Finds the way to at most `len` bytes at `addr` that may be accessed as `want` says. What the
    /// platform has is transferred by `direct` under the lock, so that it stays mapped. `None` if
    /// nothing can be reached.
    fn reach(
        &self,
        addr: usize,
        len: usize,
        want: Prot,
        direct: impl FnOnce(usize) -> usize,
    ) -> Option<Way> {
        let s = self.state.lock();
        let v = s.map.find(addr).filter(|v| v.prot.contains(want))?;
        let len = len.min(v.end - addr);
        let Memory::Pages { map, filled, .. } = &v.memory else {
            return Some(Way::Done(direct(len)));
        };
        if let Some(&(start, end)) = filled.within(addr, addr + len).first() {
            if start == addr {
                return Some(Way::Done(direct(end - addr)));
            }
            return self.absent(
                map.object(),
                v.offset_at(addr),
                start - addr,
                v.shared(),
                want,
            );
        }
        self.absent(map.object(), v.offset_at(addr), len, v.shared(), want)
    }

    /// The way to pages that are not mapped yet: none for private pages to be written, which only
    /// their owner can copy, nor beyond the object's last page.
    fn absent(
        &self,
        object: &Arc<PageObject>,
        offset: u64,
        len: usize,
        shared: bool,
        want: Prot,
    ) -> Option<Way> {
        let write = want.contains(Prot::WRITE);
        if write && !shared {
            return None;
        }
        let size = object.size();
        let limit = if write {
            size
        } else {
            size.next_multiple_of(4096)
        };
        let len = limit
            .checked_sub(offset)
            .filter(|&n| n > 0)?
            .min(len as u64);
        Some(Way::Object(object.clone(), offset, len as usize))
    }
}

/// The task `pid`, or one of the process `pid`; 0 is `t`. ESRCH.
pub(super) fn find_target(t: &Arc<Task>, pid: i32) -> Result<Arc<Task>> {
    if pid == 0 {
        return Ok(t.clone());
    }
    find_task(pid)
        .or_else(|| find_process(pid)?.tasks.lock().values().next().cloned())
        .ok_or(Errno::ESRCH)
}

/// `t` may look into `target`, Linux's `ptrace_may_access` with real credentials: EPERM.
pub fn may_access(t: &Task, target: &Task) -> Result<()> {
    if Arc::ptr_eq(&t.process, &target.process) {
        return Ok(());
    }
    let (me, it) = (t.creds(), target.creds());
    let same = [it.uid, it.euid, it.suid].iter().all(|&u| u == me.uid)
        && [it.gid, it.egid, it.sgid].iter().all(|&g| g == me.gid);
    let dumpable = target.process.dumpable.load(Ordering::Relaxed) == 1;
    let covers = it.permitted & !me.effective == 0;
    if me.capable(CAP_SYS_PTRACE) || same && dumpable && covers {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

fn transfer(
    t: &Arc<Task>,
    pid: i32,
    local: (UserAddr, usize),
    remote: (UserAddr, usize),
    flags: u64,
    write: bool,
) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let mine = uio::read_iov(t, local.0, local.1)?;
    let total: usize = mine.iter().map(|v| v.len).sum();
    if total == 0 {
        return Ok(0);
    }
    let theirs = read_remote(t, remote.0, remote.1)?;
    if theirs.iter().all(|v| v.len == 0) {
        return Ok(0);
    }
    if pid == 0 {
        return Err(Errno::ESRCH);
    }
    let target = find_target(t, pid)?;
    may_access(t, &target)?;
    let mm = target.mm();
    let thread = ThreadId(target.thread.load(Ordering::Acquire));
    let mut dst = IoDst::iov(t, mine.clone());
    let mut src = IoSrc::iov(t, mine);
    let mut buf = vec![0u8; CHUNK.min(total)];
    let mut done = 0;
    for piece in theirs {
        let mut off = 0;
        while off < piece.len && done < total {
            let n = (piece.len - off).min(buf.len()).min(total - done);
            let at = piece.addr.wrapping_add(off);
            let got = if write {
                // Takes first, and gives back what the target did not accept.
                let taken = match src.take(&mut buf[..n]) {
                    Ok(k) => k,
                    Err(e) if done == 0 => return Err(e),
                    Err(_) => return Ok(done),
                };
                mm.poke(thread, at, &buf[..taken])
            } else {
                let read = mm.peek(thread, at, &mut buf[..n]);
                match dst.put(&buf[..read]) {
                    Ok(k) => k,
                    Err(e) if done == 0 => return Err(e),
                    Err(_) => return Ok(done),
                }
            };
            done += got;
            off += got;
            if got < n {
                return if done == 0 {
                    Err(Errno::EFAULT)
                } else {
                    Ok(done)
                };
            }
        }
    }
    Ok(done)
}

/// The pieces on the other side: as [`uio::read_iov`], but their addresses are judged on access.
fn read_remote(t: &Task, addr: UserAddr, count: usize) -> Result<Vec<IoVec>> {
    if count > uio::IOV_MAX {
        return Err(Errno::EINVAL);
    }
    let raw: Vec<[u64; 2]> = crate::user::read_array(t, addr, count)?;
    raw.into_iter()
        .map(|[addr, len]| {
            if len > isize::MAX as u64 {
                return Err(Errno::EINVAL);
            }
            Ok(IoVec {
                addr: addr as usize,
                len: len as usize,
            })
        })
        .collect()
}

/// `process_vm_readv(2)`. EINVAL, EFAULT, ESRCH, EPERM.
pub fn sys_process_vm_readv(
    t: &Arc<Task>,
    pid: i32,
    local: UserAddr,
    local_count: usize,
    remote: UserAddr,
    remote_count: usize,
    flags: u64,
) -> SysResult {
    let (local, remote) = ((local, local_count), (remote, remote_count));
    transfer(t, pid, local, remote, flags, false)
}

/// `process_vm_writev(2)`. EINVAL, EFAULT, ESRCH, EPERM.
pub fn sys_process_vm_writev(
    t: &Arc<Task>,
    pid: i32,
    local: UserAddr,
    local_count: usize,
    remote: UserAddr,
    remote_count: usize,
    flags: u64,
) -> SysResult {
    let (local, remote) = ((local, local_count), (remote, remote_count));
    transfer(t, pid, local, remote, flags, true)
}
