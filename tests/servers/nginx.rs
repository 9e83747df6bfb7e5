//! nginx: four workers, a shared cache, reload.

use crate::Test;
use crate::web::{is_page, settle};
use bastide_tests::{Client, Ending, Reply, Server, load};
use rustix::process::Signal;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    ("nginx/load", &["nginx"], under_load),
    ("nginx/reload", &["nginx"], reload_under_load),
];

fn under_load() {
    let mut server = Server::start("nginx", &[8080], &[]);
    let address = server.wait_for_port(8080);
    let mut client = Client::new(address);
    assert!(is_page(&client.get("/").unwrap()));
    assert_eq!(client.get("/none").unwrap().status, 404);
    // The second time it comes from the cache, whichever worker fetched it.
    for expected in ["MISS", "HIT"] {
        let reply = client.get("/cached/index.html").unwrap();
        assert!(is_page(&reply));
        assert_eq!(reply.header("x-cache"), Some(expected));
    }
    let time = Duration::from_secs(1);
    load(address, "/", 100, time, is_page).unwrap();
    let hit = |reply: &Reply| is_page(reply) && reply.header("x-cache") == Some("HIT");
    load(address, "/cached/index.html", 100, time, hit).unwrap();

    settle(&mut server);
    let log = server.stop(Ending::Code(0));
    assert_eq!(log.matches("exited with code 0").count(), 6, "{log}");
    for bad in ["bastide: ", "[alert]", "[crit]", "[error]"] {
        let complaints = log.lines().filter(|line| !line.contains("/srv/none"));
        assert_eq!(
            complaints.filter(|line| line.contains(bad)).count(),
            0,
            "{log}"
        );
    }
}

fn reload_under_load() {
    let mut server = Server::start("nginx", &[8080], &[]);
    let address = server.wait_for_port(8080);
    let client = std::thread::spawn(move || {
        load(address, "/", 50, Duration::from_millis(2500), is_page).unwrap()
    });
    for round in 1..=2 {
        std::thread::sleep(Duration::from_millis(500));
        server.signal(Signal::HUP);
        // The old workers have gone when the new ones have taken over.
        server.wait_for("the old workers to go", |server| {
            server.log().matches("exited with code 0").count() >= round * 4
        });
    }
    client.join().unwrap();
    let log = server.stop(Ending::Code(0));
    assert_eq!(log.matches("(SIGHUP) received").count(), 2, "{log}");
}
