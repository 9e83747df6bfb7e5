//! `devpts`: the slaves of pseudoterminals as files. There is one instance.

use super::tree::TTY_GROUP;
use crate::fs::file::Dirent;
use crate::fs::inode::{Entry, make_dev, new_dev};
use crate::fs::tty::{self, Pty};
use crate::fs::{FileOps, FileSystem, Inode, Kind, Path, SetAttr, Stat, StatFs, mount};
use crate::{Errno, Result, Task, time};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::{Mutex, Once};
use core::any::Any;

/// `DEVPTS_SUPER_MAGIC`.
const MAGIC: u64 = 0x1cd1;
/// Most pseudoterminals at a time, `/proc/sys/kernel/pty/max`.
pub const MAX: u32 = 4096;
const ROOT_INO: u64 = 1;
const PTMX_INO: u64 = 2;
/// Major number of the first 256 slaves; the following ones have the next.
pub(in crate::fs) const MAJOR: u32 = 136;

/// Device number of a slave.
pub(in crate::fs) fn rdev(index: u32) -> u64 {
    make_dev(MAJOR + index / 256, index % 256)
}

/// What can be changed of a slave's node.
#[derive(Clone, Copy)]
struct Owner {
    mode: u32,
    uid: u32,
    gid: u32,
    atime: i64,
    mtime: i64,
    ctime: i64,
}

struct Node {
    pty: Arc<Pty>,
    /// Never used again, so that names for another pair are seen to be that.
    ino: u64,
    made: i64,
    owner: Mutex<Owner>,
}

#[derive(Default)]
struct Table {
    nodes: BTreeMap<u32, Arc<Node>>,
    last_ino: u64,
}

/// The file system.
struct Devpts {
    dev: u64,
    made: i64,
    table: Mutex<Table>,
}

fn instance() -> &'static Arc<Devpts> {
    static FS: Once<Arc<Devpts>> = Once::new();
    FS.get_or_init(|| {
        Arc::new(Devpts {
            dev: new_dev(),
            made: time::realtime() as i64,
            table: Mutex::new(Table {
                nodes: BTreeMap::new(),
                last_ino: PTMX_INO,
            }),
        })
    })
}

/// The file system, to be mounted.
pub fn devpts() -> Arc<dyn FileSystem> {
    instance().clone()
}

/// Pseudoterminals in use, `/proc/sys/kernel/pty/nr`.
pub fn count() -> usize {
    instance().table.lock().nodes.len()
}

/// A new pair with its node, owned by the caller; ENOSPC.
pub(in crate::fs) fn allocate(t: &Task) -> Result<Arc<Pty>> {
    let uid = t.creds().fsuid;
    let now = time::realtime() as i64;
    let mut table = instance().table.lock();
    let index = (0..MAX).find(|i| !table.nodes.contains_key(i));
    let index = index.ok_or(Errno::ENOSPC)?;
    let pty = Pty::new(index);
    table.last_ino += 1;
    let node = Node {
        pty: pty.clone(),
        ino: table.last_ino,
        made: now,
        owner: Mutex::new(Owner {
            mode: 0o620,
            uid,
            gid: TTY_GROUP,
            atime: now,
            mtime: now,
            ctime: now,
        }),
    };
    table.nodes.insert(index, Arc::new(node));
    Ok(pty)
}

/// The pair's master is closed: its node goes.
pub(in crate::fs) fn forget(pty: &Pty) {
    let gone = instance().table.lock().nodes.remove(&pty.index);
    drop(gone);
}

fn node(index: u32) -> Option<Arc<Node>> {
    instance().table.lock().nodes.get(&index).cloned()
}

/// The slave with an index; EIO if there is none.
pub(in crate::fs) fn find(index: u32) -> Result<Arc<Pty>> {
    Ok(node(index).ok_or(Errno::EIO)?.pty.clone())
}

/// Attributes of a slave's node.
pub(in crate::fs) fn stat(index: u32) -> Option<Stat> {
    node(index).and_then(|n| n.stat().ok())
}

/// Where a slave's node is, if the file system is mounted.
pub(in crate::fs) fn path(index: u32) -> Option<Path> {
    let fs: Arc<dyn FileSystem> = instance().clone();
    let mounted = mount::list()
        .into_iter()
        .find(|m| Arc::ptr_eq(m.fs(), &fs))?;
    let root = mounted.path();
    let name = format!("{index}");
    let dentry = root.dentry.child(name.as_bytes()).ok()??;
    Some(Path {
        mount: root.mount,
        dentry,
    })
}

impl FileSystem for Devpts {
    fn name(&self) -> &'static str {
        "devpts"
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::new(Root)
    }

    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs {
            magic: MAGIC,
            bsize: 4096,
            namelen: 255,
            ..Default::default()
        })
    }

    fn volatile(&self) -> bool {
        true
    }
}

fn fixed(ino: u64, mode: u32, rdev: u64) -> Stat {
    let fs = instance();
    Stat {
        dev: fs.dev,
        ino,
        mode,
        nlink: if ino == ROOT_INO { 2 } else { 1 },
        rdev,
        blksize: 1024,
        atime: fs.made,
        mtime: fs.made,
        ctime: fs.made,
        btime: fs.made,
        ..Default::default()
    }
}

fn entries() -> Vec<(u64, Entry)> {
    let table = instance().table.lock();
    let ptmx = Entry {
        ino: PTMX_INO,
        kind: Kind::Char.dirent(),
        name: b"ptmx".to_vec(),
    };
    let mut out = alloc::vec![(0, ptmx)];
    for (&index, node) in &table.nodes {
        let entry = Entry {
            ino: node.ino,
            kind: Kind::Char.dirent(),
            name: format!("{index}").into_bytes(),
        };
        out.push((u64::from(index) + 1, entry));
    }
    out
}

/// The directory.
struct Root;

impl Inode for Root {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn fs(&self) -> Arc<dyn FileSystem> {
        instance().clone()
    }

    fn stat(&self) -> Result<Stat> {
        Ok(fixed(ROOT_INO, Kind::Dir.bits() | 0o755, 0))
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        if name == b"ptmx" {
            return Ok(Arc::new(Ptmx));
        }
        let index: u32 = core::str::from_utf8(name)
            .ok()
            .and_then(|n| n.parse().ok())
            .ok_or(Errno::ENOENT)?;
        // One spelling only.
        if format!("{index}").as_bytes() != name {
            return Err(Errno::ENOENT);
        }
        node(index).map(|n| n as _).ok_or(Errno::ENOENT)
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        Ok(entries().into_iter().map(|(_, e)| e).collect())
    }

    fn open(self: Arc<Self>, _t: &Task, _flags: u32) -> Result<Arc<dyn FileOps>> {
        Ok(self)
    }
}

impl FileOps for Root {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn pollable(&self) -> bool {
        false
    }

    fn read_dir(
        &self,
        _t: &Task,
        position: u64,
        emit: &mut dyn FnMut(Dirent<'_>) -> bool,
    ) -> Result<()> {
        for (at, e) in entries() {
            let next = at + 1;
            if at >= position
                && !emit(Dirent {
                    ino: e.ino,
                    next,
                    kind: e.kind,
                    name: &e.name,
                })
            {
                break;
            }
        }
        Ok(())
    }
}

/// `/dev/pts/ptmx`.
struct Ptmx;

impl Inode for Ptmx {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn fs(&self) -> Arc<dyn FileSystem> {
        instance().clone()
    }

    fn stat(&self) -> Result<Stat> {
        Ok(fixed(PTMX_INO, Kind::Char.bits() | 0o666, make_dev(5, 2)))
    }

    fn open(self: Arc<Self>, t: &Task, _flags: u32) -> Result<Arc<dyn FileOps>> {
        tty::open_master(t)
    }
}

impl Inode for Node {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn fs(&self) -> Arc<dyn FileSystem> {
        instance().clone()
    }

    fn stat(&self) -> Result<Stat> {
        let o = *self.owner.lock();
        let bits = Kind::Char.bits() | o.mode;
        Ok(Stat {
            uid: o.uid,
            gid: o.gid,
            atime: o.atime,
            mtime: o.mtime,
            ctime: o.ctime,
            btime: self.made,
            ..fixed(self.ino, bits, rdev(self.pty.index))
        })
    }

    fn kind(&self) -> Kind {
        Kind::Char
    }

    fn set_attr(&self, attr: &SetAttr) -> Result<()> {
        if attr.size.is_some() {
            return Err(Errno::EINVAL);
        }
        let mut o = self.owner.lock();
        o.mode = attr.mode.map_or(o.mode, |m| m & 0o7777);
        o.uid = attr.uid.unwrap_or(o.uid);
        o.gid = attr.gid.unwrap_or(o.gid);
        o.atime = attr.atime.unwrap_or(o.atime);
        o.mtime = attr.mtime.unwrap_or(o.mtime);
        o.ctime = time::realtime() as i64;
        Ok(())
    }

    fn open(self: Arc<Self>, t: &Task, flags: u32) -> Result<Arc<dyn FileOps>> {
        tty::open_slave(t, &self.pty, flags)
    }
}
