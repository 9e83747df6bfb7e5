//! PostgreSQL: a process for each connection, recovery when one is killed, data that stay.

use crate::Test;
use crate::data::{Data, ask, client};
use bastide_tests::{Ending, Server};
use rustix::process::Signal;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = &[
    (
        "postgresql/load",
        &["psql", "pgbench", "pg_dump"],
        load_and_dump,
    ),
    (
        "postgresql/recovery",
        &["psql", "pgbench"],
        recovers_and_keeps,
    ),
];

const PORT: u16 = 5432;

/// A client's arguments that name the server.
fn at(server: &Server) -> String {
    let address = server.address(PORT);
    format!("host=127.0.0.1 port={} user=postgres", address.port())
}

fn sql(server: &Server, database: &str, text: &str) -> String {
    let target = format!("{} dbname={database}", at(server));
    ask("psql", &["-qAtX", "-d", &target, "-c", text])
}

#[track_caller]
fn bench(server: &Server, args: &[&str]) -> String {
    let port = server.address(PORT).port().to_string();
    let place = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres"];
    let report = ask("pgbench", &[&place, args, &["postgres"]].concat());
    let failed = report.contains("number of failed transactions: 0 (");
    assert!(failed || args.contains(&"-i"), "{report}");
    report
}

/// Every transfer is in all three places.
const BALANCED: &str = "select (select sum(abalance) from pgbench_accounts)
    = (select sum(bbalance) from pgbench_branches)
    and (select sum(bbalance) from pgbench_branches)
    = (select coalesce(sum(delta), 0) from pgbench_history)";

fn load_and_dump() {
    let mut server = Server::start("postgresql", &[PORT], &[]);
    server.wait_for_log("ready to accept connections");
    bench(&server, &["-i", "-q"]);
    bench(&server, &["-c", "16", "-j", "2", "-T", "2"]);
    bench(&server, &["-c", "8", "-j", "2", "-T", "1", "-S", "-n"]);
    assert_eq!(sql(&server, "postgres", BALANCED), "t\n");

    // Workers that share a query's memory.
    let parallel = "set parallel_setup_cost = 0; set parallel_tuple_cost = 0;
        set min_parallel_table_scan_size = 0; set max_parallel_workers_per_gather = 2;
        explain (analyze, costs off, timing off) select count(*) from pgbench_accounts";
    let plan = sql(&server, "postgres", parallel);
    assert!(plan.contains("Workers Launched: 2"), "{plan}");

    sql(&server, "postgres", "create database copy");
    let dump = ask(
        "pg_dump",
        &["-d", &format!("{} dbname=postgres", at(&server))],
    );
    let file = server.scratch().file("dump.sql", dump);
    let copy = format!("{} dbname=copy", at(&server));
    let file = file.to_str().expect("a plain path");
    ask(
        "psql",
        &["-qX", "-v", "ON_ERROR_STOP=1", "-d", &copy, "-f", file],
    );
    let digest = "select count(*), md5(string_agg(a::text, ',' order by aid))
        from pgbench_accounts a";
    let original = sql(&server, "postgres", digest);
    assert!(original.starts_with("100000|"), "{original}");
    assert_eq!(sql(&server, "copy", digest), original);

    let log = server.stop(Ending::Code(0));
    assert!(log.contains("database system is shut down"), "{log}");
    for bad in ["FATAL", "PANIC", "bastide: "] {
        assert!(!log.contains(bad), "{log}");
    }
}

fn recovers_and_keeps() {
    let data = Data::new("postgresql", "postgres", "/var/lib/postgresql");
    let mut server = data.start("postgresql", PORT);
    server.wait_for_log("ready to accept connections");
    bench(&server, &["-i", "-q"]);
    bench(&server, &["-c", "8", "-T", "1"]);

    // A process that serves a connection is killed: the others start afresh.
    let target = format!("{} dbname=postgres", at(&server));
    let sleeper = std::thread::spawn(move || {
        client("psql", &["-X", "-d", &target, "-c", "select pg_sleep(60)"])
    });
    let find = "select pid from pg_stat_activity
        where query like 'select pg_sleep%' and pid <> pg_backend_pid()";
    let deadline = Instant::now() + Duration::from_secs(30);
    let victim = loop {
        let found = sql(&server, "postgres", find);
        if !found.is_empty() {
            break found.trim().to_owned();
        }
        assert!(Instant::now() < deadline, "the query does not appear");
        std::thread::sleep(Duration::from_millis(50));
    };
    let kill = format!("copy (select 1) to program 'kill -9 {victim}'");
    // It may be ended before it hears of its success.
    client(
        "psql",
        &[
            "-X",
            "-d",
            &format!("{} dbname=postgres", at(&server)),
            "-c",
            &kill,
        ],
    );
    let outcome = sleeper.join().expect("no panic");
    assert_eq!(outcome.ending, Ending::Code(2), "{outcome:?}");
    server.wait_for_log(&format!(
        "(PID {victim}) was terminated by signal 9: Killed"
    ));
    server.wait_for("the recovery", |server| {
        server.log().matches("ready to accept connections").count() == 2
    });
    assert_eq!(sql(&server, "postgres", BALANCED), "t\n");
    let count = sql(&server, "postgres", "select count(*) from pgbench_history");
    assert_ne!(count, "0\n");

    let log = server.stop_by(Signal::INT, Ending::Code(0));
    assert!(log.contains("received fast shutdown request"), "{log}");
    assert!(log.contains("database system is shut down"), "{log}");

    let mut server = data.start("postgresql", PORT);
    server.wait_for_log("ready to accept connections");
    assert_eq!(
        sql(&server, "postgres", "select count(*) from pgbench_history"),
        count
    );
    let log = server.stop(Ending::Code(0));
    assert!(!log.contains("not properly shut down"), "{log}");
}
