//! `/proc/PID/pagemap`, and the `PROCMAP_QUERY` question about `/proc/PID/maps`.

use super::super::inode::split_dev;
use super::super::{File, FileOps, path};
use super::target::{Seen, Target};
use crate::mm::VmFlags;
use crate::mm::report::MapInfo;
use crate::uio::IoDst;
use crate::user::{self, UserAddr};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bastide_abi::proc::ProcmapQuery;
use bastide_base::pages::PAGE;
use bastide_base::user::USER_END;
use bastide_pal::Prot;
use core::any::Any;
use zerocopy::{FromBytes, IntoBytes};

/// Bits of an entry of `pagemap`: present, of a file or shared, mapped here only. Page frame
/// numbers stay 0: where pages lie is the platform's secret.
const PRESENT: u64 = 1 << 63;
const FILE: u64 = 1 << 61;
const EXCLUSIVE: u64 = 1 << 56;

/// Opens `pagemap`.
pub fn open(s: &Seen, target: Target, t: &Task) -> Result<Arc<dyn FileOps>> {
    s.may_inspect(t)?;
    s.task()?;
    Ok(Arc::new(PageMap(target)))
}

struct PageMap(Target);

/// Entries made at once.
const CHUNK: usize = 512;

impl FileOps for PageMap {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// EINVAL unless offset and length are multiples of an entry's size.
    fn read(&self, t: &Task, _f: &File, dst: &mut IoDst<'_>, off: Option<u64>) -> Result<usize> {
        let offset = off.unwrap_or(0);
        if offset % 8 != 0 || dst.left() % 8 != 0 {
            return Err(Errno::EINVAL);
        }
        let seen = self.0.see()?;
        let task = seen.task()?;
        let mut page = usize::try_from(offset / 8).map_err(|_| Errno::EINVAL)?;
        while dst.left() > 0 && page < USER_END / PAGE {
            let n = (dst.left() / 8).min(CHUNK).min(USER_END / PAGE - page);
            let entries = entries(task, t, page, n);
            dst.put(entries.as_bytes())?;
            page += n;
        }
        Ok(dst.done())
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Result<u64> {
        Err(Errno::EINVAL)
    }

    fn pollable(&self) -> bool {
        false
    }
}

/// The entries of `n` pages.
fn entries(task: &Task, reader: &Task, page: usize, n: usize) -> Vec<u64> {
    let mm = task.mm();
    let own = Arc::ptr_eq(&mm, &reader.mm());
    let (start, end) = (page * PAGE, (page + n) * PAGE);
    let mut out = vec![0; n];
    let maps = mm.describe_maps();
    for m in maps.iter().filter(|m| m.start < end && m.end > start) {
        let (from, to) = (m.start.max(start), m.end.min(end));
        let here = mm.present(from, to, own);
        let kind = if m.anonymous { EXCLUSIVE } else { FILE };
        let part = out.iter_mut().skip((from - start) / PAGE);
        for (entry, _) in part.zip(here).filter(|(_, present)| *present) {
            *entry = PRESENT | kind;
        }
    }
    out
}

/// `PROCMAP_QUERY`.
pub const PROCMAP_QUERY: u32 = 0xc068_6611;

const SHARED: u64 = 8;
const COVERING_OR_NEXT: u64 = 0x10;
const FILE_BACKED: u64 = 0x20;

fn flags(m: &MapInfo) -> u64 {
    let mut f = 0;
    for (prot, bit) in [(Prot::READ, 1), (Prot::WRITE, 2), (Prot::EXEC, 4)] {
        if m.prot.contains(prot) {
            f |= bit;
        }
    }
    if m.flags.contains(VmFlags::SHARED) {
        f |= SHARED;
    }
    f
}

/// Answers which mapping holds an address (or comes next) and has what is asked for. ENOENT,
/// EINVAL for unknown flags, E2BIG, ENAMETOOLONG.
pub fn query(s: &Seen, t: &Task, at: UserAddr) -> SysResult {
    const SIZE: usize = size_of::<ProcmapQuery>();
    let size: u64 = user::read(t, at)?;
    let size = usize::try_from(size).map_err(|_| Errno::E2BIG)?;
    if size > PAGE {
        return Err(Errno::E2BIG);
    }
    if size < 24 {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; size.max(SIZE)];
    user::read_bytes(t, at, bytes.get_mut(..size).unwrap_or_default())?;
    if bytes.iter().skip(SIZE).any(|&b| b != 0) {
        return Err(Errno::E2BIG);
    }
    let (mut q, _) = ProcmapQuery::read_from_prefix(&bytes).map_err(|_| Errno::EINVAL)?;
    if q.query_flags & !0x3f != 0
        || (q.vma_name_size == 0) != (q.vma_name_addr == 0)
        || (q.build_id_size == 0) != (q.build_id_addr == 0)
    {
        return Err(Errno::EINVAL);
    }
    let maps = s.task()?.mm().describe_maps();
    let wanted = q.query_flags & 0xf;
    let next = q.query_flags & COVERING_OR_NEXT != 0;
    let addr = usize::try_from(q.query_addr).map_err(|_| Errno::ENOENT)?;
    let found = (maps.iter().filter(|m| m.end > addr))
        .take_while(|m| next || m.start <= addr)
        .find(|m| {
            flags(m) & wanted == wanted && (q.query_flags & FILE_BACKED == 0 || m.file.is_some())
        });
    let m = found.ok_or(Errno::ENOENT)?;
    q.vma_start = m.start as u64;
    q.vma_end = m.end as u64;
    q.vma_flags = flags(m);
    q.vma_page_size = PAGE as u64;
    let mut name = m.name.as_bytes().to_vec();
    (q.vma_offset, q.inode, q.dev_major, q.dev_minor) = (0, 0, 0, 0);
    if let Some(f) = &m.file {
        let st = f.stat()?;
        (q.dev_major, q.dev_minor) = split_dev(st.dev);
        (q.inode, q.vma_offset) = (st.ino, m.offset);
        name = path::absolute(t, &path::of_file(f))?;
    }
    q.build_id_size = 0;
    if q.vma_name_size > 0 && !name.is_empty() {
        name.push(0);
        if name.len() > q.vma_name_size as usize {
            return Err(Errno::ENAMETOOLONG);
        }
        user::write_bytes(t, UserAddr(q.vma_name_addr as usize), &name)?;
        q.vma_name_size = name.len() as u32;
    } else {
        q.vma_name_size = 0;
    }
    let answer = q.as_bytes();
    user::write_bytes(t, at, answer.get(..size.min(SIZE)).unwrap_or_default())?;
    Ok(0)
}
