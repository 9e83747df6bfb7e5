//! Ending as the program ended.

/// The exit code for a `wait(2)` status. If a signal ended the program, that signal ends this
/// process too, so that a caller sees what it would see without Bastide.
pub fn follow(status: i32) -> i32 {
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        die_of(signal);
        return 128 + signal;
    }
    libc::WEXITSTATUS(status)
}

fn die_of(signal: i32) {
    // The program's core is inside the enclave; one of the launcher would only mislead.
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    // SAFETY: the calls get a signal number and a signal set that lives on this stack; no Rust
    // handler is replaced that anything still waits for.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::raise(signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        for code in [0, 1, 125, 255] {
            assert_eq!(follow(code << 8), code);
        }
    }
}
