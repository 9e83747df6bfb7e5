//! `/proc/sys/kernel`.

use super::{INT, own, own_several, own_text, pair, param, params, switch, text_value};
use crate::fs::pseudo::{Node, Text};
use crate::process::creds::CAP_SYS_ADMIN;
use crate::process::sysinfo::{RELEASE, VERSION};
use crate::sysctl::*;
use crate::{Errno, Result, Task, kernel, pal};
use alloc::vec;
use alloc::vec::Vec;
use bastide_base::sync::{Mutex, Once};

/// Room for `uname(2)`'s node and domain name.
const NAME_ROOM: usize = 65;

/// The directory.
pub fn node() -> Node {
    let mut nodes = vec![
        own_several("acct", &[4, 2, 30], 0, INT),
        Node::fixed("arch", "x86_64"),
        switch("auto_msgmni", 0),
        Node::fixed("bootloader_type", "0"),
        Node::fixed("bootloader_version", "0"),
        Node::fixed("cap_last_cap", "40"),
        own_text("core_pattern", "core", 128),
        own("core_pipe_limit", 0, 0, INT),
        switch("core_uses_pid", 0),
        switch("ctrl-alt-del", 0),
        own("dmesg_restrict", 1, 0, 1),
        pair("domainname", 0o644, domainname, set_domainname),
        pair("hostname", 0o644, hostname, set_hostname),
        own("hung_task_timeout_secs", 120, 0, INT),
        // There is no io_uring.
        own("io_uring_disabled", 2, 0, 2),
        own("io_uring_group", -1, -1, INT),
        Node::dir(
            "keys",
            vec![
                own("gc_delay", 300, 0, INT),
                own("maxbytes", 20000, 0, INT),
                own("maxkeys", 200, 0, INT),
                own("persistent_keyring_expiry", 259_200, 0, INT),
                own("root_maxbytes", 25_000_000, 0, INT),
                own("root_maxkeys", 1_000_000, 0, INT),
            ],
        ),
        own("kptr_restrict", 0, 0, 2),
        own("max_lock_depth", 1024, 0, INT),
        param("msg_next_id", &MSG_NEXT_ID),
        param("msgmax", &MSGMAX),
        param("msgmnb", &MSGMNB),
        param("msgmni", &MSGMNI),
        Node::fixed("ngroups_max", "65536"),
        own("nmi_watchdog", 0, 0, 1),
        pair("ns_last_pid", 0o666, last_pid, set_last_pid),
        own("numa_balancing", 0, 0, 2),
        Node::fixed("osrelease", RELEASE),
        Node::fixed("ostype", "Linux"),
        own("overflowgid", 65534, 0, 65535),
        own("overflowuid", 65534, 0, 65535),
        own("panic", 0, i64::from(i32::MIN), INT),
        switch("panic_on_oops", 0),
        switch("panic_on_warn", 0),
        own("perf_cpu_time_max_percent", 25, 0, 100),
        own("perf_event_max_sample_rate", 100_000, 1, INT),
        own("perf_event_max_stack", 127, 0, 640),
        own("perf_event_mlock_kb", 516, 0, INT),
        own("perf_event_paranoid", 2, i64::from(i32::MIN), INT),
        param("pid_max", &PID_MAX),
        own_text("poweroff_cmd", "/sbin/poweroff", 256),
        switch("print-fatal-signals", 0),
        own_several("printk", &[4, 4, 1, 7], i64::from(i32::MIN), INT),
        own("printk_delay", 0, 0, 10000),
        own_text("printk_devkmsg", "ratelimit", 10),
        own("printk_ratelimit", 5, 0, INT),
        own("printk_ratelimit_burst", 10, 0, INT),
    ];
    nodes.extend(vec![
        Node::dir(
            "pty",
            vec![
                own("max", 4096, 0, INT),
                Node::fixed("nr", "0"),
                own("reserve", 1024, 0, INT),
            ],
        ),
        random(),
        own("randomize_va_space", 2, 0, 2),
        own("sched_autogroup_enabled", 0, 0, 1),
        own("sched_cfs_bandwidth_slice_us", 5000, 1, INT),
        own("sched_deadline_period_max_us", 4_194_304, 0, INT),
        own("sched_deadline_period_min_us", 100, 0, INT),
        param("sched_rr_timeslice_ms", &SCHED_RR_TIMESLICE_MS),
        pair("sched_rt_period_us", 0o644, rt_period, set_rt_period),
        pair("sched_rt_runtime_us", 0o644, rt_runtime, set_rt_runtime),
        Node::dir(
            "seccomp",
            vec![
                Node::fixed(
                    "actions_avail",
                    "kill_process kill_thread trap errno user_notif trace log allow",
                ),
                own_text(
                    "actions_logged",
                    "kill_process kill_thread trap errno user_notif trace log",
                    256,
                ),
            ],
        ),
        params("sem", &[&SEMMSL, &SEMMNS, &SEMOPM, &SEMMNI]),
        param("sem_next_id", &SEM_NEXT_ID),
        param("shm_next_id", &SHM_NEXT_ID),
        own("shm_rmid_forced", 0, 0, 1),
        param("shmall", &SHMALL),
        param("shmmax", &SHMMAX),
        param("shmmni", &SHMMNI),
        own("sysctl_writes_strict", 1, -1, 1),
        own("tainted", 0, 0, i64::MAX),
        own("task_delayacct", 0, 0, 1),
        param("threads-max", &THREADS_MAX),
        own("timer_migration", 1, 0, 1),
        own("unprivileged_bpf_disabled", 2, 0, 2),
        Node::fixed("version", VERSION),
        own("watchdog", 0, 0, 1),
        own("watchdog_thresh", 10, 0, 60),
    ]);
    Node::dir("kernel", nodes)
}

fn named(name: &Mutex<Vec<u8>>) -> Result<Vec<u8>> {
    let mut v = name.lock().clone();
    v.push(b'\n');
    Ok(v)
}

fn set_name(t: &Task, name: &Mutex<Vec<u8>>, data: &[u8]) -> Result<()> {
    if !t.creds().capable(CAP_SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    *name.lock() = text_value(data, NAME_ROOM).to_vec();
    Ok(())
}

fn hostname(_t: &Task) -> Result<Vec<u8>> {
    named(&kernel().hostname)
}

fn set_hostname(t: &Task, data: &[u8]) -> Result<()> {
    set_name(t, &kernel().hostname, data)
}

fn domainname(_t: &Task) -> Result<Vec<u8>> {
    named(&kernel().domainname)
}

fn set_domainname(t: &Task, data: &[u8]) -> Result<()> {
    set_name(t, &kernel().domainname, data)
}

fn last_pid(_t: &Task) -> Result<Vec<u8>> {
    let last = *kernel().last_pid.lock();
    Ok(alloc::format!("{last}\n").into_bytes())
}

/// EPERM without `CAP_SYS_ADMIN`.
fn set_last_pid(t: &Task, data: &[u8]) -> Result<()> {
    if !t.creds().capable(CAP_SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let pid = super::parse_number(data.trim_ascii()).ok_or(Errno::EINVAL)?;
    if !(0..PID_MAX.get()).contains(&pid) {
        return Err(Errno::EINVAL);
    }
    *kernel().last_pid.lock() = pid as i32;
    Ok(())
}

fn shown(p: &Param) -> Result<Vec<u8>> {
    Ok(alloc::format!("{}\n", p.get()).into_bytes())
}

fn rt_period(_t: &Task) -> Result<Vec<u8>> {
    shown(&SCHED_RT_PERIOD_US)
}

fn rt_runtime(_t: &Task) -> Result<Vec<u8>> {
    shown(&SCHED_RT_RUNTIME_US)
}

/// The run time must fit in the period: EINVAL.
fn set_rt(data: &[u8], which: &Param, fits: impl Fn(i64) -> bool) -> Result<()> {
    let v = super::parse_numbers(data, 1)?[0];
    let v = i64::try_from(v).map_err(|_| Errno::EINVAL)?;
    if fits(v) && which.set(v) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

fn set_rt_period(_t: &Task, data: &[u8]) -> Result<()> {
    set_rt(data, &SCHED_RT_PERIOD_US, |v| {
        v >= SCHED_RT_RUNTIME_US.get()
    })
}

fn set_rt_runtime(_t: &Task, data: &[u8]) -> Result<()> {
    set_rt(data, &SCHED_RT_RUNTIME_US, |v| {
        v <= SCHED_RT_PERIOD_US.get()
    })
}

fn random() -> Node {
    Node::dir(
        "random",
        vec![
            Node::text("boot_id", |_: &Task| {
                static ID: Once<Vec<u8>> = Once::new();
                Ok(ID.get_or_init(uuid).clone())
            }),
            Node::fixed("entropy_avail", "256"),
            Node::fixed("poolsize", "256"),
            own("urandom_min_reseed_secs", 60, 0, INT),
            Node::text("uuid", |_: &Task| Ok(uuid())),
            own("write_wakeup_threshold", 256, 0, INT),
        ],
    )
}

/// A random (version 4) UUID.
fn uuid() -> Vec<u8> {
    let mut b = [0; 16];
    pal().random(&mut b);
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let mut out = Text::new();
    for (i, b) in b.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.bytes(b"-");
        }
        out.put(format_args!("{b:02x}"));
    }
    out.bytes(b"\n");
    out.0
}
