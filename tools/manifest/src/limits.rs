//! Resource limits, as of `setrlimit(2)`.

use crate::origin::Problem;
use crate::reader::{self, Entry, Reader};
use crate::size::size;
use toml::de::DeValue;

/// The names of the resources, at the index that is their number on x86-64.
pub const RESOURCES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

/// One resource's limit; `u64::MAX` is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

/// The number of the resource with this name.
pub fn resource(name: &str) -> Option<u32> {
    (0u32..)
        .zip(RESOURCES)
        .find(|(_, known)| *known == name)
        .map(|(number, _)| number)
}

pub(crate) fn read(mut table: Reader<'_>) -> Vec<Limit> {
    let mut limits = Vec::new();
    for (resource, name) in (0..).zip(RESOURCES) {
        let Some(entry) = table.get(name) else {
            continue;
        };
        match limit(&entry) {
            Ok((soft, hard)) => limits.push(Limit {
                resource,
                soft,
                hard,
            }),
            Err(problem) => table.note(problem),
        }
    }
    table.finish();
    limits
}

fn limit(entry: &Entry<'_>) -> Result<(u64, u64), Problem> {
    let pair = match entry.value {
        DeValue::Array(pair) => {
            let values: Vec<_> = pair.iter().map(|item| number(item.get_ref())).collect();
            match <[_; 2]>::try_from(values) {
                Ok([soft, hard]) => soft.and_then(|soft| Ok((soft, hard?))),
                Err(_) => Err("expected two numbers, [SOFT, HARD]".into()),
            }
        }
        value => number(value).map(|limit| (limit, limit)),
    };
    let (soft, hard) = pair.map_err(|message| entry.origin.problem(message))?;
    if soft > hard {
        return Err(entry
            .origin
            .problem("the soft limit is above the hard limit"));
    }
    Ok((soft, hard))
}

fn number(value: &DeValue<'_>) -> Result<u64, String> {
    match value {
        DeValue::String(text) if text == "unlimited" => Ok(u64::MAX),
        DeValue::String(_) | DeValue::Integer(_) => size(value),
        other => Err(reader::expected(
            "a number, a size such as \"64M\", \"unlimited\", or [SOFT, HARD]",
            other,
        )),
    }
}
