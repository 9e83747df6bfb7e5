//! Volumes and images that a run mounts.

use super::copy::copy_out;
use super::host::{AnchorFile, Host, HostFile};
use super::keys;
use super::{key_for, open_file, open_image, path, wrong};
use crate::Failure;
use bastide_manifest::{MountKind, VolumeKey};
use bastide_volume::image::Hash;
use bastide_volume::{Device, Header, Image, Kdf, Options, Volume};
use rustix::fs::{Access, AtFlags, CWD};
use std::fs::{File, OpenOptions};
use std::path::Path;

fn failed(path: &Path, e: impl std::fmt::Display) -> Failure {
    Failure::new(format!("cannot open {}: {e}", path.display()))
}

/// Opens a volume's file, for nobody else at the same time unless all only read.
fn volume_file(path: &Path, read_only: bool) -> Result<HostFile, Failure> {
    let device = HostFile(open_file(path, read_only)?);
    match Image::is_one(&device) {
        false => Ok(device),
        true => Err(Failure::new(format!(
            "{} is an image\n  = help: mount it as one: type = \"image\", with its root_hash",
            path.display()
        ))),
    }
}

/// Opens the volume's file, its key, and its anchor's file.
pub fn for_run(
    path: &Path,
    key: &VolumeKey,
    anchor: Option<&Path>,
    read_only: bool,
) -> Result<(File, [u8; 32], Option<File>), Failure> {
    let device = volume_file(path, read_only)?;
    let key = key_for(path, &device, Some(&*keys::of_manifest(key)))?;
    let anchor = anchor
        .map(|path| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.open(path).map_err(|e| failed(path, e))
        })
        .transpose()?;
    Ok((device.0, *key, anchor))
}

/// Opens the image's file, and its key.
pub fn image_for_run(
    path: &Path,
    key: Option<&VolumeKey>,
    root_hash: &Hash,
) -> Result<(File, [u8; 32]), Failure> {
    let file = open_file(path, true)?;
    let again = file.try_clone().map_err(|e| failed(path, e))?;
    let image = open_image(path, HostFile(again), Some(root_hash))?;
    let source = key.map(keys::of_manifest);
    let key = key_for(path, &image, source.as_deref())?;
    Ok((file, *key))
}

/// Finds what would keep a run from mounting a volume, and changes nothing. Nobody is asked for a
/// passphrase: then only what needs none is looked at.
pub fn check(
    path: &Path,
    key: &VolumeKey,
    anchor: Option<&Path>,
    read_only: bool,
) -> Result<(), Failure> {
    let device = volume_file(path, true)?;
    if !read_only {
        writable(path)?;
    }
    if let Some(anchor) = anchor {
        // One that is missing is made.
        let dir = anchor.parent().filter(|p| !p.as_os_str().is_empty());
        writable(match anchor.exists() {
            true => anchor,
            false => dir.unwrap_or(Path::new(".")),
        })?;
    }
    let mut options = Options::new(Box::new(Host));
    options.anchor = anchor.map(|anchor| Box::new(AnchorFile(anchor.to_owned())) as _);
    opens(path, Box::new(device), Some(key), options)
}

/// The same of an image.
pub fn check_image(path: &Path, key: Option<&VolumeKey>, root_hash: &Hash) -> Result<(), Failure> {
    let image = open_image(path, HostFile(open_file(path, true)?), Some(root_hash))?;
    opens(path, Box::new(image), key, Options::new(Box::new(Host)))
}

fn writable(path: &Path) -> Result<(), Failure> {
    rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS)
        .map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))
}

/// The volume opens with this key, as far as can be known.
fn opens(
    path: &Path,
    device: Box<dyn Device>,
    key: Option<&VolumeKey>,
    options: Options,
) -> Result<(), Failure> {
    if key.is_some_and(VolumeKey::is_asked_for) {
        let copies = Header::copies(&*device).map_err(|e| wrong(path.display(), e))?;
        let asks = |h: &Header| matches!(h.kdf, Kdf::Argon2id { .. });
        return match copies.iter().find(|h| !asks(h)) {
            None => Ok(()),
            Some(h) => Err(keys::not_a_passphrase(h.kdf)),
        };
    }
    reader(path, device, key, options).map(drop)
}

fn reader(
    path: &Path,
    device: Box<dyn Device>,
    key: Option<&VolumeKey>,
    mut options: Options,
) -> Result<Volume, Failure> {
    let source = key.map(keys::of_manifest);
    let key = key_for(path, &*device, source.as_deref())?;
    options.read_only = true;
    Volume::open(device, &key, options).map_err(|e| wrong(path.display(), e))
}

/// The directory of a volume above an overlay that has the changed files.
pub const UPPER: &str = "upper";

/// A file that a mounted volume or image holds, if it can be read without asking anybody.
pub fn read_file(kind: &MountKind, inner: &Path) -> Option<Vec<u8>> {
    let (file, key) = match kind {
        MountKind::Volume { file, key, .. } => (file, Some(key)),
        MountKind::Image { file, key, .. } => (file, key.as_ref()),
        _ => return None,
    };
    if key.is_some_and(VolumeKey::is_asked_for) {
        return None;
    }
    let device = HostFile(open_file(file, true).ok()?);
    let device: Box<dyn Device> = match kind {
        MountKind::Image { root_hash, .. } => {
            Box::new(open_image(file, device, Some(root_hash)).ok()?)
        }
        _ => Box::new(device),
    };
    let mut volume = reader(file, device, key, Options::new(Box::new(Host))).ok()?;
    let ino = path::find(&mut volume, inner).ok()?;
    let mut contents = Vec::new();
    copy_out(&mut volume, ino, &mut contents, |_| {}).ok()?;
    Some(contents)
}
