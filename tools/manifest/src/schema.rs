//! The manifest's keys.

use crate::limits::{self, Limit};
use crate::mount::{Mount, mount, parse_target};
use crate::mounts;
use crate::network::{self, Network};
use crate::origin::{Origin, Problem, SourceFile};
use crate::reader::{Entry, Reader, Sink, nearest, string};
use crate::user::User;
use std::path::Path;
use std::rc::Rc;
use toml::de::DeTable;

/// The values of `log`, from silent to everything.
pub const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What to run, with what, and what may cross the wall.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// A path inside the enclave, or a name looked up in `PATH`.
    pub program: String,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    pub env: Env,
    pub cwd: String,
    pub user: Option<(User, Origin)>,
    pub hostname: String,
    pub init: bool,
    pub mounts: Vec<Mount>,
    pub network: Network,
    pub limits: Vec<Limit>,
    pub log: Option<String>,
}

/// Which environment the program gets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Env {
    /// Names taken from the caller's environment; one that ends in `*` takes all that begin so.
    pub pass: Vec<String>,
    pub set: Vec<(String, String)>,
}

impl Env {
    /// Whether the caller's variable `name` is let in.
    pub fn passes(&self, name: &str) -> bool {
        self.pass.iter().any(|pass| match pass.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pass,
        })
    }

    /// Whether it is named, and not only one of many.
    pub fn names(&self, name: &str) -> bool {
        self.pass.iter().any(|pass| name == pass)
    }
}

impl Manifest {
    /// Reads and checks a manifest file.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) => {
                let path = path.display();
                let problem =
                    Origin::Default.problem(format!("cannot read the manifest {path}: {error}"));
                return Err(vec![match error.kind() {
                    std::io::ErrorKind::NotFound => problem.help(format!(
                        "to run a program without a manifest, write `bastide run -- {path}`"
                    )),
                    std::io::ErrorKind::IsADirectory => {
                        problem.help("name a TOML file; manifests/README.md describes it")
                    }
                    _ => problem,
                }]);
            }
        };
        match String::from_utf8(text) {
            Ok(text) => Self::parse(path, text),
            Err(_) => Err(vec![
                Origin::Default
                    .problem(format!("{} is not a text file", path.display()))
                    .help(
                        "a manifest is a TOML file in UTF-8; to run a program, put `--` before it",
                    ),
            ]),
        }
    }

    /// Checks a manifest's text; relative paths in it start at the directory of `path`.
    pub fn parse(path: &Path, text: String) -> Result<Self, Vec<Problem>> {
        let file = Rc::new(SourceFile {
            path: path.into(),
            text,
        });
        let sink = Sink::new(file.clone());
        let (document, errors) = DeTable::parse_recoverable(&file.text);
        for error in &errors {
            let end = file.text.len();
            let origin = sink.origin(error.span().unwrap_or(end..end), "");
            sink.note(origin.problem(format!("not TOML: {}", error.message())));
        }
        let base = path.parent().unwrap_or(Path::new(""));
        let manifest = if errors.is_empty() {
            read(&sink, document.get_ref(), base)
        } else {
            Manifest::default()
        };
        let problems = sink.into_problems();
        if problems.is_empty() {
            Ok(manifest)
        } else {
            Err(problems)
        }
    }
}

fn read<'a>(sink: &'a Sink, document: &'a DeTable<'a>, base: &Path) -> Manifest {
    let mut top = Reader::new(sink, document, "");
    let program = match top.string("program") {
        Some((program, origin)) => {
            if program.is_empty() {
                sink.note(origin.problem("the program's name is empty"));
            }
            program
        }
        None => {
            if !document.contains_key("program") && !top.misspelt("program") {
                sink.note(
                    sink.origin(0..0, "program")
                        .problem("the key `program` is missing")
                        .help("say what to run, for example: program = \"/bin/sh\""),
                );
            }
            String::new()
        }
    };
    let args = values(top.each("args", string));
    let cwd = top
        .with("cwd", |value| parse_target(&string(value)?))
        .map_or("/".into(), |(cwd, _)| cwd);
    let user = top.with("user", |value| string(value)?.parse());
    let hostname = top
        .with("hostname", |value| parse_hostname(string(value)?))
        .map_or("bastide".into(), |(name, _)| name);
    let init = top.bool("init").unwrap_or(false);
    let log = log_level(&mut top, sink);
    let env = top.table("env").map(env).unwrap_or_default();
    let mut mounts: Vec<Mount> = Vec::new();
    for (table, origin) in top.tables("mount") {
        let Some(mount) = mount(table, origin, base) else {
            continue;
        };
        if mounts.iter().any(|other| other.target == mount.target) {
            sink.note(
                mount
                    .origin
                    .problem(format!("`{}` is mounted twice", mount.target)),
            );
        }
        mounts.push(mount);
    }
    mounts::add_defaults(&mut mounts);
    let network = top.table("network").map(network::read).unwrap_or_default();
    let limits = top.table("limits").map(limits::read).unwrap_or_default();
    top.finish();
    Manifest {
        program,
        args,
        env,
        cwd,
        user,
        hostname,
        init,
        mounts,
        network,
        limits,
        log,
    }
}

fn values<T>(list: Vec<(T, Origin)>) -> Vec<T> {
    list.into_iter().map(|(value, _)| value).collect()
}

fn log_level(top: &mut Reader<'_>, sink: &Sink) -> Option<String> {
    let (level, origin) = top.string("log")?;
    if LOG_LEVELS.contains(&level.as_str()) {
        return Some(level);
    }
    let help = match nearest(&level, &LOG_LEVELS) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the levels are: {}", LOG_LEVELS.join(", ")),
    };
    sink.note(
        origin
            .problem(format!("unknown log level `{level}`"))
            .help(help),
    );
    None
}

fn env(mut table: Reader<'_>) -> Env {
    let pass = values(table.each("pass", |value| {
        let name = string(value)?;
        if name.is_empty() || name.contains('=') {
            return Err(format!("`{name}` is not a variable's name"));
        }
        Ok(name)
    }));
    let mut set = Vec::new();
    if let Some(inner) = table.table("set") {
        for (name, entry) in inner.entries() {
            let Entry { value, origin } = entry;
            match string(value) {
                Ok(_) if name.is_empty() || name.contains(['=', '\0']) => {
                    table.note(origin.problem(format!("`{name}` is not a variable's name")));
                }
                Ok(value) => set.push((name, value)),
                Err(message) => table.note(origin.problem(message)),
            }
        }
    }
    table.finish();
    Env { pass, set }
}

fn parse_hostname(name: String) -> Result<String, String> {
    // As sethostname(2).
    if name.is_empty() || name.len() > 64 {
        return Err("a host name has 1 to 64 bytes".into());
    }
    Ok(name)
}
