//! Checks a whole volume: that every block opens, and that all that is said twice agrees.

use crate::BLOCK;
use crate::crypto::{Ptr, Purpose};
use crate::dir::Entry;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::file::INLINE_MAX;
use crate::inode::{Inode, ROOT, mode};
use crate::node::{Frame, Key, Kind, Node};
use crate::root::FIRST_FREE;
use crate::volume::Volume;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What is wrong, for people; empty if nothing is.
    pub problems: Vec<String>,
    pub files: u64,
    pub directories: u64,
    /// Blocks in use.
    pub blocks: u64,
}

/// What the tree says of one inode.
#[derive(Default)]
struct Seen {
    inode: Option<Inode>,
    /// Names that lead to it.
    names: u32,
    /// Subdirectories in it.
    subdirs: u32,
    /// Names in it.
    entries: u64,
    /// Blocks of contents.
    blocks: u64,
    /// One past its last block.
    end: u64,
    /// What is packed, as far as later extents may show a part of it: where it begins in the file,
    /// and an extent with all of it.
    packed: Vec<(u64, Extent)>,
    inline: Option<usize>,
    /// The directory that names it, for directories.
    named_in: u64,
    orphan: bool,
}

impl Seen {
    /// An extent shows a further part of what was packed and is counted already.
    fn shows_again(&mut self, at: u64, extent: &Extent) -> bool {
        if extent.packed.is_none() {
            return false;
        }
        let all = extent.all();
        let origin = extent.origin(at);
        let known = self.packed.contains(&(origin, all.clone()));
        if !known {
            self.packed.retain(|(origin, e)| origin + e.len() > at);
            self.packed.push((origin, all));
        }
        known
    }
}

/// A set of blocks, one bit each.
#[derive(Default)]
struct Blocks {
    bits: Vec<u64>,
    count: u64,
}

impl Blocks {
    /// Adds a block; whether it is new.
    fn add(&mut self, block: u64) -> bool {
        let word = (block / 64) as usize;
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        let Some(bits) = self.bits.get_mut(word) else {
            return false;
        };
        let new = *bits >> (block % 64) & 1 == 0;
        *bits |= 1 << (block % 64);
        self.count += u64::from(new);
        new
    }

    fn has(&self, block: u64) -> bool {
        (self.bits.get((block / 64) as usize)).is_some_and(|w| w >> (block % 64) & 1 != 0)
    }
}

struct Check<'a> {
    report: Report,
    seen: BTreeMap<u64, Seen>,
    used: Blocks,
    /// No block in use is at or beyond this one.
    high: u64,
    /// Contents may be packed.
    packs: bool,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Check<'_> {
    fn problem(&mut self, text: String) {
        // A volume that is wrong throughout need not fill the memory.
        if self.report.problems.len() < 1000 {
            self.report.problems.push(text);
        }
    }

    fn used(&mut self, block: u64, by: &str) {
        if block >= self.high {
            self.problem(format!("block {block}, of {by}, is beyond the end"));
        } else if !self.used.add(block) {
            self.problem(format!(
                "block {block} is used twice, the second time by {by}"
            ));
        }
    }

    fn item(&mut self, key: Key, value: &[u8]) {
        let kinds = [
            Kind::Inode,
            Kind::Inline,
            Kind::Xattr,
            Kind::Name,
            Kind::Extent,
            Kind::Space,
            Kind::Orphan,
        ];
        let kind = kinds.into_iter().find(|k| *k as u8 == key.kind);
        let seen = self.seen.entry(key.ino).or_default();
        match kind {
            Some(Kind::Inode) => match Inode::decode(value) {
                Ok(inode) => seen.inode = Some(inode),
                Err(_) => self.problem(format!("inode {} is malformed", key.ino)),
            },
            Some(Kind::Inline) => seen.inline = Some(value.len()),
            Some(Kind::Name) => match crate::dir::decode(value) {
                Ok(entries) => entries.into_iter().for_each(|e| self.name(key.ino, e)),
                Err(_) => self.problem(format!("directory {} is malformed", key.ino)),
            },
            Some(Kind::Extent) => match Extent::decode(key.at, value) {
                Ok(extent) if self.packs || extent.packed.is_none() => {
                    let overlaps = key.at < seen.end;
                    seen.end = key.at + extent.len();
                    let again = seen.shows_again(key.at, &extent);
                    if !again {
                        seen.blocks += extent.stored();
                    }
                    let text = format!("inode {}", key.ino);
                    if overlaps {
                        self.problem(format!("{text}: extents overlap at block {}", key.at));
                    }
                    let blocks = extent.block..extent.block + extent.stored();
                    for block in blocks.filter(|_| !again) {
                        self.used(block, &text);
                    }
                }
                _ => self.problem(format!("an extent of inode {} is malformed", key.ino)),
            },
            Some(Kind::Space) if key.ino == 0 => match crate::space_ptr(value) {
                Some(ptr) => self.used(ptr.block, "a bitmap"),
                None => self.problem(format!("the pointer to bitmap {} is malformed", key.at)),
            },
            Some(Kind::Orphan) if key.ino == 0 => {
                self.seen.entry(key.at).or_default().orphan = true;
            }
            Some(Kind::Xattr) => {}
            _ => self.problem(format!("an item of inode {} makes no sense", key.ino)),
        }
    }

    fn name(&mut self, dir: u64, entry: Entry) {
        self.seen.entry(dir).or_default().entries += 1;
        let is_dir = u32::from(entry.kind) << 12 == mode::DIR;
        if is_dir {
            self.seen.entry(dir).or_default().subdirs += 1;
        }
        let seen = self.seen.entry(entry.ino).or_default();
        seen.names += 1;
        if is_dir {
            seen.named_in = dir;
        }
    }

    fn inode(&mut self, ino: u64, seen: &Seen) {
        let Some(inode) = seen.inode else {
            if ino != 0 {
                self.problem(format!(
                    "inode {ino} does not exist, and has names or contents"
                ));
            }
            return;
        };
        let mut wrong = |text: &str| self.problem(format!("inode {ino}: {text}"));
        if inode.is_dir() {
            if ino != ROOT && inode.nlink != 0 && seen.names != 1 {
                wrong("a directory has one name");
            }
            if inode.nlink != 0 && inode.nlink != seen.subdirs + 2 {
                wrong("the count of subdirectories is wrong");
            }
            if inode.entries != seen.entries {
                wrong("the count of names is wrong");
            }
            if ino != ROOT && inode.nlink != 0 && inode.parent != seen.named_in {
                wrong("the parent is wrong");
            }
            if inode.nlink == 0 && !seen.orphan {
                wrong("without a name, and not marked");
            }
        } else {
            if inode.nlink != seen.names {
                wrong("the count of names is wrong");
            }
            if inode.nlink == 0 && !seen.orphan {
                wrong("without a name, and not marked");
            }
            if seen.entries != 0 {
                wrong("names in what is no directory");
            }
        }
        if inode.blocks != seen.blocks {
            wrong("the count of blocks is wrong");
        }
        if seen.end > inode.size.div_ceil(BLOCK as u64) && !seen.orphan {
            wrong("contents beyond the end");
        }
        if inode.inline != inode.has_contents() && inode.inline
            || (!inode.inline && seen.inline.is_some())
            || (inode.inline && seen.blocks != 0 && !seen.orphan)
            || seen
                .inline
                .is_some_and(|len| len as u64 > INLINE_MAX.min(inode.size))
        {
            wrong("inline contents that should not be");
        }
    }
}

impl Volume {
    /// Checks everything. Changes are committed first, if the volume takes any. With `contents`,
    /// every block of every file is opened too; `progress` is told how many of how many blocks are
    /// done.
    pub fn fsck(&mut self, contents: bool, progress: &mut dyn FnMut(u64, u64)) -> Result<Report> {
        self.commit()?;
        let mut used = Blocks::default();
        for block in self.log.blocks().chain(0..FIRST_FREE) {
            used.add(block);
        }
        let mut check = Check {
            report: Report::default(),
            seen: BTreeMap::new(),
            used,
            high: self.tree.space.high(),
            packs: self.packs(),
            progress,
        };
        self.check_nodes(self.tree.root(), &Frame::ROOT, &mut check);
        let seen = core::mem::take(&mut check.seen);
        for (ino, seen) in &seen {
            check.inode(*ino, seen);
            match seen.inode {
                Some(inode) if inode.is_dir() => check.report.directories += 1,
                Some(_) => check.report.files += 1,
                None => {}
            }
        }
        let count = check.report.files + check.report.directories;
        if count != self.root.inodes {
            check.problem(format!(
                "{count} inodes, and the root says {}",
                self.root.inodes
            ));
        }
        if seen
            .keys()
            .next_back()
            .is_some_and(|last| *last >= self.root.next_ino)
        {
            check.problem("an inode number that was never given".to_string());
        }
        let space = &self.tree.space;
        for block in 0..space.total().min(space.high()) {
            match (space.will_be_used(block), check.used.has(block)) {
                (true, false) => check.problem(format!("block {block} is lost: marked as used")),
                (false, true) => check.problem(format!("block {block} is in use, marked as free")),
                _ => {}
            }
        }
        check.report.blocks = check.used.count;
        if contents {
            self.check_contents(&mut check)?;
        }
        Ok(check.report)
    }

    fn check_nodes(&mut self, ptr: Ptr, frame: &Frame, check: &mut Check<'_>) {
        if self.tree.is_on_disk(&ptr) {
            check.used(ptr.block, "the tree");
        }
        let node = match self.tree.framed(&ptr, frame) {
            Ok(node) => node,
            Err(e) => return check.problem(format!("a node of the tree: {e}")),
        };
        match &*node {
            Node::Leaf(items) => items.iter().for_each(|(k, v)| check.item(*k, v)),
            Node::Branch(level, kids) => {
                for (at, (_, below)) in kids.iter().enumerate() {
                    self.check_nodes(*below, &frame.child(*level, kids, at), check);
                }
            }
        }
    }

    fn check_contents(&mut self, check: &mut Check<'_>) -> Result<()> {
        let total = check.report.blocks;
        let mut done = 0;
        let mut from = Some(Key::MIN);
        while let Some(key) = from {
            // Some extents at a time, so that the walk and the reading do not meet.
            let mut batch = Vec::new();
            let mut next = None;
            self.tree.scan(&key, &mut |key, value| {
                if key.kind == Kind::Extent as u8
                    && let Ok(extent) = Extent::decode(key.at, value)
                {
                    batch.push((key.ino, extent));
                }
                next = key.next();
                batch.len() < 64
            })?;
            from = next.filter(|_| batch.len() >= 64);
            for (ino, extent) in batch {
                for e in self.check_extent(&extent) {
                    check.problem(format!("contents of inode {ino}: {e}"));
                }
                done += extent.stored();
                (check.progress)(done, total);
            }
        }
        Ok(())
    }

    /// Opens an extent's blocks, and unpacks what is in them.
    fn check_extent(&mut self, extent: &Extent) -> Vec<Error> {
        let (mut stored, mut wrong) = (Vec::new(), Vec::new());
        for (i, tag) in (0..).zip(&extent.tags) {
            match self.tree.store.read(Purpose::Data, &extent.ptr(i, tag)) {
                Ok(data) => stored.extend(data),
                Err(e) => wrong.push(e),
            }
        }
        if let (Some(packed), true) = (&extent.packed, wrong.is_empty()) {
            let mut out = vec![0; packed.unpacked()];
            wrong.extend(packed.unpack(extent.block, &stored, &mut out).err());
        }
        wrong
    }
}
