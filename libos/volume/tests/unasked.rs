//! Commits that come unasked while an operation goes on, as memory is bounded: what the operation
//! does after one is made durable by the next `fsync(2)` all the same.

mod common;

use bastide_volume::{Limits, ROOT, Volume};
use common::*;

/// Blocks of the file, of which every second is a hole.
const LEN: u64 = 600;

/// A volume with a file of many extents that is durable, opened so that commits come often.
fn opened(disk: &Disk, limits: Limits) -> (Volume, u64) {
    let mut v = create(disk, 16 << 20);
    let ino = v.create_file(ROOT, b"f", &NEW).unwrap();
    for at in (0..LEN).step_by(2) {
        v.write(ino, at * B, &[at as u8 | 1; BLOCK]).unwrap();
    }
    v.commit().unwrap();
    drop(v);
    (open_within(disk, limits), ino)
}

fn changing(changed: usize) -> Limits {
    Limits {
        changed,
        ..Limits::default()
    }
}

/// How many commits there are while something is done.
fn commits_in(v: &mut Volume, what: impl FnOnce(&mut Volume)) -> u64 {
    let before = v.usage().generation;
    what(v);
    v.usage().generation - before
}

/// The file after `fsync(2)` and a power cut; and nothing is wrong with the volume.
fn after_power_cut(v: &mut Volume, disk: &Disk, ino: u64) -> Vec<u8> {
    v.fsync(ino).unwrap();
    let mut v = open(&Disk::with(disk.data())).unwrap();
    assert_eq!(fsck(&mut v), Vec::<String>::new());
    read_all(&mut v, ino).unwrap()
}

#[test]
fn a_hole_is_durable_whole() {
    let mut commits = 0;
    for changed in 2..20 {
        let disk = Disk::default();
        let (mut v, ino) = opened(&disk, changing(changed));
        commits += commits_in(&mut v, |v| v.punch(ino, 0, LEN * B).unwrap());
        let seen = after_power_cut(&mut v, &disk, ino);
        assert!(seen.iter().all(|b| *b == 0), "{changed}");
    }
    assert!(commits > 10, "{commits}");
}

#[test]
fn a_cut_is_durable_and_what_was_cut_off_does_not_come_back() {
    let mut commits = 0;
    for changed in 2..20 {
        let disk = Disk::default();
        let (mut v, ino) = opened(&disk, changing(changed));
        commits += commits_in(&mut v, |v| set_size(v, ino, B).unwrap());
        v.write(ino, (LEN + 3) * B, b"end").unwrap();
        let seen = after_power_cut(&mut v, &disk, ino);
        assert_eq!(seen.len() as u64, (LEN + 3) * B + 3);
        let hole = &seen[BLOCK..(LEN as usize + 3) * BLOCK];
        assert!(hole.iter().all(|b| *b == 0), "{changed}");
    }
    assert!(commits > 10, "{commits}");
}

#[test]
fn a_cut_within_a_block_is_durable() {
    let mut commits = 0;
    for changed in 2..20 {
        let disk = Disk::default();
        let limits = Limits {
            pages: 64,
            ..changing(changed)
        };
        let (mut v, ino) = opened(&disk, limits);
        // Just so many blocks of another file wait that the cut writes them, into many nodes.
        let other = v.create_file(ROOT, b"g", &NEW).unwrap();
        for at in 0..LEN {
            v.write(other, at * 2 * B, &[1]).unwrap();
        }
        v.commit().unwrap();
        for at in 0..64 {
            v.write(other, at * LEN / 64 * 2 * B, &[2]).unwrap();
        }
        commits += commits_in(&mut v, |v| set_size(v, ino, 3000).unwrap());
        let seen = after_power_cut(&mut v, &disk, ino);
        assert!(seen == [1; 3000], "{changed}");
    }
    assert!(commits > 0);
}
