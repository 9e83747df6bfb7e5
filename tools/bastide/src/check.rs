//! `bastide check`.

use crate::{Failure, OWN_ERROR, boot, say, users};
use bastide_manifest::Manifest;
use std::path::PathBuf;

/// Says of each manifest whether it is sound, or everything that is wrong with it.
pub fn check(manifests: &[PathBuf]) -> Result<u8, Failure> {
    let mut sound = true;
    for path in manifests {
        let problems = match Manifest::read(path) {
            Err(problems) => problems,
            Ok(manifest) => {
                let mut problems = boot::check_mounts(&manifest.mounts);
                if let Some((user, origin)) = &manifest.user {
                    problems.extend(users::lookup(&manifest.mounts, user, origin).err());
                }
                problems
            }
        };
        if problems.is_empty() {
            println!("{}: ok", path.display());
        } else {
            sound = false;
            say(Failure::from(problems));
        }
    }
    Ok(if sound { 0 } else { OWN_ERROR })
}
