//! The power is cut at every write and flush of a workload: the volume opens at the last state that
//! was made durable or a later one, with every byte that was, and nothing in it is wrong.
//!
//! Between two flushes the disk may have done any of the writes, in any order, sector by sector.
//! `BASTIDE_CRASH_POINTS` says how many points are tried at least.

mod common;

use common::model::{Both, Did, Model, Shape};
use common::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Crash points in a usual run.
const POINTS: u64 = 20_000;

/// A state that was made durable: by which events, and what is to be seen of it.
struct Durable {
    begun: usize,
    done: usize,
    dump: Dump,
}

struct Workload {
    image: Vec<u8>,
    events: Vec<Event>,
    states: Vec<Durable>,
}

/// Runs random operations, and notes what was durable when.
fn work(seed: u64, size: u64, steps: u32, shape: Shape) -> Workload {
    let disk = Disk::default();
    // Every shape comes with compression and without, as seeds go on.
    let volume = create_as(&disk, size, (seed + seed / 4) % 2 == 1);
    let image = disk.data();
    disk.record();
    let mut both = Both {
        volume,
        model: Model::default(),
        held: Vec::new(),
        rng: Rng(seed),
        shape,
    };
    let mut durable = both.model.clone();
    let mut states = vec![Durable {
        begun: 0,
        done: 0,
        dump: durable.dump(),
    }];
    for _ in 0..steps {
        let (begun, before) = (disk.now(), both.model.clone());
        let generation = both.volume.usage().generation;
        let did = both.step();
        let committed = both.volume.usage().generation != generation;
        match did {
            Did::Commit => durable = both.model.clone(),
            Did::Sync(_) if committed => durable = both.model.clone(),
            Did::Sync(ino) => {
                if let (Some(to), Some(from)) = (durable.0.get_mut(&ino), both.model.0.get(&ino)) {
                    (to.mode, to.uid) = (from.mode, from.uid);
                    to.data.clone_from(&from.data);
                }
            }
            // A commit that came before the operation, unasked.
            Did::Change if committed => durable = before,
            Did::Change => continue,
        }
        states.push(Durable {
            begun,
            done: disk.now(),
            dump: durable.dump(),
        });
    }
    let events = disk.0.lock().unwrap().events.take().unwrap();
    Workload {
        image,
        events,
        states,
    }
}

/// Opens what a power cut left, and compares.
fn check(image: Vec<u8>, at: usize, work: &Workload, rng: &mut Rng, what: &str) {
    let last = work.states.partition_point(|s| s.done <= at) - 1;
    let allowed: Vec<&Durable> = (work.states[last..].iter())
        .take_while(|s| s.begun <= at)
        .collect();
    let disk = Disk::with(image);
    let again = rng.one_in(8).then(|| disk.data());
    if again.is_some() {
        disk.record();
    }
    let mut volume = open(&disk).unwrap_or_else(|e| panic!("{what} at {at}: {e}"));
    let seen = dump(&mut volume).unwrap_or_else(|e| panic!("{what} at {at}: {e}"));
    if !allowed.iter().any(|s| s.dump == seen) {
        let expected = &allowed[0].dump;
        panic!("{what} at {at}: {seen:#?}\ninstead of, or later than, {expected:#?}");
    }
    let problems = fsck(&mut volume);
    assert!(problems.is_empty(), "{what} at {at}: {problems:#?}");
    // The power may fail again while the volume recovers.
    if let Some(mut image) = again {
        let events = disk.0.lock().unwrap().events.take().unwrap();
        let cut = rng.below(events.len() as u64 + 1) as usize;
        for event in &events[..cut] {
            if let Event::Write(offset, data) = event {
                put(&mut image, *offset, data);
            }
        }
        let mut volume = open(&Disk::with(image)).unwrap();
        assert_eq!(dump(&mut volume).unwrap(), seen, "{what} at {at}, twice");
        assert!(fsck(&mut volume).is_empty());
    }
}

#[test]
fn every_power_cut_leaves_a_durable_state() {
    let wanted = std::env::var("BASTIDE_CRASH_POINTS")
        .ok()
        .map_or(POINTS, |n| n.parse().unwrap());
    let (points, seed) = (AtomicU64::new(0), AtomicU64::new(1));
    let shapes = [
        (512 * 1024, 1500, 5000, 8, 1000),
        (768 * 1024, 9000, 30_000, 12, 1000),
        (1 << 20, 40_000, 100_000, 6, 1000),
        // Long enough not to wait in memory.
        (4 << 20, 700_000, 900_000, 4, 60),
    ];
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while points.load(Ordering::Relaxed) < wanted {
                    let seed = seed.fetch_add(1, Ordering::Relaxed);
                    let (size, write, file, names, steps) = shapes[seed as usize % shapes.len()];
                    let shape = Shape { write, file, names };
                    let work = work(seed, size, steps, shape);
                    let mut rng = Rng(seed << 20);
                    let image = work.image.clone();
                    let mut see = |image: Vec<u8>, at: usize, rng: &mut Rng, what: &str| {
                        check(image, at, &work, rng, what);
                    };
                    let n = cut_everywhere(image, &work.events, 3, &mut rng, &mut see);
                    points.fetch_add(n, Ordering::Relaxed);
                }
            });
        }
    });
    println!("{} crash points", points.load(Ordering::Relaxed));
}
