use super::msg::*;
use super::sem::*;
use super::shm::*;
use crate::abi::ipc::*;
use crate::testing::{addr, task};
use crate::user::UserAddr;
use crate::{Errno, SysResult, Task};
use alloc::sync::Arc;
use std::time::Duration;

const NULL: UserAddr = UserAddr(0);

fn semop(t: &Arc<Task>, id: i32, ops: &[(u16, i16, i16)]) -> SysResult {
    let ops: std::vec::Vec<SemBuf> = ops
        .iter()
        .map(|&(num, op, flags)| SemBuf { num, op, flags })
        .collect();
    sys_semop(t, id, addr(ops.as_slice()), ops.len())
}

#[test]
fn semaphores_do_all_or_nothing() {
    let t = task();
    let id = sys_semget(&t, 0, 2, 0o600).unwrap() as i32;
    let get = |i| sys_semctl(&t, id, i, 12, 0).unwrap();
    assert_eq!(semop(&t, id, &[(0, 3, 0)]), Ok(0));
    let nowait = IPC_NOWAIT as i16;
    assert_eq!(
        semop(&t, id, &[(0, -1, 0), (1, -1, nowait)]),
        Err(Errno::EAGAIN)
    );
    assert_eq!((get(0), get(1)), (3, 0));
    assert_eq!(semop(&t, id, &[(0, 0, nowait)]), Err(Errno::EAGAIN));
    assert_eq!(semop(&t, id, &[(2, 0, nowait)]), Err(Errno::EFBIG));
    assert_eq!(semop(&t, id, &[(0, 32767, 0)]), Err(Errno::ERANGE));
    assert_eq!(sys_semctl(&t, id, 0, 11, 0), Ok(t.process.pid as usize));
    assert_eq!(sys_semctl(&t, id, 0, 16, 40000), Err(Errno::ERANGE));
    assert_eq!(sys_semctl(&t, id, 0, IPC_RMID, 0), Ok(0));
    assert_eq!(semop(&t, id, &[(0, 1, 0)]), Err(Errno::EINVAL));
    let next = sys_semget(&t, 0, 2, 0o600).unwrap() as i32;
    assert_ne!(next, id);
}

#[test]
fn semaphore_waiters_are_served_and_undone() {
    let t = task();
    let id = sys_semget(&t, 0, 1, 0o600).unwrap() as i32;
    let other = task();
    let waiter = std::thread::spawn(move || {
        let r = semop(&other, id, &[(0, -2, 0x1000)]);
        exit_undo(&other.process);
        r
    });
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(sys_semctl(&t, id, 0, 14, 0), Ok(1));
    assert_eq!(semop(&t, id, &[(0, 2, 0)]), Ok(0));
    assert_eq!(waiter.join().unwrap(), Ok(0));
    assert_eq!(sys_semctl(&t, id, 0, 12, 0), Ok(2));
    let timeout: [i64; 2] = [0, 1_000_000];
    let op = SemBuf {
        num: 0,
        op: 0,
        flags: 0,
    };
    assert_eq!(
        sys_semtimedop(&t, id, addr(&op), 1, addr(&timeout)),
        Err(Errno::EAGAIN)
    );
}

#[test]
fn messages_are_chosen_by_kind() {
    let t = task();
    let id = sys_msgget(&t, 0, 0o600).unwrap() as i32;
    for (kind, byte) in [(3i64, b'c'), (1, b'a'), (2, b'b')] {
        let mut m = [0u8; 9];
        m[..8].copy_from_slice(&kind.to_ne_bytes());
        m[8] = byte;
        assert_eq!(sys_msgsnd(&t, id, addr(&m), 1, 0), Ok(0));
    }
    let recv = |kind: i64, flags: u32| {
        let mut m = [0u8; 16];
        sys_msgrcv(&t, id, addr(&mut m), 8, kind, flags | IPC_NOWAIT).map(|n| (n, m[8]))
    };
    assert_eq!(recv(1, 0o40000), Ok((1, b'a')));
    assert_eq!(recv(-2, 0), Ok((1, b'a')));
    assert_eq!(recv(3, 0o20000), Ok((1, b'b')));
    assert_eq!(recv(7, 0), Err(Errno::ENOMSG));
    assert_eq!(recv(0, 0), Ok((1, b'c')));
    let m = [0u8; 16];
    assert_eq!(sys_msgsnd(&t, id, addr(&m), 1, 0), Err(Errno::EINVAL));
    assert_eq!(sys_msgctl(&t, id, IPC_RMID, NULL), Ok(0));
}

#[test]
fn segments_are_found_by_key() {
    let t = task();
    let key = 0x1234_5678;
    assert_eq!(sys_shmget(&t, key, 100, 0o600), Err(Errno::ENOENT));
    let id = sys_shmget(&t, key, 100, 0o600 | IPC_CREAT).unwrap();
    assert_eq!(
        sys_shmget(&t, key, 100, IPC_CREAT | IPC_EXCL),
        Err(Errno::EEXIST)
    );
    assert_eq!(sys_shmget(&t, key, 4096, 0), Err(Errno::EINVAL));
    assert_eq!(sys_shmget(&t, key, 50, 0), Ok(id));
    let mut ds = ShmidDs::default();
    assert_eq!(sys_shmctl(&t, id as i32, IPC_STAT, addr(&mut ds)), Ok(0));
    assert_eq!((ds.segsz, ds.nattch, ds.perm.key), (100, 0, key));
    assert_eq!(sys_shmdt(&t, 0x10000), Err(Errno::EINVAL));
    assert_eq!(sys_shmctl(&t, id as i32, IPC_RMID, NULL), Ok(0));
    assert_eq!(
        sys_shmctl(&t, id as i32, IPC_STAT, addr(&mut ds)),
        Err(Errno::EINVAL)
    );
}
