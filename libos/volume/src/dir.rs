//! Names in directories. An item holds the names that share a hash, which are hardly ever two:
//! the hash is keyed, so that nobody can choose names that do.

use crate::codec::{Reader, Short, Writer};
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::node::{Key, Kind, VALUE_MAX};
use crate::volume::Volume;
use alloc::vec::Vec;
use core::hash::Hasher;
use siphasher::sip::SipHasher24;

/// The longest name.
pub const NAME_MAX: usize = 255;
/// Bits of a position that count names of the same hash.
const SHARED: u32 = 6;

/// The largest hash: 56 bits, so that a position fits in a signed number.
const HASH_MAX: u64 = u64::MAX >> 8;

/// Names of one hash: as many as surely fit in an item.
const ALIKE: usize = VALUE_MAX / (NAME_MAX + 10);

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub ino: u64,
    /// The file's type, as `DT_*` of `getdents(2)`.
    pub kind: u8,
    pub name: Vec<u8>,
}

/// The names of an item: few, and such as may be in a directory.
pub fn decode(bytes: &[u8]) -> Result<Vec<Entry>> {
    let parse = || {
        let mut r = Reader(bytes);
        let mut out = Vec::new();
        while !r.is_empty() {
            let (ino, kind, len) = (r.u64()?, r.u8()?, r.u8()?);
            let name = r.bytes(usize::from(len))?.to_vec();
            if out.len() >= ALIKE || check_name(&name).is_err() {
                return Err(Short);
            }
            out.push(Entry { ino, kind, name });
        }
        Ok(out)
    };
    parse().map_err(|_: Short| Error::Malformed { block: 0 })
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut w = Writer::default();
    for e in entries {
        w.u64(e.ino)
            .u8(e.kind)
            .u8(e.name.len() as u8)
            .bytes(&e.name);
    }
    w.0
}

/// A name may be in a directory.
pub fn check_name(name: &[u8]) -> Result<()> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(Error::NameTooLong);
    }
    match name == b"." || name == b".." || name.iter().any(|b| matches!(b, 0 | b'/')) {
        true => Err(Error::Invalid),
        false => Ok(()),
    }
}

impl Volume {
    fn name_key(&self, dir: u64, name: &[u8]) -> Key {
        let mut hasher = SipHasher24::new_with_key(&self.name_key);
        hasher.write(name);
        Key::new(dir, Kind::Name, hasher.finish() >> HASH_MAX.leading_zeros())
    }

    fn same_hash(&mut self, key: &Key) -> Result<Vec<Entry>> {
        match self.tree.get(key)? {
            Some(bytes) => decode(&bytes),
            None => Ok(Vec::new()),
        }
    }

    /// A directory's attributes, while it has a name.
    pub(crate) fn dir(&mut self, ino: u64) -> Result<Inode> {
        let inode = self.inode(ino)?;
        match (inode.is_dir(), inode.nlink) {
            (false, _) => Err(Error::NotDir),
            (true, 0) => Err(Error::NotFound),
            (true, _) => Ok(inode),
        }
    }

    /// The file with a name.
    pub fn lookup(&mut self, dir: u64, name: &[u8]) -> Result<u64> {
        self.entry(dir, name).map(|e| e.ino)
    }

    /// The entry with a name.
    pub(crate) fn entry(&mut self, dir: u64, name: &[u8]) -> Result<Entry> {
        let key = self.name_key(dir, name);
        let found = self.same_hash(&key)?.into_iter().find(|e| e.name == name);
        if found.is_none() && !self.inode(dir)?.is_dir() {
            return Err(Error::NotDir);
        }
        found.ok_or(Error::NotFound)
    }

    /// Adds a name that is not there.
    pub(crate) fn add_name(&mut self, dir: u64, entry: Entry) -> Result<()> {
        let key = self.name_key(dir, &entry.name);
        let mut entries = self.same_hash(&key)?;
        entries.push(entry);
        self.tree.put(key, encode(&entries))?;
        self.count_names(dir, 1)
    }

    /// Another name may be added to those of its hash.
    pub(crate) fn room_for(&mut self, dir: u64, name: &[u8]) -> Result<()> {
        let key = self.name_key(dir, name);
        match self.same_hash(&key)?.len() < ALIKE {
            true => Ok(()),
            false => Err(Error::NoSpace),
        }
    }

    /// Removes a name that is there.
    pub(crate) fn remove_name(&mut self, dir: u64, name: &[u8]) -> Result<()> {
        let key = self.name_key(dir, name);
        let mut entries = self.same_hash(&key)?;
        entries.retain(|e| e.name != name);
        match entries.is_empty() {
            true => {
                self.tree.remove(&key)?;
            }
            false => self.tree.put(key, encode(&entries))?,
        }
        self.count_names(dir, -1)
    }

    /// Makes a name another file's.
    pub(crate) fn change_name(&mut self, dir: u64, name: &[u8], to: (u64, u8)) -> Result<()> {
        let key = self.name_key(dir, name);
        let mut entries = self.same_hash(&key)?;
        for e in entries.iter_mut().filter(|e| e.name == name) {
            (e.ino, e.kind) = to;
        }
        self.tree.put(key, encode(&entries))?;
        self.count_names(dir, 0)
    }

    fn count_names(&mut self, dir: u64, change: i64) -> Result<()> {
        let mut inode = self.inode(dir)?;
        inode.entries = inode.entries.saturating_add_signed(change);
        inode.mtime = self.now();
        inode.ctime = inode.mtime;
        self.put_inode(dir, &inode)
    }

    /// Shows a directory's names from a position on (0 is the start), each with the position after
    /// it, until `show` says false. `.` and `..` are not among them. A position stays good while
    /// names come and go.
    pub fn read_dir(
        &mut self,
        dir: u64,
        position: u64,
        show: &mut dyn FnMut(&Entry, u64) -> bool,
    ) -> Result<()> {
        if !self.inode(dir)?.is_dir() {
            return Err(Error::NotDir);
        }
        let from = Key::new(dir, Kind::Name, position >> SHARED);
        let mut failed = None;
        self.tree.scan(&from, &mut |key, value| {
            if (key.ino, key.kind) != (dir, Kind::Name as u8) {
                return false;
            }
            match decode(value) {
                Ok(_) if key.at > HASH_MAX => {
                    failed = Some(Error::Malformed { block: 0 });
                    false
                }
                Ok(entries) => (0..).zip(entries).all(|(i, e)| {
                    let at = key.at << SHARED | i;
                    at < position || show(&e, at + 1)
                }),
                Err(e) => {
                    failed = Some(e);
                    false
                }
            }
        })?;
        failed.map_or(Ok(()), Err)
    }
}
