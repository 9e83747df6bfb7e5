//! Programs: ELF files and scripts, and the stack they start with, `execve(2)`, `elf(5)`.

mod elf;
mod script;
mod stack;

use crate::fs::File;
use crate::mm::{Backing, MapRequest, Mm};
use crate::uio::IoDst;
use crate::{Errno, Result, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::pages::PAGE;
use bastide_pal::Prot;

/// Interpreters of scripts may be scripts, to this depth.
const DEPTH_MAX: usize = 5;

/// What a program is started with.
pub struct Strings {
    /// The path as it was given, for `AT_EXECFN`.
    pub path: Vec<u8>,
    pub args: Vec<Vec<u8>>,
    pub env: Vec<Vec<u8>>,
}

/// A checked program and its interpreter.
pub struct Program {
    pub file: Arc<File>,
    image: elf::Image,
    interpreter: Option<(Arc<File>, elf::Image)>,
}

/// Where a loaded program starts.
pub struct Start {
    pub entry: usize,
    pub stack: usize,
    /// `[arg_start, arg_end, env_start, env_end]`.
    pub args: [usize; 4],
    /// The auxiliary vector's bytes.
    pub auxv: Vec<u8>,
}

/// Reads up to `len` bytes at an offset.
fn read_at(t: &Task, file: &File, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    while out.len() < len {
        let at = offset + out.len() as u64;
        let want = len - out.len();
        let n = file
            .ops
            .read(t, file, &mut IoDst::kernel(&mut out, want), Some(at))?;
        if n == 0 {
            break;
        }
    }
    Ok(out)
}

/// Checks a program without changing anything: follows `#!` lines (adding their arguments), reads
/// the ELF headers, opens the interpreter. ENOEXEC for what is no program for this machine.
///
/// Returns the program and the file whose set-id bits count.
pub fn prepare(t: &Task, file: Arc<File>, s: &mut Strings) -> Result<(Program, Arc<File>)> {
    let mut file = file;
    for _ in 0..DEPTH_MAX {
        let head = read_at(t, &file, 0, 4096)?;
        if let Some(line) = script::parse(&head)? {
            script::prepend(s, &line);
            file = crate::fs::path::open_exec(t, -100, &line.interpreter, 0)?;
            continue;
        }
        let image = elf::Image::read(t, &file, &head)?;
        let interpreter = match &image.interpreter {
            None => None,
            Some(path) => {
                let f = crate::fs::path::open_exec(t, -100, path, 0)?;
                let head = read_at(t, &f, 0, 4096)?;
                let image = elf::Image::read(t, &f, &head).map_err(|_| Errno::ELIBBAD)?;
                Some((f, image))
            }
        };
        return Ok((
            Program {
                file: file.clone(),
                image,
                interpreter,
            },
            file,
        ));
    }
    Err(Errno::ELOOP)
}

/// Maps the program and its interpreter into the task's empty address space and builds the stack.
pub fn load(t: &Task, p: &Program, s: &Strings, secure: bool) -> Result<Start> {
    let mm = t.mm();
    let main = p.image.map(t, &mm, &p.file, p.interpreter.is_some())?;
    mm.set_brk_start(main.end);
    let interp = match &p.interpreter {
        Some((f, image)) => Some(image.map(t, &mm, f, false)?),
        None => None,
    };
    let vdso = map_vdso(&mm)?;
    let entry = interp.as_ref().map_or(main.entry, |i| i.entry);
    let facts = stack::Facts {
        headers: main.headers,
        header_count: p.image.header_count,
        base: interp.map_or(0, |i| i.base),
        entry: main.entry,
        vdso,
        secure,
    };
    let built = stack::build(t, &mm, s, &facts)?;
    Ok(Start { entry, ..built })
}

/// Maps the clock's page and the shared object behind it (`vdso(7)`); returns the object's address,
/// 0 if this machine's clocks cannot be computed.
fn map_vdso(mm: &Arc<Mm>) -> Result<usize> {
    let Some(object) = crate::time::vdso_object() else {
        return Ok(0);
    };
    let map = |addr: usize, len: usize, offset: usize, prot: Prot, name: &'static str| {
        mm.map(&MapRequest {
            addr,
            len,
            prot,
            shared: false,
            fixed: true,
            noreplace: false,
            growsdown: false,
            backing: Backing::Object {
                object: object.clone(),
                offset: offset as u64,
                name,
            },
        })
    };
    let clock = map(
        mm.find_place(0, 2 * PAGE, PAGE)?,
        PAGE,
        0,
        Prot::READ,
        "[vvar]",
    )?;
    map(clock + PAGE, PAGE, PAGE, Prot::READ | Prot::EXEC, "[vdso]")
}
