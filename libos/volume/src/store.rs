//! Sealed blocks on the device: what a commit writes waits in a queue so that neighbours go out
//! together, and decoded nodes stay at hand.

use crate::BLOCK;
use crate::crypto::{KeyRing, Ptr, Purpose};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::node::Node;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Blocks that may wait to be written.
const QUEUE: usize = 512;
/// Blocks that go out in one write at most.
const RUN: usize = 256;

/// Blocks that are read together, from a multiple of that, where one of them was wanted soon after a
/// neighbour: a commit writes its nodes side by side.
const NEAR: u64 = 16;

/// The device with the keys.
pub struct Store {
    pub device: Arc<dyn Device>,
    pub ring: KeyRing,
    /// Sealed blocks of a commit that are not written yet.
    queue: BTreeMap<u64, Vec<u8>>,
    /// Where contents are sealed.
    run: Vec<u8>,
    nodes: Cache,
    near: Near,
}

/// Sealed blocks that were read with another, until anything is written.
#[derive(Default)]
struct Near {
    first: u64,
    blocks: Vec<u8>,
    /// The block that was read last.
    last: u64,
}

impl Near {
    fn get(&self, block: u64) -> Option<&[u8]> {
        let at = usize::try_from(block.checked_sub(self.first)?).ok()?;
        self.blocks.chunks_exact(BLOCK).nth(at)
    }

    fn clear(&mut self) {
        self.blocks.clear();
    }
}

impl Store {
    pub fn new(device: Box<dyn Device>, ring: KeyRing, cached: usize) -> Store {
        Store {
            device: device.into(),
            ring,
            queue: BTreeMap::new(),
            run: Vec::new(),
            nodes: Cache::new(cached),
            near: Near::default(),
        }
    }

    /// Seals a block and queues it for writing: nobody reads it before [`Store::write_out`].
    pub fn write(&mut self, what: Purpose, block: u64, mut data: Vec<u8>) -> Result<Ptr> {
        let (nonce, tag) = self.ring.seal(what, &block.to_le_bytes(), &mut data)?;
        self.queue.insert(block, data);
        self.nodes.remove(block);
        if self.queue.len() >= QUEUE {
            self.write_out()?;
        }
        Ok(Ptr { block, nonce, tag })
    }

    /// Seals neighbouring blocks of contents and writes them at once.
    pub fn write_run<'a>(
        &mut self,
        block: u64,
        pages: impl Iterator<Item = &'a [u8; BLOCK]>,
    ) -> Result<Extent> {
        self.run.clear();
        self.near.clear();
        let mut extent = Extent {
            block,
            nonce: self.ring.next()?,
            tags: Vec::new(),
            packed: None,
        };
        for (at, page) in (block..).zip(pages) {
            let start = self.run.len();
            self.run.extend_from_slice(page);
            let data = self.run.get_mut(start..).unwrap_or_default();
            let (_, tag) = (self.ring).seal(Purpose::Data, &at.to_le_bytes(), data)?;
            extent.tags.push(tag);
        }
        self.device.write_at(block * BLOCK as u64, &self.run)?;
        Ok(extent)
    }

    /// Sends out what waits, neighbours together. After a failure nothing waits any more.
    pub fn write_out(&mut self) -> Result<()> {
        self.near.clear();
        let mut run: Vec<u8> = Vec::new();
        let mut start = 0;
        for (block, data) in core::mem::take(&mut self.queue) {
            if !run.is_empty() {
                let next = start + (run.len() / BLOCK) as u64;
                if next != block || run.len() >= RUN * BLOCK {
                    self.device.write_at(start * BLOCK as u64, &run)?;
                    run.clear();
                }
            }
            if run.is_empty() {
                start = block;
            }
            run.extend_from_slice(&data);
        }
        if !run.is_empty() {
            self.device.write_at(start * BLOCK as u64, &run)?;
        }
        Ok(())
    }

    /// Forgets what waits: the commit has failed.
    pub fn discard(&mut self) {
        self.queue.clear();
    }

    /// Reads the block that a pointer points to.
    pub fn read(&mut self, what: Purpose, ptr: &Ptr) -> Result<Vec<u8>> {
        let block = ptr.block;
        if block.abs_diff(self.near.last) <= NEAR && self.near.get(block).is_none() {
            self.read_near(block);
        }
        self.near.last = block;
        if let Some(sealed) = self.near.get(block).map(<[u8]>::to_vec)
            && let Some(data) = self.open(what, ptr, sealed)
        {
            return Ok(data);
        }
        let mut data = alloc::vec![0; BLOCK];
        let offset = block.checked_mul(BLOCK as u64);
        let offset = offset.ok_or(Error::Damaged { block })?;
        self.device.read_at(offset, &mut data)?;
        (self.open(what, ptr, data)).ok_or(Error::Damaged { block })
    }

    fn open(&mut self, what: Purpose, ptr: &Ptr, mut data: Vec<u8>) -> Option<Vec<u8>> {
        let place = ptr.block.to_le_bytes();
        (self.ring)
            .open(what, &place, &ptr.nonce, &ptr.tag, &mut data)
            .then_some(data)
    }

    /// Reads a block with its neighbours, if all of them can be read.
    fn read_near(&mut self, block: u64) {
        self.near.first = block - block % NEAR;
        self.near.blocks.resize(NEAR as usize * BLOCK, 0);
        let read = match self.near.first.checked_mul(BLOCK as u64) {
            Some(offset) => (self.device.read_at(offset, &mut self.near.blocks)).is_ok(),
            None => false,
        };
        if !read {
            self.near.clear();
        }
    }

    /// Reads a node.
    pub fn node(&mut self, ptr: &Ptr) -> Result<Arc<Node>> {
        if let Some(node) = self.nodes.get(ptr.block) {
            return Ok(node);
        }
        let data = self.read(Purpose::Node, ptr)?;
        let block = ptr.block;
        let node = Node::decode(&data).map_err(|_| Error::Malformed { block })?;
        let node = Arc::new(node);
        self.nodes.insert(block, node.clone());
        Ok(node)
    }

    /// Keeps a node at hand that was written.
    pub fn keep(&mut self, block: u64, node: Arc<Node>) {
        self.nodes.insert(block, node);
    }

    /// Nothing at hand of this block is true any more.
    pub fn forget(&mut self, block: u64) {
        self.nodes.remove(block);
    }

    /// Forgets what is at hand and written, so that the device is asked again.
    pub fn drop_cache(&mut self) {
        self.nodes.clear();
    }
}

/// Nodes by block: those that were used since the last turn, and those before. When the first are
/// too many, they become the second, and the second go.
struct Cache {
    limit: usize,
    young: BTreeMap<u64, Arc<Node>>,
    old: BTreeMap<u64, Arc<Node>>,
}

impl Cache {
    fn new(limit: usize) -> Cache {
        Cache {
            limit: limit.max(16) / 2,
            young: BTreeMap::new(),
            old: BTreeMap::new(),
        }
    }

    fn get(&mut self, block: u64) -> Option<Arc<Node>> {
        if let Some(node) = self.young.get(&block) {
            return Some(node.clone());
        }
        let node = self.old.remove(&block)?;
        self.insert(block, node.clone());
        Some(node)
    }

    fn insert(&mut self, block: u64, node: Arc<Node>) {
        if self.young.len() >= self.limit {
            self.old = core::mem::take(&mut self.young);
        }
        self.young.insert(block, node);
    }

    fn remove(&mut self, block: u64) {
        self.young.remove(&block);
        self.old.remove(&block);
    }

    fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}
