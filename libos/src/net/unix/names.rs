//! Names of Unix sockets: paths, abstract names, and the sockets behind them.

use super::place::{self, Place};
use super::{UnixDgram, UnixStream};
use crate::net::Address;
use crate::net::address::{SUN_PATH, family};
use crate::net::socket::{Common, Socket};
use crate::{Errno, Result, Task};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use bastide_abi::raw::net::AF_UNIX;
use bastide_base::sync::Mutex;

/// The socket behind a name.
#[derive(Clone)]
pub enum Target {
    Stream(Weak<UnixStream>),
    Dgram(Weak<UnixDgram>),
}

/// A socket found by its name.
pub enum Found {
    Stream(Arc<UnixStream>),
    Dgram(Arc<UnixDgram>),
}

impl Target {
    fn upgrade(&self) -> Option<Found> {
        match self {
            Target::Stream(w) => w.upgrade().map(Found::Stream),
            Target::Dgram(w) => w.upgrade().map(Found::Dgram),
        }
    }
}

impl Found {
    fn kind(&self) -> u32 {
        match self {
            Found::Stream(s) => s.common().kind,
            Found::Dgram(s) => s.common().kind,
        }
    }
}

/// Abstract names, one space for each kind of socket.
static ABSTRACT: Mutex<BTreeMap<(u32, Arc<[u8]>), Target>> = Mutex::new(BTreeMap::new());
/// Bound inodes by device and number. A binding keeps its inode, so that the number is not used
/// again while the entry stands.
static INODES: Mutex<BTreeMap<(u64, u64), Target>> = Mutex::new(BTreeMap::new());

enum Key {
    Abstract(u32, Arc<[u8]>),
    Inode(Place),
}

/// A name that a socket holds; given up when dropped.
pub struct Binding(Key);

impl Drop for Binding {
    fn drop(&mut self) {
        match &self.0 {
            Key::Abstract(kind, name) => {
                ABSTRACT.lock().remove(&(*kind, name.clone()));
            }
            Key::Inode(place) => {
                INODES.lock().remove(&place.id);
            }
        }
    }
}

/// Where a socket keeps its name. The lock serialises binds of one socket.
pub type Slot = Mutex<Option<Binding>>;

/// An address in its three shapes.
enum Name<'a> {
    Unnamed,
    Abstract(&'a [u8]),
    Path(&'a [u8]),
}

/// Reads a `sockaddr_un`. EINVAL for a wrong family or length.
fn parse(addr: &[u8]) -> Result<Name<'_>> {
    if addr.len() > 2 + SUN_PATH || family(addr) != Some(AF_UNIX) {
        return Err(Errno::EINVAL);
    }
    match addr.get(2..).unwrap_or_default() {
        [] => Ok(Name::Unnamed),
        name @ [0, ..] => Ok(Name::Abstract(name)),
        path => Ok(Name::Path(
            path.split(|&b| b == 0).next().unwrap_or_default(),
        )),
    }
}

/// `bind(2)`. EINVAL if the socket has a name or the address is none; EADDRINUSE; and what making
/// a file can give.
pub fn bind(t: &Task, common: &Common, slot: &Slot, target: Target, addr: &[u8]) -> Result<()> {
    match parse(addr)? {
        Name::Unnamed => autobind(common, slot, target),
        Name::Abstract(name) => {
            let mut slot = slot.lock();
            if slot.is_some() {
                return Err(Errno::EINVAL);
            }
            let name: Arc<[u8]> = Arc::from(name);
            *slot = Some(claim(common, name.clone(), target).ok_or(Errno::EADDRINUSE)?);
            *common.local.lock() = Some(Address::Unix(name));
            Ok(())
        }
        Name::Path(path) => {
            let mut slot = slot.lock();
            if slot.is_some() {
                return Err(Errno::EINVAL);
            }
            let place = place::create(t, path)?;
            let id = place.id;
            INODES.lock().insert(id, target);
            *slot = Some(Binding(Key::Inode(place)));
            let mut stored = path.to_vec();
            stored.push(0);
            *common.local.lock() = Some(Address::Unix(Arc::from(stored)));
            Ok(())
        }
    }
}

/// Takes an abstract name if it is free.
fn claim(common: &Common, name: Arc<[u8]>, target: Target) -> Option<Binding> {
    let key = (common.kind, name.clone());
    let mut names = ABSTRACT.lock();
    if names.get(&key).is_some_and(|old| old.upgrade().is_some()) {
        return None;
    }
    names.insert(key, target);
    Some(Binding(Key::Abstract(common.kind, name)))
}

/// Binds to an unused abstract name of five hexadecimal digits; nothing if there is a name.
pub fn autobind(common: &Common, slot: &Slot, target: Target) -> Result<()> {
    let mut slot = slot.lock();
    if slot.is_some() {
        return Ok(());
    }
    let mut seed = [0u8; 4];
    crate::pal().random(&mut seed);
    let first = u32::from_ne_bytes(seed) & 0xf_ffff;
    for i in 0..=0xf_ffff_u32 {
        let n = (first + i) & 0xf_ffff;
        let name: Arc<[u8]> = Arc::from(alloc::format!("\0{n:05x}").into_bytes());
        if let Some(binding) = claim(common, name.clone(), target.clone()) {
            *slot = Some(binding);
            *common.local.lock() = Some(Address::Unix(name));
            return Ok(());
        }
    }
    Err(Errno::ENOSPC)
}

/// The socket of a name. EINVAL for a malformed address, ECONNREFUSED if nobody is there,
/// EPROTOTYPE if it is of another kind; and what finding a file for writing can give.
pub fn find(t: &Task, addr: &[u8], kind: u32) -> Result<Found> {
    match parse(addr)? {
        Name::Unnamed => Err(Errno::EINVAL),
        Name::Abstract(name) => ABSTRACT
            .lock()
            .get(&(kind, Arc::from(name)))
            .and_then(Target::upgrade)
            .ok_or(Errno::ECONNREFUSED),
        Name::Path(path) => {
            let place = place::find(t, path)?;
            let found = INODES
                .lock()
                .get(&place.id)
                .and_then(Target::upgrade)
                .ok_or(Errno::ECONNREFUSED)?;
            if found.kind() != kind {
                return Err(Errno::EPROTOTYPE);
            }
            Ok(found)
        }
    }
}
