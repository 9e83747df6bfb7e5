//! An interactive shell in a terminal, driven through tmux.

use crate::{LIMIT, bastide_in};
use bastide_tests::{Ending, Scratch, bastide, run};
use std::process::Command;
use std::time::{Duration, Instant};

/// A terminal with `bash` under Bastide in it.
struct Terminal {
    socket: String,
    scratch: Scratch,
}

impl Terminal {
    fn start(name: &str) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            eprintln!("skipped: tmux is not installed (tests/setup.sh installs it)");
            return None;
        }
        let scratch = Scratch::new(name);
        let terminal = Terminal {
            socket: scratch.path().join("tmux").display().to_string(),
            scratch,
        };
        let shell = format!(
            "env -i PATH=/usr/bin:/bin HOME=/ TERM=screen PS1='$ ' {} run -q -- bash --norc --noprofile -i; \
             echo outer shell $?; exec sh -i",
            bastide().display()
        );
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            &shell,
        ]);
        terminal.expect("$");
        Some(terminal)
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-S", &self.socket])
            .args(args)
            .env_remove("TMUX")
            .output()
            .unwrap();
        assert!(output.status.success(), "tmux {args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a line.
    fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.keys(&["Enter"]);
    }

    /// Waits until the screen shows a line that ends so.
    #[track_caller]
    fn expect(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let screen = self.tmux(&["capture-pane", "-p", "-S", "-100"]);
            if screen.lines().any(|line| line.trim_end().ends_with(text)) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "no `{text}` on the screen:\n{screen}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .args(["-S", &self.socket, "kill-server"])
            .output();
    }
}

#[test]
fn line_editing() {
    let Some(terminal) = Terminal::start("editing") else {
        return;
    };
    terminal.tmux(&["send-keys", "-l", "echo lost wrods"]);
    terminal.keys(&["BSpace", "BSpace", "BSpace", "BSpace", "o", "r", "d", "s"]);
    terminal.keys(&["C-a", "M-f", "Right", "M-d", "Enter"]);
    terminal.expect("words");
    terminal.keys(&["Up", "Enter"]);
    terminal.line("echo $((20 + 3)) !!:0");
    terminal.expect("23 echo");
    terminal.tmux(&["send-keys", "-l", "echo /etc/passw"]);
    terminal.keys(&["Tab", "Enter"]);
    terminal.expect("/etc/passwd");
    terminal.line("tty; test -t 0 -a -t 1 -a -t 2 && echo terminal");
    terminal.expect("terminal");
    terminal.line("exit 3");
    terminal.expect("outer shell 3");
}

#[test]
fn interrupt_and_suspend() {
    let Some(terminal) = Terminal::start("job-control") else {
        return;
    };
    terminal.line("sleep 1000");
    // Nothing on the screen tells when a program waits.
    std::thread::sleep(Duration::from_millis(300));
    terminal.keys(&["C-c"]);
    terminal.line("echo status $?");
    terminal.expect("status 130");
    terminal.line("cat");
    terminal.line("first");
    std::thread::sleep(Duration::from_millis(300));
    terminal.keys(&["C-z"]);
    terminal.expect("[1]+  Stopped                 cat");
    terminal.line("echo status $?");
    terminal.expect("status 148");
    terminal.line("fg");
    std::thread::sleep(Duration::from_millis(300));
    terminal.line("second");
    std::thread::sleep(Duration::from_millis(300));
    terminal.keys(&["C-d"]);
    terminal.line("echo status $?");
    terminal.expect("status 0");
    terminal.line("sleep 1000 & jobs; kill %1; wait %1; echo killed $?");
    terminal.expect("killed 143");
    // Ctrl-D at the prompt ends the shell.
    terminal.keys(&["C-d"]);
    terminal.expect("outer shell 0");
    // The terminal is as it was: it echoes and edits lines.
    terminal.line("stty -a | grep -o ' icanon'; echo sane");
    terminal.expect("sane");
}

#[test]
fn window_size() {
    let Some(terminal) = Terminal::start("window-size") else {
        return;
    };
    terminal.line("stty size");
    terminal.expect("24 80");
    terminal.line("trap 'echo re\"\"sized' WINCH; echo set; echo");
    terminal.expect("set");
    terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    terminal.line("sleep 0.2; stty size");
    terminal.expect("30 100");
    terminal.expect("resized");
}

#[test]
fn full_screen_program() {
    let Some(terminal) = Terminal::start("full-screen") else {
        return;
    };
    terminal.line("seq 1 200 | less");
    terminal.expect("23");
    terminal.keys(&["G"]);
    terminal.expect("200");
    terminal.keys(&["q"]);
    terminal.line("stty raw -echo; head -c 1 | od -An -c; stty sane; echo do''ne");
    std::thread::sleep(Duration::from_millis(300));
    terminal.keys(&["x"]);
    terminal.expect("done");
}

#[test]
fn a_passphrase_is_asked_for_and_not_shown() {
    let Some(terminal) = Terminal::start("terminal-passphrase") else {
        return;
    };
    let dir = terminal.scratch.path();
    let args = ["volume", "create", "p", "--size", "1M", "--passphrase"];
    let made = run(bastide_in(dir, &args), "correct horse\n", LIMIT);
    assert_eq!(made.ending, Ending::Code(0), "{made:?}");
    terminal.line("exit");
    terminal.expect("outer shell 0");
    terminal.line(&format!(
        "{} run -q --mount volume:{}/p:/data -- sh -c 'echo x > /data/f; echo opened; read a; echo got $a'",
        bastide().display(),
        dir.display()
    ));
    terminal.expect("Passphrase:");
    terminal.line("correct horse");
    terminal.expect("opened");
    let screen = terminal.tmux(&["capture-pane", "-p"]);
    assert!(!screen.contains("horse"), "{screen}");
    // The program has the terminal as it was.
    terminal.line("typed");
    terminal.expect("got typed");
    let screen = terminal.tmux(&["capture-pane", "-p"]);
    assert!(screen.lines().any(|line| line == "typed"), "{screen}");
}
