//! `bastide run`.

use crate::cli::RunOptions;
use crate::{Failure, boot, ending, host, options, say};
use bastide_manifest::Network;
use bastide_outer as outer;

/// What a program without a manifest gets.
fn notice(network: &Network) -> String {
    let network = if network.open {
        "network is open"
    } else {
        "the network reaches published ports only, the program anywhere"
    };
    format!(
        "bastide: no manifest: the host's files are read-only below an in-memory overlay, changes \
         are lost at exit (keep them with --mount DIR:DIR:rw); {network}; no hardware protection"
    )
}

/// Runs the program and ends as it ended.
pub fn run(options: &RunOptions) -> Result<u8, Failure> {
    let (manifest, open) = options::manifest(options)?;
    let end = boot::config(&manifest, options).and_then(|config| {
        if open && !options.quiet {
            say(notice(&manifest.network));
        }
        outer::run(config, &host::changed()).map_err(Failure::new)
    });
    host::restore_stdio();
    // What is left is not put in order first: each page of it that is touched after the fork is copied.
    std::process::exit(ending::follow(end?))
}
