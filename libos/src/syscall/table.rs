//! The system call table.

use super::arg::h;
use super::{Entry, Handler, Support};
use crate::fs::{dir, open, rw, stat};
use crate::mm::{advise, calls, lock, memfd, policy, remote};
use crate::{Errno, SysResult, Task};
#[allow(unused_imports)]
use Support::{Full, Partial, Refused};
use alloc::sync::Arc;
use bastide_base::sync::Once;

const fn e(
    nr: u16,
    name: &'static str,
    args: &'static str,
    handler: &'static dyn Handler,
    support: Support,
) -> Entry {
    Entry {
        nr,
        name,
        args,
        handler,
        support,
    }
}

fn refuse(_t: &Arc<Task>) -> SysResult {
    Err(Errno::ENOSYS)
}

/// Every implemented or refused call, by number.
pub static TABLE: &[Entry] = &[
    // files
    e(0, "read", "fd,buf,size", &h(rw::sys_read), Full),
    e(1, "write", "fd,buf,size", &h(rw::sys_write), Full),
    e(2, "open", "path,oflags,mode", &h(open::sys_open), Full),
    e(4, "stat", "path,stat", &h(stat::sys_stat), Full),
    e(5, "fstat", "fd,stat", &h(stat::sys_fstat), Full),
    e(6, "lstat", "path,stat", &h(stat::sys_lstat), Full),
    e(8, "lseek", "fd,off,whence", &h(rw::sys_lseek), Full),
    e(17, "pread64", "fd,buf,size,off", &h(rw::sys_pread64), Full),
    e(
        18,
        "pwrite64",
        "fd,buf,size,off",
        &h(rw::sys_pwrite64),
        Full,
    ),
    e(19, "readv", "fd,iovec,int", &h(rw::sys_readv), Full),
    e(20, "writev", "fd,iovec,int", &h(rw::sys_writev), Full),
    e(21, "access", "path,amode", &h(stat::sys_access), Full),
    e(78, "getdents", "fd,buf,size", &h(dir::sys_getdents), Full),
    e(79, "getcwd", "buf,size", &h(dir::sys_getcwd), Full),
    e(80, "chdir", "path", &h(dir::sys_chdir), Full),
    e(81, "fchdir", "fd", &h(dir::sys_fchdir), Full),
    e(85, "creat", "path,mode", &h(open::sys_creat), Full),
    e(137, "statfs", "path,ptr", &h(stat::sys_statfs), Full),
    e(138, "fstatfs", "fd,ptr", &h(stat::sys_fstatfs), Full),
    e(161, "chroot", "path", &h(dir::sys_chroot), Full),
    e(
        217,
        "getdents64",
        "fd,buf,size",
        &h(dir::sys_getdents64),
        Full,
    ),
    e(
        257,
        "openat",
        "dirfd,path,oflags,mode",
        &h(open::sys_openat),
        Full,
    ),
    e(
        262,
        "newfstatat",
        "dirfd,path,stat,atflags",
        &h(stat::sys_newfstatat),
        Full,
    ),
    e(
        269,
        "faccessat",
        "dirfd,path,amode",
        &h(stat::sys_faccessat),
        Full,
    ),
    e(295, "preadv", "fd,iovec,int,off", &h(rw::sys_preadv), Full),
    e(
        296,
        "pwritev",
        "fd,iovec,int,off",
        &h(rw::sys_pwritev),
        Full,
    ),
    e(
        327,
        "preadv2",
        "fd,iovec,int,off,,hex",
        &h(rw::sys_preadv2),
        Full,
    ),
    e(
        328,
        "pwritev2",
        "fd,iovec,int,off,,hex",
        &h(rw::sys_pwritev2),
        Full,
    ),
    e(
        332,
        "statx",
        "dirfd,path,atflags,hex,ptr",
        &h(stat::sys_statx),
        Full,
    ),
    e(
        437,
        "openat2",
        "dirfd,path,ptr,size",
        &h(open::sys_openat2),
        Full,
    ),
    e(
        439,
        "faccessat2",
        "dirfd,path,amode,atflags",
        &h(stat::sys_faccessat2),
        Full,
    ),
    // memory
    e(
        9,
        "mmap",
        "ptr,size,prot,mapflags,fd,hex",
        &h(calls::sys_mmap),
        Full,
    ),
    e(
        10,
        "mprotect",
        "ptr,size,prot",
        &h(calls::sys_mprotect),
        Full,
    ),
    e(11, "munmap", "ptr,size", &h(calls::sys_munmap), Full),
    e(12, "brk", "ptr", &h(calls::sys_brk), Full),
    e(
        25,
        "mremap",
        "ptr,size,size,hex,ptr",
        &h(calls::sys_mremap),
        Full,
    ),
    e(26, "msync", "ptr,size,hex", &h(calls::sys_msync), Full),
    e(27, "mincore", "ptr,size,ptr", &h(advise::sys_mincore), Full),
    e(
        28,
        "madvise",
        "ptr,size,int",
        &h(advise::sys_madvise),
        Partial("guard pages, collapsing and hardware poison are EINVAL"),
    ),
    e(149, "mlock", "ptr,size", &h(lock::sys_mlock), Full),
    e(150, "munlock", "ptr,size", &h(lock::sys_munlock), Full),
    e(151, "mlockall", "hex", &h(lock::sys_mlockall), Full),
    e(152, "munlockall", "", &h(lock::sys_munlockall), Full),
    e(
        216,
        "remap_file_pages",
        "ptr,size,prot,int,mapflags",
        &h(calls::sys_remap_file_pages),
        Full,
    ),
    e(
        237,
        "mbind",
        "ptr,size,int,ptr,int,hex",
        &h(policy::sys_mbind),
        Partial("one node; the policy is remembered"),
    ),
    e(
        238,
        "set_mempolicy",
        "int,ptr,int",
        &h(policy::sys_set_mempolicy),
        Partial("one node; not inherited by children"),
    ),
    e(
        239,
        "get_mempolicy",
        "ptr,ptr,int,ptr,hex",
        &h(policy::sys_get_mempolicy),
        Full,
    ),
    e(
        310,
        "process_vm_readv",
        "pid,iovec,int,ptr,int,hex",
        &h(remote::sys_process_vm_readv),
        Full,
    ),
    e(
        311,
        "process_vm_writev",
        "pid,iovec,int,ptr,int,hex",
        &h(remote::sys_process_vm_writev),
        Full,
    ),
    e(
        319,
        "memfd_create",
        "str,hex",
        &h(memfd::sys_memfd_create),
        Partial("no huge pages"),
    ),
    e(
        323,
        "userfaultfd",
        "hex",
        &h(refuse),
        Refused("ENOSYS: faults are not handed to applications"),
    ),
    e(325, "mlock2", "ptr,size,hex", &h(lock::sys_mlock2), Full),
    e(
        329,
        "pkey_mprotect",
        "ptr,size,prot,int",
        &h(calls::sys_pkey_mprotect),
        Partial("no protection keys, as on processors without them"),
    ),
    e(
        330,
        "pkey_alloc",
        "hex,hex",
        &h(calls::sys_pkey_alloc),
        Refused("ENOSPC: no protection keys, as on processors without them"),
    ),
    e(
        331,
        "pkey_free",
        "int",
        &h(calls::sys_pkey_free),
        Refused("EINVAL: there is no key to free"),
    ),
    // processes
    // signals
    e(
        13,
        "rt_sigaction",
        "signal,ptr,ptr,size",
        &h(crate::signal::sys_rt_sigaction),
        Full,
    ),
    e(
        14,
        "rt_sigprocmask",
        "sighow,sigset,ptr,size",
        &h(crate::signal::sys_rt_sigprocmask),
        Full,
    ),
    e(
        15,
        "rt_sigreturn",
        "",
        &h(crate::signal::sys_rt_sigreturn),
        Full,
    ),
    e(34, "pause", "", &h(crate::signal::sys_pause), Full),
    e(62, "kill", "pid,signal", &h(crate::signal::sys_kill), Full),
    e(
        127,
        "rt_sigpending",
        "ptr,size",
        &h(crate::signal::sys_rt_sigpending),
        Full,
    ),
    e(
        128,
        "rt_sigtimedwait",
        "sigset,ptr,timespec,size",
        &h(crate::signal::sys_rt_sigtimedwait),
        Full,
    ),
    e(
        129,
        "rt_sigqueueinfo",
        "pid,signal,ptr",
        &h(crate::signal::sys_rt_sigqueueinfo),
        Full,
    ),
    e(
        130,
        "rt_sigsuspend",
        "sigset,size",
        &h(crate::signal::sys_rt_sigsuspend),
        Full,
    ),
    e(
        131,
        "sigaltstack",
        "ptr,ptr",
        &h(crate::signal::sys_sigaltstack),
        Full,
    ),
    e(
        200,
        "tkill",
        "pid,signal",
        &h(crate::signal::sys_tkill),
        Full,
    ),
    e(
        219,
        "restart_syscall",
        "",
        &h(crate::signal::sys_restart_syscall),
        Full,
    ),
    e(
        234,
        "tgkill",
        "pid,pid,signal",
        &h(crate::signal::sys_tgkill),
        Full,
    ),
    e(
        282,
        "signalfd",
        "fd,sigset,size",
        &h(crate::signal::sys_signalfd),
        Full,
    ),
    e(
        289,
        "signalfd4",
        "fd,sigset,size,hex",
        &h(crate::signal::sys_signalfd4),
        Full,
    ),
    e(
        297,
        "rt_tgsigqueueinfo",
        "pid,pid,signal,ptr",
        &h(crate::signal::sys_rt_tgsigqueueinfo),
        Full,
    ),
    // events
    e(
        7,
        "poll",
        "ptr,int,int",
        &h(crate::event::poll::sys_poll),
        Full,
    ),
    e(
        271,
        "ppoll",
        "ptr,int,timespec,sigset,size",
        &h(crate::event::poll::sys_ppoll),
        Full,
    ),
    e(
        23,
        "select",
        "int,ptr,ptr,ptr,timeval",
        &h(crate::event::select::sys_select),
        Full,
    ),
    e(
        270,
        "pselect6",
        "int,ptr,ptr,ptr,timespec,ptr",
        &h(crate::event::select::sys_pselect6),
        Full,
    ),
    e(
        213,
        "epoll_create",
        "int",
        &h(crate::event::epoll::sys_epoll_create),
        Full,
    ),
    e(
        291,
        "epoll_create1",
        "hex",
        &h(crate::event::epoll::sys_epoll_create1),
        Full,
    ),
    e(
        233,
        "epoll_ctl",
        "fd,int,fd,ptr",
        &h(crate::event::epoll::sys_epoll_ctl),
        Full,
    ),
    e(
        232,
        "epoll_wait",
        "fd,ptr,int,int",
        &h(crate::event::epoll::sys_epoll_wait),
        Full,
    ),
    e(
        281,
        "epoll_pwait",
        "fd,ptr,int,int,sigset,size",
        &h(crate::event::epoll::sys_epoll_pwait),
        Full,
    ),
    e(
        441,
        "epoll_pwait2",
        "fd,ptr,int,timespec,sigset,size",
        &h(crate::event::epoll::sys_epoll_pwait2),
        Full,
    ),
    e(
        284,
        "eventfd",
        "int",
        &h(crate::event::eventfd::sys_eventfd),
        Full,
    ),
    e(
        290,
        "eventfd2",
        "int,hex",
        &h(crate::event::eventfd::sys_eventfd2),
        Full,
    ),
    e(
        202,
        "futex",
        "ptr,futexop,int,timespec,ptr,int",
        &h(crate::event::futex::sys_futex),
        Partial("priorities are not inherited; ownership of PI futexes is right"),
    ),
    e(
        273,
        "set_robust_list",
        "ptr,size",
        &h(crate::event::futex::sys_set_robust_list),
        Full,
    ),
    e(
        274,
        "get_robust_list",
        "pid,ptr,ptr",
        &h(crate::event::futex::sys_get_robust_list),
        Full,
    ),
    e(
        449,
        "futex_waitv",
        "ptr,int,hex,timespec,int",
        &h(crate::event::futex::sys_futex_waitv),
        Full,
    ),
    e(
        454,
        "futex_wake",
        "ptr,hex,int,hex",
        &h(crate::event::futex::sys_futex_wake),
        Full,
    ),
    e(
        455,
        "futex_wait",
        "ptr,hex,hex,hex,timespec,int",
        &h(crate::event::futex::sys_futex_wait),
        Full,
    ),
    e(
        456,
        "futex_requeue",
        "ptr,hex,int,int",
        &h(crate::event::futex::sys_futex_requeue),
        Full,
    ),
    // ipc
    e(22, "pipe", "ptr", &h(crate::ipc::pipe::sys_pipe), Full),
    e(
        293,
        "pipe2",
        "ptr,oflags",
        &h(crate::ipc::pipe::sys_pipe2),
        Full,
    ),
    e(
        275,
        "splice",
        "fd,ptr,fd,ptr,size,hex",
        &h(crate::ipc::pipe::splice::sys_splice),
        Full,
    ),
    e(
        276,
        "tee",
        "fd,fd,size,hex",
        &h(crate::ipc::pipe::splice::sys_tee),
        Full,
    ),
    e(
        278,
        "vmsplice",
        "fd,iovec,size,hex",
        &h(crate::ipc::pipe::splice::sys_vmsplice),
        Full,
    ),
    // sockets
    // time
    e(
        35,
        "nanosleep",
        "timespec,ptr",
        &h(crate::time::sys_nanosleep),
        Full,
    ),
    e(
        36,
        "getitimer",
        "int,ptr",
        &h(crate::time::sys_getitimer),
        Full,
    ),
    e(37, "alarm", "uint", &h(crate::time::sys_alarm), Full),
    e(
        38,
        "setitimer",
        "int,ptr,ptr",
        &h(crate::time::sys_setitimer),
        Full,
    ),
    e(
        96,
        "gettimeofday",
        "ptr,ptr",
        &h(crate::time::sys_gettimeofday),
        Full,
    ),
    e(100, "times", "ptr", &h(crate::time::sys_times), Full),
    e(
        159,
        "adjtimex",
        "ptr",
        &h(crate::time::sys_adjtimex),
        Partial("reads; changing the clock's rate is EPERM: it is the host's"),
    ),
    e(
        164,
        "settimeofday",
        "ptr,ptr",
        &h(crate::time::sys_settimeofday),
        Full,
    ),
    e(201, "time", "ptr", &h(crate::time::sys_time), Full),
    e(
        222,
        "timer_create",
        "clock,ptr,ptr",
        &h(crate::time::sys_timer_create),
        Full,
    ),
    e(
        223,
        "timer_settime",
        "int,hex,ptr,ptr",
        &h(crate::time::sys_timer_settime),
        Full,
    ),
    e(
        224,
        "timer_gettime",
        "int,ptr",
        &h(crate::time::sys_timer_gettime),
        Full,
    ),
    e(
        225,
        "timer_getoverrun",
        "int",
        &h(crate::time::sys_timer_getoverrun),
        Full,
    ),
    e(
        226,
        "timer_delete",
        "int",
        &h(crate::time::sys_timer_delete),
        Full,
    ),
    e(
        227,
        "clock_settime",
        "clock,timespec",
        &h(crate::time::sys_clock_settime),
        Full,
    ),
    e(
        228,
        "clock_gettime",
        "clock,ptr",
        &h(crate::time::sys_clock_gettime),
        Full,
    ),
    e(
        229,
        "clock_getres",
        "clock,ptr",
        &h(crate::time::sys_clock_getres),
        Full,
    ),
    e(
        230,
        "clock_nanosleep",
        "clock,hex,timespec,ptr",
        &h(crate::time::sys_clock_nanosleep),
        Full,
    ),
    e(
        283,
        "timerfd_create",
        "clock,hex",
        &h(crate::time::sys_timerfd_create),
        Full,
    ),
    e(
        286,
        "timerfd_settime",
        "fd,hex,ptr,ptr",
        &h(crate::time::sys_timerfd_settime),
        Full,
    ),
    e(
        287,
        "timerfd_gettime",
        "fd,ptr",
        &h(crate::time::sys_timerfd_gettime),
        Full,
    ),
    e(
        305,
        "clock_adjtime",
        "clock,ptr",
        &h(crate::time::sys_clock_adjtime),
        Partial("reads; changing the clock's rate is EPERM: it is the host's"),
    ),
    // others
    e(
        167,
        "swapon",
        "path,flags",
        &h(refuse),
        Refused("ENOSYS: there is no swap"),
    ),
];

/// Row numbers by call number, made when first asked for.
static INDEX: Once<[u16; 512]> = Once::new();

fn index() -> [u16; 512] {
    let mut out = [u16::MAX; 512];
    for (i, entry) in TABLE.iter().enumerate() {
        out[usize::from(entry.nr)] = i as u16;
    }
    out
}

/// The row of a number.
pub fn lookup(nr: u64) -> Option<&'static Entry> {
    let i = *INDEX.get_or_init(index).get(usize::try_from(nr).ok()?)?;
    TABLE.get(usize::from(i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_stands_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for entry in TABLE {
            assert!(
                seen.insert(entry.nr),
                "{} ({}) stands twice",
                entry.name,
                entry.nr
            );
        }
    }
}
