//! A volume that is open.

use crate::contents::Contents;
use crate::crypto::{KeyRing, Purpose, Tag};
use crate::device::{Anchor, Device, Mark, Platform};
use crate::error::{Error, Result};
use crate::header::{Header, Kdf, new_salt};
use crate::inode::{Inode, ROOT, mode};
use crate::log::Log;
use crate::node::{Key, Kind};
use crate::packed::Packer;
use crate::pages::Pages;
use crate::reading::Unpacked;
use crate::root::{FIRST_FREE, Root};
use crate::space::Space;
use crate::step::Step;
use crate::store::Store;
use crate::tree::Tree;
use crate::txn::{Delta, Limits};
use crate::{BLOCK, Ptr};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use zeroize::Zeroizing;

/// The smallest volume.
pub const SIZE_LEAST: u64 = 512 * 1024;
/// The largest volume: its bitmaps still fit in memory.
pub const SIZE_MOST: u64 = 1 << 46;

/// How to open a volume.
pub struct Options {
    /// Nothing is written; what the intent log holds is seen all the same.
    pub read_only: bool,
    /// Remembers the newest state.
    pub anchor: Option<Box<dyn Anchor>>,
    /// Random numbers and the time.
    pub platform: Box<dyn Platform>,
    /// How much may wait in memory.
    pub limits: Limits,
    /// A new volume compresses contents. One that exists knows for itself.
    pub compress: bool,
}

impl Options {
    /// For reading and writing, without an anchor.
    pub fn new(platform: Box<dyn Platform>) -> Options {
        Options {
            read_only: false,
            anchor: None,
            platform,
            limits: Limits::default(),
            compress: false,
        }
    }
}

/// How full a volume is. Blocks are of [`BLOCK`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    pub blocks: u64,
    /// Free, but for what deleting may need.
    pub free: u64,
    pub inodes: u64,
    /// The state that is on disk.
    pub generation: u64,
    /// When that state was made.
    pub time: i64,
}

/// An open volume: its operations are by inode number.
pub struct Volume {
    pub(crate) tree: Tree,
    pub(crate) pages: Pages,
    pub(crate) contents: Contents,
    pub(crate) delta: Delta,
    pub(crate) step: Step,
    pub(crate) log: Log,
    /// The state on disk, but for what the next commit will count.
    pub(crate) root: Root,
    /// The tag of the root on disk.
    pub(crate) root_tag: Tag,
    pub(crate) limits: Limits,
    pub(crate) anchor: Option<Box<dyn Anchor>>,
    /// The anchor could not be told of the newest state.
    pub(crate) mark_due: bool,
    pub(crate) platform: Box<dyn Platform>,
    /// Files that are open, and how often.
    pub(crate) held: BTreeMap<u64, u64>,
    /// Files of which something is to be freed yet, and why it cannot be.
    pub(crate) unfinished: BTreeMap<u64, Option<Error>>,
    pub(crate) read_only: bool,
    /// Nobody knows what is on disk: nothing is changed any more.
    pub(crate) stopped: bool,
    /// The log is being replayed: what it says is not logged again.
    pub(crate) replaying: bool,
    pub(crate) name_key: [u8; 16],
    /// Memory for the next read of what is packed.
    pub(crate) unpacked: Unpacked,
    /// Compresses contents, if that is done.
    pub(crate) packer: Option<Packer>,
    header: Header,
}

impl Volume {
    /// Makes an empty volume of at most `size` bytes for `key`, and opens it. The device's file is
    /// overwritten. `salt` is the one the key was derived with, if it was.
    pub fn create(
        device: Box<dyn Device>,
        size: u64,
        key: &[u8; 32],
        kdf: Kdf,
        salt: Option<[u8; 32]>,
        options: Options,
    ) -> Result<Volume> {
        let (least, most) = (SIZE_LEAST, SIZE_MOST);
        if !(least..=most).contains(&size) {
            return Err(Error::Size { least, most });
        }
        let platform = &*options.platform;
        let mut secret = Zeroizing::new([0; 32]);
        platform.random(&mut *secret)?;
        let mut id = [0; 16];
        platform.random(&mut id)?;
        let salt = salt.map_or_else(|| new_salt(platform), Ok)?;
        let header = Header::new(id, options.compress).wrap(kdf, salt, key, &secret);
        header.write(&*device)?;

        let blocks = size / BLOCK as u64;
        let mut space = Space::new(blocks, FIRST_FREE);
        let log_len = match blocks {
            // Nobody will write to it.
            _ if device.is_image() => 1,
            ..4096 => 16,
            4096..65536 => 64,
            _ => 256,
        };
        let (log, log_len) = space.alloc(log_len).ok_or(Error::NoSpace)?;
        let mut ring = KeyRing::new(secret);
        ring.begin(platform)?;
        let store = Store::new(device, ring, options.limits.nodes);
        let tree = Tree::new(store, space);
        let root = Root {
            blocks,
            log,
            log_len: log_len as u32,
            next_ino: ROOT + 1,
            inodes: 1,
            ..Root::default()
        };
        let mut volume = Volume::assemble(tree, root, [0; 16], header, options);
        let now = volume.now();
        let top = Inode {
            mode: mode::DIR | 0o755,
            nlink: 2,
            parent: ROOT,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            ..Inode::default()
        };
        volume.put_inode(ROOT, &top)?;
        // Twice, so that both slots hold a root of this volume and none of what was there before.
        volume.commit()?;
        volume.put_inode(ROOT, &top)?;
        volume.commit()?;
        Ok(volume)
    }

    /// Opens a volume: at the last state that was made durable.
    pub fn open(device: Box<dyn Device>, key: &[u8; 32], mut options: Options) -> Result<Volume> {
        let copies = Header::copies(&*device)?;
        if device.is_image() {
            options.read_only = true;
        } else if copies.iter().any(|h| h.kdf == Kdf::Public) {
            return Err(Error::Public);
        }
        let opened = (copies.iter()).find_map(|h| h.unwrap(key).map(|secret| (*h, secret)));
        let (header, secret) = opened.ok_or(Error::WrongKey)?;
        let mut ring = KeyRing::new(secret);
        let (root, tag) = Root::newest(&*device, &mut ring)?;
        let mark = match options.anchor.as_mut() {
            Some(anchor) => anchor.load()?,
            None => None,
        };
        check_mark(mark.as_ref(), &header, &root)?;
        let (have, need) = (device.len()?, root.high.saturating_mul(BLOCK as u64));
        if have < need {
            return Err(Error::Truncated { have, need });
        }
        if !options.read_only {
            ring.begin(&*options.platform)?;
        }
        let store = Store::new(device, ring, options.limits.nodes);
        let space = Space::new(root.blocks, FIRST_FREE);
        let tree = Tree::open(store, space, root.tree);
        let mut volume = Volume::assemble(tree, root, tag, header, options);
        volume.load_space()?;
        volume.replay(mark.as_ref())?;
        if !volume.read_only {
            volume.reap_orphans()?;
            volume.commit()?;
            // A state that the anchor missed, or an anchor that is new.
            volume.set_mark()?;
        }
        Ok(volume)
    }

    fn assemble(tree: Tree, root: Root, tag: Tag, header: Header, options: Options) -> Volume {
        Volume {
            name_key: tree.store.ring.name_key(),
            log: Log::new(root.log, root.log_len, tag),
            tree,
            pages: Pages::default(),
            contents: Contents::new(options.limits.contents),
            delta: Delta::default(),
            step: Step::default(),
            root,
            root_tag: tag,
            limits: options.limits,
            anchor: options.anchor,
            mark_due: false,
            platform: options.platform,
            held: BTreeMap::new(),
            unfinished: BTreeMap::new(),
            read_only: options.read_only,
            stopped: false,
            replaying: false,
            unpacked: Unpacked::default(),
            packer: header.packs.then(Packer::new),
            header,
        }
    }

    /// Reads the bitmap blocks.
    fn load_space(&mut self) -> Result<()> {
        let mut found = alloc::vec::Vec::new();
        self.tree
            .scan(&Key::new(0, Kind::Space, 0), &mut |key, value| {
                let ours = key.ino == 0 && key.kind == Kind::Space as u8;
                if ours {
                    found.push((key.at, crate::space_ptr(value)));
                }
                ours
            })?;
        for (chunk, ptr) in found {
            let ptr: Ptr = ptr.ok_or(Error::Malformed { block: 0 })?;
            let bits = self.tree.store.read(Purpose::Space, &ptr)?;
            let block = ptr.block;
            let (space, high) = (&mut self.tree.space, self.root.high);
            if chunk >= space.chunks() || !space.load(chunk, &bits, high) {
                return Err(Error::Malformed { block });
            }
        }
        Ok(())
    }

    /// The volume's identity, random at its creation.
    pub fn id(&self) -> [u8; 16] {
        self.header.id
    }

    /// The header: what the key was made of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The present time.
    pub(crate) fn now(&self) -> i64 {
        self.platform.now()
    }

    /// How full it is, and how new.
    pub fn usage(&self) -> Usage {
        let space = &self.tree.space;
        let waiting = self.pages.len() as u64;
        let (blocks, free) = match self.is_image() {
            true => (self.root.high, 0),
            false => (
                space.total(),
                (space.free_later()).saturating_sub(self.reserve() + waiting),
            ),
        };
        Usage {
            blocks,
            free,
            inodes: self.root.inodes,
            generation: self.root.generation,
            time: self.root.time,
        }
    }

    /// The tag of the root on disk: with the generation, it names one state of the volume.
    pub fn root_tag(&self) -> Tag {
        self.root_tag
    }

    /// It is in an image.
    pub fn is_image(&self) -> bool {
        self.tree.store.device.is_image()
    }

    /// It was opened for reading only.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Makes the volume open with another key from now on. Who has an older copy of the file and
    /// the old key can still read that copy, and what is written later with it.
    pub fn rekey(&mut self, key: &[u8; 32], kdf: Kdf, salt: Option<[u8; 32]>) -> Result<()> {
        self.writable()?;
        let salt = salt.map_or_else(|| new_salt(&*self.platform), Ok)?;
        let secret = self.tree.store.ring.secret();
        let header = self.header.wrap(kdf, salt, key, secret);
        header.write(&*self.tree.store.device)?;
        self.header = header;
        Ok(())
    }

    /// Forgets what was read and can be read again.
    pub fn drop_cache(&mut self) {
        self.tree.store.drop_cache();
        self.tree.memo.clear();
        self.contents.clear();
    }

    /// Tells the anchor what is durable now.
    pub(crate) fn set_mark(&mut self) -> Result<()> {
        let (logged, tag) = self.log.state();
        let mark = Mark {
            volume: self.header.id,
            generation: self.root.generation,
            logged,
            tag,
        };
        let told = match self.anchor.as_mut() {
            Some(anchor) => anchor.store(&mark),
            None => Ok(()),
        };
        self.mark_due = told.is_err();
        told
    }
}

/// Refuses a root that is older than what the anchor remembers.
fn check_mark(mark: Option<&Mark>, header: &Header, root: &Root) -> Result<()> {
    let Some(mark) = mark else {
        return Ok(());
    };
    if mark.volume != header.id {
        return Err(Error::OtherVolume);
    }
    if root.generation < mark.generation {
        return Err(Error::Stale {
            generation: root.generation,
            anchor: mark.generation,
        });
    }
    Ok(())
}
