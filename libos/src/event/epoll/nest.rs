//! Sets that watch sets: neither in circles nor too deep.

use super::Shared;
use crate::{Errno, Result};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bastide_base::sync::Mutex;

/// Deepest nesting, Linux's `EP_MAX_NESTS`.
const MAX_DEPTH: usize = 4;

/// Serialises changes, so that two of them cannot close a circle together.
static CHANGE: Mutex<()> = Mutex::new(());

/// A set's relations.
#[derive(Default)]
pub struct Nest {
    parents: Vec<Weak<Shared>>,
    children: Vec<Weak<Shared>>,
}

/// The sets at distance 1, 2, … from `from`, each level once, until one is empty.
fn levels(from: &Arc<Shared>, down: bool) -> Vec<Vec<Arc<Shared>>> {
    let mut out = Vec::new();
    let mut level = alloc::vec![from.clone()];
    while out.len() <= MAX_DEPTH + 1 {
        let mut next: Vec<Arc<Shared>> = Vec::new();
        for s in &level {
            let nest = s.nest.lock();
            let list = if down { &nest.children } else { &nest.parents };
            for n in list.iter().filter_map(Weak::upgrade) {
                if !next.iter().any(|m| Arc::ptr_eq(m, &n)) {
                    next.push(n);
                }
            }
        }
        if next.is_empty() {
            break;
        }
        out.push(next.clone());
        level = next;
    }
    out
}

/// `outer` is to watch `inner`. ELOOP if that would make a circle or nest too deep.
pub fn link(outer: &Arc<Shared>, inner: &Arc<Shared>) -> Result<()> {
    let _one = CHANGE.lock();
    let below = levels(inner, true);
    let circle = Arc::ptr_eq(outer, inner) || below.iter().flatten().any(|s| Arc::ptr_eq(s, outer));
    if circle || below.len() + 1 + levels(outer, false).len() > MAX_DEPTH {
        return Err(Errno::ELOOP);
    }
    let mut nest = outer.nest.lock();
    nest.children.retain(|w| w.strong_count() > 0);
    nest.children.push(Arc::downgrade(inner));
    drop(nest);
    let mut nest = inner.nest.lock();
    nest.parents.retain(|w| w.strong_count() > 0);
    nest.parents.push(Arc::downgrade(outer));
    Ok(())
}

/// `outer` watches `inner` once less.
pub fn unlink(outer: &Arc<Shared>, inner: &Arc<Shared>) {
    let _one = CHANGE.lock();
    let remove = |list: &mut Vec<Weak<Shared>>, s: &Arc<Shared>| {
        if let Some(i) = list.iter().position(|w| w.as_ptr() == Arc::as_ptr(s)) {
            list.swap_remove(i);
        }
    };
    remove(&mut outer.nest.lock().children, inner);
    remove(&mut inner.nest.lock().parents, outer);
}
