//! Rounds: each side in turn, again and again, so that what disturbs the machine disturbs all.

use crate::context::Context;
use crate::job::{Figures, Job, Round};
use crate::process::memory;
use crate::report::{Line, Measured, Skipped};
use crate::side::Side;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A side that still takes part, with what it has shown.
struct Part {
    side: Rc<Side>,
    round: Round,
    /// For each row.
    samples: Vec<Vec<f64>>,
    memory: Option<f64>,
}

/// Measures a job on all sides.
pub fn measure(
    job: &Job,
    context: &Rc<Context>,
    sides: &[Rc<Side>],
    rounds: usize,
    skipped: &mut Vec<Skipped>,
) -> Vec<Line> {
    let mut skip = |side: Option<&Side>, why: String| {
        let side = side.map(|side| side.name().to_owned());
        eprintln!(
            "{}: {}: {why}",
            job.name,
            side.as_deref().unwrap_or("skipped")
        );
        skipped.push(Skipped {
            name: job.name.into(),
            side,
            why,
        });
    };
    if let Some(why) = &job.missing {
        skip(None, why.clone());
        return Vec::new();
    }
    let mut parts = Vec::new();
    for side in sides.iter().filter(|side| (job.takes)(side)) {
        eprintln!("{}: {} warms up", job.name, side.name());
        match warm_up(job, context, side) {
            Ok(part) => parts.push(part),
            Err(why) => skip(Some(side), why),
        }
    }
    for number in 1..=rounds {
        eprintln!("{}: round {number} of {rounds}", job.name);
        // Who fails once takes no further part, and what he has shown does not count.
        parts.retain_mut(|part| match part.turn() {
            Ok(figures) => {
                part.add(figures);
                true
            }
            Err(why) => {
                skip(Some(&part.side), why);
                false
            }
        });
    }
    let row = |index: usize| {
        let sides = parts.iter().filter_map(|part| {
            let measured = Measured::new(part.samples[index].clone())?;
            Some((part.side.name().to_owned(), measured))
        });
        sides.collect::<BTreeMap<_, _>>()
    };
    let mut lines: Vec<_> = job
        .rows
        .iter()
        .enumerate()
        .map(|(index, line)| Line::new(line, row(index)))
        .collect();
    lines.extend(job.memory.as_ref().map(|row| {
        let sides = parts.iter().filter_map(|part| {
            let measured = Measured::new(vec![part.memory?])?;
            Some((part.side.name().to_owned(), measured))
        });
        Line::new(row, sides.collect())
    }));
    lines
}

/// Prepares the job and runs it once; only the memory is looked at.
fn warm_up(job: &Job, context: &Rc<Context>, side: &Rc<Side>) -> Result<Part, String> {
    let mut round = (job.prepare)(context, side)?;
    let watch = job.memory.is_some().then(|| Watch::new(side));
    let figures = round();
    // It may be over before anybody looks.
    let memory = watch.map(Watch::end).filter(|most| *most > 0.0);
    let rows = figures?.len();
    Ok(Part {
        side: side.clone(),
        round,
        samples: vec![Vec::new(); rows],
        memory,
    })
}

impl Part {
    fn turn(&mut self) -> Result<Figures, String> {
        thread::sleep(REST);
        (self.round)()
    }

    fn add(&mut self, figures: Figures) {
        for (samples, figure) in self.samples.iter_mut().zip(figures) {
            samples.extend(figure);
        }
    }
}

/// Between two turns: what one has left behind ends meanwhile, not at the expense of the next.
const REST: Duration = Duration::from_millis(50);

/// Looks every few milliseconds at how much memory a side's work holds.
struct Watch {
    done: Arc<AtomicBool>,
    thread: thread::JoinHandle<f64>,
}

impl Watch {
    fn new(side: &Side) -> Self {
        let (processes, done) = (side.processes(), Arc::new(AtomicBool::new(false)));
        let stop = done.clone();
        let thread = thread::spawn(move || {
            let mut most = 0.0_f64;
            while !stop.load(Ordering::Relaxed) {
                let roots = processes.iter().map(|p| p.load(Ordering::Relaxed));
                most = most.max(roots.filter(|root| *root != 0).map(memory).sum());
                thread::sleep(Duration::from_millis(20));
            }
            most
        });
        Watch { done, thread }
    }

    /// The most that it saw, in MiB.
    fn end(self) -> f64 {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or(0.0)
    }
}
