//! `/proc/sys/net`.

use super::{INT, INT_MIN, own, own_several, own_text, param, switch};
use crate::fs::pseudo::Node;
use crate::sysctl::*;
use alloc::vec;

/// The directory.
pub fn node() -> Node {
    Node::dir("net", vec![core(), ipv4(), ipv6(), unix()])
}

fn core() -> Node {
    Node::dir(
        "core",
        vec![
            own("bpf_jit_enable", 1, 0, 2),
            own("busy_poll", 0, 0, INT),
            own("busy_read", 0, 0, INT),
            own_text("default_qdisc", "pfifo_fast", 16),
            own("dev_weight", 64, 1, INT),
            own("max_skb_frags", 17, 1, 17),
            own("message_burst", 10, 0, INT),
            own("message_cost", 5, 0, INT),
            own("netdev_budget", 300, 0, INT),
            own("netdev_budget_usecs", 8000, 0, INT),
            own("netdev_max_backlog", 1000, 0, INT),
            own("optmem_max", 131_072, 0, INT),
            param("rmem_default", &RMEM_DEFAULT),
            param("rmem_max", &RMEM_MAX),
            param("somaxconn", &SOMAXCONN),
            own("warnings", 0, 0, 1),
            param("wmem_default", &WMEM_DEFAULT),
            param("wmem_max", &WMEM_MAX),
        ],
    )
}

/// Parameters of each interface.
fn conf(switches: &'static [(&'static str, i64)]) -> Node {
    let dirs = ["all", "default", "lo"].map(|name| {
        let nodes = switches.iter().map(|&(n, v)| switch(n, v)).collect();
        Node::dir(name, nodes)
    });
    Node::dir("conf", dirs.into())
}

fn ipv4() -> Node {
    let mut nodes = vec![
        conf(&[
            ("accept_local", 0),
            ("accept_redirects", 1),
            ("accept_source_route", 0),
            ("arp_announce", 0),
            ("arp_filter", 0),
            ("arp_ignore", 0),
            ("forwarding", 0),
            ("log_martians", 0),
            ("proxy_arp", 0),
            ("route_localnet", 0),
            ("rp_filter", 0),
            ("secure_redirects", 1),
            ("send_redirects", 1),
            ("tag", 0),
        ]),
        own("icmp_echo_ignore_all", 0, 0, 1),
        own("icmp_echo_ignore_broadcasts", 1, 0, 1),
        own("icmp_ratelimit", 1000, 0, INT),
        own("igmp_max_memberships", 20, 0, INT),
        own("ip_default_ttl", 64, 1, 255),
        own("ip_dynaddr", 0, 0, 255),
        own("ip_early_demux", 1, 0, 255),
        own("ip_forward", 0, 0, 1),
        own_several("ip_local_port_range", &[32768, 60999], 1, 65535),
        own_text("ip_local_reserved_ports", "", 4096),
        own("ip_no_pmtu_disc", 0, 0, 255),
        own("ip_nonlocal_bind", 0, 0, 1),
        param("ip_unprivileged_port_start", &UNPRIVILEGED_PORT_START),
        own_several("ping_group_range", &[1, 0], 0, INT),
    ];
    for (name, value) in [
        ("tcp_abort_on_overflow", 0),
        ("tcp_adv_win_scale", 1),
        ("tcp_app_win", 31),
        ("tcp_autocorking", 1),
        ("tcp_base_mss", 1024),
        ("tcp_dsack", 1),
        ("tcp_early_retrans", 3),
        ("tcp_ecn", 2),
        ("tcp_fastopen", 1),
        ("tcp_fin_timeout", 60),
        ("tcp_frto", 2),
        ("tcp_keepalive_intvl", 75),
        ("tcp_keepalive_probes", 9),
        ("tcp_keepalive_time", 7200),
        ("tcp_limit_output_bytes", 4_194_304),
        ("tcp_max_orphans", 131_072),
        ("tcp_max_syn_backlog", 2048),
        ("tcp_max_tw_buckets", 131_072),
        ("tcp_moderate_rcvbuf", 1),
        ("tcp_mtu_probing", 0),
        ("tcp_no_metrics_save", 0),
        ("tcp_orphan_retries", 0),
        ("tcp_reordering", 3),
        ("tcp_retries1", 3),
        ("tcp_retries2", 15),
        ("tcp_rfc1337", 0),
        ("tcp_sack", 1),
        ("tcp_slow_start_after_idle", 1),
        ("tcp_stdurg", 0),
        ("tcp_syn_retries", 6),
        ("tcp_synack_retries", 5),
        ("tcp_syncookies", 1),
        ("tcp_thin_linear_timeouts", 0),
        ("tcp_timestamps", 1),
        ("tcp_tw_reuse", 2),
        ("tcp_window_scaling", 1),
    ] {
        nodes.push(own(name, value, INT_MIN, INT));
    }
    nodes.extend(vec![
        own_text("tcp_allowed_congestion_control", "reno cubic", 256),
        Node::fixed("tcp_available_congestion_control", "reno cubic"),
        own_text("tcp_congestion_control", "cubic", 16),
        own("tcp_notsent_lowat", 4_294_967_295, 0, 4_294_967_295),
        own_several("tcp_mem", &[287_901, 383_868, 575_802], 0, i64::MAX),
        own_several("tcp_rmem", &[4096, 131_072, 6_291_456], 1, INT),
        own_several("tcp_wmem", &[4096, 16384, 4_194_304], 1, INT),
        own_several("udp_mem", &[575_802, 767_736, 1_151_604], 0, i64::MAX),
        own("udp_rmem_min", 4096, 0, INT),
        own("udp_wmem_min", 4096, 0, INT),
    ]);
    Node::dir("ipv4", nodes)
}

fn ipv6() -> Node {
    Node::dir(
        "ipv6",
        vec![
            own("auto_flowlabels", 1, 0, 3),
            own("bindv6only", 0, 0, 1),
            conf(&[
                ("accept_ra", 1),
                ("accept_redirects", 1),
                ("autoconf", 1),
                ("disable_ipv6", 0),
                ("forwarding", 0),
                ("hop_limit", 64),
                ("mtu", 65536),
                ("use_tempaddr", 0),
            ]),
            own("ip_nonlocal_bind", 0, 0, 1),
        ],
    )
}

fn unix() -> Node {
    Node::dir("unix", vec![own("max_dgram_qlen", 512, 0, INT)])
}
