//! Watching files, `inotify(7)`.
//!
//! All watches stand in one table by inode, which [`tell`] looks into. File operations ask
//! [`wanted`] first, which costs one load while nobody watches.

use crate::fs::dentry::Dentry;
use crate::fs::file::O_NONBLOCK;
use crate::fs::perm;
use crate::fs::walk::{self, Look};
use crate::fs::{FdFlags, File, FileOps, Inode};
use crate::sysctl::{INOTIFY_MAX_EVENTS, INOTIFY_MAX_INSTANCES, INOTIFY_MAX_WATCHES};
use crate::uio::IoDst;
use crate::user::{self, UserAddr};
use crate::wait::{Events, POLLIN, POLLRDNORM, PollTable, WaitQueue, wait_until};
use crate::{Errno, Result, SysResult, Task};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use core::any::Any;
use core::fmt::Write;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

pub const IN_ACCESS: u32 = 0x1;
pub const IN_MODIFY: u32 = 0x2;
pub const IN_ATTRIB: u32 = 0x4;
pub const IN_CLOSE_WRITE: u32 = 0x8;
pub const IN_CLOSE_NOWRITE: u32 = 0x10;
pub const IN_OPEN: u32 = 0x20;
pub const IN_MOVED_FROM: u32 = 0x40;
pub const IN_MOVED_TO: u32 = 0x80;
pub const IN_CREATE: u32 = 0x100;
pub const IN_DELETE: u32 = 0x200;
pub const IN_DELETE_SELF: u32 = 0x400;
pub const IN_MOVE_SELF: u32 = 0x800;
const IN_UNMOUNT: u32 = 0x2000;
const IN_Q_OVERFLOW: u32 = 0x4000;
const IN_IGNORED: u32 = 0x8000;
const IN_ONLYDIR: u32 = 0x0100_0000;
const IN_DONT_FOLLOW: u32 = 0x0200_0000;
const IN_EXCL_UNLINK: u32 = 0x0400_0000;
const IN_MASK_CREATE: u32 = 0x1000_0000;
const IN_MASK_ADD: u32 = 0x2000_0000;
const IN_ISDIR: u32 = 0x4000_0000;
const IN_ONESHOT: u32 = 0x8000_0000;
const IN_ALL_EVENTS: u32 = 0xfff;
const ALL_BITS: u32 = IN_ALL_EVENTS
    | IN_UNMOUNT
    | IN_Q_OVERFLOW
    | IN_IGNORED
    | IN_ONLYDIR
    | IN_DONT_FOLLOW
    | IN_EXCL_UNLINK
    | IN_MASK_CREATE
    | IN_MASK_ADD
    | IN_ISDIR
    | IN_ONESHOT;
const IN_CLOEXEC: u32 = 0o2000000;
const FIONREAD: u32 = 0x541b;
/// `struct inotify_event` without the name.
const HEADER: usize = 16;

/// All watches by inode.
static WATCHES: Mutex<BTreeMap<usize, Vec<Arc<Watch>>>> = Mutex::new(BTreeMap::new());
/// Every event that some watch wants.
static WANTED: AtomicU32 = AtomicU32::new(0);
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// One watched file. The dentry keeps the inode, and with it its place in the table.
struct Watch {
    wd: i32,
    mask: AtomicU32,
    dentry: Arc<Dentry>,
    owner: Arc<Shared>,
}

#[derive(PartialEq, Eq)]
struct Event {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Option<Box<[u8]>>,
}

impl Event {
    /// Size of the name with its NUL and padding.
    fn name_len(&self) -> usize {
        match &self.name {
            Some(n) => (n.len() + 1).next_multiple_of(HEADER),
            None => 0,
        }
    }

    fn size(&self) -> usize {
        HEADER + self.name_len()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size());
        for v in [
            self.wd as u32,
            self.mask,
            self.cookie,
            self.name_len() as u32,
        ] {
            out.extend_from_slice(&v.to_ne_bytes());
        }
        out.extend_from_slice(self.name.as_deref().unwrap_or_default());
        out.resize(self.size(), 0);
        out
    }
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    watches: BTreeMap<i32, Arc<Watch>>,
    last_wd: i32,
}

/// What watches need of their instance.
#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    readers: WaitQueue,
}

impl Shared {
    /// Queues an event, unless it repeats the last one.
    fn push(&self, e: Event) {
        let mut q = self.queue.lock();
        let max = INOTIFY_MAX_EVENTS.size();
        let e = if q.events.len() < max {
            e
        } else {
            Event {
                wd: -1,
                mask: IN_Q_OVERFLOW,
                cookie: 0,
                name: None,
            }
        };
        let repeats = q
            .events
            .back()
            .is_some_and(|last| (last.wd, last.mask, &last.name) == (e.wd, e.mask, &e.name));
        if repeats || q.events.try_reserve(1).is_err() {
            return;
        }
        q.events.push_back(e);
        drop(q);
        self.readers.wake_all(POLLIN | POLLRDNORM);
    }
}

fn key(inode: &Arc<dyn Inode>) -> usize {
    Arc::as_ptr(inode).cast::<()>().addr()
}

type Table = BTreeMap<usize, Vec<Arc<Watch>>>;

/// Takes a watch out of the table. What it returns is to be dropped without the table's lock.
fn unlist(table: &mut Table, w: &Arc<Watch>) -> Option<Arc<Watch>> {
    let k = key(w.dentry.inode());
    let list = table.get_mut(&k)?;
    let i = list.iter().position(|o| Arc::ptr_eq(o, w))?;
    let gone = list.remove(i);
    if list.is_empty() {
        table.remove(&k);
    }
    COUNT.fetch_sub(1, Ordering::Relaxed);
    want(table);
    Some(gone)
}

fn want(table: &Table) {
    let all = table
        .values()
        .flatten()
        .fold(0, |m, w| m | w.mask.load(Ordering::Relaxed));
    WANTED.store(all & IN_ALL_EVENTS, Ordering::Relaxed);
}

/// Some watch wants one of these events.
pub fn wanted(mask: u32) -> bool {
    WANTED.load(Ordering::Relaxed) & mask != 0
}

/// Tells the watches of `inode` of an event: of the file itself, or, with `name`, of what the
/// directory has (or had) under that name. `gone`: the name no longer exists.
pub fn tell(
    inode: &Arc<dyn Inode>,
    mask: u32,
    is_dir: bool,
    cookie: u32,
    name: Option<&[u8]>,
    gone: bool,
) {
    let mut spent = Vec::new();
    let mut table = WATCHES.lock();
    let Some(list) = table.get(&key(inode)) else {
        return;
    };
    for w in list.iter() {
        let m = w.mask.load(Ordering::Relaxed);
        if m & mask == 0 || gone && m & IN_EXCL_UNLINK != 0 {
            continue;
        }
        let of_self = mask & (IN_DELETE_SELF | IN_MOVE_SELF) != 0;
        w.owner.push(Event {
            wd: w.wd,
            mask: if is_dir && !of_self {
                mask | IN_ISDIR
            } else {
                mask
            },
            cookie,
            name: name.map(Box::from),
        });
        if m & IN_ONESHOT != 0 {
            spent.push(w.clone());
        }
    }
    spent.retain(|w| unlist(&mut table, w).is_some());
    drop(table);
    for w in &spent {
        ignored(w);
    }
}

/// The watch is out of the table: takes it out of its instance, which is told.
fn ignored(w: &Arc<Watch>) {
    let gone = w.owner.queue.lock().watches.remove(&w.wd);
    if gone.is_some() {
        w.owner.push(Event {
            wd: w.wd,
            mask: IN_IGNORED,
            cookie: 0,
            name: None,
        });
    }
}

/// The file is gone for good; its watches go with it.
pub fn deleted(inode: &Arc<dyn Inode>) {
    tell(inode, IN_DELETE_SELF, false, 0, None, false);
    end(|w| key(w.dentry.inode()) == key(inode), 0);
}

/// The file system with this root was unmounted.
pub fn unmounted(root: &Arc<Dentry>) {
    if COUNT.load(Ordering::Relaxed) > 0 {
        end(|w| w.dentry.is_under(root), IN_UNMOUNT);
    }
}

/// Removes watches, after an event that needs no asking for.
fn end(which: impl Fn(&Watch) -> bool, event: u32) {
    let mut table = WATCHES.lock();
    let mut gone: Vec<Arc<Watch>> = table
        .values()
        .flatten()
        .filter(|w| which(w))
        .cloned()
        .collect();
    gone.retain(|w| unlist(&mut table, w).is_some());
    drop(table);
    for w in &gone {
        if event != 0 {
            w.owner.push(Event {
                wd: w.wd,
                mask: event,
                cookie: 0,
                name: None,
            });
        }
        ignored(w);
    }
}

/// An instance: the object behind the descriptor. With the user whom it counts for.
pub struct Inotify(Arc<Shared>, u32);

impl Drop for Inotify {
    fn drop(&mut self) {
        {
            let mut all = INSTANCES.lock();
            if let Some(count) = all.get_mut(&self.1) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    all.remove(&self.1);
                }
            }
        }
        let watches = core::mem::take(&mut self.0.queue.lock().watches);
        let mut table = WATCHES.lock();
        let gone: Vec<_> = watches.values().map(|w| unlist(&mut table, w)).collect();
        drop(table);
        drop((gone, watches));
    }
}

/// How many instances each user has.
static INSTANCES: Mutex<BTreeMap<u32, usize>> = Mutex::new(BTreeMap::new());

impl Inotify {
    /// A new instance of a user's; EMFILE if they have too many.
    fn new(uid: u32) -> Result<Inotify> {
        let mut all = INSTANCES.lock();
        let count = all.entry(uid).or_insert(0);
        if *count >= INOTIFY_MAX_INSTANCES.size() {
            return Err(Errno::EMFILE);
        }
        *count += 1;
        Ok(Inotify(Arc::default(), uid))
    }

    /// Adds or changes a watch; returns its descriptor. EEXIST, ENOSPC.
    fn watch(&self, dentry: Arc<Dentry>, mask: u32) -> Result<i32> {
        let mut table = WATCHES.lock();
        let list = table.entry(key(dentry.inode())).or_default();
        let known = list.iter().find(|w| Arc::ptr_eq(&w.owner, &self.0));
        let kept = mask & (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK);
        let wd = match known {
            Some(_) if mask & IN_MASK_CREATE != 0 => return Err(Errno::EEXIST),
            Some(w) => {
                let old = if mask & IN_MASK_ADD != 0 {
                    w.mask.load(Ordering::Relaxed)
                } else {
                    0
                };
                w.mask.store(old | kept, Ordering::Relaxed);
                w.wd
            }
            None => {
                if COUNT.load(Ordering::Relaxed) >= INOTIFY_MAX_WATCHES.size() {
                    if list.is_empty() {
                        table.remove(&key(dentry.inode()));
                    }
                    return Err(Errno::ENOSPC);
                }
                let mut q = self.0.queue.lock();
                q.last_wd = q.last_wd.checked_add(1).unwrap_or(1);
                while q.watches.contains_key(&q.last_wd) {
                    q.last_wd = q.last_wd.checked_add(1).unwrap_or(1);
                }
                let w = Arc::new(Watch {
                    wd: q.last_wd,
                    mask: AtomicU32::new(kept),
                    dentry,
                    owner: self.0.clone(),
                });
                q.watches.insert(w.wd, w.clone());
                drop(q);
                COUNT.fetch_add(1, Ordering::Relaxed);
                let wd = w.wd;
                list.push(w);
                wd
            }
        };
        want(&table);
        Ok(wd)
    }

    /// As many whole events as fit; `Some(Err(EINVAL))` if not even the first does.
    fn take(&self, room: usize) -> Option<Result<Vec<u8>>> {
        let mut q = self.0.queue.lock();
        if q.events.front()?.size() > room {
            return Some(Err(Errno::EINVAL));
        }
        let mut out = Vec::new();
        while let Some(e) = q.events.front()
            && out.len() + e.size() <= room
        {
            out.extend(e.bytes());
            q.events.pop_front();
        }
        Some(Ok(out))
    }
}

impl FileOps for Inotify {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, t: &Task, f: &File, dst: &mut IoDst<'_>, _at: Option<u64>) -> Result<usize> {
        let room = dst.left();
        let bytes = match self.take(room) {
            Some(r) => r,
            None if f.nonblocking() => Err(Errno::EAGAIN),
            None => wait_until(t, &[&self.0.readers], None, || self.take(room))?,
        }?;
        dst.put(&bytes)
    }

    fn poll(&self, _f: &File, table: Option<&mut PollTable>) -> Events {
        if let Some(table) = table {
            table.listen(&self.0.readers);
        }
        if self.0.queue.lock().events.is_empty() {
            0
        } else {
            POLLIN | POLLRDNORM
        }
    }

    fn ioctl(&self, t: &Task, _f: &File, request: u32, arg: usize) -> SysResult {
        if request != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let n: usize = self.0.queue.lock().events.iter().map(Event::size).sum();
        user::write(t, UserAddr(arg), &i32::try_from(n).unwrap_or(i32::MAX))?;
        Ok(0)
    }

    fn describe(&self) -> String {
        String::from("anon_inode:inotify")
    }

    fn fdinfo(&self, out: &mut String) {
        let watches: Vec<_> = self.0.queue.lock().watches.values().cloned().collect();
        for w in watches {
            let s = w.dentry.inode().stat().unwrap_or_default();
            let _ = writeln!(
                out,
                "inotify wd:{:x} ino:{:x} sdev:{:x} mask:{:x} ignored_mask:0 ",
                w.wd,
                s.ino,
                s.dev,
                w.mask.load(Ordering::Relaxed)
            );
        }
    }
}

/// `inotify_init1(2)`. EINVAL, EMFILE.
pub fn sys_inotify_init1(t: &Arc<Task>, flags: u32) -> SysResult {
    if flags & !(IN_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut fd_flags = FdFlags::empty();
    fd_flags.set(FdFlags::CLOEXEC, flags & IN_CLOEXEC != 0);
    let ops = Inotify::new(t.creds().uid)?;
    let file = File::new(Arc::new(ops), None, flags & O_NONBLOCK);
    Ok(t.install(file, fd_flags)? as usize)
}

/// `inotify_init(2)`.
pub fn sys_inotify_init(t: &Arc<Task>) -> SysResult {
    sys_inotify_init1(t, 0)
}

/// `inotify_add_watch(2)`. EINVAL, EBADF, EACCES, EEXIST, ENOSPC, ENOTDIR and what a path says.
pub fn sys_inotify_add_watch(t: &Arc<Task>, fd: i32, path: UserAddr, mask: u32) -> SysResult {
    if mask & ALL_BITS == 0 {
        return Err(Errno::EINVAL);
    }
    let f = t.file(fd)?;
    if mask & IN_MASK_ADD != 0 && mask & IN_MASK_CREATE != 0 {
        return Err(Errno::EINVAL);
    }
    let instance = f.downcast::<Inotify>().ok_or(Errno::EINVAL)?;
    let path = user::read_path(t, path)?;
    let mut look = Look::empty();
    look.set(Look::FOLLOW, mask & IN_DONT_FOLLOW == 0);
    look.set(Look::DIRECTORY, mask & IN_ONLYDIR != 0);
    let p = walk::lookup(t, crate::abi::raw::general::AT_FDCWD, &path, look)?;
    perm::may(&t.creds(), p.inode(), perm::READ)?;
    Ok(instance.watch(p.dentry, mask)? as usize)
}

/// `inotify_rm_watch(2)`. EBADF, EINVAL.
pub fn sys_inotify_rm_watch(t: &Arc<Task>, fd: i32, wd: i32) -> SysResult {
    let f = t.file(fd)?;
    let instance = f.downcast::<Inotify>().ok_or(Errno::EINVAL)?;
    let w = instance.0.queue.lock().watches.get(&wd).cloned();
    let w = w.ok_or(Errno::EINVAL)?;
    let gone = unlist(&mut WATCHES.lock(), &w);
    drop(gone);
    ignored(&w);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::mount::{Mount, Super};
    use crate::fs::names::{sys_mkdir, sys_rmdir, sys_unlink};
    use crate::fs::open::sys_open;
    use crate::fs::rename::sys_rename;
    use crate::fs::rw::sys_write;
    use crate::fs::tmpfs::{Options, Tmpfs};
    use crate::fs::{FdTable, FsInfo, Path};
    use crate::process::Creds;
    use crate::testing;

    fn setup() -> (Arc<Task>, i32) {
        testing::boot();
        let fs: Arc<dyn crate::fs::FileSystem> = Tmpfs::new(Options::default());
        let sup = Super::new(fs);
        let root = sup.root.clone();
        let mount = Mount::new(sup, root.clone(), b"none", 0);
        let at = Path {
            mount,
            dentry: root,
        };
        let creds = Creds::new(0, 0, Vec::new());
        let t = testing::task_with(creds, FdTable::new(), FsInfo::at(at, 0o022));
        let fd = sys_inotify_init1(&t, O_NONBLOCK).unwrap() as i32;
        (t, fd)
    }

    fn path(s: &'static str) -> UserAddr {
        assert!(s.ends_with('\0'));
        testing::addr(s)
    }

    /// (wd, mask, name) of everything queued.
    fn events(t: &Task, fd: i32) -> Vec<(i32, u32, String)> {
        let mut v = Vec::new();
        let f = t.file(fd).unwrap();
        if f.read(t, &mut IoDst::kernel(&mut v, 4096)).is_err() {
            return Vec::new();
        }
        let mut out = Vec::new();
        while !v.is_empty() {
            let word = |i: usize| u32::from_ne_bytes(v[i * 4..i * 4 + 4].try_into().unwrap());
            let len = word(3) as usize;
            let name = String::from_utf8_lossy(&v[16..16 + len]);
            let name = name.trim_end_matches('\0').into();
            out.push((word(0) as i32, word(1), name));
            v.drain(..16 + len);
        }
        out
    }

    #[test]
    fn a_directory_sees_its_files() {
        let (t, fd) = setup();
        assert_eq!(sys_mkdir(&t, path("/d\0"), 0o755), Ok(0));
        let wd = sys_inotify_add_watch(&t, fd, path("/d\0"), IN_ALL_EVENTS).unwrap() as i32;
        let f = sys_open(&t, path("/d/a\0"), 0o102, 0o600).unwrap() as i32;
        let data = b"xyz";
        assert_eq!(sys_write(&t, f, testing::addr(data), 3), Ok(3));
        assert_eq!(sys_write(&t, f, testing::addr(data), 3), Ok(3));
        t.files().remove(f).unwrap();
        assert_eq!(sys_rename(&t, path("/d/a\0"), path("/d/b\0")), Ok(0));
        assert_eq!(sys_unlink(&t, path("/d/b\0")), Ok(0));
        assert_eq!(sys_rmdir(&t, path("/d\0")), Ok(0));
        let name = |m: u32, s: &str| (wd, m, String::from(s));
        assert_eq!(
            events(&t, fd),
            [
                name(IN_CREATE, "a"),
                name(IN_OPEN, "a"),
                name(IN_MODIFY, "a"),
                name(IN_CLOSE_WRITE, "a"),
                name(IN_MOVED_FROM, "a"),
                name(IN_MOVED_TO, "b"),
                name(IN_DELETE, "b"),
                name(IN_DELETE_SELF, ""),
                name(IN_IGNORED, ""),
            ]
        );
        assert_eq!(sys_inotify_rm_watch(&t, fd, wd), Err(Errno::EINVAL));
    }

    #[test]
    fn an_open_file_is_deleted_when_it_is_closed() {
        let (t, fd) = setup();
        let f = sys_open(&t, path("/f\0"), 0o102, 0o600).unwrap() as i32;
        let mask = IN_ATTRIB | IN_DELETE_SELF | IN_ONESHOT;
        let wd = sys_inotify_add_watch(&t, fd, path("/f\0"), mask).unwrap() as i32;
        let again = sys_inotify_add_watch(&t, fd, path("/f\0"), mask & !IN_ONESHOT);
        assert_eq!(again, Ok(wd as usize));
        assert_eq!(sys_unlink(&t, path("/f\0")), Ok(0));
        assert_eq!(events(&t, fd), [(wd, IN_ATTRIB, String::new())]);
        t.files().remove(f).unwrap();
        assert_eq!(
            events(&t, fd),
            [
                (wd, IN_DELETE_SELF, String::new()),
                (wd, IN_IGNORED, String::new())
            ]
        );
        assert_eq!(
            sys_inotify_add_watch(&t, fd, path("/f\0"), 0),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            sys_inotify_add_watch(&t, fd, path("/f\0"), IN_OPEN),
            Err(Errno::ENOENT)
        );
    }
}
