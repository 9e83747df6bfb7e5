//! What is expected of every web server.

use bastide_tests::{Client, Ending, Reply, Server, load};
use std::time::Duration;

/// What the manifests' servers of files show.
pub const PAGE: &str = include_str!("../../manifests/nginx/index.html");

/// The reply is that page.
pub fn is_page(reply: &Reply) -> bool {
    reply.status == 200 && reply.body == PAGE.as_bytes()
}

/// Starts the manifest `name` and has it answer `path` under load, well every time. Then it must
/// be idle without using the processor, hold no more descriptors of the host than before, and stop
/// as `expected`. Returns what it wrote.
pub fn serves(name: &str, path: &str, expected: Ending, good: fn(&Reply) -> bool) -> String {
    let mut server = Server::start(name, &[8080], &[]);
    let address = server.wait_for_port(8080);
    let reply = Client::new(address).get(path).unwrap();
    assert!(good(&reply), "{reply:?}");
    load(address, path, 30, Duration::from_millis(500), good).unwrap();
    settle(&mut server);
    let before = server.descriptors();
    load(address, path, 50, Duration::from_millis(1500), good).unwrap();
    settle(&mut server);
    let after = server.descriptors();
    // A worker more, or a file that it opened, is not a leak; fifty connections would be.
    assert!(
        after < before + 25,
        "descriptors: {before} before, {after} after"
    );
    server.stop(expected)
}

/// Waits until the server has noticed that its clients are gone, and uses no processor any more.
pub fn settle(server: &mut Server) {
    server.wait_for("the server to be idle", |server| {
        let before = server.cpu_time();
        std::thread::sleep(Duration::from_millis(400));
        server.cpu_time() - before <= Duration::from_millis(20)
    });
}
