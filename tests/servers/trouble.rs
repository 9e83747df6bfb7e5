//! Workers that are killed, clients that go in the middle, descriptors that run out: nginx copes
//! as it does natively.

use crate::Test;
use crate::web::settle;
use bastide_tests::{Client, Ending, Reply, Server, load};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

const NEEDS: &[&str] = &["nginx", "pgrep"];

pub const TESTS: &[Test] = &[
    ("trouble/worker_killed", NEEDS, worker_killed),
    ("trouble/client_gone", NEEDS, client_gone),
    ("trouble/descriptors_used_up", NEEDS, descriptors_used_up),
];

fn start() -> (Server, SocketAddr) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/trouble.toml");
    let mut server = Server::start_manifest(&manifest, &[8080], &[]);
    let address = server.wait_for_port(8080);
    (server, address)
}

fn is_page(reply: &Reply) -> bool {
    reply.status == 200 && reply.body == b"page\n"
}

/// The master replaces a worker that was killed while it was busy, and what the workers share is
/// not left locked.
fn worker_killed() {
    let (mut server, address) = start();
    let time = Duration::from_millis(1500);
    // Who was connected to the killed one may notice.
    let client = std::thread::spawn(move || load(address, "/cached/index.html", 20, time, is_page));
    std::thread::sleep(Duration::from_millis(500));
    server.signal(Signal::USR1);
    server.wait_for_log("exited on signal 9");
    server.wait_for("another worker", |server| {
        server.log().matches("start worker process ").count() == 3
    });
    let _ = client.join().unwrap();
    load(
        address,
        "/cached/index.html",
        20,
        Duration::from_millis(500),
        is_page,
    )
    .unwrap();
    let log = server.stop(Ending::Code(0));
    assert_eq!(log.matches("exited on signal").count(), 1, "{log}");
}

/// Clients that close in the middle of a request or of an answer leave nothing in the server.
fn client_gone() {
    let (mut server, address) = start();
    let mut client = Client::new(address);
    let big = client.get("/big").unwrap();
    assert!(big.body.len() == 8 << 20 && big.body.iter().all(|&byte| byte == b'x'));
    drop(client);
    settle(&mut server);
    let before = server.descriptors();
    for round in 0..200 {
        let mut stream = TcpStream::connect(address).unwrap();
        if round % 2 == 0 {
            stream.write_all(b"GET /index.html HT").unwrap();
        } else {
            // Closing with the rest unread sends a reset.
            stream
                .write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
                .unwrap();
            stream.read_exact(&mut [0; 1000]).unwrap();
        }
    }
    settle(&mut server);
    assert_eq!(server.descriptors(), before);
    assert!(is_page(&Client::new(address).get("/").unwrap()));
    let log = server.stop(Ending::Code(0));
    assert!(
        !log.contains("[alert]") && !log.contains("exited on signal"),
        "{log}"
    );
}

/// A worker that has no descriptor left says so and serves on as soon as it has.
fn descriptors_used_up() {
    let (mut server, address) = start();
    let held: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    server.wait_for_log("accept4() failed (24: Too many open files)");
    drop(held);
    load(address, "/", 10, Duration::from_millis(500), is_page).unwrap();
    settle(&mut server);
    server.stop(Ending::Code(0));
}
