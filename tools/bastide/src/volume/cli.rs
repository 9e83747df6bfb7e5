//! The command line of `bastide volume`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Makes and looks into sealed volumes: encrypted file systems in one file each
///
/// The host sees the file's length and when it is written, and nothing of names, sizes or contents.
/// What it alters is an error, never other data.
#[derive(Subcommand, Debug)]
#[command(after_help = "\
Examples:
  head -c 32 /dev/urandom > key
  bastide volume create data.vol --size 1G --key-file key
  bastide volume import data.vol ./site --key-file key
  bastide volume ls data.vol / -l --key-file key
  bastide volume fsck data.vol --key-file key
  bastide volume seal debian.img ./rootfs --public
")]
pub enum VolumeVerb {
    /// Makes an empty volume
    Create {
        #[command(flatten)]
        access: Access,
        /// How large it may get: bytes, or with K, M, G or T
        #[arg(long, value_parser = bastide_manifest::parse_size)]
        size: u64,
        #[command(flatten)]
        contents: Contents,
    },
    /// Says what a volume is; without a key, only what anybody may know
    Info {
        #[command(flatten)]
        access: Access,
    },
    /// Lists a directory
    Ls {
        #[command(flatten)]
        access: Access,
        /// In the volume
        #[arg(default_value = "/")]
        path: PathBuf,
        /// With modes, owners, sizes and times
        #[arg(short, long)]
        long: bool,
    },
    /// Writes a file's contents to standard output
    Cat {
        #[command(flatten)]
        access: Access,
        /// In the volume
        path: PathBuf,
    },
    /// Copies a host file into the volume
    Put {
        #[command(flatten)]
        access: Access,
        /// On the host
        source: PathBuf,
        /// In the volume: the new file, or a directory for it
        path: PathBuf,
    },
    /// Copies a file of the volume to the host
    Get {
        #[command(flatten)]
        access: Access,
        /// In the volume
        path: PathBuf,
        /// On the host: the new file, or a directory for it
        target: PathBuf,
    },
    /// Copies a host directory's contents into the volume: owners, modes, links, attributes, times
    Import {
        #[command(flatten)]
        access: Access,
        /// On the host
        dir: PathBuf,
        /// The directory of the volume that gets the contents
        #[arg(default_value = "/")]
        path: PathBuf,
    },
    /// Copies a directory of the volume to an empty or new host directory
    Export {
        #[command(flatten)]
        access: Access,
        /// On the host
        dir: PathBuf,
        /// In the volume
        #[arg(default_value = "/")]
        path: PathBuf,
    },
    /// Makes an image of a host directory: a volume that is only read. Prints its root hash
    ///
    /// The root hash stands for all that is in the image, whoever has the key. It belongs into the
    /// manifest that mounts the image, which refuses any other.
    #[command(after_help = "\
Examples:
  bastide volume seal debian.img ./rootfs --public
  bastide volume seal model.img ./model --key-file key
")]
    Seal {
        /// The file for the image, which is made
        image: PathBuf,
        /// On the host
        dir: PathBuf,
        #[command(flatten)]
        key: KeyArgs,
        /// Encrypts it with no secret: anybody can read it, and nobody change it
        #[arg(long, group = "key")]
        public: bool,
        #[command(flatten)]
        contents: Contents,
    },
    /// Checks every block, and that all that is said twice agrees
    Fsck {
        #[command(flatten)]
        access: Access,
    },
    /// Makes the volume open with another key
    ///
    /// Only the header is written: the contents keep the volume's own secret. Who has the old key
    /// and an older copy of the file can still open that copy.
    Rekey {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        new: NewKey,
    },
}

/// A volume, and what opens it.
#[derive(Args, Debug)]
pub struct Access {
    /// The file that holds the volume
    #[arg(value_name = "VOLUME")]
    pub volume: PathBuf,
    #[command(flatten)]
    pub key: KeyArgs,
    /// Remembers the volume's newest state in this file, and refuses an older one. Keep it where
    /// who can replace the volume cannot replace it too
    #[arg(long, value_name = "FILE")]
    pub anchor: Option<PathBuf>,
    /// Refuses an image that is not the one with this root hash
    #[arg(long, value_name = "HASH", value_parser = bastide_manifest::parse_hash)]
    pub root_hash: Option<[u8; 32]>,
}

/// How a new volume or image keeps contents.
#[derive(Args, Debug)]
pub struct Contents {
    /// Compresses contents (LZ4). The host can then tell from lengths how well they compress, and so
    /// something of what they say: leave it out where secrets and what others choose share a file
    #[arg(long)]
    pub compress: bool,
}

/// Where a key is.
#[derive(Args, Debug)]
pub struct KeyArgs {
    /// Reads the key, 32 bytes, from this file
    #[arg(long, value_name = "FILE", group = "key")]
    pub key_file: Option<PathBuf>,
    /// Takes the key, 64 hexadecimal digits, from this environment variable
    #[arg(long, value_name = "NAME", group = "key")]
    pub key_env: Option<String>,
    /// Derives the key from a passphrase, asked for or read from standard input
    #[arg(long, group = "key")]
    pub passphrase: bool,
    /// The same, with the passphrase in this environment variable
    #[arg(long, value_name = "NAME", group = "key")]
    pub passphrase_env: Option<String>,
    /// The same, with the next line of this open descriptor, as in 3< <(pass show volume)
    #[arg(long, value_name = "N", group = "key", value_parser = bastide_manifest::parse_fd)]
    pub passphrase_fd: Option<i32>,
}

/// The key that a volume shall have.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct NewKey {
    /// Reads the new key, 32 bytes, from this file
    #[arg(long, value_name = "FILE")]
    pub new_key_file: Option<PathBuf>,
    /// Takes the new key, 64 hexadecimal digits, from this environment variable
    #[arg(long, value_name = "NAME")]
    pub new_key_env: Option<String>,
    /// Derives the new key from a passphrase, asked for or read from standard input
    #[arg(long)]
    pub new_passphrase: bool,
    /// The same, with the passphrase in this environment variable
    #[arg(long, value_name = "NAME")]
    pub new_passphrase_env: Option<String>,
    /// The same, with the next line of this open descriptor
    #[arg(long, value_name = "N", value_parser = bastide_manifest::parse_fd)]
    pub new_passphrase_fd: Option<i32>,
}
