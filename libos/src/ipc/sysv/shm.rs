//! Shared memory segments, `shmget(2)`, `shmop(2)`, `shmctl(2)`.
//!
//! Each attachment is a mapping of an open file of its own, so the number of attachments is the
//! number of references to those files: fork, exit, exec and unmapping need no notice.

use super::{Object, Perm, Table, now};
use crate::abi::ipc::*;
use crate::fs::file::O_RDWR;
use crate::fs::{File, FileOps, Mappable, Stat};
use crate::mm::{Backing, MapExtra, MapRequest, PageObject};
use crate::process::creds::CAP_IPC_LOCK;
use crate::process::task::RLIMIT_MEMLOCK;
use crate::sysctl::{SHM_NEXT_ID, SHMALL, SHMMAX, SHMMNI};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::pages::PAGE;
use bastide_base::sync::Mutex;
use bastide_pal::Prot;
use core::any::Any;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};

const SHM_DEST: u32 = 0o1000;
const SHM_LOCKED: u32 = 0o2000;
const SHM_HUGETLB: u32 = 0o4000;
const SHM_RDONLY: u32 = 0o10000;
const SHM_RND: u32 = 0o20000;
const SHM_REMAP: u32 = 0o40000;
const SHM_EXEC: u32 = 0o100000;

const SHM_LOCK: i32 = 11;
const SHM_UNLOCK: i32 = 12;
const SHM_STAT: i32 = 13;
const SHM_INFO: i32 = 14;
const SHM_STAT_ANY: i32 = 15;

static SEGMENTS: Table<Segment> = Table::new(&SHM_NEXT_ID);
/// Pages of all segments.
static TOTAL: AtomicU64 = AtomicU64::new(0);

struct State {
    perm: Perm,
    atime: i64,
    dtime: i64,
    ctime: i64,
    lpid: i32,
    attached: Vec<Weak<File>>,
}

/// A segment.
struct Segment {
    object: Arc<PageObject>,
    size: usize,
    cpid: i32,
    state: Mutex<State>,
}

impl Object for Segment {
    fn perm(&self) -> Perm {
        self.state.lock().perm
    }
    fn set_id(&self, id: i32) {
        self.state.lock().perm.id = id;
    }
}

impl Segment {
    fn pages(&self) -> u64 {
        (self.size as u64).div_ceil(PAGE as u64)
    }

    /// Number of mappings in all processes.
    fn nattch(&self) -> usize {
        let mut s = self.state.lock();
        s.attached.retain(|w| w.strong_count() > 0);
        s.attached.iter().map(Weak::strong_count).sum()
    }

    fn ds(&self) -> ShmidDs {
        let nattch = self.nattch() as u64;
        let s = self.state.lock();
        ShmidDs {
            perm: s.perm.to_user(),
            segsz: self.size as u64,
            atime: s.atime,
            dtime: s.dtime,
            ctime: s.ctime,
            cpid: self.cpid,
            lpid: s.lpid,
            nattch,
            ..ShmidDs::default()
        }
    }

    /// Goes if it was removed and nobody has it attached.
    fn settle(self: &Arc<Self>) {
        let doomed = self.state.lock().perm.mode & SHM_DEST != 0;
        if doomed && self.nattch() == 0 && SEGMENTS.remove(self) {
            TOTAL.fetch_sub(self.pages(), Ordering::Relaxed);
        }
    }
}

/// The file behind one attachment.
struct Attachment(Arc<Segment>);

impl FileOps for Attachment {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn mmap(&self, _f: &File) -> Result<Mappable> {
        Ok(Mappable::Pages(self.0.object.clone()))
    }
    fn pollable(&self) -> bool {
        false
    }
    fn describe(&self) -> String {
        alloc::format!("/SYSV{:08x} (deleted)", self.0.perm().key)
    }
    fn stat(&self) -> Result<Stat> {
        let p = self.0.perm();
        Ok(Stat {
            dev: 1,
            ino: p.id as u64,
            mode: 0o100000 | p.mode & 0o777,
            nlink: 1,
            uid: p.uid,
            gid: p.gid,
            size: self.0.size as u64,
            blksize: PAGE as u32,
            ..Stat::default()
        })
    }
}

/// The file is a removed segment's that goes when `references` to the file are dropped.
pub fn goes_with(file: &File, references: usize) -> bool {
    file.downcast::<Attachment>().is_some_and(|a| {
        let removed = a.0.state.lock().perm.mode & SHM_DEST != 0;
        removed && a.0.nattch() <= references
    })
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.0.state.lock().dtime = now();
        self.0.settle();
    }
}

/// `shmget(2)`. EINVAL (size, huge pages), ENOSPC, ENOENT, EEXIST, EACCES, ENOMEM.
pub fn sys_shmget(t: &Arc<Task>, key: i32, size: usize, flags: u32) -> SysResult {
    let id = SEGMENTS.get(
        t,
        key,
        flags,
        SHMMNI.size(),
        |s| {
            if s.size < size {
                Err(Errno::EINVAL)
            } else {
                Ok(())
            }
        },
        || create(t, key, size, flags),
    )?;
    Ok(id as usize)
}

fn create(t: &Task, key: i32, size: usize, flags: u32) -> Result<Arc<Segment>> {
    if size == 0 || size as u64 > SHMMAX.get_u64() {
        return Err(Errno::EINVAL);
    }
    let pages = (size as u64).div_ceil(PAGE as u64);
    let all = SHMALL.get_u64();
    let total = TOTAL.load(Ordering::Relaxed).checked_add(pages);
    if pages.checked_mul(PAGE as u64).is_none() || total.is_none_or(|n| n > all) {
        return Err(Errno::ENOSPC);
    }
    // There are no huge pages of any size.
    if flags & SHM_HUGETLB != 0 {
        return Err(Errno::EINVAL);
    }
    if pages > crate::pal().memory().0 / PAGE as u64 {
        return Err(Errno::ENOMEM);
    }
    TOTAL.fetch_add(pages, Ordering::Relaxed);
    Ok(Arc::new(Segment {
        object: PageObject::sized(pages * PAGE as u64),
        size,
        cpid: t.process.pid,
        state: Mutex::new(State {
            perm: Perm::new(t, key, flags),
            atime: 0,
            dtime: 0,
            ctime: now(),
            lpid: 0,
            attached: Vec::new(),
        }),
    }))
}

/// `shmat(2)`. EINVAL, EACCES, ENOMEM.
pub fn sys_shmat(t: &Arc<Task>, id: i32, addr: usize, flags: u32) -> SysResult {
    let mut addr = addr;
    let remap = flags & SHM_REMAP != 0;
    if addr % PAGE != 0 {
        if flags & SHM_RND == 0 {
            return Err(Errno::EINVAL);
        }
        addr -= addr % PAGE;
        if addr == 0 && remap {
            return Err(Errno::EINVAL);
        }
    } else if addr == 0 && remap {
        return Err(Errno::EINVAL);
    }
    let fixed = addr != 0;
    let (mut prot, mut want, file_flags) = if flags & SHM_RDONLY != 0 {
        (Prot::READ, 0o444, 0)
    } else {
        (Prot::READ | Prot::WRITE, 0o666, O_RDWR)
    };
    if flags & SHM_EXEC != 0 {
        prot |= Prot::EXEC;
        want |= 0o111;
    }
    let seg = SEGMENTS.find(id)?;
    seg.perm().check(t, want)?;
    let file = File::new(Arc::new(Attachment(seg.clone())), None, file_flags);
    seg.state.lock().attached.push(Arc::downgrade(&file));
    let request = MapRequest {
        addr,
        len: seg.size,
        prot,
        shared: true,
        fixed,
        noreplace: fixed && !remap,
        growsdown: false,
        backing: Backing::File {
            file: file.clone(),
            offset: 0,
        },
    };
    let at = t
        .mm()
        .map_for(t, &request, MapExtra::default())
        .map_err(|e| match e {
            Errno::EEXIST => Errno::EINVAL,
            e => e,
        })?;
    let mut s = seg.state.lock();
    s.atime = now();
    s.lpid = t.process.pid;
    Ok(at)
}

/// `shmdt(2)`: EINVAL if no segment is attached there.
pub fn sys_shmdt(t: &Arc<Task>, addr: usize) -> SysResult {
    if addr % PAGE != 0 {
        return Err(Errno::EINVAL);
    }
    let mm = t.mm();
    let mut found: Option<(Arc<File>, Arc<Segment>)> = None;
    let mut ranges = Vec::new();
    mm.walk(addr, usize::MAX, |v, start, end| {
        if let Some((_, seg)) = &found
            && start >= addr.saturating_add(seg.size)
        {
            return false;
        }
        let Some(file) = &v.file else { return true };
        let Some(a) = file.downcast::<Attachment>() else {
            return true;
        };
        let in_place = v.start.wrapping_sub(addr) as u64 == v.offset_at(v.start);
        if !in_place || found.as_ref().is_some_and(|(f, _)| !Arc::ptr_eq(f, file)) {
            return true;
        }
        ranges.push((start, end));
        found = Some((file.clone(), a.0.clone()));
        true
    });
    let (file, seg) = found.ok_or(Errno::EINVAL)?;
    for (start, end) in ranges {
        mm.unmap(start, end - start)?;
    }
    {
        let mut s = seg.state.lock();
        s.dtime = now();
        s.lpid = t.process.pid;
    }
    drop(file);
    Ok(0)
}

fn lock(t: &Task, seg: &Segment, on: bool) -> Result<()> {
    let c = t.creds();
    let mut s = seg.state.lock();
    if !c.capable(CAP_IPC_LOCK) {
        if !s.perm.owned_by(&c) {
            return Err(Errno::EPERM);
        }
        if on && t.rlimit(RLIMIT_MEMLOCK) == 0 {
            return Err(Errno::EPERM);
        }
    }
    if on {
        s.perm.mode |= SHM_LOCKED;
    } else {
        s.perm.mode &= !SHM_LOCKED;
    }
    Ok(())
}

/// `shmctl(2)`. EINVAL, EACCES, EPERM, EFAULT.
pub fn sys_shmctl(t: &Arc<Task>, id: i32, cmd: i32, buf: UserAddr) -> SysResult {
    if id < 0 {
        return Err(Errno::EINVAL);
    }
    match cmd {
        IPC_INFO => {
            let info = ShmInfo64 {
                shmmax: SHMMAX.get_u64(),
                shmmin: 1,
                shmmni: SHMMNI.get_u64(),
                shmseg: SHMMNI.get_u64(),
                shmall: SHMALL.get_u64(),
                ..ShmInfo64::default()
            };
            user::write(t, buf, &info)?;
            Ok(SEGMENTS.usage().1)
        }
        SHM_INFO => {
            let (used, max) = SEGMENTS.usage();
            let resident: u64 = SEGMENTS.all().iter().map(|s| s.object.allocated()).sum();
            let info = ShmInfo {
                used_ids: used as i32,
                shm_tot: TOTAL.load(Ordering::Relaxed),
                shm_rss: resident / PAGE as u64,
                ..ShmInfo::default()
            };
            user::write(t, buf, &info)?;
            Ok(max)
        }
        IPC_STAT | SHM_STAT | SHM_STAT_ANY => {
            let seg = match cmd {
                IPC_STAT => SEGMENTS.find(id)?,
                _ => SEGMENTS.at(id)?,
            };
            if cmd != SHM_STAT_ANY {
                seg.perm().check(t, 0o444)?;
            }
            user::write(t, buf, &seg.ds())?;
            Ok(if cmd == IPC_STAT {
                0
            } else {
                seg.perm().id as usize
            })
        }
        IPC_SET => {
            let to: ShmidDs = user::read(t, buf)?;
            let seg = SEGMENTS.find(id)?;
            seg.perm().check_owner(t)?;
            let mut s = seg.state.lock();
            s.perm.set(&to.perm)?;
            s.ctime = now();
            Ok(0)
        }
        IPC_RMID => {
            let seg = SEGMENTS.find(id)?;
            seg.perm().check_owner(t)?;
            {
                let mut s = seg.state.lock();
                s.perm.mode |= SHM_DEST;
                s.perm.key = IPC_PRIVATE;
            }
            seg.settle();
            Ok(0)
        }
        SHM_LOCK | SHM_UNLOCK => {
            let seg = SEGMENTS.find(id)?;
            lock(t, &seg, cmd == SHM_LOCK)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `/proc/sysvipc/shm`.
pub fn report(out: &mut String) {
    out.push_str(concat!(
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid",
        "      atime      dtime      ctime                   rss                  swap\n"
    ));
    for seg in SEGMENTS.all() {
        let d = seg.ds();
        let p = d.perm;
        let _ = writeln!(
            out,
            "{:10} {:10}  {:4o} {:21} {:5} {:5}  {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {:21} {:21}",
            p.key,
            seg.perm().id,
            p.mode,
            d.segsz,
            d.cpid,
            d.lpid,
            d.nattch,
            p.uid,
            p.gid,
            p.cuid,
            p.cgid,
            d.atime,
            d.dtime,
            d.ctime,
            seg.object.allocated(),
            0
        );
    }
}
