//! `bastide volume seal`: an image of a host directory.

use super::cli::KeyArgs;
use super::host::{Host, HostFile, to_hex};
use super::keys::{KeySource, Public, SOURCES};
use super::{import, new_file, progress, wrong};
use crate::{Failure, say};
use bastide_volume::image::{self, Draft};
use bastide_volume::{Options, SIZE_MOST, Volume, new_salt};
use std::fs::File;
use std::path::Path;

/// Makes an image of `dir` and prints its root hash.
pub fn seal(
    path: &Path,
    dir: &Path,
    key: &KeyArgs,
    public: bool,
    compress: bool,
) -> Result<(), Failure> {
    let source = match (key.key(), public) {
        (Some(source), _) => source,
        (None, true) => Box::new(Public),
        (None, false) => {
            return Err(Failure::new(format!(
                "no key\n  = help: give {SOURCES}; or --public, for an image that anybody may read"
            )));
        }
    };
    let file = new_file(path)?;
    make(path, file, dir, &*source, compress).inspect_err(|_| {
        let _ = std::fs::remove_file(path);
    })
}

fn make(
    path: &Path,
    file: File,
    dir: &Path,
    source: &dyn KeySource,
    compress: bool,
) -> Result<(), Failure> {
    let failed = |e| wrong(path.display(), e);
    let host = |e| Failure::new(format!("{}: {e}", path.display()));
    let salt = new_salt(&Host).map_err(failed)?;
    let kdf = source.kdf();
    let key = source.key(kdf, &salt, true)?;
    let device = HostFile(file.try_clone().map_err(host)?);
    let mut volume = Volume::create(
        Box::new(Draft(device)),
        SIZE_MOST,
        &key,
        kdf,
        Some(salt),
        Options {
            compress,
            ..Options::new(Box::new(Host))
        },
    )
    .map_err(failed)?;
    let files = import::import(&mut volume, dir, Path::new("/"))?;
    let device = HostFile(file);
    let bar = progress("hashing", 0, "{pos}/{len} blocks");
    let (hash, len) = image::seal(volume, &device, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })
    .map_err(failed)?;
    bar.finish_and_clear();
    device.0.set_len(len).map_err(host)?;
    device.0.sync_all().map_err(host)?;
    say(format_args!(
        "{files} files in {}, {len} bytes; its root hash is",
        path.display()
    ));
    println!("{}", to_hex(&hash));
    Ok(())
}
