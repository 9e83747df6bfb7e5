//! Single operations, timed by a program that runs inside.

use crate::context::Context;
use crate::job::{Figures, Job, Row, Unit};
use crate::process::run;
use crate::side::Side;
use std::path::{Path, PathBuf};
use std::rc::Rc;

const SOURCES: [&str; 6] = [
    "micro/main.c",
    "micro/calls.c",
    "micro/ipc.c",
    "micro/memory.c",
    "micro/files.c",
    "micro/processes.c",
];

/// The operations of each family, and what they are meant to reach at most.
type Family = (&'static str, &'static [(&'static str, Option<f64>)]);

const FAMILIES: [Family; 6] = [
    (
        "micro/calls",
        &[
            ("getpid", Some(0.35)),
            ("clock-gettime-vdso", Some(1.2)),
            ("clock-gettime-call", None),
            ("read-zero", Some(0.35)),
            ("write-null", Some(0.35)),
            ("eventfd", Some(0.35)),
            ("futex-wake", Some(0.35)),
            ("epoll-wait", Some(0.35)),
            ("self-signal", None),
        ],
    ),
    (
        "micro/ipc",
        &[
            ("pipe-write-read", Some(1.0)),
            ("pipe-threads-same-cpu", Some(1.0)),
            ("pipe-threads-cross-cpu", Some(1.0)),
            ("pipe-processes-same-cpu", Some(1.0)),
            ("pipe-processes-cross-cpu", Some(1.0)),
            ("socketpair-threads-same-cpu", Some(1.0)),
            ("socketpair-threads-cross-cpu", Some(1.0)),
            ("socketpair-processes-same-cpu", Some(1.0)),
            ("socketpair-processes-cross-cpu", Some(1.0)),
            ("tcp-threads-same-cpu", None),
            ("tcp-threads-cross-cpu", None),
            ("tcp-processes-same-cpu", None),
            ("tcp-processes-cross-cpu", None),
            ("futex-threads-same-cpu", Some(1.0)),
            ("futex-threads-cross-cpu", Some(1.0)),
            ("futex-processes-same-cpu", Some(1.0)),
            ("futex-processes-cross-cpu", Some(1.0)),
        ],
    ),
    // Among processes of one enclave.
    (
        "micro/loopback",
        &[
            ("tcp-inside-threads-same-cpu", None),
            ("tcp-inside-threads-cross-cpu", None),
            ("tcp-inside-processes-same-cpu", None),
            ("tcp-inside-processes-cross-cpu", None),
        ],
    ),
    (
        "micro/memory",
        &[
            ("mmap-munmap", None),
            ("mmap-touch-munmap", Some(1.3)),
            ("page-fault", Some(1.3)),
            ("mprotect", Some(1.3)),
        ],
    ),
    (
        "micro/files",
        &[
            ("open-close", Some(0.35)),
            ("stat", Some(0.35)),
            ("pread-4k", Some(0.35)),
        ],
    ),
    (
        "micro/processes",
        &[
            ("fork-exit-wait", Some(1.5)),
            ("posix-spawn-exec-wait", Some(1.5)),
            ("pthread-create-join", None),
        ],
    ),
];

pub fn jobs(wanted: &dyn Fn(&str) -> bool) -> Vec<Job> {
    let row = |name: &str, target: Option<f64>| {
        let row = Row::new(format!("micro/{name}"), Unit::Nanoseconds);
        match target {
            Some(ratio) => row.at_most(ratio),
            None => row,
        }
    };
    let mut jobs = Vec::new();
    for (family, operations) in FAMILIES {
        let rows = operations.iter().map(|(name, target)| row(name, *target));
        // Only the operations that are wanted are run.
        let rows: Vec<Row> = rows.filter(|row| wanted(&row.name)).collect();
        jobs.push(job(family, rows, |context| {
            context.c("micro", &SOURCES, &[])
        }));
        if family == "micro/calls" {
            // What no library can intercept: a static program, and one of Go.
            let rows = vec![row("getpid-static", Some(0.35))];
            jobs.push(job("micro/calls-static", rows, |context| {
                context.c("micro-static", &SOURCES, &["-static"])
            }));
            let rows = vec![row("getpid-go", Some(0.35))];
            let go = job("micro/calls-go", rows, |context| {
                context.go("getpid-go", "micro/getpid.go")
            });
            jobs.push(go.needs(&["go"]));
        }
    }
    jobs
}

fn job(
    name: &'static str,
    rows: Vec<Row>,
    compile: fn(&Context) -> Result<PathBuf, String>,
) -> Job {
    let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    Job::new(name, rows, move |context, side| {
        let program = compile(context)?;
        let (context, side, names) = (context.clone(), side.clone(), names.clone());
        Ok(Box::new(move || measure(&context, &side, &program, &names)))
    })
    .needs(&["gcc"])
}

/// Runs the program for these rows, and reads its "NAME ns" lines.
fn measure(
    context: &Context,
    side: &Rc<Side>,
    program: &Path,
    names: &[String],
) -> Result<Figures, String> {
    let inside = |name: &String| name.contains("-inside-");
    let mut command = match names.iter().any(inside) {
        true => side.closed_command(program, context.scratch()),
        false => side.command(program, context.scratch()),
    };
    if context.quick {
        command.arg("-q");
    }
    // Where it is another program, or the loopback another, the row has a name of its own.
    let operation = |name: &str| {
        let name = name.trim_start_matches("micro/");
        name.replace("-static", "").replace("-inside", "")
    };
    command.args(names.iter().map(|name| operation(name)));
    let (_, said) = run(command, Some(side))?;
    let figure = |name: &String| {
        let line = said.lines().find_map(|line| {
            line.strip_prefix(&operation(name))
                .and_then(|rest| rest.strip_prefix(' '))
        });
        match line.ok_or_else(|| format!("no line for {name}"))?.parse() {
            Ok(ns) => Ok(Some(ns)),
            // "- reason"
            Err(_) => Ok(None),
        }
    };
    names.iter().map(figure).collect()
}
