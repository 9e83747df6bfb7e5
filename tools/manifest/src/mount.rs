//! `[[mount]]`: what is mounted where.

use crate::origin::Origin;
use crate::reader::{Reader, integer, nearest, string};
use crate::size::{parse_size, size};
use std::path::{Path, PathBuf};
use toml::de::DeValue;

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
    /// Trees below, topmost first, which are only read, and the changes to them above.
    Overlay {
        lower: Vec<MountKind>,
        upper: Box<MountKind>,
    },
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
        /// Bytes of contents that are kept in memory.
        cache: u64,
    },
    /// An image in a file of the host: a volume that is only read.
    Image {
        file: PathBuf,
        /// None if anybody may read it.
        key: Option<VolumeKey>,
        /// Stands for all of it.
        root_hash: [u8; 32],
        /// As of a volume.
        cache: u64,
    },
    Proc,
    Dev,
    Sys,
}

impl MountKind {
    /// The keys of the volumes and images in it.
    pub fn keys(&self) -> Vec<&VolumeKey> {
        match self {
            MountKind::Overlay { lower, upper } => {
                let lower = lower.iter().flat_map(MountKind::keys);
                lower.chain(upper.keys()).collect()
            }
            MountKind::Volume { key, .. } => vec![key],
            MountKind::Image { key, .. } => key.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// A directory of the host below, changes in memory above.
    pub fn over_host(dir: PathBuf) -> MountKind {
        MountKind::Overlay {
            lower: vec![MountKind::Host(dir)],
            upper: Box::new(MountKind::memory()),
        }
    }

    /// Files in memory, as many as there is room for.
    pub fn memory() -> MountKind {
        MountKind::Tmpfs {
            size: 0,
            mode: 0o755,
        }
    }
}

/// Where a volume's key is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VolumeKey {
    /// 32 bytes in a file of the host.
    File(PathBuf),
    /// 64 hexadecimal digits in a variable of the caller's environment.
    Env(String),
    /// What a person types, or the first line of standard input.
    Passphrase,
    /// A passphrase in a variable of the caller's environment.
    PassphraseEnv(String),
    /// A passphrase that is the next line of a descriptor the caller left open.
    PassphraseFd(i32),
}

impl VolumeKey {
    /// The variable that holds it.
    pub fn variable(&self) -> Option<&str> {
        match self {
            VolumeKey::Env(name) | VolumeKey::PassphraseEnv(name) => Some(name),
            VolumeKey::File(_) | VolumeKey::Passphrase | VolumeKey::PassphraseFd(_) => None,
        }
    }

    /// It can be had once only, or with somebody's help.
    pub fn is_asked_for(&self) -> bool {
        matches!(self, VolumeKey::Passphrase | VolumeKey::PassphraseFd(_))
    }
}

/// The number of a descriptor.
pub fn parse_fd(text: &str) -> Result<i32, String> {
    let number = text.parse().ok().filter(|fd| *fd >= 0);
    number.ok_or_else(|| format!("`{text}` is not the number of a descriptor"))
}

/// The types of mounts, and of what an overlay is made.
const TYPES: [&str; 5] = ["host", "tmpfs", "overlay", "volume", "image"];
const LOWER: [&str; 3] = ["host", "volume", "image"];
const UPPER: [&str; 2] = ["tmpfs", "volume"];

/// Keys that not every type of mount has, and those that have them.
const KEYS: [(&str, &[&str]); 13] = [
    ("source", &["host", "overlay", "volume", "image"]),
    ("size", &["tmpfs"]),
    ("mode", &["tmpfs"]),
    ("key_file", &["volume", "image"]),
    ("key_env", &["volume", "image"]),
    ("passphrase", &["volume", "image"]),
    ("passphrase_env", &["volume", "image"]),
    ("passphrase_fd", &["volume", "image"]),
    ("anchor", &["volume"]),
    ("root_hash", &["image"]),
    ("cache", &["volume", "image"]),
    ("lower", &["overlay"]),
    ("upper", &["overlay"]),
];

/// Reads a mount.
pub(crate) fn mount(mut table: Reader<'_>, origin: Origin, base: &Path) -> Option<Mount> {
    let target_given = table.get("target").is_some();
    let target = table.with("target", |value| parse_target(&string(value)?));
    let read_only_at = table.get("read_only").map(|entry| entry.origin);
    let read_only = table.bool("read_only");
    if !target_given && !table.misspelt("target") {
        table.note(
            origin
                .problem("a mount needs a `target`")
                .help("the absolute path inside the enclave, for example: target = \"/data\""),
        );
    }
    let found = kind(&mut table, &origin, base, "host", &TYPES);
    if let (Some((MountKind::Image { .. }, _)), Some(false), Some(at)) =
        (&found, read_only, read_only_at)
    {
        table.note(at.problem("an image is read-only").help(
            "to change what it holds, mount an overlay: type = \"overlay\", with this image as `lower`",
        ));
    }
    table.finish();
    let (kind, origin) = found?;
    // A hole in the wall is as small as it can be unless more is asked for.
    let small = matches!(kind, MountKind::Host(_) | MountKind::Image { .. });
    Some(Mount {
        target: target?.0,
        kind,
        read_only: read_only.unwrap_or(small),
        origin,
    })
}

/// Reads one of the two trees of an overlay.
fn layer(
    mut table: Reader<'_>,
    origin: &Origin,
    base: &Path,
    usual: &str,
    types: &[&str],
) -> Option<MountKind> {
    let found = kind(&mut table, origin, base, usual, types);
    table.finish();
    Some(found?.0)
}

/// Reads what is mounted, one of these types, and where that is said. All problems are noted.
fn kind(
    table: &mut Reader<'_>,
    origin: &Origin,
    base: &Path,
    usual: &str,
    types: &[&str],
) -> Option<(MountKind, Origin)> {
    let (name, name_origin) = (table.string("type")).unwrap_or((usual.into(), origin.clone()));
    let given: Vec<_> = (KEYS.iter())
        .filter_map(|(key, of)| Some((*key, *of, table.get(key)?.origin)))
        .collect();
    if !types.contains(&name.as_str()) {
        let help = match nearest(&name, types) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the types are: {}", types.join(", ")),
        };
        let problem = name_origin.problem(format!("unknown mount type `{name}`"));
        table.note(problem.help(help));
        return None;
    }
    for (key, of, at) in &given {
        if !of.contains(&name.as_str()) {
            let of: Vec<_> = of.iter().map(|name| format!("`{name}`")).collect();
            let problem = at.problem(format!("`{key}` is for mounts of type {}", of.join(" or ")));
            table.note(match *key {
                "source" => at.problem("a tmpfs has no `source`").help("remove it"),
                _ => problem,
            });
        }
    }
    let has = |key| given.iter().any(|(name, ..)| *name == key);
    if !has("source") && !has("lower") && name != "tmpfs" && !table.misspelt("source") {
        table.note(
            origin
                .problem(format!("a mount of type `{name}` needs a `source`"))
                .help("the path on the host, relative to the manifest, or type = \"tmpfs\""),
        );
    }
    let source = table.string("source");
    let at = (source.as_ref()).map_or_else(|| origin.clone(), |(_, at)| at.clone());
    let file = source.as_ref().map(|(source, _)| base.join(source));
    let kind = match name.as_str() {
        "host" => MountKind::Host(file?),
        "overlay" => {
            let lower_at = table.get("lower").map(|entry| {
                if matches!(entry.value, DeValue::Array(layers) if layers.is_empty()) {
                    table.note((entry.origin).problem("an overlay needs at least one tree below"));
                }
                entry.origin
            });
            let layers = table.one_or_more("lower").into_iter();
            let layers: Vec<_> = layers
                .map(|(table, at)| layer(table, &at, base, "host", &LOWER))
                .collect();
            let upper_at = table.get("upper").map(|entry| entry.origin);
            let upper = (table.table("upper"))
                .zip(upper_at)
                .map(|(table, at)| layer(table, &at, base, "tmpfs", &UPPER));
            if let (Some(at), true) = (&lower_at, has("source")) {
                let problem = at.problem("an overlay has a `source` or a `lower`, not both");
                table.note(problem.help("`source` is a directory of the host below"));
            }
            let lower = match lower_at {
                Some(_) => layers.into_iter().collect::<Option<Vec<_>>>()?,
                None => vec![MountKind::Host(file?)],
            };
            MountKind::Overlay {
                lower,
                upper: Box::new(upper.unwrap_or(Some(MountKind::memory()))?),
            }
        }
        "volume" => {
            let key = key(table, base);
            if key.is_none() && !key_given(&given) {
                table.note(name_origin.problem("a volume needs one key").help(KEY_HELP));
            }
            let anchor = table.string("anchor").map(|(file, _)| base.join(file));
            MountKind::Volume {
                file: file?,
                key: key?,
                anchor,
                cache: cache(table),
            }
        }
        "image" => {
            if !has("root_hash") && !table.misspelt("root_hash") {
                table.note(
                    name_origin
                        .problem("an image needs its `root_hash`")
                        .help("`bastide volume seal` said it when the image was made"),
                );
            }
            let root_hash = table.with("root_hash", |value| parse_hash(&string(value)?));
            let cache = cache(table);
            let key = key(table, base);
            if key.is_none() && key_given(&given) {
                return None;
            }
            MountKind::Image {
                file: file?,
                key,
                root_hash: root_hash?.0,
                cache,
            }
        }
        _ => MountKind::Tmpfs {
            size: table.with("size", size).map_or(0, |(size, _)| size),
            mode: table.with("mode", octal).map_or(0o755, |(mode, _)| mode),
        },
    };
    Some((kind, at))
}

/// Bytes of a volume's contents that are kept in memory where nothing else is said, and the least
/// that makes sense: a few pieces of what programs read at once.
pub const CACHE: u64 = 32 << 20;
const CACHE_LEAST: u64 = 1 << 20;

/// How much memory a volume takes for its contents.
fn cache(table: &mut Reader<'_>) -> u64 {
    let found = table.with("cache", |value| enough(size(value)?));
    found.map_or(CACHE, |(cache, _)| cache)
}

/// A size for `cache`.
pub fn parse_cache(text: &str) -> Result<u64, String> {
    enough(parse_size(text)?)
}

fn enough(cache: u64) -> Result<u64, String> {
    match cache {
        CACHE_LEAST.. => Ok(cache),
        _ => Err("`cache` is 1M at least".into()),
    }
}

const KEY_HELP: &str = "write key_file = \"FILE\" (32 bytes), key_env = \"NAME\", passphrase = true, \
                        passphrase_env = \"NAME\" or passphrase_fd = NUMBER";

/// Some key is named, be it a wrong one.
fn key_given(given: &[(&str, &[&str], Origin)]) -> bool {
    let keys = |name: &str| name.starts_with("key_") || name.starts_with("passphrase");
    given.iter().any(|(name, ..)| keys(name))
}

/// Where the key is, if one place is named.
fn key(table: &mut Reader<'_>, base: &Path) -> Option<VolumeKey> {
    let file = table.string("key_file");
    let env = table.string("key_env");
    let passphrase = table.with("passphrase", |value| match value {
        DeValue::Boolean(true) => Ok(()),
        _ => Err("`passphrase` is true, or left out".into()),
    });
    let passphrase_env = table.string("passphrase_env");
    let passphrase_fd = table.with("passphrase_fd", |value| {
        let number = integer(value)?;
        i32::try_from(number).map_err(|_| format!("{number} is not the number of a descriptor"))
    });
    let mut found = [
        file.map(|(file, at)| (VolumeKey::File(base.join(file)), at)),
        env.map(|(name, at)| (VolumeKey::Env(name), at)),
        passphrase.map(|((), at)| (VolumeKey::Passphrase, at)),
        passphrase_env.map(|(name, at)| (VolumeKey::PassphraseEnv(name), at)),
        passphrase_fd.map(|(fd, at)| (VolumeKey::PassphraseFd(fd), at)),
    ]
    .into_iter()
    .flatten();
    let (key, _) = found.next()?;
    if let Some((_, at)) = found.next() {
        table.note(
            at.problem("a volume needs one key, and here are two")
                .help(KEY_HELP),
        );
    }
    Some(key)
}

fn octal(value: &DeValue<'_>) -> Result<u32, String> {
    match string(value).map(|text| u32::from_str_radix(&text, 8)) {
        Ok(Ok(mode)) if mode <= 0o7777 => Ok(mode),
        _ => Err("expected an octal string such as \"0755\"".into()),
    }
}

/// A root hash as `bastide volume seal` prints it.
pub fn parse_hash(text: &str) -> Result<[u8; 32], String> {
    parse_hex(text).ok_or_else(|| format!("`{text}` is not a hash, 64 hexadecimal digits"))
}

/// `2 N` hexadecimal digits.
pub fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.trim().as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks(2)) {
        let mut digits = pair.iter().map(|c| char::from(*c).to_digit(16));
        *byte = (digits.next()?? << 4 | digits.next()??) as u8;
    }
    Some(out)
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
