//! What came out, as data and as a table.

use crate::job::{Row, Target, Unit};
use crate::machine::Machine;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A whole run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    pub rounds: usize,
    pub quick: bool,
    /// Native first.
    pub sides: Vec<String>,
    pub rows: Vec<Line>,
    /// What was not measured.
    pub skipped: Vec<Skipped>,
}

/// A row with its figures.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    pub name: String,
    pub unit: Unit,
    pub target: Option<Target>,
    pub sides: BTreeMap<String, Measured>,
    /// Of the medians, to native; below 1 is better than native whatever the unit.
    pub ratios: BTreeMap<String, f64>,
    /// Whether Bastide reaches the target.
    pub met: Option<bool>,
}

/// The figures of all rounds on one side.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub samples: Vec<f64>,
}

/// Something that was not measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Skipped {
    pub name: String,
    pub side: Option<String>,
    pub why: String,
}

impl Measured {
    /// None without figures.
    pub fn new(samples: Vec<f64>) -> Option<Self> {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        Some(Measured {
            median,
            min,
            max,
            samples,
        })
    }
}

impl Line {
    pub fn new(row: &Row, sides: BTreeMap<String, Measured>) -> Self {
        let native = sides.get("native").map(|measured| measured.median);
        let others = sides.iter().filter(|(side, _)| *side != "native");
        let ratios = others
            .filter_map(|(side, m)| Some((side.clone(), row.unit.ratio(native?, m.median))))
            .filter(|(_, ratio)| ratio.is_finite())
            .collect();
        let met = row.target.zip(native).zip(sides.get("bastide"));
        let met = met.map(|((target, native), m)| target.met(row.unit, native, m.median));
        Line {
            name: row.name.clone(),
            unit: row.unit,
            target: row.target,
            sides,
            ratios,
            met,
        }
    }
}

impl Line {
    /// The ratio; of memory, of which Bastide itself takes a fixed part, the difference.
    fn beside_native(&self, side: &str) -> Option<String> {
        let median = |side: &str| self.sides.get(side).map(|measured| measured.median);
        Some(match self.unit {
            Unit::Mebibytes => format!("{:+.1} MiB", median(side)? - median("native")?),
            _ => format!("{:.2}", self.ratios.get(side)?),
        })
    }
}

impl Report {
    /// It is about sealed volumes alone.
    pub fn is_of_volumes(&self) -> bool {
        self.rows.iter().all(|line| line.name.contains("volume"))
    }

    /// The table's cells, headings first.
    fn cells(&self) -> Vec<Vec<String>> {
        let mut head = vec![String::new()];
        for side in &self.sides {
            head.push(side.clone());
            head.push("min – max".into());
        }
        head.extend(["ratio", "at most", "met"].map(String::from));
        let others = self
            .sides
            .iter()
            .filter(|side| *side != "native" && *side != "bastide");
        head.extend(others.clone().map(|side| format!("{side} ratio")));
        let lines = self.rows.iter().map(|line| {
            let mut cells = vec![line.name.clone()];
            for side in &self.sides {
                match line.sides.get(side) {
                    Some(m) => {
                        cells.push(format!("{} {}", figure(m.median), unit(line.unit)));
                        cells.push(format!("{} – {}", figure(m.min), figure(m.max)));
                    }
                    None => cells.extend(["–", ""].map(String::from)),
                }
            }
            let ratio = |side: &str| line.beside_native(side).unwrap_or_default();
            cells.push(ratio("bastide"));
            cells.push(line.target.map_or_else(String::new, target));
            let met = line.met.map_or("", |met| if met { "yes" } else { "NO" });
            cells.push(met.into());
            cells.extend(others.clone().map(|side| ratio(side)));
            cells
        });
        std::iter::once(head).chain(lines).collect()
    }

    /// For a terminal.
    pub fn table(&self) -> String {
        let cells = self.cells();
        let width = |column: usize| {
            let lengths = cells.iter().map(|line| line[column].chars().count());
            lengths.max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..cells[0].len()).map(width).collect();
        let mut text = String::new();
        for line in &cells {
            let mut padded = String::new();
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let _ = match column {
                    0 => write!(padded, "{cell:<width$}"),
                    _ => write!(padded, "  {cell:>width$}"),
                };
            }
            let _ = writeln!(text, "{}", padded.trim_end());
        }
        let _ = write!(text, "\n{}", self.summary());
        text
    }

    /// For README.md.
    pub fn markdown(&self) -> String {
        let cells = self.cells();
        let mut text = format!("{}\n", self.summary());
        for (number, line) in cells.iter().enumerate() {
            let _ = writeln!(text, "| {} |", line.join(" | "));
            if number == 0 {
                let _ = writeln!(text, "|---|{}", "--:|".repeat(line.len() - 1));
            }
        }
        text
    }

    /// How many targets are met, what was skipped, and where all this is from.
    fn summary(&self) -> String {
        let aimed = self.rows.iter().filter_map(|line| line.met);
        let (met, all) = (aimed.clone().filter(|met| *met).count(), aimed.count());
        let rounds = match self.rounds {
            1 => "one round".into(),
            number => format!("medians of {number} rounds"),
        };
        let quick = if self.quick { ", quick and coarse" } else { "" };
        let mut text = format!("{} {rounds}{quick}.\n", self.machine.describe());
        if all > 0 {
            let _ = writeln!(text, "{met} of {all} targets met.");
        }
        for skipped in &self.skipped {
            let side = skipped.side.as_deref().unwrap_or("everywhere");
            let _ = writeln!(
                text,
                "Not measured: {} ({side}): {}.",
                skipped.name, skipped.why
            );
        }
        text
    }
}

/// Three digits or more.
fn figure(value: f64) -> String {
    let digits = match value {
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    let plain = format!("{value:.digits$}");
    // Thousands apart.
    let (whole, rest) = plain
        .split_once('.')
        .map_or((plain.as_str(), None), |(w, r)| (w, Some(r)));
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    rest.map_or(text.clone(), |rest| format!("{text}.{rest}"))
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Nanoseconds => "ns",
        Unit::Milliseconds => "ms",
        Unit::CpuMicroseconds => "µs",
        Unit::PerSecond => "/s",
        Unit::MebibytesPerSecond => "MiB/s",
        Unit::Mebibytes => "MiB",
    }
}

fn target(target: Target) -> String {
    match target {
        Target::Ratio(most) => format!("{most:.2}"),
        Target::RatioAndBelow(most, below) => format!("{most:.2}, {below} ms"),
        Target::Beyond(most) => format!("+{most} MiB"),
    }
}
