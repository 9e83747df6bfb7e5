//! Control messages: descriptors and credentials that travel with data, `unix(7)` and `cmsg(3)`.

use super::socket::{Common, Flags, Incoming};
use super::unix::garbage;
use crate::fs::{FdFlags, File};
use crate::process::creds::{CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN};
use crate::user::{self, UserAddr};
use crate::{Errno, Result, Task};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use bastide_abi::net::{CMsgHdr, UCred};
use bastide_abi::raw::net::*;
use zerocopy::{FromBytes, IntoBytes};

/// Most descriptors that one message carries, `SCM_MAX_FD`.
const MAX_FDS: usize = 253;
/// What `SCM_CREDENTIALS` says of a message whose sender was not asked for them.
const NOBODY: UCred = UCred {
    pid: 0,
    uid: 65_534,
    gid: 65_534,
};
const HEADER: usize = size_of::<CMsgHdr>();

/// Descriptors on their way: known to the collector of unreachable sockets while they are.
pub struct Flying(Vec<Arc<File>>);

impl Flying {
    /// Takes off.
    pub fn new(files: Vec<Arc<File>>) -> Option<Box<Self>> {
        if files.is_empty() {
            return None;
        }
        files.iter().for_each(garbage::departed);
        Some(Box::new(Flying(files)))
    }

    /// The files.
    pub fn files(&self) -> &[Arc<File>] {
        &self.0
    }

    /// Lands.
    pub fn land(mut self: Box<Self>) -> Vec<Arc<File>> {
        let files = core::mem::take(&mut self.0);
        files.iter().for_each(garbage::arrived);
        files
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        let files = core::mem::take(&mut self.0);
        files.iter().for_each(garbage::arrived);
        garbage::bury(files);
    }
}

/// What comes along with data.
#[derive(Default)]
pub struct Rights {
    pub files: Vec<Arc<File>>,
    /// `None`: not attached to the message.
    pub cred: Option<UCred>,
    /// The receiver asked for credentials.
    pub wants_cred: bool,
}

/// The caller's credentials as `SCM_CREDENTIALS` shows them.
fn own_cred(t: &Task) -> UCred {
    let c = t.creds();
    UCred {
        pid: t.process.pid,
        uid: c.uid,
        gid: c.gid,
    }
}

/// Walks control messages; EINVAL if one claims more than there is.
pub fn walk<'a>(
    mut control: &'a [u8],
    mut each: impl FnMut(&CMsgHdr, &'a [u8]) -> Result<()>,
) -> Result<()> {
    while let Ok((h, _)) = CMsgHdr::read_from_prefix(control) {
        let len = usize::try_from(h.len).map_err(|_| Errno::EINVAL)?;
        let data = control.get(HEADER..len).ok_or(Errno::EINVAL)?;
        each(&h, data)?;
        match control.get(len.next_multiple_of(8)..) {
            Some(rest) => control = rest,
            None => break,
        }
    }
    Ok(())
}

/// Reads what a sender attached to a Unix message. EINVAL for malformed or unknown ones, EBADF,
/// EPERM for credentials that are not the sender's, ESRCH for a process that does not exist.
pub fn outgoing(t: &Task, control: &[u8]) -> Result<Rights> {
    let mut rights = Rights::default();
    walk(control, |h, data| {
        if h.level != SOL_SOCKET as i32 {
            return Ok(());
        }
        match h.kind as u32 {
            SCM_RIGHTS => {
                let (fds, _) = data.as_chunks::<4>();
                if fds.len() > MAX_FDS || rights.files.len() + fds.len() > MAX_FDS {
                    return Err(Errno::EINVAL);
                }
                let table = t.files();
                for fd in fds {
                    rights.files.push(table.get(i32::from_ne_bytes(*fd))?);
                }
            }
            SCM_CREDENTIALS => {
                let cred = UCred::read_from_bytes(data).map_err(|_| Errno::EINVAL)?;
                check_cred(t, &cred)?;
                rights.cred = Some(cred);
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    })?;
    Ok(rights)
}

fn check_cred(t: &Task, cred: &UCred) -> Result<()> {
    let c = t.creds();
    let uid_ok =
        cred.uid == c.uid || cred.uid == c.euid || cred.uid == c.suid || c.capable(CAP_SETUID);
    let gid_ok =
        cred.gid == c.gid || cred.gid == c.egid || cred.gid == c.sgid || c.capable(CAP_SETGID);
    let own = cred.pid == t.process.pid;
    if cred.uid == u32::MAX || cred.gid == u32::MAX {
        return Err(Errno::EINVAL);
    }
    if !(own || c.capable(CAP_SYS_ADMIN)) || !uid_ok || !gid_ok {
        return Err(Errno::EPERM);
    }
    if !own && crate::process::find_process(cred.pid).is_none() {
        return Err(Errno::ESRCH);
    }
    Ok(())
}

/// The credentials that a message carries: those given, or the sender's own if either side asked
/// for them.
pub fn attach_cred(
    t: &Task,
    given: Option<UCred>,
    sender: &Common,
    receiver: &Common,
) -> Option<UCred> {
    given.or_else(|| {
        (sender.has(Flags::PASSCRED) || receiver.has(Flags::PASSCRED)).then(|| own_cred(t))
    })
}

/// Appends one control message, cut to the room; true if it was cut.
fn put(out: &mut Vec<u8>, room: usize, kind: u32, data: &[u8]) -> bool {
    let left = room.saturating_sub(out.len());
    if left < HEADER {
        return true;
    }
    let len = HEADER + data.len();
    let kept = len.min(left);
    let h = CMsgHdr {
        len: kept as u64,
        level: SOL_SOCKET as i32,
        kind: kind as i32,
    };
    out.extend_from_slice(h.as_bytes());
    out.extend_from_slice(&data[..kept - HEADER]);
    let padded = (out.len().next_multiple_of(8)).min(room);
    out.resize(padded.max(out.len()), 0);
    kept < len
}

/// Turns what came into control messages in the caller's memory at `at`; returns their length.
/// Descriptors are installed; those without room are closed and `MSG_CTRUNC` says so. EFAULT.
pub fn deliver(t: &Task, msg: &mut Incoming, at: UserAddr) -> Result<usize> {
    let rights = core::mem::take(&mut msg.rights);
    let mut out = core::mem::take(&mut msg.control);
    let room = if at.is_null() { 0 } else { msg.control_room };
    if out.len() > room {
        out.truncate(room);
        msg.result |= MSG_CTRUNC;
    }
    if rights.wants_cred {
        let cred = rights.cred.unwrap_or(NOBODY);
        if put(&mut out, room, SCM_CREDENTIALS, cred.as_bytes()) {
            msg.result |= MSG_CTRUNC;
        }
    }
    let mut installed = Vec::new();
    if !rights.files.is_empty() {
        let fit = room.saturating_sub(out.len()).saturating_sub(HEADER) / 4;
        let flags = if msg.wants(MSG_CMSG_CLOEXEC) {
            FdFlags::CLOEXEC
        } else {
            FdFlags::default()
        };
        for f in rights.files.iter().take(fit) {
            match t.install(f.clone(), flags) {
                Ok(fd) => installed.push(fd),
                Err(_) => break,
            }
        }
        if installed.len() < rights.files.len() {
            msg.result |= MSG_CTRUNC;
        }
        if !installed.is_empty() {
            put(&mut out, room, SCM_RIGHTS, installed.as_bytes());
        }
    }
    garbage::bury(rights.files);
    if !out.is_empty()
        && let Err(e) = user::write_bytes(t, at, &out)
    {
        for fd in installed {
            let _ = t.files().remove(fd);
        }
        return Err(e);
    }
    Ok(out.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: u64, data: &[u8]) -> Vec<u8> {
        let h = CMsgHdr {
            len,
            level: 1,
            kind: 1,
        };
        [h.as_bytes(), data].concat()
    }

    #[test]
    fn walking_stops_at_the_end_and_refuses_lies() {
        let mut n = 0;
        let two = [message(20, &[1, 2, 3, 4, 0, 0, 0, 0]), message(16, &[])].concat();
        walk(&two, |_, _| {
            n += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(n, 2);
        assert_eq!(walk(&message(8, &[]), |_, _| Ok(())), Err(Errno::EINVAL));
        assert_eq!(
            walk(&message(64, &[0; 8]), |_, _| Ok(())),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            walk(&message(u64::MAX, &[0; 8]), |_, _| Ok(())),
            Err(Errno::EINVAL)
        );
        assert_eq!(walk(&[0; 12], |_, _| Ok(())), Ok(()));
    }

    #[test]
    fn control_messages_are_cut_to_the_room() {
        let mut out = Vec::new();
        assert!(!put(&mut out, 64, 2, &[7; 12]));
        assert_eq!(out.len(), 32);
        let mut out = Vec::new();
        assert!(!put(&mut out, 28, 2, &[7; 12]));
        assert_eq!(out.len(), 28);
        let mut out = Vec::new();
        assert!(put(&mut out, 20, 2, &[7; 12]));
        assert_eq!(out.len(), 20);
        assert!(put(&mut Vec::new(), 15, 2, &[7; 12]));
    }
}
