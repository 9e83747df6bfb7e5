//! What `/proc/pid/maps`, `smaps`, `statm` and `status` say of an address space.

use super::Mm;
use super::vma::{Memory, VmFlags, Vma};
use crate::Task;
use crate::fs::File;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::pages::PAGE;
use bastide_pal::Prot;
use core::fmt::Write;

/// One mapping, as others may know it.
#[derive(Clone)]
pub struct MapInfo {
    pub start: usize,
    pub end: usize,
    pub prot: Prot,
    pub flags: VmFlags,
    /// Offset in the file or object.
    pub offset: u64,
    pub file: Option<Arc<File>>,
    /// A name in place of a file: `[heap]`, `[stack]`, `[vdso]`; empty for none.
    pub name: &'static str,
    /// It is private memory without a file.
    pub anonymous: bool,
    /// Bytes mapped so far, of objects that are mapped on access.
    pub filled: Option<usize>,
}

impl Mm {
    /// The mappings in order of addresses.
    pub fn describe_maps(&self) -> Vec<MapInfo> {
        let s = self.state.lock();
        let (start_brk, brk) = s.brk;
        s.map
            .iter()
            .map(|v| {
                let heap =
                    v.is_private_anon() && v.file.is_none() && v.start < brk && v.end > start_brk;
                MapInfo {
                    start: v.start,
                    end: v.end,
                    prot: v.prot,
                    flags: v.flags,
                    offset: v.offset_at(v.start),
                    file: v.file.clone(),
                    name: if heap { "[heap]" } else { v.name },
                    anonymous: v.is_private_anon(),
                    filled: match &v.memory {
                        Memory::Pages { filled, .. } => Some(filled.len()),
                        _ => None,
                    },
                }
            })
            .collect()
    }

    /// The mapping that holds an address.
    pub fn find_map(&self, addr: usize) -> Option<MapInfo> {
        self.describe_maps()
            .into_iter()
            .find(|m| m.start <= addr && addr < m.end)
    }

    /// What lies at an address, as `/proc/pid/maps` names it to `reader`, and the offset in it; an
    /// address that is in nothing with a name stands for itself.
    pub fn place_of(&self, reader: &Task, addr: usize) -> (String, u64) {
        let found = {
            let s = self.state.lock();
            s.map
                .find(addr)
                .map(|v| (v.file.clone(), v.name, v.offset_at(addr)))
        };
        let named = found.map(|(file, name, offset)| match file {
            Some(f) => (file_text(reader, &f), offset),
            None => (String::from(name), offset),
        });
        named
            .filter(|(name, _)| !name.is_empty())
            .unwrap_or((String::new(), addr as u64))
    }

    /// `/proc/pid/maps`, with paths as `reader` sees them.
    pub fn maps(&self, reader: &Task) -> String {
        let mut out = String::new();
        for m in self.describe_maps() {
            line(&mut out, reader, &m);
        }
        out
    }

    /// `/proc/pid/smaps`. `own` says that this is the calling thread's address space, whose
    /// memory can be measured.
    pub fn smaps(&self, reader: &Task, own: bool) -> String {
        let mut out = String::new();
        for m in self.describe_maps() {
            line(&mut out, reader, &m);
            let size = m.end - m.start;
            let rss = self.resident_in(&m, own);
            let shared = m.flags.contains(VmFlags::SHARED);
            let private = if shared { 0 } else { rss };
            let anonymous = if m.anonymous { rss } else { 0 };
            let locked = if m.flags.contains(VmFlags::LOCKED) {
                rss
            } else {
                0
            };
            let rows = [
                ("Size", size),
                ("KernelPageSize", PAGE),
                ("MMUPageSize", PAGE),
                ("Rss", rss),
                ("Pss", rss),
                ("Pss_Dirty", anonymous),
                ("Shared_Clean", 0),
                ("Shared_Dirty", rss - private),
                ("Private_Clean", private - anonymous),
                ("Private_Dirty", anonymous),
                ("Referenced", rss),
                ("Anonymous", anonymous),
                ("KSM", 0),
                ("LazyFree", 0),
                ("AnonHugePages", 0),
                ("ShmemPmdMapped", 0),
                ("FilePmdMapped", 0),
                ("Shared_Hugetlb", 0),
                ("Private_Hugetlb", 0),
                ("Swap", 0),
                ("SwapPss", 0),
                ("Locked", locked),
            ];
            for (name, bytes) in rows {
                let _ = writeln!(
                    out,
                    "{:<16}{:>8} kB",
                    alloc::format!("{name}:"),
                    bytes >> 10
                );
            }
            let _ = writeln!(out, "THPeligible:           0\nVmFlags: {}", flag_names(&m));
        }
        out
    }

    fn resident_in(&self, m: &MapInfo, own: bool) -> usize {
        if let Some(n) = m.filled {
            return n;
        }
        self.resident_span(m.start, m.end, own) as usize
    }

    /// `/proc/pid/statm`: sizes in pages.
    pub fn statm(&self, own: bool) -> String {
        let v = self.sizes(own);
        let pages = |n: u64| n / PAGE as u64;
        alloc::format!(
            "{} {} {} {} 0 {} 0\n",
            pages(v.total),
            pages(v.resident),
            pages(v.resident_file),
            pages(v.text),
            pages(v.data + v.stack)
        )
    }

    /// The `Vm*` and `Rss*` lines of `/proc/pid/status`.
    pub fn status(&self, own: bool) -> String {
        let v = self.sizes(own);
        let mut out = String::new();
        let rows = [
            ("VmPeak", v.peak),
            ("VmSize", v.total),
            ("VmLck", v.locked),
            ("VmPin", 0),
            ("VmHWM", v.resident),
            ("VmRSS", v.resident),
            ("RssAnon", v.resident - v.resident_file),
            ("RssFile", v.resident_file),
            ("RssShmem", 0),
            ("VmData", v.data),
            ("VmStk", v.stack),
            ("VmExe", v.text),
            ("VmLib", 0),
            ("VmPTE", v.resident >> 9),
            ("VmSwap", 0),
        ];
        for (name, bytes) in rows {
            let _ = writeln!(out, "{name}:\t{:>8} kB", bytes >> 10);
        }
        out
    }

    /// Sums over the mappings, in bytes.
    pub fn sizes(&self, own: bool) -> Sizes {
        let (resident, resident_file) = self.resident_bytes(own);
        let s = self.state.lock();
        let bytes = |pages: usize| (pages * PAGE) as u64;
        let sum = |of: &dyn Fn(&Vma) -> bool| {
            s.map.iter().filter(|v| of(v)).map(|v| v.len() as u64).sum()
        };
        Sizes {
            total: bytes(s.map.total),
            peak: bytes(s.map.peak),
            locked: bytes(s.map.locked),
            data: bytes(s.map.data),
            stack: sum(&|v| v.flags.contains(VmFlags::GROWSDOWN)),
            text: sum(&|v| v.prot.contains(Prot::EXEC) && !v.prot.contains(Prot::WRITE)),
            resident,
            resident_file,
        }
    }

    /// The `brk(2)` area: start and end.
    pub fn brk_area(&self) -> (usize, usize) {
        self.state.lock().brk
    }

    /// Where the first program's stack ends.
    pub fn stack_top(&self) -> usize {
        self.state.lock().stack_top
    }
}

/// Sums over an address space, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub total: u64,
    pub peak: u64,
    pub locked: u64,
    pub data: u64,
    pub stack: u64,
    pub text: u64,
    pub resident: u64,
    pub resident_file: u64,
}

fn line(out: &mut String, reader: &Task, m: &MapInfo) {
    let stat = m.file.as_ref().and_then(|f| f.stat().ok());
    let (dev, ino) = stat.map_or((0, 0), |s| (s.dev, s.ino));
    let bit = |p: Prot, c: char| if m.prot.contains(p) { c } else { '-' };
    let start = out.len();
    let _ = write!(
        out,
        "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ",
        m.start,
        m.end,
        bit(Prot::READ, 'r'),
        bit(Prot::WRITE, 'w'),
        bit(Prot::EXEC, 'x'),
        if m.flags.contains(VmFlags::SHARED) {
            's'
        } else {
            'p'
        },
        m.offset,
        major(dev),
        minor(dev),
        ino
    );
    let path = match &m.file {
        Some(f) => file_text(reader, f),
        None => String::from(m.name),
    };
    if !path.is_empty() {
        while out.len() - start < 73 {
            out.push(' ');
        }
        // As on Linux, a newline in a name cannot end the line.
        out.push_str(&path.replace('\n', "\\012"));
    }
    out.push('\n');
}

fn file_text(reader: &Task, f: &Arc<File>) -> String {
    match &f.path {
        Some(p) => crate::fs::path::absolute(reader, p)
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default(),
        None => f.ops.describe(),
    }
}

fn major(dev: u64) -> u64 {
    dev >> 8 & 0xfff | dev >> 32 & !0xfff
}

fn minor(dev: u64) -> u64 {
    dev & 0xff | dev >> 12 & 0xffff_ff00
}

/// The two-letter flags of `smaps`.
fn flag_names(m: &MapInfo) -> String {
    let mut out = String::new();
    let mut add = |on: bool, name: &str| {
        if on {
            out.push_str(name);
            out.push(' ');
        }
    };
    add(m.prot.contains(Prot::READ), "rd");
    add(m.prot.contains(Prot::WRITE), "wr");
    add(m.prot.contains(Prot::EXEC), "ex");
    add(m.flags.contains(VmFlags::SHARED), "sh");
    add(true, "mr mw me");
    for (flag, name) in [
        (VmFlags::GROWSDOWN, "gd"),
        (VmFlags::LOCKED, "lo"),
        (VmFlags::SEQ_READ, "sr"),
        (VmFlags::RAND_READ, "rr"),
        (VmFlags::DONTFORK, "dc"),
        (VmFlags::NORESERVE, "nr"),
        (VmFlags::WIPEONFORK, "wf"),
        (VmFlags::DONTDUMP, "dd"),
        (VmFlags::HUGEPAGE, "hg"),
        (VmFlags::NOHUGEPAGE, "nh"),
        (VmFlags::SEALED, "sl"),
    ] {
        add(m.flags.contains(flag), name);
    }
    out
}
