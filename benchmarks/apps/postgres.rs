//! PostgreSQL with pgbench outside. The cluster is made by each side itself.

use super::servers::{loaded, rows};
use crate::context::Context;
use crate::job::Job;
use crate::process::{Server, free_port, run};
use crate::side::{Side, find};
use bastide_tests::command;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes the cluster where there is none, and becomes the server.
const SCRIPT: &str = "set -e
# gVisor lets only root write there; all that it writes is in memory.
dir=${3:-/dev/shm}; [ -w $dir ] || dir=/tmp
data=$dir/bastide-postgres-$2
trap 'rm -rf $data' EXIT
$1/initdb --auth=trust --no-sync --username=postgres --pgdata=$data
$1/postgres -D $data -p $2 -c listen_addresses=127.0.0.1 -c unix_socket_directories= &
trap 'kill -INT $!' TERM
wait || wait
";

/// Where Debian puts the programs of the newest version installed.
pub fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let programs = versions.flatten().map(|version| version.path().join("bin"));
    programs.filter(|dir| dir.join("initdb").is_file()).max()
}

/// A client outside.
fn client(program: &str, port: u16, dir: &Path) -> Command {
    let program = find(program).unwrap_or_else(|| program.into());
    let mut command = command(program, dir);
    command.args(["-h", "127.0.0.1", "-U", "postgres", "-p"]);
    command.arg(port.to_string());
    command
}

/// A server with pgbench's tables. `setpriv` is the command for that program on this side; `data`
/// the directory for the cluster, else it is in memory.
pub fn start(
    side: &Side,
    mut setpriv: Command,
    dir: &Path,
    port: u16,
    data: Option<&Path>,
) -> Result<Server, String> {
    // It does not run as root; and who changes its user forgets to end with its parent.
    setpriv.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    setpriv.arg("--pdeathsig=TERM");
    setpriv.args(["/bin/bash", "-c", SCRIPT, "postgres"]);
    setpriv.arg(programs().ok_or("PostgreSQL is gone")?);
    setpriv.arg(port.to_string()).args(data);
    let ready = || run(client("pg_isready", port, dir), None).is_ok();
    let server = Server::start(setpriv, side, &dir.join("log"), ready)?;
    let mut fill = client("pgbench", port, dir);
    fill.args(["-i", "-q", "postgres"]);
    run(fill, None)?;
    Ok(server)
}

/// A round of pgbench with one more option: transactions a second, and the processor time of each.
pub fn bench(
    context: &Context,
    server: &Server,
    port: u16,
    dir: &Path,
    option: &str,
) -> Result<[Option<f64>; 2], String> {
    loaded(server, || {
        let mut bench = client("pgbench", port, dir);
        let duration = context.amount("3", "1");
        bench.args([option, "-c", "4", "-T", duration, "postgres"]);
        let said = run(bench, None)?.1;
        // "number of transactions actually processed: 1234", "tps = 411.3 (without …)"
        let number = |mark: &str| {
            let (_, rest) = said.split_once(mark)?;
            rest.split_ascii_whitespace().next()?.parse().ok()
        };
        number("actually processed: ")
            .zip(number("tps = "))
            .ok_or_else(|| format!("pgbench said {said:?}"))
    })
}

pub fn jobs() -> Vec<Job> {
    // What pgbench is told, for its own mix of statements and for SELECT alone.
    const TESTS: [(&str, &str); 2] = [("pgbench", "--no-vacuum"), ("pgbench-select", "-nS")];
    let all = TESTS
        .iter()
        .flat_map(|(name, _)| rows(name, Some(1.05), None));
    let mut job = Job::new("postgres", all.collect(), |context, side| {
        let dir = context.dir(&format!("postgres-{}", side.name()))?;
        let port = free_port();
        let setpriv = side.command("/usr/bin/setpriv", &dir);
        let server = start(side, setpriv, &dir, port, None)?;
        let context = context.clone();
        Ok(Box::new(move || {
            let mut figures = Vec::new();
            for (_, option) in TESTS {
                figures.extend(bench(&context, &server, port, &dir, option)?);
            }
            Ok(figures)
        }))
    });
    if programs().is_none() {
        job.missing = Some("PostgreSQL is not installed".into());
    }
    vec![
        job.needs(&["pgbench", "pg_isready", "setpriv"])
            .with_memory(),
    ]
}
