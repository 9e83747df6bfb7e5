//! Apache httpd: the event MPM, graceful restart.

use crate::Test;
use crate::web::{is_page, serves};
use bastide_tests::{Ending, Server, load};
use rustix::process::Signal;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    ("apache/load", &["apache2"], under_load),
    ("apache/reload", &["apache2"], reload_under_load),
];

fn under_load() {
    let log = serves("apache", "/", Ending::Code(0), is_page);
    assert!(log.contains("caught SIGTERM, shutting down"), "{log}");
    assert!(
        !log.contains(":error]") && !log.contains("bastide: "),
        "{log}"
    );
}

fn reload_under_load() {
    let mut server = Server::start("apache", &[8080], &[]);
    let address = server.wait_for_port(8080);
    let client = std::thread::spawn(move || {
        load(address, "/", 50, Duration::from_millis(2500), is_page).unwrap()
    });
    for round in 2..=3 {
        std::thread::sleep(Duration::from_millis(700));
        server.signal(Signal::USR1);
        server.wait_for("the next generation", |server| {
            server.log().matches("resuming normal operations").count() == round
        });
    }
    client.join().unwrap();
    let log = server.stop(Ending::Code(0));
    assert!(!log.contains(":error]"), "{log}");
}
