//! Sealed volumes: what `libos/volume` keeps in one host file, as a mounted file system.
//!
//! Contents are read from and written to the volume, which holds back what is written until a
//! commit: `fsync(2)`, `sync(2)`, [`INTERVAL`] after the first change, and the enclave's end. Of a
//! file that is mapped, the pages that were accessed are in memory ([`node::Node::object`]); writes
//! go to both, and pages that were written to through shared mappings are taken over at the next
//! commit.
//!
//! What is read of a file that is not mapped the volume keeps opened, and more comes than was asked for
//! where a file is read in order ([`ahead`]). That and the pages of mapped files are no more together
//! than the mount's `cache`.
//!
//! Lock order: the files in use, an address space, a file's object, the volume, what is known of a
//! file's readers.

mod ahead;
mod device;
mod file;
mod node;
#[cfg(test)]
mod tests;

pub use node::Node;

use super::inode::new_dev;
use super::{FileSystem, HostHandle, Inode, StatFs};
use crate::background::{self, Job};
use crate::mm::Budget;
use crate::time::{Base, Fire, add_timer};
use crate::{Errno, Result, pal};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;
use bastide_base::sync::{Mutex, Once};
use bastide_pal::{HostFd, Park};
use bastide_volume::{BLOCK, DeviceError, Error, Image, Limits, Options, ROOT, Reading, Volume};
use core::sync::atomic::{AtomicBool, Ordering};
use device::{AnchorFile, Enclave, HostFile};

/// How long changes wait for a commit at most, nanoseconds.
const INTERVAL: u64 = 5_000_000_000;
/// How long those who read have before a change is tried again that needs what they read.
const BREATH: u64 = 100_000;
/// Most bytes that pass through kernel memory at once, and buffers of that size that are kept.
const BOUNCE: usize = 256 << 10;
const BUFFERS: usize = 4;
/// `f_type` of `statfs(2)`: a number that no file system of Linux has, "BAST".
const MAGIC: u64 = 0x4241_5354;

/// What the files of a volume share.
pub(super) struct Core {
    me: Weak<Core>,
    fs: Once<Weak<VolumeFs>>,
    dev: u64,
    volume: Mutex<Volume>,
    /// Files in use, by inode number.
    nodes: Mutex<BTreeMap<u64, Weak<Node>>>,
    /// Memory of that size is costly to come by, and so is kept.
    buffers: Mutex<Vec<Vec<u8>>>,
    /// Bytes of contents that are kept in memory, and the pages of them that are for mappings.
    cache: u64,
    mapped: Arc<Budget>,
    /// A commit is due soon.
    armed: AtomicBool,
}

/// A mounted volume.
pub struct VolumeFs {
    core: Arc<Core>,
    root: Arc<Node>,
}

/// Opens the volume in a host file. Of contents `cache` bytes are kept in memory; but pages that
/// several processes map, or one privately, are not given up while they are.
pub fn new(
    file: HostFd,
    key: &[u8; 32],
    anchor: Option<HostFd>,
    read_only: bool,
    cache: u64,
) -> Result<Arc<VolumeFs>> {
    let options = Options {
        read_only,
        limits: limits(cache),
        anchor: anchor.map(|fd| Box::new(AnchorFile(HostFile(HostHandle(fd)))) as _),
        ..Options::new(Box::new(Enclave))
    };
    let device = Box::new(HostFile(HostHandle(file)));
    mounted(Volume::open(device, key, options), cache)
}

/// Opens the image in a host file, if it is the one that the root hash stands for.
pub fn image(
    file: HostFd,
    key: &[u8; 32],
    root_hash: &[u8; 32],
    cache: u64,
) -> Result<Arc<VolumeFs>> {
    let device = Box::new(HostFile(HostHandle(file)));
    let options = Options {
        limits: limits(cache),
        ..Options::new(Box::new(Enclave))
    };
    let volume = Image::open(device, Some(root_hash))
        .and_then(|image| Volume::open(Box::new(image), key, options));
    mounted(volume, cache)
}

/// Changed blocks, and changed nodes, that wait at most: who waits for them to be written should not
/// wait for long.
const WAITING: usize = 8192;

/// What else is in memory is as much as that, or less.
fn limits(cache: u64) -> Limits {
    let blocks = usize::try_from(cache / BLOCK as u64).unwrap_or(usize::MAX);
    Limits {
        contents: blocks,
        pages: (blocks / 4).clamp(64, WAITING),
        // Decoded, a node takes two blocks.
        nodes: (blocks / 2).max(64),
        changed: (blocks / 2).clamp(256, WAITING),
    }
}

/// The file system. What is wrong is logged, for the person who started us.
pub(super) fn mounted(opened: bastide_volume::Result<Volume>, cache: u64) -> Result<Arc<VolumeFs>> {
    let volume = opened.map_err(|e| {
        let line = alloc::format!("bastide: cannot open the volume: {e}\n");
        pal().log(line.as_bytes());
        errno(e)
    })?;
    let core = Arc::new_cyclic(|me| Core {
        me: me.clone(),
        fs: Once::new(),
        dev: new_dev(),
        volume: Mutex::new(volume),
        nodes: Mutex::default(),
        buffers: Mutex::default(),
        cache,
        mapped: Budget::new((cache - cache / 8) / BLOCK as u64),
        armed: AtomicBool::new(false),
    });
    background::want();
    let root = core.node(ROOT)?;
    let fs = Arc::new(VolumeFs { core, root });
    fs.core.fs.get_or_init(|| Arc::downgrade(&fs));
    Ok(fs)
}

/// Linux's number for what went wrong.
pub(super) fn errno(e: Error) -> Errno {
    match e {
        Error::NotFound => Errno::ENOENT,
        Error::Exists => Errno::EEXIST,
        Error::NotDir => Errno::ENOTDIR,
        Error::IsDir => Errno::EISDIR,
        Error::NotEmpty => Errno::ENOTEMPTY,
        Error::NoSpace | Error::Device(DeviceError::Full) => Errno::ENOSPC,
        Error::Busy => Errno::EAGAIN,
        Error::ReadOnly | Error::Stopped => Errno::EROFS,
        Error::NameTooLong => Errno::ENAMETOOLONG,
        Error::Invalid => Errno::EINVAL,
        Error::NotPermitted => Errno::EPERM,
        Error::TooBig => Errno::EFBIG,
        Error::TooManyLinks => Errno::EMLINK,
        Error::NoAttribute => Errno::ENODATA,
        _ => Errno::EIO,
    }
}

/// As [`errno`], for what makes changes durable: that the volume takes no more of them is no excuse.
fn sync_errno(e: Error) -> Errno {
    match e {
        Error::Stopped => Errno::EIO,
        e => errno(e),
    }
}

impl Core {
    /// Reads something of the volume.
    fn with<T>(&self, f: impl FnOnce(&mut Volume) -> bastide_volume::Result<T>) -> Result<T> {
        f(&mut self.volume.lock()).map_err(errno)
    }

    /// Reads contents that somebody else will keep. The volume is free for others while blocks are
    /// read and opened.
    fn read(&self, ino: u64, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let (n, reading) = self.with(|v| v.start_read(ino, offset, buf))?;
        if let Some(reading) = reading {
            reading.finish(buf).map_err(errno)?;
            self.volume.lock().bound_contents(self.room());
        }
        Ok(n)
    }

    /// As [`Core::read`], and what was opened is kept.
    fn read_and_keep(&self, ino: u64, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let (n, reading) = self.with(|v| v.start_read(ino, offset, buf))?;
        if let Some(reading) = reading {
            self.finish_and_keep(reading, buf)?;
        }
        Ok(n)
    }

    fn finish_and_keep(&self, reading: Reading, buf: &mut [u8]) -> Result<()> {
        let opened = reading.finish(buf).map_err(errno)?;
        let mut volume = self.volume.lock();
        volume.bound_contents(self.room());
        volume.keep(opened, buf);
        Ok(())
    }

    /// Bytes that the pages of mapped files leave to other contents.
    fn room(&self) -> u64 {
        let mapped = self.mapped.used() * BLOCK as u64;
        self.cache.saturating_sub(mapped)
    }

    /// A buffer for at most so many bytes of contents, and at most [`BOUNCE`].
    fn buffer(&self, len: usize) -> Buffer<'_> {
        let len = len.min(BOUNCE);
        let bytes = match len {
            ..=SMALL => vec![0; len],
            _ => self.buffers.lock().pop().unwrap_or_else(|| vec![0; BOUNCE]),
        };
        Buffer { core: self, bytes }
    }

    /// Changes something of the volume. If there is no room until others have read what was freed,
    /// they get the volume, and the change is tried again: it must say what it changes anew.
    fn change<T>(&self, f: impl Fn(&mut Volume) -> bastide_volume::Result<T>) -> Result<T> {
        let mut result = self.try_change(&f);
        while matches!(result, Err(Error::Busy)) {
            let until = crate::time::monotonic() + BREATH;
            pal().park(&Park::new(), Some(until), &mut []);
            result = match self.try_change(Volume::go_on) {
                Ok(()) | Err(Error::Busy) => self.try_change(&f),
                Err(e) => Err(e),
            };
        }
        result.map_err(errno)
    }

    fn try_change<T>(
        &self,
        f: impl Fn(&mut Volume) -> bastide_volume::Result<T>,
    ) -> bastide_volume::Result<T> {
        let mut volume = self.volume.lock();
        let result = f(&mut volume);
        let dirty = volume.is_dirty();
        drop(volume);
        if dirty {
            self.arm();
        }
        result
    }

    /// Writes contents: how much, less only if there is no room for the rest.
    fn write(&self, ino: u64, offset: u64, data: &[u8]) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            match self.change(|v| v.write(ino, offset + done as u64, rest)) {
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// There is something to commit in some time.
    fn arm(&self) {
        if !self.armed.swap(true, Ordering::AcqRel) {
            let due = crate::time::monotonic().saturating_add(INTERVAL);
            add_timer(Base::Monotonic, due, self.me.clone());
        }
    }

    /// The file with a number: the same object for all, as long as anybody uses it.
    fn node(self: &Arc<Self>, ino: u64) -> Result<Arc<Node>> {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.get(&ino).and_then(Weak::upgrade) {
            return Ok(node);
        }
        let mode = self.with(|v| {
            let inode = v.inode(ino)?;
            v.hold(ino);
            Ok(inode.mode)
        })?;
        let node = Node::new(self.clone(), ino, mode);
        nodes.insert(ino, Arc::downgrade(&node));
        Ok(node)
    }

    /// A file's object is gone.
    fn dropped(&self, node: &Node) {
        {
            // Until it is written back, nobody finds the file again.
            let mut nodes = self.nodes.lock();
            let _ = node.write_back();
            if nodes.get(&node.ino).is_some_and(|n| n.strong_count() == 0) {
                nodes.remove(&node.ino);
            }
        }
        // What cannot be removed now is removed later, or by the next mount.
        let _ = self.try_change(|v| v.release(node.ino));
    }

    /// Files in use.
    fn in_use(&self) -> Vec<Arc<Node>> {
        (self.nodes.lock().values())
            .filter_map(Weak::upgrade)
            .collect()
    }
}

impl Fire for Core {
    fn fire(self: Arc<Self>) {
        background::add(self.me.clone());
    }
}

impl Job for Core {
    fn run(self: Arc<Self>) {
        self.armed.store(false, Ordering::Release);
        let mut again = false;
        for node in self.in_use() {
            node.ask_to_hold_still();
            // What cannot be written now is tried again.
            again |= node.write_back().unwrap_or(true);
        }
        let mut volume = self.volume.lock();
        again |= volume.go_on().is_err_and(|e| e != Error::Stopped);
        // The next change, or `fsync(2)`, tells whom it concerns.
        again |= match volume.commit() {
            Ok(()) | Err(Error::Stopped) => false,
            Err(_) => true,
        };
        drop(volume);
        if again {
            self.arm();
        }
    }
}

/// Memory that contents pass through.
struct Buffer<'a> {
    core: &'a Core,
    bytes: Vec<u8>,
}

/// Buffers up to this size come from the heap as anything does.
const SMALL: usize = 16 << 10;

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let mut buffers = self.core.buffers.lock();
        if self.bytes.len() == BOUNCE && buffers.len() < BUFFERS {
            buffers.push(core::mem::take(&mut self.bytes));
        }
    }
}

impl core::ops::Deref for Buffer<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl core::ops::DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl FileSystem for VolumeFs {
    fn name(&self) -> &'static str {
        "volume"
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn statfs(&self) -> Result<StatFs> {
        let usage = self.core.volume.lock().usage();
        // Files take space as contents do: there may be as many as there are blocks.
        Ok(StatFs {
            magic: MAGIC,
            bsize: BLOCK as u64,
            blocks: usage.blocks,
            bfree: usage.free,
            bavail: usage.free,
            files: usage.inodes + usage.free,
            ffree: usage.free,
            namelen: bastide_volume::NAME_MAX as u64,
        })
    }

    fn sync(&self) -> Result<()> {
        for node in self.core.in_use() {
            node.write_back()?;
        }
        self.core.volume.lock().commit().map_err(sync_errno)
    }
}
