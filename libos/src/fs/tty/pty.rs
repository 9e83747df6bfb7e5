//! Pseudoterminals, `pty(7)`: two ends with a line discipline between them.
//!
//! What is written to the master is typed: it waits in `typed` until the discipline has room for
//! it, and echo goes to `printed`. What is written to the slave is printed, and the master reads
//! it. One lock per pair; signals are sent and sleepers woken after it is released.

use super::ldisc::{Input, Ldisc};
use super::termios::{Termios, When, Winsize};
use super::{Line, Tty, job};
use crate::abi::raw::general as raw;
use crate::abi::signal::SIGWINCH;
use crate::fs::devfs::pts;
use crate::process::creds::CAP_SYS_ADMIN;
use crate::uio::IoSrc;
use crate::wait::{POLLALL, POLLIN, POLLOUT, WaitQueue};
use crate::{Errno, Result, Task};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;

/// Bytes that wait between the ends, each way.
const CAPACITY: usize = 64 << 10;
/// Bytes that are processed under one hold of the lock.
pub(super) const CHUNK: usize = 4096;

/// Packet mode's events, `TIOCPKT` of `tty_ioctl(4)`.
pub(super) mod packet {
    pub const FLUSHREAD: u8 = 1;
    pub const FLUSHWRITE: u8 = 2;
    pub const STOP: u8 = 4;
    pub const START: u8 = 8;
    pub const NOSTOP: u8 = 16;
    pub const DOSTOP: u8 = 32;
}

/// The state of a pair.
pub(super) struct State {
    pub termios: Termios,
    pub winsize: Winsize,
    pub ldisc: Ldisc,
    typed: VecDeque<u8>,
    pub printed: VecDeque<u8>,
    /// Open slaves, and whether there ever was one.
    pub slaves: usize,
    pub used: bool,
    /// The master is closed.
    pub hung_up: bool,
    /// How often the slaves were hung up: those opened before are dead.
    pub generation: u32,
    /// The slave may not be opened yet (`TIOCSPTLCK`).
    pub locked: bool,
    /// Only root may open it again (`TIOCEXCL`).
    pub exclusive: bool,
    /// The master reads packets, and which events wait for it.
    pub packet: bool,
    pub events: u8,
}

impl State {
    /// Something waits for the master's reader.
    pub fn readable(&self) -> bool {
        !self.printed.is_empty() || self.packet && self.events != 0
    }

    /// A slave of this generation is dead.
    pub fn dead(&self, generation: u32) -> bool {
        self.hung_up || generation != self.generation
    }

    /// Every slave was closed.
    pub fn deserted(&self) -> bool {
        self.used && self.slaves == 0
    }

    fn event(&mut self, add: u8, remove: u8) {
        self.events = self.events & !remove | add;
    }

    /// Discards what was printed and not yet read.
    pub fn flush_output(&mut self) {
        self.printed.clear();
        self.event(packet::FLUSHWRITE, 0);
    }

    /// Discards what was typed and not yet read.
    pub fn flush_input(&mut self) {
        self.typed.clear();
        self.ldisc.flush();
        self.event(packet::FLUSHREAD, 0);
    }

    /// Holds output, or lets it go on.
    pub fn hold(&mut self, stopped: bool) {
        if self.ldisc.stopped != stopped {
            self.ldisc.stopped = stopped;
            self.flow_changed();
        }
    }

    fn flow_changed(&mut self) {
        if self.ldisc.stopped {
            self.event(packet::STOP, packet::START);
        } else {
            self.event(packet::START, packet::STOP);
        }
    }

    /// Gives the discipline what was typed, as far as it has room. Returns signals to send.
    pub fn pump(&mut self) -> Vec<i32> {
        let mut signals = Vec::new();
        let mut echo = Vec::new();
        while self.ldisc.has_room(&self.termios) {
            let Some(c) = self.typed.pop_front() else {
                break;
            };
            let stopped = self.ldisc.stopped;
            if let Some(signal) = self.ldisc.receive(&self.termios, c, &mut echo) {
                if !self.termios.l(raw::NOFLSH) {
                    self.flush_output();
                    self.event(packet::FLUSHREAD, 0);
                }
                signals.push(signal);
            }
            if self.ldisc.stopped != stopped {
                self.flow_changed();
            }
        }
        // Echo has no writer who could wait: what the master never reads is lost in the end.
        let room = (2 * CAPACITY).saturating_sub(self.printed.len());
        self.printed.extend(echo.into_iter().take(room));
        signals
    }

    /// Prints bytes as far as there is room; returns how many.
    fn print(&mut self, data: &[u8]) -> usize {
        let mut out = Vec::new();
        let mut done = 0;
        for &c in data {
            if self.printed.len() + out.len() >= CAPACITY {
                break;
            }
            self.ldisc.print(&self.termios, c, &mut out);
            done += 1;
        }
        self.printed.extend(out);
        done
    }
}

/// A pair.
pub struct Pty {
    pub(in crate::fs) index: u32,
    pub(in crate::fs) tty: Arc<Tty>,
    pub(super) state: Mutex<State>,
    /// Those who read or write at the slave, and at the master.
    pub(super) slave_queue: WaitQueue,
    pub(super) master_queue: WaitQueue,
}

impl Pty {
    /// A new pair, whose slave is locked.
    pub(in crate::fs) fn new(index: u32) -> Arc<Pty> {
        Arc::new_cyclic(|me| Pty {
            index,
            tty: Arc::new(Tty {
                session: Mutex::new((0, 0)),
                line: Line::Pty(me.clone()),
            }),
            state: Mutex::new(State {
                termios: Termios::new(),
                winsize: Winsize::default(),
                ldisc: Ldisc::default(),
                typed: VecDeque::new(),
                printed: VecDeque::new(),
                slaves: 0,
                used: false,
                hung_up: false,
                generation: 0,
                locked: true,
                exclusive: false,
                packet: false,
                events: 0,
            }),
            slave_queue: WaitQueue::new(),
            master_queue: WaitQueue::new(),
        })
    }

    /// Changes the state, then sends the signals that came of it and wakes everybody.
    pub(super) fn update<R>(&self, change: impl FnOnce(&mut State) -> (R, Vec<i32>)) -> R {
        let (r, signals) = change(&mut self.state.lock());
        self.tell(&signals);
        r
    }

    fn tell(&self, signals: &[i32]) {
        let foreground = self.tty.session.lock().1;
        for &s in signals {
            job::signal_group(foreground, s);
        }
        self.slave_queue.wake_all(POLLIN | POLLOUT);
        self.master_queue.wake_all(POLLIN | POLLOUT);
    }

    /// Types bytes as far as there is room; returns how many.
    pub(super) fn type_in(&self, src: &mut IoSrc<'_>) -> Result<usize> {
        let data = src.take_vec(CHUNK)?;
        let n = self.update(|s| {
            let room = CAPACITY.saturating_sub(s.typed.len());
            let n = data.len().min(room);
            s.typed.extend(data.iter().take(n));
            (n, s.pump())
        });
        src.rewind(data.len() - n);
        Ok(n)
    }

    /// The master can write.
    pub(super) fn can_type(s: &State) -> bool {
        s.typed.len() < CAPACITY
    }

    /// The slave can write.
    pub(super) fn can_print(s: &State) -> bool {
        s.printed.len() < CAPACITY && !s.ldisc.stopped
    }

    /// Prints bytes as far as there is room and output is not held; EIO after a hang-up.
    pub(super) fn print_out(&self, generation: u32, src: &mut IoSrc<'_>) -> Result<usize> {
        let data = src.take_vec(CHUNK)?;
        let n = {
            let mut s = self.state.lock();
            if s.dead(generation) {
                Err(Errno::EIO)
            } else if s.ldisc.stopped {
                Ok(0)
            } else {
                Ok(s.print(&data))
            }
        };
        src.rewind(data.len() - n.unwrap_or(0));
        if n? > 0 {
            self.master_queue.wake_all(POLLIN);
        }
        n
    }

    /// What a slave's reader can have now; `End` after a hang-up.
    pub(super) fn take_input(&self, generation: u32, max: usize) -> Input {
        let (input, signals) = {
            let mut s = self.state.lock();
            if s.dead(generation) {
                return Input::End;
            }
            let State { ldisc, termios, .. } = &mut *s;
            match ldisc.take(termios, max) {
                Input::Nothing => (Input::Nothing, Vec::new()),
                input => (input, s.pump()),
            }
        };
        if input != Input::Nothing {
            self.tell(&signals);
        }
        input
    }

    /// What the master's reader can have now; `End` when all slaves are closed.
    pub(super) fn take_output(&self, max: usize) -> Input {
        let mut s = self.state.lock();
        if s.packet && s.events != 0 {
            let events = core::mem::take(&mut s.events);
            return Input::Data(alloc::vec![events]);
        }
        if s.printed.is_empty() {
            return if s.deserted() {
                Input::End
            } else {
                Input::Nothing
            };
        }
        let mut data = Vec::new();
        if s.packet {
            data.push(0);
        }
        let n = s.printed.len().min(max.saturating_sub(data.len()));
        data.extend(s.printed.drain(..n));
        drop(s);
        self.slave_queue.wake_all(POLLOUT);
        Input::Data(data)
    }

    /// Sets attributes as the drivers of pseudoterminals allow.
    pub(super) fn set_termios(&self, new: &Termios, when: When) {
        self.update(|s| {
            if when == When::Flush {
                s.flush_input();
            }
            let old = s.termios;
            let mut new = *new;
            new.cflag = new.cflag & !(raw::CSIZE | raw::PARENB) | raw::CS8 | raw::CREAD;
            s.termios = new;
            let stopped = s.ldisc.stopped;
            s.ldisc.changed(&old, &new);
            if s.ldisc.stopped != stopped {
                s.flow_changed();
            }
            let flow = |t: &Termios| {
                t.iflag & raw::IXON != 0 && t.c(raw::VSTOP) == 0x13 && t.c(raw::VSTART) == 0x11
            };
            match (flow(&old), flow(&new)) {
                (true, false) => s.event(packet::NOSTOP, packet::DOSTOP),
                (false, true) => s.event(packet::DOSTOP, packet::NOSTOP),
                _ => {}
            }
            ((), s.pump())
        });
    }

    /// Sets the window size and tells the foreground if it is another.
    pub(super) fn set_winsize(&self, new: Winsize) {
        let old = core::mem::replace(&mut self.state.lock().winsize, new);
        if old != new {
            job::signal_group(self.tty.session.lock().1, SIGWINCH);
        }
    }

    /// Counts a slave that is being opened: EIO if it is locked or hung up, EBUSY if somebody
    /// wants it alone. Returns its generation.
    pub(super) fn add_slave(&self, t: &Task) -> Result<u32> {
        let generation = {
            let mut s = self.state.lock();
            if s.locked || s.hung_up {
                return Err(Errno::EIO);
            }
            if s.exclusive && !t.creds().capable(CAP_SYS_ADMIN) {
                return Err(Errno::EBUSY);
            }
            s.slaves += 1;
            s.used = true;
            s.generation
        };
        self.master_queue.wake_all(POLLALL);
        Ok(generation)
    }

    pub(super) fn remove_slave(&self, generation: u32) {
        {
            let mut s = self.state.lock();
            if s.generation != generation {
                return;
            }
            s.slaves = s.slaves.saturating_sub(1);
            if s.slaves == 0 {
                s.exclusive = false;
            }
        }
        self.master_queue.wake_all(POLLALL);
    }

    /// Hangs up the slaves that are open (`vhangup(2)`); it can be opened again.
    pub(super) fn hang_up_slaves(&self) {
        {
            let mut s = self.state.lock();
            s.generation = s.generation.wrapping_add(1);
            s.slaves = 0;
            s.exclusive = false;
            s.typed.clear();
            s.ldisc.flush();
        }
        self.slave_queue.wake_all(POLLALL);
        self.master_queue.wake_all(POLLALL);
    }

    /// The master was closed: the line is gone.
    pub(super) fn hang_up(&self) {
        {
            let mut s = self.state.lock();
            s.hung_up = true;
            s.typed = VecDeque::new();
            s.printed = VecDeque::new();
            s.ldisc.flush();
        }
        pts::forget(self);
        self.tty.hang_up_session();
        self.slave_queue.wake_all(POLLALL);
    }
}
