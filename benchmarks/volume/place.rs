//! A directory on the disk, in one of three ways: as it is, in a sealed volume, or encrypted by
//! gocryptfs.

use crate::context::Context;
use crate::process::{free_port, run};
use crate::side::{Side, find};
use bastide_tests::{bastide, command};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

/// Where programs inside find a volume.
const INSIDE: &str = "/data";

/// A directory of a side's own, and how to run programs that see it.
pub struct Place {
    side: Rc<Side>,
    dir: PathBuf,
    files: PathBuf,
    port: u16,
    /// gocryptfs, while it serves.
    daemon: Option<Child>,
}

impl Place {
    /// An empty one, for a volume of this size.
    pub fn new(
        context: &Context,
        side: &Rc<Side>,
        name: &str,
        size: &str,
    ) -> Result<Place, String> {
        let dir = context.dir(&format!("volume-{name}-{}", side.name()))?;
        let mut place = Place {
            side: side.clone(),
            files: dir.join("files"),
            dir,
            port: free_port(),
            daemon: None,
        };
        let io = |error: std::io::Error| error.to_string();
        if side.is_bastide() {
            place.files = INSIDE.into();
            fs::write(place.dir.join("key"), [9; 32]).map_err(io)?;
            let mut create = command(bastide(), &place.dir);
            create.args(["volume", "create", "v", "--key-file", "key", "--size", size]);
            run(create, None)?;
            // The scratch directory by itself: it may lie in /tmp, which is another one inside.
            let scratch = place.dir.parent().unwrap_or(&place.dir).display();
            let manifest = format!(
                "program = \"/usr/bin/env\"\n[network]\npublish = [\"{0}:{0}\"]\n\
                 [[mount]]\ntarget = \"/\"\ntype = \"overlay\"\nsource = \"/\"\n\
                 [[mount]]\ntarget = \"{scratch}\"\nsource = \"{scratch}\"\n\
                 [[mount]]\ntarget = \"{INSIDE}\"\ntype = \"volume\"\nsource = \"v\"\nkey_file = \"key\"\n",
                place.port
            );
            fs::write(place.dir.join("m.toml"), manifest).map_err(io)?;
            return Ok(place);
        }
        fs::create_dir_all(&place.files).map_err(io)?;
        if side.is_gocryptfs() {
            place.encrypt()?;
        }
        Ok(place)
    }

    fn encrypt(&mut self) -> Result<(), String> {
        let io = |error: std::io::Error| error.to_string();
        fs::write(self.dir.join("password"), "benchmark").map_err(io)?;
        fs::create_dir_all(self.dir.join("sealed")).map_err(io)?;
        let gocryptfs = || command(find("gocryptfs").unwrap_or_default(), &self.dir);
        let mut init = gocryptfs();
        init.args([
            "-init",
            "-q",
            "-scryptn",
            "10",
            "-passfile",
            "password",
            "sealed",
        ]);
        run(init, None)?;
        let mut mount = gocryptfs();
        mount.args([
            "-fg",
            "-q",
            "-allow_other",
            "-passfile",
            "password",
            "sealed",
            "files",
        ]);
        mount
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = mount.spawn().map_err(io)?;
        self.side.helped_by(child.id());
        let deadline = Instant::now() + Duration::from_secs(30);
        let mounted = || {
            let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
            mounts.contains(&format!(" {} fuse.gocryptfs ", self.files.display()))
        };
        while !mounted() {
            if Instant::now() > deadline || child.try_wait().map_err(io)?.is_some() {
                let _ = child.kill();
                return Err("gocryptfs does not mount".into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.daemon = Some(child);
        Ok(())
    }

    pub fn side(&self) -> &Side {
        &self.side
    }

    /// The directory on the host that all of it lies in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory that is measured, as programs see it.
    pub fn files(&self) -> &Path {
        &self.files
    }

    /// A port that programs there can be reached at.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A program that sees it.
    pub fn command(&self, program: &Path) -> Command {
        if !self.side.is_bastide() {
            return command(program, &self.dir);
        }
        let mut runner = command(bastide(), &self.dir);
        runner.args(["run", "--quiet", "m.toml", "--"]).arg(program);
        runner
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let mut unmount = command("/usr/bin/umount", &self.dir);
            unmount.arg("-l").arg(&self.files);
            let _ = run(unmount, None);
            let _ = daemon.wait();
            self.side.helped_by(0);
        }
    }
}
