//! The line discipline `N_TTY`, `termios(3)`: editing and echo of what is typed, and processing of
//! what is printed. Only state and rules: whoever holds it moves the bytes and sends the signals.

use super::termios::Termios;
use crate::abi::raw::general as raw;
use crate::abi::signal::{SIGINT, SIGQUIT, SIGTSTP};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

/// Bytes of input that wait to be read.
const CAPACITY: usize = 4096;
/// A control character that is switched off, `_POSIX_VDISABLE`.
const DISABLED: u8 = 0;

/// What a read finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Input {
    /// Bytes (at least one).
    Data(Vec<u8>),
    /// The end-of-file character at the beginning of a line.
    End,
    /// Nothing yet.
    Nothing,
}

/// Input, and where the cursor is.
#[derive(Default)]
pub(super) struct Ldisc {
    input: VecDeque<u8>,
    /// How many bytes were ever read: the number of the first one of `input`.
    tail: u64,
    /// Number of the first byte of the line being edited.
    line: u64,
    /// Numbers of bytes that end a line.
    ends: BTreeSet<u64>,
    /// The next character has no meaning.
    literal: bool,
    /// Erased characters are being printed between `\` and `/` (`ECHOPRT`).
    erasing: bool,
    column: u32,
    /// The column at which the line being edited began.
    line_column: u32,
    /// Output is held (ctrl-S).
    pub stopped: bool,
}

fn control(c: u8) -> bool {
    c < 0x20 || c == 0x7f
}

/// A byte inside a UTF-8 character, if characters are that.
fn continues(t: &Termios, c: u8) -> bool {
    t.iflag & raw::IUTF8 != 0 && c & 0xc0 == 0x80
}

impl Termios {
    fn i(&self, bit: u32) -> bool {
        self.iflag & bit != 0
    }
    fn o(&self, bit: u32) -> bool {
        self.oflag & bit != 0
    }
    pub(super) fn l(&self, bit: u32) -> bool {
        self.lflag & bit != 0
    }
    pub(super) fn c(&self, which: u32) -> u8 {
        self.cc.get(which as usize).copied().unwrap_or(DISABLED)
    }
    /// `c` is this control character.
    fn is(&self, c: u8, which: u32) -> bool {
        c != DISABLED && c == self.c(which)
    }
}

impl Ldisc {
    /// Number of the next byte to come.
    fn head(&self) -> u64 {
        self.tail + self.input.len() as u64
    }

    /// Input can be taken. A line that is too long goes on replacing its last character, so that
    /// its end can come.
    pub fn has_room(&self, t: &Termios) -> bool {
        self.input.len() < CAPACITY - 1 || t.l(raw::ICANON) && self.ends.is_empty()
    }

    /// Throws away all input.
    pub fn flush(&mut self) {
        self.tail = self.head();
        self.line = self.tail;
        self.input.clear();
        self.ends.clear();
        self.literal = false;
        self.erasing = false;
    }

    /// Bytes that a read could take.
    pub fn available(&self, t: &Termios) -> usize {
        if t.l(raw::ICANON) {
            (self.line - self.tail) as usize
        } else {
            self.input.len()
        }
    }

    /// The attributes changed. What was typed before is one line, if lines are wanted now.
    pub fn changed(&mut self, old: &Termios, new: &Termios) {
        if (old.lflag ^ new.lflag) & raw::ICANON != 0 {
            self.ends.clear();
            self.literal = false;
            self.line = self.tail;
            if new.l(raw::ICANON) && !self.input.is_empty() {
                self.line = self.head();
                self.ends.insert(self.line - 1);
            }
        }
        if old.i(raw::IXON) && !new.i(raw::IXON) {
            self.stopped = false;
        }
    }

    /// Takes at most `max` bytes for a reader.
    pub fn take(&mut self, t: &Termios, max: usize) -> Input {
        if !t.l(raw::ICANON) {
            let n = self.input.len().min(max);
            if n == 0 {
                return Input::Nothing;
            }
            self.tail += n as u64;
            self.line = self.line.max(self.tail);
            return Input::Data(self.input.drain(..n).collect());
        }
        let Some(&end) = self.ends.first() else {
            return Input::Nothing;
        };
        let before = (end - self.tail) as usize;
        let is_eof = self.input.get(before) == Some(&DISABLED);
        let whole = if is_eof { before } else { before + 1 };
        let n = whole.min(max);
        let data: Vec<u8> = self.input.drain(..n).collect();
        self.tail += n as u64;
        if n == whole {
            self.ends.remove(&end);
            if is_eof {
                self.input.pop_front();
                self.tail += 1;
            }
        }
        if data.is_empty() && is_eof && n == whole {
            Input::End
        } else {
            Input::Data(data)
        }
    }

    fn put(&mut self, c: u8) {
        if self.input.len() >= CAPACITY {
            self.input.pop_back();
        }
        self.input.push_back(c);
    }

    fn end_line(&mut self, c: u8) {
        self.put(c);
        self.line = self.head();
        self.ends.insert(self.line - 1);
    }

    /// Takes a typed character. Echo goes to `out`; the result is a signal for the foreground.
    pub fn receive(&mut self, t: &Termios, c: u8, out: &mut Vec<u8>) -> Option<i32> {
        let mut c = if t.i(raw::ISTRIP) { c & 0x7f } else { c };
        if t.i(raw::IUCLC) && t.l(raw::IEXTEN) {
            c = c.to_ascii_lowercase();
        }
        if core::mem::take(&mut self.literal) {
            self.plain(t, c, out);
            return None;
        }
        if t.i(raw::IXON) {
            if t.is(c, raw::VSTART) {
                self.stopped = false;
                return None;
            }
            if t.is(c, raw::VSTOP) {
                self.stopped = true;
                return None;
            }
        }
        if t.l(raw::ISIG)
            && let Some(signal) = signal_of(t, c)
        {
            if !t.l(raw::NOFLSH) {
                self.flush();
                out.clear();
            }
            if t.i(raw::IXON) {
                self.stopped = false;
            }
            if t.l(raw::ECHO) {
                self.echo(t, c, out);
            }
            return Some(signal);
        }
        if self.stopped && t.i(raw::IXON) && t.i(raw::IXANY) {
            self.stopped = false;
        }
        match c {
            b'\r' if t.i(raw::IGNCR) => return None,
            b'\r' if t.i(raw::ICRNL) => c = b'\n',
            b'\n' if t.i(raw::INLCR) => c = b'\r',
            _ => {}
        }
        if t.l(raw::ICANON) && self.edit(t, c, out) {
            return None;
        }
        self.plain(t, c, out);
        None
    }

    /// A character without a meaning.
    fn plain(&mut self, t: &Termios, c: u8, out: &mut Vec<u8>) {
        if t.l(raw::ECHO) {
            self.finish_erasing(t, out);
            if c == b'\n' {
                self.print(t, c, out);
            } else {
                self.begin_line();
                self.echo(t, c, out);
            }
        }
        if c == 0xff && t.i(raw::PARMRK) {
            self.put(c);
        }
        self.put(c);
    }

    fn begin_line(&mut self) {
        if self.line == self.head() {
            self.line_column = self.column;
        }
    }

    /// Line editing; false if the character means nothing.
    fn edit(&mut self, t: &Termios, c: u8, out: &mut Vec<u8>) -> bool {
        let extended = t.l(raw::IEXTEN);
        if t.is(c, raw::VERASE) || t.is(c, raw::VKILL) || extended && t.is(c, raw::VWERASE) {
            self.erase(t, c, out);
        } else if extended && t.is(c, raw::VLNEXT) {
            self.literal = true;
            if t.l(raw::ECHO) {
                self.finish_erasing(t, out);
                if t.l(raw::ECHOCTL) {
                    out.extend_from_slice(b"^\x08");
                }
            }
        } else if extended && t.l(raw::ECHO) && t.is(c, raw::VREPRINT) {
            self.finish_erasing(t, out);
            self.echo(t, c, out);
            self.print(t, b'\n', out);
            let from = (self.line - self.tail) as usize;
            let line: Vec<u8> = self.input.iter().skip(from).copied().collect();
            for c in line {
                self.echo(t, c, out);
            }
        } else if c == b'\n' {
            if t.l(raw::ECHO) || t.l(raw::ECHONL) {
                self.finish_erasing(t, out);
                self.print(t, c, out);
            }
            self.end_line(c);
        } else if t.is(c, raw::VEOF) {
            self.end_line(DISABLED);
        } else if t.is(c, raw::VEOL) || extended && t.is(c, raw::VEOL2) {
            if t.l(raw::ECHO) {
                self.begin_line();
                self.echo(t, c, out);
            }
            if c == 0xff && t.i(raw::PARMRK) {
                self.put(c);
            }
            self.end_line(c);
        } else {
            return false;
        }
        true
    }

    fn erase(&mut self, t: &Termios, c: u8, out: &mut Vec<u8>) {
        if self.line == self.head() {
            return;
        }
        let (kill, word) = (t.is(c, raw::VKILL), !t.is(c, raw::VERASE));
        let start = (self.line - self.tail) as usize;
        if kill {
            let whole = t.l(raw::ECHOK) && t.l(raw::ECHOKE) && t.l(raw::ECHOE);
            if !t.l(raw::ECHO) || !whole {
                self.input.truncate(start);
                if t.l(raw::ECHO) {
                    self.finish_erasing(t, out);
                    self.echo(t, c, out);
                    if t.l(raw::ECHOK) {
                        self.print(t, b'\n', out);
                    }
                }
                return;
            }
        }
        let mut in_word = false;
        while self.input.len() > start {
            // One whole character: its last byte that is not in the middle of one, and the rest.
            let mut at = self.input.len() - 1;
            while at > start && self.input.get(at).is_some_and(|&c| continues(t, c)) {
                at -= 1;
            }
            let Some(&c) = self.input.get(at) else { break };
            if continues(t, c) {
                break;
            }
            if word && !kill {
                if c.is_ascii_alphanumeric() || c == b'_' {
                    in_word = true;
                } else if in_word {
                    break;
                }
            }
            let bytes: Vec<u8> = self.input.drain(at..).collect();
            if t.l(raw::ECHO) {
                self.show_erased(t, c, &bytes, kill || word, out);
            }
            if !kill && !word {
                break;
            }
        }
        if self.line == self.head() && t.l(raw::ECHO) {
            self.finish_erasing(t, out);
        }
    }

    fn show_erased(&mut self, t: &Termios, c: u8, bytes: &[u8], many: bool, out: &mut Vec<u8>) {
        if t.l(raw::ECHOPRT) {
            if !self.erasing {
                self.print(t, b'\\', out);
                self.erasing = true;
            }
            self.echo(t, c, out);
            for &b in bytes.iter().skip(1) {
                self.print(t, b, out);
            }
        } else if !many && !t.l(raw::ECHOE) {
            self.echo(t, t.c(raw::VERASE), out);
        } else if c == b'\t' {
            // Back to where the tab began: the columns of what is before it in the line.
            let start = (self.line - self.tail) as usize;
            let mut column = self.line_column;
            for &c in self.input.iter().skip(start) {
                column = match c {
                    b'\t' => (column | 7) + 1,
                    c if control(c) => column + 2 * u32::from(t.l(raw::ECHOCTL)),
                    c if continues(t, c) => column,
                    _ => column + 1,
                };
            }
            while self.column > column {
                out.push(8);
                self.column -= 1;
            }
        } else {
            let wide = control(c) && t.l(raw::ECHOCTL);
            for _ in 0..usize::from(wide) + usize::from(!control(c) || wide) {
                out.extend_from_slice(b"\x08 \x08");
                self.column = self.column.saturating_sub(1);
            }
        }
    }

    fn finish_erasing(&mut self, t: &Termios, out: &mut Vec<u8>) {
        if core::mem::take(&mut self.erasing) {
            self.print(t, b'/', out);
        }
    }

    /// Shows a typed character.
    fn echo(&mut self, t: &Termios, c: u8, out: &mut Vec<u8>) {
        if t.l(raw::ECHOCTL) && control(c) && c != b'\t' && c != b'\n' {
            out.extend_from_slice(&[b'^', c ^ 0x40]);
            self.column = self.column.saturating_add(2);
        } else {
            self.print(t, c, out);
        }
    }

    /// Prints a character by the rules of `c_oflag`.
    pub fn print(&mut self, t: &Termios, c: u8, out: &mut Vec<u8>) {
        if !t.o(raw::OPOST) {
            out.push(c);
            return;
        }
        match c {
            b'\n' => {
                if t.o(raw::ONLRET) {
                    self.column = 0;
                }
                if t.o(raw::ONLCR) {
                    self.column = 0;
                    out.push(b'\r');
                }
                out.push(c);
            }
            b'\r' if t.o(raw::ONOCR) && self.column == 0 => {}
            b'\r' if t.o(raw::OCRNL) => {
                if t.o(raw::ONLRET) {
                    self.column = 0;
                }
                out.push(b'\n');
            }
            b'\r' => {
                self.column = 0;
                out.push(c);
            }
            b'\t' => {
                let spaces = 8 - (self.column & 7);
                self.column = self.column.saturating_add(spaces);
                if t.oflag & raw::TABDLY == raw::XTABS {
                    out.extend((0..spaces).map(|_| b' '));
                } else {
                    out.push(c);
                }
            }
            8 => {
                self.column = self.column.saturating_sub(1);
                out.push(c);
            }
            _ => {
                let c = if t.o(raw::OLCUC) {
                    c.to_ascii_uppercase()
                } else {
                    c
                };
                if !control(c) && !continues(t, c) {
                    self.column = self.column.saturating_add(1);
                }
                out.push(c);
            }
        }
    }
}

fn signal_of(t: &Termios, c: u8) -> Option<i32> {
    if t.is(c, raw::VINTR) {
        Some(SIGINT)
    } else if t.is(c, raw::VQUIT) {
        Some(SIGQUIT)
    } else if t.is(c, raw::VSUSP) {
        Some(SIGTSTP)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(l: &mut Ldisc, t: &Termios, text: &[u8]) -> (Vec<u8>, Vec<i32>) {
        let mut out = Vec::new();
        let mut signals = Vec::new();
        for &c in text {
            signals.extend(l.receive(t, c, &mut out));
        }
        (out, signals)
    }

    fn data(b: &[u8]) -> Input {
        Input::Data(b.to_vec())
    }

    #[test]
    fn lines_are_edited_and_echoed() {
        let (mut l, t) = (Ldisc::default(), Termios::new());
        assert_eq!(typed(&mut l, &t, b"ab\x7fc").0, b"ab\x08 \x08c");
        assert_eq!(l.take(&t, 10), Input::Nothing);
        assert_eq!(typed(&mut l, &t, b"\r").0, b"\r\n");
        assert_eq!(l.take(&t, 1), data(b"a"));
        assert_eq!(l.take(&t, 10), data(b"c\n"));
        assert_eq!(typed(&mut l, &t, b"one two\x17x\n").0.len(), 7 + 9 + 1 + 2);
        assert_eq!(l.take(&t, 100), data(b"one x\n"));
        typed(&mut l, &t, b"gone\x15kept\n");
        assert_eq!(l.take(&t, 100), data(b"kept\n"));
        typed(&mut l, &t, b"\x16\x03\n");
        assert_eq!(l.take(&t, 100), data(b"\x03\n"));
    }

    #[test]
    fn end_of_file_ends_a_line_or_the_file() {
        let (mut l, t) = (Ldisc::default(), Termios::new());
        typed(&mut l, &t, b"abc\x04\x04");
        assert_eq!(l.take(&t, 3), data(b"abc"));
        assert_eq!(l.take(&t, 3), Input::End);
        assert_eq!(l.take(&t, 3), Input::Nothing);
    }

    #[test]
    fn signals_flush_and_control_characters_show() {
        let (mut l, t) = (Ldisc::default(), Termios::new());
        let (out, signals) = typed(&mut l, &t, b"abc\x03");
        assert_eq!((out, signals), (b"^C".to_vec(), alloc::vec![SIGINT]));
        typed(&mut l, &t, b"x\n");
        assert_eq!(l.take(&t, 9), data(b"x\n"));
        typed(&mut l, &t, b"\x13");
        assert!(l.stopped);
        typed(&mut l, &t, b"\x11");
        assert!(!l.stopped);
    }

    #[test]
    fn raw_input_passes_and_becomes_a_line() {
        let (mut l, mut t) = (Ldisc::default(), Termios::new());
        let canonical = t;
        t.lflag = 0;
        t.iflag = 0;
        assert_eq!(typed(&mut l, &t, b"\x03\x04\r").0, b"");
        assert_eq!(l.available(&t), 3);
        assert_eq!(l.take(&t, 2), data(b"\x03\x04"));
        l.changed(&t, &canonical);
        assert_eq!(l.take(&canonical, 9), data(b"\r"));
    }

    #[test]
    fn a_line_that_is_too_long_can_still_end() {
        let (mut l, t) = (Ldisc::default(), Termios::new());
        for _ in 0..5000 {
            assert!(l.has_room(&t));
            typed(&mut l, &t, b"y");
        }
        typed(&mut l, &t, b"\n");
        assert!(!l.has_room(&t));
        match l.take(&t, 9999) {
            Input::Data(d) => assert_eq!((d.len(), d.last()), (CAPACITY, Some(&b'\n'))),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn characters_of_several_bytes_are_erased_whole() {
        let (mut l, mut t) = (Ldisc::default(), Termios::new());
        t.iflag |= raw::IUTF8;
        typed(&mut l, &t, "aé\x7f\n".as_bytes());
        assert_eq!(l.take(&t, 9), data(b"a\n"));
    }
}
