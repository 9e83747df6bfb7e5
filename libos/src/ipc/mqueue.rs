//! POSIX message queues, `mq_overview(7)`.

mod notify;

use crate::abi::ipc::MqAttr;
use crate::event::{from_realtime, read_timespec};
use crate::fs::file::{O_ACCMODE, O_NONBLOCK, O_RDWR, O_WRONLY};
use crate::fs::{FdFlags, File, FileOps, Stat};
use crate::process::creds::{CAP_FOWNER, CAP_SYS_RESOURCE};
use crate::process::task::RLIMIT_MSGQUEUE;
use crate::sysctl::{
    MQUEUE_MSG_DEFAULT, MQUEUE_MSG_MAX, MQUEUE_MSGSIZE_DEFAULT, MQUEUE_MSGSIZE_MAX,
    MQUEUE_QUEUES_MAX,
};
use crate::uio::IoDst;
use crate::user::{self, UserAddr};
use crate::wait::{
    Events, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, PollTable, WaitQueue, wait_until,
};
use crate::{Errno, Result, SysResult, Task, time};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};
use notify::Notification;
pub use notify::sys_mq_notify;

const O_CREAT: u32 = 0o100;
const O_EXCL: u32 = 0o200;
const NAME_MAX: usize = 255;
const PRIO_MAX: u32 = 32768;
const HARD_MSGMAX: i64 = 65536;
const HARD_MSGSIZE: i64 = 16 << 20;
/// What a queue costs for each message it may hold, and each priority.
const MESSAGE_COST: u64 = 48;

/// Queues by name, as in the directory of Linux's mqueue file system.
static NAMES: Mutex<BTreeMap<Vec<u8>, Arc<Queue>>> = Mutex::new(BTreeMap::new());
/// Bytes that each user's queues may hold (`RLIMIT_MSGQUEUE`).
static CHARGED: Mutex<BTreeMap<u32, u64>> = Mutex::new(BTreeMap::new());

#[derive(Default)]
struct State {
    /// Messages by priority, the highest last.
    messages: BTreeMap<u32, VecDeque<Vec<u8>>>,
    count: usize,
    bytes: usize,
    /// Tasks that wait for a message.
    receiving: usize,
    notification: Option<Notification>,
}

/// A queue.
struct Queue {
    maxmsg: usize,
    msgsize: usize,
    mode: u32,
    uid: u32,
    gid: u32,
    ino: u64,
    made: i64,
    charge: (u32, u64),
    state: Mutex<State>,
    receivers: WaitQueue,
    senders: WaitQueue,
}

impl Drop for Queue {
    fn drop(&mut self) {
        uncharge(self.charge.0, self.charge.1);
    }
}

fn uncharge(uid: u32, bytes: u64) {
    let mut all = CHARGED.lock();
    if let Some(n) = all.get_mut(&uid) {
        *n = n.saturating_sub(bytes);
        if *n == 0 {
            all.remove(&uid);
        }
    }
}

impl Queue {
    /// A new queue: EINVAL for impossible limits, EMFILE beyond `RLIMIT_MSGQUEUE`, ENOSPC if there
    /// are too many (`others`).
    fn new(t: &Task, mode: u32, attr: Option<&MqAttr>, others: usize) -> Result<Arc<Queue>> {
        static NEXT: AtomicU64 = AtomicU64::new(2);
        let c = t.creds();
        let privileged = c.capable(CAP_SYS_RESOURCE);
        if others >= MQUEUE_QUEUES_MAX.size() && !privileged {
            return Err(Errno::ENOSPC);
        }
        let (msg_max, size_max) = (MQUEUE_MSG_MAX.get(), MQUEUE_MSGSIZE_MAX.get());
        let (maxmsg, msgsize) = match attr {
            None => (
                MQUEUE_MSG_DEFAULT.get().min(msg_max),
                MQUEUE_MSGSIZE_DEFAULT.get().min(size_max),
            ),
            Some(a) => {
                let (m, s) = if privileged {
                    (HARD_MSGMAX, HARD_MSGSIZE)
                } else {
                    (msg_max, size_max)
                };
                if !(1..=m).contains(&a.maxmsg) || !(1..=s).contains(&a.msgsize) {
                    return Err(Errno::EINVAL);
                }
                (a.maxmsg, a.msgsize)
            }
        };
        let (n, size) = (maxmsg as u64, msgsize as u64);
        let cost = n * MESSAGE_COST + n.min(u64::from(PRIO_MAX)) * MESSAGE_COST + n * size;
        {
            let mut all = CHARGED.lock();
            let charged = all.entry(c.uid).or_default();
            if *charged + cost > t.rlimit(RLIMIT_MSGQUEUE) {
                return Err(Errno::EMFILE);
            }
            *charged += cost;
        }
        Ok(Arc::new(Queue {
            maxmsg: maxmsg as usize,
            msgsize: msgsize as usize,
            mode: mode & 0o7777,
            uid: c.fsuid,
            gid: c.fsgid,
            ino: NEXT.fetch_add(1, Ordering::Relaxed),
            made: time::realtime() as i64,
            charge: (c.uid, cost),
            state: Mutex::default(),
            receivers: WaitQueue::new(),
            senders: WaitQueue::new(),
        }))
    }

    /// Puts a message in if there is room.
    fn put(&self, t: &Task, prio: u32, text: &mut Vec<u8>) -> Option<()> {
        let mut s = self.state.lock();
        if s.count >= self.maxmsg {
            return None;
        }
        let text = core::mem::take(text);
        s.bytes += text.len();
        s.count += 1;
        s.messages.entry(prio).or_default().push_back(text);
        let due = if s.count == 1 && s.receiving == 0 {
            s.notification.take()
        } else {
            None
        };
        drop(s);
        self.receivers.wake_all(POLLIN | POLLRDNORM);
        if let Some(n) = due {
            n.send(t);
        }
        Some(())
    }

    /// Takes the oldest message of the highest priority.
    fn get(&self) -> Option<(u32, Vec<u8>)> {
        let mut s = self.state.lock();
        let mut top = s.messages.last_entry()?;
        let prio = *top.key();
        let text = top.get_mut().pop_front();
        if top.get().is_empty() {
            top.remove();
        }
        let text = text?;
        s.count -= 1;
        s.bytes -= text.len();
        drop(s);
        self.senders.wake_all(POLLOUT | POLLWRNORM);
        Some((prio, text))
    }
}

/// An open queue.
pub struct MessageQueue(Arc<Queue>);

impl FileOps for MessageQueue {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// A line about the queue, as Linux gives.
    fn read(&self, _t: &Task, f: &File, dst: &mut IoDst<'_>, _at: Option<u64>) -> Result<usize> {
        let s = self.0.state.lock();
        let (kind, signo, pid) = s.notification.as_ref().map_or((0, 0, 0), |n| n.shown());
        let line = alloc::format!(
            "QSIZE:{:<10} NOTIFY:{kind:<5} SIGNO:{signo:<5} NOTIFY_PID:{pid:<6}\n",
            s.bytes
        );
        drop(s);
        let mut pos = f.pos.lock();
        let at = usize::try_from(*pos).unwrap_or(usize::MAX);
        let n = dst.put(line.as_bytes().get(at..).unwrap_or_default())?;
        *pos += n as u64;
        Ok(n)
    }

    fn poll(&self, _f: &File, table: Option<&mut PollTable>) -> Events {
        if let Some(table) = table {
            table.listen(&self.0.receivers);
            table.listen(&self.0.senders);
        }
        let count = self.0.state.lock().count;
        let mut ev = 0;
        if count > 0 {
            ev |= POLLIN | POLLRDNORM;
        }
        if count < self.0.maxmsg {
            ev |= POLLOUT | POLLWRNORM;
        }
        ev
    }

    fn flush(&self, t: &Task, _f: &File) -> Result<()> {
        notify::forget(&self.0, t);
        Ok(())
    }

    fn describe(&self) -> String {
        let names = NAMES.lock();
        match names.iter().find(|(_, q)| Arc::ptr_eq(q, &self.0)) {
            Some((name, _)) => alloc::format!("/{}", String::from_utf8_lossy(name)),
            None => String::from("/mqueue (deleted)"),
        }
    }

    fn stat(&self) -> Result<Stat> {
        let q = &self.0;
        Ok(Stat {
            dev: 17,
            ino: q.ino,
            mode: 0o100000 | q.mode,
            nlink: 1,
            uid: q.uid,
            gid: q.gid,
            size: 80,
            blksize: 4096,
            atime: q.made,
            mtime: q.made,
            ctime: q.made,
            ..Stat::default()
        })
    }
}

/// Reads a name as glibc passes it, without the slash: ENOENT, ENAMETOOLONG, EACCES.
fn read_name(t: &Task, addr: UserAddr) -> Result<Vec<u8>> {
    let name = user::read_path(t, addr)?;
    match name.as_slice() {
        b"" => Err(Errno::ENOENT),
        b"." | b".." => Err(Errno::EACCES),
        n if n.contains(&b'/') => Err(Errno::EACCES),
        n if n.len() > NAME_MAX => Err(Errno::ENAMETOOLONG),
        _ => Ok(name),
    }
}

/// `mq_open(2)`. EACCES, EEXIST, EINVAL, EMFILE, ENAMETOOLONG, ENOENT, ENOSPC.
pub fn sys_mq_open(
    t: &Arc<Task>,
    name: UserAddr,
    flags: u32,
    mode: u32,
    attr: UserAddr,
) -> SysResult {
    let attr = if attr.is_null() {
        None
    } else {
        Some(user::read::<MqAttr>(t, attr)?)
    };
    let name = read_name(t, name)?;
    t.files()
        .check_room(t.rlimit(crate::process::task::RLIMIT_NOFILE) as usize)?;
    let queue = {
        let mut names = NAMES.lock();
        match names.get(&name) {
            None if flags & O_CREAT == 0 => return Err(Errno::ENOENT),
            None => {
                let mode = mode & !*t.fs().umask.lock();
                let q = Queue::new(t, mode, attr.as_ref(), names.len())?;
                names.insert(name, q.clone());
                q
            }
            Some(_) if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL => {
                return Err(Errno::EEXIST);
            }
            Some(q) => {
                let want = match flags & O_ACCMODE {
                    0 => 4,
                    O_WRONLY => 2,
                    O_RDWR => 6,
                    _ => return Err(Errno::EINVAL),
                };
                if !t.creds().may(0o100000 | q.mode, q.uid, q.gid, want) {
                    return Err(Errno::EACCES);
                }
                q.clone()
            }
        }
    };
    let kept = flags & (O_ACCMODE | O_NONBLOCK);
    let file = File::new(Arc::new(MessageQueue(queue)), None, kept);
    Ok(t.install(file, FdFlags::CLOEXEC)? as usize)
}

/// `mq_unlink(2)`. ENOENT, EPERM (glibc makes EACCES of it), ENAMETOOLONG.
pub fn sys_mq_unlink(t: &Arc<Task>, name: UserAddr) -> SysResult {
    let name = read_name(t, name)?;
    let mut names = NAMES.lock();
    let q = names.get(&name).ok_or(Errno::ENOENT)?;
    let c = t.creds();
    if c.fsuid != q.uid && c.fsuid != 0 && !c.capable(CAP_FOWNER) {
        return Err(Errno::EPERM);
    }
    let gone = names.remove(&name);
    drop(names);
    drop(gone);
    Ok(0)
}

/// The queue behind a descriptor; EBADF.
fn queue_of(f: &File) -> Result<&Arc<Queue>> {
    f.downcast::<MessageQueue>()
        .map(|m| &m.0)
        .ok_or(Errno::EBADF)
}

fn deadline(t: &Task, timeout: UserAddr) -> Result<Option<u64>> {
    if timeout.is_null() {
        return Ok(None);
    }
    read_timespec(t, timeout).map(|ns| Some(from_realtime(ns)))
}

/// `mq_timedsend(2)`. EBADF, EINVAL, EMSGSIZE, EAGAIN, ETIMEDOUT, EINTR.
pub fn sys_mq_timedsend(
    t: &Arc<Task>,
    fd: i32,
    msg: UserAddr,
    len: usize,
    prio: u32,
    timeout: UserAddr,
) -> SysResult {
    let deadline = deadline(t, timeout)?;
    if prio >= PRIO_MAX {
        return Err(Errno::EINVAL);
    }
    let f = t.file(fd)?;
    let q = queue_of(&f)?;
    if !f.writable() {
        return Err(Errno::EBADF);
    }
    if len > q.msgsize {
        return Err(Errno::EMSGSIZE);
    }
    let mut text = Vec::new();
    text.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    text.resize(len, 0);
    user::read_bytes(t, msg, &mut text)?;
    match q.put(t, prio, &mut text) {
        Some(()) => {}
        None if f.nonblocking() => return Err(Errno::EAGAIN),
        None => wait_until(t, &[&q.senders], deadline, || q.put(t, prio, &mut text))?,
    }
    Ok(0)
}

/// `mq_timedreceive(2)`. EBADF, EINVAL, EMSGSIZE, EAGAIN, ETIMEDOUT, EINTR, EFAULT.
pub fn sys_mq_timedreceive(
    t: &Arc<Task>,
    fd: i32,
    buf: UserAddr,
    len: usize,
    prio: UserAddr,
    timeout: UserAddr,
) -> SysResult {
    let deadline = deadline(t, timeout)?;
    let f = t.file(fd)?;
    let q = queue_of(&f)?;
    if !f.readable() {
        return Err(Errno::EBADF);
    }
    if len < q.msgsize {
        return Err(Errno::EMSGSIZE);
    }
    let (p, text) = match q.get() {
        Some(m) => m,
        None if f.nonblocking() => return Err(Errno::EAGAIN),
        None => {
            q.state.lock().receiving += 1;
            let r = wait_until(t, &[&q.receivers], deadline, || q.get());
            q.state.lock().receiving -= 1;
            r?
        }
    };
    user::write_opt(t, prio, &p)?;
    user::write_bytes(t, buf, &text)?;
    Ok(text.len())
}

/// `mq_getsetattr(2)`. EBADF, EINVAL for flags other than O_NONBLOCK.
pub fn sys_mq_getsetattr(t: &Arc<Task>, fd: i32, new: UserAddr, old: UserAddr) -> SysResult {
    let to = if new.is_null() {
        None
    } else {
        let a: MqAttr = user::read(t, new)?;
        if a.flags & !i64::from(O_NONBLOCK) != 0 {
            return Err(Errno::EINVAL);
        }
        Some(a.flags as u32)
    };
    let f = t.file(fd)?;
    let q = queue_of(&f)?;
    let now = MqAttr {
        flags: i64::from(f.flags() & O_NONBLOCK),
        maxmsg: q.maxmsg as i64,
        msgsize: q.msgsize as i64,
        curmsgs: q.state.lock().count as i64,
        ..MqAttr::default()
    };
    if let Some(flags) = to {
        f.set_flags(O_NONBLOCK, flags);
    }
    user::write_opt(t, old, &now)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{addr, task};

    #[test]
    fn urgent_messages_come_first() {
        let t = task();
        let name = b"urgent\0";
        let attr = MqAttr {
            maxmsg: 2,
            msgsize: 4,
            ..MqAttr::default()
        };
        let flags = O_CREAT | O_EXCL | O_RDWR | O_NONBLOCK;
        let fd = sys_mq_open(&t, addr(name), flags, 0o600, addr(&attr)).unwrap() as i32;
        assert_eq!(
            sys_mq_open(&t, addr(name), flags, 0o600, UserAddr(0)),
            Err(Errno::EEXIST)
        );
        let send =
            |text: &[u8], prio| sys_mq_timedsend(&t, fd, addr(text), text.len(), prio, UserAddr(0));
        assert_eq!(send(b"low", 1), Ok(0));
        assert_eq!(send(b"high", 9), Ok(0));
        assert_eq!(send(b"x", 1), Err(Errno::EAGAIN));
        assert_eq!(send(b"large", 1), Err(Errno::EMSGSIZE));
        assert_eq!(send(b"x", 32768), Err(Errno::EINVAL));
        let receive = || {
            let mut buf = [0u8; 4];
            let mut prio = 0u32;
            let r = sys_mq_timedreceive(&t, fd, addr(&mut buf), 4, addr(&mut prio), UserAddr(0));
            r.map(|n| (buf[..n].to_vec(), prio))
        };
        assert_eq!(receive(), Ok((b"high".to_vec(), 9)));
        assert_eq!(receive(), Ok((b"low".to_vec(), 1)));
        assert_eq!(receive(), Err(Errno::EAGAIN));
        assert_eq!(sys_mq_unlink(&t, addr(name)), Ok(0));
        assert_eq!(sys_mq_unlink(&t, addr(name)), Err(Errno::ENOENT));
    }
}
