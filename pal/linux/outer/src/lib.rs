//! The outer half of the Linux backend: an ordinary program that builds the enclave, starts it,
//! passes signals to it, and sees it end.

mod children;
mod launch;
mod load;
mod probe;

pub use launch::{LaunchError, run};
pub use probe::{host_calls, probe};
