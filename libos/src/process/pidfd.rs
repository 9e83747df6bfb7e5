//! Descriptors that stand for processes: `pidfd_open(2)` and friends.

use super::{Life, Process, Task, find_process};
use crate::fs::{FdFlags, File, FileOps};
use crate::wait::{Events, POLLHUP, POLLIN, POLLRDNORM, PollTable};
use crate::{Errno, Result, SysResult};
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;

const PIDFD_NONBLOCK: u32 = 0o4000;
const PIDFD_THREAD: u32 = 0o200;
const O_RDWR: u32 = 2;

/// The object behind a pidfd.
pub struct PidFd {
    process: Arc<Process>,
    /// With `PIDFD_THREAD`: the thread it stands for.
    thread: Option<i32>,
}

impl FileOps for PidFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn poll(&self, _f: &File, table: Option<&mut PollTable>) -> Events {
        if let Some(table) = table {
            table.listen(&self.process.exit_events);
        }
        let over = match self.thread {
            Some(tid) => !self.process.tasks.lock().contains_key(&tid),
            None => matches!(*self.process.life.lock(), Life::Zombie(_)),
        };
        if !over {
            return 0;
        }
        let reaped = find_process(self.process.pid).is_none_or(|p| !Arc::ptr_eq(&p, &self.process));
        POLLIN | POLLRDNORM | if reaped { POLLHUP } else { 0 }
    }

    fn describe(&self) -> String {
        String::from("anon_inode:[pidfd]")
    }

    fn fdinfo(&self, out: &mut String) {
        let pid = if find_process(self.process.pid).is_some() {
            self.process.pid
        } else {
            -1
        };
        out.push_str(&alloc::format!("Pid:\t{pid}\nNSpid:\t{pid}\n"));
    }
}

/// A pidfd of a process, or of one of its threads.
pub fn new(process: &Arc<Process>, thread: Option<i32>, flags: u32) -> Arc<File> {
    File::new(
        Arc::new(PidFd {
            process: process.clone(),
            thread,
        }),
        None,
        O_RDWR | flags,
    )
}

/// The process that a pidfd stands for; EBADF for other files.
pub fn process_of(file: &File) -> Result<Arc<Process>> {
    file.downcast::<PidFd>()
        .map(|p| p.process.clone())
        .ok_or(Errno::EBADF)
}

/// The process that a pidfd stands for, and the thread if it is one's; EBADF for other files.
pub fn target_of(file: &File) -> Result<(Arc<Process>, Option<i32>)> {
    file.downcast::<PidFd>()
        .map(|p| (p.process.clone(), p.thread))
        .ok_or(Errno::EBADF)
}

/// `pidfd_open(2)`.
pub fn sys_pidfd_open(t: &Arc<Task>, pid: i32, flags: u32) -> SysResult {
    if flags & !(PIDFD_NONBLOCK | PIDFD_THREAD) != 0 || pid <= 0 {
        return Err(Errno::EINVAL);
    }
    let thread = flags & PIDFD_THREAD != 0;
    let process = match find_process(pid) {
        Some(p) => p,
        None => match super::find_task(pid) {
            Some(task) if thread => task.process.clone(),
            Some(_) => return Err(Errno::ENOENT),
            None => return Err(Errno::ESRCH),
        },
    };
    let file = new(&process, thread.then_some(pid), flags & PIDFD_NONBLOCK);
    Ok(t.install(file, FdFlags::CLOEXEC)? as usize)
}

/// `pidfd_getfd(2)`.
pub fn sys_pidfd_getfd(t: &Arc<Task>, pidfd: i32, fd: i32, flags: u32) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let process = process_of(&*t.file(pidfd)?)?;
    let other = process
        .tasks
        .lock()
        .values()
        .next()
        .cloned()
        .ok_or(Errno::ESRCH)?;
    super::may_inspect(t, &other)?;
    let file = other.files().get(fd)?;
    Ok(t.install(file, FdFlags::CLOEXEC)? as usize)
}
