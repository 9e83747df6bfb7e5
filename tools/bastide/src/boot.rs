//! From a manifest to what the enclave is told at its start: opens what is mounted, looks up
//! users and host names.

use crate::cli::RunOptions;
use crate::{Failure, host, users, volume};
use bastide_manifest::{Env, Manifest, Mount, MountKind, Origin, Problem, VolumeKey};
use bastide_pal::HostFd;
use bastide_pal::boot::{BootConfig, Network, Source};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where programs are looked up when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything the enclave is told. The descriptors in it are the enclave's from now on.
pub fn config(manifest: &Manifest, options: &RunOptions) -> Result<BootConfig, Failure> {
    let (uid, gid, groups) = match &manifest.user {
        Some((user, origin)) => users::lookup(&manifest.mounts, user, origin)?,
        None => host::credentials()?,
    };
    let (trace, trace_summary) = trace(options)?;
    let mut argv: Vec<Vec<u8>> = Vec::new();
    if options.manifest.is_some() {
        argv.push(manifest.program.clone().into());
        argv.extend(manifest.args.iter().map(|arg| arg.clone().into()));
    }
    argv.extend(options.command.iter().map(|arg| arg.as_bytes().to_vec()));
    Ok(BootConfig {
        program: argv.first().cloned().unwrap_or_default(),
        argv,
        env: environment(&manifest.env, &withheld(&manifest.mounts), options)?,
        cwd: manifest.cwd.clone().into(),
        uid,
        gid,
        groups,
        hostname: manifest.hostname.clone().into(),
        umask: host::umask(),
        ignored_signals: host::ignored_signals(),
        init: manifest.init,
        mounts: manifest
            .mounts
            .iter()
            .map(mount)
            .collect::<Result<_, Problem>>()?,
        stdio: host::stdio()?,
        terminal: host::terminal(),
        trace,
        trace_summary,
        patch: !options.no_patch,
        log: manifest.log.clone().unwrap_or_else(|| "warn".into()),
        network: network(manifest)?,
        rlimits: host::limits(&manifest.limits),
        seed: host::seed()?,
    })
}

/// The first of these problems is reported by `bastide run`; `bastide check` wants all.
pub fn check_mounts(mounts: &[Mount]) -> Vec<Problem> {
    mounts
        .iter()
        .flat_map(|mount| check_kind(&mount.kind, mount.read_only, &mount.origin))
        .collect()
}

fn check_kind(kind: &MountKind, read_only: bool, origin: &Origin) -> Vec<Problem> {
    match kind {
        MountKind::Host(path) => open(path, read_only, origin).err().into_iter().collect(),
        MountKind::Overlay { lower, upper } => {
            let lower = lower.iter();
            let mut problems: Vec<_> = lower
                .flat_map(|kind| check_kind(kind, true, origin))
                .collect();
            problems.extend(check_kind(upper, false, origin));
            problems
        }
        MountKind::Volume {
            file, key, anchor, ..
        } => {
            let checked = volume::check(file, key, anchor.as_deref(), read_only);
            checked.err().map(|e| e.at(origin)).into_iter().collect()
        }
        MountKind::Image {
            file,
            key,
            root_hash,
            ..
        } => {
            let checked = volume::check_image(file, key.as_ref(), root_hash);
            checked.err().map(|e| e.at(origin)).into_iter().collect()
        }
        MountKind::Tmpfs { .. } | MountKind::Proc | MountKind::Dev | MountKind::Sys => Vec::new(),
    }
}

fn mount(mount: &Mount) -> Result<bastide_pal::boot::Mount, Problem> {
    Ok(bastide_pal::boot::Mount {
        target: mount.target.clone().into(),
        source: source(&mount.kind, mount.read_only, &mount.origin)?,
        read_only: mount.read_only,
    })
}

fn source(kind: &MountKind, read_only: bool, origin: &Origin) -> Result<Source, Problem> {
    Ok(match kind {
        MountKind::Host(path) => Source::Host {
            root: open(path, read_only, origin).map(hand_over)?,
        },
        MountKind::Overlay { lower, upper } => Source::Overlay {
            lower: (lower.iter())
                .map(|kind| source(kind, true, origin))
                .collect::<Result<_, Problem>>()?,
            upper: Box::new(source(upper, false, origin)?),
        },
        MountKind::Tmpfs { size, mode } => Source::Tmpfs {
            size: *size,
            mode: *mode,
        },
        MountKind::Volume {
            file,
            key,
            anchor,
            cache,
        } => {
            let opened = volume::for_run(file, key, anchor.as_deref(), read_only);
            let (file, key, anchor) = opened.map_err(|e| e.at(origin))?;
            Source::Volume {
                file: hand_over(file.into()),
                key,
                anchor: anchor.map(|file| hand_over(file.into())),
                cache: *cache,
            }
        }
        MountKind::Image {
            file,
            key,
            root_hash,
            cache,
        } => {
            let opened = volume::image_for_run(file, key.as_ref(), root_hash);
            let (file, key) = opened.map_err(|e| e.at(origin))?;
            Source::Image {
                file: hand_over(file.into()),
                key,
                root_hash: *root_hash,
                cache: *cache,
            }
        }
        MountKind::Proc => Source::Proc,
        MountKind::Dev => Source::Dev,
        MountKind::Sys => Source::Sys,
    })
}

/// Opens the host side of a mount, and finds out now rather than at the first access whether it
/// can be read.
///
/// A directory is only a place to start from; a file that is mounted alone must be open itself.
fn open(path: &Path, read_only: bool, origin: &Origin) -> Result<OwnedFd, Problem> {
    let explain = |error: rustix::io::Errno| {
        let problem = origin.problem(format!("cannot mount {}: {error}", path.display()));
        match error {
            rustix::io::Errno::NOENT => problem.help("create it on the host, or correct the path"),
            rustix::io::Errno::ACCESS => problem.help(
                "the user who runs bastide must be able to read it; change its permissions or run \
                 as a user who can",
            ),
            _ => problem,
        }
    };
    let stat = rustix::fs::stat(path).map_err(explain)?;
    let flags = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if read_only => OFlags::RDONLY,
        FileType::RegularFile => OFlags::RDWR,
        FileType::Directory => {
            let access = Access::READ_OK | Access::EXEC_OK;
            rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).map_err(explain)?;
            OFlags::PATH
        }
        _ => {
            return Err(origin
                .problem(format!(
                    "cannot mount {}: it is a special file",
                    path.display()
                ))
                .help("directories and regular files can be mounted; devices are in /dev inside"));
        }
    };
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(explain)
}

/// A descriptor that the enclave owns from now on.
fn hand_over(fd: OwnedFd) -> HostFd {
    HostFd(fd.into_raw_fd())
}

/// Variables with a key of what is mounted: a program has them only if they are named for it.
fn withheld(mounts: &[Mount]) -> Vec<&str> {
    let keys = mounts.iter().flat_map(|mount| mount.kind.keys());
    keys.filter_map(VolumeKey::variable).collect()
}

fn environment(
    env: &Env,
    withheld: &[&str],
    options: &RunOptions,
) -> Result<Vec<Vec<u8>>, Failure> {
    let mut list: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut set = |name: &[u8], value: &[u8]| match list.iter_mut().find(|(known, _)| known == name)
    {
        Some((_, old)) => *old = value.to_vec(),
        None => list.push((name.to_vec(), value.to_vec())),
    };
    for (name, value) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if env.passes(&text) && (!withheld.contains(&&*text) || env.names(&text)) {
            set(name.as_bytes(), value.as_bytes());
        }
    }
    for (name, value) in &env.set {
        set(name.as_bytes(), value.as_bytes());
    }
    for text in &options.env {
        let bytes = text.as_bytes();
        match bytes.iter().position(|byte| *byte == b'=') {
            Some(0) => {
                let origin = Origin::Option(format!("--env {}", text.to_string_lossy()));
                return Err(origin.problem("the variable has no name").into());
            }
            Some(at) => set(&bytes[..at], &bytes[at + 1..]),
            // As docker: a variable that the caller does not have is not set.
            None => {
                if let Some(value) = std::env::var_os(OsStr::from_bytes(bytes)) {
                    set(bytes, value.as_bytes());
                }
            }
        }
    }
    if options.manifest.is_some() && !list.iter().any(|(name, _)| name == b"PATH") {
        list.push((b"PATH".to_vec(), DEFAULT_PATH.into()));
    }
    Ok(list
        .into_iter()
        .map(|(name, value)| [name.as_slice(), b"=", value.as_slice()].concat())
        .collect())
}

/// Where the trace goes, and whether only totals are wanted.
fn trace(options: &RunOptions) -> Result<(Option<HostFd>, bool), Failure> {
    let Some(path) = &options.trace else {
        return Ok((None, false));
    };
    let summary = path == Path::new("summary");
    let fd: OwnedFd = if summary || path == Path::new("-") {
        rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)
            .map_err(|error| Failure::new(format!("cannot trace to standard error: {error}")))?
    } else {
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(path);
        file.map_err(|error| {
            Failure::new(format!(
                "cannot write the trace to {}: {error}",
                path.display()
            ))
        })?
        .into()
    };
    Ok((Some(hand_over(fd)), summary))
}

fn network(manifest: &Manifest) -> Result<Network, Problem> {
    let network = &manifest.network;
    let mut connect = Vec::new();
    for (peer, origin) in &network.connect {
        connect.extend(peer.to_boot(|name| resolve(name, origin))?);
    }
    Ok(Network {
        open: network.open,
        publish: network
            .publish
            .iter()
            .map(|(port, _)| port.to_boot())
            .collect(),
        connect,
    })
}

fn resolve(name: &str, origin: &Origin) -> Result<Vec<IpAddr>, Problem> {
    match (name, 0).to_socket_addrs() {
        Ok(found) => Ok(found.map(|addr| addr.ip()).collect()),
        Err(error) => Err(origin
            .problem(format!("the host cannot find `{name}`: {error}"))
            .help("correct the name, or write an address; names are looked up at start")),
    }
}
