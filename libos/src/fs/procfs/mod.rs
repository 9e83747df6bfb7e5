//! `/proc`, `proc(5)`.
//!
//! The part that is the same for all is a fixed tree ([`system`], [`sys`], [`net`]); the
//! directories of processes are made as they are looked up ([`pid`]). A directory of a process
//! belongs to that very process: when it is gone, nothing below is found any more, even if
//! another got its number.

mod config;
mod fds;
mod info;
mod memory;
mod mounts;
mod net;
mod ns;
mod pages;
mod pid;
mod sockets;
mod stat;
mod sys;
mod system;
mod target;
#[cfg(test)]
mod tests;

pub use ns::{NsFile, NsKind};
pub use pid::process_of;
pub use stat::{cpu_list, cpu_mask};
pub use system::{cpu_total, load_averages, memory_pages};

use super::pseudo::{Home, Node, TreeInode, child_ino, set_attr};
use super::{Dirent, FileOps, FileSystem, Inode, Kind, SetAttr, Stat, StatFs, inode};
use crate::{Errno, Result, Task, kernel, time};
use alloc::format;
use alloc::string::ToString;
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;
use bastide_base::sync::Once;
use core::any::Any;
use pid::PidInode;
use target::Target;

/// `PROC_SUPER_MAGIC`.
const MAGIC: u64 = 0x9fa0;
/// The root's inode number, which programs know it by.
const ROOT_INO: u64 = 1;
/// Position of process 0 in the root directory's listing; fixed entries come before.
const FIRST_PROCESS: u64 = 256;

/// The file system.
struct ProcFs {
    me: Weak<ProcFs>,
    dev: u64,
    made: i64,
}

/// A new instance. All of them show the same.
pub fn new() -> Arc<dyn FileSystem> {
    Arc::new_cyclic(|me| ProcFs {
        me: me.clone(),
        dev: inode::new_dev(),
        made: time::realtime() as i64,
    })
}

/// The fixed entries of the root directory.
fn fixed() -> &'static Node {
    static TREE: Once<Node> = Once::new();
    TREE.get_or_init(|| {
        let mut nodes = vec![
            Node::own_link("self", |t| t.process.pid.to_string().into_bytes()),
            Node::own_link("thread-self", |t| {
                format!("{}/task/{}", t.process.pid, t.tid).into_bytes()
            }),
            Node::link("mounts", "self/mounts"),
            Node::link("net", "self/net"),
        ];
        nodes.extend(system::nodes());
        nodes.push(sys::node());
        Node::dir("", nodes)
    })
}

impl FileSystem for ProcFs {
    fn name(&self) -> &'static str {
        "proc"
    }

    fn root(&self) -> Arc<dyn Inode> {
        let fs = self.me.upgrade().expect("a method runs on a live object");
        Arc::new(Root(Home {
            fs,
            dev: self.dev,
            made: self.made,
            size: 0,
            blksize: 1024,
            refusal: Errno::ENOENT,
        }))
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

/// A process or thread id as a name: a number without leading zeros.
fn parse_id(name: &[u8]) -> Option<i32> {
    if name.first().is_none_or(|&b| b == b'0') || !name.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(name).ok()?.parse().ok()
}

/// The root directory.
struct Root(Home);

impl Inode for Root {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
    fn fs(&self) -> Arc<dyn FileSystem> {
        self.0.fs.clone()
    }
    fn kind(&self) -> Kind {
        Kind::Dir
    }
    fn stat(&self) -> Result<Stat> {
        let mut st = self.0.stat(ROOT_INO, Kind::Dir.bits() | 0o555);
        st.nlink = 2 + fixed().counts().1 + kernel().processes.lock().len() as u64;
        Ok(st)
    }
    fn set_attr(&self, attr: &SetAttr) -> Result<()> {
        set_attr(attr)
    }
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        if let Some(i) = TreeInode::child(&self.0, ROOT_INO, fixed(), name) {
            return Ok(i);
        }
        let id = parse_id(name).ok_or(Errno::ENOENT)?;
        let target = Target::process(id)?;
        Ok(PidInode::base(self.0.clone(), target))
    }
    fn create(
        &self,
        _name: &[u8],
        _mode: u32,
        _rdev: u64,
        _uid: u32,
        _gid: u32,
    ) -> Result<Arc<dyn Inode>> {
        Err(Errno::ENOENT)
    }
    fn symlink(
        &self,
        _name: &[u8],
        _target: &[u8],
        _uid: u32,
        _gid: u32,
    ) -> Result<Arc<dyn Inode>> {
        Err(Errno::ENOENT)
    }
    fn open(self: Arc<Self>, _t: &Task, _flags: u32) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(RootDir))
    }
}

struct RootDir;

impl FileOps for RootDir {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn pollable(&self) -> bool {
        false
    }
    fn size(&self) -> Result<u64> {
        Err(Errno::EINVAL)
    }
    fn read(
        &self,
        _t: &Task,
        _f: &super::File,
        _dst: &mut crate::uio::IoDst<'_>,
        _offset: Option<u64>,
    ) -> Result<usize> {
        Err(Errno::EISDIR)
    }
    fn read_dir(
        &self,
        _t: &Task,
        position: u64,
        emit: &mut dyn FnMut(Dirent<'_>) -> bool,
    ) -> Result<()> {
        if position < FIRST_PROCESS && !fixed().list(ROOT_INO, position, emit) {
            return Ok(());
        }
        let from = i32::try_from(position.saturating_sub(FIRST_PROCESS)).unwrap_or(i32::MAX);
        let pids: Vec<i32> = (kernel().processes.lock().range(from..))
            .map(|(&pid, _)| pid)
            .collect();
        for pid in pids {
            let Ok(target) = Target::process(pid) else {
                continue;
            };
            let name = pid.to_string();
            let entry = Dirent {
                ino: pid::base_ino(&target),
                next: FIRST_PROCESS + pid as u64 + 1,
                kind: Kind::Dir.dirent(),
                name: name.as_bytes(),
            };
            if !emit(entry) {
                break;
            }
        }
        Ok(())
    }
}

/// Seconds of a day and the like: a time in units of 1/100 s (`USER_HZ`).
fn ticks(ns: u64) -> u64 {
    ns / 10_000_000
}

/// The inode number of an entry of the root directory.
fn root_child_ino(name: &[u8]) -> u64 {
    child_ino(ROOT_INO, name)
}
