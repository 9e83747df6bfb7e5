//! `/proc/sys`: kernel parameters.
//!
//! What the kernel obeys is in [`crate::sysctl`]; the rest are numbers and texts that programs
//! read, and that keep what was written.

mod kernel;
mod net;
mod vm;

use crate::fs::pseudo::{Content, Node, Text};
use crate::sysctl::Param;
use crate::{Errno, Result, Task};
use alloc::vec;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;

/// The directory `sys`.
pub fn node() -> Node {
    Node::dir(
        "sys",
        vec![
            Node::dir("abi", vec![own("vsyscall32", 1, 0, 1)]),
            Node::dir("crypto", vec![Node::fixed("fips_enabled", "0")]),
            Node::dir("debug", vec![own("exception-trace", 1, INT_MIN, INT)]),
            Node::dir("dev", Vec::new()),
            vm::fs(),
            kernel::node(),
            net::node(),
            vm::user(),
            vm::vm(),
        ],
    )
}

const INT: i64 = i32::MAX as i64;
const INT_MIN: i64 = i32::MIN as i64;

/// A C number: decimal, hexadecimal or octal, perhaps negative.
pub fn parse_number(text: &[u8]) -> Option<i64> {
    let value = parse_wide(text)?;
    i64::try_from(value).ok()
}

fn parse_wide(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let (radix, digits) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', rest @ ..] if !rest.is_empty() => (8, rest),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    let text = core::str::from_utf8(digits).ok()?;
    let value = i128::from(u64::from_str_radix(text, radix).ok()?);
    Some(if negative { -value } else { value })
}

/// The numbers that were written, as `proc_dointvec` takes them: at least one and at most `max`;
/// what follows is ignored.
fn parse_numbers(data: &[u8], max: usize) -> Result<Vec<i128>> {
    let end = data.iter().position(|&b| b == 0).unwrap_or(data.len());
    let words = data.get(..end).unwrap_or_default();
    let words = words
        .split(u8::is_ascii_whitespace)
        .filter(|w| !w.is_empty());
    let out: Option<Vec<i128>> = words.take(max).map(parse_wide).collect();
    match out {
        Some(v) if !v.is_empty() => Ok(v),
        _ => Err(Errno::EINVAL),
    }
}

fn show(values: impl Iterator<Item = i128>) -> Vec<u8> {
    let mut out = Text::new();
    for (i, v) in values.enumerate() {
        out.put(format_args!("{}{v}", if i > 0 { "\t" } else { "" }));
    }
    out.bytes(b"\n");
    out.0
}

/// Parameters that are obeyed.
struct Params(Vec<&'static Param>);

impl Content for Params {
    fn text(&self, _t: &Task) -> Result<Vec<u8>> {
        Ok(show(self.0.iter().map(|p| p.shown())))
    }
    fn store(&self, _t: &Task, data: &[u8], offset: u64) -> Result<()> {
        // Only what is written at the beginning counts (`sysctl_writes_strict`).
        if offset > 0 {
            return Ok(());
        }
        let values = parse_numbers(data, self.0.len())?;
        for (param, value) in self.0.iter().zip(values) {
            if !param.take(value) {
                return Err(Errno::EINVAL);
            }
        }
        Ok(())
    }
}

/// Numbers that are only kept.
struct Kept {
    values: Mutex<Vec<i64>>,
    min: i64,
    max: i64,
}

impl Content for Kept {
    fn text(&self, _t: &Task) -> Result<Vec<u8>> {
        let values = self.values.lock().clone();
        Ok(show(values.into_iter().map(i128::from)))
    }
    fn store(&self, _t: &Task, data: &[u8], offset: u64) -> Result<()> {
        if offset > 0 {
            return Ok(());
        }
        let mut values = self.values.lock();
        let new = parse_numbers(data, values.len())?;
        let fits = |v: &i128| (i128::from(self.min)..=i128::from(self.max)).contains(v);
        if !new.iter().all(fits) {
            return Err(Errno::EINVAL);
        }
        for (old, new) in values.iter_mut().zip(new) {
            *old = new as i64;
        }
        Ok(())
    }
}

/// A text that is only kept, of fewer than `room` bytes.
struct KeptText {
    value: Mutex<Vec<u8>>,
    room: usize,
}

/// What a written text means: up to a newline or NUL, cut to what there is room for.
fn text_value(data: &[u8], room: usize) -> &[u8] {
    let end = data.iter().position(|&b| b == 0 || b == b'\n');
    let text = data.get(..end.unwrap_or(data.len())).unwrap_or_default();
    text.get(..room.saturating_sub(1)).unwrap_or(text)
}

impl Content for KeptText {
    fn text(&self, _t: &Task) -> Result<Vec<u8>> {
        let mut v = self.value.lock().clone();
        v.push(b'\n');
        Ok(v)
    }
    fn store(&self, _t: &Task, data: &[u8], offset: u64) -> Result<()> {
        let mut value = self.value.lock();
        let keep = usize::try_from(offset).unwrap_or(usize::MAX);
        if keep > value.len() {
            return Ok(());
        }
        value.truncate(keep);
        let room = self.room.saturating_sub(keep);
        value.extend_from_slice(text_value(data, room));
        Ok(())
    }
}

/// A parameter that is obeyed.
fn param(name: &'static str, p: &'static Param) -> Node {
    params(name, &[p])
}

/// Several in one file.
fn params(name: &'static str, p: &[&'static Param]) -> Node {
    Node::file(name, 0o644, Params(p.to_vec()))
}

/// A number that is only kept.
fn own(name: &'static str, value: i64, min: i64, max: i64) -> Node {
    own_several(name, &[value], min, max)
}

/// A switch that is only kept.
fn switch(name: &'static str, value: i64) -> Node {
    own(name, value, INT_MIN, INT)
}

/// Several numbers that are only kept.
fn own_several(name: &'static str, values: &[i64], min: i64, max: i64) -> Node {
    Node::file(
        name,
        0o644,
        Kept {
            values: Mutex::new(values.to_vec()),
            min,
            max,
        },
    )
}

/// A text that is only kept.
fn own_text(name: &'static str, value: &str, room: usize) -> Node {
    Node::file(
        name,
        0o644,
        KeptText {
            value: Mutex::new(value.as_bytes().to_vec()),
            room,
        },
    )
}

/// A file whose contents and effect are functions.
struct Pair {
    text: fn(&Task) -> Result<Vec<u8>>,
    store: fn(&Task, &[u8]) -> Result<()>,
}

impl Content for Pair {
    fn text(&self, t: &Task) -> Result<Vec<u8>> {
        (self.text)(t)
    }
    fn store(&self, t: &Task, data: &[u8], offset: u64) -> Result<()> {
        if offset > 0 {
            return Ok(());
        }
        (self.store)(t, data)
    }
}

fn pair(
    name: &'static str,
    mode: u32,
    text: fn(&Task) -> Result<Vec<u8>>,
    store: fn(&Task, &[u8]) -> Result<()>,
) -> Node {
    Node::file(name, mode, Pair { text, store })
}
