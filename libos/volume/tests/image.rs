//! Images: what was sealed is what is read, and the host alters every block in turn, and knows the
//! key. The image is refused, or what was altered is an error, or it did not matter.

mod common;

use bastide_volume::image::{Draft, Hash, seal};
use bastide_volume::{
    Device, Error, Image, Kdf, New, Options, PUBLIC, ROOT, SIZE_MOST, SetXattr, Volume,
};
use common::*;

fn draft(disk: &Disk, key: &[u8; 32], kdf: Kdf) -> Volume {
    let device = Box::new(Draft(disk.clone()));
    Volume::create(device, SIZE_MOST, key, kdf, None, options()).unwrap()
}

fn add(v: &mut Volume, name: &str, data: &[u8]) -> u64 {
    let new = New {
        mode: FILE,
        ..New::default()
    };
    let ino = v.create_file(ROOT, name.as_bytes(), &new).unwrap();
    assert_eq!(v.write(ino, 0, data), Ok(data.len()));
    ino
}

fn sealed(volume: Volume, disk: &Disk) -> Hash {
    let (hash, len) = seal(volume, disk, &mut |_, _| {}).unwrap();
    disk.0.lock().unwrap().data.resize(len as usize, 0);
    hash
}

/// An image with files of several shapes: the file, and its root hash.
fn sample(seed: u64, key: &[u8; 32], kdf: Kdf) -> (Vec<u8>, Hash) {
    let disk = Disk::default();
    let mut v = draft(&disk, key, kdf);
    let mut rng = Rng(seed);
    for i in 0..48 {
        let len = [10, 900, 5000, 70_000][i % 4];
        let ino = add(&mut v, &format!("f{i}"), &rng.bytes(len));
        v.set_xattr(ino, b"user.n", &rng.bytes(20), SetXattr::Any)
            .unwrap();
    }
    let hash = sealed(v, &disk);
    (disk.data(), hash)
}

fn open_as(file: Vec<u8>, hash: Option<&Hash>, key: &[u8; 32]) -> Result<Volume, Error> {
    let image = Image::open(Box::new(Disk::with(file)), hash)?;
    Volume::open(Box::new(image), key, options())
}

#[test]
fn what_was_sealed_is_read_and_not_written() {
    for (key, kdf) in [(KEY, Kdf::Key), (PUBLIC, Kdf::Public)] {
        let (file, hash) = sample(1, &key, kdf);
        let mut v = open_as(file.clone(), Some(&hash), &key).unwrap();
        let f = v.lookup(ROOT, b"f3").unwrap();
        assert_eq!(read_all(&mut v, f).unwrap().len(), 70_000);
        assert_eq!(fsck(&mut v), [""; 0]);
        assert_eq!(v.write(f, 0, b"x"), Err(Error::ReadOnly));
        assert_eq!(v.unlink(ROOT, b"f3"), Err(Error::ReadOnly));
        assert!(v.is_read_only() && v.usage().free == 0);
        assert_eq!(v.usage().blocks * B, v_len(&file, &hash));
        drop(v);
        let wrong = open_as(file.clone(), Some(&hash), &[9; 32]).err();
        assert_eq!(wrong, Some(Error::WrongKey));
        // As anybody can compute it.
        let first = <sha2::Sha256 as sha2::Digest>::digest(&file[..BLOCK]);
        assert_eq!(first[..], hash);
    }
}

fn v_len(file: &[u8], hash: &Hash) -> u64 {
    let image = Image::open(Box::new(Disk::with(file.to_vec())), Some(hash)).unwrap();
    Device::len(&image).unwrap()
}

#[test]
fn only_the_image_of_the_root_hash_is_taken() {
    let (file, hash) = sample(1, &PUBLIC, Kdf::Public);
    // Who knows the key can make another image, and all its tags are right.
    let (other, other_hash) = sample(2, &PUBLIC, Kdf::Public);
    assert!(open_as(other.clone(), Some(&other_hash), &PUBLIC).is_ok());
    assert!(open_as(other.clone(), None, &PUBLIC).is_ok());
    let refused = |file: &[u8], hash: &Hash| open_as(file.to_vec(), Some(hash), &PUBLIC).err();
    assert_eq!(refused(&other, &hash), Some(Error::RootHash));
    for bit in 0..256 {
        let mut wrong = hash;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(refused(&file, &wrong), Some(Error::RootHash));
    }
    // Every bit that says something in the first block, and the rest of it.
    for bit in (0..64 * 8).chain((64 * 8..BLOCK * 8).step_by(999)) {
        let mut altered = file.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let e = refused(&altered, &hash).unwrap();
        let told = matches!(
            e,
            Error::RootHash | Error::NotAnImage | Error::Version { .. }
        );
        assert!(told, "bit {bit}: {e:?}");
    }
    // The other image's first block before this one's rest, and the other way round.
    let mixed = [&other[..BLOCK], &file[BLOCK..]].concat();
    assert!(refused(&mixed, &other_hash).is_some());
    assert_eq!(refused(&mixed, &hash), Some(Error::RootHash));
}

#[test]
fn every_block_in_turn() {
    let (file, hash) = sample(1, &PUBLIC, Kdf::Public);
    let (other, _) = sample(2, &PUBLIC, Kdf::Public);
    let whole = dump(&mut open_as(file.clone(), Some(&hash), &PUBLIC).unwrap()).unwrap();
    let mut rng = Rng(3);
    let blocks = file.len() / BLOCK;
    assert!(blocks > 200, "the tree has two levels");
    let mut caught = [0; 4];
    for n in 0..blocks {
        let at = n * BLOCK;
        let was = file[at..at + BLOCK].to_vec();
        let mut flipped = was.clone();
        flipped[rng.below(B) as usize] ^= 1 << rng.below(8);
        let another = (rng.below(blocks as u64) as usize) * BLOCK;
        let moved = file[another..another + BLOCK].to_vec();
        let foreign = other.get(at..at + BLOCK).unwrap_or(&moved).to_vec();
        for (i, with) in [flipped, moved, foreign, vec![0; BLOCK]]
            .into_iter()
            .enumerate()
        {
            if with == was {
                continue;
            }
            let mut altered = file.clone();
            put(&mut altered, at as u64, &with);
            let image = match Image::open(Box::new(Disk::with(altered)), Some(&hash)) {
                Ok(image) => image,
                Err(e) => {
                    let told = matches!(
                        e,
                        Error::Damaged { block } if block == n as u64
                    );
                    assert!(told || n == 0, "block {n}: {e:?}");
                    caught[i] += 1;
                    continue;
                }
            };
            if i == 0 {
                let wrong = image.verify(&mut |_, _| {});
                let wrong: Vec<_> = wrong.into_iter().map(Error::from).collect();
                assert_eq!(wrong, [Error::Damaged { block: n as u64 }]);
            }
            match Volume::open(Box::new(image), &PUBLIC, options()).and_then(|mut v| dump(&mut v)) {
                Ok(seen) => assert_eq!(seen, whole, "block {n}, {i}"),
                Err(e) => {
                    caught[i] += 1;
                    let refused = is_io(&e) || matches!(e, Error::NoRoot | Error::NotAVolume);
                    assert!(refused, "block {n}, {i}: {e:?}");
                }
            }
        }
        let cut = at + rng.below(B) as usize;
        let e = open_as(file[..cut].to_vec(), Some(&hash), &PUBLIC).err();
        let told = matches!(e, Some(Error::Truncated { .. } | Error::NotAnImage));
        assert!(told, "cut at {cut}: {e:?}");
    }
    println!("caught: {caught:?} of {blocks} blocks");
    assert!(caught.iter().all(|n| *n > blocks / 2), "{caught:?}");
}

#[test]
fn a_large_image_is_read_piece_by_piece() {
    let disk = Disk::default();
    let mut v = draft(&disk, &KEY, Kdf::Key);
    let mut rng = Rng(4);
    // Beyond 64 MiB the tree has three levels.
    let data = rng.bytes(66 << 20);
    let f = add(&mut v, "large", &data);
    let hash = sealed(v, &disk);
    let mut v = open_as(disk.data(), Some(&hash), &KEY).unwrap();
    for _ in 0..300 {
        let at = rng.below(data.len() as u64 - 300_000) as usize;
        let mut piece = vec![0; rng.below(300_000) as usize];
        assert_eq!(v.read(f, at as u64, &mut piece), Ok(piece.len()));
        assert!(piece == data[at..at + piece.len()]);
    }
    assert_eq!(fsck(&mut v), [""; 0]);
    // A block of each level.
    let file = disk.data();
    let blocks = file.len() / BLOCK;
    for (n, opens) in [
        (5000, true),
        (blocks - 10, true),
        (blocks - 2, false),
        (blocks - 1, false),
    ] {
        let mut altered = file.clone();
        altered[n * BLOCK + 9] ^= 1;
        let image = Image::open(Box::new(Disk::with(altered)), Some(&hash));
        let block = n as u64;
        match image {
            Ok(image) => {
                assert!(opens, "block {n}");
                let wrong = image.verify(&mut |_, _| {});
                let wrong: Vec<_> = wrong.into_iter().map(Error::from).collect();
                assert_eq!(wrong, [Error::Damaged { block }]);
            }
            Err(e) => assert_eq!((e, opens), (Error::Damaged { block }, false)),
        }
    }
}

#[test]
fn a_volume_without_a_key_is_an_image_or_nothing() {
    let disk = Disk::default();
    let made = Volume::create(
        Box::new(disk.clone()),
        1 << 20,
        &PUBLIC,
        Kdf::Public,
        None,
        options(),
    );
    drop(made.unwrap());
    for read_only in [true, false] {
        let options = Options {
            read_only,
            ..options()
        };
        let opened = Volume::open(Box::new(disk.clone()), &PUBLIC, options);
        assert_eq!(opened.err(), Some(Error::Public));
    }
    // An image's file is no volume, and a volume's no image.
    let (file, hash) = sample(1, &KEY, Kdf::Key);
    assert_eq!(open(&Disk::with(file)).err(), Some(Error::NoRoot));
    let plain = Disk::default();
    drop(create(&plain, 1 << 20));
    for expected in [None, Some(&hash)] {
        let opened = Image::open(Box::new(plain.clone()), expected);
        assert_eq!(opened.err(), Some(Error::NotAnImage));
    }
}

#[test]
fn sealing_that_was_cut_short_leaves_no_image() {
    let disk = Disk::default();
    let mut v = draft(&disk, &KEY, Kdf::Key);
    add(&mut v, "f", &[1; 90_000]);
    v.commit().unwrap();
    disk.record();
    let before = disk.data();
    let hash = sealed(v, &disk);
    let events = disk.0.lock().unwrap().events.take().unwrap();
    let mut file = before;
    // The last write is the first block's, and a flush comes before it.
    let writes: Vec<_> = (events.iter().enumerate())
        .filter_map(|(i, e)| matches!(e, Event::Write(..)).then_some(i))
        .collect();
    let last = *writes.last().unwrap();
    assert!(matches!(events[last - 1], Event::Flush));
    for event in events {
        assert!(open_as(file.clone(), Some(&hash), &KEY).is_err());
        if let Event::Write(offset, data) = event {
            put(&mut file, offset, &data);
            if offset == 0 {
                break;
            }
        }
    }
    assert!(open_as(file, Some(&hash), &KEY).is_ok());
}
