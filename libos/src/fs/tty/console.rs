//! The launcher's terminal, and the standard descriptors.
//!
//! The host's line discipline edits, echoes and turns keys into signals (which the launcher hands
//! on to [`foreground`]); attributes and window size are the host terminal's. Session and
//! foreground group are ours alone: to the host, the whole enclave is one foreground job.

use super::stream::{self, HostStream};
use super::termios::{self, Termios, When};
use super::{Line, Tty};
use crate::abi::raw::{general as raw, ioctl};
use crate::abi::signal::{SIGTTIN, SIGTTOU};
use crate::fs::inode::make_dev;
use crate::fs::{File, FileOps, Kind, Path, Stat, devfs, mount};
use crate::process::Process;
use crate::uio::{IoDst, IoSrc};
use crate::user::{self, UserAddr};
use crate::wait::{Events, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, PollTable};
use crate::{Errno, Result, SysResult, Task, host_error, kernel, pal};
use alloc::string::String;
use alloc::sync::Arc;
use bastide_base::sync::{Mutex, Once};
use bastide_pal::HostFd;
use bastide_pal::boot::Stdio;
use core::any::Any;
use zerocopy::{FromZeros, IntoBytes};

/// Device number of `/dev/null`.
const NULL: u64 = make_dev(1, 3);

/// The console's terminal.
fn tty() -> &'static Arc<Tty> {
    static TTY: Once<Arc<Tty>> = Once::new();
    TTY.get_or_init(|| {
        Arc::new(Tty {
            session: Mutex::new((0, 0)),
            line: Line::Console,
        })
    })
}

/// The host's descriptor of the terminal, if the launcher has one.
fn host() -> Option<HostFd> {
    let config = &kernel().config;
    let standard = || config.stdio.iter().flatten().find(|s| s.tty).map(|s| s.fd);
    config.terminal.or_else(standard)
}

/// The process group that the terminal's signals (ctrl-C, a new window size) are for.
pub fn foreground() -> Option<i32> {
    Some(tty().session.lock().1).filter(|&g| g > 0)
}

/// Makes the console the controlling terminal of the first session, if there is one.
pub fn attach(p: &Process) {
    if host().is_some() {
        let mut rel = p.rel.lock();
        *tty().session.lock() = (rel.sid, rel.pgid);
        rel.terminal = Some(tty().clone());
    }
}

/// Opens `/dev/console`; ENXIO if the launcher has no terminal.
pub fn open() -> Result<Arc<dyn FileOps>> {
    let fd = host().ok_or(Errno::ENXIO)?;
    Ok(Arc::new(Console { fd }))
}

/// Where the node of a device is in `/dev`, so that `ttyname(3)` finds the terminal's name.
fn node(name: &[u8], rdev: u64) -> Option<Path> {
    let mut at = mount::root()?;
    for name in [b"dev", name] {
        let dentry = at.dentry.child(name).ok()??;
        at = mount::top(Path {
            mount: at.mount,
            dentry,
        });
    }
    (at.inode().stat().ok()?.rdev == rdev).then_some(at)
}

/// The file for a standard descriptor that the launcher hands over. Call it when `/dev` is mounted.
pub fn stdio(s: &Stdio) -> Arc<File> {
    if s.tty {
        File::new(
            Arc::new(Console { fd: s.fd }),
            node(b"console", tty().rdev()),
            s.flags,
        )
    } else if is_null(s) {
        // Ours does the same without asking the host.
        devfs::null(node(b"null", NULL), s.flags)
    } else {
        let (stream, pos) = HostStream::new(s.fd);
        let f = File::new(Arc::new(stream), None, s.flags);
        *f.pos.lock() = pos;
        f
    }
}

/// It is the host's `/dev/null`.
fn is_null(s: &Stdio) -> bool {
    let st = pal().stat(s.fd, b"");
    st.is_ok_and(|st| Kind::of(st.mode) == Some(Kind::Char) && st.rdev == NULL)
}

/// An open console. The descriptor stays with the launcher.
struct Console {
    fd: HostFd,
}

impl Console {
    fn host_ioctl(&self, request: u32, arg: &mut [u8]) -> Result<usize> {
        pal().tty_ioctl(self.fd, request, arg).map_err(host_error)
    }

    fn termios(&self) -> Result<Termios> {
        let mut v = Termios::new_zeroed();
        self.host_ioctl(ioctl::TCGETS2, v.as_mut_bytes())?;
        Ok(v)
    }

    fn set_termios(&self, t: &Task, v: &Termios, when: When) -> Result<()> {
        tty().check_background(t, SIGTTOU)?;
        let request = match when {
            When::Now => ioctl::TCSETS2,
            When::Drain => ioctl::TCSETSW2,
            When::Flush => ioctl::TCSETSF2,
        };
        let mut v = *v;
        self.host_ioctl(request, v.as_mut_bytes()).map(|_| ())
    }

    /// A request with an argument of `N` bytes that the host fills.
    fn get<const N: usize>(&self, t: &Task, request: u32, arg: usize) -> SysResult {
        let mut out = [0u8; N];
        self.host_ioctl(request, &mut out)?;
        user::write(t, UserAddr(arg), &out).map(|()| 0)
    }
}

impl FileOps for Console {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, t: &Task, f: &File, dst: &mut IoDst<'_>, _o: Option<u64>) -> Result<usize> {
        loop {
            tty().check_background(t, SIGTTIN)?;
            match stream::read_host_now(self.fd, dst) {
                Err(Errno::EAGAIN) if !f.nonblocking() => {}
                r => return r,
            }
            // The foreground may have changed when input comes.
            stream::wait_for(t, self.fd, POLLIN)?;
        }
    }

    fn write(&self, t: &Task, f: &File, src: &mut IoSrc<'_>, _o: Option<u64>) -> Result<usize> {
        if tty().in_background(t) && self.termios()?.lflag & raw::TOSTOP != 0 {
            tty().check_background(t, SIGTTOU)?;
        }
        stream::write_stream(t, self.fd, f.nonblocking(), src)
    }

    fn poll(&self, _f: &File, table: Option<&mut PollTable>) -> Events {
        let ready = stream::poll_host(self.fd, POLLIN | POLLOUT, table);
        let normal = |bit, normal| if ready & bit != 0 { normal } else { 0 };
        ready | normal(POLLIN, POLLRDNORM) | normal(POLLOUT, POLLWRNORM)
    }

    fn ioctl(&self, t: &Task, f: &File, request: u32, arg: usize) -> SysResult {
        let done = termios::ioctl(
            t,
            request,
            arg,
            || self.termios(),
            |v, when| self.set_termios(t, v, when),
        );
        if let Some(r) = done.or_else(|| tty().job_ioctl(t, request, arg, f.readable(), false)) {
            return r;
        }
        match request {
            ioctl::TIOCGWINSZ => self.get::<8>(t, request, arg),
            ioctl::FIONREAD | ioctl::TIOCOUTQ => self.get::<4>(t, request, arg),
            ioctl::TIOCGETD => user::write(t, UserAddr(arg), &0i32).map(|()| 0),
            ioctl::TIOCSWINSZ => {
                let mut size: [u8; 8] = user::read(t, UserAddr(arg))?;
                self.host_ioctl(request, &mut size)
            }
            ioctl::TCSBRK | ioctl::TCXONC | ioctl::TCFLSH => {
                tty().check_background(t, SIGTTOU)?;
                self.host_ioctl(request, &mut (arg as u32).to_le_bytes())
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    fn describe(&self) -> String {
        String::from("/dev/console")
    }

    fn stat(&self) -> Result<Stat> {
        Ok(super::stat(tty()))
    }

    fn reopen(&self, _t: &Task, _flags: u32) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(Console { fd: self.fd }))
    }
}
