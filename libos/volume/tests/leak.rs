//! What the host sees of a volume: nothing of names and contents, no two blocks alike.

mod common;

use bastide_volume::{New, ROOT, SetXattr, Volume};
use common::*;
use std::collections::HashSet;

const NAME: &[u8] = b"a-name-that-nobody-may-see.txt";
const TEXT: &[u8] = b"These words are for the enclave only. ";
const ATTRIBUTE: &[u8] = b"an attribute of some importance";

/// Plants recognisable things of every kind.
fn plant(v: &mut Volume) {
    let new = New {
        mode: FILE,
        ..New::default()
    };
    for i in 0..60_u64 {
        let name = [NAME, i.to_string().as_bytes()].concat();
        let ino = v.create_file(ROOT, &name, &new).unwrap();
        let len = (i * i * 40) as usize;
        let text: Vec<u8> = TEXT.iter().copied().cycle().take(len).collect();
        assert_eq!(v.write(ino, 0, &text), Ok(len));
        v.set_xattr(ino, b"user.note", ATTRIBUTE, SetXattr::Any)
            .unwrap();
        v.fsync(ino).unwrap();
        v.write(ino, 0, TEXT).unwrap();
        v.fsync(ino).unwrap();
    }
    v.symlink(ROOT, b"link", NAME, &new).unwrap();
    v.commit().unwrap();
}

fn contains(image: &[u8], what: &[u8]) -> bool {
    image.windows(what.len()).any(|w| w == what)
}

fn wide(text: &[u8]) -> Vec<u8> {
    text.iter().flat_map(|b| [*b, 0]).collect()
}

#[test]
fn nothing_planted_is_found() {
    for compress in [false, true] {
        let disk = Disk::default();
        plant(&mut create_as(&disk, 16 << 20, compress));
        look_for_it(&disk.data());
    }
}

fn look_for_it(image: &[u8]) {
    for text in [NAME, TEXT, ATTRIBUTE, b"user.note", &KEY] {
        for piece in text.chunks(8).filter(|p| p.len() >= 5) {
            assert!(!contains(image, piece), "{}", piece.escape_ascii());
            assert!(!contains(image, &wide(piece)), "{}", piece.escape_ascii());
        }
    }
    // Compressed, or in any other shape that is not noise: bytes would not be evenly spread.
    for (n, block) in image.chunks_exact(BLOCK).enumerate().skip(4) {
        if block.iter().all(|b| *b == 0) {
            continue;
        }
        let mut counts = [0_u32; 256];
        block.iter().for_each(|b| counts[usize::from(*b)] += 1);
        let most = counts.iter().max().unwrap();
        assert!(*most < 50, "block {n}: a byte occurs {most} times");
    }
}

#[test]
fn equal_contents_are_not_alike() {
    let images = [(); 2].map(|()| {
        let disk = Disk::default();
        plant(&mut create(&disk, 16 << 20));
        disk.data()
    });
    // Within one volume, and between the two; but for what was never written.
    let mut seen = HashSet::new();
    for image in &images {
        for block in image.chunks(BLOCK).filter(|b| b.iter().any(|b| *b != 0)) {
            assert!(seen.insert(block.to_vec()) || is_header_copy(image, block));
        }
    }
}

/// The two copies of one header are equal.
fn is_header_copy(image: &[u8], block: &[u8]) -> bool {
    &image[..BLOCK] == block
}

#[test]
fn sizes_are_not_visible_beyond_the_total() {
    // One file of 64 KiB, and sixteen of 4 KiB: the same number of blocks, within the tree's.
    let lengths = [1, 16].map(|files| {
        let disk = Disk::default();
        let mut v = create(&disk, 16 << 20);
        for i in 0..files {
            let new = New {
                mode: FILE,
                ..New::default()
            };
            let name = format!("{i}");
            let ino = v.create_file(ROOT, name.as_bytes(), &new).unwrap();
            v.write(ino, 0, &vec![1; (64 << 10) / files]).unwrap();
        }
        v.commit().unwrap();
        disk.data().len()
    });
    assert!(lengths[0].abs_diff(lengths[1]) <= 4 * BLOCK, "{lengths:?}");
}

/// Compression tells how much there was to compress. FORMAT.md says so, and this is how it looks.
#[test]
fn compression_shows_in_the_length() {
    let length = |contents: &[u8], compress| {
        let disk = Disk::default();
        let mut v = create_as(&disk, 16 << 20, compress);
        let new = New {
            mode: FILE,
            ..New::default()
        };
        let ino = v.create_file(ROOT, b"f", &new).unwrap();
        v.write(ino, 0, contents).unwrap();
        v.commit().unwrap();
        disk.data().len()
    };
    let (plain, noise) = (vec![7; 1 << 20], Rng(1).bytes(1 << 20));
    assert_eq!(length(&plain, false), length(&noise, false));
    assert!(length(&plain, true) + 900_000 < length(&noise, true));
}
