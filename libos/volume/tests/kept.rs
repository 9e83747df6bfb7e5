//! Contents that are kept in memory: who reads them again needs no disk, gets what is in the file now,
//! and never what the host put there.

mod common;

use bastide_volume::{Limits, ROOT, Volume};
use common::*;

/// Blocks that are kept.
const KEPT: usize = 64;

fn open_keeping(disk: &Disk, contents: usize) -> Volume {
    let limits = Limits {
        contents,
        ..Limits::default()
    };
    open_within(disk, limits)
}

/// A file of so many blocks, each of another byte, in a volume that was opened anew.
fn file(disk: &Disk, blocks: usize, compress: bool) -> (Volume, u64) {
    let mut v = create_as(disk, 4 << 20, compress);
    let ino = v.create_file(ROOT, b"f", &NEW).unwrap();
    let data: Vec<u8> = (0..blocks).flat_map(|i| [i as u8; BLOCK]).collect();
    assert_eq!(v.write(ino, 0, &data), Ok(data.len()));
    v.commit().unwrap();
    drop(v);
    (open_keeping(disk, KEPT), ino)
}

fn read(v: &mut Volume, ino: u64, at: usize, len: usize) -> Option<Vec<u8>> {
    let mut buf = vec![0; len];
    let n = v.read(ino, at as u64, &mut buf).ok()?;
    buf.truncate(n);
    Some(buf)
}

/// Every read of the disk fails from now on, or none.
fn unplug(disk: &Disk, unplugged: bool) {
    disk.fail_reads(unplugged.then_some((1, Rng(0))));
}

#[test]
fn what_was_read_needs_no_disk() {
    for compress in [false, true] {
        let disk = Disk::default();
        let (mut v, ino) = file(&disk, 40, compress);
        // Parts of blocks bring whole ones.
        for (at, len) in [(5, 10), (BLOCK - 1, 2 * BLOCK), (20 * BLOCK, 10 * BLOCK)] {
            assert!(read(&mut v, ino, at, len).is_some());
        }
        unplug(&disk, true);
        let expected = |at: usize, len: usize| -> Vec<u8> {
            (at..at + len).map(|i| (i / BLOCK) as u8).collect()
        };
        for (at, len) in [
            (0, 3 * BLOCK),
            (2 * BLOCK + 9, 1),
            (20 * BLOCK + 7, 9 * BLOCK),
        ] {
            assert_eq!(read(&mut v, ino, at, len).unwrap(), expected(at, len));
        }
        // Of what is packed, all that is packed with it comes too.
        assert_eq!(read(&mut v, ino, 5 * BLOCK, 1).is_some(), compress);
        v.drop_cache();
        assert_eq!(read(&mut v, ino, 0, 1), None);
    }
}

#[test]
fn what_was_written_is_what_is_read() {
    for compress in [false, true] {
        let disk = Disk::default();
        let (mut v, ino) = file(&disk, 40, compress);
        let mut model: Vec<u8> = (0..40).flat_map(|i| [i as u8; BLOCK]).collect();
        let mut rng = Rng(5);
        for step in 0..2000_u32 {
            let at = rng.below(model.len() as u64) as usize;
            let len = 1 + rng.below(3 * BLOCK as u64) as usize;
            match rng.below(6) {
                0 | 1 => {
                    let data = rng.contents(len);
                    assert_eq!(v.write(ino, at as u64, &data), Ok(len));
                    model.resize(model.len().max(at + len), 0);
                    model[at..at + len].copy_from_slice(&data);
                }
                2 => {
                    v.punch(ino, at as u64, len as u64).unwrap();
                    let end = (at + len).min(model.len());
                    model[at..end].fill(0);
                }
                3 if step % 8 == 0 => {
                    set_size(&mut v, ino, (at + 1) as u64).unwrap();
                    model.resize(at + 1, 0);
                    model.extend_from_slice(&[7; 9]);
                    assert_eq!(v.write(ino, (at + 1) as u64, &[7; 9]), Ok(9));
                }
                4 => v.commit().unwrap(),
                _ => {}
            }
            let at = rng.below(model.len() as u64) as usize;
            let end = (at + 2 * BLOCK).min(model.len());
            assert!(
                read(&mut v, ino, at, 2 * BLOCK).unwrap() == model[at..end],
                "step {step}"
            );
        }
        assert_eq!(fsck(&mut v), Vec::<String>::new());
    }
}

#[test]
fn what_was_just_written_needs_no_disk_either() {
    let disk = Disk::default();
    let (mut v, ino) = file(&disk, 4, false);
    assert_eq!(v.write(ino, 10, &[9; BLOCK]), Ok(BLOCK));
    v.commit().unwrap();
    unplug(&disk, true);
    assert_eq!(read(&mut v, ino, 10, BLOCK), Some(vec![9; BLOCK]));
    assert_eq!(read(&mut v, ino, 3 * BLOCK, 1), None);
}

#[test]
fn what_the_host_altered_is_never_kept() {
    let disk = Disk::default();
    let (mut v, ino) = file(&disk, 8, false);
    let good = disk.data();
    read(&mut v, ino, 2 * BLOCK, 1).unwrap();
    // All that is not known yet is noise.
    let noise = Rng(8).bytes(good.len());
    disk.0.lock().unwrap().data = noise;
    assert_eq!(read(&mut v, ino, 2 * BLOCK, BLOCK), Some(vec![2; BLOCK]));
    for at in [0, 1, 3, 7] {
        assert_eq!(read(&mut v, ino, at * BLOCK, 1), None);
    }
    assert_eq!(read(&mut v, ino, 0, 8 * BLOCK), None);
    // Nothing came of it: as soon as the host is honest again, all is there.
    disk.0.lock().unwrap().data = good;
    for at in 0..8 {
        assert_eq!(
            read(&mut v, ino, at * BLOCK, BLOCK),
            Some(vec![at as u8; BLOCK])
        );
    }
}

/// How many of the blocks need no disk.
fn kept(v: &mut Volume, disk: &Disk, ino: u64, blocks: usize) -> Vec<usize> {
    unplug(disk, true);
    let there = (0..blocks).filter(|at| read(v, ino, at * BLOCK, 1).is_some());
    let there = there.collect();
    unplug(disk, false);
    there
}

#[test]
fn no_more_than_was_said_is_kept() {
    let disk = Disk::default();
    let (mut v, ino) = file(&disk, 200, false);
    for at in 0..200 {
        read(&mut v, ino, at * BLOCK, 1).unwrap();
    }
    let last = kept(&mut v, &disk, ino, 200);
    assert!(last.len() <= KEPT && last.len() > KEPT / 2, "{last:?}");
    assert!(last.contains(&199), "{last:?}");
    // Less, then all of it again.
    v.bound_contents((KEPT / 2 * BLOCK) as u64);
    let fewer = kept(&mut v, &disk, ino, 200);
    assert!(fewer.len() <= KEPT / 2 && fewer.iter().all(|at| last.contains(at)));
    v.bound_contents(0);
    read(&mut v, ino, 0, 10 * BLOCK).unwrap();
    assert_eq!(kept(&mut v, &disk, ino, 200), []);
    v.bound_contents(u64::MAX);
    read(&mut v, ino, 0, 200 * BLOCK).unwrap();
    let all = kept(&mut v, &disk, ino, 200).len();
    assert!(all <= KEPT && all > KEPT / 2, "{all}");
    // Who wants none, or next to none, keeps no more, even if there is room later.
    for few in [0, 3, 11] {
        let mut v = open_keeping(&disk, few);
        for bound in [few * BLOCK, 0, usize::MAX] {
            v.bound_contents(bound as u64);
            read(&mut v, ino, 0, 20 * BLOCK).unwrap();
            let kept = kept(&mut v, &disk, ino, 200).len();
            assert_eq!(kept, if bound > 0 { few } else { 0 });
        }
    }
}
