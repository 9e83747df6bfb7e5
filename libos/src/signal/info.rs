//! What came with a signal, `sigaction(2)` "The siginfo_t argument".

use crate::abi::signal::*;

/// A signal with its `siginfo_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigInfo {
    pub signo: i32,
    pub errno: i32,
    /// `SI_USER`, `SI_KERNEL`, `SEGV_MAPERR`, `CLD_EXITED`, …
    pub code: i32,
    pub fields: Fields,
}

/// The union of `siginfo_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    None,
    /// kill, tgkill, `sigqueue(3)`.
    Sender {
        pid: i32,
        uid: u32,
        value: u64,
    },
    /// SIGCHLD; times in clock ticks.
    Child {
        pid: i32,
        uid: u32,
        status: i32,
        utime: i64,
        stime: i64,
    },
    /// POSIX timers.
    Timer {
        id: i32,
        overrun: i32,
        value: u64,
    },
    /// SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP.
    Fault {
        addr: u64,
    },
    /// SIGIO.
    Poll {
        band: i64,
        fd: i32,
    },
    /// As given by rt_sigqueueinfo.
    Raw([u64; 14]),
}

/// Two 32-bit numbers as they lie side by side in memory.
fn pair(low: i32, high: u32) -> u64 {
    u64::from(low as u32) | u64::from(high) << 32
}

impl SigInfo {
    /// Sent by the kernel.
    pub fn kernel(signo: i32) -> Self {
        SigInfo {
            signo,
            errno: 0,
            code: SI_KERNEL,
            fields: Fields::None,
        }
    }

    /// Sent by a process: `SI_USER` (kill) or `SI_TKILL`.
    pub fn sender(signo: i32, code: i32, pid: i32, uid: u32) -> Self {
        SigInfo {
            signo,
            errno: 0,
            code,
            fields: Fields::Sender { pid, uid, value: 0 },
        }
    }

    /// A fault at an address.
    pub fn fault(signo: i32, code: i32, addr: u64) -> Self {
        SigInfo {
            signo,
            errno: 0,
            code,
            fields: Fields::Fault { addr },
        }
    }

    /// When nothing more is known: the details were lost for want of queue space.
    pub fn unknown(signo: i32) -> Self {
        Self::sender(signo, SI_USER, 0, 0)
    }

    /// From the application's own `siginfo_t` (rt_sigqueueinfo and the like).
    pub fn from_user(signo: i32, raw: &SigInfoT) -> Self {
        SigInfo {
            signo,
            errno: raw.errno,
            code: raw.code,
            fields: Fields::Raw(raw.fields),
        }
    }

    /// Who sent it, if a process did.
    pub fn sender_pid(&self) -> Option<i32> {
        match self.fields {
            Fields::Sender { pid, .. } => Some(pid),
            Fields::Raw(f) if self.code <= 0 => Some(f[0] as i32),
            _ => None,
        }
    }

    /// As the application sees it.
    pub fn encode(&self) -> SigInfoT {
        let mut f = [0u64; 14];
        match self.fields {
            Fields::None => {}
            Fields::Sender { pid, uid, value } => {
                f[0] = pair(pid, uid);
                f[1] = value;
            }
            Fields::Child {
                pid,
                uid,
                status,
                utime,
                stime,
            } => {
                f[0] = pair(pid, uid);
                f[1] = pair(status, 0);
                f[2] = utime as u64;
                f[3] = stime as u64;
            }
            Fields::Timer { id, overrun, value } => {
                f[0] = pair(id, overrun as u32);
                f[1] = value;
            }
            Fields::Fault { addr } => f[0] = addr,
            Fields::Poll { band, fd } => {
                f[0] = band as u64;
                f[1] = pair(fd, 0);
            }
            Fields::Raw(raw) => f = raw,
        }
        SigInfoT {
            signo: self.signo,
            errno: self.errno,
            code: self.code,
            pad: 0,
            fields: f,
        }
    }

    /// As `signalfd(2)` reports it.
    pub fn signalfd(&self) -> SignalfdSiginfo {
        let raw = self.encode().fields;
        let (low, high) = (raw[0] as u32, (raw[0] >> 32) as u32);
        let mut s: SignalfdSiginfo = zerocopy::FromZeros::new_zeroed();
        s.signo = self.signo as u32;
        s.errno = self.errno;
        s.code = self.code;
        match self.fields {
            Fields::Child { .. } => {
                s.pid = low;
                s.uid = high;
                s.status = raw[1] as i32;
                s.utime = raw[2];
                s.stime = raw[3];
            }
            Fields::Timer { .. } => {
                s.tid = low;
                s.overrun = high;
                s.ptr = raw[1];
                s.int = raw[1] as i32;
            }
            Fields::Fault { addr } => s.addr = addr,
            Fields::Poll { .. } => {
                s.band = low;
                s.fd = raw[1] as i32;
            }
            // The raw union is read as sigqueue(3) wrote it.
            Fields::None | Fields::Sender { .. } | Fields::Raw(_) => {
                s.pid = low;
                s.uid = high;
                s.ptr = raw[1];
                s.int = raw[1] as i32;
            }
        }
        s
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn the_union_lies_where_linux_has_it() {
        let i = SigInfo {
            signo: SIGCHLD,
            errno: 0,
            code: CLD_EXITED,
            fields: Fields::Child {
                pid: 7,
                uid: 8,
                status: 9,
                utime: 10,
                stime: 11,
            },
        };
        let e = i.encode();
        let b = e.as_bytes();
        assert_eq!((b[0], b[8], b[16], b[20], b[24]), (17, 1, 7, 8, 9));
        assert_eq!((b[32], b[40]), (10, 11));
        let s = i.signalfd();
        assert_eq!((s.pid, s.uid, s.status, s.stime), (7, 8, 9, 11));
        let q = SigInfo::sender(10, SI_QUEUE, -2, 3);
        assert_eq!(
            q.encode().as_bytes()[16..24],
            [254, 255, 255, 255, 3, 0, 0, 0]
        );
        assert_eq!(SigInfo::from_user(10, &q.encode()).sender_pid(), Some(-2));
    }
}
