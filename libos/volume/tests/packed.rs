//! Volumes that compress contents: what it saves, what becomes of packed blocks that are overwritten
//! in part, and that a volume that does not compress is as it always was.

mod common;

use bastide_volume::image::{Draft, seal};
use bastide_volume::{Error, Header, Image, Kdf, Limits, Options, ROOT, Volume};
use common::*;

fn packing(disk: &Disk) -> Volume {
    create_as(disk, 16 << 20, true)
}

/// What can be compressed well, and differs from block to block.
fn text(len: usize) -> Vec<u8> {
    let line = |i: usize| format!("line {i} of a text that is much like all of its others\n");
    (0..).flat_map(|i| line(i).into_bytes()).take(len).collect()
}

/// Blocks that the volume will have in use.
fn used(v: &mut Volume) -> u64 {
    v.commit().unwrap();
    v.commit().unwrap();
    let report = v.fsck(true, &mut |_, _| {}).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    report.blocks
}

#[test]
fn text_takes_less_and_noise_no_more() {
    let disk = Disk::default();
    let mut v = packing(&disk);
    let empty = used(&mut v);
    let (text, noise) = (text(1 << 20), Rng(1).bytes(1 << 20));
    let f = v.create_file(ROOT, b"text", &NEW).unwrap();
    assert_eq!(v.write(f, 0, &text), Ok(text.len()));
    v.commit().unwrap();
    let packed = v.packing().unwrap();
    assert_eq!(packed.contents, 256);
    assert!(packed.stored < 256 / 3, "{packed:?}");
    assert_eq!(v.stat(f).unwrap().blocks, packed.stored);
    let after = used(&mut v);
    assert!(after - empty < packed.stored + 8);
    let g = v.create_file(ROOT, b"noise", &NEW).unwrap();
    assert_eq!(v.write(g, 0, &noise), Ok(noise.len()));
    v.commit().unwrap();
    assert_eq!(v.stat(g).unwrap().blocks, 256);
    // As long extents as without compression: the tree does not grow for nothing.
    assert!(used(&mut v) - after < 256 + 8);
    let mut v = open(&disk).unwrap();
    assert!(v.packs());
    assert_eq!(read_all(&mut v, f).unwrap(), text);
    assert_eq!(read_all(&mut v, g).unwrap(), noise);
    for (at, len) in [
        (0, 1),
        (4095, 2),
        (65_535, 2),
        (70_000, 200_000),
        (1 << 20, 1),
    ] {
        let mut buf = vec![0; len];
        let n = v.read(f, at as u64, &mut buf).unwrap();
        assert_eq!(buf[..n], text[at..(at + len).min(text.len())]);
    }
    for name in [&b"text"[..], b"noise"] {
        v.unlink(ROOT, name).unwrap();
    }
    assert_eq!(used(&mut v), empty);
}

#[test]
fn what_is_overwritten_in_part_goes_with_its_last_part() {
    let disk = Disk::default();
    let mut v = packing(&disk);
    let f = v.create_file(ROOT, b"f", &NEW).unwrap();
    v.commit().unwrap();
    let empty = used(&mut v);
    let mut expected = text(16 * BLOCK);
    v.write(f, 0, &expected).unwrap();
    v.commit().unwrap();
    let stored = v.stat(f).unwrap().blocks;
    assert!((2..8).contains(&stored), "{stored}");
    // From the middle to the ends, and some in one piece: a block each, and the packed ones stay.
    let order = [7, 8, 3, 15, 0, 1, 2, 4, 5, 6, 9, 10, 11, 12, 14];
    for (n, at) in (1..).zip(order) {
        let data = Rng(at).bytes(BLOCK);
        expected[at as usize * BLOCK..][..BLOCK].copy_from_slice(&data);
        v.write(f, at * B, &data).unwrap();
        v.commit().unwrap();
        assert_eq!(v.stat(f).unwrap().blocks, stored + n, "after {at}");
        assert_eq!(fsck(&mut v), Vec::<String>::new());
        v = open(&disk).unwrap();
        assert_eq!(read_all(&mut v, f).unwrap(), expected);
        let packing = v.packing().unwrap();
        assert_eq!((packing.contents, packing.stored), (16, stored + n));
    }
    // Of what was packed, the last goes, by a hole.
    v.punch(f, 13 * B, B).unwrap();
    expected[13 * BLOCK..14 * BLOCK].fill(0);
    v.commit().unwrap();
    assert_eq!(v.stat(f).unwrap().blocks, 15);
    assert_eq!(read_all(&mut v, f).unwrap(), expected);
    // A cut leaves a part of what is packed, and that stays until the next.
    v.write(f, 0, &text(16 * BLOCK)).unwrap();
    v.commit().unwrap();
    set_size(&mut v, f, 5000).unwrap();
    v.commit().unwrap();
    assert_eq!(v.stat(f).unwrap().blocks, stored + 1);
    assert_eq!(read_all(&mut v, f).unwrap(), text(5000));
    set_size(&mut v, f, 9 * B).unwrap();
    assert!(read_all(&mut v, f).unwrap()[5000..].iter().all(|b| *b == 0));
    set_size(&mut v, f, 4096).unwrap();
    v.commit().unwrap();
    assert_eq!(v.stat(f).unwrap().blocks, stored);
    assert_eq!(read_all(&mut v, f).unwrap(), text(4096));
    set_size(&mut v, f, 0).unwrap();
    assert_eq!(used(&mut v), empty);
}

#[test]
fn the_log_holds_what_is_not_packed_yet() {
    let disk = Disk::default();
    let mut v = packing(&disk);
    let f = v.create_file(ROOT, b"f", &NEW).unwrap();
    let mut expected = text(40 * BLOCK);
    v.write(f, 0, &expected).unwrap();
    v.commit().unwrap();
    let generation = v.usage().generation;
    expected[9 * BLOCK + 5..9 * BLOCK + 8].copy_from_slice(b"new");
    v.write(f, 9 * B + 5, b"new").unwrap();
    v.fsync(f).unwrap();
    assert_eq!(v.usage().generation, generation, "logged");
    let mut v = open(&Disk::with(disk.data())).unwrap();
    assert_eq!(read_all(&mut v, f).unwrap(), expected);
    assert_eq!(fsck(&mut v), Vec::<String>::new());
}

#[test]
fn a_damaged_block_fails_what_is_packed_with_it() {
    let disk = Disk::default();
    let mut v = packing(&disk);
    let f = v.create_file(ROOT, b"f", &NEW).unwrap();
    v.commit().unwrap();
    let before = disk.data();
    v.write(f, 0, &text(32 * BLOCK)).unwrap();
    v.commit().unwrap();
    let after = disk.data();
    let mut damaged = 0;
    for at in (4 * BLOCK..after.len()).step_by(BLOCK) {
        if before.get(at..at + BLOCK) == after.get(at..at + BLOCK) {
            continue;
        }
        let mut altered = after.clone();
        altered[at + 100] ^= 4;
        let disk = Disk::with(altered);
        let Ok(mut v) = open(&disk) else {
            continue;
        };
        // Of the two clusters one is whole.
        let mut buf = vec![0; BLOCK];
        let read = [3 * B, 30 * B].map(|at| v.read(f, at, &mut buf));
        if read.iter().filter(|r| r.is_ok()).count() == 1 {
            assert!(matches!(fsck(&mut v)[..], [ref one] if one.contains("does not hold")));
            damaged += 1;
        }
    }
    assert_eq!(damaged as u64, v.stat(f).unwrap().blocks);
}

#[test]
fn the_header_says_that_there_is_compression_and_it_is_authentic() {
    let disk = Disk::default();
    drop(packing(&disk));
    let image = disk.data();
    let header = Header::read(&disk, 0).unwrap();
    assert!(header.packs);
    let altered = |bit: usize| {
        let mut image = image.clone();
        for copy in [0, BLOCK] {
            image[copy + 8 + bit / 8] ^= 1 << (bit % 8);
        }
        open(&Disk::with(image)).err()
    };
    // It is not taken away unnoticed.
    assert_eq!(altered(16), Some(Error::WrongKey));
    for bit in 17..32 {
        let unknown = 1 << (bit - 16);
        assert_eq!(altered(bit), Some(Error::Features { unknown }));
    }
    assert!(matches!(altered(1), Some(Error::Version { found: 3 })));
    // Another key, and still compressed.
    let mut v = open(&disk).unwrap();
    v.rekey(&[5; 32], Kdf::Key, None).unwrap();
    drop(v);
    let v = Volume::open(Box::new(disk.clone()), &[5; 32], options()).unwrap();
    assert!(v.packs() && Header::read(&disk, 1).unwrap().packs);
}

#[test]
fn an_image_can_be_compressed() {
    let lengths = [false, true].map(|compress| {
        let disk = Disk::default();
        let options = Options {
            compress,
            ..options()
        };
        let draft = Box::new(Draft(disk.clone()));
        let mut v = Volume::create(draft, 1 << 30, &KEY, Kdf::Key, None, options).unwrap();
        let f = v.create_file(ROOT, b"f", &NEW).unwrap();
        v.write(f, 0, &text(1 << 20)).unwrap();
        let (hash, len) = seal(v, &disk, &mut |_, _| {}).unwrap();
        let image = Image::open(Box::new(disk), Some(&hash)).unwrap();
        let mut v = Volume::open(Box::new(image), &KEY, common::options()).unwrap();
        assert_eq!(read_all(&mut v, f).unwrap(), text(1 << 20));
        assert_eq!(fsck(&mut v), Vec::<String>::new());
        len
    });
    assert!(lengths[1] < lengths[0] / 3, "{lengths:?}");
}

#[test]
fn a_full_volume_of_packed_blocks_can_be_emptied() {
    let disk = Disk::default();
    let mut v = create_as(&disk, 1 << 20, true);
    let (mut rng, mut files) = (Rng(4), Vec::new());
    'full: for i in 0..200 {
        let Ok(f) = v.create_file(ROOT, format!("f{i}").as_bytes(), &NEW) else {
            break;
        };
        let data = text(20 * BLOCK);
        if v.write(f, 0, &data) != Ok(data.len()) {
            break;
        }
        files.push((f, data));
        // Small changes, that leave parts of what is packed behind.
        for _ in 0..rng.below(4) {
            let at = rng.below(19) as usize * BLOCK + 77;
            if v.write(f, at as u64, b"changed") != Ok(7) {
                break 'full;
            }
            files.last_mut().unwrap().1[at..at + 7].copy_from_slice(b"changed");
        }
    }
    assert!(files.len() > 10);
    v.commit().unwrap();
    let mut v = open(&disk).unwrap();
    for (f, data) in &files {
        assert_eq!(read_all(&mut v, *f).unwrap(), *data);
    }
    for i in 0..=files.len() {
        let _ = v.unlink(ROOT, format!("f{i}").as_bytes());
    }
    let left = used(&mut v);
    assert!(left < 40, "{left}");
}

#[test]
fn without_compression_all_is_as_before_there_was_any() {
    let disk = Disk::default();
    let mut v = create(&disk, 16 << 20);
    let f = v.create_file(ROOT, b"f", &NEW).unwrap();
    v.write(f, 0, &text(1 << 20)).unwrap();
    v.commit().unwrap();
    let packing = v.packing().unwrap();
    assert_eq!((packing.contents, packing.stored), (256, 256));
    assert_eq!(disk.data()[8..16], [1, 0, 0, 0, 12, 0, 0, 0]);
}

#[test]
fn what_is_packed_is_opened_once_by_who_reads_many_parts_of_it() {
    let disk = Disk::default();
    let mut v = packing(&disk);
    let f = v.create_file(ROOT, b"f", &NEW).unwrap();
    let mut expected = text(64 * BLOCK);
    v.write(f, 0, &expected).unwrap();
    v.commit().unwrap();
    let stored = v.packing().unwrap().stored as usize;
    // Every second block is another now, by itself.
    for at in (1..64).step_by(2) {
        let data = Rng(at).bytes(BLOCK);
        expected[at as usize * BLOCK..][..BLOCK].copy_from_slice(&data);
        v.write(f, at * B, &data).unwrap();
        v.commit().unwrap();
    }
    let limits = Limits {
        contents: 1024,
        ..Limits::default()
    };
    let mut v = open_within(&disk, limits);
    let mut buf = vec![0; 64 * BLOCK];
    for (at, len) in [(0, 64 * BLOCK), (3 * BLOCK - 1, 10 * BLOCK), (BLOCK, 1)] {
        let buf = &mut buf[..len];
        v.drop_cache();
        // Nodes are at hand.
        v.seek(f, 0, false).unwrap();
        disk.reads();
        assert_eq!(v.read(f, at as u64, buf), Ok(len));
        assert!(buf == &expected[at..at + len], "{at}");
        let (_, bytes) = disk.reads();
        assert!(bytes <= (stored + 32) * BLOCK, "{at}: {bytes}");
    }
    // A read that straddles two of them keeps what it needs of both.
    v.drop_cache();
    v.seek(f, 0, false).unwrap();
    let n = 2 * BLOCK;
    assert_eq!(v.read(f, 15 * B, &mut buf[..n]), Ok(n));
    disk.fail_reads(Some((1, Rng(0))));
    for at in [14, 15, 16, 18, 30] {
        let read = v.read(f, at * B, &mut buf[..BLOCK]);
        let known = at != 14;
        assert_eq!(read.is_ok(), known, "{at}");
    }
}
