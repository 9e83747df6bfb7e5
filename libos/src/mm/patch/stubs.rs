//! Memory for stubs, near the code that jumps to them.
//!
//! The pages are the kernel's own, mapped read-only and executable and shared with forked
//! children: a stub is written without touching the application's rights, and both may add some.

use super::super::{Backing, MapRequest, Mm, PAGE, PageObject};
use crate::{Errno, Result};
use alloc::sync::Arc;
use bastide_base::pages::Pages;
use bastide_pal::Prot;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

/// What `/proc/self/maps` calls a page of stubs.
pub const STUBS: &str = "[stubs]";
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
    /// Maps an empty page that has room for a stub of code at `site` within its reach: as close below
    /// the code as can be, else above, where nothing grows.
    pub fn near(mm: &Mm, site: usize, reach: &Range<usize>) -> Result<Area> {
        let object = PageObject::sized(PAGE as u64);
        let run = object.extent_or_alloc(0, PAGE as u64)?;
        let addr = {
            let state = mm.state.lock();
            let free = |low: usize, high| {
                state
                    .map
                    .find_free_in(low.next_multiple_of(PAGE), high & !(PAGE - 1), PAGE)
            };
            let below = free(reach.start, site.min(reach.end));
            below.or_else(|| free(site.max(reach.start), reach.end).filter(|at| !state.grows(*at)))
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

    /// An address for a stub, if there is room within its reach.
    pub fn take(&self, reach: &Range<usize>) -> Option<usize> {
        let add = |used| {
            let fits = used + STUB <= PAGE && reach.contains(&(self.at + used));
            fits.then_some(used + STUB)
        };
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
