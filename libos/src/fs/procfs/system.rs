//! The files of `/proc` about the whole system.

use super::super::pseudo::{Node, Text};
use super::super::{inode, locks};
use super::{config, stat, ticks};
use crate::ipc::sysv;
use crate::process::sysinfo::{RELEASE, VERSION};
use crate::{Result, Task, kernel, pal, time};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;

/// The entries, in Linux's order.
pub fn nodes() -> Vec<Node> {
    vec![
        Node::text("buddyinfo", buddyinfo),
        Node::dir("bus", Vec::new()),
        Node::text("cgroups", cgroups),
        Node::text("cmdline", |_: &Task| Ok(b"BOOT_IMAGE=/bastide\n".to_vec())),
        Node::text("config.gz", config::file),
        Node::text("consoles", |_: &Task| {
            Ok(b"console              -W- (EC   )    5:1\n".to_vec())
        }),
        Node::text("cpuinfo", cpuinfo),
        Node::empty("crypto"),
        Node::text("devices", devices),
        Node::empty("diskstats"),
        Node::dir("driver", Vec::new()),
        Node::fixed("execdomains", "0-0\tLinux           \t[kernel]"),
        Node::text("filesystems", filesystems),
        Node::dir("fs", Vec::new()),
        Node::text("interrupts", interrupts),
        Node::empty("iomem"),
        Node::empty("ioports"),
        Node::dir("irq", Vec::new()),
        Node::empty("kallsyms"),
        Node::empty("key-users"),
        Node::empty("keys"),
        Node::file("kmsg", 0o400, empty),
        Node::text("loadavg", loadavg),
        Node::text("locks", locks),
        Node::text("meminfo", meminfo),
        Node::fixed("misc", "  1 psaux"),
        Node::empty("modules"),
        Node::file("pagetypeinfo", 0o400, empty),
        Node::fixed("partitions", "major minor  #blocks  name\n"),
        Node::dir("pressure", ["cpu", "io", "memory"].map(pressure).into()),
        Node::file("slabinfo", 0o400, empty),
        Node::text("softirqs", softirqs),
        Node::text("stat", stat_file),
        Node::fixed("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority"),
        Node::dir(
            "sysvipc",
            vec![
                Node::text("msg", |_: &Task| Ok(report(sysv::msg::report))),
                Node::text("sem", |_: &Task| Ok(report(sysv::sem::report))),
                Node::text("shm", |_: &Task| Ok(report(sysv::shm::report))),
            ],
        ),
        Node::dir(
            "tty",
            vec![
                Node::fixed(
                    "drivers",
                    "/dev/tty             /dev/tty        5       0 system:/dev/tty\n\
                     /dev/console         /dev/console    5       1 system:console\n\
                     /dev/ptmx            /dev/ptmx       5       2 system\n\
                     pty_slave            /dev/pts      136 0-1048575 pty:slave\n\
                     pty_master           /dev/ptm      128 0-1048575 pty:master",
                ),
                Node::fixed("ldiscs", "n_tty       0"),
            ],
        ),
        Node::text("uptime", uptime),
        Node::text("version", |_: &Task| {
            let mut out = Text::new();
            out.put(format_args!(
                "Linux version {RELEASE} (bastide@bastide) (rustc, rust-lld) {VERSION}\n"
            ));
            Ok(out.0)
        }),
        Node::file("vmallocinfo", 0o400, empty),
        Node::text("vmstat", vmstat),
        Node::text("zoneinfo", zoneinfo),
    ]
}

/// What a function writes to a string.
fn report(write: fn(&mut String)) -> Vec<u8> {
    let mut out = String::new();
    write(&mut out);
    out.into_bytes()
}

fn empty(_t: &Task) -> Result<Vec<u8>> {
    Ok(Vec::new())
}

/// Pages of memory: (all, free).
pub fn memory_pages() -> (u64, u64) {
    let (total, free) = pal().memory();
    (total / 4096, free.min(total) / 4096)
}

fn pressure(name: &'static str) -> Node {
    let line = "avg10=0.00 avg60=0.00 avg300=0.00 total=0";
    Node::fixed(name, alloc::format!("some {line}\nfull {line}"))
}

/// Flags of a processor of the x86-64-v2 level, which is what the image can be built for; what
/// there is beyond it, programs find with `cpuid`.
const CPU_FLAGS: &str = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 \
     clflush mmx fxsr sse sse2 ss ht syscall nx rdtscp lm constant_tsc rep_good nopl nonstop_tsc \
     cpuid tsc_known_freq pni pclmulqdq ssse3 cx16 sse4_1 sse4_2 popcnt aes xsave rdrand \
     hypervisor lahf_lm";

fn cpuinfo(_t: &Task) -> Result<Vec<u8>> {
    let n = crate::cpus();
    let mut out = Text::new();
    for cpu in 0..n {
        out.put(format_args!(
            "processor\t: {cpu}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 94\n\
             model name\t: Intel(R) Xeon(R) Processor\nstepping\t: 3\nmicrocode\t: 0x1\n\
             cpu MHz\t\t: 2000.000\ncache size\t: 16384 KB\nphysical id\t: 0\nsiblings\t: {n}\n\
             core id\t\t: {cpu}\ncpu cores\t: {n}\napicid\t\t: {cpu}\ninitial apicid\t: {cpu}\n\
             fpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 13\nwp\t\t: yes\n\
             flags\t\t: {CPU_FLAGS}\nbugs\t\t:\nbogomips\t: 4000.00\nclflush size\t: 64\n\
             cache_alignment\t: 64\naddress sizes\t: 46 bits physical, 48 bits virtual\n\
             power management:\n\n"
        ));
    }
    Ok(out.0)
}

fn meminfo(_t: &Task) -> Result<Vec<u8>> {
    let (total, free) = memory_pages();
    let (total, free) = (total * 4, free * 4);
    let used = total - free;
    let heap = bastide_base::heap::used() as u64 / 1024;
    let mut out = Text::new();
    for (name, kb) in [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", used),
        ("Inactive", 0),
        ("Active(anon)", used),
        ("Inactive(anon)", 0),
        ("Active(file)", 0),
        ("Inactive(file)", 0),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Zswap", 0),
        ("Zswapped", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", used),
        ("Mapped", 0),
        ("Shmem", 0),
        ("KReclaimable", 0),
        // The kernel heap: what is allocated and not freed.
        ("Slab", heap),
        ("SReclaimable", 0),
        ("SUnreclaim", 0),
        ("KernelStack", kernel().tasks.lock().len() as u64 * 16),
        ("PageTables", 0),
        ("SecPageTables", 0),
        ("NFS_Unstable", 0),
        ("Bounce", 0),
        ("WritebackTmp", 0),
        ("CommitLimit", commit_limit()),
        ("Committed_AS", used),
        ("VmallocTotal", 34_359_738_367),
        ("VmallocUsed", 0),
        ("VmallocChunk", 0),
        ("Percpu", 0),
        ("AnonHugePages", 0),
        ("ShmemHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FileHugePages", 0),
        ("FilePmdMapped", 0),
    ] {
        put_kb(&mut out, name, kb);
    }
    put_kb(&mut out, "DirectMap4k", total);
    put_kb(&mut out, "DirectMap2M", 0);
    Ok(out.0)
}

/// Memory that may be promised under `vm.overcommit_memory` 2, in KiB.
pub fn commit_limit() -> u64 {
    let own = crate::sysctl::OVERCOMMIT_KBYTES.get();
    if own > 0 {
        return own as u64;
    }
    let ratio = crate::sysctl::OVERCOMMIT_RATIO.get().max(0) as u64;
    (memory_pages().0 * 4 / 100).saturating_mul(ratio)
}

fn put_kb(out: &mut Text, name: &str, kb: u64) {
    // The kernel pads the name with its colon to 16 columns and the number to 8.
    let pad = 16usize.saturating_sub(name.len() + 1);
    out.put(format_args!("{name}:{:pad$}{kb:>8} kB\n", ""));
}

/// CPU time of all processes: (user, system) in nanoseconds.
pub fn cpu_total() -> (u64, u64) {
    let all: Vec<Arc<crate::Process>> = kernel().processes.lock().values().cloned().collect();
    let first = all
        .iter()
        .filter(|p| p.rel.lock().parent.upgrade().is_none());
    // What ended is in the sums of those who waited for it.
    let gone = first.map(|p| *p.cpu_children.lock());
    let live = all.iter().map(|p| time::process_cpu(p));
    gone.chain(live).fold((0, 0), |(u, s), (du, ds)| {
        (u64::saturating_add(u, du), u64::saturating_add(s, ds))
    })
}

/// Idle time of all CPUs in nanoseconds.
fn idle() -> u64 {
    let (user, system) = cpu_total();
    let all = (time::boottime()).saturating_mul(u64::from(crate::cpus()));
    all.saturating_sub(user).saturating_sub(system)
}

fn uptime(_t: &Task) -> Result<Vec<u8>> {
    let up = ticks(time::boottime());
    let idle = ticks(idle());
    let mut out = Text::new();
    out.put(format_args!(
        "{}.{:02} {}.{:02}\n",
        up / 100,
        up % 100,
        idle / 100,
        idle % 100
    ));
    Ok(out.0)
}

fn stat_file(_t: &Task) -> Result<Vec<u8>> {
    let n = u64::from(crate::cpus());
    let (user, system) = cpu_total();
    let (user, system, idle) = (ticks(user), ticks(system), ticks(idle()));
    let mut out = Text::new();
    out.put(format_args!("cpu  {user} 0 {system} {idle} 0 0 0 0 0 0\n"));
    for cpu in 0..n {
        let (u, s, i) = (user / n, system / n, idle / n);
        out.put(format_args!("cpu{cpu} {u} 0 {s} {i} 0 0 0 0 0 0\n"));
    }
    let tasks: Vec<Arc<Task>> = kernel().tasks.lock().values().cloned().collect();
    let switches: u64 = (tasks.iter())
        .map(|t| t.switches.load(core::sync::atomic::Ordering::Relaxed))
        .sum();
    let boot = time::realtime().saturating_sub(time::boottime()) / 1_000_000_000;
    let started = *kernel().last_pid.lock();
    let (running, _) = stat::load();
    out.put(format_args!(
        "intr 0\nctxt {switches}\nbtime {boot}\nprocesses {started}\nprocs_running {running}\n\
         procs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n"
    ));
    Ok(out.0)
}

/// Load averages over 1, 5 and 15 minutes, in units of 1/2048, as Linux computes them: a sample
/// each 5 seconds. Here they are taken when somebody asks.
struct Load {
    averages: [u64; 3],
    sampled: u64,
}

const FIXED_1: u64 = 1 << 11;
const SAMPLE: u64 = 5_000_000_000;
static LOAD: Mutex<Load> = Mutex::new(Load {
    averages: [0; 3],
    sampled: 0,
});

/// The load averages now, in units of 1/2048.
pub fn load_averages() -> [u64; 3] {
    /// `exp(-5s/1min)` and so on, in units of 1/2048.
    const DECAY: [u64; 3] = [1884, 2014, 2037];
    let now = time::monotonic();
    let running = stat::load().0 * FIXED_1;
    let mut load = LOAD.lock();
    let steps = (now - load.sampled.min(now)) / SAMPLE;
    if steps > 0 {
        load.sampled = now;
        for (avg, decay) in load.averages.iter_mut().zip(DECAY) {
            // After 20 minutes nothing of the old value is left.
            for _ in 0..steps.min(240) {
                *avg = (*avg * decay + running * (FIXED_1 - decay)) / FIXED_1;
            }
        }
    }
    load.averages
}

fn loadavg(_t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    for avg in load_averages() {
        let avg = avg + FIXED_1 / 200;
        let part = (avg % FIXED_1) * 100 / FIXED_1;
        out.put(format_args!("{}.{part:02} ", avg / FIXED_1));
    }
    let (running, all) = stat::load();
    let last = *kernel().last_pid.lock();
    out.put(format_args!("{running}/{all} {last}\n"));
    Ok(out.0)
}

fn filesystems(_t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    for name in [
        "sysfs", "tmpfs", "proc", "cgroup2", "devtmpfs", "sockfs", "pipefs", "devpts", "overlay",
        "mqueue", "hostfs",
    ] {
        out.put(format_args!("nodev\t{name}\n"));
    }
    Ok(out.0)
}

fn devices(_t: &Task) -> Result<Vec<u8>> {
    Ok(
        b"Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n\
        \x2010 misc\n128 ptm\n136 pts\n\nBlock devices:\n"
            .to_vec(),
    )
}

fn per_cpu(title: &str, rows: &[&str], width: usize) -> Vec<u8> {
    let n = crate::cpus();
    let mut out = Text::new();
    out.put(format_args!("{:title_width$}", "", title_width = width));
    for cpu in 0..n {
        out.put(format_args!(" {:>10}", alloc::format!("CPU{cpu}")));
    }
    out.put(format_args!("{title}\n"));
    for row in rows {
        out.put(format_args!("{row:>width$}"));
        for _ in 0..n {
            out.put(format_args!(" {:>10}", 0));
        }
        out.bytes(b"\n");
    }
    out.0
}

fn interrupts(_t: &Task) -> Result<Vec<u8>> {
    Ok(per_cpu("", &["NMI:", "LOC:", "RES:", "CAL:", "TLB:"], 4))
}

fn softirqs(_t: &Task) -> Result<Vec<u8>> {
    const ROWS: [&str; 10] = [
        "HI:",
        "TIMER:",
        "NET_TX:",
        "NET_RX:",
        "BLOCK:",
        "IRQ_POLL:",
        "TASKLET:",
        "SCHED:",
        "HRTIMER:",
        "RCU:",
    ];
    Ok(per_cpu("", &ROWS, 12))
}

fn locks(_t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    for (i, ((dev, ino), lock)) in locks::list().into_iter().enumerate() {
        let (major, minor) = inode::split_dev(dev);
        let (kind, write, pid, start, end) = match lock {
            Ok(l) => match l.owner {
                locks::Owner::Process(pid) => ("POSIX ", l.write, pid, l.start, l.end),
                locks::Owner::Description(_) => ("OFDLCK", l.write, -1, l.start, l.end),
            },
            Err(exclusive) => ("FLOCK ", exclusive, -1, 0, locks::TO_END),
        };
        let mode = if write { "WRITE" } else { "READ " };
        out.put(format_args!(
            "{}: {kind} ADVISORY  {mode} {pid} {major:02x}:{minor:02x}:{ino} {start} ",
            i + 1
        ));
        match end {
            locks::TO_END => out.bytes(b"EOF\n"),
            end => out.put(format_args!("{end}\n")),
        };
    }
    Ok(out.0)
}

fn cgroups(_t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    out.bytes(b"#subsys_name\thierarchy\tnum_cgroups\tenabled\n");
    for name in ["cpuset", "cpu", "memory", "pids"] {
        out.put(format_args!("{name}\t0\t1\t1\n"));
    }
    Ok(out.0)
}

fn buddyinfo(_t: &Task) -> Result<Vec<u8>> {
    let (_, free) = memory_pages();
    let mut out = Text::new();
    out.put(format_args!("Node 0, zone   Normal"));
    for order in 0..11 {
        let blocks = if order == 10 { free >> 10 } else { 0 };
        out.put(format_args!(" {blocks:>6}"));
    }
    out.bytes(b" \n");
    Ok(out.0)
}

fn vmstat(_t: &Task) -> Result<Vec<u8>> {
    let (total, free) = memory_pages();
    let used = total - free;
    let mut out = Text::new();
    for (name, value) in [
        ("nr_free_pages", free),
        ("nr_zone_inactive_anon", 0),
        ("nr_zone_active_anon", used),
        ("nr_zone_inactive_file", 0),
        ("nr_zone_active_file", 0),
        ("nr_mlock", 0),
        ("numa_hit", 0),
        ("numa_miss", 0),
        ("numa_foreign", 0),
        ("nr_inactive_anon", 0),
        ("nr_active_anon", used),
        ("nr_inactive_file", 0),
        ("nr_active_file", 0),
        ("nr_slab_reclaimable", 0),
        ("nr_slab_unreclaimable", 0),
        ("nr_anon_pages", used),
        ("nr_mapped", 0),
        ("nr_file_pages", 0),
        ("nr_dirty", 0),
        ("nr_writeback", 0),
        ("nr_shmem", 0),
        ("nr_dirtied", 0),
        ("nr_written", 0),
        ("pgpgin", 0),
        ("pgpgout", 0),
        ("pswpin", 0),
        ("pswpout", 0),
        ("pgalloc_normal", 0),
        ("pgfree", 0),
        ("pgfault", 0),
        ("pgmajfault", 0),
        ("oom_kill", 0),
        ("thp_fault_alloc", 0),
        ("thp_collapse_alloc", 0),
    ] {
        out.put(format_args!("{name} {value}\n"));
    }
    Ok(out.0)
}

fn zoneinfo(_t: &Task) -> Result<Vec<u8>> {
    let (total, free) = memory_pages();
    let min = total / 256;
    let mut out = Text::new();
    out.put(format_args!(
        "Node 0, zone   Normal\n  pages free     {free}\n        boost    0\n        min      {min}\n        \
         low      {}\n        high     {}\n        spanned  {total}\n        present  {total}\n        \
         managed  {total}\n        cma      0\n        protection: (0, 0, 0, 0, 0)\n  \
         node_unreclaimable:  0\n  start_pfn:           0\n",
        min * 5 / 4,
        min * 3 / 2,
    ));
    Ok(out.0)
}
