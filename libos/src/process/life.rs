//! How processes and threads begin: `fork(2)`, `vfork(2)`, `clone(2)`, and the first program.

use super::exec::Plan;
use super::task::{RLIMIT_CPU, RLIMIT_NPROC, Relations};
use super::{Creds, JobState, Life, Process, Task, pidfd};
use crate::fs::{FdFlags, FdTable};
use crate::mm::Mm;
use crate::signal::{ProcessSignals, TaskSignals};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, host_error, kernel, pal};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use bastide_base::token;
use bastide_pal::{Context, Spawn, Start, ThreadId};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use zerocopy::{FromBytes, IntoBytes};

/// One more than the largest process id that there can be.
pub const PID_MAX: i32 = 4_194_304;
/// Ids below are not given out again (`RESERVED_PIDS`).
const RESERVED: i32 = 300;

const CSIGNAL: u64 = 0xff;
const CLONE_VM: u64 = 0x100;
const CLONE_FS: u64 = 0x200;
const CLONE_FILES: u64 = 0x400;
const CLONE_SIGHAND: u64 = 0x800;
const CLONE_SYSVSEM: u64 = 0x4_0000;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_VFORK: u64 = 0x4000;
const CLONE_PARENT: u64 = 0x8000;
const CLONE_THREAD: u64 = 0x10000;
const CLONE_NEWNS: u64 = 0x20000;
const CLONE_SETTLS: u64 = 0x80000;
const CLONE_PARENT_SETTID: u64 = 0x100000;
const CLONE_CHILD_CLEARTID: u64 = 0x200000;
const CLONE_DETACHED: u64 = 0x400000;
const CLONE_CHILD_SETTID: u64 = 0x1000000;
const CLONE_NEW_ANY: u64 =
    CLONE_NEWNS | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x80;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A new process id that nothing uses, not as thread, process, group or session.
pub(super) fn new_pid() -> Result<i32> {
    let k = kernel();
    let mut last = k.last_pid.lock();
    let tasks = k.tasks.lock();
    let processes = k.processes.lock();
    let max = i32::try_from(crate::sysctl::PID_MAX.get()).unwrap_or(PID_MAX);
    for _ in 0..max {
        *last = if *last + 1 >= max {
            RESERVED
        } else {
            *last + 1
        };
        if !tasks.contains_key(&last) && !processes.contains_key(&last) {
            return Ok(*last);
        }
    }
    Err(Errno::EAGAIN)
}

/// What a new process takes from its maker.
struct Origin<'a> {
    parent: Option<&'a Arc<Process>>,
    maker: Option<&'a Process>,
    exit_signal: i32,
    signals: ProcessSignals,
}

fn new_process(pid: i32, o: Origin<'_>) -> Arc<Process> {
    let (pgid, sid, terminal) = o.maker.map_or((pid, pid, None), |m| {
        let rel = m.rel.lock();
        (rel.pgid, rel.sid, rel.terminal.clone())
    });
    Arc::new(Process {
        pid,
        tasks: Mutex::default(),
        life: Mutex::new(Life::Running),
        job: Mutex::new(JobState::default()),
        rel: Mutex::new(Relations {
            parent: o.parent.map_or_else(Weak::new, Arc::downgrade),
            children: Vec::new(),
            pgid,
            sid,
            subreaper: false,
            exit_signal: o.exit_signal,
            has_execed: false,
            terminal,
        }),
        child_events: Default::default(),
        exit_events: Default::default(),
        signals: o.signals,
        rlimits: Mutex::new(o.maker.map_or_else(first_limits, |m| *m.rlimits.lock())),
        exe: Mutex::new(o.maker.and_then(|m| m.exe.lock().clone())),
        args: Mutex::new(
            o.maker
                .map_or_else(Default::default, |m| m.args.lock().clone()),
        ),
        started: crate::time::boottime(),
        cpu_gone: Mutex::default(),
        cpu_children: Mutex::default(),
        peak_gone: AtomicU64::new(0),
        peak_children: AtomicU64::new(0),
        sem_undo: Mutex::new(crate::ipc::sysv::sem::UndoList::new()),
        dumpable: AtomicI32::new(1),
        death_signal: AtomicI32::new(0),
        io_gone: Default::default(),
        remains: Mutex::default(),
        settings: o.maker.map_or_else(Default::default, |m| m.settings.fork()),
        last_uid: AtomicU32::new(
            o.maker
                .map_or(kernel().config.uid, |m| m.last_uid.load(Ordering::Relaxed)),
        ),
        personality: AtomicU32::new(o.maker.map_or(0, |m| m.personality.load(Ordering::Relaxed))),
        membarrier: AtomicU32::new(0),
        shares_memory: AtomicBool::new(false),
        thp_disabled: AtomicBool::new(
            o.maker
                .is_some_and(|m| m.thp_disabled.load(Ordering::Relaxed)),
        ),
        timers: Default::default(),
    })
}

const INFINITY: u64 = u64::MAX;

fn first_limits() -> [(u64, u64); 16] {
    let mut l = [(INFINITY, INFINITY); 16];
    l[super::task::RLIMIT_STACK] = (8 << 20, INFINITY);
    l[super::task::RLIMIT_CORE] = (0, INFINITY);
    l[super::task::RLIMIT_NPROC] = (30_000, 30_000);
    l[super::task::RLIMIT_NOFILE] = (1024, 1 << 20);
    l[super::task::RLIMIT_MEMLOCK] = (8 << 20, 8 << 20);
    l[super::task::RLIMIT_SIGPENDING] = (95_000, 95_000);
    l[super::task::RLIMIT_MSGQUEUE] = (819_200, 819_200);
    l[super::task::RLIMIT_NICE] = (0, 0);
    l[super::task::RLIMIT_RTPRIO] = (0, 0);
    for &(resource, soft, hard) in &kernel().config.rlimits {
        if let Some(slot) = l.get_mut(resource as usize) {
            *slot = (soft.min(hard), hard);
        }
    }
    l
}

/// Why the first program did not start.
pub enum NotStarted {
    /// Its files or its working directory cannot be had; a line in the log says why.
    Surroundings,
    Program(Errno),
}

impl From<Errno> for NotStarted {
    fn from(e: Errno) -> Self {
        NotStarted::Program(e)
    }
}

/// Starts the first program as the configuration says. With `init`, process 1 is the kernel's own:
/// it has no thread, and adopts and reaps orphans.
pub fn start_first() -> core::result::Result<(), NotStarted> {
    let c = &kernel().config;
    let creds = Arc::new(Creds::new(c.uid, c.gid, c.groups.clone()));
    let said = |_| NotStarted::Surroundings;
    crate::fs::mount_all(c).map_err(said)?;
    let fs = crate::fs::first_places(c).map_err(said)?;
    let files = crate::fs::first_files(c);
    let init = if c.init {
        let p = new_process(
            new_pid()?,
            Origin {
                parent: None,
                maker: None,
                exit_signal: 17,
                signals: ProcessSignals::default(),
            },
        );
        kernel().processes.lock().insert(p.pid, p.clone());
        // A task that never runs stands for it in calls that name process 1.
        let task = Task::new(
            p.pid,
            p.clone(),
            creds.clone(),
            FdTable::new(),
            fs.clone(),
            Mm::none(),
            TaskSignals::default(),
            *b"init\0\0\0\0\0\0\0\0\0\0\0\0",
        );
        p.tasks.lock().insert(p.pid, task.clone());
        kernel().tasks.lock().insert(p.pid, task);
        Some(p)
    } else {
        None
    };
    let pid = new_pid()?;
    let process = new_process(
        pid,
        Origin {
            parent: init.as_ref(),
            maker: None,
            exit_signal: 17,
            signals: ProcessSignals::default(),
        },
    );
    if let Some(i) = &init {
        i.rel.lock().children.push(process.clone());
    }
    crate::fs::tty::console::attach(&process);
    let task = Task::new(
        pid,
        process.clone(),
        creds,
        files,
        fs,
        Mm::none(),
        TaskSignals::default(),
        [0; 16],
    );
    process.tasks.lock().insert(pid, task.clone());
    kernel().processes.lock().insert(pid, process.clone());
    kernel().tasks.lock().insert(pid, task.clone());
    crate::time::limit_changed(&process, RLIMIT_CPU as u32);
    for n in (1..64).filter(|n| c.ignored_signals & (1 << n) != 0) {
        let ignore = crate::abi::signal::SigAction {
            handler: crate::abi::signal::SIG_IGN,
            ..Default::default()
        };
        process.signals.handlers().set(n, ignore);
    }
    let plan = Plan::prepare_first(&task, c)?;
    crate::syscall::trace::first(&task, plan.path(), c.argv.len(), c.env.len());
    *task.exec_plan.lock() = Some(plan);
    // The booting thread's address space is empty, so a copy of it is a fresh one.
    start(&task, Spawn::Copy, Context::new(), None)?;
    Ok(())
}

/// The process whose end is the enclave's, and the adopter of orphans.
pub fn is_first(p: &Process) -> bool {
    p.pid == if kernel().config.init { 2 } else { 1 }
}

/// Gives a task a platform thread.
pub(super) fn start(
    task: &Arc<Task>,
    how: Spawn,
    context: Context,
    fs_base: Option<u64>,
) -> Result<()> {
    let tok = token::share(task.clone());
    let park = token::extend(&task.parker);
    let started = pal().spawn(
        how,
        Start {
            token: tok,
            context,
            fs_base,
            park: &park.park,
        },
    );
    match started {
        Ok(ThreadId(id)) => {
            task.thread.store(id, Ordering::Release);
            if how == Spawn::Fresh {
                super::sched::pass_on(task);
            }
            Ok(())
        }
        Err(e) => {
            drop(token::release::<Task>(tok));
            Err(host_error(e))
        }
    }
}

/// A new thread's first step in the kernel.
pub fn first_step(t: &Arc<Task>, ctx: &mut Context) {
    let plan = t.exec_plan.lock().take();
    if let Some(plan) = plan {
        plan.run_fresh(t, ctx);
        return;
    }
    t.mm().after_fork_child();
    let at = t.set_child_tid.swap(0, Ordering::Relaxed);
    if at != 0 {
        // As in Linux, a bad address here is the child's own business.
        let _ = user::write(t, UserAddr(at), &t.tid);
    }
}

/// The arguments of all the ways to make a task; the fields are `struct clone_args`'s.
#[derive(Clone, Copy, Default)]
struct Args {
    flags: u64,
    pidfd: usize,
    child_tid: usize,
    parent_tid: usize,
    exit_signal: i32,
    /// New stack pointer, 0 keeps the caller's.
    stack: u64,
    tls: u64,
}

/// `fork(2)`.
pub fn sys_fork(t: &Arc<Task>, ctx: &mut Context) -> SysResult {
    clone(
        t,
        ctx,
        Args {
            exit_signal: 17,
            ..Args::default()
        },
    )
}

/// `vfork(2)`.
pub fn sys_vfork(t: &Arc<Task>, ctx: &mut Context) -> SysResult {
    clone(
        t,
        ctx,
        Args {
            flags: CLONE_VFORK | CLONE_VM,
            exit_signal: 17,
            ..Args::default()
        },
    )
}

/// `clone(2)`.
pub fn sys_clone(
    t: &Arc<Task>,
    ctx: &mut Context,
    flags: u64,
    stack: u64,
    parent_tid: usize,
    child_tid: usize,
    tls: u64,
) -> SysResult {
    // The old call has 32 bits of flags, and its pidfd goes where the parent's thread id would.
    let flags = flags & 0xffff_ffff;
    if flags & CLONE_PIDFD != 0 && flags & CLONE_PARENT_SETTID != 0 {
        return Err(Errno::EINVAL);
    }
    let a = Args {
        flags: flags & !CSIGNAL,
        pidfd: parent_tid,
        child_tid,
        parent_tid,
        exit_signal: (flags & CSIGNAL) as i32,
        stack,
        tls,
    };
    clone(t, ctx, a)
}

#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `clone3(2)`.
pub fn sys_clone3(t: &Arc<Task>, ctx: &mut Context, addr: UserAddr, size: usize) -> SysResult {
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    if size < 64 {
        return Err(Errno::EINVAL);
    }
    let mut bytes = alloc::vec![0u8; size.max(size_of::<CloneArgs>())];
    user::read_bytes(t, addr, &mut bytes[..size])?;
    if bytes[size_of::<CloneArgs>()..].iter().any(|&b| b != 0) {
        return Err(Errno::E2BIG);
    }
    let (a, _) = CloneArgs::read_from_prefix(&bytes).map_err(|_| Errno::EINVAL)?;
    if a.set_tid != 0 || a.set_tid_size != 0 {
        if a.set_tid_size > 32 || (a.set_tid == 0) != (a.set_tid_size == 0) {
            return Err(Errno::EINVAL);
        }
        return Err(Errno::EPERM);
    }
    if a.flags & CLONE_INTO_CGROUP != 0 {
        return Err(if a.cgroup > i32::MAX as u64 {
            Errno::EINVAL
        } else {
            Errno::EBADF
        });
    }
    let known = 0xffff_ff00 | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP | 0x80;
    if a.flags & !known != 0
        || a.flags & CLONE_DETACHED != 0
        || a.flags & (CLONE_SIGHAND | CLONE_CLEAR_SIGHAND) == CLONE_SIGHAND | CLONE_CLEAR_SIGHAND
        || a.flags & (CLONE_THREAD | CLONE_PARENT) != 0 && a.exit_signal != 0
        || a.exit_signal > 64
        || (a.stack == 0) != (a.stack_size == 0)
    {
        return Err(Errno::EINVAL);
    }
    if a.stack != 0
        && bastide_base::user::accessible(a.stack as usize, a.stack_size as usize)
            < a.stack_size as usize
    {
        return Err(Errno::EINVAL);
    }
    let args = Args {
        flags: a.flags,
        pidfd: a.pidfd as usize,
        child_tid: a.child_tid as usize,
        parent_tid: a.parent_tid as usize,
        exit_signal: a.exit_signal as i32,
        stack: a.stack.wrapping_add(a.stack_size),
        tls: a.tls,
    };
    clone(t, ctx, args)
}

/// The combinations that the kernel's `copy_process` refuses.
fn check(t: &Task, a: &Args) -> Result<()> {
    let f = a.flags;
    if f & CLONE_THREAD != 0 && f & CLONE_SIGHAND == 0
        || f & CLONE_SIGHAND != 0 && f & CLONE_VM == 0
    {
        return Err(Errno::EINVAL);
    }
    if f & (CLONE_NEWNS | CLONE_FS) == CLONE_NEWNS | CLONE_FS {
        return Err(Errno::EINVAL);
    }
    if f & CLONE_NEW_ANY != 0 {
        // A kernel without namespaces; without privilege the refusal comes first.
        let may = t.creds().capable(super::creds::CAP_SYS_ADMIN);
        return Err(if may { Errno::EINVAL } else { Errno::EPERM });
    }
    if f & CLONE_PARENT != 0 && t.process.rel.lock().parent.strong_count() == 0 {
        return Err(Errno::EINVAL);
    }
    if f & CLONE_PIDFD != 0 && f & CLONE_DETACHED != 0 {
        return Err(Errno::EINVAL);
    }
    if f & CLONE_SETTLS != 0 && a.tls >= bastide_base::user::USER_END as u64 {
        return Err(Errno::EPERM);
    }
    if kernel().tasks.lock().len() >= crate::sysctl::THREADS_MAX.size() {
        return Err(Errno::EAGAIN);
    }
    let creds = t.creds();
    let limit = t.rlimit(RLIMIT_NPROC);
    let privileged = creds.uid == 0
        || creds.capable(super::creds::CAP_SYS_RESOURCE)
        || creds.capable(super::creds::CAP_SYS_ADMIN);
    if !privileged {
        let tasks = kernel().tasks.lock();
        if tasks
            .values()
            .filter(|o| o.creds().uid == creds.uid)
            .count() as u64
            >= limit
        {
            return Err(Errno::EAGAIN);
        }
    }
    Ok(())
}

fn clone(t: &Arc<Task>, ctx: &mut Context, a: Args) -> SysResult {
    check(t, &a)?;
    let f = a.flags;
    let thread = f & CLONE_THREAD != 0;
    let tid = new_pid()?;
    let process = if thread {
        t.process.clone()
    } else {
        let real_parent = if f & CLONE_PARENT != 0 {
            t.process.rel.lock().parent.upgrade()
        } else {
            Some(t.process.clone())
        };
        let signals = if f & CLONE_SIGHAND != 0 {
            t.process.signals.share()
        } else if f & CLONE_CLEAR_SIGHAND != 0 {
            t.process.signals.fork_cleared()
        } else {
            t.process.signals.fork()
        };
        let exit_signal = if f & CLONE_PARENT != 0 {
            t.process.rel.lock().exit_signal
        } else {
            a.exit_signal
        };
        let p = new_process(
            tid,
            Origin {
                parent: real_parent.as_ref(),
                maker: Some(&t.process),
                exit_signal,
                signals,
            },
        );
        if f & CLONE_SYSVSEM != 0 {
            let list = t.process.sem_undo.lock().clone();
            *p.sem_undo.lock() = list;
        }
        p.dumpable.store(
            t.process.dumpable.load(Ordering::Relaxed),
            Ordering::Relaxed,
        );
        p
    };
    let process_of_child = process.clone();
    let files = if f & CLONE_FILES != 0 {
        t.files()
    } else {
        t.files().may_copy()?;
        t.files().fork()
    };
    let fs = if f & CLONE_FS != 0 {
        t.fs()
    } else {
        t.fs().fork()
    };
    let altstack = f & CLONE_VM == 0 || f & CLONE_VFORK != 0;
    let signals = TaskSignals::for_child(&t.signals, altstack);

    let build = |mm: Arc<Mm>| -> Result<Arc<Task>> {
        let name = *t.name.lock();
        let task = Task::new(
            tid,
            process.clone(),
            t.creds(),
            files.clone(),
            fs.clone(),
            mm,
            signals,
            name,
        );
        *task.sched.lock() = super::sched::inherited(t);
        *task.deadline.lock() = *t.deadline.lock();
        *task.affinity.lock() = t.affinity.lock().clone();
        let slack = t.timer_slack.load(Ordering::Relaxed);
        task.timer_slack.store(slack, Ordering::Relaxed);
        task.timer_slack_default.store(slack, Ordering::Relaxed);
        if f & CLONE_CHILD_CLEARTID != 0 {
            task.clear_child_tid.store(a.child_tid, Ordering::Relaxed);
        }
        if f & CLONE_CHILD_SETTID != 0 {
            task.set_child_tid.store(a.child_tid, Ordering::Relaxed);
        }
        if f & CLONE_VFORK != 0 {
            *task.vfork_done.lock() = Some(Arc::default());
            task.vfork_pending.store(true, Ordering::Release);
        }
        Ok(task)
    };
    let mut child = *ctx;
    child.rax = 0;
    child.orig_rax = u64::MAX;
    if a.stack != 0 {
        child.rsp = a.stack;
    }
    let fs_base = (f & CLONE_SETTLS != 0).then_some(a.tls);

    // What the caller is to learn must be known before the child can run.
    let pidfd = if f & CLONE_PIDFD != 0 {
        let file = pidfd::new(&process, (thread).then_some(tid), 0);
        let fd = t.install(file, FdFlags::CLOEXEC)?;
        Some(fd)
    } else {
        None
    };
    let undo = |e: Errno| {
        if let Some(fd) = pidfd {
            let _ = t.files().remove(fd);
        }
        unpublish(tid, thread, &process);
        e
    };
    if let Some(fd) = pidfd {
        user::write(t, UserAddr(a.pidfd), &fd).map_err(undo)?;
    }
    if f & CLONE_PARENT_SETTID != 0 {
        // As in Linux, a bad address is ignored.
        let _ = user::write(t, UserAddr(a.parent_tid), &tid);
    }
    let run = |mm: Arc<Mm>, how: Spawn| -> Result<Arc<Task>> {
        let task = build(mm)?;
        publish(&task, thread, t, f & CLONE_PARENT != 0)?;
        start(&task, how, child, fs_base)?;
        Ok(task)
    };
    let task = if f & CLONE_VM != 0 {
        if !thread {
            share_memory(&process);
        }
        run(t.mm(), Spawn::Shared).inspect_err(|_| unshare_memory(&process_of_child))
    } else {
        t.mm().fork_with(|mm| run(mm.clone(), Spawn::Copy))
    }
    .map_err(undo)?;

    if f & CLONE_VFORK != 0 {
        let done = task.vfork_done.lock().clone();
        if let Some(q) = done {
            crate::wait::wait_killable(t, &[&q], || {
                (!task.vfork_pending.load(Ordering::Acquire)).then_some(())
            });
        }
    }
    Ok(tid as usize)
}

/// Enters a new task in the tables. EAGAIN-like refusals if the process is on its way out.
fn publish(task: &Arc<Task>, thread: bool, maker: &Task, parent_of_maker: bool) -> Result<()> {
    let p = &task.process;
    {
        let mut tasks = p.tasks.lock();
        if thread && *p.life.lock() != Life::Running {
            return Err(Errno::ERESTARTNOINTR);
        }
        tasks.insert(task.tid, task.clone());
    }
    if !thread {
        let parent = if parent_of_maker {
            p.rel.lock().parent.upgrade()
        } else {
            Some(maker.process.clone())
        };
        kernel().processes.lock().insert(p.pid, p.clone());
        if let Some(parent) = parent {
            parent.rel.lock().children.push(p.clone());
        }
    }
    kernel().tasks.lock().insert(task.tid, task.clone());
    if !thread {
        crate::time::limit_changed(p, RLIMIT_CPU as u32);
    }
    // A stop or a shared signal that came meanwhile is for the new thread as well.
    crate::signal::recalc(task);
    Ok(())
}

fn unpublish(tid: i32, thread: bool, p: &Arc<Process>) {
    p.tasks.lock().remove(&tid);
    kernel().tasks.lock().remove(&tid);
    if !thread {
        kernel().processes.lock().remove(&p.pid);
        let parent = p.rel.lock().parent.upgrade();
        if let Some(parent) = parent {
            parent.rel.lock().children.retain(|c| c.pid != p.pid);
        }
    }
}

/// How many processes run in the memory of another.
static SHARERS: AtomicUsize = AtomicUsize::new(0);

fn share_memory(p: &Process) {
    p.shares_memory.store(true, Ordering::Relaxed);
    SHARERS.fetch_add(1, Ordering::SeqCst);
}

/// The process has memory of its own, or none any more.
pub(super) fn unshare_memory(p: &Process) {
    if p.shares_memory.swap(false, Ordering::Relaxed) {
        SHARERS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Another process uses the task's address space (`CLONE_VM` without `CLONE_THREAD`).
pub(crate) fn memory_is_shared(t: &Task) -> bool {
    if SHARERS.load(Ordering::SeqCst) == 0 {
        return false;
    }
    let mm = t.mm();
    kernel()
        .tasks
        .lock()
        .values()
        .any(|o| !Arc::ptr_eq(&o.process, &t.process) && Arc::ptr_eq(&o.mm(), &mm))
}

/// Wakes the parent that `vfork(2)` put to sleep.
pub(super) fn release_vfork(t: &Task) {
    if t.vfork_pending.swap(false, Ordering::AcqRel)
        && let Some(q) = t.vfork_done.lock().take()
    {
        q.wake_all(crate::wait::POLLALL);
    }
}

/// A process without relatives, for unit tests.
#[cfg(test)]
pub(crate) fn for_tests(pid: i32) -> Arc<Process> {
    let p = new_process(
        pid,
        Origin {
            parent: None,
            maker: None,
            exit_signal: 17,
            signals: ProcessSignals::default(),
        },
    );
    p.rlimits.lock()[super::task::RLIMIT_NOFILE] = (1024, 4096);
    p
}
