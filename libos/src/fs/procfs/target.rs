//! Whom a file of `/proc/PID` tells about, and who may know.

use crate::process::creds::CAP_SYS_PTRACE;
use crate::process::{Creds, JobState, Life};
use crate::{Errno, Process, Result, Task, kernel};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

/// The subject of a directory: a process, or one of its threads.
#[derive(Clone)]
pub struct Target {
    /// The id in the path.
    pub id: i32,
    process: Weak<Process>,
    /// One thread: `/proc/PID/task/TID`.
    thread: Option<Weak<Task>>,
}

impl Target {
    /// The process with this id; or, as Linux has it, the process of the thread with this id.
    pub fn process(id: i32) -> Result<Target> {
        let process = match crate::process::find_process(id) {
            Some(p) => p,
            None => (crate::process::find_task(id).ok_or(Errno::ENOENT)?)
                .process
                .clone(),
        };
        Ok(Target {
            id,
            process: Arc::downgrade(&process),
            thread: None,
        })
    }

    /// A thread of the same process.
    pub fn thread(&self, tid: i32) -> Result<Target> {
        let seen = self.see().map_err(|_| Errno::ENOENT)?;
        let t = seen.process.tasks.lock().get(&tid).cloned();
        match t {
            Some(t) => Ok(Target {
                id: tid,
                process: self.process.clone(),
                thread: Some(Arc::downgrade(&t)),
            }),
            // A process that is only a zombie still has its leader.
            None if tid == seen.process.pid => Ok(Target {
                id: tid,
                process: self.process.clone(),
                thread: Some(Weak::new()),
            }),
            None => Err(Errno::ENOENT),
        }
    }

    /// It is one thread, not a whole process.
    pub fn is_thread(&self) -> bool {
        self.thread.is_some()
    }

    /// A number that no other subject has while this one is referred to.
    pub fn key(&self) -> u64 {
        let p = self.process.as_ptr() as u64;
        match &self.thread {
            Some(t) => p ^ (t.as_ptr() as u64).rotate_left(24),
            None => p,
        }
    }

    /// The subject as it is now; ESRCH if it is gone.
    pub fn see(&self) -> Result<Seen> {
        let process = self.process.upgrade().ok_or(Errno::ESRCH)?;
        let known = kernel().processes.lock().get(&process.pid).cloned();
        if !known.is_some_and(|k| Arc::ptr_eq(&k, &process)) {
            return Err(Errno::ESRCH);
        }
        let task = match &self.thread {
            Some(t) => {
                let t = t.upgrade().filter(|t| {
                    let tasks = process.tasks.lock();
                    tasks.get(&t.tid).is_some_and(|x| Arc::ptr_eq(x, t))
                });
                if t.is_none() && self.id != process.pid {
                    return Err(Errno::ESRCH);
                }
                t
            }
            None => {
                let tasks = process.tasks.lock();
                let leader = tasks.get(&process.pid);
                leader.or_else(|| tasks.values().next()).cloned()
            }
        };
        Ok(Seen {
            id: self.id,
            thread: self.is_thread(),
            process,
            task,
        })
    }
}

/// A process or thread at one moment.
pub struct Seen {
    pub id: i32,
    /// Only the thread is meant.
    pub thread: bool,
    pub process: Arc<Process>,
    /// The thread; or one that stands for the process. `None` for a zombie.
    pub task: Option<Arc<Task>>,
}

impl Seen {
    /// The thread, for what only living ones have; ESRCH.
    pub fn task(&self) -> Result<&Arc<Task>> {
        self.task.as_ref().ok_or(Errno::ESRCH)
    }

    /// The threads that are meant.
    pub fn tasks(&self) -> Vec<Arc<Task>> {
        if self.thread {
            return self.task.iter().cloned().collect();
        }
        self.process.tasks.lock().values().cloned().collect()
    }

    /// The command name.
    pub fn name(&self) -> Vec<u8> {
        let name = match &self.task {
            Some(t) => *t.name.lock(),
            None => (self.process.remains.lock().as_ref()).map_or([0; 16], |r| r.name),
        };
        let len = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        name.get(..len).unwrap_or_default().to_vec()
    }

    /// Its credentials; root's for what has none any more.
    pub fn creds(&self) -> Arc<Creds> {
        match &self.task {
            Some(t) => t.creds(),
            None => match self.process.remains.lock().as_ref() {
                Some(r) => r.creds.clone(),
                None => Arc::new(Creds::new(0, 0, Vec::new())),
            },
        }
    }

    /// Owner and group of the files about it. With `open`, also of a process that must not be
    /// looked into (`PR_SET_DUMPABLE`), whose other files are root's.
    pub fn owner(&self, open: bool) -> (u32, u32) {
        if !open && self.process.dumpable.load(Ordering::Relaxed) != 1 {
            return (0, 0);
        }
        let creds = self.creds();
        (creds.euid, creds.egid)
    }

    /// The state letter of `/proc/PID/stat` and its word of `/proc/PID/status`.
    pub fn state(&self) -> (char, &'static str) {
        if matches!(*self.process.life.lock(), Life::Zombie(_)) {
            return ('Z', "zombie");
        }
        let stopped = matches!(
            *self.process.job.lock(),
            JobState {
                stopped: Some(_),
                ..
            }
        );
        if stopped {
            return ('T', "stopped");
        }
        let asleep = |t: &Arc<Task>| {
            // The kernel's own init has no platform thread.
            t.thread.load(Ordering::Relaxed) == 0 || t.parker.park.is_asleep()
        };
        match &self.task {
            Some(t) if asleep(t) => ('S', "sleeping"),
            Some(_) => ('R', "running"),
            None => ('Z', "zombie"),
        }
    }

    /// EACCES unless `reader` may look into it, as `ptrace(2)` "Ptrace access mode checking" says
    /// for `PTRACE_MODE_READ_FSCREDS`.
    pub fn may_inspect(&self, reader: &Task) -> Result<()> {
        let allowed = match &self.task {
            Some(t) => crate::process::may_inspect(reader, t).is_ok(),
            None => reader.creds().capable(CAP_SYS_PTRACE),
        };
        if allowed { Ok(()) } else { Err(Errno::EACCES) }
    }
}
