//! What is kept of a volume's contents: everybody sees the same, there is no more of it than was
//! said, and what the host does wrong concerns only who needs it.

use super::*;
use crate::fs::{File, SetAttr};
use crate::mm::PageObject;
use crate::testing;
use crate::testing::disk::Disk;
use crate::uio::{IoDst, IoSrc};
use bastide_volume::Kdf;
use core::ops::Range;

const FILE: u32 = 0o100644;
const KEY: [u8; 32] = [3; 32];
const MIB: usize = 1 << 20;

fn options(cache: usize) -> Options {
    Options {
        limits: limits(cache as u64),
        ..Options::new(Box::new(Enclave))
    }
}

/// A byte that says where in the file it is.
fn byte(at: usize) -> u8 {
    (at / BLOCK * 7 + at % BLOCK) as u8
}

fn bytes(range: Range<usize>) -> Vec<u8> {
    range.map(byte).collect()
}

/// A volume with one file of such bytes, mounted anew, and that file.
fn mount(len: usize, cache: usize) -> (Disk, Arc<VolumeFs>, Arc<dyn Inode>) {
    testing::boot();
    let disk = Disk::default();
    let device = Box::new(disk.clone());
    let made = Volume::create(device, 64 << 20, &KEY, Kdf::Key, None, options(cache));
    let fs = mounted(made, cache as u64).unwrap();
    let file = fs.root().create(b"f", FILE, 0, 0, 0).unwrap();
    file.write_at(0, &bytes(0..len)).unwrap();
    fs.sync().unwrap();
    drop((file, fs));
    let opened = Volume::open(Box::new(disk.clone()), &KEY, options(cache));
    let fs = mounted(opened, cache as u64).unwrap();
    let file = fs.root().lookup(b"f").unwrap();
    // What is known of the file is in memory.
    file.read_at((len - 1) as u64, &mut [0]).unwrap();
    disk.reads();
    (disk, fs, file)
}

fn read(file: &Arc<dyn Inode>, at: usize, len: usize) -> Result<Vec<u8>> {
    let mut buf = vec![0; len];
    let n = file.read_at(at as u64, &mut buf)?;
    buf.truncate(n);
    Ok(buf)
}

/// The contents as a mapping has them, and what is done as a mapping does it.
fn object(file: &Arc<dyn Inode>) -> Arc<PageObject> {
    let node = file.clone().into_any().downcast::<Node>().unwrap();
    node.object().unwrap()
}

fn see(object: &PageObject, at: usize, len: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    object.read(at as u64, &mut IoDst::kernel(&mut out, len))?;
    Ok(out)
}

#[test]
fn what_was_read_is_read_again_without_the_host() {
    let (disk, _fs, file) = mount(MIB, 4 * MIB);
    let at = 300_000;
    assert_eq!(read(&file, at, 5000), Ok(bytes(at..at + 5000)));
    // At random only what is needed comes, in whole blocks.
    assert_eq!(disk.reads().1, 2 * BLOCK);
    assert_eq!(read(&file, at + 100, 4000), Ok(bytes(at + 100..at + 4100)));
    assert_eq!(disk.reads(), (0, 0));
}

#[test]
fn what_is_read_in_order_comes_before_it_is_asked_for() {
    let (disk, _fs, file) = mount(2 * MIB, 8 * MIB);
    for at in (0..2 * MIB).step_by(1000) {
        let end = (at + 1000).min(2 * MIB);
        assert_eq!(read(&file, at, 1000), Ok(bytes(at..end)));
    }
    let (reads, read) = disk.reads();
    // Every block once, but for the one that `mount` left, and nodes with their neighbours; and few
    // calls.
    let expected = 2 * MIB - 8 * BLOCK..=2 * MIB + MIB / 16;
    assert!(expected.contains(&read), "{read}");
    assert!(reads < 50, "{reads}");
}

#[test]
fn no_more_is_kept_than_was_said() {
    let (disk, fs, file) = mount(16 * MIB, 2 * MIB);
    let all = |step: usize| {
        for at in (0..16 * MIB).step_by(step) {
            assert_eq!(read(&file, at, step), Ok(bytes(at..at + step)));
        }
        disk.reads().1
    };
    for step in [4096, 256 << 10] {
        assert!(all(step) > 13 * MIB);
        assert!(all(step) > 13 * MIB);
    }
    // With most of it in a mapping, there is the less for others.
    let object = object(&file);
    see(&object, 0, MIB).unwrap();
    see(&object, 4 * MIB, MIB / 2).unwrap();
    assert!(fs.core.mapped.used() as usize * BLOCK >= MIB + MIB / 2);
    assert!(fs.core.room() as usize <= MIB / 2);
    for at in (8 * MIB..10 * MIB).step_by(BLOCK) {
        read(&file, at, 1).unwrap();
    }
    disk.reads();
    for at in (8 * MIB..10 * MIB).step_by(BLOCK).rev() {
        read(&file, at, 1).unwrap();
    }
    assert!(disk.reads().1 >= MIB + MIB / 2);
}

#[test]
fn a_long_sequence_does_not_push_out_what_others_read() {
    let (disk, _fs, file) = mount(16 * MIB, 4 * MIB);
    for at in (15 * MIB..16 * MIB).step_by(2 * BLOCK) {
        read(&file, at, 1).unwrap();
    }
    let mut at = 0;
    while at < 14 * MIB {
        assert_eq!(read(&file, at, MIB), Ok(bytes(at..at + MIB)));
        at += MIB;
    }
    disk.reads();
    for at in (15 * MIB..16 * MIB).step_by(2 * BLOCK) {
        assert_eq!(read(&file, at, 1), Ok(bytes(at..at + 1)));
    }
    assert!(disk.reads().1 < MIB / 8);
}

#[test]
fn what_is_wrong_further_on_concerns_who_reads_it() {
    let (disk, fs, file) = mount(MIB, 4 * MIB);
    let whole = disk.0.lock().unwrap().data.clone();
    // Where block 40 lies is found out by altering one after the other.
    let alter = |block: usize| disk.0.lock().unwrap().data[block * BLOCK] ^= 1;
    let lies = (0..whole.len() / BLOCK).find(|block| {
        fs.core.volume.lock().drop_cache();
        alter(*block);
        let found = read(&file, 40 * BLOCK, 1).is_err() && read(&file, 39 * BLOCK, 1).is_ok();
        alter(*block);
        found
    });
    let lies = lies.unwrap() * BLOCK;
    for alter in [true, false] {
        fs.core.volume.lock().drop_cache();
        read(&file, MIB - 1, 1).unwrap();
        {
            let mut s = disk.0.lock().unwrap();
            match alter {
                true => s.data[lies] ^= 1,
                false => s.bad = lies..lies + BLOCK,
            }
        }
        for at in (0..MIB).step_by(BLOCK) {
            let expected = match at / BLOCK {
                40 => Err(Errno::EIO),
                _ => Ok(bytes(at..at + BLOCK)),
            };
            assert_eq!(read(&file, at, BLOCK), expected, "block {}", at / BLOCK);
        }
        // Who asks for it among other things gets what is before it.
        fs.core.volume.lock().drop_cache();
        let from = 3 * BLOCK + 5;
        assert_eq!(read(&file, from, MIB / 2), Ok(bytes(from..40 * BLOCK)));
        assert_eq!(read(&file, 40 * BLOCK + 7, MIB / 2), Err(Errno::EIO));
        // So it is in a mapping, in whatever order it is looked at.
        fs.core.volume.lock().drop_cache();
        let mapped = object(&file);
        for block in (0..MIB / BLOCK).map(|i| (i * 7 + 38) % (MIB / BLOCK)) {
            let at = block * BLOCK;
            let seen = see(&mapped, at + 9, 100);
            match block {
                40 => assert!(seen.is_err()),
                _ => assert_eq!(seen, Ok(bytes(at + 9..at + 109)), "block {block}"),
            }
        }
        drop(mapped);
        fs.sync().unwrap();
        {
            let mut s = disk.0.lock().unwrap();
            s.bad = 0..0;
            s.data.clone_from(&whole);
        }
        assert_eq!(
            read(&file, 40 * BLOCK, BLOCK),
            Ok(bytes(40 * BLOCK..41 * BLOCK))
        );
    }
}

#[test]
fn reads_mappings_and_changes_agree() {
    let len = 40 * BLOCK;
    let (_disk, fs, file) = mount(len, MIB);
    let t = testing::task();
    let f = File::new(file.clone().open(&t, 2).unwrap(), None, 2);
    let mut model = bytes(0..len);
    let mut state = 7_u64;
    let mut next = |below: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut mapped: Option<Arc<PageObject>> = None;
    for step in 0..4000 {
        let at = next(model.len());
        let n = 1 + next(3 * BLOCK);
        let end = (at + n).min(model.len());
        match next(12) {
            0 | 1 => {
                let data = vec![step as u8; n];
                file.write_at(at as u64, &data).unwrap();
                model.resize(model.len().max(at + n), 0);
                model[at..at + n].copy_from_slice(&data);
            }
            2 if let Some(object) = &mapped => {
                let data = vec![!(step as u8); end - at];
                assert_eq!(
                    object.write(at as u64, &mut IoSrc::kernel(&data)),
                    Ok(end - at)
                );
                model[at..end].copy_from_slice(&data);
            }
            3 => {
                f.ops.fallocate(3, at as u64, n as u64).unwrap();
                model[at..end].fill(0);
            }
            4 => {
                let size = 1 + next(60 * BLOCK);
                let attr = SetAttr {
                    size: Some(size as u64),
                    ..SetAttr::default()
                };
                file.set_attr(&attr).unwrap();
                model.resize(size, 0);
            }
            5 => mapped = Some(object(&file)),
            6 => mapped = None,
            7 => f.ops.fsync(false).unwrap(),
            8 => fs.sync().unwrap(),
            _ => {}
        }
        let at = next(model.len());
        let end = (at + 1 + next(20 * BLOCK)).min(model.len());
        assert!(
            read(&file, at, end - at) == Ok(model[at..end].to_vec()),
            "step {step}"
        );
        if let Some(object) = &mapped {
            assert!(
                see(object, at, end - at) == Ok(model[at..end].to_vec()),
                "step {step}"
            );
        }
    }
}

#[test]
fn another_file_does_not_show_what_was_in_a_removed_one() {
    let (_disk, fs, file) = mount(MIB, 2 * MIB);
    read(&file, 0, MIB).unwrap();
    let root = fs.root();
    root.unlink(b"f").unwrap();
    // Until it is closed, it is there.
    assert_eq!(read(&file, 5, 9), Ok(bytes(5..14)));
    drop(file);
    fs.sync().unwrap();
    for (i, name) in [b"a", b"b", b"c"].into_iter().enumerate() {
        let new = root.create(name, FILE, 0, 0, 0).unwrap();
        new.write_at(0, &vec![i as u8; MIB]).unwrap();
        fs.sync().unwrap();
        assert_eq!(read(&new, 0, MIB), Ok(vec![i as u8; MIB]));
        root.rename(b"c", &root, b"d", 0).ok();
    }
    assert_eq!(read(&root.lookup(b"d").unwrap(), 0, 10), Ok(vec![2; 10]));
}

#[test]
fn who_needs_what_others_read_lets_them_end() {
    let len = 20 * MIB;
    let (disk, fs, file) = mount(len, MIB);
    let root = fs.root();
    let other = root.create(b"other", FILE, 0, 0, 0).unwrap();
    other.write_at(0, &bytes(0..4096)).unwrap();
    let full = root.create(b"full", FILE, 0, 0, 0).unwrap();
    let free = fs.statfs().unwrap().bfree as usize * BLOCK;
    full.write_at(0, &vec![1; free - len / 2]).unwrap();
    let new = root.create(b"new", FILE, 0, 0, 0).unwrap();
    fs.sync().unwrap();
    disk.hold_reads(true);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&file, MIB, MIB / 8));
        while disk.0.lock().unwrap().held == 0 {
            std::thread::yield_now();
        }
        let attr = SetAttr {
            size: Some(0),
            ..SetAttr::default()
        };
        file.set_attr(&attr).unwrap();
        let generation = || fs.core.volume.lock().usage().generation;
        let before = generation();
        let writer = scope.spawn(|| new.write_at(0, &vec![2; len]));
        while generation() == before {
            std::thread::yield_now();
        }
        // It needs what is being read, and meanwhile others go on.
        for _ in 0..100 {
            assert_eq!(read(&other, 0, 4096), Ok(bytes(0..4096)));
            assert!(new.stat().unwrap().size < len as u64);
        }
        disk.hold_reads(false);
        let there = bytes(MIB..MIB + MIB / 8);
        assert_eq!(reader.join().unwrap(), Ok(there));
        assert_eq!(writer.join().unwrap(), Ok(()));
    });
    let more = full.write_at(free as u64, &vec![3; len]);
    assert_eq!(more, Err(Errno::ENOSPC));
    fs.sync().unwrap();
    assert_eq!(read(&new, len - 9, 9), Ok(vec![2; 9]));
}

#[test]
fn what_a_mapping_wrote_replaces_what_cannot_be_read() {
    let (disk, fs, file) = mount(MIB, 4 * MIB);
    let mapped = object(&file);
    see(&mapped, 0, MIB).unwrap();
    disk.0.lock().unwrap().bad = 0..usize::MAX;
    let (at, data) = (38 * BLOCK, vec![5; 4 * BLOCK]);
    mapped.write(at as u64, &mut IoSrc::kernel(&data)).unwrap();
    fs.sync().unwrap();
    disk.0.lock().unwrap().bad = 0..0;
    drop(mapped);
    fs.sync().unwrap();
    fs.core.volume.lock().drop_cache();
    assert_eq!(read(&file, at, data.len()), Ok(data));
}
