//! Memory for stubs, near the code that jumps to them.
//!
//! The pages are the kernel's own, mapped read-only and executable and shared with forked
//! children: a stub is written without touching the application's rights, and both may add some.

use super::super::{Backing, MapRequest, Mm, PAGE, PageObject};
use crate::{Errno, Result};
use alloc::sync::Arc;
use bastide_base::pages::Pages;
use bastide_pal::Prot;
use core::sync::atomic::{AtomicUsize, Ordering};

/// What `/proc/self/maps` calls a page of stubs.
pub const STUBS: &str = "[stubs]";
/// How far from the code a stub may lie.
const REACH: usize = 0x6000_0000;
/// Room for one stub.
pub const STUB: usize = 48;

/// A page of stubs.
#[derive(Clone)]
pub struct Area {
    at: usize,
    pages: Arc<Pages>,
    offset: usize,
    /// Bytes given out, by all who share the page.
    used: Arc<AtomicUsize>,
}

impl Area {
    /// Maps an empty page near `site`.
    pub fn near(mm: &Mm, site: usize) -> Result<Area> {
        let object = PageObject::sized(PAGE as u64);
        let run = object.extent_or_alloc(0, PAGE as u64)?;
        let low = site.saturating_sub(REACH).max(PAGE * 16);
        let high = site.saturating_add(REACH);
        let addr = {
            let state = mm.state.lock();
            let below = state.map.find_free_in(low, site, PAGE);
            below.or_else(|| state.map.find_free_in(site, high, PAGE))
        };
        let at = mm.map(&MapRequest {
            addr: addr.ok_or(Errno::ENOMEM)?,
            len: PAGE,
            prot: Prot::READ | Prot::EXEC,
            shared: true,
            fixed: true,
            noreplace: true,
            growsdown: false,
            backing: Backing::Object {
                object,
                offset: 0,
                name: STUBS,
            },
        })?;
        Ok(Area {
            at,
            pages: run.pages,
            offset: run.offset,
            used: Arc::default(),
        })
    }

    /// An address for a stub of code at `site`, if there is room and it is near enough.
    pub fn take(&self, site: usize) -> Option<usize> {
        if self.at.abs_diff(site) > REACH {
            return None;
        }
        let add = |used| (used + STUB <= PAGE).then_some(used + STUB);
        let used = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .ok()?;
        Some(self.at + used)
    }

    /// Writes a stub whose address [`Area::take`] gave; false if it is another area's, or too long.
    pub fn write(&self, stub: usize, code: &[u8]) -> bool {
        let mine = stub >= self.at && stub + STUB <= self.at + PAGE && code.len() <= STUB;
        if mine {
            self.pages.write(self.offset + stub - self.at, code);
        }
        mine
    }
}
