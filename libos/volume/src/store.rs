//! Sealed blocks on the device: writes wait in a queue so that neighbours go out together, and
//! decoded nodes stay at hand.

use crate::BLOCK;
use crate::crypto::{KeyRing, Nonce, Ptr, Purpose, Tag};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::node::Node;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Blocks that may wait to be written.
const QUEUE: usize = 512;
/// Blocks that go out in one write at most.
const RUN: usize = 256;

/// The device with the keys.
pub struct Store {
    pub device: Box<dyn Device>,
    pub ring: KeyRing,
    /// Sealed blocks that are not written yet.
    queue: BTreeMap<u64, Vec<u8>>,
    nodes: Cache,
}

impl Store {
    pub fn new(device: Box<dyn Device>, ring: KeyRing, cached: usize) -> Store {
        Store {
            device,
            ring,
            queue: BTreeMap::new(),
            nodes: Cache::new(cached),
        }
    }

    /// Seals a block and queues it for writing.
    pub fn write(&mut self, what: Purpose, block: u64, mut data: Vec<u8>) -> Result<Ptr> {
        let (nonce, tag) = self.ring.seal(what, &block.to_le_bytes(), &mut data)?;
        self.queue.insert(block, data);
        self.nodes.remove(block);
        if self.queue.len() >= QUEUE {
            self.write_out()?;
        }
        Ok(Ptr { block, nonce, tag })
    }

    /// Writes a node and keeps it at hand.
    pub fn write_node(&mut self, block: u64, node: Arc<Node>) -> Result<Ptr> {
        let ptr = self.write(Purpose::Node, block, node.encode())?;
        self.nodes.insert(block, node);
        Ok(ptr)
    }

    /// Sends out what waits, neighbours together.
    pub fn write_out(&mut self) -> Result<()> {
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

    /// Fills `out`, whole blocks, with what stands sealed from `block` on.
    pub fn read_raw(&self, block: u64, out: &mut [u8]) -> Result<()> {
        let end = block + (out.len() / BLOCK) as u64;
        if self.queue.range(block..end).next().is_none() {
            let offset = block
                .checked_mul(BLOCK as u64)
                .ok_or(Error::Damaged { block })?;
            return Ok(self.device.read_at(offset, out)?);
        }
        for (at, piece) in (block..).zip(out.chunks_mut(BLOCK)) {
            match self.queue.get(&at) {
                Some(data) => piece.copy_from_slice(data),
                None => self.device.read_at(at * BLOCK as u64, piece)?,
            }
        }
        Ok(())
    }

    /// Decrypts one block in place.
    pub fn open(
        &mut self,
        what: Purpose,
        block: u64,
        nonce: &Nonce,
        tag: &Tag,
        data: &mut [u8],
    ) -> Result<()> {
        match self.ring.open(what, &block.to_le_bytes(), nonce, tag, data) {
            true => Ok(()),
            false => {
                data.fill(0);
                Err(Error::Damaged { block })
            }
        }
    }

    /// Reads the block that a pointer points to.
    pub fn read(&mut self, what: Purpose, ptr: &Ptr) -> Result<Vec<u8>> {
        let mut data = alloc::vec![0; BLOCK];
        self.read_raw(ptr.block, &mut data)?;
        self.open(what, ptr.block, &ptr.nonce, &ptr.tag, &mut data)?;
        Ok(data)
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

    /// Nothing at hand of this block is true any more.
    pub fn forget(&mut self, block: u64) {
        self.nodes.remove(block);
        self.queue.remove(&block);
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
