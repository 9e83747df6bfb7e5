//! Volumes that somebody with the key has forged: a volume's authenticated blocks in plaintext, to
//! be altered at will, and sealed again as FORMAT.md says. Uses nothing of the engine but its keys.

use super::{B, BLOCK, Disk, FILE, KEY, create_as};
use bastide_volume::crypto::{KeyRing, Nonce, Ptr, Purpose, Tag};
use bastide_volume::{Header, New, Platform, ROOT, Result, SetXattr, mode};
use std::collections::BTreeMap;

/// Bytes of a root record.
pub const RECORD: usize = 256;
/// Where a root record has the pointer to the tree, and the log's first block.
const ROOT_PTR: usize = 16;
const ROOT_LOG: usize = ROOT_PTR + Ptr::LEN + 4 * 8;
/// Bytes before the items of a node; of a key; and of a leaf's item before its value.
const HEAD: usize = 4;
const KEY_LEN: usize = 17;
const ITEM: usize = KEY_LEN + 2;
/// The kind of an item that points to a bitmap.
const SPACE: u8 = 6;
/// Bytes of a sealed part of the log, and of a record in it.
const BODY: usize = BLOCK - Nonce::LEN - 16;

/// A key, and a value or a pointer.
pub type Item = ([u8; KEY_LEN], Vec<u8>);

/// A volume's authenticated blocks in plaintext, and its file.
#[derive(Clone)]
pub struct Forge {
    pub root: Vec<u8>,
    /// Nodes and bitmaps, by block.
    pub nodes: BTreeMap<u64, Vec<u8>>,
    pub bitmaps: BTreeMap<u64, Vec<u8>>,
    /// The log's blocks: length, mark of the end, record.
    pub log: Vec<Vec<u8>>,
    image: Vec<u8>,
}

/// The mount that seals what is forged.
struct Forger;

impl Platform for Forger {
    fn random(&self, buf: &mut [u8]) -> Result<()> {
        buf.fill(0xf0);
        Ok(())
    }

    fn now(&self) -> i64 {
        0
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

fn pointer(bytes: &[u8]) -> Ptr {
    let mut salt = [0; 16];
    salt.copy_from_slice(&bytes[8..24]);
    let mut tag = [0; 16];
    tag.copy_from_slice(&bytes[32..48]);
    Ptr {
        block: word(bytes, 0),
        nonce: Nonce {
            salt,
            counter: word(bytes, 24),
        },
        tag,
    }
}

fn put_pointer(to: &mut [u8], ptr: &Ptr) {
    let mut w = bastide_volume::codec::Writer::default();
    ptr.write(&mut w);
    to.copy_from_slice(&w.0);
}

/// Where a node's pointers are, and whether to bitmaps; as far as the node makes sense.
fn pointers(node: &[u8]) -> Vec<(usize, bool)> {
    let (level, count) = (node[0], usize::from(u16::from_le_bytes([node[2], node[3]])));
    let mut out = Vec::new();
    let mut at = HEAD;
    for _ in 0..count {
        let value = at + if level == 0 { ITEM } else { KEY_LEN };
        let len = match level {
            0 if at + ITEM <= BLOCK => {
                usize::from(u16::from_le_bytes([node[value - 2], node[value - 1]]))
            }
            0 => break,
            _ => Ptr::LEN,
        };
        if value + len > BLOCK {
            break;
        }
        let bitmap = level == 0;
        let points = !bitmap || (word(node, at), node[at + 8]) == (0, SPACE);
        if points && len >= Ptr::LEN {
            out.push((value, bitmap));
        }
        at = value + len;
    }
    out
}

fn ring(image: &[u8]) -> KeyRing {
    let header = Header::read(&Disk::with(image[..2 * BLOCK].to_vec()), 0).unwrap();
    KeyRing::new(header.unwrap(&KEY).unwrap())
}

impl Forge {
    /// What is in a volume's file, all of it authentic.
    pub fn of(image: Vec<u8>) -> Forge {
        let mut ring = ring(&image);
        let slot = |at: usize| &image[at * BLOCK..at * BLOCK + Nonce::LEN + 16 + RECORD];
        let mut roots: Vec<(Vec<u8>, Tag)> = Vec::new();
        for at in [2, 3] {
            // A slot begins as a pointer does after its block: nonce and tag.
            let ptr = pointer(&[&(at as u64).to_le_bytes(), &slot(at)[..40]].concat());
            let mut record = slot(at)[40..].to_vec();
            let aad = (at as u64).to_le_bytes();
            if ring.open(Purpose::Root, &aad, &ptr.nonce, &ptr.tag, &mut record) {
                roots.push((record, ptr.tag));
            }
        }
        let (root, tag) = roots.into_iter().max_by_key(|(r, _)| word(r, 0)).unwrap();
        let mut forge = Forge {
            nodes: BTreeMap::new(),
            bitmaps: BTreeMap::new(),
            log: Vec::new(),
            root,
            image,
        };
        let mut waiting = vec![(pointer(&forge.root[ROOT_PTR..]), false)];
        while let Some((ptr, bitmap)) = waiting.pop() {
            let what = if bitmap {
                Purpose::Space
            } else {
                Purpose::Node
            };
            let at = ptr.block as usize * BLOCK;
            let mut data = forge.image[at..at + BLOCK].to_vec();
            let aad = ptr.block.to_le_bytes();
            assert!(ring.open(what, &aad, &ptr.nonce, &ptr.tag, &mut data));
            if bitmap {
                forge.bitmaps.insert(ptr.block, data);
                continue;
            }
            let below = pointers(&data).into_iter();
            waiting.extend(below.map(|(at, bitmap)| (pointer(&data[at..]), bitmap)));
            forge.nodes.insert(ptr.block, data);
        }
        let mut chain = tag;
        for place in word(&forge.root, ROOT_LOG).. {
            let start = place as usize * BLOCK;
            let Some(block) = forge.image.get(start..start + BLOCK) else {
                break;
            };
            let ptr = pointer(&[&place.to_le_bytes(), &block[..40]].concat());
            let mut body = block[40..].to_vec();
            let aad = [&place.to_le_bytes()[..], &chain].concat();
            if !ring.open(Purpose::Log, &aad, &ptr.nonce, &ptr.tag, &mut body) {
                break;
            }
            forge.log.push(body);
            chain = ptr.tag;
        }
        forge
    }

    /// A small volume with everything in it that a volume can have.
    pub fn sample() -> Forge {
        Forge::sample_as(true)
    }

    /// The same, that compresses contents or does not.
    pub fn sample_as(compress: bool) -> Forge {
        let disk = Disk::default();
        let mut v = create_as(&disk, 1 << 20, compress);
        let file = New {
            mode: FILE,
            ..New::default()
        };
        let dir = New {
            mode: super::DIR,
            ..New::default()
        };
        let mut above = ROOT;
        for depth in 0..3 {
            above = v
                .create_file(above, format!("d{depth}").as_bytes(), &dir)
                .unwrap();
        }
        for i in 0..40 {
            let name = format!("f{i}").into_bytes();
            let ino = v
                .create_file(if i % 4 == 0 { above } else { ROOT }, &name, &file)
                .unwrap();
            match i % 4 {
                0 => v.write(ino, 0, &[i; 600]).unwrap(),
                1 => v.write(ino, u64::from(i) * 1000, &[i; 9000]).unwrap(),
                _ => 0,
            };
            let value = vec![i; 100 + usize::from(i % 3) * 1500];
            v.set_xattr(ino, b"user.x", &value, SetXattr::Any).unwrap();
        }
        // Enough of the largest items for a tree with branches above branches.
        for i in 0..4 {
            let ino = v.create_file(ROOT, &[b'x', b'0' + i], &file).unwrap();
            v.set_xattr(ino, b"user.x", &[7; 60_000], SetXattr::Any)
                .unwrap();
        }
        let noise = v.create_file(ROOT, b"noise", &file).unwrap();
        v.write(noise, 0, &super::Rng(1).bytes(5 * BLOCK)).unwrap();
        v.symlink(ROOT, b"short", b"d0/d1", &New::default())
            .unwrap();
        v.symlink(ROOT, b"long", &[b'l'; 3000], &New::default())
            .unwrap();
        let fifo = New {
            mode: mode::FIFO | 0o600,
            ..New::default()
        };
        v.create_file(ROOT, b"fifo", &fifo).unwrap();
        let first = v.lookup(ROOT, b"f1").unwrap();
        v.link(above, b"second", first).unwrap();
        let gone = v.lookup(ROOT, b"f5").unwrap();
        v.hold(gone);
        v.unlink(ROOT, b"f5").unwrap();
        v.commit().unwrap();
        for n in 0..3 {
            v.write(first, 700 + n * 4096, &[n as u8; 5000]).unwrap();
            v.fsync(first).unwrap();
        }
        Forge::of(disk.data())
    }

    /// Seals it all again: the volume's file, of which every block that the root leads to is
    /// authentic. A node that is below itself cannot be.
    pub fn seal(mut self) -> Vec<u8> {
        let mut ring = ring(&self.image);
        ring.begin(&Forger).unwrap();
        let ptr = pointer(&self.root[ROOT_PTR..]);
        let mut done = BTreeMap::new();
        if let Some(ptr) = self.seal_block(&mut ring, &mut done, &ptr, false) {
            put_pointer(&mut self.root[ROOT_PTR..][..Ptr::LEN], &ptr);
        }
        let slot = 2 + word(&self.root, 0) % 2;
        let log = word(&self.root, ROOT_LOG);
        let aad = slot.to_le_bytes();
        let (nonce, tag) = ring.seal(Purpose::Root, &aad, &mut self.root).unwrap();
        self.image[2 * BLOCK..4 * BLOCK].fill(0);
        let mut sealed = head(slot, nonce, tag);
        sealed.extend_from_slice(&self.root);
        super::put(&mut self.image, slot * B, &sealed);
        let mut chain = tag;
        for (i, mut body) in (0..).zip(self.log) {
            let place = log.saturating_add(i);
            body.resize(BODY, 0);
            let end = place.checked_mul(B).and_then(|at| at.checked_add(B));
            if end.is_none_or(|end| end > self.image.len() as u64) {
                break;
            }
            let aad = [&place.to_le_bytes()[..], &chain].concat();
            let (nonce, tag) = ring.seal(Purpose::Log, &aad, &mut body).unwrap();
            let mut block = head(place, nonce, tag);
            block.extend_from_slice(&body);
            super::put(&mut self.image, place * B, &block);
            chain = tag;
        }
        self.image
    }

    /// Seals a block and what is below it; its new pointer, if there is such a block.
    fn seal_block(
        &mut self,
        ring: &mut KeyRing,
        done: &mut BTreeMap<u64, Option<Ptr>>,
        old: &Ptr,
        bitmap: bool,
    ) -> Option<Ptr> {
        let block = old.block;
        if let Some(ptr) = done.get(&block) {
            return *ptr;
        }
        // What is below itself finds this.
        done.insert(block, None);
        let mut data = match bitmap {
            true => self.bitmaps.get(&block)?.clone(),
            false => self.nodes.get(&block)?.clone(),
        };
        if !bitmap {
            for (at, bitmap) in pointers(&data) {
                let ptr = pointer(&data[at..]);
                if let Some(ptr) = self.seal_block(ring, done, &ptr, bitmap) {
                    put_pointer(&mut data[at..at + Ptr::LEN], &ptr);
                }
            }
        }
        let what = if bitmap {
            Purpose::Space
        } else {
            Purpose::Node
        };
        let (nonce, tag) = ring.seal(what, &block.to_le_bytes(), &mut data).unwrap();
        super::put(&mut self.image, block * B, &data);
        let ptr = Ptr { block, nonce, tag };
        done.insert(block, Some(ptr));
        Some(ptr)
    }
}

/// What stands in clear before a root record or a block of the log.
fn head(place: u64, nonce: Nonce, tag: Tag) -> Vec<u8> {
    let ptr = Ptr {
        block: place,
        nonce,
        tag,
    };
    let mut w = bastide_volume::codec::Writer::default();
    ptr.write(&mut w);
    w.0.split_off(8)
}

/// The items of a node, as far as they make sense: a leaf's have values, a branch's pointers.
pub fn items(node: &[u8]) -> Vec<Item> {
    let (leaf, count) = (node[0] == 0, u16::from_le_bytes([node[2], node[3]]));
    let mut rest = &node[4..];
    let mut out = Vec::new();
    for _ in 0..count {
        let Some((key, after)) = rest.split_first_chunk::<17>() else {
            break;
        };
        let (len, after) = match leaf {
            true => match after.split_first_chunk::<2>() {
                Some((len, after)) => (usize::from(u16::from_le_bytes(*len)), after),
                None => break,
            },
            false => (48, after),
        };
        let Some((value, after)) = after.split_at_checked(len) else {
            break;
        };
        out.push((*key, value.to_vec()));
        rest = after;
    }
    out
}

/// A node's block with these items, as far as they fit.
pub fn node_of(level: u8, items: &[Item]) -> Vec<u8> {
    let mut out = vec![level, 0];
    out.extend((items.len() as u16).to_le_bytes());
    for (key, value) in items {
        out.extend(key);
        if level == 0 {
            out.extend((value.len() as u16).to_le_bytes());
        }
        out.extend(value);
    }
    out.resize(BLOCK, 0);
    out
}

/// A key of the tree.
pub fn key(ino: u64, kind: u8, at: u64) -> [u8; KEY_LEN] {
    let bytes = [&ino.to_le_bytes()[..], &[kind], &at.to_le_bytes()].concat();
    bytes.try_into().unwrap()
}

impl Forge {
    /// Shows every item of the tree, to be altered.
    pub fn each(&mut self, mut show: impl FnMut(&mut Item)) {
        for node in self.nodes.values_mut().filter(|node| node[0] == 0) {
            let mut items = items(node);
            items.iter_mut().for_each(&mut show);
            *node = node_of(0, &items);
        }
    }
}
