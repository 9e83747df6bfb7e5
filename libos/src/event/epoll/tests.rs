use super::syscalls::*;
use crate::event::eventfd::EventFd;
use crate::fs::{FdFlags, File};
use crate::ipc::pipe::new_pair;
use crate::process::Work;
use crate::testing::{addr, task};
use crate::uio::{IoDst, IoSrc};
use crate::user::UserAddr;
use crate::{Errno, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::time::{Duration, Instant};

const IN: u32 = 1;
const OUT: u32 = 4;
const HUP: u32 = 16;
const ONESHOT: u32 = 1 << 30;
const ET: u32 = 1 << 31;

fn set(t: &Arc<Task>) -> i32 {
    sys_epoll_create1(t, 0).unwrap() as i32
}

fn ctl(t: &Arc<Task>, ep: i32, op: i32, fd: i32, events: u32) -> SysResult {
    let event = [events, fd as u32, 0];
    sys_epoll_ctl(t, ep, op, fd, addr(&event))
}

/// (events, data) of what is ready within `ms`.
fn ready(t: &Arc<Task>, ep: i32, ms: i32) -> crate::Result<Vec<(u32, u32)>> {
    let mut out = [[0u32; 3]; 16];
    let n = sys_epoll_wait(t, ep, addr(&mut out), 16, ms)?;
    Ok(out[..n].iter().map(|e| (e[0], e[1])).collect())
}

struct Fixture {
    t: Arc<Task>,
    r: Arc<File>,
    w: Arc<File>,
    fr: i32,
    ep: i32,
}

fn fixture() -> Fixture {
    let t = task();
    let (r, w) = new_pair(&t, 0o4000);
    let fr = t.install(r.clone(), FdFlags::empty()).unwrap();
    let ep = set(&t);
    Fixture { t, r, w, fr, ep }
}

impl Fixture {
    fn put(&self) {
        self.w.write(&self.t, &mut IoSrc::kernel(b"x")).unwrap();
    }
    fn get(&self) {
        let mut v = Vec::new();
        self.r.read(&self.t, &mut IoDst::kernel(&mut v, 1)).unwrap();
    }
    fn ctl(&self, op: i32, events: u32) -> SysResult {
        ctl(&self.t, self.ep, op, self.fr, events)
    }
    fn now(&self) -> Vec<u32> {
        let v = ready(&self.t, self.ep, 0).unwrap();
        assert!(v.iter().all(|e| e.1 == self.fr as u32));
        v.into_iter().map(|e| e.0).collect()
    }
}

#[test]
fn level_reports_as_long_as_it_lasts() {
    let f = fixture();
    assert_eq!(f.ctl(1, IN), Ok(0));
    assert_eq!(f.now(), []);
    f.put();
    assert_eq!(f.now(), [IN]);
    assert_eq!(f.now(), [IN]);
    f.get();
    assert_eq!(f.now(), []);
}

#[test]
fn edge_reports_once_per_event() {
    let f = fixture();
    f.put();
    assert_eq!(f.ctl(1, IN | ET), Ok(0));
    assert_eq!(f.now(), [IN]);
    assert_eq!(f.now(), []);
    f.put();
    assert_eq!(f.now(), [IN]);
    assert_eq!(f.now(), []);
}

#[test]
fn one_shot_waits_to_be_armed_again() {
    let f = fixture();
    f.put();
    assert_eq!(f.ctl(1, IN | ONESHOT), Ok(0));
    assert_eq!(f.now(), [IN]);
    f.put();
    assert_eq!(f.now(), []);
    assert_eq!(f.ctl(3, IN | ONESHOT), Ok(0));
    assert_eq!(f.now(), [IN]);
}

#[test]
fn control_checks_its_arguments() {
    let f = fixture();
    assert_eq!(f.ctl(3, IN), Err(Errno::ENOENT));
    assert_eq!(f.ctl(2, IN), Err(Errno::ENOENT));
    assert_eq!(f.ctl(1, IN), Ok(0));
    assert_eq!(f.ctl(1, IN), Err(Errno::EEXIST));
    assert_eq!(f.ctl(7, IN), Err(Errno::EINVAL));
    assert_eq!(ctl(&f.t, f.ep, 1, f.ep, IN), Err(Errno::EINVAL));
    assert_eq!(ctl(&f.t, f.fr, 1, f.ep, IN), Err(Errno::EINVAL));
    assert_eq!(ctl(&f.t, f.ep, 1, 99, IN), Err(Errno::EBADF));
    assert_eq!(sys_epoll_create(&f.t, 0), Err(Errno::EINVAL));
    assert_eq!(
        sys_epoll_wait(&f.t, f.ep, UserAddr(0), 0, 0),
        Err(Errno::EINVAL)
    );
}

#[test]
fn closed_files_leave() {
    let mut f = fixture();
    f.put();
    assert_eq!(f.ctl(1, IN), Ok(0));
    f.t.files().remove(f.fr).unwrap();
    f.r = File::new(Arc::new(EventFd::new(0, false)), None, 2);
    assert_eq!(f.now(), []);
    f.fr = f.t.install(f.r.clone(), FdFlags::empty()).unwrap();
    assert_eq!(f.ctl(1, IN | OUT), Ok(0));
    assert_eq!(f.now(), [OUT]);
}

#[test]
fn hang_up_needs_no_asking() {
    let mut f = fixture();
    assert_eq!(f.ctl(1, 0), Ok(0));
    f.put();
    assert_eq!(f.now(), []);
    f.w = f.r.clone();
    assert_eq!(f.now(), [HUP]);
}

#[test]
fn sets_nest_but_not_in_circles() {
    let f = fixture();
    assert_eq!(f.ctl(1, IN), Ok(0));
    let mut chain = alloc::vec![f.ep];
    for _ in 0..4 {
        let outer = set(&f.t);
        assert_eq!(ctl(&f.t, outer, 1, chain[chain.len() - 1], IN), Ok(0));
        chain.push(outer);
    }
    let outer = set(&f.t);
    assert_eq!(ctl(&f.t, outer, 1, chain[4], IN), Err(Errno::ELOOP));
    assert_eq!(ctl(&f.t, chain[0], 1, chain[2], IN), Err(Errno::ELOOP));
    assert_eq!(ready(&f.t, chain[4], 0), Ok(Vec::new()));
    f.put();
    assert_eq!(
        ready(&f.t, chain[4], 0),
        Ok(alloc::vec![(IN, chain[3] as u32)])
    );
    f.get();
    assert_eq!(ready(&f.t, chain[4], 0), Ok(Vec::new()));
}

#[test]
fn waits_are_ended_by_events_time_and_signals() {
    let f = Arc::new(fixture());
    assert_eq!(f.ctl(1, IN), Ok(0));
    let start = Instant::now();
    assert_eq!(ready(&f.t, f.ep, 30), Ok(Vec::new()));
    assert!(start.elapsed() >= Duration::from_millis(30));
    let g = f.clone();
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        g.put();
    });
    assert_eq!(ready(&f.t, f.ep, -1).unwrap().len(), 1);
    writer.join().unwrap();
    f.get();
    f.t.add_own_work(Work::SIGNAL);
    assert_eq!(ready(&f.t, f.ep, -1), Err(Errno::EINTR));
}

#[test]
fn many_idle_items_are_not_looked_at() {
    let f = fixture();
    let mut files = Vec::new();
    f.t.process.rlimits.lock()[7] = (20_000, 20_000);
    for _ in 0..10_000 {
        let file = File::new(Arc::new(EventFd::new(0, false)), None, 2);
        let fd = f.t.install(file.clone(), FdFlags::empty()).unwrap();
        ctl(&f.t, f.ep, 1, fd, IN | ET).unwrap();
        files.push(file);
    }
    assert_eq!(f.ctl(1, IN), Ok(0));
    let start = Instant::now();
    for _ in 0..1000 {
        f.put();
        assert_eq!(f.now(), [IN]);
        f.get();
    }
    assert!(start.elapsed() < Duration::from_secs(1));
}
