use super::syscalls::*;
use super::wake::WakeOp;
use super::*;
use crate::process::Work;
use crate::testing::{addr, task};
use core::sync::atomic::{AtomicU32, Ordering};
use std::boxed::Box;
use std::thread::{sleep, spawn};
use std::time::Duration;

const NULL: UserAddr = UserAddr(0);

fn word(v: u32) -> &'static AtomicU32 {
    Box::leak(Box::new(AtomicU32::new(v)))
}

/// A task to run in another thread, in the same memory.
fn peer(of: &std::sync::Arc<Task>) -> std::sync::Arc<Task> {
    let t = task();
    t.set_mm(of.mm());
    t
}

fn futex(t: &std::sync::Arc<Task>, w: &AtomicU32, op: u32, val: u32) -> crate::SysResult {
    sys_futex(t, addr(w), op | 128, val, NULL, NULL, u32::MAX)
}

fn requeue(
    t: &std::sync::Arc<Task>,
    a: &AtomicU32,
    b: &AtomicU32,
    limit: usize,
) -> crate::SysResult {
    sys_futex(t, addr(a), 3 | 128, 1, UserAddr(limit), addr(b), 0)
}

#[test]
fn wait_checks_the_word_and_times_out() {
    let t = task();
    let w = word(1);
    assert_eq!(futex(&t, w, 0, 2), Err(Errno::EAGAIN));
    let ten_ms: [i64; 2] = [0, 10_000_000];
    let r = sys_futex(&t, addr(w), 128, 1, addr(&ten_ms), NULL, 0);
    assert_eq!(r, Err(Errno::ETIMEDOUT));
    let bad: [i64; 2] = [0, 1_000_000_000];
    let r = sys_futex(&t, addr(w), 128, 1, addr(&bad), NULL, 0);
    assert_eq!(r, Err(Errno::EINVAL));
    assert_eq!(futex(&t, w, 1, 1), Ok(0));
    assert_eq!(futex(&t, w, 99, 1), Err(Errno::ENOSYS));
    let odd = UserAddr(addr(w).0 + 1);
    assert_eq!(sys_futex(&t, odd, 1, 1, NULL, NULL, 0), Err(Errno::EINVAL));
}

#[test]
fn a_signal_ends_the_wait() {
    let t = task();
    let w = word(0);
    t.add_own_work(Work::SIGNAL);
    assert_eq!(futex(&t, w, 0, 0), Err(Errno::ERESTARTSYS));
    let long: [i64; 2] = [100, 0];
    let r = sys_futex(&t, addr(w), 128, 0, addr(&long), NULL, 0);
    assert_eq!(r, Err(Errno::ERESTART_RESTARTBLOCK));
}

#[test]
fn wakes_and_requeues_in_order() {
    let t = task();
    let (a, b) = (word(0), word(0));
    let mut threads = std::vec::Vec::new();
    for _ in 0..5 {
        let t = peer(&t);
        threads.push(spawn(move || futex(&t, a, 0, 0)));
    }
    sleep(Duration::from_millis(50));
    assert_eq!(futex(&t, a, 1, 1), Ok(1));
    assert_eq!(requeue(&t, a, b, 2), Ok(3));
    assert_eq!(futex(&t, b, 1, 10), Ok(2));
    assert_eq!(futex(&t, a, 1, 10), Ok(1));
    for th in threads {
        assert_eq!(th.join().unwrap(), Ok(0));
    }
    assert_eq!(futex(&t, a, 1, 10), Ok(0));
}

#[test]
fn no_wakeup_is_lost() {
    let w = word(0);
    let t = task();
    let p = peer(&t);
    let other = spawn(move || {
        let t = p;
        for i in 0..2000 {
            while w.load(Ordering::SeqCst) == i * 2 {
                let _ = futex(&t, w, 0, i * 2);
            }
            w.store(i * 2 + 2, Ordering::SeqCst);
            futex(&t, w, 1, 1).unwrap();
        }
    });
    for i in 0..2000 {
        w.store(i * 2 + 1, Ordering::SeqCst);
        futex(&t, w, 1, 1).unwrap();
        while w.load(Ordering::SeqCst) == i * 2 + 1 {
            let _ = futex(&t, w, 0, i * 2 + 1);
        }
    }
    other.join().unwrap();
}

#[test]
fn wake_op_computes() {
    let op = WakeOp::decode(1 << 28 | 4 << 24 | 0xfff << 12 | 3).unwrap();
    assert_eq!(op.apply(5), 4);
    assert_eq!(op.compare(4), Ok(true));
    assert_eq!(op.compare(3), Ok(false));
    let shifted = WakeOp::decode(1 << 31 | 2 << 28 | 4 << 12).unwrap();
    assert_eq!(shifted.apply(1), 17);
    assert!(WakeOp::decode(5 << 28).is_err());
}

#[test]
fn locks_are_handed_over() {
    let t = task();
    let w = word(0);
    assert_eq!(futex(&t, w, 6, 0), Ok(0));
    assert_eq!(w.load(Ordering::SeqCst), t.tid as u32);
    assert_eq!(futex(&t, w, 6, 0), Err(Errno::EDEADLK));
    let p = peer(&t);
    let other = spawn(move || {
        let t = p;
        assert_eq!(futex(&t, w, 8, 0), Err(Errno::EAGAIN));
        assert_eq!(futex(&t, w, 7, 0), Err(Errno::EPERM));
        assert_eq!(futex(&t, w, 6, 0), Ok(0));
        assert_eq!(w.load(Ordering::SeqCst) & pi::TID_MASK, t.tid as u32);
        futex(&t, w, 7, 0)
    });
    sleep(Duration::from_millis(30));
    assert_ne!(w.load(Ordering::SeqCst) & pi::WAITERS, 0);
    assert_eq!(futex(&t, w, 7, 0), Ok(0));
    assert_eq!(other.join().unwrap(), Ok(0));
    assert_eq!(w.load(Ordering::SeqCst), 0);
}

#[test]
fn a_lock_outlives_its_owner() {
    let t = task();
    let w = word(0);
    assert_eq!(futex(&t, w, 6, 0), Ok(0));
    let p = peer(&t);
    let other = spawn(move || {
        let t = p;
        let r = futex(&t, w, 6, 0);
        (r, t.tid as u32)
    });
    sleep(Duration::from_millis(30));
    exit_robust(&t);
    let (r, tid) = other.join().unwrap();
    assert_eq!(r, Ok(0));
    assert_eq!(
        w.load(Ordering::SeqCst) & !pi::WAITERS,
        tid | pi::OWNER_DIED
    );
}

#[test]
fn robust_list_is_walked() {
    let t = task();
    // Two nodes of (next, futex word), the head after them.
    let nodes: &'static mut [u64; 7] = Box::leak(Box::new([0; 7]));
    let base = nodes.as_ptr() as u64;
    let tid = t.tid as u64;
    *nodes = [base + 16, tid, base + 32, tid + 1, base, 8, 0];
    assert_eq!(
        sys_set_robust_list(&t, UserAddr(base as usize + 32), 24),
        Ok(0)
    );
    assert_eq!(
        sys_set_robust_list(&t, UserAddr(base as usize + 32), 23),
        Err(Errno::EINVAL)
    );
    exit_robust(&t);
    assert_eq!(nodes[1] as u32, pi::OWNER_DIED);
    assert_eq!(nodes[3], tid + 1);
}

#[test]
fn waits_on_several() {
    let t = task();
    let (a, b) = (word(0), word(7));
    let list: &'static [[u64; 3]; 2] = Box::leak(Box::new([
        [0, addr(a).0 as u64, 2 | 128],
        [7, addr(b).0 as u64, 2 | 128],
    ]));
    let p = peer(&t);
    let other = spawn(move || {
        let t = p;
        sys_futex_waitv(&t, addr(list), 2, 0, NULL, 0)
    });
    sleep(Duration::from_millis(30));
    assert_eq!(futex(&t, b, 1, 1), Ok(1));
    assert_eq!(other.join().unwrap(), Ok(1));
    b.store(8, Ordering::SeqCst);
    assert_eq!(
        sys_futex_waitv(&t, addr(list), 2, 0, NULL, 0),
        Err(Errno::EAGAIN)
    );
    assert_eq!(
        sys_futex_waitv(&t, addr(list), 129, 0, NULL, 0),
        Err(Errno::EINVAL)
    );
}
