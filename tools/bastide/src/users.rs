//! User and group names, looked up in the files that the enclave will see.

use crate::volume;
use bastide_manifest::{Id, Mount, MountKind, Origin, Problem, User, mounts};
use std::path::Path;

/// The user, group and supplementary groups that `user` stands for.
pub fn lookup(
    mounts: &[Mount],
    user: &User,
    origin: &Origin,
) -> Result<(u32, u32, Vec<u32>), Problem> {
    let passwd = read(mounts, "/etc/passwd");
    let group = read(mounts, "/etc/group");
    let missing = |what: &str, name: &str| {
        origin
            .problem(format!("there is no {what} `{name}` in the enclave's /etc"))
            .help("correct the name, or write numbers such as 1000:1000")
    };
    // name:password:uid:gid:…
    let entry = passwd.lines().map(fields).find(|line| match &user.user {
        Id::Name(name) => line.first() == Some(&name.as_str()),
        Id::Number(number) => number_at(line, 2) == Some(*number),
    });
    let uid = match (&user.user, &entry) {
        (Id::Number(number), _) => *number,
        (Id::Name(name), None) => return Err(missing("user", name)),
        (Id::Name(name), Some(line)) => number_at(line, 2).ok_or_else(|| missing("user", name))?,
    };
    let gid = match &user.group {
        Some(Id::Number(number)) => *number,
        Some(Id::Name(name)) => group
            .lines()
            .map(fields)
            .find(|line| line.first() == Some(&name.as_str()))
            .and_then(|line| number_at(&line, 2))
            .ok_or_else(|| missing("group", name))?,
        // A number that nobody has a name for gets the group of the same number, not root's.
        None => entry
            .as_ref()
            .and_then(|line| number_at(line, 3))
            .unwrap_or(uid),
    };
    let mut groups = vec![gid];
    if let (None, Some(name)) = (&user.group, entry.as_ref().and_then(|line| line.first())) {
        // name:password:gid:member,member
        for line in group.lines().map(fields) {
            let member = line
                .get(3)
                .is_some_and(|list| list.split(',').any(|member| member == *name));
            if let (true, Some(number)) = (member, number_at(&line, 2))
                && !groups.contains(&number)
            {
                groups.push(number);
            }
        }
    }
    Ok((uid, gid, groups))
}

fn fields(line: &str) -> Vec<&str> {
    line.split(':').collect()
}

fn number_at(line: &[&str], index: usize) -> Option<u32> {
    line.get(index)?.parse().ok()
}

/// A file of the enclave as it is on the host; empty if there is none.
fn read(mounts: &[Mount], path: &str) -> String {
    let Some((mount, rest)) = mounts::find(mounts, path) else {
        return String::new();
    };
    String::from_utf8_lossy(&contents(&mount.kind, rest)).into_owned()
}

fn contents(kind: &MountKind, path: &str) -> Vec<u8> {
    match kind {
        MountKind::Host(root) => std::fs::read(root.join(path)).unwrap_or_default(),
        MountKind::Overlay { lower, upper } => {
            match contents(upper, &format!("{}/{path}", volume::UPPER)) {
                changed if !changed.is_empty() => changed,
                _ => {
                    let mut below = lower.iter().map(|kind| contents(kind, path));
                    below.find(|found| !found.is_empty()).unwrap_or_default()
                }
            }
        }
        _ => volume::read_file(kind, Path::new(path)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let dir = std::env::temp_dir().join(format!("bastide-users-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        std::fs::write(
            dir.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nann:x:1000:1001::/:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(dir.join("etc/group"), "staff:x:50:bob,ann\nann:x:1001:\n").unwrap();
        let mounts = [Mount {
            target: "/".into(),
            kind: MountKind::over_host(dir.clone()),
            read_only: false,
            origin: Origin::Default,
        }];
        let find = |text: &str| lookup(&mounts, &text.parse().unwrap(), &Origin::Default);
        assert_eq!(find("ann").unwrap(), (1000, 1001, vec![1001, 50]));
        assert_eq!(find("1000").unwrap(), (1000, 1001, vec![1001, 50]));
        assert_eq!(find("ann:staff").unwrap(), (1000, 50, vec![50]));
        assert_eq!(find("77").unwrap(), (77, 77, vec![77]));
        assert!(find("eve").is_err() && find("ann:eve").is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
