//! `/proc/PID/net`: the one network that all processes see.

use super::super::pseudo::{Node, Text};
use super::sockets;
use crate::{Result, Task};
use alloc::vec;
use alloc::vec::Vec;
use bastide_base::sync::Once;

/// The directory.
pub fn tree() -> &'static Node {
    static TREE: Once<Node> = Once::new();
    TREE.get_or_init(|| Node::dir("net", nodes()))
}

fn nodes() -> Vec<Node> {
    vec![
        Node::fixed(
            "arp",
            "IP address       HW type     Flags       HW address            Mask     Device",
        ),
        Node::text("dev", dev),
        Node::empty("dev_mcast"),
        Node::text("fib_trie", fib_trie),
        Node::text("icmp", sockets::none),
        Node::text("icmp6", sockets::none6),
        Node::fixed(
            "if_inet6",
            "00000000000000000000000000000001 01 80 10 80       lo",
        ),
        Node::fixed(
            "igmp",
            "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter",
        ),
        Node::empty("igmp6"),
        Node::fixed(
            "ipv6_route",
            "00000000000000000000000000000001 80 00000000000000000000000000000000 00 \
             00000000000000000000000000000000 00000000 00000001 00000000 80200001       lo",
        ),
        Node::text("netlink", |_: &Task| {
            Ok(b"sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    \
                 Inode\n"
                .to_vec())
        }),
        Node::fixed(
            "packet",
            "sk               RefCnt Type Proto  Iface R Rmem   User   Inode",
        ),
        Node::fixed("ptype", "Type Device      Function"),
        Node::fixed("psched", "000003e8 00000040 000f4240 3b9aca00"),
        Node::text("raw", sockets::raw),
        Node::text("raw6", sockets::raw6),
        Node::text("route", |_: &Task| {
            let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\t\
                 IRTT";
            let mut out = Text::new();
            out.put(format_args!("{head:<127}\n"));
            Ok(out.0)
        }),
        Node::fixed(
            "rt_cache",
            "Iface\tDestination\tGateway \tFlags\t\tRefCnt\tUse\tMetric\tSource\t\tMTU\tWindow\tIRTT\t\
             TOS\tHHRef\tHHUptod\tSpecDst",
        ),
        Node::text("netstat", netstat),
        Node::text("snmp", snmp),
        Node::text("snmp6", snmp6),
        Node::text("sockstat", sockets::statistics),
        Node::fixed(
            "sockstat6",
            "TCP6: inuse 0\nUDP6: inuse 0\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0",
        ),
        Node::dir("stat", Vec::new()),
        Node::text("tcp", sockets::tcp),
        Node::text("tcp6", sockets::tcp6),
        Node::text("udp", sockets::udp),
        Node::text("udp6", sockets::udp6),
        Node::text("udplite", sockets::none),
        Node::text("udplite6", sockets::none6),
        Node::text("unix", sockets::unix),
    ]
}

fn dev(_t: &Task) -> Result<Vec<u8>> {
    Ok(b"Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop \
        fifo colls carrier compressed\n    lo:       0       0    0    0    0     0          0         \
        0        0       0    0    0    0     0       0          0\n"
        .to_vec())
}

fn fib_trie(_t: &Task) -> Result<Vec<u8>> {
    Ok(b"Main:\n  +-- 0.0.0.0/0 3 0 5\nLocal:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.0\n        \
        /8 host LOCAL\n"
        .to_vec())
}

/// Lines of names and of as many zeros.
fn zeros(out: &mut Text, title: &str, names: &str) {
    out.put(format_args!("{title}: {names}\n{title}:"));
    for _ in names.split(' ') {
        out.bytes(b" 0");
    }
    out.bytes(b"\n");
}

fn snmp(_t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    out.bytes(
        b"Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams \
          InUnknownProtos InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout \
          ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates OutTransmits\n\
          Ip: 2 64 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
    );
    zeros(
        &mut out,
        "Icmp",
        "InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs \
         InRedirects InEchos InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps \
         OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost OutDestUnreachs OutTimeExcds \
         OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps \
         OutTimestampReps OutAddrMasks OutAddrMaskReps",
    );
    out.bytes(
        b"Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails \
          EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\n\
          Tcp: 1 200 120000 -1 0 0 0 0 0 0 0 0 0 0 0\n",
    );
    let udp = "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors \
         IgnoredMulti MemErrors";
    zeros(&mut out, "Udp", udp);
    zeros(&mut out, "UdpLite", udp);
    Ok(out.0)
}

fn netstat(_t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    zeros(
        &mut out,
        "TcpExt",
        "SyncookiesSent SyncookiesRecv SyncookiesFailed ListenOverflows ListenDrops TCPTimeouts",
    );
    zeros(&mut out, "IpExt", "InNoRoutes InOctets OutOctets");
    Ok(out.0)
}

fn snmp6(_t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    for name in [
        "Ip6InReceives",
        "Ip6OutRequests",
        "Udp6InDatagrams",
        "Udp6OutDatagrams",
    ] {
        out.put(format_args!("{name:<32}\t0\n"));
    }
    Ok(out.0)
}
