//! Reads that go on while the volume changes: they give what was there when they began, and the
//! blocks that they read are not used again before they end.

mod common;

use bastide_volume::{New, ROOT, Reading, Volume};
use common::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

const NEW: New = New {
    mode: FILE,
    rdev: 0,
    uid: 0,
    gid: 0,
};

/// Blocks of the file that is read.
const LEN: usize = 40;

#[test]
fn a_read_gives_what_was_there_when_it_began() {
    what_was_there(false);
    what_was_there(true);
}

fn what_was_there(compress: bool) {
    let disk = Disk::default();
    // So small that every free block is used again soon.
    let mut v = create_as(&disk, 1 << 20, compress);
    let ino = v.create_file(ROOT, b"f", &NEW).unwrap();
    let mut rng = Rng(3);
    let mut under_way: Vec<(u8, Vec<u8>, usize, Reading)> = Vec::new();
    let mut finished = 0;
    for version in 0..1500_u32 {
        let byte = version as u8;
        // With all of the free blocks read by somebody, there may be no room.
        let _ = v.write(ino, 0, &vec![byte; LEN * BLOCK]);
        match rng.below(3) {
            0 => drop(v.commit()),
            1 => drop(v.fsync(ino)),
            _ => {}
        }
        let now = v.read(ino, 5, &mut [0]).map(|_| ());
        assert_eq!(now, Ok(()));
        let (from, len) = (rng.below(9000), 1 + rng.below(120_000) as usize);
        let mut buf = vec![0; len];
        let mut first = [0];
        v.read(ino, from, &mut first).unwrap();
        let (n, reading) = v.start_read(ino, from, &mut buf).unwrap();
        if let Some(reading) = reading {
            under_way.push((first[0], buf, n, reading));
        }
        if under_way.len() > 2 {
            let at = rng.below(under_way.len() as u64) as usize;
            let (byte, mut buf, n, reading) = under_way.remove(at);
            let opened = reading.finish(&mut buf).unwrap();
            v.keep(&opened, &buf);
            // A write that found no room may have changed the beginning only.
            assert_eq!(buf[0], byte, "version {version}");
            assert!(n > 0 && buf[n..].iter().all(|b| *b == 0));
            finished += 1;
        }
    }
    under_way.clear();
    v.write(ino, 0, &[7; LEN * BLOCK]).unwrap();
    v.commit().unwrap();
    assert_eq!(read_all(&mut v, ino).unwrap(), [7; LEN * BLOCK]);
    assert_eq!(fsck(&mut v), Vec::<String>::new());
    assert!(finished > 300, "{finished}");
}

#[test]
fn many_read_while_one_writes() {
    many_read(false, 3000);
}

#[test]
fn many_read_what_is_packed_while_one_writes() {
    many_read(true, 1000);
}

fn many_read(compress: bool, writes: u32) {
    let disk = Disk::default();
    // A reader that waits for a processor keeps all that was freed meanwhile from being used again.
    let mut v = create_as(&disk, 256 << 20, compress);
    let files: Vec<u64> = (0..3)
        .map(|i| {
            let name = format!("f{i}");
            v.create_file(ROOT, name.as_bytes(), &NEW).unwrap()
        })
        .collect();
    for ino in &files {
        v.write(*ino, 0, &vec![0; LEN * BLOCK]).unwrap();
    }
    v.commit().unwrap();
    let v = Mutex::new(v);
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (v, files, done, reads) = (&v, &files, &done, &reads);
            scope.spawn(move || {
                let mut rng = Rng(seed);
                while !done.load(Ordering::Relaxed) {
                    let ino = files[rng.below(3) as usize];
                    let mut buf = vec![0; LEN * BLOCK];
                    let mut locked: MutexGuard<'_, Volume> = v.lock().unwrap();
                    let (n, reading) = locked.start_read(ino, 0, &mut buf).unwrap();
                    drop(locked);
                    if let Some(reading) = reading {
                        let opened = reading.finish(&mut buf).unwrap();
                        v.lock().unwrap().keep(&opened, &buf);
                    }
                    assert_eq!(n, buf.len());
                    // One write changes all of the file.
                    assert!(buf.iter().all(|b| *b == buf[0]), "a mixture");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut rng = Rng(99);
        for i in 0..writes {
            let mut v = v.lock().unwrap();
            let ino = files[rng.below(3) as usize];
            assert_eq!(
                v.write(ino, 0, &vec![i as u8; LEN * BLOCK]),
                Ok(LEN * BLOCK)
            );
            match rng.below(4) {
                0 => v.commit().unwrap(),
                1 => v.fsync(ino).unwrap(),
                _ => {}
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(reads.load(Ordering::Relaxed) > 100);
    let mut v = v.into_inner().unwrap();
    assert_eq!(fsck(&mut v), Vec::<String>::new());
}
