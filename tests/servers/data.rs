//! What the tests of servers that keep data have in common.

use bastide_tests::{Ending, Outcome, Scratch, Server, bastide, command, run};
use std::path::Path;
use std::time::Duration;

/// How long one client may take on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A directory of the host that keeps a server's data from one start to the next.
pub struct Data {
    scratch: Scratch,
    options: Vec<String>,
}

impl Data {
    /// An empty one, seen inside at `target` and owned by `user`. Only root may give files away:
    /// for anybody else the server runs as the caller.
    pub fn new(name: &str, user: &str, target: &str) -> Data {
        let scratch = Scratch::new(&format!("data-{name}"));
        let path = scratch.path();
        let mut options = vec!["--mount".into(), format!("{}:{target}:rw", path.display())];
        let own = rustix::process::geteuid();
        if own.is_root() {
            let id = ask("id", &["-u", user]).trim().parse().expect("a number");
            std::os::unix::fs::chown(path, Some(id), None).expect("root may");
        } else {
            options.extend(["--user".into(), own.as_raw().to_string()]);
        }
        Data { scratch, options }
    }

    /// Starts the manifest `name` on it, and waits for the port that it publishes.
    pub fn start(&self, name: &str, port: u16) -> Server {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let mut server = Server::start(name, &[port], &options);
        server.wait_for_port(port);
        server
    }

    /// Where it is on the host.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }
}

/// Runs a client on the host.
pub fn client(program: &str, args: &[&str]) -> Outcome {
    let mut command = command(program, &std::env::temp_dir());
    command.args(args);
    run(command, "", LIMIT)
}

/// What a client that must succeed prints.
#[track_caller]
pub fn ask(program: &str, args: &[&str]) -> String {
    let outcome = client(program, args);
    assert_eq!(outcome.ending, Ending::Code(0), "{args:?} {outcome:?}");
    outcome.stdout
}

/// What a script prints that runs with its servers in one enclave, on loopback of its own; it must
/// succeed. `options` are those of `bastide run`.
#[track_caller]
pub fn inside(name: &str, options: &[&str], script: &str) -> String {
    const MANIFEST: &str = "program = \"/bin/bash\"\nargs = [\"/script\"]\n\
        [[mount]]\ntarget = \"/\"\ntype = \"overlay\"\nsource = \"/\"\n\
        [[mount]]\ntarget = \"/script\"\nsource = \"script\"\n";
    let scratch = Scratch::new(&format!("inside-{name}"));
    let manifest = scratch.file("manifest.toml", MANIFEST);
    scratch.file("script", script);
    let mut command = command(bastide(), scratch.path());
    command.args(["run", "--log", "error"]).args(options);
    command.arg(manifest);
    let outcome = run(command, "", LIMIT);
    assert_eq!(outcome.ending, Ending::Code(0), "{outcome:?}");
    outcome.stdout
}
