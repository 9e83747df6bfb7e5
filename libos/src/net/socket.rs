//! What all sockets share: the [`Socket`] trait, the state behind `SOL_SOCKET` options, waiting,
//! and the open file.

use super::Address;
pub use super::options::OptionValue;
use super::packet::Route;
use super::scm::Rights;
use crate::fs::{File, FileOps, Stat};
use crate::process::Creds;
use crate::signal::{self, Fields, SigInfo};
use crate::sysctl::{RMEM_DEFAULT, WMEM_DEFAULT};
use crate::uio::{IoDst, IoSrc};
use crate::wait::{self, Events, PollTable, WaitQueue};
use crate::{Errno, Result, SysResult, Task};
use alloc::{string::String, sync::Arc, vec::Vec};
use bastide_abi::net::UCred;
use bastide_abi::raw::net::*;
use bastide_base::sync::Mutex;
use bastide_pal::HostFd;
use core::any::Any;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

bitflags::bitflags! {
    /// Boolean `SOL_SOCKET` options.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Flags: u32 {
        const DEBUG = 1;
        const REUSEADDR = 1 << 1;
        const REUSEPORT = 1 << 2;
        const DONTROUTE = 1 << 3;
        const BROADCAST = 1 << 4;
        const KEEPALIVE = 1 << 5;
        const OOBINLINE = 1 << 6;
        const PASSCRED = 1 << 7;
        const PASSSEC = 1 << 8;
        const PASSPIDFD = 1 << 9;
        const TIMESTAMP = 1 << 10;
        const TIMESTAMPNS = 1 << 11;
        const NO_CHECK = 1 << 12;
        const RXQ_OVFL = 1 << 13;
        const ZEROCOPY = 1 << 14;
        const SNDBUF_LOCK = 1 << 15;
        const RCVBUF_LOCK = 1 << 16;
        /// `shutdown(2)` for receiving, here or at the peer's sending side.
        const RCV_SHUTDOWN = 1 << 24;
        /// `shutdown(2)` for sending.
        const SEND_SHUTDOWN = 1 << 25;
    }
}

/// Who is at the other end, `SO_PEERCRED` and `SO_PEERGROUPS`.
#[derive(Clone, Debug)]
pub struct PeerCred {
    pub cred: UCred,
    pub groups: Vec<u32>,
}

impl PeerCred {
    /// The calling process.
    pub fn of(t: &Task) -> Self {
        let c = t.creds();
        PeerCred {
            cred: UCred {
                pid: t.process.pid,
                uid: c.euid,
                gid: c.egid,
            },
            groups: c.groups.clone(),
        }
    }
}

/// State that every socket has.
pub struct Common {
    pub ino: u64,
    pub domain: u32,
    /// `SOCK_*`.
    pub kind: u32,
    pub protocol: u32,
    /// Who made it: owner of the sockfs inode.
    pub owner: (u32, u32),
    /// Everything that may change what `poll(2)` says.
    pub wait: WaitQueue,
    flags: AtomicU32,
    /// Pending error, `SO_ERROR`; 0 is none.
    error: AtomicI32,
    pub sndbuf: AtomicU32,
    pub rcvbuf: AtomicU32,
    pub rcvlowat: AtomicU32,
    pub priority: AtomicI32,
    pub mark: AtomicU32,
    /// Nanoseconds, `u64::MAX` without limit.
    pub rcvtimeo: AtomicU64,
    pub sndtimeo: AtomicU64,
    pub linger: Mutex<(i32, i32)>,
    /// Memory charged to this sender for what receivers have not taken yet.
    pub charged: AtomicUsize,
    /// Its own address, once it has one.
    pub local: Mutex<Option<Address>>,
    pub peer_cred: Mutex<Option<PeerCred>>,
}

impl Common {
    /// A fresh socket of the calling task.
    pub fn new(t: &Task, domain: u32, kind: u32, protocol: u32) -> Arc<Self> {
        let c: Arc<Creds> = t.creds();
        Arc::new(Self::with_owner(domain, kind, protocol, (c.fsuid, c.fsgid)))
    }

    fn with_owner(domain: u32, kind: u32, protocol: u32, owner: (u32, u32)) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(16_000);
        Common {
            ino: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            domain,
            kind,
            protocol,
            owner,
            wait: WaitQueue::new(),
            flags: AtomicU32::new(0),
            error: AtomicI32::new(0),
            sndbuf: AtomicU32::new(WMEM_DEFAULT.get() as u32),
            rcvbuf: AtomicU32::new(RMEM_DEFAULT.get() as u32),
            rcvlowat: AtomicU32::new(1),
            priority: AtomicI32::new(0),
            mark: AtomicU32::new(0),
            rcvtimeo: AtomicU64::new(u64::MAX),
            sndtimeo: AtomicU64::new(u64::MAX),
            linger: Mutex::new((0, 0)),
            charged: AtomicUsize::new(0),
            local: Mutex::new(None),
            peer_cred: Mutex::new(None),
        }
    }

    /// A socket of the same kind and owner, as new.
    pub fn sibling(&self) -> Arc<Self> {
        Arc::new(Self::with_owner(
            self.domain,
            self.kind,
            self.protocol,
            self.owner,
        ))
    }

    /// As [`Common::sibling`], of another family.
    pub fn sibling_of(&self, domain: u32) -> Arc<Self> {
        Arc::new(Self::with_owner(
            domain,
            self.kind,
            self.protocol,
            self.owner,
        ))
    }

    /// The socket that a TCP listener's `accept(2)` will return: options are inherited.
    pub fn inherit(&self) -> Arc<Self> {
        let new = Self::with_owner(self.domain, self.kind, self.protocol, self.owner);
        let keep = self.flags() - Flags::RCV_SHUTDOWN - Flags::SEND_SHUTDOWN;
        new.flags.store(keep.bits(), Ordering::Relaxed);
        for (to, from) in [
            (&new.sndbuf, &self.sndbuf),
            (&new.rcvbuf, &self.rcvbuf),
            (&new.rcvlowat, &self.rcvlowat),
            (&new.mark, &self.mark),
        ] {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        for (to, from) in [
            (&new.rcvtimeo, &self.rcvtimeo),
            (&new.sndtimeo, &self.sndtimeo),
        ] {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        *new.linger.lock() = *self.linger.lock();
        Arc::new(new)
    }

    /// The boolean options.
    pub fn flags(&self) -> Flags {
        Flags::from_bits_truncate(self.flags.load(Ordering::Acquire))
    }

    /// One of the options is on.
    pub fn has(&self, f: Flags) -> bool {
        self.flags().intersects(f)
    }

    /// Turns options on or off.
    pub fn set(&self, f: Flags, on: bool) {
        if on {
            self.flags.fetch_or(f.bits(), Ordering::AcqRel);
        } else {
            self.flags.fetch_and(!f.bits(), Ordering::AcqRel);
        }
    }

    /// Sets the pending error and wakes whoever waits.
    pub fn fail(&self, e: Errno) {
        self.error.store(e.0, Ordering::Release);
        self.wait.wake_all(wait::POLLALL);
    }

    /// There is a pending error.
    pub fn has_error(&self) -> bool {
        self.error.load(Ordering::Acquire) != 0
    }

    /// The pending error is this one.
    pub fn has_this_error(&self, e: Errno) -> bool {
        self.error.load(Ordering::Acquire) == e.0
    }

    /// Takes the pending error: it is reported once.
    pub fn take_error(&self) -> Result<()> {
        if !self.has_error() {
            return Ok(());
        }
        match self.error.swap(0, Ordering::AcqRel) {
            0 => Ok(()),
            e => Err(Errno(e)),
        }
    }

    /// How long a receiving call may wait.
    pub fn receive_patience(&self, nonblock: bool) -> Patience {
        Patience::new(nonblock, self.rcvtimeo.load(Ordering::Relaxed))
    }

    /// How long a sending call may wait.
    pub fn send_patience(&self, nonblock: bool) -> Patience {
        Patience::new(nonblock, self.sndtimeo.load(Ordering::Relaxed))
    }

    /// What `fstat(2)` says: an inode of sockfs.
    pub fn stat(&self) -> Stat {
        Stat {
            dev: 8,
            ino: self.ino,
            mode: 0o140777,
            nlink: 1,
            uid: self.owner.0,
            gid: self.owner.1,
            blksize: 4096,
            ..Default::default()
        }
    }
}

/// How long a call may wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    nonblock: bool,
    /// Monotonic nanoseconds.
    deadline: Option<u64>,
}

impl Patience {
    /// From `O_NONBLOCK` or `MSG_DONTWAIT`, and a timeout option.
    pub fn new(nonblock: bool, timeout: u64) -> Self {
        let deadline =
            (timeout != u64::MAX).then(|| crate::time::monotonic().saturating_add(timeout));
        Patience {
            nonblock: nonblock || timeout == 0,
            deadline,
        }
    }

    /// It does not wait at all.
    pub fn none(self) -> bool {
        self.nonblock
    }

    fn error(self, e: Errno) -> Errno {
        match e {
            Errno::ETIMEDOUT => Errno::EAGAIN,
            // signal(7): with a timeout, never restarted.
            Errno::ERESTARTSYS if self.deadline.is_some() => Errno::EINTR,
            e => e,
        }
    }

    /// Sleeps until `cond` gives a value; EAGAIN when time is up.
    pub fn wait_until<T>(
        self,
        t: &Task,
        queues: &[&WaitQueue],
        mut cond: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        if self.nonblock {
            return cond().ok_or(Errno::EAGAIN);
        }
        wait::wait_until(t, queues, self.deadline, cond).map_err(|e| self.error(e))
    }

    /// As [`Patience::wait_until`] for what also waits for host descriptors; as
    /// [`wait::wait_poll`].
    pub fn wait_poll<T>(
        self,
        t: &Task,
        mut poll: impl FnMut(Option<&mut PollTable>) -> Option<T>,
    ) -> Result<T> {
        if self.nonblock {
            return poll(None).ok_or(Errno::EAGAIN);
        }
        wait::wait_poll(t, self.deadline, poll).map_err(|e| self.error(e))
    }
}

/// A message to send.
pub struct Outgoing<'a> {
    /// `MSG_*`; `MSG_DONTWAIT` includes `O_NONBLOCK`.
    pub flags: u32,
    /// Destination, if one was given.
    pub addr: Option<&'a [u8]>,
    /// Control messages as the application laid them out.
    pub control: &'a [u8],
}

impl Outgoing<'_> {
    /// A plain write with these flags.
    pub fn plain(flags: u32) -> Self {
        Outgoing {
            flags,
            addr: None,
            control: &[],
        }
    }
}

/// A message that is received: what is wanted, and what came.
#[derive(Default)]
pub struct Incoming {
    /// `MSG_*` as asked for; `MSG_DONTWAIT` includes `O_NONBLOCK`.
    pub flags: u32,
    /// The caller asks for the sender's address.
    pub wants_addr: bool,
    /// Room for control messages.
    pub control_room: usize,
    /// The sender's address as bytes of a `sockaddr`; `None` if there is none to tell.
    pub addr: Option<Vec<u8>>,
    /// Control messages that are bytes already.
    pub control: Vec<u8>,
    /// Descriptors and credentials that came along.
    pub rights: Rights,
    /// The way of an internet datagram inside the enclave.
    pub route: Option<Route>,
    /// `MSG_*` result flags.
    pub result: u32,
}

impl Incoming {
    /// A plain read with these flags.
    pub fn plain(flags: u32) -> Self {
        Incoming {
            flags,
            ..Default::default()
        }
    }

    /// The flag was asked for.
    pub fn wants(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// What a protocol implements. Lengths and pointers have been checked; addresses have not.
pub trait Socket: Any + Send + Sync {
    fn common(&self) -> &Arc<Common>;
    fn bind(&self, t: &Task, addr: &[u8]) -> Result<()>;
    fn connect(&self, t: &Task, addr: &[u8], nonblock: bool) -> Result<()>;
    fn listen(&self, _t: &Task, _backlog: u32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    fn accept(&self, _t: &Task, _nonblock: bool) -> Result<Arc<dyn Socket>> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Its own (or its peer's) address as bytes of a `sockaddr`; ENOTCONN.
    fn name(&self, peer: bool) -> Result<Vec<u8>>;
    fn send(&self, t: &Task, src: &mut IoSrc<'_>, msg: &Outgoing<'_>) -> Result<usize>;
    fn recv(&self, t: &Task, dst: &mut IoDst<'_>, msg: &mut Incoming) -> Result<usize>;
    /// As [`Socket::recv`], of the bytes alone: what comes along with them is dropped.
    fn read(&self, t: &Task, dst: &mut IoDst<'_>, flags: u32) -> Result<usize> {
        self.recv(t, dst, &mut Incoming::plain(flags))
    }
    /// `how` is one of `SHUT_*`.
    fn shutdown(&self, how: u32) -> Result<()>;
    /// An option that [`super::options`] does not answer.
    fn get_option(&self, _t: &Task, _level: i32, _name: u32, _room: usize) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }
    /// An option that [`super::options`] does not handle.
    fn set_option(&self, _t: &Task, _level: i32, _name: u32, _value: &OptionValue) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// This `SOL_SOCKET` option is answered by [`Socket::get_option`] and its counterpart.
    fn owns_options(&self, _name: u32) -> bool {
        false
    }
    /// `SO_ACCEPTCONN`.
    fn is_listening(&self) -> bool {
        false
    }
    fn poll(&self, table: Option<&mut PollTable>) -> Events;
    /// As [`FileOps::poll_knowing`].
    fn poll_knowing(&self, _fd: HostFd, _ready: Events) -> Option<Events> {
        None
    }
    fn ioctl(&self, _t: &Task, _request: u32, _arg: usize) -> SysResult {
        Err(Errno::ENOTTY)
    }
    /// A descriptor was closed; others may remain.
    fn closing(&self, _f: &File) {}
    /// The last descriptor is gone.
    fn release(&self);
    fn as_any(&self) -> &dyn Any;
}

/// The open file of a socket.
pub struct SocketFile(pub Arc<dyn Socket>);

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Makes the open file of a socket.
pub fn open(socket: Arc<dyn Socket>, nonblock: bool) -> Arc<File> {
    let flags = crate::fs::file::O_RDWR
        | if nonblock {
            crate::fs::file::O_NONBLOCK
        } else {
            0
        };
    File::new(Arc::new(SocketFile(socket)), None, flags)
}

/// `MSG_DONTWAIT` if the file is non-blocking.
pub fn dontwait(f: &File) -> u32 {
    if f.nonblocking() { MSG_DONTWAIT } else { 0 }
}

/// Sends SIGPIPE to the caller unless `MSG_NOSIGNAL` says no; returns EPIPE.
pub fn broken_pipe(t: &Task, flags: u32) -> Errno {
    if flags & MSG_NOSIGNAL == 0 {
        signal::send_task(
            t,
            SigInfo {
                signo: 13,
                errno: 0,
                code: 0,
                fields: Fields::Sender {
                    pid: t.process.pid,
                    uid: t.creds().uid,
                    value: 0,
                },
            },
        );
    }
    Errno::EPIPE
}

impl FileOps for SocketFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, t: &Task, f: &File, dst: &mut IoDst<'_>, _offset: Option<u64>) -> Result<usize> {
        if dst.left() == 0 {
            return Ok(0);
        }
        self.0.read(t, dst, dontwait(f))
    }

    fn write(
        &self,
        t: &Task,
        f: &File,
        src: &mut IoSrc<'_>,
        _offset: Option<u64>,
    ) -> Result<usize> {
        let eor = if self.0.common().kind == SOCK_SEQPACKET {
            MSG_EOR
        } else {
            0
        };
        self.0.send(t, src, &Outgoing::plain(dontwait(f) | eor))
    }

    fn poll(&self, _f: &File, table: Option<&mut PollTable>) -> Events {
        self.0.poll(table)
    }

    fn poll_knowing(&self, fd: HostFd, ready: Events) -> Option<Events> {
        self.0.poll_knowing(fd, ready)
    }

    fn ioctl(&self, t: &Task, f: &File, request: u32, arg: usize) -> SysResult {
        super::ioctl::ioctl(t, f, &*self.0, request, arg)
    }

    fn flush(&self, _t: &Task, f: &File) -> Result<()> {
        self.0.closing(f);
        Ok(())
    }

    fn spliceable(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        alloc::format!("socket:[{}]", self.0.common().ino)
    }

    fn stat(&self) -> Result<Stat> {
        Ok(self.0.common().stat())
    }
}
