//! Puts the image into the enclave's memory.

use crate::LaunchError;
use bastide_pal_linux::layout;
use goblin::elf::{Elf, program_header as ph};

/// The image that is built with this program.
static IMAGE: &[u8] = include_bytes!(env!("BASTIDE_IMAGE"));

/// Host memory access rights of the image's segments.
pub struct Segment {
    pub addr: usize,
    pub len: usize,
    pub prot: i32,
}

/// Copies the image to its place in the mapped region and relocates it. Returns its entry address
/// and the rights that its segments get.
pub fn load() -> Result<(usize, Vec<Segment>), LaunchError> {
    let bad = |what: &str| LaunchError::Image(what.to_string());
    let elf = Elf::parse(IMAGE).map_err(|e| bad(&e.to_string()))?;
    let mut segments = Vec::new();
    let write = |at: u64, bytes: &[u8]| {
        let end = at as usize + bytes.len();
        assert!(
            end <= layout::IMAGE_SIZE,
            "the image is larger than its place"
        );
        // SAFETY: the region is mapped writable from BASE on, and the range lies in the image's
        // part of it.
        unsafe {
            let to = (layout::IMAGE + at as usize) as *mut u8;
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    };
    for p in elf
        .program_headers
        .iter()
        .filter(|p| p.p_type == ph::PT_LOAD)
    {
        let bytes = IMAGE
            .get(p.file_range())
            .ok_or_else(|| bad("a segment lies outside the file"))?;
        write(p.p_vaddr, bytes);
        let start = (layout::IMAGE + p.p_vaddr as usize) & !4095;
        let end = (layout::IMAGE + (p.p_vaddr + p.p_memsz) as usize).next_multiple_of(4096);
        let prot = [
            (ph::PF_R, libc::PROT_READ),
            (ph::PF_W, libc::PROT_WRITE),
            (ph::PF_X, libc::PROT_EXEC),
        ]
        .into_iter()
        .filter(|(f, _)| p.p_flags & f != 0)
        .fold(0, |a, (_, b)| a | b);
        segments.push(Segment {
            addr: start,
            len: end - start,
            prot,
        });
    }
    for r in elf.dynrelas.iter() {
        if r.r_type != goblin::elf::reloc::R_X86_64_RELATIVE {
            return Err(bad("a relocation that a freestanding image cannot have"));
        }
        let value = (layout::IMAGE as i64 + r.r_addend.unwrap_or(0)) as u64;
        write(r.r_offset, &value.to_le_bytes());
    }
    Ok((layout::IMAGE + elf.entry as usize, segments))
}
