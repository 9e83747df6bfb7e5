use super::splice::{sys_splice, sys_tee};
use super::*;
use crate::testing;
use crate::uio::{IoDst, IoSrc};
use crate::wait::{POLLERR, POLLHUP, POLLIN, POLLOUT};
use alloc::vec::Vec;

fn write(t: &Task, f: &Arc<File>, data: &[u8]) -> Result<usize> {
    f.write(t, &mut IoSrc::kernel(data))
}

fn read(t: &Task, f: &Arc<File>, max: usize) -> Result<Vec<u8>> {
    let mut v = Vec::new();
    let n = f.read(t, &mut IoDst::kernel(&mut v, max))?;
    assert_eq!(n, v.len());
    Ok(v)
}

#[test]
fn bytes_come_out_in_order() {
    let t = testing::task();
    let (r, w) = new_pair(&t, O_NONBLOCK);
    assert_eq!(read(&t, &r, 1), Err(Errno::EAGAIN));
    for i in 0..100u8 {
        assert_eq!(write(&t, &w, &[i; 100]), Ok(100));
    }
    let all = read(&t, &r, 20_000).unwrap();
    let want: Vec<u8> = (0..100u8).flat_map(|i| [i; 100]).collect();
    assert_eq!(all, want);
    assert_eq!(read(&t, &r, 1), Err(Errno::EAGAIN));
    drop(w);
    assert_eq!(read(&t, &r, 1), Ok(Vec::new()));
}

#[test]
fn holds_64_kib_and_says_when_full() {
    let t = testing::task();
    let (r, w) = new_pair(&t, O_NONBLOCK);
    let mut total = 0;
    while let Ok(n) = write(&t, &w, &[7]) {
        total += n;
    }
    assert_eq!(total, 65536);
    assert_eq!(w.poll(None) & POLLOUT, 0);
    assert_eq!(r.poll(None) & POLLIN, POLLIN);
    assert_eq!(read(&t, &r, 1), Ok(alloc::vec![7]));
    assert_eq!(w.poll(None) & POLLOUT, 0, "no slot is free yet");
    assert_eq!(read(&t, &r, 4095).unwrap().len(), 4095);
    assert_eq!(w.poll(None) & POLLOUT, POLLOUT);
    assert_eq!(write(&t, &w, &[1; 9000]), Ok(4096));
}

#[test]
fn ends_that_are_gone_show() {
    let t = testing::task();
    let (r, w) = new_pair(&t, 0);
    drop(r);
    assert_eq!(w.poll(None) & POLLERR, POLLERR);
    assert_eq!(write(&t, &w, b"x"), Err(Errno::EPIPE));
    assert_eq!(write(&t, &w, b""), Ok(0));
    let (r, w) = new_pair(&t, 0);
    drop(w);
    assert_eq!(r.poll(None) & (POLLHUP | POLLIN), POLLHUP);
}

#[test]
fn packets_stay_apart() {
    let t = testing::task();
    let (r, w) = new_pair(&t, O_DIRECT | O_NONBLOCK);
    assert_eq!(write(&t, &w, b"one"), Ok(3));
    assert_eq!(write(&t, &w, &[5; 5000]), Ok(5000));
    assert_eq!(read(&t, &r, 2).unwrap(), b"on");
    assert_eq!(read(&t, &r, 9000).unwrap().len(), 4096);
    assert_eq!(read(&t, &r, 9000).unwrap().len(), 904);
}

#[test]
fn capacity_changes() {
    let t = testing::task();
    let (_r, w) = new_pair(&t, O_NONBLOCK);
    let end = w.downcast::<PipeEnd>().unwrap();
    assert_eq!(end.set_size(&t, 5000), Ok(8192));
    assert_eq!(write(&t, &w, &[0; 10000]), Ok(8192));
    assert_eq!(end.set_size(&t, 4096), Err(Errno::EBUSY));
    assert_eq!(end.set_size(&t, 1 << 32), Err(Errno::EINVAL));
}

#[test]
fn a_reader_sleeps_until_data_comes() {
    let t = testing::task();
    let (r, w) = new_pair(&t, 0);
    let other = testing::task();
    let reader = std::thread::spawn(move || read(&other, &r, 100));
    std::thread::sleep(std::time::Duration::from_millis(20));
    write(&t, &w, b"hello").unwrap();
    assert_eq!(reader.join().unwrap().unwrap(), b"hello");
}

#[test]
fn a_large_write_passes_a_small_pipe() {
    let t = testing::task();
    let (r, w) = new_pair(&t, 0);
    let other = testing::task();
    let data: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let copy = data.clone();
    let writer = std::thread::spawn(move || write(&other, &w, &copy));
    let mut got = Vec::new();
    loop {
        let part = read(&t, &r, 10_001).unwrap();
        if part.is_empty() {
            break;
        }
        got.extend(part);
    }
    assert_eq!(writer.join().unwrap(), Ok(1_000_000));
    assert!(got == data);
}

#[test]
fn fifo_opens_wait_for_each_other() {
    let t = testing::task();
    let fifo = Pipe::fifo();
    assert!(matches!(
        open_fifo(&t, &fifo, O_WRONLY | O_NONBLOCK),
        Err(Errno::ENXIO)
    ));
    let early = File::new(open_fifo(&t, &fifo, O_NONBLOCK).unwrap(), None, O_NONBLOCK);
    assert_eq!(early.poll(None), 0, "no writer was there yet");
    assert_eq!(read(&t, &early, 1), Ok(Vec::new()));
    drop(early);
    let (other, theirs) = (testing::task(), fifo.clone());
    let opener = std::thread::spawn(move || open_fifo(&other, &theirs, 0).map(|_| ()));
    std::thread::sleep(std::time::Duration::from_millis(20));
    drop(open_fifo(&t, &fifo, O_WRONLY).unwrap());
    assert_eq!(opener.join().unwrap(), Ok(()));
}

#[test]
fn tee_copies_and_splice_moves() {
    let t = testing::task();
    let (r1, w1) = new_pair(&t, O_NONBLOCK);
    let (r2, w2) = new_pair(&t, O_NONBLOCK);
    write(&t, &w1, b"abcdef").unwrap();
    let none = FdFlags::empty();
    let (fr1, fw2) = (
        t.install(r1.clone(), none).unwrap(),
        t.install(w2, none).unwrap(),
    );
    let fw1 = t.install(w1, none).unwrap();
    let null = UserAddr(0);
    assert_eq!(sys_tee(&t, fr1, fw2, 4, 0), Ok(4));
    assert_eq!(read(&t, &r2, 10).unwrap(), b"abcd");
    assert_eq!(sys_splice(&t, fr1, null, fw2, null, 3, 0), Ok(3));
    assert_eq!(read(&t, &r2, 10).unwrap(), b"abc");
    assert_eq!(read(&t, &r1, 10).unwrap(), b"def");
    assert_eq!(
        sys_splice(&t, fr1, null, fw2, null, 3, 0),
        Err(Errno::EAGAIN)
    );
    assert_eq!(
        sys_splice(&t, fr1, null, fw1, null, 3, 0),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        sys_splice(&t, fw2, null, fr1, null, 3, 0),
        Err(Errno::EBADF)
    );
}
