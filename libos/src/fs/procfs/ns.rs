//! Namespaces, `namespaces(7)`: there is one of each kind, and files that stand for them.

use super::super::{File, FileOps, Kind, Path, Stat, inode, path};
use crate::{Errno, Result, SysResult, Task};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use bastide_base::sync::Once;
use core::any::Any;

/// A kind of namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NsKind {
    Cgroup,
    Ipc,
    Mnt,
    Net,
    Pid,
    PidForChildren,
    Time,
    TimeForChildren,
    User,
    Uts,
}

impl NsKind {
    /// All, as the directory lists them.
    pub const ALL: [NsKind; 10] = [
        NsKind::Cgroup,
        NsKind::Ipc,
        NsKind::Mnt,
        NsKind::Net,
        NsKind::Pid,
        NsKind::PidForChildren,
        NsKind::Time,
        NsKind::TimeForChildren,
        NsKind::User,
        NsKind::Uts,
    ];

    /// The name of the entry.
    pub fn name(self) -> &'static str {
        match self {
            NsKind::Cgroup => "cgroup",
            NsKind::Ipc => "ipc",
            NsKind::Mnt => "mnt",
            NsKind::Net => "net",
            NsKind::Pid => "pid",
            NsKind::PidForChildren => "pid_for_children",
            NsKind::Time => "time",
            NsKind::TimeForChildren => "time_for_children",
            NsKind::User => "user",
            NsKind::Uts => "uts",
        }
    }

    /// The kind with this entry name.
    pub fn named(name: &[u8]) -> Option<NsKind> {
        Self::ALL.into_iter().find(|k| k.name().as_bytes() == name)
    }

    /// The namespace's kind, whichever entry leads to it.
    pub fn base(self) -> NsKind {
        match self {
            NsKind::PidForChildren => NsKind::Pid,
            NsKind::TimeForChildren => NsKind::Time,
            k => k,
        }
    }

    /// Its inode number: what Linux gives the first namespaces.
    fn ino(self) -> u64 {
        match self.base() {
            NsKind::Ipc => 0xefff_ffff,
            NsKind::Uts => 0xefff_fffe,
            NsKind::User => 0xefff_fffd,
            NsKind::Pid => 0xefff_fffc,
            NsKind::Cgroup => 0xefff_fffb,
            NsKind::Time => 0xefff_fffa,
            NsKind::Net => 0xefff_fff9,
            _ => 0xefff_fff8,
        }
    }

    /// The `CLONE_NEW*` flag.
    pub fn clone_flag(self) -> u32 {
        match self.base() {
            NsKind::Cgroup => 0x0200_0000,
            NsKind::Uts => 0x0400_0000,
            NsKind::Ipc => 0x0800_0000,
            NsKind::User => 0x1000_0000,
            NsKind::Pid => 0x2000_0000,
            NsKind::Net => 0x4000_0000,
            NsKind::Time => 0x80,
            _ => 0x0002_0000,
        }
    }

    /// The link's text.
    pub fn text(self) -> String {
        format!("{}:[{}]", self.base().name(), self.ino())
    }
}

/// Where the link to a namespace leads.
pub fn path(kind: NsKind) -> Path {
    path::of_file(&File::new(Arc::new(NsFile(kind.base())), None, 0))
}

/// An open namespace.
pub struct NsFile(pub NsKind);

const NS_GET_USERNS: u32 = 0xb701;
const NS_GET_PARENT: u32 = 0xb702;
const NS_GET_NSTYPE: u32 = 0xb703;
const NS_GET_OWNER_UID: u32 = 0xb704;

impl FileOps for NsFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn pollable(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        self.0.text()
    }

    fn stat(&self) -> Result<Stat> {
        static DEV: Once<u64> = Once::new();
        Ok(Stat {
            dev: *DEV.get_or_init(inode::new_dev),
            ino: self.0.ino(),
            mode: Kind::Regular.bits() | 0o444,
            nlink: 1,
            blksize: 4096,
            ..Default::default()
        })
    }

    fn reopen(&self, _t: &Task, _flags: u32) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(NsFile(self.0)))
    }

    /// `ioctl_ns(2)`: the first namespaces have no parent, and the first user namespace owns them.
    fn ioctl(&self, t: &Task, _f: &File, request: u32, arg: usize) -> SysResult {
        match request {
            NS_GET_NSTYPE => Ok(self.0.clone_flag() as usize),
            NS_GET_PARENT if !matches!(self.0, NsKind::Pid | NsKind::User) => Err(Errno::EINVAL),
            NS_GET_USERNS if self.0 != NsKind::User => {
                let f = File::new(Arc::new(NsFile(NsKind::User)), None, 0);
                let fd = t.install(f, crate::fs::FdFlags::CLOEXEC)?;
                Ok(fd as usize)
            }
            NS_GET_USERNS | NS_GET_PARENT => Err(Errno::EPERM),
            NS_GET_OWNER_UID if self.0 != NsKind::User => Err(Errno::EINVAL),
            NS_GET_OWNER_UID => {
                crate::user::write(t, crate::user::UserAddr(arg), &0u32).map(|()| 0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }
}
