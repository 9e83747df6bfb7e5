//! `/proc/sys/vm`, `/proc/sys/fs` and `/proc/sys/user`.

use super::{INT, own, own_several, pair, param, switch};
use crate::fs::pseudo::Node;
use crate::ipc::pipe;
use crate::sysctl::*;
use crate::{Errno, Result, Task, kernel};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use bastide_base::pages::PAGE;
use core::sync::atomic::Ordering;

/// `vm`.
pub fn vm() -> Node {
    Node::dir(
        "vm",
        vec![
            own("admin_reserve_kbytes", 8192, 0, i64::MAX),
            pair("compact_memory", 0o200, unreadable, do_nothing),
            own("compact_unevictable_allowed", 1, 0, 1),
            own("compaction_proactiveness", 20, 0, 100),
            own("dirty_background_bytes", 0, 0, i64::MAX),
            own("dirty_background_ratio", 10, 0, 100),
            own("dirty_bytes", 0, 0, i64::MAX),
            own("dirty_expire_centisecs", 3000, 0, INT),
            own("dirty_ratio", 20, 0, 100),
            own("dirty_writeback_centisecs", 500, 0, INT),
            own("dirtytime_expire_seconds", 43200, 0, INT),
            pair("drop_caches", 0o200, unreadable, drop_caches),
            own("extfrag_threshold", 500, 0, 1000),
            own("hugetlb_shm_group", 0, 0, INT),
            own("laptop_mode", 0, 0, INT),
            own("legacy_va_layout", 0, 0, INT),
            own_several("lowmem_reserve_ratio", &[256, 256, 32, 0, 0], 0, INT),
            param("max_map_count", &MAX_MAP_COUNT),
            own("memfd_noexec", 0, 0, 2),
            own("min_free_kbytes", 67584, 0, INT),
            own("min_slab_ratio", 5, 0, 100),
            own("min_unmapped_ratio", 1, 0, 100),
            Node::fixed("mmap_min_addr", "65536"),
            own("mmap_rnd_bits", 28, 28, 32),
            // There are no huge pages to reserve: the number stays 0, as on a full machine.
            pair("nr_hugepages", 0o644, zero, some_number),
            pair("nr_hugepages_mempolicy", 0o644, zero, some_number),
            pair("nr_overcommit_hugepages", 0o644, zero, some_number),
            own("numa_stat", 1, 0, 1),
            own("oom_dump_tasks", 1, 0, INT),
            own("oom_kill_allocating_task", 0, 0, INT),
            param("overcommit_kbytes", &OVERCOMMIT_KBYTES),
            // Strict accounting (2) is not there.
            param("overcommit_memory", &OVERCOMMIT_MEMORY),
            param("overcommit_ratio", &OVERCOMMIT_RATIO),
            own("page-cluster", 3, 0, 31),
            own("panic_on_oom", 0, 0, 2),
            own("percpu_pagelist_high_fraction", 0, 0, INT),
            own("stat_interval", 1, 0, INT),
            pair("stat_refresh", 0o600, nothing, do_nothing),
            own("swappiness", 60, 0, 200),
            own("unprivileged_userfaultfd", 0, 0, 1),
            own("user_reserve_kbytes", 100_405, 0, i64::MAX),
            own("vfs_cache_pressure", 100, 0, INT),
            own("watermark_boost_factor", 15000, 0, INT),
            own("watermark_scale_factor", 10, 1, 3000),
            own("zone_reclaim_mode", 0, 0, INT),
        ],
    )
}

fn unreadable(_t: &Task) -> Result<Vec<u8>> {
    Err(Errno::EPERM)
}

fn nothing(_t: &Task) -> Result<Vec<u8>> {
    Ok(Vec::new())
}

fn zero(_t: &Task) -> Result<Vec<u8>> {
    Ok(b"0\n".to_vec())
}

fn do_nothing(_t: &Task, _data: &[u8]) -> Result<()> {
    Ok(())
}

fn some_number(_t: &Task, data: &[u8]) -> Result<()> {
    match super::parse_numbers(data, 1)?[0] {
        0.. => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

/// There is nothing in the caches that could be dropped without being asked for again at once.
fn drop_caches(_t: &Task, data: &[u8]) -> Result<()> {
    match super::parse_numbers(data, 1)?[0] {
        1..=4 => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

/// `fs`.
pub fn fs() -> Node {
    Node::dir(
        "fs",
        vec![
            param("aio-max-nr", &AIO_MAX_NR),
            Node::text("aio-nr", |_: &Task| {
                Ok(format!("{}\n", crate::event::aio::promised()).into_bytes())
            }),
            Node::fixed("dentry-state", "8192\t8192\t45\t0\t0\t0"),
            switch("dir-notify-enable", 1),
            Node::dir(
                "epoll",
                vec![own("max_user_watches", 5_491_511, 0, i64::MAX)],
            ),
            Node::dir(
                "fanotify",
                vec![
                    own("max_queued_events", 16384, 0, INT),
                    own("max_user_groups", 128, 0, INT),
                    own("max_user_marks", 205_039, 0, INT),
                ],
            ),
            own("file-max", i64::MAX, 0, i64::MAX),
            Node::text("file-nr", file_nr),
            Node::fixed("inode-nr", "8192\t0"),
            Node::fixed("inode-state", "8192\t0\t0\t0\t0\t0\t0"),
            Node::dir(
                "inotify",
                vec![
                    param("max_queued_events", &INOTIFY_MAX_EVENTS),
                    param("max_user_instances", &INOTIFY_MAX_INSTANCES),
                    param("max_user_watches", &INOTIFY_MAX_WATCHES),
                ],
            ),
            param("lease-break-time", &LEASE_BREAK_TIME),
            switch("leases-enable", 1),
            own("mount-max", 100_000, 1, INT),
            Node::dir(
                "mqueue",
                vec![
                    param("msg_default", &MQUEUE_MSG_DEFAULT),
                    param("msg_max", &MQUEUE_MSG_MAX),
                    param("msgsize_default", &MQUEUE_MSGSIZE_DEFAULT),
                    param("msgsize_max", &MQUEUE_MSGSIZE_MAX),
                    param("queues_max", &MQUEUE_QUEUES_MAX),
                ],
            ),
            param("nr_open", &NR_OPEN),
            own("overflowgid", 65534, 0, 65535),
            own("overflowuid", 65534, 0, 65535),
            pair("pipe-max-size", 0o644, pipe_max, set_pipe_max),
            own("pipe-user-pages-hard", 0, 0, i64::MAX),
            own("pipe-user-pages-soft", 16384, 0, i64::MAX),
            param("protected_fifos", &PROTECTED_FIFOS),
            param("protected_hardlinks", &PROTECTED_HARDLINKS),
            param("protected_regular", &PROTECTED_REGULAR),
            param("protected_symlinks", &PROTECTED_SYMLINKS),
            own("suid_dumpable", 0, 0, 2),
        ],
    )
}

fn file_nr(_t: &Task) -> Result<Vec<u8>> {
    let all: Vec<_> = kernel().tasks.lock().values().cloned().collect();
    let mut tables: Vec<_> = all.iter().map(|t| t.files()).collect();
    tables.sort_by_key(alloc::sync::Arc::as_ptr);
    tables.dedup_by_key(|t| alloc::sync::Arc::as_ptr(t));
    let open: usize = tables.iter().map(|t| t.list().len()).sum();
    Ok(format!("{open}\t0\t{}\n", i64::MAX).into_bytes())
}

fn pipe_max(_t: &Task) -> Result<Vec<u8>> {
    let size = pipe::MAX_SIZE.load(Ordering::Relaxed);
    Ok(format!("{size}\n").into_bytes())
}

/// Rounded up to a power of two, at least a page.
fn set_pipe_max(_t: &Task, data: &[u8]) -> Result<()> {
    let size = super::parse_numbers(data, 1)?[0];
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    if size == 0 || size > 1 << 31 {
        return Err(Errno::EINVAL);
    }
    let size = size.max(PAGE).next_power_of_two();
    pipe::MAX_SIZE.store(size, Ordering::Relaxed);
    Ok(())
}

/// `user`: limits of namespaces, of which no new ones can be made.
pub fn user() -> Node {
    let mut nodes: Vec<Node> = [
        "max_cgroup_namespaces",
        "max_ipc_namespaces",
        "max_mnt_namespaces",
        "max_net_namespaces",
        "max_pid_namespaces",
        "max_time_namespaces",
        "max_user_namespaces",
        "max_uts_namespaces",
    ]
    .map(|name| own(name, 0, 0, INT))
    .into();
    nodes.push(param("max_inotify_instances", &INOTIFY_MAX_INSTANCES));
    nodes.push(param("max_inotify_watches", &INOTIFY_MAX_WATCHES));
    Node::dir("user", nodes)
}
