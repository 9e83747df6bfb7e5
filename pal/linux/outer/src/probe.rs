//! What this host can do.

use bastide_pal_linux::{calls, layout};

/// Every host call that the filter lets the kernel make, with the reason.
pub fn host_calls() -> Vec<(&'static str, &'static str)> {
    calls::CALLS.iter().map(|c| (c.1, c.2)).collect()
}

const SECCOMP: &str = "seccomp filters";
const FSGSBASE: &str = "user-mode %fs and %gs (FSGSBASE)";
const OPENAT2: &str = "openat2 (confined path look-ups)";
const XSAVE: &str = "xsave";

/// What the backend needs of the host: `Ok(detail)`, or `Err(what is missing and what to do)`.
pub fn probe() -> Vec<(String, Result<String, String>)> {
    vec![
        (SECCOMP.into(), seccomp()),
        (FSGSBASE.into(), fsgsbase()),
        ("memfd and a free address range".into(), memory()),
        (OPENAT2.into(), openat2()),
        (XSAVE.into(), xsave()),
    ]
}

/// The first thing that is missing and would be noticed only inside, where it could be told less
/// clearly, and what to do about it.
pub(crate) fn missing() -> Option<(String, String)> {
    let needs: [(&str, fn() -> Result<String, String>); 4] = [
        (SECCOMP, seccomp),
        (FSGSBASE, fsgsbase),
        (OPENAT2, openat2),
        (XSAVE, xsave),
    ];
    needs
        .iter()
        .find_map(|(what, probe)| Some(((*what).into(), probe().err()?)))
}

fn seccomp() -> Result<String, String> {
    // SAFETY: a null filter is refused with EFAULT where filters exist.
    let r = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, 0, 0, 0) };
    let e = std::io::Error::last_os_error();
    match (r, e.raw_os_error()) {
        (-1, Some(libc::EFAULT)) => Ok("available".into()),
        _ => Err(format!(
            "not available ({e}): use a kernel with CONFIG_SECCOMP_FILTER, or allow prctl in the container's profile"
        )),
    }
}

fn fsgsbase() -> Result<String, String> {
    // SAFETY: reads the auxiliary vector.
    let hwcap2 = unsafe { libc::getauxval(libc::AT_HWCAP2) };
    if hwcap2 & 2 != 0 {
        Ok("available".into())
    } else {
        Err("not available: needs a processor of 2012 or later and Linux 5.9 or later".into())
    }
}

fn memory() -> Result<String, String> {
    // SAFETY: maps and unmaps an anonymous range at a free address.
    unsafe {
        let at = libc::mmap(
            layout::BASE as *mut _,
            layout::SIZE,
            libc::PROT_NONE,
            libc::MAP_PRIVATE
                | libc::MAP_ANONYMOUS
                | libc::MAP_NORESERVE
                | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        );
        if at as usize != layout::BASE {
            return Err(
                "no free address range: is the address space limited (`ulimit -v`)?".into(),
            );
        }
        libc::munmap(at, layout::SIZE);
    }
    Ok(format!("{} GiB at {:#x}", layout::SIZE >> 30, layout::BASE))
}

fn openat2() -> Result<String, String> {
    // SAFETY: a null `how` is refused with EINVAL or EFAULT where the call exists.
    let r = unsafe { libc::syscall(libc::SYS_openat2, -1, c"".as_ptr(), 0, 0) };
    match (r, std::io::Error::last_os_error().raw_os_error()) {
        (-1, Some(libc::ENOSYS | libc::EPERM)) => Err(
            "not available: needs Linux 5.6 or later, or a container's profile that allows it"
                .into(),
        ),
        _ => Ok("available".into()),
    }
}

fn xsave() -> Result<String, String> {
    // Asked directly: the standard library would look up all features, and in a virtual machine each
    // question goes to the hypervisor.
    const OSXSAVE: u32 = 1 << 27;
    if std::arch::x86_64::__cpuid(1).ecx & OSXSAVE != 0 {
        Ok("available".into())
    } else {
        Err("not available: this processor is too old".into())
    }
}
