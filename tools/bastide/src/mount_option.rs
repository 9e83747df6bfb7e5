//! `--mount`.

use bastide_manifest::{CACHE, Mount, MountKind, Origin, Problem, VolumeKey};
use bastide_manifest::{parse_cache, parse_fd, parse_hash, parse_size, parse_target};

/// Reads `SOURCE:TARGET[:ro|rw|overlay]`, `tmpfs:TARGET[:SIZE]`, `volume:FILE:TARGET[:OPTIONS]` or
/// `image:FILE:TARGET:OPTIONS`.
pub fn parse(text: &str) -> Result<Mount, Problem> {
    let origin = Origin::Option(format!("--mount {text}"));
    let usage = |message: String, help: &str| origin.problem(message).help(help);
    let parsed = match text.split_once(':') {
        Some(("tmpfs", rest)) => memory(rest).map_err(|e| usage(e, PLAIN)),
        Some((kind @ ("volume" | "image"), rest)) => {
            sealed(kind == "image", rest).map_err(|e| usage(e, SEALED))
        }
        _ => host(text).map_err(|e| usage(e, PLAIN)),
    };
    let (target, kind, read_only) = parsed?;
    Ok(Mount {
        target,
        kind,
        read_only,
        origin,
    })
}

const PLAIN: &str = "write SOURCE:TARGET, SOURCE:TARGET:rw, SOURCE:TARGET:overlay, \
                     tmpfs:TARGET[:SIZE] or volume:FILE:TARGET, for example --mount \
                     /srv/data:/data:rw";
const SEALED: &str = "write volume:FILE:TARGET or volume:FILE:TARGET:key_file=FILE, or \
                      image:FILE:TARGET:root_hash=HASH; further options, after commas, are \
                      key_env=NAME, passphrase, passphrase_env=NAME, passphrase_fd=N, anchor=FILE, cache=SIZE, ro and overlay. A directory of the \
                      host with that name is ./volume or ./image";

/// Target, what is there, and whether it is only read.
type Parsed = Result<(String, MountKind, bool), String>;

fn memory(rest: &str) -> Parsed {
    let (target, size) = match rest.split_once(':') {
        None => (rest, 0),
        Some((target, size)) => (target, parse_size(size)?),
    };
    let mode = if target == "/tmp" { 0o1777 } else { 0o755 };
    let kind = MountKind::Tmpfs { size, mode };
    Ok((parse_target(target)?, kind, false))
}

fn host(text: &str) -> Parsed {
    // The mode is what follows the last colon if that is one; a source may contain colons.
    let (rest, mode) = match text.rsplit_once(':') {
        Some((rest, mode @ ("ro" | "rw" | "overlay"))) => (rest, mode),
        _ => (text, "ro"),
    };
    let (source, target) = rest
        .rsplit_once(':')
        .filter(|(source, _)| !source.is_empty())
        .ok_or_else(|| format!("`{text}` does not name a source and a target"))?;
    let kind = match mode {
        "overlay" => MountKind::over_host(source.into()),
        _ => MountKind::Host(source.into()),
    };
    Ok((parse_target(target)?, kind, mode == "ro"))
}

/// The target begins at the first colon with a slash after it: a file may contain other colons, and
/// so may the options.
fn sealed(image: bool, rest: &str) -> Parsed {
    let (file, rest) = (rest.split_once(":/"))
        .filter(|(file, _)| !file.is_empty())
        .ok_or_else(|| format!("`{rest}` does not name a file and a target"))?;
    let (target, options) = rest.split_once(':').unwrap_or((rest, ""));
    let target = parse_target(&format!("/{target}"))?;
    let (mut key, mut anchor, mut root_hash, mut cache) = (None, None, None, CACHE);
    let (mut read_only, mut overlay) = (image, false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let old = match (name, value) {
            ("key_file", file) if !file.is_empty() => key.replace(VolumeKey::File(file.into())),
            ("key_env", name) if !name.is_empty() => key.replace(VolumeKey::Env(name.into())),
            ("passphrase", "") => key.replace(VolumeKey::Passphrase),
            ("passphrase_env", name) if !name.is_empty() => {
                key.replace(VolumeKey::PassphraseEnv(name.into()))
            }
            ("passphrase_fd", fd) => key.replace(VolumeKey::PassphraseFd(parse_fd(fd)?)),
            ("anchor", file) if !image && !file.is_empty() => {
                anchor = Some(file.into());
                None
            }
            ("root_hash", hash) if image => {
                root_hash = Some(parse_hash(hash)?);
                None
            }
            ("cache", size) => {
                cache = parse_cache(size)?;
                None
            }
            ("ro", "") => {
                read_only = true;
                None
            }
            ("overlay", "") => {
                overlay = true;
                None
            }
            _ => return Err(format!("`{option}` is not an option here")),
        };
        if old.is_some() {
            return Err("there are two keys".into());
        }
    }
    let kind = match image {
        true => MountKind::Image {
            file: file.into(),
            key,
            root_hash: root_hash.ok_or("an image needs its root_hash")?,
            cache,
        },
        false => MountKind::Volume {
            file: file.into(),
            // Who names none is asked.
            key: key.unwrap_or(VolumeKey::Passphrase),
            anchor,
            cache,
        },
    };
    Ok(match overlay {
        true => {
            let kind = MountKind::Overlay {
                lower: vec![kind],
                upper: Box::new(MountKind::memory()),
            };
            (target, kind, false)
        }
        false => (target, kind, read_only),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(text: &str) -> Mount {
        parse(text).unwrap()
    }

    #[test]
    fn directories_and_memory() {
        let found = mount("/a:b:/c");
        assert_eq!(found.kind, MountKind::Host("/a:b".into()));
        assert!(found.read_only);
        assert!(!mount(".:/work:rw").read_only);
        assert_eq!(mount("/:/:overlay").kind, MountKind::over_host("/".into()));
        let tmp = MountKind::Tmpfs {
            size: 1 << 20,
            mode: 0o1777,
        };
        assert_eq!(mount("tmpfs:/tmp:1M").kind, tmp);
        for bad in ["", "/a", ":/a", "/a:b", "/a:/../b", "tmpfs:/a:x", "tmpfs:a"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn volumes_and_images() {
        let volume = |key, anchor: Option<&str>| MountKind::Volume {
            file: "a:b.vol".into(),
            key,
            anchor: anchor.map(Into::into),
            cache: CACHE,
        };
        let found = mount("volume:a:b.vol:/data");
        assert_eq!(found.kind, volume(VolumeKey::Passphrase, None));
        assert_eq!((found.target.as_str(), found.read_only), ("/data", false));
        let found = mount("volume:a:b.vol:/data:key_file=/k:1,anchor=n,ro");
        assert_eq!(
            found.kind,
            volume(VolumeKey::File("/k:1".into()), Some("n"))
        );
        assert!(found.read_only);
        for (option, key) in [
            ("passphrase_env=P", VolumeKey::PassphraseEnv("P".into())),
            ("passphrase_fd=7", VolumeKey::PassphraseFd(7)),
        ] {
            let found = mount(&format!("volume:a:b.vol:/data:{option}"));
            assert_eq!(found.kind, volume(key, None));
        }
        let hash = "0f".repeat(32);
        let image = |key| MountKind::Image {
            file: "/i".into(),
            key,
            root_hash: [15; 32],
            cache: CACHE,
        };
        let found = mount(&format!("image:/i:/:root_hash={hash}"));
        assert_eq!((found.target.as_str(), found.read_only), ("/", true));
        assert_eq!(found.kind, image(None));
        let found = mount(&format!("image:/i:/:root_hash={hash},key_env=K,overlay"));
        assert!(!found.read_only);
        let MountKind::Overlay { lower, upper } = found.kind else {
            panic!("{:?}", found.kind);
        };
        assert_eq!(lower, [image(Some(VolumeKey::Env("K".into())))]);
        assert_eq!(*upper, MountKind::memory());
        let found = mount("volume:v:/data:cache=5M,ro");
        assert!(
            matches!(found.kind, MountKind::Volume { cache, .. } if cache == 5 << 20),
            "{found:?}"
        );
        for bad in [
            "volume:v:/data:cache",
            "volume:v:/data:cache=1K",
            "volume:/data",
            "volume:v",
            "volume::/data",
            "volume:v:/data:rw",
            "volume:v:/data:key_file=",
            "volume:v:/data:key_file=a,passphrase",
            "volume:v:/data:passphrase_fd=-1",
            "volume:v:/data:passphrase_fd=x",
            "volume:v:/data:passphrase_env=",
            "volume:v:/data:passphrase_env=A,passphrase_fd=3",
            "volume:v:/data:root_hash=1",
            "image:i:/data",
            "image:i:/data:root_hash=1",
            "image:i:/../data",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
