//! A platform for tests: the real host, one call of which lies.
//!
//! The library OS must answer every [`Lie`] with an error or a harmless value, never with a panic
//! or an access out of bounds. Threads do not run: [`Threads::spawn`] only keeps what it was
//! given, and the test plays the application by calling the kernel itself.

mod file;
mod mem;
mod net;
mod park;
mod platform;

use bastide_pal::{Error, HostFd, Result, Start};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The wait status with which a kernel ends that the host does not let work.
pub const REFUSED: i32 = 125 << 8;

/// What a call does instead of telling the truth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// Says that it did this many bytes (or things) more than it was asked to do.
    Longer(usize),
    /// Fails with what may be no error number.
    Error(i32),
    /// Returns this descriptor, which it never opened.
    ForeignFd(i32),
    /// Returns a descriptor that is closed.
    ClosedFd,
    /// Returns nonsense data.
    Changed,
}

/// Every lie, by a name.
pub const LIES: [(&str, Lie); 10] = [
    ("longer", Lie::Longer(4096)),
    ("endless", Lie::Longer(usize::MAX / 2)),
    ("error-zero", Lie::Error(0)),
    ("error-negative", Lie::Error(-5)),
    ("error-large", Lie::Error(100_000)),
    // Internal to Linux and to the library OS: a restarted system call.
    ("error-restart", Lie::Error(512)),
    ("fd-negative", Lie::ForeignFd(-7)),
    ("fd-large", Lie::ForeignFd(i32::MAX)),
    ("fd-closed", Lie::ClosedFd),
    ("changed", Lie::Changed),
];

/// The calls that can lie, and how: `l`ength, `e`rror, `f`ile descriptor, `c`hanged data.
pub const CALLS: &[(&str, &str)] = &[
    ("open", "ef"),
    ("read", "lec"),
    ("write", "le"),
    ("seek", "lec"),
    ("stat", "ec"),
    ("statfs", "ec"),
    ("set_attr", "e"),
    ("read_dir", "ec"),
    ("read_link", "lec"),
    ("mkdir", "e"),
    ("mknod", "e"),
    ("symlink", "e"),
    ("link", "e"),
    ("unlink", "e"),
    ("rename", "e"),
    ("fsync", "e"),
    ("fallocate", "e"),
    ("get_xattr", "lec"),
    ("set_xattr", "e"),
    ("list_xattr", "lec"),
    ("remove_xattr", "e"),
    ("tty_ioctl", "lec"),
    ("socket", "ef"),
    ("bind", "e"),
    ("listen", "e"),
    ("accept", "lefc"),
    ("connect", "e"),
    ("shutdown", "e"),
    ("sock_name", "lec"),
    ("get_option", "lec"),
    ("set_option", "e"),
    ("send", "le"),
    ("recv", "lec"),
    ("queued", "le"),
    ("poll_now", "c"),
    ("park", "c"),
    ("readiness_new", "ef"),
    ("readiness_set", "e"),
    ("readiness_take", "lec"),
    ("map", "ec"),
    ("unmap", "ec"),
    ("protect", "ec"),
    ("remap", "ec"),
    ("discard", "ec"),
    ("resident", "ec"),
    ("peek", "lec"),
    ("poke", "lec"),
    ("spawn", "e"),
    ("set_nice", "e"),
    ("set_affinity", "e"),
    ("now", "lc"),
    ("thread_cpu", "lc"),
    ("space_cpu", "lc"),
    ("thread_time", "lc"),
    ("space_time", "lc"),
    ("space_peak", "lc"),
    ("random", "c"),
    ("cpu", "c"),
    ("cpus", "lc"),
    ("memory", "lc"),
];

impl Lie {
    /// The letter in [`CALLS`].
    pub fn class(self) -> char {
        match self {
            Lie::Longer(_) => 'l',
            Lie::Error(_) => 'e',
            Lie::ForeignFd(_) | Lie::ClosedFd => 'f',
            Lie::Changed => 'c',
        }
    }
}

/// The platform.
pub struct Hostile {
    call: String,
    lie: Lie,
    on: AtomicBool,
    /// What [`bastide_pal::Threads::spawn`] was given.
    pub started: Mutex<Vec<Start>>,
}

impl Hostile {
    /// A platform whose `call` will tell `lie`. Sets the kernel's page memory up; once per process.
    pub fn new(call: &str, lie: Lie) -> &'static Hostile {
        mem::prepare();
        Box::leak(Box::new(Hostile {
            call: call.to_owned(),
            lie,
            on: AtomicBool::new(false),
            started: Mutex::default(),
        }))
    }

    /// Tells the truth no more.
    pub fn begin(&self) {
        self.on.store(true, Ordering::SeqCst);
    }

    /// The lie, if `call` is the one that lies.
    fn lie(&self, call: &str) -> Option<Lie> {
        (self.on.load(Ordering::SeqCst) && self.call == call).then_some(self.lie)
    }

    /// Fails if it is to.
    fn check(&self, call: &str) -> Result<()> {
        match self.lie(call) {
            Some(Lie::Error(e)) => Err(Error(e)),
            _ => Ok(()),
        }
    }

    fn changed(&self, call: &str) -> bool {
        self.lie(call) == Some(Lie::Changed)
    }

    /// A length, true or not.
    fn length(&self, call: &str, n: usize, asked: usize) -> usize {
        match self.lie(call) {
            Some(Lie::Longer(more)) => asked.saturating_add(more),
            _ => n,
        }
    }

    /// A descriptor, true or not.
    fn descriptor(&self, call: &str, fd: HostFd) -> HostFd {
        match self.lie(call) {
            Some(Lie::ForeignFd(n)) => {
                close(fd);
                HostFd(n)
            }
            Some(Lie::ClosedFd) => {
                close(fd);
                fd
            }
            _ => fd,
        }
    }
}

fn close(fd: HostFd) {
    let _ = call(libc::SYS_close, [fd.0 as usize, 0, 0, 0, 0, 0]);
}

/// A host system call. Callers pass pointers to memory that lives and is large enough; where the
/// kernel under test chose the memory, the host checks it.
fn call(nr: libc::c_long, a: [usize; 6]) -> Result<usize> {
    // SAFETY: see above.
    let r = unsafe { libc::syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]) };
    if r < 0 {
        Err(error(std::io::Error::last_os_error()))
    } else {
        Ok(r as usize)
    }
}

fn error(e: std::io::Error) -> Error {
    Error(e.raw_os_error().unwrap_or(libc::EIO))
}
