//! Volumes forged by somebody who has the key: every block is authentic, and what it says makes no
//! sense. Then there is an error; never a panic, a loop without end, or memory without bound.

mod common;

use bastide_volume::{Error, ROOT, Rename, Result, Volume};
use common::forge::{Forge, key, node_of};
use common::hostile::{Choices, alter, work};
use common::*;

const ATTRIBUTES: u8 = 1;
const XATTR: u8 = 3;
const NAMES: u8 = 4;
const EXTENT: u8 = 5;
const SPACE: u8 = 6;
const ORPHAN: u8 = 7;

fn put(to: &mut [u8], at: usize, number: u64) {
    to[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

fn number(from: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(from[at..at + 8].try_into().unwrap())
}

fn opened(forge: Forge) -> Result<Volume> {
    open(&Disk::with(forge.seal()))
}

#[track_caller]
fn malformed<T: std::fmt::Debug>(result: Result<T>) {
    assert!(matches!(result, Err(Error::Malformed { .. })), "{result:?}");
}

/// The kind of an item, by its key.
fn kind(key: &[u8; 17]) -> u8 {
    key[8]
}

#[test]
fn a_volume_that_was_sealed_again_is_the_same() {
    let forge = Forge::sample();
    let high = forge.nodes.values().any(|n| n[0] == 2);
    assert!(high, "branches above branches");
    assert!(forge.log.len() >= 3 && !forge.bitmaps.is_empty());
    let mut v = opened(forge).unwrap();
    assert_eq!(fsck(&mut v), Vec::<String>::new());
    assert!(dump(&mut v).unwrap().len() > 40);
}

#[test]
fn noise_does_no_harm() {
    let sample = Forge::sample();
    let mut rng = Rng(1);
    for _ in 0..300 {
        let string = rng.bytes(200);
        let mut forge = sample.clone();
        let mut choices = Choices(&string);
        alter(&mut forge, &mut choices);
        work(forge.seal(), &mut choices);
    }
}

/// Without limits to what may be where, there would be 60³⁰ ways to the bottom.
#[test]
fn a_node_below_many_others() {
    let mut forge = Forge::sample();
    let free = 230;
    forge.nodes.insert(free, node_of(0, &[]));
    let above = |level: u64, key_of: &dyn Fn(u64) -> [u8; 17]| {
        let kid = |i| {
            let mut ptr = vec![0; 48];
            put(&mut ptr, 0, free + level - 1);
            (key_of(i), ptr)
        };
        node_of(level as u8, &(0..60).map(kid).collect::<Vec<_>>())
    };
    for level in 1..20 {
        let node = above(level, &|i| key(i << 32, 0, level));
        forge.nodes.insert(free + level, node);
    }
    put(&mut forge.root, 16, free + 19);
    malformed(opened(forge).map(|_| ()));
}

#[test]
fn a_pointer_to_where_no_block_can_be() {
    for block in [1 << 34, 1 << 52, 1 << 63, u64::MAX] {
        let mut forge = Forge::sample();
        put(&mut forge.root, 16, block);
        assert!(matches!(opened(forge), Err(Error::NoRoot)));
        let mut forge = Forge::sample();
        forge.each(|(key, value)| {
            if kind(key) == SPACE {
                put(value, 0, block);
            }
        });
        malformed(opened(forge).map(|_| ()));
    }
}

#[test]
fn a_root_with_numbers_that_cannot_be() {
    // Generation; blocks; what is in use; the next inode; inodes; the log.
    for at in [0, 64, 72, 80, 88, 96] {
        for number in [u64::MAX - 1, 1 << 63] {
            let mut forge = Forge::sample();
            put(&mut forge.root, at, number);
            let result = opened(forge);
            assert!(matches!(result, Err(Error::NoRoot)), "{at}");
        }
    }
}

#[test]
fn a_bitmap_that_says_more_than_there_is() {
    let mut forge = Forge::sample();
    put(&mut forge.root, 64, 1 << 34);
    let bits = forge.bitmaps.values_mut().next().unwrap();
    bits[4095] = 0x80;
    malformed(opened(forge).map(|_| ()));
}

#[test]
fn extents_at_the_end_of_all_numbers() {
    // The block, the counter of the nonce, the place in the file.
    for field in 0..3 {
        let mut forge = Forge::sample_as(false);
        let file = opened(forge.clone()).unwrap().lookup(ROOT, b"f9").unwrap();
        forge.each(|(key, value)| {
            if kind(key) == EXTENT && number(&key[..], 0) == file {
                match field {
                    0 => put(value, 0, (1 << 34) - 1),
                    1 => put(value, 24, u64::MAX),
                    _ => put(key, 9, u64::MAX - 1),
                }
            }
        });
        let mut v = opened(forge).unwrap();
        malformed(v.seek(file, 0, true));
        malformed(v.read(file, 0, &mut [0; 10_000]));
        let report = v.fsck(true, &mut |_, _| {}).unwrap();
        assert!(report.problems.iter().any(|p| p.contains("malformed")));
    }
}

/// Where an extent says what is packed in it, if anything is.
fn packed(value: &[u8]) -> Option<usize> {
    (value.len() % 16 == 8).then_some(value.len() - 8)
}

/// Alters what the extents of a file say is packed in them; the file.
fn say_packed(forge: &mut Forge, field: usize, bytes: &[u8]) -> u64 {
    let file = opened(forge.clone()).unwrap().lookup(ROOT, b"f9").unwrap();
    let mut found = 0;
    forge.each(|(key, value)| {
        if kind(key) == EXTENT
            && number(&key[..], 0) == file
            && let Some(at) = packed(value)
        {
            value[at + field..][..bytes.len()].copy_from_slice(bytes);
            found += 1;
        }
    });
    assert!(found > 0);
    file
}

#[test]
fn packed_blocks_that_do_not_unpack() {
    // How many come out; the first that shows; how many do; the length of what is packed.
    let wrong: [(usize, &[u8]); 10] = [
        (0, &[0]),
        (0, &[17]),
        (0, &[255]),
        (1, &[1]),
        (1, &[255]),
        (2, &[0]),
        (2, &[255]),
        (4, &[0, 0, 0, 0]),
        (4, &[1, 16, 0, 0]),
        (4, &[255, 255, 255, 255]),
    ];
    for (field, bytes) in wrong {
        let mut forge = Forge::sample();
        let file = say_packed(&mut forge, field, bytes);
        let mut v = opened(forge).unwrap();
        malformed(v.read(file, 9000, &mut [0; 10_000]));
        malformed(v.punch(file, 0, 20_000));
        let report = v.fsck(true, &mut |_, _| {}).unwrap();
        assert!(report.problems.iter().any(|p| p.contains("malformed")));
    }
    // What may be, and is not so.
    for (field, bytes) in [(0, &[16][..]), (4, &[50, 0]), (4, &[0, 16])] {
        let mut forge = Forge::sample();
        let file = say_packed(&mut forge, field, bytes);
        let mut v = opened(forge).unwrap();
        malformed(v.read(file, 9000, &mut [0; 10_000]));
        let noise = v.lookup(ROOT, b"noise").unwrap();
        assert!(v.read(noise, 0, &mut [0; 10_000]).is_ok());
        let report = v.fsck(true, &mut |_, _| {}).unwrap();
        assert!(report.problems.iter().any(|p| p.contains("makes no sense")));
    }
}

/// Two extents show a part of the same blocks, and do not agree on what is in them.
#[test]
fn packed_blocks_that_are_two_things() {
    let mut forge = Forge::sample();
    let mut v = opened(forge.clone()).unwrap();
    let files = [b"f9", &b"f13"[..]].map(|name| v.lookup(ROOT, name).unwrap());
    let mut first = None;
    forge.each(|(key, value)| {
        let ours = kind(key) == EXTENT && files.contains(&number(&key[..], 0));
        if ours && packed(value).is_some() {
            let block = first.get_or_insert_with(|| number(value, 0));
            put(value, 0, *block);
        }
    });
    let mut v = opened(forge).unwrap();
    let report = v.fsck(false, &mut |_, _| {}).unwrap();
    assert!(report.problems.iter().any(|p| p.contains("used twice")));
    for name in [&b"f9"[..], b"f13"] {
        v.unlink(ROOT, name).unwrap();
    }
    v.commit().unwrap();
}

#[test]
fn packed_blocks_where_nothing_may_be_packed() {
    let mut forge = Forge::sample_as(false);
    let file = opened(forge.clone()).unwrap().lookup(ROOT, b"f9").unwrap();
    forge.each(|(key, value)| {
        if kind(key) == EXTENT && number(&key[..], 0) == file {
            assert!(packed(value).is_none());
            value.truncate(24 + 8 + 16);
            value.extend([3, 0, 3, 0, 0, 1, 0, 0]);
        }
    });
    let mut v = opened(forge).unwrap();
    malformed(v.read(file, 9000, &mut [0; 10_000]));
    let report = v.fsck(true, &mut |_, _| {}).unwrap();
    assert!(report.problems.iter().any(|p| p.contains("malformed")));
}

#[test]
fn attributes_that_cannot_be() {
    // Size; blocks; names in a directory.
    for at in [24, 32, 80] {
        let mut forge = Forge::sample();
        forge.each(|(key, value)| {
            if kind(key) == ATTRIBUTES {
                put(value, at, u64::MAX);
            }
        });
        malformed(opened(forge).map(|_| ()));
    }
}

#[test]
fn a_directory_that_is_above_itself() {
    let mut forge = Forge::sample();
    let mut v = opened(forge.clone()).unwrap();
    let mut at = [ROOT; 4];
    for i in 0..3 {
        at[i + 1] = v.lookup(at[i], format!("d{i}").as_bytes()).unwrap();
    }
    forge.each(|(key, value)| {
        if kind(key) == ATTRIBUTES && number(&key[..], 0) == at[1] {
            put(value, 72, at[3]);
        }
    });
    let mut v = opened(forge).unwrap();
    let d = v.create_file(
        ROOT,
        b"dir",
        &bastide_volume::New {
            mode: DIR,
            ..Default::default()
        },
    );
    assert!(d.is_ok());
    malformed(v.rename(ROOT, b"dir", at[2], b"dir", Rename::Replace));
}

#[test]
fn names_that_cannot_be() {
    for name in [&b"a/b"[..], b"..", b"", b"a\0b"] {
        let mut forge = Forge::sample();
        forge.each(|(key, value)| {
            if kind(key) == NAMES {
                value.truncate(10);
                value[9] = name.len() as u8;
                value.extend_from_slice(name);
            }
        });
        let mut v = opened(forge).unwrap();
        malformed(v.read_dir(ROOT, 0, &mut |e, _| panic!("{e:?}")));
        malformed(v.lookup(ROOT, b"f1"));
    }
    // A place that, as a position, would be before the others.
    let mut forge = Forge::sample();
    forge.each(|(key, _)| {
        if kind(key) == NAMES {
            key[16] = 0xff;
        }
    });
    let mut v = opened(forge).unwrap();
    malformed(v.read_dir(ROOT, 0, &mut |e, _| panic!("{e:?}")));
}

#[test]
fn attributes_longer_than_they_may_be() {
    let mut forge = Forge::sample();
    let mut top = Vec::new();
    forge.each(|item| {
        if item.0 == key(ROOT, ATTRIBUTES, 0) {
            top.push(item.clone());
        }
    });
    let mut kids = Vec::new();
    for leaf in 0..20 {
        let piece = |i| (key(ROOT, XATTR, 3 * leaf + i), vec![0; 1300]);
        let mut items: Vec<_> = (0..3).map(piece).collect();
        if leaf == 0 {
            items.insert(0, top[0].clone());
        }
        let mut ptr = vec![0; 48];
        put(&mut ptr, 0, 200 + leaf);
        kids.push((items[0].0, ptr));
        forge.nodes.insert(200 + leaf, node_of(0, &items));
    }
    forge.nodes.insert(220, node_of(1, &kids));
    put(&mut forge.root, 16, 220);
    forge.log.clear();
    let mut v = opened(forge).unwrap();
    malformed(v.list_xattr(ROOT));
}

#[test]
fn a_mark_for_a_file_that_does_not_exist() {
    for ino in [999_999, u64::MAX] {
        let mut forge = Forge::sample();
        forge.each(|(key, _)| {
            if kind(key) == ORPHAN {
                put(key, 9, ino);
            }
        });
        // It stays, and is nobody's concern but the check's.
        let mut v = opened(forge).unwrap();
        v.commit().unwrap();
        let expected = format!("inode {ino} does not exist");
        assert!(fsck(&mut v).iter().any(|text| text.contains(&expected)));
    }
}

/// A record in the log for the file that the sample's log is about.
fn logged(size: u64, mode: Option<u32>, pieces: impl Iterator<Item = u64>) -> Forge {
    let mut forge = Forge::sample();
    let mut record = forge.log[0][3..51].to_vec();
    put(&mut record, 20, size);
    if let Some(mode) = mode {
        record[8..12].copy_from_slice(&mode.to_le_bytes());
    }
    // Attributes are 52 bytes.
    record.resize(52, 0);
    for offset in pieces {
        record.extend(offset.to_le_bytes());
        record.extend([1, 0, b'x']);
    }
    let mut chunks = record.chunks(4053).peekable();
    forge.log.clear();
    while let Some(part) = chunks.next() {
        let mut body = (part.len() as u16).to_le_bytes().to_vec();
        body.push(chunks.peek().is_none().into());
        body.extend(part);
        forge.log.push(body);
    }
    forge
}

#[test]
fn a_log_that_makes_no_sense() {
    assert!(opened(logged(70_000, None, [5].into_iter())).is_ok());
    malformed(opened(logged(u64::MAX, None, [].into_iter())).map(|_| ()));
    malformed(opened(logged(70_000, Some(DIR), [].into_iter())).map(|_| ()));
    // Eleven bytes each make a block in memory.
    let many = (0..4000).map(|i| i * B);
    malformed(opened(logged(4096 * 4096, None, many)).map(|_| ()));
}
