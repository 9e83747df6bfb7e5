//! Sleeping, waking, readiness.

use crate::{Hostile, Lie, call};
use bastide_pal::park::Parking;
use bastide_pal::{Clock, HostEvent, HostFd, HostPoll, Park, ParkState, Platform, Result};
use std::sync::atomic::{AtomicU32, Ordering};

/// Sleeps for at most `ms`; says whether a descriptor is ready.
fn poll(hosts: &mut [HostPoll], ms: i32) -> bool {
    let mut list: Vec<libc::pollfd> = hosts
        .iter()
        .map(|h| libc::pollfd {
            fd: h.fd.0,
            events: h.events as i16,
            revents: 0,
        })
        .collect();
    let a = [list.as_mut_ptr() as usize, list.len(), ms as usize, 0, 0, 0];
    let n = call(libc::SYS_poll, a).unwrap_or(0);
    for (h, p) in hosts.iter_mut().zip(&list) {
        h.revents = p.revents as u16;
    }
    n > 0
}

impl Parking for Hostile {
    fn park(&self, park: &Park, deadline: Option<u64>, hosts: &mut [HostPoll]) {
        if self.changed("park") {
            hosts.iter_mut().for_each(|h| h.revents = u16::MAX);
            std::thread::yield_now();
            return;
        }
        while !park.take() {
            if deadline.is_some_and(|d| self.now(Clock::Monotonic) >= d) || poll(hosts, 1) {
                return;
            }
        }
    }
    fn unpark(&self, park: &Park) {
        park.state
            .store(ParkState::Notified as u32, Ordering::Release);
    }
    fn word_wait(&self, word: &AtomicU32, expected: u32) {
        if word.load(Ordering::Acquire) == expected {
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
    }
    fn word_wake(&self, _: &AtomicU32, _: u32) {}
    fn poll_now(&self, hosts: &mut [HostPoll]) {
        poll(hosts, 0);
        if self.changed("poll_now") {
            hosts.iter_mut().for_each(|h| h.revents = u16::MAX);
        }
    }
    fn readiness_new(&self) -> Result<HostFd> {
        self.check("readiness_new")?;
        let fd = call(
            libc::SYS_epoll_create1,
            [libc::EPOLL_CLOEXEC as usize, 0, 0, 0, 0, 0],
        )?;
        Ok(self.descriptor("readiness_new", HostFd(fd as i32)))
    }
    fn readiness_set(&self, set: HostFd, fd: HostFd, events: Option<(u32, u64)>) -> Result<()> {
        self.check("readiness_set")?;
        let (events_wanted, cookie) = events.unwrap_or_default();
        let ev = libc::epoll_event {
            events: events_wanted,
            u64: cookie,
        };
        let ctl = |op: i32| {
            let at = &raw const ev as usize;
            call(
                libc::SYS_epoll_ctl,
                [set.0 as usize, op as usize, fd.0 as usize, at, 0, 0],
            )
        };
        match events {
            None => ctl(libc::EPOLL_CTL_DEL),
            Some(_) => ctl(libc::EPOLL_CTL_MOD).or_else(|_| ctl(libc::EPOLL_CTL_ADD)),
        }
        .map(drop)
    }
    fn readiness_take(&self, set: HostFd, out: &mut [HostEvent]) -> Result<usize> {
        self.check("readiness_take")?;
        let a = [
            set.0 as usize,
            out.as_mut_ptr() as usize,
            out.len(),
            0,
            0,
            0,
        ];
        let n = call(libc::SYS_epoll_wait, a)?;
        if self.lie("readiness_take") == Some(Lie::Changed) {
            out.fill(HostEvent {
                events: u32::MAX,
                cookie: u64::MAX / 3,
            });
            return Ok(out.len());
        }
        Ok(self.length("readiness_take", n, out.len()))
    }
}
