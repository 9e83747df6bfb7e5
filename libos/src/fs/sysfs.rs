//! `/sys`, `sysfs(5)`: the few files of it that programs read to learn about the machine. All of
//! it says what the platform says: one package, one memory node, the loopback interface, no
//! devices.

use super::procfs::{cpu_list, cpu_mask, memory_pages};
use super::pseudo::{Content, Home, Node, TreeInode};
use super::{FileSystem, Inode, StatFs, inode};
use crate::process::find_process;
use crate::{Errno, Result, Task, kernel, time};
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;

/// `SYSFS_MAGIC`.
const MAGIC: u64 = 0x6265_6572;
/// The root's inode number.
const ROOT_INO: u64 = 1;

struct SysFs {
    me: Weak<SysFs>,
    dev: u64,
    made: i64,
    tree: Arc<Node>,
}

/// A new instance.
pub fn new() -> Arc<dyn FileSystem> {
    Arc::new_cyclic(|me| SysFs {
        me: me.clone(),
        dev: inode::new_dev(),
        made: time::realtime() as i64,
        tree: Arc::new(Node::later("", top)),
    })
}

impl FileSystem for SysFs {
    fn name(&self) -> &'static str {
        "sysfs"
    }

    fn root(&self) -> Arc<dyn Inode> {
        let home = Home {
            fs: self.me.upgrade().expect("a method runs on a live object"),
            dev: self.dev,
            made: self.made,
            size: 4096,
            blksize: 4096,
            refusal: Errno::EACCES,
        };
        TreeInode::new(home, ROOT_INO, self.tree.clone())
    }

    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs {
            magic: MAGIC,
            bsize: 4096,
            namelen: 255,
            ..Default::default()
        })
    }
}

fn dir(name: impl Into<Cow<'static, str>>, nodes: Vec<Node>) -> Node {
    Node::dir(name, nodes)
}

fn value(name: &'static str, text: impl Into<Cow<'static, str>>) -> Node {
    Node::fixed(name, text)
}

/// A file with a line that is made when it is read.
fn line(name: &'static str, make: fn() -> String) -> Node {
    Node::text(name, move |_: &Task| {
        let mut text = make();
        text.push('\n');
        Ok(text.into_bytes())
    })
}

/// What is in the root directory.
fn top() -> Vec<Node> {
    vec![
        dir("block", Vec::new()),
        dir("bus", vec![dir("cpu", Vec::new()), dir("node", Vec::new())]),
        dir(
            "class",
            vec![
                dir("block", Vec::new()),
                dir("mem", Vec::new()),
                dir("misc", Vec::new()),
                dir(
                    "net",
                    vec![Node::link("lo", "../../devices/virtual/net/lo")],
                ),
                dir("tty", Vec::new()),
            ],
        ),
        dir(
            "dev",
            vec![dir("block", Vec::new()), dir("char", Vec::new())],
        ),
        dir(
            "devices",
            vec![
                dir("system", vec![cpus(), nodes()]),
                dir("virtual", vec![dir("net", vec![loopback()])]),
            ],
        ),
        dir("firmware", Vec::new()),
        dir("fs", vec![cgroup()]),
        dir("kernel", vec![mm(), value("uevent_seqnum", "0")]),
        dir("module", Vec::new()),
    ]
}

fn all() -> String {
    cpu_list(&(0..crate::cpus()).collect::<Vec<_>>())
}

/// `devices/system/cpu`.
fn cpus() -> Node {
    let n = crate::cpus();
    let mut entries: Vec<Node> = (0..n).map(cpu).collect();
    entries.extend([
        line("enabled", all),
        value("isolated", ""),
        value("kernel_max", "255"),
        value("offline", ""),
        line("online", all),
        line("possible", all),
        line("present", all),
        dir(
            "smt",
            vec![value("active", "0"), value("control", "notsupported")],
        ),
    ]);
    dir("cpu", entries)
}

/// One CPU: a core of its own in the one package.
fn cpu(i: u32) -> Node {
    let everyone: Vec<u32> = (0..crate::cpus()).collect();
    let (own_mask, own_list) = (cpu_mask(&[i]), cpu_list(&[i]));
    let (all_mask, all_list) = (cpu_mask(&everyone), cpu_list(&everyone));
    let mut topology = vec![
        value("core_id", format!("{i}")),
        value("die_id", "0"),
        value("cluster_id", "0"),
        value("physical_package_id", "0"),
    ];
    for (mask, list) in [
        ("core_cpus", "core_cpus_list"),
        ("thread_siblings", "thread_siblings_list"),
        ("cluster_cpus", "cluster_cpus_list"),
    ] {
        topology.push(value(mask, own_mask.clone()));
        topology.push(value(list, own_list.clone()));
    }
    for (mask, list) in [
        ("core_siblings", "core_siblings_list"),
        ("die_cpus", "die_cpus_list"),
        ("package_cpus", "package_cpus_list"),
    ] {
        topology.push(value(mask, all_mask.clone()));
        topology.push(value(list, all_list.clone()));
    }
    // Sizes in KiB and ways as of the processor that `/proc/cpuinfo` describes.
    let caches = [
        ("Data", 1, 32, 8, false),
        ("Instruction", 1, 32, 8, false),
        ("Unified", 2, 1024, 16, false),
        ("Unified", 3, 16384, 16, true),
    ];
    let caches = caches.iter().enumerate();
    let caches = caches.map(|(index, &(kind, level, kib, ways, shared))| {
        let (mask, list) = if shared {
            (&all_mask, &all_list)
        } else {
            (&own_mask, &own_list)
        };
        dir(
            format!("index{index}"),
            vec![
                value("coherency_line_size", "64"),
                value("id", format!("{}", if shared { 0 } else { i })),
                value("level", format!("{level}")),
                value("number_of_sets", format!("{}", kib * 1024 / 64 / ways)),
                value("physical_line_partition", "1"),
                value("shared_cpu_list", list.clone()),
                value("shared_cpu_map", mask.clone()),
                value("size", format!("{kib}K")),
                value("type", kind),
                value("ways_of_associativity", format!("{ways}")),
            ],
        )
    });
    dir(
        format!("cpu{i}"),
        vec![
            dir("cache", caches.collect()),
            Node::link("node0", "../../node/node0"),
            dir("topology", topology),
        ],
    )
}

/// `devices/system/node`: one.
fn nodes() -> Node {
    let everyone: Vec<u32> = (0..crate::cpus()).collect();
    let mut node0: Vec<Node> = everyone
        .iter()
        .map(|i| Node::link(format!("cpu{i}"), format!("../../cpu/cpu{i}")))
        .collect();
    node0.extend([
        value("cpulist", cpu_list(&everyone)),
        value("cpumap", cpu_mask(&everyone)),
        value("distance", "10"),
        line("meminfo", || {
            let (total, free) = memory_pages();
            let used = total - free;
            format!(
                "Node 0 MemTotal:       {:8} kB\nNode 0 MemFree:        {:8} kB\n\
                 Node 0 MemUsed:        {:8} kB",
                total * 4,
                free * 4,
                used * 4
            )
        }),
        value(
            "numastat",
            "numa_hit 0\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 0\nother_node 0",
        ),
        line("vmstat", || format!("nr_free_pages {}", memory_pages().1)),
    ]);
    let mut entries: Vec<Node> = ["has_cpu", "has_memory", "has_normal_memory"]
        .map(|name| value(name, "0"))
        .into();
    entries.push(dir("node0", node0));
    entries.push(value("online", "0"));
    entries.push(value("possible", "0"));
    dir("node", entries)
}

/// `devices/virtual/net/lo`.
fn loopback() -> Node {
    let fixed = [
        ("addr_assign_type", "0"),
        ("addr_len", "6"),
        ("address", "00:00:00:00:00:00"),
        ("broadcast", "00:00:00:00:00:00"),
        ("carrier", "1"),
        ("carrier_changes", "0"),
        ("dev_id", "0x0"),
        ("dev_port", "0"),
        ("dormant", "0"),
        ("flags", "0x9"),
        ("ifalias", ""),
        ("ifindex", "1"),
        ("iflink", "1"),
        ("link_mode", "0"),
        ("mtu", "65536"),
        ("netdev_group", "0"),
        ("operstate", "unknown"),
        ("tx_queue_len", "1000"),
        ("type", "772"),
        ("uevent", "INTERFACE=lo\nIFINDEX=1"),
    ];
    let mut entries: Vec<Node> = fixed.map(|(n, v)| value(n, v)).into();
    entries.push(Node::link("subsystem", "../../../../class/net"));
    let counts = [
        "collisions",
        "multicast",
        "rx_bytes",
        "rx_dropped",
        "rx_errors",
        "rx_packets",
        "tx_bytes",
        "tx_dropped",
        "tx_errors",
        "tx_packets",
    ];
    entries.push(dir("statistics", counts.map(|n| value(n, "0")).into()));
    dir("lo", entries)
}

/// `kernel/mm`: there are no huge pages.
fn mm() -> Node {
    dir(
        "mm",
        vec![
            dir("hugepages", Vec::new()),
            dir(
                "transparent_hugepage",
                vec![
                    value("defrag", "always defer defer+madvise madvise [never]"),
                    value("enabled", "always madvise [never]"),
                    value("hpage_pmd_size", "2097152"),
                    value(
                        "shmem_enabled",
                        "always within_size advise [never] deny force",
                    ),
                    value("use_zero_page", "0"),
                ],
            ),
        ],
    )
}

/// The processes of the one control group.
struct Members;

impl Content for Members {
    fn text(&self, _t: &Task) -> Result<Vec<u8>> {
        let mut out = String::new();
        for pid in kernel().processes.lock().keys() {
            out.push_str(&format!("{pid}\n"));
        }
        Ok(out.into_bytes())
    }

    /// Where everybody is already, everybody may go.
    fn store(&self, _t: &Task, data: &[u8], _offset: u64) -> Result<()> {
        let text = core::str::from_utf8(data.trim_ascii()).map_err(|_| Errno::EINVAL)?;
        let pid: i32 = text.parse().map_err(|_| Errno::EINVAL)?;
        match pid {
            0 => Ok(()),
            pid => find_process(pid).map(|_| ()).ok_or(Errno::ESRCH),
        }
    }
}

/// `fs/cgroup`: the one control group, without limits, `cgroups(7)` version 2.
fn cgroup() -> Node {
    let mut entries = vec![
        value("cgroup.controllers", "cpuset cpu memory pids"),
        value("cgroup.events", "populated 1\nfrozen 0"),
        value("cgroup.max.depth", "max"),
        value("cgroup.max.descendants", "max"),
        Node::file("cgroup.procs", 0o644, Members),
        value("cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0"),
        value("cgroup.subtree_control", ""),
        value("cgroup.type", "domain"),
        value("cpu.max", "max 100000"),
        line("cpu.stat", || {
            let (user, system) = super::procfs::cpu_total();
            let us = |ns: u64| ns / 1000;
            format!(
                "usage_usec {}\nuser_usec {}\nsystem_usec {}",
                us(user.saturating_add(system)),
                us(user),
                us(system)
            )
        }),
        value("cpu.weight", "100"),
        value("cpuset.cpus", ""),
        line("cpuset.cpus.effective", all),
        value("cpuset.mems", ""),
        value("cpuset.mems.effective", "0"),
        line("memory.current", || {
            let (total, free) = memory_pages();
            format!("{}", (total - free) * 4096)
        }),
        value("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0"),
        line("memory.stat", || {
            let (total, free) = memory_pages();
            format!("anon {}\nfile 0\nkernel 0\nshmem 0", (total - free) * 4096)
        }),
        value("memory.swap.current", "0"),
        line("pids.current", || {
            format!("{}", kernel().tasks.lock().len())
        }),
    ];
    for (name, text) in [
        ("memory.high", "max"),
        ("memory.low", "0"),
        ("memory.max", "max"),
        ("memory.min", "0"),
        ("memory.swap.max", "max"),
        ("pids.max", "max"),
    ] {
        entries.push(value(name, text));
    }
    dir("cgroup", entries)
}
