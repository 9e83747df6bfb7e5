//! `/proc/config.gz`: what this kernel has, in the words of Linux's configuration, for programs
//! that ask before they try.

use super::super::pseudo::Text;
use crate::{Result, Task};
use alloc::vec::Vec;

/// Options that are on.
const YES: &[&str] = &[
    "64BIT",
    "X86_64",
    "MMU",
    "SMP",
    "MULTIUSER",
    "SYSVIPC",
    "POSIX_MQUEUE",
    "HIGH_RES_TIMERS",
    "POSIX_TIMERS",
    "BINFMT_ELF",
    "BINFMT_SCRIPT",
    "ELFCORE",
    "CHECKPOINT_RESTORE",
    "IKCONFIG",
    "IKCONFIG_PROC",
    "PRINTK",
    "FUTEX",
    "FUTEX_PI",
    "EPOLL",
    "SIGNALFD",
    "TIMERFD",
    "EVENTFD",
    "AIO",
    "SHMEM",
    "ADVISE_SYSCALLS",
    "MEMBARRIER",
    "KALLSYMS",
    "CROSS_MEMORY_ATTACH",
    "FILE_LOCKING",
    "INOTIFY_USER",
    "PROC_FS",
    "PROC_SYSCTL",
    "PROC_PAGE_MONITOR",
    "PROC_CHILDREN",
    "SYSFS",
    "TMPFS",
    "TMPFS_XATTR",
    "DEVTMPFS",
    "MEMFD_CREATE",
    "OVERLAY_FS",
    "UNIX98_PTYS",
    "TTY",
    "NET",
    "UNIX",
    "INET",
    "IPV6",
];

/// Options that programs look for and do not find.
const NO: &[&str] = &[
    "AUDIT",
    "BLK_DEV_LOOP",
    "BLK_DEV_RAM",
    "BPF_SYSCALL",
    "BSD_PROCESS_ACCT",
    "CGROUPS",
    "DNOTIFY",
    "EXT4_FS",
    "FANOTIFY",
    "FUSE_FS",
    "HUGETLBFS",
    "IO_URING",
    "IPC_NS",
    "KEYS",
    "KSM",
    "KVM",
    "MEMORY_FAILURE",
    "MODULES",
    "NET_NS",
    "NAMESPACES",
    "NUMA",
    "PERF_EVENTS",
    "PID_NS",
    "QUOTA",
    "SECCOMP",
    "SECCOMP_FILTER",
    "SWAP",
    "TIME_NS",
    "TRANSPARENT_HUGEPAGE",
    "USERFAULTFD",
    "USER_NS",
    "UTS_NS",
    "XFS_FS",
];

/// The text, as it were `.config`.
fn text() -> Vec<u8> {
    let mut out = Text::new();
    out.put(format_args!(
        "#\n# Linux/x86 {} Kernel Configuration\n#\n",
        crate::process::RELEASE
    ));
    for name in YES {
        out.put(format_args!("CONFIG_{name}=y\n"));
    }
    out.bytes(b"CONFIG_HZ=100\nCONFIG_NR_CPUS=256\nCONFIG_PGTABLE_LEVELS=4\n");
    out.bytes(b"CONFIG_DEFAULT_HOSTNAME=\"(none)\"\n");
    for name in NO {
        out.put(format_args!("# CONFIG_{name} is not set\n"));
    }
    out.0
}

/// The file.
pub fn file(_t: &Task) -> Result<Vec<u8>> {
    Ok(gzip(&text()))
}

/// Data in the form of `gzip(1)`, not compressed.
fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3].into();
    let chunks = data.chunks(0xffff);
    let last = chunks.len().saturating_sub(1);
    for (i, chunk) in chunks.enumerate() {
        let len = chunk.len() as u16;
        out.push(u8::from(i == last));
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(chunk);
    }
    out.extend_from_slice(&crc32(data).to_le_bytes());
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    out
}

fn crc32(data: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &b in data {
        crc ^= u32::from(b);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { 0xedb8_8320 } else { 0 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_as_gzip_does() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let z = gzip(b"abc");
        assert_eq!(z.len(), 10 + 5 + 3 + 8);
        assert_eq!(&z[10..18], b"\x01\x03\0\xfc\xffabc");
    }
}
