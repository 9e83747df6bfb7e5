//! A small HTTP/1.1 client that checks every answer.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub status: u16,
    /// Lines after the first, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body, which must be text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }
}

/// A connection that is kept alive as long as the server likes.
pub struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Client {
            address,
            stream: None,
        }
    }

    /// Asks for `path`. A server may end a connection that is idle, and then is asked again on a
    /// new one; there it must answer.
    pub fn get(&mut self, path: &str) -> Result<Reply, String> {
        if self.stream.is_some()
            && let Ok(Some(reply)) = self.exchange(path)
        {
            return Ok(reply);
        }
        let fail = |error| format!("{path}: {error}");
        let stream = TcpStream::connect(self.address).map_err(|error| fail(error.to_string()))?;
        let limit = Some(Duration::from_secs(30));
        let set = stream
            .set_read_timeout(limit)
            .and_then(|()| stream.set_write_timeout(limit))
            .and_then(|()| stream.set_nodelay(true));
        set.map_err(|error| fail(error.to_string()))?;
        self.stream = Some(BufReader::new(stream));
        match self.exchange(path) {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(fail("closed without an answer".into())),
            Err(error) => Err(fail(error)),
        }
    }

    /// One request and its answer; `None` if the connection was closed before the first byte of it.
    fn exchange(&mut self, path: &str) -> Result<Option<Reply>, String> {
        let Some(mut stream) = self.stream.take() else {
            return Ok(None);
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        if stream.get_mut().write_all(request.as_bytes()).is_err() {
            return Ok(None);
        }
        match stream.fill_buf() {
            Ok([]) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            _ => {}
        }
        let reply = read(&mut stream).map_err(|error| error.to_string())?;
        if reply.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(Some(reply))
    }
}

fn read(stream: &mut impl BufRead) -> Result<Reply, Box<dyn std::error::Error>> {
    let line = |stream: &mut dyn BufRead| -> Result<String, Box<dyn std::error::Error>> {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").ok_or("the answer is cut short")?;
        Ok(line.to_owned())
    };
    let first = line(stream)?;
    let status = first.split(' ').nth(1).ok_or("no status")?.parse()?;
    let mut reply = Reply {
        status,
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let line = line(stream)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        reply
            .headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if reply.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = usize::from_str_radix(line(stream)?.trim(), 16)?;
            let start = reply.body.len();
            reply.body.resize(start + size, 0);
            stream.read_exact(&mut reply.body[start..])?;
            line(stream)?;
            if size == 0 {
                return Ok(reply);
            }
        }
    }
    match reply.header("content-length") {
        Some(length) => {
            reply.body.resize(length.parse()?, 0);
            stream.read_exact(&mut reply.body)?;
        }
        None => drop(stream.read_to_end(&mut reply.body)?),
    }
    Ok(reply)
}

/// Asks for `path` over so many connections at a time for so long; every answer must be good.
/// Returns how many there were.
pub fn load(
    address: SocketAddr,
    path: &str,
    connections: usize,
    time: Duration,
    good: impl Fn(&Reply) -> bool + Sync,
) -> Result<usize, String> {
    let end = Instant::now() + time;
    let one = || {
        let mut client = Client::new(address);
        let mut count = 0;
        while Instant::now() < end {
            let reply = client.get(path)?;
            if !good(&reply) {
                return Err(format!("{path}: a wrong answer: {reply:?}"));
            }
            count += 1;
        }
        Ok(count)
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
        let counts = all
            .into_iter()
            .map(|client| client.join().expect("no panic"));
        counts.sum()
    })
}
