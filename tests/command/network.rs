//! The wall as the network sees it: what is not published or permitted stays inside, and a refusal
//! names the key to change.

use crate::{LIMIT, bastide_in};
use bastide_tests::{Ending, Outcome, Scratch, free_port, run};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// A Python program with the host's files and this `[network]` table.
fn python(scratch: &Scratch, network: &str, program: &str) -> Command {
    scratch.file("program.py", program);
    let manifest = format!(
        "program = \"/usr/bin/python3\"\n\
         args = [\"/srv/program.py\"]\n\
         [[mount]]\ntarget = \"/\"\ntype = \"overlay\"\nsource = \"/\"\n\
         [[mount]]\ntarget = \"/srv\"\nsource = \".\"\n\
         [network]\n{network}\n"
    );
    scratch.file("manifest.toml", manifest);
    bastide_in(scratch.path(), &["run", "manifest.toml"])
}

fn outcome(name: &str, network: &str, program: &str) -> Outcome {
    let scratch = Scratch::new(name);
    run(python(&scratch, network, program), "", LIMIT)
}

/// Starts a program that says `ready` and then waits for its input to end.
fn start(mut command: Command) -> Child {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    if line != "ready\n" {
        let output = child.wait_with_output().unwrap();
        panic!("{line:?} {output:?}");
    }
    child
}

/// Ends its input; it must end well. Returns what it said on standard error.
fn finish(mut child: Child) -> String {
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The host's own lists of sockets, in which a port is written as four hexadecimal digits.
fn host_knows_port(port: u16) -> bool {
    ["tcp", "tcp6", "udp", "udp6"].iter().any(|list| {
        let list = std::fs::read_to_string(format!("/proc/net/{list}")).unwrap_or_default();
        list.contains(&format!(":{port:04X} "))
    })
}

#[test]
fn the_host_sees_nothing_of_the_loopback_inside() {
    let scratch = Scratch::new("loopback");
    let port = free_port();
    let program = format!(
        "import socket, sys\n\
         l = socket.create_server(('127.0.0.1', {port}))\n\
         c = socket.create_connection(('127.0.0.1', {port}))\n\
         s, _ = l.accept()\n\
         u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', {port}))\n\
         a = socket.socket(socket.AF_UNIX); a.bind('\\0bastide-{port}'); a.listen()\n\
         c.sendall(b'x'); assert s.recv(1) == b'x'\n\
         print('ready', flush=True); sys.stdin.read()\n\
         s.sendall(b'y'); assert c.recv(1) == b'y'\n"
    );
    let child = start(python(&scratch, "", &program));
    assert!(!host_knows_port(port));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    let unix = std::fs::read_to_string("/proc/net/unix").unwrap();
    assert!(!unix.contains(&format!("bastide-{port}")));
    // The host's own socket at the same port disturbs nobody.
    let _other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert_eq!(finish(child), "");
}

/// Prints how connecting to some addresses fails.
const CONNECT: &str = "import errno, socket\n\
    for kind in socket.SOCK_STREAM, socket.SOCK_STREAM, socket.SOCK_DGRAM:\n\
    \x20   s = socket.socket(socket.AF_INET, kind)\n\
    \x20   print(errno.errorcode[s.connect_ex(('192.0.2.1', 81))])\n";

#[test]
fn what_is_not_permitted_is_refused_and_the_key_is_named() {
    let key = "add it with `connect = [\"192.0.2.1:81\"]` under [network]";
    for (name, network, error) in [
        ("nothing", "", "ENETUNREACH"),
        (
            "other",
            "connect = [\"192.0.2.1:80\", \"192.0.2.2:*\"]",
            "EACCES",
        ),
    ] {
        let outcome = outcome(name, network, CONNECT);
        assert_eq!(
            outcome.stdout,
            format!("{error}\n").repeat(3),
            "{outcome:?}"
        );
        assert_eq!(outcome.ending, Ending::Code(0));
        // Refused three times, told once.
        assert_eq!(outcome.stderr.matches(key).count(), 1, "{outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    }
}

#[test]
fn a_permitted_destination_is_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let scratch = Scratch::new("permitted");
    let network = format!("connect = [\"127.0.0.1:{port}\"]");
    let program = format!(
        "import socket\n\
         c = socket.create_connection(('127.0.0.1', {port}))\n\
         print(c.recv(10).decode(), end='')\n"
    );
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
    });
    let outcome = run(python(&scratch, &network, &program), "", LIMIT);
    assert_eq!(
        (outcome.stdout.as_str(), outcome.stderr.as_str()),
        ("hello", ""),
        "{outcome:?}"
    );
    server.join().unwrap();
}

#[test]
fn an_unpublished_port_hears_the_enclave_only() {
    let scratch = Scratch::new("unpublished");
    let port = free_port();
    let program = format!(
        "import socket, sys\n\
         l = socket.create_server(('0.0.0.0', {port}))\n\
         c = socket.create_connection(('127.0.0.1', {port}))\n\
         print('ready', flush=True); sys.stdin.read()\n"
    );
    let child = start(python(&scratch, "", &program));
    assert!(!host_knows_port(port));
    let told = finish(child);
    assert!(
        told.contains(&format!("`publish = [\"{port}:{port}\"]`")),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn an_address_of_the_hosts_is_not_bound_unpublished() {
    let program = "import errno, socket\n\
        s = socket.socket()\n\
        try: s.bind(('192.0.2.1', 8080))\n\
        except OSError as e: print(errno.errorcode[e.errno])\n";
    let outcome = outcome("address", "", program);
    assert_eq!(outcome.stdout, "EACCES\n");
    let key = "`publish = [\"8080:8080\"]` under [network]";
    assert_eq!(outcome.stderr.matches(key).count(), 1, "{outcome:?}");
}

#[test]
fn a_published_port_is_where_the_manifest_says() {
    let scratch = Scratch::new("published");
    let port = free_port();
    let network = format!("publish = [\"127.0.0.2:{port}:80\"]");
    let program = "import socket, sys\n\
         l = socket.create_server(('0.0.0.0', 80))\n\
         print('ready', flush=True)\n\
         s, _ = l.accept()\n\
         s.sendall(b'%d %d' % (l.getsockname()[1], s.getsockname()[1]))\n\
         s.close(); sys.stdin.read()\n";
    let child = start(python(&scratch, &network, program));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    let mut said = String::new();
    let mut stream = TcpStream::connect(("127.0.0.2", port)).unwrap();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "80 80");
    assert_eq!(finish(child), "");
}

#[test]
fn a_published_port_needs_no_manifest() {
    let (port, other) = (free_port(), free_port());
    let program = format!(
        "import socket, sys\n\
         l = socket.create_server(('0.0.0.0', 8080))\n\
         unnamed = socket.create_server(('0.0.0.0', {other}))\n\
         print('ready', flush=True)\n\
         s, _ = l.accept()\n\
         s.sendall(b'here'); s.close(); sys.stdin.read()\n"
    );
    let publish = format!("{port}:8080");
    let arguments = ["run", "-q", "--publish", &publish, "--", "python3", "-c"];
    let scratch = Scratch::new("publish");
    let mut command = bastide_in(scratch.path(), &arguments);
    command.arg(program);
    let child = start(command);
    assert!(TcpStream::connect(("127.0.0.1", other)).is_err());
    let mut said = String::new();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "here");
    finish(child);
}
