//! Paths in a volume, from its root; symbolic links are not followed.

use super::wrong;
use crate::Failure;
use bastide_volume::{Error, ROOT, Volume};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The components of a path; `..` is refused, as there is nothing it could be needed for.
fn components(path: &Path) -> Result<Vec<&[u8]>, Failure> {
    let parts = path.as_os_str().as_bytes().split(|b| *b == b'/');
    let parts: Vec<_> = parts.filter(|p| !p.is_empty() && *p != b".").collect();
    match parts.contains(&&b".."[..]) {
        true => Err(Failure::new(format!("`..` in {}", path.display()))),
        false => Ok(parts),
    }
}

/// The inode at a path.
pub fn find(volume: &mut Volume, path: &Path) -> Result<u64, Failure> {
    walk(volume, &components(path)?).map_err(|e| wrong(path.display(), e))
}

fn walk(volume: &mut Volume, parts: &[&[u8]]) -> bastide_volume::Result<u64> {
    let mut at = ROOT;
    for part in parts {
        at = volume.lookup(at, part)?;
    }
    Ok(at)
}

/// Where a new file goes: the directory and the name. In a directory it keeps its own name.
pub fn place(
    volume: &mut Volume,
    path: &Path,
    own: Option<&[u8]>,
) -> Result<(u64, Vec<u8>), Failure> {
    let failed = |e| wrong(path.display(), e);
    let parts = components(path)?;
    match walk(volume, &parts) {
        Ok(ino) if volume.inode(ino).map_err(failed)?.is_dir() => {
            Ok((ino, own.ok_or_else(|| failed(Error::IsDir))?.to_vec()))
        }
        Ok(_) | Err(Error::NotFound) => {
            let (name, above) = parts.split_last().ok_or_else(|| failed(Error::IsDir))?;
            Ok((walk(volume, above).map_err(failed)?, name.to_vec()))
        }
        Err(e) => Err(failed(e)),
    }
}
