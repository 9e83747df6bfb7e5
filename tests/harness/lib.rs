//! Runs a program natively and under Bastide, in equal surroundings, and compares what comes out.

mod case;
mod command;
mod compile;
mod copy;
mod http;
mod scratch;
mod server;

pub use case::{Case, cases};
pub use command::{Ending, Outcome, bastide, command, run, without_notice};
pub use compile::{compile, compile_c};
pub use copy::Copy;
pub use http::{Client, Reply, load};
pub use scratch::{Scratch, tree};
pub use server::{Server, free_port};
