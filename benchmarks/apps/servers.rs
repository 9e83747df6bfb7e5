//! Servers, with their clients outside: throughput, and the processor time that a request costs
//! the server.

use super::client::memcached;
use crate::context::Context;
use crate::job::{Figures, Job, Round, Row, Unit};
use crate::process::{Server, free_port, listens, run};
use crate::side::{Side, find};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

pub fn jobs() -> Vec<Job> {
    vec![redis(), nginx(), memcached_job(), go()]
}

/// A row for throughput and one for processor time per request.
pub fn rows(name: &str, at_most: Option<f64>, cpu_at_most: Option<f64>) -> [Row; 2] {
    let aim = |row: Row, ratio| match ratio {
        Some(ratio) => row.at_most(ratio),
        None => row,
    };
    [
        aim(Row::new(format!("apps/{name}"), Unit::PerSecond), at_most),
        aim(
            Row::new(format!("apps/{name}/cpu"), Unit::CpuMicroseconds),
            cpu_at_most,
        ),
    ]
}

/// The figures for such rows: `load` returns the number of requests and their number per second.
pub fn loaded(
    server: &Server,
    load: impl FnOnce() -> Result<(f64, f64), String>,
) -> Result<[Option<f64>; 2], String> {
    let before = server.cpu();
    let (requests, per_second) = load()?;
    let used = (server.cpu() - before).as_secs_f64();
    Ok([Some(per_second), Some(used * 1e6 / requests)])
}

/// A server for a side, in a directory of its own, on a port that `command` puts in its words.
fn start(
    context: &Context,
    side: &Rc<Side>,
    name: &str,
    words: impl FnOnce(&Path, u16) -> Result<Vec<String>, String>,
) -> Result<(Server, u16), String> {
    let dir = context.dir(&format!("{name}-{}", side.name()))?;
    let port = free_port();
    let words = words(&dir, port)?;
    let mut command = side.command(&words[0], &dir);
    command.args(&words[1..]);
    let server = Server::start(command, side, &dir.join("log"), || listens(port))?;
    Ok((server, port))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

/// A client outside; returns what it says.
fn client(context: &Context, words: &[&str]) -> Result<String, String> {
    let program = find(words[0]).ok_or_else(|| format!("no {}", words[0]))?;
    let mut command = bastide_tests::command(program, context.scratch());
    command.args(&words[1..]);
    Ok(run(command, None)?.1)
}

fn redis() -> Job {
    const TESTS: [(&str, &str, bool); 4] = [
        ("redis-set", "set", false),
        ("redis-get", "get", false),
        ("redis-set-pipelined", "set", true),
        ("redis-get-pipelined", "get", true),
    ];
    let aims = |pipelined| if pipelined { None } else { Some(1.1) };
    let all = TESTS
        .iter()
        .flat_map(|(name, _, pipelined)| rows(name, aims(*pipelined), aims(*pipelined)));
    let round = |context: &Context, server: &Server, port: u16| -> Result<Figures, String> {
        let mut figures = Vec::new();
        for (_, test, pipelined) in TESTS {
            let requests = match pipelined {
                true => context.amount(400_000, 20_000),
                false => context.amount(50_000, 2_000),
            };
            let figure = loaded(server, || {
                let (port, number) = (port.to_string(), requests.to_string());
                let depth = if pipelined { "16" } else { "1" };
                let said = client(
                    context,
                    &[
                        "redis-benchmark",
                        "-p",
                        &port,
                        "-n",
                        &number,
                        "-c",
                        "50",
                        "-P",
                        depth,
                        "-t",
                        test,
                        "--csv",
                    ],
                )?;
                // "SET","29411.76",…
                let figure = said
                    .lines()
                    .filter_map(|line| line.split("\",\"").nth(1))
                    .find_map(|field| field.trim_matches('"').parse().ok());
                let per_second = figure.ok_or_else(|| format!("redis-benchmark said {said:?}"))?;
                Ok((f64::from(requests), per_second))
            })?;
            figures.extend(figure);
        }
        Ok(figures)
    };
    Job::new(
        "redis",
        all.collect(),
        move |context, side| -> Result<Round, String> {
            let (server, port) = start(context, side, "redis", |_, port| {
                let port = port.to_string();
                Ok(words(&[
                    "/usr/bin/redis-server",
                    "--port",
                    &port,
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                ]))
            })?;
            let context = context.clone();
            Ok(Box::new(move || round(&context, &server, port)))
        },
    )
    .needs(&["redis-server", "redis-benchmark"])
    .with_memory()
}

/// A round of wrk at such a server.
fn wrk(context: &Context, server: &Server, port: u16, path: &str) -> Result<Figures, String> {
    let figures = loaded(server, || {
        let duration = context.amount("2s", "1s");
        let url = format!("http://127.0.0.1:{port}/{path}");
        let said = client(context, &["wrk", "-t1", "-c32", "-d", duration, &url])?;
        // "  24312 requests in 1.00s, 30.06MB read", "Requests/sec:  24306.27"
        let after = |mark: &str| said.split_once(mark).map(|(_, rest)| rest);
        let requests = said
            .lines()
            .find_map(|line| line.trim().split_once(" requests in"))
            .and_then(|(number, _)| number.parse().ok());
        let per_second = after("Requests/sec:")
            .and_then(|rest| rest.split_ascii_whitespace().next())
            .and_then(|number| number.parse().ok());
        if said.contains("Non-2xx") {
            return Err(format!("answers other than 200: {}", server.said()));
        }
        requests
            .zip(per_second)
            .ok_or_else(|| format!("wrk said {said:?}"))
    })?;
    Ok(figures.into())
}

fn nginx() -> Job {
    let all = rows("nginx", Some(1.1), Some(1.1));
    Job::new("nginx", all.into(), |context, side| {
        let (server, port) = start(context, side, "nginx", |dir, port| {
            let put = |name: &str, text: &str| {
                let file = dir.join(name);
                fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
            };
            let configuration = include_str!("nginx.conf")
                .replace("PORT", &port.to_string())
                .replace("DIR", &dir.display().to_string());
            put("nginx.conf", &configuration)?;
            put("file.txt", &"0123456789abcde\n".repeat(64))?;
            let file = dir.join("nginx.conf").display().to_string();
            Ok(words(&["/usr/sbin/nginx", "-e", "stderr", "-c", &file]))
        })?;
        let context = context.clone();
        Ok(Box::new(move || wrk(&context, &server, port, "file.txt")))
    })
    .needs(&["nginx", "wrk"])
    .with_memory()
}

fn memcached_job() -> Job {
    let all = rows("memcached", Some(1.1), Some(1.1));
    Job::new("memcached", all.into(), |context, side| {
        let (server, port) = start(context, side, "memcached", |_, port| {
            let port = port.to_string();
            Ok(words(&[
                "/usr/bin/memcached",
                "-u",
                "root",
                "-t",
                "1",
                "-l",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                "0",
            ]))
        })?;
        let duration = context.amount(Duration::from_secs(2), Duration::from_millis(200));
        Ok(Box::new(move || {
            let figures = loaded(&server, || {
                let (answers, took) = memcached(port, duration)?;
                Ok((answers as f64, answers as f64 / took.as_secs_f64()))
            })?;
            Ok(figures.into())
        }))
    })
    .needs(&["memcached"])
    .with_memory()
}

fn go() -> Job {
    let all = rows("go-http", Some(1.05), None);
    Job::new("go-http", all.into(), |context, side| {
        let program = context
            .go("server", "apps/server.go")?
            .display()
            .to_string();
        let (server, port) = start(context, side, "go-http", |_, port| {
            Ok(words(&[&program, &port.to_string()]))
        })?;
        let context = context.clone();
        Ok(Box::new(move || wrk(&context, &server, port, "")))
    })
    .needs(&["go", "wrk"])
    .with_memory()
}
