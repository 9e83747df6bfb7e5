//! What can go wrong, told so that a person can act on it.

use core::fmt;

/// The result of an operation on a volume.
pub type Result<T> = core::result::Result<T, Error>;

/// Why an operation failed. The first group is what a file system answers; the second is why a
/// volume cannot be opened or used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// No such name or file (ENOENT).
    NotFound,
    /// The name is taken (EEXIST).
    Exists,
    /// Not a directory (ENOTDIR).
    NotDir,
    /// A directory (EISDIR).
    IsDir,
    /// The directory has entries (ENOTEMPTY).
    NotEmpty,
    /// The volume is full (ENOSPC).
    NoSpace,
    /// There is no room until reads end that are under way: then it is to be tried again.
    Busy,
    /// The volume is open for reading only (EROFS).
    ReadOnly,
    /// The name is empty or longer than 255 bytes (ENAMETOOLONG).
    NameTooLong,
    /// The operation makes no sense for this file (EINVAL).
    Invalid,
    /// A directory cannot have a second name (EPERM).
    NotPermitted,
    /// The file would be larger than a file can be (EFBIG).
    TooBig,
    /// The file has too many names (EMLINK).
    TooManyLinks,
    /// The file has no such extended attribute (ENODATA).
    NoAttribute,

    /// A block does not hold what was written to it: the host file was altered (EIO).
    Damaged { block: u64 },
    /// An authenticated block makes no sense: a fault of the program that wrote it (EIO).
    Malformed { block: u64 },
    /// The host could not read, write or flush the file (EIO).
    Device(DeviceError),
    /// The host failed while a state was made durable, so that nobody knows which is on disk: the
    /// volume can still be read, and must be opened again to be changed (EROFS).
    Stopped,
    /// The file has no volume's header.
    NotAVolume,
    /// A volume of a later format.
    Version { found: u32 },
    /// A volume with features that this program does not know, one bit each.
    Features { unknown: u32 },
    /// The file has no image's first block.
    NotAnImage,
    /// The image is not the one that the root hash stands for.
    RootHash,
    /// A volume that needs no key, and so says nothing of who wrote it, where no hash does.
    Public,
    /// The key opens neither copy of the header.
    WrongKey,
    /// The header opened, and neither root did.
    NoRoot,
    /// The file is shorter than the volume in it.
    Truncated { have: u64, need: u64 },
    /// The volume is older than its anchor says.
    Stale { generation: u64, anchor: u64 },
    /// The volume has the anchor's generation, and another content.
    Forked { generation: u64 },
    /// The anchor is another volume's.
    OtherVolume,
    /// The anchor could not be read or written.
    Anchor,
    /// The size asked for is too small for a volume, or too large.
    Size { least: u64, most: u64 },
    /// The source of random numbers failed.
    Random,
}

/// What a device could not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceError {
    /// It failed (EIO).
    Failed,
    /// It has no room for what was to be written (ENOSPC).
    Full,
    /// A block of an image's file is not what the root hash stands for (EIO).
    Altered { block: u64 },
}

impl Error {
    /// Something in the file cannot be read, and will not be the next time either.
    pub(crate) fn is_damage(&self) -> bool {
        use Error::{Damaged, Device, Malformed};
        matches!(
            self,
            Damaged { .. } | Malformed { .. } | Device(DeviceError::Failed)
        )
    }
}

impl From<DeviceError> for Error {
    fn from(e: DeviceError) -> Error {
        match e {
            DeviceError::Failed | DeviceError::Full => Error::Device(e),
            DeviceError::Altered { block } => Error::Damaged { block },
        }
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Error::from(*self).fmt(f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound => f.write_str("no such file or directory"),
            Error::Exists => f.write_str("the name exists"),
            Error::NotDir => f.write_str("not a directory"),
            Error::IsDir => f.write_str("is a directory"),
            Error::NotEmpty => f.write_str("the directory is not empty"),
            Error::NoSpace => f.write_str("the volume is full"),
            Error::Busy => f.write_str("what was freed is still being read: try again"),
            Error::ReadOnly => f.write_str("the volume is open for reading only"),
            Error::NameTooLong => f.write_str("the name is empty or longer than 255 bytes"),
            Error::Invalid => f.write_str("not possible for this kind of file"),
            Error::NotPermitted => f.write_str("not permitted for a directory"),
            Error::TooBig => f.write_str("the file would be too large"),
            Error::TooManyLinks => f.write_str("the file has too many names"),
            Error::NoAttribute => f.write_str("no such extended attribute"),
            Error::Damaged { block } | Error::Device(DeviceError::Altered { block }) => write!(
                f,
                "block {block} does not hold what was written to it: the file was altered or its \
                 disk is failing"
            ),
            Error::Malformed { block } => write!(
                f,
                "block {block} is authentic but makes no sense: a fault of the program that wrote it"
            ),
            Error::Device(DeviceError::Failed) => {
                f.write_str("the host cannot read or write the volume's file")
            }
            Error::Device(DeviceError::Full) => {
                f.write_str("the host has no room for the volume's file to grow")
            }
            Error::Stopped => f.write_str(
                "the host failed while changes were made durable; the volume takes no more of them \
                 until it is opened again",
            ),
            Error::NotAVolume => f.write_str("not a volume: the header is missing"),
            Error::NotAnImage => f.write_str("not an image: its first block is missing"),
            Error::RootHash => f.write_str(
                "this is not the image that the root hash stands for: the file was altered or \
                 replaced, or the hash is another image's",
            ),
            Error::Public => f.write_str(
                "a volume without a key, outside of an image: anybody can have written it",
            ),
            Error::Version { found } => write!(
                f,
                "a volume of format {found}, and this program knows format {} only",
                crate::header::VERSION
            ),
            Error::Features { unknown } => write!(
                f,
                "a volume with features that this program does not know ({unknown:#x}): a later one \
                 made it"
            ),
            Error::WrongKey => f.write_str(
                "the key does not open this volume (or its header was altered): nothing was changed",
            ),
            Error::NoRoot => f.write_str(
                "neither root of the volume is intact: the file was altered or its disk is failing",
            ),
            Error::Truncated { have, need } => write!(
                f,
                "the file is truncated: it has {have} bytes, and the volume in it needs {need}"
            ),
            Error::Stale { generation, anchor } if generation == anchor => write!(
                f,
                "this volume is older than its anchor: the last changes of generation {generation} \
                 are missing. Someone replaced or cut the file; if you did, on purpose, remove the \
                 anchor"
            ),
            Error::Stale { generation, anchor } => write!(
                f,
                "this volume is older than its anchor: generation {generation}, and {anchor} was \
                 written before. If you restored it from a backup on purpose, remove the anchor \
                 (then no older state can be told from this one); otherwise someone replaced the file"
            ),
            Error::Forked { generation } => write!(
                f,
                "this volume is not the one its anchor knows: generation {generation} has another \
                 content. Someone replaced the file; if you did, on purpose, remove the anchor"
            ),
            Error::OtherVolume => f.write_str("the anchor belongs to another volume"),
            Error::Anchor => f.write_str("the anchor cannot be read or written"),
            Error::Size { least, most } => {
                write!(f, "a volume's size must be from {least} to {most} bytes")
            }
            Error::Random => f.write_str("the source of random numbers failed"),
        }
    }
}

impl core::error::Error for Error {}
