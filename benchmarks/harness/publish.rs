//! Where results go: target/benchmarks always, this directory when they are to be published.

use crate::chart::svg;
use crate::context::benchmarks;
use crate::report::Report;
use std::fs;
use std::path::{Path, PathBuf};

/// What the tables in README.md stand between: of everything, and of volumes alone.
const ALL: [&str; 2] = [
    "<!-- results: written by benchmarks/run --publish -->\n",
    "<!-- end of results -->\n",
];
const VOLUMES: [&str; 2] = [
    "<!-- results: written by benchmarks/run --publish volume -->\n",
    "<!-- end of results for volumes -->\n",
];

pub fn json(report: &Report) -> String {
    let text = serde_json::to_string_pretty(report).expect("a report has no odd keys");
    text + "\n"
}

/// What an earlier run wrote.
pub fn read(file: &Path) -> Result<Report, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
}

/// Writes JSON and picture below target/, and returns the JSON's path.
pub fn keep(report: &Report) -> Result<PathBuf, String> {
    // Quick figures do not overwrite good ones.
    let kind = if report.quick { "quick" } else { "full" };
    let dir = benchmarks().join("../target/benchmarks").join(kind);
    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let dir = dir.canonicalize().unwrap_or(dir);
    write_both(report, &dir)?;
    Ok(dir.join("results.json"))
}

/// Writes JSON and picture beside README.md, and the table into it. Of volumes alone, the table.
pub fn publish(report: &Report) -> Result<(), String> {
    let volumes = report.is_of_volumes();
    let [begin, end] = if volumes { VOLUMES } else { ALL };
    let picture = if volumes {
        ""
    } else {
        "![ratios](ratios.svg)\n\n"
    };
    if !volumes {
        write_both(report, benchmarks())?;
    }
    let file = benchmarks().join("README.md");
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let (before, rest) = text
        .split_once(begin)
        .ok_or("README.md lost its mark for results")?;
    let (_, after) = rest
        .split_once(end)
        .ok_or("README.md lost its mark for the end of results")?;
    write(
        &file,
        &format!(
            "{before}{begin}\n{picture}{}\n{end}{after}",
            report.markdown()
        ),
    )
}

fn write_both(report: &Report, dir: &Path) -> Result<(), String> {
    write(&dir.join("results.json"), &json(report))?;
    write(&dir.join("ratios.svg"), &svg(report))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
