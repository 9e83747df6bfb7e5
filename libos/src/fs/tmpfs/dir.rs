//! A directory's names.

use super::Node;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use hashbrown::HashMap;

/// Names with their files, and the order in which they came. An entry keeps its cookie as long as
/// it lives, so that a reader of the directory neither misses nor repeats entries while others
/// come and go.
#[derive(Default)]
pub struct Dir {
    by_name: HashMap<Arc<[u8]>, (u64, Arc<Node>)>,
    by_cookie: BTreeMap<u64, (Arc<[u8]>, Arc<Node>)>,
    next: u64,
}

impl Dir {
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Node>> {
        self.by_name.get(name).map(|(_, n)| n)
    }

    /// Adds a name that is not there yet.
    pub fn insert(&mut self, name: &[u8], node: Arc<Node>) {
        let name: Arc<[u8]> = Arc::from(name);
        let cookie = self.next;
        self.next += 1;
        self.by_name.insert(name.clone(), (cookie, node.clone()));
        self.by_cookie.insert(cookie, (name, node));
    }

    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<Node>> {
        let (cookie, node) = self.by_name.remove(name)?;
        self.by_cookie.remove(&cookie);
        Some(node)
    }

    /// Makes a name another file's.
    pub fn replace(&mut self, name: &[u8], node: Arc<Node>) {
        if let Some(entry) = self.by_name.get_mut(name) {
            entry.1 = node.clone();
            if let Some(e) = self.by_cookie.get_mut(&entry.0) {
                e.1 = node;
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The first entry at or after a position: `(position, name, file)`.
    pub fn from(&self, position: u64) -> Option<(u64, Arc<[u8]>, Arc<Node>)> {
        let (c, (name, node)) = self.by_cookie.range(position..).next()?;
        Some((*c, name.clone(), node.clone()))
    }

    /// Every file.
    pub fn nodes(&self) -> impl Iterator<Item = Arc<Node>> + '_ {
        self.by_name.values().map(|(_, n)| n.clone())
    }
}
