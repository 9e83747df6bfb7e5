//! `bastide doctor`.

use crate::Failure;
use bastide_outer as outer;

/// Says what this machine can do; or, with `host_calls`, what can leave the enclave.
pub fn doctor(host_calls: bool) -> Result<u8, Failure> {
    if host_calls {
        let calls = outer::host_calls();
        let width = calls.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, reason) in &calls {
            println!("{name:width$}  {reason}");
        }
        println!(
            "{} host calls; the host kills the enclave for any other",
            calls.len()
        );
        return Ok(0);
    }
    let host = rustix::system::uname();
    println!(
        "bastide {} on {} {} {}",
        env!("CARGO_PKG_VERSION"),
        host.sysname().to_string_lossy(),
        host.release().to_string_lossy(),
        host.machine().to_string_lossy()
    );
    let findings = outer::probe();
    let width = findings
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0);
    let mut able = true;
    for (name, finding) in &findings {
        match finding {
            Ok(detail) => println!("  ok       {name:width$}  {detail}"),
            Err(detail) => {
                able = false;
                println!("  missing  {name:width$}  {detail}");
            }
        }
    }
    println!(
        "backend: linux. No hardware protection: the host's kernel and its administrator can read \
         and change the program's memory."
    );
    if able {
        println!("This machine can run Bastide.");
        Ok(0)
    } else {
        println!("This machine cannot run Bastide until what is missing is there.");
        Ok(1)
    }
}
