//! The host alters the file: every block in turn, in every way that it can think of. The volume is
//! refused, or what was altered is an error, or it did not matter. Never other data, never a panic.

mod common;

use bastide_volume::{Device, DeviceError, Error, Header, Kdf, New, ROOT, SetXattr, Volume};
use common::model::{Both, Model, Shape};
use common::*;

/// A volume with a history: its file at three times, and what was in it.
struct History {
    images: [Vec<u8>; 3],
    dumps: Vec<Dump>,
    anchor: Memory,
}

fn history(compress: bool) -> History {
    let disk = Disk::default();
    drop(create_as(&disk, 1 << 20, compress));
    let anchor = Memory::default();
    let mut both = Both {
        volume: open_with(&disk, &anchor).unwrap(),
        model: Model::default(),
        held: Vec::new(),
        rng: Rng(5),
        shape: Shape {
            write: 12_000,
            file: 40_000,
            names: 10,
        },
    };
    // Every durable state: the host can show any of them, if there is no anchor.
    let mut dumps = vec![dump(&mut both.volume).unwrap()];
    let mut images = [disk.data(), Vec::new(), Vec::new()];
    for (i, image) in images.iter_mut().enumerate() {
        for _ in 0..150 {
            both.step();
        }
        both.volume.commit().unwrap();
        dumps.push(dump(&mut both.volume).unwrap());
        // The newest states: each one block of the log later.
        for n in 0..4 {
            let name = format!("logged{i}");
            let ino = (both.volume.lookup(ROOT, name.as_bytes())).unwrap_or_else(|_| {
                let new = New {
                    mode: FILE,
                    ..New::default()
                };
                both.volume
                    .create_file(ROOT, name.as_bytes(), &new)
                    .unwrap()
            });
            let data = vec![n; 5000];
            assert_eq!(both.volume.write(ino, 100, &data), Ok(data.len()));
            both.volume.fsync(ino).unwrap();
            dumps.push(dump(&mut both.volume).unwrap());
        }
        let ino = both
            .volume
            .lookup(ROOT, format!("logged{i}").as_bytes())
            .unwrap();
        both.volume
            .unlink(ROOT, format!("logged{i}").as_bytes())
            .unwrap();
        assert!(matches!(both.volume.stat(ino), Err(Error::NotFound)));
        both.volume
            .create_file(
                ROOT,
                b"last",
                &New {
                    mode: FILE,
                    ..New::default()
                },
            )
            .ok();
        let last = both.volume.lookup(ROOT, b"last").unwrap();
        both.volume.commit().unwrap();
        dumps.push(dump(&mut both.volume).unwrap());
        for n in 0..3 {
            both.volume.write(last, n * 4000, &[i as u8; 4000]).unwrap();
            both.volume.fsync(last).unwrap();
            dumps.push(dump(&mut both.volume).unwrap());
        }
        *image = disk.data();
        both.volume.unlink(ROOT, b"last").unwrap();
    }
    History {
        images,
        dumps,
        anchor,
    }
}

/// Opens an altered file and looks at everything in it. With the anchor only the newest state will
/// do; without, an earlier one is no surprise.
fn attack(image: Vec<u8>, h: &History, what: &str) -> bool {
    let mut caught = false;
    for anchored in [true, false] {
        let disk = Disk::with(image.clone());
        let anchor = Memory::default();
        *anchor.0.lock().unwrap() = *h.anchor.0.lock().unwrap();
        let opened = match anchored {
            true => open_with(&disk, &anchor),
            false => open(&disk),
        };
        let mut volume = match opened {
            Ok(volume) => volume,
            Err(e) => {
                assert!(!matches!(e, Error::Malformed { .. }), "{what}: {e}");
                caught = true;
                continue;
            }
        };
        match dump(&mut volume) {
            Ok(seen) => {
                let newest = h.dumps.last().unwrap();
                let good = &seen == newest || !anchored && h.dumps.contains(&seen);
                assert!(good, "{what}, anchor {anchored}: {seen:#?}");
            }
            Err(e) => {
                assert!(is_io(&e), "{what}: {e:?}");
                caught = true;
            }
        }
        use_it(&mut volume);
        drop(volume);
        let _ = open(&disk).and_then(|mut v| dump(&mut v));
    }
    caught
}

/// Works on a damaged volume: errors are right, panics are not.
fn use_it(volume: &mut Volume) {
    let new = New {
        mode: FILE,
        ..New::default()
    };
    let mut names = Vec::new();
    let _ = volume.read_dir(ROOT, 0, &mut |e, _| {
        names.push(e.name.clone());
        true
    });
    for (i, name) in names.iter().enumerate() {
        let Ok(ino) = volume.lookup(ROOT, name) else {
            continue;
        };
        let _ = volume.write(ino, 3000, &[1; 5000]);
        let _ = volume.set_xattr(ino, b"user.x", b"y", SetXattr::Any);
        let _ = volume.fsync(ino);
        if i % 2 == 0 {
            let _ = volume.unlink(ROOT, name);
        }
    }
    let _ = volume.create_file(ROOT, b"new", &new);
    let _ = volume.commit();
    let _ = volume.fsck(true, &mut |_, _| {});
}

/// Blocks of the newest image that hold something, and so are worth an attack.
fn blocks(image: &[u8]) -> usize {
    image.len().div_ceil(B as usize)
}

fn block(image: &[u8], n: usize) -> Vec<u8> {
    let start = n * B as usize;
    image
        .get(start..(start + B as usize).min(image.len()))
        .unwrap_or_default()
        .to_vec()
}

#[test]
fn every_block_in_turn() {
    every_block(&history(false));
}

#[test]
fn every_block_in_turn_of_a_volume_that_compresses() {
    every_block(&history(true));
}

fn every_block(h: &History) {
    let newest = &h.images[2];
    let mut rng = Rng(9);
    let mut caught = [0; 5];
    assert!(!attack(newest.clone(), h, "nothing"));
    for n in 0..blocks(newest) {
        let was = block(newest, n);
        if was.iter().all(|b| *b == 0) {
            continue;
        }
        let mut flipped = was.clone();
        let at = match n {
            0..4 => rng.below(128),
            _ => rng.below(was.len() as u64),
        };
        flipped[at as usize] ^= 1 << rng.below(8);
        let older = block(&h.images[1], n);
        let other = block(newest, rng.below(blocks(newest) as u64) as usize);
        let zero = vec![0; was.len()];
        for (i, with) in [flipped, older, other, zero].iter().enumerate() {
            let mut image = newest.clone();
            put(&mut image, n as u64 * B, with);
            image.truncate(newest.len());
            let what = ["flipped", "older", "another", "zero"][i];
            caught[i] += u32::from(attack(image, h, &format!("block {n} {what}")));
        }
        let cut = n * B as usize + rng.below(B) as usize;
        caught[4] += u32::from(attack(newest[..cut].to_vec(), h, &format!("cut at {cut}")));
    }
    println!("caught: {caught:?} of {} blocks", blocks(newest));
    assert!(caught.iter().all(|n| *n > 20), "{caught:?}");
}

#[test]
fn a_whole_older_file_is_refused_by_the_anchor() {
    let h = history(false);
    for (i, image) in h.images.iter().enumerate() {
        let opened = open_with(&Disk::with(image.clone()), &h.anchor);
        match i {
            2 => drop(opened.unwrap()),
            _ => {
                let e = opened.err().unwrap();
                assert!(matches!(e, Error::Stale { .. }), "{e:?}");
                assert!(e.to_string().contains("older than its anchor"), "{e}");
            }
        }
        // Nobody knows without an anchor.
        let mut volume = open(&Disk::with(image.clone())).unwrap();
        assert!(h.dumps.contains(&dump(&mut volume).unwrap()));
    }
}

#[test]
fn the_log_cannot_be_cut_or_mixed() {
    let disk = Disk::default();
    let anchor = Memory::default();
    let mut v = create(&disk, 1 << 20);
    let new = New {
        mode: FILE,
        ..New::default()
    };
    let ino = v.create_file(ROOT, b"f", &new).unwrap();
    v.commit().unwrap();
    drop(v);
    let before = disk.data();
    // Two futures of one state.
    let future = |byte: u8, anchor: &Memory| {
        let disk = Disk::with(before.clone());
        let mut v = open_with(&disk, anchor).unwrap();
        for i in 0..4 {
            v.write(ino, i * B, &[byte; BLOCK]).unwrap();
            v.fsync(ino).unwrap();
        }
        disk.data()
    };
    let (a, b) = (future(1, &anchor), future(2, &Memory::default()));
    let mark = *anchor.0.lock().unwrap();
    let anchored = |image: &[u8]| {
        *anchor.0.lock().unwrap() = mark;
        open_with(&Disk::with(image.to_vec()), &anchor)
    };
    assert!(anchored(&a).is_ok());
    let fork = anchored(&b).err().unwrap();
    assert!(matches!(fork, Error::Forked { .. }), "{fork:?}");
    let cut = anchored(&before).err().unwrap();
    assert!(matches!(cut, Error::Stale { .. }), "{cut:?}");
    // Any mixture of the two is, without an anchor, the beginning of one of them.
    let differing: Vec<usize> = (0..blocks(&a))
        .filter(|n| block(&a, *n) != block(&b, *n))
        .collect();
    assert!(differing.len() >= 8);
    for mask in 0..1_u32 << differing.len().min(10) {
        let mut image = a.clone();
        for (i, n) in differing
            .iter()
            .enumerate()
            .filter(|(i, _)| mask >> i & 1 != 0)
        {
            assert!(i < 32);
            put(&mut image, *n as u64 * B, &block(&b, *n));
        }
        let mut v = open(&Disk::with(image)).unwrap();
        let data = read_all(&mut v, ino).unwrap();
        assert!(
            data.iter().all(|b| *b == data[0]),
            "mixed with mask {mask:b}"
        );
        assert_eq!(data.len() % BLOCK, 0);
    }
}

/// A disk that lies now and then, and differently each time it is asked.
struct Liar(Disk, std::sync::Mutex<Rng>, u64);

impl Device for Liar {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.0.read_at(offset, buf)?;
        let mut rng = self.1.lock().unwrap();
        if rng.one_in(self.2) {
            let at = rng.below(buf.len() as u64) as usize;
            buf[at] ^= 1 << rng.below(8);
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.0.write_at(offset, data)
    }

    fn flush(&self) -> Result<(), DeviceError> {
        self.0.flush()
    }

    fn len(&self) -> Result<u64, DeviceError> {
        Ok(self.1.lock().unwrap().next() | 1 << 40)
    }
}

#[test]
fn a_disk_that_lies_now_and_then() {
    let h = history(false);
    for seed in 0..300 {
        let disk = Disk::with(h.images[2].clone());
        let liar = Liar(disk, std::sync::Mutex::new(Rng(seed)), 2 + seed % 40);
        let Ok(mut v) = Volume::open(Box::new(liar), &KEY, options()) else {
            continue;
        };
        match dump(&mut v) {
            Ok(seen) => assert!(h.dumps.contains(&seen), "seed {seed}"),
            Err(e) => assert!(is_io(&e), "seed {seed}: {e:?}"),
        }
        use_it(&mut v);
    }
}

#[test]
fn what_is_no_volume_says_so() {
    let h = history(false);
    let image = &h.images[2];
    let error = |image: Vec<u8>| open(&Disk::with(image)).err().unwrap();
    assert_eq!(error(Vec::new()), Error::NotAVolume);
    assert_eq!(error(vec![0; 1 << 20]), Error::NotAVolume);
    assert_eq!(error(vec![0x55; 100]), Error::NotAVolume);
    assert!(matches!(
        error(image[..5000].to_vec()),
        Error::Truncated { .. }
    ));
    assert!(matches!(
        error(image[..image.len() - 4096 * 8].to_vec()),
        Error::Truncated { .. }
    ));
    let mut later = image.clone();
    later[8] = 2;
    later[4096 + 8] = 2;
    assert_eq!(error(later), Error::Version { found: 2 });
    let wrong = Volume::open(Box::new(Disk::with(image.clone())), &[3; 32], options());
    assert_eq!(wrong.err(), Some(Error::WrongKey));
    let mut rng = Rng(77);
    for _ in 0..2000 {
        let len = rng.below(40_000) as usize;
        let mut noise = rng.bytes(len);
        let start = rng.below(140).min(len as u64) as usize;
        noise[..start].copy_from_slice(&image[..start]);
        error(noise);
    }
}

#[test]
fn a_key_can_be_changed_and_a_power_cut_then_does_no_harm() {
    let disk = Disk::default();
    let mut v = create(&disk, 1 << 20);
    let image = disk.data();
    disk.record();
    v.rekey(&[8; 32], Kdf::Key, None).unwrap();
    drop(v);
    let with = |image: &[u8], key| {
        Volume::open(Box::new(Disk::with(image.to_vec())), &key, options()).map(drop)
    };
    assert_eq!(with(&disk.data(), KEY), Err(Error::WrongKey));
    assert_eq!(with(&disk.data(), [8; 32]), Ok(()));
    let events = disk.0.lock().unwrap().events.take().unwrap();
    let mut image = image;
    for event in events {
        let works = [with(&image, KEY), with(&image, [8; 32])];
        assert!(works.contains(&Ok(())), "{works:?}");
        if let Event::Write(offset, data) = event {
            let mut torn = image.clone();
            put(&mut torn, offset, &data[..data.len() / 40]);
            let works = [with(&torn, KEY), with(&torn, [8; 32])];
            assert!(works.contains(&Ok(())), "{works:?}");
            put(&mut image, offset, &data);
        }
    }
    assert_eq!(Header::copies(&disk).unwrap().len(), 2);
}
