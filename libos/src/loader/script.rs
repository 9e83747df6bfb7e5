//! `#!` lines, `execve(2)` "Interpreter scripts".

use super::Strings;
use crate::{Errno, Result};
use alloc::vec::Vec;

/// The part of a file in which the line must end.
const LINE_MAX: usize = 256;

/// A parsed `#!` line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    pub interpreter: Vec<u8>,
    /// Everything after the interpreter is one argument.
    pub argument: Option<Vec<u8>>,
}

/// The line of a script; `None` if the file is none. ENOEXEC if the interpreter's name is missing
/// or cut off.
pub fn parse(head: &[u8]) -> Result<Option<Line>> {
    let Some(rest) = head.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let rest = &rest[..rest.len().min(LINE_MAX - 2)];
    let end = rest.iter().position(|&b| b == b'\n');
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let line = &rest[..end.unwrap_or(rest.len())];
    let start = line.iter().position(|b| !blank(b)).ok_or(Errno::ENOEXEC)?;
    let line = &line[start..];
    let name_end = line.iter().position(|b| blank(b) || *b == 0);
    if name_end.is_none() && end.is_none() && head.len() >= LINE_MAX {
        return Err(Errno::ENOEXEC);
    }
    let (name, tail) = line.split_at(name_end.unwrap_or(line.len()));
    let tail = &tail[tail.iter().position(|b| !blank(b)).unwrap_or(tail.len())..];
    let tail_len = tail.iter().rposition(|b| !blank(b)).map_or(0, |i| i + 1);
    let tail = &tail[..tail_len];
    let tail = tail.split(|&b| b == 0).next().unwrap_or(tail);
    if name.is_empty() {
        return Err(Errno::ENOEXEC);
    }
    let argument = (!tail.is_empty()).then(|| tail.to_vec());
    Ok(Some(Line {
        interpreter: name.to_vec(),
        argument,
    }))
}

/// Puts the interpreter before the arguments and the script's path in place of the first one.
pub fn prepend(s: &mut Strings, line: &Line) {
    let mut args = alloc::vec![line.interpreter.clone()];
    args.extend(line.argument.clone());
    args.push(s.path.clone());
    args.extend(s.args.drain(..).skip(1));
    s.args = args;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(i: &[u8], a: Option<&[u8]>) -> Option<Line> {
        Some(Line {
            interpreter: i.to_vec(),
            argument: a.map(<[u8]>::to_vec),
        })
    }

    #[test]
    fn lines_are_split_as_linux_does() {
        assert_eq!(parse(b"\x7fELF"), Ok(None));
        assert_eq!(parse(b"#!/bin/sh\necho"), Ok(line(b"/bin/sh", None)));
        assert_eq!(
            parse(b"#! /usr/bin/env  -S a b \n"),
            Ok(line(b"/usr/bin/env", Some(b"-S a b")))
        );
        assert_eq!(parse(b"#!\n"), Err(Errno::ENOEXEC));
        assert_eq!(parse(b"#!/bin/sh"), Ok(line(b"/bin/sh", None)));
        let mut long = b"#!/".to_vec();
        long.resize(400, b'x');
        assert_eq!(parse(&long), Err(Errno::ENOEXEC));
    }

    #[test]
    fn script_replaces_first_argument() {
        let mut s = Strings {
            path: b"./x".to_vec(),
            args: alloc::vec![b"x".to_vec(), b"1".to_vec()],
            env: Vec::new(),
        };
        prepend(
            &mut s,
            &Line {
                interpreter: b"/bin/sh".to_vec(),
                argument: Some(b"-e".to_vec()),
            },
        );
        let want: [&[u8]; 4] = [b"/bin/sh", b"-e", b"./x", b"1"];
        assert_eq!(s.args, want);
    }
}
