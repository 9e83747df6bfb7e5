//! Message queues, `msgget(2)`, `msgop(2)`, `msgctl(2)`.

use super::{Object, Perm, Table, now};
use crate::abi::ipc::*;
use crate::process::creds::CAP_SYS_RESOURCE;
use crate::sysctl::{MSG_NEXT_ID, MSGMAX, MSGMNB, MSGMNI};
use crate::user::{self, UserAddr};
use crate::wait::{POLLALL, WaitQueue, wait_until};
use crate::{Errno, Result, SysResult, Task};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use core::fmt::Write;

const MSG_NOERROR: u32 = 0o10000;
const MSG_EXCEPT: u32 = 0o20000;
const MSG_COPY: u32 = 0o40000;
const MSG_STAT: i32 = 11;
const MSG_INFO: i32 = 12;
const MSG_STAT_ANY: i32 = 13;

static QUEUES: Table<Queue> = Table::new(&MSG_NEXT_ID);

struct Message {
    kind: i64,
    text: Vec<u8>,
}

struct State {
    perm: Perm,
    messages: VecDeque<Message>,
    cbytes: usize,
    qbytes: usize,
    stime: i64,
    rtime: i64,
    ctime: i64,
    lspid: i32,
    lrpid: i32,
    removed: bool,
}

struct Queue {
    state: Mutex<State>,
    senders: WaitQueue,
    receivers: WaitQueue,
}

impl Object for Queue {
    fn perm(&self) -> Perm {
        self.state.lock().perm
    }
    fn set_id(&self, id: i32) {
        self.state.lock().perm.id = id;
    }
}

impl Queue {
    fn ds(&self) -> MsqidDs {
        let s = self.state.lock();
        MsqidDs {
            perm: s.perm.to_user(),
            stime: s.stime,
            rtime: s.rtime,
            ctime: s.ctime,
            cbytes: s.cbytes as u64,
            qnum: s.messages.len() as u64,
            qbytes: s.qbytes as u64,
            lspid: s.lspid,
            lrpid: s.lrpid,
            ..MsqidDs::default()
        }
    }
}

/// Which message a receiver wants.
#[derive(Clone, Copy)]
enum Want {
    Any,
    Kind(i64),
    NotKind(i64),
    /// The lowest kind that is at most this.
    AtMost(i64),
    /// The one at a position, without taking it.
    Copy(i64),
}

impl Want {
    fn new(kind: i64, flags: u32) -> Want {
        match kind {
            n if flags & MSG_COPY != 0 => Want::Copy(n),
            0 => Want::Any,
            n if n < 0 => Want::AtMost(n.checked_neg().unwrap_or(i64::MAX)),
            n if flags & MSG_EXCEPT != 0 => Want::NotKind(n),
            n => Want::Kind(n),
        }
    }

    fn find(self, messages: &VecDeque<Message>) -> Option<usize> {
        match self {
            Want::Any => (!messages.is_empty()).then_some(0),
            Want::Kind(k) => messages.iter().position(|m| m.kind == k),
            Want::NotKind(k) => messages.iter().position(|m| m.kind != k),
            Want::AtMost(k) => messages
                .iter()
                .enumerate()
                .filter(|(_, m)| m.kind <= k)
                .min_by_key(|(_, m)| m.kind)
                .map(|(i, _)| i),
            Want::Copy(n) => usize::try_from(n).ok().filter(|&n| n < messages.len()),
        }
    }
}

/// `msgget(2)`. ENOENT, EEXIST, EACCES, ENOSPC.
pub fn sys_msgget(t: &Arc<Task>, key: i32, flags: u32) -> SysResult {
    let id = QUEUES.get(
        t,
        key,
        flags,
        MSGMNI.size(),
        |_| Ok(()),
        || {
            Ok(Arc::new(Queue {
                state: Mutex::new(State {
                    perm: Perm::new(t, key, flags),
                    messages: VecDeque::new(),
                    cbytes: 0,
                    qbytes: MSGMNB.size(),
                    stime: 0,
                    rtime: 0,
                    ctime: now(),
                    lspid: 0,
                    lrpid: 0,
                    removed: false,
                }),
                senders: WaitQueue::new(),
                receivers: WaitQueue::new(),
            }))
        },
    )?;
    Ok(id as usize)
}

/// `msgsnd(2)`. EINVAL, EFAULT, EACCES, EAGAIN, EIDRM, EINTR, ENOMEM.
pub fn sys_msgsnd(t: &Arc<Task>, id: i32, msg: UserAddr, size: usize, flags: u32) -> SysResult {
    let kind: i64 = user::read(t, msg)?;
    if size > MSGMAX.size() || id < 0 || kind < 1 {
        return Err(Errno::EINVAL);
    }
    let mut text = Vec::new();
    text.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
    text.resize(size, 0);
    user::read_bytes(t, msg.offset(8)?, &mut text)?;
    let q = QUEUES.find(id)?;
    let mut message = Some(Message { kind, text });
    let mut attempt = || -> Option<Result<()>> {
        let mut s = q.state.lock();
        if s.removed {
            return Some(Err(Errno::EIDRM));
        }
        if let Err(e) = s.perm.check(t, 0o222) {
            return Some(Err(e));
        }
        let fits = s.cbytes + size <= s.qbytes && s.messages.len() < s.qbytes;
        if !fits {
            return None;
        }
        if s.messages.try_reserve(1).is_err() {
            return Some(Err(Errno::ENOMEM));
        }
        s.messages.extend(message.take());
        s.cbytes += size;
        s.stime = now();
        s.lspid = t.process.pid;
        Some(Ok(()))
    };
    wait(t, &q.senders, flags, Errno::EAGAIN, &mut attempt)?;
    q.receivers.wake_all(0);
    Ok(0)
}

/// Tries until it works; with `IPC_NOWAIT` once, and `busy` if it does not.
fn wait<T>(
    t: &Task,
    queue: &WaitQueue,
    flags: u32,
    busy: Errno,
    attempt: &mut dyn FnMut() -> Option<Result<T>>,
) -> Result<T> {
    match attempt() {
        Some(r) => r,
        None if flags & IPC_NOWAIT != 0 => Err(busy),
        None => wait_until(t, &[queue], None, attempt).map_err(|e| match e {
            Errno::ERESTARTSYS => Errno::ERESTARTNOHAND,
            e => e,
        })?,
    }
}

/// `msgrcv(2)`. EINVAL, E2BIG, EACCES, ENOMSG, EIDRM, EFAULT, EINTR.
pub fn sys_msgrcv(
    t: &Arc<Task>,
    id: i32,
    buf: UserAddr,
    size: usize,
    kind: i64,
    flags: u32,
) -> SysResult {
    if id < 0 || size > isize::MAX as usize {
        return Err(Errno::EINVAL);
    }
    let copy = flags & MSG_COPY != 0;
    if copy && (flags & MSG_EXCEPT != 0 || flags & IPC_NOWAIT == 0) {
        return Err(Errno::EINVAL);
    }
    let want = Want::new(kind, flags);
    let q = QUEUES.find(id)?;
    let mut attempt = || -> Option<Result<Message>> {
        let mut s = q.state.lock();
        if s.removed {
            return Some(Err(Errno::EIDRM));
        }
        if let Err(e) = s.perm.check(t, 0o444) {
            return Some(Err(e));
        }
        let i = want.find(&s.messages)?;
        let m = s.messages.get(i)?;
        if size < m.text.len() && flags & MSG_NOERROR == 0 {
            return Some(Err(Errno::E2BIG));
        }
        if copy {
            return Some(Ok(Message {
                kind: m.kind,
                text: m.text.clone(),
            }));
        }
        let m = s.messages.remove(i)?;
        s.cbytes -= m.text.len();
        s.rtime = now();
        s.lrpid = t.process.pid;
        Some(Ok(m))
    };
    let m = wait(t, &q.receivers, flags, Errno::ENOMSG, &mut attempt)?;
    if !copy {
        q.senders.wake_all(0);
    }
    let n = m.text.len().min(size);
    user::write(t, buf, &m.kind)?;
    user::write_bytes(t, buf.offset(8)?, &m.text[..n])?;
    Ok(n)
}

fn info(cmd: i32) -> MsgInfo {
    let mnb = MSGMNB.get() as i32;
    let mni = MSGMNI.get() as i32;
    let mut info = MsgInfo {
        msgpool: mni.saturating_mul(mnb / 1024),
        msgmap: mnb,
        msgmax: MSGMAX.get() as i32,
        msgmnb: mnb,
        msgmni: mni,
        msgssz: 16,
        msgtql: mnb,
        msgseg: 0xffff,
        pad: 0,
    };
    if cmd == MSG_INFO {
        let all = QUEUES.all();
        let sum = |f: fn(&State) -> usize| all.iter().map(|q| f(&q.state.lock())).sum::<usize>();
        info.msgpool = all.len() as i32;
        info.msgmap = sum(|s| s.messages.len()) as i32;
        info.msgtql = sum(|s| s.cbytes) as i32;
    }
    info
}

/// `msgctl(2)`. EINVAL, EACCES, EPERM, EFAULT.
pub fn sys_msgctl(t: &Arc<Task>, id: i32, cmd: i32, buf: UserAddr) -> SysResult {
    if id < 0 {
        return Err(Errno::EINVAL);
    }
    match cmd {
        IPC_INFO | MSG_INFO => {
            user::write(t, buf, &info(cmd))?;
            Ok(QUEUES.usage().1)
        }
        IPC_STAT | MSG_STAT | MSG_STAT_ANY => {
            let q = match cmd {
                IPC_STAT => QUEUES.find(id)?,
                _ => QUEUES.at(id)?,
            };
            if cmd != MSG_STAT_ANY {
                q.perm().check(t, 0o444)?;
            }
            user::write(t, buf, &q.ds())?;
            Ok(if cmd == IPC_STAT {
                0
            } else {
                q.perm().id as usize
            })
        }
        IPC_SET => {
            let to: MsqidDs = user::read(t, buf)?;
            let q = QUEUES.find(id)?;
            q.perm().check_owner(t)?;
            let limit = MSGMNB.size() as u64;
            if to.qbytes > limit && !t.creds().capable(CAP_SYS_RESOURCE) {
                return Err(Errno::EPERM);
            }
            {
                let mut s = q.state.lock();
                s.perm.set(&to.perm)?;
                s.qbytes = usize::try_from(to.qbytes).unwrap_or(usize::MAX / 2);
                s.ctime = now();
            }
            // Who waits may now lack permission, or find room.
            q.receivers.wake_all(POLLALL);
            q.senders.wake_all(POLLALL);
            Ok(0)
        }
        IPC_RMID => {
            let q = QUEUES.find(id)?;
            q.perm().check_owner(t)?;
            QUEUES.remove(&q);
            q.state.lock().removed = true;
            q.receivers.wake_all(POLLALL);
            q.senders.wake_all(POLLALL);
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `/proc/sysvipc/msg`.
pub fn report(out: &mut String) {
    out.push_str(concat!(
        "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid",
        "      stime      rtime      ctime\n"
    ));
    for q in QUEUES.all() {
        let d = q.ds();
        let p = d.perm;
        let _ = writeln!(
            out,
            "{:10} {:10}  {:4o}  {:10} {:10} {:5} {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10}",
            p.key,
            q.perm().id,
            p.mode,
            d.cbytes,
            d.qnum,
            d.lspid,
            d.lrpid,
            p.uid,
            p.gid,
            p.cuid,
            p.cgid,
            d.stime,
            d.rtime,
            d.ctime
        );
    }
}
