//! Ten thousand idle connections beside two hundred busy ones, on one epoll set.

use crate::Test;
use crate::web::settle;
use bastide_tests::{Ending, Scratch, Server, compile_c};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = &[("many/connections", &["gcc"], connections)];

const IDLE: usize = 10_000;
const BUSY: usize = 200;

fn connections() {
    // Descriptors are the host's, here as inside.
    let limit = getrlimit(Resource::Nofile);
    let idle = limit
        .maximum
        .map_or(IDLE, |most| IDLE.min(most as usize / 2));
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();

    let scratch = Scratch::new("many");
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers");
    compile_c(&here.join("many.c"), &scratch.path().join("many")).unwrap();
    let mount = format!("{}:/srv", scratch.path().display());
    let manifest = here.join("many.toml");
    let mut server = Server::start_manifest(&manifest, &[7777], &["--mount", &mount]);
    let address = server.wait_for_port(7777);
    settle(&mut server);

    // The first round is for what is made once.
    let mut found = Vec::new();
    for _ in 0..2 {
        round(&mut server, address, idle);
        let mut control = TcpStream::connect(address).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while ask(&mut control, "connections") != "1" {
            assert!(
                Instant::now() < deadline,
                "connections are not noticed to be gone"
            );
            thread::sleep(Duration::from_millis(20));
        }
        let slab: usize = ask(&mut control, "slab").parse().unwrap();
        drop(control);
        settle(&mut server);
        found.push((slab, server.descriptors()));
    }
    let [(slab_before, before), (slab_after, after)] = found[..] else {
        unreachable!()
    };
    assert_eq!(before, after, "descriptors leak");
    assert!(
        slab_after <= slab_before + 256,
        "the kernel's memory grew from {slab_before} KiB to {slab_after} KiB"
    );
    server.stop(Ending::Signal(15));
}

/// Connects the idle ones, keeps the busy ones busy beside them, and closes all.
fn round(server: &mut Server, address: SocketAddr, idle: usize) {
    let mut sleepers: Vec<TcpStream> = (0..idle)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    settle(server);
    let work = |number: usize| {
        let mut streams: Vec<_> = (0..BUSY / 4)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let end = Instant::now() + Duration::from_millis(1500);
        let mut count = 0usize;
        while Instant::now() < end {
            for stream in &mut streams {
                stream
                    .write_all(format!("{number}.{count}").as_bytes())
                    .unwrap();
            }
            for stream in &mut streams {
                assert_eq!(receive(stream), format!("{number}.{count}"));
            }
            count += 1;
        }
        count
    };
    thread::scope(|scope| {
        let work = &work;
        let busy: Vec<_> = (0..4)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        for busy in busy {
            assert!(busy.join().unwrap() > 10, "the busy ones hardly proceed");
        }
    });
    // Those that slept are still awake to an event.
    for at in [0, idle / 2, idle - 1] {
        assert_eq!(ask(&mut sleepers[at], "awake"), "awake");
    }
}

fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    receive(stream)
}

fn receive(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 64];
    let n = stream.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..n]).into_owned()
}
