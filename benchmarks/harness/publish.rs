//! Where results go: target/benchmarks always, this directory when they are to be published.

use crate::chart::svg;
use crate::context::benchmarks;
use crate::report::Report;
use std::fs;
use std::path::{Path, PathBuf};

/// What the table in README.md stands between.
const BEGIN: &str = "<!-- results: written by benchmarks/run --publish -->\n";
const END: &str = "<!-- end of results -->\n";

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

/// Writes JSON and picture beside README.md, and the table into it.
pub fn publish(report: &Report) -> Result<(), String> {
    write_both(report, benchmarks())?;
    let file = benchmarks().join("README.md");
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let (before, rest) = text
        .split_once(BEGIN)
        .ok_or("README.md lost its mark for results")?;
    let (_, after) = rest
        .split_once(END)
        .ok_or("README.md lost its mark for the end of results")?;
    write(
        &file,
        &format!(
            "{before}{BEGIN}\n![ratios](ratios.svg)\n\n{}\n{END}{after}",
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
