//! Where a value came from, and what to say when it is wrong.

use std::fmt::{self, Display, Formatter};
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;

/// A manifest's text, kept to show the offending line.
#[derive(Debug)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
}

/// Where a value came from.
#[derive(Clone, Debug, Default)]
pub enum Origin {
    /// Nobody said it.
    #[default]
    Default,
    /// A command-line option, as it was written.
    Option(String),
    /// A manifest's key, with the bytes that hold it.
    Key {
        file: Rc<SourceFile>,
        span: Range<usize>,
        key: String,
    },
}

impl Origin {
    /// Something is wrong with the value that came from here.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        Problem {
            origin: self.clone(),
            message: message.into(),
            help: None,
        }
    }
}

/// Something wrong with a manifest or an option: what, where, and what to do.
#[derive(Clone, Debug)]
pub struct Problem {
    pub origin: Origin,
    pub message: String,
    pub help: Option<String>,
}

impl Problem {
    /// Adds what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// As compilers write it: the message, `file:line:column`, the line, a caret, the remedy.
impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.origin {
            Origin::Default => {}
            Origin::Option(option) => write!(f, "\n  --> option {option}")?,
            Origin::Key { file, span, key } => {
                let place = Place::find(&file.text, span);
                let gutter = place.line.to_string().len();
                write!(
                    f,
                    "\n{:gutter$}--> {}:{}:{}",
                    "",
                    file.path.display(),
                    place.line,
                    place.column
                )?;
                if !key.is_empty() {
                    write!(f, ", key `{key}`")?;
                }
                write!(f, "\n{:gutter$} |", "")?;
                write!(f, "\n{} | {}", place.line, place.text)?;
                write!(
                    f,
                    "\n{:gutter$} | {:indent$}{:^<width$}",
                    "",
                    "",
                    "",
                    indent = place.indent,
                    width = place.width
                )?;
                if let Some(help) = &self.help {
                    write!(f, "\n{:gutter$} = help: {help}", "")?;
                }
                return Ok(());
            }
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

/// A span as a person counts: lines and columns from one.
struct Place {
    line: usize,
    column: usize,
    /// The line, tabs as single spaces so that the caret stands below its character.
    text: String,
    indent: usize,
    width: usize,
}

impl Place {
    fn find(text: &str, span: &Range<usize>) -> Self {
        let start = floor_char(text, span.start);
        let end = floor_char(text, span.end).max(start);
        let head = &text[..start];
        let line_start = head.rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let indent = text[line_start..start].chars().count();
        Place {
            line: head.matches('\n').count() + 1,
            column: indent + 1,
            text: text[line_start..line_end]
                .trim_end_matches('\r')
                .replace('\t', " "),
            indent,
            width: text[start..end.min(line_end)].chars().count().max(1),
        }
    }
}

/// The nearest character boundary at or before `at`.
fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str, span: Range<usize>) -> Origin {
        Origin::Key {
            file: Rc::new(SourceFile {
                path: "a.toml".into(),
                text: text.into(),
            }),
            span,
            key: "b".into(),
        }
    }

    #[test]
    fn the_caret_stands_below_the_value() {
        let problem = key("a = 1\n\tb = \"ä\"\n", 11..15).problem("no");
        assert_eq!(
            problem.help("yes").to_string(),
            "error: no\n --> a.toml:2:6, key `b`\n  |\n2 |  b = \"ä\"\n  |      ^^^\n  = help: yes"
        );
    }

    #[test]
    fn a_span_past_the_end_is_tolerated() {
        let text = key("é", 1..99).problem("no").to_string();
        assert!(text.contains("a.toml:1:1"), "{text}");
    }
}
