//! Credentials, `credentials(7)` and `capabilities(7)`.

use alloc::vec::Vec;

/// All capabilities that exist, `CAP_LAST_CAP` is 40.
pub const CAP_ALL: u64 = (1 << 41) - 1;
pub const CAP_CHOWN: u32 = 0;
pub const CAP_DAC_OVERRIDE: u32 = 1;
pub const CAP_DAC_READ_SEARCH: u32 = 2;
pub const CAP_FOWNER: u32 = 3;
pub const CAP_FSETID: u32 = 4;
pub const CAP_KILL: u32 = 5;
pub const CAP_SETGID: u32 = 6;
pub const CAP_SETUID: u32 = 7;
pub const CAP_SETPCAP: u32 = 8;
pub const CAP_NET_BIND_SERVICE: u32 = 10;
pub const CAP_NET_ADMIN: u32 = 12;
pub const CAP_NET_RAW: u32 = 13;
pub const CAP_IPC_LOCK: u32 = 14;
pub const CAP_IPC_OWNER: u32 = 15;
pub const CAP_SYS_CHROOT: u32 = 18;
pub const CAP_SYS_PTRACE: u32 = 19;
pub const CAP_SYS_ADMIN: u32 = 21;
pub const CAP_SYS_BOOT: u32 = 22;
pub const CAP_SYS_NICE: u32 = 23;
pub const CAP_SYS_RESOURCE: u32 = 24;
pub const CAP_SYS_TIME: u32 = 25;
pub const CAP_SYS_TTY_CONFIG: u32 = 26;
pub const CAP_MKNOD: u32 = 27;
pub const CAP_LEASE: u32 = 28;
pub const CAP_SETFCAP: u32 = 31;

/// `securebits` of `prctl(2)`.
pub const SECBIT_NOROOT: u32 = 1;
pub const SECBIT_NO_SETUID_FIXUP: u32 = 4;
pub const SECBIT_KEEP_CAPS: u32 = 16;

/// A task's credentials. Shared and replaced, never changed in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creds {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub groups: Vec<u32>,
    pub permitted: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub bounding: u64,
    pub ambient: u64,
    pub securebits: u32,
    pub no_new_privs: bool,
}

impl Creds {
    /// A fresh login of `uid`; root has every capability.
    pub fn new(uid: u32, gid: u32, groups: Vec<u32>) -> Self {
        let caps = if uid == 0 { CAP_ALL } else { 0 };
        Creds {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups,
            permitted: caps,
            effective: caps,
            inheritable: 0,
            bounding: CAP_ALL,
            ambient: 0,
            securebits: 0,
            no_new_privs: false,
        }
    }

    /// The capability is effective.
    pub fn capable(&self, cap: u32) -> bool {
        self.effective & (1 << cap) != 0
    }

    /// `gid` is the file-system group or a supplementary one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }

    /// Checks `want` (4 read, 2 write, 1 execute/search) against a file's mode and owner, as
    /// `path_resolution(7)` "Permissions" says, with the file-system ids.
    pub fn may(&self, mode: u32, uid: u32, gid: u32, want: u32) -> bool {
        let bits = if self.fsuid == uid {
            mode >> 6
        } else if self.in_group(gid) {
            mode >> 3
        } else {
            mode
        };
        if bits & want == want {
            return true;
        }
        let dir = mode & 0o170000 == 0o040000;
        if self.capable(CAP_DAC_OVERRIDE) && (want & 1 == 0 || dir || mode & 0o111 != 0) {
            return true;
        }
        self.capable(CAP_DAC_READ_SEARCH) && (want == 4 || dir && want & 2 == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_class_decides_alone() {
        let c = Creds::new(1000, 1000, alloc::vec![5]);
        assert!(!c.may(0o100077, 1000, 1000, 4));
        assert!(c.may(0o100040, 0, 5, 4));
        assert!(!c.may(0o100040, 0, 5, 2));
        let root = Creds::new(0, 0, Vec::new());
        assert!(root.may(0o100000, 1000, 1000, 6));
        assert!(!root.may(0o100644, 1000, 1000, 1));
    }
}
