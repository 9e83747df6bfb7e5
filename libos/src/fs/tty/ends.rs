//! The open ends of a pseudoterminal.

use super::ldisc::Input;
use super::pty::Pty;
use super::termios::{self, Winsize};
use super::{job, stat};
use crate::abi::raw::{general as raw, ioctl};
use crate::abi::signal::{SIGTTIN, SIGTTOU};
use crate::fs::devfs::pts;
use crate::fs::{FdFlags, File, FileOps, Stat};
use crate::process::creds::CAP_SYS_ADMIN;
use crate::uio::{IoDst, IoSrc};
use crate::user::{self, UserAddr};
use crate::wait::{
    self, Events, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDNORM, POLLWRNORM, PollTable,
    WaitQueue,
};
use crate::{Errno, Result, SysResult, Task, time};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;

/// Flags of `open(2)` that the end's own file keeps.
const OPEN_FLAGS: u32 = raw::O_ACCMODE | raw::O_NONBLOCK | raw::O_APPEND;
const DECISECOND: u64 = 100_000_000;

/// An open master.
pub struct Master(pub(super) Arc<Pty>);

/// An open slave, and which generation it belongs to.
pub struct Slave(Arc<Pty>, u32);

impl Drop for Master {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        self.0.remove_slave(self.1);
    }
}

/// Opens `/dev/ptmx`: a new pair; ENOSPC.
pub(in crate::fs) fn open_master(t: &Task) -> Result<Arc<dyn FileOps>> {
    Ok(Arc::new(Master(pts::allocate(t)?)))
}

/// Opens a slave, which becomes the controlling terminal of a session leader that has none.
pub(in crate::fs) fn open_slave(t: &Task, pty: &Arc<Pty>, flags: u32) -> Result<Arc<dyn FileOps>> {
    let generation = pty.add_slave(t)?;
    let slave = Arc::new(Slave(pty.clone(), generation));
    let reads = flags & raw::O_ACCMODE != raw::O_WRONLY;
    if flags & raw::O_NOCTTY == 0 && reads {
        pty.tty.opened(t);
    }
    Ok(slave)
}

/// Repeats `step` until it has moved everything; sleeps on `queue` while it moves nothing. What was moved counts even if a signal or an error comes afterwards.
fn write_all(
    t: &Task,
    f: &File,
    src: &mut IoSrc<'_>,
    queue: &WaitQueue,
    mut step: impl FnMut(&mut IoSrc<'_>) -> Result<usize>,
    ready: impl Fn() -> bool,
) -> Result<usize> {
    let mut total = 0;
    while src.left() > 0 {
        let r = match step(src) {
            Ok(0) if f.nonblocking() => Err(Errno::EAGAIN),
            Ok(0) => wait::wait_until(t, &[queue], None, || ready().then_some(0)),
            r => r,
        };
        match r {
            Ok(n) => total += n,
            Err(_) if total > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(total)
}

impl Pty {
    fn normal(events: Events) -> Events {
        let read = if events & POLLIN != 0 { POLLRDNORM } else { 0 };
        let write = if events & POLLOUT != 0 { POLLWRNORM } else { 0 };
        events | read | write
    }

    /// Requests that both ends understand alike; `None` for others.
    fn common_ioctl(
        &self,
        t: &Task,
        f: &File,
        request: u32,
        arg: usize,
        master: bool,
    ) -> Option<SysResult> {
        let at = UserAddr(arg);
        let check = || match master {
            true => Ok(()),
            false => self.tty.check_background(t, SIGTTOU),
        };
        let attributes = termios::ioctl(
            t,
            request,
            arg,
            || Ok(self.state.lock().termios),
            |new, when| {
                check()?;
                self.set_termios(new, when);
                Ok(())
            },
        );
        let done = attributes.or_else(|| self.tty.job_ioctl(t, request, arg, f.readable(), master));
        if done.is_some() {
            return done;
        }
        let zero = |r: Result<()>| r.map(|()| 0);
        Some(match request {
            ioctl::TIOCGWINSZ => {
                let size = self.state.lock().winsize;
                zero(user::write(t, at, &size))
            }
            ioctl::TIOCSWINSZ => zero(user::read(t, at).map(|s: Winsize| self.set_winsize(s))),
            // Output is never on its way: the other end has it at once.
            ioctl::TIOCOUTQ => zero(user::write(t, at, &0i32)),
            ioctl::TCSBRK | ioctl::TCSBRKP | ioctl::TIOCSBRK | ioctl::TIOCCBRK => zero(check()),
            ioctl::TIOCGETD => zero(user::write(t, at, &0i32)),
            ioctl::TIOCSETD => match user::read::<i32>(t, at) {
                Ok(0) => Ok(0),
                Ok(_) => Err(Errno::EINVAL),
                Err(e) => Err(e),
            },
            ioctl::TIOCEXCL | ioctl::TIOCNXCL => {
                self.state.lock().exclusive = request == ioctl::TIOCEXCL;
                Ok(0)
            }
            ioctl::TIOCGEXCL => {
                let exclusive = i32::from(self.state.lock().exclusive);
                zero(user::write(t, at, &exclusive))
            }
            ioctl::TIOCGDEV => zero(user::write(t, at, &(self.tty.rdev() as u32))),
            ioctl::TCFLSH => check().and_then(|()| self.flush(arg, master)),
            ioctl::TCXONC => check().and_then(|()| self.flow(arg)),
            ioctl::TIOCSTI => self.simulate(t, at),
            ioctl::TIOCVHANGUP => {
                if !t.creds().capable(CAP_SYS_ADMIN) {
                    return Some(Err(Errno::EPERM));
                }
                self.tty.hang_up_session();
                self.hang_up_slaves();
                Ok(0)
            }
            _ => return None,
        })
    }

    /// `tcflush(3)`; the master's input is the slave's output.
    fn flush(&self, which: usize, master: bool) -> SysResult {
        let (input, output) = match which {
            0 => (true, false),
            1 => (false, true),
            2 => (true, true),
            _ => return Err(Errno::EINVAL),
        };
        self.update(|s| {
            if if master { output } else { input } {
                s.flush_input();
            }
            if if master { input } else { output } {
                s.flush_output();
            }
            ((), s.pump())
        });
        Ok(0)
    }

    /// `tcflow(3)`.
    fn flow(&self, action: usize) -> SysResult {
        match action {
            0 | 1 => self.update(|s| {
                s.hold(action == 0);
                ((), alloc::vec::Vec::new())
            }),
            2 | 3 => self.update(|s| {
                let which = if action == 2 { raw::VSTOP } else { raw::VSTART };
                let c = s.termios.c(which);
                if c != 0 {
                    s.printed.push_back(c);
                }
                ((), alloc::vec::Vec::new())
            }),
            _ => return Err(Errno::EINVAL),
        }
        Ok(0)
    }

    /// `TIOCSTI`: as if a character had been typed. Only for the administrator, as in kernels
    /// where `dev.tty.legacy_tiocsti` is off.
    fn simulate(&self, t: &Task, at: UserAddr) -> SysResult {
        if !t.creds().capable(CAP_SYS_ADMIN) {
            return Err(Errno::EIO);
        }
        let c: u8 = user::read(t, at)?;
        self.type_in(&mut IoSrc::kernel(&[c]))?;
        Ok(0)
    }
}

impl Slave {
    /// A read has something to take: lines, or enough characters.
    fn ready(&self, enough: bool) -> bool {
        let s = self.0.state.lock();
        let raw_mode = !s.termios.l(raw::ICANON);
        let wanted = match (raw_mode && enough, s.termios.c(raw::VTIME)) {
            (true, 0) => usize::from(s.termios.c(raw::VMIN)).max(1),
            _ => 1,
        };
        s.dead(self.1) || s.ldisc.available(&s.termios) >= wanted
    }

    fn dead(&self) -> bool {
        self.0.state.lock().dead(self.1)
    }
}

impl FileOps for Slave {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, t: &Task, f: &File, dst: &mut IoDst<'_>, _o: Option<u64>) -> Result<usize> {
        let mut deadline = None;
        let mut first = true;
        while dst.left() > 0 {
            if self.dead() {
                break;
            }
            if let Err(e) = self.0.tty.check_background(t, SIGTTIN) {
                return if dst.done() > 0 {
                    Ok(dst.done())
                } else {
                    Err(e)
                };
            }
            let termios = self.0.state.lock().termios;
            let raw_mode = !termios.l(raw::ICANON);
            let (min, time) = (termios.c(raw::VMIN), u64::from(termios.c(raw::VTIME)));
            let interval = || Some(time::monotonic().saturating_add(time * DECISECOND));
            if core::mem::take(&mut first) && raw_mode && min == 0 {
                deadline = interval();
            }
            match self.0.take_input(self.1, dst.left().min(super::pty::CHUNK)) {
                Input::End => break,
                Input::Data(data) => {
                    dst.put(&data)?;
                    if !raw_mode || dst.done() >= usize::from(min).max(1) {
                        break;
                    }
                    if time > 0 {
                        deadline = interval();
                    }
                    continue;
                }
                Input::Nothing => {}
            }
            let r = if f.nonblocking() && !(raw_mode && min == 0 && time == 0) {
                Err(Errno::EAGAIN)
            } else {
                let queue = &self.0.slave_queue;
                wait::wait_until(t, &[queue], deadline, || self.ready(false).then_some(()))
            };
            match r {
                Ok(()) => {}
                Err(Errno::ETIMEDOUT) => break,
                Err(_) if dst.done() > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(dst.done())
    }

    fn write(&self, t: &Task, f: &File, src: &mut IoSrc<'_>, _o: Option<u64>) -> Result<usize> {
        if self.0.state.lock().termios.l(raw::TOSTOP) {
            self.0.tty.check_background(t, SIGTTOU)?;
        }
        if self.dead() {
            return Err(Errno::EIO);
        }
        let ready = || {
            let s = self.0.state.lock();
            s.dead(self.1) || Pty::can_print(&s)
        };
        let queue = &self.0.slave_queue;
        write_all(t, f, src, queue, |src| self.0.print_out(self.1, src), ready)
    }

    fn poll(&self, _f: &File, table: Option<&mut PollTable>) -> Events {
        if let Some(table) = table {
            table.listen(&self.0.slave_queue);
        }
        if self.dead() {
            return Pty::normal(POLLIN | POLLOUT | POLLERR | POLLHUP);
        }
        let read = if self.ready(true) { POLLIN } else { 0 };
        let writes = Pty::can_print(&self.0.state.lock());
        Pty::normal(read | if writes { POLLOUT } else { 0 })
    }

    fn ioctl(&self, t: &Task, f: &File, request: u32, arg: usize) -> SysResult {
        if self.dead() {
            return match request {
                ioctl::TIOCSPGRP => Err(Errno::ENOTTY),
                _ => Err(Errno::EIO),
            };
        }
        if let Some(r) = self.0.common_ioctl(t, f, request, arg, false) {
            return r;
        }
        match request {
            ioctl::FIONREAD => {
                let n = {
                    let s = self.0.state.lock();
                    s.ldisc.available(&s.termios) as i32
                };
                user::write(t, UserAddr(arg), &n).map(|()| 0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    fn describe(&self) -> String {
        format!("/dev/pts/{}", self.0.index)
    }

    fn stat(&self) -> Result<Stat> {
        Ok(stat(&self.0.tty))
    }

    fn reopen(&self, t: &Task, flags: u32) -> Result<Arc<dyn FileOps>> {
        open_slave(t, &self.0, flags)
    }
}

impl FileOps for Master {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, t: &Task, f: &File, dst: &mut IoDst<'_>, _o: Option<u64>) -> Result<usize> {
        if dst.left() == 0 {
            return Ok(0);
        }
        loop {
            match self.0.take_output(dst.left().min(super::pty::CHUNK)) {
                Input::Data(data) => return dst.put(&data),
                Input::End => return Err(Errno::EIO),
                Input::Nothing if f.nonblocking() => return Err(Errno::EAGAIN),
                Input::Nothing => {}
            }
            wait::wait_until(t, &[&self.0.master_queue], None, || {
                let s = self.0.state.lock();
                (s.readable() || s.deserted()).then_some(())
            })?;
        }
    }

    fn write(&self, t: &Task, f: &File, src: &mut IoSrc<'_>, _o: Option<u64>) -> Result<usize> {
        if self.0.state.lock().deserted() {
            return Err(Errno::EIO);
        }
        let ready = || Pty::can_type(&self.0.state.lock());
        let queue = &self.0.master_queue;
        write_all(t, f, src, queue, |src| self.0.type_in(src), ready)
    }

    fn poll(&self, _f: &File, table: Option<&mut PollTable>) -> Events {
        if let Some(table) = table {
            table.listen(&self.0.master_queue);
        }
        let s = self.0.state.lock();
        let mut events = 0;
        if s.readable() {
            events |= POLLIN;
        }
        if s.packet && s.events != 0 {
            events |= POLLPRI;
        }
        if Pty::can_type(&s) {
            events |= POLLOUT;
        }
        if s.deserted() {
            events |= POLLHUP;
        }
        Pty::normal(events)
    }

    fn ioctl(&self, t: &Task, f: &File, request: u32, arg: usize) -> SysResult {
        let at = UserAddr(arg);
        let zero = |r: Result<()>| r.map(|()| 0);
        match request {
            ioctl::TIOCGPTN => zero(user::write(t, at, &self.0.index)),
            ioctl::TIOCSPTLCK => {
                let locked: i32 = user::read(t, at)?;
                self.0.state.lock().locked = locked != 0;
                Ok(0)
            }
            ioctl::TIOCGPTLCK => {
                let locked = i32::from(self.0.state.lock().locked);
                zero(user::write(t, at, &locked))
            }
            ioctl::TIOCPKT => {
                let on: i32 = user::read(t, at)?;
                let mut s = self.0.state.lock();
                if !s.packet {
                    s.events = 0;
                }
                s.packet = on != 0;
                Ok(0)
            }
            ioctl::TIOCGPKT => {
                let on = i32::from(self.0.state.lock().packet);
                zero(user::write(t, at, &on))
            }
            ioctl::TIOCGPTPEER => self.open_peer(t, arg as u32),
            ioctl::TIOCSIG => {
                let signo = i32::try_from(arg).unwrap_or(0);
                if !matches!(
                    signo,
                    crate::abi::signal::SIGINT
                        | crate::abi::signal::SIGQUIT
                        | crate::abi::signal::SIGTSTP
                ) {
                    return Err(Errno::EINVAL);
                }
                job::signal_group(self.0.tty.session.lock().1, signo);
                Ok(0)
            }
            ioctl::FIONREAD => {
                let n = self.0.state.lock().printed.len() as i32;
                zero(user::write(t, at, &n))
            }
            _ => (self.0.common_ioctl(t, f, request, arg, true)).unwrap_or(Err(Errno::ENOTTY)),
        }
    }

    fn describe(&self) -> String {
        String::from("/dev/ptmx")
    }

    fn reopen(&self, t: &Task, _flags: u32) -> Result<Arc<dyn FileOps>> {
        open_master(t)
    }
}

impl Master {
    /// `TIOCGPTPEER`: opens the slave without looking up its name.
    fn open_peer(&self, t: &Task, flags: u32) -> SysResult {
        let ops = open_slave(t, &self.0, flags)?;
        let f = File::new(ops, pts::path(self.0.index), flags & OPEN_FLAGS);
        let fd = if flags & raw::O_CLOEXEC != 0 {
            FdFlags::CLOEXEC
        } else {
            FdFlags::default()
        };
        t.install(f, fd).map(|fd| fd as usize)
    }
}
