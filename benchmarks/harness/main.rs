//! `benchmarks/run`: the same work natively, under Bastide and under gVisor, in turn.

#[path = "../apps/mod.rs"]
mod apps;
mod chart;
mod context;
mod job;
mod machine;
mod measure;
#[path = "../micro/mod.rs"]
mod micro;
mod process;
mod publish;
mod report;
mod side;
#[path = "../volume/mod.rs"]
mod volume;

use clap::Parser;
use context::Context;
use job::Job;
use machine::Machine;
use report::Report;
use side::Side;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

/// Times the same work natively, under Bastide and, where `runsc` is installed, under gVisor.
///
/// The sides take turns in each round. What is printed are the medians of all rounds, and their
/// ratio to native; below 1 is better than native. target/benchmarks holds the same as JSON, and the
/// ratios as a picture.
#[derive(Parser)]
#[command(name = "benchmarks/run")]
struct Arguments {
    /// Only rows with one of these in their name: `micro`, `start`, `apps`, `memory`, `redis` …;
    /// `volume` is measured only when it is named
    names: Vec<String>,

    /// How often each side is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Short and coarse: to see that all of it works
    #[arg(long)]
    quick: bool,

    /// Prints JSON instead of the table
    #[arg(long)]
    json: bool,

    /// Writes the table into benchmarks/README.md, and ratios.svg and results.json beside it
    #[arg(long)]
    publish: bool,

    /// Measures nothing, but takes what an earlier run wrote
    #[arg(long, value_name = "JSON")]
    from: Option<PathBuf>,

    /// Lists the rows
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match benchmarks(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("benchmarks/run: {why}");
            ExitCode::FAILURE
        }
    }
}

fn benchmarks(arguments: &Arguments) -> Result<(), String> {
    let jobs = jobs(&arguments.names);
    if jobs.is_empty() {
        let names = arguments.names.join(", ");
        return Err(format!("no row has {names} in its name; --list lists them"));
    }
    if arguments.list {
        for row in jobs
            .iter()
            .flat_map(|job| job.rows.iter().chain(&job.memory))
        {
            println!("{}", row.name);
        }
        return Ok(());
    }
    let report = match &arguments.from {
        Some(file) => publish::read(file)?,
        None => measure(&jobs, arguments)?,
    };
    let results = publish::keep(&report)?;
    if arguments.json {
        print!("{}", publish::json(&report));
    } else {
        print!("{}", report.table());
    }
    eprintln!("written to {}", results.display());
    if arguments.publish {
        publish::publish(&report)?;
    }
    Ok(())
}

fn measure(jobs: &[Job], arguments: &Arguments) -> Result<Report, String> {
    let context = Rc::new(Context::new(arguments.quick));
    let sides = Side::all(context.scratch())
        .map_err(|error| format!("cannot copy Bastide's executable to measure it: {error}"))?;
    let sides: Vec<_> = sides.into_iter().map(Rc::new).collect();
    let rounds = arguments.rounds as usize;
    let machine = Machine::this();
    let mut skipped = Vec::new();
    let mut rows = Vec::new();
    for job in jobs {
        rows.extend(measure::measure(
            job,
            &context,
            &sides,
            rounds,
            &mut skipped,
        ));
    }
    // A job measures all its rows or none; of the table only some may be wanted.
    rows.retain(|line| wanted(&arguments.names, &line.name));
    rows.sort_by_key(|line| line.name.starts_with("memory/"));
    Ok(Report {
        machine,
        rounds,
        quick: arguments.quick,
        sides: sides
            .iter()
            .map(|side| side.name().to_owned())
            .filter(|side| rows.iter().any(|row| row.sides.contains_key(side)))
            .collect(),
        rows,
        skipped,
    })
}

/// The jobs that have a wanted row.
fn jobs(names: &[String]) -> Vec<Job> {
    let mut jobs = micro::jobs(&|row| wanted(names, row));
    jobs.extend(apps::jobs());
    if !names.is_empty() {
        jobs.extend(volume::jobs());
    }
    jobs.retain(|job| {
        let mut rows = job.rows.iter().chain(&job.memory);
        rows.any(|row| wanted(names, &row.name))
    });
    jobs
}

fn wanted(names: &[String], row: &str) -> bool {
    names.is_empty() || names.iter().any(|name| row.contains(name.as_str()))
}
