//! What the tests of volumes share: a disk in memory, a platform that repeats itself, a model.
#![allow(dead_code)]

pub mod forge;
pub mod hostile;
pub mod model;

use bastide_volume::{
    Anchor, Device, DeviceError, Error, Kdf, Mark, Options, Platform, Result, Volume, mode,
};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The key of all test volumes.
pub const KEY: [u8; 32] = *b"thirty-two bytes, not a bit more";

/// What was asked of a disk.
#[derive(Clone)]
pub enum Event {
    Write(u64, Arc<[u8]>),
    Flush,
}

#[derive(Default)]
pub struct State {
    pub data: Vec<u8>,
    /// What happened, if it is recorded.
    pub events: Option<Vec<Event>>,
    /// Of so many reads one fails.
    pub bad_reads: Option<(u64, Rng)>,
    /// Writes and flushes that still succeed, and how the one after them fails.
    pub fails_after: Option<(u64, DeviceError)>,
    /// The file cannot become longer.
    pub room: Option<u64>,
}

impl State {
    fn change(&mut self) -> std::result::Result<(), DeviceError> {
        match &mut self.fails_after {
            Some((0, e)) => {
                let e = *e;
                self.fails_after = None;
                Err(e)
            }
            Some((n, _)) => {
                *n -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// A disk in memory that others can look at.
#[derive(Clone, Default)]
pub struct Disk(pub Arc<Mutex<State>>);

impl Disk {
    pub fn with(data: Vec<u8>) -> Disk {
        let disk = Disk::default();
        disk.0.lock().unwrap().data = data;
        disk
    }

    pub fn data(&self) -> Vec<u8> {
        self.0.lock().unwrap().data.clone()
    }

    pub fn record(&self) {
        self.0.lock().unwrap().events = Some(Vec::new());
    }

    /// How many events there were.
    pub fn now(&self) -> usize {
        self.0.lock().unwrap().events.as_ref().map_or(0, Vec::len)
    }
}

/// Writes into an image, which grows as needed.
pub fn put(image: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + data.len());
    if image.len() < end {
        image.resize(end, 0);
    }
    image[start..end].copy_from_slice(data);
}

impl Device for Disk {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::result::Result<(), DeviceError> {
        let mut state = self.0.lock().unwrap();
        if let Some((n, rng)) = &mut state.bad_reads
            && rng.one_in(*n)
        {
            return Err(DeviceError::Failed);
        }
        let start = usize::try_from(offset).map_err(|_| DeviceError::Failed)?;
        let end = start.checked_add(buf.len()).ok_or(DeviceError::Failed)?;
        buf.copy_from_slice(state.data.get(start..end).ok_or(DeviceError::Failed)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> std::result::Result<(), DeviceError> {
        let mut state = self.0.lock().unwrap();
        if let Err(e) = state.change() {
            // Some of it may be there all the same.
            put(&mut state.data, offset, &data[..data.len() / 2]);
            return Err(e);
        }
        let end = offset + data.len() as u64;
        if state
            .room
            .is_some_and(|room| end > room && end > state.data.len() as u64)
        {
            return Err(DeviceError::Full);
        }
        put(&mut state.data, offset, data);
        if let Some(events) = &mut state.events {
            events.push(Event::Write(offset, data.into()));
        }
        Ok(())
    }

    fn flush(&self) -> std::result::Result<(), DeviceError> {
        let mut state = self.0.lock().unwrap();
        state.change()?;
        if let Some(events) = &mut state.events {
            events.push(Event::Flush);
        }
        Ok(())
    }

    fn len(&self) -> std::result::Result<u64, DeviceError> {
        Ok(self.0.lock().unwrap().data.len() as u64)
    }
}

/// A small generator of numbers that look random (splitmix64).
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Contents of a file: noise, or what can be compressed, or both.
    pub fn contents(&mut self, n: usize) -> Vec<u8> {
        let (text, noise) = (self.next(), self.below(3));
        (0..n)
            .map(|at| match noise {
                0 => self.next() as u8,
                1 if at / 3000 % 3 == 0 => self.next() as u8,
                _ => (text >> (at % 13)) as u8,
            })
            .collect()
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

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

    fn pause(&self) {
        std::thread::yield_now();
    }
}

pub fn options() -> Options {
    let seed = SEED.fetch_add(1, Ordering::Relaxed);
    let test = Test(Mutex::new(Rng(seed << 32)), AtomicU64::new(1_000_000));
    Options::new(Box::new(test))
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
