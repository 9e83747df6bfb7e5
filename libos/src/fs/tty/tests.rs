use super::pty::Pty;
use super::*;
use crate::abi::raw::general as raw;
use crate::fs::File;
use crate::fs::devfs::{self, pts};
use crate::fs::file::O_NONBLOCK;
use crate::testing;
use crate::uio::{IoDst, IoSrc};
use crate::wait::{POLLHUP, POLLIN, POLLOUT};
use alloc::vec::Vec;

/// An unlocked pair with both ends open.
fn pair(t: &Task) -> (Arc<File>, Arc<File>, Arc<Pty>) {
    let ops = open_master(t).unwrap();
    let master = File::new(ops, None, 2 | O_NONBLOCK);
    let pty = master.downcast::<ends::Master>().unwrap().0.clone();
    assert_eq!(open_slave(t, &pty, 2).err(), Some(Errno::EIO));
    pty.state.lock().locked = false;
    let slave = File::new(open_slave(t, &pty, 2).unwrap(), None, 2 | O_NONBLOCK);
    (master, slave, pty)
}

fn write(t: &Task, f: &Arc<File>, data: &[u8]) -> Result<usize> {
    f.write(t, &mut IoSrc::kernel(data))
}

fn read(t: &Task, f: &Arc<File>) -> Result<Vec<u8>> {
    let mut buf = Vec::new();
    f.read(t, &mut IoDst::kernel(&mut buf, 1000))?;
    Ok(buf)
}

#[test]
fn bytes_go_both_ways() {
    let t = testing::task();
    let (m, s, _) = pair(&t);
    assert_eq!(read(&t, &s), Err(Errno::EAGAIN));
    assert_eq!(write(&t, &m, b"hi\r"), Ok(3));
    assert_eq!(read(&t, &s).unwrap(), b"hi\n");
    assert_eq!(read(&t, &m).unwrap(), b"hi\r\n");
    assert_eq!(write(&t, &s, b"a\nb"), Ok(3));
    assert_eq!(read(&t, &m).unwrap(), b"a\r\nb");
    assert_eq!(read(&t, &m), Err(Errno::EAGAIN));
}

#[test]
fn closing_an_end_is_seen_at_the_other() {
    let t = testing::task();
    let (m, s, pty) = pair(&t);
    write(&t, &s, b"last").unwrap();
    drop(s);
    assert_eq!(m.poll(None) & (POLLIN | POLLHUP), POLLIN | POLLHUP);
    assert_eq!(read(&t, &m).unwrap(), b"last");
    assert_eq!(read(&t, &m), Err(Errno::EIO));
    let s = File::new(open_slave(&t, &pty, 2).unwrap(), None, 2);
    assert_eq!(read(&t, &m), Err(Errno::EAGAIN));
    assert!(pts::find(pty.index).is_ok());
    drop(m);
    assert_eq!(read(&t, &s).unwrap(), b"");
    assert_eq!(write(&t, &s, b"x"), Err(Errno::EIO));
    assert_ne!(s.poll(None) & POLLHUP, 0);
    assert_eq!(open_slave(&t, &pty, 2).err(), Some(Errno::EIO));
}

#[test]
fn output_can_be_held_and_fills_up() {
    let t = testing::task();
    let (m, s, _) = pair(&t);
    write(&t, &m, b"\x13").unwrap();
    assert_eq!(write(&t, &s, b"x"), Err(Errno::EAGAIN));
    assert_eq!(s.poll(None) & POLLOUT, 0);
    write(&t, &m, b"\x11").unwrap();
    let n = write(&t, &s, &[b'x'; 100_000]).unwrap();
    assert!((4096..100_000).contains(&n));
    assert_eq!(write(&t, &s, b"x"), Err(Errno::EAGAIN));
    read(&t, &m).unwrap();
    assert_eq!(write(&t, &s, b"x"), Ok(1));
}

#[test]
fn packets_carry_events() {
    let t = testing::task();
    let (m, s, pty) = pair(&t);
    pty.state.lock().packet = true;
    write(&t, &s, b"x").unwrap();
    assert_eq!(read(&t, &m).unwrap(), b"\0x");
    write(&t, &m, b"\x13").unwrap();
    assert_eq!(read(&t, &m).unwrap(), [pty::packet::STOP]);
}

#[test]
fn raw_reads_wait_for_enough() {
    let t = testing::task();
    let (m, s, pty) = pair(&t);
    let mut v = pty.state.lock().termios;
    v.lflag = 0;
    v.cc[raw::VMIN as usize] = 3;
    pty.set_termios(&v, termios::When::Now);
    write(&t, &m, b"ab").unwrap();
    assert_eq!(s.poll(None) & POLLIN, 0);
    write(&t, &m, b"c").unwrap();
    assert_ne!(s.poll(None) & POLLIN, 0);
    assert_eq!(read(&t, &s).unwrap(), b"abc");
    // No characters and no time to wait: nothing.
    v.cc[raw::VMIN as usize] = 0;
    pty.set_termios(&v, termios::When::Now);
    assert_eq!(read(&t, &s).unwrap(), b"");
}

#[test]
fn the_slave_becomes_the_leaders_terminal() {
    let t = testing::task();
    let (m, _s, pty) = pair(&t);
    assert!(pty.tty.controls(&t));
    assert_eq!(*pty.tty.session.lock(), (t.process.pid, t.process.pid));
    drop(m);
    assert!(t.process.rel.lock().terminal.is_none());
}

#[test]
fn the_directory_has_the_nodes() {
    let t = testing::task();
    let (_m, _s, pty) = pair(&t);
    let root = pts::devpts().root();
    let name = alloc::format!("{}", pty.index).into_bytes();
    let node = root.lookup(&name).unwrap();
    let st = node.stat().unwrap();
    assert_eq!((st.mode & 0o7777, st.gid), (0o620, 5));
    assert_eq!(st.rdev, pts::rdev(pty.index));
    let listed = root.entries().unwrap();
    assert!(listed.iter().any(|e| e.name == name && e.ino == st.ino));
    let dev = devfs::new().unwrap();
    assert!(dev.root().lookup(b"null").is_ok());
}

#[test]
fn hung_up_slaves_are_dead_and_new_ones_live() {
    let t = testing::task();
    let (m, s, pty) = pair(&t);
    pty.hang_up_slaves();
    assert_eq!(read(&t, &s).unwrap(), b"");
    assert_eq!(write(&t, &s, b"x"), Err(Errno::EIO));
    assert_eq!(read(&t, &m), Err(Errno::EIO));
    let new = File::new(open_slave(&t, &pty, 2).unwrap(), None, 2);
    drop(s);
    assert_eq!(write(&t, &new, b"x"), Ok(1));
    assert_eq!(read(&t, &m).unwrap(), b"x");
}
