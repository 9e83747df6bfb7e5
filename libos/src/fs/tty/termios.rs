//! Terminal attributes as `termios(3)` and the requests of `tty_ioctl(4)` lay them out.

use crate::abi::raw::{general as raw, ioctl};
use crate::user::{self, UserAddr};
use crate::{Result, SysResult, Task};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct termios2`; without its speeds, `struct termios`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Termios {
    pub iflag: u32,
    pub oflag: u32,
    pub cflag: u32,
    pub lflag: u32,
    pub line: u8,
    pub cc: [u8; 19],
    pub ispeed: u32,
    pub ospeed: u32,
}

/// `struct winsize`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Winsize {
    pub row: u16,
    pub col: u16,
    pub xpixel: u16,
    pub ypixel: u16,
}

/// System V's `struct termio`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Termio {
    flags: [u16; 4],
    line: u8,
    cc: [u8; 8],
    pad: u8,
}

/// When new attributes take effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    Now,
    /// After the output has gone.
    Drain,
    /// After the output has gone; input is thrown away.
    Flush,
}

/// Bytes of `struct termios`.
const OLD: usize = 36;

/// Speeds by the number in `CBAUD`.
const SPEEDS: [u32; 16] = [
    0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400,
];
const FAST: [u32; 15] = [
    57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000,
    2500000, 3000000, 3500000, 4000000,
];

/// The speed that `CBAUD` bits name; `None` for `BOTHER`.
fn speed(bits: u32) -> Option<u32> {
    let low = (bits & 0xf) as usize;
    if bits & 0o10000 == 0 {
        SPEEDS.get(low).copied()
    } else {
        FAST.get(low.checked_sub(1)?).copied()
    }
}

impl Termios {
    /// What a new pseudoterminal has.
    pub fn new() -> Self {
        let mut cc = [0; 19];
        for (i, c) in [
            (raw::VINTR, 3),
            (raw::VQUIT, 28),
            (raw::VERASE, 127),
            (raw::VKILL, 21),
            (raw::VEOF, 4),
            (raw::VMIN, 1),
            (raw::VSTART, 17),
            (raw::VSTOP, 19),
            (raw::VSUSP, 26),
            (raw::VREPRINT, 18),
            (raw::VDISCARD, 15),
            (raw::VWERASE, 23),
            (raw::VLNEXT, 22),
        ] {
            if let Some(slot) = cc.get_mut(i as usize) {
                *slot = c;
            }
        }
        Termios {
            iflag: raw::ICRNL | raw::IXON,
            oflag: raw::OPOST | raw::ONLCR,
            cflag: raw::B38400 | raw::CS8 | raw::CREAD,
            lflag: raw::ISIG
                | raw::ICANON
                | raw::ECHO
                | raw::ECHOE
                | raw::ECHOK
                | raw::ECHOCTL
                | raw::ECHOKE
                | raw::IEXTEN,
            line: 0,
            cc,
            ispeed: 38400,
            ospeed: 38400,
        }
    }

    /// The speeds follow the bits of `cflag`, unless those say "see the numbers".
    fn settle_speeds(&mut self) {
        if let Some(s) = speed(self.cflag & raw::CBAUD) {
            self.ospeed = s;
            self.ispeed = s;
        }
        let input = self.cflag >> 16 & raw::CBAUD;
        if input != 0
            && let Some(s) = speed(input)
        {
            self.ispeed = s;
        }
    }
}

/// The requests that get and set attributes; `None` if it is none of them.
pub(super) fn ioctl(
    t: &Task,
    request: u32,
    arg: usize,
    get: impl Fn() -> Result<Termios>,
    set: impl Fn(&Termios, When) -> Result<()>,
) -> Option<SysResult> {
    let at = UserAddr(arg);
    let when = match request {
        ioctl::TCSETS | ioctl::TCSETS2 | ioctl::TCSETA => When::Now,
        ioctl::TCSETSW | ioctl::TCSETSW2 | ioctl::TCSETAW => When::Drain,
        _ => When::Flush,
    };
    let r = match request {
        ioctl::TCGETS => get().and_then(|v| user::write_bytes(t, at, &v.as_bytes()[..OLD])),
        ioctl::TCGETS2 => get().and_then(|v| user::write(t, at, &v)),
        ioctl::TCGETA => get().and_then(|v| user::write(t, at, &shorten(&v))),
        ioctl::TCSETS | ioctl::TCSETSW | ioctl::TCSETSF => get().and_then(|mut v| {
            user::read_bytes(t, at, &mut v.as_mut_bytes()[..OLD])?;
            v.settle_speeds();
            set(&v, when)
        }),
        ioctl::TCSETS2 | ioctl::TCSETSW2 | ioctl::TCSETSF2 => user::read::<Termios>(t, at)
            .and_then(|mut v| {
                v.settle_speeds();
                set(&v, when)
            }),
        ioctl::TCSETA | ioctl::TCSETAW | ioctl::TCSETAF => get().and_then(|mut v| {
            lengthen(&user::read(t, at)?, &mut v);
            v.settle_speeds();
            set(&v, when)
        }),
        _ => return None,
    };
    Some(r.map(|()| 0))
}

fn shorten(v: &Termios) -> Termio {
    let mut cc = [0; 8];
    cc.copy_from_slice(&v.cc[..8]);
    Termio {
        flags: [v.iflag, v.oflag, v.cflag, v.lflag].map(|f| f as u16),
        line: v.line,
        cc,
        pad: 0,
    }
}

fn lengthen(short: &Termio, v: &mut Termios) {
    let flags = [&mut v.iflag, &mut v.oflag, &mut v.cflag, &mut v.lflag];
    for (long, short) in flags.into_iter().zip(short.flags) {
        *long = *long & 0xffff_0000 | u32::from(short);
    }
    v.line = short.line;
    v.cc[..8].copy_from_slice(&short.cc);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_and_speeds() {
        assert_eq!(size_of::<Termios>(), 44);
        assert_eq!(size_of::<Termio>(), 18);
        let mut t = Termios::new();
        t.cflag = t.cflag & !raw::CBAUD | raw::B115200;
        t.settle_speeds();
        assert_eq!((t.ispeed, t.ospeed), (115200, 115200));
        t.cflag = t.cflag & !raw::CBAUD | raw::BOTHER;
        t.ospeed = 12345;
        t.settle_speeds();
        assert_eq!(t.ospeed, 12345);
    }
}
