//! Scratch directories, and what is in them.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A directory that goes when this does. Its path is the same each time, because programs print
/// paths.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub fn new(name: &str) -> Self {
        let name = name.replace('/', "-");
        let path = std::env::temp_dir().join(format!("bastide-{}-{name}", std::process::id()));
        let scratch = Scratch { path };
        scratch.renew();
        scratch
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Empties the directory.
    pub fn renew(&self) {
        let _ = fs::remove_dir_all(&self.path);
        fs::create_dir_all(&self.path).expect("cannot make a scratch directory");
    }

    /// Writes a file in it and returns its path.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, contents).expect("cannot write a scratch file");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Every file below `root`: kind, permissions, link count and contents, one line each, sorted.
pub fn tree(root: &Path) -> String {
    let mut lines = Vec::new();
    walk(root, root, &mut lines);
    lines.sort();
    lines.join("\n")
}

fn walk(root: &Path, dir: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        let name = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        let mut line = format!("{name} {:o} {}", meta.permissions().mode(), meta.uid());
        if meta.is_symlink() {
            let _ = write!(line, " -> {:?}", fs::read_link(&path));
        } else if meta.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            let _ = write!(line, " {} {} {:x}", meta.nlink(), meta.len(), fnv(&bytes));
        }
        lines.push(line);
        if meta.is_dir() {
            walk(root, &path, lines);
        }
    }
}

/// FNV-1a: enough to tell two files apart.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
