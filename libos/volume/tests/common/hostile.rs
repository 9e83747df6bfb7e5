//! What a string of bytes does to a volume: alters a forged one, and works on what comes of it. Any
//! string means something, so that a fuzzer's are all worth a try.

use super::forge::{Forge, items, node_of};
use super::{B, DIR, Disk, FILE, KEY, open, options};
use bastide_volume::{Error, New, Options, ROOT, Rename, SetAttr, SetXattr, Volume, mode};

/// Names that the sample volume has, and some that it has not.
const NAMES: [&[u8]; 12] = [
    b"d0", b"d1", b"d2", b"f0", b"f1", b"f2", b"f3", b"second", b"short", b"long", b"fifo", b"new",
];
/// Numbers at which something may end.
const EDGES: [u64; 12] = [
    0,
    1,
    2,
    63,
    4095,
    65_535,
    1 << 32,
    (1 << 34) - 1,
    1 << 56,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// Takes choices from a string; when it is used up, all are zero.
pub struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn short(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(n.min(self.0.len()));
        self.0 = tail;
        head
    }

    /// A number: an edge or near one, small, a block's, or anything.
    fn number(&mut self) -> u64 {
        let edge = |b: u8| EDGES[usize::from(b) % EDGES.len()];
        match self.byte() % 6 {
            0 => edge(self.byte()),
            1 => edge(self.byte()).wrapping_sub(u64::from(self.byte())),
            2 => edge(self.byte()).wrapping_add(u64::from(self.byte())),
            3 => u64::from(self.byte()),
            4 => self.short() as u64 * B / 16,
            _ => (0..8).fold(0, |n, _| n << 8 | u64::from(self.byte())),
        }
    }

    fn name(&mut self) -> &'static [u8] {
        NAMES[usize::from(self.byte()) % NAMES.len()]
    }
}

/// Alters what is authentic in a volume as a string says, up to a byte of 0.
pub fn alter(forge: &mut Forge, c: &mut Choices<'_>) {
    let blocks: Vec<u64> = forge.nodes.keys().copied().collect();
    for _ in 0..64 {
        let what = c.byte();
        if what == 0 {
            return;
        }
        let block = blocks[c.short() % blocks.len()];
        match what % 8 {
            // A field of the root record.
            1 => {
                let at = c.short() % 136;
                put(&mut forge.root, at, &c.number().to_le_bytes());
            }
            // Bytes or a number anywhere in a node.
            2 => {
                let at = c.short();
                let n = usize::from(c.byte() % 32);
                let bytes = c.bytes(n).to_vec();
                put_used(forge.nodes.get_mut(&block).unwrap(), at, &bytes);
            }
            3 => {
                let at = c.short();
                let number = c.number();
                put_used(
                    forge.nodes.get_mut(&block).unwrap(),
                    at,
                    &number.to_le_bytes(),
                );
            }
            // An item of a node: removed, doubled, with another key, or another value.
            4 | 5 => item(forge, block, c),
            // A bitmap.
            6 => {
                let at = c.short();
                let n = usize::from(c.byte() % 32);
                let bytes = c.bytes(n);
                if let Some(bits) = forge.bitmaps.values_mut().next() {
                    put(bits, at % 4096, bytes);
                }
            }
            // The log.
            _ => {
                let which = usize::from(c.byte());
                let at = c.short() % 64;
                let number = c.number();
                let n = forge.log.len().max(1);
                if let Some(body) = forge.log.get_mut(which % n) {
                    put(body, at, &number.to_le_bytes());
                }
            }
        }
    }
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in to.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

/// Puts bytes where a node has something, for the most part.
fn put_used(node: &mut [u8], at: usize, bytes: &[u8]) {
    let used = 4096 - node.iter().rev().take_while(|b| **b == 0).count();
    put(node, at % (used + 1), bytes);
}

fn item(forge: &mut Forge, block: u64, c: &mut Choices<'_>) {
    let blocks: Vec<u64> = forge.nodes.keys().copied().collect();
    let node = forge.nodes.get_mut(&block).unwrap();
    let leaf = node[0] == 0;
    let mut items = items(node);
    if items.is_empty() {
        return;
    }
    let i = c.short() % items.len();
    match c.byte() % 8 {
        0 => drop(items.remove(i)),
        1 => items.insert(i, items[i].clone()),
        2 => items[i].0[..8].copy_from_slice(&c.number().to_le_bytes()),
        3 => items[i].0[8] = c.byte() % 9,
        4 => items[i].0[9..17].copy_from_slice(&c.number().to_le_bytes()),
        // A value of another length, or a field of it.
        5 if leaf => {
            let len = c.short() % 1400;
            items[i].1.resize(len, c.byte());
        }
        // Another child.
        5 | 6 if !leaf => {
            let other = blocks[c.short() % blocks.len()];
            items[i].1[..8].copy_from_slice(&other.to_le_bytes());
        }
        _ => {
            let at = c.short() % (items[i].1.len() + 1);
            let number = c.number();
            put(&mut items[i].1, at, &number.to_le_bytes());
        }
    }
    *node = node_of(node[0], &items);
}

/// Opens a volume's file and does with it what a string says. Whatever comes of it but a panic, a
/// hang or a flood of memory will do.
pub fn work(image: Vec<u8>, c: &mut Choices<'_>) {
    let flags = c.byte();
    let disk = Disk::with(image);
    let opened = match flags & 1 {
        0 => open(&disk),
        _ => {
            let options = Options {
                read_only: true,
                ..options()
            };
            Volume::open(Box::new(disk.clone()), &KEY, options)
        }
    };
    let Ok(mut v) = opened else {
        return;
    };
    if flags & 2 != 0 {
        look(&mut v);
    }
    let mut known = vec![ROOT, 2, 3];
    for _ in 0..64 {
        if c.0.is_empty() {
            break;
        }
        if let Some(ino) = operate(&mut v, &known, c) {
            known.push(ino);
        }
    }
    v.usage();
    look(&mut v);
    let _ = v.fsck(true, &mut |_, _| {});
    let _ = v.commit();
    drop(v);
    if let Ok(mut v) = open(&disk) {
        look(&mut v);
    }
}

/// Looks at files from the root on, as far as one may who has other things to do.
fn look(v: &mut Volume) {
    let mut waiting = vec![ROOT];
    let mut seen = 0;
    while let Some(ino) = waiting.pop() {
        seen += 1;
        if seen > 300 {
            return;
        }
        let Ok(inode) = v.stat(ino) else {
            continue;
        };
        let mut position = 0;
        let _ = v.read_dir(ino, 0, &mut |e, next| {
            assert!(next > position, "a position that does not move");
            position = next;
            waiting.push(e.ino);
            true
        });
        let mut buffer = [0; 5000];
        let _ = v.read(ino, 0, &mut buffer);
        let _ = v.read(ino, inode.size.saturating_sub(4500), &mut buffer);
        let _ = v.read_link(ino);
        let _ = v.seek(ino, 1, true);
        let _ = v.seek(ino, 1, false);
        for name in v.list_xattr(ino).unwrap_or_default() {
            let _ = v.get_xattr(ino, &name);
        }
    }
}

fn operate(v: &mut Volume, known: &[u64], c: &mut Choices<'_>) -> Option<u64> {
    let what = c.byte();
    let file = |c: &mut Choices<'_>| match c.byte() {
        n @ 0..200 => known[usize::from(n) % known.len()],
        n => u64::from(n - 200),
    };
    let new = New {
        mode: if what & 0x80 == 0 { FILE } else { DIR },
        ..New::default()
    };
    let ino = file(c);
    let result: Result<Option<u64>, Error> = match what % 24 {
        0..=2 => v.lookup(ino, c.name()).map(Some),
        3 => v.create_file(ino, c.name(), &new).map(Some),
        4 => v
            .symlink(ino, c.name(), &[b't'; 2000][..c.short() % 2000], &new)
            .map(Some),
        5 => v.link(ino, c.name(), file(c)).map(|()| None),
        6 => v.unlink(ino, c.name()).map(|()| None),
        7 => v.rmdir(ino, c.name()).map(|()| None),
        8 | 9 => {
            let how = [Rename::Replace, Rename::NoReplace, Rename::Exchange];
            let how = how[usize::from(c.byte()) % 3];
            let (from, to) = (c.name(), file(c));
            v.rename(ino, from, to, c.name(), how).map(|()| None)
        }
        10 | 11 => {
            let (at, len) = (c.number(), c.short() % 20_000);
            v.write(ino, at, &vec![what; len]).map(|_| None)
        }
        12 => {
            let mut buffer = vec![0; c.short()];
            v.read(ino, c.number(), &mut buffer).map(|_| None)
        }
        13 | 14 => {
            let attr = SetAttr {
                size: (what & 0x80 == 0).then(|| c.number()),
                mode: Some(mode::FILE | 0o600),
                ..SetAttr::default()
            };
            v.set_attr(ino, &attr).map(|()| None)
        }
        15 => {
            let (at, len) = (c.number(), c.number());
            v.punch(ino, at, len).map(|()| None)
        }
        16 => v.fsync(ino).map(|()| None),
        17 => v.commit().map(|()| None),
        18 => v
            .set_xattr(ino, b"user.x", &vec![1; c.short()], SetXattr::Any)
            .map(|()| None),
        19 => v.remove_xattr(ino, b"user.x").map(|()| None),
        20 => {
            v.hold(ino);
            Ok(None)
        }
        21 => v.release(ino).map(|()| None),
        22 => v.tmpfile(&new).map(Some),
        _ => {
            v.drop_cache();
            v.seek(ino, c.number(), what & 0x80 == 0).map(|_| None)
        }
    };
    result.ok().flatten()
}
