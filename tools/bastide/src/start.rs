//! Where the C library begins.
//!
//! The standard library's own start does what a program that only starts another has no use for: it
//! reads the whole map of its memory to place a guard page. And it ignores SIGPIPE without a trace of
//! what the caller did, which is the program's to inherit.

use crate::command;
use crate::host::PIPE_IGNORED;
use std::ffi::{c_char, c_int};
use std::sync::atomic::Ordering;

/// The standard library has the arguments from the C library already.
///
/// # Safety
/// Called once, by the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(_count: c_int, _arguments: *const *const c_char) -> c_int {
    prepare();
    // Flushes what is buffered.
    std::process::exit(command().into())
}

/// A closed pipe is an error of its own kind, and what is opened is not taken for a standard descriptor
/// that the caller has closed.
fn prepare() {
    // SAFETY: ignoring has no handler to get wrong; the rest are plain calls.
    unsafe {
        let before = libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        PIPE_IGNORED.store(before == libc::SIG_IGN, Ordering::Relaxed);
        for fd in 0..3 {
            if libc::fcntl(fd, libc::F_GETFD) < 0 {
                // The lowest free number is this one.
                libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            }
        }
    }
}
