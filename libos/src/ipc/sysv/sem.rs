//! Semaphore sets, `semget(2)`, `semop(2)`, `semctl(2)`.
//!
//! A call that must wait leaves its operations in the set's queue. Whoever changes the set does
//! them in order of arrival as soon as all of them can be done, and wakes the caller.

use super::{Object, Perm, Table, now};
use crate::abi::ipc::*;
use crate::event::{deadline_after, read_timespec};
use crate::process::Process;
use crate::sysctl::{SEM_NEXT_ID, SEMMNI, SEMMNS, SEMMSL, SEMOPM};
use crate::user::{self, UserAddr};
use crate::wait::{POLLALL, Parker, Wake, wait_until};
use crate::{Errno, SysResult, Task};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use core::fmt::Write;
use core::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

/// Largest value, and largest undo value.
const SEMVMX: i32 = 32767;
const SEM_UNDO: i16 = 0x1000;

const GETPID: i32 = 11;
const GETVAL: i32 = 12;
const GETALL: i32 = 13;
const GETNCNT: i32 = 14;
const GETZCNT: i32 = 15;
const SETVAL: i32 = 16;
const SETALL: i32 = 17;
const SEM_STAT: i32 = 18;
const SEM_INFO: i32 = 19;
const SEM_STAT_ANY: i32 = 20;

static SETS: Table<Set> = Table::new(&SEM_NEXT_ID);
/// Semaphores of all sets.
static TOTAL: AtomicUsize = AtomicUsize::new(0);
/// [`Pending::status`] while it waits; then 0 or an error number.
const WAITING: i32 = -1;

/// Operations that could not be done at once.
struct Pending {
    parker: Arc<Parker>,
    ops: Vec<SemBuf>,
    pid: i32,
    /// Its process's [`UndoList`].
    undo: u64,
    /// The operation that could not be done.
    blocking: AtomicUsize,
    status: AtomicI32,
}

#[derive(Clone, Copy, Default)]
struct Sem {
    value: i32,
    pid: i32,
}

struct State {
    perm: Perm,
    sems: Vec<Sem>,
    otime: i64,
    ctime: i64,
    /// What to add at the end of each [`UndoList`].
    undo: BTreeMap<u64, Vec<i32>>,
    pending: Vec<Arc<Pending>>,
    removed: bool,
}

struct Set {
    count: usize,
    state: Mutex<State>,
}

impl Pending {
    /// Tells the caller how it ended; under the set's lock.
    fn finish(&self, status: i32) {
        self.status.store(status, Ordering::Release);
        self.parker.wake(POLLALL);
    }
}

impl Object for Set {
    fn perm(&self) -> Perm {
        self.state.lock().perm
    }
    fn set_id(&self, id: i32) {
        self.state.lock().perm.id = id;
    }
}

/// How an attempt ended without being done.
enum Stuck {
    /// At this operation.
    At(usize),
    Failed(Errno),
}

impl State {
    /// Does all operations or none.
    fn perform(&mut self, ops: &[SemBuf], pid: i32, list: u64) -> core::result::Result<(), Stuck> {
        let mut undo = None;
        if ops.iter().any(|o| o.flags & SEM_UNDO != 0) {
            let none = || vec![0; self.sems.len()];
            undo = Some(self.undo.get(&list).cloned().unwrap_or_else(none));
        }
        for (i, o) in ops.iter().enumerate() {
            let done = self.step(o, undo.as_mut());
            if let Err(stuck) = done {
                for o in &ops[..i] {
                    if let Some(s) = self.sems.get_mut(usize::from(o.num)) {
                        s.value -= i32::from(o.op);
                    }
                }
                return Err(match stuck {
                    Some(e) => Stuck::Failed(e),
                    None => Stuck::At(i),
                });
            }
        }
        for o in ops {
            if let Some(s) = self.sems.get_mut(usize::from(o.num)) {
                s.pid = pid;
            }
        }
        if let Some(undo) = undo {
            self.undo.insert(list, undo);
        }
        self.otime = now();
        Ok(())
    }

    /// One operation; `Err(None)` if it must wait.
    fn step(
        &mut self,
        o: &SemBuf,
        undo: Option<&mut Vec<i32>>,
    ) -> core::result::Result<(), Option<Errno>> {
        let i = usize::from(o.num);
        let s = self.sems.get_mut(i).ok_or(Some(Errno::EFBIG))?;
        let op = i32::from(o.op);
        let value = s.value + op;
        if op == 0 && s.value != 0 || value < 0 {
            return Err(None);
        }
        if value > SEMVMX {
            return Err(Some(Errno::ERANGE));
        }
        if o.flags & SEM_UNDO != 0
            && let Some(adj) = undo.and_then(|u| u.get_mut(i))
        {
            let new = *adj - op;
            if !(-SEMVMX - 1..=SEMVMX).contains(&new) {
                return Err(Some(Errno::ERANGE));
            }
            *adj = new;
        }
        s.value = value;
        Ok(())
    }

    /// Does what has become possible.
    fn update(&mut self) {
        let mut i = 0;
        while let Some(p) = self.pending.get(i).cloned() {
            let status = match self.perform(&p.ops, p.pid, p.undo) {
                Ok(()) => 0,
                Err(Stuck::At(op)) => {
                    p.blocking.store(op, Ordering::Relaxed);
                    i += 1;
                    continue;
                }
                Err(Stuck::Failed(e)) => e.0,
            };
            self.pending.remove(i);
            p.finish(status);
            if p.ops.iter().any(|o| o.op != 0) {
                i = 0;
            }
        }
    }

    /// How many wait at a semaphore, for zero or for more.
    fn waiting(&self, num: usize, zero: bool) -> usize {
        self.pending
            .iter()
            .filter_map(|p| p.ops.get(p.blocking.load(Ordering::Relaxed)))
            .filter(|o| usize::from(o.num) == num && (o.op == 0) == zero)
            .count()
    }
}

impl Set {
    fn ds(&self) -> SemidDs {
        let s = self.state.lock();
        SemidDs {
            perm: s.perm.to_user(),
            otime: s.otime,
            ctime: s.ctime,
            nsems: self.count as u64,
            ..SemidDs::default()
        }
    }
}

/// SEMMSL, SEMMNS, SEMOPM, SEMMNI.
fn limit(i: usize) -> i32 {
    let limits = [&SEMMSL, &SEMMNS, &SEMOPM, &SEMMNI];
    limits.get(i).map_or(0, |l| l.get() as i32)
}

/// `semget(2)`. EINVAL, ENOENT, EEXIST, EACCES, ENOSPC.
pub fn sys_semget(t: &Arc<Task>, key: i32, nsems: i32, flags: u32) -> SysResult {
    let count = usize::try_from(nsems).map_err(|_| Errno::EINVAL)?;
    if nsems > limit(0) {
        return Err(Errno::EINVAL);
    }
    let id = SETS.get(
        t,
        key,
        flags,
        limit(3).max(0) as usize,
        |s| {
            if count > s.count {
                Err(Errno::EINVAL)
            } else {
                Ok(())
            }
        },
        || {
            if count == 0 {
                return Err(Errno::EINVAL);
            }
            if TOTAL.load(Ordering::Relaxed) + count > limit(1).max(0) as usize {
                return Err(Errno::ENOSPC);
            }
            TOTAL.fetch_add(count, Ordering::Relaxed);
            Ok(Arc::new(Set {
                count,
                state: Mutex::new(State {
                    perm: Perm::new(t, key, flags),
                    sems: vec![Sem::default(); count],
                    otime: 0,
                    ctime: now(),
                    undo: BTreeMap::new(),
                    pending: Vec::new(),
                    removed: false,
                }),
            }))
        },
    )?;
    Ok(id as usize)
}

/// `semop(2)`.
pub fn sys_semop(t: &Arc<Task>, id: i32, ops: UserAddr, count: usize) -> SysResult {
    sys_semtimedop(t, id, ops, count, UserAddr(0))
}

/// `semtimedop(2)`. E2BIG, EFAULT, EINVAL, EFBIG, EACCES, ERANGE, EAGAIN, EIDRM, EINTR.
pub fn sys_semtimedop(
    t: &Arc<Task>,
    id: i32,
    ops: UserAddr,
    count: usize,
    timeout: UserAddr,
) -> SysResult {
    let timeout = if timeout.is_null() {
        None
    } else {
        Some(read_timespec(t, timeout))
    };
    if timeout == Some(Err(Errno::EFAULT)) {
        return Err(Errno::EFAULT);
    }
    if count > limit(2).max(0) as usize {
        return Err(Errno::E2BIG);
    }
    if count == 0 || id < 0 {
        return Err(Errno::EINVAL);
    }
    let ops: Vec<SemBuf> = user::read_array(t, ops, count)?;
    let deadline = timeout.transpose()?.map(deadline_after);
    let set = SETS.find(id)?;
    if ops.iter().any(|o| usize::from(o.num) >= set.count) {
        return Err(Errno::EFBIG);
    }
    let alter = ops.iter().any(|o| o.op != 0);
    set.perm().check(t, if alter { 0o222 } else { 0o444 })?;
    let pid = t.process.pid;
    let mut undo = 0;
    if ops.iter().any(|o| o.flags & SEM_UNDO != 0) {
        let list = t.process.sem_undo.lock().clone();
        undo = list.id;
        let mut sets = list.sets.lock();
        if !sets.iter().any(|w| w.as_ptr() == Arc::as_ptr(&set)) {
            sets.push(Arc::downgrade(&set));
        }
    }
    let mut s = set.state.lock();
    if s.removed {
        return Err(Errno::EIDRM);
    }
    let at = match s.perform(&ops, pid, undo) {
        Ok(()) => {
            if alter {
                s.update();
            }
            return Ok(0);
        }
        Err(Stuck::Failed(e)) => return Err(e),
        Err(Stuck::At(i)) => i,
    };
    if ops
        .get(at)
        .is_some_and(|o| o.flags as u32 & IPC_NOWAIT != 0)
    {
        return Err(Errno::EAGAIN);
    }
    let pending = Arc::new(Pending {
        parker: t.parker.clone(),
        ops,
        pid,
        undo,
        blocking: AtomicUsize::new(at),
        status: AtomicI32::new(WAITING),
    });
    s.pending.push(pending.clone());
    drop(s);
    let status = || match pending.status.load(Ordering::Acquire) {
        WAITING => None,
        e => Some(e),
    };
    let r = wait_until(t, &[], deadline, status);
    // Nobody else decides once it is out of the queue.
    set.state
        .lock()
        .pending
        .retain(|p| !Arc::ptr_eq(p, &pending));
    match (status(), r) {
        (Some(0), _) => Ok(0),
        (Some(e), _) => Err(Errno(e)),
        (None, Err(Errno::ETIMEDOUT)) => Err(Errno::EAGAIN),
        (None, _) => Err(Errno::EINTR),
    }
}

/// What `SEM_UNDO` operations are to be undone together: a process's, or several processes' that
/// were made with `CLONE_SYSVSEM`.
pub struct UndoList {
    id: u64,
    /// The sets that keep something to undo for it.
    sets: Mutex<Vec<Weak<Set>>>,
}

impl UndoList {
    /// An empty list.
    pub fn new() -> Arc<UndoList> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(UndoList {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            sets: Mutex::default(),
        })
    }

    fn undo(self, pid: i32) {
        for set in self.sets.into_inner().iter().filter_map(Weak::upgrade) {
            let mut s = set.state.lock();
            let Some(undo) = s.undo.remove(&self.id) else {
                continue;
            };
            for (sem, adj) in s.sems.iter_mut().zip(undo) {
                if adj != 0 {
                    sem.value = (sem.value + adj).clamp(0, SEMVMX);
                    sem.pid = pid;
                }
            }
            s.otime = now();
            s.update();
        }
    }
}

/// A process exits, or shares its list no longer: the last that has a list undoes what is in it.
pub fn exit_undo(p: &Process) {
    let list = core::mem::replace(&mut *p.sem_undo.lock(), UndoList::new());
    if let Some(list) = Arc::into_inner(list) {
        list.undo(p.pid);
    }
}

/// The commands that read or change values.
fn values(t: &Task, id: i32, num: i32, cmd: i32, arg: usize) -> SysResult {
    let set = SETS.find(id)?;
    let write = matches!(cmd, SETVAL | SETALL);
    let index = usize::try_from(num).ok().filter(|&n| n < set.count);
    if cmd == SETVAL && index.is_none() {
        return Err(Errno::EINVAL);
    }
    set.perm().check(t, if write { 0o222 } else { 0o444 })?;
    if cmd == GETALL {
        let values: Vec<u16> = {
            let s = set.state.lock();
            s.sems.iter().map(|s| s.value as u16).collect()
        };
        user::write(t, UserAddr(arg), values.as_slice())?;
        return Ok(0);
    }
    let new: Vec<i32> = if cmd == SETALL {
        let raw: Vec<u16> = user::read_array(t, UserAddr(arg), set.count)?;
        raw.into_iter().map(i32::from).collect()
    } else {
        Vec::new()
    };
    if new.iter().any(|&v| v > SEMVMX) {
        return Err(Errno::ERANGE);
    }
    let mut s = set.state.lock();
    if s.removed {
        return Err(Errno::EIDRM);
    }
    if cmd == SETALL {
        for (sem, value) in s.sems.iter_mut().zip(new) {
            *sem = Sem {
                value,
                pid: t.process.pid,
            };
        }
        s.undo.clear();
    } else {
        let i = index.ok_or(Errno::EINVAL)?;
        let sem = s.sems.get(i).copied().unwrap_or_default();
        match cmd {
            GETVAL => return Ok(sem.value as usize),
            GETPID => return Ok(sem.pid as usize),
            GETNCNT => return Ok(s.waiting(i, false)),
            GETZCNT => return Ok(s.waiting(i, true)),
            _ => {}
        }
        if let Some(sem) = s.sems.get_mut(i) {
            *sem = Sem {
                value: arg as i32,
                pid: t.process.pid,
            };
        }
        for u in s.undo.values_mut() {
            if let Some(adj) = u.get_mut(i) {
                *adj = 0;
            }
        }
    }
    s.ctime = now();
    s.update();
    Ok(0)
}

fn info(cmd: i32) -> SemInfo {
    let extended = cmd == SEM_INFO;
    SemInfo {
        semmap: limit(1),
        semmni: limit(3),
        semmns: limit(1),
        semmnu: limit(1),
        semmsl: limit(0),
        semopm: limit(2),
        semume: limit(2),
        semusz: if extended { SETS.usage().0 as i32 } else { 20 },
        semvmx: SEMVMX,
        semaem: if extended {
            TOTAL.load(Ordering::Relaxed) as i32
        } else {
            SEMVMX
        },
    }
}

/// `semctl(2)`. EINVAL, EACCES, EPERM, ERANGE, EFAULT, EIDRM.
pub fn sys_semctl(t: &Arc<Task>, id: i32, num: i32, cmd: i32, arg: usize) -> SysResult {
    if id < 0 {
        return Err(Errno::EINVAL);
    }
    let buf = UserAddr(arg);
    match cmd {
        IPC_INFO | SEM_INFO => {
            user::write(t, buf, &info(cmd))?;
            Ok(SETS.usage().1)
        }
        IPC_STAT | SEM_STAT | SEM_STAT_ANY => {
            let set = match cmd {
                IPC_STAT => SETS.find(id)?,
                _ => SETS.at(id)?,
            };
            if cmd != SEM_STAT_ANY {
                set.perm().check(t, 0o444)?;
            }
            user::write(t, buf, &set.ds())?;
            Ok(if cmd == IPC_STAT {
                0
            } else {
                set.perm().id as usize
            })
        }
        SETVAL if !(0..=SEMVMX).contains(&(arg as i32)) => Err(Errno::ERANGE),
        GETALL | GETVAL | GETPID | GETNCNT | GETZCNT | SETALL | SETVAL => {
            values(t, id, num, cmd, arg)
        }
        IPC_SET => {
            let to: SemidDs = user::read(t, buf)?;
            let set = SETS.find(id)?;
            set.perm().check_owner(t)?;
            let mut s = set.state.lock();
            s.perm.set(&to.perm)?;
            s.ctime = now();
            Ok(0)
        }
        IPC_RMID => {
            let set = SETS.find(id)?;
            set.perm().check_owner(t)?;
            if SETS.remove(&set) {
                TOTAL.fetch_sub(set.count, Ordering::Relaxed);
            }
            let mut s = set.state.lock();
            s.removed = true;
            for p in core::mem::take(&mut s.pending) {
                p.finish(Errno::EIDRM.0);
            }
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `/proc/sysvipc/sem`.
pub fn report(out: &mut String) {
    out.push_str(concat!(
        "       key      semid perms      nsems   uid   gid  cuid  cgid",
        "      otime      ctime\n"
    ));
    for set in SETS.all() {
        let d = set.ds();
        let p = d.perm;
        let _ = writeln!(
            out,
            "{:10} {:10}  {:4o} {:10} {:5} {:5} {:5} {:5} {:10} {:10}",
            p.key,
            set.perm().id,
            p.mode,
            d.nsems,
            p.uid,
            p.gid,
            p.cuid,
            p.cgid,
            d.otime,
            d.ctime
        );
    }
}
