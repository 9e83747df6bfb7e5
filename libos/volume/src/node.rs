//! Nodes of the tree: leaves with items, branches with pointers.

use crate::BLOCK;
use crate::codec::{Reader, Short, Writer};
use crate::crypto::Ptr;
use alloc::vec::Vec;

/// What an item is. Items of one inode stand together, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Attributes.
    Inode = 1,
    /// The contents of a small file, or a short link's target.
    Inline = 2,
    /// Extended attributes, in pieces.
    Xattr = 3,
    /// Names in a directory, by hash.
    Name = 4,
    /// A run of blocks of a file.
    Extent = 5,
    /// A bitmap block; the inode is 0.
    Space = 6,
    /// An inode without a name, or one that is being cut short; the inode is 0.
    Orphan = 7,
}

/// The tree's key: what an item belongs to, what it is, and where in that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    pub ino: u64,
    pub kind: u8,
    pub at: u64,
}

impl Key {
    const LEN: usize = 17;
    /// Before all others.
    pub const MIN: Key = Key {
        ino: 0,
        kind: 0,
        at: 0,
    };

    pub const fn new(ino: u64, kind: Kind, at: u64) -> Key {
        Key {
            ino,
            kind: kind as u8,
            at,
        }
    }

    /// The next larger key.
    pub fn next(self) -> Option<Key> {
        if let Some(at) = self.at.checked_add(1) {
            return Some(Key { at, ..self });
        }
        if let Some(kind) = self.kind.checked_add(1) {
            return Some(Key {
                kind,
                at: 0,
                ..self
            });
        }
        let ino = self.ino.checked_add(1)?;
        Some(Key {
            ino,
            kind: 0,
            at: 0,
        })
    }

    fn read(r: &mut Reader<'_>) -> Result<Key, Short> {
        Ok(Key {
            ino: r.u64()?,
            kind: r.u8()?,
            at: r.u64()?,
        })
    }

    fn write(&self, w: &mut Writer) {
        w.u64(self.ino).u8(self.kind).u64(self.at);
    }
}

/// Bytes before the items: level, nothing, count.
pub const HEAD: usize = 4;
/// Bytes of an item beside its value.
pub const ITEM: usize = Key::LEN + 2;
/// The largest value of an item: three fit in a leaf, so that a split always makes room.
pub const VALUE_MAX: usize = 1300;
/// No tree is higher: with at least two children each, it would not fit in any file.
pub const HEIGHT_MAX: usize = 48;
/// Pointers that a branch holds.
pub const FANOUT: usize = (BLOCK - HEAD) / (Key::LEN + Ptr::LEN);

/// A node, decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    Leaf(Vec<(Key, Vec<u8>)>),
    /// Children, each with the least key that may be in it; and the level, 1 above leaves.
    Branch(u8, Vec<(Key, Ptr)>),
}

impl Node {
    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        HEAD + match self {
            Node::Leaf(items) => items.iter().map(|(_, v)| ITEM + v.len()).sum(),
            Node::Branch(_, kids) => kids.len() * (Key::LEN + Ptr::LEN),
        }
    }

    /// It fits in a block.
    pub fn fits(&self) -> bool {
        self.size() <= BLOCK
    }

    pub fn level(&self) -> u8 {
        match self {
            Node::Leaf(_) => 0,
            Node::Branch(level, _) => *level,
        }
    }

    /// The least key in it.
    pub fn first(&self) -> Option<Key> {
        match self {
            Node::Leaf(items) => items.first().map(|(k, _)| *k),
            Node::Branch(_, kids) => kids.first().map(|(k, _)| *k),
        }
    }

    /// The greatest key in it.
    fn last(&self) -> Option<Key> {
        match self {
            Node::Leaf(items) => items.last().map(|(k, _)| *k),
            Node::Branch(_, kids) => kids.last().map(|(k, _)| *k),
        }
    }

    /// The block's bytes; the rest of the block is zero.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(BLOCK));
        w.u8(self.level()).u8(0);
        match self {
            Node::Leaf(items) => {
                w.u16(items.len() as u16);
                for (key, value) in items {
                    key.write(&mut w);
                    w.u16(value.len() as u16).bytes(value);
                }
            }
            Node::Branch(_, kids) => {
                w.u16(kids.len() as u16);
                for (key, ptr) in kids {
                    key.write(&mut w);
                    ptr.write(&mut w);
                }
            }
        }
        w.0.resize(BLOCK, 0);
        w.0
    }

    /// What [`Node::encode`] wrote: keys ascend, no value is too long, a branch is not empty and
    /// not too high.
    pub fn decode(bytes: &[u8]) -> Result<Node, Short> {
        let mut r = Reader(bytes);
        let level = r.u8()?;
        r.u8()?;
        let count = usize::from(r.u16()?);
        if level == 0 {
            let mut items = Vec::with_capacity(count.min(BLOCK / Key::LEN));
            for _ in 0..count {
                let key = Key::read(&mut r)?;
                let len = usize::from(r.u16()?);
                if len > VALUE_MAX {
                    return Err(Short);
                }
                items.push((key, r.bytes(len)?.to_vec()));
            }
            let sorted = items.is_sorted_by(|(a, _), (b, _)| a < b);
            return sorted.then_some(Node::Leaf(items)).ok_or(Short);
        }
        let mut kids = Vec::with_capacity(count.min(FANOUT));
        for _ in 0..count {
            kids.push((Key::read(&mut r)?, Ptr::read(&mut r)?));
        }
        let sorted = kids.is_sorted_by(|(a, _), (b, _)| a < b);
        let sane = sorted && !kids.is_empty() && usize::from(level) < HEIGHT_MAX;
        sane.then_some(Node::Branch(level, kids)).ok_or(Short)
    }
}

/// What a node must be, for where it is in the tree. Without this, a branch could be its own
/// children's child in all but name: the same node below many others, or at every level.
#[derive(Clone, Copy)]
pub struct Frame {
    level: Option<u8>,
    low: Key,
    high: Option<Key>,
}

impl Frame {
    /// The root may be anything.
    pub const ROOT: Frame = Frame {
        level: None,
        low: Key::MIN,
        high: None,
    };

    /// The frame of a branch's child.
    pub fn child(&self, level: u8, kids: &[(Key, Ptr)], at: usize) -> Frame {
        let low = kids.get(at).map_or(self.low, |kid| kid.0);
        Frame {
            level: level.checked_sub(1),
            // What is less than the first key is in the first child too.
            low: if at == 0 { self.low } else { low },
            high: kids.get(at + 1).map(|kid| kid.0).or(self.high),
        }
    }

    /// The node may be here.
    pub fn holds(&self, node: &Node) -> bool {
        self.level.is_none_or(|level| level == node.level())
            && node.first().is_none_or(|key| key >= self.low)
            && (self.high).is_none_or(|high| node.last().is_none_or(|key| key < high))
    }
}

/// The child that holds `key` if any does.
pub fn child(kids: &[(Key, Ptr)], key: &Key) -> usize {
    kids.partition_point(|(k, _)| k <= key).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_come_back_as_they_were_and_nonsense_is_refused() {
        let key = |at| Key::new(3, Kind::Extent, at);
        let leaf = Node::Leaf((0..5).map(|i| (key(i), [7, i as u8].repeat(9))).collect());
        assert_eq!(Node::decode(&leaf.encode()), Ok(leaf.clone()));
        let ptr = Ptr {
            block: 77,
            ..Ptr::default()
        };
        let kids = (0..FANOUT as u64).map(|i| (key(i), ptr)).collect();
        let branch = Node::Branch(2, kids);
        assert!(branch.fits());
        assert_eq!(Node::decode(&branch.encode()), Ok(branch));
        let twice = Node::Leaf([(key(1), Vec::new()), (key(1), Vec::new())].into());
        assert_eq!(Node::decode(&twice.encode()), Err(Short));
        assert_eq!(Node::decode(&[1, 0, 0, 0]), Err(Short));
        // No byte of a node, whatever it becomes, makes the decoder panic.
        let bytes = leaf.encode();
        for i in 0..bytes.len().min(200) {
            for value in [0, 1, 0x7f, 0xff] {
                let mut b = bytes.clone();
                b[i] = value;
                let _ = Node::decode(&b);
            }
        }
    }
}
