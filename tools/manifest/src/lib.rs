//! The manifest: the TOML file that says what to run, with what, and what may cross the wall.
//!
//! [`Manifest::read`] turns a file into a [`Manifest`] or into every [`Problem`] found in it, each
//! with its line, its key and a remedy. The schema is described in `manifests/README.md`.
//!
//! A [`Manifest`] holds plans, not resources: nothing of the host is opened, and no name is looked
//! up here. What can only be known at start (a missing directory, an unknown host name) is
//! reported later through the same [`Origin`], so that it points at the same line.

mod limits;
mod mount;
pub mod mounts;
mod network;
mod origin;
mod reader;
mod schema;
mod size;
mod user;

pub use limits::{Limit, RESOURCES, resource};
pub use mount::{
    CACHE, Mount, MountKind, VolumeKey, parse_cache, parse_fd, parse_hash, parse_hex, parse_target,
};
pub use network::{Host, Network, Peer, Port, parse_peer, parse_publish};
pub use origin::{Origin, Problem, SourceFile};
pub use schema::{Env, LOG_LEVELS, Manifest};
pub use size::parse_size;
pub use user::{Id, User};

#[cfg(test)]
mod tests;
