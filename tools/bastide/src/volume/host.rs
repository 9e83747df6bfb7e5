//! What a volume needs of the host: its file, the time, random numbers, and an anchor's file.

use bastide_volume::{Anchor, Device, DeviceError, Error, Mark, Platform, Result};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A volume's file.
pub struct HostFile(pub File);

impl Device for HostFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::result::Result<(), DeviceError> {
        self.0.read_exact_at(buf, offset).map_err(failed)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> std::result::Result<(), DeviceError> {
        self.0.write_all_at(data, offset).map_err(failed)
    }

    fn flush(&self) -> std::result::Result<(), DeviceError> {
        self.0.sync_data().map_err(failed)
    }

    fn len(&self) -> std::result::Result<u64, DeviceError> {
        self.0.metadata().map(|m| m.len()).map_err(failed)
    }
}

/// A full disk, a quota and a limit of file sizes can be helped.
fn failed(e: std::io::Error) -> DeviceError {
    match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            DeviceError::Full
        }
        _ => DeviceError::Failed,
    }
}

/// The host's clock and random numbers.
pub struct Host;

impl Platform for Host {
    fn random(&self, mut buf: &mut [u8]) -> Result<()> {
        while !buf.is_empty() {
            let flags = rustix::rand::GetRandomFlags::empty();
            let n = rustix::rand::getrandom(&mut *buf, flags).map_err(|_| Error::Random)?;
            buf = buf.get_mut(n..).ok_or(Error::Random)?;
        }
        Ok(())
    }

    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// A small text file that remembers a volume's newest state.
pub struct AnchorFile(pub PathBuf);

impl AnchorFile {
    fn write(&self, text: &str) -> std::io::Result<()> {
        let mut new = self.0.clone().into_os_string();
        new.push(".new");
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.0)?;
        let dir = self.0.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Bytes as hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Anchor for AnchorFile {
    fn load(&mut self) -> Result<Option<Mark>> {
        match std::fs::read_to_string(&self.0) {
            Ok(text) => Mark::parse(&text).map(Some).ok_or(Error::Anchor),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(_) => Err(Error::Anchor),
        }
    }

    fn store(&mut self, mark: &Mark) -> Result<()> {
        self.write(&mark.text()).map_err(|_| Error::Anchor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_comes_back_as_it_was_and_nonsense_is_an_error() {
        let path = std::env::temp_dir().join(format!("bastide-anchor-{}", std::process::id()));
        let mut anchor = AnchorFile(path.clone());
        assert_eq!(anchor.load(), Ok(None));
        let mark = Mark {
            volume: *b"0123456789abcdef",
            generation: 77,
            logged: 3,
            tag: [0xfe; 16],
        };
        anchor.store(&mark).unwrap();
        assert_eq!(anchor.load(), Ok(Some(mark)));
        std::fs::write(&path, "bastide-anchor 1\nvolume 00\n").unwrap();
        assert_eq!(anchor.load(), Err(Error::Anchor));
        std::fs::remove_file(&path).unwrap();
    }
}
