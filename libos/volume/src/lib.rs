//! Sealed volumes: a whole file system in one host file, which the host can neither read nor alter
//! unnoticed. `FORMAT.md` is the specification.
//!
//! The layers, each in its file, from the device up: [`device`], sealing ([`crypto`]), blocks
//! (`store`), free space (`space`), the copy-on-write tree (`node`, `tree`), transactions (`txn`)
//! of steps (`step`) with the intent log (`log`), and on these the file system: `inode`, `extent`, `packed`, `pages`,
//! `file` and `reading` with what is kept of it (`contents`), `dir`, `names`, `xattr`, `orphan`; [`fsck`] checks it
//! all.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod codec;
mod contents;
pub mod crypto;
pub mod device;
mod dir;
mod error;
mod extent;
mod file;
pub mod fsck;
mod header;
pub mod image;
mod inode;
mod log;
mod memo;
mod names;
mod node;
mod ops;
mod orphan;
mod packed;
mod pages;
mod reading;
mod root;
mod space;
mod step;
mod store;
mod tree;
mod txn;
mod volume;
mod xattr;

pub use crypto::Key32;
use crypto::Ptr;
pub use device::{Anchor, Device, Mark, Platform};
pub use dir::{Entry, NAME_MAX};
pub use error::{DeviceError, Error, Result};
pub use header::{Header, Kdf, PUBLIC, new_salt};
pub use image::Image;
pub use inode::{Inode, ROOT, SetAttr, mode};
pub use names::{New, Rename};
pub use packed::Packing;
pub use reading::{Opened, Reading};
pub use txn::Limits;
pub use volume::{Options, SIZE_LEAST, SIZE_MOST, Usage, Volume};
pub use xattr::SetXattr;

/// Bytes of a block.
pub const BLOCK: usize = 4096;
/// No volume has more blocks: what is said of a block at or beyond this one makes no sense.
const BLOCKS_MOST: u64 = SIZE_MOST / BLOCK as u64;

/// The pointer that an item for a bitmap block holds.
fn space_ptr(value: &[u8]) -> Option<crypto::Ptr> {
    crypto::Ptr::read(&mut codec::Reader(value)).ok()
}
