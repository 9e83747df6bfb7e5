//! The host fails now and then: a read, a write, a flush, or it has no room. Only what was asked for
//! fails, nothing is lost, and a volume that cannot know what is on disk can still be read.

mod common;

use bastide_volume::{DeviceError, Error, Limits, New, ROOT, Rename, SetXattr};
use bastide_volume::{Result, Volume, mode};
use common::model::{Both, Did, Model, Shape};
use common::*;

/// Opens a volume that keeps next to nothing in memory, so that it reads a lot.
fn open_small(disk: &Disk) -> Volume {
    let limits = Limits {
        nodes: 16,
        ..Limits::default()
    };
    open_within(disk, limits)
}

/// One random operation, a single step each.
fn operation(v: &mut Volume, rng: &mut Rng) -> Result<()> {
    let name = |rng: &mut Rng| format!("n{}", rng.below(300)).into_bytes();
    let (a, b) = (name(rng), name(rng));
    match rng.below(11) {
        0 | 1 => v.create_file(ROOT, &a, &NEW).map(drop),
        2 => {
            let new = New { mode: DIR, ..NEW };
            v.create_file(ROOT, &a, &new).map(drop)
        }
        3 => v.unlink(ROOT, &a),
        4 => v.rmdir(ROOT, &a),
        5 => v.rename(ROOT, &a, ROOT, &b, Rename::Replace),
        6 => v.rename(ROOT, &a, ROOT, &b, Rename::Exchange),
        7 => v
            .symlink(ROOT, &a, &vec![b'x'; 1 + rng.below(3000) as usize], &NEW)
            .map(drop),
        8 => {
            let ino = v.lookup(ROOT, &a)?;
            v.link(ROOT, &b, ino)
        }
        9 => {
            let ino = v.lookup(ROOT, &a)?;
            let value = rng.bytes(3000);
            v.set_xattr(ino, b"user.x", &value, SetXattr::Any)
        }
        _ => {
            let ino = v.lookup(ROOT, &a)?;
            let (at, len) = (rng.below(20_000), rng.below(9000));
            v.write(ino, at, &rng.contents(len as usize)).map(drop)
        }
    }
}

#[test]
fn a_read_that_fails_fails_its_operation_only() {
    let mut failed = 0;
    for seed in 0..6 {
        let disk = Disk::default();
        let mut v = create_as(&disk, 16 << 20, seed % 2 == 1);
        let mut rng = Rng(seed);
        for _ in 0..900 {
            let _ = operation(&mut v, &mut rng);
        }
        v.commit().unwrap();
        let mut v = open_small(&disk);
        for step in 0..250 {
            let before = dump(&mut v).unwrap();
            v.drop_cache();
            disk.fail_reads(Some((2 + seed * 2, Rng(rng.next()))));
            let done = operation(&mut v, &mut rng);
            disk.fail_reads(None);
            if matches!(done, Err(Error::Device(_))) {
                failed += 1;
                assert!(dump(&mut v).unwrap() == before, "seed {seed} step {step}");
            }
            // A write that is cut short may have changed blocks, and a commit ends a transaction.
            if step % 10 == 9 {
                disk.fail_reads(Some((4, Rng(rng.next()))));
                v.drop_cache();
                let _ = v.commit();
                disk.fail_reads(None);
            }
            if step % 50 == 49 {
                assert_eq!(
                    fsck(&mut v),
                    Vec::<String>::new(),
                    "seed {seed} step {step}"
                );
            }
        }
        v.commit().unwrap();
        let last = dump(&mut v).unwrap();
        drop(v);
        let mut v = open(&disk).unwrap();
        assert_eq!(dump(&mut v).unwrap(), last, "seed {seed}");
        assert_eq!(fsck(&mut v), Vec::<String>::new(), "seed {seed}");
    }
    assert!(failed > 200, "{failed} operations failed");
}

/// Makes every write and flush of a commit (or of `fsync`) fail in turn.
#[test]
fn every_write_that_fails_can_be_made_good() {
    let (mut retried, mut stopped) = (0, 0);
    for seed in 0..40 {
        let disk = Disk::default();
        let mut both = Both {
            volume: create_as(&disk, 4 << 20, seed / 2 % 2 == 1),
            model: Model::default(),
            held: Vec::new(),
            rng: Rng(seed),
            shape: Shape {
                write: 30_000,
                file: 200_000,
                names: 12,
            },
        };
        let error = match seed % 2 {
            0 => DeviceError::Full,
            _ => DeviceError::Failed,
        };
        for n in 0.. {
            both.volume.commit().unwrap();
            let durable = both.model.dump();
            let generation = both.volume.usage().generation;
            let mut others = false;
            for _ in 0..1 + both.rng.below(30) {
                others |= both.step() != Did::Change;
            }
            others |= both.volume.usage().generation != generation;
            let wanted = both.model.dump();
            let synced = both.volume.lookup(ROOT, b"n1").ok().filter(|_| n % 3 == 0);
            disk.0.lock().unwrap().fails_after = Some((n / 2, error));
            let done = match synced {
                Some(ino) => both.volume.fsync(ino),
                None => both.volume.commit(),
            };
            let hit = disk.0.lock().unwrap().fails_after.take().is_none();
            assert_eq!(done.is_err(), hit, "seed {seed} fault {n}: {done:?}");
            // Whatever happened, everything is there to be read.
            let seen = dump(&mut both.volume).unwrap();
            assert!(seen == wanted, "seed {seed} fault {n}");
            if !hit {
                if n > 60 {
                    break;
                }
                continue;
            }
            assert_eq!(done, Err(Error::Device(error)));
            let again = both.volume.commit();
            if again == Err(Error::Stopped) {
                stopped += 1;
                let new = both.volume.create_file(ROOT, b"new", &NEW);
                assert_eq!(new, Err(Error::Stopped));
                assert!(dump(&mut both.volume).unwrap() == wanted);
                // What is on disk is one of the two, unless more was made durable in between.
                let mut v = open(&Disk::with(disk.data())).unwrap();
                let seen = dump(&mut v).unwrap();
                let known = seen == durable || seen == wanted;
                assert!(known || others || synced.is_some(), "seed {seed} fault {n}");
                assert_eq!(fsck(&mut v), Vec::<String>::new());
                break;
            }
            again.unwrap();
            retried += 1;
            let mut v = open(&Disk::with(disk.data())).unwrap();
            let mut named = both.model.clone();
            named.0.retain(|_, node| node.nlink > 0);
            assert!(
                dump(&mut v).unwrap() == named.dump(),
                "seed {seed} fault {n}"
            );
            assert_eq!(fsck(&mut v), Vec::<String>::new(), "seed {seed} fault {n}");
        }
    }
    assert!(retried > 40 && stopped > 10, "{retried} {stopped}");
}

#[test]
fn a_host_without_room_refuses_and_nothing_is_lost() {
    let disk = Disk::default();
    let mut v = create(&disk, 64 << 20);
    let keep = v.create_file(ROOT, b"keep", &NEW).unwrap();
    let kept = vec![3; 700_000];
    assert_eq!(v.write(keep, 0, &kept), Ok(kept.len()));
    v.commit().unwrap();
    let end = disk.data().len() as u64;
    disk.0.lock().unwrap().room = Some(end + (4 << 20));
    let big = v.create_file(ROOT, b"big", &NEW).unwrap();
    let piece = vec![4; 256 << 10];
    let mut written = 0;
    let refused = loop {
        match v.write(big, written, &piece) {
            Ok(n) => written += n as u64,
            Err(e) => break e,
        }
        assert!(written < 40 << 20, "it takes more than there is room for");
    };
    assert_eq!(refused, Error::Device(DeviceError::Full));
    // What was accepted is there, and so is all else; but it cannot be made durable.
    assert_eq!(read_all(&mut v, big).unwrap(), vec![4; written as usize]);
    assert_eq!(read_all(&mut v, keep).unwrap(), kept);
    assert_eq!(v.commit(), Err(Error::Device(DeviceError::Full)));
    assert!(v.is_dirty());
    // Deleting helps, and then all goes on.
    v.unlink(ROOT, b"big").unwrap();
    v.commit().unwrap();
    let other = v.create_file(ROOT, b"other", &NEW).unwrap();
    assert_eq!(v.write(other, 0, &piece), Ok(piece.len()));
    v.fsync(other).unwrap();
    let mut v = open(&disk).unwrap();
    assert_eq!(read_all(&mut v, keep).unwrap(), kept);
    assert_eq!(read_all(&mut v, other).unwrap(), piece);
    assert_eq!(fsck(&mut v), Vec::<String>::new());
}

#[test]
fn what_is_known_of_freed_blocks_is_bounded() {
    let disk = Disk::default();
    let mut v = create(&disk, 64 << 20);
    let ino = v.create_file(ROOT, b"f", &NEW).unwrap();
    v.write(ino, 0, &vec![1; 40 << 20]).unwrap();
    v.commit().unwrap();
    drop(v);
    let limits = Limits {
        changed: 40,
        ..Limits::default()
    };
    let mut v = open_within(&disk, limits);
    let before = v.usage().generation;
    // More than ten thousand blocks, in less than forty nodes.
    v.unlink(ROOT, b"f").unwrap();
    assert!(v.usage().generation > before);
    v.commit().unwrap();
    assert_eq!(fsck(&mut v), Vec::<String>::new());
}

/// Whatever of a file is damaged that was to be removed: the others are there.
#[test]
fn what_cannot_be_removed_does_not_keep_a_volume_from_being_opened() {
    let disk = Disk::default();
    let mut v = create(&disk, 4 << 20);
    let keep = v.create_file(ROOT, b"keep", &NEW).unwrap();
    v.write(keep, 0, &[9; 3000]).unwrap();
    let gone = v.create_file(ROOT, b"gone", &NEW).unwrap();
    for at in 0..300 {
        v.write(gone, 2 * at * B, &[7; BLOCK]).unwrap();
    }
    v.hold(gone);
    v.unlink(ROOT, b"gone").unwrap();
    v.commit().unwrap();
    drop(v);
    let image = disk.data();
    let (mut opened, mut left) = (0, 0);
    for block in 4..image.len() / BLOCK {
        let mut altered = image.clone();
        altered[block * BLOCK + 50] ^= 1;
        let disk = Disk::with(altered);
        let Ok(mut v) = open(&disk) else {
            continue;
        };
        opened += 1;
        let not_removed = v.usage().inodes == 3;
        let works = (v.create_file(ROOT, b"new", &NEW))
            .and_then(|new| v.write(new, 0, &[1; 5000]))
            .and_then(|_| v.commit());
        if not_removed && works.is_ok() && read_all(&mut v, keep).is_ok() {
            left += 1;
        }
    }
    // There are some nodes with extents only, and many blocks of contents.
    assert!(opened > 300 && left > 2, "{opened} {left}");
}

#[test]
fn a_damaged_block_fails_who_reads_it() {
    let disk = Disk::default();
    let mut v = create(&disk, 4 << 20);
    let ino = v.create_file(ROOT, b"f", &NEW).unwrap();
    v.write(ino, 0, &vec![1; 40 * BLOCK]).unwrap();
    let other = v.create_file(ROOT, b"g", &NEW).unwrap();
    v.commit().unwrap();
    let image = disk.data();
    v.write(ino, 0, &vec![2; 40 * BLOCK]).unwrap();
    let changed: Vec<usize> = {
        v.commit().unwrap();
        let now = disk.data();
        (4..now.len() / BLOCK)
            .filter(|n| {
                now.get(n * BLOCK..(n + 1) * BLOCK) != image.get(n * BLOCK..(n + 1) * BLOCK)
            })
            .collect()
    };
    let data = disk.data();
    let mut damaged = 0;
    for block in changed {
        disk.0.lock().unwrap().data[block * BLOCK + 9] ^= 1;
        v.drop_cache();
        let read = v.read(ino, 0, &mut vec![0; 40 * BLOCK]);
        if matches!(read, Err(Error::Damaged { .. })) {
            damaged += 1;
        }
        disk.0.lock().unwrap().data.clone_from(&data);
        assert_eq!(v.read(ino, 0, &mut vec![0; 40 * BLOCK]), Ok(40 * BLOCK));
        v.write(other, 0, &[block as u8; 2000]).unwrap();
    }
    assert!(damaged >= 40, "{damaged}");
    set_size(&mut v, ino, 0).unwrap();
    v.commit().unwrap();
    assert_eq!(v.inode(ino).unwrap().kind(), mode::FILE);
    assert_eq!(fsck(&mut v), Vec::<String>::new());
}

/// A cut, a hole or a write that changes blocks in memory before it meets what it cannot read.
#[test]
fn what_fails_halfway_is_taken_back() {
    let mut failed = [0; 3];
    for compress in [false, true] {
        let disk = Disk::default();
        let mut v = create_as(&disk, 4 << 20, compress);
        let mut rng = Rng(3);
        let ino = v.create_file(ROOT, b"f", &NEW).unwrap();
        for at in 0..200 {
            v.write(ino, 3 * at * B, &rng.contents(2 * BLOCK)).unwrap();
        }
        v.write(ino, 600 * B, b"the end").unwrap();
        v.commit().unwrap();
        let mut before = read_all(&mut v, ino).unwrap();
        let image = disk.data();
        // Whatever block cannot be read.
        for bad in 4..image.len() / BLOCK {
            for (what, failed) in failed.iter_mut().enumerate() {
                let mut v = open_small(&disk);
                for at in [0, 90, 300] {
                    v.write(ino, at * B + 7, b"in memory").unwrap();
                    before[at as usize * BLOCK + 7..][..9].copy_from_slice(b"in memory");
                }
                v.drop_cache();
                disk.0.lock().unwrap().bad = bad * BLOCK..bad * BLOCK + 1;
                let done = match what {
                    0 => set_size(&mut v, ino, [0, 90, 300][bad % 3] * B + 1),
                    1 => v.punch(ino, 510 * B + bad as u64 % 80 * B, 99 * B),
                    _ => v.write(ino, 8, &[8; 3 * BLOCK]).map(drop),
                };
                disk.0.lock().unwrap().bad = 0..0;
                if done.is_err() {
                    *failed += 1;
                    let after = read_all(&mut v, ino).unwrap();
                    assert!(after == before, "block {bad}, {what}");
                }
                // Nothing was made durable, and so the next begins with the same.
                assert!(disk.data() == image);
            }
        }
    }
    assert!(failed.iter().all(|n| *n > 1), "{failed:?}");
}

#[test]
fn a_write_that_fails_later_on_says_how_much_it_wrote() {
    let disk = Disk::default();
    let mut v = create(&disk, 4 << 20);
    let ino = v.create_file(ROOT, b"f", &NEW).unwrap();
    v.write(ino, 0, &vec![1; 65 * BLOCK]).unwrap();
    v.commit().unwrap();
    v.drop_cache();
    v.write(ino, 65 * B, b"in memory").unwrap();
    disk.fail_reads(Some((1, Rng(0))));
    // The last block is changed in part, and so it is read.
    let data = vec![2; 64 * BLOCK + 10];
    assert_eq!(v.write(ino, 0, &data), Ok(64 * BLOCK));
    let rest = v.write(ino, 64 * B, &data[64 * BLOCK..]);
    assert_eq!(rest, Err(Error::Device(DeviceError::Failed)));
    disk.fail_reads(None);
    let seen = read_all(&mut v, ino).unwrap();
    assert!(seen[..64 * BLOCK] == data[..64 * BLOCK] && seen[64 * BLOCK..65 * BLOCK] == [1; BLOCK]);
    assert_eq!(fsck(&mut v), Vec::<String>::new());
}

/// Nobody else pays for a file of which the places of blocks cannot be read.
#[test]
fn what_is_written_to_a_damaged_file_does_not_keep_others_from_being_durable() {
    for compress in [false, true] {
        let disk = Disk::default();
        let mut v = create_as(&disk, 4 << 20, compress);
        let other = v.create_file(ROOT, b"other", &NEW).unwrap();
        let ino = v.create_file(ROOT, b"f", &NEW).unwrap();
        for at in 0..200 {
            v.write(ino, 3 * at * B, &[1; 2 * BLOCK]).unwrap();
        }
        v.commit().unwrap();
        let image = disk.data();
        let (mut refused, mut accepted) = (0, 0);
        for bad in 4..image.len() / BLOCK {
            let mut altered = image.clone();
            altered[bad * BLOCK + 9] ^= 1;
            let disk = Disk::with(altered);
            let Ok(mut v) = open(&disk) else {
                continue;
            };
            let writes: Vec<_> = (0..620)
                .map(|at| v.write(ino, at * B, &[2; BLOCK]))
                .collect();
            if writes.iter().any(Result::is_err) {
                refused += 1;
            }
            if v.write(other, 0, b"durable").is_ok() {
                accepted += 1;
                assert_eq!(v.commit(), Ok(()), "block {bad}");
            }
        }
        assert!(refused > 2 && accepted > 100, "{refused} {accepted}");
    }
}

#[test]
fn what_is_written_whole_need_not_be_read_before() {
    let disk = Disk::default();
    let mut v = create(&disk, 4 << 20);
    let ino = v.create_file(ROOT, b"f", &NEW).unwrap();
    // In extents of their own.
    v.write(ino, 0, &[1; BLOCK]).unwrap();
    v.commit().unwrap();
    v.write(ino, B, &[1; 900]).unwrap();
    v.commit().unwrap();
    let before = disk.data();
    // The log says all of the last block, and so does who writes it again.
    v.write(ino, B + 5, &[2; 10]).unwrap();
    let generation = v.usage().generation;
    v.fsync(ino).unwrap();
    assert_eq!(v.usage().generation, generation, "logged");
    let mut expected = [1; BLOCK + 900];
    expected[BLOCK + 5..BLOCK + 15].fill(2);
    let after = disk.data();
    let mut found = 0;
    for bad in 4..before.len() / BLOCK {
        let altered = |image: &[u8]| {
            let mut image = image.to_vec();
            image[bad * BLOCK + 50] ^= 1;
            open(&Disk::with(image))
        };
        let Ok(mut v) = altered(&before) else {
            continue;
        };
        let mut buf = [0; BLOCK];
        if v.read(ino, 0, &mut buf).is_err() || v.read(ino, B, &mut buf).is_ok() {
            continue;
        }
        found += 1;
        let mut v = altered(&after).unwrap();
        assert!(read_all(&mut v, ino).unwrap() == expected);
        let mut v = altered(&before).unwrap();
        assert!(v.write(ino, B, &[3; 899]).is_err());
        assert_eq!(v.write(ino, B, &[3; 900]), Ok(900));
        assert_eq!(v.write(ino, B - 1, &[3; 902]), Ok(902));
        assert_eq!(fsck(&mut v), Vec::<String>::new());
    }
    assert_eq!(found, 1);
}
