//! gunicorn: four processes that accept from one socket.

use crate::Test;
use crate::web::serves;
use bastide_tests::{Client, Ending, Server};
use rustix::process::Signal;

pub const TESTS: &[Test] = &[
    ("gunicorn/load", &["gunicorn"], under_load),
    ("gunicorn/restart", &["gunicorn"], restart),
];

fn under_load() {
    let log = serves("gunicorn", "/a?b=c", Ending::Code(0), |reply| {
        let text = reply.text();
        reply.status == 200 && text.starts_with("hello from worker ") && text.ends_with(", /a\n")
    });
    assert_eq!(log.matches("Worker exiting").count(), 4, "{log}");
}

/// The workers are replaced, and the new ones answer.
fn restart() {
    let mut server = Server::start("gunicorn", &[8080], &[]);
    let address = server.wait_for_port(8080);
    server.wait_for("four workers", |server| {
        server.log().matches("Booting worker").count() == 4
    });
    server.signal(Signal::HUP);
    server.wait_for("the workers to change", |server| {
        let log = server.log();
        log.matches("Booting worker").count() == 8 && log.matches("Worker exiting").count() == 4
    });
    let reply = Client::new(address).get("/").unwrap();
    let number = reply.text().split(' ').nth(3).unwrap();
    let number: u32 = number.trim_end_matches(',').parse().unwrap();
    assert!(number > 5, "an old worker answers: {number}");
    server.stop(Ending::Code(0));
}
