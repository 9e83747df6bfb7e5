//! Arguments as text, by their kinds in the table.

use super::names;
use crate::net::Address;
use crate::syscall::Entry;
use crate::user::{self, UserAddr};
use crate::{SysResult, Task};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bastide_abi::net::MsgHdr;
use core::fmt::Write;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes shown of a buffer.
const SHOWN: usize = 32;
/// Elements shown of an array.
const ELEMENTS: usize = 16;
const AT_FDCWD: i32 = -100;

/// The kind is filled by the call: it can only be shown afterwards.
pub fn is_output(kind: &str) -> bool {
    matches!(
        kind,
        "bufout"
            | "iovecout"
            | "msghdrout"
            | "sockaddrout"
            | "stat"
            | "fdpair"
            | "wstatus"
            | "timespecout"
            | "timevalout"
            | "sigsetout"
            | "intout"
            | "strout"
            | "optionout"
            | "sigactionout"
            | "rlimitout"
            | "epollout"
    )
}

/// Everything a kind may need to be shown.
pub struct Call<'a> {
    pub t: &'a Task,
    pub args: [u64; 6],
    /// `None` before the call.
    pub result: Option<SysResult>,
}

impl Call<'_> {
    /// Argument `i` as text.
    pub fn show(&self, kind: &str, i: usize) -> String {
        let v = self.args.get(i).copied().unwrap_or(0);
        let next = self.args.get(i + 1).copied().unwrap_or(0);
        let before = |n: usize| i.checked_sub(n).map_or(0, |j| self.args[j]);
        if is_output(kind) && !matches!(self.result, Some(Ok(_))) {
            return pointer(v);
        }
        match kind {
            "fd" | "int" | "pid" => format!("{}", v as i32),
            "uid" => match v as u32 {
                u32::MAX => String::from("-1"),
                n => format!("{n}"),
            },
            "uint" => format!("{}", v as u32),
            "size" => format!("{v}"),
            "off" => format!("{}", v as i64),
            "hex" | "flags" => match v {
                0 => String::from("0"),
                v => format!("{v:#x}"),
            },
            "mode" => format!("{:#04o}", v as u32).replacen("0o", "0", 1),
            "dirfd" if v as i32 == AT_FDCWD => String::from("AT_FDCWD"),
            "dirfd" => format!("{}", v as i32),
            "path" => self.text(v, user::PATH_MAX),
            "str" => self.text(v, SHOWN),
            "strv" => self.strings(v),
            "envp" => self.count(v),
            "buf" => self.buffer(v, next as usize),
            "strout" => self.text(v, user::PATH_MAX),
            "option" => self.option(v, next as usize),
            "optionout" => match self.read::<i32>(next) {
                Some(len) => self.option(v, usize::try_from(len).unwrap_or(0)),
                None => pointer(v),
            },
            "sigaction" | "sigactionout" => self.action(v),
            "rlimit" | "rlimitout" => self.limit(v),
            "pollfds" => self.poll_list(v, next as usize),
            "epollop" => names::constant(v, names::EPOLL_OP),
            "epollevent" => self.epoll_events(v, 1).map_or(pointer(v), |l| l.join("")),
            "epollout" => self
                .epoll_events(v, self.returned())
                .map_or(pointer(v), |l| format!("[{}]", l.join(", "))),
            "bufout" => self.buffer(v, self.returned()),
            "oflags" => names::open(u64::from(v as u32)),
            "prot" => names::flags(v, names::PROT, "PROT_NONE"),
            "mapflags" => names::flags(v, names::MAP, "0"),
            "amode" => names::flags(v, names::AMODE, "F_OK"),
            "atflags" => names::flags(u64::from(v as u32), names::AT, "0"),
            "msgflags" => names::flags(u64::from(v as u32), names::MSG, "0"),
            "cloneflags" => self.clone_flags(v),
            "waitopts" => names::flags(u64::from(v as u32), names::WAIT, "0"),
            "whence" => names::constant(v, names::WHENCE),
            "shut" => names::constant(v, names::SHUT),
            "sockdomain" => names::constant(v, names::DOMAIN),
            "socktype" => names::socket_type(u64::from(v as u32)),
            "sockflags" => names::flags(v, names::SOCK_FLAGS, "0"),
            "socklevel" => names::constant(v, names::SOCK_LEVEL),
            "sockopt" => names::socket_option(before(1), v),
            "sighow" => names::constant(v, names::SIGHOW),
            "clock" => names::constant(v, names::CLOCK),
            "fcntl" => names::constant(v, names::FCNTL),
            "futexop" => names::futex(u64::from(v as u32)),
            "ioctl" => names::constant(u64::from(v as u32), names::IOCTL),
            "rlimitid" => names::constant(v, names::RLIMIT),
            "signal" => names::signal(v as i32),
            "sigset" | "sigsetout" => self.signals(v),
            "timespec" | "timespecout" => self.time(v, "tv_nsec"),
            "timeval" | "timevalout" => self.time(v, "tv_usec"),
            "sockaddr" => self.address(v, next as usize),
            "sockaddrout" => self.address_out(v, next),
            "iovec" => self.pieces(v, next as usize, usize::MAX),
            "iovecout" => self.pieces(v, next as usize, self.returned()),
            "msghdr" => self.message(v, usize::MAX),
            "msghdrout" => self.message(v, self.returned()),
            "stat" => self.stat(v),
            "fdpair" => match self.read::<[i32; 2]>(v) {
                Some([a, b]) => format!("[{a}, {b}]"),
                None => pointer(v),
            },
            "intout" => match self.read::<i32>(v) {
                Some(n) => format!("[{n}]"),
                None => pointer(v),
            },
            "wstatus" => self.wait_status(v),
            _ => pointer(v),
        }
    }

    /// The mode at place `i` means something: `open(2)` reads it only when it may create a file.
    pub fn takes_mode(&self, entry: Option<&Entry>, i: usize) -> bool {
        const O_CREAT: u64 = 0o100;
        const O_TMPFILE: u64 = 0o20000000;
        let before = i.checked_sub(1).map_or(0, |j| self.args[j]);
        let kind = entry.and_then(|e| e.args.split(',').nth(i.wrapping_sub(1)));
        kind != Some("oflags") || before & (O_CREAT | O_TMPFILE) != 0
    }

    fn returned(&self) -> usize {
        match self.result {
            Some(Ok(n)) => n,
            _ => 0,
        }
    }

    fn read<T: FromBytes + IntoBytes>(&self, addr: u64) -> Option<T> {
        if addr == 0 {
            return None;
        }
        user::read(self.t, UserAddr(addr as usize)).ok()
    }

    fn bytes(&self, addr: u64, len: usize) -> Option<Vec<u8>> {
        let mut out = alloc::vec![0; len];
        user::read_bytes(self.t, UserAddr(addr as usize), &mut out).ok()?;
        Some(out)
    }

    /// A string with its end, or as much as `max` bytes of it.
    fn text(&self, addr: u64, max: usize) -> String {
        if addr == 0 {
            return String::from("NULL");
        }
        let end = crate::Errno::ENAMETOOLONG;
        match user::read_cstr(self.t, UserAddr(addr as usize), max + 1, end) {
            Ok(s) => quote(&s, false),
            Err(e) if e == end => match self.bytes(addr, max) {
                Some(s) => quote(&s, true),
                None => pointer(addr),
            },
            Err(_) => pointer(addr),
        }
    }

    fn buffer(&self, addr: u64, len: usize) -> String {
        if addr == 0 {
            return String::from("NULL");
        }
        match self.bytes(addr, len.min(SHOWN)) {
            Some(b) => quote(&b, len > SHOWN),
            None => pointer(addr),
        }
    }

    /// An option's value: most are integers.
    fn option(&self, addr: u64, len: usize) -> String {
        match self.read::<i32>(addr) {
            Some(n) if len == 4 => format!("[{n}]"),
            _ => self.buffer(addr, len),
        }
    }

    fn words(&self, addr: u64) -> impl Iterator<Item = u64> {
        (0..).map_while(move |i: u64| {
            let at = addr.checked_add(i * 8)?;
            self.read::<u64>(at).filter(|&p| p != 0)
        })
    }

    fn strings(&self, addr: u64) -> String {
        if addr == 0 {
            return String::from("NULL");
        }
        let mut out = String::from("[");
        for (i, p) in self.words(addr).enumerate() {
            if i > 0 {
                out.push_str(", ");
            }
            if i == ELEMENTS {
                out.push_str("...");
                break;
            }
            out.push_str(&self.text(p, SHOWN));
        }
        out.push(']');
        out
    }

    fn count(&self, addr: u64) -> String {
        if addr == 0 {
            return String::from("NULL");
        }
        let n = self.words(addr).take(100_000).count();
        let s = if n == 1 { "" } else { "s" };
        format!("{addr:#x} /* {n} var{s} */")
    }

    fn clone_flags(&self, v: u64) -> String {
        let signal = (v & 0xff) as i32;
        let rest = names::flags(v & !0xff, names::CLONE, "");
        match (rest.is_empty(), signal) {
            (true, 0) => String::from("0"),
            (true, s) => names::signal(s),
            (false, 0) => rest,
            (false, s) => format!("{rest}|{}", names::signal(s)),
        }
    }

    fn signals(&self, addr: u64) -> String {
        match self.read::<u64>(addr) {
            Some(set) => signal_set(set),
            None => pointer(addr),
        }
    }

    fn time(&self, addr: u64, fraction: &str) -> String {
        match self.read::<[i64; 2]>(addr) {
            Some([sec, part]) => format!("{{tv_sec={sec}, {fraction}={part}}}"),
            None => pointer(addr),
        }
    }

    fn address(&self, addr: u64, len: usize) -> String {
        if addr == 0 {
            return String::from("NULL");
        }
        match self.bytes(addr, len.min(128)) {
            Some(b) => socket_address(&b),
            None => pointer(addr),
        }
    }

    fn address_out(&self, addr: u64, len_at: u64) -> String {
        match self.read::<u32>(len_at) {
            Some(len) => self.address(addr, len as usize),
            None => pointer(addr),
        }
    }

    /// An `iovec` array, of whose contents `left` bytes are shown.
    fn pieces(&self, addr: u64, count: usize, mut left: usize) -> String {
        if addr == 0 {
            return String::from("NULL");
        }
        let mut out = String::from("[");
        for i in 0..count {
            if i > 0 {
                out.push_str(", ");
            }
            if i == ELEMENTS {
                out.push_str("...");
                break;
            }
            let Some([base, len]) = addr
                .checked_add(i as u64 * 16)
                .and_then(|at| self.read::<[u64; 2]>(at))
            else {
                return pointer(addr);
            };
            let n = left.min(len as usize);
            left -= n;
            let base = self.buffer(base, n);
            let _ = write!(out, "{{iov_base={base}, iov_len={len}}}");
        }
        out.push(']');
        out
    }

    fn message(&self, addr: u64, len: usize) -> String {
        let Some(h) = self.read::<MsgHdr>(addr) else {
            return pointer(addr);
        };
        let namelen = h.namelen;
        let name = self.address(h.name, usize::try_from(namelen).unwrap_or(0));
        let iov = self.pieces(h.iov, h.iovlen as usize, len);
        let flags = names::flags(u64::from(h.flags), names::MSG, "0");
        format!(
            "{{msg_name={name}, msg_namelen={namelen}, msg_iov={iov}, msg_iovlen={}, \
             msg_controllen={}, msg_flags={flags}}}",
            h.iovlen, h.controllen
        )
    }

    fn stat(&self, addr: u64) -> String {
        // struct stat: mode at 24, rdev at 40, size at 48.
        let Some(words) = self.read::<[u64; 7]>(addr) else {
            return pointer(addr);
        };
        let mode = words[3] & 0xffff_ffff;
        let kind = names::constant(mode & 0o170000, names::FILE_TYPE);
        let perm = format!("{:#o}", mode & 0o7777).replacen("0o", "0", 1);
        let size = words[6] as i64;
        if matches!(mode & 0o170000, 0o020000 | 0o060000) {
            let rdev = words[5];
            format!("{{st_mode={kind}|{perm}, st_rdev={rdev:#x}, ...}}")
        } else {
            format!("{{st_mode={kind}|{perm}, st_size={size}, ...}}")
        }
    }

    /// `struct sigaction` as the kernel knows it: handler, flags, restorer, mask.
    fn action(&self, addr: u64) -> String {
        let Some([handler, flags, _, mask]) = self.read::<[u64; 4]>(addr) else {
            return pointer(addr);
        };
        let handler = match handler {
            0 => String::from("SIG_DFL"),
            1 => String::from("SIG_IGN"),
            h => format!("{h:#x}"),
        };
        format!(
            "{{sa_handler={handler}, sa_mask={}, sa_flags={}}}",
            signal_set(mask),
            names::flags(flags, names::SA, "0")
        )
    }

    fn limit(&self, addr: u64) -> String {
        let show = |n: u64| match n {
            u64::MAX => String::from("RLIM64_INFINITY"),
            n => format!("{n}"),
        };
        match self.read::<[u64; 2]>(addr) {
            Some([soft, hard]) => {
                format!("{{rlim_cur={}, rlim_max={}}}", show(soft), show(hard))
            }
            None => pointer(addr),
        }
    }

    fn poll_fds(&self, addr: u64, count: usize) -> Option<Vec<[u16; 4]>> {
        let bytes = self.bytes(addr, count.min(1024) * 8)?;
        let (all, _) = bytes.as_chunks::<8>();
        Some(
            all.iter()
                .map(|c| [0, 2, 4, 6].map(|i| u16::from_ne_bytes([c[i], c[i + 1]])))
                .collect(),
        )
    }

    fn poll_list(&self, addr: u64, count: usize) -> String {
        let Some(all) = self.poll_fds(addr, count.min(ELEMENTS + 1)) else {
            return pointer(addr);
        };
        let one = |[lo, hi, events, _]: &[u16; 4]| {
            let fd = (u32::from(*lo) | u32::from(*hi) << 16) as i32;
            let events = names::flags(u64::from(*events), names::POLL, "0");
            format!("{{fd={fd}, events={events}}}")
        };
        let mut list: Vec<String> = all.iter().take(ELEMENTS).map(one).collect();
        if count > ELEMENTS {
            list.push(String::from("..."));
        }
        format!("[{}]", list.join(", "))
    }

    /// What `poll(2)` said, behind its result.
    pub fn polled(&self, ready: usize) -> String {
        if ready == 0 {
            return String::from(" (Timeout)");
        }
        let all = self.poll_fds(self.args[0], self.args[1] as usize);
        let list: Vec<String> = all
            .unwrap_or_default()
            .iter()
            .filter(|p| p[3] != 0)
            .take(ELEMENTS)
            .map(|[lo, hi, _, revents]| {
                let fd = (u32::from(*lo) | u32::from(*hi) << 16) as i32;
                let events = names::flags(u64::from(*revents), names::POLL, "0");
                format!("{{fd={fd}, revents={events}}}")
            })
            .collect();
        format!(" ([{}])", list.join(", "))
    }

    /// Packed `struct epoll_event`s.
    fn epoll_events(&self, addr: u64, count: usize) -> Option<Vec<String>> {
        if addr == 0 {
            return None;
        }
        let bytes = self.bytes(addr, count.min(ELEMENTS) * 12)?;
        let (all, _) = bytes.as_chunks::<12>();
        Some(
            all.iter()
                .map(|c| {
                    let events = u32::from_ne_bytes([c[0], c[1], c[2], c[3]]);
                    let mut data = [0; 8];
                    data.copy_from_slice(&c[4..]);
                    format!(
                        "{{events={}, data={:#x}}}",
                        names::flags(u64::from(events), names::EPOLL, "0"),
                        u64::from_ne_bytes(data)
                    )
                })
                .collect(),
        )
    }

    fn wait_status(&self, addr: u64) -> String {
        let Some(s) = self.read::<i32>(addr) else {
            return pointer(addr);
        };
        if self.returned() == 0 {
            return pointer(addr);
        }
        let signal = s & 0x7f;
        if signal == 0 {
            let code = s >> 8 & 0xff;
            format!("[{{WIFEXITED(s) && WEXITSTATUS(s) == {code}}}]")
        } else if signal == 0x7f && s != 0xffff {
            let stop = names::signal(s >> 8 & 0xff);
            format!("[{{WIFSTOPPED(s) && WSTOPSIG(s) == {stop}}}]")
        } else if s == 0xffff {
            String::from("[{WIFCONTINUED(s)}]")
        } else {
            let name = names::signal(signal);
            let core = if s & 0x80 != 0 {
                " && WCOREDUMP(s)"
            } else {
                ""
            };
            format!("[{{WIFSIGNALED(s) && WTERMSIG(s) == {name}{core}}}]")
        }
    }
}

/// `NULL` or a hexadecimal address.
pub fn pointer(v: u64) -> String {
    match v {
        0 => String::from("NULL"),
        v => format!("{v:#x}"),
    }
}

/// `[INT QUIT]`, or `~[...]` when most are in it.
pub fn signal_set(set: u64) -> String {
    let inverse = set.count_ones() > 32;
    let shown = if inverse { !set } else { set };
    let mut out = String::from(if inverse { "~[" } else { "[" });
    let mut first = true;
    for n in 1..=64 {
        if shown >> (n - 1) & 1 != 0 {
            if !first {
                out.push(' ');
            }
            first = false;
            out.push_str(&names::signal_short(n));
        }
    }
    out.push(']');
    out
}

/// Bytes as a C string.
pub fn quote(bytes: &[u8], cut: bool) -> String {
    let mut out = String::from("\"");
    for (i, &b) in bytes.iter().enumerate() {
        match b {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\r' => out.push_str("\\r"),
            0x0b => out.push_str("\\v"),
            0x0c => out.push_str("\\f"),
            0x20..=0x7e => out.push(char::from(b)),
            _ => {
                // As short as can be: a digit that follows would belong to the number.
                let digit = bytes.get(i + 1).is_some_and(u8::is_ascii_digit);
                let _ = if digit {
                    write!(out, "\\{b:03o}")
                } else {
                    write!(out, "\\{b:o}")
                };
            }
        }
    }
    out.push('"');
    if cut {
        out.push_str("...");
    }
    out
}

/// A `sockaddr`.
fn socket_address(b: &[u8]) -> String {
    match Address::decode(b) {
        Some(Address::Unix(name)) => match &name[..] {
            [] => String::from("{sa_family=AF_UNIX}"),
            [0, rest @ ..] => format!("{{sa_family=AF_UNIX, sun_path=@{}}}", quote(rest, false)),
            path => {
                let path = path.split(|&c| c == 0).next().unwrap_or_default();
                format!("{{sa_family=AF_UNIX, sun_path={}}}", quote(path, false))
            }
        },
        Some(Address::Inet(core::net::SocketAddr::V4(a))) => format!(
            "{{sa_family=AF_INET, sin_port=htons({}), sin_addr=inet_addr(\"{}\")}}",
            a.port(),
            a.ip()
        ),
        Some(Address::Inet(core::net::SocketAddr::V6(a))) => format!(
            "{{sa_family=AF_INET6, sin6_port=htons({}), inet_pton(AF_INET6, \"{}\")}}",
            a.port(),
            a.ip()
        ),
        Some(Address::Netlink { pid, groups }) => {
            format!("{{sa_family=AF_NETLINK, nl_pid={pid}, nl_groups={groups:#010x}}}")
        }
        None => match b.first_chunk::<2>() {
            Some(f) => {
                let family = u64::from(u16::from_ne_bytes(*f));
                format!("{{sa_family={}}}", names::constant(family, names::DOMAIN))
            }
            None => String::from("{}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, addr};

    #[test]
    fn strings_are_escaped_as_in_c() {
        assert_eq!(quote(b"a\"\\\n\x00", false), r#""a\"\\\n\0""#);
        assert_eq!(quote(b"\x001\x1b", true), r#""\0001\33"..."#);
    }

    #[test]
    fn signal_sets() {
        assert_eq!(signal_set(0), "[]");
        assert_eq!(signal_set(0b110), "[INT QUIT]");
        assert_eq!(signal_set(!0b1), "~[HUP]");
    }

    #[test]
    fn arguments_read_as_in_strace() {
        let t = testing::task();
        let show = |kind: &str, args: [u64; 6], result: Option<SysResult>| {
            Call {
                t: &t,
                args,
                result,
            }
            .show(kind, 0)
        };
        let a = |p: usize, n: usize| [p as u64, n as u64, 0, 0, 0, 0];
        let data = *b"0123456789012345678901234567890123456789\0";
        let d = addr(&data).0;
        assert_eq!(
            show("buf", a(d, 40), None),
            "\"01234567890123456789012345678901\"..."
        );
        assert_eq!(show("buf", a(d, 3), None), "\"012\"");
        assert_eq!(show("bufout", a(d, 40), Some(Ok(2))), "\"01\"");
        assert_eq!(
            show("path", a(d, 0), None),
            "\"0123456789012345678901234567890123456789\""
        );
        assert_eq!(show("dirfd", a(-100i64 as usize, 0), None), "AT_FDCWD");
        assert_eq!(show("mode", a(0o644, 0), None), "0644");
        let ts = [1i64, 5];
        assert_eq!(
            show("timespec", a(addr(&ts).0, 0), None),
            "{tv_sec=1, tv_nsec=5}"
        );
        let sin = Address::Inet("1.2.3.4:80".parse().unwrap()).encode();
        assert_eq!(
            show("sockaddr", a(addr(&sin[..]).0, 16), None),
            "{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"1.2.3.4\")}"
        );
        let iov = [d as u64, 4];
        assert_eq!(
            show("iovec", a(addr(&iov).0, 1), None),
            "[{iov_base=\"0123\", iov_len=4}]"
        );
        let status = 256i32;
        assert_eq!(
            show("wstatus", a(addr(&status).0, 0), Some(Ok(5))),
            "[{WIFEXITED(s) && WEXITSTATUS(s) == 1}]"
        );
    }
}
