//! From the command to the end of a program that does nothing, and what it holds while it rests.

use crate::context::Context;
use crate::job::{Job, Row, Target, Unit};
use crate::process::{resting_memory, run};
use std::path::{Path, PathBuf};

/// How a program is made or found, and the words after it: the program alone does nothing and ends;
/// with the last word too it says something and waits.
struct Start {
    /// What the two jobs are called, and their rows.
    starts: &'static str,
    rests: &'static str,
    needs: &'static str,
    program: fn(&Context) -> Result<PathBuf, String>,
    /// Words for the program that ends, and for the one that stays.
    ends: &'static [&'static str],
    stays: &'static [&'static str],
    /// How often it is started in a round.
    times: u32,
}

const STARTS: [Start; 5] = [
    Start {
        starts: "start/c",
        rests: "memory/c",
        needs: "gcc",
        program: |context| context.c("hello", &["apps/hello.c"], &[]),
        ends: &[],
        stays: &["stay"],
        times: 10,
    },
    Start {
        starts: "start/c-static",
        rests: "memory/c-static",
        needs: "gcc",
        program: |context| context.c("hello-static", &["apps/hello.c"], &["-static"]),
        ends: &[],
        stays: &["stay"],
        times: 10,
    },
    Start {
        starts: "start/python",
        rests: "memory/python",
        needs: "python3",
        program: |_| Ok("/usr/bin/python3".into()),
        ends: &["-c", "pass"],
        stays: &["-c", "print('hello', flush=True); input()"],
        times: 5,
    },
    Start {
        starts: "start/node",
        rests: "memory/node",
        needs: "node",
        program: |_| Ok("/usr/bin/node".into()),
        ends: &["-e", "0"],
        stays: &["-e", "console.log('hello'); process.stdin.resume()"],
        times: 3,
    },
    Start {
        starts: "start/java",
        rests: "memory/java",
        needs: "javac",
        program: |context| {
            // The classes lie in the working directory.
            context.java("apps/Hello.java")?;
            Ok("/usr/bin/java".into())
        },
        ends: &["-cp", "bin/classes", "Hello"],
        stays: &["-cp", "bin/classes", "Hello", "stay"],
        times: 3,
    },
];

pub fn jobs() -> Vec<Job> {
    STARTS
        .iter()
        .flat_map(|start| [time(start), memory(start)])
        .collect()
}

fn time(start: &'static Start) -> Job {
    let mut row = Row::new(start.starts, Unit::Milliseconds);
    if start.starts == "start/c" {
        row = row.target(Target::RatioAndBelow(3.0, 10.0));
    }
    let job = Job::new(start.starts, vec![row], move |context, side| {
        let program = (start.program)(context)?;
        let (context, side) = (context.clone(), side.clone());
        let times = context.amount(start.times, 1);
        Ok(Box::new(move || {
            let once = || {
                let mut command = side.command(&program, context.scratch());
                command.args(start.ends);
                Ok(run(command, Some(&side))?.0.as_secs_f64() * 1000.0)
            };
            let mut took = (0..times)
                .map(|_| once())
                .collect::<Result<Vec<f64>, String>>()?;
            took.sort_by(f64::total_cmp);
            Ok(vec![Some(took[took.len() / 2])])
        }))
    });
    job.needs(&[start.needs])
}

fn memory(start: &'static Start) -> Job {
    let mut row = Row::new(start.rests, Unit::Mebibytes);
    if start.rests == "memory/c" {
        row = row.target(Target::Beyond(8.0));
    }
    let job = Job::new(start.rests, vec![row], move |context, side| {
        let program = (start.program)(context)?;
        let (context, side) = (context.clone(), side.clone());
        Ok(Box::new(move || {
            let mut command = side.command(Path::new(&program), context.scratch());
            command.args(start.stays);
            Ok(vec![Some(resting_memory(command)?)])
        }))
    });
    job.needs(&[start.needs])
}
