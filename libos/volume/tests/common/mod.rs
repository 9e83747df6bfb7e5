//! What the tests of volumes share: a disk in memory, a platform that repeats itself, a model.
#![allow(dead_code, unused_imports)]

pub mod disk;
pub mod forge;
pub mod hostile;
pub mod model;

pub use disk::*;

use bastide_volume::{
    Anchor, Error, Kdf, Limits, Mark, New, Options, Platform, Result, SetAttr, Volume, mode,
};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The key of all test volumes.
pub const KEY: [u8; 32] = *b"thirty-two bytes, not a bit more";

static SEED: AtomicU64 = AtomicU64::new(1);

/// Numbers that differ from mount to mount, and a clock that moves when asked.
pub struct Test(Mutex<Rng>, AtomicU64);

impl Platform for Test {
    fn random(&self, buf: &mut [u8]) -> Result<()> {
        let mut rng = self.0.lock().unwrap();
        buf.iter_mut().for_each(|b| *b = rng.next() as u8);
        Ok(())
    }

    fn now(&self) -> i64 {
        self.1.fetch_add(1, Ordering::Relaxed) as i64
    }
}

pub fn options() -> Options {
    let seed = SEED.fetch_add(1, Ordering::Relaxed);
    let test = Test(Mutex::new(Rng(seed << 32)), AtomicU64::new(1_000_000));
    // So few that they make room for each other all the time.
    let limits = Limits {
        contents: 24,
        ..Limits::default()
    };
    Options {
        limits,
        ..Options::new(Box::new(test))
    }
}

pub fn create(disk: &Disk, size: u64) -> Volume {
    create_as(disk, size, false)
}

/// A new volume that compresses contents, or does not.
pub fn create_as(disk: &Disk, size: u64, compress: bool) -> Volume {
    let options = Options {
        compress,
        ..options()
    };
    Volume::create(Box::new(disk.clone()), size, &KEY, Kdf::Key, None, options).unwrap()
}

pub fn open(disk: &Disk) -> Result<Volume> {
    Volume::open(Box::new(disk.clone()), &KEY, options())
}

/// Opens a volume that keeps so much in memory.
pub fn open_within(disk: &Disk, limits: Limits) -> Volume {
    let options = Options {
        limits,
        ..options()
    };
    Volume::open(Box::new(disk.clone()), &KEY, options).unwrap()
}

/// An anchor in memory.
#[derive(Clone, Default)]
pub struct Memory(pub Arc<Mutex<Option<Mark>>>);

impl Anchor for Memory {
    fn load(&mut self) -> Result<Option<Mark>> {
        Ok(*self.0.lock().unwrap())
    }

    fn store(&mut self, mark: &Mark) -> Result<()> {
        *self.0.lock().unwrap() = Some(*mark);
        Ok(())
    }
}

pub fn open_with(disk: &Disk, anchor: &Memory) -> Result<Volume> {
    let options = Options {
        anchor: Some(Box::new(anchor.clone())),
        ..options()
    };
    Volume::open(Box::new(disk.clone()), &KEY, options)
}

/// A volume's files: what there is to see by path, in a form to be compared.
pub type Dump = BTreeMap<Vec<u8>, String>;

/// Everything in a volume; an error if anything of it cannot be read.
pub fn dump(v: &mut Volume) -> Result<Dump> {
    let mut out = Dump::new();
    let mut waiting = vec![(bastide_volume::ROOT, b"/".to_vec())];
    while let Some((ino, path)) = waiting.pop() {
        let inode = v.stat(ino)?;
        let mut text = format!("{:o} {} {}", inode.mode, inode.uid, inode.nlink);
        if inode.is_dir() {
            let mut names = Vec::new();
            v.read_dir(ino, 0, &mut |e, _| {
                names.push((e.ino, e.name.clone()));
                true
            })?;
            for (ino, name) in names {
                waiting.push((ino, [&path[..], &name, b"/"].concat()));
            }
        }
        if inode.has_contents() {
            let data = read_all(v, ino)?;
            write!(text, " {}:{:016x}", data.len(), hash(&data)).unwrap();
        }
        for name in v.list_xattr(ino)? {
            let value = v.get_xattr(ino, &name)?;
            write!(text, " {}={:x}", name.escape_ascii(), hash(&value)).unwrap();
        }
        out.insert(path, text);
    }
    Ok(out)
}

pub fn set_size(v: &mut Volume, ino: u64, size: u64) -> Result<()> {
    let attr = SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    v.set_attr(ino, &attr)
}

pub fn read_all(v: &mut Volume, ino: u64) -> Result<Vec<u8>> {
    let size = v.stat(ino)?.size as usize;
    let mut data = vec![0; size];
    assert_eq!(v.read(ino, 0, &mut data)?, size);
    Ok(data)
}

/// FNV-1a.
pub fn hash(data: &[u8]) -> u64 {
    let step = |h: u64, b: &u8| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
    data.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Checks a volume; what is wrong with it.
pub fn fsck(v: &mut Volume) -> Vec<String> {
    v.fsck(true, &mut |_, _| {}).unwrap().problems
}

/// An error that a damaged volume may give.
pub fn is_io(e: &Error) -> bool {
    matches!(e, Error::Damaged { .. } | Error::Device(_) | Error::Stopped)
}

pub use bastide_volume::BLOCK;
pub const B: u64 = BLOCK as u64;
pub const FILE: u32 = mode::FILE | 0o644;
pub const DIR: u32 = mode::DIR | 0o755;
/// A new file.
pub const NEW: New = New {
    mode: FILE,
    rdev: 0,
    uid: 0,
    gid: 0,
};
