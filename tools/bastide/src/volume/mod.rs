//! `bastide volume`: makes and looks into sealed volumes.

pub mod cli;
mod copy;
mod export;
mod host;
mod import;
mod keys;
mod path;
mod run;
mod seal;
mod show;

use crate::{Failure, say};
use bastide_volume::image::Hash;
use bastide_volume::{Device, Error, Header, Image, Kdf, Key32, Options, Volume, new_salt};
use cli::{Access, NewKey, VolumeVerb};
use host::{AnchorFile, Host, HostFile};
use indicatif::{ProgressBar, ProgressStyle};
use keys::KeySource;
pub use run::{UPPER, check, check_image, for_run, image_for_run, read_file};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

/// Runs a verb.
pub fn volume(verb: &VolumeVerb) -> Result<u8, Failure> {
    match verb {
        VolumeVerb::Create {
            access,
            size,
            contents,
        } => create(access, *size, contents.compress)?,
        VolumeVerb::Info { access } => show::info(access)?,
        VolumeVerb::Ls { access, path, long } => {
            show::ls(&mut open(access, true)?, path, *long)?;
        }
        VolumeVerb::Cat { access, path } => show::cat(&mut open(access, true)?, path)?,
        VolumeVerb::Put {
            access,
            source,
            path,
        } => copy::put(&mut open(access, false)?, source, path)?,
        VolumeVerb::Get {
            access,
            path,
            target,
        } => copy::get(&mut open(access, true)?, path, target)?,
        VolumeVerb::Import { access, dir, path } => {
            let files = import::import(&mut open(access, false)?, dir, path)?;
            println!("{files} files imported");
        }
        VolumeVerb::Export { access, dir, path } => {
            export::export(&mut open(access, true)?, dir, path)?;
        }
        VolumeVerb::Seal {
            image,
            dir,
            key,
            public,
            contents,
        } => seal::seal(image, dir, key, *public, contents.compress)?,
        VolumeVerb::Fsck { access } => return fsck(access),
        VolumeVerb::Rekey { access, new } => rekey(access, new)?,
    }
    Ok(0)
}

/// What went wrong with a volume, or with something in it.
fn wrong(what: impl std::fmt::Display, error: Error) -> Failure {
    Failure::new(format!("{what}: {error}"))
}

fn options(access: &Access, read_only: bool) -> Options {
    let mut options = Options::new(Box::new(Host));
    options.read_only = read_only;
    if let Some(path) = &access.anchor {
        options.anchor = Some(Box::new(AnchorFile(path.clone())));
    }
    options
}

/// Opens a volume's file, for nobody else at the same time unless all only read.
fn open_file(path: &Path, read_only: bool) -> Result<File, Failure> {
    let failed = |e| Failure::new(format!("cannot open {}: {e}", path.display()));
    let opened = OpenOptions::new().read(true).write(!read_only).open(path);
    let file = opened.map_err(failed)?;
    let locked = match read_only {
        true => file.try_lock_shared(),
        false => file.try_lock(),
    };
    match locked {
        Ok(()) => {
            // While blocks are opened the disk goes on with what follows, if the host reads far enough
            // ahead where a file is read in order. A host that does not is slower, no more.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(Failure::new(format!(
            "{} is in use by another process",
            path.display()
        ))),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// What a file holds a volume in, and the root hash if that is an image.
fn device(access: &Access, read_only: bool) -> Result<(Box<dyn Device>, Option<Hash>), Failure> {
    let path = &access.volume;
    let file = HostFile(open_file(path, read_only)?);
    let shown = path.display();
    if !Image::is_one(&file) {
        return match access.root_hash {
            Some(_) => Err(Failure::new(format!(
                "{shown} is not an image, and so has no root hash\n  = help: leave --root-hash out"
            ))),
            None => Ok((Box::new(file), None)),
        };
    }
    if !read_only {
        return Err(Failure::new(format!(
            "{shown} is an image, which nobody can change\n  = help: export it, and seal the \
             changed directory"
        )));
    }
    if access.anchor.is_some() {
        return Err(Failure::new(format!(
            "{shown} is an image, which has no newer state\n  = help: give --root-hash instead of \
             --anchor"
        )));
    }
    let image = open_image(path, file, access.root_hash.as_ref())?;
    let hash = image.root_hash();
    Ok((Box::new(image), Some(hash)))
}

fn open_image(path: &Path, file: HostFile, root_hash: Option<&Hash>) -> Result<Image, Failure> {
    Image::open(Box::new(file), root_hash).map_err(|e| wrong(path.display(), e))
}

/// The key that opens a volume or an image.
fn key_for(
    path: &Path,
    device: &dyn Device,
    source: Option<&dyn KeySource>,
) -> Result<Key32, Failure> {
    let failed = |e| wrong(path.display(), e);
    let copies = Header::copies(device).map_err(failed)?;
    let header = copies.first().ok_or_else(|| failed(Error::NotAVolume))?;
    let source = source.unwrap_or(&keys::Public);
    let key = source.key(header.kdf, &header.salt, false)?;
    // After a change of the key that was cut short, the copies want different ones.
    match copies.iter().any(|h| h.unwrap(&key).is_some()) {
        true => Ok(key),
        false => Err(failed(Error::WrongKey)),
    }
}

/// Opens a volume, or an image.
fn open(access: &Access, read_only: bool) -> Result<Volume, Failure> {
    let (device, root_hash) = device(access, read_only)?;
    if root_hash.is_some() && access.root_hash.is_none() {
        say(UNCHECKED);
    }
    opened(access, device, read_only)
}

const UNCHECKED: &str = "note: without --root-hash this may be another image than you think";

fn opened(access: &Access, device: Box<dyn Device>, read_only: bool) -> Result<Volume, Failure> {
    let path = &access.volume;
    let source = access.key.key();
    let key = key_for(path, &*device, source.as_deref())?;
    let opened = Volume::open(device, &key, options(access, read_only));
    opened.map_err(|e| wrong(path.display(), e))
}

/// Makes a file for a volume.
fn new_file(path: &Path) -> Result<File, Failure> {
    let made = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path);
    made.map_err(|e| {
        let help = match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                "\n  = help: remove it first, or choose a new name"
            }
            _ => "",
        };
        Failure::new(format!("cannot make {}: {e}{help}", path.display()))
    })
}

fn create(access: &Access, size: u64, compress: bool) -> Result<(), Failure> {
    let source = access.key.needed_key()?;
    let path = &access.volume;
    let salt = new_salt(&Host).map_err(|e| wrong(path.display(), e))?;
    let kdf = source.kdf();
    let key = source.key(kdf, &salt, true)?;
    let file = new_file(path)?;
    let options = Options {
        compress,
        ..options(access, false)
    };
    let made = Volume::create(
        Box::new(HostFile(file)),
        size,
        &key,
        kdf,
        Some(salt),
        options,
    );
    made.map(drop).map_err(|e| {
        let _ = std::fs::remove_file(path);
        wrong(path.display(), e)
    })
}

fn rekey(access: &Access, new: &NewKey) -> Result<(), Failure> {
    let mut volume = open(access, false)?;
    let source = new.key().ok_or_else(|| Failure::new("no new key"))?;
    let path = access.volume.display();
    let salt = new_salt(&Host).map_err(|e| wrong(&path, e))?;
    let kdf: Kdf = source.kdf();
    let key = source.key(kdf, &salt, true)?;
    (volume.rekey(&key, kdf, Some(salt))).map_err(|e| wrong(path, e))
}

fn fsck(access: &Access) -> Result<u8, Failure> {
    let mut volume = open(access, true)?;
    if volume.is_image() {
        let file = HostFile(open_file(&access.volume, true)?);
        let image = open_image(&access.volume, file, access.root_hash.as_ref())?;
        let bar = progress("hashing", 0, "{pos}/{len} blocks");
        let wrong = image.verify(&mut |done, all| {
            bar.set_length(all);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        for problem in &wrong {
            say(format_args!("{}: {problem}", access.volume.display()));
        }
        if !wrong.is_empty() {
            return Ok(1);
        }
    }
    let bar = progress("checking", 0, "{pos}/{len} blocks");
    let report = volume
        .fsck(true, &mut |done, all| {
            bar.set_length(all);
            bar.set_position(done);
        })
        .map_err(|e| wrong(access.volume.display(), e))?;
    bar.finish_and_clear();
    for problem in &report.problems {
        say(problem);
    }
    println!(
        "{}: {} files, {} directories, {} blocks in use, {} problems",
        access.volume.display(),
        report.files,
        report.directories,
        report.blocks,
        report.problems.len()
    );
    Ok(u8::from(!report.problems.is_empty()))
}

/// A progress bar on standard error, if that is a terminal.
fn progress(what: &str, len: u64, units: &str) -> ProgressBar {
    let bar = ProgressBar::new(len).with_message(what.to_owned());
    let template = format!("{{msg}} [{{bar:30}}] {units} {{eta}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
