//! Asynchronous I/O, `io_submit(2)`. Requests are done when they are submitted, which Linux allows
//! itself too; only polling is left for later.

use crate::abi::time::Timespec;
use crate::event::eventfd::EventFd;
use crate::event::{deadline_after, read_timespec};
use crate::fs::File;
use crate::fs::rw::with_flags;
use crate::mm::{Backing, MapRequest, Mm};
use crate::signal::{read_mask, with_mask};
use crate::sysctl::AIO_MAX_NR;
use crate::uio::{IoDst, IoSrc, read_iov};
use crate::user::{self, UserAddr};
use crate::wait::{Events, POLLERR, POLLHUP, PollTable, WaitQueue, wait_poll};
use crate::{Errno, Result, SysResult, Task};
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::pages::PAGE;
use bastide_base::sync::Mutex;
use bastide_pal::Prot;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const PREAD: u16 = 0;
const PWRITE: u16 = 1;
const FSYNC: u16 = 2;
const FDSYNC: u16 = 3;
const POLL: u16 = 5;
const PREADV: u16 = 7;
const PWRITEV: u16 = 8;
const FLAG_RESFD: u32 = 1;
const RWF_ALL: u32 = 0x1f;

/// `struct iocb`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    reqprio: i16,
    fd: i32,
    buf: u64,
    nbytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    resfd: i32,
}

/// `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, IntoBytes, Immutable)]
struct IoEvent {
    data: u64,
    obj: u64,
    res: i64,
    res2: i64,
}

/// A request that waits for a file to be ready.
struct Poll {
    file: Arc<File>,
    events: Events,
    data: u64,
    obj: u64,
    done: Option<Arc<File>>,
}

#[derive(Default)]
struct State {
    events: VecDeque<IoEvent>,
    polls: Vec<Poll>,
    /// Polls submitted so far: a sleeper listens to new ones too.
    submitted: u64,
    destroyed: bool,
}

/// A context. Its handle is the address of a page of the application's, as on Linux: libaio looks
/// there for a ring of events, finds none, and makes the calls.
struct Context {
    mm: Weak<Mm>,
    handle: usize,
    capacity: usize,
    state: Mutex<State>,
    changed: WaitQueue,
}

static CONTEXTS: Mutex<Vec<Arc<Context>>> = Mutex::new(Vec::new());

impl Context {
    /// The caller's context with a handle; EINVAL.
    fn find(t: &Task, handle: usize) -> Result<Arc<Context>> {
        let mm = t.mm();
        let all = CONTEXTS.lock();
        let found = all
            .iter()
            .find(|c| c.handle == handle && c.mm.as_ptr() == Arc::as_ptr(&mm));
        found.cloned().ok_or(Errno::EINVAL)
    }

    fn complete(&self, event: IoEvent, done: Option<&Arc<File>>) {
        self.state.lock().events.push_back(event);
        self.changed.wake_all(0);
        if let Some(e) = done.and_then(|f| f.downcast::<EventFd>()) {
            e.signal(1);
        }
    }

    /// Turns polls whose files are ready into events.
    fn check_polls(&self, mut table: Option<&mut PollTable>) {
        let polls = core::mem::take(&mut self.state.lock().polls);
        let mut waiting = Vec::new();
        for p in polls {
            let wanted = p.events | POLLERR | POLLHUP;
            match p.file.poll(table.as_deref_mut()) & wanted {
                0 => waiting.push(p),
                ev => {
                    let event = IoEvent {
                        data: p.data,
                        obj: p.obj,
                        res: i64::from(ev),
                        res2: 0,
                    };
                    self.complete(event, p.done.as_ref());
                }
            }
        }
        self.state.lock().polls.append(&mut waiting);
    }
}

/// Requests that all contexts may have in flight, `/proc/sys/fs/aio-nr`.
pub fn promised() -> usize {
    let mut all = CONTEXTS.lock();
    all.retain(|c| c.mm.strong_count() > 0);
    all.iter().map(|c| c.capacity).sum()
}

/// `io_setup(2)`. EFAULT, EINVAL, EAGAIN, ENOMEM.
pub fn sys_io_setup(t: &Arc<Task>, count: u32, handle: UserAddr) -> SysResult {
    let old: u64 = user::read(t, handle)?;
    if old != 0 || count == 0 || count > 0x1000_0000 {
        return Err(Errno::EINVAL);
    }
    if promised() as u64 + u64::from(count) > AIO_MAX_NR.get_u64() {
        return Err(Errno::EAGAIN);
    }
    let mm = t.mm();
    let at = mm.map(&MapRequest {
        addr: 0,
        len: PAGE,
        prot: Prot::READ | Prot::WRITE,
        shared: false,
        fixed: false,
        noreplace: false,
        growsdown: false,
        backing: Backing::Anon,
    })?;
    if let Err(e) = user::write(t, handle, &at) {
        let _ = mm.unmap(at, PAGE);
        return Err(e);
    }
    CONTEXTS.lock().push(Arc::new(Context {
        mm: Arc::downgrade(&mm),
        handle: at,
        capacity: count as usize,
        state: Mutex::default(),
        changed: WaitQueue::new(),
    }));
    Ok(0)
}

/// `io_destroy(2)`. EINVAL.
pub fn sys_io_destroy(t: &Arc<Task>, handle: usize) -> SysResult {
    let c = Context::find(t, handle)?;
    CONTEXTS.lock().retain(|o| !Arc::ptr_eq(o, &c));
    let polls = {
        let mut s = c.state.lock();
        s.destroyed = true;
        core::mem::take(&mut s.polls)
    };
    drop(polls);
    c.changed.wake_all(0);
    t.mm().unmap(handle, PAGE)?;
    Ok(0)
}

/// Reads or writes as the request says: what it was refused for, or how it ended.
fn transfer(t: &Task, f: &Arc<File>, r: &Iocb) -> Result<Result<usize>> {
    let read = matches!(r.opcode, PREAD | PREADV);
    if !(if read { f.readable() } else { f.writable() }) {
        return Err(Errno::EBADF);
    }
    if r.rw_flags & !RWF_ALL != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if r.offset < 0 {
        return Err(Errno::EINVAL);
    }
    let f = &with_flags(f, r.rw_flags);
    let addr = UserAddr(r.buf as usize);
    let len = usize::try_from(r.nbytes).map_err(|_| Errno::EINVAL)?;
    let vector = matches!(r.opcode, PREADV | PWRITEV);
    let at = f.ops.seekable().then_some(r.offset as u64);
    Ok(if read {
        let mut dst = if vector {
            IoDst::iov(t, read_iov(t, addr, len)?)
        } else {
            IoDst::user(t, addr, len)?
        };
        match at {
            Some(o) => f.read_at(t, &mut dst, o),
            None => f.read(t, &mut dst),
        }
    } else {
        let mut src = if vector {
            IoSrc::iov(t, read_iov(t, addr, len)?)
        } else {
            IoSrc::user(t, addr, len)?
        };
        match at {
            Some(o) => f.write_at(t, &mut src, o),
            None => f.write(t, &mut src),
        }
    })
}

fn submit_one(t: &Task, c: &Context, obj: u64) -> Result<()> {
    let r: Iocb = user::read(t, UserAddr(obj as usize))?;
    if r.reserved != 0 || r.nbytes > isize::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    {
        let s = c.state.lock();
        if s.destroyed {
            return Err(Errno::EINVAL);
        }
        if s.events.len() + s.polls.len() >= c.capacity {
            return Err(Errno::EAGAIN);
        }
    }
    let f = t.file(r.fd)?;
    let done = if r.flags & FLAG_RESFD != 0 {
        let e = t.file(r.resfd)?;
        e.downcast::<EventFd>().ok_or(Errno::EINVAL)?;
        Some(e)
    } else {
        None
    };
    // `KIOCB_KEY`, which io_cancel looks for.
    user::write(t, UserAddr(obj as usize).offset(8)?, &0u32)?;
    let outcome = match r.opcode {
        PREAD | PWRITE | PREADV | PWRITEV => transfer(t, &f, &r)?,
        FSYNC | FDSYNC => {
            if r.buf != 0 || r.offset != 0 || r.nbytes != 0 || r.rw_flags != 0 {
                return Err(Errno::EINVAL);
            }
            f.ops.fsync(r.opcode == FDSYNC).map(|()| 0)
        }
        POLL => {
            if r.buf > u64::from(u16::MAX) || r.offset != 0 || r.nbytes != 0 || r.rw_flags != 0 {
                return Err(Errno::EINVAL);
            }
            {
                let mut s = c.state.lock();
                s.submitted += 1;
                s.polls.push(Poll {
                    file: f,
                    events: r.buf as Events,
                    data: r.data,
                    obj,
                    done,
                });
            }
            c.check_polls(None);
            c.changed.wake_all(0);
            return Ok(());
        }
        _ => return Err(Errno::EINVAL),
    };
    let res = match outcome {
        Ok(n) => n as i64,
        // There is nothing to restart any more.
        Err(e) if e.is_restart() => -i64::from(Errno::EINTR.0),
        Err(e) => -i64::from(e.0),
    };
    let event = IoEvent {
        data: r.data,
        obj,
        res,
        res2: 0,
    };
    c.complete(event, done.as_ref());
    Ok(())
}

/// `io_submit(2)`: how many requests were taken, or why the first was not: EINVAL, EFAULT, EBADF,
/// EAGAIN.
pub fn sys_io_submit(t: &Arc<Task>, handle: usize, count: i64, list: UserAddr) -> SysResult {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let c = Context::find(t, handle)?;
    for i in 0..count.min(c.capacity) {
        let one = list
            .offset(i * 8)
            .and_then(|a| user::read::<u64>(t, a))
            .and_then(|obj| submit_one(t, &c, obj));
        match one {
            Ok(()) => {}
            Err(_) if i > 0 => return Ok(i),
            Err(e) => return Err(e),
        }
    }
    Ok(count.min(c.capacity))
}

/// Waits for at least `min` events and hands over at most `max`.
fn get_events(
    t: &Task,
    handle: usize,
    min: i64,
    max: i64,
    out: UserAddr,
    deadline: Option<u64>,
) -> Result<usize> {
    let c = Context::find(t, handle)?;
    if min < 0 || min > max {
        return Err(Errno::EINVAL);
    }
    let (min, max) = (min as usize, max as usize);
    let r = loop {
        let known = c.state.lock().submitted;
        let look = |mut table: Option<&mut PollTable>| {
            if let Some(table) = &mut table {
                table.listen(&c.changed);
            }
            c.check_polls(table);
            let s = c.state.lock();
            let enough = s.events.len() >= min || s.destroyed;
            (enough || s.submitted != known).then_some(enough)
        };
        if deadline == Some(0) {
            look(None);
            break Ok(());
        }
        match wait_poll(t, deadline, look) {
            Ok(true) => break Ok(()),
            Ok(false) => {}
            Err(e) => break Err(e),
        }
    };
    let mut n = 0;
    while n < max {
        let Some(e) = c.state.lock().events.pop_front() else {
            break;
        };
        let to = out.offset(n * size_of::<IoEvent>())?;
        if let Err(fault) = user::write(t, to, &e) {
            c.state.lock().events.push_front(e);
            return if n > 0 { Ok(n) } else { Err(fault) };
        }
        n += 1;
    }
    match r {
        Err(Errno::ERESTARTSYS) if n == 0 => Err(Errno::EINTR),
        _ => Ok(n),
    }
}

fn deadline(t: &Task, timeout: UserAddr) -> Result<Option<u64>> {
    if timeout.is_null() {
        return Ok(None);
    }
    match read_timespec(t, timeout) {
        Ok(ns) => Ok(Some(deadline_after(ns))),
        // Linux does not look whether the time is well formed.
        Err(Errno::EINVAL) => {
            let ts: Timespec = user::read(t, timeout)?;
            Ok(Some(if ts.sec < 0 { 0 } else { u64::MAX }))
        }
        Err(e) => Err(e),
    }
}

/// `io_getevents(2)`. EFAULT, EINVAL, EINTR.
pub fn sys_io_getevents(
    t: &Arc<Task>,
    handle: usize,
    min: i64,
    max: i64,
    events: UserAddr,
    timeout: UserAddr,
) -> SysResult {
    let deadline = deadline(t, timeout)?;
    get_events(t, handle, min, max, events, deadline)
}

/// `io_pgetevents(2)`: with another signal mask meanwhile.
pub fn sys_io_pgetevents(
    t: &Arc<Task>,
    handle: usize,
    min: i64,
    max: i64,
    events: UserAddr,
    timeout: UserAddr,
    pack: UserAddr,
) -> SysResult {
    let deadline = deadline(t, timeout)?;
    let mask = if pack.is_null() {
        None
    } else {
        let [mask, size] = user::read::<[usize; 2]>(t, pack)?;
        read_mask(t, UserAddr(mask), size)?
    };
    with_mask(t, mask, || {
        get_events(t, handle, min, max, events, deadline).map_err(|e| match e {
            Errno::EINTR => Errno::ERESTARTNOHAND,
            e => e,
        })
    })
}

/// `io_cancel(2)`: EINPROGRESS for a poll that is now cancelled; EINVAL for what is done already.
pub fn sys_io_cancel(t: &Arc<Task>, handle: usize, iocb: UserAddr, _result: UserAddr) -> SysResult {
    let key: u32 = user::read(t, iocb.offset(8)?)?;
    if key != 0 {
        return Err(Errno::EINVAL);
    }
    let c = Context::find(t, handle)?;
    let found = {
        let mut s = c.state.lock();
        let i = s.polls.iter().position(|p| p.obj == iocb.0 as u64);
        i.map(|i| s.polls.remove(i))
    };
    let p = found.ok_or(Errno::EINVAL)?;
    let event = IoEvent {
        data: p.data,
        obj: p.obj,
        res: 0,
        res2: 0,
    };
    c.complete(event, p.done.as_ref());
    Err(Errno::EINPROGRESS)
}

/// `io_uring_setup(2)` and its kin, on a kernel built without them.
pub fn sys_io_uring(_t: &Arc<Task>) -> SysResult {
    Err(Errno::ENOSYS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::FdFlags;
    use crate::ipc::pipe::new_pair;
    use crate::testing::{addr, task};

    #[test]
    fn requests_become_events() {
        let t = task();
        let (r, w) = new_pair(&t, 0);
        let fr = t.install(r, FdFlags::empty()).unwrap();
        let fw = t.install(w, FdFlags::empty()).unwrap();
        let mut ctx = 0u64;
        assert_eq!(sys_io_setup(&t, 0, addr(&mut ctx)), Err(Errno::EINVAL));
        assert_eq!(sys_io_setup(&t, 4, addr(&mut ctx)), Ok(0));
        let text = *b"hello";
        let mut buf = [0u8; 8];
        let one = |opcode, fd, buf: UserAddr, nbytes| Iocb {
            data: u64::from(opcode),
            key: 7,
            rw_flags: 0,
            opcode,
            reqprio: 0,
            fd,
            buf: buf.0 as u64,
            nbytes,
            offset: 0,
            reserved: 0,
            flags: 0,
            resfd: 0,
        };
        let poll = one(POLL, fr, UserAddr(1), 0);
        let write = one(PWRITE, fw, addr(&text), 5);
        let read = one(PREAD, fr, addr(&mut buf), 8);
        let bad = one(PREAD, 99, addr(&mut buf), 8);
        let list = [addr(&poll).0, addr(&write).0, addr(&read).0, addr(&bad).0];
        let handle = ctx as usize;
        assert_eq!(sys_io_submit(&t, handle, 2, addr(&list)), Ok(2));
        let mut events = [[0u64; 4]; 4];
        let get = |min, out: &mut [[u64; 4]; 4]| {
            sys_io_getevents(&t, handle, min, 4, addr(out), UserAddr(0))
        };
        assert_eq!(get(2, &mut events), Ok(2));
        assert_eq!((events[0][0], events[0][2]), (1, 5));
        assert_eq!((events[1][0], events[1][2]), (5, 1));
        assert_eq!(sys_io_submit(&t, handle, 2, addr(&list[2..])), Ok(1));
        assert_eq!(get(1, &mut events), Ok(1));
        assert_eq!(&buf[..5], b"hello");
        assert_eq!(
            sys_io_submit(&t, handle, 1, addr(&list[3..])),
            Err(Errno::EBADF)
        );
        assert_eq!(sys_io_submit(&t, 1, 1, addr(&list)), Err(Errno::EINVAL));
        assert_eq!(sys_io_destroy(&t, handle), Ok(0));
        assert_eq!(sys_io_destroy(&t, handle), Err(Errno::EINVAL));
    }
}
