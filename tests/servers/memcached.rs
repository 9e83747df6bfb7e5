//! memcached with four threads: every answer of several connections is compared.

use crate::Test;
use bastide_tests::{Ending, Server};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = &[("memcached/load", &["memcached"], under_load)];

const PORT: u16 = 11211;

/// One connection.
struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("not zero");
        Connection {
            stream: BufReader::new(stream),
        }
    }

    /// Sends `request` and compares the answer.
    #[track_caller]
    fn ask(&mut self, request: &str, expected: &str) {
        let sent = self.stream.get_mut().write_all(request.as_bytes());
        sent.expect("the server reads");
        for line in expected.split_inclusive('\n') {
            let mut answer = String::new();
            self.stream.read_line(&mut answer).expect("it answers");
            assert_eq!(answer, line);
        }
    }
}

/// Stores, reads, counts and deletes until the deadline; returns how often.
fn work(address: SocketAddr, name: usize, deadline: Instant) -> usize {
    let mut server = Connection::new(address);
    let mut round = 0;
    server.ask(&format!("set count{name} 0 0 1\r\n0\r\n"), "STORED\r\n");
    while Instant::now() < deadline {
        round += 1;
        let key = format!("key{name}-{}", round % 50);
        let value = format!("{round},").repeat(round % 2000 + 1);
        let len = value.len();
        server.ask(&format!("set {key} 5 0 {len}\r\n{value}\r\n"), "STORED\r\n");
        let found = format!("VALUE {key} 5 {len}\r\n{value}\r\nEND\r\n");
        server.ask(&format!("get {key}\r\n"), &found);
        server.ask(&format!("incr count{name} 1\r\n"), &format!("{round}\r\n"));
        if round % 5 == 0 {
            server.ask(&format!("delete {key}\r\n"), "DELETED\r\n");
            server.ask(&format!("get {key}\r\n"), "END\r\n");
        }
    }
    round
}

fn under_load() {
    let mut server = Server::start("memcached", &[PORT], &[]);
    let address = server.wait_for_port(PORT);
    let deadline = Instant::now() + Duration::from_secs(2);
    let workers: Vec<_> = (0..16)
        .map(|name| std::thread::spawn(move || work(address, name, deadline)))
        .collect();
    for worker in workers {
        assert!(worker.join().expect("right answers") > 1);
    }
    let log = server.stop(Ending::Code(0));
    assert!(!log.contains("bastide: "), "{log}");
}
