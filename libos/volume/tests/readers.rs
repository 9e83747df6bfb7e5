//! Reads that go on while the volume changes: they give what was there when they began, and the
//! blocks that they read are not used again before they end.

mod common;

use bastide_volume::{Error, ROOT, Reading, SetAttr, Volume};
use common::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

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
            v.keep(opened, &buf);
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
    let mut v = create_as(&disk, 4 << 20, compress);
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
                        v.lock().unwrap().keep(opened, &buf);
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
            let ino = files[rng.below(3) as usize];
            let (data, mut locked) = (vec![i as u8; LEN * BLOCK], v.lock().unwrap());
            while let Err(e) = locked
                .write(ino, 0, &data)
                .map(|n| assert_eq!(n, data.len()))
            {
                assert_eq!(e, Error::Busy);
                drop(locked);
                std::thread::yield_now();
                locked = v.lock().unwrap();
            }
            let mut v = locked;
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

/// Room for so many more blocks is filled with a file.
fn fill(v: &mut Volume, name: &[u8]) -> u64 {
    let ino = v.create_file(ROOT, name, &NEW).unwrap();
    let mut at = 0;
    loop {
        match v.write(ino, at, &[5; 16 * BLOCK]) {
            Ok(n) => at += n as u64,
            Err(e) => {
                assert_eq!(e, Error::NoSpace);
                return ino;
            }
        }
    }
}

#[test]
fn who_finds_no_room_but_what_is_read_is_told_to_try_again() {
    for compress in [false, true] {
        let disk = Disk::default();
        let mut v = create_as(&disk, 2 << 20, compress);
        let read = v.create_file(ROOT, b"read", &NEW).unwrap();
        let noise = Rng(1).bytes(120 * BLOCK);
        v.write(read, 0, &noise).unwrap();
        let other = v.create_file(ROOT, b"other", &NEW).unwrap();
        v.write(other, 0, &noise[..20_000]).unwrap();
        v.commit().unwrap();
        let mut buf = vec![0; noise.len()];
        let (_, reading) = v.start_read(read, 0, &mut buf).unwrap();
        v.unlink(ROOT, b"read").unwrap();
        let new = v.create_file(ROOT, b"new", &NEW).unwrap();
        let mut written = 0;
        let refused = loop {
            match v.write(new, written as u64, &noise[..8 * BLOCK]) {
                Ok(n) => written += n,
                Err(e) => break e,
            }
        };
        assert_eq!(refused, Error::Busy);
        // It is refused as long as the read goes on, and whatever else is asked is done.
        assert_eq!(v.go_on(), Ok(()));
        assert_eq!(
            v.write(new, written as u64, &noise[..8 * BLOCK]),
            Err(Error::Busy)
        );
        assert_eq!(read_all(&mut v, other).unwrap(), noise[..20_000]);
        reading.unwrap().finish(&mut buf).unwrap();
        assert!(buf == noise);
        let last = loop {
            match v.write(new, written as u64, &noise[..8 * BLOCK]) {
                Ok(n) => written += n,
                Err(e) => break e,
            }
        };
        // What was deleted can all be used, and then there is no more.
        assert_eq!(last, Error::NoSpace);
        let free = v.usage().free;
        assert!(free < 110, "{free} blocks are left");
        v.commit().unwrap();
        assert_eq!(fsck(&mut v), Vec::<String>::new());
    }
}

#[test]
fn what_is_deleted_can_be_written_at_once() {
    let disk = Disk::default();
    let mut v = create(&disk, 32 << 20);
    let files = 19;
    let len = v.usage().free as usize * 95 / 100 / files * BLOCK;
    for i in 0..files as u8 {
        let ino = v.create_file(ROOT, &[b'a' + i], &NEW).unwrap();
        assert_eq!(v.write(ino, 0, &vec![i; len]), Ok(len));
    }
    let mut rng = Rng(11);
    let mut under_way: Vec<(u8, Vec<u8>, Reading)> = Vec::new();
    for round in 0..120_u8 {
        let name = [b'a' + rng.below(files as u64) as u8];
        let old = v.lookup(ROOT, &name).unwrap();
        let mut buf = vec![0; len / 3];
        let first = read_one(&mut v, old);
        let (_, reading) = v.start_read(old, len as u64 / 2, &mut buf).unwrap();
        under_way.extend(reading.map(|reading| (first, buf, reading)));
        v.unlink(ROOT, &name).unwrap();
        let new = v.create_file(ROOT, &name, &NEW).unwrap();
        let data = vec![round; len];
        let mut done = 0;
        while done < len {
            match v.write(new, done as u64, &data[done..]) {
                Ok(n) => done += n,
                Err(Error::Busy) => {
                    let (first, mut buf, reading) = under_way.remove(0);
                    reading.finish(&mut buf).unwrap();
                    assert!(buf.iter().all(|b| *b == first));
                }
                Err(e) => panic!("round {round}: {e}"),
            }
        }
        if rng.one_in(3) {
            v.commit().unwrap();
        }
    }
    drop(under_way);
    v.commit().unwrap();
    assert_eq!(fsck(&mut v), Vec::<String>::new());
}

fn read_one(v: &mut Volume, ino: u64) -> u8 {
    let mut buf = [0];
    v.read(ino, 0, &mut buf).unwrap();
    buf[0]
}

/// A file of single blocks with holes between them, each in an extent of its own.
fn scattered(v: &mut Volume, name: &[u8], blocks: u64) -> u64 {
    let ino = v.create_file(ROOT, name, &NEW).unwrap();
    for at in 0..blocks {
        v.write(ino, 2 * at * B, &[7; BLOCK]).unwrap();
    }
    v.commit().unwrap();
    ino
}

/// Somebody reads, and does so for as long as this is kept.
fn somebody_reads(v: &mut Volume, ino: u64) -> Reading {
    v.drop_cache();
    v.start_read(ino, 0, &mut [0; BLOCK]).unwrap().1.unwrap()
}

/// What is removed or cut in steps is removed and cut, even if there is no room to go on.
#[test]
fn what_is_left_to_be_freed_is_freed_later() {
    for (cut, opened_anew) in [(false, false), (false, true), (true, false), (true, true)] {
        let disk = Disk::default();
        let mut v = create(&disk, 2 << 20);
        let ino = scattered(&mut v, b"f", 150);
        let full = fill(&mut v, b"full");
        v.commit().unwrap();
        // What each commit frees is being read, until not even for deleting there is room.
        let mut under_way = std::collections::VecDeque::new();
        let refused = loop {
            under_way.push_back(somebody_reads(&mut v, full));
            let changed = v.set_attr(full, &SetAttr::default());
            match changed.and_then(|()| v.commit()) {
                Ok(()) => {}
                Err(e) => break e,
            }
        };
        assert_eq!(refused, Error::Busy);
        loop {
            let done = match cut {
                true => set_size(&mut v, ino, 4 * B),
                false => v.unlink(ROOT, b"f"),
            };
            match done {
                Ok(()) => break,
                Err(e) => assert_eq!(e, Error::Busy),
            }
            under_way.pop_front();
        }
        assert_eq!(v.go_on(), Err(Error::Busy));
        if cut {
            // It does not grow over what is still there.
            assert_eq!(set_size(&mut v, ino, 300 * B), Err(Error::Busy));
            assert_eq!(v.write(ino, 299 * B, b"x"), Err(Error::Busy));
            assert_eq!(v.stat(ino).unwrap().size, 4 * B);
        } else {
            assert_eq!(v.lookup(ROOT, b"f"), Err(Error::NotFound));
        }
        if opened_anew {
            drop(v);
            v = open(&disk).unwrap();
        }
        under_way.clear();
        v.go_on().unwrap();
        // Unless it was not made durable.
        if cut && v.stat(ino).unwrap().size == 4 * B {
            set_size(&mut v, ino, 300 * B).unwrap();
            let data = read_all(&mut v, ino).unwrap();
            assert!(data[3 * BLOCK..].iter().all(|b| *b == 0));
            assert_eq!(v.stat(ino).unwrap().blocks, 2);
        }
        v.commit().unwrap();
        assert_eq!(fsck(&mut v), Vec::<String>::new());
    }
}

/// A commit writes its nodes side by side.
#[test]
fn nodes_are_read_with_their_neighbours() {
    let disk = Disk::default();
    let mut v = create(&disk, 16 << 20);
    for i in 0..2000 {
        v.create_file(ROOT, format!("{i:032}").as_bytes(), &NEW)
            .unwrap();
    }
    v.commit().unwrap();
    drop(v);
    let mut v = open(&disk).unwrap();
    disk.reads();
    let all = dump(&mut v).unwrap();
    let (reads, bytes) = disk.reads();
    assert!(all.len() >= 2000);
    assert!(reads * 3 < bytes / BLOCK, "{reads} reads of {bytes} bytes");
}
