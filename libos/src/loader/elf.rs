//! ELF executables, `elf(5)`. The file is untrusted: every number is checked before use.

use super::read_at;
use crate::fs::File;
use crate::mm::{Backing, Limits, MapExtra, MapRequest, Mm};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, Task, pal};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_pal::Prot;
use goblin::elf64::header::{EM_X86_64, ET_DYN, ET_EXEC, Header};
use goblin::elf64::program_header::{PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_PHDR};

const PAGE: u64 = 4096;
const HEADER_SIZE: usize = 64;
const PHDR_SIZE: usize = 56;
/// Where position-independent programs go, `ELF_ET_DYN_BASE` (two thirds of the address space).
const DYN_BASE: u64 = 0x5555_5555_4000;

/// A `PT_LOAD` segment.
#[derive(Clone, Copy, Debug)]
struct Segment {
    vaddr: u64,
    memsz: u64,
    offset: u64,
    filesz: u64,
    prot: Prot,
}

/// The checked headers of an executable or interpreter.
#[derive(Debug)]
pub struct Image {
    position_independent: bool,
    entry: u64,
    segments: Vec<Segment>,
    align: u64,
    /// Virtual address of the program headers before relocation, 0 if they are not mapped.
    phdr: u64,
    pub header_count: usize,
    pub interpreter: Option<Vec<u8>>,
}

/// Where an image was mapped.
pub struct Mapped {
    /// Added to the file's addresses.
    pub base: usize,
    pub entry: usize,
    /// Address of the program headers.
    pub headers: usize,
    /// First address after the last segment.
    pub end: usize,
}

fn page_down(a: u64) -> u64 {
    a & !(PAGE - 1)
}

fn page_up(a: u64) -> Result<u64> {
    a.checked_next_multiple_of(PAGE).ok_or(Errno::ENOEXEC)
}

impl Image {
    /// Reads and checks the headers; ENOEXEC.
    pub fn read(t: &Task, file: &File, head: &[u8]) -> Result<Image> {
        let bytes: &[u8; HEADER_SIZE] = head.first_chunk().ok_or(Errno::ENOEXEC)?;
        let h = Header::from_bytes(bytes);
        let magic = h.e_ident[..6] == [0x7f, b'E', b'L', b'F', 2, 1];
        if !magic || h.e_machine != EM_X86_64 || ![ET_EXEC, ET_DYN].contains(&h.e_type) {
            return Err(Errno::ENOEXEC);
        }
        let count = usize::from(h.e_phnum);
        let size = count * PHDR_SIZE;
        if usize::from(h.e_phentsize) != PHDR_SIZE || count == 0 || size > 65536 {
            return Err(Errno::ENOEXEC);
        }
        let start = usize::try_from(h.e_phoff).map_err(|_| Errno::ENOEXEC)?;
        let far;
        let table = match start.checked_add(size).and_then(|end| head.get(start..end)) {
            Some(near) => near,
            None => {
                far = read_at(t, file, h.e_phoff, size)?;
                &far
            }
        };
        if table.len() != size {
            return Err(Errno::ENOEXEC);
        }
        Self::parse(t, file, head, h, table)
    }

    fn parse(t: &Task, file: &File, head: &[u8], h: &Header, table: &[u8]) -> Result<Image> {
        let mut image = Image {
            position_independent: h.e_type == ET_DYN,
            entry: h.e_entry,
            segments: Vec::new(),
            align: PAGE,
            phdr: 0,
            header_count: usize::from(h.e_phnum),
            interpreter: None,
        };
        let word =
            |b: &[u8], at: usize| u64::from_le_bytes(b[at..at + 8].try_into().unwrap_or([0; 8]));
        for p in table.chunks_exact(PHDR_SIZE) {
            let kind = word(p, 0) as u32;
            let flags = (word(p, 0) >> 32) as u32;
            let (offset, vaddr) = (word(p, 8), word(p, 16));
            let (filesz, memsz, align) = (word(p, 32), word(p, 40), word(p, 48));
            match kind {
                PT_LOAD => {
                    let end = vaddr.checked_add(memsz).ok_or(Errno::ENOEXEC)?;
                    let too_far = page_up(end)? > bastide_base::user::USER_END as u64;
                    let bad_file = offset.checked_add(filesz).is_none() || filesz > memsz;
                    if too_far || bad_file || vaddr % PAGE != offset % PAGE {
                        return Err(Errno::ENOEXEC);
                    }
                    if align.is_power_of_two() && align <= 1 << 30 {
                        image.align = image.align.max(align);
                    }
                    if (offset..offset + filesz).contains(&h.e_phoff) {
                        image.phdr = vaddr + (h.e_phoff - offset);
                    }
                    let prot = [(PF_R, Prot::READ), (PF_W, Prot::WRITE), (PF_X, Prot::EXEC)];
                    let prot = prot
                        .iter()
                        .filter(|(f, _)| flags & f != 0)
                        .map(|x| x.1)
                        .collect();
                    if memsz > 0 {
                        image.segments.push(Segment {
                            vaddr,
                            memsz,
                            offset,
                            filesz,
                            prot,
                        });
                    }
                }
                PT_PHDR => image.phdr = vaddr,
                PT_INTERP if image.interpreter.is_none() => {
                    if !(2..=4096).contains(&filesz) {
                        return Err(Errno::ENOEXEC);
                    }
                    let (start, end) = (offset as usize, offset.saturating_add(filesz) as usize);
                    let mut name = match head.get(start..end) {
                        Some(near) => near.to_vec(),
                        None => read_at(t, file, offset, filesz as usize)?,
                    };
                    if name.len() as u64 != filesz {
                        return Err(Errno::EIO);
                    }
                    if name.pop() != Some(0) {
                        return Err(Errno::ENOEXEC);
                    }
                    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
                    name.truncate(end);
                    image.interpreter = Some(name);
                }
                PT_GNU_STACK => {}
                _ => {}
            }
        }
        let sorted = image
            .segments
            .windows(2)
            .all(|w| w[0].vaddr + w[0].memsz <= w[1].vaddr);
        if image.segments.is_empty() || !sorted {
            return Err(Errno::ENOEXEC);
        }
        Ok(image)
    }

    /// There are pages between the segments.
    fn has_gaps(&self) -> Result<bool> {
        let mut end = None;
        for s in &self.segments {
            if end.is_some_and(|end| end < page_down(s.vaddr)) {
                return Ok(true);
            }
            end = Some(page_up(s.vaddr + s.memsz)?);
        }
        Ok(false)
    }

    /// First and last page address.
    fn span(&self) -> Result<(u64, u64)> {
        let (first, last) = match (self.segments.first(), self.segments.last()) {
            (Some(f), Some(l)) => (f, l),
            _ => return Err(Errno::ENOEXEC),
        };
        Ok((page_down(first.vaddr), page_up(last.vaddr + last.memsz)?))
    }

    /// Maps the segments. A program with an interpreter goes to the program area, one without (a
    /// static PIE, or the dynamic linker itself) among the mappings.
    pub fn map(&self, t: &Task, mm: &Arc<Mm>, file: &Arc<File>, program: bool) -> Result<Mapped> {
        let (low, high) = self.span()?;
        let len = usize::try_from(high - low).map_err(|_| Errno::ENOMEM)?;
        let base = if !self.position_independent {
            0
        } else {
            let hint = if program {
                let mut r = [0u8; 4];
                pal().random(&mut r);
                DYN_BASE + u64::from(u32::from_le_bytes(r) & 0xff_ffff) * PAGE
            } else {
                0
            };
            let align = self.align as usize;
            let at = if self.has_gaps()? {
                reserve(mm, hint, len, align)?
            } else {
                mm.find_place(hint as usize, len, align)? as u64
            };
            at.wrapping_sub(low)
        };
        for s in &self.segments {
            map_segment(t, mm, file, s, base)?;
        }
        Ok(Mapped {
            base: base as usize,
            entry: base.wrapping_add(self.entry) as usize,
            headers: if self.phdr == 0 {
                0
            } else {
                base.wrapping_add(self.phdr) as usize
            },
            end: base.wrapping_add(high) as usize,
        })
    }
}

/// A free range for the whole image, aligned as the segments ask.
fn reserve(mm: &Arc<Mm>, hint: u64, len: usize, align: usize) -> Result<u64> {
    let padded = len
        .checked_add(align - PAGE as usize)
        .ok_or(Errno::ENOMEM)?;
    let at = mm.map(&MapRequest {
        addr: hint as usize & !(align - 1),
        len: padded,
        prot: Prot::empty(),
        shared: false,
        fixed: false,
        noreplace: false,
        growsdown: false,
        backing: Backing::Anon,
    })?;
    let base = at.next_multiple_of(align);
    // Only the image itself stays; gaps between segments too, as in Linux.
    if base > at {
        mm.unmap(at, base - at)?;
    }
    let end = base + len;
    if at + padded > end {
        mm.unmap(end, at + padded - end)?;
    }
    Ok(base as u64)
}

fn map_segment(t: &Task, mm: &Arc<Mm>, file: &Arc<File>, s: &Segment, base: u64) -> Result<()> {
    let start = base.wrapping_add(page_down(s.vaddr)) as usize;
    let shift = s.vaddr - page_down(s.vaddr);
    let file_end = base.wrapping_add(s.vaddr + s.filesz) as usize;
    let mem_end = base.wrapping_add(page_up(s.vaddr + s.memsz)?) as usize;
    let fixed = |addr: usize, len: usize, prot: Prot, backing: Backing| {
        let request = MapRequest {
            addr,
            len,
            prot,
            shared: false,
            fixed: true,
            noreplace: false,
            growsdown: false,
            backing,
        };
        mm.map_code(t, &Limits::NONE, &request, MapExtra::default())
    };
    let mut mapped_to = start;
    if s.filesz > 0 {
        let len = (s.filesz + shift).next_multiple_of(PAGE) as usize;
        fixed(
            start,
            len,
            s.prot,
            Backing::File {
                file: file.clone(),
                offset: s.offset - shift,
            },
        )?;
        mapped_to = start + len;
    }
    if mem_end > mapped_to {
        fixed(mapped_to, mem_end - mapped_to, s.prot, Backing::Anon)?;
    }
    // The file's last page continues with zeros if the memory is larger than the file.
    if s.memsz > s.filesz && file_end < mapped_to && s.prot.contains(Prot::WRITE) {
        user::fill(t, UserAddr(file_end), 0, mapped_to - file_end).map_err(|_| Errno::ENOEXEC)?;
    }
    Ok(())
}
