//! Extended attributes: all of a file's together, in pieces that fit in items.

use crate::codec::{Reader, Short, Writer};
use crate::error::{Error, Result};
use crate::node::{Key, Kind};
use crate::volume::Volume;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Bytes of names and values of one file, together with what separates them.
pub const XATTR_MAX: usize = 64 * 1024;
/// Bytes in an item.
const PIECE: usize = 1200;

/// How `setxattr(2)` treats a name that exists, or does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetXattr {
    Any,
    /// It must not exist.
    Create,
    /// It must exist.
    Replace,
}

type Attributes = BTreeMap<Vec<u8>, Vec<u8>>;

fn decode(bytes: &[u8]) -> core::result::Result<Attributes, Short> {
    let mut r = Reader(bytes);
    let mut out = Attributes::new();
    while !r.is_empty() {
        let (name, value) = (r.u8()?, r.u32()?);
        let name = r.bytes(usize::from(name))?.to_vec();
        out.insert(name, r.bytes(value as usize)?.to_vec());
    }
    Ok(out)
}

impl Volume {
    fn xattrs(&mut self, ino: u64) -> Result<Attributes> {
        let mut bytes = Vec::new();
        self.tree
            .scan(&Key::new(ino, Kind::Xattr, 0), &mut |key, value| {
                let ours = (key.ino, key.kind) == (ino, Kind::Xattr as u8);
                if ours {
                    bytes.extend_from_slice(value);
                }
                ours && bytes.len() <= XATTR_MAX
            })?;
        let whole = (bytes.len() <= XATTR_MAX).then_some(bytes).ok_or(Short);
        (whole.and_then(|bytes| decode(&bytes))).map_err(|_| Error::Malformed { block: 0 })
    }

    fn put_xattrs(&mut self, ino: u64, attributes: &Attributes) -> Result<()> {
        let mut w = Writer::default();
        for (name, value) in attributes {
            w.u8(name.len() as u8)
                .u32(value.len() as u32)
                .bytes(name)
                .bytes(value);
        }
        if w.0.len() > XATTR_MAX {
            return Err(Error::NoSpace);
        }
        let mut next = 0;
        for piece in w.0.chunks(PIECE) {
            self.tree
                .put(Key::new(ino, Kind::Xattr, next), piece.to_vec())?;
            next += 1;
        }
        while self.tree.remove(&Key::new(ino, Kind::Xattr, next))? {
            next += 1;
        }
        let mut inode = self.inode(ino)?;
        inode.ctime = self.now();
        self.put_inode(ino, &inode)?;
        self.delta.reshaped(ino);
        Ok(())
    }

    pub(crate) fn drop_xattrs(&mut self, ino: u64) -> Result<()> {
        let mut next = 0;
        while self.tree.remove(&Key::new(ino, Kind::Xattr, next))? {
            next += 1;
        }
        Ok(())
    }

    /// The value of an extended attribute.
    pub fn get_xattr(&mut self, ino: u64, name: &[u8]) -> Result<Vec<u8>> {
        self.inode(ino)?;
        self.xattrs(ino)?.remove(name).ok_or(Error::NoAttribute)
    }

    /// Sets an extended attribute.
    pub(crate) fn set_xattr_in(
        &mut self,
        ino: u64,
        name: &[u8],
        value: &[u8],
        how: SetXattr,
    ) -> Result<()> {
        if name.is_empty() || name.len() > 255 {
            return Err(Error::NameTooLong);
        }
        if value.len() > XATTR_MAX {
            return Err(Error::NoSpace);
        }
        self.inode(ino)?;
        let mut attributes = self.xattrs(ino)?;
        match (attributes.contains_key(name), how) {
            (true, SetXattr::Create) => return Err(Error::Exists),
            (false, SetXattr::Replace) => return Err(Error::NoAttribute),
            _ => {}
        }
        attributes.insert(name.to_vec(), value.to_vec());
        self.put_xattrs(ino, &attributes)
    }

    /// The names of a file's extended attributes.
    pub fn list_xattr(&mut self, ino: u64) -> Result<Vec<Vec<u8>>> {
        self.inode(ino)?;
        Ok(self.xattrs(ino)?.into_keys().collect())
    }

    /// Removes an extended attribute.
    pub(crate) fn remove_xattr_in(&mut self, ino: u64, name: &[u8]) -> Result<()> {
        self.inode(ino)?;
        let mut attributes = self.xattrs(ino)?;
        attributes.remove(name).ok_or(Error::NoAttribute)?;
        self.put_xattrs(ino, &attributes)
    }
}
