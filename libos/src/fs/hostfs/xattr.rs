//! Extended attributes of host files, which the host keeps.
//!
//! Attributes that change who may do what (`system.`: access control lists) are not offered, as on
//! a file system mounted `noacl`: this kernel decides by modes. Neither are those of links, FIFOs,
//! sockets and devices, of which the host keeps only the name.

use super::inode::{HostInode, open_dir};
use crate::abi::raw::general::{XATTR_CREATE, XATTR_NAME_MAX, XATTR_REPLACE, XATTR_SIZE_MAX};
use crate::fs::file::O_WRONLY;
use crate::fs::{HostHandle, Kind, Xattr};
use crate::{Errno, Result, host_error, pal};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Name spaces that the host is asked for.
const SPACES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

fn offered(name: &[u8]) -> Result<()> {
    if SPACES.iter().any(|space| name.starts_with(space)) {
        Ok(())
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}

/// A descriptor that the host takes for attribute calls, which may be one without right to read.
fn opened(i: &HostInode) -> Result<Arc<HostHandle>> {
    match i.kind {
        Kind::Dir => open_dir(i).map(Arc::new),
        Kind::Regular => match i.live() {
            Some(h) => Ok(h),
            None => match i.handle(0) {
                Err(Errno::EACCES) => i.handle(O_WRONLY),
                found => found,
            },
        },
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// [`opened`] for looking only: what cannot be opened shows no attributes.
fn seen(i: &HostInode) -> Result<Option<Arc<HostHandle>>> {
    match opened(i) {
        Ok(h) => Ok(Some(h)),
        Err(Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::EOPNOTSUPP) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The value of an attribute.
pub(super) fn get(i: &HostInode, name: &[u8]) -> Result<Vec<u8>> {
    offered(name)?;
    let h = seen(i)?.ok_or(Errno::ENODATA)?;
    let value = pal().get_xattr(h.0, name).map_err(host_error)?;
    if value.len() > XATTR_SIZE_MAX as usize {
        return Err(Errno::EIO);
    }
    Ok(value)
}

/// Sets an attribute.
pub(super) fn set(i: &HostInode, name: &[u8], value: &[u8], how: Xattr) -> Result<()> {
    offered(name)?;
    i.fs.may_write()?;
    let flags = match how {
        Xattr::Any => 0,
        Xattr::Create => XATTR_CREATE,
        Xattr::Replace => XATTR_REPLACE,
    };
    let h = opened(i)?;
    i.forget();
    pal().set_xattr(h.0, name, value, flags).map_err(host_error)
}

/// The names of the attributes that [`get`] knows.
pub(super) fn list(i: &HostInode) -> Result<Vec<Vec<u8>>> {
    let Some(h) = seen(i)? else {
        return Ok(Vec::new());
    };
    let mut names = pal().list_xattr(h.0).map_err(host_error)?;
    names.retain(|name| {
        name.len() <= XATTR_NAME_MAX as usize && !name.contains(&0) && offered(name).is_ok()
    });
    Ok(names)
}

/// Removes an attribute.
pub(super) fn remove(i: &HostInode, name: &[u8]) -> Result<()> {
    offered(name)?;
    i.fs.may_write()?;
    let h = opened(i)?;
    i.forget();
    pal().remove_xattr(h.0, name).map_err(host_error)
}
