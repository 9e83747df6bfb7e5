//! Reads tables of a parsed TOML document, noting every problem with its place.

use crate::origin::{Origin, Problem, SourceFile};
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where problems go, and the file they are in.
pub(crate) struct Sink {
    pub file: Rc<SourceFile>,
    problems: RefCell<Vec<Problem>>,
}

impl Sink {
    pub fn new(file: Rc<SourceFile>) -> Self {
        Sink {
            file,
            problems: RefCell::new(Vec::new()),
        }
    }

    pub fn origin(&self, span: Range<usize>, key: &str) -> Origin {
        Origin::Key {
            file: self.file.clone(),
            span,
            key: key.into(),
        }
    }

    pub fn note(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Every problem, in the order of the file.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| match &problem.origin {
            Origin::Key { span, .. } => span.start,
            _ => usize::MAX,
        });
        problems
    }
}

/// A value with where it stands.
pub(crate) struct Entry<'a> {
    pub value: &'a DeValue<'a>,
    pub origin: Origin,
}

/// One table. The keys that are asked for are the keys that exist: [`Reader::finish`] refuses the
/// others.
pub(crate) struct Reader<'a> {
    sink: &'a Sink,
    table: &'a DeTable<'a>,
    path: String,
    known: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub fn new(sink: &'a Sink, table: &'a DeTable<'a>, path: &str) -> Self {
        Reader {
            sink,
            table,
            path: path.into(),
            known: Vec::new(),
        }
    }

    /// The key as it is named from the top of the file.
    fn name(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.into()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The value at `key`, whatever it is.
    pub fn get(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.known.push(key);
        let value = self.table.get(key)?;
        Some(Entry {
            value: value.get_ref(),
            origin: self.sink.origin(value.span(), &self.name(key)),
        })
    }

    /// The value at `key` made into a `T`; `convert` says what is wrong with it.
    pub fn with<T>(
        &mut self,
        key: &'static str,
        convert: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<(T, Origin)> {
        let entry = self.get(key)?;
        match convert(entry.value) {
            Ok(value) => Some((value, entry.origin)),
            Err(message) => {
                self.sink.note(entry.origin.problem(message));
                None
            }
        }
    }

    /// Each element of the array at `key` made into a `T`.
    pub fn each<T>(
        &mut self,
        key: &'static str,
        convert: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Vec<(T, Origin)> {
        self.elements(key, |sink, value, origin| match convert(value) {
            Ok(value) => Some((value, origin)),
            Err(message) => {
                sink.note(origin.problem(message));
                None
            }
        })
    }

    /// Each table of the array of tables at `key`.
    pub fn tables(&mut self, key: &'static str) -> Vec<(Reader<'a>, Origin)> {
        self.elements(key, |sink, value, origin| {
            let Origin::Key { key, .. } = &origin else {
                return None;
            };
            match value {
                DeValue::Table(table) => Some((Reader::new(sink, table, key), origin)),
                other => {
                    sink.note(origin.problem(expected("a table", other)));
                    None
                }
            }
        })
    }

    /// The table at `key`, or each of an array of them.
    pub fn one_or_more(&mut self, key: &'static str) -> Vec<(Reader<'a>, Origin)> {
        match self.get(key) {
            Some(Entry {
                value: DeValue::Table(_),
                origin,
            }) => {
                let table = self.table(key);
                table
                    .into_iter()
                    .map(|table| (table, origin.clone()))
                    .collect()
            }
            _ => self.tables(key),
        }
    }

    fn elements<T>(
        &mut self,
        key: &'static str,
        convert: impl Fn(&'a Sink, &'a DeValue<'a>, Origin) -> Option<T>,
    ) -> Vec<T> {
        let Some(entry) = self.get(key) else {
            return Vec::new();
        };
        let DeValue::Array(array) = entry.value else {
            self.sink
                .note(entry.origin.problem(expected("an array", entry.value)));
            return Vec::new();
        };
        let name = self.name(key);
        array
            .iter()
            .enumerate()
            .filter_map(|(index, item): (usize, &'a Spanned<DeValue<'a>>)| {
                let origin = self.sink.origin(item.span(), &format!("{name}[{index}]"));
                convert(self.sink, item.get_ref(), origin)
            })
            .collect()
    }

    /// The table at `key`.
    pub fn table(&mut self, key: &'static str) -> Option<Reader<'a>> {
        let entry = self.get(key)?;
        match entry.value {
            DeValue::Table(table) => Some(Reader::new(self.sink, table, &self.name(key))),
            other => {
                self.sink
                    .note(entry.origin.problem(expected("a table", other)));
                None
            }
        }
    }

    /// Every key of a table whose keys are the person's own.
    pub fn entries(self) -> Vec<(String, Entry<'a>)> {
        self.table
            .iter()
            .map(|(key, value)| {
                let key = key.get_ref().to_string();
                let origin = self.sink.origin(value.span(), &self.name(&key));
                let value = value.get_ref();
                (key, Entry { value, origin })
            })
            .collect()
    }

    pub fn string(&mut self, key: &'static str) -> Option<(String, Origin)> {
        self.with(key, string)
    }

    pub fn bool(&mut self, key: &'static str) -> Option<bool> {
        self.with(key, |value| match value {
            DeValue::Boolean(value) => Ok(*value),
            other => Err(expected("true or false", other)),
        })
        .map(|(value, _)| value)
    }

    /// Notes a problem with the table itself, or with one of its keys.
    pub fn note(&self, problem: Problem) {
        self.sink.note(problem);
    }

    /// Whether an unknown key most likely stands for `key`, which is then not also missing.
    pub fn misspelt(&self, key: &str) -> bool {
        self.table
            .keys()
            .map(|found| found.get_ref().as_ref())
            .any(|found: &str| !self.known.contains(&found) && nearest(found, &[key]).is_some())
    }

    /// Refuses the keys that nobody asked for, and suggests the one that was meant.
    pub fn finish(self) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let origin = self.sink.origin(key.span(), &self.name(name));
            let mut known = self.known.clone();
            known.sort_unstable();
            known.dedup();
            let help = match nearest(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the keys here are: {}", known.join(", ")),
            };
            self.sink
                .note(origin.problem(format!("unknown key `{name}`")).help(help));
        }
    }
}

/// The known word that `word` most likely stands for.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|known| (strsim::jaro_winkler(word, known), *known))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// "expected WHAT, found a NUMBER".
pub(crate) fn expected(what: &str, found: &DeValue<'_>) -> String {
    let found = match found {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    format!("expected {what}, found {found}")
}

/// A string; not with a NUL in it, which no Linux interface can carry.
pub(crate) fn string(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) if text.contains('\0') => {
            Err("a NUL character cannot be passed to a program".into())
        }
        DeValue::String(text) => Ok(text.to_string()),
        other => Err(expected("a string", other)),
    }
}

/// An integer that is not negative.
pub(crate) fn integer(value: &DeValue<'_>) -> Result<u64, String> {
    match value {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| format!("{number} is not in the range 0..2^64")),
        other => Err(expected("an integer", other)),
    }
}
