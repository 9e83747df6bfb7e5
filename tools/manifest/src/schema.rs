//! The manifest's keys.

use crate::limits::{self, Limit};
use crate::mounts;
use crate::network::{self, Network};
use crate::origin::{Origin, Problem, SourceFile};
use crate::reader::{Entry, Reader, Sink, nearest, string};
use crate::size::size;
use crate::user::User;
use std::path::{Path, PathBuf};
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
}

/// One mount.
#[derive(Clone, Debug)]
pub struct Mount {
    /// An absolute path without `.`, `..` or a slash at its end.
    pub target: String,
    pub kind: MountKind,
    pub read_only: bool,
    /// What to point at if the mount fails.
    pub origin: Origin,
}

/// What is mounted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MountKind {
    /// A directory or file of the host.
    Host(PathBuf),
    /// A directory of the host below, changes in memory above.
    Overlay(PathBuf),
    /// Files in memory; `size` 0 is no limit.
    Tmpfs {
        size: u64,
        mode: u32,
    },
    /// A sealed volume in a file of the host.
    Volume {
        file: PathBuf,
        key: VolumeKey,
        /// Remembers the volume's newest state.
        anchor: Option<PathBuf>,
    },
    Proc,
    Dev,
    Sys,
}

/// Where a volume's key is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VolumeKey {
    /// 32 bytes in a file of the host.
    File(PathBuf),
    /// 64 hexadecimal digits in a variable of the caller's environment.
    Env(String),
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

fn mount(mut table: Reader<'_>, origin: Origin, base: &Path) -> Option<Mount> {
    let has = |table: &mut Reader<'_>, key| table.get(key).map(|entry| entry.origin);
    let target_given = has(&mut table, "target").is_some();
    let target = table.with("target", |value| parse_target(&string(value)?));
    let kind = table.string("type");
    let source = table.string("source");
    let read_only = table.bool("read_only");
    let size_origin = has(&mut table, "size");
    let size = table.with("size", size);
    let mode_origin = has(&mut table, "mode");
    let mode = table.with("mode", |value| {
        match string(value).map(|text| u32::from_str_radix(&text, 8)) {
            Ok(Ok(mode)) if mode <= 0o7777 => Ok(mode),
            _ => Err("expected an octal string such as \"0755\"".into()),
        }
    });

    let key_file = table.string("key_file");
    let key_env = table.string("key_env");
    let anchor = table.string("anchor");

    if !target_given && !table.misspelt("target") {
        table.note(
            origin
                .problem("a mount needs a `target`")
                .help("the absolute path inside the enclave, for example: target = \"/data\""),
        );
    }
    let (kind_name, kind_origin) = kind.unwrap_or_else(|| ("host".into(), origin.clone()));
    let needs_source = match kind_name.as_str() {
        "host" | "overlay" | "volume" => true,
        "tmpfs" => false,
        other => {
            let help = match nearest(other, &["host", "tmpfs", "overlay", "volume"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "the types are: host, tmpfs, overlay, volume".into(),
            };
            table.note(
                kind_origin
                    .problem(format!("unknown mount type `{other}`"))
                    .help(help),
            );
            table.finish();
            return None;
        }
    };
    match (&source, needs_source) {
        (None, true) if has(&mut table, "source").is_none() && !table.misspelt("source") => table
            .note(
                origin
                    .problem(format!("a mount of type `{kind_name}` needs a `source`"))
                    .help("the path on the host, relative to the manifest, or type = \"tmpfs\""),
            ),
        (Some((_, at)), false) => {
            table.note(at.problem("a tmpfs has no `source`").help("remove it"));
        }
        _ => {}
    }
    if kind_name != "tmpfs" {
        for (key, at) in [("size", size_origin), ("mode", mode_origin)] {
            if let Some(at) = at {
                table.note(at.problem(format!("`{key}` is for mounts of type `tmpfs`")));
            }
        }
    }
    if kind_name == "volume" {
        if key_file.is_some() == key_env.is_some() {
            table.note(
                kind_origin
                    .problem("a volume needs one key")
                    .help("write key_file = \"FILE\" (32 bytes) or key_env = \"NAME\""),
            );
        }
    } else {
        for (key, entry) in [
            ("key_file", &key_file),
            ("key_env", &key_env),
            ("anchor", &anchor),
        ] {
            if let Some((_, at)) = entry {
                table.note(at.problem(format!("`{key}` is for mounts of type `volume`")));
            }
        }
    }
    table.finish();

    let path = |source: &str| base.join(source);
    let (source, source_origin) = match source {
        Some((source, origin)) => (path(&source), origin),
        None => (PathBuf::new(), origin),
    };
    let kind = match kind_name.as_str() {
        "host" => MountKind::Host(source),
        "overlay" => MountKind::Overlay(source),
        "volume" => MountKind::Volume {
            file: source,
            key: match (key_file, key_env) {
                (Some((file, _)), _) => VolumeKey::File(path(&file)),
                (None, Some((name, _))) => VolumeKey::Env(name),
                (None, None) => return None,
            },
            anchor: anchor.map(|(file, _)| path(&file)),
        },
        _ => MountKind::Tmpfs {
            size: size.map_or(0, |(size, _)| size),
            mode: mode.map_or(0o755, |(mode, _)| mode),
        },
    };
    // A hole in the wall is as small as it can be unless more is asked for.
    let read_only = read_only.unwrap_or(matches!(kind, MountKind::Host(_)));
    Some(Mount {
        target: target?.0,
        kind,
        read_only,
        origin: source_origin,
    })
}

/// An absolute path without `.` and `..`, slashes folded.
pub fn parse_target(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("`{text}` is not an absolute path"));
    }
    let mut path = String::new();
    for part in text.split('/').filter(|part| !part.is_empty()) {
        if part == "." || part == ".." {
            return Err(format!("`{text}` must not contain `{part}`"));
        }
        path.push('/');
        path.push_str(part);
    }
    Ok(if path.is_empty() { "/".into() } else { path })
}

fn parse_hostname(name: String) -> Result<String, String> {
    // As sethostname(2).
    if name.is_empty() || name.len() > 64 {
        return Err("a host name has 1 to 64 bytes".into());
    }
    Ok(name)
}
