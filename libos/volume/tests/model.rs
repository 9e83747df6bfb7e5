//! Random operations: a volume does what a model in memory does, before and after it is opened
//! again, and while it is full.

mod common;

use bastide_volume::{Limits, New, Options, ROOT, Volume};
use common::model::{Both, Model, Shape};
use common::*;

fn run(seed: u64, size: u64, steps: u32, shape: Shape, compress: bool) {
    let disk = Disk::default();
    let mut both = Both {
        volume: create_as(&disk, size, compress),
        model: Model::default(),
        held: Vec::new(),
        rng: Rng(seed),
        shape,
    };
    for step in 0..steps {
        both.step();
        if step % 97 == 0 {
            let (seen, expected) = (dump(&mut both.volume).unwrap(), both.model.dump());
            assert_eq!(seen, expected, "seed {seed} step {step}");
        }
        if step % 311 == 0 {
            let problems = fsck(&mut both.volume);
            assert!(
                problems.is_empty(),
                "seed {seed} step {step}: {problems:#?}"
            );
        }
        if step % 1009 == 0 {
            both.volume.commit().unwrap();
            drop(std::mem::take(&mut both.held));
            both.model.0.retain(|_, n| n.nlink > 0);
            both.volume = open(&disk).unwrap();
            let (seen, expected) = (dump(&mut both.volume).unwrap(), both.model.dump());
            assert_eq!(seen, expected, "seed {seed} step {step}, opened again");
            assert_eq!(both.volume.packs(), compress);
        }
    }
    both.volume.commit().unwrap();
    let packing = both.volume.packing().unwrap();
    assert!(
        compress || packing.stored == packing.contents,
        "{packing:?}"
    );
}

#[test]
fn small_files() {
    let shape = Shape {
        write: 2000,
        file: 6000,
        names: 30,
    };
    for seed in 0..4 {
        run(seed, 16 << 20, 4000, shape, seed % 2 == 1);
    }
}

#[test]
fn large_files() {
    let shape = Shape {
        write: 900_000,
        file: 2_000_000,
        names: 6,
    };
    for seed in 10..14 {
        run(seed, 64 << 20, 2500, shape, seed % 2 == 1);
    }
}

#[test]
fn a_volume_that_is_mostly_full() {
    let shape = Shape {
        write: 20_000,
        file: 90_000,
        names: 12,
    };
    for seed in 20..28 {
        run(seed, 1 << 20, 4000, shape, seed % 2 == 1);
    }
}

#[test]
fn what_comes_and_goes_in_one_transaction_leaves_nothing() {
    let disk = Disk::default();
    drop(create(&disk, 64 << 20));
    // Blocks are given out before the commit, and not all of them written.
    let small = || {
        let limits = Limits {
            pages: 100,
            ..Limits::default()
        };
        let options = Options {
            limits,
            ..options()
        };
        Volume::open(Box::new(disk.clone()), &KEY, options).unwrap()
    };
    let mut v = small();
    let new = New {
        mode: FILE,
        ..New::default()
    };
    for name in [b"a", b"b"] {
        let ino = v.create_file(ROOT, name, &new).unwrap();
        let data = vec![5; 1 << 20];
        assert_eq!(v.write(ino, 0, &data), Ok(data.len()));
        v.unlink(ROOT, name).unwrap();
        v.commit().unwrap();
        v = small();
        assert_eq!(fsck(&mut v), Vec::<String>::new());
    }
    let ino = v.create_file(ROOT, b"c", &new).unwrap();
    assert_eq!(v.write(ino, 0, &[6; 100_000]), Ok(100_000));
    v.commit().unwrap();
    v = open(&disk).unwrap();
    assert_eq!(read_all(&mut v, ino).unwrap(), [6; 100_000]);
    assert_eq!(fsck(&mut v), Vec::<String>::new());
}
