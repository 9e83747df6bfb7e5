//! The options of `bastide run`, applied to a manifest.

use crate::cli::RunOptions;
use crate::{Failure, mount_option};
use bastide_manifest::{
    Env, Host, Manifest, Mount, MountKind, Network, Origin, Peer, Port, Problem,
};
use bastide_manifest::{mounts, parse_publish};
use std::path::Path;

/// The manifest to run: the one named, or one that gives the program the host's files, each with
/// the options applied.
///
/// Returns whether there was none. The environment and the arguments are not in it: they need not
/// be text, see [`crate::boot`].
pub fn manifest(options: &RunOptions) -> Result<(Manifest, bool), Failure> {
    let (mut manifest, open) = match &options.manifest {
        Some(path) => (Manifest::read(path)?, false),
        None if options.command.is_empty() => {
            return Err(Failure::new(
                "nothing to run\n  = help: name a manifest, or a program after `--`, for example: \
                 bastide run -- /bin/sh",
            ));
        }
        None => (whole_host(options.cwd.as_deref())?, true),
    };
    for text in &options.mount {
        let mount = mount_option::parse(text)?;
        manifest
            .mounts
            .retain(|other| other.target != mount.target || is_repeated(other));
        if let Some(other) = manifest
            .mounts
            .iter()
            .find(|other| other.target == mount.target)
        {
            let message = format!("`{}` is mounted twice", other.target);
            return Err(mount.origin.problem(message).into());
        }
        manifest.mounts.push(mount);
    }
    mounts::sort(&mut manifest.mounts);
    for text in &options.publish {
        publish(&mut manifest.network, text)?;
    }
    if open && !manifest.network.publish.is_empty() {
        manifest.network.open = false;
        let anywhere = Peer {
            host: Host::Any,
            ports: (1, u16::MAX),
        };
        let origin = Origin::Option("--publish".into());
        manifest.network.connect.push((anywhere, origin));
    }
    if let Some(cwd) = &options.cwd {
        manifest.cwd = inside(cwd, &manifest.cwd)?;
    }
    if let Some(user) = &options.user {
        manifest.user = Some((user.clone(), Origin::Option("--user".into())));
    }
    if let Some(name) = &options.hostname {
        if name.is_empty() || name.len() > 64 {
            let origin = Origin::Option(format!("--hostname {name}"));
            return Err(origin.problem("a host name has 1 to 64 bytes").into());
        }
        manifest.hostname.clone_from(name);
    }
    if let Some(level) = &options.log {
        manifest.log = Some(level.clone());
    }
    manifest.init |= options.init;
    Ok((manifest, open))
}

/// Publishes a port, instead of the manifest's entries for it.
fn publish(network: &mut Network, text: &str) -> Result<(), Problem> {
    let origin = Origin::Option(format!("--publish {text}"));
    let port = parse_publish(text).map_err(|message| origin.problem(message))?;
    let same = |other: &Port| (other.udp, other.port) == (port.udp, port.port);
    network
        .publish
        .retain(|(other, origin)| matches!(origin, Origin::Option(_)) || !same(other));
    if network.publish.iter().any(|(other, _)| same(other)) {
        return Err(origin.problem(format!("port {} is published twice", port.port)));
    }
    network.publish.push((port, origin));
    Ok(())
}

/// Two options that name one target are a mistake; an option that replaces a default is not.
fn is_repeated(mount: &Mount) -> bool {
    matches!(mount.origin, Origin::Option(_))
}

/// The host's files below an in-memory overlay, its whole environment, an open network.
fn whole_host(cwd: Option<&str>) -> Result<Manifest, Failure> {
    let cwd = match cwd {
        Some(cwd) if cwd.starts_with('/') => cwd.into(),
        _ => here()?,
    };
    let mut mounts = Vec::new();
    for (target, kind) in [
        ("/", MountKind::over_host("/".into())),
        ("/proc", MountKind::Proc),
        ("/dev", MountKind::Dev),
        ("/sys", MountKind::Sys),
    ] {
        mounts.push(Mount {
            target: target.into(),
            kind,
            read_only: false,
            origin: Origin::Default,
        });
    }
    Ok(Manifest {
        cwd,
        hostname: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        mounts,
        network: Network {
            open: true,
            ..Network::default()
        },
        env: Env {
            pass: vec!["*".into()],
            set: Vec::new(),
        },
        ..Manifest::default()
    })
}

fn here() -> Result<String, Failure> {
    const HELP: &str = "\n  = help: use --cwd with an absolute path";
    let path = std::env::current_dir().map_err(|error| {
        Failure::new(format!(
            "the current directory is not usable: {error}{HELP}"
        ))
    })?;
    let text = path.into_os_string().into_string();
    text.map_err(|_| Failure::new(format!("the current directory's name is not UTF-8{HELP}")))
}

/// `path` made absolute inside the enclave.
fn inside(path: &str, cwd: &str) -> Result<String, Failure> {
    let joined = Path::new(cwd).join(path);
    let mut clean = String::new();
    for part in joined.components() {
        match part {
            std::path::Component::Normal(part) => {
                clean.push('/');
                clean.push_str(&part.to_string_lossy());
            }
            std::path::Component::ParentDir => {
                clean.truncate(clean.rfind('/').unwrap_or(0));
            }
            _ => {}
        }
    }
    if clean.is_empty() {
        clean.push('/');
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports_replace_the_manifests() {
        let mut network = Network::default();
        let port = |text: &str| (parse_publish(text).unwrap(), Origin::Default);
        network.publish = vec![port("8080:80"), port("8081:81"), port("80/udp")];
        publish(&mut network, "9090:80").unwrap();
        let mut found: Vec<_> = network
            .publish
            .iter()
            .map(|(port, _)| (port.host_port, port.port, port.udp))
            .collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [(80, 80, true), (8081, 81, false), (9090, 80, false)]
        );
        assert!(publish(&mut network, "9091:80").is_err());
        assert!(publish(&mut network, "x").is_err());
    }

    #[test]
    fn relative_directories() {
        assert_eq!(inside("b/../c", "/a").unwrap(), "/a/c");
        assert_eq!(inside("../..", "/a").unwrap(), "/");
        assert_eq!(inside("/x/", "/a").unwrap(), "/x");
    }
}
