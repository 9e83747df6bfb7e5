//! Sealed volumes beside the file system that they lie on and, where it is installed, gocryptfs.

mod cipher;
mod place;

use crate::apps::{postgres, programs};
use crate::context::Context;
use crate::job::{Figures, Job, Round, Row, Unit};
use crate::process::run;
use crate::side::Side;
use place::Place;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What `io.c` does, in this order: the row, the operation, how much (and when that is to be
/// quick), and whether it finds nothing in the host's memory.
const OPERATIONS: [(&str, &str, Unit, u32, u32, bool); 8] = [
    (
        "write-1g",
        "write",
        Unit::MebibytesPerSecond,
        1024,
        16,
        false,
    ),
    ("read-1g", "read", Unit::MebibytesPerSecond, 1024, 16, true),
    (
        "random-read-4k",
        "random-read",
        Unit::PerSecond,
        20_000,
        100,
        true,
    ),
    (
        "random-write-4k",
        "random-write",
        Unit::PerSecond,
        20_000,
        100,
        true,
    ),
    ("fsync", "fsync", Unit::PerSecond, 500, 10, false),
    ("create", "create", Unit::PerSecond, 100_000, 1000, false),
    ("stat", "stat", Unit::PerSecond, 100_000, 1000, true),
    ("unlink", "unlink", Unit::PerSecond, 100_000, 1000, true),
];

/// They take long and write much, and so are measured only when they are named.
pub fn jobs() -> Vec<Job> {
    vec![cipher::job(), io(), sqlite(), pgbench()]
}

fn job(
    name: &'static str,
    rows: Vec<Row>,
    prepare: impl Fn(&Rc<Context>, &Rc<Side>) -> Result<Round, String> + 'static,
) -> Job {
    Job::new(name, rows, prepare).on(Side::has_volumes)
}

fn io() -> Job {
    let rows = OPERATIONS.map(|(name, _, unit, ..)| Row::new(format!("volume/{name}"), unit));
    job("volume-io", rows.into(), |context, side| {
        let program = context.c("io", &["volume/io.c"], &[])?;
        let place = Place::new(context, side, "io", "3G")?;
        let context = context.clone();
        Ok(Box::new(move || {
            let mut figures = Figures::new();
            for (_, operation, _, full, quick, cold) in OPERATIONS {
                if cold {
                    forget();
                }
                if operation == "fsync" {
                    settle(place.dir())?;
                }
                let mut command = place.command(&program);
                command.arg(place.files()).arg(operation);
                command.arg(context.amount(full, quick).to_string());
                let said = run(command, Some(place.side()))?.1;
                let figure = said.trim().parse();
                figures.push(Some(figure.map_err(|_| format!("it said {said:?}"))?));
            }
            let mut clean = place.command(Path::new("/bin/rm"));
            clean.arg("-rf");
            clean.args(["large", "synced", "files"].map(|name| place.files().join(name)));
            run(clean, None)?;
            Ok(figures)
        }))
    })
    .needs(&["gcc"])
    .with_memory()
}

/// Makes the host read from the disk again. Who may not leaves it as it is.
fn forget() {
    rustix::fs::sync();
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
}

/// Waits, for a minute at most, until the disk has done what it was given before: on many, and on
/// all virtual ones, a flush waits for all that anybody wrote.
fn settle(dir: &Path) -> Result<(), String> {
    let flush = || -> io::Result<Duration> {
        let mut file = File::create(dir.join("settle"))?;
        file.write_all(&[1; 4096])?;
        let start = Instant::now();
        file.sync_all()?;
        Ok(start.elapsed())
    };
    rustix::fs::sync();
    let (deadline, mut quick) = (Instant::now() + Duration::from_secs(60), 0);
    while quick < 20 && Instant::now() < deadline {
        let took = flush().map_err(|error| error.to_string())?;
        quick = if took < QUICK { quick + 1 } else { 0 };
    }
    Ok(())
}

/// A flush of a disk that has nothing else to do.
const QUICK: Duration = Duration::from_millis(2);

fn sqlite() -> Job {
    const SCRIPT: &str = "cd $3; db=$2/speed.db; trap 'rm -f $db' EXIT
        [ $1 = 1 ] && sed -i s/100000/1000/ speed.sql
        sqlite3 -cmd 'PRAGMA synchronous = FULL' $db <speed.sql";
    let row = Row::new("volume/sqlite", Unit::Milliseconds);
    job("volume-sqlite", vec![row], |context, side| {
        let place = Place::new(context, side, "sqlite", "256M")?;
        programs::sql(place.dir()).map_err(|error| error.to_string())?;
        let context = context.clone();
        Ok(Box::new(move || {
            settle(place.dir())?;
            let mut command = place.command(Path::new("/bin/bash"));
            command.args(["-c", SCRIPT, "sqlite"]);
            command.arg(programs::quick(&context));
            command.args([place.files(), place.dir()]);
            let (took, _) = run(command, Some(place.side()))?;
            Ok(vec![Some(took.as_secs_f64() * 1000.0)])
        }))
    })
    .needs(&["sqlite3"])
    .with_memory()
}

fn pgbench() -> Job {
    let row = Row::new("volume/pgbench", Unit::PerSecond);
    let mut job = job("volume-pgbench", vec![row], |context, side| {
        let place = Place::new(context, side, "pgbench", "1G")?;
        let mut give = place.command(Path::new("/bin/chown"));
        give.arg("postgres").arg(place.files());
        run(give, None)?;
        let setpriv = place.command(Path::new("/usr/bin/setpriv"));
        let server = postgres::start(
            side,
            setpriv,
            place.dir(),
            place.port(),
            Some(place.files()),
        )?;
        let context = context.clone();
        Ok(Box::new(move || {
            // Taken first, the server ends first: it keeps files of the place open.
            let (server, place) = (&server, &place);
            settle(place.dir())?;
            let figures =
                postgres::bench(&context, server, place.port(), place.dir(), "--no-vacuum")?;
            Ok(vec![figures[0]])
        }))
    });
    if postgres::programs().is_none() {
        job.missing = Some("PostgreSQL is not installed".into());
    }
    job.needs(&["pgbench", "pg_isready", "setpriv"])
        .with_memory()
}
