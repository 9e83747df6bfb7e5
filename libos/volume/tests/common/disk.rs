//! A disk in memory, and numbers that look random. The tests of others than this crate use it too,
//! so it takes nothing for granted, not even `std`'s prelude.

use bastide_volume::{Device, DeviceError};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

/// The most that is read at a time for nodes, with their volume locked.
const NODES: usize = 64 << 10;

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
    /// Reads since the last look, and how much they read.
    pub reads: (usize, usize),
    /// Of so many reads one fails.
    pub bad_reads: Option<(u64, Rng)>,
    /// Reading any of these bytes fails.
    pub bad: Range<usize>,
    /// Who reads more than nodes waits, and so many have.
    pub hold: bool,
    pub held: usize,
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

    /// Of so many reads one fails from now on, or none.
    pub fn fail_reads(&self, fault: Option<(u64, Rng)>) {
        self.0.lock().unwrap().bad_reads = fault;
    }

    /// Who reads more than nodes waits from now on, or nobody does.
    pub fn hold_reads(&self, hold: bool) {
        self.0.lock().unwrap().hold = hold;
    }

    /// Reads since the last look, and how much they read.
    pub fn reads(&self) -> (usize, usize) {
        std::mem::take(&mut self.0.lock().unwrap().reads)
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
        if state.hold && buf.len() > NODES {
            state.held += 1;
            while state.hold {
                drop(state);
                std::thread::yield_now();
                state = self.0.lock().unwrap();
            }
        }
        let start = usize::try_from(offset).map_err(|_| DeviceError::Failed)?;
        let end = start.checked_add(buf.len()).ok_or(DeviceError::Failed)?;
        if start < state.bad.end && state.bad.start < end {
            return Err(DeviceError::Failed);
        }
        state.reads = (state.reads.0 + 1, state.reads.1 + buf.len());
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

/// The least unit that a disk writes whole.
const SECTORS: [usize; 2] = [512, 4096];

/// Applies some sectors of a write.
fn tear(image: &mut Vec<u8>, offset: u64, data: &[u8], rng: &mut Rng) {
    let sector = SECTORS[rng.below(2) as usize];
    for (i, piece) in data.chunks(sector).enumerate() {
        if rng.one_in(2) {
            put(image, offset + (i * sector) as u64, piece);
        }
    }
}

/// Cuts the power at every event, in `variants` ways and as the disk was told, and shows what is on
/// the disk then: with the number of events before, and how it came to be.
pub fn cut_everywhere(
    image: Vec<u8>,
    events: &[Event],
    variants: u32,
    rng: &mut Rng,
    check: &mut dyn FnMut(Vec<u8>, usize, &mut Rng, &str),
) -> u64 {
    let mut points = 0;
    let mut stable = image;
    let mut waiting: Vec<(u64, &[u8])> = Vec::new();
    for at in 0..=events.len() {
        let mut all = stable.clone();
        waiting.iter().for_each(|(o, d)| put(&mut all, *o, d));
        check(all, at, rng, "every write done");
        points += 1;
        for _ in 0..if waiting.is_empty() { 0 } else { variants } {
            let mut some = stable.clone();
            let mut order: Vec<usize> = (0..waiting.len()).collect();
            for i in (1..order.len()).rev() {
                order.swap(i, rng.below(i as u64 + 1) as usize);
            }
            for i in order {
                let (offset, data) = waiting[i];
                match rng.below(3) {
                    0 => put(&mut some, offset, data),
                    1 => tear(&mut some, offset, data, rng),
                    _ => {}
                }
            }
            check(some, at, rng, "some writes done, torn");
            points += 1;
        }
        match events.get(at) {
            Some(Event::Write(offset, data)) => waiting.push((*offset, data)),
            Some(Event::Flush) => {
                for (offset, data) in waiting.drain(..) {
                    put(&mut stable, offset, data);
                }
            }
            None => {}
        }
    }
    points
}
