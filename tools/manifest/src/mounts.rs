//! Which mounts there are in the end, and in which order.

use crate::mount::{Mount, MountKind};
use crate::origin::Origin;

/// Adds the mounts that every Linux program expects, where the manifest says nothing else: an
/// empty root, `/proc`, `/dev`, `/sys`, and `/tmp` in memory.
pub fn add_defaults(mounts: &mut Vec<Mount>) {
    let tmpfs = |mode| MountKind::Tmpfs { size: 0, mode };
    for (target, kind) in [
        ("/", tmpfs(0o755)),
        ("/proc", MountKind::Proc),
        ("/dev", MountKind::Dev),
        ("/sys", MountKind::Sys),
        ("/tmp", tmpfs(0o1777)),
    ] {
        if !mounts.iter().any(|mount| mount.target == target) {
            mounts.push(Mount {
                target: target.into(),
                kind,
                read_only: false,
                origin: Origin::Default,
            });
        }
    }
}

/// Puts `/` first and every mount after those that it lies in, so that none hides another.
pub fn sort(mounts: &mut [Mount]) {
    mounts.sort_by_key(|mount| match mount.target.as_str() {
        "/" => 0,
        target => target.matches('/').count(),
    });
}

/// The mount that `path`, absolute inside the enclave, lies in, and the rest of the path there.
pub fn find<'m, 'p>(mounts: &'m [Mount], path: &'p str) -> Option<(&'m Mount, &'p str)> {
    mounts
        .iter()
        .filter_map(|mount| {
            let rest = match mount.target.as_str() {
                "/" => path,
                target => path.strip_prefix(target)?,
            };
            (rest.is_empty() || rest.starts_with('/'))
                .then(|| (mount, rest.trim_start_matches('/')))
        })
        .max_by_key(|(mount, _)| mount.target.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(target: &str) -> Mount {
        Mount {
            target: target.into(),
            kind: MountKind::Host("/src".into()),
            read_only: true,
            origin: Origin::Default,
        }
    }

    #[test]
    fn outer_mounts_come_first() {
        let mut mounts = vec![host("/a/b"), host("/tmp"), host("/a")];
        add_defaults(&mut mounts);
        sort(&mut mounts);
        let order: Vec<_> = mounts.iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(order, ["/", "/tmp", "/a", "/proc", "/dev", "/sys", "/a/b"]);
        assert_eq!(mounts[1].kind, MountKind::Host("/src".into()));
    }

    #[test]
    fn a_path_lies_in_the_innermost_mount() {
        let mounts = [host("/"), host("/etc"), host("/etcetera")];
        let (mount, rest) = find(&mounts, "/etc/passwd").unwrap();
        assert_eq!((mount.target.as_str(), rest), ("/etc", "passwd"));
        let (mount, rest) = find(&mounts, "/etcd/x").unwrap();
        assert_eq!((mount.target.as_str(), rest), ("/", "etcd/x"));
    }
}
