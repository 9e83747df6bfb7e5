//! Puts the image into the enclave's memory.

use crate::LaunchError;
use crate::launch::host;
use bastide_pal_linux::layout;
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::{Elf, ProgramHeader, program_header as ph};
use std::fs::File;
use std::os::fd::AsRawFd;

const PAGE: usize = 4096;

/// Begins a page, in memory and so in this program's file.
#[repr(C, align(4096))]
struct Aligned<T: ?Sized>(T);

/// The image that is built with this program.
static IMAGE: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("BASTIDE_IMAGE")));

/// Puts the image in its place in the mapped region, for which it is linked; returns its entry
/// address. Segments that nobody writes are mapped from this program's own file, so that all enclaves
/// of a machine share them.
pub fn load() -> Result<usize, LaunchError> {
    let image = &IMAGE.0;
    let bad = |what: &str| LaunchError::Image(what.to_string());
    let malformed = |e: goblin::error::Error| bad(&e.to_string());
    let ctx = Ctx::new(Container::Big, Endian::Little);
    let header = Elf::parse_header(image).map_err(malformed)?;
    let (start, count) = (header.e_phoff as usize, header.e_phnum.into());
    let headers = ProgramHeader::parse(image, start, count, ctx).map_err(malformed)?;
    let own = OwnFile::open();
    for p in headers.iter().filter(|p| p.p_type == ph::PT_LOAD) {
        let bytes = image
            .get(p.file_range())
            .ok_or_else(|| bad("a segment lies outside the file"))?;
        let at = p.p_vaddr as usize;
        let place = layout::IMAGE..=layout::IMAGE + layout::IMAGE_SIZE;
        let end = at.checked_add(p.p_memsz as usize);
        if !place.contains(&at) || end.is_none_or(|end| !place.contains(&end)) {
            return Err(bad("a segment lies outside the image's place"));
        }
        let prot = [
            (ph::PF_R, libc::PROT_READ),
            (ph::PF_W, libc::PROT_WRITE),
            (ph::PF_X, libc::PROT_EXEC),
        ]
        .into_iter()
        .filter(|(f, _)| p.p_flags & f != 0)
        .fold(0, |a, (_, b)| a | b);
        let writable = prot & libc::PROT_WRITE != 0;
        if !writable && own.as_ref().is_some_and(|own| own.map(bytes, at, prot)) {
            continue;
        }
        // SAFETY: the region is mapped writable from BASE on but for the segments that are mapped
        // from the file, which lie elsewhere; the range is in the image's part of it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
        let first = at & !(PAGE - 1);
        let len = (at + p.p_memsz as usize).next_multiple_of(PAGE) - first;
        // SAFETY: as above; nothing refers to the segment yet.
        if !writable && unsafe { libc::mprotect(first as *mut _, len, prot) } < 0 {
            return Err(host("protect the image", "a security module may forbid it"));
        }
    }
    Ok(header.e_entry as usize)
}

/// This program's file, and where it is mapped.
struct OwnFile {
    file: File,
    /// Address, length and offset in the file of each segment.
    segments: Vec<(usize, usize, usize)>,
}

impl OwnFile {
    fn open() -> Option<OwnFile> {
        let file = File::open("/proc/self/exe").ok()?;
        let mut segments: Vec<(usize, usize, usize)> = Vec::new();
        unsafe extern "C" fn collect(
            info: *mut libc::dl_phdr_info,
            _size: usize,
            segments: *mut libc::c_void,
        ) -> i32 {
            // SAFETY: the C library passes valid headers, and the pointer that it was given.
            let (info, segments) =
                unsafe { (&*info, &mut *segments.cast::<Vec<(usize, usize, usize)>>()) };
            for i in 0..usize::from(info.dlpi_phnum) {
                // SAFETY: as many headers follow.
                let p = unsafe { &*info.dlpi_phdr.add(i) };
                if p.p_type == libc::PT_LOAD {
                    let at = info.dlpi_addr as usize + p.p_vaddr as usize;
                    segments.push((at, p.p_filesz as usize, p.p_offset as usize));
                }
            }
            // The program itself comes first; its libraries do not matter.
            1
        }
        // SAFETY: `collect` has the type that is called for, and the vector outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut segments).cast()) };
        Some(OwnFile { file, segments })
    }

    /// Maps bytes of this program at an address of the region; false if they cannot be.
    fn map(&self, bytes: &[u8], at: usize, prot: i32) -> bool {
        let from = bytes.as_ptr() as usize;
        let offset = self.segments.iter().find_map(|&(start, len, offset)| {
            let inside = from >= start && from + bytes.len() <= start + len;
            inside.then(|| from - start + offset)
        });
        let Some(offset) = offset.filter(|o| o % PAGE == 0 && at % PAGE == 0) else {
            return false;
        };
        // SAFETY: replaces pages of the region, to which nothing refers yet.
        let mapped = unsafe {
            libc::mmap(
                at as *mut _,
                bytes.len(),
                prot,
                libc::MAP_PRIVATE | libc::MAP_FIXED,
                self.file.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        mapped as usize == at
    }
}
