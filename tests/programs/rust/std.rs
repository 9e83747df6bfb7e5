// Rust's standard library: threads, channels, processes, files, sockets, time, panics.
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock, mpsc};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

fn main() {
    let counter = Arc::new(Mutex::new(0));
    let barrier = Arc::new(Barrier::new(8));
    let table = Arc::new(RwLock::new(BTreeMap::new()));
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let (counter, barrier, table) = (counter.clone(), barrier.clone(), table.clone());
            thread::spawn(move || {
                barrier.wait();
                for _ in 0..10_000 {
                    *counter.lock().unwrap() += 1;
                }
                table.write().unwrap().insert(n, n * n);
                n
            })
        })
        .collect();
    let sum: i32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    println!("{} {sum} {:?}", counter.lock().unwrap(), table.read().unwrap());

    let (send, receive) = mpsc::channel();
    for n in 0..4 {
        let send = send.clone();
        thread::spawn(move || (0..100).for_each(|i| send.send(n * 100 + i).unwrap()));
    }
    drop(send);
    println!("{}", receive.iter().sum::<i32>());

    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let start = Instant::now();
    let (guard, timeout) = pair
        .1
        .wait_timeout(pair.0.lock().unwrap(), Duration::from_millis(20))
        .unwrap();
    println!("{} {} {}", *guard, timeout.timed_out(), start.elapsed() >= Duration::from_millis(20));
    drop(guard);

    let panicked = thread::Builder::new().name("doomed".into()).spawn(|| {
        std::panic::set_hook(Box::new(|_| {}));
        panic!("on purpose")
    });
    println!("{}", panicked.unwrap().join().is_err());

    let mut child = Command::new("sort")
        .arg("-r")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"a\nc\nb\n").unwrap();
    let output = child.wait_with_output().unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    let children: Vec<_> = (0..20)
        .map(|n| Command::new("sh").args(["-c", &format!("exit {n}")]).spawn().unwrap())
        .collect();
    let codes: i32 = children
        .into_iter()
        .map(|mut child| child.wait().unwrap().code().unwrap())
        .sum();
    println!("{codes}");
    println!("{:?}", Command::new("/nonexistent").spawn().err().map(|e| e.kind()));

    let dir = env::temp_dir().join("rust-std");
    fs::create_dir_all(dir.join("a/b")).unwrap();
    fs::write(dir.join("a/b/file"), vec![7u8; 100_000]).unwrap();
    fs::copy(dir.join("a/b/file"), dir.join("copy")).unwrap();
    fs::rename(dir.join("copy"), dir.join("moved")).unwrap();
    println!("{}", fs::metadata(dir.join("moved")).unwrap().len());
    let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    println!("{names:?}");
    fs::remove_dir_all(&dir).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.len()
    });
    TcpStream::connect(addr).unwrap().write_all(&[b'x'; 200_000]).unwrap();
    println!("{}", server.join().unwrap());
    let (mut a, mut b) = UnixStream::pair().unwrap();
    a.write_all(b"unix").unwrap();
    drop(a);
    let mut text = String::new();
    b.read_to_string(&mut text).unwrap();
    println!("{text} {}", thread::available_parallelism().unwrap().get() > 0);
    std::process::exit(6);
}
