//! Sites remembered from one process to the next.
//!
//! A program's sites trap again in every process that runs it. Where they trapped often they are
//! therefore rewritten as soon as the file is mapped for the same program again. All of a page's
//! sites are rewritten at once: what costs is the page's copy.
//!
//! The copies are each process's own, some ten pages of a program; forked children share them. One copy
//! for all would have to be mapped page by page, which takes longer than copying: of twelve pages in
//! the C library's code 83 µs instead of 27.
//!
//! That a site is remembered says that it is code, not what is there now: the bytes around it are
//! compared before it is rewritten.

use super::shape::{self, SYSCALL, Shape, Window, jump};
use super::{Jump, Mm, Site, Stage, is_alone, make_stub, overlaps, read, write_jumps};
use crate::fs::File;
use crate::mm::{Limits, MapExtra, MapRequest, PAGE};
use crate::process::Task;
use crate::{Result, kernel, pal};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use bastide_pal::Prot;

/// Traps in a page, by one process, that cost more than rewriting the page's sites.
const WORTH_IT: u32 = 3;
/// Pages of stubs that a process has before no more are made for what it may not run at all.
const AREAS_MAX: usize = 16;
/// Pages that are remembered; when there are more, all are forgotten.
const PAGES_MAX: usize = 4096;

/// A page of a file, mapped by a program. Files are told apart by where their inodes lie: one that
/// takes another's place has other bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    program: usize,
    file: usize,
    page: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// Of the `syscall` instruction in the file.
    offset: u64,
    window: Window,
    shape: Shape,
    /// Nothing seems to branch into what is replaced; looked at when it is first rewritten.
    clear: Option<bool>,
}

#[derive(Debug, Default)]
struct Page {
    worth_it: bool,
    sites: Vec<Known>,
}

static KNOWN: Mutex<BTreeMap<Key, Page>> = Mutex::new(BTreeMap::new());

fn identity(file: &File) -> Option<usize> {
    let path = file.path.as_ref()?;
    Some(Arc::as_ptr(path.inode()).cast::<()>() as usize)
}

fn program(t: &Task) -> Option<usize> {
    identity(t.process.exe.lock().as_ref()?)
}

/// Remembers a site that just trapped, for the first time in this process if `first`; `traps` were in
/// its page.
pub(super) fn trapped(t: &Task, mm: &Mm, site: usize, known: &Site, first: bool, traps: u32) {
    if !first && traps != WORTH_IT {
        return;
    }
    let place = || {
        let state = mm.state.lock();
        let v = state.map.find(site)?;
        Some((identity(v.file.as_ref()?)?, v.offset_at(site)))
    };
    let (Some(program), Some((file, offset)), Some(shape)) = (program(t), place(), known.shape)
    else {
        return;
    };
    let key = Key {
        program,
        file,
        page: offset / PAGE as u64,
    };
    let mut all = KNOWN.lock();
    if all.len() >= PAGES_MAX && !all.contains_key(&key) {
        all.clear();
    }
    let page = all.entry(key).or_default();
    page.worth_it |= traps >= WORTH_IT;
    match page.sites.iter_mut().find(|k| k.offset == offset) {
        Some(k) if k.window == known.window && k.shape == shape => {}
        old => {
            let new = Known {
                offset,
                window: known.window,
                shape,
                clear: None,
            };
            match old {
                Some(k) => *k = new,
                None => page.sites.push(new),
            }
        }
    }
}

/// The sites to be rewritten in a part of a file.
fn of(program: usize, file: usize, offset: u64, len: usize) -> Vec<Known> {
    let key = |page| Key {
        program,
        file,
        page,
    };
    let pages = offset / PAGE as u64..(offset + len as u64).div_ceil(PAGE as u64);
    let all = KNOWN.lock();
    all.range(key(pages.start)..key(pages.end))
        .filter(|(_, page)| page.worth_it)
        .flat_map(|(_, page)| page.sites.iter().copied())
        .collect()
}

fn set_clear(program: usize, file: usize, offset: u64, clear: bool) {
    let page = offset / PAGE as u64;
    let key = Key {
        program,
        file,
        page,
    };
    if let Some(page) = KNOWN.lock().get_mut(&key) {
        for k in page.sites.iter_mut().filter(|k| k.offset == offset) {
            k.clear = Some(clear);
        }
    }
}

impl Mm {
    /// As [`Mm::map_for`]; what is known of the system call sites in a file's code is made use of.
    pub fn map_code(
        &self,
        t: &Task,
        limits: &Limits,
        r: &MapRequest,
        extra: MapExtra,
    ) -> Result<usize> {
        let code = Prot::READ | Prot::EXEC;
        let super::super::Backing::File { file, offset } = &r.backing else {
            return self.map_with(limits, r, extra);
        };
        let names = || Some((program(t)?, identity(file)?, pal().direct_entry()?));
        let sites = (r.prot == code && !r.shared && kernel().config.patch)
            .then(names)
            .flatten()
            .map(|(program, file, entry)| {
                let sites = of(program, file, *offset, r.len);
                (program, file, entry, sites)
            });
        match sites {
            // Only while nobody can see the mapping before it is complete.
            Some((program, file, entry, sites)) if !sites.is_empty() && is_alone(t) => {
                let at = self.map_with(limits, r, extra)?;
                let end = at + r.len.next_multiple_of(PAGE);
                self.rewrite_known(at..end, *offset, sites, entry, |offset, clear| {
                    set_clear(program, file, offset, clear);
                })?;
                Ok(at)
            }
            _ => self.map_with(limits, r, extra),
        }
    }

    /// Rewrites sites of code that was just mapped and that nobody runs yet.
    fn rewrite_known(
        &self,
        place: core::ops::Range<usize>,
        offset: u64,
        known: Vec<Known>,
        entry: u32,
        found: impl Fn(u64, bool),
    ) -> Result<()> {
        let mut s = self.sites.lock();
        let mut jumps: Vec<Jump> = Vec::new();
        for k in known {
            if s.areas.len() >= AREAS_MAX {
                break;
            }
            let site = place.start + (k.offset - offset) as usize;
            let inside = site >= place.start + shape::BEFORE && site + shape::AFTER <= place.end;
            let same = || read(site) == Some(SYSCALL) && Window::read(site) == Some(k.window);
            if !inside || !same() || overlaps(&jumps, k.shape.jump_at(site)) {
                continue;
            }
            let clear = k.clear.unwrap_or_else(|| {
                let clear = !k.shape.is_after()
                    || super::entered(&[site], place.start, place.end).is_empty();
                found(k.offset, clear);
                clear
            });
            let mut new = Site {
                window: k.window,
                shape: Some(k.shape),
                stub: 0,
                stage: Stage::Jumping,
            };
            if !clear || make_stub(self, &mut s, site, &mut new, entry).is_none() {
                continue;
            }
            let at = new.jump_at(site);
            if let Some(jump) = jump(at, new.stub) {
                jumps.push((at, jump));
                s.sites.insert(site, new);
            }
        }
        write_jumps(&jumps)
    }
}
