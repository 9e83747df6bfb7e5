//! Opening files: `open(2)`, `creat(2)`, `openat(2)`, `openat2(2)`.

use super::access;
use super::dentry::{self, Dentry};
use super::file::{O_ACCMODE, O_PATH, O_RDWR, O_WRONLY};
use super::lease;
use super::mount;
use super::notify;
use super::perm::{self, READ, WRITE};
use super::walk::{self, Last, Look, Stepped, Walk};
use super::{FdFlags, File, FileOps, Kind, Path};
use crate::process::Creds;
use crate::process::creds::CAP_FSETID;
use crate::process::task::RLIMIT_NOFILE;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use bastide_abi::fs::OpenHow;
use bastide_abi::raw::general as raw;
use bastide_abi::raw::general::{
    O_APPEND, O_CLOEXEC, O_CREAT, O_DIRECT, O_DIRECTORY, O_DSYNC, O_EXCL, O_LARGEFILE, O_NOATIME,
    O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_SYNC, O_TMPFILE, O_TRUNC,
};
use core::any::Any;
use core::sync::atomic::Ordering;

/// `O_TMPFILE` without the `O_DIRECTORY` that belongs to it.
const TMPFILE_BIT: u32 = O_TMPFILE & !O_DIRECTORY;
/// `FASYNC`.
const O_ASYNC: u32 = 0o20000;
const VALID: u32 = O_ACCMODE
    | O_CREAT
    | O_EXCL
    | O_NOCTTY
    | O_TRUNC
    | O_APPEND
    | O_NONBLOCK
    | O_SYNC
    | O_DSYNC
    | O_ASYNC
    | O_DIRECT
    | O_LARGEFILE
    | O_DIRECTORY
    | O_NOFOLLOW
    | O_NOATIME
    | O_CLOEXEC
    | O_PATH
    | O_TMPFILE;
const PATH_FLAGS: u32 = O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC;
/// Flags that are about opening, not about the open file.
const TRANSIENT: u32 = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC;

/// How to open, checked.
#[derive(Clone, Copy, Debug)]
pub struct How {
    pub flags: u32,
    pub mode: u32,
    look: Look,
}

impl How {
    /// From `open(2)`'s arguments, of which unknown ones are ignored.
    pub fn new(flags: u32, mode: u32) -> Result<How> {
        let mut flags = flags & VALID;
        if flags & O_PATH != 0 {
            flags &= PATH_FLAGS;
        }
        let creates = flags & (O_CREAT | TMPFILE_BIT) != 0;
        Self::check(flags, if creates { mode & 0o7777 } else { 0 }, 0)
    }

    /// From `openat2(2)`'s, of which unknown ones are refused.
    fn from_user(h: &OpenHow) -> Result<How> {
        let flags = u32::try_from(h.flags).map_err(|_| Errno::EINVAL)?;
        if flags & !VALID != 0 {
            return Err(Errno::EINVAL);
        }
        let creates = flags & (O_CREAT | TMPFILE_BIT) != 0;
        if h.mode & !0o7777 != 0 || h.mode != 0 && !creates {
            return Err(Errno::EINVAL);
        }
        Self::check(flags, h.mode as u32, h.resolve)
    }

    fn check(flags: u32, mode: u32, resolve: u64) -> Result<How> {
        let resolve = Resolve::from_bits(resolve).ok_or(Errno::EINVAL)?;
        if resolve.contains(Resolve::BENEATH | Resolve::IN_ROOT)
            || flags & (O_DIRECTORY | O_CREAT) == O_DIRECTORY | O_CREAT
        {
            return Err(Errno::EINVAL);
        }
        if flags & TMPFILE_BIT != 0 && (flags & O_DIRECTORY == 0 || access_mode(flags) & WRITE == 0)
        {
            return Err(Errno::EINVAL);
        }
        if flags & O_PATH != 0 && flags & !PATH_FLAGS != 0 {
            return Err(Errno::EINVAL);
        }
        if resolve.contains(Resolve::CACHED) && flags & (O_TRUNC | O_CREAT | TMPFILE_BIT) != 0 {
            return Err(Errno::EAGAIN);
        }
        let mut look = Look::empty();
        look.set(Look::DIRECTORY, flags & O_DIRECTORY != 0);
        let nofollow = flags & O_NOFOLLOW != 0 || flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL;
        look.set(Look::FOLLOW, !nofollow);
        look.set(Look::NO_XDEV, resolve.contains(Resolve::NO_XDEV));
        look.set(
            Look::NO_MAGICLINKS,
            resolve.contains(Resolve::NO_MAGICLINKS),
        );
        look.set(Look::NO_SYMLINKS, resolve.contains(Resolve::NO_SYMLINKS));
        look.set(Look::BENEATH, resolve.contains(Resolve::BENEATH));
        look.set(Look::IN_ROOT, resolve.contains(Resolve::IN_ROOT));
        Ok(How { flags, mode, look })
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

bitflags::bitflags! {
    /// `RESOLVE_*`.
    struct Resolve: u64 {
        const NO_XDEV = raw::RESOLVE_NO_XDEV as u64;
        const NO_MAGICLINKS = raw::RESOLVE_NO_MAGICLINKS as u64;
        const NO_SYMLINKS = raw::RESOLVE_NO_SYMLINKS as u64;
        const BENEATH = raw::RESOLVE_BENEATH as u64;
        const IN_ROOT = raw::RESOLVE_IN_ROOT as u64;
        const CACHED = raw::RESOLVE_CACHED as u64;
    }
}

/// The permissions that opening needs. Access mode 3 needs both and gives neither.
fn access_mode(flags: u32) -> u32 {
    let want = match flags & O_ACCMODE {
        0 => READ,
        O_WRONLY => WRITE,
        _ => READ | WRITE,
    };
    if flags & O_TRUNC != 0 {
        want | WRITE
    } else {
        want
    }
}

/// An `O_PATH` file: a place, nothing to read or write.
struct PathOnly;

impl FileOps for PathOnly {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn pollable(&self) -> bool {
        false
    }
}

/// Mode, owner and group of a new file in `dir`, `inode(7)`: a set-group-ID directory hands its
/// group down.
pub fn new_owner(creds: &Creds, dir: &Path, mode: u32) -> Result<(u32, u32, u32)> {
    let (dir_mode, _, dir_gid) = dir.inode().perms()?;
    if dir_mode & 0o2000 == 0 {
        return Ok((mode, creds.fsuid, creds.fsgid));
    }
    let mode = if Kind::of(mode) == Some(Kind::Dir) {
        mode | 0o2000
    } else if mode & 0o2010 == 0o2010 && !creds.in_group(dir_gid) && !creds.capable(CAP_FSETID) {
        mode & !0o2000
    } else {
        mode
    };
    Ok((mode, creds.fsuid, dir_gid))
}

/// Opens a path as the task sees it.
pub fn open_path(t: &Task, dirfd: i32, path: &[u8], how: &How) -> Result<Arc<File>> {
    if how.has(O_PATH) {
        let p = walk::lookup(t, dirfd, path, how.look)?;
        let ops: Arc<dyn FileOps> = Arc::new(PathOnly);
        return Ok(File::new(ops, Some(p), how.flags & !O_CLOEXEC));
    }
    if how.has(TMPFILE_BIT) {
        return open_unnamed(t, dirfd, path, how);
    }
    let mut w = Walk::new(t, dirfd, path, how.look)?;
    let mut created = false;
    while let Some(last) = w.to_last()? {
        let step = if last.is_normal() {
            last_step(t, &mut w, &last, how, &mut created)?
        } else {
            w.step(&last.name, true)?
        };
        if step == Stepped::Moved {
            break;
        }
    }
    let f = open_found(t, &w.creds, w.at, how, w.look, created)?;
    f.created.store(created, Ordering::Relaxed);
    Ok(f)
}

fn last_step(
    t: &Task,
    w: &mut Walk<'_>,
    last: &Last<'_>,
    how: &How,
    created: &mut bool,
) -> Result<Stepped> {
    if last.slash {
        if how.has(O_CREAT) {
            return Err(Errno::EISDIR);
        }
        w.look |= Look::FOLLOW | Look::DIRECTORY;
    }
    if !how.has(O_CREAT) {
        return w.last_step(&last.name);
    }
    let d = match w.at.dentry.child(&last.name)? {
        Some(d) => d,
        None => create(t, w, &last.name, how.mode, created)?,
    };
    if how.has(O_EXCL) && !*created {
        return Err(Errno::EEXIST);
    }
    if !*created {
        perm::may_create_over(&w.creds, w.at.inode(), d.inode())?;
    }
    w.enter_last(d)
}

fn create(
    t: &Task,
    w: &Walk<'_>,
    name: &[u8],
    mode: u32,
    created: &mut bool,
) -> Result<Arc<Dentry>> {
    let names = w.at.dentry.lock_names();
    if let Some(d) = names.child(name)? {
        return Ok(d);
    }
    if names.is_dead() {
        return Err(Errno::ENOENT);
    }
    w.at.mount.want_write()?;
    perm::may_create(&w.creds, &w.at)?;
    let mode = mode & !*t.fs().umask.lock();
    let (mode, uid, gid) = new_owner(&w.creds, &w.at, mode | Kind::Regular.bits())?;
    let inode = w.at.inode().create(name, mode, 0, uid, gid)?;
    *created = true;
    let d = names.add(name, inode);
    drop(names);
    notify::created(&w.at, &d);
    Ok(d)
}

fn open_unnamed(t: &Task, dirfd: i32, path: &[u8], how: &How) -> Result<Arc<File>> {
    let dir = walk::lookup(t, dirfd, path, how.look)?;
    dir.mount.want_write()?;
    let creds = t.creds();
    perm::may_path(&creds, &dir, perm::WRITE | perm::EXEC)?;
    let mode = how.mode & !*t.fs().umask.lock();
    let (mode, uid, gid) = new_owner(&creds, &dir, mode | Kind::Regular.bits())?;
    let inode = dir.inode().tmpfile(mode, uid, gid)?;
    let text = alloc::format!("#{}", inode.stat()?.ino);
    let dentry = Dentry::unnamed(Some(&dir.dentry), text.as_bytes(), inode);
    if how.has(O_EXCL) {
        dentry.set(dentry::NO_LINK, true);
    }
    let p = Path {
        mount: dir.mount,
        dentry,
    };
    open_inode(t, p, how.flags)
}

/// What `open(2)` checks once the file is known.
fn open_found(
    t: &Task,
    creds: &Creds,
    p: Path,
    how: &How,
    look: Look,
    created: bool,
) -> Result<Arc<File>> {
    if how.has(O_CREAT) && p.is_dir() {
        return Err(Errno::EISDIR);
    }
    if look.contains(Look::DIRECTORY) && !p.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    let truncates = how.has(O_TRUNC) && !created && p.kind() == Kind::Regular;
    if truncates {
        p.mount.want_write()?;
    }
    let want = if created { 0 } else { access_mode(how.flags) };
    match p.kind() {
        Kind::Symlink => return Err(Errno::ELOOP),
        Kind::Dir if want & WRITE != 0 => return Err(Errno::EISDIR),
        Kind::Char | Kind::Block if p.mount.flags() & mount::NODEV != 0 => {
            return Err(Errno::EACCES);
        }
        _ => {}
    }
    perm::may_path(creds, &p, want)?;
    if how.has(O_NOATIME) && !perm::is_owner(creds, p.inode().perms()?.1) {
        return Err(Errno::EPERM);
    }
    open_inode(
        t,
        p,
        if truncates {
            how.flags
        } else {
            how.flags & !O_TRUNC
        },
    )
}

/// Opens a file without asking for permission.
pub fn open_inode(t: &Task, p: Path, flags: u32) -> Result<Arc<File>> {
    let regular = p.kind() == Kind::Regular;
    let mut hold = None;
    if matches!(flags & O_ACCMODE, O_WRONLY | O_RDWR) {
        if !matches!(
            p.kind(),
            Kind::Char | Kind::Block | Kind::Fifo | Kind::Socket
        ) {
            p.mount.want_write()?;
        }
        if regular {
            hold = Some(access::writing(p.inode().stat()?.id())?);
        }
    }
    // After the hold: the lease's holder may not settle for a lease to read.
    if regular && lease::any() {
        let writes = flags & (O_ACCMODE | O_TRUNC) != 0;
        lease::break_for(t, p.inode().stat()?.id(), writes, flags & O_NONBLOCK != 0)?;
    }
    if flags & O_TRUNC != 0 {
        let _writes = match hold {
            Some(_) => None,
            None => Some(access::writing(p.inode().stat()?.id())?),
        };
        super::attr::truncate_inode(&t.creds(), p.inode(), 0)?;
        notify::modified(&p);
    }
    let ops = p
        .inode()
        .clone()
        .open(t, flags & !TRANSIENT | flags & O_NOCTTY)?;
    let kept = flags & !TRANSIENT | O_LARGEFILE;
    let file = File::holding(ops, Some(p), kept, hold);
    file.announce();
    Ok(file)
}

/// Opens a file for execution: until it is dropped nobody may write to it. ETXTBSY.
pub fn open_denying_writes(t: &Task, p: Path) -> Result<Arc<File>> {
    let hold = access::executing(p.inode().stat()?.id())?;
    let ops = p.inode().clone().open(t, 0)?;
    let file = File::holding(ops, Some(p), O_LARGEFILE, Some(hold));
    file.announce();
    Ok(file)
}

fn open_fd(t: &Arc<Task>, dirfd: i32, path: UserAddr, how: &How) -> SysResult {
    let path = user::read_path(t, path)?;
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    t.files().check_room(t.rlimit(RLIMIT_NOFILE) as usize)?;
    let file = open_path(t, dirfd, &path, how)?;
    let mut flags = FdFlags::empty();
    flags.set(FdFlags::CLOEXEC, how.has(O_CLOEXEC));
    t.install(file, flags).map(|fd| fd as usize)
}

/// `open(2)`.
pub fn sys_open(t: &Arc<Task>, path: UserAddr, flags: u32, mode: u32) -> SysResult {
    open_fd(t, raw::AT_FDCWD, path, &How::new(flags, mode)?)
}

/// `creat(2)`.
pub fn sys_creat(t: &Arc<Task>, path: UserAddr, mode: u32) -> SysResult {
    sys_open(t, path, O_CREAT | O_WRONLY | O_TRUNC, mode)
}

/// `openat(2)`.
pub fn sys_openat(t: &Arc<Task>, dirfd: i32, path: UserAddr, flags: u32, mode: u32) -> SysResult {
    open_fd(t, dirfd, path, &How::new(flags, mode)?)
}

/// `openat2(2)`: EINVAL for unknown flags and small structures, E2BIG for larger ones whose rest
/// is not zero.
pub fn sys_openat2(
    t: &Arc<Task>,
    dirfd: i32,
    path: UserAddr,
    how: UserAddr,
    size: usize,
) -> SysResult {
    const KNOWN: usize = size_of::<OpenHow>();
    if size < KNOWN {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let h: OpenHow = user::read(t, how)?;
    let rest: alloc::vec::Vec<u8> = user::read_array(t, how.offset(KNOWN)?, size - KNOWN)?;
    if rest.iter().any(|&b| b != 0) {
        return Err(Errno::E2BIG);
    }
    open_fd(t, dirfd, path, &How::from_user(&h)?)
}
