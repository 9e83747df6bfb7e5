//! What is measured: rows of the table, and the jobs that fill them.

use crate::context::Context;
use crate::side::Side;
use serde::{Deserialize, Serialize};
use std::rc::Rc;

/// What a row's figures count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Unit {
    /// Nanoseconds per operation.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Milliseconds for the whole.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Microseconds of processor time per request, of all the server's processes.
    #[serde(rename = "us cpu")]
    CpuMicroseconds,
    /// Requests, transactions or operations per second: more is better.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Contents of files: more is better.
    #[serde(rename = "MiB/s")]
    MebibytesPerSecond,
    /// Resident memory of all processes.
    #[serde(rename = "MiB")]
    Mebibytes,
}

impl Unit {
    /// How much worse than `native` this is: below 1 is better.
    pub fn ratio(self, native: f64, other: f64) -> f64 {
        match self {
            Unit::PerSecond | Unit::MebibytesPerSecond => native / other,
            _ => other / native,
        }
    }
}

/// What a row is meant to reach.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// At most this ratio to native.
    Ratio(f64),
    /// At most this ratio, and less than so much.
    RatioAndBelow(f64, f64),
    /// At most so much more than native.
    Beyond(f64),
}

impl Target {
    /// Whether these medians reach it.
    pub fn met(self, unit: Unit, native: f64, other: f64) -> bool {
        let ratio = unit.ratio(native, other);
        match self {
            Target::Ratio(most) => ratio <= most,
            Target::RatioAndBelow(most, below) => ratio <= most && other < below,
            Target::Beyond(most) => other - native <= most,
        }
    }
}

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub unit: Unit,
    pub target: Option<Target>,
}

impl Row {
    pub fn new(name: impl Into<String>, unit: Unit) -> Self {
        Row {
            name: name.into(),
            unit,
            target: None,
        }
    }

    pub fn target(self, target: Target) -> Self {
        Row {
            target: Some(target),
            ..self
        }
    }

    /// The ratio to native that it is meant to reach.
    pub fn at_most(self, ratio: f64) -> Self {
        self.target(Target::Ratio(ratio))
    }
}

/// One measurement: a figure for each row of the job, or none where the machine cannot do it.
pub type Figures = Vec<Option<f64>>;

/// Measures once. What it needs (a server) lives as long as it does.
pub type Round = Box<dyn FnMut() -> Result<Figures, String>>;

/// Work that is prepared once per side, then measured once per round on each side in turn.
pub struct Job {
    pub name: &'static str,
    pub rows: Vec<Row>,
    /// The row for the memory that the job's processes hold at most in the round that warms up.
    pub memory: Option<Row>,
    /// Why this machine cannot do it.
    pub missing: Option<String>,
    /// Whether a side takes part.
    pub takes: fn(&Side) -> bool,
    pub prepare: Box<dyn Fn(&Rc<Context>, &Rc<Side>) -> Result<Round, String>>,
}

impl Job {
    pub fn new(
        name: &'static str,
        rows: Vec<Row>,
        prepare: impl Fn(&Rc<Context>, &Rc<Side>) -> Result<Round, String> + 'static,
    ) -> Self {
        Job {
            name,
            rows,
            memory: None,
            missing: None,
            takes: Side::is_general,
            prepare: Box::new(prepare),
        }
    }

    /// Measures it on other sides than the usual ones.
    pub fn on(self, takes: fn(&Side) -> bool) -> Self {
        Job { takes, ..self }
    }

    /// Adds the row `memory/NAME`.
    pub fn with_memory(self) -> Self {
        let name = format!("memory/{}", self.name);
        Job {
            memory: Some(Row::new(name, Unit::Mebibytes)),
            ..self
        }
    }

    /// Skips it where one of these programs is not installed.
    pub fn needs(mut self, programs: &[&str]) -> Self {
        let absent = programs.iter().find(|p| crate::side::find(p).is_none());
        if let Some(program) = absent {
            self.missing = Some(format!("{program} is not installed"));
        }
        self
    }
}
