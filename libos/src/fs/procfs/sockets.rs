//! The sockets of `/proc/net`: those that some process has a descriptor of.

use super::super::File;
use super::super::pseudo::Text;
use crate::net::{Socket, SocketFile};
use crate::{Result, Task, kernel};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_abi::raw::net::{
    AF_INET, AF_INET6, AF_UNIX, SO_ACCEPTCONN, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM,
    SOL_SOCKET,
};

/// Every open file of every process once.
fn files() -> Vec<Arc<File>> {
    let tasks: Vec<Arc<Task>> = kernel().tasks.lock().values().cloned().collect();
    let mut tables: Vec<_> = tasks.iter().map(|t| t.files()).collect();
    tables.sort_by_key(Arc::as_ptr);
    tables.dedup_by_key(|t| Arc::as_ptr(t));
    let mut out = Vec::new();
    for table in tables {
        out.extend(table.list().into_iter().filter_map(|fd| table.get(fd).ok()));
    }
    out
}

/// The sockets of a family and kind by inode number.
fn sockets(family: u32, kind: Option<u32>) -> Vec<Arc<dyn Socket>> {
    let mut all: BTreeMap<u64, Arc<dyn Socket>> = BTreeMap::new();
    for f in files() {
        let Some(SocketFile(s)) = f.downcast::<SocketFile>() else {
            continue;
        };
        let c = s.common();
        if c.domain == family && kind.is_none_or(|k| c.kind == k) {
            all.insert(c.ino, s.clone());
        }
    }
    all.into_values().collect()
}

/// `unix`.
pub fn unix(_t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    out.bytes(b"Num       RefCount Protocol Flags    Type St Inode Path\n");
    for s in sockets(AF_UNIX, None) {
        let c = s.common();
        let listening = s.is_listening();
        let state = match s.name(true) {
            Ok(_) => 3,
            Err(_) => 1,
        };
        out.put(format_args!(
            "{:016x}: {:08X} 00000000 {:08X} {:04X} {:02X} {:>5}",
            0,
            Arc::strong_count(&s),
            if listening { 0x10000 } else { 0 },
            c.kind,
            state,
            c.ino
        ));
        let name = s.name(false).unwrap_or_default();
        let path = name.get(2..).unwrap_or_default();
        match path.first() {
            None => {}
            // An abstract name: `@` stands for its NULs.
            Some(0) => {
                let shown: Vec<u8> = path
                    .iter()
                    .map(|&b| if b == 0 { b'@' } else { b })
                    .collect();
                out.bytes(b" ").bytes(&shown);
            }
            Some(_) => {
                let end = path.iter().position(|&b| b == 0).unwrap_or(path.len());
                out.bytes(b" ").bytes(path.get(..end).unwrap_or_default());
            }
        }
        out.bytes(b"\n");
    }
    Ok(out.0)
}

/// An address and a port as these files have them: words in the machine's order.
fn address(out: &mut Text, name: Option<&[u8]>, v6: bool) {
    let words = if v6 { 4 } else { 1 };
    let start = if v6 { 8 } else { 4 };
    for i in 0..words {
        let at = start + i * 4;
        let word = name
            .and_then(|n| n.get(at..at + 4))
            .and_then(|b| b.try_into().ok());
        out.put(format_args!("{:08X}", word.map_or(0, u32::from_le_bytes)));
    }
    let port = name
        .and_then(|n| n.get(2..4))
        .and_then(|b| b.try_into().ok());
    out.put(format_args!(":{:04X}", port.map_or(0, u16::from_be_bytes)));
}

/// It waits for connections, here or on the host.
fn is_listening(s: &dyn Socket, t: &Task) -> bool {
    if !s.owns_options(SO_ACCEPTCONN) {
        return s.is_listening();
    }
    s.get_option(t, SOL_SOCKET as i32, SO_ACCEPTCONN, 4)
        .is_ok_and(|v| v.first().is_some_and(|&b| b != 0))
}

fn inet(t: &Task, title: &str, family: u32, kind: u32, width: usize) -> Vec<u8> {
    const ESTABLISHED: u32 = 1;
    const CLOSE: u32 = 7;
    const LISTEN: u32 = 10;
    let v6 = family == AF_INET6;
    let mut out = Text::new();
    out.put(format_args!("{title:<width$}\n"));
    for (i, s) in sockets(family, Some(kind)).into_iter().enumerate() {
        let c = s.common();
        let (local, peer) = (s.name(false).ok(), s.name(true).ok());
        let bound = |n: &Vec<u8>| n.get(2..4).is_some_and(|p| p != [0, 0]);
        if peer.is_none() && !local.as_ref().is_some_and(bound) {
            // Neither bound nor connected: Linux does not list it either.
            continue;
        }
        let state = match (&peer, is_listening(&*s, t)) {
            (_, true) => LISTEN,
            (Some(_), _) => ESTABLISHED,
            _ => CLOSE,
        };
        let mut line = Text::new();
        let number = if kind == SOCK_STREAM { 4 } else { 5 };
        line.put(format_args!("{i:>number$}: "));
        address(&mut line, local.as_deref(), v6);
        line.bytes(b" ");
        address(&mut line, peer.as_deref(), v6);
        line.put(format_args!(
            " {state:02X} {:08X}:{:08X} 00:00000000 00000000 {:>5} {:>8} {} {} {:016x}",
            0,
            0,
            c.owner.0,
            0,
            c.ino,
            Arc::strong_count(&s),
            0
        ));
        if kind == SOCK_STREAM {
            line.bytes(b" 100 0 0 10 0");
        } else {
            line.bytes(b" 0");
        }
        let pad = if v6 {
            0
        } else {
            width.saturating_sub(line.0.len())
        };
        out.bytes(&line.0).put(format_args!("{:pad$}\n", ""));
    }
    out.0
}

const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  \
     timeout inode";
const TCP6: &str = "  sl  local_address                         remote_address                        \
     st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const UDP: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  \
     timeout inode ref pointer drops";
const UDP6: &str = "  sl  local_address                         remote_address                        \
     st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";

/// `tcp`.
pub fn tcp(t: &Task) -> Result<Vec<u8>> {
    Ok(inet(t, TCP, AF_INET, SOCK_STREAM, 149))
}

/// `tcp6`.
pub fn tcp6(t: &Task) -> Result<Vec<u8>> {
    Ok(inet(t, TCP6, AF_INET6, SOCK_STREAM, 0))
}

/// `udp`.
pub fn udp(t: &Task) -> Result<Vec<u8>> {
    Ok(inet(t, UDP, AF_INET, SOCK_DGRAM, 127))
}

/// `udp6`.
pub fn udp6(t: &Task) -> Result<Vec<u8>> {
    Ok(inet(t, UDP6, AF_INET6, SOCK_DGRAM, 0))
}

/// `raw`.
pub fn raw(t: &Task) -> Result<Vec<u8>> {
    Ok(inet(t, UDP, AF_INET, SOCK_RAW, 127))
}

/// `raw6`.
pub fn raw6(t: &Task) -> Result<Vec<u8>> {
    Ok(inet(t, UDP6, AF_INET6, SOCK_RAW, 0))
}

/// The title line alone, for protocols that are not there.
pub fn none(_t: &Task) -> Result<Vec<u8>> {
    let mut out = Text::new();
    out.put(format_args!("{UDP:<127}\n"));
    Ok(out.0)
}

/// As [`none`], for IPv6.
pub fn none6(_t: &Task) -> Result<Vec<u8>> {
    Ok([UDP6.as_bytes(), b"\n"].concat())
}

/// `sockstat`.
pub fn statistics(_t: &Task) -> Result<Vec<u8>> {
    let count = |family, kind| sockets(family, Some(kind)).len();
    let (tcp, udp) = (count(AF_INET, SOCK_STREAM), count(AF_INET, SOCK_DGRAM));
    let unix = [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET].map(|k| count(AF_UNIX, k));
    let used = tcp + udp + unix.iter().sum::<usize>();
    let mut out = Text::new();
    out.put(format_args!(
        "sockets: used {used}\nTCP: inuse {tcp} orphan 0 tw 0 alloc {tcp} mem 0\n\
         UDP: inuse {udp} mem 0\nUDPLITE: inuse 0\nRAW: inuse {}\nFRAG: inuse 0 memory 0\n",
        count(AF_INET, SOCK_RAW)
    ));
    Ok(out.0)
}
