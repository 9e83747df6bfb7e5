//! Whole programs.

mod client;
pub mod postgres;
pub mod programs;
mod servers;
mod start;

use crate::job::Job;

pub fn jobs() -> Vec<Job> {
    let mut jobs = start::jobs();
    jobs.extend(servers::jobs());
    jobs.extend(postgres::jobs());
    jobs.extend(programs::jobs());
    jobs
}
