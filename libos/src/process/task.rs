//! The task and process structures.

use super::Creds;
use crate::SysResult;
use crate::fs::{FdTable, File, FsInfo};
use crate::mm::Mm;
use crate::signal::{ProcessSignals, TaskSignals};
use crate::wait::{Parker, WaitQueue};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use bastide_pal::ThreadId;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

bitflags::bitflags! {
    /// What a task must attend to before it runs application code.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Work: u32 {
        /// An unblocked signal may be pending, or a job-control stop is due.
        const SIGNAL = 1;
        /// The task must exit.
        const EXIT = 2;
        /// Other in-kernel work (restoring a signal mask).
        const OTHER = 4;
        /// Mappings of a shrunk file must go ([`Mm::settle`]). Blocking calls are not ended for it.
        const MEMORY = 8;
        /// Timers on the task's CPU time may be due. Blocking calls are not ended for it.
        const TIMERS = 16;
    }
}

/// The rest of a call that a signal without a handler interrupted.
pub type Restart = Box<dyn FnOnce(&Arc<Task>) -> SysResult + Send>;

/// A thread.
pub struct Task {
    pub tid: i32,
    pub process: Arc<Process>,
    /// Its sleeping place.
    pub parker: Arc<Parker>,
    /// The platform's thread that runs it.
    pub thread: AtomicU32,
    work: AtomicU32,
    pub creds: Mutex<Arc<Creds>>,
    pub files: Mutex<Arc<FdTable>>,
    pub fs: Mutex<Arc<FsInfo>>,
    mm: Mutex<Arc<Mm>>,
    pub signals: TaskSignals,
    /// `PR_SET_NAME`, NUL-padded.
    pub name: Mutex<[u8; 16]>,
    /// `set_tid_address(2)`: zeroed and woken at exit.
    pub clear_child_tid: AtomicUsize,
    /// Where the new thread writes its id (`CLONE_CHILD_SETTID`), 0 once done.
    pub set_child_tid: AtomicUsize,
    /// The `wait(2)` status of `_exit(2)`, if this is the last thread.
    pub exit_code: AtomicI32,
    /// The program that this task's new platform thread is to load.
    pub exec_plan: Mutex<Option<Box<super::exec::Plan>>>,
    /// `ioprio_set(2)`.
    pub io_priority: AtomicU32,
    /// `set_robust_list(2)` head.
    pub robust_list: AtomicUsize,
    /// The vfork parent to release when this task execs or exits.
    pub vfork_done: Mutex<Option<Arc<WaitQueue>>>,
    pub vfork_pending: AtomicBool,
    /// Scheduling policy and real-time priority as set by `sched_setscheduler(2)`, and nice value.
    pub sched: Mutex<(u32, i32, i32)>,
    /// Runtime, deadline and period of `SCHED_DEADLINE`, nanoseconds.
    pub deadline: Mutex<[u64; 3]>,
    /// CPUs it may use, `sched_setaffinity(2)`.
    pub affinity: Mutex<Vec<u64>>,
    /// `PR_SET_TIMERSLACK`, nanoseconds; and what it goes back to, the maker's.
    pub timer_slack: AtomicU64,
    pub timer_slack_default: AtomicU64,
    pub io: super::IoCounts,
    /// How an interrupted call goes on; see [`Task::restart_with`].
    pub restart: Mutex<Option<Restart>>,
    /// NUMA policy, `set_mempolicy(2)`.
    pub mempolicy: AtomicU32,
    /// Timers on its CPU time, to be looked at by itself ([`Work::TIMERS`]).
    pub cpu_timers: Mutex<Vec<Weak<crate::time::PosixTimer>>>,
    /// Voluntary context switches and faults, `getrusage(2)`.
    pub switches: AtomicU64,
    pub faults: AtomicU64,
}

impl Task {
    /// A task of `process` that shares nothing yet with others but what it is given.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        tid: i32,
        process: Arc<Process>,
        creds: Arc<Creds>,
        files: Arc<FdTable>,
        fs: Arc<FsInfo>,
        mm: Arc<Mm>,
        signals: TaskSignals,
        name: [u8; 16],
    ) -> Arc<Task> {
        Arc::new(Task {
            tid,
            process,
            parker: Arc::default(),
            thread: AtomicU32::new(0),
            work: AtomicU32::new(0),
            creds: Mutex::new(creds),
            files: Mutex::new(files),
            fs: Mutex::new(fs),
            mm: Mutex::new(mm),
            signals,
            name: Mutex::new(name),
            clear_child_tid: AtomicUsize::new(0),
            set_child_tid: AtomicUsize::new(0),
            exit_code: AtomicI32::new(0),
            exec_plan: Mutex::new(None),
            io_priority: AtomicU32::new(0),
            robust_list: AtomicUsize::new(0),
            vfork_done: Mutex::new(None),
            vfork_pending: AtomicBool::new(false),
            sched: Mutex::new((0, 0, 0)),
            deadline: Mutex::new([0; 3]),
            affinity: Mutex::new(Vec::new()),
            timer_slack: AtomicU64::new(50_000),
            timer_slack_default: AtomicU64::new(50_000),
            io: Default::default(),
            restart: Mutex::new(None),
            mempolicy: AtomicU32::new(0),
            cpu_timers: Mutex::default(),
            switches: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        })
    }

    /// Something awaits attention: blocking calls end with ERESTARTSYS.
    pub fn interrupted(&self) -> bool {
        !(self.work() - Work::MEMORY - Work::TIMERS).is_empty()
    }

    /// What awaits attention.
    pub fn work(&self) -> Work {
        Work::from_bits_truncate(self.work.load(Ordering::Acquire))
    }

    /// Adds work and makes the task see it soon, wherever it is.
    pub fn add_work(&self, w: Work) {
        self.work.fetch_or(w.bits(), Ordering::AcqRel);
        self.kick();
    }

    /// Adds work that the task itself will see on its way out.
    pub fn add_own_work(&self, w: Work) {
        self.work.fetch_or(w.bits(), Ordering::AcqRel);
    }

    /// Removes work that was attended to.
    pub fn clear_work(&self, w: Work) {
        self.work.fetch_and(!w.bits(), Ordering::AcqRel);
    }

    /// Interrupts the task: it enters the kernel, or its sleep ends.
    pub fn kick(&self) {
        let id = self.thread.load(Ordering::Acquire);
        if id != 0 {
            crate::pal().kick(ThreadId(id), &self.parker.park);
        }
    }

    /// Credentials now.
    pub fn creds(&self) -> Arc<Creds> {
        self.creds.lock().clone()
    }

    /// Descriptor table now.
    pub fn files(&self) -> Arc<FdTable> {
        self.files.lock().clone()
    }

    /// Working directory, root, umask.
    pub fn fs(&self) -> Arc<FsInfo> {
        self.fs.lock().clone()
    }

    /// Memory map now.
    pub fn mm(&self) -> Arc<Mm> {
        self.mm.lock().clone()
    }

    /// Changes the memory map (exec).
    pub fn set_mm(&self, mm: Arc<Mm>) -> Arc<Mm> {
        core::mem::replace(&mut *self.mm.lock(), mm)
    }

    /// The file behind a descriptor; EBADF. `O_PATH` files are EBADF too: most calls refuse them.
    pub fn file(&self, fd: i32) -> crate::Result<Arc<File>> {
        self.file_in(&self.files.lock(), fd)
    }

    /// As [`Task::file`], in a table that the caller took before, for many descriptors.
    pub fn file_in(&self, files: &FdTable, fd: i32) -> crate::Result<Arc<File>> {
        let f = files.get(fd)?;
        if f.flags() & crate::fs::file::O_PATH != 0 {
            Err(crate::Errno::EBADF)
        } else {
            Ok(f)
        }
    }

    /// For calls with a relative timeout that a signal interrupted: `rest` runs if they are
    /// restarted (`restart_syscall(2)`). Returns the error to fail with.
    pub fn restart_with(
        &self,
        rest: impl FnOnce(&Arc<Task>) -> SysResult + Send + 'static,
    ) -> crate::Errno {
        *self.restart.lock() = Some(Box::new(rest));
        crate::Errno::ERESTART_RESTARTBLOCK
    }

    /// Soft resource limit.
    pub fn rlimit(&self, resource: usize) -> u64 {
        self.process.rlimits.lock()[resource].0
    }

    /// Puts a file at the lowest free descriptor under `RLIMIT_NOFILE`.
    pub fn install(&self, file: Arc<File>, flags: crate::fs::FdFlags) -> crate::Result<i32> {
        self.files()
            .insert(file, flags, 0, self.rlimit(RLIMIT_NOFILE) as usize)
    }
}

pub const RLIMIT_CPU: usize = 0;
pub const RLIMIT_FSIZE: usize = 1;
pub const RLIMIT_DATA: usize = 2;
pub const RLIMIT_STACK: usize = 3;
pub const RLIMIT_CORE: usize = 4;
pub const RLIMIT_RSS: usize = 5;
pub const RLIMIT_NPROC: usize = 6;
pub const RLIMIT_NOFILE: usize = 7;
pub const RLIMIT_MEMLOCK: usize = 8;
pub const RLIMIT_AS: usize = 9;
pub const RLIMIT_SIGPENDING: usize = 11;
pub const RLIMIT_MSGQUEUE: usize = 12;
pub const RLIMIT_NICE: usize = 13;
pub const RLIMIT_RTPRIO: usize = 14;

/// Whether a process lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    Running,
    /// Every thread must go; the `wait(2)` status is decided.
    Exiting(i32),
    /// Gone but for its status.
    Zombie(i32),
}

/// Job control as `wait(2)` sees it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct JobState {
    /// Stopped by this signal.
    pub stopped: Option<i32>,
    /// The stop was not yet reported (`WUNTRACED`).
    pub stop_unreported: bool,
    /// A continue was not yet reported (`WCONTINUED`).
    pub continue_unreported: bool,
}

/// Relations to other processes; one lock, taken for one process at a time, parent before child.
pub struct Relations {
    pub parent: Weak<Process>,
    pub children: Vec<Arc<Process>>,
    pub pgid: i32,
    pub sid: i32,
    /// `PR_SET_CHILD_SUBREAPER`.
    pub subreaper: bool,
    /// The signal that tells the parent of the exit (SIGCHLD unless `clone(2)` said otherwise).
    pub exit_signal: i32,
    /// It called `execve(2)` since its fork (`setpgid(2)` EACCES).
    pub has_execed: bool,
    /// Controlling terminal, kept by the session leader's members.
    pub terminal: Option<Arc<dyn crate::fs::FileOps>>,
}

/// A thread group.
pub struct Process {
    pub pid: i32,
    pub tasks: Mutex<BTreeMap<i32, Arc<Task>>>,
    pub life: Mutex<Life>,
    pub job: Mutex<JobState>,
    pub rel: Mutex<Relations>,
    /// Children's changes of state, for `wait(2)`.
    pub child_events: WaitQueue,
    /// This process's exit, for pidfds; and thread exits, for exec.
    pub exit_events: WaitQueue,
    pub signals: ProcessSignals,
    pub rlimits: Mutex<[(u64, u64); 16]>,
    /// The program file, and `/proc/pid/exe`'s text.
    pub exe: Mutex<Option<Arc<File>>>,
    /// Where argv and envp lie: `[arg_start, arg_end, env_start, env_end]`; and auxv bytes.
    pub args: Mutex<([usize; 4], Vec<u8>)>,
    /// When it started, CLOCK_BOOTTIME nanoseconds.
    pub started: u64,
    /// CPU time (user, system) in an address space that is gone, and of children waited for.
    pub cpu_gone: Mutex<(u64, u64)>,
    pub cpu_children: Mutex<(u64, u64)>,
    /// The most resident memory in bytes of an address space that is gone, and of a child waited
    /// for.
    pub peak_gone: AtomicU64,
    pub peak_children: AtomicU64,
    /// Semaphore operations to undo; shared by `CLONE_SYSVSEM`.
    pub sem_undo: Mutex<Arc<crate::ipc::sysv::sem::UndoList>>,
    pub dumpable: AtomicI32,
    /// `PR_SET_PDEATHSIG`.
    pub death_signal: AtomicI32,
    /// Real user id when last seen, for siginfo of a process that is gone.
    pub last_uid: AtomicU32,
    /// `personality(2)`.
    pub personality: AtomicU32,
    /// `membarrier(2)` registrations.
    pub membarrier: AtomicU32,
    /// It runs in another process's memory.
    pub shares_memory: AtomicBool,
    /// `PR_SET_THP_DISABLE`.
    pub thp_disabled: AtomicBool,
    /// What `/proc/PID` changes; children inherit it.
    pub settings: super::settings::Settings,
    /// What threads that are gone read and wrote, and what is left of the leader.
    pub io_gone: super::IoCounts,
    pub remains: Mutex<Option<super::Remains>>,
    /// Interval timers and POSIX timers.
    pub timers: crate::time::ProcessTimers,
}

impl Process {
    /// Others of the same user may look into it, `prctl(2)` PR_SET_DUMPABLE.
    pub fn is_dumpable(&self) -> bool {
        self.dumpable.load(Ordering::Relaxed) == 1
    }
}
