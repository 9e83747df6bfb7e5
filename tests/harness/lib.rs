//! Runs a program natively and under Bastide, in equal surroundings, and compares what comes out.

mod case;
mod command;
mod compile;
mod scratch;

pub use case::{Case, cases};
pub use command::{Ending, Outcome, bastide, command, run, without_notice};
pub use compile::compile;
pub use scratch::{Scratch, tree};
