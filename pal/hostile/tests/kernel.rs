//! The kernel on a host that lies: each host call in turn, each lie it can tell.
//!
//! The kernel is one per process, so each case runs in a process of its own: this program again,
//! told by the environment what to do.

#[path = "kernel/sealed.rs"]
mod sealed;

use bastide_hostile::{CALLS, Hostile, LIES, REFUSED};
use bastide_libos::kernel::{Upcalls, boot};
use bastide_pal::boot::{BootConfig, Mount, Network, Source, Stdio};
use bastide_pal::{Context, HostFd, Kernel};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as Std};
use std::time::{Duration, Instant};

const CASE: &str = "BASTIDE_HOSTILE_CASE";
/// A child takes well under a second; a loaded machine may need more.
const PATIENCE: Duration = Duration::from_secs(30);

/// Said by a child that made all its calls.
const COMPLETE: &str = "all calls made";

/// Removes a test's directory.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The smallest static program.
fn program() -> Vec<u8> {
    let mut e = vec![0u8; 128];
    e[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let mut put = |at: usize, bytes: &[u8]| e[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &[2, 0, 62, 0, 1]); // EXEC, x86-64
    put(24, &0x400078u64.to_le_bytes()); // entry
    put(32, &64u64.to_le_bytes()); // program headers
    put(52, &[64, 0, 56, 0, 1, 0, 64, 0]);
    put(64, &[1, 0, 0, 0, 5]); // LOAD, r-x
    put(80, &0x400000u64.to_le_bytes());
    put(88, &0x400000u64.to_le_bytes());
    put(96, &128u64.to_le_bytes());
    put(104, &128u64.to_le_bytes());
    put(112, &4096u64.to_le_bytes());
    e
}

/// A tree of files for the program.
fn tree(root: &Path) {
    for dir in [
        "bin", "ov", "proc", "dev", "sys", "tmp", "dir", "vol", "img", "sealed",
    ] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::write(root.join("bin/prog"), program()).unwrap();
    Command::new("chmod")
        .arg("755")
        .arg(root.join("bin/prog"))
        .status()
        .unwrap();
    fs::write(root.join("file"), [b'f'; 10_000]).unwrap();
    fs::write(root.join("dir/inner"), b"inner").unwrap();
    std::os::unix::fs::symlink("file", root.join("sym")).unwrap();
    sealed::make(root);
}

fn keep(f: impl IntoRawFd) -> HostFd {
    HostFd(f.into_raw_fd())
}

fn config(root: &Path) -> BootConfig {
    let (input, mut feed) = std::io::pipe().unwrap();
    feed.write_all(&[b'i'; 1000]).unwrap();
    std::mem::forget(feed);
    // A terminal: the other end stays open, and nobody types.
    let ptmx = File::options()
        .read(true)
        .write(true)
        .open("/dev/ptmx")
        .unwrap();
    let fd = keep(ptmx);
    let mut n = 0i32;
    // SAFETY: both requests are for a terminal and take a pointer to an int.
    let n = unsafe {
        libc::ioctl(fd.0, libc::TIOCSPTLCK, &n);
        libc::ioctl(fd.0, libc::TIOCGPTN, &mut n);
        n
    };
    let tty = File::options()
        .read(true)
        .write(true)
        .open(format!("/dev/pts/{n}"))
        .unwrap();
    let tty = keep(tty);
    let log = File::create(root.join("log")).unwrap();
    let mount = |target: &str, source| Mount {
        target: target.into(),
        source,
        read_only: false,
    };
    let open = || keep(File::open(root).unwrap());
    let stdio = |fd, tty, flags| Some(Stdio { fd, tty, flags });
    BootConfig {
        program: b"/bin/prog".to_vec(),
        argv: vec![b"prog".to_vec()],
        env: Vec::new(),
        cwd: b"/".to_vec(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        hostname: b"test".to_vec(),
        umask: 0o022,
        ignored_signals: 0,
        init: true,
        mounts: vec![
            mount("/", Source::Host { root: open() }),
            mount(
                "/ov",
                Source::Overlay {
                    lower: vec![Source::Host { root: open() }],
                    upper: Box::new(Source::Tmpfs {
                        size: 0,
                        mode: 0o755,
                    }),
                },
            ),
            mount("/vol", sealed::volume(root)),
            mount("/img", sealed::image(root)),
            mount(
                "/sealed",
                sealed::overlay(root, Source::Host { root: open() }),
            ),
            mount("/proc", Source::Proc),
            mount("/dev", Source::Dev),
            mount("/sys", Source::Sys),
            mount(
                "/tmp",
                Source::Tmpfs {
                    size: 0,
                    mode: 0o1777,
                },
            ),
        ],
        stdio: [
            stdio(keep(input), false, 0),
            stdio(keep(log), false, 1),
            stdio(tty, true, 2),
        ],
        terminal: Some(tty),
        trace: None,
        trace_summary: false,
        patch: true,
        log: String::new(),
        network: Network {
            open: true,
            publish: Vec::new(),
            connect: Vec::new(),
        },
        rlimits: Vec::new(),
        seed: [7; 32],
    }
}

/// The application: system calls of one task.
struct App {
    token: usize,
    /// Its memory, mapped by the kernel under test.
    mem: usize,
}

impl App {
    /// A system call; its result is a value or a Linux error.
    fn call(&self, nr: libc::c_long, args: &[usize]) -> i64 {
        let arg = |i: usize| args.get(i).copied().unwrap_or(0) as u64;
        let mut ctx = Context::new();
        ctx.orig_rax = nr as u64;
        ctx.rax = nr as u64;
        (ctx.rdi, ctx.rsi, ctx.rdx) = (arg(0), arg(1), arg(2));
        (ctx.r10, ctx.r8, ctx.r9) = (arg(3), arg(4), arg(5));
        Upcalls.syscall(self.token, &mut ctx);
        let r = ctx.rax as i64;
        if std::env::var_os("BASTIDE_HOSTILE_TRACE").is_some() {
            eprintln!("call {nr} {args:x?} = {r}");
        }
        assert!((-133..).contains(&r), "call {nr} {args:x?} returned {r}");
        r
    }

    /// A call that moves at most `max` bytes.
    fn moves(&self, max: usize, nr: libc::c_long, args: &[usize]) -> i64 {
        let r = self.call(nr, args);
        assert!(r <= max as i64, "call {nr} {args:x?} moved {r} bytes");
        r
    }

    /// A string in the application's memory.
    fn str(&self, at: usize, s: &str) -> usize {
        self.put(0x8000 + at * 0x400, &[s.as_bytes(), &[0]].concat())
    }

    fn put(&self, at: usize, bytes: &[u8]) -> usize {
        bastide_base::user::write(self.mem + at, bytes).unwrap();
        self.mem + at
    }

    fn word(&self, at: usize) -> u32 {
        bastide_base::user::load_u32(self.mem + at).unwrap()
    }
}

const FDCWD: usize = libc::AT_FDCWD as usize;
const BUF: usize = 4096;
const SIZE: usize = 1 << 20;

fn files(a: &App, base: &str) {
    let buf = a.mem + BUF;
    let p = |i: usize, name: &str| a.str(i, &format!("{base}{name}"));
    let (file, new, other) = (p(0, "file"), p(1, "new"), p(2, "other"));
    let (dir, sub, sym) = (p(3, "dir"), p(4, "sub"), p(5, "sym"));
    let here = p(6, "");
    for nr in [libc::SYS_stat, libc::SYS_lstat] {
        a.call(nr, &[file, buf]);
        a.call(nr, &[sym, buf]);
    }
    a.call(libc::SYS_statx, &[FDCWD, file, 0, 0xfff, buf]);
    a.call(libc::SYS_statfs, &[file, buf]);
    a.moves(100, libc::SYS_readlink, &[sym, buf, 100]);
    a.moves(8192, libc::SYS_readlink, &[sym, buf, 8192]);
    a.call(libc::SYS_access, &[file, 4]);
    for d in [here, dir] {
        let fd = a.call(libc::SYS_open, &[d, libc::O_DIRECTORY as usize]);
        if fd >= 0 {
            let fd = fd as usize;
            a.moves(3000, libc::SYS_getdents64, &[fd, buf, 3000]);
            a.moves(3000, libc::SYS_getdents64, &[fd, buf, 3000]);
            a.call(libc::SYS_fsync, &[fd]);
            a.call(libc::SYS_fchdir, &[fd]);
            a.moves(1000, libc::SYS_getcwd, &[buf, 1000]);
            a.call(libc::SYS_close, &[fd]);
        }
    }
    for (path, flags) in [
        (file, libc::O_RDWR),
        (new, libc::O_RDWR | libc::O_CREAT),
        (
            other,
            libc::O_RDWR | libc::O_CREAT | libc::O_APPEND | libc::O_EXCL,
        ),
        (sym, libc::O_RDONLY),
        (file, libc::O_WRONLY | libc::O_TRUNC),
    ] {
        let fd = a.call(libc::SYS_open, &[path, flags as usize, 0o644]);
        if fd < 0 {
            continue;
        }
        let fd = fd as usize;
        a.call(libc::SYS_fstat, &[fd, buf]);
        a.moves(100, libc::SYS_write, &[fd, buf, 100]);
        a.moves(100, libc::SYS_write, &[fd, buf, 100]);
        a.moves(5000, libc::SYS_pwrite64, &[fd, buf, 5000, 70_000]);
        a.call(libc::SYS_lseek, &[fd, 0, 0]);
        a.moves(50, libc::SYS_read, &[fd, buf, 50]);
        a.moves(50, libc::SYS_read, &[fd, buf, 50]);
        a.moves(9000, libc::SYS_pread64, &[fd, buf, 9000, 10]);
        let iov = a.put(0, bytes(&[buf as u64, 10, buf as u64 + 100, 20]));
        a.moves(30, libc::SYS_readv, &[fd, iov, 2]);
        a.moves(30, libc::SYS_writev, &[fd, iov, 2]);
        for whence in 1..5 {
            a.call(libc::SYS_lseek, &[fd, 20, whence]);
        }
        let tmp = a.call(libc::SYS_memfd_create, &[a.str(7, "m"), 0]);
        a.moves(6000, libc::SYS_sendfile, &[tmp as usize, fd, 0, 6000]);
        a.call(libc::SYS_lseek, &[tmp as usize, 0, 0]);
        a.moves(6000, libc::SYS_sendfile, &[fd, tmp as usize, 0, 6000]);
        a.moves(
            6000,
            libc::SYS_copy_file_range,
            &[fd, 0, tmp as usize, 0, 6000, 0],
        );
        a.call(libc::SYS_close, &[tmp as usize]);
        a.call(libc::SYS_ftruncate, &[fd, 20_000]);
        a.call(libc::SYS_fallocate, &[fd, 0, 0, 30_000]);
        a.call(libc::SYS_fsync, &[fd]);
        a.call(libc::SYS_fdatasync, &[fd]);
        a.call(libc::SYS_fchmod, &[fd, 0o600]);
        for shared in [1, 2] {
            let m = a.call(libc::SYS_mmap, &[0, 16384, 3, shared, fd, 0]);
            if m > 0 {
                let m = m as usize;
                a.moves(8, libc::SYS_pwrite64, &[fd, m, 8, 0]);
                a.call(libc::SYS_mincore, &[m, 16384, buf]);
                a.call(libc::SYS_msync, &[m, 16384, 4]);
                a.call(libc::SYS_mprotect, &[m, 4096, 1]);
                a.call(libc::SYS_munmap, &[m, 16384]);
            }
        }
        a.call(libc::SYS_fstatfs, &[fd, buf]);
        a.call(libc::SYS_close, &[fd]);
    }
    a.call(libc::SYS_truncate, &[new, 123]);
    a.call(libc::SYS_chmod, &[new, 0o600]);
    a.call(libc::SYS_chown, &[new, 1, 1]);
    a.call(libc::SYS_utimensat, &[FDCWD, new, 0, 0]);
    let (name, value) = (a.str(12, "user.x"), a.put(0, &[b'v'; 100]));
    a.call(libc::SYS_setxattr, &[new, name, value, 100, 0]);
    a.moves(4096, libc::SYS_getxattr, &[new, name, buf, 4096]);
    a.moves(4096, libc::SYS_listxattr, &[new, buf, 4096]);
    a.call(libc::SYS_listxattr, &[new, 0, 0]);
    a.call(libc::SYS_removexattr, &[new, name]);
    let unnamed = [here, libc::O_TMPFILE as usize | 2, 0o600];
    let fd = a.call(libc::SYS_open, &unnamed);
    if fd >= 0 {
        let fd = fd as usize;
        a.moves(100, libc::SYS_write, &[fd, buf, 100]);
        let at = [fd, a.str(13, ""), FDCWD, sub, libc::AT_EMPTY_PATH as usize];
        a.call(libc::SYS_linkat, &at);
        a.call(libc::SYS_unlink, &[sub]);
        a.call(libc::SYS_close, &[fd]);
    }
    a.call(libc::SYS_mkdir, &[sub, 0o755]);
    a.call(libc::SYS_mknod, &[p(7, "fifo"), 0o10644, 0]);
    a.call(libc::SYS_symlink, &[new, p(8, "sym2")]);
    a.call(libc::SYS_link, &[new, p(9, "hard")]);
    a.call(libc::SYS_rename, &[p(9, "hard"), p(10, "sub/moved")]);
    a.call(
        libc::SYS_renameat2,
        &[FDCWD, p(10, "sub/moved"), FDCWD, new, 2],
    );
    a.call(libc::SYS_rename, &[sub, p(11, "sub2")]);
    a.call(libc::SYS_stat, &[p(10, "sub2/moved"), buf]);
    for name in ["sub2/moved", "fifo", "sym2", "new", "other"] {
        a.call(libc::SYS_unlink, &[p(12, name)]);
    }
    a.call(libc::SYS_rmdir, &[p(11, "sub2")]);
    a.call(libc::SYS_chdir, &[a.str(0, "/")]);
}

/// Numbers as the application's memory holds them.
fn bytes(words: &[u64]) -> &[u8] {
    // SAFETY: numbers without padding are bytes.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

fn inet(port: u16) -> [u8; 16] {
    let mut s = [0; 16];
    s[0] = 2;
    s[2..4].copy_from_slice(&port.to_be_bytes());
    s[4..8].copy_from_slice(&[127, 0, 0, 1]);
    s
}

/// Peers of the application, outside: they answer what comes.
fn peers() -> (u16, u16) {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ports = (
        tcp.local_addr().unwrap().port(),
        udp.local_addr().unwrap().port(),
    );
    std::thread::spawn(move || {
        for s in tcp.incoming() {
            let mut s = s.unwrap();
            let _ = s.write_all(&[b't'; 3000]);
            std::mem::forget(s);
        }
    });
    std::thread::spawn(move || {
        let mut buf = [0; 2000];
        while let Ok((n, from)) = udp.recv_from(&mut buf) {
            let _ = udp.send_to(&buf[..n], from);
        }
    });
    ports
}

fn talk(a: &App, fd: usize) {
    let buf = a.mem + BUF;
    let (addr, len) = (a.mem + 0x600, a.mem + 0x700);
    let iov = a.put(0x400, bytes(&[buf as u64, 10, buf as u64 + 100, 20]));
    let wait = a.put(0x500, bytes(&[fd as u64 | 0xff << 32]));
    a.call(libc::SYS_poll, &[wait, 1, 50]);
    for flags in [libc::MSG_PEEK, 0, 0] {
        let flags = (flags | libc::MSG_DONTWAIT) as usize;
        a.put(0x700, &64u32.to_le_bytes());
        a.moves(64, libc::SYS_recvfrom, &[fd, buf, 64, flags, addr, len]);
        let msg = [addr as u64, 64, iov as u64, 2, buf as u64 + 2000, 500, 0];
        let msg = a.put(0x440, bytes(&msg));
        a.moves(30, libc::SYS_recvmsg, &[fd, msg, flags]);
        a.moves(30, libc::SYS_readv, &[fd, iov, 2]);
    }
    for name in [libc::SYS_getsockname, libc::SYS_getpeername] {
        a.put(0x700, &64u32.to_le_bytes());
        a.call(name, &[fd, addr, len]);
    }
    for (level, name) in [
        (1, libc::SO_ERROR),
        (1, libc::SO_RCVBUF),
        (6, 11),
        (1, libc::SO_LINGER),
    ] {
        a.put(0x700, &64u32.to_le_bytes());
        a.call(libc::SYS_getsockopt, &[fd, level, name as usize, buf, len]);
    }
    let one = a.put(0x710, &1u32.to_le_bytes());
    a.call(
        libc::SYS_setsockopt,
        &[fd, 1, libc::SO_KEEPALIVE as usize, one, 4],
    );
    a.call(libc::SYS_ioctl, &[fd, libc::FIONREAD as usize, buf]);
    a.call(libc::SYS_ioctl, &[fd, libc::TIOCOUTQ as usize, buf]);
    let file = a.call(libc::SYS_open, &[a.str(0, "/file"), 0]);
    a.moves(100, libc::SYS_sendfile, &[fd, file as usize, 0, 100]);
    a.call(libc::SYS_close, &[file as usize]);
    // Host descriptors in an epoll set.
    let set = a.call(libc::SYS_epoll_create1, &[0]) as usize;
    let ev = a.put(0x720, bytes(&[0x5, 0]));
    a.call(libc::SYS_epoll_ctl, &[set, 1, fd, ev]);
    a.call(libc::SYS_epoll_ctl, &[set, 1, 0, ev]);
    for _ in 0..3 {
        a.moves(4, libc::SYS_epoll_wait, &[set, buf, 4, 10]);
    }
    a.call(libc::SYS_epoll_ctl, &[set, 2, 0, ev]);
    a.call(libc::SYS_close, &[set]);
}

fn sockets(a: &App) {
    let (tcp, udp) = peers();
    let buf = a.mem + BUF;
    let nonblock = libc::SOCK_NONBLOCK as usize;
    let dont = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as usize;
    for (kind, port) in [(1, tcp), (2, udp)] {
        let fd = a.call(libc::SYS_socket, &[2, kind | nonblock, 0]);
        if fd < 0 {
            continue;
        }
        let fd = fd as usize;
        let to = a.put(0x300, &inet(port));
        a.moves(50, libc::SYS_sendto, &[fd, buf, 50, dont, to, 16]);
        a.call(libc::SYS_connect, &[fd, to, 16]);
        let wait = a.put(0x500, bytes(&[fd as u64 | 4 << 32]));
        a.call(libc::SYS_poll, &[wait, 1, 50]);
        a.moves(50, libc::SYS_sendto, &[fd, buf, 50, dont, 0, 0]);
        let iov = a.put(0x400, bytes(&[buf as u64, 10, buf as u64 + 100, 20]));
        a.moves(30, libc::SYS_writev, &[fd, iov, 2]);
        talk(a, fd);
        a.call(libc::SYS_shutdown, &[fd, 1]);
        a.call(libc::SYS_close, &[fd]);
    }
    let fd = a.call(libc::SYS_socket, &[2, 1 | nonblock, 0]);
    if fd < 0 {
        return;
    }
    let fd = fd as usize;
    let any = a.put(0x300, &inet(0));
    a.call(libc::SYS_bind, &[fd, any, 16]);
    a.call(libc::SYS_listen, &[fd, 5]);
    a.put(0x700, &64u32.to_le_bytes());
    a.call(libc::SYS_getsockname, &[fd, a.mem + 0x600, a.mem + 0x700]);
    let port = u16::from_be_bytes(a.word(0x600).to_le_bytes()[2..].try_into().unwrap());
    let outside = TcpStream::connect_timeout(
        &([127, 0, 0, 1], port.max(1)).into(),
        Duration::from_millis(200),
    );
    if let Ok(mut s) = outside {
        let _ = s.write_all(&[b'o'; 500]);
        std::mem::forget(s);
    }
    let wait = a.put(0x500, bytes(&[fd as u64 | 1 << 32]));
    a.call(libc::SYS_poll, &[wait, 1, 100]);
    a.put(0x700, &64u32.to_le_bytes());
    let got = a.call(
        libc::SYS_accept4,
        &[fd, a.mem + 0x600, a.mem + 0x700, nonblock],
    );
    if got >= 0 {
        talk(a, got as usize);
        a.call(libc::SYS_close, &[got as usize]);
    }
    a.call(libc::SYS_close, &[fd]);
}

fn memory(a: &App) {
    let buf = a.mem + BUF;
    let m = a.call(libc::SYS_mmap, &[0, 65536, 3, 0x22, usize::MAX, 0]);
    if m > 0 {
        let m = m as usize;
        a.moves(16, libc::SYS_getrandom, &[m, 16, 0]);
        let moved = a.call(libc::SYS_mremap, &[m, 65536, 131072, 1, 0]);
        let (m, len) = match moved {
            1.. => (moved as usize, 131_072),
            _ => (m, 65536),
        };
        a.call(libc::SYS_mprotect, &[m + 8192, 4096, 1]);
        a.call(libc::SYS_mincore, &[m, len, buf]);
        a.call(libc::SYS_madvise, &[m, 8192, 4]);
        a.call(libc::SYS_munmap, &[m, len]);
    }
    let top = a.call(libc::SYS_brk, &[0]) as usize;
    a.call(libc::SYS_brk, &[top + 65536]);
    let me = a.call(libc::SYS_getpid, &[]) as usize;
    let iov = a.put(0x400, bytes(&[buf as u64, 3000, a.mem as u64, 3000]));
    a.moves(
        3000,
        libc::SYS_process_vm_readv,
        &[me, iov, 1, iov + 16, 1, 0],
    );
    a.moves(
        3000,
        libc::SYS_process_vm_writev,
        &[me, iov, 1, iov + 16, 1, 0],
    );
    let fd = a.call(libc::SYS_open, &[a.str(0, "/proc/self/mem"), 2]);
    a.moves(9000, libc::SYS_pread64, &[fd as usize, buf, 9000, a.mem]);
    a.moves(9000, libc::SYS_pwrite64, &[fd as usize, buf, 9000, buf]);
    let shm = a.call(libc::SYS_shmget, &[0, 20_000, 0o1600]);
    a.call(libc::SYS_shmat, &[shm as usize, 0, 0]);
}

fn machine(a: &App) {
    let buf = a.mem + BUF;
    let short = a.put(0, bytes(&[0, 2_000_000]));
    for clock in 0..12 {
        a.call(libc::SYS_clock_gettime, &[clock, buf]);
    }
    a.call(libc::SYS_gettimeofday, &[buf, 0]);
    a.call(libc::SYS_time, &[0]);
    a.call(libc::SYS_nanosleep, &[short, 0]);
    a.call(libc::SYS_clock_nanosleep, &[0, 0, short, 0]);
    a.call(libc::SYS_times, &[buf]);
    a.call(libc::SYS_getrusage, &[0, buf]);
    let timer = a.call(libc::SYS_timerfd_create, &[1, 0]) as usize;
    let soon = a.put(0x20, bytes(&[0, 1_000_000, 0, 1_000_000]));
    a.call(libc::SYS_timerfd_settime, &[timer, 0, soon, buf]);
    let wait = a.put(0x500, bytes(&[timer as u64 | 1 << 32]));
    a.call(libc::SYS_poll, &[wait, 1, 10]);
    a.call(libc::SYS_timerfd_gettime, &[timer, buf]);
    a.moves(100, libc::SYS_getrandom, &[buf, 100, 0]);
    a.call(libc::SYS_getcpu, &[buf, buf + 4]);
    a.moves(4096, libc::SYS_sched_getaffinity, &[0, 4096, buf]);
    a.put(BUF, &[0xff; 64]);
    a.call(libc::SYS_sched_setaffinity, &[0, 64, buf]);
    a.moves(4096, libc::SYS_sched_getaffinity, &[0, 4096, buf]);
    a.call(libc::SYS_setpriority, &[0, 0, 5]);
    a.call(libc::SYS_sysinfo, &[buf]);
    for name in [
        "/proc/stat",
        "/proc/meminfo",
        "/proc/cpuinfo",
        "/proc/self/status",
        "/proc/self/stat",
        "/proc/self/maps",
        "/proc/self/smaps",
        "/proc/uptime",
        "/proc/loadavg",
        "/proc/mounts",
        "/proc/self/io",
        "/proc/self/limits",
        "/proc/self/statm",
        "/proc/schedstat",
        "/proc/interrupts",
        "/proc/softirqs",
        "/proc/net/tcp",
        "/proc/net/dev",
        "/proc/self/fdinfo/0",
        "/sys/devices/system/cpu/online",
        "/sys/devices/system/cpu/possible",
        "/dev/urandom",
    ] {
        let fd = a.call(libc::SYS_open, &[a.str(0, name), 0]);
        a.moves(60_000, libc::SYS_read, &[fd as usize, buf, 60_000]);
        a.call(libc::SYS_close, &[fd as usize]);
    }
    for dir in ["/sys/devices/system/cpu", "/proc/self/fd"] {
        let fd = a.call(libc::SYS_open, &[a.str(0, dir), 0]);
        a.moves(9000, libc::SYS_getdents64, &[fd as usize, buf, 9000]);
        a.call(libc::SYS_close, &[fd as usize]);
    }
    a.call(libc::SYS_fork, &[]);
}

fn streams(a: &App) {
    let buf = a.mem + BUF;
    for fd in 0..3 {
        a.call(libc::SYS_fstat, &[fd, buf]);
        for request in [
            libc::TCGETS as usize,
            libc::TIOCGWINSZ as usize,
            libc::FIONREAD as usize,
            libc::TIOCGPGRP as usize,
        ] {
            a.call(libc::SYS_ioctl, &[fd, request, buf]);
        }
        a.call(libc::SYS_lseek, &[fd, 3, 0]);
        a.moves(40, libc::SYS_write, &[fd, buf, 40]);
        a.moves(40, libc::SYS_pwrite64, &[fd, buf, 40, 4]);
        let wait = a.put(0x500, bytes(&[fd as u64 | 0xff << 32]));
        a.call(libc::SYS_poll, &[wait, 1, 10]);
        a.moves(
            100,
            libc::SYS_readlink,
            &[a.str(0, &format!("/proc/self/fd/{fd}")), buf, 100],
        );
        a.call(libc::SYS_fsync, &[fd]);
        a.call(libc::SYS_fchmod, &[fd, 0o600]);
        a.call(libc::SYS_ftruncate, &[fd, 10]);
    }
    a.call(libc::SYS_ioctl, &[2, libc::TCGETS as usize, buf]);
    a.call(libc::SYS_ioctl, &[2, libc::TCSETS as usize, buf]);
    a.moves(10, libc::SYS_read, &[0, buf, 10]);
    a.moves(10, libc::SYS_read, &[0, buf, 10]);
    let iov = a.put(0, bytes(&[buf as u64, 10, buf as u64 + 100, 20]));
    a.moves(30, libc::SYS_readv, &[0, iov, 2]);
    let wait = a.put(0x500, bytes(&[1 << 32, 2 | 1 << 32]));
    a.call(libc::SYS_poll, &[wait, 2, 10]);
    a.call(
        libc::SYS_select,
        &[3, a.put(0x600, &[7]), 0, 0, a.put(0x700, bytes(&[0, 1000]))],
    );
}

fn directory(pid: u32) -> PathBuf {
    std::env::temp_dir().join(format!("bastide-hostile-{pid}"))
}

/// One case: `call lie when`, then the application's calls.
#[test]
fn child() {
    let Ok(case) = std::env::var(CASE) else {
        return;
    };
    std::panic::set_hook(Box::new(|p| {
        eprintln!("{p}\n{}", std::backtrace::Backtrace::force_capture());
        std::process::exit(101);
    }));
    let mut words = case.split(' ');
    let (call, lie, when) = (words.next().unwrap(), words.next().unwrap(), words.next());
    let lie = LIES.iter().find(|l| l.0 == lie).map(|l| l.1).unwrap();
    let dir = directory(std::process::id());
    tree(&dir);
    let pal = Hostile::new(call, lie);
    let config = config(&dir);
    if when == Some("boot") {
        pal.begin();
    }
    if let Err(status) = boot(pal, config) {
        assert!(
            when == Some("boot"),
            "the kernel does not start: {status:x}"
        );
        return;
    }
    let token = pal.started.lock().unwrap()[0].token;
    std::thread::spawn(|| Upcalls.service());
    let mut app = App { token, mem: 0 };
    let mem = app.call(libc::SYS_mmap, &[0, SIZE, 3, 0x22, usize::MAX, 0]);
    if mem <= 0 || (when == Some("boot") && call == "map") {
        assert!(when == Some("boot"), "no memory: {mem}");
        return;
    }
    app.mem = mem as usize;
    // Signals that a lie brings about are no end of the test.
    let all = app.put(0, bytes(&[u64::MAX]));
    app.call(libc::SYS_rt_sigprocmask, &[0, all, 0, 8]);
    pal.begin();
    for base in ["/", "/ov/", "/tmp/", "/vol/", "/img/", "/sealed/"] {
        files(&app, base);
    }
    streams(&app);
    sockets(&app);
    memory(&app);
    machine(&app);
    eprintln!("{COMPLETE}");
}

/// Runs a case; what went wrong, if anything did.
fn run(case: &str) -> Result<(), String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CASE, case)
        .stdin(Std::null())
        .stdout(Std::null())
        .stderr(Std::piped())
        .spawn()
        .unwrap();
    // Made by the child, which may come to a sudden end.
    let _dir = Dir(directory(child.id()));
    let mut err = child.stderr.take().unwrap();
    let said = std::thread::spawn(move || {
        let mut s = Vec::new();
        let _ = err.read_to_end(&mut s);
        String::from_utf8_lossy(&s).into_owned()
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let said = said.join().unwrap();
    match status {
        Some(s) if s.success() && (case.ends_with("boot") || said.contains(COMPLETE)) => Ok(()),
        // With the lie told from the beginning, the kernel may refuse to start, or to go on without
        // what it makes when it is first needed. It says why.
        Some(s) if s.code() == Some(REFUSED >> 8) && case.ends_with("boot") => {
            let why = said.contains("bastide: the host");
            why.then_some(())
                .ok_or(format!("{case}: no reason\n{said}"))
        }
        Some(s) => Err(format!("{case}: {s}\n{said}")),
        None => Err(format!("{case}: hangs\n{said}")),
    }
}

#[test]
fn no_lie_harms_the_kernel() {
    let only = std::env::var("BASTIDE_HOSTILE_ONLY").unwrap_or_default();
    let mut cases = Vec::new();
    for (call, classes) in CALLS {
        for (name, _) in LIES.iter().filter(|l| classes.contains(l.1.class())) {
            cases.push(format!("{call} {name} later"));
            cases.push(format!("{call} {name} boot"));
        }
    }
    let bad: Vec<String> = cases
        .iter()
        .filter(|c| c.contains(&only))
        .filter_map(|c| run(c).err())
        .collect();
    assert!(bad.is_empty(), "{} cases:\n{}", bad.len(), bad.join("\n\n"));
}
