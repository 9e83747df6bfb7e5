//! A client for memcached, which brings none.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 8;
const VALUE: usize = 100;

/// Gets and, every tenth time, sets, by several connections at once; returns the number of answers
/// and how long they took.
pub fn memcached(port: u16, duration: Duration) -> Result<(u64, Duration), String> {
    let start = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|number| thread::spawn(move || client(port, number, start + duration)))
        .collect();
    let mut answers = 0;
    for client in clients {
        let result = client.join().map_err(|_| "a client died".to_owned())?;
        answers += result.map_err(|error| format!("memcached: {error}"))?;
    }
    Ok((answers, start.elapsed()))
}

fn client(port: u16, number: usize, until: Instant) -> std::io::Result<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let set = format!("set key{number} 0 0 {VALUE}\r\n{}\r\n", "x".repeat(VALUE));
    let get = format!("get key{number}\r\n");
    let found = format!("VALUE key{number} 0 {VALUE}\r\n");
    let mut line = String::new();
    let mut rest = [0; VALUE + "\r\nEND\r\n".len()];
    let mut expect = |reader: &mut BufReader<TcpStream>, wanted: &str| {
        line.clear();
        reader.read_line(&mut line)?;
        if line == wanted {
            return Ok(());
        }
        let told = format!("answered {line:?} instead of {wanted:?}");
        Err(std::io::Error::other(told))
    };
    let mut answers = 0;
    while Instant::now() < until {
        if answers % 10 == 0 {
            stream.write_all(set.as_bytes())?;
            expect(&mut reader, "STORED\r\n")?;
        } else {
            stream.write_all(get.as_bytes())?;
            expect(&mut reader, &found)?;
            reader.read_exact(&mut rest)?;
        }
        answers += 1;
    }
    Ok(answers)
}
