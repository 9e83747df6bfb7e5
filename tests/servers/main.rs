//! Real servers, each started from its manifest: they answer under load, stop cleanly by SIGTERM
//! and leave nothing behind.
//!
//!     cargo test --release -p bastide-tests --test servers -- nginx/
//!
//! One file is one server. To add one, list its tests here.

mod apache;
mod caddy;
mod data;
mod go;
mod gunicorn;
mod haproxy;
mod java;
mod many;
mod mariadb;
mod memcached;
mod nginx;
mod node;
mod postgresql;
mod redis;
mod trouble;
mod web;

use libtest_mimic::{Arguments, Trial};
use std::path::Path;

/// A test: its name, the programs it needs, what it does.
type Test = (&'static str, &'static [&'static str], fn());

const TESTS: &[&[Test]] = &[
    apache::TESTS,
    caddy::TESTS,
    go::TESTS,
    gunicorn::TESTS,
    haproxy::TESTS,
    java::TESTS,
    many::TESTS,
    mariadb::TESTS,
    memcached::TESTS,
    nginx::TESTS,
    node::TESTS,
    postgresql::TESTS,
    redis::TESTS,
    trouble::TESTS,
];

fn main() {
    let trials = TESTS.iter().copied().flatten().map(|&(name, needs, test)| {
        let missing = needs.iter().find(|program| !installed(program));
        if let Some(program) = missing {
            eprintln!("skipped {name}: {program} is not installed (tests/setup.sh installs it)");
        }
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(missing.is_some())
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

/// Debian keeps servers where a user's `PATH` does not look.
fn installed(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin"]
        .iter()
        .any(|dir| Path::new(dir).join(program).exists())
}
