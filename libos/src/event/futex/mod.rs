//! Fast user-space locking, `futex(2)`.

mod pi;
mod queue;
mod requeue;
mod robust;
mod syscalls;
#[cfg(test)]
mod tests;
mod wait;
mod wake;

pub use robust::{exit_robust, sys_get_robust_list, sys_set_robust_list};
pub use syscalls::{sys_futex, sys_futex_requeue, sys_futex_wait, sys_futex_waitv, sys_futex_wake};
pub use wake::wake_address;

use crate::mm::FutexKey;
use crate::user::UserAddr;
use crate::{Errno, Result, Task};
use bastide_base::user as raw;

/// A futex as a call names it.
#[derive(Clone, Copy, Debug)]
struct Word {
    addr: UserAddr,
    private: bool,
}

/// A fault at a word while a bucket was locked.
struct Faulted {
    addr: UserAddr,
    write: bool,
}

impl Word {
    /// Its identity. EINVAL if it is misaligned, EFAULT.
    fn key(&self, t: &Task) -> Result<FutexKey> {
        let addr = self.addr.0;
        if addr % 4 != 0 {
            return Err(Errno::EINVAL);
        }
        if raw::accessible(addr, 4) < 4 {
            return Err(Errno::EFAULT);
        }
        t.mm().futex_key(addr, self.private)
    }

    /// Its value, without repairing faults.
    fn load(&self) -> core::result::Result<u32, Faulted> {
        raw::load_u32(self.addr.0).map_err(|_| Faulted {
            addr: self.addr,
            write: false,
        })
    }

    /// Compares and exchanges, without repairing faults; what it was.
    fn cas(&self, old: u32, new: u32) -> core::result::Result<u32, Faulted> {
        raw::cas_u32(self.addr.0, old, new).map_err(|_| Faulted {
            addr: self.addr,
            write: true,
        })
    }
}

impl Faulted {
    /// Repairs the fault, with no bucket locked; EFAULT if it cannot be.
    fn repair(self, t: &Task) -> Result<()> {
        if t.mm().repair(t, self.addr.0, self.write) {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }
}
