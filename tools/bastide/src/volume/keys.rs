//! Where keys come from.

use super::cli::{KeyArgs, NewKey};
use crate::Failure;
use argon2::{Algorithm, Argon2, Params, Version};
use bastide_manifest::{VolumeKey, parse_hex};
use bastide_volume::{Kdf, Key32, PUBLIC};
use rustix::io::FdFlags;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::env::VarError;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What a passphrase costs by default: about half a second, and 64 MiB.
const COST: Kdf = Kdf::Argon2id {
    memory: 64 * 1024,
    passes: 3,
    lanes: 1,
};
/// The most that a volume's header may make us spend; it is not authenticated before the key is.
const MEMORY_MOST: u32 = 4 * 1024 * 1024;
const PASSES_MOST: u32 = 64;

/// A source of keys. Others, such as keys that are released to an attested enclave, come here.
pub trait KeySource {
    /// How a new volume's key is made from what this source has.
    fn kdf(&self) -> Kdf;
    /// The key, for a volume with this derivation and salt. `new` asks a person twice.
    fn key(&self, kdf: Kdf, salt: &[u8; 32], new: bool) -> Result<Key32, Failure>;
}

/// A file of 32 bytes.
struct File(PathBuf);
/// An environment variable of 64 hexadecimal digits.
struct Env(String);
/// A passphrase.
enum Passphrase {
    /// What a person types.
    Asked,
    /// An environment variable.
    Env(String),
    /// The next line of a descriptor.
    Fd(i32),
}
/// No secret at all: for images that anybody may read.
pub struct Public;

impl KeyArgs {
    /// The source that was named, if one was.
    pub fn key(&self) -> Option<Box<dyn KeySource>> {
        let key = (self.key_file.clone().map(VolumeKey::File))
            .or(self.key_env.clone().map(VolumeKey::Env))
            .or(self.passphrase_env.clone().map(VolumeKey::PassphraseEnv))
            .or(self.passphrase_fd.map(VolumeKey::PassphraseFd))
            .or(self.passphrase.then_some(VolumeKey::Passphrase))?;
        Some(of_manifest(&key))
    }

    /// The source that was named.
    pub fn needed_key(&self) -> Result<Box<dyn KeySource>, Failure> {
        self.key().ok_or_else(no_key)
    }
}

/// The options that name a source.
pub const SOURCES: &str = "--key-file FILE, --key-env NAME, --passphrase, --passphrase-env NAME or \
                           --passphrase-fd N";

/// A key is needed, and none was given.
pub fn no_key() -> Failure {
    Failure::new(format!("no key\n  = help: give {SOURCES}"))
}

impl NewKey {
    /// The source that was named.
    pub fn key(&self) -> Option<Box<dyn KeySource>> {
        KeyArgs {
            key_file: self.new_key_file.clone(),
            key_env: self.new_key_env.clone(),
            passphrase: self.new_passphrase,
            passphrase_env: self.new_passphrase_env.clone(),
            passphrase_fd: self.new_passphrase_fd,
        }
        .key()
    }
}

/// The source that a manifest names.
pub fn of_manifest(key: &VolumeKey) -> Box<dyn KeySource> {
    match key {
        VolumeKey::File(path) => Box::new(File(path.clone())),
        VolumeKey::Env(name) => Box::new(Env(name.clone())),
        VolumeKey::Passphrase => Box::new(Passphrase::Asked),
        VolumeKey::PassphraseEnv(name) => Box::new(Passphrase::Env(name.clone())),
        VolumeKey::PassphraseFd(fd) => Box::new(Passphrase::Fd(*fd)),
    }
}

/// A key that is kept as it is does not open a volume whose key is a passphrase's.
fn as_it_is(kdf: Kdf) -> Result<(), Failure> {
    match kdf {
        Kdf::Key => Ok(()),
        Kdf::Argon2id { .. } => Err(Failure::new(
            "this volume is opened by a passphrase\n  = help: give --passphrase, --passphrase-env NAME \
             or --passphrase-fd N (in a manifest, passphrase = true, passphrase_env or passphrase_fd)",
        )),
        Kdf::Public => Err(Failure::new(
            "this image is for anybody to read: it has no key\n  = help: give none",
        )),
    }
}

/// No passphrase opens a volume whose key is none's.
pub fn not_a_passphrase(kdf: Kdf) -> Failure {
    as_it_is(kdf).err().unwrap_or_else(|| {
        Failure::new(
            "this volume is opened by a key, not by a passphrase\n  = help: give --key-file FILE or \
             --key-env NAME (in a manifest or --mount, key_file or key_env)",
        )
    })
}

impl KeySource for File {
    fn kdf(&self) -> Kdf {
        Kdf::Key
    }

    fn key(&self, kdf: Kdf, _: &[u8; 32], _: bool) -> Result<Key32, Failure> {
        as_it_is(kdf)?;
        read_key_file(&self.0)
    }
}

fn read_key_file(path: &Path) -> Result<Key32, Failure> {
    let bytes = std::fs::read(path)
        .map_err(|e| Failure::new(format!("cannot read the key file {}: {e}", path.display())))?;
    let len = bytes.len();
    bytes.try_into().map(Key32::new).map_err(|_| {
        Failure::new(format!(
            "the key file {} has {len} bytes, and a key has 32\n  = help: make one with \
             `head -c 32 /dev/urandom > FILE`",
            path.display()
        ))
    })
}

impl KeySource for Env {
    fn kdf(&self) -> Kdf {
        Kdf::Key
    }

    fn key(&self, kdf: Kdf, _: &[u8; 32], _: bool) -> Result<Key32, Failure> {
        as_it_is(kdf)?;
        let name = &self.0;
        parse_hex(&variable(name)?).map(Key32::new).ok_or_else(|| {
            Failure::new(format!(
                "the environment variable {name} does not hold 64 hexadecimal digits"
            ))
        })
    }
}

/// An environment variable's value. What is wrong with it is said without it.
fn variable(name: &str) -> Result<Zeroizing<String>, Failure> {
    let text = std::env::var(name).map_err(|e| {
        Failure::new(match e {
            VarError::NotPresent => format!("the environment variable {name} is not set"),
            VarError::NotUnicode(_) => {
                format!("the environment variable {name} is not text in UTF-8")
            }
        })
    })?;
    Ok(Zeroizing::new(text))
}

/// The next line of a descriptor that was open when we were started.
fn next_line(fd: i32) -> Result<Zeroizing<String>, Failure> {
    let failed = |e: rustix::io::Errno| {
        Failure::new(format!(
            "cannot read the passphrase from descriptor {fd}: {e}\n  = help: leave it open for \
             bastide, for example with `{fd}< FILE` or `{fd}< <(pass show volume)`"
        ))
    };
    // SAFETY: nothing here closes a descriptor that it did not open, and the number is not negative;
    // if there is none, the calls fail.
    let from = unsafe { BorrowedFd::borrow_raw(fd) };
    // Those that we opened are closed on exec, and so none of those that we were started with.
    match rustix::io::fcntl_getfd(from).map_err(failed)? {
        flags if flags.contains(FdFlags::CLOEXEC) => Err(failed(rustix::io::Errno::BADF)),
        _ => text(read_line(from).map_err(failed)?),
    }
}

fn text(line: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, Failure> {
    match std::str::from_utf8(&line) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Failure::new("the passphrase is not text in UTF-8")),
    }
}

impl Passphrase {
    /// The passphrase. A person is asked twice for a new one.
    fn text(&self, new: bool) -> Result<Zeroizing<String>, Failure> {
        let text = match self {
            Passphrase::Asked => ask("Passphrase: ")?,
            Passphrase::Env(name) => variable(name)?,
            Passphrase::Fd(fd) => next_line(*fd)?,
        };
        if text.is_empty() && (new || !matches!(self, Passphrase::Asked)) {
            return Err(Failure::new(match self {
                Passphrase::Asked => "the passphrase is empty".into(),
                Passphrase::Env(name) => format!("the environment variable {name} is empty"),
                Passphrase::Fd(fd) => format!("descriptor {fd} has no line with a passphrase"),
            }));
        }
        let again = new && matches!(self, Passphrase::Asked) && std::io::stdin().is_terminal();
        if again && ask("Again: ")? != text {
            return Err(Failure::new("the two are not the same"));
        }
        Ok(text)
    }
}

impl KeySource for Passphrase {
    fn kdf(&self) -> Kdf {
        COST
    }

    fn key(&self, kdf: Kdf, salt: &[u8; 32], new: bool) -> Result<Key32, Failure> {
        let Kdf::Argon2id {
            memory,
            passes,
            lanes,
        } = kdf
        else {
            return Err(not_a_passphrase(kdf));
        };
        if memory > MEMORY_MOST || passes > PASSES_MOST {
            return Err(Failure::new(
                "the volume's header asks for more work than any passphrase needs: it was altered",
            ));
        }
        let text = self.text(new)?;
        let mut key = Key32::new([0; 32]);
        let params = Params::new(memory, passes, lanes, Some(32));
        params
            .and_then(|params| {
                let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                argon.hash_password_into(text.as_bytes(), salt, &mut *key)
            })
            .map_err(|e| Failure::new(format!("cannot derive the key: {e}")))?;
        Ok(key)
    }
}

impl KeySource for Public {
    fn kdf(&self) -> Kdf {
        Kdf::Public
    }

    fn key(&self, kdf: Kdf, _: &[u8; 32], _: bool) -> Result<Key32, Failure> {
        match kdf {
            Kdf::Public => Ok(Key32::new(PUBLIC)),
            _ => Err(no_key()),
        }
    }
}

/// Asks for a line, without showing what is typed. Without a terminal, reads one.
fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let stdin = std::io::stdin();
    let silent = stdin.is_terminal().then(|| {
        let _ = write!(std::io::stderr(), "{prompt}");
        tcgetattr(&stdin).ok()
    });
    if let Some(Some(was)) = &silent {
        let mut quiet = was.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &quiet);
    }
    let line = read_line(&stdin);
    if let Some(Some(was)) = &silent {
        let _ = tcsetattr(&stdin, OptionalActions::Flush, was);
        let _ = writeln!(std::io::stderr());
    }
    text(line.map_err(|e| Failure::new(format!("cannot read the passphrase: {e}")))?)
}

/// A line, and not a byte of what follows it: that is the program's.
fn read_line(from: impl AsFd) -> rustix::io::Result<Zeroizing<Vec<u8>>> {
    // As long as a terminal's line, and so never moved.
    let mut line = Zeroizing::new(Vec::with_capacity(4096));
    let mut byte = [0];
    while line.len() < line.capacity() {
        match rustix::io::read(&from, &mut byte) {
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => line.extend_from_slice(&byte),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}
