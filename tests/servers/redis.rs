//! Redis: its own benchmark, scripts, saving by forks, a cluster, a full disk.

use crate::Test;
use crate::data::{Data, ask, client, inside};
use bastide_tests::{Ending, Server};

pub const TESTS: &[Test] = &[
    (
        "redis/load",
        &["redis-server", "redis-benchmark"],
        under_load,
    ),
    ("redis/kept", &["redis-server", "redis-cli"], kept),
    ("redis/cluster", &["redis-server", "redis-cli"], cluster),
    ("redis/disk-full", &["redis-server", "redis-cli"], disk_full),
];

const PORT: u16 = 6379;

fn cli(server: &Server, args: &[&str]) -> String {
    let port = server.address(PORT).port().to_string();
    ask("redis-cli", &[&["-p", &port], args].concat())
}

fn under_load() {
    let mut server = Server::start("redis", &[PORT], &[]);
    let port = server.wait_for_port(PORT).port().to_string();
    let report = ask("redis-benchmark", &["-p", &port, "-n", "2000", "--csv"]);
    // A heading, and a line for each of its tests.
    assert_eq!(report.lines().count(), 21, "{report}");
    assert!(!report.contains("rror"), "{report}");

    let script = "for i = 1, ARGV[1] do redis.call('incr', KEYS[1]) end
        return redis.call('get', KEYS[1])";
    assert_eq!(cli(&server, &["eval", script, "1", "n", "1000"]), "1000\n");

    let heard = std::thread::spawn(move || {
        client(
            "timeout",
            &["5", "redis-cli", "-p", &port, "subscribe", "news"],
        )
    });
    server.wait_for("a subscriber", |server| {
        cli(server, &["pubsub", "numsub", "news"]) == "news\n1\n"
    });
    assert_eq!(cli(&server, &["publish", "news", "extra"]), "1\n");
    server.stop(Ending::Code(0));
    let heard = heard.join().expect("no panic").stdout;
    assert!(heard.contains("message\nnews\nextra\n"), "{heard}");
}

/// Waits for a forked child to have saved; `prefix` is that of its fields.
#[track_caller]
fn wait_for_save(server: &mut Server, prefix: &str, status: &str) {
    let done = format!("{prefix}_in_progress:0");
    server.wait_for("the save", |server| {
        cli(server, &["info", "persistence"]).contains(&done)
    });
    let info = cli(server, &["info", "persistence"]);
    assert!(info.contains(status), "{info}");
}

fn kept() {
    let data = Data::new("redis", "redis", "/var/lib/redis");
    let mut server = data.start("redis", PORT);
    let fill = "for i = 1, 20000 do redis.call('set', 'key' .. i, i) end";
    cli(&server, &["eval", fill, "0"]);
    cli(&server, &["bgsave"]);
    wait_for_save(&mut server, "rdb_bgsave", "rdb_last_bgsave_status:ok");
    cli(&server, &["bgrewriteaof"]);
    wait_for_save(&mut server, "aof_rewrite", "aof_last_bgrewrite_status:ok");
    cli(&server, &["incr", "key20000"]);
    server.stop(Ending::Code(0));
    assert!(data.path().join("dump.rdb").exists());

    let mut server = data.start("redis", PORT);
    server.wait_for_log("Ready to accept connections");
    assert_eq!(cli(&server, &["dbsize"]), "20000\n");
    assert_eq!(cli(&server, &["get", "key20000"]), "20001\n");
    let log = server.stop(Ending::Code(0));
    assert!(log.contains("DB loaded from append only file"), "{log}");
}

fn cluster() {
    let out = inside("redis-cluster", &[], include_str!("redis/cluster.sh"));
    let expected = "cluster_state:ok\ncluster_known_nodes:3\n30 set\n30 found\n\
        status 0\nstatus 0\nstatus 0\n";
    assert_eq!(out, expected);
}

fn disk_full() {
    let options = ["--mount", "tmpfs:/small:8M"];
    let out = inside("redis-full", &options, include_str!("redis/full.sh"));
    let expected = "45 OK\naof_last_bgrewrite_status:err\naof_last_write_status:ok\nOK\n\
        MISCONF Errors writing to the AOF file: No space left on device\n\
        aof_last_write_status:err\nOK\nOK\n45 keys, yes\nstatus 0\n";
    assert_eq!(out, expected);
}
