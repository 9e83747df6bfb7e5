//! What a volume needs of the world: a file, random numbers, the time, and a place for its anchor.

use crate::error::{DeviceError, Result};
use alloc::format;
use alloc::string::String;

/// The host file that a volume lives in. Nothing that it returns is trusted: contents are
/// authenticated, and [`Device::len`] serves only to tell a truncated file from an altered one.
///
/// A write is durable once a later [`Device::flush`] has returned. Before that it may be on disk or
/// not, in any order, sector by sector.
pub trait Device: Send + Sync {
    /// Fills `buf` from `offset`; a file that ends before is an error.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> core::result::Result<(), DeviceError>;
    /// Writes all of `data` at `offset`; the file grows as needed. After a failure any of it may
    /// have been written.
    fn write_at(&self, offset: u64, data: &[u8]) -> core::result::Result<(), DeviceError>;
    /// Makes what was written durable.
    fn flush(&self) -> core::result::Result<(), DeviceError>;
    /// The file's length.
    fn len(&self) -> core::result::Result<u64, DeviceError>;
    /// An image, whole or in the making: whoever reads knows by a hash that it is what was written.
    fn is_image(&self) -> bool {
        false
    }
    /// The file holds nothing.
    fn is_empty(&self) -> core::result::Result<bool, DeviceError> {
        self.len().map(|n| n == 0)
    }
}

/// Random numbers and the time.
pub trait Platform: Send + Sync {
    /// Fills `buf` with bytes that nobody can foretell, never the same twice.
    fn random(&self, buf: &mut [u8]) -> Result<()>;
    /// Nanoseconds since 1970.
    fn now(&self) -> i64;
}

/// What an anchor remembers: the newest state of one volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The volume's identity, [`crate::Volume::id`].
    pub volume: [u8; 16],
    /// The generation of the root.
    pub generation: u64,
    /// How many blocks of the intent log came after that root.
    pub logged: u32,
    /// The tag of the root or, if there is one, of the last block of the log.
    pub tag: [u8; 16],
}

impl Mark {
    /// What [`Mark::parse`] reads: a few lines of text.
    pub fn text(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        format!(
            "bastide-anchor 1\nvolume {}\ngeneration {}\nlogged {}\ntag {}\n",
            hex(&self.volume),
            self.generation,
            self.logged,
            hex(&self.tag)
        )
    }

    /// A mark from its text; `None` if it is something else. Empty lines may follow.
    pub fn parse(text: &str) -> Option<Mark> {
        let mut lines = text.trim_end_matches('\n').split('\n');
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        (field("bastide-anchor")? == "1").then_some(())?;
        let mark = Mark {
            volume: hex(field("volume")?)?,
            generation: field("generation")?.parse().ok()?,
            logged: field("logged")?.parse().ok()?,
            tag: hex(field("tag")?)?,
        };
        lines.next().is_none().then_some(mark)
    }
}

fn hex(text: &str) -> Option<[u8; 16]> {
    let number = u128::from_str_radix(text, 16).ok()?;
    (text.len() == 32).then(|| number.to_be_bytes())
}

/// A place out of the host's reach that remembers how new a volume is, so that the host cannot
/// show an older copy of the whole file. A volume without an anchor cannot tell.
pub trait Anchor: Send + Sync {
    /// What was stored last, if anything was.
    fn load(&mut self) -> Result<Option<Mark>>;
    /// Remembers a state that is durable. It is called before the operation that made the state
    /// durable returns.
    fn store(&mut self, mark: &Mark) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_as_it_was_and_nonsense_is_refused() {
        let mark = Mark {
            volume: *b"0123456789abcdef",
            generation: 77,
            logged: 3,
            tag: [0xfe; 16],
        };
        let text = mark.text();
        assert_eq!(Mark::parse(&text), Some(mark));
        assert_eq!(Mark::parse(&format!("{text}\n\n")), Some(mark));
        for end in 0..text.len() - 1 {
            assert_eq!(Mark::parse(&text[..end]), None, "{end}");
        }
        assert_eq!(Mark::parse(&format!("{text}more")), None);
    }
}
