//! The tree that holds everything: a B+tree of which nothing is ever changed in place.
//!
//! A node that changes is copied into memory and its block freed; the copy has no place until the
//! commit. A pointer to such a node has [`DIRTY`] set and a number below it.

use crate::crypto::{Ptr, Purpose};
use crate::error::{Error, Result};
use crate::memo::Memo;
use crate::node::{Frame, HEAD, HEIGHT_MAX, ITEM, Key, Node, VALUE_MAX, child};
use crate::space::Space;
use crate::store::Store;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Set in the block number of a pointer to a node in memory.
const DIRTY: u64 = 1 << 63;
/// A node smaller than this looks for a neighbour to join.
const SMALL: usize = crate::BLOCK / 3;

/// A node in memory, and its place once it has one.
struct Changed {
    node: Arc<Node>,
    place: Option<u64>,
}

/// The tree, and the blocks under it.
pub struct Tree {
    pub store: Store,
    pub space: Space,
    pub memo: Memo,
    root: Ptr,
    changed: BTreeMap<u64, Changed>,
    next: u64,
    /// What the items were that were changed since [`Tree::settle`], oldest change first.
    undo: Vec<(Key, Option<Vec<u8>>)>,
}

/// The tree as a commit wrote it: its root, and the nodes that are new.
pub struct Written {
    pub root: Ptr,
    nodes: Vec<(u64, Arc<Node>)>,
}

/// The way from the root to a leaf, all in memory: each branch with the child that was taken.
type Way = Vec<(u64, usize)>;

impl Tree {
    /// A tree whose root is on disk.
    pub fn open(store: Store, space: Space, root: Ptr) -> Tree {
        Tree {
            store,
            space,
            memo: Memo::default(),
            root,
            changed: BTreeMap::new(),
            next: 0,
            undo: Vec::new(),
        }
    }

    /// A tree without items.
    pub fn new(store: Store, space: Space) -> Tree {
        let mut tree = Tree::open(store, space, Ptr::default());
        tree.root = tree.add(Node::Leaf(Vec::new()));
        tree
    }

    /// Nodes in memory that wait for a commit.
    pub fn changed(&self) -> usize {
        self.changed.len()
    }

    /// The root's pointer; only after a commit does it point to a block.
    pub fn root(&self) -> Ptr {
        self.root
    }

    fn add(&mut self, node: Node) -> Ptr {
        let id = self.next;
        self.next += 1;
        let node = Arc::new(node);
        self.changed.insert(id, Changed { node, place: None });
        Ptr {
            block: DIRTY | id,
            ..Ptr::default()
        }
    }

    /// The node behind a pointer.
    pub fn node(&mut self, ptr: &Ptr) -> Result<Arc<Node>> {
        if ptr.block & DIRTY == 0 {
            return self.store.node(ptr);
        }
        self.in_memory(ptr.block & !DIRTY)
    }

    /// The node behind a pointer, which must be one that may be there.
    pub fn framed(&mut self, ptr: &Ptr, frame: &Frame) -> Result<Arc<Node>> {
        let node = self.node(ptr)?;
        let block = ptr.block;
        (frame.holds(&node).then_some(node)).ok_or(Error::Malformed { block })
    }

    fn in_memory(&self, id: u64) -> Result<Arc<Node>> {
        let changed = self.changed.get(&id).ok_or(Error::Stopped)?;
        Ok(changed.node.clone())
    }

    fn edit(&mut self, id: u64) -> Result<&mut Node> {
        let changed = self.changed.get_mut(&id).ok_or(Error::Stopped)?;
        Ok(Arc::make_mut(&mut changed.node))
    }

    /// Takes a node into memory to be changed; its block is freed.
    fn take(&mut self, ptr: Ptr, frame: &Frame) -> Result<u64> {
        if ptr.block & DIRTY != 0 {
            return Ok(ptr.block & !DIRTY);
        }
        let node = self.framed(&ptr, frame)?;
        self.space.free(ptr.block);
        self.store.forget(ptr.block);
        let id = self.next;
        self.next += 1;
        self.changed.insert(id, Changed { node, place: None });
        Ok(id)
    }

    /// Takes the way to `key` into memory: the branches, and the leaf.
    fn way(&mut self, key: &Key) -> Result<(Way, u64)> {
        let mut frame = Frame::ROOT;
        let mut id = self.take(self.root, &frame)?;
        self.root = dirty(id);
        let mut way = Way::new();
        loop {
            let node = self.in_memory(id)?;
            let Node::Branch(level, kids) = &*node else {
                return Ok((way, id));
            };
            let at = child(kids, key);
            let ptr = kids.get(at).ok_or(Error::Stopped)?.1;
            frame = frame.child(*level, kids, at);
            drop(node);
            let below = self.take(ptr, &frame)?;
            self.set_kid(id, at, below)?;
            way.push((id, at));
            if way.len() > HEIGHT_MAX {
                return Err(Error::Stopped);
            }
            id = below;
        }
    }

    fn kids(&mut self, id: u64) -> Result<&mut Vec<(Key, Ptr)>> {
        match self.edit(id)? {
            Node::Branch(_, kids) => Ok(kids),
            Node::Leaf(_) => Err(Error::Stopped),
        }
    }

    fn set_kid(&mut self, id: u64, at: usize, below: u64) -> Result<()> {
        if let Some(kid) = self.kids(id)?.get_mut(at) {
            kid.1 = dirty(below);
        }
        Ok(())
    }

    /// The item with this key.
    pub fn get(&mut self, key: &Key) -> Result<Option<Vec<u8>>> {
        let (mut ptr, mut frame) = (self.root, Frame::ROOT);
        loop {
            let node = self.framed(&ptr, &frame)?;
            match &*node {
                Node::Leaf(items) => {
                    let found = items.binary_search_by_key(key, |(k, _)| *k);
                    return Ok(found.ok().and_then(|i| items.get(i)).map(|i| i.1.clone()));
                }
                Node::Branch(level, kids) => {
                    let at = child(kids, key);
                    ptr = kids.get(at).ok_or(Error::Stopped)?.1;
                    frame = frame.child(*level, kids, at);
                }
            }
        }
    }

    /// The last item at or before a key.
    pub fn floor(&mut self, key: &Key) -> Result<Option<(Key, Vec<u8>)>> {
        self.floor_in(self.root, key, &Frame::ROOT)
    }

    fn floor_in(&mut self, ptr: Ptr, key: &Key, frame: &Frame) -> Result<Option<(Key, Vec<u8>)>> {
        let node = self.framed(&ptr, frame)?;
        match &*node {
            Node::Leaf(items) => {
                let after = items.partition_point(|(k, _)| k <= key);
                Ok((after.checked_sub(1).and_then(|i| items.get(i))).cloned())
            }
            Node::Branch(level, kids) => {
                // A child may have lost its least items: then the one before it has the answer.
                let to = child(kids, key) + 1;
                for (at, (_, ptr)) in kids.iter().enumerate().take(to).rev() {
                    let frame = frame.child(*level, kids, at);
                    if let Some(found) = self.floor_in(*ptr, key, &frame)? {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
        }
    }

    /// The first item at or after a key.
    pub fn ceiling(&mut self, key: &Key) -> Result<Option<(Key, Vec<u8>)>> {
        let mut found = None;
        self.scan(key, &mut |k, v| {
            found = Some((k, v.to_vec()));
            false
        })?;
        Ok(found)
    }

    /// Shows the items from a key on, in order, until `show` says false.
    pub fn scan(&mut self, from: &Key, show: &mut dyn FnMut(Key, &[u8]) -> bool) -> Result<()> {
        self.scan_in(self.root, from, show, &Frame::ROOT)
            .map(|_| ())
    }

    fn scan_in(
        &mut self,
        ptr: Ptr,
        from: &Key,
        show: &mut dyn FnMut(Key, &[u8]) -> bool,
        frame: &Frame,
    ) -> Result<bool> {
        let node = self.framed(&ptr, frame)?;
        match &*node {
            Node::Leaf(items) => {
                let first = items.partition_point(|(k, _)| k < from);
                Ok(items.iter().skip(first).all(|(k, v)| show(*k, v)))
            }
            Node::Branch(level, kids) => {
                for (at, (_, ptr)) in kids.iter().enumerate().skip(child(kids, from)) {
                    let frame = frame.child(*level, kids, at);
                    if !self.scan_in(*ptr, from, show, &frame)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Adds an item or changes its value.
    pub fn put(&mut self, key: Key, value: Vec<u8>) -> Result<()> {
        if value.len() > VALUE_MAX {
            return Err(Error::TooBig);
        }
        self.memo.forget(&key);
        let (way, leaf) = self.way(&key)?;
        let Node::Leaf(items) = self.edit(leaf)? else {
            return Err(Error::Stopped);
        };
        let (was, at_end) = match items.binary_search_by_key(&key, |(k, _)| *k) {
            Ok(i) => {
                let item = items.get_mut(i);
                (item.map(|i| core::mem::replace(&mut i.1, value)), false)
            }
            Err(i) => {
                items.insert(i, (key, value));
                (None, i + 1 == items.len())
            }
        };
        self.undo.push((key, was));
        self.split_up(way, leaf, at_end)
    }

    /// Splits a node that has become too large, and then its parents.
    fn split_up(&mut self, mut way: Way, mut id: u64, mut at_end: bool) -> Result<()> {
        while !self.in_memory(id)?.fits() {
            let right = split(self.edit(id)?, at_end);
            let first = right.first().unwrap_or(Key::MIN);
            let level = right.level();
            let right = self.add(right);
            match way.pop() {
                Some((parent, at)) => {
                    let kids = self.kids(parent)?;
                    kids.insert(at + 1, (first, right));
                    at_end = at + 2 == kids.len();
                    id = parent;
                }
                None => {
                    let kids = [(Key::MIN, dirty(id)), (first, right)].into();
                    self.root = self.add(Node::Branch(level + 1, kids));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Removes an item; whether it was there.
    pub fn remove(&mut self, key: &Key) -> Result<bool> {
        if self.get(key)?.is_none() {
            return Ok(false);
        }
        self.memo.forget(key);
        let (way, leaf) = self.way(key)?;
        let Node::Leaf(items) = self.edit(leaf)? else {
            return Err(Error::Stopped);
        };
        let Ok(at) = items.binary_search_by_key(key, |(k, _)| *k) else {
            return Ok(false);
        };
        let was = items.remove(at).1;
        self.undo.push((*key, Some(was)));
        self.join_up(way, leaf)?;
        Ok(true)
    }

    /// What was changed so far stays.
    pub fn settle(&mut self) {
        self.undo.clear();
    }

    /// Takes back what was changed since [`Tree::settle`]. All of it is in memory: no block is read.
    pub fn roll_back(&mut self) -> Result<()> {
        for (key, was) in core::mem::take(&mut self.undo).into_iter().rev() {
            match was {
                Some(value) => self.put(key, value)?,
                None => self.remove(&key).map(|_| ())?,
            }
        }
        self.settle();
        Ok(())
    }

    /// Drops a node that nothing points to any more.
    fn drop_changed(&mut self, id: u64) -> Option<Arc<Node>> {
        self.changed.remove(&id).map(|c| c.node)
    }

    /// Joins a node that has become small with a neighbour, and then its parents.
    fn join_up(&mut self, mut way: Way, mut id: u64) -> Result<()> {
        while let Some((parent, at)) = way.pop() {
            if self.in_memory(id)?.size() >= SMALL {
                return Ok(());
            }
            let node = self.in_memory(parent)?;
            let Node::Branch(level, kids) = &*node else {
                return Err(Error::Stopped);
            };
            // The pair of neighbours to join: with the one after, or with the one before.
            let left = if at + 1 < kids.len() {
                at
            } else {
                at.saturating_sub(1)
            };
            let (Some(a), Some(b)) = (kids.get(left), kids.get(left + 1)) else {
                // The only child. An empty one goes, and so may its parent.
                if self.in_memory(id)?.first().is_none() {
                    self.drop_changed(id);
                    self.kids(parent)?.clear();
                }
                id = parent;
                continue;
            };
            let (a, b) = (a.1, b.1);
            let [in_left, in_right] =
                [left, left + 1].map(|at| Frame::ROOT.child(*level, kids, at));
            // A neighbour that cannot be read is none: the tree is whole as it is.
            let (Ok(left_node), Ok(right_node)) =
                (self.framed(&a, &in_left), self.framed(&b, &in_right))
            else {
                return Ok(());
            };
            if left_node.size() + right_node.size() - HEAD > crate::BLOCK {
                return Ok(());
            }
            drop((left_node, right_node));
            let Ok(a) = self.take(a, &in_left) else {
                return Ok(());
            };
            self.set_kid(parent, left, a)?;
            let Ok(b) = self.take(b, &in_right) else {
                return Ok(());
            };
            let right = self.drop_changed(b).ok_or(Error::Stopped)?;
            join(self.edit(a)?, &right);
            self.kids(parent)?.remove(left + 1);
            id = parent;
        }
        self.lower_root()
    }

    /// A root with one child gives way to it; one without becomes an empty leaf.
    fn lower_root(&mut self) -> Result<()> {
        loop {
            let Ok(node) = self.node(&self.root.clone()) else {
                return Ok(());
            };
            let Node::Branch(_, kids) = &*node else {
                return Ok(());
            };
            let below = match kids.as_slice() {
                [] => None,
                [(_, only)] => Some(*only),
                _ => return Ok(()),
            };
            let id = self.root.block & !DIRTY;
            if self.root.block & DIRTY == 0 {
                self.space.free(self.root.block);
                self.store.forget(self.root.block);
            } else {
                self.drop_changed(id);
            }
            self.root = match below {
                Some(ptr) => ptr,
                None => self.add(Node::Leaf(Vec::new())),
            };
        }
    }

    /// Gives every changed node a place. Whether any lacked one.
    pub fn place(&mut self) -> Result<bool> {
        let mut any = false;
        for changed in self.changed.values_mut() {
            if changed.place.is_none() {
                let (block, _) = self.space.alloc(1).ok_or(Error::NoSpace)?;
                changed.place = Some(block);
                any = true;
            }
        }
        Ok(any)
    }

    /// Seals every changed node for its place, children first, so that parents have their tags. The
    /// tree stays as it is until [`Tree::committed`].
    pub fn write(&mut self) -> Result<Written> {
        let mut nodes = Vec::with_capacity(self.changed.len());
        let root = self.write_below(self.root, 0, &mut nodes)?;
        debug_assert_eq!(
            nodes.len(),
            self.changed.len(),
            "nodes that nothing points to"
        );
        Ok(Written { root, nodes })
    }

    fn write_below(
        &mut self,
        ptr: Ptr,
        depth: usize,
        out: &mut Vec<(u64, Arc<Node>)>,
    ) -> Result<Ptr> {
        if ptr.block & DIRTY == 0 {
            return Ok(ptr);
        }
        let id = ptr.block & !DIRTY;
        let changed = self.changed.get(&id).ok_or(Error::Stopped)?;
        let place = changed.place.ok_or(Error::Stopped)?;
        if depth > HEIGHT_MAX {
            return Err(Error::Stopped);
        }
        let mut node = changed.node.clone();
        if let Node::Branch(level, kids) = &*node {
            let mut kids = kids.clone();
            for (_, below) in &mut kids {
                *below = self.write_below(*below, depth + 1, out)?;
            }
            node = Arc::new(Node::Branch(*level, kids));
        }
        let ptr = self.store.write(Purpose::Node, place, node.encode())?;
        out.push((place, node));
        Ok(ptr)
    }

    /// What was written is durable.
    pub fn committed(&mut self, written: Written) {
        self.root = written.root;
        self.changed.clear();
        for (block, node) in written.nodes {
            self.store.keep(block, node);
        }
    }

    /// A commit failed: the changed nodes give their places back.
    pub fn unplace(&mut self) {
        for changed in self.changed.values_mut() {
            if let Some(block) = changed.place.take() {
                self.space.free(block);
            }
        }
    }

    /// The pointer is to a block, not to a node in memory.
    pub fn is_on_disk(&self, ptr: &Ptr) -> bool {
        ptr.block & DIRTY == 0
    }

    /// Everything is as on disk.
    pub fn is_clean(&self) -> bool {
        self.changed.is_empty()
    }
}

fn dirty(id: u64) -> Ptr {
    Ptr {
        block: DIRTY | id,
        ..Ptr::default()
    }
}

/// Cuts off the right part of a node that is too large: half of it or, if what was added is at its
/// end, that alone, so that keys that only ever grow leave full nodes behind.
fn split(node: &mut Node, at_end: bool) -> Node {
    match node {
        Node::Leaf(items) => {
            let half = items.iter().map(|(_, v)| v.len() + ITEM).sum::<usize>() / 2;
            let mut left = 0;
            let fits = |(_, v): &&(Key, Vec<u8>)| {
                left += v.len() + ITEM;
                left <= half
            };
            let at = match at_end {
                true => items.len().saturating_sub(1),
                false => items.iter().take_while(fits).count().max(1),
            };
            Node::Leaf(items.split_off(at))
        }
        Node::Branch(level, kids) => {
            let at = match at_end {
                true => kids.len().saturating_sub(1),
                false => kids.len() / 2,
            };
            Node::Branch(*level, kids.split_off(at))
        }
    }
}

/// Appends the items of the neighbour on the right.
fn join(left: &mut Node, right: &Node) {
    match (left, right) {
        (Node::Leaf(a), Node::Leaf(b)) => a.extend_from_slice(b),
        (Node::Branch(_, a), Node::Branch(_, b)) => a.extend_from_slice(b),
        _ => debug_assert!(false, "neighbours of different kinds"),
    }
}
