//! MariaDB: transactions under load, recovery when it is killed, data that stay.

use crate::Test;
use crate::data::{Data, ask, inside};
use bastide_tests::{Ending, Server};

pub const TESTS: &[Test] = &[
    ("mariadb/load", &["mariadbd", "sysbench"], under_load),
    ("mariadb/recovery", &["mariadbd", "sysbench"], recovers),
];

const PORT: u16 = 3306;

fn sql(server: &Server, text: &str) -> String {
    let port = server.address(PORT).port().to_string();
    let place = [
        "--no-defaults",
        "-h",
        "127.0.0.1",
        "-P",
        &port,
        "-u",
        "root",
    ];
    ask("mariadb", &[&place[..], &["-N", "-e", text]].concat())
}

fn sysbench(server: &Server, what: &str) -> String {
    let port = format!("--mysql-port={}", server.address(PORT).port());
    let args = [
        "--db-driver=mysql",
        "--mysql-host=127.0.0.1",
        &port,
        "--mysql-user=root",
        "--threads=4",
        "--tables=2",
        "--table-size=2000",
        "--time=2",
        "oltp_read_write",
        what,
    ];
    ask("sysbench", &args)
}

fn under_load() {
    let data = Data::new("mariadb", "mysql", "/var/lib/mysql");
    let server = data.start("mariadb", PORT);
    sql(&server, "create database sbtest");
    sysbench(&server, "prepare");
    let report = sysbench(&server, "run");
    assert!(
        report.contains("reconnects:                          0 "),
        "{report}"
    );
    let check = "check table sbtest.sbtest1, sbtest.sbtest2";
    assert_eq!(sql(&server, check).matches("\tOK\n").count(), 2);
    let sums = sql(&server, "checksum table sbtest.sbtest1, sbtest.sbtest2");
    let log = server.stop(Ending::Code(0));
    assert!(log.contains("Using Linux native AIO"), "{log}");
    assert!(log.contains("Shutdown complete"), "{log}");

    let server = data.start("mariadb", PORT);
    let again = sql(&server, "checksum table sbtest.sbtest1, sbtest.sbtest2");
    assert_eq!(again, sums);
    sysbench(&server, "cleanup");
    let log = server.stop(Ending::Code(0));
    assert!(!log.contains("crash recovery"), "{log}");
}

fn recovers() {
    let out = inside(
        "mariadb",
        &["--user", "mysql"],
        include_str!("mariadb/kill.sh"),
    );
    let expected = "status 137\nfound\nsbtest.sbtest1\tcheck\tstatus\tOK\n\
        Starting crash recovery\nstatus 0\n";
    assert_eq!(out, expected);
}
