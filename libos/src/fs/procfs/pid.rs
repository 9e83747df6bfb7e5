//! The directories `/proc/PID` and `/proc/PID/task/TID`.

use super::super::pseudo::{Content, Home, TextFile, TreeInode, child_ino, set_attr};
use super::super::{Dirent, File, FileOps, FileSystem, Inode, Kind, Path, SetAttr, Stat};
use super::target::{Seen, Target};
use super::{fds, info, memory, mounts, net, ns, pages, parse_id, root_child_ino, stat};
use crate::user::UserAddr;
use crate::{Errno, Result, SysResult, Task};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

/// Makes a text about a process for a reader.
pub type Make = fn(&Seen, &Task) -> Result<Vec<u8>>;
/// Takes what was written.
pub type Take = fn(&Seen, &Task, &[u8]) -> Result<()>;

/// What an entry is.
#[derive(Clone, Copy)]
pub enum What {
    /// Readable as its mode says.
    Text(Make),
    /// Whoever opens it must be allowed to look into the process.
    Private(Make),
    /// As `Text`, and `poll(2)` and epoll work with it.
    Watched(Make),
    Written(Make, Take),
    /// The process's memory, and which pages of it are there.
    Memory,
    PageMap,
    /// Where the link leads.
    Link(fn(&Seen) -> Result<Path>),
    Tasks,
    Fds,
    FdInfos,
    Namespaces,
    Net,
}

/// In which directories an entry stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum In {
    Process,
    Thread,
    Both,
}

/// An entry of the directory of a process.
pub struct Entry {
    name: &'static str,
    mode: u32,
    what: What,
    place: In,
}

const fn e(name: &'static str, mode: u32, what: What, place: In) -> Entry {
    Entry {
        name,
        mode,
        what,
        place,
    }
}

use In::{Both, Process, Thread};
use What::{Link, Private, Watched, Written};

/// `Text`, without the clash with the type of that name.
const fn text(name: &'static str, mode: u32, make: Make) -> Entry {
    e(name, mode, What::Text(make), Both)
}

/// Every entry, in Linux's order.
static ENTRIES: &[Entry] = &[
    e("task", 0o555, What::Tasks, Process),
    e("fd", 0o500, What::Fds, Both),
    e("fdinfo", 0o555, What::FdInfos, Both),
    e("ns", 0o511, What::Namespaces, Both),
    e("net", 0o555, What::Net, Both),
    e("environ", 0o400, Private(memory::environ), Both),
    e("auxv", 0o400, Private(memory::auxv), Both),
    text("status", 0o444, stat::status),
    e("personality", 0o400, Private(info::personality), Both),
    text("limits", 0o444, info::limits),
    e("sched", 0o644, Written(info::sched, info::ignore), Both),
    e(
        "autogroup",
        0o644,
        Written(info::autogroup, info::ignore),
        Process,
    ),
    text("timens_offsets", 0o644, info::timens_offsets),
    e("comm", 0o644, Written(info::comm, info::set_comm), Both),
    e("syscall", 0o400, Private(info::syscall), Both),
    text("cmdline", 0o444, memory::cmdline),
    text("stat", 0o444, stat::stat),
    text("statm", 0o444, memory::statm),
    e("maps", 0o444, Private(memory::maps), Both),
    e("children", 0o444, What::Text(info::children), Thread),
    e("numa_maps", 0o444, Private(memory::numa_maps), Both),
    e("mem", 0o600, What::Memory, Both),
    e("cwd", 0o777, Link(fds::cwd), Both),
    e("root", 0o777, Link(fds::root), Both),
    e("exe", 0o777, Link(fds::exe), Both),
    e("mounts", 0o444, Watched(mounts::mounts), Both),
    e("mountinfo", 0o444, Watched(mounts::mountinfo), Both),
    e("mountstats", 0o400, What::Text(mounts::mountstats), Process),
    e(
        "clear_refs",
        0o200,
        Written(info::nothing, info::clear_refs),
        Both,
    ),
    e("smaps", 0o444, Private(memory::smaps), Both),
    e("smaps_rollup", 0o444, Private(memory::smaps_rollup), Both),
    e("pagemap", 0o400, What::PageMap, Both),
    text("wchan", 0o444, info::wchan),
    e("stack", 0o400, Private(info::stack), Both),
    text("schedstat", 0o444, info::schedstat),
    text("cpuset", 0o444, info::cpuset),
    text("cgroup", 0o444, info::cgroup),
    text("oom_score", 0o444, info::oom_score),
    e(
        "oom_adj",
        0o644,
        Written(info::oom_adj, info::set_oom_adj),
        Both,
    ),
    e(
        "oom_score_adj",
        0o644,
        Written(info::oom_score_adj, info::set_oom_score_adj),
        Both,
    ),
    e(
        "loginuid",
        0o644,
        Written(info::loginuid, info::set_loginuid),
        Both,
    ),
    text("sessionid", 0o444, info::sessionid),
    e("io", 0o400, Private(info::io), Both),
    e(
        "uid_map",
        0o644,
        Written(info::id_map, info::set_id_map),
        Both,
    ),
    e(
        "gid_map",
        0o644,
        Written(info::id_map, info::set_id_map),
        Both,
    ),
    e(
        "projid_map",
        0o644,
        Written(info::id_map, info::set_id_map),
        Both,
    ),
    e(
        "setgroups",
        0o644,
        Written(info::setgroups, info::set_setgroups),
        Both,
    ),
    e("timers", 0o444, What::Text(info::timers), Process),
    e(
        "timerslack_ns",
        0o666,
        Written(info::timerslack, info::set_timerslack),
        Process,
    ),
    e(
        "coredump_filter",
        0o644,
        Written(info::coredump_filter, info::set_coredump_filter),
        Process,
    ),
];

impl Entry {
    fn kind(&self) -> Kind {
        match self.what {
            What::Link(_) => Kind::Symlink,
            What::Tasks | What::Fds | What::FdInfos | What::Namespaces | What::Net => Kind::Dir,
            _ => Kind::Regular,
        }
    }

    /// It stands in a directory of this subject.
    fn belongs(&self, target: &Target) -> bool {
        match self.place {
            In::Both => true,
            In::Process => !target.is_thread(),
            In::Thread => target.is_thread(),
        }
    }
}

/// What an inode is.
#[derive(Clone, Copy)]
enum Node {
    /// The directory of the process or thread.
    Base,
    Entry(&'static Entry),
    /// `fd/N`.
    Fd(i32),
    /// `fdinfo/N`.
    FdInfo(i32),
    /// `ns/NAME`.
    Ns(ns::NsKind),
}

/// A file about a process.
pub struct PidInode {
    home: Home,
    ino: u64,
    target: Target,
    node: Node,
}

/// The inode number of the directory of a process or thread.
pub fn base_ino(target: &Target) -> u64 {
    root_child_ino(&target.key().to_le_bytes())
}

/// The process whose directory `/proc/PID` a file is: it serves as a pidfd. EBADF, ESRCH.
pub fn process_of(f: &File) -> Result<Arc<crate::Process>> {
    let path = f.path.as_ref().ok_or(Errno::EBADF)?;
    let inode = path.inode().as_any().downcast_ref::<PidInode>();
    match inode {
        Some(i) if matches!(i.node, Node::Base) && !i.target.is_thread() => {
            i.target.see().map(|s| s.process)
        }
        _ => Err(Errno::EBADF),
    }
}

impl PidInode {
    /// The directory of a process or thread.
    pub fn base(home: Home, target: Target) -> Arc<dyn Inode> {
        Arc::new(PidInode {
            home,
            ino: base_ino(&target),
            target,
            node: Node::Base,
        })
    }

    fn child(&self, name: &[u8], node: Node) -> Arc<dyn Inode> {
        Arc::new(PidInode {
            home: self.home.clone(),
            ino: child_ino(self.ino, name),
            target: self.target.clone(),
            node,
        })
    }

    /// The subject, for a look-up or a listing: ENOENT if it is gone.
    fn seen(&self) -> Result<Seen> {
        self.target.see().map_err(|_| Errno::ENOENT)
    }

    fn mode(&self) -> u32 {
        match self.node {
            Node::Base => 0o555,
            Node::Entry(e) => e.mode,
            Node::Fd(fd) => {
                let seen = self.target.see();
                seen.map_or(0, |s| fds::link_mode(&s, fd))
            }
            Node::FdInfo(_) => 0o400,
            Node::Ns(_) => 0o777,
        }
    }

    /// A link's object, once it is allowed to follow it.
    fn object(&self, t: &Task) -> Result<Path> {
        let seen = self.seen()?;
        seen.may_inspect(t)?;
        match self.node {
            Node::Fd(fd) => fds::path(&seen, fd),
            Node::Ns(kind) => Ok(ns::path(kind)),
            Node::Entry(Entry {
                what: What::Link(to),
                ..
            }) => to(&seen),
            _ => Err(Errno::EINVAL),
        }
    }
}

impl Inode for PidInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
    fn fs(&self) -> Arc<dyn FileSystem> {
        self.home.fs.clone()
    }
    fn kind(&self) -> Kind {
        match self.node {
            Node::Base => Kind::Dir,
            Node::Entry(e) => e.kind(),
            Node::Fd(_) | Node::Ns(_) => Kind::Symlink,
            Node::FdInfo(_) => Kind::Regular,
        }
    }
    fn stat(&self) -> Result<Stat> {
        let mode = self.mode();
        let mut st = self.home.stat(self.ino, self.kind().bits() | mode);
        if let Ok(seen) = self.target.see() {
            // The reader of `fd` must be the owner, whom a change of dumpability does not change
            // for the process itself; what is behind it is checked when it is opened.
            let open = matches!(
                self.node,
                Node::Base
                    | Node::Entry(Entry {
                        what: What::Fds,
                        ..
                    })
            ) || self.kind() == Kind::Dir && mode == 0o555;
            (st.uid, st.gid) = seen.owner(open);
            let started = info::started_at(&seen);
            (st.atime, st.mtime, st.ctime, st.btime) = (started, started, started, started);
            if self.kind() == Kind::Dir {
                st.nlink = 2;
            }
            match self.node {
                Node::Base => st.nlink = 9,
                Node::Fd(_) => st.size = 64,
                Node::Entry(Entry {
                    what: What::Tasks, ..
                }) => st.nlink = 2 + seen.tasks().len() as u64,
                Node::Entry(Entry {
                    what: What::Fds, ..
                }) => st.size = fds::count(&seen) as u64,
                _ => {}
            }
        }
        Ok(st)
    }
    fn set_attr(&self, attr: &SetAttr) -> Result<()> {
        set_attr(attr)
    }
    fn can_be_mounted_on(&self) -> bool {
        !matches!(self.node, Node::Fd(_) | Node::FdInfo(_))
    }
    fn create(
        &self,
        _name: &[u8],
        _mode: u32,
        _rdev: u64,
        _uid: u32,
        _gid: u32,
    ) -> Result<Arc<dyn Inode>> {
        Err(Errno::ENOENT)
    }
    fn symlink(
        &self,
        _name: &[u8],
        _target: &[u8],
        _uid: u32,
        _gid: u32,
    ) -> Result<Arc<dyn Inode>> {
        Err(Errno::ENOENT)
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let seen = self.seen()?;
        let node = match self.node {
            Node::Base => {
                let found = ENTRIES
                    .iter()
                    .find(|e| e.name.as_bytes() == name && e.belongs(&self.target));
                let entry = found.ok_or(Errno::ENOENT)?;
                Node::Entry(entry)
            }
            Node::Entry(e) => match e.what {
                What::Tasks => {
                    let tid = parse_id(name).ok_or(Errno::ENOENT)?;
                    let target = self.target.thread(tid)?;
                    return Ok(PidInode::base(self.home.clone(), target));
                }
                What::Fds | What::FdInfos => {
                    let fd = fds::parse(name).ok_or(Errno::ENOENT)?;
                    fds::file(&seen, fd)?;
                    if matches!(e.what, What::Fds) {
                        Node::Fd(fd)
                    } else {
                        Node::FdInfo(fd)
                    }
                }
                What::Namespaces => Node::Ns(ns::NsKind::named(name).ok_or(Errno::ENOENT)?),
                What::Net => {
                    return TreeInode::child(&self.home, self.ino, net::tree(), name)
                        .ok_or(Errno::ENOENT);
                }
                _ => return Err(Errno::ENOTDIR),
            },
            _ => return Err(Errno::ENOTDIR),
        };
        Ok(self.child(name, node))
    }

    fn link_text(&self, t: &Task) -> Result<Vec<u8>> {
        if let Node::Ns(kind) = self.node {
            self.seen()?.may_inspect(t)?;
            return Ok(kind.text().into_bytes());
        }
        crate::fs::path::absolute(t, &self.object(t)?)
    }

    fn follow(&self, t: &Task) -> Option<Result<Path>> {
        (self.kind() == Kind::Symlink).then(|| self.object(t))
    }

    fn open(self: Arc<Self>, t: &Task, flags: u32) -> Result<Arc<dyn FileOps>> {
        let seen = self.seen()?;
        match self.node {
            Node::Base => {}
            Node::Fd(_) | Node::Ns(_) => return Err(Errno::ELOOP),
            Node::FdInfo(_) => seen.may_inspect(t)?,
            Node::Entry(e) => match e.what {
                What::Link(_) => return Err(Errno::ELOOP),
                What::Memory => return memory::open(&seen, self.target.clone(), t),
                What::PageMap => return pages::open(&seen, self.target.clone(), t),
                What::Private(_) => {
                    seen.may_inspect(t)?;
                    seen.task()?;
                }
                What::Fds | What::FdInfos | What::Namespaces => {
                    seen.may_inspect(t)?;
                }
                _ => {}
            },
        }
        let _ = flags;
        if self.kind() == Kind::Dir {
            return Ok(Arc::new(PidDir(self)));
        }
        Ok(TextFile::open(self))
    }
}

impl Content for PidInode {
    fn text(&self, t: &Task) -> Result<Vec<u8>> {
        let seen = self.target.see()?;
        match self.node {
            Node::FdInfo(fd) => fds::info(&seen, fd),
            Node::Entry(e) => match e.what {
                What::Text(make)
                | What::Private(make)
                | What::Watched(make)
                | What::Written(make, _) => make(&seen, t),
                _ => Err(Errno::EINVAL),
            },
            _ => Err(Errno::EINVAL),
        }
    }

    fn store(&self, t: &Task, data: &[u8], _offset: u64) -> Result<()> {
        match self.node {
            Node::Entry(Entry {
                what: Written(_, take),
                ..
            }) => take(&self.target.see()?, t, data),
            _ => Err(Errno::EINVAL),
        }
    }

    fn ioctl(&self, t: &Task, request: u32, arg: usize) -> SysResult {
        match self.node {
            Node::Entry(e) if e.name == "maps" && request == pages::PROCMAP_QUERY => {
                pages::query(&self.target.see()?, t, UserAddr(arg))
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    fn watched(&self) -> bool {
        matches!(
            self.node,
            Node::Entry(Entry {
                what: Watched(_),
                ..
            })
        )
    }
}

/// An open directory.
struct PidDir(Arc<PidInode>);

impl PidDir {
    /// Emits entries that are numbers; positions are the numbers.
    fn numbers(
        &self,
        numbers: &[i32],
        kind: Kind,
        emit: &mut dyn FnMut(Dirent<'_>) -> bool,
        ino: impl Fn(i32, &[u8]) -> u64,
    ) {
        for &n in numbers {
            let name = n.to_string();
            let entry = Dirent {
                ino: ino(n, name.as_bytes()),
                next: n as u64 + 1,
                kind: kind.dirent(),
                name: name.as_bytes(),
            };
            if !emit(entry) {
                break;
            }
        }
    }

    /// Emits entries with names; positions count them.
    fn names<'a>(
        &self,
        names: impl Iterator<Item = (&'a str, Kind)>,
        from: u64,
        emit: &mut dyn FnMut(Dirent<'_>) -> bool,
    ) {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        for (i, (name, kind)) in names.enumerate().skip(from) {
            let entry = Dirent {
                ino: child_ino(self.0.ino, name.as_bytes()),
                next: i as u64 + 1,
                kind: kind.dirent(),
                name: name.as_bytes(),
            };
            if !emit(entry) {
                break;
            }
        }
    }
}

impl FileOps for PidDir {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn pollable(&self) -> bool {
        false
    }
    fn size(&self) -> Result<u64> {
        Err(Errno::EINVAL)
    }
    fn read(
        &self,
        _t: &Task,
        _f: &crate::fs::File,
        _dst: &mut crate::uio::IoDst<'_>,
        _offset: Option<u64>,
    ) -> Result<usize> {
        Err(Errno::EISDIR)
    }
    fn read_dir(
        &self,
        _t: &Task,
        position: u64,
        emit: &mut dyn FnMut(Dirent<'_>) -> bool,
    ) -> Result<()> {
        let seen = self.0.seen()?;
        let from = i32::try_from(position).unwrap_or(i32::MAX);
        let in_dir = |_: i32, name: &[u8]| child_ino(self.0.ino, name);
        let what = match self.0.node {
            Node::Base => {
                let entries = ENTRIES.iter().filter(|e| e.belongs(&self.0.target));
                self.names(entries.map(|e| (e.name, e.kind())), position, emit);
                return Ok(());
            }
            Node::Entry(e) => e.what,
            _ => return Err(Errno::ENOTDIR),
        };
        match what {
            What::Tasks => {
                let mut tids: Vec<i32> = seen.process.tasks.lock().keys().copied().collect();
                if tids.is_empty() {
                    tids.push(seen.process.pid);
                }
                tids.retain(|&t| t >= from);
                self.numbers(&tids, Kind::Dir, emit, |tid, _| {
                    self.0.target.thread(tid).map_or(1, |t| base_ino(&t))
                });
            }
            What::Fds => {
                self.numbers(&fds::list(&seen, from), Kind::Symlink, emit, in_dir);
            }
            What::FdInfos => {
                self.numbers(&fds::list(&seen, from), Kind::Regular, emit, in_dir);
            }
            What::Namespaces => {
                let names = ns::NsKind::ALL.iter().map(|k| (k.name(), Kind::Symlink));
                self.names(names, position, emit);
            }
            What::Net => {
                net::tree().list(self.0.ino, position, emit);
            }
            _ => return Err(Errno::ENOTDIR),
        }
        Ok(())
    }
}
