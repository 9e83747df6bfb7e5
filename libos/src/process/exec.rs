//! `execve(2)`: a new program in an old process.
//!
//! Everything that can fail is done first ([`Plan`]); then the other threads go, and the address
//! space is replaced. A process that alone uses its address space replaces it in place. One that
//! borrows it (after `vfork(2)`), or whose caller is not the leader, continues on a platform
//! thread with a fresh address space, and the old thread is given up.

use super::task::{RLIMIT_STACK, Work};
use super::{Creds, Life, Task, creds, life};
use crate::fs::{File, Kind};
use crate::loader::{self, Program, Strings};
use crate::mm::Mm;
use crate::signal::TaskSignals;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, kernel, pal, signal};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_pal::context::Entry;
use bastide_pal::{BootConfig, Context, Spawn};
use core::sync::atomic::Ordering;

const AT_FDCWD: i32 = -100;
const AT_EMPTY_PATH: u32 = 0x1000;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
/// Longest argument, `MAX_ARG_STRLEN`.
const ARG_LEN_MAX: usize = 128 << 10;
/// Most bytes of arguments and environment whatever the stack limit, `_STK_LIM / 4 * 3`.
const ARG_TOTAL_MAX: u64 = 6 << 20;
const ARG_TOTAL_MIN: u64 = 128 << 10;

/// A checked program, ready to be loaded.
pub struct Plan {
    program: Program,
    strings: Strings,
    name: [u8; 16],
    creds: Arc<Creds>,
    secure: bool,
}

/// `execve(2)`.
pub fn sys_execve(
    t: &Arc<Task>,
    ctx: &mut Context,
    path: UserAddr,
    argv: UserAddr,
    envp: UserAddr,
) -> SysResult {
    sys_execveat(t, ctx, AT_FDCWD, path, argv, envp, 0)
}

/// `execveat(2)`.
pub fn sys_execveat(
    t: &Arc<Task>,
    ctx: &mut Context,
    dirfd: i32,
    path: UserAddr,
    argv: UserAddr,
    envp: UserAddr,
    flags: i32,
) -> SysResult {
    if flags as u32 & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = user::read_path(t, path)?;
    if path.is_empty() && flags as u32 & AT_EMPTY_PATH == 0 {
        return Err(Errno::ENOENT);
    }
    let file = crate::fs::path::open_exec(t, dirfd, &path, flags as u32)?;
    let mut budget = (t.rlimit(RLIMIT_STACK) / 4).clamp(ARG_TOTAL_MIN, ARG_TOTAL_MAX) as usize;
    let mut args = read_strings(t, argv, &mut budget)?;
    let env = read_strings(t, envp, &mut budget)?;
    if args.is_empty() {
        // Since Linux 5.18 a program always has an argument.
        args.push(Vec::new());
    }
    let shown = if path.first() == Some(&b'/') || dirfd == AT_FDCWD {
        path.clone()
    } else if path.is_empty() {
        alloc::format!("/dev/fd/{dirfd}").into_bytes()
    } else {
        [alloc::format!("/dev/fd/{dirfd}/").as_bytes(), &path].concat()
    };
    let plan = Plan::new(t, file, shown, args, env)?;
    become_only_thread(t)?;
    // While its memory is there: locks that it holds pass to those who wait.
    crate::event::futex::exit_robust(t);
    let borrowed = life::memory_is_shared(t);
    if t.tid == t.process.pid && !borrowed {
        plan.run_in_place(t, ctx);
        return Ok(0);
    }
    plan.move_to_fresh(t, ctx)
}

/// Reads a NULL-terminated array of strings; a null array is an empty one.
fn read_strings(t: &Task, addr: UserAddr, budget: &mut usize) -> Result<Vec<Vec<u8>>> {
    let mut out = Vec::new();
    if addr.is_null() {
        return Ok(out);
    }
    loop {
        let p: u64 = user::read(t, addr.offset(out.len() * 8)?)?;
        if p == 0 {
            return Ok(out);
        }
        let s = user::read_cstr(t, UserAddr(p as usize), ARG_LEN_MAX, Errno::E2BIG)?;
        *budget = budget.checked_sub(s.len() + 1 + 8).ok_or(Errno::E2BIG)?;
        out.push(s);
    }
}

/// The name that `/proc/pid/comm` shows.
fn comm(path: &[u8]) -> [u8; 16] {
    let base = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
    let mut out = [0; 16];
    for (o, b) in out[..15].iter_mut().zip(base) {
        *o = *b;
    }
    out
}

impl Plan {
    fn new(
        t: &Task,
        file: Arc<File>,
        path: Vec<u8>,
        args: Vec<Vec<u8>>,
        env: Vec<Vec<u8>>,
    ) -> Result<Box<Plan>> {
        let name = comm(&path);
        let mut strings = Strings { path, args, env };
        let (program, file) = loader::prepare(t, file, &mut strings)?;
        let (creds, secure) = new_creds(&t.creds(), &file)?;
        Ok(Box::new(Plan {
            program,
            strings,
            name,
            creds: Arc::new(creds),
            secure,
        }))
    }

    /// The program's path as it was given.
    pub(super) fn path(&self) -> &[u8] {
        &self.strings.path
    }

    /// The plan of the first program; says on the log why there is none.
    pub(super) fn prepare_first(t: &Task, c: &BootConfig) -> Result<Box<Plan>> {
        let paths = if c.program.contains(&b'/') {
            alloc::vec![c.program.clone()]
        } else {
            let path = c
                .env
                .iter()
                .find_map(|e| e.strip_prefix(b"PATH="))
                .unwrap_or(b"/usr/local/bin:/usr/bin:/bin");
            path.split(|&b| b == b':')
                .map(|d| [d, b"/", &c.program].concat())
                .collect()
        };
        let mut worst = Errno::ENOENT;
        for p in paths {
            let plan = crate::fs::path::open_exec(t, AT_FDCWD, &p, 0)
                .and_then(|f| Plan::new(t, f, p.clone(), c.argv.clone(), c.env.clone()));
            match plan {
                Ok(plan) => return Ok(plan),
                Err(Errno::ENOENT) => {}
                Err(e) => worst = e,
            }
        }
        Err(worst)
    }

    /// Replaces the calling thread's address space.
    fn run_in_place(self: Box<Self>, t: &Arc<Task>, ctx: &mut Context) {
        drop(t.set_mm(Mm::new()));
        if pal().clear().is_err() {
            super::exit_group(t, 9);
            return;
        }
        self.load(t, ctx);
    }

    /// Continues on a new platform thread; the caller's thread is given up.
    fn move_to_fresh(self: Box<Self>, t: &Arc<Task>, ctx: &mut Context) -> SysResult {
        let p = &t.process;
        let next = if t.tid == p.pid {
            t.clone()
        } else {
            // The program's only thread has the process's id.
            let n = Task::new(
                p.pid,
                p.clone(),
                t.creds(),
                t.files(),
                t.fs(),
                Mm::none(),
                TaskSignals::for_exec(&t.signals),
                *t.name.lock(),
            );
            *n.sched.lock() = *t.sched.lock();
            *n.affinity.lock() = t.affinity.lock().clone();
            let mut tasks = p.tasks.lock();
            tasks.remove(&t.tid);
            tasks.insert(p.pid, n.clone());
            drop(tasks);
            let mut all = kernel().tasks.lock();
            all.remove(&t.tid);
            all.insert(p.pid, n.clone());
            n
        };
        *next.exec_plan.lock() = Some(self);
        pal().detach(&t.parker.park);
        if life::start(&next, Spawn::Fresh, Context::new(), None).is_err() {
            // Nothing is left that could report an error: as when the loader fails in Linux.
            super::exit_group(t, 9);
            return Ok(0);
        }
        ctx.entry = Entry::Gone as u64;
        Ok(0)
    }

    /// The first step of the thread from [`Plan::move_to_fresh`], or of the first program.
    pub(super) fn run_fresh(self: Box<Self>, t: &Arc<Task>, ctx: &mut Context) {
        drop(t.set_mm(Mm::new()));
        life::unshare_memory(&t.process);
        super::session::settle(&t.process);
        // The parent's memory is not used any more.
        life::release_vfork(t);
        self.load(t, ctx);
    }

    /// Fills the empty address space. A failure kills the process, by SIGSEGV as Linux since 5.16:
    /// there is nothing to go back to.
    fn load(self: Box<Self>, t: &Arc<Task>, ctx: &mut Context) {
        let Plan {
            program,
            strings,
            name,
            creds,
            secure,
        } = *self;
        let p = &t.process;
        *t.name.lock() = name;
        *t.creds.lock() = creds.clone();
        p.last_uid.store(creds.uid, Ordering::Relaxed);
        p.dumpable.store(i32::from(!secure), Ordering::Relaxed);
        if secure {
            p.death_signal.store(0, Ordering::Relaxed);
        }
        p.rel.lock().has_execed = true;
        *p.exe.lock() = Some(program.file.clone());
        t.clear_child_tid.store(0, Ordering::Relaxed);
        t.robust_list.store(0, Ordering::Relaxed);
        signal::reset_on_exec(t);
        crate::time::on_exec(p);
        unshare_files(t);
        for f in t
            .files()
            .remove_where(|_, flags| flags.contains(crate::fs::FdFlags::CLOEXEC))
        {
            let _ = f.close(t);
        }
        let mut fresh = Context::new();
        pal().vector_reset(&mut fresh);
        pal().set_fs_base(0);
        match loader::load(t, &program, &strings, secure) {
            Ok(start) => {
                fresh.rip = start.entry as u64;
                fresh.rsp = start.stack as u64;
                *p.args.lock() = (start.args, start.auxv);
                *ctx = fresh;
            }
            Err(_) => super::exit_group(t, 11),
        }
    }
}

/// The table of descriptors becomes the task's own.
fn unshare_files(t: &Task) {
    let mut files = t.files.lock();
    if Arc::strong_count(&files) > 1 {
        let own = files.fork();
        *files = own;
    }
}

/// Ends every other thread of the process and waits until they are gone.
fn become_only_thread(t: &Arc<Task>) -> Result<()> {
    let p = &t.process;
    let others: Vec<Arc<Task>> = {
        let tasks = p.tasks.lock();
        if *p.life.lock() != Life::Running || t.work().contains(Work::EXIT) {
            return Err(Errno::ERESTARTNOINTR);
        }
        tasks.values().filter(|o| o.tid != t.tid).cloned().collect()
    };
    for o in &others {
        o.add_work(Work::EXIT);
    }
    drop(others);
    let alone = crate::wait::wait_killable(t, &[&p.exit_events], || {
        (p.tasks.lock().len() == 1).then_some(())
    });
    alone.ok_or(Errno::ERESTARTNOINTR)
}

/// The credentials under which the program runs: set-id bits, and the capabilities that follow
/// (`capabilities(7)`, "Transformation of capabilities during execve()"). Also whether it must
/// distrust its environment (`AT_SECURE`).
fn new_creds(old: &Creds, file: &File) -> Result<(Creds, bool)> {
    let mut c = old.clone();
    let nosuid = file
        .path
        .as_ref()
        .is_some_and(|p| p.mount.flags() & crate::fs::mount::NOSUID != 0);
    let st = file.stat()?;
    if st.kind() == Kind::Regular && !nosuid && !old.no_new_privs {
        if st.mode & 0o4000 != 0 {
            c.euid = st.uid;
        }
        if st.mode & 0o2010 == 0o2010 {
            c.egid = st.gid;
        }
    }
    let changed = c.euid != old.euid || c.egid != old.egid;
    c.suid = c.euid;
    c.fsuid = c.euid;
    c.sgid = c.egid;
    c.fsgid = c.egid;
    let root = (c.uid == 0 || c.euid == 0) && c.securebits & creds::SECBIT_NOROOT == 0;
    if changed {
        c.ambient = 0;
    }
    let permitted = if root { c.inheritable | c.bounding } else { 0 };
    c.permitted = permitted | c.ambient;
    c.effective = if root && c.euid == 0 {
        c.permitted
    } else {
        c.ambient
    };
    c.securebits &= !creds::SECBIT_KEEP_CAPS;
    let secure = changed || old.uid != old.euid || old.gid != old.egid;
    Ok((c, secure))
}
